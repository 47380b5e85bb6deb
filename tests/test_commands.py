"""Every command that the README and the pages show is understood by its program; those of the packages are run, those of
the telling every night.

They are run one after the other in a folder as the pages suppose it, with networks of a few weights and one epoch. make
and Snakemake only plan. What installs, measures, exports or needs a network is only read.
"""

import argparse
import importlib
import importlib.util
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from companion import __main__ as companion_cli
from serlib import cli, config
from studies import __main__ as studies_cli
from tests.helpers import dry_runs, tiny_emodb, write_wav
from workflow import examples, export, listeners
from workflow.run import check

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/clusters.md", *(f"book/{name}.md" for name in ("reproduce", "corpora")))
PARSERS = {"serlib": cli._parser, "studies": studies_cli._parser}
TELLING = {"companion": companion_cli, "workflow.listeners": listeners, "workflow.examples": examples}
PARSERS |= {"workflow.export": export._parser} | {name: of._parser for name, of in TELLING.items()}
OTHERS = {"apt-get", "conda", "pip", "jupyter", "cffconvert", "mlcroissant", "actionlint", "pip-licenses", "ruff"}


def shown(page: str) -> list[list[str]]:
    """The commands of a page's bash blocks, word by word."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [part for block in blocks for line in block.splitlines() for part in re.split(r" && ", line)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


class Understood(Exception):
    pass


def understand(words: list[str], monkeypatch) -> None:
    """Raise, or end as argparse does, if a command is none."""
    program, *rest = words[0].removeprefix(".venv/bin/"), *words[1:]
    if program == "make":
        made = (ROOT / "Makefile").read_text()
        targets, names = (
            re.search(form, made, re.MULTILINE)[1].split() for form in (r"PHONY: (.*)$", r"^GIVEN := (.*)$")
        )
        assert {word for word in rest if "=" not in word} <= set(targets)
        given = dict(word.split("=", 1) for word in rest if "=" in word)
        assert set(given) <= set(names)
        if "BENCH" in given:
            understand(["python", "-m", "benchmarks.cpu", *shlex.split(given["BENCH"])], monkeypatch)
    elif program == "torchrun":
        understand(["python", "-m", *rest[rest.index("--") + 1 :]], monkeypatch)
    elif program == "python" and rest[0] == "-m" and rest[1] in PARSERS:
        PARSERS[rest[1]]().parse_args(rest[2:])
    elif program == "python" and rest[0] == "-m" and rest[1] != "pytest":
        parse = argparse.ArgumentParser.parse_args

        def parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
            parse(parser, arguments)
            raise Understood

        module = importlib.import_module(rest[1])
        if rest[1].startswith("benchmarks."):
            monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
            with pytest.raises(Understood):
                module.main(rest[2:])
    elif program in ("python", "snakemake", "papermill"):
        files = [word for word in rest if word.startswith(("workflow/", "notebooks/", "tests/"))]
        assert [file for file in files if not (ROOT / file).exists()] == []
        if program == "papermill":
            (cell,) = (c for c in nbformat.read(ROOT / files[0], 4).cells if "parameters" in c.metadata.get("tags", ()))
            names = [rest[i + 1] for i, word in enumerate(rest) if word == "-p"]
            assert [name for name in names if not re.search(rf"^{name} = ", cell.source, re.MULTILINE)] == []
    else:
        assert program in OTHERS


@pytest.mark.parametrize("page", PAGES)
def test_every_shown_command_is_understood(page, monkeypatch):
    commands = [words for words in shown(page) if "--help" not in words]
    assert commands
    for words in commands:
        with monkeypatch.context() as patch:
            understand(words, patch)


@pytest.mark.parametrize(
    "line",
    [
        "make bok",
        "make book CORPSE=emodb",
        "make bench BENCH=--fast",
        "python -m serlib trian emodb",
        "python -m serlib train emodb --fast",
        "torchrun --nproc-per-node 2 -m -- serlib train emodb --fast",
        "papermill notebooks/position.ipynb out.ipynb -p fast 1",
        "snakemak --cores 1",
    ],
)
def test_a_command_that_is_none_is_not(line, monkeypatch):
    with pytest.raises((AssertionError, SystemExit)) as end:
        understand(shlex.split(line), monkeypatch)
    assert end.type is AssertionError or end.value.code == 2


def small(run: config.Run) -> config.Run:
    sizes = {"width": 8, "depth": 1, "heads": 1, "head_width": 8, "mlp_width": 8}
    return replace(run, model=replace(run.model, stem=(1,) * bool(run.model.stem), **sizes))


def tiny_crema_d(folder: Path) -> None:
    for speaker, emotion in ((1001, "ANG"), (1002, "SAD")):
        write_wav(folder / f"AudioWAV/{speaker}_DFA_{emotion}_XX.wav", seed=speaker)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder as the pages suppose it."""
    tiny_emodb(tmp_path / "data/emodb", texts=("a01", "a02"))
    write_wav(tmp_path / "speech.wav")
    write_wav(tmp_path / "other.wav", seed=1)
    (tmp_path / "mine.csv").write_text("path,speaker,emotion\nspeech.wav,anna,anger\nother.wav,ben,neutral\n")
    monkeypatch.delenv("SERLIB_DATA", raising=False)
    monkeypatch.setattr(config, "RUNS", {name: small(run) for name, run in config.RUNS.items()})
    monkeypatch.setattr(config, "SCHEDULES", {k: replace(s, epochs=1) for k, s in config.SCHEDULES.items()})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_packages(page: str, *packages: str) -> list[tuple[str, list[str]]]:
    return [
        (words[2], words[3:])
        for words in shown(page)
        if words[1:2] == ["-m"] and words[2] in packages and "--help" not in words
    ]


