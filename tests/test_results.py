"""Tidy tables hold what records hold; runs are compared only where they are alike, utterance by utterance."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from helpers import SPEAKERS, outcome, tiny_record

from companion import node, results, text
from serlib import config, metrics
from serlib.data import splits
from serlib.records import Part
from studies import variants
from studies.probed import Probe

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


@pytest.mark.parametrize("corpus", ["emodb", "crema-d"])
@pytest.mark.parametrize("fingerprint", ["f" * 64, "0" * 64, ""])
def test_recordings_under_published_names_are_the_corpus_only_with_its_fingerprint(corpus, fingerprint):
    (published,) = results.predictions([tiny_record(corpus=corpus, notes=())])["complete"].unique()
    (other,) = results.predictions([tiny_record(corpus=corpus, notes=(), fingerprint=fingerprint)])["complete"].unique()
    assert (published, other) == (True, False)


def test_a_version_belongs_to_its_utterance():
    part = Part(("a.wav", "a.wav (speed)"), ("03", "03"), (0, 0), (0, 1))
    table = results.predictions([tiny_record(parts={"train": part, "test": part})])
    assert list(table["utterance"]) == ["a.wav"] * 4
    assert results.accuracy(results.test(table)).estimate == 0.5


def test_a_name_with_a_number_in_parentheses_is_an_utterance_of_its_own():
    """As a file manager renames several files at once; three are right and one is wrong."""
    files = ("anger (1).wav", "anger (2).wav", "anger (3)", "calm.wav")
    part = Part(files, ("03",) * 4, (0,) * 4, (0, 0, 0, 1))
    table = results.predictions([tiny_record(parts={"train": part, "test": part})])
    assert tuple(results.test(table)["utterance"]) == files
    assert results.accuracy(results.test(table)).estimate == 0.75


def test_seeds_with_fewer_folds_are_left_out_of_an_accuracy():
    whole = outcome("teacher", HALF)
    begun = [*whole, *outcome("teacher", NEVER, seed=1)[:1]]
    one, both = (results.accuracy(results.test(results.predictions(found))) for found in (whole, begun))
    assert (both.estimate, both.seeds) == (one.estimate, 1)


def test_a_number_is_rounded_once():
    at = metrics.Interval(0.56849, 0.44449, -0.0004, 10)
    assert text.percent(at) == "56.8 [44.4,\N{NO-BREAK SPACE}-0.0]"  # a bound below zero is not shown above it
    assert text.points(at) == "+56.8 [+44.4,\N{NO-BREAK SPACE}-0.0]"
    assert text.points(metrics.Interval(-0.0001, -0.1, 0.0, 10)) == "+0.0 [-10.0,\N{NO-BREAK SPACE}+0.0]"


def test_a_row_is_a_run_with_its_provenance():
    row = node.runs([tiny_record()]).iloc[0]
    assert (row["run"], row["seconds"], row["date"]) == ("student-pooled", 1.5, "2026-01-31")
    assert (row["result"], row["path"]) == (tiny_record().result, tiny_record().location)


def test_the_same_predictions_in_another_order_differ_by_nothing():
    ours = outcome("student-pooled", {**HALF, "03": 3})
    turned = [
        replace(r, parts={**r.parts, "test": Part(*(c[::-1] for c in vars(r.parts["test"]).values()))}) for r in ours
    ]
    theirs = [replace(r, configuration=variants.resolve("student-alone", "paper", 0, 2)) for r in turned]
    (found,) = compare(ours, theirs)
    assert (found.gain("WA").estimate, found.gain("WA").error) == (0.0, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "0" * 64},
        {"split": "x" * 64},
        {"corpus": "savee"},
        {"protocol": "speaker-folds"},
        {"configuration": variants.resolve("student-alone", "paper-bf16", 0, 2)},
        {"configuration": variants.resolve("student-alone", "short", 0, 2)},
        {"configuration": variants.resolve("student-alone", "paper", 1, 2)},
        {"configuration": variants.resolve("student-alone", "paper", 0, 2, config.Features(image_size=(128, 1001)))},
        {"configuration": variants.resolve("student-alone", "paper", 0, 2, config.Features(channel=2))},
    ],
    ids=["recordings", "split", "corpus", "protocol", "precision", "schedule", "seed", "image size", "channel"],
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
    assert (found.gain("WA").estimate, found.gain("WA").low) == pytest.approx((expected.estimate, expected.low))
    assert (found.missing, found.utterances, found.folds, found.seeds) == (0, 24, [0, 1, 2, 3, 4, 5], [0])
    assert found.accuracies()[1].estimate == 0.5


def test_of_one_seed_the_noise_of_both_runs_widens_the_difference():
    ours, theirs = (
        results.predictions(outcome(r, right)) for r, right in (("student-pooled", ALWAYS), ("student-alone", HALF))
    )
    (found,) = results.compare(ours, theirs, noise={NEW: metrics.SeedNoise(0.02, 5)})
    assert found.gain("WA").error == pytest.approx(0.2)  # the speakers agree, two seeds' variances of 0.02 are left
    assert found.gain("WA").df == pytest.approx(5)
    with pytest.raises(FrozenInstanceError):  # the difference is kept: what it rests on does not change
        found.noise = None


def test_seeds_without_every_fold_are_left_out():
    ours, theirs = (
        [*outcome(r, a), *outcome(r, b, seed=1)[:3]]
        for r, a, b in (("student-pooled", ALWAYS, NEVER), ("student-alone", HALF, HALF))
    )
    (found,) = compare(ours, theirs)
    assert found.seeds == [0]
    assert found.gain("WA").estimate == 0.5


def test_seeds_that_lack_different_folds_are_not_pooled():
    """As once: seeds with five folds of six each, together all six, lacked none and gave no noise."""
    ours, theirs = (
        [r for seed in range(3) for r in outcome(run, right, seed=seed) if r.fold != 5 - seed]
        for run, right in (("student-pooled", ALWAYS), ("student-alone", HALF))
    )
    (found,) = compare(ours, theirs)
    assert (found.seeds, found.folds) == ([0], [0, 1, 2, 3, 4])
    assert found.lacks() == "1 folds missing; 1 of 3 seeds"
    assert results.seed_noise(results.predictions(ours)) == {}
    same = [r for r in theirs if r.seed] + [r for r in outcome("student-alone", HALF, seed=3) if r.fold != 3]
    assert results.fullest_seeds(results.test(results.predictions(same)))["seed"].unique().tolist() == [2, 3]


def test_tables_of_other_records_may_know_other_emotions():
    """As once: a table with one more emotion could not be compared."""
    ours, theirs = outcome("student-pooled", ALWAYS), outcome("student-alone", HALF)
    more = results.predictions([*theirs, replace(theirs[0], corpus="mine", emotions=("joy", "pain"))])
    (found,) = results.compare(results.predictions(ours), more)
    assert found.utterances == 24


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cpu", "CPU"), ("cpu, products rounded to bf16", "CPU"), ("cuda:0, NVIDIA", "GPU"), ("2 x cuda:0, NVIDIA", "GPU"),
     ("2 x cpu", "CPU"), ("mps", "GPU")],
)  # fmt: skip
def test_the_kind_of_device(device, kind):
    assert results.identity(tiny_record(provenance={"device": device}))["device"] == kind


def test_an_image_of_another_width_does_not_stand_for_the_papers():
    wide = {"configuration": variants.resolve("teacher", "paper", 0, 2, config.Features(image_size=(128, 1001)))}
    found = [*(replace(r, **wide) for r in outcome("teacher", ALWAYS)), *outcome("teacher", ALWAYS)]
    assert results.longest(results.predictions(found))["image"].tolist() == ["128x128"]


def test_folds_that_are_missing_are_counted():
    (found,) = compare(outcome("student-pooled", ALWAYS)[:4], outcome("student-alone", HALF))
    assert (found.missing, found.lacks()) == (2, "2 folds missing; 1 of 3 seeds")


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


def test_the_spread_over_seeds_is_that_of_the_seeds_with_the_same_and_the_most_folds():
    apart = {**ALWAYS, "12": 0}
    found = [*outcome("student-alone", ALWAYS), *outcome("student-alone", HALF, seed=1)]
    found += [*outcome("student-alone", apart, seed=2)[-2:], *outcome("student-alone", NEVER, schedule="paper-bf16")]
    ((_, spread),) = results.seeds_apart(results.predictions(found)).iterrows()  # in bf16 there is one seed
    identity = ("student-alone", "paper", [*range(6)], 2)
    assert (spread["run"], spread["schedule"], spread["folds"], spread["seeds"]) == identity
    assert spread["accuracies"] == {0: 1.0, 1: 0.5}
    assert spread["deviation"] == pytest.approx((1 / 8) ** 0.5)  # mean 3/4, two squares of 1/16 over one
    noise = results.seed_noise(results.predictions(found))
    assert noise == {NEW: pytest.approx((1 / 8, 1))}  # of the two seeds with every fold
    nothing_shared = [*outcome("student-alone", ALWAYS)[:3], *outcome("student-alone", HALF, seed=1)[3:]]
    assert results.seeds_apart(results.predictions(nothing_shared)).empty


def test_a_run_with_steps_is_a_run_of_its_own_and_follows_the_one_that_they_are_added_to():
    found = [
        r for run in ("student-alone+deltas", "teacher", "student-alone", "majority") for r in outcome(run, ALWAYS)
    ]
    runs = list(results.longest(results.predictions(found))["run"])
    assert runs == ["majority", "teacher", "student-alone", "student-alone+deltas"]
    assert text.display_name(runs[-1]) == "Student alone + deltas"


@pytest.mark.parametrize(("first", "second"), [("short", "paper"), ("paper-bf16", "paper")])
def test_of_equal_schedules_the_longer_and_then_the_more_precise_is_shown(first, second):
    found = [*outcome("teacher", ALWAYS, schedule=first), *outcome("teacher", ALWAYS, schedule=second)]
    for records in (found, found[::-1]):
        (row,) = results.longest(results.predictions(records)).itertuples()
        assert (row.run, row.protocol, row.schedule) == ("teacher", "leave-one-speaker-out", "paper")


def test_more_predictions_count_before_longer_training_and_no_schedule_beyond_the_papers_counts():
    table = results.predictions(
        [
            *outcome("student-alone", ALWAYS, schedule="smooth-bf16"),
            *outcome("student-alone", HALF, schedule="short"),
            *outcome("student-alone", ALWAYS)[:4],
            *outcome("teacher", ALWAYS, "random", schedule="short"),
            *outcome("teacher", ALWAYS),
        ]
    )
    table = table[(table["schedule"] != "short") | (table["part"] == "test")]  # training predictions do not count
    for rows in (table, table[::-1]):
        best = {(row.run, row.protocol): row.schedule for row in results.longest(rows).itertuples()}
        assert best == {
            ("teacher", "leave-one-speaker-out"): "paper",
            ("teacher", "random"): "short",
            ("student-alone", "leave-one-speaker-out"): "short",
        }
        assert [run for run, _ in best] == ["teacher", "teacher", "student-alone"]  # as in the tables


def test_the_unweighted_accuracy_is_the_mean_of_the_recalls():
    """Both utterances of the first emotion are right, and one of three of the second; the other run's are all wrong."""
    part = Part((*"abcde",), ("03",) * 5, (0, 1, 0, 1, 1), (0, 1, 0, 0, 0))
    (ours, theirs) = (
        results.predictions([tiny_record(parts={"test": part}, configuration=variants.resolve(run, "paper", 7, 2))])
        for run in ("student-pooled", "student-alone")
    )
    theirs = theirs.assign(correct=0.0)
    (found,) = results.compare(ours, theirs)
    for measure, expected in (("WA", 3 / 5), ("UA", (1 + 1 / 3) / 2)):
        assert results.accuracy(ours, measure).estimate == pytest.approx(expected)
        assert found.gain(measure).estimate == pytest.approx(expected)
        assert [at.estimate for at in found.accuracies(measure)] == pytest.approx([expected, 0])


