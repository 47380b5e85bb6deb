"""``python -m tests.counts [HTML]``: how long a built book is: pages, words, tables, rows, pictures, sentences.

Words are those of each page's article, folded parts too, without code, formulas and pictures. Sentences are those of
paragraphs, items and captions; a table's cells are none, and in a sentence a number or a sign is no word.
"""

import html
import re
import sys
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1] / "_build/html"
UNREAD = r"(?s)<(script|style|svg|math|pre)\b.*?</\1>"


def plain(markup: str) -> str:
    """The words of some HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def articles(book: Path = BOOK) -> list[str]:
    """The HTML of each page's article."""
    pages = (path.read_text(encoding="utf-8") for path in sorted(book.glob("*/*.html")))
    found = (re.search(r'(?s)<article class="bd-article".*?</article>', page) for page in pages)
    return [article[0] for article in found if article]


def counts(book: Path = BOOK) -> dict[str, float]:
    """By name what is counted; ``longest table`` is the most rows of a table that is not folded."""
    pages = articles(book)
    pictures = sum(len(re.findall(r"<figure\b(?:(?!</figure>).)*?<(?:svg|img)\b", page, re.DOTALL)) for page in pages)
    read = [re.sub(UNREAD, " ", page) for page in pages]
    open_rows, rows, tables, lengths = [0], 0, 0, []
    for page in read:
        tables += page.count("<table")
        rows += sum(body.count("<tr") for body in re.findall(r"(?s)<tbody.*?</tbody>", page))
        unfolded = re.sub(r"(?s)<details.*?</details>", "", page)
        open_rows += [body.count("<tr") for body in re.findall(r"(?s)<tbody.*?</tbody>", unfolded)]
        prose = re.sub(r"(?s)<table.*?</table>", "", page)
        for block in re.findall(r"(?s)<(p|li|dd|figcaption)\b[^>]*>(.*?)</\1>", prose):
            sentences = re.split(r"(?<=[.?!])\s+(?=\S)", plain(block[1]))
            lengths += [sum(any(map(str.isalpha, word)) for word in sentence.split()) for sentence in sentences]
    return {
        "pages": len(read),
        "words": sum(len(plain(page).split()) for page in read),
        "tables": tables,
        "rows": rows,
        "longest table": max(open_rows),
        "pictures": pictures,
        "mean words a sentence": round(sum(lengths) / max(1, len(lengths)), 1),
        "longest sentence": max(lengths, default=0),
    }


if __name__ == "__main__":
    for name, count in counts(Path(sys.argv[1]) if len(sys.argv) > 1 else BOOK).items():
        print(f"{count:>8} {name}")
