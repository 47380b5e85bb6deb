"""Verdicts follow the stated rule, as values and in words."""

from dataclasses import replace

import pytest
from helpers import SPEAKERS, outcome, published

from companion import claims, paper, results, text
from companion.claims import Finding, Limit
from serlib import config, metrics
from serlib.data import facts
from studies.probes import Probe

ALWAYS, NEVER, HALF = (dict.fromkeys(SPEAKERS, count) for count in (4, 0, 2))
MIXED = {speaker: 4 if i % 2 else 0 for i, speaker in enumerate(SPEAKERS)}
NO_BREAK = "\N{NO-BREAK SPACE}"


def decided(key, *records, probed=None):
    table = results.predictions(r for of_run in records for r in of_run)
    return claims.verdict(key, table, None if probed is None else results.tokens(probed))


def transfer(pooled, alone, long, **change):
    rights = {"student-pooled": pooled, "student-alone": alone, "student-alone-long": long}
    return [outcome(run, right, **change) for run, right in rights.items()]


def probe(run, speakers, missed, protocol="leave-one-speaker-out", speech="recordings", schedule="paper"):
    """A probe a speaker whose last tokens miss ``missed`` of a variation of 10."""
    return [
        Probe(
            corpus="emodb",
            speech=speech,
            schedule=schedule,
            protocol=protocol,
            fold=fold,
            run=run,
            seed=0,
            emotions=("anger", "sadness"),
            result="r" * 64,
            file=(f"{speaker}.wav",),
            speaker=(speaker,),
            true=(0,),
            variation=(10.0,),
            errors={"image": (9.0,), "embedding": (8.0,), "block 1": (missed,)},
            predicted={"as it is": (0,), "reversed": (0,), "shuffled": (0,)},
        )
        for fold, speaker in enumerate(speakers)
    ]


def test_a_claim_holds_where_every_difference_lies_above_zero_speaker_independent():
    v = decided("transfer", *transfer(ALWAYS, HALF, HALF))
    assert (v.finding, v.limits, v.corpora) == (Finding.HOLDS, (Limit.CORPORA,), ("emodb",))
    assert text.found(v) == "holds on EmoDB"
    fifty = f"EmoDB, speaker-independent: +50.0 [+50.0,{NO_BREAK}+50.0] points, 6 speakers, 1 seed."
    assert text.because(v).startswith(f"Student with teacher minus Student alone: {fifty}")
    everywhere = [
        [replace(r, corpus=corpus, fingerprint=published(corpus)) for r in of]
        for corpus in facts.CORPORA
        for of in transfer(ALWAYS, HALF, HALF)
    ]
    assert text.found(decided("transfer", *everywhere)) == "holds"


def test_transfer_must_gain_over_a_student_trained_as_long():
    shorter = decided("transfer", *transfer(ALWAYS, HALF, ALWAYS))
    assert (shorter.finding, shorter.limits) == (Finding.PARTLY, (Limit.FIRST_PAIR,))
    assert text.found(shorter) == "holds against Student alone, not shown against Student alone (twice the epochs)"
    missing = decided("transfer", *transfer(ALWAYS, HALF, HALF)[:2])
    assert (missing.finding, missing.limits) == (Finding.PARTLY, (Limit.SECOND_PAIR_MISSING,))
    assert "twice the epochs) not complete" in text.found(missing)


def test_runs_of_different_precision_decide_nothing():
    """As once: the matched student in bf16, the student alone in single precision."""
    pooled, alone, long = transfer(ALWAYS, HALF, HALF)
    other = [outcome("student-pooled", ALWAYS, schedule="paper-bf16")[2:], alone, long, pooled[:2]]
    assert decided("transfer", *other).finding is Finding.PENDING


@pytest.mark.parametrize("better", [HALF, NEVER, MIXED])
def test_a_claim_that_gains_nothing_is_not_shown(better):
    v = decided("transfer", *transfer(better, HALF, HALF))
    assert (v.finding, v.limits) == (Finding.NOT_SHOWN, (Limit.POSITION_RULED_OUT,))
    assert text.found(v) == "not shown; that position passes on is ruled out by proof"


def test_a_claim_that_gains_speaker_dependent_alone_says_so():
    v = decided("transfer", *transfer(HALF, HALF, HALF), *transfer(ALWAYS, HALF, HALF, protocol="random"))
    assert (v.finding, v.limits) == (Finding.PARTLY, (Limit.SPEAKER_DEPENDENT,))


