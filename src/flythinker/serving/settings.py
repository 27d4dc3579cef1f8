"""What one server was told when it started."""

from dataclasses import dataclass

DEFAULT_DATABASE = "sqlite:///flythinker.db"
DEFAULT_TENANT = "default"
"""Whose everything is on a server without API keys."""


@dataclass(frozen=True)
class ServerSettings:
    """The settings that requests meet.

    Attributes:
        host, port, database_url: where the server and its store are.
        require_keys: whether requests need an API key; without, all are of one tenant.
        max_body_bytes: of a request.
        max_document_chars, max_documents_per_user: of users' writings.
        requests_per_minute: of one tenant; 0 = no limit.
        max_concurrent_requests: of all tenants together.
        max_queue: texts that may wait for a slot of the local engine.
        model_name: what clients call the model.
        log_texts: whether prompts, texts and what errors quote of them may be logged.
    """

    host: str
    port: int
    database_url: str
    require_keys: bool
    max_body_bytes: int
    max_document_chars: int
    max_documents_per_user: int
    requests_per_minute: int
    max_concurrent_requests: int
    max_queue: int
    model_name: str
    log_texts: bool = False
