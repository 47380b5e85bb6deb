"""Claim by claim: which runs test it, what has been measured of them, and the verdict by a stated rule, as values.

* :data:`NEEDED`: the pairs of runs of each claim;
* :func:`measurements`: the rule by which a claim counts as measured on recordings;
* :func:`verdict`: the rule by which it holds, holds in part, or is not shown.

Words are made of these values in :mod:`companion.text`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache

import pandas as pd

from companion import paper, results
from companion.results import Comparison
from serlib import config, metrics
from serlib.data import facts, splits

# The runs whose comparison on the same test recordings tests a claim, by the claim's key: what the claim says is better
# comes first. A claim needs a gain in every pair.
NEEDED = {
    "vertical patches": (("teacher", "teacher-square-patches"), ("teacher", "teacher-horizontal-patches")),
    "coordinate encoding": (("teacher", "teacher-no-position"),),
    "transfer": (("student-pooled", "student-alone"), ("student-pooled", "student-alone-long")),
    "accuracy": (("student-pooled", "teacher"),),
    "cost": (("student-pooled", "teacher"),),
}
# What decides each claim for good: protocol and seeds, by corpus.
DECIDED_BY = {
    "savee": ("leave-one-speaker-out", (0, 1, 2)),
    "emodb": ("leave-one-speaker-out", (0, 1, 2)),
    "crema-d": ("actor-split", (0,)),
}
AGAINST_PUBLISHED = ("accuracy", "cost")  # the others are of one run against another
WIDEST = 0.05  # half-width of an interval that can be called consistent with a published number
NETWORKS = {"teacher": "teacher", "student-pooled": "student", "student-tokens": "student"}  # published ones


class Finding(Enum):
    """What is found of a claim."""

    HOLDS = "holds"
    PARTLY = "holds in part"
    NOT_SHOWN = "not shown"
    PENDING = "not decided yet"


class Limit(Enum):
    """What a finding is limited to, or what is known beside it."""

    CORPORA = "only some corpora decide or gain"
    SPEAKER_DEPENDENT = "only on speakers that were also trained on"
    FIRST_PAIR = "only against the first run it is compared with"
    SECOND_PAIR_MISSING = "the second comparison is not complete"
    POSITION = "only as to position in the tokens"
    POSITION_RULED_OUT = "position cannot pass on: proved"
    OPERATIONS = "only as to the number of operations"
    WIDE = "intervals too wide to be consistent with a published number"
    TRAINING_SET = "published accuracies are reached on the training set"


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim, where, and the comparisons that it rests on, in the order of :data:`NEEDED`."""

    claim: str
    finding: Finding
    limits: tuple[Limit, ...] = ()
    corpora: tuple[str, ...] = ()  # where it holds
    comparisons: tuple[tuple[Comparison, ...], ...] = ()
    position: dict[str, metrics.Interval] = field(default_factory=dict)  # see position_gains


def measurements(pair: Sequence[str], table: pd.DataFrame, noise: results.Noise = results.NO_NOISE) -> list[Comparison]:
    """Two runs compared on people's recordings, one comparison a corpus, protocol and image size.

    Augmented corpora do not count, nor does training beyond the paper. Of several schedules that is taken which decides;
    then that with more predictions; then that with more epochs; then single precision before bf16.
    """
    counts = (
        table["speech"].eq("recordings")
        & table["protocol"].isin(splits.PROTOCOLS)
        & ~table["schedule"].isin(results.BEYOND)
    )
    ours, theirs = (table[counts & table["run"].eq(run)] for run in pair)
    best: dict[tuple, Comparison] = {}

    def rank(c: Comparison) -> tuple:
        return c.decides, len(c.joined), int(c.epochs), c.precision == "32-true"

    for made in results.compare(ours, theirs, noise=noise):
        key = made.corpus, made.protocol, made.fingerprint, made.image
        if key not in best or rank(made) > rank(best[key]):
            best[key] = made
    order = results.in_order(c.corpus for c in best.values())
    return sorted(best.values(), key=lambda c: (order.index(c.corpus), splits.PROTOCOLS.index(c.protocol)))