def test_patches_must_gain_at_equal_cost_on_the_same_corpus():
    square = [outcome("teacher", ALWAYS), outcome("teacher-square-patches", HALF)]
    rows, level = (outcome("teacher-horizontal-patches", right) for right in (HALF, ALWAYS))
    assert decided("vertical patches", *square).limits == (Limit.SECOND_PAIR_MISSING,)
    assert decided("vertical patches", *square, rows[:4]).limits == (Limit.SECOND_PAIR_MISSING,)
    assert decided("vertical patches", *square, rows).finding is Finding.HOLDS
    assert decided("vertical patches", *square, level).limits == (Limit.FIRST_PAIR,)
    elsewhere = [[replace(r, corpus="savee") for r in of] for of in square]
    both = decided("vertical patches", *square, rows, *elsewhere)  # SAVEE has no horizontal patches
    assert (both.finding, both.corpora) == (Finding.PARTLY, ("emodb",))


@pytest.mark.parametrize("schedule", ["short", "paper"])
def test_folds_or_epochs_that_are_missing_decide_nothing(schedule):
    right = ALWAYS if schedule == "short" else dict.fromkeys(SPEAKERS[:4], 4)
    v = decided("transfer", *transfer(right, HALF, HALF, schedule=schedule))
    assert v.finding is Finding.PENDING
    lacks = {"short": "8 epochs a stage", "paper": "2 folds missing"}[schedule]
    assert f"EmoDB, speaker-independent ({lacks})" in text.because(v)


def test_recordings_that_are_not_the_published_ones_decide_nothing():
    part = [
        [replace(r, notes=("anger: 3 utterances, published 127",)) for r in of] for of in transfer(ALWAYS, HALF, HALF)
    ]
    assert decided("transfer", *part).finding is Finding.PENDING


def test_neither_synthetic_speech_nor_training_beyond_the_paper_measures_a_claim():
    synthetic = [[replace(r, speech="synthetic") for r in of] for of in transfer(ALWAYS, HALF, HALF)]
    assert decided("transfer", *synthetic).comparisons == ((), ())
    assert decided("transfer", *transfer(ALWAYS, HALF, HALF, schedule="warp")).comparisons == ((), ())
    assert decided("transfer", *transfer(ALWAYS, HALF, HALF, protocol="augmented-leaky")).comparisons == ((), ())


def test_a_short_or_partial_comparison_hides_no_complete_one():
    whole = transfer(HALF, HALF, HALF)
    longer = [
        outcome("student-pooled", ALWAYS, schedule="logged")[:3],
        outcome("student-alone", HALF, schedule="logged")[:3],
    ]
    found = decided("transfer", *whole, *longer, *transfer(ALWAYS, HALF, HALF, schedule="short"))
    assert found.finding is Finding.NOT_SHOWN
    assert found.comparisons[0][0].schedule == "paper"


def test_of_equal_schedules_single_precision_is_shown_in_any_order():
    both = [*transfer(ALWAYS, HALF, HALF, schedule="paper-bf16"), *transfer(ALWAYS, HALF, HALF)]
    for records in (both, both[::-1]):
        assert decided("transfer", *records).comparisons[0][0].schedule == "paper"


def test_coordinates_that_gain_no_accuracy_hold_as_to_position_if_every_speaker_was_probed():
    made = [outcome("teacher", HALF), outcome("teacher-no-position", HALF)]
    everyone = [f"{i:02}" for i in range(facts.CORPORA["emodb"].speakers)]

    def found(speakers, with_them, without, **change):
        probed = probe("teacher", speakers, with_them, **change) + probe(
            "teacher-no-position", speakers, without, **change
        )
        return decided("coordinate encoding", *made, probed=probed)

    v = found(everyone, 1.0, 6.0)
    assert (v.finding, v.limits, text.found(v)) == (Finding.PARTLY, (Limit.POSITION,), "holds only as to position")
    assert f"with coordinates minus without: EmoDB: +0.50 [+0.50,{NO_BREAK}+0.50]." in text.because(v)
    missing = found(everyone[1:], 1.0, 6.0)
    assert "(9 of 10 speakers; the rule asks for all)" in text.because(missing)
    others = [missing, found(everyone, 6.0, 6.0), found(everyone, 1.0, 6.0, protocol="random")]
    others += [found(everyone, 1.0, 6.0, speech="synthetic"), found(everyone, 1.0, 6.0, schedule="short")]
    assert {other.finding for other in others} == {Finding.NOT_SHOWN}


def both_networks(right, **change):
    return [outcome(run, right, **change) for run in ("student-pooled", "teacher")]


def test_accuracies_are_held_against_what_is_published():
    v = decided("accuracy", *both_networks(ALWAYS))
    assert (v.finding, v.corpora, text.found(v)) == (Finding.HOLDS, ("emodb",), "holds on EmoDB")
    assert "published 98.83" in text.because(v)
    worse = decided("accuracy", *both_networks(HALF))
    assert (worse.finding, worse.limits) == (Finding.NOT_SHOWN, (Limit.TRAINING_SET,))
    assert "reached on the training set" in text.because(worse)
    untrained = decided("accuracy", *both_networks(HALF, trained=False))
    assert untrained.limits == ()


