"""The run record: the only data that pass from training a run to the book.

One JSON file holds configuration, corpus, split and seed, the learning curves, the prediction for every utterance, and
where it was made. Its ``digest`` covers everything else in the file; :func:`read` refuses a record that was edited or has
another version.

The configuration is read as data, a mapping, so that a record outlives the run's code. ``provenance["commit"]`` names the
code that made it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from serlib import config
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.errors import SerlibError
from serlib.files import atomic_write, below, require_file

VERSION = 2


class RecordError(SerlibError):
    """A record that cannot be used; the message names the file and the remedy."""


class Settings(dict):
    """JSON values by name, in a record's order; a name is an attribute too: ``settings.training.epochs``.

    A field that is younger than the record is missing: ``settings.training.get("log_test_accuracy", False)``.
    """

    @classmethod
    def from_config(cls, configuration: Any) -> "Settings":
        """A configuration, or a part of one, as a record holds it."""
        return cls(json.loads(json.dumps(config.plain(configuration))))

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"no setting {name!r}, only {', '.join(self)}")
        return Settings(self[name]) if isinstance(self[name], dict) else self[name]


@dataclass(frozen=True)
class Part:
    """The evaluated utterances of one part: keys, speakers, and emotions as indices into the record's ``emotions``."""

    file: tuple[str, ...]
    speaker: tuple[str, ...]
    true: tuple[int, ...]
    predicted: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """One run. For the same seed on a CPU all but ``provenance`` is the same, bit for bit."""

    corpus: str
    speech: str  # "recordings" or "synthetic"
    emotions: tuple[str, ...]
    fingerprint: str  # of the corpus
    excluded: tuple[tuple[str, str], ...]  # file, reason
    notes: tuple[str, ...]  # how the corpus differs from the published one
    protocol: str
    fold: int
    split: str  # digest of the split
    configuration: Any  # of a config.RunConfig; held as :class:`Settings`
    teacher: str  # digest of the teacher run's result, "" for none
    curves: dict[str, dict[str, tuple[float, ...]]]  # stage, loss, one value per epoch
    parts: dict[str, Part]  # "train", "test"; some have "validation", or "test-3": normalised by 3 unlabelled ones
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "configuration", Settings.from_config(self.configuration))
        try:
            _ = self.run, self.seed, self.schedule, self.epochs, self.precision, self.images
        except (AttributeError, TypeError) as error:
            raise RecordError(f"configuration: {error}") from error
        for name, part in self.parts.items():
            columns = {len(getattr(part, column.name)) for column in fields(Part)}
            if len(columns) != 1:
                raise RecordError(f"part {name!r}: columns of different lengths {sorted(columns)}")
            if not set(part.true + part.predicted) <= set(range(len(self.emotions))):
                raise RecordError(f"part {name!r}: a label outside the {len(self.emotions)} emotions")
        for stage, losses in self.curves.items():
            for loss in (name for name, values in losses.items() if not all(map(math.isfinite, values))):
                raise RecordError(f"stage {stage!r}: {loss} is not finite")

    @property
    def run(self) -> str:
        return self.configuration.name

    @property
    def seed(self) -> int:
        return self.configuration.training.seed

    @property
    def schedule(self) -> str:
        return self.configuration.schedule

    @property
    def epochs(self) -> int:
        """Epochs of each stage."""
        return self.configuration.training.epochs

    @property
    def precision(self) -> str:
        """As Lightning Fabric names it."""
        return self.configuration.training.precision

    @property
    def images(self) -> str:
        """The images' size and channel, as :attr:`serlib.config.Features.images`."""
        features = self.configuration.features
        return config.images_name(features.image_size, features.get("channel", 0))

    @cached_property
    def result(self) -> str:
        """SHA-256 (hex) over all but ``provenance``: equal for two runs with the same outcome."""
        return _result(asdict(self))

    @property
    def location(self) -> str:
        """The record's path below a folder of runs."""
        cell = (self.speech, self.corpus, self.schedule, self.protocol, self.fold, self.run, self.seed)
        return location(*cell, self.images)

    def labels(self, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
        """True and predicted labels of a part, integers (utterances,)."""
        return np.array(self.parts[part].true, dtype=int), np.array(self.parts[part].predicted, dtype=int)

    def describe(self) -> str:
        """One line: corpus, split, seed and epochs of this run."""
        speech = "recordings" if self.speech == "recordings" else "synthetic speech"
        fold, test = f"{self.protocol} fold {self.fold}", len(self.parts["test"].file)
        epochs = f", {self.epochs} epochs a stage" if self.curves else ""
        return f"{self.corpus} ({speech}), {fold}, {test} test utterances, seed {self.seed}{epochs}"


def part(corpus: Corpus, keys: Iterable[str], predicted: Sequence[int]) -> Part:
    """The utterances ``keys`` of a corpus, with the labels predicted for all of its utterances in their order."""
    labels, keys = corpus.labels, tuple(keys)
    rows = corpus.rows(keys)
    speakers = tuple(corpus.utterances[i].speaker for i in rows)
    return Part(keys, speakers, tuple(labels[i] for i in rows), tuple(predicted[i] for i in rows))


def finish(
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    predicted: Sequence[int],
    provenance: dict[str, Any],
    teacher: str = "",
    curves: dict[str, dict[str, tuple[float, ...]]] | None = None,
) -> Record:
    """The record of a run that predicted a label for every utterance of ``corpus``, in their order."""
    return Record(
        corpus=corpus.name,
        speech=corpus.speech,
        emotions=corpus.emotions,
        fingerprint=corpus.fingerprint,
        excluded=tuple((item.file, item.reason) for item in corpus.excluded),
        notes=corpus.notes,
        protocol=split.protocol,
        fold=split.fold,
        split=split.digest,
        configuration=run_config,
        teacher=teacher,
        curves=curves or {},
        parts={name: part(corpus, keys, predicted) for name, keys in split.parts.items()},
        provenance=provenance,
    )


def write(record: Record, path: str | Path) -> None:
    """Write ``record`` as JSON, with its version and digest."""
    plain = {"version": VERSION, **asdict(record)}
    plain["digest"] = _digest(plain)
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in plain.items())
    with atomic_write(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: str | Path) -> Record:
    """The record in ``path``.

    Raises:
        RecordError: not a record, of another version, or changed since it was written.
    """
    try:
        plain = json.loads(require_file(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON ({error})") from error
    if not isinstance(plain, dict) or "version" not in plain:
        raise RecordError(f"{path}: not a run record")
    if plain["version"] != VERSION:
        raise RecordError(f"{path}: version {plain['version']}, this serlib reads {VERSION}; make the record again")
    if plain.pop("digest", None) != _digest(plain):
        raise RecordError(f"{path}: changed since it was written (digest differs); restore it or make it again")
    try:
        record = config.from_plain(Record, {name: value for name, value in plain.items() if name != "version"})
    except ValueError as error:
        raise RecordError(f"{path}: not a whole record ({error})") from error
    record.__dict__["result"] = _result(plain)  # as the file says: a setting that is younger changes nothing
    return record


def read_all(folder: str | Path) -> list[Record]:
    """Every record below ``folder``, in the order of their paths; hidden files and folders hold none."""
    return [read(path) for path in below(folder, ".json")]


def location(
    speech: str,
    corpus: str,
    schedule: str,
    protocol: str,
    fold: int | str,
    run: str,
    seed: int | str,
    images: str = config.Features().images,
) -> str:
    """The path of a run's record below a folder of runs; its weights lie beside it as ``.safetensors``.

    The path names everything in which two runs of one corpus may differ; the schedule's name says the precision.
    ``fold`` and ``seed`` may be a shell's pattern for several, such as ``{0..9}``.
    """
    return f"{speech}/{corpus}/{images}/{schedule}/{protocol}-{fold}/{run}-seed{seed}.json"


def _digest(plain: dict[str, Any]) -> str:
    """SHA-256 (hex) over everything else in the file."""
    return hashlib.sha256(config.canonical(plain).encode()).hexdigest()


def _result(plain: dict[str, Any]) -> str:
    return config.digest({name: value for name, value in plain.items() if name not in ("version", "provenance")})
