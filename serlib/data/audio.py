"""The one reader of recordings: what it refuses, no command uses.

What counts is the samples that are there. A file that holds fewer than its header declares is refused; sizes that a
writer into a pipe could not know, or got wrong beside the samples, are said in a note.
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
from serlib.files import check

FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
CONVERT = "WAV, FLAC, Ogg, MP3, AIFF, AU, CAF and W64 are read; `ffmpeg -i FILE FILE.wav` converts others"
LOSSY = ("OGG", "MP3")
LARGEST_FILE = 2**29  # bytes
MOST_SAMPLES = 2**28  # of all channels: more than four hours at 16 kHz
LARGEST, SMALLEST = 1e3, 1e-7  # amplitudes: above is no audio in [-1, 1], below is less than 24 bits hold
RATES = (1_000, 2_000_000)  # Hz
UNKNOWN = 0x7FFFF000  # sizes from here on (and 0) say that the writer did not know: SoX, ffmpeg and others
SHORT = 0.5  # seconds: hardly a word
# The power at high frequencies that no recording of EmoDB or CREMA-D is without: they reach 7.4 kHz of 8; resampled to
# half their rate and back they end below 4.5 kHz.
FAINT, FULL = 1e-5, 0.75
BLOCK = 1 << 20  # samples read at once: a stream may declare any number of them

# Where the chunks of a format begin, how the name and size of one are stored, the multiple that its size is filled up
# to, the name of the samples' chunk. A W64 chunk counts its own head.
CHUNKS = {
    b"RIFF": (12, "<4sI", 2, b"data"),
    b"RIFX": (12, ">4sI", 2, b"data"),
    b"RF64": (12, "<4sI", 2, b"data"),
    b"FORM": (12, ">4sI", 2, b"SSND"),
    b"caff": (8, ">4sQ", 1, b"data"),
    b"riff": (40, "<16sQ", 8, b"data"),
}
PADDED = (b"RIFF", b"RIFX", b"FORM", b".snd")  # whose chunks are filled up to even sizes, or that have none
CONTAINERS = (*CHUNKS, b".snd", b"dns.", b"fLaC", b"OggS")
CHUNK = re.compile(rb"[ -~]{4}.{4}", re.DOTALL)
STREAM = re.compile(rb"OggS\0[\2\3\6\7]")  # the first page of one


class AudioError(SerlibError):
    """A recording that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Recording:
    """One channel, or the mean of all, as it is stored."""

    samples: Float[ndarray, " samples"]
    rate: int  # Hz
    sha256: str  # of the file
    notes: tuple[str, ...]  # what of the file was left out, was not as its header says, or cannot be in its image
    format: str  # container and encoding: "WAV PCM_16"
    channels: int  # of the file
    bandwidth: (
        float  # Hz: above lies nothing that an image would show; its highest frequency where sound reaches that far
    )

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def level(self) -> float:
        """Root mean square in decibels; 0 is that of a square wave as loud as can be."""
        return 20 * math.log10(np.sqrt(np.square(self.samples, dtype=np.float64).mean()))


