"""Files as the rest of the package needs them: whole or not there, and never a pipe, a device or a pointer."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serlib.errors import SerlibError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
DIGEST_BYTES = hashlib.sha256().digest_size


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


def check(path: Path) -> Path:
    """``path``, if it is a file whose content is there.

    Raises:
        OSError: it is missing, a folder, a pipe, a device or a Git LFS pointer; ``strerror`` says which.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file", str(path))
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise OSError(errno.EINVAL, "a Git LFS pointer: `git lfs pull` fetches the file", str(path))
    return path


def spare(out: Path, *read: Path) -> None:
    """Raises ValueError if writing ``out`` would replace a file that is read."""
    for path in read:
        if out.exists() and path.exists() and out.samefile(path):
            raise SerlibError(f"{out}: would replace a file that is read; give another one to write")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Append the SHA-256 of a file to it."""
    digest = bytes.fromhex(sha256(path))
    with path.open("ab") as file:
        file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether a file still is what :func:`seal` left: its last bytes are the SHA-256 of all before.

    Raises:
        OSError: as :func:`check`.
    """
    left, computed = check(path).stat().st_size - DIGEST_BYTES, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            computed.update(part)
            left -= len(part)
        return left == 0 and file.read() == computed.digest()
