"""Synthetic speech: the same bytes every time, the real layouts, emotions that can be told apart."""

import _ctypes
import ctypes
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile

from serlib.data.facts import CORPORA
from workflow import synthetic
from workflow.synthetic import MINIATURES, PROSODY, SAMPLE_RATE, Miniature, Prosody, main, make_corpus, synthesize

# The corpora's own naming rules, written out independently of the module.
NAMES = {
    "savee": r"(?P<speaker>DC|JE|JK|KL)/(?P<code>a|d|f|h|n|sa|su)(?P<sentence>\d\d)\.wav",
    "emodb": r"wav/(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<code>[WLEAFTN])[a-f]\.wav",
    "crema-d": r"AudioWAV/(?P<speaker>10\d\d)_(?P<sentence>[A-Z]{3})_(?P<code>ANG|DIS|FEA|HAP|NEU|SAD)_XX\.wav",
}
COUNTS = {"savee": 84, "emodb": 84, "crema-d": 72}


def contents(folder: Path) -> dict[str, str]:
    """Every file below ``folder``, hidden ones too, with the SHA-256 of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fundamental(wave: np.ndarray) -> tuple[float, float]:
    """Frequency (Hz) of the highest autocorrelation between 60 and 400 Hz, and that autocorrelation (at most 1)."""
    power = np.abs(np.fft.rfft(wave, 2 * len(wave))) ** 2
    correlation = np.fft.irfft(power)[: SAMPLE_RATE // 60]
    lag = SAMPLE_RATE // 400 + np.argmax(correlation[SAMPLE_RATE // 400 :])
    return SAMPLE_RATE / lag, correlation[lag] / correlation[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three miniatures, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("synthetic")
    assert {name: make_corpus(name, folder / name) for name in MINIATURES} == COUNTS
    return folder


@pytest.mark.parametrize("name", MINIATURES)
def test_layout_is_the_real_one_and_balanced(folder: Path, name: str) -> None:
    found = [re.fullmatch(NAMES[name], file) for file in contents(folder / name)]
    assert all(found)
    emotions = Counter(CORPORA[name].codes[match["code"]] for match in found)
    assert emotions == dict.fromkeys(CORPORA[name].emotions, 12)
    assert {match["speaker"] for match in found} == set(MINIATURES[name].speakers)
    assert {match["sentence"] for match in found} == set(MINIATURES[name].sentences)


@pytest.mark.parametrize("name", MINIATURES)
def test_audio_is_audible_unclipped_and_of_real_length(folder: Path, name: str) -> None:
    for path in (folder / name).rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (CORPORA[name].sample_rate, 1, "PCM_16")
        assert 0.5 < info.duration < 10
        wave, rate = soundfile.read(path)
        assert 0.1 < np.abs(wave).max() < 0.95
        loud = np.flatnonzero(np.abs(wave) > 0.01)
        assert max(loud[0], len(wave) - loud[-1]) < 0.4 * rate
        assert np.sqrt(np.mean(wave**2)) > 0.01


@pytest.mark.parametrize("name", MINIATURES)
def test_anger_is_faster_and_brighter_than_sadness(folder: Path, name: str) -> None:
    codes = {emotion: code for code, emotion in CORPORA[name].codes.items()}

    def measure(speaker: str, sentence: str, emotion: str) -> tuple[float, float]:
        file = CORPORA[name].layout.format(speaker=speaker, sentence=sentence, code=codes[emotion])
        wave, rate = soundfile.read(folder / name / file)
        power = np.abs(np.fft.rfft(wave, 2**18)) ** 2
        return len(wave) / rate, np.fft.rfftfreq(2**18, 1 / rate) @ power / power.sum()

    for speaker in MINIATURES[name].speakers:
        for sentence in MINIATURES[name].sentences:
            (short, bright), (long, dull) = (measure(speaker, sentence, emotion) for emotion in ("anger", "sadness"))
            assert 1.2 * short < long
            assert bright > 1.5 * dull


def test_no_two_files_are_alike(folder: Path) -> None:
    digests = contents(folder).values()
    assert len(set(digests)) == len(digests) == sum(COUNTS.values())


def test_another_process_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """One speaker's files, the last first, as they were among all the others'."""
    script = (
        "import sys; from workflow import synthetic; speaker, *sentences = sys.argv[2:]; "
        "synthetic.MINIATURES['crema-d'] = synthetic.Miniature((speaker,), sentences); "
        "synthetic.make_corpus('crema-d', sys.argv[1])"
    )
    speaker, sentences = MINIATURES["crema-d"].speakers[-1], MINIATURES["crema-d"].sentences[::-1]
    environment = os.environ | {"PYTHONPATH": str(Path(synthetic.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, tmp_path, speaker, *sentences], check=True, env=environment)
    spoken = {file: digest for file, digest in contents(folder / "crema-d").items() if speaker in file}
    assert len(spoken) == 18
    assert contents(tmp_path) == spoken


def test_an_utterance_does_not_depend_on_the_one_before() -> None:
    def say(voice: str) -> bytes:
        return synthesize("Der Lappen liegt auf dem Eisschrank.", voice, PROSODY["fear"], seed=1).tobytes()

    first = say("de+f2")
    assert say("de+m1") != first
    assert say("de+f2") == first
    held = ctypes.CDLL(espeakng_loader.get_library_path())  # as another package in this process would
    assert held.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0x8000) == SAMPLE_RATE
    assert [say("de+f2"), say("de+f2")] == [first, first]
    held.espeak_Terminate()
    _ctypes.dlclose(held._handle)


def test_seeds_give_different_takes(tmp_path: Path) -> None:
    takes = {synthesize("Will you tell me why?", "en-us", PROSODY["neutral"], seed).tobytes() for seed in range(3)}
    assert len(takes) == 3


def test_prosody_changes_what_it_names() -> None:
    def say(voice: str = "de+m1", **change: float) -> np.ndarray:
        return synthesize(
            "In sieben Stunden wird es soweit sein.", voice, Prosody(**{"pitch_range": 0.0} | change), seed=3
        )

    wave = say()
    assert (wave.dtype, wave.ndim) == (np.float32, 1)
    (pitch, regular), (high, _), (_, moving) = map(fundamental, (wave, say(pitch=1.5), say(pitch_range=1.9)))
    assert high / pitch == pytest.approx(1.5, rel=0.1)
    assert moving < 0.8 * regular
    assert fundamental(say(jitter=0.06))[1] < 0.8 * regular
    assert len(say(rate=0.7)) > 1.2 * len(wave)
    assert np.abs(say(volume=6.0)).max() == pytest.approx(10 ** (6 / 20) * np.abs(wave).max())


def test_female_speakers_have_the_higher_voices() -> None:
    speakers = {"emodb": ("08", "09", "03", "10"), "crema-d": ("1002", "1003", "1001", "1005")}  # f, f, m, m
    for name, codes in speakers.items():
        voices = (CORPORA[name].voices[code] for code in codes)
        waves = (
            synthesize("Maybe tomorrow it will be cold.", voice, Prosody(pitch_range=0.0), seed=0) for voice in voices
        )
        *female, low, other = (fundamental(wave)[0] for wave in waves)
        assert min(female) > 1.2 * max(low, other)


def test_every_emotion_has_its_own_prosody() -> None:
    assert set(PROSODY) == {emotion for corpus in CORPORA.values() for emotion in corpus.emotions}
    assert len(set(PROSODY.values())) == len(PROSODY)


@pytest.mark.parametrize("wrong", ["notes.txt", "AudioWAV/1091_WSI_SAD_XX.wav", "AudioWAV/1001_DFA_ANG_XX.wav"])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, wrong: str) -> None:
    """The last name is one of the miniature's own: a real recording with that name survives."""
    path = tmp_path / wrong
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"precious")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.*{wrong}.*empty folder"):
        make_corpus("crema-d", tmp_path)
    assert contents(tmp_path) == before


