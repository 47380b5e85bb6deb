"""Figures of merit against scikit-learn, and intervals and attainable accuracies against brute force."""

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from companion import paper
from serlib import metrics
from serlib.data import facts

RNG = np.random.default_rng(0)
TRUE, PREDICTED = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
SPEAKERS = [f"s{i % 5}" for i in range(200)]


def test_accuracies_agree_with_scikit_learn():
    counts = reference.confusion_matrix(TRUE, PREDICTED)
    right, total = np.diagonal(counts), counts.sum(axis=1)
    assert metrics.unweighted_accuracy(right, total) == pytest.approx(
        reference.balanced_accuracy_score(TRUE, PREDICTED)
    )
    values = (TRUE == PREDICTED).astype(float)
    assert metrics.interval(values, SPEAKERS).estimate == pytest.approx(reference.accuracy_score(TRUE, PREDICTED))
    ua = metrics.interval(values, SPEAKERS, classes=TRUE)
    assert ua.estimate == pytest.approx(reference.balanced_accuracy_score(TRUE, PREDICTED))


def test_a_class_without_utterances_does_not_count():
    assert metrics.unweighted_accuracy(np.array([1, 1, 0]), np.array([2, 1, 0])) == pytest.approx(0.75)


def test_of_equal_speakers_the_interval_is_the_t_interval_of_their_means():
    """With as many utterances of each, the jackknife's error is the standard error of the speakers' means."""
    means = np.array([0.25, 0.5, 0.75, 0.5, 1.0])
    values = np.concatenate([[1.0] * round(4 * m) + [0.0] * (4 - round(4 * m)) for m in means])
    at = metrics.interval(values, np.repeat([*"abcde"], 4))
    low, high = stats.t.interval(0.95, 4, loc=means.mean(), scale=stats.sem(means))
    assert (at.estimate, at.low, at.high) == pytest.approx((means.mean(), low, high))
    assert (at.speakers, at.seeds, at.df) == (5, 1, 4)
    assert at.p == pytest.approx(stats.ttest_1samp(means, 0.0).pvalue)


def test_of_unequal_speakers_every_one_is_left_out_by_hand():
    values, speakers, classes = [1, 0, 1, 1, 0, 1], [*"aabbbc"], [0, 1, 0, 1, 1, 1]

    def figure(kept, ua):
        of = {
            k: [v for v, s, c in zip(values, speakers, classes, strict=True) if s in kept and (c == k or not ua)]
            for k in (0, 1)
        }
        return np.mean([np.mean(v) for v in of.values() if v])

    for ua in (False, True):
        at = metrics.interval(values, speakers, classes=classes if ua else None)
        without = np.array([figure({"b", "c"}, ua), figure({"a", "c"}, ua), figure({"a", "b"}, ua)])
        error = np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
        assert (at.estimate, at.error) == pytest.approx((figure({"a", "b", "c"}, ua), error))


def test_a_ratio_of_sums_by_hand():
    at = metrics.interval([1.0, 3.0, 2.0], [*"abc"], weights=[2.0, 4.0, 4.0])
    without = np.array([5 / 8, 3 / 6, 4 / 6])
    error = np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert (at.estimate, at.error) == pytest.approx((0.6, error))


def test_what_a_seed_does_to_all_alike_is_added_with_satterthwaites_degrees_of_freedom():
    """Two speakers of one utterance, 1 and 0 on average: the jackknife's variance is 0.25."""
    one = metrics.interval([1, 0], [*"ab"], noise=metrics.SeedNoise(0.04, 7))
    assert one.error == pytest.approx(np.sqrt(0.25 + 0.04))
    assert one.df == pytest.approx(0.29**2 / (0.25**2 + 0.04**2 / 7))
    two = metrics.interval([1, 0, 1, 0], [*"abab"], seeds=[0, 0, 1, 1], noise=metrics.SeedNoise(0.04, 7))
    assert two.error == pytest.approx(np.sqrt(0.25 + 0.04 / 2))
    assert metrics.interval([1, 0, 1, 1], [*"abab"], seeds=[0, 0, 1, 1]).error == pytest.approx(0.25)


def test_the_part_of_seeds_that_speakers_share_by_hand():
    """Three seeds, two speakers of 10 utterances. One run moves both alike, another moves them against each other."""
    total = np.full((3, 2), 10.0)
    alike = np.array([[4.0, 6.0], [5.0, 7.0], [6.0, 8.0]])
    against = np.array([[4.0, 6.0], [5.0, 5.0], [6.0, 4.0]])
    shared = metrics.seed_noise([(alike, total)])
    assert shared == pytest.approx((0.01, 2))  # means 0.5, 0.6, 0.7; nothing is left over
    assert metrics.seed_noise([(against, total)]).variance == 0
    # 0.01 with 2 degrees of freedom, and a residual of 0.02 / 2 with 2: pooled (0.01 + 0) / 2 - (0 + 0.01) / 2 = 0
    assert metrics.seed_noise([(alike, total), (against, total)]).variance == pytest.approx(0, abs=1e-12)
    both = metrics.seed_noise([(alike, total)] * 3 + [(against, total)])
    seed, residual = 3 * 0.01 / 4, 0.01 / 4
    assert both.variance == pytest.approx(seed - residual)
    assert both.df == pytest.approx((seed - residual) ** 2 / (seed**2 / 8 + residual**2 / 8))  # 4 runs of 2
    assert metrics.seed_noise([(alike[:1], total[:1])]) is None


def test_the_largest_value_left_open_is_one_sided():
    at = metrics.interval([1.0, 3.0, 2.0], [*"abc"])
    assert at.bound == pytest.approx(at.estimate + 2.919986 * at.error)  # Student's t, 2 degrees of freedom


def test_of_one_speaker_there_is_no_interval():
    at = metrics.interval(np.ones(9), ["a"] * 9)
    assert (at.estimate, at.speakers, at.seeds) == (1.0, 1, 1)
    assert np.isnan([at.low, at.high, at.p]).all()


def test_without_spread_an_estimate_is_certain():
    at = metrics.interval([1.0, 1.0, 1.0], [*"abc"])
    assert (at.low, at.high, at.error, at.df) == (1.0, 1.0, 0.0, 2.0)
    p = [metrics.Interval(x, x, x, 3, error=0.0, df=2.0).p for x in (-0.5, 0.0, 0.5)]
    np.testing.assert_array_equal(p, [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(metrics.holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])


def test_bounds_are_cut_to_what_is_possible():
    at = metrics.Interval(0.9, 0.6, 1.2, 3)
    assert at.within(0.7, 1.0) == metrics.Interval(0.9, 0.7, 1.0, 3, seeds=1)
    assert {at.within(0.0, 2.0), at} == {at}  # a value: equal ones are one


def test_no_utterance_has_no_figure_of_merit():
    with pytest.raises(ValueError, match="no utterance"):
        metrics.interval([], [])


def test_holm_by_hand():
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert metrics.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


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
    assert paper.CONFUSIONS["emodb"].row_sums["sadness"] == 63 > facts.CORPORA["emodb"].class_counts["sadness"] == 62


def test_the_names_that_the_counts_fit_differ_for_one_pair_alone():
    for name, shown in paper.CONFUSIONS.items():
        fitting = shown.fitting_names(facts.CORPORA[name].class_counts)
        moved = {(a, b) for a, b in zip(shown.classes, fitting, strict=True) if a != b}
        assert moved == ({("sadness", "neutral"), ("neutral", "sadness")} if name == "emodb" else set())


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
