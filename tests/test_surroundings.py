"""Nothing leaks in from around the files, and nothing leaks out: the user's settings, other checkouts, odd machines."""

import getpass
import importlib
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import serlib
from serlib import checkpoints, cli, config
from serlib.engine import command, provenance
from serlib.engine.plain import write_json
from serlib.model import SpectrogramViT
from tests.helpers import sent, watched
from workflow import graph, run

ROOT = Path(__file__).parents[1]


def run_git(folder: Path, *arguments: str | Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(("git", *who, "-C", folder, *arguments), capture_output=True, check=True)


def repository(folder: Path, file: str = "serlib/a.py", origin: str = "https://github.com/someone/other.git") -> Path:
    """A checkout with one commit."""
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("first")
    run_git(folder, "init", "-q", "-b", "main")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "first")
    run_git(folder, "remote", "add", "origin", origin)
    return folder


def unpacked(folder: Path) -> Path:
    (folder / "serlib").mkdir(parents=True)
    (folder / "serlib/a.py").write_text("second")
    return folder


@pytest.mark.parametrize(
    "place", ["beside", "ignored", "committed", "deep", "with a broken .git", "with an empty .git"]
)
def test_of_an_archive_inside_another_checkout_no_commit_is_said(tmp_path, place):
    outer = repository(tmp_path / "outer")
    inner = unpacked(outer / ("a/b/c/companion" if place == "deep" else "companion"))
    if place == "ignored":
        (outer / ".gitignore").write_text("companion/\n")
    elif place == "committed":
        run_git(outer, "add", ".")
        run_git(outer, "commit", "-q", "-m", "second")
    elif place == "with a broken .git":
        (inner / ".git").write_text("gitdir: /nowhere")
    elif place == "with an empty .git":
        (inner / ".git").mkdir()
    assert provenance.commit(inner) == {"commit": "unknown", "dirty": True}
    assert provenance.git(inner, "config", "--local", "--get", "remote.origin.url") is None


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"]
)
def test_what_a_hook_of_another_repository_sets_changes_nothing(tmp_path, monkeypatch, name):
    own, other = repository(tmp_path / "own"), repository(tmp_path / "other", "serlib/b.py")
    said = provenance.commit(own)
    assert re.fullmatch("[0-9a-f]{40}", said["commit"])
    assert not said["dirty"]
    path = {
        "GIT_WORK_TREE": other,
        "GIT_INDEX_FILE": other / ".git/index",
        "GIT_OBJECT_DIRECTORY": other / ".git/objects",
    }
    monkeypatch.setenv(name, str(path.get(name, other / ".git")))
    assert provenance.commit(own) == said


def test_a_checkout_of_any_kind_says_its_own_commit(tmp_path):
    """A link to it, a second work tree, a submodule; its name ends in a space."""
    own = repository(tmp_path / "own ")
    said = provenance.commit(own)
    (tmp_path / "link").symlink_to(own)
    assert provenance.commit(tmp_path / "link") == said
    run_git(own, "worktree", "add", "-q", tmp_path / "second")
    assert provenance.commit(tmp_path / "second") == said
    outer = repository(tmp_path / "outer")
    run_git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", own, "companion")
    assert provenance.commit(outer / "companion") == said
    (outer / "companion/serlib/new.py").touch()
    assert provenance.commit(outer / "companion") == said | {"dirty": True}


def test_the_users_settings_of_git_change_nothing(tmp_path, monkeypatch):
    own, home = repository(tmp_path / "own"), tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/ignore").write_text("data/\n*.new.py\n")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    settings = '[url "git@github.com:"]\n\tinsteadOf = https://github.com/\n[status]\n\tshowUntrackedFiles = no\n'
    (home / ".gitconfig").write_text(settings + "[color]\n\tui = always\n")
    assert (
        provenance.git(own, "config", "--local", "--get", "remote.origin.url") == "https://github.com/someone/other.git"
    )
    (own / "serlib/a.py").chmod(0o755)
    (own / "README.md").touch()
    assert not provenance.commit(own)["dirty"]
    (own / "serlib/a.new.py").touch()
    assert provenance.commit(own)["dirty"]
    (own / "serlib/a.new.py").unlink()
    (own / "serlib/a.py").write_text("second")
    assert provenance.commit(own)["dirty"]


