"""The one reader of recordings: what it refuses, no command uses.

The samples that are there count. A file that holds fewer samples than its header declares is refused. Writers into a pipe
do not know the sizes that a header declares, and others get them wrong: then a note says so.
"""

import hashlib
import math
import re
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float
from numpy import ndarray

from serlib.config import Features
from serlib.errors import SerlibError
from serlib.files import require_file

CONVERT = "WAV and FLAC are read; `ffmpeg -i FILE FILE.wav` converts others"
LARGEST_FILE = 2**29  # bytes
MOST_SAMPLES = 2**28  # of all channels: more than four hours at 16 kHz; a stream may declare any number of them
LARGEST, SMALLEST = 1e3, 1e-7  # amplitudes: above is no audio in [-1, 1], below is less than 24 bits hold
RATES = (1_000, 2_000_000)  # Hz
UNKNOWN = 0x7FFFF000  # sizes from here on (and 0) say that the writer did not know: SoX, ffmpeg and others
SHORT = 0.5  # seconds: hardly a word
# The power at high frequencies that no recording of EmoDB or CREMA-D is without: they reach 7.4 kHz of 8; resampled to
# half their rate and back they end below 4.5 kHz.
FAINT, FULL = 1e-5, 0.75
WAV = {b"RIFF": "<4sI", b"RIFX": ">4sI", b"RF64": "<4sI"}  # how each kind stores the name and size of a chunk
CHUNK = re.compile(rb"[ -~]{4}.{4}", re.DOTALL)


