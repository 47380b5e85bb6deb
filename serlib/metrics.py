"""Predictions to figures of merit: accuracies, intervals over speakers and seeds, Holm's correction, attainable accuracies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray
from scipy.special import stdtr, stdtrit  # Student's t: of degrees of freedom, its distribution and quantiles

Counts = Num[ndarray, "*runs classes"]

LEVEL = 0.95  # of every interval


def unweighted_accuracy(right: Counts, total: Counts) -> Float[ndarray, "*runs"] | float:
    """UA: the mean of the classes' recalls (UAR); classes without an utterance do not count."""
    recalls = np.divide(right, total, out=np.zeros(np.broadcast(right, total).shape), where=total > 0)
    return recalls.sum(axis=-1) / (total > 0).sum(axis=-1)


class SeedNoise(NamedTuple):
    """The part of one run's variance over seeds that is common to all speakers, and its degrees of freedom."""

    variance: float
    df: float


@dataclass(frozen=True)
class Interval:
    """An estimate, its bounds, and its numbers of speakers and seeds; a single speaker gives no bounds (NaN)."""

    estimate: float
    low: float
    high: float
    speakers: int
    seeds: int = 1
    error: float = np.nan  # standard error
    df: float = np.nan  # its degrees of freedom

    @property
    def p(self) -> float:
        """Two-sided p-value of "the estimate is 0"; NaN if the standard error is 0 and the estimate is not."""
        if not self.error:
            return 1.0 if self.estimate == 0 else np.nan
        return float(2 * stdtr(self.df, -abs(self.estimate) / self.error))

    @property
    def bound(self) -> float:
        """The largest value that the data leave open: the one-sided upper bound at :data:`LEVEL`."""
        return self.estimate + float(stdtrit(self.df, LEVEL)) * self.error

    def within(self, low: float, high: float) -> "Interval":
        """The same interval with its bounds clipped to the possible range."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))


def interval(
    values: Sequence | ndarray,
    speakers: Sequence | ndarray,
    *,
    classes: Sequence | ndarray | None = None,
    weights: Sequence | ndarray | None = None,
    seeds: Sequence | ndarray | None = None,
    noise: SeedNoise | None = None,
) -> Interval:
    """The mean of one value an utterance, with its uncertainty from speakers and seeds.

    The speakers' part is the delete-one-speaker jackknife of the mean over seeds (Efron & Tibshirani 1993, section 11.5):
    ``(J - 1) / J * sum_j (m_j - mean(m))^2`` with ``m_j`` the mean without speaker j. It holds the effect of seeds on
    single speakers already. ``noise`` over the number of seeds adds their effect on all speakers alike. Bounds are of
    Student's t with J - 1 degrees of freedom, both parts' joined by Satterthwaite (1946).

    Args:
        values: 1.0 where a prediction is right and 0.0 where it is wrong; or the difference of two such values.
        speakers, seeds: of every value. A value for each seed: the same utterances may stand in several.
        classes: of every utterance; then the mean of the classes' means (UA), else the mean of all values (WA).
        weights: of every value; the figure is then the ratio of two sums, of ``values`` over ``weights``.
        noise: of this figure of merit with one seed, see :func:`seed_noise`; None where no seed has a part.

    Raises:
        ValueError: no value.
    """
    if not len(values):
        raise ValueError("no utterance: no figure of merit")
    names, speaker = np.unique(np.asarray(speakers), return_inverse=True)
    n_seeds = 1 if seeds is None else len(np.unique(np.asarray(seeds)))
    kinds, kind = ((0,), np.zeros(len(values), int)) if classes is None else np.unique(classes, return_inverse=True)
    right, total = np.zeros((2, len(names), len(kinds)))
    np.add.at(right, (speaker, kind), np.asarray(values, dtype=float))
    np.add.at(total, (speaker, kind), 1.0 if weights is None else np.asarray(weights, dtype=float))
    estimate = float(unweighted_accuracy(right.sum(axis=0), total.sum(axis=0)))
    if len(names) == 1:
        return Interval(estimate, np.nan, np.nan, 1, n_seeds)
    without = unweighted_accuracy(right.sum(axis=0) - right, total.sum(axis=0) - total)
    parts = [((len(names) - 1) / len(names) * ((without - without.mean()) ** 2).sum(), len(names) - 1)]
    if noise is not None:
        parts.append((noise.variance / n_seeds, noise.df))
    variance = sum(v for v, _ in parts)
    df = float(variance**2 / sum(v**2 / d for v, d in parts) if variance > 0 else parts[0][1])
    error = float(np.sqrt(variance))
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * error
    return Interval(estimate, estimate - half, estimate + half, len(names), n_seeds, error, df)


def seed_noise(runs: Iterable[tuple[ndarray, ndarray]]) -> SeedNoise | None:
    """The variance over seeds that all speakers share, ``max(0, (MS_seed - MS_residual) / J)``, pooled over runs.

    This is a two-way analysis of variance without replication (Scheffe 1959, section 4.8). Its cells are the parts of the
    speakers in the figure of merit, ``J * weight_j / sum(weight) * (mean_sj - mean_s)`` for seed s and speaker j. Its
    degrees of freedom are those of a difference of two mean squares (Satterthwaite 1946).

    Args:
        runs: of each run two arrays (seeds, speakers): the sum of the values, and of their weights (or their number).

    Returns:
        None if no run has two seeds and two speakers.
    """
    between, within = [], []  # pairs of a sum of squares and its degrees of freedom
    for numerator, denominator in runs:
        seeds, speakers = numerator.shape
        if min(seeds, speakers) < 2:
            continue
        by_seed = numerator.sum(axis=1) / denominator.sum(axis=1)
        share = speakers * denominator / denominator.sum(axis=1, keepdims=True)
        influence = share * (numerator / denominator - by_seed[:, None])
        between.append((by_seed.var(ddof=1) * (seeds - 1), seeds - 1))
        within.append((((influence - influence.mean(axis=0)) ** 2).sum() / speakers, (seeds - 1) * (speakers - 1)))
    if not between:
        return None
    (seed, seed_df), (residual, residual_df) = (np.sum(pairs, axis=0) for pairs in (between, within))
    seed, residual = seed / seed_df, residual / residual_df
    variance = max(0.0, float(seed - residual))
    df = float(variance**2 / (seed**2 / seed_df + residual**2 / residual_df)) if variance else 1.0
    return SeedNoise(variance, df)


def holm(p_values: Sequence[float]) -> Float[ndarray, " comparisons"]:
    """p-values adjusted for multiple comparisons (Holm 1979): the chance of any false finding stays below the level."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1)
    return adjusted[np.argsort(order)]


def attainable(printed: str, utterances: int) -> dict[str, list[int]]:
    """The numbers of correct utterances whose percentage prints as ``printed``, if rounded and if truncated.

    An accuracy over N utterances is k/N for a whole k. So a printed percentage either is one of these or is not: the GRIM
    test (Brown & Heathers 2017, doi 10.1177/1948550616673876). The arithmetic is exact (decimal).
    """
    target = Decimal(printed)
    unit = Decimal(1).scaleb(target.as_tuple().exponent)  # of the last printed digit
    low, high = (int((target + sign * unit) * utterances / 100) for sign in (-1, 1))
    candidates = range(max(low, 0), min(high + 1, utterances) + 1)
    return {
        name: [k for k in candidates if (Decimal(100 * k) / utterances).quantize(target, rounding) == target]
        for name, rounding in (("rounded", ROUND_HALF_UP), ("truncated", ROUND_DOWN))
    }
