"""Whose request is it: API keys and the tenants that they are bound to."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from flythinker.serving.api.errors import ApiError
from flythinker.serving.api.limits import Rate
from flythinker.serving.settings import DEFAULT_TENANT, ServerSettings
from flythinker.serving.storage.store import Store

_bearer = HTTPBearer(auto_error=False, description="A key of `flythinker keys create`.")


def tenant(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """The tenant that a request is of; without keys all are of the default one.

    Raises:
        ApiError: 401 without a valid key, 429 when the tenant asks too often.
    """
    settings: ServerSettings = request.app.state.settings
    store: Store = request.app.state.store
    rate: Rate = request.app.state.rate
    if not settings.require_keys:
        found: str | None = DEFAULT_TENANT
    else:
        found = store.tenant_of(credentials.credentials) if credentials else None
    if found is None:
        raise ApiError(
            401,
            "no valid API key: send one as `Authorization: Bearer KEY`",
            "authentication_error",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    rate.take(found)
    return found


Tenant = Annotated[str, Depends(tenant)]
