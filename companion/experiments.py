"""The runs of the book's evidence, experiment by experiment, the most important one for a reader first.

``make evidence CORPUS=... DATA=...`` makes a corpus's experiments one after the other: the runs without a committed record.
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
class Trial:
    """An addition to the paper's student, which is trained without a teacher: its run, its schedule, and its words."""

    run: str
    schedule: str
    adds: str


CHOOSING_FOLDS = (0, 2)  # of splits.SELECTION: each holds two speakers out, all four different
PLAIN_TRIAL = Trial("student-alone", "paper-bf16", "nothing")
# Trials that were made and are no longer in the code, with the commit that makes their records again.
TRIED = tomllib.loads(Path(__file__).with_name("tried.toml").read_text(encoding="utf-8"))
TRIALS = tuple(Trial(**row) for row in TRIED["trials"])
GONE_RUNS = tuple(dict.fromkeys(v.run for v in TRIALS if v.run not in config.RUNS))
GONE_SCHEDULES = tuple(dict.fromkeys(v.schedule for v in TRIALS if v.schedule not in config.SCHEDULES))
# The addition of each step in a run's name, in words.
ADDS = TRIED["steps"] | {step: variants.VARIANTS[f"student-alone+{step}"].adds for step in ("deltas", "convolutions")}


def makeable(run: str, schedule: str) -> bool:
    """Whether today's code makes a record's run again; else :data:`TRIED` names the commit that does."""
    return run in variants.NAMES and (schedule in config.SCHEDULES or schedule == variants.BASELINE)


STUDENTS = ("student-alone", "student-alone-long", "student-pooled", "student-tokens")
PROTOCOL = ("teacher", *STUDENTS)
# The claims on patches and coordinates at the student's size: each run differs from the student alone by one choice.
AT_STUDENT_SIZE = ("student-square-patches", "student-horizontal-patches", "student-coordinates")
# The normalised form of the run that companion.reach chooses from the records, as a test checks.
NORMALISED = (f"student-alone{variants.SPEAKER_NORM}+deltas",)
ABLATIONS = ("student-no-matching-stage", "teacher-square-patches", "teacher-horizontal-patches", "teacher-no-position")
DRAWS = tuple((draw, draw) for draw in range(5))  # of random splits, draw k is trained with seed k: both vary together
# Baselines that need no extra package; one more needs a split with new speakers.
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
        """The paths of the records of ``runs`` (None: all) below a folder of runs, or of their probes below another.

        ``images`` as ``serlib.config.Features.images`` names them.
        """
        for (fold, seed), run in product(self.cells, self.runs if runs is None else runs):
            yield records.location("recordings", corpus, self.schedule, self.protocol, fold, run, seed, images)


def cells(folds: Iterable[int], seeds: Iterable[int] = (0,)) -> tuple[tuple[int, int], ...]:
    """Every fold with every seed, seed by seed."""
    return tuple((fold, seed) for seed, fold in product(seeds, folds))


