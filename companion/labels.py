"""Names and shares as pages write them; names from users' tables and files appear letter by letter, never as code.

Words inside figures need no escaping: :func:`companion.figures.style` turns matplotlib's mathematics off, and
matplotlib writes SVG as XML.
"""

import io
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from serlib.files import cell

if TYPE_CHECKING:
    import pandas as pd

MARKUP = re.compile(r"[\\`*_<|$&{~]|\](?=[(\[:{])|^[-+#>%:(=]")
# Of accuracies and differences.
UNITS = {name: f"{name}, share of one" for name in ("estimate", "low", "high", "first_estimate", "second_estimate")}
LABELS = ("corpus", "file", "speaker", "true", "predicted")  # columns of names
# How a reader meets each run and baseline.
DISPLAY_NAMES = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))


def display_name(run: str) -> str:
    """``Student alone`` for ``student-alone``; a run with steps also shows the names of its steps."""
    base, *steps = run.split("+")
    return " + ".join((DISPLAY_NAMES[base], *steps))


def share(value: float, digits: int = 0, sign: str = "") -> str:
    """``59 %`` for 0.59: a share of one in per cent, on one line; ``sign="+"`` shows the sign of a difference."""
    return f"{100 * value:{sign}z.{digits}f}\N{NO-BREAK SPACE}%"


def markdown(words: object) -> str:
    """``words`` in one line, with a backslash before each character that Markdown would interpret."""
    escaped = MARKUP.sub(r"\\\g<0>", " ".join(str(words).split()))
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)  # begins no list


def _texts(table: "pd.DataFrame") -> list[str]:
    return list(table.select_dtypes(exclude=["number", "bool"]))


def cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table for CSV, every name as :func:`serlib.files.cell` writes it."""
    quoted = {name: table[name].map(lambda v: cell(v) if isinstance(v, str) else v) for name in _texts(table)}
    return table.assign(**quoted).rename(columns=cell)


def misread(table: "pd.DataFrame") -> dict[str, list[str]]:
    """The names that ``pandas.read_csv`` would change by its defaults, by column."""
    import pandas as pd

    changed = {}
    for name in _texts(table):
        names = table[name].dropna().astype(str).drop_duplicates().reset_index(drop=True)
        reread = pd.read_csv(io.StringIO(names.to_frame(name).assign(last=0).to_csv(index=False)))[name]
        altered = [before for before, after in zip(names, reread, strict=True) if before not in ("", after)]
        changed |= {name: altered} if altered else {}
    return changed


def call(file: str, columns: Iterable[str] = LABELS) -> str:
    """The call with which pandas reads a CSV file and leaves the names in ``columns`` as they are."""
    kinds = ", ".join(f"{name!r}: str" for name in columns)
    return f"pd.read_csv({file}, dtype={{{kinds}}}, keep_default_na=False, na_values=[''])"


def note(table: "pd.DataFrame") -> str:
    """A command's note on names that pandas' defaults would change; "" if there are none."""
    changed = misread(table)
    sample = ", ".join(dict.fromkeys(name for names in changed.values() for name in names[:3]))
    message = f"{sample}: pandas' defaults read such names as numbers or as missing; {call('FILE', changed)} keeps them"
    return message if sample else ""
