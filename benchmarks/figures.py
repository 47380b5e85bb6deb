"""The pictures of ``docs/speed.ipynb``: measurements on logarithmic axes."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from companion.figures import MARKERS, plain_numbers


def plot_spreads(
    series: Mapping[str, Mapping[int | float, Mapping[str, float]]], ax: Axes, x: str, y: str, joined: bool = True
) -> Axes:
    """Plot medians, each with a bar from the smallest to the largest value.

    ``series`` maps a line's name to ``{x: {"min": ..., "median": ..., "max": ...}}``.
    """
    for (name, values), marker in zip(series.items(), cycle(MARKERS), strict=False):
        table = pd.DataFrame(values).T
        (line,) = ax.plot(table["median"], linestyle="-" if joined else "none", marker=marker, lw=1, label=name)
        ax.vlines(table.index, table["min"], table["max"], color=line.get_color(), linewidth=1)
    return _logarithmic(ax, x, y, ncols=2)


def plot_roofline(parts: Mapping[str, tuple[float, float]], operations: float, bandwidth: float, ax: Axes) -> Axes:
    """Plot the parts of a computation, and the machine's two limits above them.

    Args:
        parts: name to (FLOPs a byte, FLOPs a second).
        operations, bandwidth: the limits: FLOPs a second of a matrix product, bytes a second of a pass over memory.
    """
    intensities = [intensity for intensity, _ in parts.values()]
    x = np.geomspace(min(intensities) / 3, max(intensities) * 3, 100)
    ax.plot(x, np.minimum(operations, x * bandwidth) / 1e9, color="black", linewidth=1, label="the machine's limits")
    for (name, (intensity, speed)), marker in zip(parts.items(), cycle(MARKERS), strict=False):
        ax.plot(intensity, speed / 1e9, marker, markersize=8, label=name)
    return _logarithmic(ax, "FLOPs a byte", "GFLOP a second")


def _logarithmic(ax: Axes, x: str, y: str, ncols: int = 1) -> Axes:
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    plain_numbers(ax.xaxis, ax.yaxis)
    ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=ncols)
    return ax
