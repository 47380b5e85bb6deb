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
APART, TRIES, BLOCK = 0.1, 3, 3.0  # the last in seconds
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
    """Operations a second of a matrix product in single precision, the median of five."""
    a, taken = torch.rand(PRODUCT, PRODUCT), []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        taken.append(2 * PRODUCT**3 / (time.perf_counter() - start))
    return statistics.median(taken)


def steadily(block: Callable[[], T], speed: Callable[[], float] | None = None) -> T | None:
    """What ``block`` measures while the machine's rate stays the same; None if it never does."""
    speed = speed or rate
    before = speed()
    for _ in range(TRIES):
        made, after = block(), speed()
        if same(before, after):
            return made
        before = after
    return None


class Times(dict[str, list[float]]):
    """Seconds of each alternative in each round, and the matrix product's rate around each round."""

    rates: list[float]


def rounds(
    alternatives: Mapping[str, Callable[[], object]], repeats: int, speed: Callable[[], float] | None = None
) -> Times:
    """Times of ``repeats`` rounds, in each of which the alternatives take turns; NaN if the machine is busy all the time.

    The rate is taken before and after every block of rounds, of ``BLOCK`` seconds or one round. One round before the
    first is not counted.
    """
    speed = speed or rate
    found = Times({name: [] for name in alternatives})
    found.rates = []
    turns_of(alternatives)
    before = speed()
    for _ in range(TRIES * repeats):
        block, start = [turns_of(alternatives)], time.perf_counter()
        while len(found.rates) + len(block) < repeats and time.perf_counter() - start < BLOCK:
            block.append(turns_of(alternatives))
        after = speed()
        if same(before, after):
            for turns in block:
                for name, seconds in turns.items():
                    found[name].append(seconds)
                found.rates.append((before + after) / 2)
        if len(found.rates) == repeats:
            return found
        before = after
    found.rates = [math.nan] * repeats
    found.update({name: [math.nan] * repeats for name in alternatives})
    return found


def same(before: float, after: float) -> bool:
    """Whether two rates differ by at most ``APART``; says so where they do not."""
    if abs(after - before) <= APART * max(before, after):
        return True
    print(f"         does not count: the rate went from {before:.3g} to {after:.3g}", file=sys.stderr)
    return False


def turns_of(alternatives: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each alternative, one after the other."""
    times = {}
    for name, run in alternatives.items():
        _wait()
        start = time.perf_counter()
        run()
        _wait()
        times[name] = time.perf_counter() - start
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
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def tree_memory(process: int | str = "self") -> float:
    """MB that a process and its children hold, a page of several of them counted once; 0 when it has ended."""
    try:
        mine = Path(f"/proc/{process}")
        held = next(line for line in (mine / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        children = [child for task in (mine / "task").iterdir() for child in (task / "children").read_text().split()]
    except (OSError, StopIteration):
        return 0.0
    return int(held.split()[1]) / 1024 + sum(map(tree_memory, children))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
