"""What the notebooks share: their parameters checked, and the records, images and tables of this build found.

A notebook reads. Where something has not been made, the message says the command that makes it.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import Markdown

from companion import figures
from serlib import config, metrics, records
from serlib.data import corpora, facts

if TYPE_CHECKING:  # torch is imported where it is used: most notebooks only read records
    from torch import Tensor

    from serlib.model import SpectrogramViT
    from serlib.probes import Probe

SYNTHETIC = (
    "What this build trained was trained on **synthetic speech**: a synthesizer reading the corpus's sentences. It shows "
    "that the machinery works and says nothing about people, and nothing about the paper's numbers. What is said here of "
    "people's recordings rests on committed records and published files instead."
)

# Who speaks, as tables say it; the hyphen keeps its word on one line.
SPEAKERS = {"recordings": "people", "synthetic": "synthetic"}


def start(namespace: Mapping[str, Any]) -> "Build":
    """First call of every notebook, with ``globals()``: checks the parameters, sets the figures' look, finds the build.

    Raises:
        ValueError: a parameter that the notebook does not have, or of another type than its default.
    """
    cells = [cell for cell in namespace["In"] if cell.strip()]
    if cells:  # nbval keeps no history of cells, and injects nothing
        check_parameters(cells[0], [cell for cell in cells[1:] if cell.startswith("# Parameters")])
    figures.style()
    wanted = {name: namespace[name] for name in ("corpus", "speech", "schedule") if name in namespace}
    return Build(find_root(Path.cwd()), **wanted)


def check_parameters(declared: str, injected: Iterable[str]) -> None:
    """Hold the injected parameters against the notebook's own ``parameters`` cell; both are source text."""
    defaults = _assigned(declared)
    for cell in injected:
        for name, value in _assigned(cell).items():
            if name not in defaults:
                raise ValueError(f"unknown parameter {name!r}; this notebook takes {', '.join(defaults)}")
            if type(value) is not type(defaults[name]):
                raise ValueError(f"parameter {name} = {value!r}: expected {type(defaults[name]).__name__}")


def _assigned(source: str) -> dict[str, Any]:
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def find_root(start: Path) -> Path:
    """The checkout that ``start`` lies in.

    Raises:
        ValueError: ``start`` lies in none.
    """
    for folder in (start, *start.parents):
        if (folder / "Snakefile").exists():
            return folder
    raise ValueError(f"{start} is not in a checkout of the companion: run the notebook from there")


