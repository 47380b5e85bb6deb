"""Copies of files, each whole or not there."""

import filecmp
import shutil
from pathlib import Path

from serlib.files import atomic_write


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a file, whole or not at all; one that is there already with the same content is not touched."""
    if not (Path(target).is_file() and filecmp.cmp(source, target, shallow=False)):
        with atomic_write(target) as beside:
            shutil.copyfile(source, beside)
