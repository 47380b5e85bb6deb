"""Every command on a few short recordings, and every mistake in one line that names the thing."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_emodb, tiny_record, write_wav
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from companion import listeners
from companion.__main__ import main as tell
from companion.claims import PARTS, Finding
from serlib import checkpoints, cli, config, errors, files
from serlib.cli import main
from serlib.records import Settings, read, write
from studies import frontends, probed, variants
from studies.__main__ import main as studies
from workflow import listeners as rated
from workflow import release
from workflow.export import main as export

COMMANDS = ("corpora", "features", "train", "evaluate", "predict", "flops", "audit")
STUDIES = ("probe",)  # and every command on networks, for variants and baselines
TELLING = ("claims", "table")
WHERE = "recordings/emodb/128x128/paper-1-epochs/random-0/student-alone-seed0"

NO_WEIGHTS = "not weights that serlib wrote (No such file or directory)"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder, where their defaults point."""
    monkeypatch.delenv("SERLIB_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def folder(tmp_path):
    """Ten good recordings: five speakers, anger and sadness."""
    return tiny_emodb(tmp_path / "emodb")


def package(arguments) -> str:
    """The package whose command it is, by its name or that of the run."""
    if arguments[0] == "listeners":
        return "workflow.listeners"
    beyond = {*map(str, arguments)} & {*variants.VARIANTS, *variants.BASELINES}
    return "companion" if arguments[0] in TELLING else "studies" if arguments[0] in STUDIES or beyond else "serlib"


def command(arguments) -> int:
    """The exit status of a command of any package."""
    words = [str(argument) for argument in arguments]
    if package(arguments) == "workflow.listeners":
        return rated.main(words[1:])
    return {"companion": tell, "studies": studies, "serlib": main}[package(arguments)](words)


@pytest.fixture
def run(capsys):
    """Runs a command that succeeds: its output."""

    def run_command(*arguments) -> str:
        assert command(arguments) == 0
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def fail(capsys):
    """Runs a command that fails: its message, the one line on stderr."""

    def run_command(*arguments) -> str:
        assert command(arguments) == 1
        *before, message = re.split("[\r\n]+", capsys.readouterr().err.strip())
        assert all("%|" in line or line.isspace() for line in before), before  # bars of what was done until then
        assert message.startswith(f"{package(arguments)}: ")
        return message.removeprefix(f"{package(arguments)}: ")

    return run_command


TRAIN = ("train", "emodb", "--run", "student-alone", "--epochs", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with eight recordings, ``emodb``, and what training on them wrote, ``runs``; and what it printed."""
    there = tmp_path_factory.mktemp("trained")
    tiny_emodb(there / "emodb", speakers=("03", "08", "09", "10"))
    places = ("--data", there / "emodb", "--out", there / "runs", "--cache", there / "cache")
    threads = torch.get_num_threads()
    with redirect_stdout(io.StringIO()) as printed:
        assert main([str(argument) for argument in (*TRAIN, *places, "--threads", 1)]) == 0
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    return there, printed.getvalue()


# Help


@pytest.mark.parametrize("name", [*COMMANDS, *STUDIES, *TELLING])
def test_every_command_says_how_it_is_used(capsys, name):
    with pytest.raises(SystemExit) as end:
        command([name, "--help"])
    assert end.value.code == 0
    assert f"python -m {package([name])} {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["dance"], ["evidence"], ["train"], ["train", "emodb", "--fold", "one"]])
def test_a_wrong_use_shows_the_right_one(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m serlib")


def module(*arguments, **options) -> subprocess.CompletedProcess:
    """``python arguments`` with this package, output buffered as it is by default."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(Path(cli.__file__).parents[1])
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, env=environment, **options)


@pytest.mark.parametrize(("package", "commands"), [("serlib", COMMANDS), ("studies", STUDIES), ("companion", TELLING)])
def test_help_does_not_wait_for_torch(package, commands):
    done = module("-X", "importtime", "-m", package, "--help")
    assert done.returncode == 0
    assert all(f"  {name}" in done.stdout for name in commands)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "serlib.cli" in imported
    assert not imported & {
        "torch",
        "numpy",
        "scipy",
        "sklearn",
        "lightning_fabric",
        "soundfile",
        "matplotlib",
        "pandas",
    }


# Corpora


def test_corpora_counts_what_is_there(run, folder):
    write_wav(folder / "wav" / "03a01Xa.wav")
    first, *lines = run("corpora", "emodb", "--data", folder).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        [emotion, "5", "16,000", "WAV", "PCM_16", "1", "0.50", "-10.8"] for emotion in ("anger", "sadness")
    ]
    assert [line.split()[:2] for line in lines[4:9]] == [[s, "2"] for s in ("03", "08", "09", "10", "11")]
    lines = lines[9:]
    assert re.fullmatch("emodb: 10 utterances, 5 speakers, [0-9a-f]{12}", first)
    assert lines[0] == "  excluded wav/03a01Xa.wav: emotion code 'X' is none of W, L, E, A, F, N, T"
    assert lines[1] == "  note: anger: 5 utterances, published 127"
    assert lines[-2] == "  note: 5 speakers, published 10"
    assert lines[-1] == "  note: 10 of 10 files differ from those published, 03a01Ta.wav first"


