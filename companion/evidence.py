"""The evidence: everything that pages, cards and commands say of the committed records, made once.

``python -m companion.evidence`` writes into ``build/evidence/``:

``predictions.parquet``   a row a predicted utterance of every committed record
``runs.json``             a row a record: what names it, where, when and by what code it was made
``accuracies.json``       a row a run, condition, part and measure (WA, UA): estimate, interval, seeds, speakers, folds
``published.json``        accuracies of the networks that the paper has, each beside the published one, with a label
``comparisons.json``      a row a pair of runs, condition and measure: difference, interval, adjusted p, label
``positions.json``        R2 of a column's number, a row a run, split and layer
``orders.json``           what another order of the columns costs, a row a run, split and order
``tries.json``            the additions of :mod:`companion.reach`, a row a run: scores, gain, spread, whether it is chosen
``seeds.json``            what a seed does to all speakers alike, a row a corpus and protocol
``verdicts.json``         a row a part of a claim: finding, the corpora that decide it, and sentence

Committed records are the evidence; what a build trains itself stands apart. Readers call :func:`read`;
:mod:`companion.node` makes the tables, and nothing else decides which runs are compared or what their label is. Shares are
in [0, 1]; a row with nothing in ``lacks`` decides.
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

if TYPE_CHECKING:  # a command that only shows verdicts does without
    import pandas as pd

FOLDER, SOURCES, STAMP = "build/evidence", "results", "made_from.txt"
RUN = ["speech", "corpus", "fingerprint", "image", "precision", "schedule", "protocol", "run"]
INTERVAL = ["estimate", "low", "high", "bound", "detectable", "p", "speakers", "seeds"]
PROBED = ["speech", "corpus", "protocol", "schedule", "run"]
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
    "positions": [*PROBED, "image", "fingerprint", "layer", "last", *INTERVAL, "folds", "utterances"],
    "orders": [*PROBED, "order", *INTERVAL, "changed", "folds", "utterances"],
    "tries": ["run", "beside", "scores", "mean", "gain", "spread", "gains", "chosen"],
    "seeds": ["corpus", "protocol", "deviation", "df"],
    "verdicts": ["claim", "part", "finding", "corpora", "sentence"],
}  # fmt: skip
PREDICTIONS = "predictions.parquet"
KEEPS_PREDICTIONS = find_spec("pyarrow") is not None  # `make read`, whose pages need none, does without


class Evidence:
    """The tables that :func:`companion.node.make` wrote; each is an attribute, read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table of :data:`COLUMNS`, a mapping a row."""
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
    """The evidence of a checkout; it is made first where records, or the code that reads them, are others."""
    folder, stamp = root / FOLDER, _stamp(root)
    there = folder / STAMP
    whole = (folder / PREDICTIONS).exists() or not KEEPS_PREDICTIONS
    if not whole or not there.exists() or there.read_text(encoding="utf-8") != stamp:
        from companion import node

        print(f"reading the records of {root / SOURCES} ...", file=sys.stderr)
        node.make(root / SOURCES, folder)
        with atomic_write(there) as beside:
            beside.write_text(stamp, encoding="utf-8")
    return Evidence(folder)


def _stamp(root: Path) -> str:
    """Names what a folder of evidence is made from: the records, the code and its tables, byte by byte."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _code()))
    for path in below(root / SOURCES, ".json"):
        digest.update(f"{path.relative_to(root)} {sha256(require_file(path))}\n".encode())
    return digest.hexdigest()


@cache
def _code() -> list[Path]:
    """The modules that make the evidence, those imported inside functions as well, and their tables."""
    here = Path(__file__).parent
    walk = ModuleFinder([str(here.parent)])  # of this checkout alone
    walk.import_hook("companion.node")
    modules = (Path(of.__file__) for of in walk.modules.values() if of.__file__)
    return sorted([*modules, *here.glob("*.toml"), *here.glob("*.csv")])


if __name__ == "__main__":
    made = argparse.ArgumentParser("python -m companion.evidence", description="The tables that pages and claims read.")
    made.set_defaults(command=lambda _: read(Path()))
    raise SystemExit(run(made))
