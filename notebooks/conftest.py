"""nbval's kernels, as those of the book's pages (workflow/execute.py), know none of the user's settings."""

import base64
import json
import os
from pathlib import Path

import pytest

for name in list(os.environ):
    if name.startswith(("IPYTHON", "JUPYTER", "MATPLOTLIB", "MPL", "PYTHONSTARTUP")):
        del os.environ[name]
os.environ["HOME"] = str(Path("build/home").absolute())
os.environ["OMP_NUM_THREADS"] = "1"  # two kernels at once: more threads wait for each other


def took(name: str) -> float:
    """Seconds that the last build needed for a page; 0 where it is not known."""
    page = base64.b64encode(f"build/book/notebooks/{name}.ipynb".encode()).decode()
    told = Path(".snakemake/metadata", page)
    if not told.exists():
        return 0.0
    about = json.loads(told.read_text(encoding="utf-8"))
    return about["endtime"] - about["starttime"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest notebook first, so that workers end together."""
    seconds = {name: took(name) for name in {item.path.stem for item in items}}
    items.sort(key=lambda item: -seconds[item.path.stem])
