"""The built book stays short: at most what a reader takes in. Skipped where none is built."""

import re
from pathlib import Path

import pytest

from tests.counts import BOOK, UNREAD, articles, counts, plain

MOST = {
    "pages": 22,
    "words": 24_000,
    "tables": 55,
    "longest table": 15,
    "mean words a sentence": 22,
    "longest sentence": 35,
}
CODE = UNREAD.replace("pre", "pre|code")
PAGE = """<article class="bd-article"><p>One, two 3. Four five six seven!</p><pre>code</pre>
<figure><div><svg><text>drawn</text></svg></div><figcaption>Eight nine.</figcaption></figure>
<table><tbody><tr><td>a</td></tr><tr><td>b</td></tr></tbody></table>
<details><table><tbody><tr></tr><tr></tr><tr></tr></tbody></table></details></article>"""


def test_everything_is_counted(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book/page.html").write_text(PAGE)
    (tmp_path / "book/search.html").write_text("<p>no page</p>")
    found = counts(tmp_path)
    assert list(found.values()) == [1, 11, 2, 5, 2, 1, 2.7, 4]


@pytest.mark.skipif(not BOOK.exists(), reason="no book is built: make book")
def test_the_book_is_short() -> None:
    found = counts()
    assert {name: found[name] for name, most in MOST.items() if found[name] > most} == {}
    assert found["pictures"] >= found["tables"]
    assert [said for of in articles() for said in re.findall(r".{,30}\d%.{,9}", plain(re.sub(CODE, "", of)))] == []


@pytest.mark.skipif(not BOOK.exists(), reason="no book is built: make book")
def test_every_picture_of_a_page_has_a_caption_its_data_and_its_code() -> None:
    """Of notebooks, :mod:`tests.test_notebooks` looks at what JupyterLab shows."""
    seen = []
    for path in sorted(BOOK.glob("*/*.html")):
        for picture in re.findall(r"(?s)<figure\b.*?</figure>", path.read_text(encoding="utf-8")):
            if not re.search(r"<(?:svg|img)\b", picture):
                continue
            assert all(int(width) <= 358 for width in re.findall(r"<svg\b[^>]*min-width: (\d+)px", picture)), path.stem
            links = [
                path.parent / link
                for link in re.findall(r'<a\b[^>]*?href="([^"#?]+)"[^>]*>', picture.partition("<figcaption")[2])
            ]
            kinds = {link.suffix for link in links if link.exists()}
            assert kinds > {".csv"}, (path.stem, picture[-400:])  # and the notebook or the module
            seen.append(path.stem)
    assert {"index", "method", "corpora", "evidence"} <= set(seen)
