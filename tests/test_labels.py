"""Names from people's tables and files reach pages and CSV letter by letter; none runs, hides or is lost."""

import ast
import html
import io
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pyarrow
import pytest
from bs4 import BeautifulSoup
from helpers import outcome, tiny_emodb, tiny_record, write_wav
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from matplotlib.figure import Figure
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pyarrow import csv
from test_browser import BOOK, unavailable
from test_kept import CITATION
from test_render import checkout as checkout
from test_render import render as render
from test_render import rendered as rendered

from companion import figures, labels, node, notebook, results, text
from companion.__main__ import main
from serlib import cli, records
from serlib.data import facts
from serlib.data.corpora import Corpus, Excluded, Utterance
from workflow import describe, execute, listeners

ROOT = Path(__file__).parents[1]

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</td></table><b>",
    "joy|rage",
    "*joy*",
    "__joy__",
    "`joy`",
    "~~joy~~",
    "[joy](javascript:alert(1))",
    "![joy](x.png)",
    "[joy]: http://example.org",
    "<http://example.org>",
    "&lt;joy&gt;",
    "&copy",
    "joy\\|rage\\",
    "{{ speech }}",
    "{math}`x`",
    "$x^2$ and $y_1$",
    "$$x$$",
    "a_b_c.wav",
    "take [2].wav",
    "joy & rage",
    "a ``` b",
)


def shown(markdown: str) -> str:
    """The text that a reader sees of a table's last cell; an assertion fails where it holds an element."""
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    cell = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)[-1]
    assert not re.search(r"<[a-zA-Z/!]", cell), cell
    return html.unescape(cell)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_letter_by_letter_in_a_table_and_in_a_sentence(name):
    assert shown(text.table(("emotion", "n"), [["1", labels.markdown(name)]]).data) == name
    assert shown(f"| a |\n| --- |\n| Recall is highest for {labels.markdown(name)} (3 %). |") == (
        f"Recall is highest for {name} (3 %)."
    )


BEGINNINGS = [
    "- joy",
    "+ joy",
    "1. joy",
    "2024) joy",
    "# joy",
    "> joy",
    "---",
    "+++",
    "(joy)=",
    "% joy",
    ":::{note}",
    "===",
]


@pytest.mark.parametrize("name", [*HOSTILE, *BEGINNINGS])
def test_a_name_that_begins_a_line_is_a_paragraph(name):
    rendered = create_md_parser(MdParserConfig(enable_extensions={"colon_fence", "dollarmath"}), RendererHTML)
    assert html.unescape(rendered.render(labels.markdown(name))) == f"<p>{name}</p>\n"


@pytest.mark.parametrize("name", ["$", "$\\frac$", "a\\$b"])
def test_a_name_is_shown_letter_by_letter_in_a_figure(name):
    figures.style()
    figure, ax = plt.subplots()
    ax.set_title(name)
    written = io.BytesIO()
    figure.savefig(written, format="svg")
    plt.close(figure)
    words = re.findall(r"<text[^>]*>(.*?)</text>", written.getvalue().decode(), re.DOTALL)
    assert name in [html.unescape(word) for word in words]
    assert not re.search(r"<(img|script|b)\b", written.getvalue().decode())


