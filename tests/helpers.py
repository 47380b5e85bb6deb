"""Small corpora of noise under real file names: enough to read, train on and tell apart."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from serlib.corpora import Corpus, parse
from serlib.download import manifest


def write_wav(path: Path, seconds: float = 0.3, seed: int = 0, rate: int = 16_000) -> Path:
    """Noise as 16-bit PCM, the same bytes for the same arguments; another seed gives other bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, noise, rate, subtype="PCM_16")
    return path


def tiny_emodb(
    folder: Path,
    speakers: Iterable[str] = ("03", "08", "09", "10", "11"),
    codes: Iterable[str] = "WT",
    texts: Iterable[str] = ("a01",),
    seconds: float = 0.3,
) -> Path:
    """Every speaker says every text in every emotion, in EmoDB's layout; no two files are alike. Returns ``folder``."""
    names = [f"{speaker}{text}{code}a.wav" for speaker in speakers for text in texts for code in codes]
    for seed, name in enumerate(names):
        write_wav(folder / "wav" / name, seconds, seed)
    return folder


def published(name: str, files: Iterable[str] | None = None) -> Corpus:
    """A corpus as its manifest names it, without a recording: all of it, or some of its files."""
    hashes = manifest(name)
    utterances = (replace(parse(name, file), sha256=hashes[file]) for file in sorted(files or hashes))
    return Corpus(name, "recordings", tuple(utterances))
