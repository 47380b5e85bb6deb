"""Small corpora of noise under real file names, enough to read, train on and tell apart; and a small record."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from serlib import config
from serlib.records import Part, Record


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


def tiny_record(**change: Any) -> Record:
    """A record of five utterances: three of four right in the training set, the one held out wrong."""
    values = {
        "corpus": "emodb",
        "speech": "recordings",
        "emotions": ("anger", "sadness"),
        "fingerprint": "f" * 64,
        "excluded": (("03a01Xa.wav", "digital silence"),),
        "notes": ("anger: 3 utterances, published 127",),
        "protocol": "random",
        "fold": 2,
        "split": "5" * 64,
        "configuration": config.resolve("student-pooled", "paper", 7, 2),
        "teacher": "a" * 64,
        "curves": {"matching": {"loss": (0.5, 0.25)}, "transfer": {"loss": (0.3, 0.1), "matching": (0.2, 1 / 3)}},
        "parts": {
            "train": Part(("a.wav", "b.wav", "c.wav", "d.wav"), ("03", "03", "08", "08"), (0, 1, 0, 1), (0, 1, 0, 0)),
            "test": Part(("e.wav",), ("08",), (1,), (0,)),
        },
        "provenance": {"date": "2026-01-31", "seconds": 1.5, "commit": "c" * 40, "dirty": False},
    }
    return Record(**values | change)
