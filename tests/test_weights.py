"""The committed weights: each with its card, small, and of the use that the card says."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import safetensors
import torch

from companion import results
from serlib import records
from serlib.files import sha256
from studies import __main__ as studies
from studies.frontends import load
from tests.helpers import write_wav
from workflow import cards, release

ROOT = Path(__file__).parents[1]
WEIGHTS = sorted((ROOT / "weights").glob("*.safetensors"))


@pytest.fixture(scope="module")
def predicted(committed_records):
    """The rows of every committed record, and the noise of their seeds."""
    found = results.predictions(committed_records)
    return found, results.seed_noise(found)


def test_they_are_small_and_each_has_its_card():
    assert WEIGHTS
    assert sum(path.stat().st_size for path in WEIGHTS) < 26e6  # half precision of two teachers and three students
    assert [path.with_suffix(".md") for path in WEIGHTS] == sorted((ROOT / "weights").glob("*.md"))


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_the_card_is_of_these_weights_and_of_a_committed_record(path, committed_records, predicted):
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"`{sha256(path)}`" in card
    network, about = load(path)
    assert f"`{about['result'][:12]}`" in card
    (record,) = (r for r in (*committed_records, *records.read_all(ROOT / "weights")) if r.result == about["result"])
    assert record.location in {r.location for r in committed_records}
    assert path.with_suffix(".json").exists() == (record not in committed_records)  # one that was trained again
    ours, recorded = records.Settings.from_config(network.config), record.configuration.run.model
    shared = [name for name in ours if name in recorded]  # the record has fields that are gone
    assert len(shared) > 5
    assert [ours[name] for name in shared] == [recorded[name] for name in shared]
    counts = re.search(r"\| ([\d,]+) of ([\d,]+) test predictions", card).groups()
    changed, of = (int(count.replace(",", "")) for count in counts)
    assert of == len(record.parts["test"].file)
    assert changed <= 0.01 * of
    assert card == cards.card(record, path, changed, *predicted), "records were added: python -m workflow.cards"
    with safetensors.safe_open(path, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize("lost", [".md", ".json"])
def test_weights_without_card_or_record_are_named_and_nothing_is_written(lost, tmp_path):
    for path in (ROOT / "weights").glob("emodb-student-pooled.*"):
        if path.suffix != lost:
            shutil.copy(path, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match=r"student-pooled\.safetensors: no .*workflow\.release"):
        cards.main(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_predict_uses_them(path, tmp_path, capsys):
    assert studies.main(["predict", str(write_wav(tmp_path / "a.wav", 1.0)), "--weights", str(path)]) == 0
    said = capsys.readouterr().out
    chances = [float(value) for value in re.findall(r" (\d\.\d\d)", said)]
    assert len(chances) == len(load(path)[1]["emotions"])
    assert sum(chances) == pytest.approx(1, abs=0.05)


def test_weights_of_another_run_are_refused(tmp_path, monkeypatch, capsys):
    """The record beside the weights must be theirs."""
    path, about = WEIGHTS[0], load(WEIGHTS[0])[1]
    other = next(
        p for p in sorted((ROOT / "results/recordings").rglob("*.json")) if records.read(p).result != about["result"]
    )
    (tmp_path / "run.json").write_bytes(other.read_bytes())
    (tmp_path / "run.safetensors").write_bytes(path.read_bytes())
    given = ("release.py", tmp_path / "run.json", "x", "--data", tmp_path, "--out", tmp_path / "o")
    monkeypatch.setattr(sys, "argv", list(map(str, given)))
    assert release.main() == 1
    assert (
        capsys.readouterr().err == f"workflow.release: {tmp_path}/run.json: the weights beside it are of another run\n"
    )
    assert not (tmp_path / "o").exists()
