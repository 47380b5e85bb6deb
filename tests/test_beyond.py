"""The earlier search: every addition beside the student alone, on the speakers that chose."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import resolved, tiny_record

from companion import experiments, reach, results
from companion.experiments import CHOOSING_FOLDS, PLAIN_TRIAL, TRIALS, Trial
from serlib import config, records
from serlib.records import Part

MASKS = next(variant for variant in TRIALS if variant.schedule == "masks-bf16")
WIDER = next(variant for variant in TRIALS if (variant.run, variant.schedule) == ("student-4s", "paper-bf16"))


def record(variant: Trial, protocol: str, fold: int, speakers: Sequence[str], right: int, precision: str = "-bf16"):
    """Four test utterances, two of each emotion; of the first emotion ``right`` are recognised, of the other all."""
    true, predicted = (0, 0, 1, 1), (*(int(i >= right) for i in range(2)), 1, 1)
    part = Part(tuple(f"{speaker}-{i}" for i, speaker in enumerate(speakers)), tuple(speakers), true, predicted)
    return tiny_record(
        protocol=protocol,
        fold=fold,
        split=f"{protocol} {fold}",
        parts={"train": part, "test": part},
        configuration=resolved(variant.run, variant.schedule.removesuffix("-bf16") + precision),
    )


def choosing(
    variant: Trial, right: int, folds: Sequence[int] = CHOOSING_FOLDS, precision: str = "-bf16"
) -> list[records.Record]:
    speakers = {fold: (f"{fold + 1}",) * 2 + (f"{fold + 2}",) * 2 for fold in folds}
    return [record(variant, "selection", fold, by, right, precision) for fold, by in speakers.items()]


def earlier(*found: list[records.Record]):
    return reach.earlier(results.predictions(r for run in found for r in run))


def test_each_addition_is_beside_the_plain_student_the_best_first():
    best, other = earlier(choosing(PLAIN_TRIAL, 1), choosing(WIDER, 0), choosing(MASKS, 2))
    assert [(c.first, c.schedule) for c in (best, other)] == [(v.run, v.schedule) for v in (MASKS, WIDER)]
    assert {(c.second, c.theirs["schedule"].iloc[0]) for c in (best, other)} == {
        (PLAIN_TRIAL.run, PLAIN_TRIAL.schedule)
    }
    assert (best.folds, best.seeds) == ([0, 2], [0])
    assert best.gain("UA").estimate == pytest.approx(0.25)  # half of one class of two
    assert other.gain("UA").estimate == pytest.approx(-0.25)


def test_a_variant_without_all_choosing_folds_is_not_among_them():
    assert earlier(choosing(PLAIN_TRIAL, 1), choosing(MASKS, 2, CHOOSING_FOLDS[:1])) == []
    assert earlier(choosing(MASKS, 2)) == []


def test_a_student_alone_in_another_precision_is_not_compared():
    assert earlier(choosing(PLAIN_TRIAL, 1, precision=""), choosing(MASKS, 2)) == []


def test_every_record_whose_run_is_gone_is_named_and_its_commit_is_there(committed_records):
    """What was tried and taken away: its name, what it adds, and a commit of this history that makes it again."""
    for r in committed_records:
        if not experiments.makeable(r.run, r.schedule):
            assert r.run.split("+")[0] in (*config.RUNS, *experiments.GONE_RUNS)
            assert set(r.run.split("+")[1:]) <= experiments.ADDS.keys()
            assert r.schedule in (*config.SCHEDULES, *experiments.GONE_SCHEDULES)
            assert r.provenance["commit"] != "unknown"
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> bytes:
        return subprocess.run(("git", *arguments), cwd=root, capture_output=True).stdout.strip()

    if (root / ".git").exists() and git("rev-parse", "--is-shallow-repository") == b"false":
        assert git("cat-file", "-t", experiments.TRIED["commit"]) == b"commit"
