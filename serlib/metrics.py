"""Predictions to figures of merit: accuracies, confusion, intervals, and the arithmetic of printed accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

Labels = Int[ndarray, " utterances"]


LEVEL, DRAWS = 0.95, 2_000  # of every interval: the share of draws between its bounds, the number of draws
MIN_CLUSTERS = 4  # speakers that are drawn; of fewer, utterances are


def confusion(true: Labels, predicted: Labels, classes: int) -> Int[ndarray, "classes classes"]:
    """Counts; rows are true classes, columns predictions."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def weighted_accuracy(counts: Int[ndarray, "*runs classes classes"]) -> Float[ndarray, "*runs"] | float:
    """WA: the share of utterances that are right, in [0, 1]; NaN for none."""
    with np.errstate(invalid="ignore"):
        return np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))


def unweighted_accuracy(counts: Int[ndarray, "*runs classes classes"]) -> Float[ndarray, "*runs"] | float:
    """UA: the mean of the classes' recalls (UAR), in [0, 1]; classes without an utterance do not count."""
    totals = counts.sum(axis=-1)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    recalls = np.divide(right, totals, out=np.zeros(totals.shape), where=totals > 0)
    with np.errstate(invalid="ignore"):
        return recalls.sum(axis=-1) / (totals > 0).sum(axis=-1)


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds between which the stated share of the bootstrap estimates lies."""

    estimate: float
    low: float
    high: float


def bootstrap(
    true: Labels,
    predicted: Labels,
    speakers: Sequence[str],
    classes: int,
    measure=weighted_accuracy,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over speakers: whole speakers are drawn with replacement, since one speaker's utterances are
    not independent (Davison & Hinkley 1997, section 3.8). Of fewer than :data:`MIN_CLUSTERS` speakers, the utterances are
    drawn instead: two or three speakers give so few different draws that an interval over them can be far too narrow.

    Returns:
        the measure on all utterances and its interval, in [0, 1].
    """
    drawn, cells = _draws(true, [predicted], speakers, classes, draws, seed)
    return _interval(measure(drawn[0]), measure(cells[0]), level)


def paired(
    true: Labels, first: Labels, second: Labels, speakers: Sequence[str], classes: int, measure=weighted_accuracy
) -> Interval:
    """How much better ``first`` predicts the same utterances than ``second``, in points of [0, 1].

    As :func:`bootstrap`, with the same speakers drawn for both, so that what makes a speaker hard cancels out.
    """
    drawn, cells = _draws(true, [first, second], speakers, classes, DRAWS, seed=0)
    return _interval(measure(drawn[0]) - measure(drawn[1]), measure(cells[0]) - measure(cells[1]), LEVEL)


def ratio(above: Sequence[float], below: Sequence[float], speakers: Sequence[str]) -> Interval:
    """The sum of one value an utterance over the sum of another, with its interval as :func:`bootstrap` draws it."""
    member, drawn = _drawn(speakers, DRAWS, seed=0)
    sums = [np.bincount(member, values) for values in (above, below)]
    return _interval(drawn @ sums[0] / (drawn @ sums[1]), sums[0].sum() / sums[1].sum(), LEVEL)


def _drawn(speakers: Sequence[str], draws: int, seed: int) -> tuple[Labels, Int[ndarray, "draws speakers"]]:
    """Each utterance's speaker as a number, and how often every draw takes each; of few speakers, each utterance."""
    names, member = np.unique(np.asarray(speakers), return_inverse=True)
    if len(names) < MIN_CLUSTERS:
        names = member = np.arange(len(speakers))
    chances = np.full(len(names), 1 / len(names))
    return member, np.random.default_rng(seed).multinomial(len(names), chances, size=draws)


def _draws(
    true: Labels, predictions: Sequence[Labels], speakers: Sequence[str], classes: int, draws: int, seed: int
) -> tuple[list[Int[ndarray, "draws classes classes"]], list[Int[ndarray, "classes classes"]]]:
    """For each of some predictions, the confusions of every draw of speakers, and of all utterances."""
    member, drawn = _drawn(speakers, draws, seed)
    confusions, sums = [], []
    for predicted in predictions:
        cells = np.zeros((drawn.shape[1], classes, classes), dtype=np.int64)
        np.add.at(cells, (member, true, predicted), 1)
        confusions.append(np.einsum("ds,sij->dij", drawn, cells))
        sums.append(cells.sum(axis=0))
    return confusions, sums


def _interval(estimates: Float[ndarray, " draws"], estimate: float, level: float) -> Interval:
    low, high = np.nanquantile(estimates, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(estimate), float(low), float(high))


def by_speaker(true: Labels, predicted: Labels, speakers: Sequence[str]) -> dict[str, float]:
    """Each speaker's weighted accuracy in [0, 1]."""
    names = np.asarray(speakers)
    return {str(name): float((true == predicted)[names == name].mean()) for name in np.unique(names)}


def attainable(printed: str, utterances: int) -> dict[str, list[int]]:
    """Numbers of right utterances, out of ``utterances``, whose percentage prints as ``printed``.

    An accuracy over N utterances is k/N for a whole k, so a printed percentage either is one of these or is not (the
    GRIM test: Brown & Heathers 2017, doi 10.1177/1948550616673876). The arithmetic is exact (decimal).

    Returns:
        ``{"rounded": [k, ...], "truncated": [k, ...]}``; empty lists where no k fits.
    """
    target = Decimal(printed)
    unit = Decimal(1).scaleb(target.as_tuple().exponent)  # of the last printed digit
    low, high = (int((target + sign * unit) * utterances / 100) for sign in (-1, 1))
    candidates = range(max(low, 0), min(high + 1, utterances) + 1)
    return {
        name: [k for k in candidates if (Decimal(100 * k) / utterances).quantize(target, rounding) == target]
        for name, rounding in (("rounded", ROUND_HALF_UP), ("truncated", ROUND_DOWN))
    }
