"""Files for the rest of the package: each is complete or absent, and never a pipe, a device or a pointer."""

import errno
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from serlib.errors import SerlibError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
DIGEST_BYTES = hashlib.sha256().digest_size
UNFINISHED = ".unfinished-"  # prefix of a folder that a killed writer may leave


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A path to write to; the file takes the name ``path`` only when the block ends without an error.

    A reader therefore sees the old file, the new file, or none, never a part of one, whatever interrupts the writer.
    The path lies in a new folder beside ``path``, so that no two writers share one, on one machine or several.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=UNFINISHED, dir=path.parent, ignore_cleanup_errors=True) as folder:
            yield (temporary := Path(folder, "file"))
            os.replace(temporary, path)
    except OSError as error:  # a full disk does not say which file it was, or names the one that is copied
        if error.filename is None or UNFINISHED in f"{error.filename} {error.filename2}":
            error.filename = str(path)
        raise


def require_file(path: str | Path) -> Path:
    """``path``, if it is a file whose content is there.

    Raises:
        OSError: it is missing, a folder, a pipe, a device or a Git LFS pointer; ``strerror`` says which.
    """
    path = Path(path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file", str(path))
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise OSError(errno.EINVAL, "a Git LFS pointer: `git lfs pull` fetches the file", str(path))
    return path


def spare(out: str | Path, *read: str | Path) -> None:
    """Raises SerlibError if writing ``out`` would replace a file that is read."""
    for path in map(Path, read):
        if Path(out).exists() and path.exists() and path.samefile(out):
            raise SerlibError(f"{out}: would replace a file that is read; give another one to write")


def below(folder: str | Path, suffix: str) -> list[Path]:
    """Files whose names end in ``suffix`` below ``folder``, sorted; hidden files and folders are not looked into.

    It therefore skips leftovers of a killed writer, a Mac (``._x.json``) or Jupyter (``.ipynb_checkpoints``).
    """
    paths = (path.relative_to(folder) for path in Path(folder).rglob(f"*{suffix}"))
    return [Path(folder, path) for path in sorted(paths) if not any(part.startswith(".") for part in path.parts)]


def cell(words: str) -> str:
    """``words`` for CSV: an apostrophe, the spreadsheets' mark of text, before a name that begins like a formula."""
    normalised = unicodedata.normalize("NFKC", words)  # full-width signs begin a formula too
    return f"'{words}" if re.match(r"\W*[=+\-@\u2212]|[\t\r\n]", normalised) else words


def sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: str | Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write ``parts``, then the SHA-256 of the file's name and the parts, and read the file back.

    Raises:
        SerlibError: the content read back differs from what was written.
    """
    computed = hashlib.sha256(os.fsencode(Path(path).name))
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            for part in parts:
                computed.update(part)
                file.write(part)
            file.write(computed.digest())
        if not is_sealed(temporary, Path(path).name):
            raise SerlibError(f"{path}: the disk does not hold what was written; give another folder")


def is_sealed(path: str | Path, name: str = "") -> bool:
    """Whether a file still is what :func:`write_sealed` left under this name, or under ``name``.

    Raises:
        OSError: as :func:`require_file`.
    """
    remaining = require_file(path).stat().st_size - DIGEST_BYTES
    computed = hashlib.sha256(os.fsencode(name or Path(path).name))
    with Path(path).open("rb") as file:
        while remaining > 0 and (part := file.read(min(remaining, 1 << 20))):
            computed.update(part)
            remaining -= len(part)
        return remaining == 0 and file.read() == computed.digest()
