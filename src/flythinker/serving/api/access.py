"""Who asks: API keys, the tenants that they are bound to, and the person behind a front end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from flythinker.serving.api.drawing import Drawing
from flythinker.serving.api.errors import ApiError
from flythinker.serving.api.fields import PATTERN_WORDS, USER_PATTERN, is_user_id
from flythinker.serving.errors import BadRequest
from flythinker.serving.service import WritingRequest
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.state import State

_bearer = HTTPBearer(auto_error=False, description="A key of `flythinker keys create`.")


def tenant(
    state: State, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    """The tenant whose key a request has; without keys everything is the default one's.

    Raises:
        ApiError: 401, there is no valid key.
        RateLimited: the tenant asks too often.
    """
    if not state.settings.require_keys:
        found: str | None = DEFAULT_TENANT
    else:
        found = state.store.tenant_of(credentials.credentials) if credentials else None
    if found is None:
        raise ApiError(
            401,
            "no valid API key: send one as `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    state.rate.take(found)
    return found


Tenant = Annotated[str, Depends(tenant)]


def person(request: Request, state: State) -> str | None:
    """Whom the header of `--user-header` names, if there is one; an empty one names nobody.

    Raises:
        BadRequest: it is there twice, or names nobody that could be a user.
    """
    name = state.settings.user_header
    sent = request.headers.getlist(name) if name else []
    if len(sent) > 1:
        raise BadRequest(f"the header {name} is there more than once", param=name)
    if not sent or not sent[0]:
        return None
    user = sent[0].encode("latin-1").decode(errors="replace")  # UTF-8, whatever HTTP says
    if not is_user_id(user):
        raise BadRequest(f"the header {name} {PATTERN_WORDS[USER_PATTERN]}", param=name)
    return user


Person = Annotated[str | None, Depends(person)]


def as_person(
    person: str | None, body: Drawing, requests: Sequence[WritingRequest]
) -> list[WritingRequest]:
    """The requests, written as the person whom the trusted header names, whatever the body says."""
    if person is None or not body.personalize:
        return list(requests)
    return [replace(request, user=person) for request in requests]
