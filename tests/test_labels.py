"""Names from people's tables and files reach pages and CSV letter by letter; none runs, hides or is lost."""

import html
import io
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from helpers import tiny_record
from markdown_it import MarkdownIt

from companion import figures, labels, text
from companion.__main__ import main
from serlib import records
from workflow import describe, execute

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


@pytest.mark.parametrize("name", [*HOSTILE, "$", "$\\frac$", "a\\$b"])
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


FORMULAS = ("=HYPERLINK(A1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "=1,2", '="x"')


@pytest.mark.parametrize("name", FORMULAS)
def test_a_name_that_a_spreadsheet_would_compute_is_text(name):
    table = pd.DataFrame({"speaker": [name, "Ada"], "right": [-1.5, 2.0]})
    written = pd.read_csv(io.StringIO(labels.cells(table).to_csv(index=False)))
    assert written["speaker"].tolist() == [f"'{name}", "Ada"]
    assert written["right"].tolist() == [-1.5, 2.0]


MISREAD = ("NA", "None", "nan", "null", "N/A", "NULL", "n/a", "<NA>", "#N/A", "03", "1e5", "True", "1.50")


@pytest.mark.parametrize("name", MISREAD)
def test_a_name_that_pandas_would_change_is_said_with_the_call_that_keeps_it(name, tmp_path, capsys):
    record = tiny_record()
    parts = {
        part: type(of)(of.file, tuple(name for _ in of.file), of.true, of.predicted)
        for part, of in record.parts.items()
    }
    records.write(tiny_record(parts=parts, emotions=(name, "sadness")), tmp_path / "run.json")
    assert main(["table", str(tmp_path / "run.json"), "--out", str(tmp_path / "results.csv")]) == 0
    said = capsys.readouterr().err
    assert said.startswith(
        f"serlib: note: {name}: pandas' defaults read such names as numbers or as missing; pd.read_csv("
    )
    call = re.search(r"pd\.read_csv\((FILE, .*)\) keeps them", said)[1]
    table = eval(f"pd.read_csv({call})", {"pd": pd, "FILE": tmp_path / "results.csv", "str": str})
    assert set(table["speaker"]) == {name}
    assert set(table["true"]) == {name, "sadness"}
    assert set(table["correct"]) == {0, 1}


def test_names_that_every_reader_takes_as_they_are_need_no_note():
    assert labels.misread(pd.DataFrame({"speaker": ["Ada", "A3"], "true": ["joy", "rage"], "n": [1, 2]})) == ""


def test_the_call_on_every_page_is_the_one_that_keeps_names():
    assert labels.READ_CSV.replace("FILE", f"'{describe.TABLE}'") in execute.card(
        "confusion", {}, "c" * 40, "2026-01-31"
    )
