"""Files whole or not there: two writers at once, full disks, what a killed writer leaves."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from serlib import files
from serlib.errors import SerlibError
from workflow.files import copy


def test_two_writers_with_one_number_share_no_file(tmp_path, monkeypatch):
    """As in two containers, where each process is number 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    target = tmp_path / "images.npy"
    with files.atomic_write(target) as one, files.atomic_write(target) as other:
        assert one != other
        one.write_bytes(b"one" * 1_000)
        other.write_bytes(b"other" * 1_000)
    assert target.read_bytes() == b"one" * 1_000
    assert list(tmp_path.iterdir()) == [target]
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_the_disk_does_not_hold_is_not_used(tmp_path):
    def parts():
        yield b"a" * 1_000_000
        (beside,) = (path for path in tmp_path.rglob("*") if path.is_file())
        with beside.open("r+b") as file:  # as another writer, or a failing disk
            file.write(b"b")
        yield b"a" * 1_000_000

    with pytest.raises(SerlibError, match=r"images\.npy: the disk does not hold what was written"):
        files.write_sealed(tmp_path / "images.npy", parts())
    assert not any(tmp_path.iterdir())
    files.write_sealed(tmp_path / "images.npy", [b"a" * 1_000_000])
    assert files.is_sealed(str(tmp_path / "images.npy"))
    (tmp_path / "images.npy").rename(tmp_path / "others.npy")
    assert not files.is_sealed(tmp_path / "others.npy")


@pytest.mark.parametrize("call", ["shutil.copyfile", "os.replace", "TemporaryDirectory"])
def test_a_copy_that_fails_leaves_what_was_there_and_names_it(call, tmp_path, monkeypatch):
    source, target = tmp_path / "source.json", tmp_path / "results" / "run.json"
    source.write_text("new")
    target.parent.mkdir()
    target.write_text("old")

    def fails(*given, **options):
        if call == "shutil.copyfile":
            Path(given[1]).write_text("n")  # a byte, then the disk is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), given[0], None, given[1])  # the source first
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place, _, name = call.rpartition(".")
    monkeypatch.setattr({"shutil": shutil, "os": os}.get(place, files), name, fails)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        copy(source, target)
    assert error.value.filename == str(target)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_copy_of_the_same_content_is_not_touched(tmp_path):
    source, target = tmp_path / "source.json", tmp_path / "run.json"
    source.write_text("same")
    target.write_text("same")
    before = target.stat()
    copy(source, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "hidden",
    ["._run.json", ".ipynb_checkpoints/run.json", ".unfinished-x/run.json", ".git/a/run.json", "a/.b/c/run.json"],
)
def test_hidden_files_and_folders_hold_no_result(hidden, tmp_path):
    for name in ("a/run.json", hidden):
        (tmp_path / ".hidden above" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".hidden above" / name).write_text("{}")
    assert files.below(str(tmp_path / ".hidden above"), ".json") == [tmp_path / ".hidden above" / "a/run.json"]
