"""Times as ratios: alternatives take turns in one run, so that a noisy machine is noisy for all of them.

The rates of a matrix product and of a pass over memory are taken before and after every block. Where either differs by
more than a tenth, something else was at work: the block is measured again, and after some tries it counts as not
measured, which is NaN. Both rates count because a network that memory holds up looks slow where only memory is taken.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
APART, TRIES, BLOCK = 0.1, 3, 3.0  # the last in seconds
BUSY = "not measured: the machine was busy with something else"
PRODUCT = 2048  # rows and columns
PASS = 2**25  # single-precision numbers: more than caches hold
Rates = tuple[float, ...]  # operations a second of a matrix product, bytes a second of a pass over memory
RATES = ("rate", "memory's rate")  # as a message calls them


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


def memory_rate() -> float:
    """Bytes a second of a pass over memory that reads two numbers and writes one, the median of five."""
    x, y, taken = torch.rand(PASS), torch.rand(PASS), []
    for _ in range(5):
        start = time.perf_counter()
        torch.add(x, y, out=x)
        taken.append(3 * 4 * PASS / (time.perf_counter() - start))
    return statistics.median(taken)


def both_rates() -> Rates:
    return rate(), memory_rate()


def steadily(block: Callable[[], T], speed: Callable[[], Rates] | None = None) -> T | None:
    """What ``block`` measures while the machine's rates stay the same; None if they never do."""
    speed = speed or both_rates
    before = speed()
    for _ in range(TRIES):
        made, after = block(), speed()
        if same(before, after):
            return made
        before = after
    return None


class Times(dict[str, list[float]]):
    """Seconds of each alternative in each round, and the rates around each round."""

    rates: list[float]  # operations a second of a matrix product
    memory: list[float]  # bytes a second of a pass over memory, if it was taken


def rounds(
    alternatives: Mapping[str, Callable[[], object]], repeats: int, speed: Callable[[], Rates] | None = None
) -> Times:
    """Times of ``repeats`` rounds, in each of which the alternatives take turns; NaN if the machine is busy all the time.

    The rates are taken before and after every block of rounds, of ``BLOCK`` seconds or one round. One round before the
    first is not counted.
    """
    speed = speed or both_rates
    found = Times({name: [] for name in alternatives})
    found.rates, found.memory = [], []
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
                for kept, first, last in zip((found.rates, found.memory), before, after, strict=False):
                    kept.append((first + last) / 2)
        if len(found.rates) == repeats:
            return found
        before = after
    found.rates, found.memory = [math.nan] * repeats, [math.nan] * repeats
    found.update({name: [math.nan] * repeats for name in alternatives})
    return found


def same(before: Rates, after: Rates) -> bool:
    """Whether rates differ by at most ``APART``, each; says so where one does not."""
    for name, first, last in zip(RATES, before, after, strict=False):
        if abs(last - first) > APART * max(first, last):
            print(f"         does not count: the {name} went from {first:.3g} to {last:.3g}", file=sys.stderr)
            return False
    return True


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


def judged(line: dict[str, Any], earlier: Iterable[dict[str, Any]], started: str) -> dict[str, Any]:
    """A line of the table with its ``runs``, oldest first: the worst is shown and judges.

    Args:
        line: see :func:`row`.
        earlier: the runs that are known.
        started: names this run.
    """
    runs = list(earlier)
    if line["measured"]:
        measured = {name: float(f"{value:.4g}") for name, value in line["measured"].items()}
        runs.append({"run": started, "measured": measured, **{name: line[name] for name in ("reached", "said")}})
    if not runs:
        return {**line, "runs": []}
    more_is_better = line["target"].endswith(" x") or "share" in line["what"]
    worst = (min if more_is_better else max)(runs, key=lambda run: run["measured"]["median"])
    shown = {name: worst[name] for name in ("measured", "said")}
    reached = None if line["target"] == "" else all(run["reached"] for run in runs)
    return {**line, **shown, "reached": reached, "runs": runs}


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
