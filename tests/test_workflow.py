"""The graph: what is up to date is left alone, what is touched is followed by what depends on it and nothing else."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from companion import experiments, text
from serlib import config
from tests.helpers import tiny_emodb, tiny_record
from workflow.graph import check_settings, code, listing
from workflow.stage import repository

ROOT = Path(__file__).parents[1]
built = pytest.mark.skipif(not (ROOT / "_build/html/index.html").exists(), reason="no book is built: make book")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The sources with their times, beside what was built from them: to be touched, and never built."""
    folders = ("serlib", "companion", "notebooks", "book", "workflow", "results", "benchmarks", "weights")
    for name in folders:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "_config.yml", "Makefile"):
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    for name in ("build", "_build"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def snakemake(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    profile = ("--workflow-profile", "workflow/profiles/default", "--cores", "1")
    command = (sys.executable, "-m", "snakemake", *profile, *arguments)
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


def planned(checkout: Path) -> set[str]:
    """What a run would do: the messages of its jobs."""
    result = snakemake(checkout, "--dry-run", "--", "book")
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"^Job \d+: (.*)$", result.stdout + result.stderr, re.MULTILINE))


@built
def test_a_second_run_does_nothing(checkout):
    assert planned(checkout) == set()


@built
def test_a_touched_notebook_is_executed_alone(checkout):
    os.utime(checkout / "notebooks/fig5_student.ipynb")
    assert planned(checkout) == {"notebook fig5_student", "rendering the book"}


@built
def test_touched_prose_only_renders(checkout):
    os.utime(checkout / "book/index.md")
    assert planned(checkout) == {"rendering the book"}


@built
def test_the_touched_model_is_followed_by_what_depends_on_it(checkout):
    os.utime(checkout / "serlib/model.py")
    jobs = planned(checkout)
    assert {job.split(":")[0] for job in jobs if job.startswith("training")} >= {"training teacher"}
    assert not {job for job in jobs if job.startswith(("synthetic speech", "log-Mel images"))}
    assert {"notebook fig4_teacher", "notebook flops_vs_accuracy", "rendering the book"} <= jobs


@built
@pytest.mark.parametrize("told", ["paper", "claims", "figures", "prose"])
def test_the_touched_telling_makes_no_record_anew(checkout, told):
    os.utime(checkout / f"companion/{told}.py")
    jobs = planned(checkout)
    assert "rendering the book" in jobs
    assert {job.split()[0] for job in jobs} <= {"notebook", "rendering"}


@built
def test_touched_features_leave_the_speech_alone(checkout):
    os.utime(checkout / "serlib/data/features.py")
    jobs = planned(checkout)
    assert "log-Mel images: emodb" in jobs
    assert not {job for job in jobs if job.startswith("synthetic speech")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("emodb", "/no/such/folder", "short"), "DATA=/no/such/folder: no such file or folder"),
        (("emodb", "", "short"), "CORPUS=emodb needs DATA=folder of the recordings"),
        (("emdb", ".", "short"), "CORPUS=emdb is none of savee, emodb, crema-d"),
        (("", ".", "short"), "DATA is given without CORPUS"),
        (("", "", "long"), "SCHEDULE=long is none of paper, logged, short, synthetic, warp, masks, mixup, "),
    ],
)
def test_a_wrong_setting_is_named(capsys, given, message):
    with pytest.raises(SystemExit):
        check_settings(*given)
    assert capsys.readouterr().err.startswith(f"serlib: {message}")


def test_a_wrong_setting_of_the_graph_is_one_line():
    result = snakemake(ROOT, "--dry-run", "--config", "corpus=emodb", "schedule=long", "data=.")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(lines) == 1
    assert "SCHEDULE=long is none of paper, " in lines[0]


