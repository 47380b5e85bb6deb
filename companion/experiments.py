"""Which runs the book's evidence consists of, experiment by experiment, in the order of what each is worth to a reader.

``make evidence CORPUS=... DATA=...`` makes a corpus's experiments one after the other; what exists is not made again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from serlib import config, records
from serlib.data import facts, splits


@dataclass(frozen=True)
class Variant:
    """A run and a schedule: what is added to the paper's student, trained alone."""

    run: str
    schedule: str
    adds: str


CHOOSING_FOLDS = (0, 2)  # of splits.SELECTION: each holds two speakers out, all four different
PLAIN = Variant("student-alone", "paper-bf16", "nothing")
VARIANTS = (
    Variant("student-alone", "balance-bf16", "every emotion counts the same in the loss"),
    Variant("student-alone", "smooth-bf16", f"{config.BEYOND['smooth'].smoothing:g} of each label spread over all emotions"),
    Variant("student-alone", "ema-bf16", "the running mean of the weights instead of the last"),
    Variant("student-alone", "masks-bf16", "two bands of rows and a run of columns of every training image black"),
    Variant("student-alone", "warp-bf16", "time and frequency of every training image stretched"),
    Variant("student-alone", "mixup-bf16", "pairs of training images and their labels mixed"),
    Variant("student-per-band-norm", "paper-bf16", "every mel band by its mean and spread over the training set's speech"),
    Variant("student-4s", "paper-bf16", f"{config.RUNS['student-4s'].seconds:g} s of sound in the image, not {config.Features.seconds:g}"),
    Variant("student-coordinates", "paper-bf16", "coordinates as two more channels"),
    # the second round: the best of the first, with the next two, and for longer
    Variant("student-alone", "warp-ema-bf16", "the images stretched, and the running mean of the weights"),
    Variant("student-4s", "warp-bf16", f"the images stretched, and {config.RUNS['student-4s'].seconds:g} s of sound in them"),
    Variant("student-alone", "warp-longer-bf16", f"the images stretched, for {config.BEYOND['warp-longer'].epochs} epochs"),
)  # fmt: skip
# What EmoDB's committed records choose, as a test holds.
CHOSEN = next(variant for variant in VARIANTS if (variant.run, variant.schedule) == ("student-4s", "warp-bf16"))

IMAGES = config.Features().images
STUDENTS = ("student-alone", "student-alone-long", "student-pooled", "student-tokens")
PROTOCOL = ("teacher", *STUDENTS)
# The claims on patches and coordinates at the student's size: each run differs from the student alone by one choice.
AT_STUDENT_SIZE = ("student-square-patches", "student-horizontal-patches", "student-coordinates")
_NORMALISED = "student-alone" + config.SPEAKER_NORM
NORMALISED = (f"{_NORMALISED}+deltas",)  # of the run that companion.reach chooses from the records, as a test holds
_NO_ABLATIONS = {*PROTOCOL, *AT_STUDENT_SIZE, _NORMALISED, *(variant.run for variant in VARIANTS)}
ABLATIONS = tuple(name for name in config.RUNS if name not in _NO_ABLATIONS)
SIMPLER = ("teacher-square-patches", "teacher-no-position")  # what the claims on patches and position compare with
# Baselines without a package of their own; on new speakers one more, which takes no other split.
FREE = ("majority", "mel-statistics", "mel-deltas")
FREE_APART = (*FREE, "mel-deltas" + config.SPEAKER_NORM)
PACKAGED = tuple(name for name in config.BASELINES if name not in (*FREE_APART, *config.RESNETS))


@dataclass(frozen=True)
class Experiment:
    """Some runs of one protocol: every run for every pair of fold and seed."""

    title: str
    protocol: str
    cells: tuple[tuple[int, int], ...]  # fold, seed
    runs: tuple[str, ...]
    schedule: str = "paper-bf16"
    probed: tuple[str, ...] = ()  # runs whose tokens are probed as well

    def places(self, corpus: str, images: str = IMAGES) -> Iterator[str]:
        """Where the records lie below a folder of runs; ``images`` as ``serlib.config.Features.images`` names them."""
        yield from self._places(corpus, images, self.runs)

    def probes(self, corpus: str, images: str = IMAGES) -> Iterator[str]:
        """Where the probes lie below a folder of probes; ``images`` as for :meth:`places`."""
        yield from self._places(corpus, images, self.probed)

    def _places(self, corpus: str, images: str, runs: Iterable[str]) -> Iterator[str]:
        for fold, seed in self.cells:
            for run in runs:
                yield records.location("recordings", corpus, self.schedule, self.protocol, fold, run, seed, images)


def cells(folds: Iterable[int], seeds: Iterable[int] = (0,)) -> tuple[tuple[int, int], ...]:
    """Every fold with every seed, seed by seed."""
    return tuple((fold, seed) for seed, fold in product(seeds, folds))


