"""The protocols' exact properties, on the published corpora's own files and on random ones, and the audit."""

import csv
import hashlib
from collections import Counter
from dataclasses import replace
from functools import cache
from math import ceil, floor
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serlib import records
from serlib.data import corpora
from serlib.data.corpora import Corpus, Utterance, manifest, versions
from serlib.data.splits import (
    ACTOR_SELECTION,
    ACTORS,
    AUGMENTED,
    BY_ACTORS,
    HELD_OUT,
    KNOWN,
    NEW,
    PROTOCOLS,
    Audit,
    Split,
    audit,
    folds,
    save,
    split,
)
from tests.helpers import failures

ANY_CORPUS = tuple(protocol for protocol in PROTOCOLS if protocol != "actor-split")
published = cache(corpora.published)  # a corpus that no test changes
STRATIFIED, BY_SPEAKER = ("random", "stratified-folds"), ("leave-one-speaker-out", "speaker-folds")


def utterance(key: str, speaker: str = "A", text: str = "", emotion: str = "joy", sha256: str = "") -> Utterance:
    return Utterance(key, Path(key), speaker, text, emotion, sha256)


def corpus_of(utterances) -> Corpus:
    return Corpus("made-up", "recordings", tuple(utterances))


def even(speakers: int, each: int = 1) -> Corpus:
    """Every speaker says ``each`` utterances of joy and of rage."""
    return corpus_of(
        utterance(f"{s}-{emotion}-{i}", speaker=str(s), emotion=emotion)
        for s in range(speakers)
        for emotion in ("joy", "rage")
        for i in range(each)
    )


@st.composite
def labels(draw):
    """Speaker, emotion and number: at least five speakers, every one with every emotion, in any numbers and any order."""
    speakers, emotions = draw(st.integers(5, 8)), draw(st.integers(2, 4))
    rows = [(s, e, i) for s in range(speakers) for e in range(emotions) for i in range(draw(st.integers(1, 3)))]
    return draw(st.permutations(rows))


def counts(corpus: Corpus, keys) -> Counter:
    emotions = {u.key: u.emotion for u in corpus.utterances}
    return Counter(emotions[key] for key in keys)


def speakers(corpus: Corpus, keys) -> set[str]:
    named = {u.key: u.speaker for u in corpus.utterances}
    return {named[key] for key in keys}


def all_folds(corpus: Corpus, protocol: str) -> list[Split]:
    return [split(corpus, protocol, fold) for fold in range(folds(corpus, protocol))]


def check_parts(corpus: Corpus, made: Split) -> None:
    """Every utterance stands in one part, once, and neither part is empty."""
    assert sorted(made.train + made.test) == sorted(u.key for u in corpus.utterances)
    assert made.train
    assert made.test


def check_stratified(corpus: Corpus, made: Split) -> None:
    """Every emotion's share of the test set is its share of the corpus, to within one utterance."""
    share = len(made.test) / len(corpus.utterances)
    tested = counts(corpus, made.test)
    for emotion, count in counts(corpus, (u.key for u in corpus.utterances)).items():
        assert floor(share * count) <= tested[emotion] <= ceil(share * count)


def check_each_held_out_once(corpus: Corpus, made: list[Split]) -> None:
    held_out = Counter(key for one in made for key in one.test)
    assert held_out == Counter(u.key for u in corpus.utterances)


@settings(max_examples=25, deadline=None)
@given(labels())
def test_the_protocols_keep_what_they_promise(rows):
    corpus = corpus_of(utterance(f"{s}-{e}-{i}", speaker=f"s{s}", emotion=f"e{e}") for s, e, i in rows)
    for protocol in ANY_CORPUS:
        made = all_folds(corpus, protocol)
        for one in made:
            check_parts(corpus, one)
            if protocol == "stratified-folds":
                tested = counts(corpus, one.test)
                for emotion, count in counts(corpus, (u.key for u in corpus.utterances)).items():
                    assert floor(count / 5) <= tested[emotion] <= ceil(count / 5)
            if protocol == "random":
                assert len(one.test) == ceil(len(corpus.utterances) / 5)
                check_stratified(corpus, one)
            if protocol in BY_SPEAKER:
                assert not speakers(corpus, one.train) & speakers(corpus, one.test)
        if protocol != "random":
            check_each_held_out_once(corpus, made)


