"""A record comes back as it was written or not at all, and its result depends on the outcome alone."""

import hashlib
import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import failures, tiny_record
from hypothesis import given, settings
from hypothesis import strategies as st

from serlib import config, files, records
from serlib.engine import provenance
from serlib.records import Part, Record, RecordError, location, read, read_all, write
from studies import speaker_norm, variants

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture
def path(tmp_path):
    """A written record."""
    write(tiny_record(), tmp_path / "run.json")
    return tmp_path / "run.json"


def refusal(path: Path) -> str:
    """The message, one line that names the file, of the error that reading ends with."""
    with pytest.raises(RecordError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def sign(plain: dict) -> str:
    """A record's text with the digest that belongs to its values, computed independently of the module."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return json.dumps({**plain, "digest": hashlib.sha256(canonical.encode()).hexdigest()})


def signed(path: Path, change) -> None:
    """Changes the values in a record's file and gives it the digest that belongs to them."""
    plain = json.loads(path.read_text())
    del plain["digest"]
    change(plain)
    path.write_text(sign(plain))


# Round trip


@pytest.mark.parametrize("name", config.RUNS)
def test_every_runs_record_reads_back_equal(tmp_path, name):
    images = config.Features(image_size=(128, 256), seconds=5.0)
    record = tiny_record(configuration=variants.resolve(name, "short", 3, 7, images))
    write(record, str(tmp_path / "deep" / "run.json"))
    again = read(str(tmp_path / "deep" / "run.json"))
    assert again == record
    assert again.result == record.result
    assert (again.run, again.seed) == (name, 3)


@st.composite
def written(draw):
    """Columns of a part of up to six utterances, and losses."""
    size = draw(st.integers(0, 6))
    columns = (st.text(max_size=5), st.text(max_size=5), st.integers(0, 2), st.integers(0, 2))
    losses = draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4))
    return [tuple(draw(st.lists(column, min_size=size, max_size=size))) for column in columns], tuple(losses)


@settings(deadline=None, max_examples=50)
@given(written())
def test_any_part_and_any_loss_reads_back_equal(tmp_path_factory, drawn):
    columns, losses = drawn
    part = Part(*columns)
    record = tiny_record(
        emotions=("joy", "rage", "Übermut"), parts={"train": part, "test": part}, curves={"a": {"loss": losses}}
    )
    path = tmp_path_factory.mktemp("any") / "run.json"
    write(record, path)
    assert read(path) == record


def test_the_file_is_json_with_a_digest_over_all_the_rest(path):
    plain = json.loads(path.read_text())
    assert list(plain) == ["version", *(field.name for field in fields(Record)), "digest"]
    assert plain["parts"]["test"] == {"file": ["e.wav"], "speaker": ["08"], "true": [1], "predicted": [0]}
    digest = plain.pop("digest")
    assert json.loads(sign(plain))["digest"] == digest


def test_another_layout_of_the_same_values_is_the_same_record(path):
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert read(path) == tiny_record()


# Refusals


def test_a_prediction_changed_by_hand_is_refused(path):
    before = path.read_text()
    after = before.replace('"predicted": [0]', '"predicted": [1]')
    assert after != before
    path.write_text(after)
    assert "changed since it was written" in refusal(path)
    path.write_text(before)
    assert read(path).parts["test"].predicted == (0,)


@pytest.mark.parametrize("name", [field.name for field in fields(Record)])
def test_a_change_or_a_loss_of_any_field_is_refused(path, name):
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, name: None}))
    assert "changed since it was written" in refusal(path)
    del plain[name]
    path.write_text(json.dumps(plain))
    assert "changed since it was written" in refusal(path)


def test_a_record_without_its_digest_is_refused(path):
    plain = json.loads(path.read_text())
    del plain["digest"]
    path.write_text(json.dumps(plain))
    assert "changed since it was written" in refusal(path)


def test_another_version_is_refused_with_both_numbers(path):
    signed(path, lambda plain: plain.update(version=99))
    assert f"version 99, this serlib reads {records.VERSION}" in refusal(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.99])
def test_a_record_cut_off_anywhere_is_refused(path, share):
    text = path.read_text()
    path.write_text(text[: round(share * len(text))])
    assert "not JSON" in refusal(path)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"1", b'"version"', b'{"corpus": "emodb"}'])
def test_other_json_is_refused(path, content):
    path.write_bytes(content)
    assert "not a run record" in refusal(path)