FORMULAS = ("=HYPERLINK(A1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "=1,2", '="x"', "\uff1dSUM(1)", "\uff20SUM(1)")
UNSEEN = ("\u200b=1+1", "\ufeff=1+1", "\u2060\u00ad@SUM(1)", "\u202e+1", "\u22121+1", "\u2800=1+1", "'=1+1", "(=1+1")


@pytest.mark.parametrize("name", [*FORMULAS, " =1+1", "\u00a0-1+1", "\n=1+1", *UNSEEN])
def test_a_name_that_a_spreadsheet_would_compute_is_text(name):
    table = pd.DataFrame({"speaker": [name, "Ada"], "right": [-1.5, 2.0]})
    written = pd.read_csv(io.StringIO(labels.cells(table).to_csv(index=False)))
    assert written["speaker"].tolist() == [f"'{name}", "Ada"]
    assert written["right"].tolist() == [-1.5, 2.0]


def as_called(call: str, file: object) -> pd.DataFrame:
    """What the call ``pd.read_csv(FILE, ...)`` that a note or a page shows reads from a file."""
    return eval(call, {"pd": pd, "FILE": file, "str": str})  # nosec B307


MISREAD = ("NA", "None", "nan", "null", "N/A", "NULL", "n/a", "<NA>", "#N/A", "03", "1e5", "True", "1.50")


@pytest.mark.parametrize("name", MISREAD)
def test_a_name_that_pandas_would_change_is_said_with_the_call_that_keeps_it(name, tmp_path, capsys):
    record = tiny_record()
    parts = {
        part: type(of)(of.file, tuple(name for _ in of.file), of.true, of.predicted)
        for part, of in record.parts.items()
    }
    record = tiny_record(parts=parts, emotions=(name, "sadness"), split="a5" * 32)
    records.write(record, tmp_path / "run.json")
    assert main(["table", str(tmp_path / "run.json"), "--out", str(tmp_path / "results.csv")]) == 0
    said = capsys.readouterr().err
    assert said.startswith(
        f"serlib: note: {name}: pandas' defaults read such names as numbers or as missing; pd.read_csv("
    )
    table = as_called(re.search(r"(pd\.read_csv\(FILE, .*\)) keeps them", said)[1], tmp_path / "results.csv")
    assert set(table["speaker"]) == {name}
    assert set(table["true"]) == {name, "sadness"}
    assert set(table["correct"]) == {0, 1}


def test_names_that_every_reader_takes_as_they_are_need_no_note():
    assert labels.note(pd.DataFrame({"speaker": ["Ada", "A3"], "true": ["joy", "rage"], "n": [1, 2]})) == ""


def test_the_call_on_every_page_keeps_names_of_both_tables(tmp_path):
    """A corpus called NA or 007 too, and a missing number stays missing."""
    card = execute.card("confusion", {}, "c" * 40, "2026-01-31")
    call = re.search(r"`(pd\.read_csv\(FILE, .*\))` keeps every name", card)[1]
    made = [*outcome("teacher", {"03": 4}, corpus="007"), *outcome("teacher", {"03": 4}, corpus="NA")]
    describe.write(results.predictions(made), node.runs(made), tmp_path, CITATION)
    for name in (describe.TABLE, "runs.csv"):
        assert set(as_called(call, tmp_path / name)["corpus"]) == {"007", "NA"}
    assert set(pd.read_csv(tmp_path / "runs.csv")["corpus"].dropna()) != {"007", "NA"}
    read = as_called(call, io.StringIO("corpus,right\nNA,1.5\n007,\n"))
    assert read["right"].tolist()[0] == 1.5
    assert read["right"].isna().tolist() == [False, True]


def displayed(monkeypatch, *given) -> list[nbformat.NotebookNode]:
    """What :func:`companion.notebook.picture` shows, as outputs of a cell."""
    shown = []

    def display(what, metadata):
        if isinstance(what, Figure):
            what.savefig(drawn := io.StringIO(), format="svg")
            data = {"image/svg+xml": drawn.getvalue()}
        else:
            data = {"text/markdown": what.data}
        shown.append(nbformat.v4.new_output("display_data", data, metadata=metadata))

    monkeypatch.setattr(notebook, "display", display)
    notebook.picture(*given)
    return shown


@pytest.mark.parametrize("name", [*MISREAD, "Ada"])
def test_the_csv_of_a_picture_carries_the_call_that_keeps_its_names(name, monkeypatch):
    table = pd.DataFrame({"speaker": [name, name], "true": ["joy", "rage"], "right": [1.5, None]})
    about = displayed(monkeypatch, plt.figure(), "here", "What it is.", "What it shows.", table)[0].metadata["picture"]
    assert ("read" in about) == (name in MISREAD)
    call = about.get("read", "pd.read_csv('here.csv')").replace("'here.csv'", "FILE")
    read = as_called(call, io.StringIO(about["data"]))
    assert read["speaker"].tolist() == [name, name]
    assert read["right"].isna().tolist() == [False, True]


BUILT = sorted(path for kind in ("csv", "csv.gz") for path in BOOK.rglob(f"*.{kind}"))


@pytest.mark.parametrize("path", BUILT or [None], ids=lambda path: path and path.name)
def test_every_csv_that_pages_offer_is_read_right_or_carries_a_note(path):
    """By pandas' defaults: no name is lost or changed, or a page that offers the file has the call that keeps it."""
    if path is None:
        unavailable(f"no book is built in {BOOK}")
    words = dict.fromkeys(pd.read_csv(path, nrows=0), pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
    raw = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=words)).to_pandas()

    def changed(read: pd.DataFrame) -> list[str]:
        found = []
        for name in raw:
            got = read[name]
            words = raw[name].cat.categories[raw[name].cat.categories != ""]
            lost = set(raw[name][got.isna().to_numpy()]) - {""}
            other = [word for word in words if not re.fullmatch(NUMBER, word) and word.title() not in ("True", "False")]
            found += [name] if lost or (other and pd.api.types.is_numeric_dtype(got)) else []
        return found

    if damaged := changed(pd.read_csv(path)):
        pages = [page.read_text(encoding="utf-8") for page in BOOK.rglob("*.html")]
        texts = [html.unescape(re.sub(r"<[^>]*>", "", page)) for page in pages if f"/{path.name}" in page]
        calls = {found for page in texts for found in re.findall(r"pd\.read_csv\((FILE|'[^']*'), (.*?\])\)", page)}
        here = {how for file, how in calls if file in ("FILE", f"'{path.name}'")}
        assert here, f"{path.name}: {damaged} and no page says how it is read"
        for how in here:
            assert changed(as_called(f"pd.read_csv(FILE, {how})", path)) == []


NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?(e[-+]\d+)?"


def test_names_run_nowhere_in_a_built_page(checkout, rendered, monkeypatch):
    """Those of a table, an excluded file and a picture; each is shown letter by letter."""
    figures.style()
    figure, axes = plt.subplots()
    axes.set_yticks(range(len(HOSTILE)), HOSTILE)
    counts = pd.DataFrame({"true": HOSTILE, "utterances": range(len(HOSTILE))})
    recalls = text.extremes(dict.fromkeys(HOSTILE, 0.5))
    drawn = displayed(monkeypatch, figure, "here", "Recall.", f"Recall goes {recalls}. {' '.join(HOSTILE)}", counts)
    spoken = tuple(Utterance(f"{i}.wav", Path(), name, "", name) for i, name in enumerate(HOSTILE))
    excluded = tuple(Excluded(name, f"identical to {name}") for name in HOSTILE)
    corpus = Corpus("mine", "recordings", spoken, excluded, HOSTILE)
    tables = []
    for cell in nbformat.read(ROOT / "notebooks/this_build.ipynb", as_version=4).cells:
        if "build.corpora()" in cell.source:
            *before, last = ast.parse(cell.source).body
            known = {"build": SimpleNamespace(corpora=lambda: [corpus]), "facts": facts, "labels": labels, "text": text}
            exec(compile(ast.Module(before, []), "", "exec"), known)  # nosec B102
            tables.append(eval(compile(ast.Expression(last.value), "", "eval"), known).data)  # nosec B307
    assert len(tables) == 2
    outputs = [drawn, *([nbformat.v4.new_output("execute_result", {"text/markdown": table})] for table in tables)]
    language = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    cells = [nbformat.v4.new_markdown_cell("# Hostile")]
    cells += [nbformat.v4.new_code_cell("1", outputs=shown) for shown in outputs]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=language), checkout / "book/two.ipynb")
    (checkout / "book/two.md").unlink()
    page = rendered()["two"][0]
    article = BeautifulSoup(page, "html.parser").find("article")
    assert not [tag for tag in article.find_all(True) if {"onerror", "onload"} & set(tag.attrs)]
    assert not article.find_all(["script", "img", "em", "strong", "del", "b", "math"])
    assert not [link for link in article.find_all("a") if not link["href"].startswith(("#", "../", "http"))]
    cells = [cell.get_text().strip() for cell in article.find_all("td")]
    words = [word.get_text() for word in article.find_all("text")]
    label = article.find("svg", class_="figure")["aria-label"]
    for name in HOSTILE:
        assert name in cells
        assert f"identical to {name}" in cells
        assert any(f"{name} 1" in cell for cell in cells)  # by emotion
        assert name in words
        assert name in label


def test_a_file_name_that_a_spreadsheet_would_compute_is_text_in_the_table_of_splits(tmp_path):
    files, rows = [name.replace("/", "_") + ".wav" for name in FORMULAS], ["path\tspeaker\temotion"]
    for number, key in enumerate([*files, *(f"{i}.wav" for i in range(4))]):
        write_wav(tmp_path / key, seed=number)
        quoted = key.replace('"', '""')
        rows.append(f'"{quoted}"\tA{number % 3}\t{("joy", "rage")[number % 2]}')
    (tmp_path / "own.csv").write_text("\n".join(rows))
    assert cli.main(["audit", "own", "--data", str(tmp_path / "own.csv"), "--out", str(tmp_path / "splits")]) == 0
    tables = [pd.read_csv(path) for path in (tmp_path / "splits").glob("*.csv")]
    assert tables
    for table in tables:
        assert {f"'{file}" for file in files} <= set(table["file"])
        assert not [key for key in table["file"] if key[0] in "=+-@"]


def test_the_table_of_listeners_carries_the_call_that_keeps_its_names(tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb", ("03", "08"))
    names = sorted(path.name for path in (folder / "wav").iterdir())
    lines = ["Satz\terkannt\tnatürlich", *(f"{i}\t{name}\t90,00\t50,00" for i, name in enumerate(names))]
    (folder / "erkennung.txt").write_text("\n".join(lines), encoding="latin-1")
    assert listeners.main(["emodb", "--data", str(folder), "--out", str(tmp_path / "a.csv")]) == 0
    said = capsys.readouterr().err
    call = re.search(r"^serlib: note: 03, 08: .*; (pd\.read_csv\(FILE, .*\)) keeps them$", said, re.M)[1]
    table = as_called(call, tmp_path / "a.csv")
    assert (set(table["speaker"]), set(table["recognised"])) == ({"03", "08"}, {0.9})
