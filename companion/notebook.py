"""Code that the notebooks share: it checks their parameters and finds the records, images and tables of this build.

A notebook only reads. If something has not been made, the error names the command that makes it.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
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
from studies import probed

if TYPE_CHECKING:  # torch is imported where it is used: most notebooks only read records
    from torch import Tensor

    from companion.examples import Example, Seen
    from serlib.model import SpectrogramViT

SYNTHETIC = (
    '<span class="synthetic">synthetic speech</span> This build trained its own runs on it. They show that the machinery '
    "works, and say nothing about people. What is said of people's recordings rests on committed records."
)
SPEECH = ("examples", "synthetic", "recordings")
RANGES = dict.fromkeys(("fold", "training_seed", "shuffle_seed", "draw"), (0, 2**32 - 1))
RANGES |= {"num_classes": (2, config.MOST_CLASSES)}


def start(namespace: Mapping[str, Any], **ranges: tuple[float, float]) -> "Build":
    """First call of every notebook, with ``globals()``: checks the parameters, sets the figures' look, finds the build.

    Args:
        ranges: the smallest and the largest value of a numeric parameter, in addition to :data:`RANGES`.

    Raises:
        ValueError: the notebook has no such parameter; a parameter has another type than its default, or a value out of
            range; or the notebook lies in no checkout.
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
    names = ("corpus", "speech", "schedule") if "speech" in namespace else ()  # else only committed records are read
    settings = {name: namespace[name] for name in names}
    current = Path.cwd()
    for folder in (current, *current.parents):
        if (folder / "Snakefile").exists():
            return Build(folder, **settings)
    raise SerlibError(f"{current} is not in a checkout of the companion: run the notebook from there")


def picture(figure: Figure, name: str, caption: str, finding: str, data: pd.DataFrame | None = None) -> None:
    """Show a figure with its caption; the book numbers it, and text refers to it by ``{numref}``.

    Args:
        name: unique among the figures of the book.
        finding: the figure's content in words, computed, for readers who cannot see it.
        data: the plotted numbers, a column each with its unit, which the book offers as CSV.
    """
    entry = {"name": name, "caption": caption, "alt": finding}
    if data is not None:
        data = data.assign(**data.select_dtypes("str").replace(r"\s+", " ", regex=True))
        if "corpus" in data:  # by the name that the records have
            data["corpus"] = data["corpus"].replace({facts.title(name): name for name in facts.CORPORA})
        entry["data"] = labels.cells(data.rename(columns=labels.UNITS)).to_csv(index=False, float_format="%.6g")
        if changed := labels.misread(data):
            entry["read"] = labels.call(f"'{name}.csv'", changed)
    display(figure, metadata={"picture": entry})
    visible = Markdown(f"**{caption}** {labels.markdown(finding)}")  # JupyterLab shows no metadata
    display(visible, metadata={"caption": name})
    plt.close(figure)


def _pick(utterances: Sequence[Any], emotion: str, draw: int) -> Any:
    candidates = [u for u in utterances if emotion in ("", u.emotion)]
    if not candidates:
        raise SerlibError(f"emotion {emotion!r} is none of {', '.join(sorted({u.emotion for u in utterances}))}")
    return candidates[draw % len(candidates)]


