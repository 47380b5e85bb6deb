"""A Sphinx extension for light pages: they need no network, and suit phones and screen readers.

* formulas become MathML while the book is rendered: no page typesets anything
* icons come from the theme's font, cut down to the icons that pages show, not from the theme's script of 1.5 MB
* pictures state their size, and load when the reader scrolls to them
* the cell tagged ``live`` becomes the part that computes in the browser, if the stage holds the networks
* a picture of ``companion.notebook.picture`` gets a number and a caption, and comes before parameters and code
* figures are inline SVG: their words use the page's font, their colours follow light and dark
* no word of a figure is smaller than :data:`SMALLEST`: on a narrower page, the figure scrolls in its frame
* markup that names a thing twice, or gives a role without its parts, is corrected
* the search page loads the words of all pages, since a page opened from disk may not read others
* the root page redirects to the landing page
"""

import base64
import colorsys
import html
import io
import json
import math
import re
from pathlib import Path
from urllib.parse import unquote

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from fontTools import subset
from PIL import Image
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
FRONT = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><a href="{page}">{title}</a></body>
</html>
"""
SMALLEST = 8.9  # CSS pixels: the smallest font size in a figure
NARROWEST = 358  # CSS pixels: a phone's page width without its margins
ZOOM = 5 / 3  # CSS pixels a point: words of 9 points are as large as the text around a figure
HIDDEN = ' aria-hidden="true"'  # for a figure whose label says everything
ANSWER = "> **Answer.**"  # the start of the line that answers a page's question
COLOUR = r"#[0-9A-Fa-f]{6}\b"
LIVE = "```{include} ../book/parts/maps.md\n```"
DONE = "<!-- light -->\n"  # ends every processed page
# docutils does not know these: sizes of delimiters, which stretch by themselves, and dots of either height.
REWRITTEN = ((r"\\[bB]igg?(?![A-Za-z])", ""), (r"\\dots(?![A-Za-z])", r"\\ldots"))
MARKUP = (
    (r'<script defer src="[^"]*/fontawesome\.js[^"]*"></script>', ""),
    # Its name holds a digest; the query changes with each rendering.
    (r"(/mystnb\.[0-9a-f]+\.css)\?v=[0-9a-f]+", r"\1"),
    # For search as one types, which is off. The search page is not in a folder.
    (r'<script src="\.\./(_static/searchtools|_static/language_data|searchindex)\.js"></script>\s*', ""),
    (r'(<summary) aria-label="[^"]*"', r"\1"),  # the text inside names it
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),  # not all its children are list items
    (r'(<div class="citation"[^>]*) role="doc-biblioentry"', r"\1"),
    (r'(<div id="pst-primary-sidebar")', r'\1 role="region" aria-label="Contents of the book"'),  # holds the title
    (r"<th\b([^>]*)>(\s*(?:<p></p>)?\s*)</th>", r"<td\1>\2</td>"),  # an empty cell is no heading
    (r"<th\b(?![^>]*\bscope=)", '<th scope="col"'),
    (r"<title>([^<]+?) (?:—|&#8212;|&mdash;) \1</title>", r"<title>\1</title>"),  # of the landing page
)


def mathml(node: nodes.Node, block: bool) -> str:
    formula = node.astext().strip()
    for pattern, replacement in REWRITTEN:
        formula = re.sub(pattern, replacement, formula)
    try:
        return tex2mathml(formula, as_block=block)
    except MathError as error:
        logger.warning("formula %r: %s", formula, error, location=node)
        return f"<code>{formula}</code>"


def inline(translator, node) -> None:
    translator.body.append(f'<span class="math notranslate nohighlight">{mathml(node, False)}</span>')
    raise nodes.SkipNode


def block(translator, node) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate nohighlight", tabindex="0"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(f"{mathml(node, True)}</div>\n")
    raise nodes.SkipNode


def indexed(app, env) -> list[str]:
    """Pages with index terms: Sphinx writes them in every build, because the kept search index has lost their terms."""
    return [page for page, entries in env.get_domain("index").entries.items() if entries]


def words(page: str) -> tuple[str, dict[str, int]]:
    """The words of a page's article, and for each anchor the position in them where its part begins."""
    article = re.search(r'(?s)<article class="bd-article".*?</article>', page)
    readable = re.sub(
        r"(?s)<(script|style|svg|math|pre)\b.*?</\1>|<a class=\"headerlink\".*?</a>", "", article[0] if article else ""
    )
    text, starts = "", {}
    for tag, part in re.findall(r"(<[^>]*>)?([^<]*)", readable):
        if anchor := re.search(r'\sid="([^"]+)"', tag):
            starts[f"#{anchor[1]}"] = len(text)
        text += " ".join(html.unescape(part).split()) + " " * bool(part.strip())
    return text, starts


def with_words(app, page: str, template: str, context: dict, doctree) -> None:
    """Add the scripts with the words of all pages to the search page only."""
    if page == "search":
        for name in ("words.js", "search.js"):
            app.add_js_file(name, loading_method="defer")


