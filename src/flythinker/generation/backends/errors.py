"""What goes wrong while an engine writes; whoever serves texts says how clients are told."""


class EngineError(Exception):
    """A text is not written, or not to its end. The message quotes no text, id or key.

    Attributes:
        retry_after: seconds after which trying again makes sense; `None`: nobody knows.
        code: the kind of error, for programs, if it has a name.
    """

    retry_after: int | None = None
    code: str | None = None


class EngineBusy(EngineError):
    """Too many texts are waiting or being written."""

    def __init__(self, message: str, retry_after: int, code: str | None = "queue_full") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.code = code


class EngineUnavailable(EngineError):
    """The engine cannot be reached."""

    retry_after = 5


class EngineClosed(EngineUnavailable):
    """The engine is being closed, see `Engine.close`."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class EngineFailed(EngineError):
    """The engine in this process broke while it wrote the text."""


class EndpointFailed(EngineError):
    """The engine elsewhere broke, or its answer cannot be read."""


class EndpointRefused(EngineError):
    """The engine elsewhere finds the request wrong."""
