"""Times as ratios: alternatives take turns in one run, so that a noisy machine is noisy for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


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


def rounds(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each alternative in each round; one round before the first is not counted."""
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
