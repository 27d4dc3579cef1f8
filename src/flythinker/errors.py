"""The one exception that commands show as a single clear line instead of a traceback."""


class FlyThinkerError(ValueError):
    """Wrong input from a user; the message names the file, line or field and says what to do.

    >>> import flythinker
    >>> try:
    ...     flythinker.load(".")  # no weights here
    ... except flythinker.FlyThinkerError as error:
    ...     print(error)
    .: no model weights (config.json, *.safetensors) in it; has its training finished?
    """


def one_line(error: BaseException) -> str:
    """What an exception, or the one that it came from, says; else what it is."""
    while error.__cause__ is not None:  # transformers' lazy imports hide what is missing
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
