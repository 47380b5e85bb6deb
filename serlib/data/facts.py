"""The three corpora before a file is opened, read from ``facts.toml``; defects known by name."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus as ``facts.toml`` describes it; the meaning of each field stands there."""

    name: str
    title: str
    language: str
    speakers: int
    class_counts: dict[str, int]
    codes: dict[str, str]
    sample_rate: int
    durations: str
    terms: str
    reference: str
    pattern: str
    fields: dict[str, list[str]]
    example: str
    layout: str
    said: list[str]
    voices: dict[str, str]
    texts: dict[str, str]

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(sorted(self.class_counts))

    @property
    def utterances(self) -> int:
        return sum(self.class_counts.values())


# With the standard library only: the table is read before anything is installed.
_TABLES = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
CORPORA = {name: CorpusFacts(name, **table) for name, table in _TABLES.items()}


def title(corpus: str) -> str:
    """A corpus's name as it is written in prose; for a user's own corpus, the given name."""
    return CORPORA[corpus].title if corpus in CORPORA else corpus


# Known defects of CREMA-D, by name. Defects found by opening the files are excluded and listed in every record.
CREMA_D_SILENT = ("1076_MTI_SAD_XX.wav",)
CREMA_D_IDENTICAL = (
    ("1006_TIE_HAP_XX.wav", "1006_TIE_NEU_XX.wav"),
    ("1013_WSI_DIS_XX.wav", "1013_WSI_SAD_XX.wav"),
    ("1017_IWW_ANG_XX.wav", "1017_IWW_FEA_XX.wav"),
)
CREMA_D_DEFECTIVE = frozenset((*CREMA_D_SILENT, *(name for pair in CREMA_D_IDENTICAL for name in pair)))
