"""The one exception that commands show as a single clear line instead of a traceback."""


class FlyThinkerError(ValueError):
    """Wrong input from a user; the message names the file, line or field and says what to do."""