@pytest.mark.parametrize("how", ["--assume-unchanged", "--skip-worktree", ".git/info/exclude", ".gitignore"])
def test_what_git_was_told_not_to_look_at_is_seen(tmp_path, how):
    own = repository(tmp_path / "own")
    (own / "serlib/__pycache__").mkdir()
    (own / "serlib/__pycache__/a.pyc").touch()
    (own / ".git/info/exclude").write_text("__pycache__\n")
    assert not provenance.commit(own)["dirty"]
    if how.startswith("--"):
        run_git(own, "update-index", how, "serlib/a.py")
        (own / "serlib/a.py").write_text("second")
    else:
        (own / how).write_text("__pycache__\nserlib/b.py\n")
        (own / "serlib/b.py").touch()
    assert provenance.commit(own)["dirty"]


def test_of_a_user_without_a_name_libraries_find_one(monkeypatch):
    """As in a container that runs as a number: torch names a folder after the user."""

    def no_entry(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    importlib.reload(serlib)
    assert getpass.getuser() == "serlib"
    monkeypatch.delenv("LOGNAME")


SNAKEFILE = """
from workflow.graph import guard
guard()
rule runs:
    output: "out"
    log: "log"
    shell: "env | grep '^PYTHON' > {log}; echo > seen; sleep 600 > {output}"
"""


def said(process: subprocess.Popen, pattern: str) -> None:
    """Read what a process writes until a line matches."""
    for line in process.stderr:
        if re.search(pattern, line):
            return
    pytest.fail(f"nothing like {pattern!r} was said")


def test_a_second_build_and_an_interrupted_one_say_one_line(tmp_path):
    """Nothing is left outside; a profile for another workflow, which the environment names, is not taken."""
    here, environment = surroundings(tmp_path)
    (here / "workflow").symlink_to(ROOT / "workflow")
    (here / "Snakefile").write_text(SNAKEFILE)
    given = {"SNAKEMAKE_PROFILE": "nosuch", "MAKEFLAGS": "", "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "latin-1"}
    options = {"cwd": here, "env": environment | given, "text": True, "stderr": subprocess.PIPE}
    command = (sys.executable, "-m", "workflow.run", "runs")
    with subprocess.Popen(command, start_new_session=True, **options) as first:
        said(first, "1/1")
        while not (here / "seen").exists():
            time.sleep(0.05)
        assert (here / "log").read_text() == f"PYTHONPATH={ROOT}\n"
        second = subprocess.run(command, **options)
        assert (second.returncode, second.stderr) == (
            1,
            "serlib: another build is at work in this folder: wait until it ends\n",
        )
        os.killpg(first.pid, signal.SIGINT)
        assert first.stderr.read() == "serlib: interrupted; the same command goes on where this one stopped\n"
        assert first.wait() == run.INTERRUPTED
    assert left(tmp_path) == set()


def test_make_passes_on_no_setting_of_the_users_python(tmp_path):
    """PYTHONINSPECT would wait for input, PYTHONOPTIMIZE take the words of the help."""
    (tmp_path / "Makefile").write_text(f"include {ROOT}/Makefile\nshow:\n\t@env\n")
    names = ("PYTHONPATH", "PYTHONHOME", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONUTF8", "PYTHONNEW")
    given = os.environ | dict.fromkeys(names, "1") | {"PYTHON": "python3"}
    done = subprocess.run(("make", "-C", tmp_path, "show"), env=given, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("PYTHON")] == ["PYTHON=python3"]


def surroundings(folder: Path) -> tuple[Path, dict[str, str]]:
    """A folder to work in, and the environment of a user with a home and a folder for temporary files of their own."""
    here, home, temporary = (folder / name for name in ("here", "home", "tmp"))
    for each in (here, home, temporary):
        each.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "MPL"))}
    return here, kept | {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}


def left(folder: Path) -> set[Path]:
    """The files outside the folder to work in, without matplotlib's list of the fonts."""
    found = {path.relative_to(folder) for name in ("home", "tmp") for path in (folder / name).rglob("*")}
    return {path for path in found if (folder / path).is_file() and "matplotlib" not in path.parts}


def test_a_lock_that_a_killed_build_left_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hold = "from workflow.graph import lock; import time\nwith lock(): print(flush=True); time.sleep(600)"
    with subprocess.Popen(
        (sys.executable, "-c", hold), stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ROOT}
    ) as process:
        process.stdout.readline()
        with pytest.raises(SystemExit), graph.lock():
            pass
        process.kill()
        process.wait()
        with graph.lock():
            pass


