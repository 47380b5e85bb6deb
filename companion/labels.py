"""Names and shares as pages write them; names from people's tables and files letter by letter, and never as code.

* :func:`display_name`, :func:`share`: a run's name, and a share of one in per cent, wherever they are written;
* :func:`markdown`: Markdown, HTML and mathematics in a name are shown, not read;
* :func:`cells`: a name that a spreadsheet would compute is text;
* :func:`misread`: columns whose names pandas' defaults take for numbers or missing values; :func:`call` does not.

Words inside figures need none of this: :func:`companion.figures.style` turns matplotlib's mathematics off, and it writes
SVG as XML.
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
UNITS = {
    name: f"{name}, share of one" for name in ("estimate", "low", "high", "first_estimate", "second_estimate")
}  # of accuracies and differences
LABELS = ("corpus", "file", "speaker", "true", "predicted")  # columns of names
# How a reader meets each run and baseline.
DISPLAY_NAMES = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))


def display_name(run: str) -> str:
    """``Student alone`` for ``student-alone``; of a run with steps, their names as well."""
    base, *steps = run.split("+")
    return " + ".join((DISPLAY_NAMES[base], *steps))


def share(value: float, digits: int = 0, sign: str = "") -> str:
    """``59 %`` for 0.59: a share of one in per cent, on one line; by the ``sign`` ``+`` a difference has one."""
    return f"{100 * value:{sign}z.{digits}f}\N{NO-BREAK SPACE}%"


def markdown(words: object) -> str:
    """``words`` in one line, with a backslash before what Markdown would read."""
    escaped = MARKUP.sub(r"\\\g<0>", " ".join(str(words).split()))
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)  # begins no list


def _texts(table: "pd.DataFrame") -> list[str]:
    return list(table.select_dtypes(exclude=["number", "bool"]))


def cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table for CSV, every name as :func:`serlib.files.cell` writes it."""
    quoted = {name: table[name].map(lambda one: cell(one) if isinstance(one, str) else one) for name in _texts(table)}
    return table.assign(**quoted).rename(columns=cell)


def misread(table: "pd.DataFrame") -> dict[str, list[str]]:
    """By column the names that ``pandas.read_csv`` would change by its defaults."""
    import pandas as pd

    changed = {}
    for name in _texts(table):
        given = table[name].dropna().astype(str).drop_duplicates().reset_index(drop=True)
        again = pd.read_csv(io.StringIO(given.to_frame(name).assign(last=0).to_csv(index=False)))[name]
        found = [one for one, read in zip(given, again, strict=True) if one not in ("", read)]
        changed |= {name: found} if found else {}
    return changed


def call(file: str, columns: Iterable[str] = LABELS) -> str:
    """How pandas reads a CSV file so that the names in ``columns`` stay as they are."""
    kinds = ", ".join(f"{name!r}: str" for name in columns)
    return f"pd.read_csv({file}, dtype={{{kinds}}}, keep_default_na=False, na_values=[''])"


def note(table: "pd.DataFrame") -> str:
    """What a command says of names that pandas' defaults would change; "" where there are none."""
    changed = misread(table)
    few = ", ".join(dict.fromkeys(name for names in changed.values() for name in names[:3]))
    said = f"{few}: pandas' defaults read such names as numbers or as missing; {call('FILE', changed)} keeps them"
    return said if few else ""