@pytest.mark.parametrize("name", ["emodb", "crema-d"])
@pytest.mark.parametrize("protocol", STRATIFIED)
def test_a_fifth_of_a_published_corpus_is_held_out_with_every_emotions_share(name, protocol):
    corpus = published(name)
    sizes = {"emodb": {107}, "crema-d": {1488, 1489}}[name]  # a fifth of 535 and of 7,442
    for one in all_folds(corpus, protocol):
        check_parts(corpus, one)
        check_stratified(corpus, one)
        assert len(one.test) in sizes
        assert speakers(corpus, one.test) == set(corpus.speakers)  # what this project warns of


def test_leave_one_speaker_out_holds_out_the_speakers_in_their_order():
    corpus = published("emodb")
    made = all_folds(corpus, "leave-one-speaker-out")
    assert [speakers(corpus, one.test) for one in made] == [{speaker} for speaker in corpus.speakers]
    assert [len(one.test) for one in made] == [49, 58, 43, 38, 55, 35, 61, 69, 56, 71]
    check_each_held_out_once(corpus, made)
    assert folds(published("crema-d"), "leave-one-speaker-out") == 91


@pytest.mark.parametrize("name", ["emodb", "crema-d"])
def test_speaker_folds_keep_speakers_apart_in_parts_of_similar_size(name):
    corpus = published(name)
    made = all_folds(corpus, "speaker-folds")
    check_each_held_out_once(corpus, made)
    for one in made:
        assert not speakers(corpus, one.train) & speakers(corpus, one.test)
        assert len(one.test) == pytest.approx(len(corpus.utterances) / 5, rel=0.3)


def test_speaker_folds_put_speakers_of_different_emotions_together():
    """Five speakers are only glad and five only angry; every fold can have one of each."""
    glad = {3, 4, 7, 8, 9}  # by size alone 4 and 9, 3 and 8 would come together
    spoken = [(s, "joy" if s in glad else "rage", i) for s in range(10) for i in range(10)]
    corpus = corpus_of(utterance(f"{s}-{i}", speaker=str(s), emotion=emotion) for s, emotion, i in spoken)
    for one in all_folds(corpus, "speaker-folds"):
        assert counts(corpus, one.test) == {"joy": 10, "rage": 10}


def test_speaker_folds_of_many_speakers_are_even_in_emotions():
    corpus = published("crema-d")
    everything = counts(corpus, (u.key for u in corpus.utterances))
    for one in all_folds(corpus, "speaker-folds"):
        tested = counts(corpus, one.test)
        for emotion, count in everything.items():
            assert tested[emotion] / len(one.test) == pytest.approx(count / 7442, abs=0.002)


@pytest.mark.parametrize("protocol", ANY_CORPUS)
def test_a_split_is_the_same_every_time_and_no_two_folds_are_alike(protocol):
    corpus = published("emodb")
    made = all_folds(corpus, protocol)
    assert made == all_folds(corpus, protocol)
    assert len({one.digest for one in made}) == len(made) == folds(corpus, protocol)
    assert [(one.protocol, one.fold) for one in made] == [(protocol, fold) for fold in range(len(made))]


def test_the_speakers_that_choose_are_neither_trained_on_nor_reported():
    corpus = published("emodb")
    names = corpus.speakers
    for outer, inner in zip(all_folds(corpus, "leave-one-speaker-out"), all_folds(corpus, "selection"), strict=True):
        (left_out,) = speakers(corpus, outer.test)
        place = names.index(left_out)
        assert speakers(corpus, inner.test) == {names[(place + 1) % 10], names[(place + 2) % 10]}
        assert speakers(corpus, inner.train) == set(names) - {left_out} - speakers(corpus, inner.test)
    with pytest.raises(ValueError, match=r"^selection needs at least 4 speakers; made-up has 3$"):
        split(even(3), "selection")
    assert split(even(4), "selection").train


def test_random_draws_go_on_beyond_the_five_that_are_counted():
    corpus = published("emodb")
    digests = {split(corpus, "random", fold).digest for fold in range(20)}
    assert len(digests) == 20
    check_stratified(corpus, split(corpus, "random", 1000))


# CREMA-D's actors

with ACTORS.open(newline="", encoding="utf-8") as file:
    PART_OF = {row["actor"]: row["part"] for row in csv.DictReader(file)}