@pytest.mark.parametrize("folder", [".", "build", "_build", ".snakemake"])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch, capsys, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    with pytest.raises(SystemExit):
        run.check({})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"serlib: {(tmp_path / folder).resolve()} cannot be written to")


def test_a_line_of_snakemake_that_ends_a_build_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "PROFILE", ("--profile", "nosuch"))
    with pytest.raises(SystemExit):
        run.graph("book", chosen={}, cores="1")
    assert "profile" in capsys.readouterr().err


@pytest.mark.parametrize("when", [0, 1, None], ids=["older", "the same time", "now"])
def test_contents_decide_and_times_do_not(tmp_path, when):
    file = tmp_path / "a.py"
    file.write_text("first")
    first, at = graph.digest([str(file)]), file.stat().st_mtime_ns
    times = {0: {"ns": (0, 0)}, 1: {"ns": (at, at)}, None: {}}[when]
    os.utime(file, **times)
    assert graph.digest([str(file)]) == first
    file.write_text("other")  # as long
    os.utime(file, **times)
    assert graph.digest([str(file)]) != first
    file.write_text("first")
    assert graph.digest([str(file)]) == first


@pytest.mark.parametrize("how", ["changed", "emptied", "deleted", "no longer known", "left alone", "one more"])
def test_a_book_that_is_not_as_it_was_made_is_made_anew(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    run.forget_changed()  # nothing was made
    (run.HTML / "data").mkdir(parents=True)
    pages = [run.HTML / name for name in ("index.html", "page.html", "data/croissant.json")]
    for path in (*pages, run.RENDERED):
        path.write_text("made")
    write_json(run.book_files(), run.MADE)
    if how == "deleted":
        pages[1].unlink()
    elif how != "left alone":
        of = {"no longer known": run.MADE, "one more": run.HTML / "data/own.csv"}
        of.get(how, pages[1]).write_text("" if how == "emptied" else "mode")
    os.utime(run.HTML)
    run.forget_changed()
    assert run.RENDERED.exists() == pages[0].exists() == pages[2].exists() == (how in ("left alone", "one more"))


def test_no_step_of_the_graph_has_a_source_for_an_input():
    """Inputs are compared by their times; what a step reads of the checkout is a digest among its parameters."""
    rules = re.split(r"^rule ", (ROOT / "Snakefile").read_text(), flags=re.MULTILINE)[1:]
    inputs = {rule.partition(":")[0]: re.search(r"^    input:(.*?)^    \S", rule, re.M | re.S) for rule in rules}
    sources = r"code\(|notebooks/|PROSE|COMMITTED|EXAMPLES|WEIGHTS|BENCHMARKS|Path\(|_config"
    assert {name for name, found in inputs.items() if found and re.search(sources, found[1])} == set()
    reading = {
        rule.partition(":")[0] for rule in rules if re.search(r"^        read=|read=(digest|read_by)", rule, re.M)
    }
    assert (
        "glob" not in (ROOT / "Snakefile").read_text()
    )  # what editors, Jupyter and systems hide beside the files is none of them
    assert reading == {rule.partition(":")[0] for rule in rules if "    shell:" in rule}


COMMANDS = """
import os, sys
from dataclasses import replace
from pathlib import Path
from tests.helpers import tiny_emodb, tiny_record
import serlib
from serlib import cli, config, records
from companion import __main__ as companion
from studies import __main__ as studies
from workflow import export
import torch

torch.set_num_threads(1)
sizes = {"width": 8, "depth": 1, "heads": 1, "head_width": 8, "mlp_width": 8, "stem": ()}
small = replace(config.RUNS["student-alone"].model, **sizes)
config.RUNS["student-alone"] = replace(config.RUNS["student-alone"], model=small)
tiny_emodb(Path("data"), texts=("a01", "a02"))
run = "build/runs/recordings/emodb/128x128/synthetic-1-epochs/random-0/student-alone-seed0"
of = "emodb --data data --table table.csv"
for line in (
    f"corpora {of}", f"features {of}", f"train {of} --run student-alone --schedule synthetic --epochs 1",
    "evaluate build/runs",
    f"predict data/wav/03a01Wa.wav --weights {run}.safetensors", "flops student-alone", f"audit {of}",
):
    assert cli.main(line.split()) == 0, line
assert export.main(f"--weights {run}.safetensors --out a.onnx".split()) == 0
for line in (f"train {of} --run mel-statistics", f"probe {of} --runs {run}.json", "flops student-alone"):
    assert studies.main(line.split()) == 0, line
records.write(tiny_record(), Path("results/recordings") / tiny_record().location)
for line in ("table --out results.csv", "claims"):
    assert companion.main(line.split()) == 0, line
"""


@pytest.mark.nightly
def test_no_command_sends_anything_or_writes_elsewhere(tmp_path):
    """onnxruntime, which export loads, did: to its maker, with a number for this machine below ~/.cache."""
    here, environment = surroundings(tmp_path)
    command = watched(tmp_path / "log", sys.executable, "-c", COMMANDS)
    ran = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (sent(tmp_path / "log"), left(tmp_path)) == ([], set())


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "abc") for name in command.LAUNCHER), *(("RANK", v) for v in ("", "1.5", "-1", "²"))]
)
def test_a_launchers_variable_that_is_no_number_is_named(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    assert cli.main(["flops", "teacher"]) == 1
    assert (
        capsys.readouterr().err
        == f"serlib: {name}={value!r} is no whole number: torchrun or Slurm set it; unset {name}\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        BrokenProcessPool("A process in the process pool was terminated abruptly while the future was running"),
    ],
    ids=lambda error: str(error)[:20] or "MemoryError",
)
def test_what_memory_does_not_hold_is_one_line(monkeypatch, capsys, error):
    def fail(options):
        raise error

    monkeypatch.setattr(cli, "_flops", fail)
    assert cli.main(["flops"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("serlib: not enough memory")


def test_another_error_of_a_library_keeps_its_traceback(monkeypatch):
    def fail(options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "_flops", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["flops"])


SIZES = {"depth": 10**6, "heads": 10**6, "head_width": 10**6, "width": 10**7, "mlp_width": 10**8}
SIZES |= {"stem": (10**6, 1)}


@pytest.mark.parametrize("name", SIZES)
def test_weights_of_absurd_sizes_are_refused_at_once(tmp_path, name):
    """Their digest is right: whoever writes a file can write that too."""
    model = SpectrogramViT(replace(config.STUDENT, width=8, depth=1, heads=1, head_width=8, mlp_width=8))
    checkpoints.save(model, path := tmp_path / "a.safetensors")
    assert checkpoints.load(path)[0].config == model.config
    model.config = replace(model.config, **{name: SIZES[name]})
    checkpoints.save(model, path)
    with pytest.raises(ValueError, match="no weight is of such a size"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 1e9},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": -1.0},
        {"hop_length": 0},
        {"sample_rate": 10**9},
        {"fft_length": 10**7},
        {"mel_bands": 10**6, "image_size": (10**6, 128)},
    ],
    ids=str,
)
def test_images_of_absurd_sizes_are_refused(change):
    with pytest.raises(ValueError):  # noqa: PT011
        config.Features(**change)


