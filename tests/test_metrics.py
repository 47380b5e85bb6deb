"""Figures of merit against scikit-learn, and intervals and attainable accuracies against brute force."""

import itertools
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from companion import paper
from serlib import metrics
from serlib.data import facts

RNG = np.random.default_rng(0)
TRUE, PREDICTED = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
SPEAKERS = [f"s{i % 5}" for i in range(200)]


def test_accuracies_and_confusion_agree_with_scikit_learn():
    counts = metrics.confusion(TRUE, PREDICTED, 4)
    assert (counts == reference.confusion_matrix(TRUE, PREDICTED)).all()
    assert metrics.weighted_accuracy(counts) == pytest.approx(reference.accuracy_score(TRUE, PREDICTED))
    assert metrics.unweighted_accuracy(counts) == pytest.approx(reference.balanced_accuracy_score(TRUE, PREDICTED))


def test_a_class_without_utterances_does_not_count():
    counts = metrics.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert metrics.unweighted_accuracy(counts) == pytest.approx(0.75)


def test_speakers_are_drawn_whole():
    """Four speakers, two all right and two all wrong: one draw in 16 is 0, one in 16 is 1, so the interval is all of it."""
    true = np.zeros(20, dtype=int)
    predicted = np.repeat([0, 1], 10)
    interval = metrics.bootstrap(true, predicted, [*"aaaaabbbbbcccccddddd"], 2)
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_the_bootstrap_agrees_with_drawing_the_utterances():
    """The reference puts the drawn speakers' utterances end to end."""
    interval = metrics.bootstrap(TRUE, PREDICTED, SPEAKERS, 4, draws=4000)
    draw = np.random.default_rng(1)
    names = np.array(SPEAKERS)
    estimates = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(names == name) for name in draw.choice(np.unique(names), 5)])
        estimates.append((TRUE[rows] == PREDICTED[rows]).mean())
    low, high = np.quantile(estimates, (0.025, 0.975))
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_a_ratio_of_sums_by_hand():
    above, below, speakers = [1.0, 2.0, 9.0, 1.0, 4.0], [2.0, 2.0, 10.0, 4.0, 8.0], [*"AABCD"]
    at = metrics.ratio(above, below, speakers)
    assert at.estimate == pytest.approx(17 / 26)
    sums = np.array([(3, 4), (9, 10), (1, 4), (4, 8)])  # of each speaker
    drawn = np.array([sums[list(four)].sum(axis=0) for four in itertools.product(range(4), repeat=4)])
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))  # of all draws that there are
    assert (at.low, at.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_of_few_speakers_the_utterances_are_drawn():
    one = metrics.ratio([0.0, 1.0], [1.0, 1.0], ["A", "A"])
    assert (one.estimate, one.low, one.high) == (0.5, 0, 1)
    three = metrics.bootstrap(np.zeros(30, dtype=int), np.tile([0, 1], 15), [*"abc" * 10], 2)
    apart = metrics.bootstrap(np.zeros(30, dtype=int), np.tile([0, 1], 15), [str(i) for i in range(30)], 2)
    assert three == apart


def test_of_one_speaker_the_utterances_are_drawn():
    interval = metrics.bootstrap(TRUE, PREDICTED, ["a"] * 200, 4)
    share = (TRUE == PREDICTED).mean()
    half_width = 1.96 * np.sqrt(share * (1 - share) / 200)  # the normal approximation
    assert interval.high - share == pytest.approx(half_width, abs=0.01)


def test_by_speaker():
    shares = metrics.by_speaker(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "a", "b"])
    assert shares == {"a": 0.5, "b": 1.0}


