"""What the service refuses, whoever asks; `api/errors.py` alone says it by HTTP."""

DISK_FULL = (
    "the server's disk is full: nothing was stored or changed; texts are still written, and "
    "stored ones can be read and deleted; tell whoever runs this server"
)
"""What clients are told of a full disk: they need not know where the database is."""


class Refused(Exception):
    """The service does not do what was asked. The message quotes no text, id or key.

    Attributes:
        param: the field that is wrong, if one is.
        code: the kind of refusal, for programs, if it has a name.
        retry_after: seconds after which trying again makes sense, if it ever does.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.retry_after = retry_after


class BadRequest(Refused):
    """Something that was asked for has a wrong value."""


class DocumentTooLarge(Refused):
    """A document is longer than the server takes; nothing was stored."""


class TooManyDocuments(Refused):
    """A user would have more documents than allowed; nothing was stored."""


class RateLimited(Refused):
    """Somebody asks for more at a time than allowed."""

    def __init__(self, limit: str, retry_after: int) -> None:
        super().__init__(
            f"{limit}; try again in {retry_after} s",
            code="rate_limit_exceeded",
            retry_after=retry_after,
        )


class DocumentGone(Exception):
    """A document was deleted while a prompt was being made of it: make it anew."""
