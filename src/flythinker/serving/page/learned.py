"""What was learned of a user, in words for the page, and how it is forgotten."""

import math
from typing import Any

from flythinker.adapter import About
from flythinker.serving.state import ServerState
from flythinker.serving.storage.adapters import Try

_STATUS = {"learning": "More is being learned now.", "queued": "More is to be learned soon."}


class Learned:
    """Shows and forgets what was learned of users; each method stays with the tenant."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def shown(self, tenant: str, user: str) -> dict[str, Any]:
        """What `learned.js` shows; no lines if nothing is known of the user."""
        found = self._state.writing.adapter_of(tenant, user) if user else None
        lines: list[str] = []
        if found and found.about:
            lines += _about(found.about)
        if found and found.last_try and found.last_try.why:
            lines.append(_failed(found.last_try))
        if found and found.status in _STATUS:
            lines.append(_STATUS[found.status])
        return {"user": user, "lines": lines, "used": bool(found and found.about)}

    def forget(self, tenant: str, user: str) -> None:
        """Forget it; the texts stay."""
        self._state.rate.take(tenant)
        self._state.writing.forget_adapter(tenant, user)


def _about(about: About) -> list[str]:
    middle, least, most = (_likelier(gain) for gain in (about.gain, about.high, about.low))
    return [
        f"Learned on {about.made[:10]} from {about.texts:,} passages, {about.words:,} words; every "
        "text is now written with it.",
        f"The newest {about.held_out} passages were not learned from, to judge it by them: with it "
        f"the model finds what comes next in them {middle} likelier, and quite surely (95 %) "
        f"between {least} and {most}.",
    ]


def _failed(last: Try) -> str:
    return f"The last try, on {last.when[:10]}, learned nothing: {last.why}"


def _likelier(gain: float) -> str:
    """How much likelier a change of the loss, in nats a token, makes a token on average."""
    return f"{100 * math.expm1(-gain):.1f} %"
