"""``python -m workflow.synthetic CORPUS --data FOLDER``: makes a miniature corpus of synthetic speech, in the real layout.

The default build needs speech, but the repository holds no recordings. So a formant synthesizer, espeak-ng, speaks the
corpora's own sentences. DELIBERATELY NO PERSON: synthetic speech shows that the machinery works. It says nothing about
people, their emotions or any claim of the paper.

* :func:`make_corpus` writes a miniature of one corpus: equal bytes for equal seeds, in any process and order;
* :func:`synthesize` speaks one sentence; ``PROSODY``, read from ``synthetic.toml``, lists an emotion's changes to it;
* ``MINIATURES`` says which speakers say which sentences; ``facts.toml`` has their words and voices.

A log-Mel image is scaled to its recording's loudest point, which hides volume: the other changes carry the emotion.
"""

import _ctypes
import argparse
import ctypes
import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import espeakng_loader
import numpy as np
import soundfile
from scipy.signal import resample_poly

from serlib.config import check
from serlib.data.facts import CORPORA
from serlib.engine.command import run
from serlib.errors import SerlibError
from serlib.files import atomic_write, below

SAMPLE_RATE = 22_050  # Hz: espeak-ng's own
WORDS_PER_MINUTE = 145  # neutral speech
PEAK = 0.4  # neutral speech; full scale is 1, and +6 dB reaches 0.8

TIME_WARP, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
SYNCHRONOUS, DO_NOT_EXIT, UTF8 = 2, 0x8000, 1  # espeak_AUDIO_OUTPUT, option of espeak_Initialize, flag of espeak_Synth


@dataclass(frozen=True)
class Prosody:
    """An emotion's changes of speech, relative to the same voice's neutral speech."""

    rate: float = 1.0  # times the speaking rate
    pitch: float = 1.0  # times the mean fundamental frequency
    pitch_range: float = 1.0  # times the range of the fundamental frequency
    volume: float = 0.0  # dB
    tilt: float = 0.0  # dB per octave about 1 kHz: above 0 bright and tense, below 0 dull and lax
    breath: float = 0.0  # noise, relative to the voice's envelope
    jitter: float = 0.0  # irregularity of the cycles: standard deviation of a period, as a share of it

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("rate", self.rate, 0.6, 2.5),  # 87 to 363 words per minute: espeak-ng takes 80 to 450
            ("pitch", self.pitch, 0.5, 2.0),
            ("pitch_range", self.pitch_range, 0.0, 2.0),
            ("volume", self.volume, -20.0, 6.0),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} {value} is not within {low} to {high}")


_TABLES = tomllib.loads(Path(__file__).with_name("synthetic.toml").read_text(encoding="utf-8"))
PROSODY = {emotion: Prosody(**changes) for emotion, changes in _TABLES.items()}


@dataclass(frozen=True)
class Miniature:
    """Speakers and sentences: each speaker says each sentence once in each emotion of the corpus."""

    speakers: tuple[str, ...]
    sentences: tuple[str, ...]


MINIATURES = {name: Miniature(tuple(corpus.voices), tuple(corpus.said)) for name, corpus in CORPORA.items()}


@contextmanager
def _fresh_espeak() -> Iterator[ctypes.CDLL]:
    """Load espeak-ng in its initial state.

    No call resets the state that espeak-ng keeps between utterances: the phase of its flutter table, its gain control. So
    each utterance loads the library anew. It is loaded from a copy, since this process may hold the original already.

    Raises:
        RuntimeError: espeak-ng does not start.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        data, voices = Path(folder, "espeak-ng-data"), espeakng_loader.get_data_path()
        data.symlink_to(voices)  # a short path: espeak-ng silently cuts a path after 150 bytes
        espeak = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
        stack.callback(_ctypes.dlclose, espeak._handle)
        if espeak.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), DO_NOT_EXIT) != SAMPLE_RATE:
            raise RuntimeError(f"espeak-ng does not start with the voices in {voices}: reinstall espeakng-loader")
        stack.callback(espeak.espeak_Terminate)
        yield espeak


class _Voice(ctypes.Structure):
    """The first fields of espeak-ng's ``espeak_VOICE``."""

    _fields_ = [(name, ctypes.c_char_p) for name in ("name", "languages", "identifier")]


def _synthesize(text: str, voice: str, parameters: dict[int, int], seed: int) -> np.ndarray:
    """espeak-ng's own samples, int16 ``(samples,)``; ``seed`` draws its noise."""
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(samples: int | None, count: int, events: int | None) -> int:
        if samples:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    with _fresh_espeak() as espeak:
        espeak.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        status = espeak.espeak_SetVoiceByName(voice.encode())
        _, plus, variant = voice.partition("+")  # an unknown variant is dropped without an error
        if status or not espeak.espeak_GetCurrentVoice().contents.identifier.endswith((plus + variant).encode()):
            raise ValueError(f"voice {voice!r} is none of espeak-ng's, which are called like en-us or de+f2")
        for parameter, value in parameters.items():
            espeak.espeak_SetParameter(parameter, value, 0)
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed % 2**31))
        espeak.espeak_SetSynthCallback(collect)
        encoded = text.encode()
        espeak.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8, None, None)
    return np.frombuffer(b"".join(pieces), dtype=np.int16)


