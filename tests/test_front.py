"""The home page's picture: its numbers follow the records, and unlike things never share a row."""

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from helpers import SPEAKERS, evidence_of, outcome

from companion import front, reach
from serlib import config
from serlib.config import STUDENT, TEACHER
from serlib.data import splits


@pytest.fixture
def evidence(tmp_path: Path):
    half, right = (dict.fromkeys(SPEAKERS, count) for count in (2, 4))
    found = [
        *outcome("student-alone", half),
        *outcome("student-pooled", right),
        *outcome("student-alone", right, "random"),
        *outcome("student-alone+repeat+deltas", dict.fromkeys(SPEAKERS, 3)),
        *outcome("student-alone-speaker-norm", right),  # knows more than the others
    ]
    return evidence_of(tmp_path, *found)


def test_accuracies_stand_by_how_the_test_set_was_chosen(evidence, tmp_path: Path) -> None:
    (tmp_path / "emodb.csv").write_text("file,speaker,recognised\na,1,0.9\nb,2,0.7\n")
    table = front.ladder(evidence, tmp_path).set_index("what")
    assert set(table["corpus"]) == {"emodb"}
    expected = {
        "published\n(split not known)": 0.9883,
        "training set": 1.0,
        "random split,\nspeaker-dependent": 1.0,
        "speaker-independent": 0.5,
        "Student with teacher,\nspeaker-independent": 1.0,
        "Student alone + repeat + deltas,\nspeaker-independent": 0.75,
        "listeners\n(mean share)": 0.8,
    }
    assert table["estimate"].to_dict() == pytest.approx(expected)
    assert table["low"].isna().to_dict() == {what: what.startswith("published") for what in expected}


def test_a_row_with_fewer_epochs_says_so_and_no_step_stands_beside_longer_training(tmp_path: Path) -> None:
    """As once: derivatives of 16 epochs beside 50 of the plain student, half of the visible gain."""
    half = dict.fromkeys(SPEAKERS, 2)
    some = [*outcome("student-alone", half), *outcome("student-alone+deltas", half, schedule="search")]
    some += [*outcome("student-alone", half, "augmented-leaky", schedule="search")[:1]]
    table = front.ladder(evidence_of(tmp_path, *some), tmp_path)
    what = list(dict.fromkeys(table["what"]))
    assert "copies of an utterance\non both sides\n(16 epochs)" in what
    assert not any("deltas" in name for name in what)


def test_the_number_of_epochs_that_others_choose_stands_beside_the_papers(tmp_path: Path) -> None:
    half, right = (dict.fromkeys(SPEAKERS, count) for count in (2, 4))
    chosen = outcome("student-alone", right, schedule=reach.CHOSEN_EPOCHS)
    what = f"{front.OTHERS_EPOCHS}\n({config.SCHEDULES[reach.CHOSEN_EPOCHS].epochs} epochs)"
    tables = front.tables(evidence_of(tmp_path, *outcome("student-alone", half), *chosen), tmp_path)
    rows = tables["accuracy"].set_index("what")["estimate"]
    assert (rows[splits.NEW], rows[what]) == (0.5, 1.0)
    some = front.tables(evidence_of(tmp_path / "b", *outcome("student-alone", half), *chosen[1:]), tmp_path)
    assert what not in set(some["accuracy"]["what"])  # a fold is missing


def test_a_protocol_with_missing_folds_is_left_out(tmp_path: Path) -> None:
    some = evidence_of(tmp_path, *outcome("student-alone", dict.fromkeys(SPEAKERS, 4))[1:])
    assert front.ladder(some, tmp_path).empty


def test_differences_have_the_label_of_the_evidence(evidence, tmp_path: Path) -> None:
    (row,) = front.differences(evidence).itertuples()
    assert (row.claim, row.corpus, row.estimate) == ("transfer", "emodb", pytest.approx(0.5))
    assert row.finding == "pending: 1 of 3 seeds"
    assert " ".join(row.what.split()) == "a teacher raises the student's accuracy, over Student alone (pending)"
    address, _, words = front._linked(row).partition("#!")
    wanted = "EmoDB%20speaker-independent%20Student%20with%20teacher%20minus%20Student%20alone"
    assert address == f"verdicts.html?rows={wanted}"
    assert unquote(words).endswith("6 speakers, 1 seed, pending: 1 of 3 seeds")


def test_the_networks_steps_end_in_logits() -> None:
    steps = front.networks()
    assert [len(boxes) for boxes in steps.values()] == [6, 4]
    for name, c in (("teacher", TEACHER), ("student", STUDENT)):
        assert f"block x {c.depth}" in steps[name][-2][0]
        assert steps[name][-1][1] == "7 logits"


def test_the_sound_of_an_image_ends_where_its_padding_begins() -> None:
    image = np.zeros((128, 128))
    image[:, :64] = np.arange(64)
    assert front.seconds(image) == 5


def test_a_point_leads_to_its_row_and_says_what_stands_behind_it(evidence, tmp_path: Path) -> None:
    tables = front.tables(evidence, tmp_path)
    assert set(tables["accuracy"]["what"]) <= set(front.CHOSEN_BY)
    assert not set(tables["beside"]["what"]) & set(front.CHOSEN_BY)
    (row,) = (row for row in tables["accuracy"].itertuples() if row.what == front.RANDOM)
    address, _, words = front._linked(row).partition("#!")
    assert address == "../notebooks/accuracy.html?rows=EmoDB%20Student%20alone%20random"
    assert unquote(words) == "Student alone, EmoDB, random: 100.0\xa0%, 6 speakers, 6 draws"
    (stated,) = (row for row in tables["accuracy"].itertuples() if row.what == front.PUBLISHED)
    address, _, words = front._linked(stated).partition("#!")
    assert address == "../notebooks/audit_granularity.html"
    assert unquote(words) == "EmoDB, published (split not known): 98.83\xa0%"


def test_the_data_of_a_picture_have_a_line_for_each_row(evidence, tmp_path: Path) -> None:
    """No label breaks its line."""
    tables = front.tables(evidence, tmp_path)
    front.draw(tables, tmp_path, tmp_path)
    for name, table in tables.items():
        assert (tmp_path / f"figures/{name}.csv").read_text().count("\n") == 1 + len(table)
