"""The paper's statements, read from ``paper.toml``, and every setting of the method, read from ``settings.toml``.

The full text was not at hand. Anything missing from these files is unknown, and the code never guesses it silently.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.optimize import linear_sum_assignment

from serlib import config
from serlib.data import splits


@dataclass(frozen=True)
class Published:
    """One published accuracy. ``value`` is the printed string: its decimals are part of the evidence."""

    corpus: str
    model: str
    image: str  # pixels, height x width
    value: str  # weighted accuracy in per cent
    source: str


@dataclass(frozen=True)
class Reported:
    """The accuracy of another system on speakers outside its training set, in per cent, as its source prints it."""

    corpus: str
    split: str
    measure: str  # "WA" or "UA"
    value: str
    system: str
    network: str  # as studies.others.reference_networks names it; "" where it is not counted
    source: str


@dataclass(frozen=True)
class Confusion:
    """A published confusion matrix: rows are true classes, columns predictions, counts."""

    corpus: str
    classes: tuple[str, ...]  # in the printed order, under the printed names
    matrix: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        return sum(row[i] for i, row in enumerate(self.matrix))

    @property
    def row_sums(self) -> dict[str, int]:
        return dict(zip(self.classes, map(sum, self.matrix), strict=True))

    def fitting_names(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        """The class that fits each row's sum best, by its count in the corpus times the matrix's share of all of it.

        Each row gets another class, and the sum of the absolute differences is the least possible (Hungarian method).
        """
        share, names = self.total / sum(counts.values()), list(counts)
        cost = [[abs(n - share * counts[name]) for name in names] for n in self.row_sums.values()]
        return tuple(names[column] for column in linear_sum_assignment(cost)[1])


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract, in its words shortened, and the notebooks that test it."""

    key: str
    short: str  # as a statement of a few words
    says: str
    notebooks: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A setting of the method: the stated value and its sources, the value used here, and the reason."""

    name: str
    stated: str
    sources: tuple[str, ...]
    here: str
    why: str

    @property
    def kind(self) -> int:
        """0: stated, 1: inferred, 2: chosen, because not stated."""
        return 2 if self.stated.startswith("not known") else int("I" in self.sources)


def _read(name: str) -> dict:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


_PAPER = _read("paper.toml")
SOURCES: dict[str, str] = _PAPER["sources"]  # of facts, by tag
PUBLISHED = tuple(config.from_plain(Published, row) for row in _PAPER["published"])
REPORTED = tuple(config.from_plain(Reported, row) for row in _PAPER["reported"])
CLAIMS = tuple(config.from_plain(Claim, row) for row in _PAPER["claims"])
CONFUSIONS = {row["corpus"]: config.from_plain(Confusion, row) for row in _PAPER["confusions"]}


def settings() -> list[Setting]:
    """Every setting; fields such as ``{config.TEACHER.depth}`` in ``settings.toml`` become values of the configurations."""
    features = config.Features()
    known = {
        "config": config,
        "features": features,
        "hop": 1000 * features.hop_length / features.sample_rate,  # ms
        "window": 1000 * features.window_length / features.sample_rate,
        "stem": ", ".join(map(str, config.TEACHER.stem)),
        "protocols": ", ".join(f"`{name}`" for name in splits.PROTOCOLS),
    }
    rows = (config.from_plain(Setting, {"name": name, **row}) for name, row in _read("settings.toml").items())
    return [Setting(s.name, s.stated, s.sources, s.here.format(**known), s.why) for s in rows]
