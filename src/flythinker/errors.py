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
