"""Waveform to log-Mel image, many files at once, cached by content.

The image of a recording is the log-Mel spectrogram of its first ten seconds, in decibels below its own loudest point. Low
frequencies are at the bottom; silence and padding are black (0), the loudest point is 1. Every number on the way is a
field of :class:`serlib.config.Features`.
"""

import hashlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib import metadata
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torchaudio
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from serlib.config import ORIGINAL, PERTURBATIONS, Features, check, digest
from serlib.data import audio
from serlib.errors import SerlibError
from serlib.files import is_sealed, write_sealed

MANY_FILES, CHUNK = 200, 16  # files that are worth processes; files that a process takes at once
LEAST_POWER = 1e-37  # keeps the logarithm finite; far below every floor, which is relative to the loudest point
COLOURS = Path(__file__).with_name("inferno_red.csv")
# Of all between file and image, the libraries included: another computation rounds otherwise.
CODE = digest(
    *(path.read_text(encoding="utf-8") for path in (Path(__file__), Path(audio.__file__), COLOURS)),
    *(metadata.version(name) for name in ("numpy", "soundfile", "soxr", "torch", "torchaudio")),
    soundfile.__libsndfile_version__,
)
LARGEST_FILTER = 2_000  # the sampling rates' ratio, both numbers together, that is resampled by one filter a phase


def read_audio(path: str | Path, config: Features, sha256: str = "") -> Float[Tensor, " samples"]:
    """Mono samples at ``config.sample_rate``, in [-1, 1] if the file's are; channels are averaged, unless ``config`` chooses one.

    Args:
        sha256: what :func:`serlib.data.corpora.load` gives for the file; "" for any file.

    Raises:
        ValueError: the file is missing, unreadable or no speech (:mod:`serlib.data.audio`), or another file than
            ``sha256`` says; the message names it.
    """
    return _opened(path, config, ORIGINAL, sha256)[0]


def _opened(
    path: str | Path, config: Features, version: str, sha256: str
) -> tuple[Float[Tensor, " samples"], audio.Recording]:
    try:
        recording = audio.read(path, config)
    except audio.AudioError as error:
        raise SerlibError(f"{path}: {error}") from error
    if sha256 and sha256 != (recording.sha256 if version == ORIGINAL else digest(recording.sha256, version)):
        raise SerlibError(
            f"{path}: changed since the corpus was checked; check it again with `python -m serlib corpora`"
        )
    return resample(torch.from_numpy(recording.samples), recording.rate, config.sample_rate), recording


def resample(waveform: Float[Tensor, " before"], rate: int, wanted: int) -> Float[Tensor, " after"]:
    """From ``rate`` to ``wanted`` Hz, in time proportional to the samples whatever the rates."""
    if rate == wanted:
        return waveform
    if (rate + wanted) // math.gcd(rate, wanted) <= LARGEST_FILTER:
        return torchaudio.functional.resample(waveform, rate, wanted)
    return torch.from_numpy(soxr.resample(waveform.numpy(), rate, wanted))


def picture(
    path: str | Path, config: Features, version: str = ORIGINAL, sha256: str = ""
) -> tuple[Tensor, tuple[str, ...]]:
    """The image of a recording, (1, height, width), and notes on what of the file it does not show.

    Args:
        version: one of :data:`serlib.config.PERTURBATIONS`.
        sha256: what :func:`serlib.data.corpora.load` gives for the file in that version; "" for any file.

    Raises:
        ValueError: as :func:`read_audio`; another file than ``sha256`` says; an image without anything in it.
    """
    waveform, recording = _opened(path, config, version, sha256)
    seed = int((sha256 or recording.sha256)[:8], 16)
    picture = image(perturb(waveform, version, config, seed), config)
    brightest = float(picture.amax())
    if not 0 < brightest < math.inf:
        raise SerlibError(f"{path}: its image is {'not finite' if brightest else 'black'}")
    return picture, recording.notes


@lru_cache
def mel_filters(config: Features) -> Float[Tensor, "mel bins"]:
    """The triangles of Slaney's mel scale, each of area one."""
    bins = config.fft_length // 2 + 1
    edges = (config.low_frequency, config.high_frequency, config.mel_bands, config.sample_rate)
    return torchaudio.functional.melscale_fbanks(bins, *edges, norm="slaney", mel_scale="slaney").T.contiguous()


@lru_cache
def _mel_groups(config: Features) -> list[tuple[slice, Tensor]]:
    """The filters in groups of neighbours, each with the bins that it reaches: most of the whole matrix is zero."""
    groups = []
    for filters in mel_filters(config).split(16):
        reached = filters.any(dim=0).nonzero()
        bins = slice(int(reached.min()), int(reached.max()) + 1) if len(reached) else slice(0, 1)
        groups.append((bins, filters[:, bins].T.contiguous()))
    return groups


@lru_cache
def interpolation(config: Features) -> Float[Tensor, "frames width"]:
    """The interpolation of ``config.n_frames`` frames to the image's width (bilinear, antialiased) as a matrix."""
    size, every = (config.n_frames, config.image_size[1]), torch.eye(config.n_frames)
    return functional.interpolate(every[None, None], size, mode="bilinear", antialias=True)[0, 0]