def test_a_missing_file_and_one_that_is_no_text_are_refused(path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        read(path.with_name("absent.json"))
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "not JSON" in refusal(path)


@pytest.mark.parametrize("label", [2, -1])
@pytest.mark.parametrize("column", ["true", "predicted"])
def test_a_label_outside_the_emotions_is_refused(path, column, label):
    part = replace(tiny_record().parts["test"], **{column: (label,)})
    with pytest.raises(RecordError, match=r"^part 'test': a label outside the 2 emotions$"):
        tiny_record(parts=tiny_record().parts | {"test": part})
    signed(path, lambda plain: plain["parts"]["test"].update({column: [label]}))
    assert "part 'test': a label outside the 2 emotions" in refusal(path)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_refused(path, loss):
    with pytest.raises(RecordError, match=r"^stage 'matching': loss is not finite$"):
        tiny_record(curves={"matching": {"loss": (0.5, loss)}})
    signed(path, lambda plain: plain["curves"]["matching"].update(loss=[0.5, loss]))
    assert "stage 'matching': loss is not finite" in refusal(path)


def test_columns_of_different_lengths_are_refused(path):
    with pytest.raises(RecordError, match=r"^part 'test': columns of different lengths \[1, 2\]$"):
        tiny_record(parts={"test": Part(("a", "b"), ("03", "08"), (0,), (0, 1))})
    signed(path, lambda plain: plain["parts"]["test"].update(file=["e.wav", "f.wav"]))
    assert "columns of different lengths" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("emotions"),
        lambda plain: plain.update(colour="red"),
        lambda plain: plain["configuration"].pop("training"),
        lambda plain: plain["parts"]["test"].update(file=[5]),
        lambda plain: plain["parts"]["test"].pop("speaker"),
    ],
    ids=["no emotions", "unknown field", "no training", "a number for a file", "no speakers"],
)
def test_a_record_that_is_not_whole_is_refused_though_its_digest_fits(path, change):
    signed(path, change)
    assert "not a whole record" in refusal(path)


# Result


def test_the_result_does_not_depend_on_where_it_was_made():
    other = tiny_record(provenance={"date": "1999-01-01", "seconds": 10_000.0, "commit": "d" * 40, "dirty": True})
    assert other != tiny_record()
    assert other.result == tiny_record().result
    assert re.fullmatch("[0-9a-f]{64}", other.result)


