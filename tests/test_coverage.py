"""The intervals of pages hold the truth as often as they say, and are hardly wider than they must be."""

from pathlib import Path

import jaxtyping
import numpy as np
import pandas as pd
import pytest
from helpers import SPEAKERS, outcome

from companion import evidence, results
from serlib import metrics
from tests import coverage

ROOT = Path(__file__).resolve().parents[1]
DRAWS = 1_500


@pytest.fixture(scope="module")
def designs() -> list[coverage.Design]:
    return list(coverage.designs(evidence.read(ROOT).predictions))


@pytest.mark.parametrize("number", range(8))
def test_intervals_cover(designs: list[coverage.Design], number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn without the checks of shapes, which test_metrics makes of the same functions."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    share, width = coverage.covered(designs[number], DRAWS)
    assert 0.94 <= share <= 0.97, designs[number].name
    assert width <= 1.1, designs[number].name


def test_there_are_no_more_designs(designs: list[coverage.Design]) -> None:
    assert len(designs) == 8
    assert {len(design.fold) for design in designs} == {10, 19, 91}


def test_a_simulated_comparison_is_what_pages_compute(designs: list[coverage.Design]) -> None:
    """The same counts as records, compared as pages do it: folds and seeds are selected, then the same interval."""
    rng = np.random.default_rng(1)
    ours, theirs = (
        [
            record
            for seed in range(3)
            for record in outcome(
                "student-pooled" if i else "student-alone",
                dict(zip(SPEAKERS, rng.integers(0, 5, 6), strict=True)),
                seed=seed,
            )
            if (seed, record.fold) != (2, 0)  # the third seed lacks a fold, so that it is left out
        ]
        for i in (1, 0)
    )
    table = results.predictions([*ours, *theirs])
    noise = results.seed_noise(table)
    (c,) = results.compare(table[table["run"] == "student-pooled"], table[table["run"] == "student-alone"], noise=noise)
    assert c.seeds == [0, 1]
    sums = results.test(table).groupby(["run", "seed", "speaker"], observed=True)["correct"].sum().unstack("speaker")
    gap = (sums.loc["student-pooled"] - sums.loc["student-alone"]).loc[[0, 1]]
    doubled = metrics.SeedNoise(
        2 * noise["emodb", "leave-one-speaker-out"].variance, noise["emodb", "leave-one-speaker-out"].df
    )
    expected = metrics.interval(
        gap.to_numpy().ravel(),
        np.tile(SPEAKERS, 2),
        weights=np.full(12, 4.0),
        seeds=np.repeat([0, 1], 6),
        noise=doubled,
    )
    shown = c.gain("WA")
    assert (shown.estimate, shown.error, shown.df) == pytest.approx((expected.estimate, expected.error, expected.df))


def test_the_variances_are_those_of_the_records() -> None:
    """Of a table whose seeds move all speakers by the same: all of the seed variance is common."""
    right = {0: 1, 1: 2, 2: 3}
    found = [
        r
        for run in ("student-alone", "teacher")
        for seed, count in right.items()
        for r in outcome(run, dict.fromkeys(SPEAKERS, count), seed=seed, schedule="paper-bf16")
    ]
    _, common, single, speakers = coverage.components(results.predictions(found), "emodb", "leave-one-speaker-out")
    assert (common, single, speakers) == pytest.approx((pd.Series([0.25, 0.5, 0.75]).var(), 0, 0))