def test_an_interval_of_an_accuracy_ends_at_0_and_1():
    rows = results.test(results.predictions(outcome("teacher", {**ALWAYS, "03": 3})))
    at = results.accuracy(rows, noise={NEW: metrics.SeedNoise(1.0, 5)})
    assert (at.low, at.high) == (0.0, 1.0)
    assert at.error > 1


NEW = ("emodb", "leave-one-speaker-out")


def test_a_split_without_seeds_of_its_own_takes_the_largest_noise_that_is_known():
    rows = results.predictions(outcome("teacher", ALWAYS, "speaker-folds"))
    noise = {NEW: metrics.SeedNoise(0.04, 5), ("crema-d", "actor-split"): metrics.SeedNoise(0.01, 9)}
    at = results.accuracy(results.test(rows), noise=noise)
    assert (at.error, at.df) == pytest.approx((0.2, 5))
    (found,) = results.compare(rows, rows, noise=noise)
    assert found.gain("WA").error == pytest.approx(0.08**0.5)


@pytest.mark.parametrize(("run", "chances"), [("teacher", 1), ("resnet-18", 1), ("opensmile", 0), ("majority", 0)])
def test_each_run_that_a_seed_changes_adds_its_noise_once(run, chances):
    """As once: a difference to a classifier without chance was given the noise of two networks."""
    noise = {NEW: metrics.SeedNoise(0.04, 5)}
    ours, theirs = (results.predictions(outcome(name, ALWAYS)) for name in ("student-alone", run))
    theirs = theirs.assign(schedule="paper", precision=ours["precision"].iloc[0])
    (found,) = results.compare(ours, theirs, noise=noise)
    assert found.gain("WA").error == pytest.approx((0.04 * (1 + chances)) ** 0.5)
    assert results.accuracy(results.test(theirs), noise=noise).error == pytest.approx(0.2 * chances)