def experiments_of(corpus: str) -> list[Experiment]:
    """A corpus's experiments.

    A corpus with few speakers holds them out one by one, a corpus with many in groups. CREMA-D begins with the division
    of its actors that the field uses.
    """
    speakers = facts.CORPORA[corpus].speakers if corpus in facts.CORPORA else None
    few = speakers is not None and speakers <= 2 * splits.FOLDS
    independent, folds = ("leave-one-speaker-out", range(speakers)) if few else ("speaker-folds", range(splits.FOLDS))
    crema_d, not_crema_d, every_fold, seeds = corpus == "crema-d", corpus != "crema-d", cells(folds), (0, 1, 2)
    alone, baseline = ("student-alone",), variants.BASELINE
    # Copies of test utterances in training; CREMA-D has 29,768 versions, so its networks train for 16 epochs.
    drawn, copies = (DRAWS[:3], "search-bf16") if crema_d else (DRAWS, "paper")
    mixed = Experiment("augmented, then split: the student alone", "augmented-leaky", drawn, alone, copies)
    split = Experiment("split, then augmented: the student alone", "augmented-grouped", drawn, alone, copies)
    table = [  # whether the corpus has the experiment, and the experiment
        (crema_d, Experiment("baselines, actor split", "actor-split", cells([0]), FREE_APART, baseline)),
        (crema_d, Experiment("the protocol, patches and position, actor split", "actor-split", cells([0]), (*PROTOCOL, "teacher-square-patches", "teacher-no-position"))),
        (crema_d, Experiment("the students, actor split, two more seeds", "actor-split", cells([0], (1, 2)), STUDENTS)),
        (crema_d, mixed),
        (crema_d, split),
        (crema_d, Experiment("the claims at the student's size, actor split", "actor-split", cells([0], seeds), AT_STUDENT_SIZE)),
        # The number of epochs that nine other actors choose, for the student alone: chosen here, reported elsewhere.
        (crema_d, Experiment("epochs, for choosing: the student alone", splits.ACTOR_SELECTION, cells([0], seeds), alone, "logged-bf16")),
        (crema_d, Experiment("chosen epochs: the student alone, actor split", "actor-split", cells([0], seeds), alone, "chosen-epochs-bf16")),
        (True, Experiment("baselines, speaker-independent", independent, every_fold, FREE_APART, baseline)),
        (True, Experiment("baselines, random splits", "random", cells(range(5)), FREE, baseline)),
        (True, Experiment("the protocol, speaker-independent", independent, every_fold, PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("the protocol, speaker-independent, two more seeds", independent, cells(folds, (1, 2)), PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("ablations, speaker-independent", independent, every_fold, ABLATIONS, probed=("teacher-no-position",))),
        (True, Experiment("the protocol, one random split", "random", DRAWS[:1], PROTOCOL, "paper", probed=PROTOCOL)),
        (True, Experiment("the student alone in single precision, speaker-independent", independent, every_fold, alone, "paper")),
        (True, Experiment("the student alone, logged, random splits", "random", DRAWS, alone, "logged")),
        (True, Experiment("the student alone, logged, speaker-independent", independent, every_fold, alone, "logged")),
        # Not on CREMA-D's folds: their test actors include those who choose.
        (not_crema_d, Experiment("chosen epochs: the student alone, speaker-independent", independent, cells(folds, seeds), alone, "chosen-epochs-bf16")),
        (not_crema_d, mixed),
        (not_crema_d, split),
        (True, Experiment("the claims at the student's size, speaker-independent", independent, cells(folds, seeds), AT_STUDENT_SIZE)),
        (True, Experiment("the protocol, four more random splits", "random", DRAWS[1:], PROTOCOL, probed=PROTOCOL)),
        (True, Experiment("ResNet-18, one random split", "random", DRAWS[:1], ("resnet-18",), baseline)),
        (not_crema_d, Experiment("per-speaker normalisation of the student, speaker-independent", independent, every_fold, NORMALISED)),
        (True, Experiment("ResNet-18, speaker-independent", independent, every_fold, variants.RESNETS, baseline)),
        (True, Experiment("openSMILE and a speaker network, speaker-independent", independent, every_fold, PACKAGED, baseline)),
        (crema_d, Experiment("per-speaker normalisation of the student, actor split", "actor-split", cells([0]), NORMALISED, "search-bf16")),
        (crema_d, Experiment("ResNet-18, actor split", "actor-split", cells([0]), variants.RESNETS, baseline)),
        (crema_d, Experiment("openSMILE and a speaker network, actor split", "actor-split", cells([0]), PACKAGED, baseline)),
        (True, Experiment("openSMILE, random splits", "random", cells(range(5)), ("opensmile",), baseline)),
    ]  # fmt: skip
    return [experiment for included, experiment in table if included]