class _Content(BytesIO):
    """Bytes as a file; a damaged header may send its reader before the first."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def read(path: str | Path, settings: Features | None = None) -> Recording:
    """The recording in a file, checked; ``settings`` say which channel and how much of it an image shows.

    Raises:
        AudioError: the file is missing, unreadable, cut off, silent, shorter than a window, or holds samples that are none.
    """
    settings = settings or Features()
    try:
        size = (path := check(path)).stat().st_size
        if size > LARGEST_FILE:
            raise AudioError(f"{size:,} bytes: cut it into utterances")
        content = path.read_bytes()
    except OSError as error:
        raise AudioError(f"unreadable: {error.strerror}") from error
    samples, rate, kind, notes = _decode(content)
    channels = samples.shape[1]
    if settings.channel > channels:
        raise AudioError(f"channel {settings.channel} of {channels}")
    if channels > 1:
        chosen = f"channel {settings.channel} alone" if settings.channel else "averaged (--channel chooses one)"
        notes.append(f"{channels} channels, {chosen}")
    loudest = float(abs(samples).max())
    if not np.isfinite(loudest):
        raise AudioError("a sample is not a finite number")
    if loudest > LARGEST:
        raise AudioError(f"a sample of {loudest:.0e}: they lie between -1 and 1")
    if loudest < SMALLEST:
        raise AudioError("digital silence")
    window = settings.window_length / settings.sample_rate
    if len(samples) / rate < window:
        raise AudioError(f"{len(samples):,} samples: shorter than a window of {1000 * window:g} ms")
    if len(samples) / rate < SHORT:
        notes.append(f"shorter than {SHORT:g} s")
    alone = 1 if channels == 1 else settings.channel
    mono = samples[:, alone - 1] if alone else samples.mean(axis=1)
    shown = mono[: round(settings.seconds * rate)]
    if abs(shown).max() < SMALLEST:
        what = "its channel" if settings.channel else "the mean of its channels"
        raise AudioError(f"silence in the first {settings.seconds:g} s of {what}")
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


def _bandwidth(samples: Float[ndarray, " samples"], rate: int) -> float:
    """Frequency in Hz above which lies less than ``FAINT`` of the power."""
    size = 1 << len(samples).bit_length()  # other sizes take several times as long
    above = np.cumsum(np.abs(np.fft.rfft(samples, size))[::-1].astype(np.float64) ** 2)[::-1]
    return float(np.flatnonzero(above >= FAINT * above[0])[-1]) * rate / size


def _decode(content: bytes) -> tuple[Float[ndarray, "samples channels"], int, str, list[str]]:
    """Samples of every channel, sampling rate in Hz, container and encoding, notes."""
    if content[:3] == b"ID3":  # a tag before another file than an MP3: the file counts
        behind = content[10 + sum(byte << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=False)) :]
        content = behind if behind[:4] in CONTAINERS else content
    declared, there = _data(content)
    if not declared and content[:4] in (b"RIFF", b"RIFX"):  # libsndfile reads no sample where 0 are declared
        at = len(content) - there - 4
        content = content[:at] + b"\xff" * 4 + content[at + 4 :] if there else content
    mp3 = content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0")
    if mp3 and _mp3_bytes(content) > 1.01 * len(content):  # one per cent: not every writer counts its tags
        raise AudioError(f"truncated: {len(content):,} of {_mp3_bytes(content):,} bytes")
    try:
        with soundfile.SoundFile(_Content(content)) as file:
            if file.format not in FORMATS:
                raise AudioError(f"unreadable: a file of the format {file.format}; {CONVERT}")
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise AudioError(f"a sampling rate of {file.samplerate:,} Hz")
            kind, encoding, rate, frames = file.format, file.subtype, file.samplerate, file.frames
            blocks = [np.zeros((0, file.channels), "float32")]
            while len(block := file.read(BLOCK // file.channels + 1, dtype="float32", always_2d=True)):
                blocks.append(block)
                if len(block) == frames:  # all there is; to read on takes libsndfile as long as to open the file
                    break
                if sum(block.size for block in blocks) > MOST_SAMPLES:
                    raise AudioError("longer than four hours: cut it into utterances")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if "SF_INFO" in str(error):
            raise AudioError("a header of 0 Hz or of no channel") from error
        reason = getattr(error, "error_string", "") or "damaged, cut off or of another format"
        raise AudioError(f"unreadable: {reason.rstrip('.')}; {CONVERT}") from error
    samples = np.concatenate(blocks)
    if there < declared < UNKNOWN:
        raise AudioError(f"truncated: {there:,} of {declared:,} bytes of samples")
    if kind == "OGG" and not _ogg_ends(content):
        raise AudioError("truncated: the Ogg stream has no end")
    if kind == "MP3" and frames - len(samples) > 1152:  # one of its frames, which a decoder may keep back
        raise AudioError(f"truncated: {len(samples):,} of {frames:,} samples")
    if not len(samples):
        raise AudioError("no samples")
    notes = [f"stored with loss ({kind})"] if kind in LOSSY else []
    if there and (not declared or declared >= UNKNOWN):
        notes.append("a header without the length of the samples")
    elif content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content):
        notes.append("a header that declares a longer file")
    if len(left := _left(content, declared, there)) > len(content) / 100:
        notes.append(f"{len(left):,} bytes after the declared samples, left out")
    if kind == "OGG" and len(STREAM.findall(content)) > 1:
        notes.append("several streams, the first alone is read")
    return samples, rate, f"{kind} {encoding}", notes


def _data(content: bytes) -> tuple[int, int]:
    """Bytes of samples that a header declares, and bytes from there to the end of the file; 0, 0 if it declares none."""
    if content[:4] in (b".snd", b"dns.") and len(content) > 12:
        offset, size = struct.unpack_from(">II" if content[:4] == b".snd" else "<II", content, 4)
        return size, max(len(content) - offset, 0)
    at, head, multiple, samples = CHUNKS.get(content[:4], (len(content), "", 1, b""))
    width, wide = struct.calcsize(head), 0
    while width and at + width <= len(content):
        name, size = struct.unpack_from(head, content, at)
        at += width
        size = max(size - width, 0) if content[:4] == b"riff" else size
        if name == b"ds64" and at + 16 <= len(content):
            (wide,) = struct.unpack_from("<Q", content, at + 8)
        if name.startswith(samples):
            return wide if content[:4] == b"RF64" and size == 0xFFFFFFFF else size, len(content) - at
        at += size + -size % multiple
    return 0, 0


def _left(content: bytes, declared: int, there: int) -> bytes:
    """What follows the declared samples and is no chunk, nor the zeros that fill a file up."""
    if not 0 < declared < there or content[:4] not in PADDED:
        return b""
    left = content[len(content) - there + declared + declared % 2 :]
    while CHUNK.match(left) and content[:4] in CHUNKS:
        _, size = struct.unpack_from(CHUNKS[content[:4]][1], left)
        left = left[8 + size + size % 2 :]
    return left.strip(b"\0")


def _mp3_bytes(content: bytes) -> int:
    """Bytes of the whole stream that an MP3's Xing or Info header declares; 0 if it has none."""
    at = max(content.find(name, 0, 4096) for name in (b"Xing", b"Info"))
    flags = int.from_bytes(content[at + 4 : at + 8])
    after = at + 8 + 4 * (flags & 1)  # the number of frames comes first, if it is there
    return int.from_bytes(content[after : after + 4]) if at >= 0 and flags & 2 else 0


def _ogg_ends(content: bytes) -> bool:
    """Whether the last page of an Ogg file is whole and says that it is the last."""
    page = content.rfind(b"OggS")
    flags, segments = content[page + 5 : page + 6], content[page + 26 : page + 27]
    lengths = content[page + 27 : page + 27 + segments[0]] if segments else b""
    return bool(lengths) and flags[0] & 4 == 4 and page + 27 + segments[0] + sum(lengths) <= len(content)