CHANGES = {
    "one prediction": lambda r: {"parts": r.parts | {"test": replace(r.parts["test"], predicted=(1,))}},
    "one loss": lambda r: {"curves": r.curves | {"matching": {"loss": (0.5, 0.25000000000000006)}}},
    "corpus": lambda r: {"corpus": "crema-d"},
    "speech": lambda r: {"speech": "synthetic"},
    "emotions": lambda r: {"emotions": ("anger", "boredom")},
    "fingerprint": lambda r: {"fingerprint": "e" * 64},
    "excluded": lambda r: {"excluded": ()},
    "notes": lambda r: {"notes": ()},
    "protocol": lambda r: {"protocol": "stratified-folds"},
    "fold": lambda r: {"fold": 3},
    "split": lambda r: {"split": "4" * 64},
    "seed": lambda r: {"configuration": variants.resolve("student-pooled", "paper", 8, 2)},
    "teacher": lambda r: {"teacher": "b" * 64},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_result_changes_with_anything_else(change):
    record = tiny_record()
    assert replace(record, **CHANGES[change](record)).result != record.result


# What a record says


def test_labels_are_the_parts_columns():
    true, predicted = tiny_record().labels("train")
    assert np.array_equal(true, [0, 1, 0, 1])
    assert np.array_equal(predicted, [0, 1, 0, 0])
    assert [column.tolist() for column in tiny_record().labels()] == [[1], [0]]


def test_the_description_says_whose_speech_it_is():
    rest = "random fold 2, 1 test utterances, seed 7, 50 epochs a stage"
    assert tiny_record().describe() == f"emodb (recordings), {rest}"
    assert tiny_record(speech="synthetic").describe() == f"emodb (synthetic speech), {rest}"
    majority = tiny_record(configuration=variants.resolve("majority", "paper", 7, 2), curves={})
    assert majority.describe() == f"emodb (recordings), {rest.removesuffix(', 50 epochs a stage')}"


def test_the_location_names_every_choice():
    where = location("recordings", "emodb", "paper-bf16", "leave-one-speaker-out", 3, "student-alpha-0.1", 7, "128x256")
    assert where == "recordings/emodb/128x256/paper-bf16/leave-one-speaker-out-3/student-alpha-0.1-seed7.json"
    weights = Path(where).with_suffix(".safetensors")
    assert weights.name == "student-alpha-0.1-seed7.safetensors"


def test_all_records_of_a_folder_come_in_the_order_of_their_paths(tmp_path):
    for fold, name in enumerate(("b/z.json", "a/y.json", "a/b/x.json")):
        write(tiny_record(fold=fold), tmp_path / name)
    (tmp_path / "a" / "weights.safetensors").write_bytes(b"no record")
    (tmp_path / "a" / "._y.json").write_bytes(b"\0\5\x16\7")
    assert [record.fold for record in read_all(tmp_path)] == [2, 1, 0]
    assert read_all(tmp_path / "absent") == []
    (tmp_path / "a" / "y.json").write_text("{")
    with pytest.raises(RecordError, match=r"y\.json: not JSON"):
        read_all(tmp_path)


def test_a_failed_write_leaves_the_record_that_was_there(path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        write(tiny_record(fold=4), path)
    assert read(path) == tiny_record()
    assert list(path.parent.iterdir()) == [path]


def test_provenance_names_the_commit_and_what_is_installed(root):
    def git(*arguments):
        return subprocess.run(("git", *arguments), cwd=root, capture_output=True, text=True).stdout.strip()

    found = provenance.describe("cpu", threads=2, seconds=1.2345)
    assert (found["device"], found["threads"], found["seconds"]) == ("cpu", 2, 1.2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["numpy"] == np.__version__
    assert found["commit"] == (git("rev-parse", "HEAD") or "unknown")
    assert json.loads(json.dumps(found)) == found


def test_provenance_without_git_says_so(monkeypatch):
    def no_git(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", no_git)
    found = provenance.describe("cpu", threads=1, seconds=0.0)
    assert (found["commit"], found["dirty"]) == ("unknown", True)


# Records that are committed


def well_placed(case: tuple[Path, Record]) -> None:
    path, record = case
    assert path == RESULTS / record.location
    assert record.speech == "recordings"
    parts = {name: part for name, part in record.parts.items() if "test-" not in name}
    assert set(parts) == {"train", "test"} | ({"validation"} if record.protocol == "actor-split" else set())
    fewer = {f"test-{count}" for count in speaker_norm.UNLABELLED} if variants.SPEAKER_NORM in record.run else set()
    assert set(record.parts) == set(parts) | fewer
    assert all(record.parts[name].file == record.parts["test"].file for name in fewer)
    files = [file for part in parts.values() for file in part.file]
    assert len(files) == len(set(files))  # no utterance stands in two parts


def test_every_committed_record_reads_and_lies_where_it_says(committed):
    assert committed
    assert failures(well_placed, committed.items()) == {}


def test_a_setting_younger_than_a_record_leaves_its_result_as_it_was(tmp_path):
    """Other records and weights name it by that digest."""
    path = tmp_path / "run.json"
    records.write(tiny_record(), path)
    plain = json.loads(path.read_text())
    del plain["configuration"]["training"]["log_test_accuracy"], plain["digest"]
    path.write_text(sign(plain))
    del plain["version"], plain["provenance"]
    older = records.read(path)
    assert older.configuration.training == {
        k: v for k, v in tiny_record().configuration.training.items() if k != "log_test_accuracy"
    }
    assert older.result == config.digest(plain) != tiny_record().result


def test_a_record_of_a_run_that_the_code_no_longer_has_is_read_as_any_other(path):
    def older(plain):
        plain["configuration"]["name"] = "student-with-wings"
        plain["configuration"]["run"]["model"] |= {"wings": 2, "patch_size": [128, 3]}
        plain["configuration"]["schedule"] = "by-the-moon"

    signed(path, older)
    record = read(path)
    assert (record.run, record.schedule, record.configuration.run.model.wings) == (
        "student-with-wings",
        "by-the-moon",
        2,
    )
    assert record.location.endswith("128x128/by-the-moon/random-2/student-with-wings-seed7.json")
    assert record.provenance["commit"] == "c" * 40
    with pytest.raises(AttributeError, match=r"^no setting 'feathers', only num_classes, "):
        _ = record.configuration.run.model.feathers
