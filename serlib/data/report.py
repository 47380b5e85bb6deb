"""The report of `python -m serlib corpora`: how recordings are stored, and whether that alone tells emotions apart."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import pandas as pd

from serlib.data.corpora import CARRIERS, Corpus, Utterance

FEWEST = 10  # utterances of an emotion; emotions with fewer are left out
APART = 0.9  # the share of a pair's utterances that a property must name rightly


def lines(corpus: Corpus) -> Iterator[str]:
    """The report on a corpus, line by line."""
    utterances = corpus.utterances
    yield f"{corpus.name}: {len(utterances):,} utterances, {len(corpus.speakers)} speakers, {corpus.fingerprint[:12]}"
    for field in ("emotion", "speaker"):
        yield from (f"  {line}" for line in summary(utterances, field))
    yield from (f"  excluded {item.file}: {item.reason}" for item in corpus.excluded)
    yield from (f"  note: {note}" for note in dict.fromkeys((*corpus.notes, *giveaways(utterances))))


def _table(utterances: Sequence[Utterance]) -> pd.DataFrame:
    return pd.DataFrame([{"emotion": u.emotion, "speaker": u.speaker, **u.carrier} for u in utterances if u.carrier])


def summary(utterances: Sequence[Utterance], field: str) -> list[str]:
    """How the recordings of every emotion, or of every speaker, are stored: a line of heads, then a line each.

    Rates, formats and channels that occur; medians of length in seconds and level in decibels.
    """

    def occurring(values: pd.Series) -> str:
        return "/".join(value if isinstance(value, str) else f"{value:,}" for value in sorted(values.unique()))

    columns = {"files": ("rate", "size"), "Hz": ("rate", occurring), "format": ("format", occurring)}
    columns |= {"channels": ("channels", occurring), "s": ("seconds", "median"), "dB": ("level", "median")}
    found = _table(utterances).groupby(field).agg(**columns).reset_index()
    formats = {"files": "{:,}".format, "s": "{:.2f}".format, "dB": "{:.1f}".format}
    return found.to_string(index=False, formatters=formats).splitlines()


def giveaways(utterances: Sequence[Utterance]) -> list[str]:
    """The properties of the files that alone tell two emotions apart, a line each.

    For each property a tree of two levels, five-fold cross-validated. It tells two emotions apart if its answers would
    name nine of ten of their utterances rightly.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    table, notes = _table(utterances), []
    if len(table):
        table = table.groupby("emotion").filter(lambda rows: len(rows) >= FEWEST)
    for name, words in CARRIERS.items():
        if not len(table) or min(table["emotion"].nunique(), table[name].nunique()) < 2:
            continue
        labels, values = table["emotion"].to_numpy(object), table[[name]]
        values = values.apply(lambda column: column.astype("category").cat.codes) if name == "format" else values
        tree = DecisionTreeClassifier(max_depth=2, class_weight="balanced", random_state=0)
        answers = cross_val_predict(tree, values, labels, cv=StratifiedKFold(5, shuffle=True, random_state=0))
        shares = pd.crosstab(labels, answers, normalize="index")
        right = {(a, b): 0.5 + abs(shares.loc[a] - shares.loc[b]).sum() / 4 for a, b in combinations(shares.index, 2)}
        apart = sorted((pair for pair in right if right[pair] >= APART), key=right.get, reverse=True)
        if apart:
            (first, second), others = apart[0], len(apart) - 1
            more = f", and {others} more pair(s)" if others else ""
            notes.append(f"{words} alone tells {first} from {second} ({right[apart[0]]:.0%} right){more}")
    return notes
