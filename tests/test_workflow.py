"""The graph: what is up to date is left alone, what is touched is followed by what depends on it and nothing else."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from companion import experiments, text
from serlib import config
from tests.helpers import tiny_emodb, tiny_record
from workflow.graph import MARK, Settings, check_settings, code, listing, settings
from workflow.stage import repository

ROOT = Path(__file__).parents[1]
built = pytest.mark.skipif(not (ROOT / "_build/html/index.html").exists(), reason="no book is built: make book")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The sources with their times, beside what was built from them: to be touched, and never built."""
    folders = ("serlib", "companion", "notebooks", "book", "workflow", "results", "benchmarks", "weights", "docs")
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
        (("", "", "", 0, 1, 2), "CHANNEL=2 is given without CORPUS"),
        (("", "", "long"), "SCHEDULE=long is none of paper, logged, short, synthetic, search, warp, masks, mixup, "),
    ],
)
def test_a_wrong_setting_is_named(capsys, given, message):
    with pytest.raises(SystemExit):
        check_settings(Settings(*given))
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


def test_the_chosen_channel_reaches_every_step(tmp_path):
    given = ("corpus=emodb", f"data={tiny_emodb(tmp_path / 'emodb')}", "channel=2")
    result = snakemake(ROOT, "--dry-run", "--printshellcmds", "--config", *given, "--", "book", "evidence_1")
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert re.search(r"-m serlib corpora emodb .* --channel 2 --table", said)
    assert set(re.findall(r"build/(?:runs|probes)/recordings/emodb/([^/]+)/", said)) == {"128x128-channel2"}
    assert set(re.findall(r"--image-width (\S+)", said)) == {"128"}


def test_the_command_named_beside_a_number_makes_its_records(tmp_path):
    data = tiny_emodb(tmp_path / "data/emodb")
    named = [
        tiny_record(
            fold=fold, protocol="leave-one-speaker-out", configuration=config.resolve(run, "paper-bf16", seed, 7)
        )
        for run in ("student-pooled", "student-alone+deltas")
        for fold in (3, 1)
        for seed in (0, 2)
    ]
    fence, command, _ = text.commands(named).data.splitlines()
    assert fence == "```bash"
    program, *rest = command.replace("data=data/", f"data={data.parent}/").split(" ")
    assert program == ".venv/bin/snakemake"
    targets = subprocess.run(["/bin/bash", "-c", f"echo {' '.join(rest)}"], capture_output=True, text=True, check=True)
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
    cells = [f"{where}{fold}, seed {seed}" for fold in (1, 3) for seed in (0, 2)]
    assert jobs == {f"{run}: {cell}" for run in ("teacher", "student-pooled", "student-alone+deltas") for cell in cells}
    assert planned.count("--image-width 128 --schedule paper-bf16") == 12


def test_runs_and_seeds_with_other_folds_have_a_command_of_their_own():
    runs = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]  # fold, seed
    named = [
        tiny_record(fold=fold, configuration=config.resolve("student-alone+4s", "paper", seed, 7))
        for fold, seed in runs
    ]
    named += [tiny_record(fold=2, configuration=config.resolve("teacher", "paper", 0, 7))]
    _, *lines, _ = text.commands(named).data.splitlines()
    places = [re.search(r"/random-(\S+)/(\S+)-seed(\S+)\.json", line).groups() for line in lines]
    assert places == [("{1,2}", "student-alone+4s", "{0,1}"), ("1", "student-alone+4s", "2"), ("2", "teacher", "0")]


def test_the_command_of_a_chosen_channel_names_it():
    chosen = config.resolve("student-pooled", "paper", 0, 7, config.Features(channel=2))
    _, command, _ = text.commands([tiny_record(configuration=chosen)]).data.splitlines()
    assert "/128x128-channel2/" in command
    assert command.endswith("--config corpus=emodb data=data/emodb channel=2")


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
    data = {f"serlib/data/{name}" for name in ("features.py", "audio.py", "inferno_red.csv")}
    assert steps()["images"] == {*data, "serlib/config.py", "serlib/files.py"}
    assert not {"serlib/cli.py", "serlib/flops.py", "serlib/baselines.py", "serlib/data/features.py"} & steps()["train"]