def test_the_seed_noise_is_of_the_papers_own_networks_at_its_length():
    """Two seeds move every speaker by half: their variance is 1/8, of which speakers alone explain nothing."""
    found = [
        r
        for run in ("student-alone", "teacher")
        for seed in (0, 1)
        for r in outcome(run, (ALWAYS, HALF)[seed], seed=seed)
    ]
    own = results.seed_noise(results.predictions(found))
    assert own == {NEW: pytest.approx((1 / 8, 2))}
    left_out = [
        ("student-alone+deltas", "paper"),
        ("student-alone", "warp-bf16"),
        ("student-alone", "search"),
        ("majority", "baseline"),
    ]
    others = [
        r
        for run, schedule in left_out
        for seed in (0, 1)
        for r in outcome(run, (ALWAYS, NEVER)[seed], schedule=schedule, seed=seed)
    ]
    for protocol in ("random", splits.SELECTION, splits.ACTOR_SELECTION):
        others += [r for seed in (0, 1) for r in outcome("teacher", (ALWAYS, NEVER)[seed], protocol, seed=seed)]
    assert results.seed_noise(results.predictions([*found, *others])) == own
    assert results.seed_noise(results.predictions(others)) == {}


def test_of_probes_seeds_count_as_of_accuracies():
    probed = [probe("teacher", (missed, 1.5 * missed), seed) for seed, missed in enumerate((1.0, 2.0, 3.0))]
    (noise,) = results.position_noise(results.tokens(probed)).values()
    assert noise == pytest.approx((0.25**2, 2))  # R2 is 0.75, 0.5, 0.25 for both speakers
    at = results.explained(results.tokens(probed).query("last"), noise)
    assert at.high == 1.0, "no R2 is above 1"
    assert results.position_noise(results.tokens(probed[:1])) == {}


