"""The graph: what is up to date is left alone, what is touched is followed by what depends on it and nothing else."""

import ast
import errno
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from companion import experiments, node, text
from serlib import config
from tests.helpers import dry_runs, jobs, resolved, sent, tiny_emodb, tiny_record, watched
from workflow import graph, run
from workflow.graph import MARK, Settings, code, listing, settings
from workflow.stage import repository

ROOT = Path(__file__).parents[1]
built = pytest.mark.skipif(not (ROOT / "_build/html/index.html").exists(), reason="no book is built: make book")


CHANGES = {
    "nothing": (),
    "notebook": ("notebooks/fig5_student.ipynb",),
    "prose": ("book/index.md",),
    "model": ("serlib/model.py",),
    "features": ("serlib/data/features.py",),
    "deleted": (),
    "telling": tuple(f"companion/{name}.py" for name in ("paper", "claims", "figures", "prose")),
}


def planned(tmp_path_factory) -> dict[str, set[str]]:
    """What a build would do after each of the changes: the messages of its jobs. Nothing is built."""
    cases = []
    for name, changed in CHANGES.items():
        folder = tmp_path_factory.mktemp(name)
        for source in ("serlib", "studies", "companion", "notebooks", "book", "docs", "workflow"):
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        for source in ("Snakefile", "_config.yml", "Makefile", "requirements.lock", "CITATION.cff", "CITATION.bib"):
            shutil.copy2(ROOT / source, folder / source)
        shutil.copytree(ROOT / ".snakemake/metadata", folder / ".snakemake/metadata")
        for source in ("build", "_build", "results", "weights", "benchmarks"):
            (folder / source).symlink_to(ROOT / source)
        for file in changed:
            with (folder / file).open("a", encoding="utf-8") as text:
                text.write("\n")
        if name == "deleted":
            (folder / "build").unlink()
            shutil.copytree(ROOT / "build", folder / "build", copy_function=os.link)
            (folder / "build/book/notebooks/fig5_student.ipynb").unlink()
            next((folder / "build/runs").rglob("student-pooled-seed0.safetensors")).unlink()
        cases.append((folder, ("--", "book")))
    found = dry_runs(tmp_path_factory.mktemp("said"), *cases)
    assert [status for status, _ in found] == [0] * len(cases), found
    return {name: jobs(said) for name, (_, said) in zip(CHANGES, found, strict=True)}


RUNS, FOLDS, SEEDS = ("student-pooled", "student-alone+deltas"), (3, 1), (0, 2)
EXPERIMENTS = experiments.experiments_of("emodb")