def draws(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Of random splits, draw k is trained with seed k, so that both vary together."""
    return tuple((number, number) for number in numbers)


def experiments_of(corpus: str) -> list[Experiment]:
    """A corpus's experiments.

    Speakers are held out one by one where a corpus has few, in groups where it has many; CREMA-D's first as the field
    divides its actors.
    """
    speakers = facts.CORPORA[corpus].speakers if corpus in facts.CORPORA else None
    few = speakers is not None and speakers <= 2 * splits.FOLDS
    apart, folds = ("leave-one-speaker-out", range(speakers)) if few else ("speaker-folds", range(splits.FOLDS))
    choosing = few and speakers > 2 * len(CHOOSING_FOLDS)  # some are left to report on
    reporting = [fold for fold in folds if not any(k < fold <= k + 2 for k in CHOOSING_FOLDS)]
    alone = ("student-alone",)
    actors = [
        Experiment("baselines, actor split", "actor-split", cells([0]), FREE_APART, config.BASELINE),
        Experiment("the protocol, patches and position, actor split", "actor-split", cells([0]), PROTOCOL + SIMPLER),
        Experiment("the students, actor split, two more seeds", "actor-split", cells([0], (1, 2)), STUDENTS),
    ]
    seeds = (0, 1, 2)
    # Copies of test utterances in training; CREMA-D has 29,768 versions, so its networks train for 16 epochs.
    copies, drawn = ("search-bf16", range(3)) if corpus == "crema-d" else ("paper", range(5))
    leaky = [
        Experiment("augmented, then split: the student alone", "augmented-leaky", draws(drawn), alone, copies),
        Experiment("split, then augmented: the student alone", "augmented-grouped", draws(drawn), alone, copies),
    ]
    at_student_size = Experiment(
        "the claims at the student's size, speaker-independent", apart, cells(folds, seeds), AT_STUDENT_SIZE
    )
    same_size_actors = Experiment(
        "the claims at the student's size, actor split", "actor-split", cells([0], seeds), AT_STUDENT_SIZE
    )
    # The number of epochs that nine other actors choose, for the student alone: chosen here, reported elsewhere.
    epochs = Experiment(
        "epochs, for choosing: the student alone", splits.ACTOR_SELECTION, cells([0], seeds), alone, "logged-bf16"
    )
    more_actors = [
        Experiment(
            "per-speaker normalisation of the student, actor split",
            "actor-split",
            cells([0]),
            NORMALISED,
            "search-bf16",
        ),
        Experiment("ResNet-18, actor split", "actor-split", cells([0]), config.RESNETS, config.BASELINE),
        Experiment(
            "openSMILE and a speaker network, actor split", "actor-split", cells([0]), PACKAGED, config.BASELINE
        ),
    ]
    normalised = Experiment(
        "per-speaker normalisation of the student, speaker-independent", apart, cells(folds), NORMALISED
    )
    tries = [
        Experiment(f"beyond the paper, for choosing: {v.run}, {v.schedule}", splits.SELECTION, cells(CHOOSING_FOLDS), (v.run,), v.schedule)
        for v in (PLAIN, *VARIANTS)
    ]  # fmt: skip
    report = Experiment("beyond the paper, on other speakers", apart, cells(reporting), (CHOSEN.run,), CHOSEN.schedule)
    return [
        *([*actors, *leaky, same_size_actors, epochs] if corpus == "crema-d" else []),
        Experiment("baselines, speaker-independent", apart, cells(folds), FREE_APART, config.BASELINE),
        Experiment("baselines, random splits", "random", cells(range(5)), FREE, config.BASELINE),
        Experiment("the protocol, speaker-independent", apart, cells(folds), PROTOCOL, probed=PROTOCOL),
        Experiment(
            "the protocol, speaker-independent, two more seeds", apart, cells(folds, (1, 2)), PROTOCOL, probed=PROTOCOL
        ),
        Experiment("ablations, speaker-independent", apart, cells(folds), ABLATIONS, probed=("teacher-no-position",)),
        Experiment("the protocol, one random split", "random", draws([0]), PROTOCOL, "paper", probed=PROTOCOL),
        Experiment("the student alone in single precision, speaker-independent", apart, cells(folds), alone, "paper"),
        Experiment("the student alone, logged, random splits", "random", draws(range(5)), alone, "logged"),
        Experiment("the student alone, logged, speaker-independent", apart, cells(folds), alone, "logged"),
        *([] if corpus == "crema-d" else leaky),
        at_student_size,
        Experiment("the protocol, four more random splits", "random", draws([1, 2, 3, 4]), PROTOCOL, probed=PROTOCOL),
        Experiment("ResNet-18, one random split", "random", draws([0]), ("resnet-18",), config.BASELINE),
        *([] if corpus == "crema-d" else [normalised]),
        Experiment("ResNet-18, speaker-independent", apart, cells(folds), config.RESNETS, config.BASELINE),
        Experiment(
            "openSMILE and a speaker network, speaker-independent", apart, cells(folds), PACKAGED, config.BASELINE
        ),
        *(more_actors if corpus == "crema-d" else []),
        *([*tries, report] if choosing else []),
        Experiment("openSMILE, random splits", "random", cells(range(5)), ("opensmile",), config.BASELINE),
    ]
