"""Beyond the paper: the choice rests on the speakers that choose, and the report on the others."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import tiny_record

from companion import beyond, experiments
from serlib import config, records

MASKS = next(variant for variant in beyond.VARIANTS if variant.schedule == "masks-bf16")
WIDER = next(variant for variant in beyond.VARIANTS if variant.run == "student-4s")


def record(
    variant: beyond.Variant,
    protocol: str,
    fold: int,
    speakers: Sequence[str],
    right: int,
    precision: str = "bf16-mixed",
) -> records.Record:
    """Four test utterances, two of each emotion; of the first emotion ``right`` are recognised, of the other all."""
    true, predicted = (0, 0, 1, 1), (*(int(i >= right) for i in range(2)), 1, 1)
    part = records.Part(("a", "b", "c", "d"), tuple(speakers), true, predicted)
    return tiny_record(
        protocol=protocol,
        fold=fold,
        split=f"{protocol} {fold}",
        parts={"train": part, "test": part},
        configuration=config.resolve(variant.run, variant.schedule, 0, 2, precision=precision),
    )


def choosing(variant: beyond.Variant, right: int, folds: Sequence[int] = beyond.CHOOSING_FOLDS) -> list[records.Record]:
    return [record(variant, "selection", fold, (f"{fold + 1}",) * 2 + (f"{fold + 2}",) * 2, right) for fold in folds]


def new(variant: beyond.Variant, right: int, precision: str = "bf16-mixed") -> list[records.Record]:
    return [record(variant, "leave-one-speaker-out", k, (f"{k}",) * 4, right, precision) for k in range(6)]


def test_the_recipe_that_gains_most_on_the_choosing_speakers_is_chosen():
    found = choosing(beyond.PLAIN, 1) + choosing(MASKS, 2) + choosing(WIDER, 0)
    best, worst = beyond.comparisons(found)
    assert (best.variant, worst.variant) == (MASKS, WIDER)
    assert (best.folds, best.seeds) == ((0, 2), (0,))
    assert best.speakers == ("1", "2", "3", "4")
    assert best.gain().estimate == pytest.approx(0.25)  # half of one class of two
    assert worst.gain().estimate == pytest.approx(-0.25)
    assert beyond.chosen([best, worst]) == MASKS


def test_the_committed_records_choose_what_the_evidence_reports():
    found = records.read_all(Path(__file__).parents[1] / "results/recordings/emodb")
    assert beyond.chosen(beyond.comparisons(found)) == experiments.CHOSEN


def test_the_plain_student_stays_where_nothing_gains():
    found = choosing(beyond.PLAIN, 1) + choosing(MASKS, 1) + choosing(WIDER, 0)
    assert beyond.chosen(beyond.comparisons(found)) == beyond.PLAIN
    assert beyond.chosen([]) == beyond.PLAIN


def test_a_recipe_without_all_choosing_folds_does_not_compete():
    found = choosing(beyond.PLAIN, 1) + choosing(MASKS, 2, folds=[0])
    (tried,) = beyond.comparisons(found)
    assert tried.folds == (0,)
    assert beyond.chosen([tried]) == beyond.PLAIN


def test_who_chose_is_not_reported():
    outcome = beyond.reported(new(beyond.PLAIN, 1) + new(MASKS, 2), MASKS, ["1", "2", "3", "4"])
    assert outcome is not None
    assert outcome.speakers == ("0", "5")
    assert outcome.folds == (0, 5)
    assert len(outcome.plain.parts["test"].file) == len(outcome.tried.parts["test"].file) == 8


def test_what_came_of_it_is_said_of_the_speakers_that_chose_nothing():
    assert beyond.summary(choosing(beyond.PLAIN, 1) + choosing(WIDER, 0)).endswith("so none is chosen.")
    tried = choosing(beyond.PLAIN, 1) + choosing(MASKS, 2)
    assert beyond.summary(tried).endswith("On other speakers it has not been measured yet.")
    said = beyond.summary(tried + new(beyond.PLAIN, 1) + new(MASKS, 2))
    assert said.startswith(f"1 of {len(beyond.VARIANTS)} additions were tried. ")
    assert "On 2 other speakers it changes" in said
    assert "student alone, 75.0 [50.0,\N{NO-BREAK SPACE}100.0] %, by +25.0 [" in said


def test_a_student_alone_in_another_precision_is_not_compared():
    single = new(beyond.PLAIN, 0, "32-true")
    assert beyond.reported(single + new(MASKS, 2), MASKS, []) is None
    both = new(beyond.PLAIN, 1) + new(MASKS, 2)
    for found in (single + both, both + new(MASKS, 0, "32-true")):
        outcome = beyond.reported(found, MASKS, [])
        assert outcome is not None
        assert outcome.gain().estimate == pytest.approx(0.25)


def test_every_schedule_beyond_the_paper_is_a_recipe():
    schedules = {variant.schedule for variant in beyond.VARIANTS}
    assert schedules == {f"{schedule}-bf16" for schedule in (*config.BEYOND, "paper")}
    assert len({(variant.run, variant.schedule) for variant in beyond.VARIANTS}) == len(beyond.VARIANTS)
    assert beyond.PLAIN not in beyond.VARIANTS


def test_a_recipe_adds_next_to_nothing_to_the_students_operations():
    from serlib import flops

    student = flops.count(config.STUDENT).flops
    for variant in beyond.VARIANTS:
        assert flops.count(config.RUNS[variant.run].model).flops <= 1.04 * student


def test_the_evidence_can_choose_only_where_speakers_are_left_to_report_on():
    def choices(corpus: str) -> list[str]:
        return [p.title for p in experiments.experiments_of(corpus) if "for choosing" in p.title]

    assert len(choices("emodb")) == len(beyond.VARIANTS) + 1
    assert choices("savee") == choices("crema-d") == []
