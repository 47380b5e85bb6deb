"""Records and probes of version 1 come over under the names and in the places of version 2, or not at all."""

import json

import pytest

from serlib import probes, records
from workflow import upgrade

PART = {"file": ["a.wav", "b.wav"], "speaker": ["03", "08"], "true": [0, 1], "predicted": [0, 0]}


def old(run, schedule, protocol, training, model, teacher=""):
    """A record of version 1, as its file holds it, without its digest."""
    return {
        "version": 1,
        "corpus": "emodb",
        "speech": "recordings",
        "emotions": ["anger", "sadness"],
        "fingerprint": "f" * 64,
        "excluded": [],
        "notes": [],
        "protocol": protocol,
        "fold": 0,
        "split": "5" * 64,
        "configuration": {
            "name": run,
            "run": {"model": model, "teacher": "teacher" if teacher else None},
            "schedule": schedule,
            "training": {"epochs": 50, "seed": 3, **training},
            "features": {"image_size": [128, 128]},
        },
        "teacher": teacher,
        "curves": {"cross entropy": {"loss": [1.0], "held-out accuracy": [0.5]}},
        "parts": {"train": PART, "test": PART},
        "made": {"date": "2026-01-31", "seconds": 1.5},
    }


def store(path, plain, digest):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**plain, "digest": digest}))


def result(plain):
    return upgrade.result({k: v for k, v in plain.items() if k != "version"}, "made")


@pytest.fixture
def folder(tmp_path):
    teacher = old("teacher", "paper", "inner-speakers", {"precision": "bf16-mixed"}, {"depth": 6})
    student = old("student-standardised", "watched", "random", {"watch": True}, {"standardise": True}, result(teacher))
    for name, plain in (("t", teacher), ("s", student)):
        store(tmp_path / f"recordings/emodb/{name}.json", plain, upgrade.digest(plain))
    names = ("corpus", "speech", "protocol", "fold", "emotions")
    probe = {name: teacher[name] for name in names} | {"schedule": "paper", "run": "teacher", "seed": 3}
    probe |= {"result": result(teacher), **{k: PART[k] for k in ("file", "speaker", "true")}, "variation": [1.0, 1.0]}
    probe |= {"errors": {"image": [1.0, 1.0]}, "predicted": {"as it is": [0, 0]}}
    store(tmp_path / "probes/recordings/emodb/t.json", probe, upgrade.digest([probe]))
    return tmp_path


def test_everything_has_its_new_name_and_place(folder):
    upgrade.main(folder)
    student, teacher = records.read_all(folder / "recordings")
    assert [
        p.relative_to(folder / "recordings").as_posix() for p in sorted((folder / "recordings").rglob("*.json"))
    ] == [
        "emodb/128x128/logged/random-0/student-per-band-norm-seed3.json",
        "emodb/128x128/paper-bf16/selection-0/teacher-seed3.json",
    ]
    assert (student.run, student.configuration.training.log_test_accuracy) == ("student-per-band-norm", True)
    assert student.configuration.run.model.per_band_norm
    assert student.curves["cross entropy"]["test accuracy"] == (0.5,)
    assert student.provenance["seconds"] == 1.5
    assert student.teacher == teacher.result
    (probe,) = probes.read_all(folder / "probes")
    assert (probe.result, probe.schedule, probe.protocol) == (teacher.result, "paper-bf16", "selection")


def test_an_edited_record_stops_it_before_anything_is_written(folder):
    path = folder / "recordings/emodb/s.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 4'))
    before = sorted(folder.rglob("*.json"))
    with pytest.raises(ValueError, match=r"s\.json: changed since it was written"):
        upgrade.main(folder)
    assert sorted(folder.rglob("*.json")) == before
