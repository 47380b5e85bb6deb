"""Beyond the paper: the choice rests on the speakers that choose, and the report on the others."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import resolved, tiny_record

from companion import beyond, experiments, results
from companion.experiments import CHOOSING_FOLDS, PLAIN, VARIANTS, Variant
from serlib import config, records
from serlib.records import Part

MASKS = next(variant for variant in VARIANTS if variant.schedule == "masks-bf16")
WIDER = next(variant for variant in VARIANTS if (variant.run, variant.schedule) == ("student-4s", "paper-bf16"))


def record(variant: Variant, protocol: str, fold: int, speakers: Sequence[str], right: int, precision: str = "-bf16"):
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


def choosing(variant: Variant, right: int, folds: Sequence[int] = CHOOSING_FOLDS) -> list[records.Record]:
    return [record(variant, "selection", fold, (f"{fold + 1}",) * 2 + (f"{fold + 2}",) * 2, right) for fold in folds]


def new(variant: Variant, right: int, precision: str = "-bf16") -> list[records.Record]:
    return [record(variant, "leave-one-speaker-out", k, (f"{k}",) * 4, right, precision) for k in range(6)]


def tried(*found: list[records.Record]):
    return beyond.tried(results.predictions(r for of in found for r in of))


def test_the_variant_that_gains_most_on_the_choosing_speakers_is_chosen():
    found = tried(choosing(PLAIN, 1), choosing(MASKS, 2), choosing(WIDER, 0))
    assert list(found) == [MASKS, WIDER]
    assert (found[MASKS].folds, found[MASKS].seeds) == ([0, 2], [0])
    assert beyond.choosers(found) == ["1", "2", "3", "4"]
    assert found[MASKS].gain("UA").estimate == pytest.approx(0.25)  # half of one class of two
    assert found[WIDER].gain("UA").estimate == pytest.approx(-0.25)
    assert beyond.chosen(found) == MASKS


def test_the_committed_records_choose_what_the_page_reports(committed_records):
    found = [r for r in committed_records if (r.corpus, r.protocol) == ("emodb", "selection")]
    chosen = beyond.chosen(tried(found))
    assert (chosen.run, chosen.schedule) == ("student-4s", "warp-bf16")


def test_the_plain_student_stays_where_nothing_gains():
    assert beyond.chosen(tried(choosing(PLAIN, 1), choosing(MASKS, 1), choosing(WIDER, 0))) == PLAIN
    assert beyond.chosen({}) == PLAIN


def test_a_variant_without_all_choosing_folds_does_not_compete():
    assert tried(choosing(PLAIN, 1), choosing(MASKS, 2, CHOOSING_FOLDS[:1])) == {}


def test_who_chose_is_not_reported():
    found = results.predictions([*new(PLAIN, 1), *new(MASKS, 2)])
    outcome = beyond.reported(found, MASKS, ["1", "2"])
    assert sorted(set(outcome.joined["speaker"])) == ["0", "3", "4", "5"]
    assert outcome.folds == [0, 3, 4, 5]
    assert beyond.reported(found, MASKS, [str(k) for k in range(6)]) is None


def test_a_student_alone_in_another_precision_is_not_compared():
    found = results.predictions([*new(PLAIN, 1, precision=""), *new(MASKS, 2)])
    assert beyond.reported(found, MASKS, []) is None


def test_every_record_whose_run_is_gone_is_named_and_its_commit_is_there(committed_records):
    """What was tried and taken away: its name, what it adds, and a commit of this history that makes it again."""
    for r in committed_records:
        if not experiments.makeable(r.run, r.schedule):
            assert r.run.split("+")[0] in (*config.RUNS, *experiments.GONE_RUNS)
            assert set(r.run.split("+")[1:]) <= experiments.ADDS.keys()
            assert r.schedule in (*config.SCHEDULES, *experiments.GONE_SCHEDULES)
            assert r.provenance["commit"] != "unknown"
    root = Path(__file__).parents[1]
    if (root / ".git").exists():
        found = subprocess.run(("git", "cat-file", "-t", experiments.TRIED["commit"]), cwd=root, capture_output=True)
        assert found.stdout.strip() in (b"commit", b"")  # an archive or a shallow clone has no history