def test_the_data_lie_where_the_environment_says(run, folder, monkeypatch):
    monkeypatch.setenv("SERLIB_DATA", str(folder.parent))
    assert run("corpora", "emodb").startswith("emodb: 10 utterances")


def test_a_corpus_of_ones_own_goes_through(run, tmp_path):
    write_wav(tmp_path / "a.wav", seed=1)
    write_wav(tmp_path / "b.wav", seed=2)
    (tmp_path / "own.csv").write_text("path,speaker,emotion\na.wav,Ada,joy\nb.wav,Bob,rage\n")
    lines = run("corpora", "mine", "--data", tmp_path / "own.csv", "--table", "made.json").splitlines()
    assert lines[0].startswith("mine: 2 utterances, 2 speakers, ")
    assert [line.split()[:2] for line in lines[2:4]] == [["joy", "1"], ["rage", "1"]]
    assert run("features", "mine", "--data", tmp_path / "own.csv", "--table", "made.json").startswith("mine: 2 images")


def test_a_table_spares_the_checks_and_corpora_makes_it_anew(run, folder):
    arguments = ("emodb", "--data", folder, "--table", "made.json")
    before = run("corpora", *arguments)
    (folder / "wav" / "03a01Wa.wav").write_bytes(b"")
    assert "excluded" not in run("audit", *arguments)
    assert "03a01Wa.wav" in [row["key"] for row in json.loads(Path("made.json").read_text())["utterances"]]
    after = run("corpora", *arguments)
    assert before.startswith("emodb: 10 utterances")
    assert "  excluded 03a01Wa.wav: unreadable: " in after
    assert [row["file"] for row in json.loads(Path("made.json").read_text())["excluded"]] == ["03a01Wa.wav"]


# Features


def test_features_are_made_once(run, folder):
    arguments = ("features", "emodb", "--data", folder, "--cache", "images", "--image-width", 64)
    assert run(*arguments) == "emodb: 10 images of 128 x 64 in images\n"
    (cache,) = Path("images").iterdir()
    assert np.load(cache).shape == (10, 1, 128, 64)
    made = cache.stat().st_mtime_ns
    run(*arguments)
    assert [(path, path.stat().st_mtime_ns) for path in Path("images").iterdir()] == [(cache, made)]


# Train, evaluate, predict


def test_train_writes_a_record_and_weights_and_says_where(trained):
    there, printed = trained
    path = there / "runs" / f"{WHERE}.json"
    record = read(path)
    first, second, *_ = printed.splitlines()
    assert first == str(path)
    assert second == f"student-alone: {record.describe()}"
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, path.with_suffix(".safetensors").name]
    assert (record.run, record.fold, record.seed, record.emotions) == ("student-alone", 0, 0, ("anger", "sadness"))
    assert record.configuration.training == Settings.from_config(replace(config.SCHEDULES["paper"], epochs=1))
    assert {name: len(values) for name, values in record.curves["cross entropy"].items()} == {"loss": 1}
    names = {file.name for file in (there / "emodb" / "wav").iterdir()}
    assert set(record.parts["train"].file) | set(record.parts["test"].file) == names
    assert (len(record.parts["train"].file), len(record.parts["test"].file)) == (6, 2)