@pytest.mark.parametrize(
    ("protocol", "there", "missing"),
    [
        ("stratified-folds", 2, 3),
        ("speaker-folds", 5, 0),
        ("random", 2, 0),
        ("actor-split", 1, 0),
        ("leave-one-speaker-out", 2, 4),  # of six speakers
        ("selection", 2, 4),
        ("actor-selection", 1, 0),
    ],
)
def test_how_many_folds_are_missing_depends_on_the_protocol(protocol, there, missing):
    assert results.missing_folds(results.predictions(outcome("teacher", ALWAYS, protocol)[:there])) == missing


@pytest.mark.parametrize(
    ("schedule", "notes", "lacks"),
    [
        ("paper", (), ""),
        ("short", (), "8 epochs; "),
        ("paper", ("joy: 3 utterances",), "not the corpus as published; "),
    ],
)
def test_a_comparison_decides_on_the_whole_corpus_at_full_length(schedule, notes, lacks):
    runs = (("student-pooled", ALWAYS), ("student-alone", HALF))
    (found,) = compare(*(outcome(run, right, schedule=schedule, notes=notes) for run, right in runs))
    assert found.lacks(of_claim=True) == f"{lacks}1 of 3 seeds"
    assert (found.first, found.second, found.held_out) == ("student-pooled", "student-alone", "speaker-independent")
    with pytest.raises(AttributeError, match="loudness"):
        found.loudness  # noqa: B018


