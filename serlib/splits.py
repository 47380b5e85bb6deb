"""Which utterances train and which are evaluated, and what the two parts share.

Four protocols. The first two put every speaker and every sentence on both sides; the last two keep speakers apart:

========================  =====  ==================================================================================
protocol                  folds  test part
========================  =====  ==================================================================================
``random``                any    20 %, stratified by emotion; fold k is the k-th draw
``stratified-folds``      5      one of five parts, stratified by emotion
``leave-one-speaker-out`` all    one speaker
``speaker-folds``         5      one of five groups of speakers, as even in emotions as the groups allow
========================  =====  ==================================================================================

Two more divide a corpus in which every utterance stands in several versions (:func:`serlib.corpora.versions`), by
random draws as ``random`` does: ``versions-apart`` draws 20 % of the versions, so that versions of one utterance lie on
both sides, as when a corpus is augmented before it is split; ``versions-together`` draws 20 % of the utterances.

One is for choosing among ways of training: fold k of ``inner-speakers`` leaves the speaker of fold k of
``leave-one-speaker-out`` out altogether, and holds out the next two speakers.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serlib.config import ORIGINAL
from serlib.corpora import Corpus, Utterance
from serlib.files import whole

FOLDS = 5
PROTOCOLS = ("random", "stratified-folds", "leave-one-speaker-out", "speaker-folds")
VERSIONED = ("versions-apart", "versions-together")
CHOOSING = "inner-speakers"
DRAWN = ("random", *VERSIONED)  # their fold k is the k-th draw

NEW, KNOWN = "new speakers", "speakers also trained on"
VERSIONS = "utterances also trained on in another version"

# What a protocol holds out.
HELD_OUT = {
    "random": KNOWN,
    "stratified-folds": KNOWN,
    "leave-one-speaker-out": NEW,
    "speaker-folds": NEW,
    "versions-apart": VERSIONS,
    "versions-together": KNOWN,
    CHOOSING: "speakers that choose and are not reported",
}


@dataclass(frozen=True)
class Split:
    """Keys of the training and the test utterances of one fold."""

    protocol: str
    fold: int
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over which utterance stands in which part."""
        lines = [f"{key} train\n" for key in sorted(self.train)] + [f"{key} test\n" for key in sorted(self.test)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def folds(corpus: Corpus, protocol: str) -> int:
    """How many folds a protocol has; of random draws the first five are meant."""
    return len(corpus.speakers) if protocol in ("leave-one-speaker-out", CHOOSING) else FOLDS


def split(corpus: Corpus, protocol: str, fold: int = 0) -> Split:
    """Fold ``fold`` (from 0) of a protocol.

    Raises:
        ValueError: unknown protocol, fold out of range, or too few utterances or speakers for the protocol.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, StratifiedShuffleSplit

    if protocol not in (*PROTOCOLS, *VERSIONED, CHOOSING):
        raise ValueError(f"protocol {protocol!r} is none of {', '.join((*PROTOCOLS, *VERSIONED, CHOOSING))}")
    if protocol == "versions-together":
        return _together(corpus, fold)
    if fold < 0 or (protocol not in DRAWN and fold >= folds(corpus, protocol)):
        raise ValueError(f"fold {fold}: {protocol} on {corpus.name} has folds 0 to {folds(corpus, protocol) - 1}")
    keys = [utterance.key for utterance in corpus.utterances]
    labels = corpus.labels
    speakers = [utterance.speaker for utterance in corpus.utterances]
    emotion, fewest = min(Counter(u.emotion for u in corpus.utterances).items(), key=lambda item: item[1])
    needed = {**dict.fromkeys(DRAWN, 2), "leave-one-speaker-out": 1, CHOOSING: 1}.get(protocol, FOLDS)
    if fewest < needed:
        raise ValueError(
            f"{protocol} needs at least {needed} utterances an emotion; {corpus.name} has {fewest} of {emotion}"
        )
    if protocol in DRAWN and len(keys) <= FOLDS * (len(corpus.emotions) - 1):
        raise ValueError(f"{protocol}: a fifth of {corpus.name}'s {len(keys)} utterances is fewer than its emotions")
    if protocol in DRAWN:
        pairs = StratifiedShuffleSplit(1, test_size=0.2, random_state=fold).split(keys, labels)
        train, test = next(pairs)
    elif protocol == "stratified-folds":
        train, test = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(keys, labels))[fold]
    elif protocol == "leave-one-speaker-out":
        out = corpus.speakers[fold]
        train = [i for i, speaker in enumerate(speakers) if speaker != out]
        test = [i for i, speaker in enumerate(speakers) if speaker == out]
        if not train:
            raise ValueError(f"{protocol} needs at least two speakers; {corpus.name} has {len(corpus.speakers)}")
    elif protocol == CHOOSING:
        if len(corpus.speakers) < 4:
            raise ValueError(f"{protocol} needs at least four speakers; {corpus.name} has {len(corpus.speakers)}")
        after = [corpus.speakers[(fold + k) % len(corpus.speakers)] for k in range(3)]
        train = [i for i, speaker in enumerate(speakers) if speaker not in after]
        test = [i for i, speaker in enumerate(speakers) if speaker in after[1:]]
    else:
        if len(corpus.speakers) < FOLDS:
            raise ValueError(f"{protocol} needs at least {FOLDS} speakers; {corpus.name} has {len(corpus.speakers)}")
        grouped = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        train, test = list(grouped.split(keys, labels, speakers))[fold]
    return Split(protocol, fold, tuple(keys[i] for i in train), tuple(keys[i] for i in test))


def _together(corpus: Corpus, fold: int) -> Split:
    originals = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.version == ORIGINAL))
    test = set(split(originals, "random", fold).test)
    parts = {True: [], False: []}
    for utterance in corpus.utterances:
        parts[utterance.source in test].append(utterance.key)
    return Split("versions-together", fold, tuple(parts[False]), tuple(parts[True]))


@dataclass(frozen=True)
class Audit:
    """What training and test part share; an honest test of generalisation over people shares no speaker.

    ``identical`` lists test files whose bytes also stand in the training part. The shares are of the test part.
    """

    train: int
    test: int
    speakers: tuple[str, ...]
    sentences: tuple[str, ...]
    identical: tuple[str, ...]
    share_known_speaker: float
    share_known_sentence: float
    share_known_utterance: float  # whose utterance the training part holds in another version


def audit(corpus: Corpus, split: Split) -> Audit:
    """What the two parts of ``split`` share.

    Raises:
        ValueError: an utterance stands in both parts, or is not in the corpus.
    """
    by_key = {utterance.key: utterance for utterance in corpus.utterances}
    both = set(split.train) & set(split.test)
    if both:
        raise ValueError(f"{min(both)}: in the training and the test part")
    unknown = (set(split.train) | set(split.test)) - set(by_key)
    if unknown:
        raise ValueError(f"{min(unknown)}: in the split but not in the corpus")
    train = [by_key[key] for key in split.train]
    test = [by_key[key] for key in split.test]

    def known(field: str) -> tuple[list[Utterance], tuple[str, ...]]:
        seen = {getattr(utterance, field) for utterance in train if getattr(utterance, field)}
        shared = [utterance for utterance in test if getattr(utterance, field) in seen]
        return shared, tuple(sorted({getattr(utterance, field) for utterance in shared}))

    by_speaker, speakers = known("speaker")
    by_text, sentences = known("text")
    identical, _ = known("sha256")
    by_utterance, _ = known("source")
    return Audit(
        train=len(train),
        test=len(test),
        speakers=speakers,
        sentences=sentences,
        identical=tuple(utterance.key for utterance in identical),
        share_known_speaker=len(by_speaker) / len(test),
        share_known_sentence=len(by_text) / len(test),
        share_known_utterance=len(by_utterance) / len(test),
    )


def save(splits: Sequence[Split], table: Path) -> None:
    """Write folds of one protocol as CSV: file, and train or test in each fold."""
    part = {
        (s.fold, key): name for s in splits for name, keys in (("train", s.train), ("test", s.test)) for key in keys
    }
    keys = sorted({key for _, key in part})
    with whole(table) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", *(f"fold {s.fold}" for s in splits)))
        writer.writerows((key, *(part[s.fold, key] for s in splits)) for key in keys)