@given(st.integers(1, 2_000), st.integers(0, 10_000), st.integers(0, 2))
def test_attainable_agrees_with_trying_every_count(utterances, hundredths, digits):
    printed = f"{hundredths / 100:.{digits}f}"
    found = metrics.attainable(printed, utterances)
    for name, rounding in (("rounded", ROUND_HALF_UP), ("truncated", ROUND_DOWN)):
        values = (Decimal(100 * k) / utterances for k in range(utterances + 1))
        expected = [k for k, v in enumerate(values) if v.quantize(Decimal(printed), rounding) == Decimal(printed)]
        assert found[name] == expected


def fits(value: str, utterances: int) -> bool:
    return any(metrics.attainable(value, utterances).values())


def test_the_published_accuracies_fit_eighty_per_cent_of_their_corpus():
    """The arithmetic as it was worked out by hand for these numbers."""
    totals = {"savee": (480, 384, 96), "emodb": (535, 428, 107), "crema-d": (7442, 5954, 1488)}
    assert all(fits(p.value, totals[p.corpus][1]) for p in paper.PUBLISHED)
    assert [p.value for p in paper.PUBLISHED if fits(p.value, totals[p.corpus][2])] == ["98.95"]
    assert [p.value for p in paper.PUBLISHED if fits(p.value, totals[p.corpus][0])] == ["92.64", "98.95", "94.07"]
    assert not any(fits(p.value, 1489) for p in paper.PUBLISHED if p.corpus == "crema-d")


def test_the_published_matrices_hold_eighty_per_cent_of_their_corpus():
    expected = {"savee": (384, 382), "emodb": (428, 427), "crema-d": (5954, 5671)}
    for name, (total, right) in expected.items():
        shown = paper.CONFUSIONS[name]
        assert (shown.total, shown.right) == (total, right)
        assert abs(total - 0.8 * facts.CORPORA[name].utterances) < 1
    assert paper.CONFUSIONS["emodb"].row_sums["sadness"] == 63 > facts.EMODB.class_counts["sadness"] == 62


def test_the_published_numbers_are_those_of_the_material(golden):
    """Against the machine-readable copy that lies beside the golden checkpoints, where it is at hand."""
    import csv
    import json

    rows = list(csv.DictReader((golden.parent / "published.csv").read_text().splitlines()))
    expected = [(r["corpus"].lower(), r["model"], r["input"], r["value"]) for r in rows]
    assert [(p.corpus, p.model, p.image, p.value) for p in paper.PUBLISHED] == expected
    shown = json.loads((golden.parent / "published_confusion.json").read_text())
    for known in facts.CORPORA.values():
        assert list(paper.CONFUSIONS[known.name].classes) == shown[known.title]["classes"]
        assert [list(row) for row in paper.CONFUSIONS[known.name].matrix] == shown[known.title]["matrix"]


def test_paired_by_hand():
    """Four speakers: on one the first is right twice as often, on the others both are equal."""
    true = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    first, second = np.array([0, 0, 1, 0, 0, 0, 1, 1]), np.array([0, 1, 1, 0, 0, 0, 1, 1])
    found = metrics.paired(true, first, second, [*"aabbccdd"], 2)
    # a draw of four holds the one speaker twice in 21 % of draws, three times in 5 %, four times in 0.4 %
    assert (found.estimate, found.low, found.high) == (0.125, 0.0, 0.375)


def test_paired_is_sharper_than_apart():
    """What makes a speaker hard makes it hard for both: the difference varies less than either accuracy."""
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"{i:02}" for i in range(10)], 40)
    hard = np.repeat(rng.uniform(0.2, 0.9, 10), 40)
    true = np.zeros(400, dtype=int)
    second = (rng.uniform(size=400) > hard).astype(int)
    first = np.where(rng.uniform(size=400) < 0.3, 0, second)  # mends some of the second's mistakes
    difference = metrics.paired(true, first, second, list(speakers), 2)
    apart = metrics.bootstrap(true, second, list(speakers), 2)
    assert difference.low > 0
    assert difference.high - difference.low < apart.high - apart.low
    assert metrics.paired(true, second, first, list(speakers), 2).estimate == -difference.estimate
