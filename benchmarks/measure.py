"""Measures times as ratios: alternatives take turns in one run, so that noise of the machine affects all of them.

The rates of a matrix product and of a pass over memory are measured before and after every block. If either rate changes by
more than a tenth, the machine was busy: the block is measured again. After some tries the result is NaN, "not measured".
Both rates count: if other programs take only memory, a network that memory limits looks slow.
"""

import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

T = TypeVar("T")
APART, TRIES, BLOCK = 0.1, 3, 3.0  # largest relative change of a rate; tries per block; seconds of a block
BUSY = "not measured: the machine was busy with something else"
PRODUCT = 2048  # rows and columns
PASS = 2**25  # single-precision numbers: more than caches hold
Rates = tuple[float, ...]  # operations a second of a matrix product, bytes a second of a pass over memory
RATES = ("rate", "memory's rate")  # their names in messages


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of some measurements."""

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
    a, rates = torch.rand(PRODUCT, PRODUCT), []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        rates.append(2 * PRODUCT**3 / (time.perf_counter() - start))
    return statistics.median(rates)


def memory_rate() -> float:
    """Bytes a second of a pass over memory that reads two numbers and writes one, the median of five."""
    x, y, rates = torch.rand(PASS), torch.rand(PASS), []
    for _ in range(5):
        start = time.perf_counter()
        torch.add(x, y, out=x)
        rates.append(3 * 4 * PASS / (time.perf_counter() - start))
    return statistics.median(rates)


def both_rates() -> Rates:
    return rate(), memory_rate()


def steadily(block: Callable[[], T], speed: Callable[[], Rates] | None = None) -> T | None:
    """The result of ``block`` from a try during which the machine's rates stay the same; None if there is none."""
    speed = speed or both_rates
    before = speed()
    for _ in range(TRIES):
        result, after = block(), speed()
        if same(before, after):
            return result
        before = after
    return None


class Times(dict[str, list[float]]):
    """Seconds of each alternative in each round, and the rates around each round."""

    rates: list[float]  # operations a second of a matrix product
    memory: list[float]  # bytes a second of a pass over memory, if it was measured


def rounds(
    alternatives: Mapping[str, Callable[[], object]], repeats: int, speed: Callable[[], Rates] | None = None
) -> Times:
    """Measure ``repeats`` rounds; in each, every alternative takes a turn. All times are NaN if the machine stays busy.

    A block of rounds lasts ``BLOCK`` seconds, or one round if that is longer. The rates are measured before and after
    every block. A first round, before all blocks, does not count.
    """
    speed = speed or both_rates
    times = Times({name: [] for name in alternatives})
    times.rates, times.memory = [], []
    turns_of(alternatives)
    before = speed()
    for _ in range(TRIES * repeats):
        block, start = [turns_of(alternatives)], time.perf_counter()
        while len(times.rates) + len(block) < repeats and time.perf_counter() - start < BLOCK:
            block.append(turns_of(alternatives))
        after = speed()
        if same(before, after):
            for turns in block:
                for name, seconds in turns.items():
                    times[name].append(seconds)
                for values, first, last in zip((times.rates, times.memory), before, after, strict=False):
                    values.append((first + last) / 2)
        if len(times.rates) == repeats:
            return times
        before = after
    times.rates, times.memory = [math.nan] * repeats, [math.nan] * repeats
    times.update({name: [math.nan] * repeats for name in alternatives})
    return times


def same(before: Rates, after: Rates) -> bool:
    """Whether each rate changed by at most the share ``APART``; prints the first one that changed more."""
    for name, first, last in zip(RATES, before, after, strict=False):
        if abs(last - first) > APART * max(first, last):
            print(f"         does not count: the {name} went from {first:.3g} to {last:.3g}", file=sys.stderr)
            return False
    return True


def turns_of(alternatives: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Run the alternatives one after the other; the seconds of each."""
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
    return Spread.of([plain / our for plain, our in zip(times[reference], times[ours], strict=True)])


def row(what: str, target: str, spread: Spread | None, reached: bool | None, said: str = "") -> dict[str, object]:
    """One line of the table: ``reached`` is None where nothing was measured or no target was set."""
    if spread and math.isnan(spread.median):
        spread, reached, said = None, None, BUSY
    measured = asdict(spread) if spread else None
    return {"what": what, "target": target, "measured": measured, "reached": reached, "said": said}


def judged(line: dict[str, Any], earlier: Iterable[dict[str, Any]], started: str) -> dict[str, Any]:
    """A line of the table with all its ``runs``, oldest first. The line shows the worst run, which judges the target.

    Args:
        line: see :func:`row`.
        earlier: the runs before this one.
        started: the name of this run.
    """
    runs = list(earlier)
    if line["measured"]:
        measured = {name: float(f"{value:.4g}") for name, value in line["measured"].items()}
        runs.append({"run": started, "measured": measured, **{name: line[name] for name in ("reached", "said")}})
    if not runs:
        return {**line, "runs": []}
    more_is_better = line["target"].endswith(" x") or not line["target"] or "share" in line["what"]
    worst = (min if more_is_better else max)(runs, key=lambda run: run["measured"]["median"])
    worst_row = {name: worst[name] for name in ("measured", "said")}
    reached = None if line["target"] == "" else all(run["reached"] for run in runs)
    return {**line, **worst_row, "reached": reached, "runs": runs}


def show(rows: Sequence[Mapping[str, object]]) -> None:
    for line in rows:
        measured = str(Spread(**line["measured"])) if line["measured"] else "not measured"  # type: ignore[arg-type]
        mark = {True: "reached", False: "NOT REACHED", None: ""}[line["reached"]]  # type: ignore[index]
        print(f"{line['what']}\n    {measured}; target: {line['target']}  {mark}\n    {line['said']}")


def own_memory() -> float:
    """MB of this process's own memory, without pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def tree_memory(process: int | None = None) -> float:
    """MB of a process (None: this one) and its children; a page that several of them share counts once; 0 if the process has ended."""
    try:
        root = psutil.Process(process)
        tree = (root, *root.children(recursive=True))
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for member in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += member.memory_full_info().pss / 2**20
    return total


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