def mel_power(waveform: Float[Tensor, " samples"], config: Features) -> Float[Tensor, "mel frames"]:
    """Mel power of the frames that the waveform reaches; later frames would be exactly zero.

    Silence stands before and after the waveform, not a mirror of it.
    """
    padded = functional.pad(waveform[: config.n_samples], (0, config.fft_length))
    sizes = config.fft_length, config.hop_length, config.window_length
    window = torch.hann_window(config.window_length)
    spectrum = torch.stft(padded, *sizes, window, pad_mode="constant", return_complex=True)
    parts = torch.view_as_real(spectrum.T[: config.n_frames]).square_()
    power = parts[..., 0] + parts[..., 1]  # (frames, bins), as the transform leaves them in memory
    return torch.cat([power[:, bins] @ filters for bins, filters in _mel_groups(config)], dim=1).T


def log_mel(waveform: Float[Tensor, " samples"], config: Features) -> Float[Tensor, "mel frames"]:
    """Log-Mel spectrogram in [0, 1]: 1 the loudest point, 0 ``dynamic_range`` dB below it. Row 0 is the lowest frequency.

    It has the frames that the waveform reaches; the others are 0, as all are of a silent waveform.
    """
    power = mel_power(waveform, config)
    if power.amax() <= LEAST_POWER:
        return torch.zeros_like(power)
    decibels = power.clamp_min_(LEAST_POWER).log10_().mul_(10)
    return decibels.sub_(decibels.amax()).div_(config.dynamic_range).add_(1).clamp_min_(0)


def image(waveform: Float[Tensor, " samples"], config: Features) -> Float[Tensor, "1 height width"]:
    """The picture that the network sees: :func:`log_mel` upside down, its columns interpolated to the image's width."""
    level = log_mel(waveform, config)
    picture = (level.flip(0) @ interpolation(config)[: level.shape[1]]).clamp_(0, 1)[None]
    if config.colour == "inferno-red":
        picture = torch.from_numpy(INFERNO_RED)[(picture * 255).round().long()] / 255
    return picture


# The first channel of matplotlib's inferno as it is saved, black to bright: what the released loader keeps of it [C].
INFERNO_RED = np.loadtxt(COLOURS, dtype=np.uint8, delimiter=",").flatten()


def images(
    paths: Sequence[str | Path],
    hashes: Sequence[str],
    config: Features,
    cache: str | Path,
    progress: bool = True,
    versions: Sequence[str] | None = None,
) -> Float[Tensor, "files 1 height width"]:
    """Images of many files, in their order, read from ``cache`` if the same files were seen under the same settings.

    ``hashes`` are the files' SHA-256, as :func:`serlib.data.corpora.load` gives them, and ``versions`` their
    perturbations, none by default. The cache's file name is the SHA-256 over hashes, settings, code and the versions of
    the libraries: a changed recording, setting or computation can never read a stale image. Its last bytes seal
    it (:mod:`serlib.files`). The tensor is mapped from disk.

    Raises:
        ValueError: as :func:`picture`, or the stored images are damaged; the message names the file.
    """
    jobs = list(zip(paths, hashes, versions or [ORIGINAL] * len(paths), strict=True))
    stored = Path(cache) / f"{hashlib.sha256(''.join((*hashes, digest(config), CODE)).encode()).hexdigest()}.npy"
    if not stored.exists():
        about = {"descr": "<f4", "fortran_order": False, "shape": (len(paths), 1, *config.image_size)}
        np.lib.format.write_array_header_1_0(header := BytesIO(), about)
        bar = {"desc": "log-Mel images", "total": len(paths), "unit": "file", "disable": not progress}
        with tqdm(_pictures(jobs, config), **bar) as pictures:
            write_sealed(stored, chain((header.getvalue(),), pictures))
    elif not is_sealed(stored):
        raise SerlibError(f"{stored}: damaged; remove it and the images are made again")
    return torch.from_numpy(np.load(stored, mmap_mode="c"))


def _pictures(jobs: Sequence[tuple[str | Path, str, str]], config: Features) -> Iterator[bytes]:
    """The images of many files, in their order, as the cache holds them; each is computed on one thread."""
    make, threads = partial(_pixels, config), torch.get_num_threads()
    # Threads would wait for each other: between many small operators each needs Python's lock.
    if threads > 1 and len(jobs) > MANY_FILES:
        with ProcessPoolExecutor(threads, initializer=_start_worker) as pool:
            yield from pool.map(make, jobs, chunksize=CHUNK)
        return
    torch.set_num_threads(1)
    try:
        yield from map(make, jobs)
    finally:
        torch.set_num_threads(threads)


def _pixels(config: Features, job: tuple[str | Path, str, str]) -> bytes:
    path, sha256, version = job
    return picture(path, config, version, sha256)[0].numpy().astype("<f4").tobytes()


def _start_worker() -> None:
    """One thread; an interruption is the parent's to tell; no worker outlives a parent that was killed."""

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def perturb(waveform: Float[Tensor, " before"], kind: str, config: Features, seed: int = 0) -> Float[Tensor, " after"]:
    """The perturbations shown with the paper's attention figure [C]; how strong they are there is not stated.

    ``original``: unchanged; ``speed``: 1.2 times as fast, pitch included; ``noise``: white noise 20 dB below the speech;
    ``time shift``: one second of silence before it.

    Raises:
        ValueError: no such perturbation.
    """
    check("perturbation", kind, PERTURBATIONS)
    if kind == "speed":
        return torchaudio.functional.resample(waveform, 6, 5)
    if kind == "noise":
        noise = torch.randn(len(waveform), generator=torch.Generator().manual_seed(seed))
        return waveform + noise * waveform.square().mean().sqrt() * 10 ** (-20 / 20)
    return functional.pad(waveform, (config.sample_rate, 0)) if kind == "time shift" else waveform
