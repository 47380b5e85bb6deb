"""File names, every defect found by name, the table, and the real corpora against the paper's counts."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import soundfile
import soxr
from helpers import tiny_emodb, write_wav
from hypothesis import given
from hypothesis import strategies as st

from serlib.data import corpora, facts, report
from serlib.data.corpora import Corpus, CorpusError, Excluded, Utterance, load, manifest, parse, read, save
from serlib.files import sha256

# The corpora's naming rules, written out independently of the module.
EMODB_SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
EMODB_TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
EMODB = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "N": "neutral", "T": "sadness"}
CREMA_D_TEXTS = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
CREMA_D = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"}
SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")
SAVEE = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise"}

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EMODB_CODES, CREMA_D_CODES, SAVEE_CODES = (st.sampled_from(sorted(codes)) for codes in (EMODB, CREMA_D, SAVEE))
FOLDERS = st.sampled_from(("", "wav/", "deep/er/"))


@st.composite
def emodb_names(draw, codes=EMODB_CODES):
    speaker, text, code = draw(st.sampled_from(EMODB_SPEAKERS)), draw(st.sampled_from(EMODB_TEXTS)), draw(codes)
    return f"{draw(FOLDERS)}{speaker}{text}{code}{draw(st.sampled_from('abcdef'))}.wav", speaker, text, code


@st.composite
def crema_d_names(draw, codes=CREMA_D_CODES):
    speaker, text, code = str(draw(st.integers(1001, 1091))), draw(st.sampled_from(CREMA_D_TEXTS)), draw(codes)
    level = draw(st.sampled_from(("LO", "MD", "HI", "XX")))
    return f"{draw(FOLDERS)}{speaker}_{text}_{code}_{level}.wav", speaker, text, code


@st.composite
def savee_names(draw, codes=SAVEE_CODES):
    speaker, number, code = draw(st.sampled_from(SAVEE_SPEAKERS)), draw(st.integers(1, 30)), draw(codes)
    return f"{draw(FOLDERS)}{speaker}{draw(st.sampled_from('_/'))}{code}{number:02}.wav", speaker, number, code


@cache
def every(name: str) -> list[Utterance]:
    """Every published file of a corpus, by its name alone."""
    return [parse(name, file) for file in manifest(name)]


def reasons(corpus: Corpus) -> dict[str, str]:
    return {item.file: item.reason for item in corpus.excluded}


def keys(corpus: Corpus) -> list[str]:
    return [utterance.key for utterance in corpus.utterances]


@pytest.fixture
def folder(tmp_path):
    """Ten good recordings: five speakers, anger and sadness."""
    return tiny_emodb(tmp_path / "emodb")


def test_what_is_noted_of_a_file_makes_no_other_utterance():
    utterance = every("emodb")[0]
    assert replace(utterance, notes=("shorter than 0.5 s",), carrier={"rate": 8_000}) == utterance


def test_of_a_corpus_as_published_no_channel_is_chosen():
    assert corpora.published("emodb").channel == 0  # the mean of all


# File names


@given(emodb_names())
def test_an_emodb_name_gives_its_fields(drawn):
    file, speaker, text, code = drawn
    name = file.rsplit("/", 1)[-1]
    assert parse("emodb", file) == Utterance(name, Path(file), speaker, text, EMODB[code])


@given(crema_d_names())
def test_a_crema_d_name_gives_its_fields(drawn):
    file, speaker, text, code = drawn
    name = file.rsplit("/", 1)[-1]
    assert parse("crema-d", file) == Utterance(name, Path(file), speaker, text, CREMA_D[code])


@given(savee_names())
def test_a_savee_name_gives_its_fields(drawn):
    file, speaker, number, code = drawn
    text = f"{code}{number:02}"
    assert parse("savee", file) == Utterance(f"{speaker}_{text}.wav", Path(file), speaker, text, SAVEE[code])


@pytest.mark.parametrize("file", ["DC_a01.wav", "DC/a01.wav", "AudioData/DC/a01.wav", "all/DC_a01.wav"])
def test_both_layouts_of_savee_give_the_same_key(file):
    assert parse("savee", file) == Utterance("DC_a01.wav", Path(file), "DC", "a01", "anger")


UNKNOWN = {
    "emodb": emodb_names(st.sampled_from([c for c in LETTERS if c not in EMODB])),
    "crema-d": crema_d_names(st.text(LETTERS, min_size=3, max_size=3).filter(lambda code: code not in CREMA_D)),
    "savee": savee_names(st.text(LETTERS.lower(), min_size=1, max_size=2).filter(lambda code: code not in SAVEE)),
}


@given(st.one_of(st.tuples(st.just(name), files) for name, files in UNKNOWN.items()))
def test_an_unknown_code_is_named_with_its_file_and_the_codes_there_are(drawn):
    name, (file, *_, code) = drawn
    with pytest.raises(CorpusError) as error:
        parse(name, file)
    known = {"emodb": EMODB, "crema-d": CREMA_D, "savee": SAVEE}[name]
    assert str(error.value).startswith(f"{file}: emotion code {code!r} is none of ")
    assert set(str(error.value).split(" is none of ")[1].split(", ")) == set(known)


@pytest.mark.parametrize(
    ("name", "file", "field"),
    [
        ("emodb", "04a01Fa.wav", "speaker '04'"),
        ("emodb", "03a03Fa.wav", "text 'a03'"),
        ("crema-d", "1001_ABC_ANG_XX.wav", "text 'ABC'"),
        ("crema-d", "1001_DFA_ANG_YY.wav", "level 'YY'"),
        ("savee", "AB_a01.wav", "speaker 'AB'"),
    ],
)
def test_any_other_unknown_field_is_named(name, file, field):
    with pytest.raises(CorpusError, match=f"^{file}: {field} is none of "):
        parse(name, file)


@given(
    st.sampled_from(("emodb", "crema-d", "savee")),
    st.one_of(emodb_names(), crema_d_names(), savee_names()),
    st.integers(0, 40),
    st.integers(0, 2),
    st.text(max_size=2),
)
def test_any_other_name_is_refused_by_name_or_is_a_name_of_the_corpus(name, drawn, at, cut, insert):
    """A valid name of any corpus with some characters replaced: never another error, never an unknown label."""
    file = drawn[0][:at] + insert + drawn[0][at + cut :]
    try:
        parsed = parse(name, file)
    except CorpusError as error:
        parsed, message = None, str(error)
    if parsed is None:
        assert message.startswith(f"{file}: ")
    else:
        known = {"emodb": EMODB, "crema-d": CREMA_D, "savee": SAVEE}[name]
        (code,) = [code for code, emotion in known.items() if emotion == parsed.emotion]
        assert code in Path(file).name
        assert parsed.speaker in file


# Defects


def test_a_good_folder_is_read_whole_and_in_the_order_of_its_keys(folder):
    corpus = load("emodb", folder)
    names = [f"{speaker}a01{code}a.wav" for speaker in ("03", "08", "09", "10", "11") for code in "TW"]
    assert keys(corpus) == names
    assert corpus.excluded == ()
    assert corpus.speakers == ("03", "08", "09", "10", "11")
    assert corpus.emotions == ("anger", "sadness")
    assert corpus.labels == [1, 0] * 5
    assert {u.seconds for u in corpus.utterances} == {0.5}
    assert [u.sha256 for u in corpus.utterances] == [sha256(folder / "wav" / name) for name in names]


def test_a_name_outside_the_rules_excludes_its_file_alone(folder):
    good = keys(load("emodb", folder))
    write_wav(folder / "wav" / "03a01Xa.wav", seed=90)
    write_wav(folder / "notes.wav", seed=91)
    corpus = load("emodb", folder)
    assert keys(corpus) == good
    assert reasons(corpus) == {
        "wav/03a01Xa.wav": "emotion code 'X' is none of W, L, E, A, F, N, T",
        "notes.wav": "not a emodb file name such as 03a01Fa.wav",
    }


def test_quiet_is_not_silence(folder):
    soundfile.write(folder / "wav" / "16b10Na.wav", np.eye(1, 1600)[0] / 2**15, 16_000, subtype="PCM_16")
    assert "16b10Na.wav" in keys(load("emodb", folder))


def test_identical_recordings_under_different_labels_are_all_excluded(folder):
    for name in ("16b10Na.wav", "16b10Fa.wav", "16b10Fb.wav"):
        write_wav(folder / "wav" / name, seed=90)
    corpus = load("emodb", folder)
    assert len(corpus.utterances) == 10
    assert reasons(corpus) == {
        "16b10Na.wav": "identical to 16b10Fa.wav (happiness), 16b10Fb.wav (happiness)",
        "16b10Fa.wav": "identical to 16b10Fb.wav (happiness), 16b10Na.wav (neutral)",
        "16b10Fb.wav": "identical to 16b10Fa.wav (happiness), 16b10Na.wav (neutral)",
    }


def test_identical_recordings_under_one_label_are_kept(folder):
    for name in ("16b10Na.wav", "16b10Nb.wav"):
        write_wav(folder / "wav" / name, seed=90)
    corpus = load("emodb", folder)
    assert {"16b10Na.wav", "16b10Nb.wav"} <= set(keys(corpus))
    assert corpus.excluded == ()


@pytest.mark.parametrize("other", ["wav-2", "zz"])
def test_of_two_files_with_one_name_the_first_is_kept(folder, other):
    write_wav(folder / other / "03a01Wa.wav", seed=90)
    corpus = load("emodb", folder)
    first, second = sorted(("wav", other))
    assert len(corpus.utterances) == 10
    assert reasons(corpus) == {f"{second}/03a01Wa.wav": f"same name as {first}/03a01Wa.wav"}


def test_of_savees_two_layouts_side_by_side_one_is_kept(tmp_path):
    write_wav(tmp_path / "AudioData" / "DC" / "a01.wav", seed=1)
    write_wav(tmp_path / "DC_a01.wav", seed=2)
    write_wav(tmp_path / "DC_h01.wav", seed=3)
    corpus = load("savee", tmp_path)
    assert reasons(corpus) == {"DC_a01.wav": "same name as AudioData/DC/a01.wav"}
    assert [(u.key, u.path.relative_to(tmp_path).as_posix()) for u in corpus.utterances] == [
        ("DC_a01.wav", "AudioData/DC/a01.wav"),
        ("DC_h01.wav", "DC_h01.wav"),
    ]


def test_wrong_counts_are_noted_for_recordings_and_not_for_synthetics(folder):
    assert load("emodb", folder).notes == (
        "anger: 5 utterances, published 127",
        "boredom: 0 utterances, published 81",
        "disgust: 0 utterances, published 46",
        "fear: 0 utterances, published 69",
        "happiness: 0 utterances, published 71",
        "neutral: 0 utterances, published 79",
        "sadness: 5 utterances, published 62",
        "5 speakers, published 10",
        "10 of 10 files differ from those published, 03a01Ta.wav first",
    )
    assert load("emodb", folder, speech="synthetic").notes == ()


def test_strict_stops_at_wrong_counts_and_passes_what_has_no_problem(folder):
    with pytest.raises(CorpusError, match=r"9 problem\(s\).*anger: 5 utterances, published 127$"):
        load("emodb", folder, strict=True)
    assert len(load("emodb", folder, strict=True, speech="synthetic").utterances) == 10


def test_what_cannot_be_read_at_all_is_said(tmp_path):
    with pytest.raises(CorpusError, match=f"^{tmp_path / 'absent'}: no folder of emodb's recordings"):
        load("emodb", tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"absent\.csv: No such file or directory$"):
        load("own", tmp_path / "absent.csv")
    with pytest.raises(CorpusError, match=f"^{tmp_path}: no usable emodb recording; no .wav is there$"):
        load("emodb", tmp_path)
    (tmp_path / "emodb.zip").write_bytes(b"PK")
    with pytest.raises(
        CorpusError, match=r"emodb\.zip: no folder of emodb's recordings; .*; an archive is unpacked first$"
    ):
        load("emodb", tmp_path / "emodb.zip")
    with pytest.raises(CorpusError, match=f"'ravdess' is none of {', '.join(facts.CORPORA)}; for your own, give a CSV"):
        load("ravdess", tmp_path)
    (tmp_path / "03a01Wa.wav").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"no usable emodb recording; first problem: 03a01Wa\.wav: unreadable"):
        load("emodb", tmp_path)


# A corpus of one's own


@pytest.fixture
def own(tmp_path):
    """Writes a table beside two recordings and reads it."""
    write_wav(tmp_path / "a.wav", seed=1)
    write_wav(tmp_path / "sub" / "b.wav", seed=2)

    def read_table(*lines: str) -> Corpus:
        table = tmp_path / "own.csv"
        table.write_text("".join(line + "\n" for line in lines))
        return load("own", table)

    return read_table


def test_a_table_of_ones_own_is_read(own, tmp_path):
    corpus = own("emotion,path,speaker,text,age", "joy,sub/b.wav,Ada,t1,36", "rage,a.wav,Bob,,40")
    assert (corpus.emotions, corpus.speakers, corpus.labels) == (("joy", "rage"), ("Ada", "Bob"), [1, 0])
    assert [(u.key, u.path, u.speaker, u.text, u.emotion) for u in corpus.utterances] == [
        ("a.wav", tmp_path / "a.wav", "Bob", "", "rage"),
        ("sub/b.wav", tmp_path / "sub" / "b.wav", "Ada", "t1", "joy"),
    ]
    assert (corpus.excluded, corpus.notes) == ((), ())


# The table


def test_a_saved_corpus_reads_back_equal(folder, tmp_path):
    write_wav(folder / "wav" / "16b10Na.wav", seconds=4801 / 16_000, seed=90)  # no round number of milliseconds
    soundfile.write(folder / "wav" / "16b10Fa.wav", np.zeros(1600), 16_000)
    (folder / "wav" / 'odd, "name".wav').write_bytes(b"this is not audio" * 100)
    corpus = load("emodb", folder)
    assert (len(corpus.excluded), len(corpus.notes)) == (2, 10)
    save(corpus, tmp_path / "table.csv", folder)
    assert read(tmp_path / "table.csv", folder, "emodb", "recordings") == corpus
    moved = folder.rename(tmp_path / "moved")
    again = read(tmp_path / "table.csv", moved, "emodb", "recordings")
    assert again.fingerprint == corpus.fingerprint
    assert all(u.path.is_file() and u.path.is_relative_to(moved) for u in again.utterances)


def test_a_saved_table_of_ones_own_reads_back_equal(own, tmp_path):
    corpus = own("path,speaker,text,emotion", 'sub/b.wav,"Ada, Countess","say ""hey""",joy', "a.wav,Bob,,rage")
    save(corpus, tmp_path / "table.csv", tmp_path / "own.csv")
    assert read(tmp_path / "table.csv", tmp_path / "own.csv", "own", "recordings") == corpus


