"""The book on paper: tagged, with an outline and links within it, and nothing cut off. Skipped where none is built."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.test_browser import PAGES, unavailable
from workflow import pdf

PAGE = """<html lang="en"><head><title>{0}</title></head><body><article class="bd-article"><h1 id="top">{0}</h1>
<p><a href="{1}.html#top">to the other</a></p><svg class="figure"><g id="f1-part"/><use href="#f1-part"/>
<a href="{1}.html?rows=run"><text y="20">a point</text></a></svg>{2}</article></body></html>"""


@pytest.fixture(scope="module")
def browser():
    if not pdf.chromium():
        unavailable("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pdf.chromium(), args=pdf.FLAGS)
        yield browser
        browser.close()


def book(folder: Path, more: str = "") -> Path:
    for name, other in (("one", "two"), ("two", "one")):
        (folder / f"{name}.html").write_text(PAGE.format(name, other, more), encoding="utf-8")
    return folder


def test_pages_become_one_file_whose_links_lead_within_it(browser, tmp_path: Path) -> None:
    pdf.write(browser, tmp_path / "book.pdf", ["one", "two"], book(tmp_path))
    made = (tmp_path / "book.pdf").read_bytes()
    assert b"/StructTreeRoot" in made
    assert b"/Outlines" in made
    assert len(re.findall(rb"/Title \((?:one|two)\)", made)) >= 2
    assert b"/URI" not in made
    assert len(re.findall(rb"/Subtype\s*/Link", made)) == 4  # of each page one in the text, one in the figure


def test_what_is_wider_than_the_paper_is_named(browser, tmp_path: Path) -> None:
    wide = "<table><tr><td style='min-width: 900px'>too wide</td></tr></table>"
    with pytest.raises(ValueError, match="one-html: TABLE too wide"):
        pdf.write(browser, tmp_path / "book.pdf", ["one", "two"], book(tmp_path, wide))
    assert not (tmp_path / "book.pdf").exists()


@pytest.mark.skipif(not PAGES, reason="no book is built: make book")
def test_every_page_of_the_book_is_in_it() -> None:
    assert {f"{page}.html" for page in pdf.pages()} == set(PAGES) - {"index.html", "search.html", "genindex.html"}