@pytest.mark.skipif(
    not provenance.git(ROOT, "rev-parse", "HEAD"), reason="no checkout: git knows no attributes of an archive"
)
@pytest.mark.parametrize(
    "setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf", "core.safecrlf=true"]
)
def test_a_checkout_has_the_same_bytes_whatever_git_is_told(tmp_path, setting):
    """Scripts end their lines as a shell reads them; what carries a digest keeps it."""
    files = [
        ".ci/run",
        "Makefile",
        "serlib/data/manifests/emodb.csv",
        "serlib/data/facts.toml",
        "results/figures/emodb.npz",
    ]
    files.append(str(next((ROOT / "results/recordings").rglob("*.json")).relative_to(ROOT)))
    run_git(tmp_path, "init", "-q")
    objects = provenance.git(ROOT, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    (tmp_path / ".git/objects/info/alternates").write_text(f"{objects}\n")
    commit = provenance.git(ROOT, "rev-parse", "HEAD")
    run_git(tmp_path, "-c", setting, "checkout", "-q", commit, "--", ".gitattributes", *files)
    for file in files:
        assert (tmp_path / file).read_bytes().count(b"\r\n") == (ROOT / file).read_bytes().count(b"\r\n"), file
        assert len((tmp_path / file).read_bytes()) == len((ROOT / file).read_bytes()), file
