"""What one server was told when it started."""

from dataclasses import dataclass

DEFAULT_DATABASE = "sqlite:///flythinker.db"
DEFAULT_TENANT = "default"
"""The tenant that owns everything on a server without API keys."""


@dataclass(frozen=True)
class ServerSettings:
    """The settings that requests meet.

    Attributes:
        host: the address that the server is bound to.
        require_keys: whether requests need an API key; without keys there is one tenant.
        max_body_bytes: the largest body of a request.
        max_document_chars, max_documents_per_user: the most that users may store.
        requests_per_minute: the most that a tenant may make; 0 = no limit.
        max_concurrent_requests: the most of all tenants together.
        model_name: what clients call the model.
        user_header: the header in which a trusted proxy names the person; `None`: in none.
        allow_origins: web pages of these origins may ask from a browser (CORS).
        log_texts: whether prompts, texts and what errors quote of them may be logged.
    """

    host: str
    require_keys: bool
    max_body_bytes: int
    max_document_chars: int
    max_documents_per_user: int
    requests_per_minute: int
    max_concurrent_requests: int
    model_name: str
    user_header: str | None = None
    log_texts: bool = False
    allow_origins: tuple[str, ...] = ()
