"""The home page's picture: its numbers follow the records, and unlike things never share a row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SPEAKERS, outcome

from companion import front, results
from serlib.config import STUDENT, TEACHER


@pytest.fixture
def predicted():
    half, right = (dict.fromkeys(SPEAKERS, count) for count in (2, 4))
    found = [
        *outcome("student-alone", half),
        *outcome("student-pooled", right),
        *outcome("student-alone", right, "random"),
        *outcome("student-alone+repeat+deltas", dict.fromkeys(SPEAKERS, 3)),
        *outcome("student-alone-speaker-norm", right),  # knows more than the others
    ]
    return results.predictions(found)


def test_accuracies_stand_by_how_the_test_set_was_chosen(predicted, tmp_path: Path) -> None:
    (tmp_path / "emodb.csv").write_text("file,speaker,recognised\na,1,0.9\nb,2,0.7\n")
    table = front.ladder(predicted, tmp_path).set_index("what")
    assert set(table["corpus"]) == {"emodb"}
    expected = {
        "published\n(split not stated)": 0.9883,
        "training set": 1.0,
        "random split,\nspeaker-dependent": 1.0,
        "speaker-independent": 0.5,
        "with a teacher,\nspeaker-independent": 1.0,
        "+repeat+deltas,\nspeaker-independent": 0.75,
        "listeners": 0.8,
    }
    assert table["estimate"].to_dict() == pytest.approx(expected)
    assert table["low"].isna().to_dict() == {what: what.startswith("published") for what in expected}


def test_a_row_with_fewer_epochs_says_so(tmp_path: Path) -> None:
    half = dict.fromkeys(SPEAKERS, 2)
    some = [*outcome("student-alone", half), *outcome("student-alone+deltas", half, schedule="search")]
    some += [replace(r, corpus="savee") for r in (*outcome("student-alone", half), *outcome("opensmile", half))]
    table = front.ladder(results.predictions(some), tmp_path)
    what = list(dict.fromkeys(table["what"]))  # the order of the rows, of all corpora together
    assert what[-2:] == ["+deltas, 16 epochs,\nspeaker-independent", "openSMILE + SVM,\nspeaker-independent"]


def test_a_protocol_with_missing_folds_is_left_out(tmp_path: Path) -> None:
    some = results.predictions(outcome("student-alone", dict.fromkeys(SPEAKERS, 4))[1:])
    assert front.ladder(some, tmp_path).empty


def test_differences_are_those_that_decide(predicted) -> None:
    (row,) = front.differences(predicted).itertuples()
    assert (row.claim, row.corpus, row.estimate) == ("transfer", "emodb", pytest.approx(0.5))
    assert front.differences(predicted[predicted["fold"] != 0]).empty


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
