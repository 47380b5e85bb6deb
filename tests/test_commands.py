"""Every command that the README and the pages show is one that its program understands."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import nbformat
import pytest

from companion import __main__ as companion_cli
from serlib import cli

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"book/{name}.md" for name in ("reproduce", "corpora")))
PARSERS = {"serlib": cli._parser, "companion": companion_cli._parser}
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
        "papermill notebooks/speed.ipynb out.ipynb -p fast 1",
        "snakemak --cores 1",
    ],
)
def test_a_command_that_is_none_is_not(line, monkeypatch):
    with pytest.raises((AssertionError, SystemExit)) as end:
        understand(shlex.split(line), monkeypatch)
    assert end.type is AssertionError or end.value.code == 2