def test_probe_writes_one_file_a_run_and_refuses_other_recordings(run, fail, trained, tmp_path):
    there, _ = trained
    path = there / "runs" / f"{WHERE}.json"
    places = ("--cache", there / "cache", "--out", "probes", "--runs", path)
    printed = run("probe", "emodb", "--data", there / "emodb", *places)
    (probe,) = probed.read_all(Path("probes"))
    assert printed.startswith(f"probes/{WHERE}.json: R2 of the column's number ")
    assert probe.result == read(path).result
    assert probe.predicted["as it is"] == read(path).parts["test"].predicted
    other = tiny_emodb(tmp_path / "other", speakers=("03", "08"))
    assert "not a run on the recordings in" in fail("probe", "emodb", "--data", other, *places)


def test_versions_train_on_four_images_a_recording(run, folder):
    where = ("--data", folder, "--out", "runs", "--cache", "images", "--epochs", 1, "--threads", 1)
    for protocol in ("augmented-leaky", "augmented-grouped"):
        run("train", "emodb", "--run", "student-alone", "--protocol", protocol, *where)
        (path,) = Path("runs").rglob(f"{protocol}-0/*.json")
        record = read(path)
        assert (len(record.parts["train"].file), len(record.parts["test"].file)) == (32, 8)
        assert sum(file.endswith(" (speed)") for part in record.parts.values() for file in part.file) == 10
    assert [np.load(path).shape for path in Path("images").glob("*.npy")] == [(40, 1, 128, 128)]


def test_listeners_ratings_are_read_in_both_corpora(run, fail, folder, tmp_path):
    names = sorted(path.name for path in (folder / "wav").iterdir())
    shares = [f"{80 + 2 * i},50" for i in range(len(names))]
    table = "Nr.\tSatz\terkannt\tnatuerlich\n" + "".join(
        f"{i}\xa0\t{name}\t{share}\xa0\xa0\t50,00\n" for i, (name, share) in enumerate(zip(names, shares, strict=True))
    )
    (folder / "erkennung.txt").write_text(table, encoding="latin-1")
    printed = run("listeners", "emodb", "--data", folder, "--out", "emodb.csv")
    assert printed.startswith("emodb: listeners recognised 89.5% [")
    assert listeners.read(Path("emodb.csv"))[1] == pytest.approx([0.805 + 0.02 * i for i in range(10)])
    (folder / "erkennung.txt").write_text(table.replace(names[3], "other.wav"), encoding="latin-1")
    assert f"no ratings of {names[3]} and 0 other(s)" in fail("listeners", "emodb", "--data", folder)
    assert "no such file" in fail("listeners", "emodb", "--data", folder, "--ratings", "none.txt")
    assert "not erkennung.txt" in fail("listeners", "emodb", "--data", folder, "--ratings", folder / "wav" / names[0])

    crema = tmp_path / "crema-d"
    for seed, name in enumerate(("1001_DFA_ANG_XX.wav", "1001_DFA_SAD_XX.wav", "1002_DFA_HAP_XX.wav")):
        write_wav(crema / name, seed=seed)
    votes = '"","FileName","VoiceVote"\n1,1001_DFA_ANG_XX,A\n2,1001_DFA_SAD_XX,N:S\n3,1002_DFA_HAP_XX,N\n'
    (crema / "summaryTable.csv").write_text(votes)
    run("listeners", "crema-d", "--data", crema, "--out", "crema-d.csv")
    assert listeners.read(Path("crema-d.csv")) == (["1001", "1001", "1002"], [1, 0.5, 0])
    rows = f"{folder.name}/wav/{names[0]},Ada,joy\n{folder.name}/wav/{names[1]},Ada,rage\n"
    (tmp_path / "own.csv").write_text(f"path,speaker,emotion\n{rows}")
    assert "no listeners' ratings are known" in fail("listeners", "mine", "--data", tmp_path / "own.csv")


def test_evaluate_prints_the_share_that_is_right(run, trained):
    there, printed = trained
    path = there / "runs" / f"{WHERE}.json"
    lines = run("evaluate", path).splitlines()
    assert lines == printed.splitlines()[1:]
    for line, part in zip(lines[1:], ("test", "train"), strict=True):
        columns = json.loads(path.read_text())["parts"][part]
        pairs = list(zip(columns["true"], columns["predicted"], strict=True))
        right = sum(true == predicted for true, predicted in pairs) / len(pairs)
        recalls = [np.mean([predicted == label for true, predicted in pairs if true == label]) for label in (0, 1)]
        assert line.startswith(f"  {part} ({len(pairs)} utterances): WA {right:.1%} [")
        assert f"UA {np.mean(recalls):.1%} [" in line
    assert run("evaluate", there / "runs").splitlines() == lines