def test_a_changed_recording_is_noticed(tmp_path):
    (tmp_path / "wav").mkdir()
    file = tmp_path / "wav/a.wav"
    file.write_bytes(b"1")
    first = listing(str(tmp_path))
    assert listing(str(tmp_path)) == first
    file.write_bytes(b"22")
    assert listing(str(tmp_path)) != first


def test_a_changed_recording_of_a_table_is_noticed(tmp_path):
    for name in ("a b.WAV", "c.wav", "not-listed.wav"):
        (tmp_path / name).write_bytes(b"1")
    table = tmp_path / "own.CSV"
    table.write_text("path;speaker;emotion\n a b.WAV ;x;joy\nc.wav;y;rage\n")
    first = listing(str(table))
    (tmp_path / "not-listed.wav").write_bytes(b"22")
    assert listing(str(table)) == first
    (tmp_path / "a b.WAV").write_bytes(b"22")
    assert listing(str(table)) != first


NAMES = ("CORPUS", "SCHEDULE", "SEED", "THREADS", "CHANNEL", "CORES", "V")
HOSTILE = (
    "x;touch pwned;x",
    "$(touch pwned)",
    "`touch pwned`",
    "$(shell touch pwned)",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "x&touch pwned|",
    "x\ntouch pwned\n",
    "$$(touch pwned)",
    "\\$(touch pwned) #",
    "{PYTHON} {0} %s",
)
FOLDERS = ("My Papers", "it's", "a & b", "(a) [b] *?", 'say "a"', "`touch pwned`;touch pwned", "#1 100 % é")
SNAKEMAKE = """
import json, pathlib
def parse_args(argv): return None, argv
def args_to_api(argv, parser):
    given = json.loads(pathlib.Path(argv[argv.index("--configfile") + 1]).read_text(encoding="utf-8"))
    asked = {"given": given, "targets": argv[argv.index("--") + 1:], "cores": argv[argv.index("--cores") + 1]}
    pathlib.Path("asked.json").write_text(json.dumps(asked))
    return True
"""