def finish(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = [page for page in out.rglob("*.html") if "_static" not in page.parts]
    icons, words_by_page = set(), {}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if not text.endswith(DONE):  # a page that ends so was not rendered this time
            for pattern, replacement in MARKUP:
                text = re.sub(pattern, replacement, text)
            page.write_text(re.sub(r"<img\b[^>]*>", Pictures(page), text) + DONE, encoding="utf-8")
        icons.update(re.findall(r"\bfa-[a-z0-9-]+", text))
        words_by_page[page.relative_to(out).as_posix()] = words(text)
    (out / "_static/words.js").write_text(f"const WORDS = {json.dumps(words_by_page)};", encoding="utf-8")
    (out / "_static/scripts/fontawesome.js").unlink(missing_ok=True)  # missing if no page was rendered this time
    cut_icons(out / "_static", icons)
    front = FRONT.format(title=app.config.html_title, page=f"{app.config.master_doc}.html")
    (out / "index.html").write_text(front, encoding="utf-8")


class Pictures:
    """Replaces each picture of a page: a figure becomes inline SVG, any other picture gets its size.

    Such a picture loads when it is scrolled to, unless it is the first of its page.
    """

    def __init__(self, page: Path) -> None:
        self.page, self.seen = page, 0

    def __call__(self, tag: re.Match) -> str:
        source = re.search(r'src="([^":]+)"', tag[0])
        if not source or "width=" in tag[0]:
            return tag[0]
        self.seen += 1
        picture = self.page.parent / source[1]
        if picture.suffix == ".svg" and "matplotlib" in (svg := picture.read_text(encoding="utf-8")):
            return figure(svg, re.search(r'alt="([^"]*)"', tag[0])[1], self.seen)
        size = pixels(picture)
        lazy = ' loading="lazy"' if self.seen > 1 else ""
        return tag[0].replace("<img", f'<img width="{size[0]}" height="{size[1]}"{lazy}', 1)


def figure(svg: str, alt: str, number: int) -> str:
    """A matplotlib SVG as the ``number``-th figure of a page; its ids get a prefix, so that no two figures share one."""
    body = re.search(r"(<svg\b[^>]*>)(.*)", re.sub(r"(?s)<metadata>.*?</metadata>|<!--.*?-->", "", svg), re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', body[1])[0]
    width, height = map(float, box[9:-1].split()[2:])
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", body[2])]
    minimum = math.ceil(SMALLEST * width / min(sizes)) if sizes else 0
    rounded = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body[2])  # hundredths of a point
    # Nothing refers to a group; the page sets the font of words.
    content = ungrouped(re.sub(r"""(?<=<g) id="[^"]*"|font-family: 'DejaVu Sans', sans-serif;? ?""", "", rounded))
    content = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{number}-", content)
    content, links = re.subn(r'<a xlink:href="([^"]*?)#!([^"]*)"[^>]*>', link, content)
    content = re.sub(r"data:image/png;base64,([^\"]+)", lighter, content)
    content = re.sub(COLOUR, either, re.sub(r' transform="rotate\(-0 [^"]*"|(?<=\n) +', "", content))
    size = f'width="{round(ZOOM * width)}" height="{round(ZOOM * height)}" style="min-width: {minimum}px" {box}'
    wide = ' wide" tabindex="0" role="group" aria-label="A picture that scrolls sideways' if minimum > NARROWEST else ""
    return (
        f'<div class="frame{wide}"><svg fill="light-dark(#000, #fff)" role="{"group" if links else "img"}" aria-label="{alt}" '
        f'class="figure" {size}><g{"" if links else HIDDEN}>{content.rstrip().removesuffix("</svg>")}</g></svg></div>'
    )


def ungrouped(svg: str) -> str:
    """The same drawing without its groups that have no attribute."""
    kept: list[bool] = []  # of each open group

    def tag(match: re.Match) -> str:
        if not match[1]:
            kept.append(bool(match[2]))
        return match[0] * (kept.pop() if match[1] else kept[-1])

    return re.sub(r"<(/?)g\b([^>/]*)>\n?", tag, svg)


def link(match: re.Match) -> str:
    """The link of a point in a figure; :mod:`companion.front` puts the point's words behind the address."""
    words = html.escape(unquote(match[2]))
    return f'<a href="{match[1]}" aria-label="{words}"><title>{words}</title>'


def captioned(app, page: str, source: list[str]) -> None:
    """Reorder a notebook for readers: the answer and numbered figures come before the cells that made them."""
    if not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    book, cells, parameter_cells = json.loads(source[0]), [], []
    for cell in book["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        if {"parameters", "injected-parameters"} & tags:
            parameter_cells.append(cell)  # after the first picture
            continue
        if "live" in tags and Path(app.srcdir, "try/static/try/start.js").exists():
            cell["source"] = LIVE
        drawn = False
        for output in list(cell.get("outputs", [])):
            picture = output.get("metadata", {}).pop("picture", None)
            # Only for JupyterLab: a page has the caption below the picture.
            if "caption" in output.get("metadata", {}):
                cell["outputs"].remove(output)
                continue
            if not picture and not "".join(output.get("data", {}).get("text/markdown", "")).startswith(ANSWER):
                continue
            metadata = {"tags": ["remove-input"]}
            if picture:
                links = f'<a href="../_sources/{page}.ipynb" download>Notebook</a>'
                if "data" in picture:
                    data = Path(app.outdir, "data/pictures", f"{picture['name']}.csv")
                    data.parent.mkdir(parents=True, exist_ok=True)
                    data.write_text(picture["data"], encoding="utf-8")
                    note = f" (`{picture['read']}` keeps its names)" if "read" in picture else ""
                    links = f'<a href="../data/pictures/{data.name}" download>Data (CSV)</a>{note} · {links}'
                figure_options = {"caption": f"{picture['caption']} {links}", "name": picture["name"]}
                metadata["mystnb"] = {"image": {"alt": picture["alt"]}, "figure": figure_options}
                drawn = True
            name = picture["name"] if picture else "answer"
            picture_cell = {
                "cell_type": "code",
                "source": "# shown",
                "execution_count": None,
                "id": f"shown-{name}",
                "outputs": [output],
            }
            cells.append(picture_cell | {"metadata": metadata})
            cell["outputs"].remove(output)
        if drawn or (cell["cell_type"] == "markdown" and "live" not in tags):
            cells += parameter_cells
            parameter_cells = []
        cells.append(cell)
    book["cells"] = cells + parameter_cells
    source[0] = json.dumps(book)


def lighter(match: re.Match) -> str:
    """Convert an embedded PNG to WebP."""
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as picture:
        picture.save(packed := io.BytesIO(), "webp", quality=60)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def either(match: re.Match) -> str:
    """A colour for light and dark pages: white becomes the page's background, any other gets inverted lightness."""
    colour = match[0].lower()
    if colour == "#ffffff":
        return "var(--pst-color-background, #fff)"
    hue, light, saturation = colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    dark = "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, 1 - light, saturation))
    return f"light-dark({colour}, #{dark})"


def pixels(picture: Path) -> tuple[int, int]:
    """Width and height in CSS pixels."""
    if picture.suffix != ".svg":
        with Image.open(picture) as image:
            return image.size
    (root,) = re.findall(r"<svg\b[^>]*>", picture.read_text(encoding="utf-8"))[:1]
    units = {"pt": 4 / 3, "px": 1, "": 1}
    lengths = [re.search(rf'\b{side}="([\d.]+)(pt|px|)"', root) for side in ("width", "height")]
    if not all(lengths):
        *_, width, height = re.search(r'viewBox="([^"]+)"', root)[1].replace(",", " ").split()
        return round(float(width)), round(float(height))
    return tuple(round(float(match[1]) * units[match[2]]) for match in lengths)


def cut_icons(static: Path, icons: set[str]) -> None:
    """Keep only the style rules and the font's glyphs of ``icons``, and the glyphs that other rules of the theme use."""
    style = static / "styles/pydata-sphinx-theme.css"
    glyphs = []

    def rule(match: re.Match) -> str:
        if not icons & {f"fa-{name}" for name in re.findall(r"\.fa-([a-z0-9-]+):before", match[1])}:
            return ""
        glyphs.append(int(match[2], 16))
        return match[0]

    text = style.read_text(encoding="utf-8")
    text = re.sub(r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}', rule, text)
    fonts = static / "vendor/fontawesome/webfonts"
    theme_glyphs = {int(code, 16) for code in re.findall(r'content:"\\(f[0-9a-f]{3})"', text)}  # from other rules
    # Before links to code.
    theme_glyphs |= {ord(glyph) for glyph in re.findall(r'--pst-icon-git(?:hub|lab):"(.)"', text)}
    options = subset.Options(flavor="woff", layout_features=[], hinting=False)
    for font in fonts.glob("*.ttf"):
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes={*glyphs, *theme_glyphs})
        with subset.load_font(font, options) as face:
            subsetter.subset(face)
            subset.save_font(face, font.with_suffix(".woff"), options)
        for unused in (font, font.with_suffix(".woff2")):
            unused.unlink()
    text = re.sub(
        r'url\(([^)]*)\.woff2\) format\("woff2"\),url\([^)]*\.ttf\) format\("truetype"\)',
        r'url(\1.woff) format("woff")',
        text,
    )
    style.write_text(text, encoding="utf-8")


def setup(app):
    # This extension does not declare that pages may be read in parallel. It is safe: it only numbers a table of contents.
    app.extensions["sphinx_multitoc_numbering"].parallel_read_safe = True
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    # "Picture", since "Figure" means the paper's own figures
    app.connect("config-inited", lambda _, config: config.numfig_format.update(figure="Picture %s"))
    app.connect("source-read", captioned)
    app.connect("env-updated", indexed)
    app.connect("html-page-context", with_words)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