def test_predict_agrees_with_the_record(run, trained):
    there, _ = trained
    record = read(there / "runs" / f"{WHERE}.json")
    weights = (there / "runs" / WHERE).with_suffix(".safetensors")
    for part in record.parts.values():
        lines = run(
            "predict", *(there / "emodb" / "wav" / name for name in part.file), "--weights", weights
        ).splitlines()
        for name, predicted, line in zip(part.file, part.predicted, lines, strict=True):
            found = re.fullmatch(r".*/(\S+): (\w+) (0\.\d\d), (\w+) (0\.\d\d)", line)
            file, likeliest, high, other, low = found.groups()
            assert (file, {likeliest, other}) == (name, {"anger", "sadness"})
            assert likeliest == record.emotions[predicted]
            assert float(high) >= float(low)
            assert float(high) + float(low) == pytest.approx(1, abs=0.011)


def test_a_run_is_released_in_half_precision_with_a_card(trained, monkeypatch, capsys, tmp_path):
    there, _ = trained
    path = there / "runs" / f"{WHERE}.json"
    record = read(path)
    rows = release.results.predictions([record])
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release.evidence, "read", lambda root: SimpleNamespace(predictions=rows))
    given = ("release", path, "tiny", "--data", there / "emodb", "--out", "out", "--cache", there / "cache")
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in given])
    assert release.main() == 1
    assert "no committed record: its card tells what those say; `make results` first" in capsys.readouterr().err
    write(record, tmp_path / "results" / record.location)
    Path("out").mkdir()
    Path("out/tiny.json").touch()  # of an earlier release, of a run that was trained again
    assert release.main() == 0
    assert not Path("out/tiny.json").exists()  # the run is the committed one
    assert capsys.readouterr().out == "out/tiny.safetensors\n"
    halves, singles = load_file("out/tiny.safetensors"), load_file(path.with_suffix(".safetensors"))
    assert {name: tensor.half() for name, tensor in singles.items()}.keys() == halves.keys()
    assert all(torch.equal(halves[name], tensor.half()) for name, tensor in singles.items())
    assert f"| record | result `{record.result[:12]}`" in Path("out/tiny.md").read_text(encoding="utf-8")


def test_an_answer_that_is_not_finite_is_refused(fail, trained, tmp_path):
    network, metadata = frontends.load(f"{trained[0] / 'runs' / WHERE}.safetensors")
    with torch.no_grad():
        network.head.weight.fill_(3e38)
    checkpoints.save(network, tmp_path / "large.safetensors", **metadata)
    file, weights = trained[0] / "emodb/wav/03a01Wa.wav", tmp_path / "large.safetensors"
    assert fail("predict", file, "--weights", weights) == f"{weights}: gives no finite answer for {file}"


def test_a_student_is_trained_with_the_teacher_that_was_trained_before(run, fail, trained, monkeypatch):
    there, _ = trained
    small = replace(config.TEACHER, depth=1, stem=(2, 1), mlp_width=32)
    monkeypatch.setitem(config.RUNS, "teacher", config.Run(small))
    monkeypatch.setitem(config.RUNS, "student-pooled", config.Run(replace(small, stem=()), teacher="teacher"))
    rest = ("--epochs", 1, "--data", there / "emodb", "--cache", there / "cache")
    needed = "build/runs/recordings/emodb/128x128/paper-1-epochs/random-0/teacher-seed0.json"
    message = fail("train", "emodb", "--run", "student-pooled", *rest)
    assert message == f"{needed}: no such record; train the run 'teacher' first"
    run("train", "emodb", *rest)
    run("train", "emodb", "--run", "student-pooled", *rest)
    student = read(Path(needed.replace("teacher", "student-pooled")))
    assert student.teacher == read(Path(needed)).result
    assert list(student.curves) == ["matching", "transfer"]
    other = ("--epochs", 1, "--data", tiny_emodb(there / "other", speakers=("03", "08", "12", "13")))
    message = fail("train", "emodb", "--run", "student-pooled", *other)
    refused = f"{needed}: not the run 'teacher' on these recordings, split and settings; train it again"
    assert message == refused
    with monkeypatch.context() as patch:
        patch.setitem(config.RUNS, "teacher", config.Run(replace(small, depth=2)))
        assert fail("train", "emodb", "--run", "student-pooled", *rest) == refused, "a teacher of an earlier edit"
    run("train", "emodb", *rest[:2], "--seed", 1, *rest[2:])
    weights = Path(needed).with_suffix(".safetensors")
    shutil.copy(str(weights).replace("seed0", "seed1"), weights)
    message = fail("train", "emodb", "--run", "student-pooled", *rest)
    assert message == f"{needed}: the weights beside it are of another run"
    weights.unlink()
    message = fail("train", "emodb", "--run", "student-pooled", *rest)
    assert message == f"{needed.replace('.json', '.safetensors')}: {NO_WEIGHTS}"
    shutil.copy(needed.replace("seed0", "seed1"), needed)
    message = fail("train", "emodb", "--run", "student-pooled", *rest)
    assert message == refused