def synthesize(text: str, voice: str, prosody: Prosody, seed: int) -> np.ndarray:
    """Speak one sentence, float32 ``(samples,)`` in [-1, 1] at ``SAMPLE_RATE``, with 0.1 to 0.3 s of silence around it.

    ``voice`` is a voice of espeak-ng with or without a variant, such as ``"de+f2"``. ``seed``, at least 0, varies the
    prosody by a few per cent, so that takes differ. Equal seeds give equal samples, whatever was spoken before.

    Raises:
        ValueError: espeak-ng has no such voice, or the text holds nothing to say.
    """
    random = np.random.default_rng(seed)
    rate, pitch, pitch_range = np.exp(random.normal(0, (0.03, 0.03, 0.08)))
    parameters = {
        TIME_WARP: round(WORDS_PER_MINUTE * prosody.rate * rate),
        PITCH: round(np.clip(50 + 50 * np.log2(prosody.pitch * pitch), 0, 99)),  # 50 steps an octave
        RANGE: round(np.clip(50 * prosody.pitch_range * pitch_range, 0, 99)),
    }
    wave = _synthesize(text, voice, parameters, seed) / 32_768
    loud = np.flatnonzero(np.abs(wave) > 0.005)
    if not len(loud):
        raise ValueError(f"text {text!r} holds nothing to say")
    wave = wave[loud[0] : loud[-1] + 1]

    step = SAMPLE_RATE // 200  # 5 ms: about one cycle of the voice
    knots = np.arange(0, len(wave) + step, step)
    warped = np.cumsum(1 + random.normal(0, prosody.jitter, len(knots)).clip(-0.5, 0.5)) - 1
    time = np.interp(np.arange(len(wave)), knots, warped * step)
    wave = np.interp(time, np.arange(len(wave)), wave)

    total = np.cumsum(np.pad(np.abs(wave), (4 * step, 0)))
    envelope = (total[4 * step :] - total[: -4 * step]) / (4 * step)  # mean over the last 20 ms
    wave = wave + prosody.breath * envelope * np.diff(random.standard_normal(len(wave) + 1))  # rises 6 dB per octave

    size = 1 << len(wave).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).clip(125, 8_000)
    tilt = prosody.tilt + random.normal(0, 0.3)
    wave = np.fft.irfft(np.fft.rfft(wave, size) * 10 ** (tilt * np.log2(frequency / 1_000) / 20))[: len(wave)]

    wave = wave / np.abs(wave).max() * PEAK * 10 ** (prosody.volume / 20)
    return np.pad(wave, random.integers(SAMPLE_RATE // 10, 3 * SAMPLE_RATE // 10, 2)).astype(np.float32)


def _files(name: str) -> dict[str, tuple[str, str, str]]:
    """The miniature's files, relative to its folder: speaker, sentence and emotion of each."""
    corpus = CORPORA[name]
    return {
        corpus.layout.format(speaker=speaker, sentence=sentence, code=code): (speaker, sentence, emotion)
        for speaker in MINIATURES[name].speakers
        for code, emotion in corpus.codes.items()
        for sentence in MINIATURES[name].sentences
    }


def _wav(name: str, speaker: str, sentence: str, emotion: str) -> bytes:
    """One file of the miniature: 16-bit mono WAV at the corpus's sampling rate."""
    take = int.from_bytes(hashlib.sha256(f"0 {name} {speaker} {sentence} {emotion}".encode()).digest()[:4], "big")
    corpus = CORPORA[name]
    wave = synthesize(corpus.texts[sentence], corpus.voices[speaker], PROSODY[emotion], take)
    wave = resample_poly(wave.astype(np.float64), corpus.sample_rate, SAMPLE_RATE)
    buffer = BytesIO()
    soundfile.write(buffer, np.round(wave * 32_767).astype(np.int16), corpus.sample_rate, "PCM_16", format="WAV")
    return buffer.getvalue()


def make_corpus(name: str, folder: str | Path) -> int:
    """Write the miniature of corpus ``name`` below ``folder``, and return the number of its files.

    A file is written completely or not at all. Files that an earlier run of this miniature wrote are not touched.

    Raises:
        ValueError: there is no such corpus, or ``folder`` holds other files, which are never overwritten.
    """
    check("corpus", name, MINIATURES)
    folder, files = Path(folder), _files(name)
    paths = [path for path in below(folder, "") if path.is_file()]  # no mark of a tool, no unfinished file
    existing = {path.relative_to(folder).as_posix() for path in paths}
    foreign = existing - files.keys() or {
        file for file in existing if (folder / file).read_bytes() != _wav(name, *files[file])
    }
    if foreign:
        raise SerlibError(
            f"{folder} holds {len(foreign)} files such as {min(foreign)} that are not of the synthetic {name}: "
            "give an empty folder, or delete this one if nothing in it is worth keeping"
        )
    for file in (file for file in files if file not in existing):
        with atomic_write(folder / file) as beside:
            beside.write_bytes(_wav(name, *files[file]))
    return len(files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a miniature. Returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m workflow.synthetic", description="Make a miniature corpus of synthetic speech."
    )
    parser.add_argument("corpus", help=", ".join(MINIATURES))
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="where its files go")
    parser.set_defaults(command=lambda options: make_corpus(options.corpus, options.data))
    return run(parser, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
