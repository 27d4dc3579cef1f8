"""What goes wrong while an engine writes."""


class EngineError(Exception):
    """A text is not written, or not to its end.

    Attributes:
        retry_after: seconds after which trying again makes sense; `None`: nobody knows.
        code: the kind of error, for programs, if it has a name.
    """

    def __init__(
        self, message: str, retry_after: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.code = code


class EngineBusy(EngineError):
    """Too many texts are waiting or being written."""


class EngineClosed(EngineError):
    """The engine is being closed, see `Engine.close`."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down", retry_after=5)


class EngineFailed(EngineError):
    """The engine in this process broke while it wrote the text."""


class EndpointUnreachable(EngineError):
    """The engine elsewhere does not answer."""


class EndpointFailed(EngineError):
    """The engine elsewhere broke, or its answer cannot be read."""


class EndpointRefused(EngineError):
    """The engine elsewhere finds the request wrong; the message quotes it."""
