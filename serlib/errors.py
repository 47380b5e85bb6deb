"""The one kind of error that a command shows as a line; every other one is a bug and keeps its traceback."""


class SerlibError(ValueError):
    """Something given cannot be used as it is; the message names the thing and the remedy."""
