"""``python -m workflow.pdf OUT``: writes the built book as one PDF, in reading order, tagged and with an outline.

Chromium prints the articles of ``_build/html`` as one document, so that links between pages stay within it. Nothing may be
cut: the command fails if a table or a figure is wider than the paper.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import Browser, sync_playwright

from serlib.files import atomic_write

BOOK = Path(__file__).parents[1] / "_build/html"
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
MARGIN, WIDTH = 15, 210  # mm: A4

# Prepares a page's article: ids and links become those of one document, and parts only for screens are removed.
ARTICLE = """([book, prefix]) => {
    const article = document.querySelector("article.bd-article");
    const unseen = "script, noscript, audio, .headerlink, .copybtn, .table-filter, .try-it, details.hide";
    article.querySelectorAll(unseen).forEach(node => node.remove());
    article.querySelectorAll("th > button").forEach(node => node.replaceWith(...node.childNodes));
    article.querySelectorAll("details").forEach(node => { node.open = true; });
    const named = (url) => url.pathname.slice(book.length).replace(/[/.]/g, "-");
    for (const node of article.querySelectorAll("[id]:not(svg *)")) node.id = `${prefix}${node.id}`;
    for (const link of article.querySelectorAll("a[href]")) {
        const url = new URL(link.getAttribute("href"), document.baseURI);  // a figure's has no plain href
        if (url.protocol !== "file:") continue;
        if (url.pathname.startsWith(book) && url.pathname.endsWith(".html")) {
            link.setAttribute("href", `#${named(url)}${url.hash.slice(1)}`);
        } else link.replaceWith(...link.childNodes);
    }
    for (const image of article.querySelectorAll("img")) { image.src = image.src; image.loading = "eager"; }
    return `<section class="printed" id="${prefix}">${article.innerHTML}</section>`;
}"""
CUT = """() => [...document.querySelectorAll(".printed :is(table, pre, svg.figure, img, math)")]
    .filter(node => node.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(node => `${node.closest(".printed").id}: ${node.tagName} ${node.textContent.trim().replace(/\\s+/g, " ").slice(0, 60)}`)"""


def pages(book: Path = BOOK) -> list[str]:
    """The pages in reading order, as paths without a suffix.

    Raises:
        FileNotFoundError: no book is built.
    """
    toc = yaml.safe_load((book.parents[1] / "book/_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    for page in names:
        if not (book / f"{page}.html").exists():
            raise FileNotFoundError(f"no page {book / page}.html: run `make book` first")
    return names


def chromium() -> str:
    """The path of Chromium: the value of ``SERLIB_CHROMIUM``, else the first that is installed; "" if none is."""
    return os.environ.get("SERLIB_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), "")


def write(browser: Browser, out: Path, names: list[str], book: Path = BOOK) -> None:
    """Print pages of the book into one file.

    Raises:
        ValueError: something is wider than the paper.
    """
    page = browser.new_page(
        viewport={"width": round((WIDTH - 2 * MARGIN) / 25.4 * 96), "height": 1000}, color_scheme="light"
    )
    page.emulate_media(media="print", color_scheme="light")
    sections = []
    for name in names:
        page.goto(f"{book.as_uri()}/{name}.html")
        prefix = re.sub(r"[/.]", "-", f"{name}.html")
        section = page.evaluate(ARTICLE, [f"{book}/", prefix])
        sections.append(re.sub(r'(\bid="|url\(#|href="#)(f\d+-)', rf"\1{prefix}\2", section))
    page.goto(f"{book.as_uri()}/{names[0]}.html")
    page.evaluate(
        "all => { document.body.innerHTML = `<main class=bd-content><article class=bd-article>${all}</article></main>`; }",
        "".join(sections),
    )
    page.evaluate("() => Promise.all([...document.images].map(image => image.decode().catch(() => {})))")
    if cut := page.evaluate(CUT):
        raise ValueError("wider than the paper:\n" + "\n".join(cut))
    foot = '<p style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></p>'
    with atomic_write(out) as beside:
        margin = dict.fromkeys(("top", "right", "bottom", "left"), f"{MARGIN}mm")
        options = {"tagged": True, "outline": True, "print_background": True, "display_header_footer": True}
        page.pdf(path=beside, format="A4", margin=margin, header_template="<p></p>", footer_template=foot, **options)
    page.close()


def main(out: Path) -> None:
    if not chromium():
        raise SystemExit(f"none of {', '.join(CHROMIUMS)} is installed: install one, or name it by SERLIB_CHROMIUM")
    try:
        names = pages()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            write(browser, out, names)
            browser.close()
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(f"{out}: {len(names)} pages of the book, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m workflow.pdf OUT")
    main(Path(sys.argv[1]))
