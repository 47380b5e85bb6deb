"""What the graph is made of: its settings checked, the code that a step depends on, what a folder of recordings holds."""

import ast
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

from serlib import config
from serlib.data import facts

PACKAGES = ("serlib", "companion")


def stop(message: str) -> NoReturn:
    """End with one line and exit status 1."""
    print(f"serlib: {message}", file=sys.stderr)
    raise SystemExit(1)


def check_settings(corpus: str, data: str, schedule: str) -> None:
    """End with one line if what a build was asked for cannot be."""
    if corpus and not data:
        stop(f"CORPUS={corpus} needs DATA=folder of the recordings (or DATA=table.csv for a corpus of your own)")
    if data and not corpus:
        stop("DATA is given without CORPUS: say which corpus it is, as in CORPUS=emodb")
    if data and not Path(data).exists():
        stop(f"DATA={data}: no such file or folder")
    if corpus and corpus not in facts.CORPORA and not data.endswith(".csv"):
        stop(f"CORPUS={corpus} is none of {', '.join(facts.CORPORA)}; for your own, give DATA=table.csv")
    if schedule not in config.SCHEDULES:
        stop(f"SCHEDULE={schedule} is none of {', '.join(config.SCHEDULES)}")


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