# How recordings are stored


def change(samples: np.ndarray, kind: str, changed: bool) -> tuple[np.ndarray, int, str, str]:
    """Samples, rate, container and encoding of a recording; ``changed`` alone differs, and in ``kind`` alone."""
    rate, container, encoding = 16_000, "WAV", "PCM_16"
    if changed and kind == "rate":
        rate = 8_000
    elif changed and kind == "bandwidth":  # half the rate and back: what a telephone leaves, at the rate of the others
        samples = soxr.resample(soxr.resample(samples, 2, 1), 1, 2)
    elif changed and kind == "format":
        container = "FLAC"
    elif changed and kind == "encoding":
        encoding = "PCM_24"
    elif changed and kind == "channels":
        samples = np.stack((samples, samples), 1)
    elif changed and kind == "length":
        samples = samples[:9_000]
    elif changed and kind == "level":
        samples = samples / 16
    return samples, rate, container, encoding


GIVEAWAYS = {
    "rate": "the sampling rate",
    "bandwidth": "the bandwidth",
    "format": "the format",
    "encoding": "the format",
    "channels": "the number of channels",
    "length": "the length",
    "level": "the level",
}


@pytest.mark.parametrize("kind", GIVEAWAYS)
@pytest.mark.parametrize("told", [True, False])
def test_a_property_that_tells_emotions_apart_is_said_and_one_that_does_not_is_not(tmp_path, kind, told):
    rows, random = ["path,speaker,emotion"], np.random.default_rng(0)
    for number in range(48):
        emotion = ("joy", "rage", "calm", "fear")[number % 4]
        changed = emotion in ("rage", "fear") if told else number % 8 < 4
        length = 12_000 + (number // 8) * 100  # other lengths in every emotion alike
        samples = random.uniform(-0.5, 0.5, length)  # nosec B311
        samples, rate, container, encoding = change(samples, kind, changed)
        soundfile.write(tmp_path / f"{number}.wav", samples * rate / 16_000, rate, encoding, format=container)
        rows.append(f"{number}.wav,A{number % 3},{emotion}")
    (tmp_path / "own.csv").write_text("\n".join(rows))
    notes = load("own", tmp_path / "own.csv").notes
    said = [note for note in notes if " alone tells " in note and note.startswith(GIVEAWAYS[kind])]
    told_apart = rf"{GIVEAWAYS[kind]} alone tells calm from fear \((9\d|100)% right\), and 3 more pair\(s\)"
    assert [bool(re.fullmatch(told_apart, note)) for note in said] == [True] * told
    assert ("24 file(s), 1.wav first: 8,000 Hz: nothing above 4 kHz" in notes) == (kind == "rate" and told)


@pytest.mark.parametrize("kind", ["level", "seconds"])
def test_what_emotions_differ_in_by_nature_is_said_where_it_tells_nearly_all_apart(kind):
    """The level of CREMA-D tells anger from sadness for 92.5 %."""
    random = np.random.default_rng(0)
    stored = {"rate": 16_000, "bandwidth": 8e3, "format": "WAV PCM_16", "channels": 1, "seconds": 2.0, "level": -30.0}

    def corpus(apart: float, speakers: int = 2, shift: float = 0.0) -> list[corpora.Utterance]:
        values = {emotion: random.normal(apart * number, 1, 500) for number, emotion in enumerate(("anger", "sadness"))}
        return [
            corpora.Utterance(f"{emotion}{i}", Path(), f"A{s}", "", emotion, carrier=stored | {kind: value + shift * s})
            for emotion, drawn in values.items()
            for i, value in enumerate(drawn)
            for s in [i % speakers]
        ]

    assert not list(report.giveaways(corpus(apart=3.0)))  # 93 % right
    (note,) = report.giveaways(corpus(apart=6.0))
    assert re.fullmatch(r"the (level|length) alone tells anger from sadness \(100% right\)", note)
    assert not list(report.giveaways(corpus(apart=6.0, speakers=1)))  # one speaker says nothing of recordings
    assert not list(report.giveaways(corpus(apart=6.0, shift=12.0)))  # nor do speakers differ in it alike


def test_a_table_is_said_by_emotion_and_by_speaker(tmp_path):
    folder = tiny_emodb(tmp_path / "emodb", speakers=("03", "08"), seconds=1)
    soundfile.write(folder / "wav" / "08a01Wa.wav", np.full((4_000, 2), 0.5), 8_000, format="FLAC")
    head, anger, sadness = report.summary(load("emodb", folder).utterances, "emotion")
    assert head.split() == ["emotion", "files", "Hz", "format", "channels", "s", "dB"]
    assert anger.split() == ["anger", "2", "8,000/16,000", "FLAC", "PCM_16/WAV", "PCM_16", "1/2", "0.75", "-8.4"]
    assert sadness.split() == ["sadness", "2", "16,000", "WAV", "PCM_16", "1", "1.00", "-10.8"]
    assert [line.split()[:3] for line in list(report.summary(load("emodb", folder).utterances, "speaker"))[1:]] == [
        ["03", "2", "16,000"],
        ["08", "2", "8,000/16,000"],
    ]


# As published


@pytest.mark.parametrize("name", ["emodb", "crema-d"])
def test_files_that_are_not_those_published_are_said_and_their_fingerprint_is_another(tmp_path, monkeypatch, name):
    """Types are left unchecked: 60,000 utterances are made, and other tests check those of fewer."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    files = manifest(name)
    monkeypatch.setattr(corpora, "_from_names", lambda *given: (every(name), []))
    other: set[str] = set()
    gone: set[str] = set()

    def opened(u, settings):
        if u.key in facts.CREMA_D_SILENT or u.speaker in gone:
            return Excluded(u.key, "digital silence")
        return replace(u, sha256="0" * 63 + f"{len(u.key) % 8}" if u.key in other else files[u.key])

    monkeypatch.setattr(corpora, "_open", opened)
    whole = load(name, tmp_path)
    assert whole.notes == ()
    published = corpora.published_fingerprints(name)
    assert {whole.fingerprint, corpora.versions(whole).fingerprint} == published
    usable = len(whole.utterances)
    first = whole.utterances[5].key
    other.add(first)
    changed = load(name, tmp_path)
    assert changed.notes == (f"1 of {usable:,} files differ from those published, {first} first",)
    assert changed.fingerprint not in published
    gone.add(whole.utterances[0].speaker)
    speakers = facts.CORPORA[name].speakers
    assert f"{speakers - 1} speakers, published {speakers}" in load(name, tmp_path).notes


def test_of_a_corpus_without_published_hashes_nothing_is_said():
    assert (manifest("savee"), corpora.published_fingerprints("savee")) == ({}, frozenset())


# The fingerprint


def test_the_fingerprint_does_not_depend_on_the_folder(folder, tmp_path):
    before = load("emodb", folder).fingerprint
    there = tmp_path / "elsewhere" / "deep"
    there.mkdir(parents=True)
    for path in sorted(folder.rglob("*.wav"), reverse=True):
        path.rename(there / path.name)
    assert load("emodb", there).fingerprint == before


def test_the_fingerprint_does_not_depend_on_the_order_of_the_files(own):
    rows = ("a.wav,Bob,rage", "sub/b.wav,Ada,joy")
    assert own("path,speaker,emotion", *rows).fingerprint == own("path,speaker,emotion", *rows[::-1]).fingerprint


def test_the_fingerprint_changes_with_one_byte(folder):
    before = load("emodb", folder)
    path = folder / "wav" / "03a01Wa.wav"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = load("emodb", folder)
    assert keys(after) == keys(before)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("change", [{"emotion": "fear"}, {"speaker": "12"}, {"text": "b01"}, {"key": "03a01Ab.wav"}])
def test_the_fingerprint_changes_with_one_label(folder, change):
    corpus = load("emodb", folder)
    first, *others = corpus.utterances
    changed = replace(corpus, utterances=(replace(first, **change), *others))
    assert changed.fingerprint != corpus.fingerprint


def test_the_fingerprint_keeps_the_fields_apart(own):
    """A speaker "Ada B" with the text "C" is not a speaker "Ada" with the text "B C"."""
    head = "path,speaker,text,emotion"
    other = "sub/b.wav,Bob,D,rage"
    assert own(head, "a.wav,Ada B,C,joy", other).fingerprint != own(head, "a.wav,Ada,B C,joy", other).fingerprint


# The real recordings


def test_all_of_emodb_is_the_published_corpus(recordings):
    corpus = load("emodb", recordings / "emodb", strict=True)
    assert (corpus.excluded, corpus.notes) == ((), ())
    assert Counter(u.emotion for u in corpus.utterances) == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "sadness": 62,
        "neutral": 79,
    }
    assert corpus.speakers == EMODB_SPEAKERS
    assert {u.text for u in corpus.utterances} == set(EMODB_TEXTS)
    assert {u.key: u.sha256 for u in corpus.utterances} == manifest("emodb")
    seconds = [u.seconds for u in corpus.utterances]
    assert (round(min(seconds), 2), round(max(seconds), 2), round(sum(seconds))) == (1.23, 8.98, 1487)


def test_the_six_actors_of_crema_d_parse(recordings):
    corpus = load("crema-d", recordings / "crema-d")
    assert corpus.speakers == ("1001", "1002", "1005", "1015", "1037", "1079")
    assert len(corpus.utterances) == 491
    assert corpus.excluded == ()
    files = {path.name for path in (recordings / "crema-d").rglob("*.wav")}
    codes = Counter(CREMA_D[name.split("_")[2]] for name in files)
    assert Counter(u.emotion for u in corpus.utterances) == codes
    published = manifest("crema-d")
    assert len(published) == 7442
    assert {u.key: u.sha256 for u in corpus.utterances} == {name: published[name] for name in files}
    assert corpus.notes[-1] == "6 speakers, published 91"  # not that the level tells anger from sadness for 90 %


def test_the_manifests_have_the_published_counts():
    """And hashes of SHA-256."""
    assert all(
        re.fullmatch("[0-9a-f]{64}", value) for name in ("emodb", "crema-d") for value in manifest(name).values()
    )
    assert Counter(EMODB[name[5]] for name in manifest("emodb")) == Counter(
        {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79}
    )
    assert Counter(CREMA_D[name.split("_")[2]] for name in manifest("crema-d")) == Counter(
        {"anger": 1271, "disgust": 1271, "fear": 1271, "happiness": 1271, "sadness": 1271, "neutral": 1087}
    )


@pytest.mark.parametrize("known", facts.CORPORA.values(), ids=lambda known: known.name)
def test_the_facts_of_a_corpus_agree_with_each_other(known):
    groups = re.compile(known.pattern).groupindex.keys()
    assert {"speaker", "code", *known.fields} <= groups
    assert {"text", "number"} & groups
    assert set(known.codes.values()) == known.class_counts.keys()
    assert set(known.said) <= known.texts.keys()
