"""The routes of what was learned of users. Another tenant's user is as unknown as nobody's."""

from typing import Literal

from fastapi import APIRouter
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.adapter import About
from flythinker.serving.api.access import Tenant
from flythinker.serving.api.documents import UserId
from flythinker.serving.api.errors import ApiError
from flythinker.serving.service import PersonAdapter
from flythinker.serving.state import State
from flythinker.serving.storage.adapters import Try

router = APIRouter(prefix="/v1/users")


class Gain(TypedDict):
    """What an adapter does to texts of the user that it has not learned from.

    Losses are in nats a token, on average over the newest `passages`; the gain is after minus
    before, so below zero is better, with its 95 % interval.
    """

    passages: int
    loss_before: float
    loss_after: float
    gain: float
    low: float
    high: float


class Learned(TypedDict):
    """An adapter: from how many passages and words it was learned, and when."""

    made: str
    seconds: float
    texts: int
    words: int
    gain: Gain


class LastTry(TypedDict):
    """The newest try, and why nothing was learned, if so; the gain, if it came to one."""

    when: str
    kept: bool
    why: str
    gain: Gain | None


class AdapterCard(TypedDict):
    """What was learned of a user; `version` grows with every change, `learned` is what is used."""

    object: Literal["adapter"]
    user: str
    status: Literal["learning", "queued", "idle"]
    version: int
    learned: Learned | None
    last_try: LastTry | None


class AdapterDeleted(TypedDict):
    """Whose adapter was forgotten."""

    id: str
    object: Literal["adapter.deleted"]
    deleted: Literal[True]


@router.get("/{user_id}/adapter")
def get_adapter(user_id: UserId, state: State, tenant: Tenant) -> AdapterCard:
    """What was learned of the user, and whether more is being learned."""
    found = state.writing.adapter_of(tenant, user_id)
    if found is None:
        raise _unknown()
    return _card(user_id, found)


@router.delete("/{user_id}/adapter")
def forget_adapter(user_id: UserId, state: State, tenant: Tenant) -> AdapterDeleted:
    """Forget what was learned of the user; nothing is learned again before new documents come."""
    if not state.writing.forget_adapter(tenant, user_id):
        raise _unknown()
    return {"id": user_id, "object": "adapter.deleted", "deleted": True}


def _card(user: str, found: PersonAdapter) -> AdapterCard:
    about, last = found.about, found.last_try
    return {
        "object": "adapter",
        "user": user,
        "status": found.status,
        "version": found.version,
        "learned": _learned(about) if about else None,
        "last_try": _last_try(last) if last else None,
    }


def _learned(about: About) -> Learned:
    return {
        "made": about.made,
        "seconds": about.seconds,
        "texts": about.texts,
        "words": about.words,
        "gain": _gain(about),
    }


def _last_try(last: Try) -> LastTry:
    gain = _gain(last.about) if last.about else None
    return {"when": last.when, "kept": not last.why, "why": last.why, "gain": gain}


def _gain(about: About) -> Gain:
    return {
        "passages": about.held_out,
        "loss_before": about.before,
        "loss_after": about.after,
        "gain": about.gain,
        "low": about.low,
        "high": about.high,
    }


def _unknown() -> ApiError:
    return ApiError(404, "nothing was learned of such a user", code="not_found")
