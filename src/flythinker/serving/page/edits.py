"""A text that was written for somebody, as they changed it: kept as their own writing."""

from datetime import date
from typing import Any

from pydantic import ValidationError

from flythinker.data.document import Document, Edit
from flythinker.serving.api.errors import invalid_field
from flythinker.serving.api.fields import Strict
from flythinker.serving.page.comparison import Column, column_title, language_tag
from flythinker.serving.page.writings import Writings

TITLE_CHARS = 200


class Edited(Strict):
    """What `column.js` sends of a text: see `Column`, and `text` as it is now."""

    query: str
    written: str
    text: str
    user: str
    kept: str


def keep(writings: Writings, tenant: str, user: str, sent: Any) -> dict[str, Any]:
    """Store an edit as today's writing of the user that the text was written as, else of `user`.

    It takes the place of what was kept of the same text before. Returns the column that shows it.

    Raises:
        Refused: nothing was changed, or see `Writings.add`.
    """
    try:
        edited = Edited.model_validate(sent)
    except ValidationError as error:
        raise invalid_field(error) from error
    user = edited.user or user
    edit = Edit(edited.query, edited.written)
    today = date.today().isoformat()
    [stored] = writings.add(tenant, user, [Document(edited.text, _title(edit.query), today, edit)])
    if edited.kept not in ("", stored.id):
        writings.remove(tenant, user, edited.kept)
    return Column(
        column_title(user),
        "kept",
        f"Kept as a text of {user}, who is written as from the next text on.",
        [(stored.document.text, None, ())],
        language=language_tag(stored.document.text),
        query=edited.query,
        user=user,
        written=edited.written,
        kept=stored.id,
    ).value()


def _title(query: str) -> str:
    """What was asked for, as the title of what came of it."""
    title = " ".join(query.split())
    return title if len(title) <= TITLE_CHARS else f"{title[: TITLE_CHARS - 1]}…"
