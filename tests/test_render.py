"""The book is staged and rendered: what did not change stays as it is, to the byte and to its time."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflow import stage

ROOT = Path(__file__).parents[1]
NAMES = ("one", "two", "three", "four", "five", "six", "seven")  # more than five: they are read side by side
PAGE = "# {0}\n\nWords of {0}, with $x^2$.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
RENDER = """
import sys, types
from pathlib import Path
told = types.ModuleType("companion.prose")
told.values = lambda root, *_: {"number": Path(root, "number.txt").read_text()}
sys.modules["companion.prose"] = told
from workflow import render
raise SystemExit(render.main(Path("."), Path("build/book"), Path("_build")))
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


def rendered(checkout: Path) -> dict[str, tuple[str, int]]:
    """Every page of the book after it was rendered: its text and its time."""
    command = (sys.executable, "-c", RENDER)
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    pages = (checkout / "_build/html/book").glob("*.html")
    return {page.stem: (page.read_text(), page.stat().st_mtime_ns) for page in pages}


def test_a_changed_page_alone_is_rendered_and_each_is_seen_to_once(checkout):
    (checkout / "_build/html/data").mkdir(parents=True)
    (checkout / "_build/html/data/kept.csv").touch()
    first = rendered(checkout)
    assert first.keys() == set(NAMES)
    assert all(text.count("<!-- light -->") == 1 and text.count("<math") == 1 for text, _ in first.values())
    assert rendered(checkout) == first
    with (checkout / "book/two.md").open("a") as page:
        page.write("\nA sentence more.\n")
    second = rendered(checkout)
    assert {name for name in first if first[name][0] != second[name][0]} == {"two"}
    assert {name for name in first if second[name] == first[name]} == set(NAMES) - {
        "one",
        "two",
    }  # the first page, which lists the pages, is written with each of them
    assert "A sentence more." in second["two"][0]
    (checkout / "number.txt").write_text("18")
    assert "It is 18." in rendered(checkout)["three"][0]
    with (checkout / "workflow/render.py").open("a") as code:
        code.write("\n")
    again = rendered(checkout)
    assert all(again[name][1] != second[name][1] for name in again)
    assert [re.sub(r"\d", "", again[name][0]) for name in again] == [
        re.sub(r"\d", "", second[name][0]) for name in again
    ]
    assert (checkout / "_build/html/data/kept.csv").exists()


def test_a_page_with_a_warning_fails_the_build_and_is_told_again(checkout):
    with (checkout / "book/two.md").open("a") as page:
        page.write("\n[](nowhere.md)\n")
    for _ in range(2):
        ended = subprocess.run((sys.executable, "-c", RENDER), cwd=checkout, capture_output=True, text=True)
        assert ended.returncode == 1
        assert "nowhere" in ended.stderr
