"""Tidy tables hold what records hold; runs are compared only where they are alike, utterance by utterance."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import SPEAKERS, outcome, tiny_record

from companion import results
from serlib import config, metrics
from serlib.records import Part

ALWAYS, NEVER, HALF = (dict.fromkeys(SPEAKERS, count) for count in (4, 0, 2))


def compare(ours, theirs, **alike):
    return results.compare(results.predictions(ours), results.predictions(theirs), **alike)


def test_a_row_is_a_predicted_utterance():
    table = results.predictions([tiny_record()])
    assert len(table) == 5
    row = table.iloc[-1]
    assert (row["file"], row["speaker"], row["part"]) == ("e.wav", "08", "test")
    assert (row["true"], row["predicted"], row["correct"]) == ("sadness", "anger", 0.0)
    assert (row["run"], row["schedule"], row["precision"], row["image"]) == (
        "student-pooled",
        "paper",
        "32-true",
        "128x128",
    )
    assert (row["fold"], row["seed"], row["repetition"], row["complete"]) == (2, 7, 2, False)  # of draws, the draw


def test_a_version_belongs_to_its_utterance():
    part = Part(("a.wav", "a.wav (speed)"), ("03", "03"), (0, 0), (0, 1))
    table = results.predictions([tiny_record(parts={"train": part, "test": part})])
    assert list(table["utterance"]) == ["a.wav"] * 4
    assert results.accuracy(results.test(table)).estimate == 0.5


def test_a_row_is_a_run_with_its_provenance():
    row = results.runs([tiny_record()]).iloc[0]
    assert (row["run"], row["seconds"], row["date"]) == ("student-pooled", 1.5, "2026-01-31")
    assert row["curves"]["matching"]["loss"] == (0.5, 0.25)
    assert row["result"] == tiny_record().result


def test_the_same_predictions_in_another_order_differ_by_nothing():
    ours = outcome("student-pooled", {**HALF, "03": 3})
    turned = [
        replace(r, parts={**r.parts, "test": Part(*(c[::-1] for c in vars(r.parts["test"]).values()))}) for r in ours
    ]
    theirs = [replace(r, configuration=config.resolve("student-alone", "paper", 0, 2)) for r in turned]
    (found,) = compare(ours, theirs)
    assert (found.difference.estimate, found.difference.error) == (0.0, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "0" * 64},
        {"split": "x" * 64},
        {"corpus": "savee"},
        {"protocol": "speaker-folds"},
        {"configuration": config.resolve("student-alone", "paper-bf16", 0, 2)},
        {"configuration": config.resolve("student-alone", "short", 0, 2)},
        {"configuration": config.resolve("student-alone", "paper", 1, 2)},
        {"configuration": config.resolve("student-alone", "paper", 0, 2, config.Features(image_size=(128, 1001)))},
    ],
    ids=["recordings", "split", "corpus", "protocol", "precision", "schedule", "seed", "image size"],
)
def test_runs_that_differ_in_more_are_not_compared(change):
    ours, theirs = outcome("student-pooled", ALWAYS), outcome("student-alone", HALF)
    assert len(compare(ours, theirs)) == 1
    assert compare(ours, [replace(r, **change) for r in theirs]) == []


def test_missing_or_relabelled_utterances_are_refused():
    ours, theirs = outcome("student-pooled", ALWAYS), outcome("student-alone", HALF)
    part = theirs[0].parts["test"]
    fewer = Part(*(column[:3] for column in vars(part).values()))
    other = replace(part, true=(1, 1, 0, 1))
    for changed in (fewer, other):
        wrong = [replace(theirs[0], parts={**theirs[0].parts, "test": changed}), *theirs[1:]]
        with pytest.raises(
            ValueError, match=r"emodb, leave-one-speaker-out 0, seed 0: 030?3?.*make the two records again"
        ):
            compare(ours, wrong)


def test_the_difference_is_the_mean_over_speakers_with_their_t_interval():
    right = dict(zip(SPEAKERS, (4, 3, 4, 2, 4, 3), strict=True))
    (found,) = compare(outcome("student-pooled", right), outcome("student-alone", HALF))
    expected = metrics.interval(np.array([2, 1, 2, 0, 2, 1]) / 4, SPEAKERS)
    assert (found.difference.estimate, found.difference.low) == pytest.approx((expected.estimate, expected.low))
    assert (found.missing, found.utterances, found.folds, found.seeds) == (0, 24, [0, 1, 2, 3, 4, 5], [0])
    assert dict(found.accuracies())["student-alone"].estimate == 0.5


def test_of_one_seed_the_noise_of_both_runs_widens_the_difference():
    ours, theirs = (
        results.predictions(outcome(r, right)) for r, right in (("student-pooled", ALWAYS), ("student-alone", HALF))
    )
    (found,) = results.compare(ours, theirs, noise={"leave-one-speaker-out": metrics.SeedNoise(0.02, 5)})
    assert found.difference.error == pytest.approx(0.2)  # the speakers agree, two seeds' variances of 0.02 are left
    assert found.difference.df == pytest.approx(5)


def test_seeds_without_every_fold_are_left_out():
    ours, theirs = (
        [*outcome(r, a), *outcome(r, b, seed=1)[:3]]
        for r, a, b in (("student-pooled", ALWAYS, NEVER), ("student-alone", HALF, HALF))
    )
    (found,) = compare(ours, theirs)
    assert found.seeds == [0]
    assert found.difference.estimate == 0.5


def test_folds_that_are_missing_are_counted():
    (found,) = compare(outcome("student-pooled", ALWAYS)[:4], outcome("student-alone", HALF))
    assert (found.missing, found.decides) == (2, False)


def test_draws_of_one_utterance_count_once():
    """A draw that holds an utterance out again adds no utterance; each utterance is right as often as it was."""
    draws = [
        replace(r, split=f"{fold}" * 64, fold=fold)
        for fold, r in enumerate(outcome("teacher", {"03": 4}, "random") + outcome("teacher", {"03": 2}, "random"))
    ]
    other = outcome("teacher", {"08": 4}, "random")
    both = [
        replace(
            d,
            parts={
                **d.parts,
                "test": Part(
                    *(
                        a + b
                        for a, b in zip(
                            vars(d.parts["test"]).values(), vars(other[0].parts["test"]).values(), strict=True
                        )
                    )
                ),
            },
        )
        for d in draws
    ]
    at = results.accuracy(results.test(results.predictions(both)))
    assert at.estimate == pytest.approx((4 + 4 + 2 + 4) / 16)
    assert (at.speakers, at.seeds) == (2, 2)


def test_the_spread_over_seeds_is_that_of_the_folds_that_every_seed_has():
    apart = {**ALWAYS, "12": 0}
    found = [*outcome("student-alone", ALWAYS), *outcome("student-alone", HALF, seed=1)]
    found += [*outcome("student-alone", apart, seed=2)[-2:], *outcome("student-alone", NEVER, schedule="paper-bf16")]
    spread = results.seeds_apart(results.predictions(found)).iloc[0]
    assert (spread["run"], spread["schedule"], spread["folds"], spread["seeds"]) == (
        "student-alone",
        "paper",
        [4, 5],
        3,
    )
    assert spread["accuracies"] == {0: 1.0, 1: 0.5, 2: 0.5}
    assert spread["deviation"] == pytest.approx((1 / 12) ** 0.5)  # mean 2/3, squares 1/9 + 1/36 + 1/36 over two
    noise = results.seed_noise(results.predictions(found))
    assert noise == {"leave-one-speaker-out": pytest.approx((1 / 12, 2))}


def test_a_table_of_comparisons_is_adjusted():
    right = dict(zip(SPEAKERS, (4, 3, 4, 2, 4, 3), strict=True))
    (found,) = compare(outcome("student-pooled", right), outcome("student-alone", HALF))
    alone, three = (results.comparison_table([found] * n)["p"].iloc[0] for n in (1, 3))
    assert three == pytest.approx(3 * alone)
    assert results.comparison_table([found])["detectable"].iloc[0] == found.difference.detectable


@pytest.mark.parametrize(("first", "second"), [("short", "paper"), ("paper-bf16", "paper")])
def test_of_equal_schedules_the_longer_and_then_the_more_precise_is_shown(first, second):
    found = [*outcome("teacher", ALWAYS, schedule=first), *outcome("teacher", ALWAYS, schedule=second)]
    for records in (found, found[::-1]):
        ((key, rows),) = results.longest(results.predictions(records)).items()
        assert key == ("teacher", "leave-one-speaker-out")
        assert rows["schedule"].unique().tolist() == ["paper"]
