"""``python -m tests.coverage [DRAWS]``: how often the intervals of the book hold the truth, in simulated comparisons.

Each draw is a table of runs as pages read them: several networks with three seeds, from which the seed noise is pooled by
:func:`serlib.metrics.seed_noise`, and two runs that differ by nothing, compared by :func:`serlib.metrics.interval`. Speakers,
their utterances and the variances are those of the committed records; under the five folds a network serves a fifth of the
speakers, so that its seed moves them together.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from companion import evidence, results
from serlib import metrics
from serlib.data import splits
from studies import variants

ROOT = Path(__file__).resolve().parents[1]
POOLED = 5  # networks from which the seed noise is estimated


@dataclass(frozen=True)
class Design:
    """Who is tested, by how many trainings, and how large each part of the variance is (shares of one, squared)."""

    name: str
    utterances: np.ndarray  # by speaker
    fold: np.ndarray  # by speaker: whose network tests it
    common: float  # variance of what a seed does to every speaker of a network alike
    single: float  # variance of what a seed does to one speaker
    speakers: float  # variance of a speaker's true difference between two runs
    seeds: int = 3
    whole: int | None = None  # seeds that have every fold; the others lack one and are left out
    classifier: bool = False  # the second run has no chance


def components(predicted: pd.DataFrame, corpus: str, protocol: str) -> tuple[np.ndarray, float, float, float]:
    """Utterances by speaker, and the variances ``common``, ``single``, ``speakers`` of the networks with three seeds."""
    rows = results.test(predicted)
    rows = rows[rows["corpus"].eq(corpus) & rows["protocol"].eq(protocol) & rows["schedule"].eq("paper-bf16")]
    rows = rows[~rows["run"].isin(variants.BASELINES) & ~rows["run"].str.contains("+", regex=False)]
    tables = {}
    for run, predicted_by_run in rows.groupby("run", observed=True):
        if predicted_by_run["seed"].nunique() >= results.SEEDS:
            tables[run] = results.by_seed_and_speaker(predicted_by_run.assign(one=1.0), "correct", "one")
    each = [right / total for right, total in tables.values()]
    noise = metrics.seed_noise(tables.values())
    centred = [(shares - shares.mean(axis=0) - shares.mean(axis=1, keepdims=True) + shares.mean()) for shares in each]
    single = float(np.mean([(e**2).sum() / ((len(e) - 1) * (e.shape[1] - 1)) for e in centred]))
    means = [shares.mean(axis=0) for shares in each]
    pairs = [means[i] - means[j] for i in range(len(means)) for j in range(i)]
    speakers = float(np.mean([gap.var(ddof=1) for gap in pairs])) - 2 * single / results.SEEDS
    return next(iter(tables.values()))[1][0], noise.variance, single, max(speakers, 0.0)


def designs(predicted: pd.DataFrame) -> Iterator[Design]:
    """Every kind of comparison that pages make."""
    utterances, *parts = components(predicted, "emodb", "leave-one-speaker-out")
    few = Design("leave one speaker out, 10 networks", utterances, np.arange(len(utterances)), *parts)
    utterances, *parts = components(predicted, "crema-d", "actor-split")
    one = Design("19 actors, one network", utterances, np.zeros(len(utterances), int), *parts)
    many = np.resize(utterances, 91)
    folds = Design("91 actors, five networks", many, np.arange(91) % splits.FOLDS, *parts)
    for design in (few, one, folds):
        for seeds in (1, 3):
            yield replace(design, name=f"{design.name}, {seeds} seed{'s' * (seeds > 1)}", seeds=seeds)
    yield replace(few, name=f"{few.name}, 3 seeds, one lacks a fold", whole=2)
    yield replace(one, name=f"{one.name}, against a classifier without chance", classifier=True)


def simulate(design: Design, rng: np.random.Generator) -> metrics.Interval:
    """One comparison of two runs that are equally good, with the seed noise of networks trained beside them."""

    def run(seeds: int) -> np.ndarray:
        """Accuracies (seeds, speakers) of one network, each seed trained by itself, around its speakers' own."""
        networks = design.fold.max() + 1
        of_network = rng.normal(0, design.common**0.5, (seeds, 1))
        if 1 < networks < len(design.fold):  # a network for each group of speakers
            of_network = rng.normal(0, design.common**0.5, (seeds, networks))[:, design.fold]
        return 0.5 + of_network + rng.normal(0, design.single**0.5, (seeds, len(design.fold)))

    pooled = [
        (shares * design.utterances, np.broadcast_to(design.utterances, shares.shape))
        for shares in (run(3) for _ in range(POOLED))
    ]
    noise = metrics.seed_noise(pooled)
    difference = rng.normal(0, design.speakers**0.5, len(design.fold)) + run(design.seeds)
    difference -= 0.5 if design.classifier else run(design.seeds)
    kept = difference[: design.whole]
    doubled = metrics.SeedNoise((1 if design.classifier else 2) * noise.variance, noise.df)
    return metrics.interval(
        (kept * design.utterances).ravel(),
        np.tile(np.arange(len(design.fold)), len(kept)),
        weights=np.tile(design.utterances, len(kept)).astype(float),
        seeds=np.repeat(np.arange(len(kept)), len(design.fold)),
        noise=doubled,
    )


def covered(design: Design, draws: int) -> tuple[float, float]:
    """The share of intervals that hold the truth, and their mean half-width over the ideal one, Student's t of the true
    standard error."""
    rng = np.random.default_rng(0)
    found = [simulate(design, rng) for _ in range(draws)]
    low, high, estimate = (
        np.array([getattr(interval, name) for interval in found]) for name in ("low", "high", "estimate")
    )
    ideal = stats.t.ppf((1 + metrics.LEVEL) / 2, len(design.fold) - 1) * estimate.std()
    return float(((low <= 0) & (high >= 0)).mean()), float((high - low).mean() / 2 / ideal)


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for design in designs(evidence.read(ROOT).predictions):
        share, width = covered(design, draws)
        print(
            f"{design.name}: {100 * share:.1f} % of {draws:,} intervals hold the truth, {width:.2f} times the ideal width"
        )


if __name__ == "__main__":
    main()
