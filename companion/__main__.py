"""``python -m companion``: what the records say, for readers; `python -m serlib` makes the records."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from serlib import cli
from serlib.data import corpora
from serlib.errors import SerlibError
from serlib.files import atomic_write, spare

RESULTS = Path("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    return cli.run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, command = cli.commands("companion", "The evidence on Kim & Lee (2024): what is measured, and what it says.")

    command("claims", _claims, "What is found of each claim, by the stated rule.")
    sub = command("table", _table, "Every prediction of every record as one table, a row each.")
    sub.add_argument("records", nargs="*", type=Path, help="records, or folders of them (default: the committed ones)")
    sub.add_argument("--out", type=Path, required=True, help="the .csv file to write, or .parquet")
    return parser


def _claims(options: argparse.Namespace) -> None:
    from tabulate import tabulate

    from companion import evidence

    if not RESULTS.is_dir():
        raise SerlibError(f"{RESULTS}: no such folder; run it in the folder of the repository")
    verdicts = evidence.read(Path()).rows("verdicts")
    rows = [(row["claim"], row["part"], row["finding"], row["sentence"]) for row in verdicts]
    widths = (12, 30, None, max(30, shutil.get_terminal_size().columns - 64))
    print(tabulate(rows, ("claim", "part", "finding", "what it rests on"), maxcolwidths=widths))


def _table(options: argparse.Namespace) -> None:
    formats = {".csv": "to_csv", ".parquet": "to_parquet"}
    if options.out.suffix not in formats:
        raise SerlibError(f"{options.out}: the table is written as one of {', '.join(formats)}")

    from companion import evidence, labels, results

    spare(options.out, *options.records)
    paths = options.records
    table = results.predictions(cli.read(paths)) if paths else evidence.read(Path()).predictions
    csv = options.out.suffix == ".csv"
    try:
        with atomic_write(options.out) as temporary:
            getattr(labels.cells(table) if csv else table, formats[options.out.suffix])(temporary, index=False)
    except ImportError as error:
        raise SerlibError(f"{options.out}: Parquet needs pyarrow, which is not installed; give a .csv file") from error
    print(f"{options.out}: {len(table):,} predictions")
    message = labels.note(table) if csv else ""
    if message:
        print(corpora.printable(f"serlib: note: {message}"), file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
