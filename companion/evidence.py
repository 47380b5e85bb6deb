"""The evidence: every number that pages, cards and commands give from the committed records, computed once.

``python -m companion.evidence`` writes into ``build/evidence/``:

``predictions.parquet``   one row per predicted utterance of every committed record
``runs.json``             one row per record: its identity; where, when and by what code it was made
``accuracies.json``       one row per run, condition, part, measure (WA, UA): estimate, interval, seeds, speakers, folds
``published.json``        accuracies of the paper's networks, each with the published one and a label
``comparisons.json``      one row per pair of runs, condition and measure: difference, interval, adjusted p, label
``positions.json``        R2 of the column number, one row per run, split and layer
``orders.json``           the cost of reordering the columns, one row per run, split and order
``tries.json``            the additions of :mod:`companion.reach`, one row per run: scores, gain, spread, chosen or not
``seeds.json``            the effect of a seed that all speakers share, one row per corpus and protocol
``verdicts.json``         one row per part of a claim: finding, the corpora that decide it, and sentence

Only committed records are evidence; runs that a build trains itself are kept apart. Readers call :func:`read`. Only
:mod:`companion.node` makes the tables, and so decides which runs are compared and how they are labelled. Shares are in
[0, 1]. A row decides if its ``lacks`` is empty.
"""

import argparse
import hashlib
import json
import sys
from functools import cache
from importlib.util import find_spec
from modulefinder import ModuleFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serlib.engine.command import run
from serlib.files import atomic_write, below, require_file, sha256

if TYPE_CHECKING:  # a command that only shows verdicts needs no pandas
    import pandas as pd

FOLDER, SOURCES, STAMP = "build/evidence", "results", "made_from.txt"
RUN = ["speech", "corpus", "fingerprint", "image", "precision", "schedule", "protocol", "run"]
INTERVAL = ["estimate", "low", "high", "bound", "p", "speakers", "seeds"]
PROBED = ["speech", "corpus", "protocol", "schedule", "image", "fingerprint", "run"]
# The columns of each table; the provenance of a record adds its own to ``runs``.
COLUMNS = {
    "runs": [*RUN, "fold", "split", "seed", "epochs", "complete", "device", "result", "hardware", "path"],
    "accuracies": [
        *RUN, "part", "measure", *INTERVAL, "folds", "seed_numbers", "missing", "epochs", "utterances", "held_out",
        "complete", "devices", "longest", "independent", "unlabelled",
    ],
    "published": ["corpus", "run", "protocol", "held_out", "stated", "trained", *INTERVAL, "lacks", "label"],
    "comparisons": [
        "family", "measure", "first", "second", *INTERVAL, "adjusted", "label", "lacks", "corpus", "held_out", "protocol",
        "schedule", "second_schedule", "image", "fingerprint", "precision", "epochs", "folds", "seed_numbers", "utterances",
        "device", "first_estimate", "second_estimate",
    ],
    "positions": [*PROBED, "layer", "last", *INTERVAL, "folds", "utterances"],
    "orders": [*PROBED, "order", *INTERVAL, "changed", "folds", "seed_numbers", "utterances"],
    "tries": ["run", "beside", "scores", "mean", "gain", "spread", "gains", "chosen"],
    "seeds": ["corpus", "protocol", "deviation", "df"],
    "verdicts": ["claim", "part", "finding", "corpora", "sentence"],
}  # fmt: skip
PREDICTIONS = "predictions.parquet"
KEEPS_PREDICTIONS = find_spec("pyarrow") is not None  # `make read` has no pyarrow: its pages need none


class Evidence:
    """The tables that :func:`companion.node.make` wrote; each is an attribute, read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table of :data:`COLUMNS` as one dictionary per row."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def __getattr__(self, name: str) -> "pd.DataFrame":
        """A table of :data:`COLUMNS`, or ``predictions``, see :func:`companion.results.predictions`."""
        if name not in (*COLUMNS, "predictions"):
            raise AttributeError(name)
        import pandas as pd

        if name == "predictions":
            table = pd.read_parquet(self.folder / PREDICTIONS)
        else:
            rows = self.rows(name)
            table = pd.DataFrame(rows, columns=None if rows else COLUMNS[name])
        setattr(self, name, table)
        return table


def read(root: Path) -> Evidence:
    """The evidence of a checkout; it is made again if the records, or the code that reads them, have changed."""
    folder, stamp = root / FOLDER, _stamp(root)
    stamp_file = folder / STAMP
    complete = (folder / PREDICTIONS).exists() or not KEEPS_PREDICTIONS
    if not complete or not stamp_file.exists() or stamp_file.read_text(encoding="utf-8") != stamp:
        from companion import node

        print(f"reading the records of {root / SOURCES} ...", file=sys.stderr)
        node.make(root / SOURCES, folder)
        with atomic_write(stamp_file) as temporary:
            temporary.write_text(stamp, encoding="utf-8")
    return Evidence(folder)


def _stamp(root: Path) -> str:
    """A digest of the bytes from which the evidence is made: the records, the code and its tables."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _code()))
    for path in below(root / SOURCES, ".json"):
        digest.update(f"{path.relative_to(root)} {sha256(require_file(path))}\n".encode())
    return digest.hexdigest()


@cache
def _code() -> list[Path]:
    """The modules that make the evidence, including those imported inside functions, and their tables."""
    folder, data = Path(__file__).parent, Path(__file__).parents[1] / "serlib/data"
    walk = ModuleFinder([str(folder.parent)])  # searches only this checkout
    walk.import_hook("companion.node")
    modules = (Path(module.__file__) for module in walk.modules.values() if module.__file__)
    tables = (*folder.glob("*.toml"), *folder.glob("*.csv"), *data.rglob("*.toml"), *data.rglob("*.csv"))
    return sorted([*modules, *tables])


if __name__ == "__main__":
    description = "The tables that pages and claims read."
    parser = argparse.ArgumentParser("python -m companion.evidence", description=description)
    parser.set_defaults(command=lambda _: read(Path()))
    raise SystemExit(run(parser))