def test_weights_for_images_normalised_by_speaker_are_for_no_other_images(run, fail, trained, capsys):
    there, _ = trained
    places = ("--data", there / "emodb", "--cache", there / "cache")
    train = ("train", "emodb", "--run", "student-alone-speaker-norm", "--epochs", 1, *places)
    refused = "student-alone-speaker-norm: 03 is in training and test set; choose a speaker-independent protocol"
    assert fail(*train) == refused
    run(*train, "--protocol", "leave-one-speaker-out")
    (record,) = Path("build/runs").rglob("student-alone-speaker-norm-seed0.json")
    assert {"train", "test", "test-3", "test-20"} < read(record).parts.keys()
    weights = record.with_suffix(".safetensors")
    for name, program, command in (
        ("studies", studies, ["predict", *(there / "emodb/wav").iterdir(), "--weights", weights]),
        ("studies", studies, ["probe", "emodb", *places, "--runs", record]),
        ("workflow.export", export, ["--weights", weights, "--out", "network.onnx"]),
    ):
        assert program([str(word) for word in command]) == 1
        message = capsys.readouterr().err.removeprefix(f"{name}: ")
        assert message.startswith(f"{weights}: the network takes each speaker's images normalised by several ")
    assert not list(Path().glob("*.onnx"))


# Claims, table


def test_claims_prints_each_part_of_each_claim(run, fail):
    assert fail("claims") == "results: no such folder; run it in the folder of the repository"
    record = tiny_record()
    write(record, Path("results/recordings", record.location.removeprefix("recordings/")))
    head, line, *rows = run("claims").splitlines()
    assert head.split()[:3] == ["claim", "part", "finding"]
    assert set(line) == {"-", " "}
    start = head.index("finding")
    found = [row[start:].split("  ")[0] for row in rows if row[start:].strip() and row[start - 1] == " "]
    assert sum(cell in set(Finding) for cell in found) == len(PARTS)


def test_table_has_a_row_a_prediction(run, fail, trained, monkeypatch):
    from companion import results

    there, _ = trained
    assert run("table", there / "runs", "--out", "some/results.csv") == "some/results.csv: 8 predictions\n"
    with Path("some/results.csv").open() as table:
        rows = list(csv.DictReader(table))
    record = read(there / "runs" / f"{WHERE}.json")
    assert {row["file"] for row in rows} == {file for part in record.parts.values() for file in part.file}
    assert run("table", there / "runs", "--out", "results.parquet") == "results.parquet: 8 predictions\n"
    assert pd.read_parquet("results.parquet").astype(str).equals(results.predictions([record]).astype(str))
    Path("results.parquet").unlink()
    assert fail("table", "--out", "results.xlsx") == "results.xlsx: the table is written as one of .csv, .parquet"
    assert fail("table", "nowhere.json", "--out", "results.csv") == "nowhere.json: No such file or directory"

    def missing(self, *given, **options):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(type(results.predictions([record])), "to_parquet", missing)
    message = fail("table", there / "runs", "--out", "results.parquet")
    assert message == "results.parquet: Parquet needs pyarrow, which is not installed; give a .csv file"
    assert not list(Path().glob("*results.*"))


# FLOPs


def test_flops_prints_the_released_models_exact_counts(run):
    lines = run("flops", "teacher", "student-alone").splitlines()
    assert lines[0].split() == ["run", "parameters", "FLOPs", "of", "them", "stem"]
    assert lines[1].split() == ["teacher", "3,700,168", "2,585,406,464", "1,519,386,624"]
    assert lines[2].split() == ["student-alone", "1,811,975", "528,817,408", "0"]


