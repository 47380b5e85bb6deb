"""Parameters and FLOPs per image of every network, counted once by :mod:`serlib.flops` and kept in ``costs.csv``.

``python -m companion.costs`` counts them again; a test holds the file against the count.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from serlib.files import atomic_write

TABLE = Path(__file__).with_name("costs.csv")
TEACHER, STUDENT = "teacher", "student-alone"
# Of the steps that companion.reach keeps, and both together.
STEPS = tuple(f"{STUDENT}+{steps}" for steps in ("convolutions", "deltas", "deltas+convolutions"))


class Cost(NamedTuple):
    """What one network costs; of networks of others the FLOPs alone are counted."""

    parameters: int
    flops: int  # per image, a multiply-add as two
    stem_flops: int
    seconds: float  # of sound that a network of others gets; 0 for an image


@cache
def read() -> dict[str, Cost]:
    """By run, and by name of a network of others."""
    table = pd.read_csv(TABLE, index_col="network")
    return {name: Cost(*row) for name, row in zip(table.index, table.itertuples(index=False), strict=True)}


def count() -> dict[str, Cost]:
    """The same, counted on networks with random weights."""
    from serlib import config, flops
    from studies import frontends, variants
    from studies.others import reference_networks

    settings = {name: variants.resolve(name, "paper", 0, config.STUDENT.num_classes) for name in (*config.RUNS, *STEPS)}
    own = {name: flops.count(frontends.of_run(of_run)) for name, of_run in settings.items()}
    found = {name: Cost(cost.parameters, cost.flops, cost.stem_flops, 0.0) for name, cost in own.items()}
    others = reference_networks().items()
    return found | {name: Cost(0, other.flops, 0, float(other.seconds or 0)) for name, other in others}


def others() -> dict[str, Cost]:
    """The networks of others."""
    return {name: cost for name, cost in read().items() if not cost.parameters}


if __name__ == "__main__":
    with atomic_write(TABLE) as written:
        counted = pd.DataFrame.from_dict(count(), orient="index", columns=Cost._fields)
        counted.to_csv(written, index_label="network", lineterminator="\n")
