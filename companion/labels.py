"""Names from people's tables and files, as they are written into pages and CSV: letter by letter, and never as code.

* :func:`markdown`: Markdown, HTML and mathematics in a name are shown, not read;
* :func:`cells`: a name that a spreadsheet would compute is text;
* :func:`misread`: names that pandas' defaults take for numbers or missing values, and the call that does not.

Words inside figures need none of this: :func:`companion.figures.style` turns matplotlib's mathematics off, and it writes
SVG as XML.
"""

import io
import re

import pandas as pd

MARKUP = re.compile(r"[\\`*_<|$&{~]|\](?=[(\[:{])")
FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that a spreadsheet computes
LABELS = ("file", "speaker", "true", "predicted")  # columns of names
READ_CSV = f"pd.read_csv(FILE, dtype={{{', '.join(repr(name) + ': str' for name in LABELS)}}}, keep_default_na=False)"


def markdown(words: object) -> str:
    """``words`` in one line, with a backslash before what Markdown would read."""
    return MARKUP.sub(r"\\\g<0>", " ".join(str(words).split()))


def _texts(table: pd.DataFrame) -> list[str]:
    return [
        c for c in table if not pd.api.types.is_numeric_dtype(table[c]) and not pd.api.types.is_bool_dtype(table[c])
    ]


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table for CSV: an apostrophe, the spreadsheets' mark of text, before every name that begins like a formula."""

    def quoted(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

    return table.assign(**{name: table[name].map(quoted) for name in _texts(table)})


def misread(table: pd.DataFrame) -> str:
    """Names that ``pandas.read_csv`` would change by its defaults, a few of them, and how to read them; "" for none."""
    changed = []
    for name in table.columns.intersection(LABELS):
        given = table[name].dropna().astype(str).drop_duplicates().reset_index(drop=True)
        again = pd.read_csv(io.StringIO(given.to_frame(name).assign(last=0).to_csv(index=False)))[name]
        changed += [one for one, read in zip(given, again, strict=True) if one not in ("", read)]
    few = ", ".join(dict.fromkeys(changed[:3]))
    return f"{few}: pandas' defaults read such names as numbers or as missing; {READ_CSV} keeps them" if few else ""
