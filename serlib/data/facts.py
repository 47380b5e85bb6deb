"""The three corpora before a file is opened, read from ``facts.toml``; defects known by name."""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin


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


def read(text: str) -> dict[str, CorpusFacts]:
    """The corpora of a TOML text, by name. By the standard library alone: it is read before anything is installed.

    Raises:
        ValueError: no TOML, or a corpus with other fields than :class:`CorpusFacts`.
    """
    kinds = {field.name: get_origin(field.type) or field.type for field in fields(CorpusFacts)}
    return {name: _corpus(name, table, kinds) for name, table in tomllib.loads(text).items()}


def _corpus(name: str, table: Any, kinds: dict[str, type]) -> CorpusFacts:
    given = {**table, "name": name} if isinstance(table, dict) else {}
    if differ := sorted(given.keys() ^ kinds.keys()):
        raise ValueError(f"[{name}]: missing or unknown: {', '.join(differ)}; every corpus has every field")
    for field, kind in kinds.items():
        if type(given[field]) is not kind:
            raise ValueError(f"[{name}]: {field} = {given[field]!r} is no {kind.__name__}")
    try:
        named = {"text", "number"} & (groups := re.compile(given["pattern"]).groupindex.keys())
    except re.error as error:
        raise ValueError(f"[{name}]: pattern: {error}") from error
    if not named or not {"speaker", "code", *given["fields"]} <= groups:
        raise ValueError(f"[{name}]: pattern: it names speaker, code, text and each of fields")
    if unknown := set(given["codes"].values()) ^ given["class_counts"].keys():
        raise ValueError(f"[{name}]: {', '.join(sorted(map(str, unknown)))}: in one of codes and class_counts alone")
    if unknown := set(map(str, given["said"])) - given["texts"].keys():
        raise ValueError(f"[{name}]: said: {', '.join(sorted(unknown))}: not in texts")
    return CorpusFacts(**given)


try:
    CORPORA = read(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
except ValueError as error:  # nothing works without it: one line, not where it was imported
    raise SystemExit(f"serlib: facts.toml: {error}") from error


def title(corpus: str) -> str:
    """A corpus's name as it is written in prose; of a corpus of one's own, the name given."""
    return CORPORA[corpus].title if corpus in CORPORA else corpus


# Known defects of CREMA-D, by name. Defects found by opening the files are excluded and listed in every record.
CREMA_D_SILENT = ("1076_MTI_SAD_XX.wav",)
CREMA_D_IDENTICAL = (
    ("1006_TIE_HAP_XX.wav", "1006_TIE_NEU_XX.wav"),
    ("1013_WSI_DIS_XX.wav", "1013_WSI_SAD_XX.wav"),
    ("1017_IWW_ANG_XX.wav", "1017_IWW_FEA_XX.wav"),
)
CREMA_D_DEFECTIVE = frozenset((*CREMA_D_SILENT, *(name for pair in CREMA_D_IDENTICAL for name in pair)))