def test_the_shorter_of_two_trainings_counts():
    alike = [name for name in results.CONDITION if name != "schedule"]
    long = outcome("student-alone-long", ALWAYS)
    for schedule, epochs in (("paper", 100), ("short", 16)):
        (found,) = compare(long, outcome("student-alone-long", HALF, schedule=schedule), alike=alike)
        assert found.epochs_of_both == epochs


def test_one_utterance_is_enough_of_a_record():
    part = {"test": tiny_record().parts["test"]}
    tables = [
        results.predictions([tiny_record(parts=part, configuration=variants.resolve(run, "paper", 7, 2))])
        for run in ("student-pooled", "student-alone")
    ]
    (found,) = results.compare(*tables)
    assert (found.first, found.second, found.corpus) == ("student-pooled", "student-alone", "emodb")
    assert (found.utterances, found.missing) == (1, 0)
    assert results.seeds_apart(tables[0]).empty
    assert list(results.longest(tables[0])["run"]) == ["student-pooled"]


def test_corpora_stand_in_the_papers_order_and_others_behind():
    assert results.in_order(["zoo", "crema-d", "emodb", "abc", "emodb"]) == ["emodb", "crema-d", "abc", "zoo"]


# Probes


def probe(run: str, missed: tuple[float, ...], seed: int = 0, **change) -> Probe:
    values = {"corpus": "emodb", "speech": "recordings", "schedule": "paper", "protocol": "random", "fold": 0}
    values |= {"emotions": ("anger", "sadness"), "result": "r" * 64, "file": ("a.wav", "b.wav"), "true": (0, 1)}
    values |= {"speaker": ("03", "08"), "variation": (4.0, 6.0), "errors": {"image": (4.0, 5.0), "block 2": missed}}
    values |= {"predicted": {"as it is": (0, 1), "reversed": (0, 0)}}
    return Probe(**values | {"run": run, "seed": seed} | change)


def test_what_tokens_explain_is_a_ratio_of_sums_over_the_same_columns():
    probed = [probe("teacher", (1.0, 2.0)), probe("teacher", (4.0, 6.0), seed=1)]
    probed += [probe("teacher-no-position", (2.0, 6.0)), probe("teacher-no-position", (9.0, 9.0), seed=2)]
    probed += [probe(other, (0.0, 0.0)) for other in ("student-tokens", "teacher-sinusoidal")]  # not asked for
    table = results.tokens(probed)
    assert set(results.tokens([]).columns) == set(table.columns)
    assert table.index.is_unique
    rows = table[(table["run"] == "teacher") & (table["seed"] == 0)]
    at = {layer: results.explained(of).estimate for layer, of in rows.groupby("layer")}
    assert at == pytest.approx({"image": 1 - 9 / 10, "block 2": 1 - 3 / 10})
    assert rows.groupby("layer")["last"].all().to_dict() == {"image": False, "block 2": True}
    ((where, gain, of),) = results.position_r2_gain(table, "teacher", "teacher-no-position")
    assert (tuple(where.values()), len(of)) == (("emodb", "random", "paper", "", ""), 2)
    assert gain.estimate == pytest.approx((8 - 3) / 10)
    assert (gain.speakers, gain.seeds) == (2, 1)


