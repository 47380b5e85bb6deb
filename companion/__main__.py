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

    sub = command("claims", _claims, "What is found of each claim, by the stated rule.")
    sub.add_argument("--markdown", action="store_true", help="a line a claim in Markdown, for pages")

    sub = command("table", _table, "Every prediction of every record as one table, a row each.")
    sub.add_argument("records", nargs="*", type=Path, help="records, or folders of them (default: the committed ones)")
    sub.add_argument("--out", type=Path, required=True, help="the .csv file to write, or .parquet")

    summary = "How far listeners recognised each recording of EmoDB or CREMA-D."
    sub = command("listeners", _listeners, summary, cli.corpus_options)
    sub.add_argument("--ratings", type=Path, help="erkennung.txt or summaryTable.csv (default: in --data)")
    sub.add_argument("--out", type=Path, help="CSV table to write")

    summary = "The log-Mel images of a few test utterances and what networks make of them, for figures."
    sub = command("examples", _examples, summary, cli.corpus_options)
    sub.add_argument("--record", type=Path, required=True, help="the run whose test set they are chosen from")
    weights = "of the networks whose attention and tokens are kept, in the order of figures"
    sub.add_argument("--weights", type=Path, nargs="*", default=[], help=weights)
    sub.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    return parser


def _examples(options: argparse.Namespace) -> None:
    from companion import examples
    from serlib import records
    from studies import frontends

    spare(options.out, options.record, *options.weights)
    loaded = [frontends.load(path) for path in options.weights]
    networks = {about["result"]: network for network, about in loaded}
    number = examples.save(records.read(options.record), cli.load(options), options.out, networks)
    print(f"{options.out}: {number} utterances, {options.out.stat().st_size / 1e6:.1f} MB")


def _claims(options: argparse.Namespace) -> None:
    from tabulate import tabulate

    from companion import evidence

    if not RESULTS.is_dir():
        raise SerlibError(f"{RESULTS}: no such folder; run it in the folder of the repository")
    verdicts = evidence.read(Path()).rows("verdicts")
    if options.markdown:
        line = "**{}:** {part}. **{}.** {sentence}"
        print("\n".join(line.format(of["claim"].capitalize(), of["finding"].capitalize(), **of) for of in verdicts))
    else:
        rows = [(of["claim"], of["part"], of["finding"], of["sentence"]) for of in verdicts]
        widths = (12, 30, None, max(30, shutil.get_terminal_size().columns - 64))
        print(tabulate(rows, ("claim", "part", "finding", "what it rests on"), maxcolwidths=widths))


def _table(options: argparse.Namespace) -> None:
    formats = {".csv": "to_csv", ".parquet": "to_parquet"}
    if options.out.suffix not in formats:
        raise SerlibError(f"{options.out}: the table is written as one of {', '.join(formats)}")

    from companion import evidence, labels, results

    spare(options.out, *options.records)
    given = options.records
    table = results.predictions(cli.read(given)) if given else evidence.read(Path()).predictions
    csv = options.out.suffix == ".csv"
    try:
        with atomic_write(options.out) as beside:
            getattr(labels.cells(table) if csv else table, formats[options.out.suffix])(beside, index=False)
    except ImportError as error:
        raise SerlibError(f"{options.out}: Parquet needs pyarrow, which is not installed; give a .csv file") from error
    print(f"{options.out}: {len(table):,} predictions")
    if csv:
        _note(table)


def _note(table: "pd.DataFrame") -> None:
    from companion import labels

    if said := labels.note(table):
        print(corpora.printable(f"serlib: note: {said}"), file=sys.stderr)


def _listeners(options: argparse.Namespace) -> None:
    from companion import listeners
    from serlib import metrics

    corpus = cli.load(options)
    ratings = options.ratings or cli.data(options) / listeners.RATINGS.get(corpus.name, "")
    recognised = listeners.recognised(corpus, ratings)
    if options.out:
        spare(options.out, ratings)
        _note(listeners.save(corpus, recognised, options.out))
    at = metrics.interval(recognised, [u.speaker for u in corpus.utterances])
    interval = f"{at.estimate:.1%} [{at.low:.1%}, {at.high:.1%}]"
    print(f"{corpus.name}: listeners recognised {interval} of {len(recognised):,} utterances")


if __name__ == "__main__":
    raise SystemExit(main())