def test_an_interrupted_run_leaves_whole_files_and_is_continued(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(folder / "crema-d")
    write = Path.write_bytes
    written: list[Path] = []

    def break_off(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) < 5:
            return write(path, data)
        write(path, data[:1000])
        raise KeyboardInterrupt

    monkeypatch.setitem(MINIATURES, "crema-d", Miniature(("1002",), ("IWL",)))
    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(KeyboardInterrupt):
        make_corpus("crema-d", tmp_path)
    monkeypatch.setattr(Path, "write_bytes", write)
    left = {file: digest for file, digest in contents(tmp_path).items() if not Path(file).name.startswith(".")}
    assert len(left) == 4
    assert left.items() <= whole.items()
    killed = tmp_path / "AudioWAV/.unfinished-abc"
    killed.mkdir()
    (killed / "file").write_bytes(b"half")
    assert make_corpus("crema-d", tmp_path) == 6
    assert len(contents(tmp_path).items() & whole.items()) == 6


def test_the_voices_may_lie_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 200)
    deep.symlink_to(espeakng_loader.get_data_path())
    near = synthesize("Hello.", "en-us", Prosody(), 0)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
    assert np.array_equal(synthesize("Hello.", "en-us", Prosody(), 0), near)


def test_the_command_makes_a_miniature_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(MINIATURES, "crema-d", Miniature(("1002",), ("IWL",)))
    arguments = ["crema-d", "--data", str(tmp_path / "spoken")]
    assert (main(arguments), main(arguments)) == (0, 0)
    made = contents(tmp_path / "spoken")
    assert len(made) == 6
    assert made.items() <= contents(folder / "crema-d").items()
    assert main(["ravdess", *arguments[1:]]) == 1
    assert capsys.readouterr().err == "workflow.synthetic: corpus 'ravdess' is none of savee, emodb, crema-d\n"


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'ravdess' is none of savee, emodb, crema-d"):
        make_corpus("ravdess", tmp_path)
    for voice in ("tlhingan", "de+f99"):
        with pytest.raises(ValueError, match=re.escape(voice)):
            synthesize("Hallo.", voice, Prosody(), 0)
    with pytest.raises(ValueError, match="nothing to say"):
        synthesize(" ", "en-us", Prosody(), 0)
    with pytest.raises(ValueError, match="rate 9"):
        Prosody(rate=9.0)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "absent"))
    with pytest.raises(RuntimeError, match="absent"):
        synthesize("Hello.", "en-us", Prosody(), 0)