def test_of_a_classifier_that_is_no_network_no_operations_are_counted(run):
    assert len(run("flops", "majority").splitlines()) == 1


# Audit


def test_audit_prints_every_fold_and_writes_the_splits(run, folder):
    lines = run("audit", "emodb", "--data", folder, "--out", "splits").splitlines()
    for line in lines[:10]:  # random and stratified: 10 files, one sentence
        numbers = r"8 train, 2 test; on both sides [0-2] speakers, 1 sentences, 0 identical recordings; split \w{12}"
        assert re.fullmatch(rf"(random|stratified-folds) fold \d: {numbers}", line)
    *grouped, actors = lines[10:]
    assert actors == "actor-split: actor-split is of CREMA-D's actors; emodb has the speaker 03"
    for line in grouped:  # one of five speakers in turn
        numbers = r"8 train, 2 test; on both sides 0 speakers, 1 sentences, 0 identical recordings; split \w{12}"
        assert re.fullmatch(rf"(leave-one-speaker-out|speaker-folds) fold \d: {numbers}", line)
    assert len(lines) == 21
    protocols = ("random", "stratified-folds", "leave-one-speaker-out", "speaker-folds")
    assert {path.stem for path in Path("splits").iterdir()} == set(protocols)
    for protocol in protocols:
        with Path("splits", f"{protocol}.csv").open() as table:
            rows = list(csv.DictReader(table))
        assert [row["file"] for row in rows] == sorted(path.name for path in (folder / "wav").iterdir())
        for fold in range(5):
            test = [row["file"][:2] for row in rows if row[f"fold {fold}"] == "test"]
            train = [row["file"][:2] for row in rows if row[f"fold {fold}"] == "train"]
            assert (len(train), len(test)) == (8, 2)
            assert protocol in protocols[:2] or not set(train) & set(test)


def test_audit_says_which_protocol_a_small_corpus_is_too_small_for(run, tmp_path):
    lines = run("audit", "emodb", "--data", tiny_emodb(tmp_path / "few", speakers=("03", "08", "09"))).splitlines()
    assert sum(line.startswith("random fold") for line in lines) == 5
    assert sum(line.startswith("leave-one-speaker-out fold") for line in lines) == 3
    assert [line for line in lines if "fold " not in line] == [
        line for line in lines if line.startswith(("stratified-folds: ", "speaker-folds: ", "actor-split: "))
    ]
    assert len(lines) == 11


# Mistakes


@pytest.mark.parametrize("command", ["corpora", "features", "train", "audit"])
def test_a_missing_folder_and_an_unknown_corpus_are_named(fail, tmp_path, command):
    absent = fail(command, "emodb", "--data", tmp_path / "absent")
    assert absent.startswith(f"{tmp_path / 'absent'}: no folder of emodb's recordings; `python -m workflow.download` ")
    assert fail(command, "emodb").startswith("data/emodb: no folder of emodb's recordings; ")
    assert fail(command, "ravdess", "--data", tmp_path).startswith("corpus 'ravdess' is none of savee, emodb, crema-d")
    assert fail(command, "emodb", "--data", tmp_path) == f"{tmp_path}: no usable emodb recording; no .wav is there"