def test_networks_of_other_images_or_recordings_are_never_one_position():
    """Image size and fingerprint are those of the record that a probe names; no two of them share a row."""
    runs, small = ("teacher", "teacher-no-position"), config.Features(image_size=(128, 64))
    shapes = (config.Features(), small)
    made = [tiny_record(configuration=variants.resolve(run, "paper", 7, 2, of)) for of in shapes for run in runs]
    probed = [
        probe(r.run, missed, result=r.result) for r, missed in zip(made, ((1.0, 2.0), (2.0, 6.0)) * 2, strict=True)
    ]
    table = results.tokens(probed, made)
    assert set(table["image"]) == {of.images for of in shapes}
    assert set(table["fingerprint"]) == {made[0].fingerprint}
    gains = list(results.position_r2_gain(table, *runs))
    assert {where["image"] for where, *_ in gains} == {of.images for of in shapes}
    assert [len(rows) for *_, rows in gains] == [2, 2]


def test_a_row_of_orders_is_a_test_utterance_in_one_order_of_its_columns():
    table = results.orders([probe("teacher", (1.0, 2.0))])
    assert table.groupby("order")["correct"].mean().to_dict() == {"as it is": 1.0, "reversed": 0.5}
    assert (table["speaker"].tolist(), table["predicted"].tolist()) == (["03", "08"] * 2, [0, 1, 0, 0])
    assert set(results.orders([]).columns) <= set(table.columns)
    assert table.index.is_unique


def test_training_and_test_set_are_never_one_accuracy():
    with pytest.raises(ValueError, match="one accuracy of several parts: test, train"):
        results.accuracy(results.predictions(outcome("teacher", dict.fromkeys(SPEAKERS, 2))))


@pytest.mark.parametrize(
    ("run", "normalised"),
    [("egemaps", "egemaps-speaker-norm"), ("student-alone+deltas", "student-alone-speaker-norm+deltas")],
)
def test_unlabelled_utterances_are_counted_by_the_parts_of_a_normalised_run(run, normalised):
    plain = outcome(run, dict.fromkeys(SPEAKERS, 2))
    normed = outcome(normalised, dict.fromkeys(SPEAKERS, 4))
    three = [r.parts["test"] for r in outcome("egemaps", dict.fromkeys(SPEAKERS, 1))]
    normed = [
        replace(r, parts=r.parts | {"test-20": r.parts["test"], "test-3": part})
        for r, part in zip(normed, three, strict=True)
    ]

    def counted(found: list, noise: results.Noise = results.NO_NOISE) -> pd.DataFrame:
        return results.by_unlabelled(node.accuracies(results.predictions(found), noise), "WA")

    table = counted([*plain, *normed])
    assert table["run"].unique().tolist() == [run]
    assert table["utterances"].tolist() == ["none", "3", "20", "all"]
    assert table["estimate"].tolist() == [0.5, 0.25, 1.0, 1.0]
    assert counted(normed).empty
    noisy = {NEW: metrics.SeedNoise(0.01, 2)}  # of networks alone: nothing else depends on a seed
    assert counted([*plain, *normed], noisy)["low"].lt(table["low"]).tolist() == [run.startswith("student")] * 4


def test_one_name_of_two_corpora_has_rows_that_differ():
    """A table that was changed between two runs: each row names its files."""
    runs = {"teacher": {"03": 4, "08": 2}, "student-alone": {"03": 2, "08": 1}}
    same = [record for run, right in runs.items() for record in outcome(run, right, corpus="mine")]
    for found, names in ((same, ["mine"]), ([*same, *other(same)], ["mine, files ffffffff", "mine, files aaaaaaaa"])):
        predicted = results.predictions(found)
        accuracies = text.accuracy_rows(node.accuracies(predicted, results.NO_NOISE))
        assert sorted({row[2] for row in accuracies}, reverse=True) == names
        assert len({*accuracies}) == len(accuracies) == 2 * len(names)
        tables = node.tables(found, predicted, [])["comparisons"]
        compared = text.comparison_rows(tables[tables["corpus"].eq("mine") & tables["first"].eq("student-alone")])
        assert sorted({row[4].rpartition(", ")[0] for row in compared}, reverse=True) == names


def other(found):
    return [replace(record, fingerprint="a" * 64) for record in found]
