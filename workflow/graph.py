"""What the graph is made of: which code a step depends on, what a folder of recordings holds."""

import ast
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

PACKAGE = "serlib"


def stop(message: str) -> NoReturn:
    """End with one line and exit status 1."""
    print(f"serlib: {message}", file=sys.stderr)
    raise SystemExit(1)


def code(*sources: str) -> list[str]:
    """The given files and every module of the package that they import, directly or not, wherever the import stands.

    A notebook counts with its own imports, and is itself not among them: its rule names it.
    """
    found: set[str] = set()
    for source in sources:
        if not source.endswith(".ipynb"):
            found.add(source)
        found |= _imported(source)
    return sorted(found)


@cache
def _imported(source: str) -> frozenset[str]:
    found: set[str] = set()
    pending = [source]
    while pending:
        for module in _direct(pending.pop()):
            if module not in found:
                found.add(module)
                pending.append(module)
    return frozenset(found)


@cache
def _direct(source: str) -> frozenset[str]:
    """Modules of the package that one file imports at its top level, a notebook in any of its cells.

    An import inside a function does not count: what it computes reaches a step through that step's inputs.
    """
    text = Path(source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell) for cell in cells)
    names: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = {name.replace(".", "/") + ".py" for name in names}
    return frozenset(file for file in files if Path(file).exists())


def listing(data: str) -> str:
    """A digest over names, sizes and times of the recordings, so that an added or changed file is noticed."""
    root = Path(data)
    files = [root] if root.is_file() else sorted(root.rglob("*.wav"))
    lines = (f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