def test_strict_names_the_first_problem(fail, folder):
    (folder / "wav" / "16b10Na.wav").write_bytes(b"")
    message = fail("corpora", "emodb", "--data", folder, "--strict", "--synthetic")
    assert message.startswith(f"{folder}: 1 problem(s), stopped by --strict; first: 16b10Na.wav: unreadable")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--run", "student"), "run 'student' is none of teacher, student-alone, "),
        (("--schedule", "long"), "schedule 'long' is none of paper, logged, short, synthetic, chosen-epochs, "),
        (("--protocol", "holdout"), "protocol 'holdout' is none of random, "),
        (("--protocol", "speaker-folds", "--fold", 5), "fold 5: speaker-folds on emodb has folds 0 to 4"),
        (("--fold", -1), "fold -1 must be at least 0"),
        (("--fold", 10**20), "fold 100000000000000000000 must be at least 0 and below 2^32"),
        (("--epochs", 0), "epochs 0 "),
        (("--epochs", -1), "epochs -1 "),
        (("--threads", -1), "threads -1"),
        (("--threads", 10**9), "threads 1000000000 must be at least 1 and at most 256"),
        (("--image-width", 10**9), "image_size (128, 1000000000): "),
        (("--seed", -1), "seed -1 must be at least 0"),
        (("--seed", 10**30), "must be at least 0 and below 2^32"),
        (("--channel", 3), "no usable emodb recording; first problem: 03a01Ta.wav: channel 3 of 1"),
        (("--image-width", 0), "image_size (128, 0)"),
        (("--image-width", 1001, "--run", "teacher-square-patches"), "patch width 16 does not divide image width 1001"),
        (("--run", "majority", "--epochs", 3), "epochs 3: the baseline 'majority' takes none; leave it out"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_wrong_choice_for_training_is_named(fail, folder, arguments, says):
    assert says in fail(*TRAIN, "--data", folder, *arguments)
    assert not list(Path().rglob("*.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the accelerator that the test wants missing")
@pytest.mark.parametrize("run", [TRAIN, ("train", "emodb", "--run", "resnet-18")], ids=lambda run: run[3])
def test_an_accelerator_that_is_not_there_is_named(fail, folder, run):
    assert "accelerator 'cuda'" in fail(*run, "--data", folder, "--accelerator", "cuda")


def test_a_missing_or_edited_record_is_named(fail, trained, tmp_path):
    there, _ = trained
    assert fail("evaluate", tmp_path / "absent.json") == f"{tmp_path / 'absent.json'}: No such file or directory"
    assert fail("evaluate", tmp_path / "here") == f"{tmp_path / 'here'}: no record in this folder"
    edited = tmp_path / "edited.json"
    edited.write_text((there / "runs" / f"{WHERE}.json").read_text().replace('"fold": 0', '"fold": 1'))
    assert fail("evaluate", edited).startswith(f"{edited}: changed since it was written")


CORRUPT = {  # what changes tensors and metadata
    "without a tensor": lambda tensors, about: tensors.pop("head.bias"),
    "tensors of other shapes": lambda tensors, about: about["model"].update(heads=4),
    "impossible model": lambda tensors, about: about["model"].update(pooling="sum"),
    "unknown model field": lambda tensors, about: about["model"].update(wings=2),
    "without features": lambda tensors, about: about.pop("features"),
    "without emotions": lambda tensors, about: about.pop("emotions"),
    "unknown feature": lambda tensors, about: about["features"].update(wings=2),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_corrupt_weights_are_named(fail, trained, tmp_path, kind):
    there, _ = trained
    weights, path = (there / "runs" / WHERE).with_suffix(".safetensors"), tmp_path / "wrong.safetensors"
    with safe_open(weights, framework="pt") as file:
        about = json.loads(file.metadata()["serlib"])
    CORRUPT[kind](tensors := load_file(weights), about)
    del about["sha256"]
    save_file(tensors, path, {"serlib": json.dumps({**about, "sha256": checkpoints._digest(tensors, about)})})
    said = fail("predict", there / "emodb/wav/03a01Wa.wav", "--weights", path)
    assert said.startswith(f"{path}: ")
    assert "changed since" not in said


def test_missing_weights_and_a_folder_of_them_are_named(fail, trained, tmp_path):
    there, _ = trained
    recording = there / "emodb" / "wav" / "03a01Wa.wav"
    absent = tmp_path / "absent.safetensors"
    assert fail("predict", recording, "--weights", absent) == f"{absent}: {NO_WEIGHTS}"
    assert str(tmp_path) in fail("predict", recording, "--weights", tmp_path)
    weights, recording = (there / "runs" / WHERE).with_suffix(".safetensors"), tmp_path / "absent.wav"
    assert fail("predict", recording, "--weights", weights).startswith(f"{recording}: unreadable: No such file")


def test_flops_of_an_unknown_run_names_it(fail):
    assert fail("flops", "student").startswith("run 'student' is none of teacher, ")
    assert "-1" in fail("flops", "student-alone", "--classes", -1)
    many = fail("flops", "student-alone", "--classes", 1001)
    assert many == "num_classes 1001 must be at least 1 and at most 1000"


# Interruptions


def test_an_interrupted_command_says_that_it_goes_on(capsys, folder, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", interrupted)
    assert main(["audit", "emodb", "--data", str(folder)]) == 130
    assert capsys.readouterr().err == "serlib: interrupted; the same command goes on where this one stopped\n"


def test_an_interrupted_training_goes_on_to_the_same_result(capsys, run, tmp_path, monkeypatch):
    """Two batches an epoch, so that their order counts."""
    folder = tiny_emodb(tmp_path / "more", texts=("a01", "a02"))
    arguments = (*TRAIN[:-1], 2, "--schedule", "synthetic", "--data", folder)
    run(*arguments, "--out", "whole")
    keep, finished = files.os.replace, []

    def interrupt_after_one_epoch(source, target):
        keep(source, target)
        if Path(target).suffix == ".state":
            finished.append(target)
            raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt_after_one_epoch)
    assert main([str(argument) for argument in (*arguments, "--out", "parts")]) == 130
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(files.os, "replace", keep)
    run(*arguments, "--out", "parts")
    whole, parts = (
        Path(out, WHERE.replace("paper-1-epochs", "synthetic-2-epochs") + ".json") for out in ("whole", "parts")
    )
    assert len(finished) == 1
    assert read(parts).result == read(whole).result


def test_a_reader_that_has_gone_is_no_error(folder):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = module("-m", "serlib", "corpora", "emodb", "--data", folder, stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", ["evaluate {}/teacher-seed0.json", "flops --help", "--help"])
def test_an_answer_that_cannot_be_written_is_one_line(words, root):
    records = root / "results/recordings/emodb/128x128/short/random-0"
    with Path("/dev/full").open("w") as full:
        done = module("-m", "serlib", *(word.format(records) for word in words.split()), stdout=full)
    assert (done.returncode, done.stderr) == (1, "serlib: standard output: No space left on device\n")


@pytest.mark.parametrize("words", [["flops", "--a\nb"], ["x\r\ny"], ["flops", "--classes", "1\n2"]])
def test_an_argument_of_two_lines_is_told_in_one(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    _, said = capsys.readouterr().err.rstrip("\n").split("error: ")
    assert (ended.value.code, said.isprintable()) == (2, True)


def test_a_command_whose_stdout_is_closed_ends_as_any_other(folder, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)  # as Python has it after `>&-`
    assert main(["corpora", "emodb", "--data", str(folder)]) == 0


# A full disk


def written() -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file()]


def test_a_table_that_does_not_fit_on_the_disk_is_named(fail, folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    message = fail("corpora", "emodb", "--data", folder, "--table", "made.json")
    assert message == "made.json: No space left on device"
    assert written() == []


@pytest.mark.parametrize("suffix", [".npy", ".state", ".safetensors", ".json"])
def test_whatever_of_a_training_does_not_fit_is_named_and_nothing_half_written(fail, folder, monkeypatch, suffix):
    replace_file = files.os.replace

    def full(source, target):
        if Path(target).suffix == suffix:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    message = fail(*TRAIN, "--data", folder)
    assert re.fullmatch(rf"build/\S+{suffix}: No space left on device", message)
    before = (".npy", ".state", ".safetensors", ".json")[: (".npy", ".state", ".safetensors", ".json").index(suffix)]
    assert sorted(path.suffix for path in written()) == sorted(before)
    assert not [path for path in written() if path.name.startswith(".")]


@pytest.mark.parametrize(("kilobytes", "suffix"), [(100, ".npy"), (1000, ".state")])
def test_a_file_that_the_system_cuts_off_is_named_and_not_kept(fail, folder, kilobytes, suffix):
    """The images take 655 kB, the state of an unfinished run 22 MB; no file may be larger than the limit."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000 * kilobytes, limits[1]))
    try:
        message = fail(*TRAIN, "--data", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch(rf"build/\S+{suffix}: File too large", message)
    assert {path.suffix for path in written()} == ({".npy"} if suffix == ".state" else set())


def test_what_the_user_can_mend_is_a_line_and_a_bug_keeps_its_traceback(monkeypatch, capsys):
    def fails(error):
        def command(options):
            raise error

        return command

    monkeypatch.setattr(cli, "_flops", fails(errors.SerlibError("run 'x' is none of y")))
    assert main(["flops"]) == 1
    assert capsys.readouterr().err == "serlib: run 'x' is none of y\n"
    monkeypatch.setattr(cli, "_flops", fails(ValueError("not enough values to unpack (expected 2, got 1)")))
    with pytest.raises(ValueError, match="to unpack"):
        main(["flops"])
