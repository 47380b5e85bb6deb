"""The book is staged and rendered: what did not change stays as it is, to the byte and to its time."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from workflow import render as render_module
from workflow import stage

ROOT = Path(__file__).parents[1]
NAMES = ("one", "two", "three", "four", "five", "six")  # more than five: they are read side by side
PAGE = "# {0}\n\nWords of {0}, with $x^2$.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
# Renders a folder a line, in a process of its own, beside libraries that are imported once.
RENDER = """
import os, sys, types
from pathlib import Path
told = types.ModuleType("companion.prose")
told.values = lambda root, *_: {"number": Path(root, "number.txt").read_text()}
sys.modules["companion.prose"] = told
from importlib import import_module, util
import matplotlib.cbook, myst_nb.sphinx_ext, sphinx.builders.html, yaml
for name in yaml.safe_load(Path("_config.yml").read_text())["sphinx"]["config"]["extensions"]:
    if util.find_spec(name):  # all but the checkout's own
        import_module(name)
from workflow import render, stage
stage.spoken.draw = lambda book: None  # a picture that no page here shows
for folder in sys.stdin:
    if not (child := os.fork()):
        os.chdir(folder.rstrip())
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        os._exit(render.main(Path("."), Path("build/book"), Path("_build")))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_file_that_did_not_change_keeps_its_time(tmp_path):
    for name, text in (("fresh/book/a.md", "a"), ("fresh/book/deep/b.md", "new"), ("fresh/c.yml", "c")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, text in (
        ("old/book/a.md", "a"),
        ("old/book/deep/b.md", "old"),
        ("old/book/gone/x.md", "x"),
        ("old/n.ipynb", ""),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1, 1))
    stage.renew(tmp_path / "fresh", tmp_path / "old", ("book",))
    found = {str(path.relative_to(tmp_path / "old")): path for path in (tmp_path / "old").rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in found.items()} == {
        "book/a.md": "a",
        "book/deep/b.md": "new",
        "c.yml": "c",
        "n.ipynb": "",
    }
    assert {name for name, path in found.items() if path.stat().st_mtime == 1} == {"book/a.md", "n.ipynb"}
    assert not (tmp_path / "old/book/gone").exists()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A book of a few pages, of which one shows a number."""
    for name in ("book/_ext", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.xz"))
    for name in ("docs", "companion", "serlib", "build/book/try/static"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    (tmp_path / "CITATION.bib").touch()
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["sphinx"]["config"] |= {"html_css_files": [], "html_js_files": [], "html_static_path": ["try/static"]}
    config["html"].pop("favicon")
    config.pop("bibtex_bibfiles")
    config["sphinx"]["config"]["extensions"].remove("sphinxcontrib.bibtex")
    del config["sphinx"]["config"]["bibtex_default_style"]
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    chapters = [{"file": f"book/{name}"} for name in NAMES[1:]]
    (tmp_path / "book/_toc.yml").write_text(
        yaml.safe_dump({"format": "jb-book", "root": "book/one", "chapters": chapters})
    )
    for name in NAMES:
        (tmp_path / f"book/{name}.md").write_text(PAGE.format(name))
    with (tmp_path / "book/three.md").open("a") as page:
        page.write("\nIt is {{ number }}.\n")
    (tmp_path / "number.txt").write_text("17")
    return tmp_path


@pytest.fixture(scope="module")
def render(tmp_path_factory) -> Iterator[Callable[[Path], tuple[int, str]]]:
    """Renders the book of a checkout, by a user with settings: exit status, and what was said."""
    home = tmp_path_factory.mktemp("home")
    (home / ".docutils").write_text("[general]\nid_prefix: mine-\n")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pipes["env"] = os.environ | {"HOME": str(home), "SOURCE_DATE_EPOCH": "0"}
    with subprocess.Popen((sys.executable, "-c", RENDER), cwd=ROOT, **pipes) as process:

        def call(checkout: Path) -> tuple[int, str]:
            print(checkout, file=process.stdin, flush=True)
            return int(process.stdout.readline()), (checkout / "said.txt").read_text()

        yield call
        process.stdin.close()


@pytest.fixture
def rendered(checkout, render) -> Callable[[], dict[str, tuple[str, int]]]:
    """Every page of the book after it was rendered: its text and its time."""

    def call() -> dict[str, tuple[str, int]]:
        status, said = render(checkout)
        assert status == 0, said
        pages = (checkout / "_build/html/book").glob("*.html")
        return {page.stem: (page.read_text(), page.stat().st_mtime_ns) for page in pages}

    return call


def test_a_changed_page_alone_is_rendered_and_each_is_seen_to_once(checkout, rendered):
    (checkout / "_build/html/data").mkdir(parents=True)
    (checkout / "_build/html/data/kept.csv").touch()
    first = rendered()
    assert first.keys() == set(NAMES)
    assert all(text.count("<!-- light -->") == 1 and text.count("<math") == 1 for text, _ in first.values())
    assert not re.search("mine-|1970", "".join(text for text, _ in first.values()))
    assert rendered() == first
    with (checkout / "book/two.md").open("a") as page:
        page.write("\nA sentence more.\n\n:::{glossary}\nDeltas\n  Derivatives along time.\n:::\n")
    second = rendered()
    assert {name for name in first if first[name][0] != second[name][0]} == {"two"}
    assert {name for name in first if second[name] == first[name]} == set(NAMES) - {
        "one",
        "two",
    }  # the first page, which lists the pages, is written with each of them
    assert "A sentence more." in second["two"][0]
    (checkout / "number.txt").write_text("18")
    assert "It is 18." in rendered()["three"][0]
    terms = (checkout / "_build/html/searchindex.js").read_text().partition('"indexentries":')[2]
    assert '"deltas"' in terms  # of a page that was not read again
    with (checkout / "workflow/render.py").open("a") as code:
        code.write("\n")
    again = rendered()
    assert all(again[name][1] != second[name][1] for name in again)
    assert [re.sub(r"\d", "", again[name][0]) for name in again] == [
        re.sub(r"\d", "", second[name][0]) for name in again
    ]
    assert (checkout / "_build/html/data/kept.csv").exists()


def test_where_the_system_names_no_cores_all_are_used(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on a Mac
    assert render_module.cores() == os.cpu_count()


def test_a_page_with_a_warning_fails_the_build_and_is_told_again(checkout, render):
    with (checkout / "book/two.md").open("a") as page:
        page.write("\n[](nowhere.md)\n")
    for _ in range(2):
        status, said = render(checkout)
        assert status == 1
        assert "nowhere" in said
