"""Which runs the book's evidence consists of, portion by portion, in the order of what each is worth to a reader.

``make evidence CORPUS=... DATA=...`` makes a corpus's portions one after the other; what exists is not made again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from serlib import beyond, config, paper, records, splits

PROTOCOL = ("teacher", "student-alone", "student-pooled", "student-tokens")
ABLATIONS = tuple(name for name in config.RUNS if name not in PROTOCOL and name not in {r.run for r in beyond.RECIPES})
FREE = ("majority", "mel-statistics")  # baselines that need no package of their own


@dataclass(frozen=True)
class Portion:
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


def portions(corpus: str) -> list[Portion]:
    """A corpus's portions. Of random splits, draw k is trained with seed k, so that both vary together.

    Speakers are held out one by one where a corpus has few, in groups where it has many.
    """
    speakers = paper.CORPORA[corpus].speakers if corpus in paper.CORPORA else None
    few = speakers is not None and speakers <= 2 * splits.FOLDS
    apart, count = ("leave-one-speaker-out", speakers) if few else ("speaker-folds", splits.FOLDS)

    def new(seeds: Iterable[int]) -> tuple[tuple[int, int], ...]:
        return tuple((fold, seed) for seed in seeds for fold in range(count))

    def drawn(draws: Iterable[int]) -> tuple[tuple[int, int], ...]:
        return tuple((draw, draw) for draw in draws)

    choose = tuple((fold, 0) for fold in beyond.CHOOSING_FOLDS)
    choosing = [
        Portion(f"beyond the paper, for choosing: {r.run}, {r.schedule}", splits.CHOOSING, choose, (r.run,), r.schedule)
        for r in (beyond.PLAIN, *beyond.RECIPES)
        if few and speakers > 2 * len(choose)  # some are left to report on
    ]
    others = tuple((fold, 0) for fold in range(count) if not any(k < fold <= k + 2 for k in beyond.CHOOSING_FOLDS))
    best = beyond.CHOSEN
    reporting = [Portion("beyond the paper, on other speakers", apart, others, (best.run,), best.schedule)] * bool(
        choosing
    )
    return [
        Portion("baselines, new speakers", apart, new([0]), FREE, config.BASELINE),
        Portion("baselines, random splits", "random", tuple((k, 0) for k in range(5)), FREE, config.BASELINE),
        Portion("the student alone, one random split", "random", drawn([0]), ("student-alone",)),
        Portion("the student alone, new speakers", apart, new([0]), ("student-alone",)),
        Portion("the protocol, one random split", "random", drawn([0]), PROTOCOL, probed=PROTOCOL),
        Portion("the protocol, new speakers", apart, new([0]), PROTOCOL, probed=PROTOCOL),
        Portion("the protocol, a second random split", "random", drawn([1]), PROTOCOL, probed=PROTOCOL),
        Portion("the student alone, watched, random splits", "random", drawn(range(5)), ("student-alone",), "watched"),
        Portion("the student alone, watched, new speakers", apart, new([0]), ("student-alone",), "watched"),
        Portion("augmented, then split: the student alone", "versions-apart", drawn(range(5)), ("student-alone",)),
        Portion("split, then augmented: the student alone", "versions-together", drawn(range(5)), ("student-alone",)),
        Portion("the student alone in bfloat16, new speakers", apart, new([0, 1, 2]), ("student-alone",), "bfloat16"),
        Portion("the student with coordinates, new speakers", apart, new([0]), ("student-coordinates",)),
        Portion("ablations, new speakers", apart, new([0]), ABLATIONS, probed=("teacher-no-position",)),
        Portion("the protocol, three more random splits", "random", drawn([2, 3, 4]), PROTOCOL, probed=PROTOCOL),
        Portion("the protocol, new speakers, two more seeds", apart, new([1, 2]), PROTOCOL, probed=PROTOCOL),
        Portion("ResNet-18, one random split", "random", ((0, 0),), ("resnet-18",), config.BASELINE),
        Portion("ResNet-18, new speakers", apart, new([0]), ("resnet-18",), config.BASELINE),
        Portion("openSMILE, new speakers", apart, new([0]), ("opensmile",), config.BASELINE),
        *choosing,
        *reporting,
        Portion("openSMILE, random splits", "random", tuple((k, 0) for k in range(5)), ("opensmile",), config.BASELINE),
    ]
