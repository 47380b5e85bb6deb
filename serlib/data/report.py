"""The report of `python -m serlib corpora`: how recordings are stored, and whether that alone tells emotions apart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import median

from serlib.data.corpora import CARRIERS, Corpus, Utterance, grouped

FEWEST = 10  # utterances of an emotion; emotions with fewer are left out
APART = {"seconds": 0.98, "level": 0.98}  # the share of a pair's utterances that a property must classify correctly;
OTHERS = 0.9  # others less: in those two, speech itself differs (CREMA-D's level tells anger from sadness for 92.5 %)


def lines(corpus: Corpus) -> Iterator[str]:
    """The report on a corpus, line by line."""
    utterances = corpus.utterances
    yield f"{corpus.name}: {len(utterances):,} utterances, {len(corpus.speakers)} speakers, {corpus.fingerprint[:12]}"
    for field in ("emotion", "speaker"):
        yield from (f"  {line}" for line in summary(utterances, field))
    yield from (f"  excluded {item.file}: {item.reason}" for item in corpus.excluded)
    yield from (f"  note: {note}" for note in dict.fromkeys((*corpus.notes, *giveaways(utterances))))


def summary(utterances: Sequence[Utterance], field: str) -> Iterator[str]:
    """The storage of the recordings of every emotion, or of every speaker: a line of heads, then one line for each.

    A line gives all rates, formats and channels, and the medians of length in seconds and level in decibels.
    """
    yield f"{field:20} {'files':>6}  {'Hz':16} {'format':20} {'channels':9} {'s':>6} {'dB':>6}"
    for name, group in sorted(grouped(utterances, lambda u: getattr(u, field)).items()):
        values = {carrier: [u.carrier[carrier] for u in group] for carrier in CARRIERS}
        rates, channels = ("/".join(f"{value:,}" for value in sorted(set(values[c]))) for c in ("rate", "channels"))
        stored = f"{rates:16} {'/'.join(sorted(set(values['format']))):20} {channels:9}"
        yield f"{name:20} {len(group):6,}  {stored} {median(values['seconds']):6.2f} {median(values['level']):6.1f}"


def giveaways(utterances: Sequence[Utterance]) -> Iterator[str]:
    """The properties of the files that alone tell two emotions apart, one line for each.

    A tree of two levels for each property is cross-validated in five folds. It tells two emotions apart if it names
    nine of ten of their utterances correctly; for length and level, nearly all, of speakers that it has not seen.
    """
    from sklearn.metrics import confusion_matrix
    from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    counts = Counter(u.emotion for u in utterances if u.carrier)
    emotions = sorted(emotion for emotion, count in counts.items() if count >= FEWEST)
    rows = [u for u in utterances if u.emotion in emotions]
    labels, speakers = [u.emotion for u in rows], [u.speaker for u in rows]
    several = len(set(speakers))
    for name, words in CARRIERS.items():
        kinds = sorted({u.carrier[name] for u in rows})
        if min(len(kinds), len(emotions), several if name in APART else 2) < 2:
            continue
        folds = GroupKFold(min(5, several)) if name in APART else StratifiedKFold(5, shuffle=True, random_state=0)
        values = [[kinds.index(u.carrier[name]) if name == "format" else u.carrier[name]] for u in rows]
        tree = DecisionTreeClassifier(max_depth=2, class_weight="balanced", random_state=0)
        answers = cross_val_predict(tree, values, labels, groups=speakers if name in APART else None, cv=folds)
        shares = dict(zip(emotions, confusion_matrix(labels, answers, labels=emotions, normalize="true"), strict=True))
        right = {(a, b): 0.5 + abs(shares[a] - shares[b]).sum() / 4 for a, b in combinations(emotions, 2)}
        pairs = sorted((pair for pair in right if right[pair] >= APART.get(name, OTHERS)), key=right.get, reverse=True)
        if pairs:
            (first, second), others = pairs[0], len(pairs) - 1
            rest = f", and {others} more pair(s)" if others else ""
            yield f"{words} alone tells {first} from {second} ({right[pairs[0]]:.0%} right){rest}"
