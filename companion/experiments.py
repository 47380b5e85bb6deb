"""Which runs the book's evidence consists of, experiment by experiment, in the order of what each is worth to a reader.

``make evidence CORPUS=... DATA=...`` makes a corpus's experiments one after the other; what exists is not made again.
"""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from serlib import config, records
from serlib.data import facts, splits
from studies import variants


@dataclass(frozen=True)
class Variant:
    """A run and a schedule: what is added to the paper's student, trained alone."""

    run: str
    schedule: str
    adds: str


CHOOSING_FOLDS = (0, 2)  # of splits.SELECTION: each holds two speakers out, all four different
PLAIN = Variant("student-alone", "paper-bf16", "nothing")
# What was tried and is no longer in the code, by its records, and the commit that makes them again.
TRIED = tomllib.loads(Path(__file__).with_name("tried.toml").read_text(encoding="utf-8"))
VARIANTS = tuple(Variant(**row) for row in TRIED["variants"])
GONE_RUNS = tuple(dict.fromkeys(v.run for v in VARIANTS if v.run not in config.RUNS))
GONE_SCHEDULES = tuple(dict.fromkeys(v.schedule for v in VARIANTS if v.schedule not in config.SCHEDULES))
# What a step in a run's name adds, in words.
ADDS = TRIED["steps"] | {step: variants.VARIANTS[f"student-alone+{step}"].adds for step in ("deltas", "convolutions")}


def makeable(run: str, schedule: str) -> bool:
    """Whether today's code makes a record's run again; else :data:`TRIED` names the commit that does."""
    return run in variants.NAMES and (schedule in config.SCHEDULES or schedule == variants.BASELINE)


STUDENTS = ("student-alone", "student-alone-long", "student-pooled", "student-tokens")
PROTOCOL = ("teacher", *STUDENTS)
# The claims on patches and coordinates at the student's size: each run differs from the student alone by one choice.
AT_STUDENT_SIZE = ("student-square-patches", "student-horizontal-patches", "student-coordinates")
# Of the run that companion.reach chooses from the records, as a test holds.
NORMALISED = (f"student-alone{variants.SPEAKER_NORM}+deltas",)
ABLATIONS = ("student-no-matching-stage", "teacher-square-patches", "teacher-horizontal-patches", "teacher-no-position")
SIMPLER = ("teacher-square-patches", "teacher-no-position")  # what the claims on patches and position compare with
DRAWS = tuple((draw, draw) for draw in range(5))  # of random splits, draw k is trained with seed k: both vary together
# Baselines without a package of their own; on new speakers one more, which takes no other split.
FREE = ("majority", "mel-statistics", "mel-deltas")
FREE_APART = (*FREE, "mel-deltas" + variants.SPEAKER_NORM)
PACKAGED = tuple(name for name in variants.BASELINES if name not in (*FREE_APART, *variants.RESNETS))


@dataclass(frozen=True)
class Experiment:
    """Some runs of one protocol: every run for every pair of fold and seed."""

    title: str
    protocol: str
    cells: tuple[tuple[int, int], ...]  # fold, seed
    runs: tuple[str, ...]
    schedule: str = "paper-bf16"
    probed: tuple[str, ...] = ()  # runs whose tokens are probed as well

    def places(
        self, corpus: str, images: str = config.Features().images, runs: tuple[str, ...] | None = None
    ) -> Iterator[str]:
        """Where the records of ``runs`` (None: all) lie below a folder of runs, or their probes below one of probes.

        ``images`` as ``serlib.config.Features.images`` names them.
        """
        for (fold, seed), run in product(self.cells, self.runs if runs is None else runs):
            yield records.location("recordings", corpus, self.schedule, self.protocol, fold, run, seed, images)


def cells(folds: Iterable[int], seeds: Iterable[int] = (0,)) -> tuple[tuple[int, int], ...]:
    """Every fold with every seed, seed by seed."""
    return tuple((fold, seed) for seed, fold in product(seeds, folds))


