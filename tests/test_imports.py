"""The cut: the method knows nothing of the telling, and what only lists runs loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

from workflow.graph import names

ROOT = Path(__file__).parents[1]
TELLING = {"matplotlib", "seaborn", "pandas", "IPython", "companion"}
BEYOND = {"studies", *TELLING}  # of the method


def told(source: str, above: set[str] = TELLING) -> set[str]:
    """What of the floors above a program imports, in functions as well."""
    return {name.split(".")[0] for name in names(source)} & above


@pytest.mark.parametrize("path", sorted((ROOT / "serlib").rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_of_the_method_imports_a_study_or_the_telling(path):
    assert not told(path.read_text(encoding="utf-8"), BEYOND)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").rglob("*.py")), ids=lambda path: path.stem)
def test_no_study_imports_the_telling(path):
    assert not told(path.read_text(encoding="utf-8"))


def test_an_import_is_seen_wherever_it_stands():
    assert told("import torch\nfrom serlib import config, companion_of") == set()
    assert told("def f():\n    from studies import variants\n", BEYOND) == {"studies"}
    assert told("def f():\n    import matplotlib.pyplot as plt\n") == {"matplotlib"}
    assert told("if TYPE_CHECKING:\n    from pandas import DataFrame\nfrom companion import paper") == {
        "pandas",
        "companion",
    }


@pytest.mark.parametrize(
    "module", ["companion.experiments", "companion.__main__", "studies.variants", "studies.__main__"]
)
def test_listing_the_runs_loads_nothing_heavy(module):
    loaded = subprocess.run(
        (sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"), cwd=ROOT, capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr
    modules = set(loaded.stdout.split())
    assert module in modules
    assert not modules & (TELLING - {"companion"} | {"torch"})