@dataclass(frozen=True)
class Build:
    """The files that one build made from one corpus, and the committed records of runs on recordings of people."""

    root: Path
    corpus: str = "emodb"
    speech: str = "synthetic"
    schedule: str = "synthetic"

    def __post_init__(self) -> None:
        if self.speech not in SPEECH:
            raise SerlibError(f"speech {self.speech!r} is none of {', '.join(SPEECH)}")
        if re.sub(r"-\d+-epochs\Z", "", self.schedule) not in config.SCHEDULES:
            raise SerlibError(f"schedule {self.schedule!r} is none of {', '.join(config.SCHEDULES)}")
        if self.corpus not in facts.CORPORA and not self.folder.exists():
            raise self._lacks(f"{self.speech} of {self.corpus!r} in this build")

    def remedy(self, place: str = "") -> str:
        """The command that makes the record at ``place`` below a folder of runs; if none is given, the whole build."""
        recorded, known = self.speech == "recordings", self.corpus in facts.CORPORA
        if not recorded and not known:
            call = f"`make book CORPUS={shlex.quote(self.corpus)} DATA=<its table> SCHEDULE=short`"
            return f"recordings of your own are made by {call} and shown with `-p speech recordings -p schedule short`"
        audio = self.folder / "audio"  # links to the recordings' folder, or to that of their table
        data = shlex.quote(str(audio.resolve())) if known and audio.exists() else "<its folder or table>"
        options = {"corpus": self.corpus, "data": data, "channel": self.settings.channel} if recorded else {}
        if place:
            return f"make it with `{text.command(place, **options)}`"
        words = (f" {name.upper()}={value}" for name, value in (options | {"schedule": self.schedule}).items() if value)
        return f"make it with `make book{''.join(words) * recorded}`"

    def _lacks(self, what: str, place: str = "") -> SerlibError:
        return SerlibError(f"no {what}: {self.remedy(place)}")

    @property
    def folder(self) -> Path:
        return self.root / "build" / self.speech / self.corpus

    @cached_property
    def utterances(self) -> corpora.Corpus:
        """The corpus's table."""
        if not (self.folder / "corpus.json").exists():
            raise self._lacks(f"{self.speech} of {self.corpus!r} in this build")
        return corpora.read(self.folder / "corpus.json", self.folder / "audio", self.corpus, self.speech)

    @property
    def settings(self) -> config.Features:
        """The settings of this build's images; the channel comes from the corpus's table."""
        has_table = (self.folder / "corpus.json").exists()
        return config.Features(channel=self.utterances.channel) if has_table else config.Features()

    def corpora(self) -> list[corpora.Corpus]:
        """Every corpus of this build with this speech, in the order of the paper."""
        folder = self.root / "build" / self.speech
        names = results.in_order(path.parent.name for path in folder.glob("*/corpus.json"))
        if not names:
            raise self._lacks(f"{self.speech} in this build")
        return [replace(self, corpus=name).utterances for name in names]

    def images(self) -> "Tensor":
        """The corpus's log-Mel images, (files, 1, height, width), in the order of its utterances."""
        from serlib.data import features

        paths, hashes = zip(*((u.path, u.sha256) for u in self.utterances.utterances), strict=True)
        return features.images(paths, hashes, self.settings, self.root / "build/cache", progress=False)

    def example(self, emotion: str, draw: int) -> "Example":
        """An utterance of an emotion ("": any), chosen by the number ``draw``: equal numbers choose the same one."""
        if self.speech == "examples":
            return _pick(self.examples, emotion, draw)
        from companion import examples

        utterance = _pick(self.utterances.utterances, emotion, draw)
        images = examples.versions(utterance, self.settings, draw)
        return examples.Example(utterance.key, utterance.emotion, "", images)

    def listen(self, emotion: str, draw: int) -> Audio | None:
        """A player for the utterance of :meth:`example` if it is synthetic; recordings of people are not passed on."""
        return Audio(_pick(self.utterances.utterances, emotion, draw).path) if self.speech == "synthetic" else None

    @cached_property
    def examples(self) -> list["Example"]:
        """The committed images of people's recordings, see :mod:`companion.examples`."""
        from companion import examples

        return examples.read(self.root / f"results/figures/{self.corpus}.npz")

    def seen(self, run: str, example: "Example", protocol: str = "random", fold: int = 0, seed: int = 0) -> "Seen":
        """The output of a run's network for the utterance of :meth:`example`; for examples, the committed output."""
        from companion import examples

        if self.speech == "examples":
            return example.seen[self.record(run).result]
        return examples.see(self.network(run, protocol, fold, seed), example.images)

    @cached_property
    def _example_records(self) -> dict[str, Path]:
        """The record of each run whose network processed :attr:`examples`."""
        runs = self.evidence.runs
        rows = runs[runs["result"].isin(self.examples[0].seen)]
        return {row.run: self.root / "results" / row.path for row in rows.itertuples()}

    def runs(self, wanted: Iterable[str]) -> list[str]:
        """The wanted runs whose networks can be shown: for examples, only the networks that processed them."""
        return [run for run in wanted if self.speech != "examples" or run in self._example_records]

    def record(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> records.Record:
        """A run's record from this build, else a committed one; for examples, the record of the network they show."""
        if self.speech == "examples":
            if run not in self._example_records:
                raise SerlibError(f"the examples of {self.corpus} show no run {run!r}; give -p speech synthetic")
            return records.read(self._example_records[run])
        place = self._place(run, protocol, fold, seed)
        for folder in ("build/runs", "results"):
            if (self.root / folder / place).exists():
                return records.read(self.root / folder / place)
        raise self._lacks(f"record {place}", place)

    def _place(self, run: str, *split: Any) -> str:
        """The path of a run's record below a folder of runs; ``split`` is protocol, fold and seed."""
        parts = (self.speech, self.corpus, self.schedule, *split[:2], run, split[2])
        return records.location(*parts, self.settings.images)

    def network(self, run: str, protocol: str = "random", fold: int = 0, seed: int = 0) -> "SpectrogramViT":
        """A run's trained network in eval mode, from this build; for examples, the committed network."""
        from studies import frontends

        if self.speech == "examples":
            result, committed = self.record(run).result, (self.root / "weights").glob(f"{self.corpus}-*.safetensors")
            for network, metadata in map(frontends.load, sorted(committed)):
                if metadata["result"] == result:
                    return network
            raise SerlibError(f"no committed network of the run {run!r} of {self.corpus}; give -p speech synthetic")
        place = self._place(run, protocol, fold, seed)
        weights = (self.root / "build/runs" / place).with_suffix(".safetensors")
        if not weights.exists():
            raise self._lacks(f"weights {weights}", place)
        return frontends.load(weights)[0]

    @cached_property
    def built(self) -> list[records.Record]:
        """Every record of this build with this speech and schedule; there is at least one."""
        run_records = records.read_all(self.root / "build/runs" / self.speech)
        if not (run_records := [record for record in run_records if record.schedule == self.schedule]):
            raise self._lacks(f"{self.speech} trained by the schedule {self.schedule!r} in this build")
        return run_records

    @cached_property
    def probes(self) -> list[Any]:
        """The probes of this build with this corpus and schedule."""
        probes = probed.read_all(self.root / "build/probes" / self.speech / self.corpus / self.settings.images)
        return [probe for probe in probes if probe.schedule == self.schedule]

    @cached_property
    def evidence(self) -> evidence.Evidence:
        """The evidence of the committed records, see :mod:`companion.evidence`."""
        return evidence.read(self.root)

    def verdict(self, claim: str) -> Markdown:
        """The finding on each part of a claim, with its evidence."""
        parts = [row for row in self.evidence.verdicts.itertuples() if row.claim == claim]
        lines = ["**The claim**, part by part ([the rule](../book/verdicts.html#the-rule)):\n"]
        return text.note("\n".join(lines + [f"- {row.part}: **{row.finding}**. {row.sentence}" for row in parts]))

    def about(self) -> Markdown:
        """The first note of every page: whose speech its numbers come from."""
        if self.speech == "synthetic":
            return Markdown(SYNTHETIC)
        if self.speech == "examples":
            held_out = splits.HELD_OUT[records.read(next(iter(self._example_records.values()))).protocol]
            return Markdown(
                f"The utterance is from a test set of {facts.title(self.corpus)} ({held_out}); no network shown was trained on it. A rule "
                "chose it before anyone looked ([how](../book/corpora.html#utterances-that-figures-show))."
            )
        epochs = config.SCHEDULES[self.schedule].epochs if self.schedule in config.SCHEDULES else self.schedule
        return text.note(
            f"Made from **recordings of people** ({labels.markdown(facts.title(self.corpus))}), {epochs} epochs a stage (schedule `{self.schedule}`)."
        )