def experiments_of(corpus: str) -> list[Experiment]:
    """A corpus's experiments.

    Speakers are held out one by one where a corpus has few, in groups where it has many; CREMA-D's first as the field
    divides its actors.
    """
    speakers = facts.CORPORA[corpus].speakers if corpus in facts.CORPORA else None
    few = speakers is not None and speakers <= 2 * splits.FOLDS
    apart, folds = ("leave-one-speaker-out", range(speakers)) if few else ("speaker-folds", range(splits.FOLDS))
    actors, others, every, seeds = corpus == "crema-d", corpus != "crema-d", cells(folds), (0, 1, 2)
    alone, none = ("student-alone",), variants.BASELINE
    # Copies of test utterances in training; CREMA-D has 29,768 versions, so its networks train for 16 epochs.
    drawn, copies = (DRAWS[:3], "search-bf16") if actors else (DRAWS, "paper")
    mixed = Experiment("augmented, then split: the student alone", "augmented-leaky", drawn, alone, copies)
    split = Experiment("split, then augmented: the student alone", "augmented-grouped", drawn, alone, copies)
    table = [  # who has it, and the experiment
        (actors, Experiment("baselines, actor split", "actor-split", cells([0]), FREE_APART, none)),
        (actors, Experiment("the protocol, patches and position, actor split", "actor-split", cells([0]), PROTOCOL + SIMPLER)),
        (actors, Experiment("the students, actor split, two more seeds", "actor-split", cells([0], (1, 2)), STUDENTS)),
        (actors, mixed),
        (actors, split),
        (actors, Experiment("the claims at the student's size, actor split", "actor-split", cells([0], seeds), AT_STUDENT_SIZE)),
        # The number of epochs that nine other actors choose, for the student alone: chosen here, reported elsewhere.
        (actors, Experiment("epochs, for choosing: the student alone", splits.ACTOR_SELECTION, cells([0], seeds), alone, "logged-bf16")),
        (True, Experiment("baselines, speaker-independent", apart, every, FREE_APART, none)),
        (True, Experiment("baselines, random splits", "random", cells(range(5)), FREE, none)),
        (True, Experiment("the protocol, speaker-independent", apart, every, PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("the protocol, speaker-independent, two more seeds", apart, cells(folds, (1, 2)), PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("ablations, speaker-independent", apart, every, ABLATIONS, probed=("teacher-no-position",))),
        (True, Experiment("the protocol, one random split", "random", DRAWS[:1], PROTOCOL, "paper", probed=PROTOCOL)),
        (True, Experiment("the student alone in single precision, speaker-independent", apart, every, alone, "paper")),
        (True, Experiment("the student alone, logged, random splits", "random", DRAWS, alone, "logged")),
        (True, Experiment("the student alone, logged, speaker-independent", apart, every, alone, "logged")),
        (others, mixed),
        (others, split),
        (True, Experiment("the claims at the student's size, speaker-independent", apart, cells(folds, seeds), AT_STUDENT_SIZE)),
        (True, Experiment("the protocol, four more random splits", "random", DRAWS[1:], PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("ResNet-18, one random split", "random", DRAWS[:1], ("resnet-18",), none)),
        (others, Experiment("per-speaker normalisation of the student, speaker-independent", apart, every, NORMALISED)),
        (True, Experiment("ResNet-18, speaker-independent", apart, every, variants.RESNETS, none)),
        (True, Experiment("openSMILE and a speaker network, speaker-independent", apart, every, PACKAGED, none)),
        (actors, Experiment("per-speaker normalisation of the student, actor split", "actor-split", cells([0]), NORMALISED, "search-bf16")),
        (actors, Experiment("ResNet-18, actor split", "actor-split", cells([0]), variants.RESNETS, none)),
        (actors, Experiment("openSMILE and a speaker network, actor split", "actor-split", cells([0]), PACKAGED, none)),
        (True, Experiment("openSMILE, random splits", "random", cells(range(5)), ("opensmile",), none)),
    ]  # fmt: skip
    return [experiment for there, experiment in table if there]
