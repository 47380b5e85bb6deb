"""Files as the rest of the package needs them: whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the name ``path`` only when the block ends without an error.

    A reader therefore sees the old file, the new file, or none: never a half of one, whatever interrupts the writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:  # a full disk does not say which file it was
        error.filename = str(path) if error.filename in (None, str(beside)) else error.filename
        raise
    finally:
        beside.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
