"""What the graph is made of: which code a step depends on, what a folder of recordings holds."""

import ast
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

PACKAGES = ("serlib", "companion")


def stop(message: str) -> NoReturn:
    """End with one line and exit status 1."""
    print(f"serlib: {message}", file=sys.stderr)
    raise SystemExit(1)


def code(*sources: str) -> list[str]:
    """The given files and every module of the packages that they import, directly or not, in functions as well.

    A rule names the modules of its step, not the command, which imports every step. A notebook counts with its own
    imports, and is itself not among them: its rule names it.
    """
    found: set[str] = set()
    pending = list(sources)
    while pending:
        source = pending.pop()
        if source not in found:
            found.add(source)
            pending += imports(source)
    return sorted(file for file in found if not file.endswith(".ipynb"))


@cache
def imports(source: str) -> frozenset[str]:
    """Files of the packages that one file imports anywhere in it, a notebook in any of its cells."""
    text = Path(source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell) for cell in cells)
    files = {name.replace(".", "/") + ".py" for name in names(text) if name.split(".")[0] in PACKAGES}
    return frozenset(file for file in files if Path(file).exists())


def names(text: str) -> set[str]:
    """Every module, or name of one, that a program imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def listing(data: str) -> str:
    """A digest over names, sizes and times of the recordings, so that an added or changed file is noticed."""
    root = Path(data)
    files = [root] if root.is_file() else sorted(root.rglob("*.wav"))
    lines = (f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
