"""``python -m workflow.listeners``: how often people named the emotion that the actor was asked for, as a table to commit.

* EmoDB, ``erkennung.txt``: the share of about 20 listeners. The share is high by selection: the corpus kept the 535
  utterances that at least 80 % of the listeners recognised.
* CREMA-D, ``summaryTable.csv``: the emotion that most listeners named who heard the voice alone. Where several were
  named equally often, the intended one counts for its part.
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
    """Read the ratings of a corpus, and write them as a table if asked. Returns the exit status."""
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
        if said := labels.note(table):
            print(printable(f"serlib: note: {said}"), file=sys.stderr)
    at = metrics.interval(shares, speakers)
    interval = f"{at.estimate:.1%} [{at.low:.1%}, {at.high:.1%}]"
    print(f"{corpus.name}: listeners recognised {interval} of {len(shares):,} utterances")


def recognised(corpus: Corpus, ratings: Path) -> list[float]:
    """For each utterance of ``corpus``, in [0, 1], how far listeners recognised it.

    Raises:
        CorpusError: no ratings are known of this corpus, the file is missing or another, or an utterance is not in it.
    """
    if corpus.name not in RATINGS:
        raise CorpusError(f"{corpus.name}: no listeners' ratings are known; of {', '.join(RATINGS)} they are")
    try:
        found = (_emodb if corpus.name == "emodb" else _crema_d)(ratings)
    except FileNotFoundError as error:
        raise CorpusError(f"{ratings}: no such file; it is {RATINGS[corpus.name]} of the corpus") from error
    except (KeyError, IndexError, ValueError, csv.Error) as error:
        raise CorpusError(f"{ratings}: not {RATINGS[corpus.name]} of {corpus.name} ({error})") from error
    if odd := [key for key, share in found.items() if not 0 <= share <= 1]:
        raise CorpusError(f"{ratings}: {odd[0]}: recognised by {found[odd[0]]:.0%} of the listeners")
    if missing := [u.key for u in corpus.utterances if u.key not in found]:
        raise CorpusError(f"{ratings}: no ratings of {missing[0]} and {len(missing) - 1} other(s)")
    return [found[u.key] for u in corpus.utterances]


def _emodb(ratings: Path) -> dict[str, float]:
    """Tabs, Latin-1, decimal commas, filled up with non-breaking spaces: number, file, recognised, natural."""
    rows = [line.split("\t") for line in require_file(ratings).read_text(encoding="latin-1").splitlines()[1:]]
    return {row[1].strip(): float(row[2].strip().replace(",", ".")) / 100 for row in rows}


def _crema_d(ratings: Path) -> dict[str, float]:
    """Votes as initials of the emotions, several with colons between them."""
    initials = {code: emotion[0].upper() for code, emotion in CORPORA["crema-d"].codes.items()}
    with require_file(ratings).open(newline="", encoding="utf-8") as file:
        votes = {row["FileName"]: row["VoiceVote"].split(":") for row in csv.DictReader(file)}
    return {f"{name}.wav": (initials[name.split("_")[2]] in named) / len(named) for name, named in votes.items()}


if __name__ == "__main__":
    raise SystemExit(main())