def made_checkout(folder: Path) -> Path:
    """What make needs of a checkout, "installed", with stand-ins for Snakemake, pip and the benchmarks."""
    for name in ("serlib", "companion", "workflow"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name, source in (
        ("snakemake/__init__.py", ""),
        ("snakemake/cli.py", SNAKEMAKE),
        ("benchmarks/cpu.py", "import json, sys; json.dump(sys.argv[1:], open('bench.json', 'w'))"),
        (
            ".venv/bin/python",
            f'#!/bin/sh\ncase "$2" in (pip) echo "$@" >> pip.txt;; (*) exec {sys.executable} "$@";; esac\n',
        ),
        (".venv/installed", ""),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    (folder / ".venv/bin/python").chmod(0o755)
    return folder


@pytest.fixture
def stand_in(tmp_path) -> Path:
    return made_checkout(tmp_path / "checkout")


def make(folder: Path, target: str = "book", by: str = "argument", **given: str) -> subprocess.CompletedProcess:
    """Make called for real, its variables given as arguments or by the environment."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | {"PYTHONPATH": str(folder)}
    arguments = [f"{name}={value}" for name, value in given.items()] if by == "argument" else []
    environment |= {} if arguments else given
    command = ("make", "--no-print-directory", target, *arguments)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def complaint(result: subprocess.CompletedProcess) -> str:
    """The one line that a refused call says, beside make's own."""
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0
    assert not result.stdout
    return line


@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_make_is_refused_and_never_executed(stand_in, name, by):
    for value in HOSTILE:
        others = {"CORPUS": "emodb", "DATA": "."} if name == "SCHEDULE" else {}
        said = complaint(make(stand_in, by=by, **{name: value}, **others))
        assert re.match(rf"serlib: {name}=.* (a name is made of|is no whole number|is neither)", said)
    assert not list(stand_in.rglob("*pwned*"))
    assert not (stand_in / "asked.json").exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_folder_of_any_name_reaches_the_graph_as_it_is(stand_in, by):
    for value in (*filter(str.isprintable, HOSTILE), *FOLDERS):
        (stand_in / value).mkdir()
        result = make(stand_in, by=by, CORPUS="emodb", DATA=value)
        assert result.returncode == 0, result.stderr
        asked = json.loads((stand_in / "asked.json").read_text())
        assert asked == {"given": {"corpus": "emodb", "data": value}, "targets": ["book"], "cores": "all"}
    assert complaint(make(stand_in, by=by, CORPUS="emodb", DATA="a\nb")).startswith("serlib: DATA=")
    assert (
        complaint(make(stand_in, by=by, CORPUS="emodb", DATA="$(nope)"))
        == "serlib: DATA=$(nope): no such file or folder"
    )
    assert not [path for path in stand_in.rglob("*pwned*") if path.name == "pwned"]


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_name_of_digits_is_a_name(stand_in, by):
    (stand_in / "own.CSV").touch()
    for name in ("2024_05", "1e3", "0x10", "true", "null"):
        result = make(stand_in, by=by, CORPUS=name, DATA="own.CSV", SEED="7", CORES="3", THREADS="2")
        assert result.returncode == 0, result.stderr
        asked = json.loads((stand_in / "asked.json").read_text())
        assert asked["given"] == {"corpus": name, "data": "own.CSV", "seed": 7, "threads": 2}
        assert asked["cores"] == "3"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkout_in_a_folder_of_any_name_works(tmp_path, name):
    folder = made_checkout(tmp_path / name)
    result = make(folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"The book: {folder}/_build/html/index.html\n"
    assert not [path for path in tmp_path.rglob("*pwned*") if path.name == "pwned"]


def test_no_path_or_name_goes_to_a_shell_unquoted():
    graph = (ROOT / "Snakefile").read_text(encoding="utf-8")
    shells = re.findall(r"^    shell:(.*?)(?=^    \w|^\S|\Z)", graph, re.MULTILINE | re.DOTALL)
    filled = re.findall(r"(?<!\{)\{([A-Za-z_.]+)(:q)?\}", "".join(shells))
    assert len(shells) == 9
    assert {name for name, quoted in filled if not quoted} == {"threads", "params.channel"}  # numbers
    assert len(filled) > 30


def test_the_graph_itself_works_there(tmp_path):
    folder = made_checkout(tmp_path / "My 'Papers' (a & b) \"[c]\"")
    shutil.rmtree(folder / "snakemake")
    shutil.copy(ROOT / "Snakefile", folder)
    tiny_emodb(folder / HOSTILE[0] / "it's {a} $(b)")
    environment = os.environ | {"PYTHONPATH": str(folder), "CORPUS": "emodb", "DATA": f"{HOSTILE[0]}/it's {{a}} $(b)"}
    command = (sys.executable, "-m", "workflow.run", "build/recordings/emodb/corpus.csv")
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr == "[1/1] checking the recordings: emodb\n"
    assert "10 utterances" in (folder / "build/logs/recordings-emodb.log").read_text()
    assert not [path for path in folder.rglob("*pwned*") if path.name == "pwned"]
    shutil.rmtree(folder / "build")
    shutil.rmtree(folder / HOSTILE[0] / "it's {a} $(b)/wav", ignore_errors=True)
    failed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert failed.returncode == 1
    _, line = failed.stderr.splitlines()
    assert line.startswith("checking the recordings: emodb: serlib: ")
    assert line.endswith("(build/logs/recordings-emodb.log)")


@pytest.mark.parametrize("name", ["a$b", "a:b", "{a}", "a\tb"])
def test_a_checkout_where_the_installer_cannot_work_is_refused_before_it_starts(tmp_path, name):
    folder = made_checkout(tmp_path / name)
    (folder / ".venv/installed").unlink()
    assert "its name: rename it" in complaint(make(folder, PYTHON=sys.executable))
    assert not (folder / "pip.txt").exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_goes_to_pip_and_the_benchmarks_is_not_executed(stand_in, by):
    for value in HOSTILE[1:4]:
        (stand_in / ".venv/installed").unlink()
        assert make(stand_in, by=by, PYTHON=sys.executable, PIP_ARGS=value).returncode == 0
        assert value in (stand_in / "pip.txt").read_text()
        assert make(stand_in, "bench", by=by, BENCH=f"--data 'My Papers' {value}").returncode == 0
        assert json.loads((stand_in / "bench.json").read_text()) == ["--data", "My Papers", *value.split()]
        (stand_in / ".venv/installed").unlink()
        assert make(stand_in, by=by, PYTHON=value).returncode != 0
        (stand_in / ".venv/installed").touch()
    assert not (stand_in / "pwned").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SCHEDULE": "nope"}, "SCHEDULE=nope is none of paper, "),
        (
            {"CORPUS": "nope", "DATA": "."},
            "CORPUS=nope is none of savee, emodb, crema-d; for your own, give DATA=table.csv",
        ),
        ({"SEED": "1.5"}, "SEED='1.5' is no whole number from 0 to 4294967295"),
        ({"SEED": "4294967296"}, "SEED='4294967296' is no whole number from 0 to 4294967295"),
        ({"SEED": "-1"}, "SEED='-1' is no whole number"),
        ({"THREADS": "0"}, "THREADS='0' is no whole number from 1 to 256"),
        ({"CHANNEL": "left"}, "CHANNEL='left' is no whole number from 0 to 255"),
        ({"CORES": "0"}, "CORES='0' is no whole number from 1 to 4096"),
        ({"CORPUS": "EmoDB", "DATA": "requirements.lock.csv"}, "CORPUS=EmoDB: a table of your own cannot be called so"),
        ({"CORPUS": "x" * 101}, f"CORPUS={'x' * 101!r}: a name is made of at most 100 letters"),
        ({"CORPUS": "emodb", "DATA": "/dev/null"}, "DATA=/dev/null: not a folder"),
        ({"SHCEDULE": "short"}, "SHCEDULE is none of the variables CORPUS, DATA, "),
        ({"PRECISION": "$(touch pwned)"}, "PRECISION is none of the variables CORPUS, DATA, "),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_installed(stand_in, given, message):
    (stand_in / ".venv/installed").unlink()
    (stand_in / "requirements.lock.csv").touch()
    assert complaint(make(stand_in, PYTHON=sys.executable, **given)).startswith(f"serlib: {message}")
    assert not (stand_in / "pip.txt").exists()


def test_only_records_are_kept(tmp_path, monkeypatch):
    from workflow.run import keep

    monkeypatch.chdir(tmp_path)
    place = Path("build/runs/recordings/emodb")
    place.mkdir(parents=True)
    for name in ("a.json", "a.safetensors", ".a.state"):
        (place / name).touch()
    keep()
    assert [path.name for path in Path("results").rglob("*") if path.is_file()] == ["a.json"]


@pytest.mark.parametrize("value", [2024, 1e3, True, None, ["a"], {"a": "b"}, float("inf"), float("nan"), "x;y", "1_0"])
@pytest.mark.parametrize("name", ["corpus", "data", "schedule", "seed", "threads", "channel"])
def test_a_setting_of_any_shape_is_taken_or_refused_in_one_line(capsys, name, value):
    if value is None or (name == "seed" and value == 2024):
        assert settings({name: value}) == (Settings(seed=2024) if value else Settings())
        return
    with pytest.raises(SystemExit):
        settings({name: value})
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_setting_is_named(capsys):
    with pytest.raises(SystemExit):
        settings({"corpsu": "emodb"})
    assert "corpsu is none of the settings corpus, data, schedule, seed, threads, channel" in capsys.readouterr().err


def marked() -> list[psutil.Process]:
    """Processes that a guarded build started."""
    found = psutil.process_iter(["environ", "cmdline"])
    return [p for p in found if MARK in (p.info["environ"] or {}) and "serlib-sleeps" in p.info["cmdline"]]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("whom", ["build", "make"])
def test_nothing_goes_on_after_a_kill(whom, end):
    """Killed itself, or killed what started it, a build leaves no step computing."""
    step = "import time; time.sleep(600)', 'serlib-sleeps"
    build = (
        "import os, subprocess, sys, threading; from workflow.graph import guard; from workflow.run import end_with; "
        "threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start(); guard(); "
        f"subprocess.run(['bash', '-c', '\"$@\"; true', '-', sys.executable, '-c', '{step}'])"
    )
    make = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {build!r}])"
    command = build if whom == "build" else make
    with subprocess.Popen((sys.executable, "-c", command), cwd=ROOT) as process:
        wait_until(marked)
        process.send_signal(end)
        process.wait()
        wait_until(lambda: not marked())


def wait_until(true) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("not within 30 s")


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


@pytest.mark.parametrize(
    ("module", "data"),
    [
        ("serlib/data/facts.py", "serlib/data/facts.toml"),
        ("serlib/data/synthetic.py", "serlib/data/synthetic.toml"),
        ("serlib/data/features.py", "serlib/data/inferno_red.csv"),
        ("companion/prose.py", "companion/paper.toml"),
        ("companion/prose.py", "companion/settings.toml"),
    ],
)
def test_a_step_depends_on_the_data_beside_its_modules(module, data):
    assert data in code(module)
