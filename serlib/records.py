"""The run record: all that crosses from computing to telling.

One JSON file holds what a run was (configuration, corpus, split, seed), what came of it (learning curves and the
prediction for every utterance, so that any figure of merit can be computed later) and where it was made. Its ``digest``
covers everything else in the file; :func:`read` refuses a record that was edited or has another version.

The configuration is data, a mapping, and not one of today's classes: a record of a run that the code no longer has is read
as any other. ``provenance["commit"]`` names the code that made it.
"""

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from serlib import config
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.errors import SerlibError
from serlib.files import atomic_write, below, check

VERSION = 2


class RecordError(SerlibError):
    """A record that cannot be used; the message names the file and the remedy."""


class Settings(dict):
    """JSON values by name, in a record's order; a name is an attribute too: ``settings.training.epochs``.

    A field that is younger than the record is missing: ``settings.training.get("log_test_accuracy", False)``.
    """

    @classmethod
    def of(cls, configuration: Any) -> "Settings":
        """What a record says of a configuration, or of a part of one."""
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
    """One run. ``provenance`` says where and how long; all else is the same, bit for bit, for the same seed on a CPU."""

    corpus: str
    speech: str  # "recordings" or "synthetic"
    emotions: tuple[str, ...]
    fingerprint: str  # of the corpus
    excluded: tuple[tuple[str, str], ...]  # file, reason
    notes: tuple[str, ...]  # counts that differ from the corpus as published
    protocol: str
    fold: int
    split: str  # digest of the split
    configuration: Any  # of a config.RunConfig; held as :class:`Settings`
    teacher: str  # digest of the teacher run's result, "" for none
    curves: dict[str, dict[str, tuple[float, ...]]]  # stage, loss, one value per epoch
    parts: dict[str, Part]  # "train", "test" and, of a protocol that has one, "validation"
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "configuration", Settings.of(self.configuration))
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
        """SHA-256 (hex) over all but ``provenance``: equal for two runs with the same outcome.

        Of a record that was read, over what its file says: a setting that is younger than the file changes nothing.
        """
        return _result(_texts(json.loads(json.dumps(asdict(self)))))

    @property
    def location(self) -> str:
        """Where the record lies below a folder of runs."""
        where = (self.speech, self.corpus, self.schedule, self.protocol, self.fold, self.run, self.seed)
        return location(*where, self.images)

    def labels(self, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
        """True and predicted labels of a part, integers (utterances,)."""
        return np.array(self.parts[part].true, dtype=int), np.array(self.parts[part].predicted, dtype=int)

    def describe(self) -> str:
        """One line that says what the numbers of this run are numbers of."""
        speech = "recordings" if self.speech == "recordings" else "synthetic speech"
        fold, test = f"{self.protocol} fold {self.fold}", len(self.parts["test"].file)
        said = f"{self.corpus} ({speech}), {fold}, {test} test utterances, seed {self.seed}"
        return f"{said}, {self.epochs} epochs a stage" if self.curves else said


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


def write(record: Record, path: Path) -> None:
    """Write ``record`` as JSON, with its version and digest."""
    plain = {"version": VERSION, **json.loads(json.dumps(asdict(record)))}
    lines = (
        f"{json.dumps(name)}: {json.dumps(value)}"
        for name, value in {**plain, "digest": _sha256(_texts(plain))}.items()
    )
    with atomic_write(path) as beside:
        beside.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> Record:
    """The record in ``path``.

    Raises:
        RecordError: missing, not a record, of another version, or changed since it was written.
    """
    try:
        text = check(path).read_text(encoding="utf-8")
        plain = json.loads(text)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such record") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON ({error})") from error
    if not isinstance(plain, dict) or "version" not in plain:
        raise RecordError(f"{path}: not a run record")
    if plain["version"] != VERSION:
        raise RecordError(f"{path}: version {plain['version']}, this serlib reads {VERSION}; make the record again")
    digest, texts = plain.pop("digest", None), _texts(plain)
    if digest != _sha256(texts):
        raise RecordError(f"{path}: changed since it was written (digest differs); restore it or make it again")
    try:
        if unknown := plain.keys() - {"version", *(field.name for field in fields(Record))}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        record = config.from_json(Record, text, extra="ignore")
    except ValueError as error:
        raise RecordError(f"{path}: not a whole record ({error})") from error
    record.__dict__["result"] = _result(texts)
    return record


def read_all(folder: Path) -> list[Record]:
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
    """Where a run's record lies below a folder of runs; its weights lie beside it as ``.safetensors``.

    The path names everything in which two runs of one corpus may differ; the schedule's name says the precision.
    ``fold`` and ``seed`` may be a shell's pattern for several, such as ``{0..9}``.
    """
    return f"{speech}/{corpus}/{images}/{schedule}/{protocol}-{fold}/{run}-seed{seed}.json"


def library_versions() -> dict[str, str]:
    """The versions on which predictions may depend."""
    return {name: metadata.version(name) for name in ("torch", "torchaudio", "lightning", "numpy")}


def provenance(device: str, threads: int, seconds: float) -> dict[str, Any]:
    """Where, when and by what code something was made: on how many CPU threads, in how many seconds of wall-clock time."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
        "device": device,
        "threads": threads,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **library_versions(),
        **commit(Path(__file__).parents[1]),
    }


def git(folder: Path, *arguments: str) -> str | None:
    """What git says of the checkout whose top level is ``folder``; None where it is none, or git fails or is missing.

    A repository around ``folder`` is another project's, and so may be one that GIT_DIR names, as in a hook.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}

    def ask(*arguments: str) -> str:
        command = ("git", "--no-optional-locks", "-c", "core.fileMode=false", "-C", folder, *arguments)
        ran = subprocess.run(command, env=environment, capture_output=True, check=True)
        return os.fsdecode(ran.stdout).strip()

    try:
        own = Path(ask("rev-parse", "--show-toplevel")).resolve() == folder.resolve()
        return ask(*arguments) if own else None
    except (OSError, subprocess.CalledProcessError):
        return None


def commit(folder: Path) -> dict[str, Any]:
    """The commit of a checkout, and whether its method differs from it; of no checkout "unknown"."""
    found = git(folder, "rev-parse", "HEAD")
    changed = git(folder, "status", "--porcelain", "--untracked-files=normal", "--", "serlib", "studies")
    return {"commit": found or "unknown", "dirty": not found or changed != ""}


def _texts(plain: dict[str, Any]) -> dict[str, str]:
    """Each field's canonical JSON, fields in order."""
    return {name: json.dumps(plain[name], sort_keys=True, separators=(",", ":")) for name in sorted(plain)}


def _result(texts: dict[str, str]) -> str:
    return _sha256({k: v for k, v in texts.items() if k not in ("version", "provenance")}, "[{}]")


def _sha256(texts: dict[str, str], around: str = "{}") -> str:
    """SHA-256 (hex) of the JSON object, within brackets as a list of one."""
    whole = ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items())
    return hashlib.sha256(around.replace("{}", "{" + whole + "}", 1).encode()).hexdigest()
