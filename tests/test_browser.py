"""The built book in a real browser, page by page, opened from disk as a reader would open it.

A page passes if it loads without an error, asks no other host for anything, is light, shows its mathematics, shows its
figures, each with a text for those who cannot see it, holds no traceback and no warning, fits a phone that is 390 px
wide, and axe-core finds nothing serious on it, in light and in dark mode. Skipped where no book is built or no Chromium
is found, unless CI is set.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, ViewportSize, sync_playwright

from workflow import pdf

BOOK = Path(__file__).resolve().parents[1] / "_build" / "html"
PAGES = sorted(path.relative_to(BOOK).as_posix() for path in BOOK.rglob("*.html") if "_static" not in path.parts)
LANDING = ("index.html", "book/index.html")  # the first leads on to the second
PHONE: ViewportSize = {"width": 390, "height": 844}  # CSS pixels
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
SMALLEST = 8.8  # CSS pixels of a figure's words on the phone
SLACK = 1  # CSS pixels that rounding may add
HEAVIEST = 920_000  # bytes of all files that a first visit loads
HEAVIER = frozenset({"book/try_it.html"})  # it loads what computes

SETTLED = """async () => {
    const still = "*, *::before, *::after { animation: none !important; transition: none !important; }";
    document.head.append(Object.assign(document.createElement("style"), {textContent: still}));  // colours as they end
    document.querySelectorAll("details").forEach(details => { details.open = true; });
    const loaded = [...document.images].map(image => {
        image.loading = "eager";
        return image.decode().catch(() => {});
    });
    await Promise.all([...loaded, document.fonts.ready, window.tryIt?.ready]);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));  // what watches sizes has seen them
}"""

# Serious findings as "rule: how it fails, where". A long table is looked at by its first rows, a picture by its label, which
# is all that assistive technology reads of one without links, code by its text. Contrast is that of the first words of
# each colour, size and weight on each background: each look of the book once, given those that other pages had. Rules
# none of whose checks is of serious impact are left out.
AXE = """async (seen) => {
    const tried = new Set(seen);
    document.querySelectorAll("svg.figure:not(:has(a))").forEach(svg => svg.replaceChildren());
    const background = (node, known) => {
        if (!node || known.has(node)) return known.get(node) ?? "";
        const {backgroundColor, backgroundImage, opacity} = getComputedStyle(node);
        const own = backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none" || opacity !== "1";
        const below = background(node.parentElement, known);
        known.set(node, own ? [backgroundColor, backgroundImage, opacity, below].join() : below);
        return known.get(node);
    };
    const spoken = (node) => [...node.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim());
    const words = [...document.body.querySelectorAll("*")]
        .filter(node => spoken(node) && node.checkVisibility({visibilityProperty: true}));
    for (const theme of ["dark", "light"]) {
        document.documentElement.dataset.theme = theme;
        const known = new Map();
        for (const node of words) {
            const {color, fill, fontSize, fontWeight} = getComputedStyle(node);
            const look = [theme, color, fill, fontSize, fontWeight, background(node, known)].join();
            if (!tried.has(look)) node.dataset.look = `${node.dataset.look ?? ""} ${theme}`;
            tried.add(look);
        }
    }
    const plain = (node) => !node.matches("[data-look]") && !node.querySelector("[data-look]");
    for (const body of document.querySelectorAll("tbody")) {
        [...body.rows].slice(5).filter(plain).forEach(row => row.remove());
    }
    document.querySelectorAll("pre span").forEach(word => { if (plain(word)) word.replaceWith(word.textContent); });
    const found = async (theme, options) => {
        document.documentElement.dataset.theme = theme;
        axe.configure({rules: [{id: "color-contrast", selector: `[data-look~="${theme}"]`}]});
        return (await axe.run(document, {resultTypes: ["violations"], preload: false, ...options})).violations
            .filter(found => ["serious", "critical"].includes(found.impact))
            .flatMap(found => found.nodes.map(
                node => `${theme}, ${found.id}: ${node.failureSummary} ${node.html.slice(0, 200)}`));
    };
    const {rules: all, checks} = axe._audit;
    const slight = (rule) => [rule.impact ?? [...rule.any, ...rule.all, ...rule.none].map(
        check => checks[check.id ?? check].options?.impact ?? checks[check.id ?? check].impact)].flat()
        .every(impact => ["minor", "moderate"].includes(impact));
    const rules = Object.fromEntries(all.filter(slight).map(({id}) => [id, {enabled: false}]));
    rules["label-content-name-mismatch"] = {enabled: true};
    const light = document.querySelector('[data-look~="light"]');
    const contrasts = light ? await found("light", {runOnly: ["color-contrast"]}) : [];
    return [[...contrasts, ...await found("dark", {rules})], [...tried]];
}"""
LOOKS: list[str] = []  # that were tried

FINDINGS = """(limit) => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map(node => node.textContent);
    const boxed = (node) => node.tagName !== "MAIN"
        && (getComputedStyle(node).overflowX !== "visible" || boxed(node.parentElement));
    const prose = document.querySelector("main").cloneNode(true);
    prose.querySelectorAll("pre, code, script").forEach(node => node.remove());
    return {
        width: document.scrollingElement.scrollWidth,
        widest: [...document.querySelectorAll("main *")]
            .filter(node => node.scrollWidth > limit && !boxed(node)).at(-1)?.outerHTML.slice(0, 200),
        raw: prose.textContent.match(/\\\\[(\\[].{0,40}/g) ?? [],
        untypeset: [...document.querySelectorAll(".math.notranslate")]
            .filter(node => !node.querySelector("math")?.getBoundingClientRect().width).map(node => node.textContent),
        broken: texts("merror"),
        outputs: texts(".output"),
        images: [...document.images].map(({src, alt, naturalWidth}) => ({src, alt, naturalWidth})),
        figures: [...document.querySelectorAll("svg.figure")].map(node => [
            node.ariaLabel ?? "", node.getBoundingClientRect().width, Math.min(...[...node.querySelectorAll("text")]
                .map(word => [word.getScreenCTM(), parseFloat(getComputedStyle(word).fontSize)])
                .map(([at, size]) => size * Math.hypot(at.a, at.b)))]),
        headings: [...document.querySelectorAll("main th:not([scope])")].map(node => node.outerHTML.slice(0, 100)),
    };
}"""

# Tables of which a desktop shows a part, folded ones too; where a phone shows a part, a table says so.
CUT = """() => [...document.querySelectorAll(".pst-scrollable-table-container")]
    .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => [box.textContent.trim().slice(0, 60),
        getComputedStyle(box, "::before").content])"""

FOCUSED = """() => {
    const node = document.activeElement;
    if (!node || node === document.body) return null;
    node.dataset.reached = "";
    const ringed = (at) => at && getComputedStyle(at).outlineStyle !== "none" && at.getBoundingClientRect().width > 0;
    return ringed(node) || ringed(node.closest(".sd-card")) ? [] : [`no ring: ${node.outerHTML.slice(0, 150)}`];
}"""
UNREACHED = """() => [...document.querySelectorAll("a[href], button, input, select, summary, audio, [tabindex='0']")]
    .filter(node => node.dataset.reached === undefined && node.tabIndex >= 0 && !node.disabled
        && node.checkVisibility({visibilityProperty: true}) && node.getBoundingClientRect().width)
    .map(node => `not reached: ${node.outerHTML.slice(0, 150)}`)"""


SEARCH = """(words) => {
    document.getElementById("search-results").replaceChildren();
    Search.performSearch(words);
}"""
# Icons, each from the font that was cut down to them: another glyph than that of a character it does not hold.
ICONS = """([selector, weight]) => [...document.querySelectorAll(selector)].map(icon => {
    const {content, fontFamily} = getComputedStyle(icon, "::before");
    return [icon.className, content.length === 3 && document.fonts.check(`${weight} 16px ${fontFamily}`, content[1])];
})"""
DRAWN = {"book/index.html": ("i.fa-solid", 900), "book/glossary.html": ("a.github", 400)}  # of which weight
TABBED = ("book/index.html", "notebooks/accuracy.html", "book/try_it.html")  # by a keyboard alone


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def phone() -> Iterator[BrowserContext]:
    if not PAGES:
        unavailable(f"no book is built in {BOOK}: run `make book` first")
    if not (executable := pdf.chromium()):
        unavailable(f"none of {', '.join(pdf.CHROMIUMS)} is installed, and SERLIB_CHROMIUM names no other")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=pdf.FLAGS)
        yield browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
        browser.close()


def observed(phone: BrowserContext, book: str = BOOK.as_uri()) -> tuple[Page, list[str], set[Path]]:
    """A new page, a list to which whatever goes wrong on it is added, and the files that it loads."""
    page = phone.new_page()
    problems: list[str] = []
    files: set[Path] = set()

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{book}/", "data:", "blob:")):
            problems.append(f"asked another host: {request.url}")
        elif request.url.startswith("file:"):
            files.add(Path(unquote(urlsplit(request.url).path)))

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(f"console: {message.text}")

    def failed(request: Request) -> None:
        # the page's own sound may be replaced by the next before it is loaded
        if not (request.url.startswith("blob:") and request.failure == "net::ERR_ABORTED"):
            problems.append(f"request failed: {request.url} {request.failure}")

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("requestfailed", failed)
    return page, problems, files


def tabbed(page: Page) -> list[str]:
    """What a keyboard does not reach, or reaches without showing where it is."""
    problems: list[str] = []
    for _ in range(300):
        page.keyboard.press("Tab")
        if (problem := page.evaluate(FOCUSED)) is None:
            break
        problems += problem
    else:
        problems.append("the keyboard does not come to the end")
    return problems + page.evaluate(UNREACHED)


@pytest.mark.parametrize("name", [page for page in PAGES if page != LANDING[0]] or LANDING[1:])
def test_page(name: str, phone: BrowserContext) -> None:
    page, problems, files = observed(phone)
    page.goto(f"{BOOK.as_uri()}/{LANDING[0] if name == LANDING[1] else name}")
    page.wait_for_selector("main", state="attached")  # the root page only leads on
    assert page.url == f"{BOOK.as_uri()}/{name}"
    page.evaluate(SETTLED)
    weight = sum(file.stat().st_size for file in files)
    found = page.evaluate(FINDINGS, PHONE["width"] + SLACK)
    problems += [
        f"a table scrolls and does not say so: {table}" for table, says in page.evaluate(CUT) if "Scroll" not in says
    ]
    if page.locator(".pst-scrollable-table-container").count():
        page.set_viewport_size(DESKTOP)
        problems += [f"a table is cut on a desktop: {table}" for table, _ in page.evaluate(CUT)]
        page.set_viewport_size(PHONE)
    if name in DRAWN:
        icons = page.evaluate(ICONS, DRAWN[name])
        problems += [f"an icon is not drawn: {icon}" for icon, drawn in icons or [("any", False)] if not drawn]
    problems += tabbed(page) if name in TABBED else []
    page.evaluate(AXE_SCRIPT)
    serious, LOOKS[:] = page.evaluate(AXE, LOOKS)
    problems += [f"axe, {text}" for text in serious]
    page.close()

    if weight > HEAVIEST and name not in HEAVIER:
        problems.append(f"{weight:,} bytes are loaded, more than {HEAVIEST:,}")
    if found["width"] > PHONE["width"] + SLACK:
        problems.append(f"{found['width']} px wide on a phone of {PHONE['width']} px: {found.get('widest')}")
    problems += [f"mathematics not typeset: {text}" for text in found["raw"] + found["untypeset"]]
    problems += [f"mathematics in error: {text}" for text in found["broken"]]
    for mark in ("Traceback (most recent call last)", "WARNING"):
        problems += [f"an output holds {mark!r}: {text[:200]}" for text in found["outputs"] if mark in text]
    for image in found["images"]:
        if image["naturalWidth"] == 0:
            problems.append(f"image does not show: {image['src']}")
        if not image["alt"].strip() or image["alt"].endswith((".png", ".svg")):  # Sphinx falls back on the path
            problems.append(f"image without a text: {image['src']}")
    for words, width, smallest in found["figures"]:
        if not words.strip() or not width:
            problems.append(f"a figure without a text, or of no width: {words!r}")
        if smallest < SMALLEST:
            problems.append(f"words of {smallest:.1f} px on a phone: {words}")
    problems += [f"a heading of a table without a scope: {text}" for text in found["headings"]]
    assert not problems, f"{name}:\n" + "\n".join(dict.fromkeys(problems))


def test_search_finds_what_a_word_means_first(phone: BrowserContext) -> None:
    """One visit: the first word by the address, as the box of another page sends it; the others by the same search."""
    page, problems, _ = observed(phone)
    for i, words in enumerate(("leakage", "deltas", "UAR", "Holm", "openSMILE", "patch size")):
        if i == 0:
            page.goto(f"{BOOK.as_uri()}/search.html?q={words}")
        else:
            page.evaluate(SEARCH, words)
        page.wait_for_function("document.querySelector('.search-summary')?.innerText.includes('found')")
        first = page.locator("#search-results li a").first.get_attribute("href")
        line = page.locator("#search-results li").first.locator("p.context").inner_text()
        assert line.lower().removeprefix("data ").startswith(words.lower())
        assert first.startswith("book/glossary.html")
        assert words.lower() in first.lower().replace("-", " ")  # the term itself
    assert page.evaluate("Search.htmlToText('/book/index.html') === WORDS['book/index.html'][0]")  # not index.html's
    page.close()
    assert not problems, "\n".join(problems)