@dataclass(frozen=True)
class Build:
    """What one build made of one corpus, and the committed records of real runs."""

    root: Path
    corpus: str = "emodb"
    speech: str = "synthetic"
    schedule: str = "synthetic"

    @property
    def remedy(self) -> str:
        synthetic = "make book"
        real = f"make book CORPUS={self.corpus} DATA=<its folder> SCHEDULE={self.schedule}"
        return f"make it with `{synthetic if self.speech == 'synthetic' else real}`"

    @property
    def folder(self) -> Path:
        return self.root / "build" / self.speech / self.corpus

    @cached_property
    def utterances(self) -> corpora.Corpus:
        """The corpus's table."""
        if not (self.folder / "corpus.csv").exists():
            raise ValueError(f"no {self.speech} of {self.corpus!r} in this build: {self.remedy}")
        return corpora.read(self.folder / "corpus.csv", self.folder / "audio", self.corpus, self.speech)

    def corpora(self) -> list[corpora.Corpus]:
        """Every corpus of this build with this speech, in the order of the paper."""
        folder = self.root / "build" / self.speech
        names = sorted((path.parent.name for path in folder.glob("*/corpus.csv")), key=_paper_order)
        if not names:
            raise ValueError(f"no {self.speech} in this build: {self.remedy}")
        return [replace(self, corpus=name).utterances for name in names]

    def images(self, settings: config.Features | None = None) -> "Tensor":
        """The corpus's log-Mel images, (files, 1, height, width), in the order of its utterances."""
        from serlib.data import features

        hashes = [utterance.sha256 for utterance in self.utterances.utterances]
        paths = [utterance.path for utterance in self.utterances.utterances]
        return features.images(paths, hashes, settings or config.Features(), self.root / "build/cache", progress=False)

    def waveform(self, index: int) -> "Tensor":
        """One utterance's samples, (samples,), at the features' rate."""
        from serlib.data import features

        return features.read_audio(self.utterances.utterances[index].path, config.Features())

    def pick(self, emotion: str, draw: int) -> int:
        """An utterance of an emotion ("": the corpus's first), drawn by number: the same for the same number."""
        emotion = emotion or self.utterances.emotions[0]
        of_emotion = [i for i, u in enumerate(self.utterances.utterances) if u.emotion == emotion]
        if not of_emotion:
            raise ValueError(f"emotion {emotion!r} is none of {', '.join(self.utterances.emotions)}")
        return of_emotion[draw % len(of_emotion)]

    def _path(self, run: str, protocol: str, fold: int, seed: int) -> Path:
        where = records.location(self.speech, self.corpus, self.schedule, protocol, fold, run, seed)
        return self.root / "build/runs" / where

    def record(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> records.Record:
        """A run's record: of this build, else of the committed ones."""
        path = self._path(run, protocol, fold, seed)
        committed = self.root / "results" / path.relative_to(self.root / "build/runs")
        if not path.exists() and not committed.exists():
            raise ValueError(f"no record {path.relative_to(self.root / 'build/runs')}: {self.remedy}")
        return records.read(path if path.exists() else committed)

    def network(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> "SpectrogramViT":
        """A run's trained network, in eval mode."""
        from serlib import model

        path = self._path(run, protocol, fold, seed).with_suffix(".safetensors")
        if not path.exists():
            raise ValueError(f"no weights {path.relative_to(self.root / 'build/runs')}: {self.remedy}")
        return model.load(path)[0]

    @cached_property
    def built(self) -> list[records.Record]:
        """Every record of this build with this speech and schedule."""
        return [
            record
            for record in records.read_all(self.root / "build/runs" / self.speech)
            if record.configuration.schedule == self.schedule
        ]

    def probes(self, committed: bool) -> list["Probe"]:
        """The committed probes, all of people's recordings; or those of this build with this corpus and schedule."""
        from serlib import probes

        if committed:
            return probes.read_all(self.root / "results/probes")
        built = probes.read_all(self.root / "build/probes" / self.speech)
        return [p for p in built if (p.corpus, p.schedule) == (self.corpus, self.schedule)]

    @cached_property
    def committed(self) -> list[records.Record]:
        """Every committed record; all are of people's recordings."""
        return records.read_all(self.root / "results/recordings")

    def about(self) -> Markdown:
        """What every page says first: whose speech its numbers are made from."""
        if self.speech == "synthetic":
            return note(SYNTHETIC)
        epochs = config.SCHEDULES[self.schedule].epochs if self.schedule in config.SCHEDULES else self.schedule
        return note(
            f"Made from **recordings of people** ({self.corpus}), {epochs} epochs a stage (schedule `{self.schedule}`)."
        )


def note(text: str) -> Markdown:
    """A paragraph set off from the text."""
    return Markdown(f"> {text}")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markdown:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def times(size: Sequence[int]) -> str:
    """``128 x 128``."""
    return " x ".join(map(str, size))


def percent(interval: metrics.Interval, digits: int = 1) -> str:
    """``81.3 [74.8, 87.9]``: an estimate and its interval in per cent."""
    at, low, high = (100 * value for value in (interval.estimate, interval.low, interval.high))
    return f"{at:.{digits}f} [{low:.{digits}f},\N{NO-BREAK SPACE}{high:.{digits}f}]"


def points(interval: metrics.Interval) -> str:
    """``+1.2 [-0.3, +2.8]``: a difference of two accuracies and its interval in points."""
    # adding zero takes the sign from a negative zero
    at, low, high = (round(100 * value, 1) + 0.0 for value in (interval.estimate, interval.low, interval.high))
    return f"{at:+.1f} [{low:+.1f},\N{NO-BREAK SPACE}{high:+.1f}]"


def direction(interval: metrics.Interval) -> str:
    """What a difference's interval says: "better", "worse", or, where it holds zero, "no difference shown"."""
    return "better" if interval.low > 0 else "worse" if interval.high < 0 else "no difference shown"


def spread(values: Mapping[str, float]) -> str:
    """``2.2 [2.0, 2.3]``: the median of some measurements, the smallest and the largest."""
    middle, low, high = (f"{values[key]:.3g}" for key in ("median", "min", "max"))
    return f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"


def accuracy(record: records.Record, part: str = "test", measure=metrics.weighted_accuracy) -> metrics.Interval:
    """A record's accuracy on a part, with its interval over speakers."""
    true, predicted = record.labels(part)
    return metrics.bootstrap(true, predicted, record.parts[part].speaker, len(record.emotions), measure)


def pooled(used: Iterable[records.Record]) -> list[records.Record]:
    """Records of one run and protocol as one: their parts put end to end, so that accuracies pool every fold and seed."""
    groups: dict[tuple[str, ...], list[records.Record]] = {}
    for record in used:
        groups.setdefault(_group(record), []).append(record)
    return [joined(groups[key]) for key in sorted(groups, key=lambda key: (_paper_order(key[1]), key))]


def joined(group: Sequence[records.Record]) -> records.Record:
    """Some records as one: all that of the first, but the parts of all put end to end."""

    def values(part: str, column: str) -> tuple:
        return tuple(value for record in group for value in getattr(record.parts[part], column))

    columns = [column.name for column in fields(records.Part)]
    parts = {part: records.Part(**{c: values(part, c) for c in columns}) for part in ("train", "test")}
    return replace(group[0], parts=parts)


def layers_table(found: Iterable["Probe"]) -> Markdown:
    """How well each run's tokens tell their column's number, on the image and at the first and the last layer."""
    from serlib import probes

    rows = []
    for (_, corpus, _, protocol), runs in probes.grouped(found).items():
        for run, folds in runs.items():
            p = probes.pooled(folds)
            compared = probes.compared(run, runs)
            rows.append(
                (
                    f"`{corpus}`, `{protocol}` {ranges(fold.fold for fold in folds)}",
                    f"`{run}`",
                    f"{len(p.file):,}",
                    *(share(p.explained(layer)) for layer in (probes.IMAGE, "embedding", p.last)),
                    f"{share(compared.gain, '+')} (`{compared.base}`)" if compared else "",
                )
            )
    head = (
        "corpus, split, folds",
        "run",
        "held out",
        "image",
        "embedding",
        "last block",
        "last block minus that of the run named",
    )
    return table(head, rows)


def orders_table(found: Iterable["Probe"]) -> Markdown:
    """What another order of the columns of speech costs each run."""
    from serlib import probes

    rows = []
    for (_, corpus, _, protocol), runs in probes.grouped(found).items():
        for run, folds in runs.items():
            p = probes.pooled(folds)
            cells = []
            for order in probes.ORDERS[1:]:
                changed = sum(a != b for a, b in zip(p.predicted[probes.ORDERS[0]], p.predicted[order], strict=True))
                cells.append(f"{percent(p.lost(order))}; {changed}")
            where = f"`{corpus}`, `{protocol}` {ranges(fold.fold for fold in folds)}"
            rows.append((where, f"`{run}`", f"{len(p.file):,}", percent(p.accuracy(probes.ORDERS[0])), *cells))
    changes = (f"{order}: points lost; decisions changed" for order in probes.ORDERS[1:])
    return table(("corpus, split, folds", "run", "held out", "WA % as it is", *changes), rows)


def share(at: metrics.Interval, sign: str = "") -> str:
    """``0.93 [0.92, 0.95]``, with ``sign`` "+" ``+0.01 [-0.02, +0.04]``."""
    low, middle, high = (f"{round(value, 2) + 0.0:{sign}.2f}" for value in (at.low, at.estimate, at.high))
    return f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"


ACCURACY_HEAD = ("corpus, split, folds", "run", "epochs; seeds", "held out", "WA %", "UA %", "WA % trained on")


def accuracy_rows(used: Sequence[records.Record]) -> list[tuple[Any, ...]]:
    """A row for each run, protocol and schedule, under :data:`ACCURACY_HEAD`; the last is of the training set.

    Behind the epochs stands the schedule's name where it is not the paper's.
    """
    rows = []
    for r in pooled(used):
        same = [o for o in used if _group(o) == _group(r)]
        schedule = r.configuration.schedule
        other = "" if schedule in ("paper", config.BASELINE) else f" ({schedule})"
        spoken = ", synthetic" if r.speech == "synthetic" else ""
        rows.append(
            (
                f"`{r.corpus}`{spoken}, `{r.protocol}` {ranges(o.fold for o in same)}",
                f"`{r.run}`",
                f"{epochs(r)}{other}; {ranges(o.seed for o in same)}",
                f"{len(r.parts['test'].file):,}",
                percent(accuracy(r)),
                percent(accuracy(r, measure=metrics.unweighted_accuracy)),
                percent(accuracy(r, "train")),
            )
        )
    return rows


def epochs(r: records.Record) -> str:
    """Epochs a stage; a baseline that does not learn in epochs has none."""
    return str(r.configuration.training.epochs) if r.curves else "\N{EN DASH}"


def _group(r: records.Record) -> tuple[str, ...]:
    return r.speech, r.corpus, r.configuration.schedule, r.protocol, r.run


def _paper_order(corpus: str) -> int:
    names = list(facts.CORPORA)
    return names.index(corpus) if corpus in names else len(names)


def ranges(numbers: Iterable[int]) -> str:
    """``0-9``, or ``0, 2`` where there are gaps."""
    found = sorted(set(numbers))
    if len(found) > 1 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]}-{found[-1]}"
    return ", ".join(map(str, found))


