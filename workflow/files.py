"""Copies of files, each whole or not there; the pictures that a notebook should show."""

import filecmp
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serlib.files import atomic_write


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a file, whole or not at all; one that is there already with the same content is not touched."""
    if not (Path(target).is_file() and filecmp.cmp(source, target, shallow=False)):
        with atomic_write(target) as beside:
            shutil.copyfile(source, beside)


def without_picture(notebook: Mapping[str, Any]) -> list[str]:
    """First lines of the cells that should show a picture and do not."""
    missing = []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        shown = [output for output in cell["outputs"] if "picture" in output.get("metadata", {})]
        drawn = [output for output in shown if any(kind.startswith("image/") for kind in output["data"])]
        if len(drawn) < len(shown) or (not drawn and re.search(r"^picture\(", cell["source"], re.MULTILINE)):
            missing.append(cell["source"].partition("\n")[0])
    return missing
