"""Times as ratios: alternatives take turns in one run, so that a noisy machine is noisy for all of them.

The rate of a matrix product is taken before and after every block. Where the two differ by more than a tenth, something
else was at work: the block is measured again, and after some tries it counts as not measured, which is NaN.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
APART, TRIES = 0.1, 3
BUSY = "not measured: the machine was busy with something else"
PRODUCT = 2048  # rows and columns


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of some measurements."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.min:.3g} to {self.max:.3g})"


def rate() -> float:
    """Operations a second of a matrix product in single precision, the median of seven."""
    a, taken = torch.rand(PRODUCT, PRODUCT), []
    for _ in range(7):
        start = time.perf_counter()
        a @ a
        taken.append(2 * PRODUCT**3 / (time.perf_counter() - start))
    return statistics.median(taken)


def steadily(block: Callable[[], T], speed: Callable[[], float] | None = None) -> T | None:
    """What ``block`` measures while the machine's rate stays the same; None if it never does."""
    speed = speed or rate
    for _ in range(TRIES):
        before, made, after = speed(), block(), speed()
        if abs(after - before) <= APART * max(before, after):
            return made
        print(f"         measured again: the rate went from {before:.3g} to {after:.3g}", file=sys.stderr)
    return None


def rounds(
    alternatives: Mapping[str, Callable[[], object]], repeats: int, speed: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """Seconds of each alternative in each round, NaN if the machine was busy all the time."""
    return steadily(lambda: _rounds(alternatives, repeats), speed) or {
        name: [math.nan] * repeats for name in alternatives
    }


def _rounds(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """One round before the first is not counted."""
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(repeats + 1):
        for name, run in alternatives.items():
            _wait()
            start = time.perf_counter()
            run()
            _wait()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def faster(times: Mapping[str, Sequence[float]], reference: str, ours: str) -> Spread:
    """How many times as fast ``ours`` is as ``reference``, round by round."""
    return Spread.of([plain / own for plain, own in zip(times[reference], times[ours], strict=True)])


def row(what: str, target: str, spread: Spread | None, reached: bool | None, said: str = "") -> dict[str, object]:
    """One line of the table: ``reached`` is None where nothing was measured or no target was set."""
    if spread and math.isnan(spread.median):
        spread, reached, said = None, None, BUSY
    found = asdict(spread) if spread else None
    return {"what": what, "target": target, "measured": found, "reached": reached, "said": said}


def show(rows: Sequence[Mapping[str, object]]) -> None:
    for line in rows:
        found = str(Spread(**line["measured"])) if line["measured"] else "not measured"  # type: ignore[arg-type]
        mark = {True: "reached", False: "NOT REACHED", None: ""}[line["reached"]]  # type: ignore[index]
        print(f"{line['what']}\n    {found}; target: {line['target']}  {mark}\n    {line['said']}")


def own_memory() -> float:
    """MB that this process holds by itself, pages of mapped files left out."""
    return _status("RssAnon")


def peak_memory() -> float:
    """MB that this process has held at most, mapped files included."""
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
