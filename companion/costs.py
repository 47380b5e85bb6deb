"""Parameters and FLOPs per image of every network, counted once by :mod:`serlib.flops` and kept in ``costs.csv``.

``python -m companion.costs`` counts them again; a test holds the file against the count.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from serlib import config, records
from serlib.data import splits
from serlib.files import atomic_write

TABLE = Path(__file__).with_name("costs.csv")
TEACHER, STUDENT = "teacher", "student-alone"
# The student with the steps that companion.reach keeps: each alone, and both.
STEPS = tuple(f"{STUDENT}+{steps}" for steps in ("convolutions", "deltas", "deltas+convolutions"))


class Cost(NamedTuple):
    """The cost of one network; for networks of other authors only the FLOPs are counted."""

    parameters: int
    flops: int  # per image, a multiply-add as two
    stem_flops: int
    seconds: float  # duration of the sound that a network of others takes; 0 for an image


@cache
def read() -> dict[str, Cost]:
    """Each cost by the name of a run, or of a network of other authors."""
    table = pd.read_csv(TABLE, index_col="network")
    return {name: Cost(*row) for name, row in zip(table.index, table.itertuples(index=False), strict=True)}


def count() -> dict[str, Cost]:
    """The same, counted on networks with random weights for the emotions of EmoDB."""
    from serlib import flops
    from studies import frontends, variants
    from studies.others import reference_networks

    settings = {name: variants.resolve(name, "paper", 0, config.STUDENT.num_classes) for name in (*config.RUNS, *STEPS)}
    own = {name: flops.count(frontends.of_run(run_config)) for name, run_config in settings.items()}
    searched = records.read_all(TABLE.parents[1] / "results/recordings/crema-d")
    own |= {r.run: of_record(r) for r in searched if r.protocol == splits.ACTOR_SELECTION and r.run not in own}
    others = {name: Cost(0, other.flops, 0, float(other.seconds or 0)) for name, other in reference_networks().items()}
    return {name: Cost(*cost, 0.0) for name, cost in own.items()} | others


def of_record(record: records.Record) -> "flops.Cost":
    """The cost of a record's network, from the record's configuration; a window counts as an image of its width."""
    from serlib import flops
    from studies import frontends, variants

    c, model = record.configuration, record.configuration.run.model
    size = model.image_size[0], model.get("window") or model.image_size[1]
    beyond = c.get("beyond") or {name: model[name] for name in ("deltas", "convolutions") if model.get(name)}
    plain = config.Model(image_size=size, width=model.width, depth=model.depth, heads=model.heads)
    settings = {"beyond": beyond, "features": {"image_size": size}}
    return flops.count(frontends.network(variants.from_beyond(beyond).network(plain), settings))


def others() -> dict[str, Cost]:
    """The networks of other authors."""
    return {name: cost for name, cost in read().items() if not cost.parameters}


if __name__ == "__main__":
    with atomic_write(TABLE) as written:
        counted = pd.DataFrame.from_dict(count(), orient="index", columns=Cost._fields)
        counted.to_csv(written, index_label="network", lineterminator="\n")