class AudioError(SerlibError):
    """A recording that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Recording:
    """One channel, or the mean of all, as it is stored."""

    samples: Float[ndarray, " samples"]
    rate: int  # Hz
    sha256: str  # of the file
    notes: tuple[str, ...]  # parts that are left out, headers that are wrong, sound that no image can show
    format: str  # container and encoding: "WAV PCM_16"
    channels: int  # of the file
    bandwidth: float  # Hz: above it an image shows nothing; the image's highest frequency where sound reaches that far

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def level(self) -> float:
        """Root mean square in decibels; 0 is the level of a square wave of full scale."""
        return 20 * math.log10(np.sqrt(np.square(self.samples, dtype=np.float64).mean()))


def read(path: str | Path, settings: Features | None = None) -> Recording:
    """The recording in a file, checked; ``settings`` say which channel and how much of it an image shows.

    Raises:
        AudioError: the file is missing, unreadable, cut off, silent, shorter than a window, or holds samples that are none.
    """
    settings = settings or Features()
    try:
        path = require_file(path)
        if path.stat().st_size > LARGEST_FILE:
            raise AudioError(f"{path.stat().st_size:,} bytes: cut it into utterances")
        content = path.read_bytes()
    except OSError as error:
        raise AudioError(f"unreadable: {error.strerror}") from error
    samples, rate, kind, notes = _decode(path, content)
    channels = samples.shape[1]
    if settings.channel > channels:
        raise AudioError(f"channel {settings.channel} of {channels}")
    _check_samples(samples, rate, settings)
    if channels > 1:
        power, of_mean = np.square(samples).mean(), np.square(samples.mean(axis=1)).mean()  # 1 / channels if unlike
        averaged = f"{'which cancel when ' if of_mean < power / channels / 10 else ''}averaged (--channel chooses one)"
        chosen = f"channel {settings.channel} alone" if settings.channel else averaged
        notes.append(f"{channels} channels, {chosen}")
    if len(samples) / rate < SHORT:
        notes.append(f"shorter than {SHORT:g} s")
    column = 1 if channels == 1 else settings.channel
    mono = samples[:, column - 1] if column else samples.mean(axis=1)
    shown = mono[: round(settings.seconds * rate)]
    if abs(shown).max() < SMALLEST:
        source = "its channel" if column else "the mean of its channels (--channel chooses one)"
        raise AudioError(f"silence in the first {settings.seconds:g} s of {source}")
    highest = settings.high_frequency
    bandwidth = min(rate / 2, highest, _bandwidth(shown, rate))
    bandwidth = highest if bandwidth > FULL * highest else bandwidth
    if rate / 2 < highest:
        notes.append(f"{rate:,} Hz: nothing above {rate / 2_000:g} kHz")
    elif bandwidth < highest:
        notes.append("a narrow band, as of a telephone or a lower sampling rate")
    if len(mono) > len(shown):
        notes.append(f"longer than {settings.seconds:g} s, the rest is left out")
    return Recording(mono, rate, hashlib.sha256(content).hexdigest(), tuple(notes), kind, channels, bandwidth)


def _check_samples(samples: Float[ndarray, "samples channels"], rate: int, settings: Features) -> None:
    """Raises AudioError for samples that are no sound, and for fewer than a window of an image."""
    loudest, window = float(abs(samples).max()), settings.window_length / settings.sample_rate
    if not np.isfinite(loudest):
        raise AudioError("a sample is not a finite number")
    if loudest > LARGEST:
        raise AudioError(f"a sample of {loudest:.0e}: they lie between -1 and 1")
    if loudest < SMALLEST:
        raise AudioError("digital silence")
    if len(samples) / rate < window:
        raise AudioError(f"{len(samples):,} samples: shorter than a window of {1000 * window:g} ms")


def _bandwidth(samples: Float[ndarray, " samples"], rate: int) -> float:
    """Frequency in Hz above which lies less than ``FAINT`` of the power."""
    size = 1 << len(samples).bit_length()  # other sizes take several times as long
    above = np.cumsum(np.abs(np.fft.rfft(samples, size))[::-1].astype(np.float64) ** 2)[::-1]
    return float(np.flatnonzero(above >= FAINT * above[0])[-1]) * rate / size


def _decode(path: Path, content: bytes) -> tuple[Float[ndarray, "samples channels"], int, str, list[str]]:
    """Samples of every channel, sampling rate in Hz, container and encoding, notes."""
    if content[:4] not in (*WAV, b"fLaC"):
        raise AudioError(f"unreadable: of another format; {CONVERT}")
    declared, stored = _data(content)
    source: Path | BytesIO = path
    if stored and not declared:  # libsndfile reads no sample where 0 are declared
        size = len(content) - stored - 4
        source = BytesIO(content[:size] + b"\xff" * 4 + content[size + 4 :])
    samples, rate, kind = _sound(source)
    if stored < declared < UNKNOWN:
        raise AudioError(f"truncated: {stored:,} of {declared:,} bytes of samples")
    if not len(samples):
        raise AudioError("no samples")
    notes = []
    if stored and (not declared or declared >= UNKNOWN):
        notes.append("a header without the length of the samples")
    elif content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content):
        notes.append("a header that declares a longer file")
    if len(unread := _unread(content, declared, stored)) > len(content) / 100:
        notes.append(f"{len(unread):,} bytes after the declared samples, left out")
    return samples, rate, kind, notes


def _sound(source: Path | BytesIO) -> tuple[Float[ndarray, "samples channels"], int, str]:
    """Samples, sampling rate in Hz, container and encoding, as libsndfile reads them."""
    try:
        with soundfile.SoundFile(source) as file:
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise AudioError(f"a sampling rate of {file.samplerate:,} Hz")
            samples = file.read(MOST_SAMPLES // file.channels + 1, dtype="float32", always_2d=True)
            if samples.size > MOST_SAMPLES:
                raise AudioError("longer than four hours: cut it into utterances")
            return samples, file.samplerate, f"{file.format} {file.subtype}"
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if "SF_INFO" in str(error):
            raise AudioError("a header of 0 Hz or of no channel") from error
        reason = getattr(error, "error_string", "") or "damaged, cut off or of another format"
        raise AudioError(f"unreadable: {reason.rstrip('.')}; {CONVERT}") from error


def _data(content: bytes) -> tuple[int, int]:
    """Bytes of samples that a WAV header declares, and bytes from stored to the end of the file; 0, 0 for other files."""
    place, size64 = 12, 0
    while content[:4] in WAV and place + 8 <= len(content):
        name, size = struct.unpack_from(WAV[content[:4]], content, place)
        place += 8
        if name == b"ds64" and place + 16 <= len(content):
            (size64,) = struct.unpack_from("<Q", content, place + 8)
        if name == b"fmt " and place + 16 <= len(content):
            kind, channels, block, bits = struct.unpack_from(f"{WAV[content[:4]][0]}2H8x2H", content, place)
            if kind in (1, 3, 0xFFFE) and 0 < -(-bits // 8) * channels != block:  # padding or parts would be read
                raise AudioError(f"samples of {bits} bits in {block / channels:g} bytes: save it as 16, 24 or 32 bits")
        if name == b"data":
            return size64 if content[:4] == b"RF64" and size == 0xFFFFFFFF else size, len(content) - place
        place += size + size % 2
    return 0, 0


def _unread(content: bytes, declared: int, stored: int) -> bytes:
    """The bytes after the declared samples of a WAV file, without chunks and without zeros at the end."""
    if not 0 < declared < stored:
        return b""
    unread = content[len(content) - stored + declared + declared % 2 :]
    while CHUNK.match(unread):
        _, size = struct.unpack_from(WAV[content[:4]], unread)
        unread = unread[8 + size + size % 2 :]
    return unread.strip(b"\0")
