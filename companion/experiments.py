"""Which runs the book's evidence consists of, experiment by experiment, in the order of what each is worth to a reader.

``make evidence CORPUS=... DATA=...`` makes a corpus's experiments one after the other; what exists is not made again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from serlib import config, records
from serlib.data import facts, splits

CHOOSING_FOLDS = (0, 2)  # of splits.SELECTION: each holds two speakers out, all four different


@dataclass(frozen=True)
class Variant:
    """A run and a schedule: what is added to the paper's student, trained alone."""

    run: str
    schedule: str
    adds: str


PLAIN = Variant("student-alone", "paper", "nothing")
VARIANTS = (
    Variant("student-alone", "balance", "every emotion counts the same in the loss"),
    Variant("student-alone", "smooth", f"{config.BEYOND['smooth'].smoothing:g} of each label spread over all emotions"),
    Variant("student-alone", "ema", "the running mean of the weights instead of the last"),
    Variant("student-alone", "masks", "two bands of rows and a run of columns of every training image black"),
    Variant("student-alone", "warp", "time and frequency of every training image stretched"),
    Variant("student-alone", "mixup", "pairs of training images and their labels mixed"),
    Variant("student-per-band-norm", "paper", "every mel band by its mean and spread over the training set's speech"),
    Variant("student-4s", "paper", f"{config.RUNS['student-4s'].seconds:g} s of sound in the image, not {config.Features().seconds:g}"),
    Variant("student-coordinates", "paper", "coordinates as two more channels"),
    # the second round: the best of the first, with the next two, and for longer
    Variant("student-alone", "warp-ema", "the images stretched, and the running mean of the weights"),
    Variant("student-4s", "warp", f"the images stretched, and {config.RUNS['student-4s'].seconds:g} s of sound in them"),
    Variant("student-alone", "warp-longer", f"the images stretched, for {config.BEYOND['warp-longer'].epochs} epochs"),
)  # fmt: skip
# What EmoDB's committed records choose, as a test holds.
CHOSEN = next(variant for variant in VARIANTS if (variant.run, variant.schedule) == ("student-4s", "warp"))


PROTOCOL = ("teacher", "student-alone", "student-pooled", "student-tokens")
ABLATIONS = tuple(name for name in config.RUNS if name not in PROTOCOL and name not in {r.run for r in VARIANTS})
FREE = ("majority", "mel-statistics")  # baselines that need no package of their own


@dataclass(frozen=True)
class Experiment:
    """Some runs of one protocol: every run for every pair of fold and seed."""

    title: str
    protocol: str
    cells: tuple[tuple[int, int], ...]  # fold, seed
    runs: tuple[str, ...]
    schedule: str = "paper"
    probed: tuple[str, ...] = ()  # runs whose tokens are probed as well

    def places(self, corpus: str) -> Iterator[str]:
        """Where the records lie below a folder of runs."""
        yield from self._places(corpus, self.runs)

    def probes(self, corpus: str) -> Iterator[str]:
        """Where the probes lie below a folder of probes."""
        yield from self._places(corpus, self.probed)

    def _places(self, corpus: str, runs: Iterable[str]) -> Iterator[str]:
        for fold, seed in self.cells:
            for run in runs:
                yield records.location("recordings", corpus, self.schedule, self.protocol, fold, run, seed)


def experiments_of(corpus: str) -> list[Experiment]:
    """A corpus's experiments. Of random splits, draw k is trained with seed k, so that both vary together.

    Speakers are held out one by one where a corpus has few, in groups where it has many.
    """
    speakers = facts.CORPORA[corpus].speakers if corpus in facts.CORPORA else None
    few = speakers is not None and speakers <= 2 * splits.FOLDS
    apart, count = ("leave-one-speaker-out", speakers) if few else ("speaker-folds", splits.FOLDS)

    def new(seeds: Iterable[int]) -> tuple[tuple[int, int], ...]:
        return tuple((fold, seed) for seed in seeds for fold in range(count))

    def drawn(draws: Iterable[int]) -> tuple[tuple[int, int], ...]:
        return tuple((draw, draw) for draw in draws)

    choose = tuple((fold, 0) for fold in CHOOSING_FOLDS)
    choosing = [
        Experiment(
            f"beyond the paper, for choosing: {r.run}, {r.schedule}", splits.SELECTION, choose, (r.run,), r.schedule
        )
        for r in (PLAIN, *VARIANTS)
        if few and speakers > 2 * len(choose)  # some are left to report on
    ]
    others = tuple((fold, 0) for fold in range(count) if not any(k < fold <= k + 2 for k in CHOOSING_FOLDS))
    best = CHOSEN
    reporting = [Experiment("beyond the paper, on other speakers", apart, others, (best.run,), best.schedule)] * bool(
        choosing
    )
    return [
        Experiment("baselines, new speakers", apart, new([0]), FREE, config.BASELINE),
        Experiment("baselines, random splits", "random", tuple((k, 0) for k in range(5)), FREE, config.BASELINE),
        Experiment("the student alone, one random split", "random", drawn([0]), ("student-alone",)),
        Experiment("the student alone, new speakers", apart, new([0]), ("student-alone",)),
        Experiment("the protocol, one random split", "random", drawn([0]), PROTOCOL, probed=PROTOCOL),
        Experiment("the protocol, new speakers", apart, new([0]), PROTOCOL, probed=PROTOCOL),
        Experiment("the protocol, a second random split", "random", drawn([1]), PROTOCOL, probed=PROTOCOL),
        Experiment(
            "the student alone, watched, random splits", "random", drawn(range(5)), ("student-alone",), "logged"
        ),
        Experiment("the student alone, watched, new speakers", apart, new([0]), ("student-alone",), "logged"),
        Experiment("augmented, then split: the student alone", "augmented-leaky", drawn(range(5)), ("student-alone",)),
        Experiment(
            "split, then augmented: the student alone", "augmented-grouped", drawn(range(5)), ("student-alone",)
        ),
        Experiment(
            "the student alone in bfloat16, new speakers", apart, new([0, 1, 2]), ("student-alone",), "paper-bf16"
        ),
        Experiment("the student with coordinates, new speakers", apart, new([0]), ("student-coordinates",)),
        Experiment("ablations, new speakers", apart, new([0]), ABLATIONS, probed=("teacher-no-position",)),
        Experiment("the protocol, three more random splits", "random", drawn([2, 3, 4]), PROTOCOL, probed=PROTOCOL),
        Experiment("the protocol, new speakers, two more seeds", apart, new([1, 2]), PROTOCOL, probed=PROTOCOL),
        Experiment("ResNet-18, one random split", "random", ((0, 0),), ("resnet-18",), config.BASELINE),
        Experiment("ResNet-18, new speakers", apart, new([0]), ("resnet-18",), config.BASELINE),
        Experiment("openSMILE, new speakers", apart, new([0]), ("opensmile",), config.BASELINE),
        *choosing,
        *reporting,
        Experiment(
            "openSMILE, random splits", "random", tuple((k, 0) for k in range(5)), ("opensmile",), config.BASELINE
        ),
    ]
