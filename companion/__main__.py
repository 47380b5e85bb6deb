"""``python -m companion``: what the records say, for readers; `python -m serlib` makes the records."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serlib import cli
from serlib.data import corpora
from serlib.errors import SerlibError
from serlib.files import spare

RESULTS = Path("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    return cli.run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, command = cli.commands("companion", "The evidence on Kim & Lee (2024): what is measured, and what it says.")

    sub = command("evidence", _evidence, "The runs that the book's claims rest on, experiment by experiment.")
    sub.add_argument("corpus", help=cli.CORPORA)
    sub.add_argument("--runs", type=Path, default=RESULTS, help="folder in which records are looked for")

    sub = command("claims", _claims, "The verdict on each claim, by the stated rule.")
    sub.add_argument("--results", type=Path, default=RESULTS, help="folder of records and probes")

    sub = command("table", _table, "Every prediction of every record as one table, a row each.")
    sub.add_argument(
        "records", nargs="*", type=Path, default=[RESULTS / "recordings"], help="records, or folders of them"
    )
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


def _evidence(options: argparse.Namespace) -> None:
    from companion import experiments
    from serlib.data import corpora

    corpora.check_name(options.corpus)
    for number, experiment in enumerate(experiments.experiments_of(options.corpus), 1):
        places = list(experiment.places(options.corpus))
        there = sum((options.runs / place).exists() for place in places)
        print(f"{number:2}  {experiment.title}: {there} of {len(places)} records")


def _claims(options: argparse.Namespace) -> None:
    from companion import claims, paper, results, text
    from studies import probes

    predicted = results.predictions(cli.read([options.results / "recordings"]))
    tokens = results.tokens(probes.read_all(options.results / "probes"))
    for claim in paper.CLAIMS:
        print(text.verdict(claims.verdict(claim.key, predicted, tokens)))


def _table(options: argparse.Namespace) -> None:
    formats = {".csv": "to_csv", ".parquet": "to_parquet"}
    if options.out.suffix not in formats:
        raise SerlibError(f"{options.out}: the table is written as one of {', '.join(formats)}")

    from companion import labels, results
    from serlib.files import atomic_write

    spare(options.out, *options.records)
    table = results.predictions(cli.read(options.records))
    note = ""
    if options.out.suffix == ".csv":
        table, note = labels.cells(table), labels.misread(table)
    try:
        with atomic_write(options.out) as beside:
            getattr(table, formats[options.out.suffix])(beside, index=False)
    except ImportError as error:
        raise SerlibError(f"{options.out}: Parquet needs pyarrow, which is not installed; give a .csv file") from error
    print(f"{options.out}: {len(table):,} predictions")
    if note:
        print(corpora.printable(f"serlib: note: {note}"), file=sys.stderr)


def _listeners(options: argparse.Namespace) -> None:
    from companion import listeners
    from serlib import metrics

    corpus = cli.load(options)
    ratings = options.ratings or cli.data(options) / listeners.RATINGS.get(corpus.name, "")
    recognised = listeners.recognised(corpus, ratings)
    if options.out:
        spare(options.out, ratings)
        listeners.save(corpus, recognised, options.out)
    at = metrics.interval(recognised, [u.speaker for u in corpus.utterances])
    interval = f"{at.estimate:.1%} [{at.low:.1%}, {at.high:.1%}]"
    print(f"{corpus.name}: listeners recognised {interval} of {len(recognised):,} utterances")


if __name__ == "__main__":
    raise SystemExit(main())
