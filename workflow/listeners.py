"""``python -m workflow.listeners``: a table, to be committed, of how often listeners named the intended emotion.

The intended emotion is the one that the actor was asked for.

* EmoDB, ``erkennung.txt``: the share of about 20 listeners who named it. The share is high by selection: the corpus kept
  the 535 utterances that at least 80 % of the listeners recognised.
* CREMA-D, ``summaryTable.csv``: 1 if listeners who heard only the voice named it most often, else 0. If n emotions were
  named equally often, the intended one among them counts 1 / n.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from companion import labels
from serlib import cli, metrics
from serlib.data.corpora import Corpus, CorpusError
from serlib.data.facts import CORPORA
from serlib.errors import printable
from serlib.files import atomic_write, require_file, spare

RATINGS = {"emodb": "erkennung.txt", "crema-d": "summaryTable.csv"}  # each corpus's own file


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the ratings of a corpus, and write them as a table if ``--out`` is given. Returns the exit status."""
    return cli.run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    summary = "How far listeners recognised each recording of EmoDB or CREMA-D."
    parser = argparse.ArgumentParser("python -m workflow.listeners", description=summary)
    cli.corpus_options(parser)
    parser.add_argument("--ratings", type=Path, help="erkennung.txt or summaryTable.csv (default: in --data)")
    parser.add_argument("--out", type=Path, help="CSV table to write: file, speaker, recognised")
    parser.set_defaults(command=_listeners)
    return parser


def _listeners(options: argparse.Namespace) -> None:
    corpus = cli.load(options)
    ratings = options.ratings or cli.data(options) / RATINGS.get(corpus.name, "")
    shares, speakers = recognised(corpus, ratings), [u.speaker for u in corpus.utterances]
    if options.out:
        spare(options.out, ratings)
        keys = [u.key for u in corpus.utterances]
        table = pd.DataFrame({"file": keys, "speaker": speakers, "recognised": shares})
        with atomic_write(options.out) as beside:
            labels.cells(table).to_csv(beside, index=False, float_format="%.4g", lineterminator="\n")
        if note := labels.note(table):
            print(printable(f"serlib: note: {note}"), file=sys.stderr)
    interval = metrics.interval(shares, speakers)
    text = f"{interval.estimate:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
    print(f"{corpus.name}: listeners recognised {text} of {len(shares):,} utterances")


def recognised(corpus: Corpus, ratings: Path) -> list[float]:
    """For each utterance of ``corpus``, the share in [0, 1] of listeners who recognised its emotion.

    Raises:
        CorpusError: this corpus has no known ratings, the file is missing or a different one, or it lacks an utterance.
    """
    if corpus.name not in RATINGS:
        raise CorpusError(f"{corpus.name}: no listeners' ratings are known; of {', '.join(RATINGS)} they are")
    try:
        share_by_file = (_emodb if corpus.name == "emodb" else _crema_d)(ratings)
    except FileNotFoundError as error:
        raise CorpusError(f"{ratings}: no such file; it is {RATINGS[corpus.name]} of the corpus") from error
    except (KeyError, IndexError, ValueError, csv.Error) as error:
        raise CorpusError(f"{ratings}: not {RATINGS[corpus.name]} of {corpus.name} ({error})") from error
    if invalid := [key for key, share in share_by_file.items() if not 0 <= share <= 1]:
        raise CorpusError(f"{ratings}: {invalid[0]}: recognised by {share_by_file[invalid[0]]:.0%} of the listeners")
    if missing := [u.key for u in corpus.utterances if u.key not in share_by_file]:
        raise CorpusError(f"{ratings}: no ratings of {missing[0]} and {len(missing) - 1} other(s)")
    return [share_by_file[u.key] for u in corpus.utterances]


def _emodb(ratings: Path) -> dict[str, float]:
    """The shares of EmoDB's file: tabs, Latin-1, decimal commas, padding by non-breaking spaces.

    Its columns are number, file, recognised, natural.
    """
    rows = [line.split("\t") for line in require_file(ratings).read_text(encoding="latin-1").splitlines()[1:]]
    return {row[1].strip(): float(row[2].strip().replace(",", ".")) / 100 for row in rows}


def _crema_d(ratings: Path) -> dict[str, float]:
    """The shares of CREMA-D's file: votes are initials of emotions; a colon separates those named equally often."""
    initials = {code: emotion[0].upper() for code, emotion in CORPORA["crema-d"].codes.items()}
    with require_file(ratings).open(newline="", encoding="utf-8") as file:
        votes = {row["FileName"]: row["VoiceVote"].split(":") for row in csv.DictReader(file)}
    return {
        f"{name}.wav": (initials[name.split("_")[2]] in emotions) / len(emotions) for name, emotions in votes.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
