"""Who asks: API keys and the tenants that they are bound to."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from flythinker.serving.api.errors import ApiError
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