def test_accuracies_of_several_splits_and_corpora_are_held_against_what_is_published():
    known = decided("accuracy", *both_networks(HALF), *both_networks(ALWAYS, protocol="random"))
    assert (known.finding, known.limits) == (Finding.PARTLY, (Limit.SPEAKER_DEPENDENT,))
    elsewhere = [[replace(r, corpus="savee") for r in of] for of in both_networks(HALF)]
    both = decided("accuracy", *both_networks(ALWAYS), *elsewhere)
    assert (both.finding, both.corpora, text.found(both)) == (Finding.PARTLY, ("emodb",), "holds on EmoDB")


def test_an_interval_that_merely_is_wide_is_not_consistent():
    v = decided("accuracy", *both_networks(MIXED))
    wide = dict(v.comparisons[0][0].accuracies())["teacher"]
    assert wide.high >= claims.published("emodb", "teacher")
    assert v.finding is Finding.NOT_SHOWN
    assert Limit.WIDE in v.limits


def test_only_what_has_a_published_number_is_held_against_it():
    own = [[replace(r, corpus="mine") for r in of] for of in both_networks(ALWAYS)]
    assert decided("accuracy", *own).finding is Finding.PENDING
    wide = config.Features(image_size=(128, 1001))
    wider = [
        [replace(r, configuration=config.resolve(r.run, "paper", 0, 2, wide)) for r in of]
        for of in both_networks(ALWAYS)
    ]
    assert decided("accuracy", *wider).finding is Finding.PENDING
    assert claims.published("emodb", "teacher-no-stem") is None
    assert claims.published("emodb", "student-alone") is None
    assert claims.published("emodb", "student-tokens") == 0.9883


def test_cost_is_of_operations_and_accuracies(monkeypatch):
    assert text.found(decided("cost", *both_networks(HALF))) == "holds only as to the number of operations"
    assert decided("cost", *both_networks(ALWAYS)).finding is Finding.HOLDS
    monkeypatch.setattr(claims, "fewer_operations", lambda: False)
    assert decided("cost", *both_networks(ALWAYS)).finding is Finding.NOT_SHOWN


def test_every_claim_has_its_runs():
    assert claims.NEEDED.keys() == {claim.key for claim in paper.CLAIMS}
    assert {run for pairs in claims.NEEDED.values() for pair in pairs for run in pair} <= config.RUNS.keys()


def test_an_ablation_stands_beside_the_teacher_with_its_cost():
    table = results.predictions([*outcome("teacher", ALWAYS), *outcome("teacher-no-position", HALF)])
    lines = text.ablations(("teacher-no-position", "teacher-learned-position"), table).data.splitlines()
    assert len(lines) == 4
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells[1] == "Teacher (no position)"
    assert "99% of the teacher's" in cells[2]
    assert cells[3:6] == ["EmoDB, speaker-independent", "0-5; 0", "24"]
    assert (cells[6][:5], cells[7][:4], cells[8][:5], cells[10]) == ("100.0", "50.0", "+50.0", "better")
    assert "| not measured |" in lines[3]


@pytest.mark.parametrize(
    ("low", "finding"), [(0.001, Finding.HOLDS), (0.0, Finding.NOT_SHOWN), (-0.001, Finding.NOT_SHOWN)]
)
def test_the_whole_interval_must_lie_above_zero_and_no_more(monkeypatch, low, finding):
    monkeypatch.setattr(results.Comparison, "difference", metrics.Interval(0.1, low, 0.2, 6))
    assert decided("transfer", *transfer(ALWAYS, HALF, HALF)).finding is finding


def test_what_a_verdict_lacks_is_named_run_by_run():
    """Six of ten speakers of seed 0 are there in bf16, and another precision does not count."""
    here = outcome("teacher", ALWAYS, schedule="paper-bf16")
    table = results.predictions([*here, *outcome("teacher-no-position", ALWAYS, schedule="paper")])
    left = claims.lacking("coordinate encoding", "emodb", table)
    assert left.pop(("teacher", 0)) == [6, 7, 8, 9]
    both = [(run, seed) for run in ("teacher", "teacher-no-position") for seed in (0, 1, 2)]
    assert left == {cell: list(range(10)) for cell in both if cell != ("teacher", 0)}
    actors = [
        replace(r, corpus="crema-d", fingerprint=published("crema-d"), fold=0)
        for run in ("teacher", "teacher-no-position")
        for r in outcome(run, ALWAYS, "actor-split", "paper-bf16")[:1]
    ]
    assert claims.lacking("coordinate encoding", "crema-d", results.predictions(actors)) == {}
