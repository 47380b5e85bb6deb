"""Shape and type annotations of the package are checked while the tests run (jaxtyping and beartype).

One thread a process: the tests' networks are so small that threads wait for each other longer than they work, above all
on a machine that is busy with something else.
"""

import gc
import os
from importlib import import_module
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime before serlib
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import pytest

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Check types from here on, where tests run: the process that hands them to workers loads nothing."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    gc.disable()  # until everything is imported: a third of the time to import it
    # Before the hook, behind which all that the package imports would be compiled anew.
    for name in ("beartype", "lightning_fabric", "matplotlib.pyplot", "torchaudio", "torchvision"):
        import_module(name)
    import_module("torch").set_num_threads(1)
    import_module("jaxtyping").install_import_hook("serlib", "beartype.beartype")


def pytest_collection_finish() -> None:
    """What was imported stays: no later collection of garbage goes through it."""
    gc.freeze()
    gc.enable()


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} does not point at {what}")
    path = Path(value)
    assert path.is_dir(), f"{variable}={value}: no such folder"
    return path


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder with real recordings, one folder a corpus."""
    return _folder("SERLIB_DATA", "a folder of recordings (emodb, crema-d)")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with small checkpoints in the released format, their inputs and outputs."""
    return _folder("SERLIB_GOLDEN", "the golden checkpoints")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def committed() -> dict:
    """Every committed record by its path, read once."""
    from serlib import records

    found = {path: records.read(path) for path in sorted((ROOT / "results/recordings").rglob("*.json"))}
    gc.freeze()  # no later collection goes through them
    return found


@pytest.fixture(scope="session")
def committed_records(committed) -> list:
    return list(committed.values())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reads every record stands first, side by side, so that one worker reads them for all."""
    items.sort(key=lambda item: "committed" not in getattr(item, "fixturenames", ()))