def plans(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """What Snakemake plans for recordings, by the name of the request: its exit status and its words."""
    data = tiny_emodb(tmp_path_factory.mktemp("recordings") / "data/emodb")
    named = [
        tiny_record(fold=fold, protocol="leave-one-speaker-out", configuration=resolved(run, "paper-bf16", seed, 7))
        for run in RUNS
        for fold in FOLDS
        for seed in SEEDS
    ]
    fence, command, _ = text.commands(node.runs(named)).data.splitlines()
    assert fence == "```bash"
    program, *rest = command.replace("data=data/", f"data={data.parent}/").split(" ")
    assert program == ".venv/bin/snakemake"
    shell = subprocess.run(["/bin/bash", "-c", f"echo {' '.join(rest)}"], capture_output=True, text=True, check=True)
    given = ("--config", "corpus=emodb", f"data={data}")
    cases = {
        "wrong": ("--config", "corpus=emodb", "schedule=long", "data=."),
        "experiments": (*given, "--", *(f"evidence_{number}" for number, _ in enumerate(EXPERIMENTS, 1))),
        "channel": ("--printshellcmds", *given, "channel=2", "--", "book", "evidence_1"),
        "command": ("--printshellcmds", *shell.stdout.split()),
    }
    found = dry_runs(tmp_path_factory.mktemp("said"), *((ROOT, arguments) for arguments in cases.values()))
    return dict(zip(cases, found, strict=True))


@built
def test_a_change_is_followed_by_what_depends_on_it_and_by_nothing_else(tmp_path_factory):
    """One test, so that one worker plans them all."""
    found = planned(tmp_path_factory)
    kinds = {name: {job.split(":")[0] for job in of} for name, of in found.items()}
    assert found["nothing"] == set()
    assert found["notebook"] == {"notebook fig5_student", "rendering the book"}
    gone = {"notebook fig5_student", "training student-pooled"}
    assert kinds["deleted"] == gone | {"probing student-pooled", "notebook this_build", "rendering the book"}
    assert found["prose"] == {"rendering the book"}
    assert "training teacher" in kinds["model"]
    assert not kinds["model"] & {"synthetic speech", "log-Mel images"}
    assert {"notebook fig4_teacher", "notebook flops_vs_accuracy", "rendering the book"} <= found["model"]
    assert "rendering the book" in found["telling"]  # and no record is made anew
    tables = {"the evidence", "the table of predictions, described for machines"}
    assert {kind.split()[0] for kind in kinds["telling"] - tables} <= {"notebook", "rendering"}
    assert "log-Mel images: emodb" in found["features"]
    assert "synthetic speech" not in kinds["features"]


def test_the_pages_depend_on_every_module_of_the_telling():
    """A change of any one of them renders the book, as the last test shows of all together."""
    assert set(CHANGES["telling"]) <= set(code("workflow/stage.py"))


def test_what_is_planned_for_recordings(tmp_path_factory):
    """A wrong setting is one line; every experiment can be planned; the chosen channel reaches every step; the command named
    beside a number makes its records."""
    found = plans(tmp_path_factory)
    status, said = found.pop("wrong")
    assert status != 0
    (line,) = [line for line in said.splitlines() if not line.startswith("Using workflow specific profile")]
    assert "SCHEDULE=long is none of paper, " in line
    assert {name: said for name, (status, said) in found.items() if status} == {}

    said = found["experiments"][1]
    assert {f"evidence, emodb: {experiment.title}" for experiment in EXPERIMENTS} <= jobs(said)
    committed = ROOT / "results/recordings/emodb/128x128/baseline/random-0/majority-seed0.json"
    assert committed.exists()
    assert "baseline majority: emodb (recordings), random-0" not in jobs(said)  # what is committed is not made anew

    said = found["channel"][1]
    assert "baseline majority: emodb (recordings), leave-one-speaker-out-0" in jobs(said)
    assert re.search(r"-m serlib corpora emodb .* --channel 2 --table", said)
    assert set(re.findall(r"build/(?:runs|probes)/recordings/emodb/([^/]+)/", said)) == {"128x128-channel2"}
    assert set(re.findall(r"--image-width (\S+)", said)) == {"128"}

    said = found["command"][1]
    trained = {job.removeprefix("training ") for job in jobs(said) if job.startswith("training ")}
    cells = [
        f"emodb (recordings), leave-one-speaker-out-{fold}, seed {seed}" for fold in sorted(FOLDS) for seed in SEEDS
    ]
    assert trained == {f"{run}: {cell}" for run in ("teacher", *RUNS) for cell in cells}
    assert said.count("--image-width 128 --schedule paper-bf16") == 12


def test_runs_and_seeds_with_other_folds_have_a_command_of_their_own():
    runs = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]  # fold, seed
    named = [
        tiny_record(fold=fold, configuration=resolved("student-alone+deltas", "paper", seed, 7)) for fold, seed in runs
    ]
    named += [tiny_record(fold=2, configuration=config.resolve("teacher", "paper", 0, 7))]
    _, *lines, _ = text.commands(node.runs(named)).data.splitlines()
    steps = "student-alone+deltas"
    places = [re.search(r"/random-(\S+)/(\S+)-seed(\S+)\.json", line).groups() for line in lines]
    assert places == [("{1,2}", steps, "{0,1}"), ("1", steps, "2"), ("2", "teacher", "0")]


def test_the_command_of_a_chosen_channel_names_it():
    chosen = config.resolve("student-pooled", "paper", 0, 7, config.Features(channel=2))
    _, command, _ = text.commands(node.runs([tiny_record(configuration=chosen)])).data.splitlines()
    assert "/128x128-channel2/" in command
    assert command.endswith("--config corpus=emodb data=data/emodb channel=2")


def steps() -> dict[str, set[str]]:
    """The code that each rule of the method depends on, by the rule's name."""
    rules = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", (ROOT / "Snakefile").read_text(), re.MULTILINE | re.DOTALL)
    named = {
        name: re.search(r"code\((.*?)\)", text)
        for name, text in rules
        if re.search(r"-m (serlib|studies|{params.package})", text)
    }
    return {name: set(code(*ast.literal_eval(f"({found[1]},)"))) for name, found in named.items() if found}


