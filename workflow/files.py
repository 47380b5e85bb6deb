"""Copies files completely or not at all; finds cells of a notebook whose picture is missing."""

import filecmp
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serlib.files import atomic_write


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a file, completely or not at all; a target with the same content is not touched."""
    if not (Path(target).is_file() and filecmp.cmp(source, target, shallow=False)):
        with atomic_write(target) as beside:
            shutil.copyfile(source, beside)


def without_picture(notebook: Mapping[str, Any]) -> list[str]:
    """The first line of every cell that should show a picture and does not."""
    missing = []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        pictures = [output for output in cell["outputs"] if "picture" in output.get("metadata", {})]
        images = [output for output in pictures if any(kind.startswith("image/") for kind in output["data"])]
        if len(images) < len(pictures) or (not images and re.search(r"^picture\(", cell["source"], re.MULTILINE)):
            missing.append(cell["source"].partition("\n")[0])
    return missing