def of_actors(actors) -> Corpus:
    return corpus_of(utterance(f"{a}-{e}", speaker=a, emotion=e) for a in actors for e in ("joy", "rage"))


def test_actor_split_divides_crema_ds_91_actors_into_63_9_and_19():
    corpus = of_actors(PART_OF)
    assert corpus.speakers == published("crema-d").speakers
    (made,) = all_folds(corpus, "actor-split")
    sizes = {name: len(speakers(corpus, keys)) for name, keys in made.parts.items()}
    assert sizes == {"train": 63, "test": 19, "validation": 9}
    assert sorted(made.train + made.validation + made.test) == sorted(u.key for u in corpus.utterances)
    for name, keys in made.parts.items():
        assert speakers(corpus, keys) == {actor for actor, part in PART_OF.items() if part == name}
    assert (made.protocol, made.fold) == ("actor-split", 0)
    assert audit(corpus, made).speakers == ()
    assert (audit(corpus, made).train, audit(corpus, made).test) == (126, 38)


@pytest.mark.parametrize("protocol", BY_ACTORS)
def test_actors_are_divided_of_the_whole_of_crema_d_alone(protocol):
    with pytest.raises(ValueError, match=rf"^{protocol} is of CREMA-D's actors; made-up has the speaker 0$"):
        split(even(6), protocol)
    for name in ("train", "validation", "test"):
        without = of_actors(actor for actor, part in PART_OF.items() if part != name)
        with pytest.raises(ValueError, match=f"^{protocol}: made-up has none of the {name} actors; it needs the whole"):
            split(without, protocol)
    with pytest.raises(ValueError, match=rf"^fold 1: {protocol} on made-up has folds 0 to 0$"):
        split(of_actors(PART_OF), protocol, 1)


def test_choosing_among_ways_of_training_never_sees_the_test_actors():
    choosing, reported = (split(of_actors(PART_OF), protocol) for protocol in (ACTOR_SELECTION, "actor-split"))
    assert (choosing.train, choosing.test) == (reported.train, reported.validation)
    assert list(choosing.parts) == ["train", "test"]


def test_what_chooses_is_in_the_digest_the_audit_and_the_table(tmp_path):
    made = split(of_actors(PART_OF), "actor-split")
    assert made.digest != replace(made, validation=()).digest
    assert made.digest != replace(made, train=made.train + made.validation, validation=()).digest
    lines = "a train\nb test\nc validation\n"
    assert Split("actor-split", 0, ("a",), ("b",), ("c",)).digest == hashlib.sha256(lines.encode()).hexdigest()
    for other, name in ((made.train, "training"), (made.test, "test")):
        with pytest.raises(ValueError, match=rf"^{other[0]}: in the {name} and the validation set$"):
            audit(of_actors(PART_OF), replace(made, validation=other[:1]))
    save([made], tmp_path / "actors.csv")
    with (tmp_path / "actors.csv").open(newline="") as table:
        assert {row["file"]: row["fold 0"] for row in csv.DictReader(table)} == {
            f"{actor}-{emotion}": part for actor, part in PART_OF.items() for emotion in ("joy", "rage")
        }


def test_what_a_protocol_holds_out_is_said_in_the_fields_words():
    assert (NEW, KNOWN) == ("speaker-independent", "speaker-dependent")
    assert {HELD_OUT[protocol] for protocol in STRATIFIED} == {KNOWN}
    assert {HELD_OUT[protocol] for protocol in (*BY_SPEAKER, "actor-split")} == {NEW}


# Records that are committed


@cache
def corpus_without(name: str, excluded: frozenset[str], augmented: bool) -> tuple[Corpus, str]:
    """The corpus and its fingerprint."""
    corpus = corpora.published(name, set(manifest(name)) - excluded)
    corpus = versions(corpus) if augmented else corpus
    return corpus, corpus.fingerprint


@cache
def made_again(name: str, excluded: frozenset[str], protocol: str, fold: int) -> tuple[Split, str]:
    """Many records share a split."""
    corpus, fingerprint = corpus_without(name, excluded, protocol in AUGMENTED)
    return split(corpus, protocol, fold), fingerprint


def of_this_corpus_and_split(case: tuple[Path, records.Record]) -> None:
    _, record = case
    train, test = record.parts["train"].file, record.parts["test"].file
    excluded = frozenset(file for file, _ in record.excluded)
    made, fingerprint = made_again(record.corpus, excluded, record.protocol, record.fold)
    assert (sorted(made.train), sorted(made.test)) == (sorted(train), sorted(test))
    assert (made.digest, fingerprint) == (record.split, record.fingerprint)