def test_no_step_of_the_method_depends_on_the_telling(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert steps().keys() == {"synthesize", "check", "images", "train", "baseline", "probe"}
    speech = {"workflow/synthetic.py", "workflow/synthetic.toml"}
    for name, files in steps().items():
        assert not {file for file in files - speech if not file.startswith(("serlib/", "studies/"))}, name
    assert not {
        file for name in ("synthesize", "check", "images", "train") for file in steps()[name] if "studies" in file
    }


def test_a_step_depends_on_what_its_functions_import(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert {"serlib/training.py", "serlib/losses.py", "studies/speaker_norm.py"} <= steps()["baseline"]
    assert {"serlib/model.py", "serlib/losses.py", "serlib/data/splits.py"} <= steps()["train"]
    for figure in ("fig3_coordinates", "attention_maps"):
        assert {"serlib/flops.py", "companion/paper.py"} <= set(code(f"notebooks/{figure}.ipynb"))


def test_a_step_depends_on_nothing_else(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert code("serlib/losses.py") == ["serlib/losses.py"]
    data = {f"serlib/data/{name}" for name in ("features.py", "audio.py", "inferno_red.csv")}
    assert steps()["images"] == {
        *data,
        *(f"serlib/{name}.py" for name in ("config", "errors", "files", "engine/plain")),
    }
    assert (
        not {"serlib/cli.py", "serlib/flops.py", "studies/baselines.py", "serlib/data/features.py"} & steps()["train"]
    )


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


def test_a_change_of_a_table_that_cannot_be_read_is_noticed(tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("no table\n")
    first = listing(str(table))
    table.write_text("no table either\n")
    assert listing(str(table)) != first


def test_a_second_build_of_a_folder_is_refused_and_so_is_a_folder_without_a_place_for_its_lock(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # free again once the first has ended
        with graph.lock(), pytest.raises(SystemExit), graph.lock():
            pass
        assert "another build is at work in this folder" in capsys.readouterr().err
    shutil.rmtree(".snakemake")
    Path(".snakemake").touch()
    with pytest.raises(SystemExit), graph.lock():
        pass
    assert capsys.readouterr().err == "serlib: .snakemake: File exists: a build writes into its folder\n"


def test_where_the_file_system_has_no_locks_a_build_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with graph.lock():
        Path("built").touch()
    assert Path("built").exists()


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
    for name in ("serlib", "studies", "companion", "workflow", "notebooks"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name, source in (
        ("snakemake/__init__.py", ""),
        ("snakemake/cli.py", SNAKEMAKE),
        ("benchmarks/__init__.py", ""),
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


@pytest.fixture
def called(stand_in, monkeypatch):
    """``called(action, NAME=value, ...)`` does in this process what make starts, there and beside the stand-ins."""
    monkeypatch.chdir(stand_in)
    monkeypatch.setattr(run, "end_with", lambda parent: None)
    for name in (*run.GRAPH, *run.OTHERS, "MAKEFLAGS"):
        monkeypatch.delenv(name, raising=False)

    def call(action: str = "book", **given: str) -> None:
        with monkeypatch.context() as patch:
            for name in ("snakemake", "snakemake.cli"):
                source = stand_in / f"{name.replace('.', '/')}{'/__init__' if name == 'snakemake' else ''}.py"
                spec = importlib.util.spec_from_file_location(name, source)
                patch.setitem(sys.modules, name, importlib.util.module_from_spec(spec))
                spec.loader.exec_module(sys.modules[name])
            sys.modules["snakemake"].cli = sys.modules["snakemake.cli"]
            for name, value in {"V": "", **given}.items():
                patch.setenv(name, value)
            run.main(action)

    return call


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
def test_a_value_reaches_python_as_it_was_typed(stand_in, by):
    """Neither make nor a shell reads the value of any variable."""
    given = run.GRAPH + run.OTHERS
    tell = f"import json, os; print(json.dumps([os.environ[name] for name in {given}]))"
    (stand_in / ".venv/bin/python").write_text(f"#!/bin/sh\nexec {sys.executable} -c {shlex.quote(tell)}\n")
    for value in (*HOSTILE, *FOLDERS):
        result = make(stand_in, by=by, **dict.fromkeys(given, value))
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == [value] * len(given)
    assert not list(stand_in.rglob("*pwned*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_make_is_refused(called, capsys, name):
    for value in HOSTILE:
        others = {"CORPUS": "emodb", "DATA": "."} if name == "SCHEDULE" else {}
        with pytest.raises(SystemExit):
            called(**{name: value}, **others)
        (line,) = capsys.readouterr().err.splitlines()
        assert re.match(rf"serlib: {name}=.* (a name is made of|is no whole number|is neither)", line)
    assert not list(Path().rglob("*pwned*"))
    assert not Path("asked.json").exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_make_ends_with_what_python_refuses(stand_in, by):
    assert complaint(make(stand_in, by=by, CORPUS="emodb", DATA="a\nb")).startswith("serlib: DATA=")
    assert complaint(make(stand_in, by=by, CORPUS=HOSTILE[1])).startswith(f"serlib: CORPUS={HOSTILE[1]!r}: a name is")
    assert not (stand_in / "asked.json").exists()
    (stand_in / HOSTILE[5]).mkdir()
    result = make(stand_in, by=by, CORPUS="emodb", DATA=HOSTILE[5])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"The book: {stand_in}/_build/html/index.html\n"
    assert json.loads((stand_in / "asked.json").read_text())["given"] == {"corpus": "emodb", "data": HOSTILE[5]}
    assert [path.name for path in stand_in.rglob("*pwned*")] == [HOSTILE[5]]


def test_a_folder_of_any_name_reaches_the_graph_as_it_is(called, capsys):
    for value in (*filter(str.isprintable, HOSTILE), *FOLDERS):
        Path(value).mkdir()
        called(CORPUS="emodb", DATA=value)
        asked = json.loads(Path("asked.json").read_text())
        assert asked == {"given": {"corpus": "emodb", "data": value}, "targets": ["book"], "cores": "all"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        called(CORPUS="emodb", DATA="$(nope)")
    assert capsys.readouterr().err == "serlib: DATA=$(nope): no such file or folder\n"
    assert not [path for path in Path().rglob("*pwned*") if path.name == "pwned"]


def test_a_name_of_digits_is_a_name(called):
    Path("own.CSV").touch()
    for name in ("2024_05", "1e3", "0x10", "true", "null"):
        called(CORPUS=name, DATA="own.CSV", SEED="7", CORES="3", THREADS="2")
        asked = json.loads(Path("asked.json").read_text())
        assert asked["given"] == {"corpus": name, "data": "own.CSV", "seed": 7, "threads": 2}
        assert asked["cores"] == "3"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkout_in_a_folder_of_any_name_works(tmp_path, name):
    folder = made_checkout(tmp_path / name)
    (folder / ".venv/bin/python").write_text('#!/bin/sh\npwd\necho "$@"\n')
    result = make(folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{folder}\n-m workflow.run book\n"
    assert not [path for path in tmp_path.rglob("*pwned*") if path.name == "pwned"]


def test_no_path_or_name_goes_to_a_shell_unquoted():
    graph = (ROOT / "Snakefile").read_text(encoding="utf-8")
    shells = re.findall(r"^    shell:(.*?)(?=^    \w|^\S|\Z)", graph, re.MULTILINE | re.DOTALL)
    filled = re.findall(r"(?<!\{)\{([A-Za-z_.]+)(:q)?\}", "".join(shells))
    assert len(shells) == 11
    assert {name for name, quoted in filled if not quoted} == {
        *("threads", "params.channel"),  # numbers
        *("params.package", "params.read"),  # a name of the Snakefile, a digest
    }
    assert len(filled) > 30


def test_the_graph_itself_works_there(tmp_path):
    folder = made_checkout(tmp_path / "My 'Papers' (a & b) \"[c]\"")
    shutil.rmtree(folder / "snakemake")
    for name in ("Snakefile", "_config.yml", "CITATION.bib", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    tiny_emodb(folder / HOSTILE[0] / "it's {a} $(b)")
    environment = os.environ | {"PYTHONPATH": str(folder), "CORPUS": "emodb", "DATA": f"{HOSTILE[0]}/it's {{a}} $(b)"}
    command = (sys.executable, "-m", "workflow.run", "build/recordings/emodb/corpus.json")
    traced = watched(tmp_path / "log", *command)
    result = subprocess.run(traced, cwd=folder, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert sent(tmp_path / "log") == []
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


def test_a_checkout_where_the_installer_cannot_work_is_refused_before_it_starts(tmp_path, monkeypatch, capsys):
    for name in ("a$b", "a:b", "{a}", "a\tb"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with pytest.raises(SystemExit):
            run.check({})
        assert "its name: rename it" in capsys.readouterr().err
    folder = made_checkout(tmp_path / "c$d")
    (folder / ".venv/installed").unlink()
    assert "its name: rename it" in complaint(make(folder, PYTHON=sys.executable))
    assert not (folder / "pip.txt").exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_goes_to_pip_and_the_benchmarks_is_not_executed(stand_in, by):
    value = " ".join(HOSTILE[1:4])
    (stand_in / ".venv/installed").unlink()
    assert make(stand_in, by=by, PYTHON=sys.executable, PIP_ARGS=value).returncode == 0
    assert value in (stand_in / "pip.txt").read_text()
    assert make(stand_in, "bench", by=by, BENCH=f"--data 'My Papers' {value}").returncode == 0
    assert json.loads((stand_in / "bench.json").read_text()) == ["--data", "My Papers", *value.split()]
    for program in HOSTILE[1:4]:
        (stand_in / ".venv/installed").unlink(missing_ok=True)
        assert make(stand_in, by=by, PYTHON=program).returncode != 0
    assert not (stand_in / "pwned").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SCHEDULE": "nope"}, "SCHEDULE=nope is none of paper, "),
        ({"CORPUS": "emodb"}, "CORPUS=emodb needs DATA=folder of the recordings"),
        ({"DATA": "."}, "DATA is given without CORPUS"),
        ({"CHANNEL": "2"}, "CHANNEL=2 is given without CORPUS"),
        ({"SEED": "4294967296"}, "SEED='4294967296' is no whole number from 0 to 4294967295"),
        ({"SEED": "-1"}, "SEED='-1' is no whole number"),
        ({"CHANNEL": "left"}, "CHANNEL='left' is no whole number from 0 to 255"),
        ({"CORES": "0"}, "CORES='0' is no whole number from 1 to 4096"),
        ({"CORPUS": "EmoDB", "DATA": "requirements.lock.csv"}, "CORPUS=EmoDB: a table of your own cannot be called so"),
        ({"CORPUS": "x" * 101}, f"CORPUS={'x' * 101!r}: a name is made of at most 100 letters"),
        ({"CORPUS": "emodb", "DATA": "/dev/null"}, "DATA=/dev/null: not a folder"),
    ],
)
def test_what_cannot_be_is_said(called, capsys, given, message):
    Path("requirements.lock.csv").touch()
    with pytest.raises(SystemExit):
        called("check", **given)
    assert capsys.readouterr().err.startswith(f"serlib: {message}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SEED": "1.5"}, "SEED='1.5' is no whole number from 0 to 4294967295"),
        ({"SHCEDULE": "short"}, "SHCEDULE is none of the variables CORPUS, DATA, "),
        ({"PRECISION": "$(touch pwned)"}, "PRECISION is none of the variables CORPUS, DATA, "),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_installed(stand_in, given, message):
    (stand_in / ".venv/installed").unlink()
    assert complaint(make(stand_in, PYTHON=sys.executable, **given)).startswith(f"serlib: {message}")
    assert not (stand_in / "pip.txt").exists()


def test_only_records_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path("build/runs/recordings/emodb")
    place.mkdir(parents=True)
    for name in ("a.json", "a.safetensors", ".a.state"):
        (place / name).touch()
    shutil.copytree(place, place.with_name("mine"))  # another corpus
    run.keep("emodb")
    kept = Path("results/recordings/emodb/a.json")
    assert [path for path in Path("results").rglob("*") if path.is_file()] == [kept]
    for asked, content in (({"recordings/emodb/a.json"}, ""), (None, "another")):
        (place / "a.json").write_text("another")
        run.keep("emodb", asked)
        assert kept.read_text() == content
    (place / "trial.json").touch()
    kept.unlink()
    run.keep("emodb", {"recordings/emodb/a.json"})
    assert list(kept.parent.iterdir()) == [kept]


def test_records_on_a_disk_that_takes_none_stay_as_they_were_and_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, content in (("build/runs", "new"), ("results", "old")):
        Path(folder, "recordings/emodb").mkdir(parents=True)
        Path(folder, "recordings/emodb/a.json").write_text(content)

    def fails(source, target):
        Path(target).write_text(content[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("workflow.files.shutil.copyfile", fails)
    with pytest.raises(SystemExit):
        run.keep("emodb")
    kept = "results/recordings/emodb/a.json"
    assert capsys.readouterr().err == f"serlib: {kept}: {os.strerror(errno.ENOSPC)}; what was there before is whole\n"
    assert [str(path) for path in Path("results").rglob("*") if path.is_file()] == [kept]
    assert Path(kept).read_text() == "old"


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
        ("https://name:secret@gitlab.com/group/companion/", "https://gitlab.com/group/companion"),
        ("git@github.com:someone/companion.git", ""),
        ("https://example.org/someone/companion", ""),
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
        ("workflow/synthetic.py", "workflow/synthetic.toml"),
        ("serlib/data/features.py", "serlib/data/inferno_red.csv"),
        ("companion/prose.py", "companion/paper.toml"),
        ("companion/prose.py", "companion/settings.toml"),
        ("companion/prose.py", "companion/names.toml"),
        ("workflow/execute.py", "workflow/card.md"),
    ],
)
def test_a_step_depends_on_the_data_beside_its_modules(module, data):
    assert data in code(module)