def verdict(key: str, table: pd.DataFrame, probed: pd.DataFrame | None = None) -> Verdict:
    """A claim's verdict from prediction rows, and from :func:`companion.results.tokens` of probed networks.

    A comparison decides when it covers the whole corpus, every fold of its protocol (of random draws, those that are
    there), and as many epochs as the paper's.

    * Of runs against each other, speaker-independent: the claim holds on a corpus if the interval of every difference of
      :data:`NEEDED` lies above zero there. It holds in part if it does on some of the corpora, against the first run
      alone, or speaker-dependent alone.
    * Of coordinates, where accuracy shows no gain: it holds in part, as to position, if the last tokens of every speaker
      of every corpus that decides tell less of their columns' numbers without coordinates.
    * Of transfer, where accuracy shows no gain: that position passes on is ruled out by proof.
    * Of accuracies against published ones: a corpus is consistent if every published number lies within or below an
      interval whose half-width is at most :data:`WIDEST`.
    * Of cost: the accuracies decide one half; the other, whether the student needs fewer operations than the teacher and
      every network of others that is counted here.
    """
    noise = results.seed_noise(table)
    found = tuple(tuple(measurements(pair, table, noise)) for pair in NEEDED[key])
    if key in AGAINST_PUBLISHED:
        found = (tuple(c for c in found[0] if _has_published(c)),)
    deciding = [[c for c in of_pair if c.decides] for of_pair in found]
    independent = [c for c in deciding[0] if c.held_out == splits.NEW]
    if not independent:
        return Verdict(key, Finding.PENDING, comparisons=found)
    if key in AGAINST_PUBLISHED:
        return _against_published(key, found, deciding[0])
    return _against_each_other(key, found, deciding, probed)


def lacking(key: str, corpus: str, table: pd.DataFrame) -> dict[tuple[str, int], list[int]]:
    """By run and seed the folds of which the records that :data:`DECIDED_BY` names are not there yet, in bf16."""
    protocol, seeds = DECIDED_BY[corpus]
    folds = range(1 if protocol == "actor-split" else facts.CORPORA[corpus].speakers)
    here = table["schedule"].eq("paper-bf16") & table["protocol"].eq(protocol) & table["corpus"].eq(corpus)
    there = set(table[here][["run", "seed", "fold"]].drop_duplicates().itertuples(index=False, name=None))
    runs = dict.fromkeys(run for pair in NEEDED[key] for run in pair)
    left = {(run, seed): [f for f in folds if (run, seed, f) not in there] for run in runs for seed in seeds}
    return {cell: folds for cell, folds in left.items() if folds}


def _against_each_other(
    key: str, found: tuple[tuple[Comparison, ...], ...], deciding: list[list[Comparison]], probed: pd.DataFrame | None
) -> Verdict:
    def gains(of_pair: Iterable[Comparison], held_out: str) -> dict[str, bool]:
        return {c.corpus: c.difference.low > 0 for c in of_pair if c.held_out == held_out}

    position = position_gains(probed) if key == "coordinate encoding" and probed is not None else {}
    first, *others = (gains(of_pair, splits.NEW) for of_pair in deciding)
    everywhere = [corpus for corpus, gained in first.items() if gained and all(other.get(corpus) for other in others)]
    if everywhere:
        limits = (Limit.CORPORA,) if set(everywhere) < set(facts.CORPORA) else ()
        finding = Finding.HOLDS if set(everywhere) == set(first) else Finding.PARTLY
        return Verdict(key, finding, limits, tuple(everywhere), found, position)
    if gained := tuple(corpus for corpus, gained in first.items() if gained):
        refuted = any(other.get(corpus) is False for other in others for corpus in gained)
        limit = Limit.FIRST_PAIR if refuted else Limit.SECOND_PAIR_MISSING
        return Verdict(key, Finding.PARTLY, (limit,), gained, found, position)
    if known := tuple(corpus for corpus, gained in gains(deciding[0], splits.KNOWN).items() if gained):
        return Verdict(key, Finding.PARTLY, (Limit.SPEAKER_DEPENDENT,), known, found, position)
    if all(corpus in position and _everyone(corpus, position[corpus]) and position[corpus].low > 0 for corpus in first):
        return Verdict(key, Finding.PARTLY, (Limit.POSITION,), tuple(first), found, position)
    limits = (Limit.POSITION_RULED_OUT,) if key == "transfer" else ()
    return Verdict(key, Finding.NOT_SHOWN, limits, (), found, position)