def test_the_split_and_corpus_of_every_committed_record_are_made_again(committed, monkeypatch):
    """Types are left unchecked: the tests above check them on the same functions."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert failures(of_this_corpus_and_split, committed.items()) == {}


# Digest


def test_the_digest_is_over_the_sorted_lines_of_the_two_parts():
    lines = "a.wav train\nc.wav train\nb.wav test\n"
    assert Split("random", 0, ("c.wav", "a.wav"), ("b.wav",)).digest == hashlib.sha256(lines.encode()).hexdigest()
    assert Split("random", 0, (), ("b.wav",)).parts == {"train": (), "test": ("b.wav",)}


@settings(deadline=None)
@given(st.permutations(list("abcdef")), st.permutations(list("xyz")))
def test_the_digest_does_not_depend_on_the_order(train, test):
    assert (
        Split("random", 0, tuple(train), tuple(test)).digest == Split("random", 1, tuple("abcdef"), tuple("xyz")).digest
    )


def test_the_digest_changes_when_one_utterance_changes_sides():
    parts = [(("a", "b"), ("c",)), (("a",), ("b", "c")), (("c",), ("a", "b")), (("a", "b", "c"), ())]
    assert len({Split("random", 0, *part).digest for part in parts}) == 4


# Errors


@pytest.mark.parametrize(
    ("protocol", "fold", "says"),
    [
        (
            "holdout",
            0,
            "protocol 'holdout' is none of random, stratified-folds, leave-one-speaker-out, speaker-folds, actor-split, augmented-leaky, augmented-grouped, selection, actor-selection",
        ),
        ("random", -1, "fold -1: random on made-up has folds 0 to 4"),
        ("stratified-folds", 5, "fold 5: stratified-folds on made-up has folds 0 to 4"),
        ("stratified-folds", 9, "fold 9: stratified-folds on made-up has folds 0 to 4"),
        ("speaker-folds", 5, "fold 5: speaker-folds on made-up has folds 0 to 4"),
        ("leave-one-speaker-out", 6, "fold 6: leave-one-speaker-out on made-up has folds 0 to 5"),
    ],
)
def test_an_unknown_protocol_or_fold_is_named(protocol, fold, says):
    with pytest.raises(ValueError, match=f"^{says}$"):
        split(even(6), protocol, fold)


def test_too_few_speakers_are_named():
    with pytest.raises(ValueError, match=r"^leave-one-speaker-out needs at least 2 speakers; made-up has 1$"):
        split(even(1), "leave-one-speaker-out")
    with pytest.raises(ValueError, match=r"^speaker-folds needs at least 5 speakers; made-up has 4$"):
        split(even(4, each=2), "speaker-folds")
    assert len(all_folds(even(5), "speaker-folds")) == 5


@pytest.mark.parametrize(("protocol", "speakers"), [("random", 1), ("random", 2), ("stratified-folds", 4)])
def test_too_few_utterances_are_named(protocol, speakers):
    """Two emotions need two test utterances at random, and five utterances each in folds."""
    with pytest.raises(ValueError, match=protocol) as error:
        split(even(speakers), protocol)
    assert "made-up" in str(error.value)
    assert split(even(5), protocol).test


def test_a_fifth_must_hold_every_emotion_once():
    assert len(split(even(3), "random").test) == 2  # of six, rounded up
    with pytest.raises(ValueError, match=r"^random: a fifth of made-up's 5 utterances is fewer than its emotions$"):
        split(corpus_of(even(3).utterances[1:]), "random")


@pytest.mark.parametrize(
    ("protocol", "needed"),
    [("stratified-folds", 5), ("speaker-folds", 5), ("random", 2), ("leave-one-speaker-out", 1), ("selection", 1)],
)
def test_an_emotion_with_fewer_utterances_than_a_protocol_needs_is_refused(protocol, needed):
    """scikit-learn would only warn, and give test parts without that emotion."""
    many = [utterance(f"joy{i}", speaker=str(i)) for i in range(10)]
    few = [utterance(f"rage{i}", speaker=str(i), emotion="rage") for i in range(needed)]
    assert split(corpus_of(many + few), protocol).test
    if needed > 1:
        says = f"^{protocol} needs at least {needed} utterances an emotion; made-up has {needed - 1} of rage$"
        with pytest.raises(ValueError, match=says):
            split(corpus_of(many + few[1:]), protocol)


# Audit


def test_the_audit_counts_what_both_parts_share():
    train = (
        utterance("1", "A", "t1", sha256="a"),
        utterance("2", "A", "t2", sha256="b"),
        utterance("3", "B", "t1", sha256="c"),
        utterance("4", "E", "", sha256="d"),  # an unknown text is not a known sentence
        utterance("5", "F", "t9"),  # nor is a missing hash one of an identical recording
    )
    test = (
        utterance("6", "A", "t3", sha256="e"),  # speaker
        utterance("7", "B", "t1", sha256="f"),  # speaker and sentence
        utterance("8", "C", "t1", sha256="g"),  # sentence
        utterance("9", "C", "t2", sha256="b"),  # sentence and recording
        utterance("10", "A", "t4", sha256="h"),  # speaker
        utterance("11", "D", "", sha256="i"),
        utterance("12", "D", "t5"),
        utterance("13", "A", "t6", sha256="j"),  # speaker
    )
    corpus = corpus_of(train + test)
    parts = Split("random", 0, tuple(u.key for u in train), tuple(u.key for u in test))
    assert audit(corpus, parts) == Audit(
        train=5,
        test=8,
        speakers=("A", "B"),
        sentences=("t1", "t2"),
        identical=("9",),
        share_known_speaker=4 / 8,
        share_known_sentence=3 / 8,
    )


def test_versions_drawn_apart_are_on_both_sides_and_drawn_together_never():
    corpus = versions(published("emodb"))
    assert len(corpus.utterances) == len({u.sha256 for u in corpus.utterances}) == 4 * 535
    apart, together = (split(corpus, protocol, 3) for protocol in AUGMENTED)
    for one in (apart, together):
        check_parts(corpus, one)
        assert len(one.test) == 428  # a fifth of four times 535 is four fifths of 535
    check_stratified(corpus, apart)
    alone = split(published("emodb"), "random", 3)
    assert {u.source for u in corpus.utterances if u.key in together.test} == set(alone.test)
    trained = [{u.source for u in corpus.utterances if u.key in one.train} for one in (apart, together)]
    known = [
        [u.source in sources for u in corpus.utterances if u.key in one.test]
        for one, sources in zip((apart, together), trained, strict=True)
    ]
    # of a version drawn, each of the other three is in the training set with a chance of 4 in 5
    assert sum(known[0]) / len(known[0]) == pytest.approx(1 - 0.2**3, abs=0.02)
    assert not any(known[1])
    assert len({split(corpus, "augmented-leaky", fold).digest for fold in range(5)}) == 5


def test_speaker_protocols_share_sentences_and_no_speaker():
    corpus = published("emodb")
    for protocol, shared in (("random", 1.0), ("leave-one-speaker-out", 0.0), ("speaker-folds", 0.0)):
        for one in all_folds(corpus, protocol):
            found = audit(corpus, one)
            assert (found.share_known_speaker, found.share_known_sentence) == (shared, 1.0)
            assert len(found.sentences) == len({u.text for u in corpus.utterances if u.key in one.test})
            assert found.speakers == (corpus.speakers if shared else ())
            assert found.identical == ()


def test_an_utterance_in_both_parts_or_outside_the_corpus_is_named():
    corpus = corpus_of([utterance("a"), utterance("b"), utterance("c")])
    with pytest.raises(ValueError, match=r"^b: in the training and the test set$"):
        audit(corpus, Split("random", 0, ("a", "b"), ("b", "c")))
    with pytest.raises(ValueError, match=r"^d: in the split but not in the corpus$"):
        audit(corpus, Split("random", 0, ("a", "b"), ("c", "d")))


# Table


def test_the_saved_table_says_the_part_of_every_file_in_every_fold(tmp_path):
    made = [Split("random", 0, ("b", "a,1"), ("c",)), Split("random", 3, ("c", "b"), ("a,1",))]
    save(made, tmp_path / "new" / "random.csv")
    assert (tmp_path / "new" / "random.csv").read_bytes() == (
        b'file,fold 0,fold 3\n"a,1",train,test\nb,train,train\nc,test,train\n'
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["random.csv"]
