"""The results of :mod:`studies.probes` as JSON: one file per network, with values for every held-out utterance.

Readers need no PyTorch.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from serlib import config
from serlib.engine.plain import read_json, write_json
from serlib.files import below
from serlib.records import RecordError


@dataclass(frozen=True)
class Probe:
    """One network's test set, utterance by utterance."""

    corpus: str
    speech: str
    schedule: str
    protocol: str
    fold: int
    run: str
    seed: int
    emotions: tuple[str, ...]
    result: str  # of the run's record
    file: tuple[str, ...]
    speaker: tuple[str, ...]
    true: tuple[int, ...]
    variation: tuple[float, ...]  # of the column numbers: sum of squares about the training set's mean, columns squared
    errors: dict[str, tuple[float, ...]]  # layer: sum of the probe's squared errors, columns squared
    predicted: dict[str, tuple[int, ...]]  # order of the columns: labels

    def __post_init__(self) -> None:
        labels = (self.true, *self.predicted.values())
        columns = (self.file, self.speaker, self.variation, *self.errors.values(), *labels)
        if len({len(column) for column in columns}) != 1:
            raise RecordError("columns of different lengths")
        squares = np.array((self.variation, *self.errors.values()))
        if not (np.isfinite(squares) & (squares >= 0)).all():
            raise RecordError("a sum of squares is negative or not finite")
        if not set().union(*labels) <= set(range(len(self.emotions))):
            raise RecordError(f"a label outside the {len(self.emotions)} emotions")

    def r2(self, layer: str) -> float:
        """The fraction of the variation of column numbers that a layer's tokens explain on the test set."""
        return 1 - sum(self.errors[layer]) / sum(self.variation)

    @property
    def last(self) -> str:
        return list(self.errors)[-1]


def write(probe: Probe, path: str | Path) -> None:
    """Write a probe as JSON with a digest of its content."""
    write_json(asdict(probe), path)


def read_all(folder: str | Path) -> list[Probe]:
    """Every probe below ``folder``, in the order of their paths; hidden files and folders hold none.

    Raises:
        RecordError: a file is no probe or was changed since it was written.
    """
    probes = []
    for path in below(folder, ".json"):
        try:
            probes.append(config.from_plain(Probe, read_json(path)))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}: not a probe ({error}); make it again") from error
    return probes
