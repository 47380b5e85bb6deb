"""The division of utterances into training and test set, and the overlap of the two parts.

Five protocols. The first two put every speaker and every sentence on both sides; the others keep speakers apart:

========================  =====  ==================================================================================
protocol                  folds  test set
========================  =====  ==================================================================================
``random``                any    20 %, stratified by emotion; fold k is the k-th draw
``stratified-folds``      5      one of five parts, stratified by emotion
``leave-one-speaker-out`` all    one speaker
``speaker-folds``         5      one of five groups of speakers, as even in emotions as the groups allow
``actor-split``           1      19 of CREMA-D's actors; 63 train, 9 are validation [github.com/nttcslab/eval-audio-repr]
========================  =====  ==================================================================================

Two more protocols divide a corpus with several versions of each utterance (:func:`serlib.data.corpora.versions`), by
random draws. ``augmented-leaky`` draws 20 % of the versions, so that versions of one utterance lie on both sides, as if
the corpus were augmented before the split. ``augmented-grouped`` draws 20 % of the utterances.

Two protocols serve to choose how to train. Fold k of ``selection`` leaves out the test speaker of fold k of
``leave-one-speaker-out`` and tests the next two. ``actor-selection`` leaves out the 19 test actors of ``actor-split``
and tests its 9 validation actors.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from serlib.config import ORIGINAL, check
from serlib.data.corpora import Corpus, Utterance
from serlib.errors import SerlibError
from serlib.files import atomic_write, cell

FOLDS = 5
ACTORS = Path(__file__).with_name("crema-d_actors.csv")
PROTOCOLS = ("random", "stratified-folds", "leave-one-speaker-out", "speaker-folds", "actor-split")
AUGMENTED = ("augmented-leaky", "augmented-grouped")
SELECTION, ACTOR_SELECTION = "selection", "actor-selection"
CHOOSING = (SELECTION, ACTOR_SELECTION)  # they choose how to train; nothing is reported on them
BY_ACTORS = ("actor-split", ACTOR_SELECTION)  # for CREMA-D only
DRAWN = ("random", *AUGMENTED)  # their fold k is the k-th draw
FEWEST_SPEAKERS = {"leave-one-speaker-out": 2, "speaker-folds": FOLDS, SELECTION: 4}

NEW, KNOWN = "speaker-independent", "speaker-dependent"
VERSIONS = "with other versions of the test utterances in the training set"

# The relation of each protocol's test set to its training set.
HELD_OUT = {
    "random": KNOWN,
    "stratified-folds": KNOWN,
    "leave-one-speaker-out": NEW,
    "speaker-folds": NEW,
    "actor-split": NEW,
    "augmented-leaky": VERSIONS,
    "augmented-grouped": KNOWN,
    SELECTION: "speaker-independent, for choosing alone",
    ACTOR_SELECTION: "speaker-independent, for choosing alone",
}


@dataclass(frozen=True)
class Split:
    """Keys of the training and the test utterances of one fold."""

    protocol: str
    fold: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()  # for choosing; neither trained on nor reported

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The keys of each part by its name; ``validation`` only where there is one."""
        parts = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: keys for name, keys in parts.items() if keys or name != "validation"}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over each utterance and its part."""
        lines = (f"{key} {name}\n" for name, keys in self.parts.items() for key in sorted(keys))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def folds(corpus: Corpus, protocol: str) -> int:
    """The number of a protocol's folds; random draws have no end, and the first five are used."""
    if protocol in BY_ACTORS:
        return 1
    return len(corpus.speakers) if protocol in ("leave-one-speaker-out", SELECTION) else FOLDS


