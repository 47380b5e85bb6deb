"""What the notebooks share: their parameters checked, and the records, images and tables of this build found.

A notebook reads. Where something has not been made, the message says the command that makes it.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import Audio, Markdown, display
from matplotlib.figure import Figure

from companion import evidence, figures, labels, parameters, results, text
from serlib import config, records
from serlib.data import corpora, facts, splits
from serlib.errors import SerlibError

if TYPE_CHECKING:  # torch is imported where it is used: most notebooks only read records
    from torch import Tensor

    from companion.examples import Example, Seen
    from serlib.model import SpectrogramViT

SYNTHETIC = (
    '<span class="synthetic">synthetic speech</span> This build trained its own runs on it. They show that the machinery '
    "works, and say nothing about people. What is said of people's recordings rests on committed records."
)


SPEECH = ("examples", "synthetic", "recordings")
SEEDS = (0, 2**32 - 1)
RANGES = {
    "fold": SEEDS,
    "training_seed": SEEDS,
    "shuffle_seed": SEEDS,
    "draw": SEEDS,
    "num_classes": (2, config.MOST_CLASSES),
}


def start(namespace: Mapping[str, Any], **ranges: tuple[float, float]) -> "Build":
    """First call of every notebook, with ``globals()``: checks the parameters, sets the figures' look, finds the build.

    Args:
        ranges: the smallest and the largest value of a number, beside those that several notebooks have.

    Raises:
        ValueError: a parameter that the notebook does not have, of another type than its default, or of no such value.
    """
    cells = [cell for cell in namespace["In"] if cell.strip()]
    if cells:  # nbval keeps no history of cells, and injects nothing
        parameters.check(cells[0], [cell for cell in cells[1:] if cell.startswith("# Parameters")])
    for name, (low, high) in (RANGES | ranges).items():
        if name in namespace and not low <= namespace[name] <= high:
            raise SerlibError(f"parameter {name} = {namespace[name]}: give a number from {low} to {high}")
    if "protocol" in namespace:
        config.check("protocol", namespace["protocol"], splits.HELD_OUT)
    if shell := get_ipython():
        shell.run_line_magic("matplotlib", "inline")  # whatever MPLBACKEND says: a page shows its pictures
    figures.style()
    wanted = {name: namespace[name] for name in ("corpus", "speech", "schedule") if name in namespace}
    return Build(find_root(Path.cwd()), **wanted)


def find_root(start: Path) -> Path:
    """The checkout that ``start`` lies in.

    Raises:
        ValueError: ``start`` lies in none.
    """
    for folder in (start, *start.parents):
        if (folder / "Snakefile").exists():
            return folder
    raise SerlibError(f"{start} is not in a checkout of the companion: run the notebook from there")


def picture(figure: Figure, name: str, caption: str, finding: str, data: pd.DataFrame | None = None) -> None:
    """Show a figure with its caption; the book numbers it, and text refers to it by ``{numref}``.

    Args:
        name: unique among the figures of the book.
        finding: what it shows in words, computed, for those who cannot see it.
        data: the plotted numbers, a column each with its unit, which the book offers as CSV.
    """
    about = {"name": name, "caption": caption, "alt": finding}
    if data is not None:
        one_line = {column: data[column].map(_one_line) for column in data.select_dtypes("str")}
        about["data"] = labels.cells(data.assign(**one_line)).to_csv(index=False, float_format="%.6g")
    display(figure, metadata={"picture": about})
    display(
        Markdown(f"**{caption}** {labels.markdown(finding)}"), metadata={"caption": name}
    )  # JupyterLab shows no metadata
    plt.close(figure)


def _one_line(words: Any) -> Any:
    return " ".join(words.split()) if isinstance(words, str) else words


def _pick(emotions: list[str], emotion: str, draw: int) -> int:
    of_emotion = [i for i, one in enumerate(emotions) if emotion in ("", one)]
    if not of_emotion:
        raise SerlibError(f"emotion {emotion!r} is none of {', '.join(sorted(set(emotions)))}")
    return of_emotion[draw % len(of_emotion)]


@dataclass(frozen=True)
class Build:
    """What one build made of one corpus, and the committed records of real runs."""

    root: Path
    corpus: str = "emodb"
    speech: str = "synthetic"
    schedule: str = "synthetic"

    def __post_init__(self) -> None:
        if self.speech not in SPEECH:
            raise SerlibError(f"speech {self.speech!r} is none of {', '.join(SPEECH)}")
        if self.schedule.partition("-epochs")[0].rstrip("0123456789").rstrip("-") not in config.SCHEDULES:
            raise SerlibError(f"schedule {self.schedule!r} is none of {', '.join(config.SCHEDULES)}")
        if self.corpus not in facts.CORPORA and not self.folder.exists():
            raise SerlibError(f"no {self.speech} of {self.corpus!r} in this build: {self.remedy}")

    @property
    def remedy(self) -> str:
        if self.speech != "recordings" and self.corpus not in facts.CORPORA:
            own = f"`make book CORPUS={shlex.quote(self.corpus)} DATA=<its table> SCHEDULE=short`"
            return f"recordings of your own are made by {own} and shown with `-p speech recordings -p schedule short`"
        synthetic = "make book"
        audio = self.folder / "audio"  # where the recordings are linked to; of a table, its folder
        known = self.corpus in facts.CORPORA and audio.exists()
        data = shlex.quote(str(audio.resolve())) if known else "<its folder or table>"
        chosen = f" CHANNEL={self.settings.channel}" if self.settings.channel else ""
        real = f"make book CORPUS={self.corpus} DATA={data} SCHEDULE={self.schedule}{chosen}"
        return f"make it with `{synthetic if self.speech == 'synthetic' else real}`"

    @property
    def folder(self) -> Path:
        return self.root / "build" / self.speech / self.corpus

    @cached_property
    def utterances(self) -> corpora.Corpus:
        """The corpus's table."""
        if not (self.folder / "corpus.csv").exists():
            raise SerlibError(f"no {self.speech} of {self.corpus!r} in this build: {self.remedy}")
        return corpora.read(self.folder / "corpus.csv", self.folder / "audio", self.corpus, self.speech)

    @property
    def settings(self) -> config.Features:
        """How this build made its images: the corpus's table knows the channel."""
        there = (self.folder / "corpus.csv").exists()
        return config.Features(channel=self.utterances.channel) if there else config.Features()

    def corpora(self) -> list[corpora.Corpus]:
        """Every corpus of this build with this speech, in the order of the paper."""
        folder = self.root / "build" / self.speech
        names = results.in_order(path.parent.name for path in folder.glob("*/corpus.csv"))
        if not names:
            raise SerlibError(f"no {self.speech} in this build: {self.remedy}")
        return [replace(self, corpus=name).utterances for name in names]

    def images(self, settings: config.Features | None = None) -> "Tensor":
        """The corpus's log-Mel images, (files, 1, height, width), in the order of its utterances."""
        from serlib.data import features

        hashes = [utterance.sha256 for utterance in self.utterances.utterances]
        paths = [utterance.path for utterance in self.utterances.utterances]
        return features.images(paths, hashes, settings or self.settings, self.root / "build/cache", progress=False)

    def example(self, emotion: str, draw: int) -> "Example":
        """An utterance of an emotion ("": any), drawn by number: the same for the same number."""
        if self.speech == "examples":
            found = self.examples
            return found[_pick([e.emotion for e in found], emotion, draw)]
        import torch

        from companion.examples import Example
        from serlib.data import features

        settings, utterances = self.settings, self.utterances.utterances
        utterance = utterances[_pick([u.emotion for u in utterances], emotion, draw)]
        waveform = features.read_audio(utterance.path, settings, utterance.sha256)
        versions = (features.perturb(waveform, kind, settings, draw) for kind in config.PERTURBATIONS)
        images = torch.stack([features.image(version, settings) for version in versions])
        return Example(utterance.key, utterance.emotion, "", images)

    def listen(self, emotion: str, draw: int) -> Audio | None:
        """A player of :meth:`example`'s utterance where it is synthetic: no recording of people is passed on."""
        utterances = self.utterances.utterances if self.speech == "synthetic" else []
        return Audio(utterances[_pick([u.emotion for u in utterances], emotion, draw)].path) if utterances else None

    @cached_property
    def examples(self) -> list["Example"]:
        """The committed images of people's recordings, see :mod:`companion.examples`."""
        from companion import examples

        return examples.read(self.root / f"results/figures/{self.corpus}.npz")

    @cached_property
    def _shown(self) -> dict[str, records.Record]:
        """By run the record of each network that :attr:`examples` were given to."""
        runs = self.evidence.runs
        shown = runs[runs["result"].isin(self.examples[0].seen)]
        return {row.run: records.read(self.root / "results" / row.path) for row in shown.itertuples()}

    def seen(self, run: str, shown: "Example", protocol: str = "random", fold: int = 0, seed: int = 0) -> "Seen":
        """What a run's network makes of :meth:`example`'s utterance; of examples, as it is committed."""
        from companion import examples

        if self.speech == "examples":
            return shown.seen[self._of_examples(run).result]
        return examples.see(self.network(run, protocol, fold, seed), shown.images)

    def _path(self, run: str, protocol: str, fold: int, seed: int) -> Path:
        where = records.location(
            self.speech, self.corpus, self.schedule, protocol, fold, run, seed, self.settings.images
        )
        return self.root / "build/runs" / where

    def record(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> records.Record:
        """A run's record: of this build, else of the committed ones; of examples, that of the network they show."""
        if self.speech == "examples":
            return self._of_examples(run)
        path = self._path(run, protocol, fold, seed)
        committed = self.root / "results" / path.relative_to(self.root / "build/runs")
        if not path.exists() and not committed.exists():
            raise SerlibError(f"no record {path.relative_to(self.root / 'build/runs')}: {self.remedy}")
        return records.read(path if path.exists() else committed)

    def network(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> "SpectrogramViT":
        """A run's trained network, in eval mode: of this build; of examples, the committed one."""
        from studies import frontends

        if self.speech == "examples":
            wanted = self._of_examples(run).result
            for path in sorted((self.root / "weights").glob(f"{self.corpus}-*.safetensors")):
                network, about = frontends.load(path)
                if about["result"] == wanted:
                    return network
            raise SerlibError(f"no committed network of the run {run!r} of {self.corpus}; give -p speech synthetic")
        path = self._path(run, protocol, fold, seed).with_suffix(".safetensors")
        if not path.exists():
            raise SerlibError(f"no weights {path.relative_to(self.root / 'build/runs')}: {self.remedy}")
        return frontends.load(path)[0]

    def runs(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted runs whose networks can be shown: of examples, those that they were given to."""
        return [run for run in wanted if self.speech != "examples" or run in self._shown]

    def _of_examples(self, run: str) -> records.Record:
        if run not in self._shown:
            raise SerlibError(f"the examples of {self.corpus} show no run {run!r}; give -p speech synthetic")
        return self._shown[run]

    @property
    def built(self) -> list[records.Record]:
        """Every record of this build with this speech and schedule; there is at least one."""
        if not self._built:
            raise SerlibError(
                f"no {self.speech} trained by the schedule {self.schedule!r} in this build: {self.remedy}"
            )
        return self._built

    @cached_property
    def _built(self) -> list[records.Record]:
        found = records.read_all(self.root / "build/runs" / self.speech)
        return [record for record in found if record.schedule == self.schedule]

    @cached_property
    def probes(self) -> list[Any]:
        """The probes of this build with this corpus and schedule."""
        found = results.probes(self.root / "build/probes" / self.speech / self.corpus / self.settings.images)
        return [probe for probe in found if probe.schedule == self.schedule]

    @property
    def own_accuracies(self) -> pd.DataFrame:
        """Of this build's own runs, as :func:`companion.evidence.accuracies`; they are no evidence."""
        return evidence.accuracies(results.predictions(self.built), results.NO_NOISE)

    @cached_property
    def evidence(self) -> evidence.Evidence:
        """What the committed records say, see :mod:`companion.evidence`."""
        return evidence.read(self.root)

    def verdict(self, claim: str) -> Markdown:
        """What is found of each part of a claim."""
        verdicts = self.evidence.verdicts
        return text.note(text.answer(verdicts[verdicts["claim"] == claim]))

    def about(self) -> Markdown:
        """What every page says first: whose speech its numbers are made from."""
        if self.speech == "synthetic":
            return Markdown(SYNTHETIC)
        if self.speech == "examples":
            return Markdown(
                f"The utterance is from the test set of {facts.title(self.corpus)}, which the networks never saw. A rule chose it before anyone "
                "looked ([how](../book/corpora.html#utterances-that-figures-show))."
            )
        epochs = config.SCHEDULES[self.schedule].epochs if self.schedule in config.SCHEDULES else self.schedule
        return text.note(
            f"Made from **recordings of people** ({self.corpus}), {epochs} epochs a stage (schedule `{self.schedule}`)."
        )