def test_every_experiment_can_be_planned(tmp_path):
    config = ("--config", "corpus=emodb", f"data={tiny_emodb(tmp_path / 'emodb')}")
    targets = [f"evidence_{number}" for number, _ in enumerate(experiments.experiments_of("emodb"), 1)]
    result = snakemake(ROOT, "--dry-run", *config, "--", *targets)
    assert result.returncode == 0, result.stderr
    planned = set(re.findall(r"^Job \d+: (.*)$", result.stdout + result.stderr, re.MULTILINE))
    assert {f"evidence, emodb: {experiment.title}" for experiment in experiments.experiments_of("emodb")} <= planned
    assert "baseline majority: emodb (recordings), random-0" in planned


def test_the_command_named_beside_a_number_makes_its_records(tmp_path):
    data = tiny_emodb(tmp_path / "data/emodb")
    named = [
        tiny_record(
            fold=fold,
            protocol="leave-one-speaker-out",
            configuration=config.resolve("student-pooled", "paper-bf16", 0, 7),
        )
        for fold in (3, 1)
    ]
    fence, command, _ = text.commands(named).data.splitlines()
    assert fence == "```bash"
    program, *rest = command.replace("data=data/", f"data={data.parent}/").split(" ")
    assert program == ".venv/bin/snakemake"
    targets = subprocess.run(["bash", "-c", f"echo {' '.join(rest)}"], capture_output=True, text=True, check=True)
    result = subprocess.run(
        (sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", *targets.stdout.split()),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    planned = result.stdout + result.stderr
    jobs = set(re.findall(r"^Job \d+: training (.*)$", planned, re.MULTILINE))
    where = "emodb (recordings), leave-one-speaker-out-"
    assert jobs == {f"{run}: {where}{fold}, seed 0" for run in ("teacher", "student-pooled") for fold in (1, 3)}
    assert planned.count("--image-width 128 --schedule paper-bf16") == 4


def steps() -> dict[str, set[str]]:
    """The code that each rule of the method depends on, by the rule's name."""
    rules = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", (ROOT / "Snakefile").read_text(), re.MULTILINE | re.DOTALL)
    named = {name: re.search(r"code\((.*?)\)", text) for name, text in rules if "-m serlib" in text}
    return {name: set(code(*ast.literal_eval(f"({found[1]},)"))) for name, found in named.items() if found}


def test_no_step_of_the_method_depends_on_the_telling(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert steps().keys() == {"synthesize", "check", "images", "train", "baseline", "probe"}
    for name, files in steps().items():
        assert not {file for file in files if not file.startswith("serlib/")}, name


def test_a_step_depends_on_what_its_functions_import(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert {f"serlib/{name}.py" for name in ("training", "losses", "data/augment")} <= steps()["baseline"]
    assert {"serlib/model.py", "serlib/losses.py", "serlib/data/splits.py"} <= steps()["train"]
    for figure in ("fig3_coordinates", "attention_maps"):
        assert {"serlib/flops.py", "companion/paper.py"} <= set(code(f"notebooks/{figure}.ipynb"))


def test_a_step_depends_on_nothing_else(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert code("serlib/losses.py") == ["serlib/losses.py"]
    assert steps()["images"] == {"serlib/data/features.py", "serlib/config.py", "serlib/files.py"}
    assert not {"serlib/cli.py", "serlib/flops.py", "serlib/baselines.py", "serlib/data/features.py"} & steps()["train"]


def test_a_changed_recording_is_noticed(tmp_path):
    (tmp_path / "wav").mkdir()
    file = tmp_path / "wav/a.wav"
    file.write_bytes(b"1")
    first = listing(str(tmp_path))
    assert listing(str(tmp_path)) == first
    file.write_bytes(b"22")
    assert listing(str(tmp_path)) != first


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://github.com/someone/companion.git", "https://github.com/someone/companion"),
        ("https://name:secret@gitlab.com/group/companion", "https://gitlab.com/group/companion"),
        ("git@github.com:someone/companion.git", ""),
        ("/somewhere/on/disk", ""),
        ("", ""),
    ],
)
def test_edit_links_lead_to_a_known_host_and_carry_no_password(origin, address):
    assert repository(origin) == address