def _against_published(key: str, found: tuple[tuple[Comparison, ...], ...], deciding: list[Comparison]) -> Verdict:
    independent = [c for c in deciding if c.held_out == splits.NEW]
    reached = [c for c in deciding if all(reaches(c.corpus, run, at) for run, at in c.accuracies())]
    consistent = [c for c in reached if all((at.high - at.low) / 2 <= WIDEST for _, at in c.accuracies())]
    limits = [Limit.WIDE] * (len(consistent) < len(reached))
    trained = [all(reaches(c.corpus, run, at) for run, at in c.accuracies("train")) for c in deciding]
    limits += [Limit.TRAINING_SET] * (all(trained) and not consistent)
    if key == "cost" and not fewer_operations():
        return Verdict(key, Finding.NOT_SHOWN, tuple(limits), (), found)
    if all(c in consistent for c in independent):
        corpora = tuple(c.corpus for c in independent)
        limits += [Limit.CORPORA] * (set(corpora) < set(facts.CORPORA))
        return Verdict(key, Finding.HOLDS, tuple(limits), corpora, found)
    if key == "cost":
        return Verdict(key, Finding.PARTLY, (Limit.OPERATIONS, *limits), (), found)
    if consistent:
        limits.insert(0, Limit.CORPORA if any(c in independent for c in consistent) else Limit.SPEAKER_DEPENDENT)
        return Verdict(key, Finding.PARTLY, tuple(limits), tuple(c.corpus for c in consistent), found)
    return Verdict(key, Finding.NOT_SHOWN, tuple(limits), (), found)


def position_gains(probed: pd.DataFrame) -> dict[str, metrics.Interval]:
    """By corpus, the R2 of the column's number from the last tokens with coordinates, less that without them.

    Only networks trained as long as the paper's count, speaker-independent; of several protocols that with the most
    speakers. A verdict takes only those of which every speaker was held out once.
    """
    long_enough = [name for name, s in config.SCHEDULES.items() if s.epochs >= config.SCHEDULES["paper"].epochs]
    counts = probed["speech"].eq("recordings") & probed["schedule"].isin(long_enough)
    found = results.position_r2_gain(probed[counts], "teacher", "teacher-no-position")
    gains = [
        (corpus, gain)
        for (corpus, protocol, _), (gain, _) in found.items()
        if splits.HELD_OUT[protocol] == splits.NEW and corpus in facts.CORPORA
    ]
    return dict(sorted(gains, key=lambda one: one[1].speakers))


def _everyone(corpus: str, at: metrics.Interval) -> bool:
    return at.speakers == facts.CORPORA[corpus].speakers


def published(corpus: str, run: str) -> float | None:
    """The accuracy published for a run's network on 128 x 128 images, in [0, 1]; None for networks the paper has not."""
    values = [
        p.value for p in paper.PUBLISHED if (p.corpus, p.model, p.image) == (corpus, NETWORKS.get(run), "128x128")
    ]
    return float(values[0]) / 100 if values else None


def reaches(corpus: str, run: str, at: metrics.Interval) -> bool:
    """Whether an interval reaches what is published for the run, or lies above."""
    stated = published(corpus, run)
    return stated is not None and at.high >= stated


def _has_published(c: Comparison) -> bool:
    return c.image == config.Features().images and all(
        published(c.corpus, run) is not None for run in (c.first, c.second)
    )


@cache
def fewer_operations() -> bool:
    """Whether the student needs fewer operations than the teacher and than every network of others counted here."""
    from serlib import flops
    from studies.others import reference_networks

    others = (other.flops for other in reference_networks().values())
    return flops.count(config.STUDENT).flops < min(flops.count(config.TEACHER).flops, *others)
