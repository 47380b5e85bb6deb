"""The one kind of error that a command shows as a line; every other one is a bug and keeps its traceback."""


class SerlibError(ValueError):
    """Something given cannot be used as it is; the message names the thing and the remedy."""


def printable(text: str) -> str:
    """``text`` in one line: line breaks, control characters and bytes that are not UTF-8 written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
