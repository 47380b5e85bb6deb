"""What people make of the same recordings: how often listeners named the emotion that the actor was asked for.

* EmoDB, ``erkennung.txt``: the share of about 20 listeners. The published 535 utterances were kept because at least
  80 % of the listeners recognised them, so the share is high by selection;
* CREMA-D, ``summaryTable.csv``: the emotion that most listeners named who heard the voice alone. Where several were
  named equally often, the intended one counts for its part.
"""

import csv
from pathlib import Path

import pandas as pd

from companion import labels
from serlib.data.corpora import Corpus, CorpusError
from serlib.data.facts import CORPORA
from serlib.files import atomic_write, require_file

RATINGS = {"emodb": "erkennung.txt", "crema-d": "summaryTable.csv"}  # each corpus's own file
SCORES = {"emodb": "mean share", "crema-d": "majority vote"}  # what a recording's number is


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
    missing = [u.key for u in corpus.utterances if u.key not in found]
    if missing:
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


def save(corpus: Corpus, shares: list[float], table: Path) -> pd.DataFrame:
    """Write the shares as CSV, file, speaker, recognised; returns the table."""
    rows = [(u.key, u.speaker, share) for u, share in zip(corpus.utterances, shares, strict=True)]
    frame = pd.DataFrame(rows, columns=["file", "speaker", "recognised"])
    with atomic_write(table) as beside:
        labels.cells(frame).to_csv(beside, index=False, float_format="%.4g", lineterminator="\n")
    return frame


def read(table: Path) -> tuple[list[str], list[float]]:
    """Speakers and shares of the table that :func:`save` wrote."""
    rows = pd.read_csv(table, dtype={"speaker": str, "recognised": float}, keep_default_na=False)
    return rows["speaker"].tolist(), rows["recognised"].tolist()