@pytest.mark.parametrize("page", PAGES)
def test_the_methods_commands_run_in_the_order_shown(page, here, capsys):
    for package, words in of_packages(page, "serlib", "studies", "workflow.synthetic"):
        if "crema-d" in words:
            tiny_crema_d(here / "data/crema-d")
        if package == "workflow.synthetic":  # which tests/test_synthetic.py runs
            tiny_emodb(here / words[words.index("--data") + 1])
            continue
        program = {"serlib": cli, "studies": studies_cli}[package]
        assert program.main(words) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.nightly
def test_the_tellings_commands_run_in_the_order_shown(recordings, here, capsys):
    commands = dict.fromkeys((package, *words) for page in PAGES for package, words in of_packages(page, *TELLING))
    shutil.rmtree(here / "data/emodb")
    (here / "data/emodb").symlink_to(recordings / "emodb")
    some = "results/recordings/emodb/128x128/paper"  # all take minutes
    shutil.copytree(ROOT / some, here / some)
    shutil.copytree(ROOT / "weights", here / "weights")
    trained = here / "build/runs/recordings/emodb/128x128/paper/random-0/student-pooled-seed0.safetensors"
    trained.parent.mkdir(parents=True)
    shutil.copy(ROOT / "weights/emodb-student.safetensors", trained)
    for program, *words in commands:
        assert TELLING[program].main(words) == 0, f"{program} {shlex.join(words)}: {capsys.readouterr().err}"
    assert {words[0] for program, *words in commands if program == "companion"} == {"claims", "table"}
    assert {program for program, *_ in commands} == {*TELLING}


def test_the_builds_can_be_planned(tmp_path, monkeypatch):
    """What make and snakemake are asked to do, up to the first step."""
    tiny_emodb(tmp_path / "data/emodb")
    tiny_crema_d(tmp_path / "data/crema-d")
    rows = [f"speech.wav,{speaker},{emotion}" for speaker, emotion in (("a", "joy"), ("b", "rage"))]
    (tmp_path / "mine.csv").write_text("\n".join(("path,speaker,emotion", *rows)))
    write_wav(tmp_path / "speech.wav")
    planned = set()
    for words in (words for page in PAGES for words in shown(page)):
        if words[0] == "make" and words[1] in ("book", "evidence"):
            given = dict(word.split("=", 1) for word in words[2:])
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path)
                chosen, _ = check({name: value for name, value in given.items() if name != "PIP_ARGS"})
            target = "book" if words[1] == "book" else "evidence_1"
            settings = tuple(f"{k}={tmp_path / v if k == 'data' else v}" for k, v in chosen.given().items())
            planned.add(("workflow/profiles/default", settings, target))
        elif words[0].endswith("snakemake"):
            profile = words[words.index("--workflow-profile") + 1]
            settings = (
                word.replace("data=", f"data={tmp_path}/") for word in words if re.match("(corpus|data)=", word)
            )
            planned.add((profile, tuple(settings), words[-1] if "--" in words else "book"))
    plugin = importlib.util.find_spec("snakemake_executor_plugin_slurm")
    assert len(planned) >= 6
    cases = [
        ("--workflow-profile", profile, *(("--config", *settings) if settings else ()), "--", target)
        for profile, settings, target in sorted(planned)
        if plugin or "slurm" not in profile
    ]
    (tmp_path / "said").mkdir()
    found = dry_runs(tmp_path / "said", *((ROOT, arguments) for arguments in cases))
    assert {arguments: said for arguments, (status, said) in zip(cases, found, strict=True) if status} == {}
