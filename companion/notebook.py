"""What the notebooks share: their parameters checked, and the records, images and tables of this build found.

A notebook reads. Where something has not been made, the message says the command that makes it.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from IPython.display import Markdown

from companion import claims, figures, results, text
from serlib import config, records
from serlib.data import corpora

if TYPE_CHECKING:  # torch is imported where it is used: most notebooks only read records
    from torch import Tensor

    from serlib.model import SpectrogramViT
    from serlib.probes import Probe

SYNTHETIC = (
    '<span class="synthetic">synthetic speech</span> What this build trained shows that the machinery works, and says '
    "nothing about people. What is said of people's recordings rests on committed records."
)


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
        names = results.in_order(path.parent.name for path in folder.glob("*/corpus.csv"))
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
        from serlib import checkpoints

        path = self._path(run, protocol, fold, seed).with_suffix(".safetensors")
        if not path.exists():
            raise ValueError(f"no weights {path.relative_to(self.root / 'build/runs')}: {self.remedy}")
        return checkpoints.load(path)[0]

    @cached_property
    def built(self) -> list[records.Record]:
        """Every record of this build with this speech and schedule."""
        return [
            record
            for record in records.read_all(self.root / "build/runs" / self.speech)
            if record.configuration.schedule == self.schedule
        ]

    @cached_property
    def probes(self) -> list["Probe"]:
        """The probes of this build with this corpus and schedule."""
        from serlib import probes

        found = probes.read_all(self.root / "build/probes" / self.speech)
        return [p for p in found if (p.corpus, p.schedule) == (self.corpus, self.schedule)]

    @cached_property
    def committed_probes(self) -> list["Probe"]:
        """The committed probes, all of people's recordings."""
        from serlib import probes

        return probes.read_all(self.root / "results/probes")

    @cached_property
    def committed(self) -> list[records.Record]:
        """Every committed record; all are of people's recordings."""
        return records.read_all(self.root / "results/recordings")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The committed records' predictions, see :func:`companion.results.predictions`."""
        return results.predictions(self.committed)

    @cached_property
    def noise(self) -> results.Noise:
        """How far seeds lie apart in the committed records."""
        return results.seed_noise(self.predictions)

    def verdict(self, claim: str) -> Markdown:
        """A claim's verdict from the committed records and probes, and this build's records of recordings."""
        people = [r for r in self.built if r.speech == "recordings"] if self.speech == "recordings" else []
        predicted = results.predictions([*self.committed, *people]) if people else self.predictions
        found = claims.verdict(claim, predicted, results.tokens(self.committed_probes))
        return text.note(text.verdict(found))

    def about(self) -> Markdown:
        """What every page says first: whose speech its numbers are made from."""
        if self.speech == "synthetic":
            return Markdown(SYNTHETIC)
        epochs = config.SCHEDULES[self.schedule].epochs if self.schedule in config.SCHEDULES else self.schedule
        return text.note(
            f"Made from **recordings of people** ({self.corpus}), {epochs} epochs a stage (schedule `{self.schedule}`)."
        )