def commands(used: Iterable[records.Record]) -> Markdown:
    """For each run, protocol, seed and precision the one command of the graph that makes the records of ``used`` again.

    The graph makes what a run needs first: images, and the teacher of a student that follows one.
    """
    folds: dict[tuple[Any, ...], set[int]] = {}
    for r in used:
        c = r.configuration
        group = (r.corpus, c.schedule, r.protocol, r.run, r.seed, c.training.precision)
        folds.setdefault(group, set()).add(r.fold)
    lines = []
    for (corpus, schedule, protocol, run, seed, precision), some in folds.items():
        fold = ",".join(map(str, sorted(some)))
        place = records.location(
            "recordings", corpus, schedule, protocol, f"{{{fold}}}" if len(some) > 1 else fold, run, seed
        )
        usual = config.SCHEDULES.get(schedule, config.Training()).precision
        exact = "" if precision == usual else f" precision={precision}"
        lines.append(
            f".venv/bin/snakemake build/runs/{place} --workflow-profile workflow/profiles/default "
            f"--config corpus={corpus} data=data/{corpus}{exact}"
        )
    return Markdown("\n".join(("```bash", *lines, "```")))


def sources(used: Iterable[records.Record]) -> Markdown:
    """Where the numbers of a page came from: run, split, seed, commit, date and seconds of every record used."""
    rows = [
        (
            f"`{r.run}`",
            f"`{r.corpus}`, {SPEAKERS[r.speech]}",
            f"`{r.protocol}` {r.fold}",
            r.seed,
            epochs(r),
            f"{r.provenance['seconds']:.0f}",
            f"`{r.provenance['commit'][:8]}`{' + changes' if r.provenance['dirty'] else ''}",
            f"`{r.result[:12]}`",
        )
        for r in used
    ]
    return table(("run", "corpus", "split, fold", "seed", "epochs", "seconds", "code", "result"), rows)