def split(corpus: Corpus, protocol: str, fold: int = 0) -> Split:
    """Fold ``fold`` (from 0) of a protocol.

    Raises:
        SerlibError: unknown protocol, fold out of range, or too few utterances or speakers for the protocol.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, StratifiedShuffleSplit

    check("protocol", protocol, HELD_OUT)
    if protocol == "augmented-grouped":
        return _grouped_versions(corpus, fold)
    _check_size(corpus, protocol, fold)
    if protocol in BY_ACTORS:
        return _by_actors(corpus, protocol)
    keys, speakers = ([getattr(u, name) for u in corpus.utterances] for name in ("key", "speaker"))
    five = {"n_splits": FOLDS, "shuffle": True, "random_state": 0}
    if protocol in DRAWN:
        train, test = next(StratifiedShuffleSplit(1, test_size=0.2, random_state=fold).split(keys, corpus.labels))
    elif protocol == "stratified-folds":
        train, test = list(StratifiedKFold(**five).split(keys, corpus.labels))[fold]
    elif protocol == "speaker-folds":
        train, test = list(StratifiedGroupKFold(**five).split(keys, corpus.labels, speakers))[fold]
    else:
        following = [corpus.speakers[(fold + k) % len(corpus.speakers)] for k in range(3)]
        left_out, held_out = (following, following[1:]) if protocol == SELECTION else (following[:1], following[:1])
        train = [i for i, speaker in enumerate(speakers) if speaker not in left_out]
        test = [i for i, speaker in enumerate(speakers) if speaker in held_out]
    return Split(protocol, fold, tuple(keys[i] for i in train), tuple(keys[i] for i in test))


def _check_size(corpus: Corpus, protocol: str, fold: int) -> None:
    """Raises SerlibError if the protocol has no such fold, or too few utterances or speakers."""
    name, size, count = corpus.name, len(corpus.utterances), folds(corpus, protocol)
    if fold < 0 or (protocol not in DRAWN and fold >= count):
        raise SerlibError(f"fold {fold}: {protocol} on {name} has folds 0 to {count - 1}")
    emotion, fewest = min(Counter(u.emotion for u in corpus.utterances).items(), key=lambda item: item[1])
    needed = 2 if protocol in DRAWN else FOLDS if protocol in ("stratified-folds", "speaker-folds") else 1
    if fewest < needed:
        raise SerlibError(f"{protocol} needs at least {needed} utterances an emotion; {name} has {fewest} of {emotion}")
    if protocol in DRAWN and size <= FOLDS * (len(corpus.emotions) - 1):
        raise SerlibError(f"{protocol}: a fifth of {name}'s {size} utterances is fewer than its emotions")
    speakers, least = len(corpus.speakers), FEWEST_SPEAKERS.get(protocol, 1)
    if speakers < least:
        raise SerlibError(f"{protocol} needs at least {least} speakers; {name} has {speakers}")


def _by_actors(corpus: Corpus, protocol: str) -> Split:
    """The actors of CREMA-D as ``crema-d_actors.csv`` divides them."""
    part_of = dict(line.split(",") for line in ACTORS.read_text(encoding="utf-8").split()[1:])
    unknown = [speaker for speaker in corpus.speakers if speaker not in part_of]
    if unknown:
        raise SerlibError(f"{protocol} is of CREMA-D's actors; {corpus.name} has the speaker {unknown[0]}")
    names = ("train", "validation", "test")
    parts = {name: tuple(u.key for u in corpus.utterances if part_of[u.speaker] == name) for name in names}
    empty = [part for part, keys in parts.items() if not keys]
    if empty:
        raise SerlibError(f"{protocol}: {corpus.name} has none of the {empty[0]} actors; it needs the whole corpus")
    if protocol == ACTOR_SELECTION:
        return Split(protocol, 0, parts["train"], parts["validation"])
    return Split(protocol, 0, **parts)


def _grouped_versions(corpus: Corpus, fold: int) -> Split:
    originals = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.version == ORIGINAL))
    drawn = set(split(originals, "random", fold).test)
    train = tuple(u.key for u in corpus.utterances if u.source not in drawn)
    return Split("augmented-grouped", fold, train, tuple(u.key for u in corpus.utterances if u.source in drawn))


@dataclass(frozen=True)
class Audit:
    """The overlap of training and test set; an honest test of generalisation over people shares no speaker.

    ``identical`` lists test files whose bytes also stand in the training set. The shares are of the test set.
    """

    train: int
    test: int
    speakers: tuple[str, ...]
    sentences: tuple[str, ...]
    identical: tuple[str, ...]
    share_known_speaker: float
    share_known_sentence: float

    def __str__(self) -> str:
        shared = f"{len(self.speakers)} speakers, {len(self.sentences)} sentences, {len(self.identical)} identical"
        return f"{self.train} train, {self.test} test; on both sides {shared} recordings"


def audit(corpus: Corpus, split: Split) -> Audit:
    """The overlap of the two parts of ``split``.

    Raises:
        ValueError: an utterance stands in two parts, or is not in the corpus.
    """
    by_key = {u.key: u for u in corpus.utterances}
    for (name, keys), (other, others) in combinations(split.parts.items(), 2):
        if both := set(keys) & set(others):
            raise ValueError(f"{min(both)}: in the {'training' if name == 'train' else name} and the {other} set")
    if unknown := set().union(*split.parts.values()) - by_key.keys():
        raise ValueError(f"{min(unknown)}: in the split but not in the corpus")
    train, test = ([by_key[key] for key in keys] for keys in (split.train, split.test))

    def known(field: str) -> list[Utterance]:
        """The test utterances whose ``field`` also occurs in the training set."""
        trained = {getattr(u, field) for u in train} - {""}
        return [u for u in test if getattr(u, field) in trained]

    by_speaker, by_text = known("speaker"), known("text")
    return Audit(
        train=len(train),
        test=len(test),
        speakers=tuple(sorted({u.speaker for u in by_speaker})),
        sentences=tuple(sorted({u.text for u in by_text})),
        identical=tuple(u.key for u in known("sha256")),
        share_known_speaker=len(by_speaker) / len(test),
        share_known_sentence=len(by_text) / len(test),
    )


def save(splits: Sequence[Split], table: str | Path) -> None:
    """Write folds of one protocol as CSV: file, and its part (train, validation or test) in each fold."""
    parts = {(s.fold, key): name for s in splits for name, keys in s.parts.items() for key in keys}
    with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", *(f"fold {s.fold}" for s in splits)))
        keys = sorted({key for _, key in parts})
        writer.writerows((cell(key), *(parts[s.fold, key] for s in splits)) for key in keys)
