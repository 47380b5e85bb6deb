"""Drawing: records and arrays in, ``ax`` in, ``ax`` out. Nothing is computed here that a table would also need.

:func:`style` sets the look of every figure once; colours are matplotlib's colour-blind-safe cycle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import LogLocator, NullFormatter
from numpy import ndarray

from serlib.metrics import Interval

HELD_OUT, TRAINING = "tab:blue", "tab:orange"


def style() -> None:
    """The look of every figure: readable at the width of a phone, no frame where none is needed."""
    plt.style.use("tableau-colorblind10")
    plt.rcParams |= {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "image.cmap": "inferno",
    }


def plot_image(image: Float[ndarray, "height width"], ax: Axes, title: str = "", seconds: float | None = None) -> Axes:
    """A log-Mel image or any channel of it; with ``seconds``, the time axis is in seconds."""
    height, width = image.shape
    extent = (0, width if seconds is None else seconds, 0, height)
    ax.imshow(image, aspect="auto", extent=extent, interpolation="nearest")
    ax.set(title=title, xlabel="column" if seconds is None else "time (s)", ylabel="mel band")
    return ax


def plot_curves(curves: Mapping[str, Sequence[float]], ax: Axes, title: str = "") -> Axes:
    """One stage's losses, a line each, by epoch."""
    for name, values in curves.items():
        ax.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=name)
    ax.set(title=title, xlabel="epoch", ylabel="loss")
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", integer=True)
    if len(curves) > 1:
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.25))
    return ax


def plot_confusion(counts: Int[ndarray, "classes classes"], classes: Sequence[str], ax: Axes, title: str = "") -> Axes:
    """Counts in the cells, rows (true classes) shaded by their share."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(classes))
    ax.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(ticks, classes)
    ax.set(title=title, xlabel="predicted", ylabel="true")
    ax.spines[:].set_visible(False)
    return ax


def plot_attention(
    image: Float[ndarray, "height width"], looks: Float[ndarray, "height width"], ax: Axes, title: str = ""
) -> Axes:
    """A map of attention laid over its image: grey where it is least, coloured where it is most."""
    ax.imshow(1 - image, cmap="gray", aspect="auto", interpolation="nearest", vmin=-0.5, vmax=1)
    level = (looks - looks.min()) / max(np.ptp(looks), 1e-12)
    ax.imshow(level, cmap="autumn_r", alpha=0.85 * level, aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    ax.set(title=title, xticks=(), yticks=())
    return ax


def plot_similarity(similarity: Float[ndarray, "patches patches"], ax: Axes, title: str = ""):
    """Cosine similarity between tokens, in [-1, 1]. Returns the image, for a shared colour bar."""
    shown = ax.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(title=title, xlabel="token", ylabel="token")
    return shown


@dataclass(frozen=True)
class Point:
    """An accuracy in the plot of cost and accuracy. ``by`` is who measured it: a key of :data:`MARKERS`."""

    label: str
    flops: float
    accuracy: float  # in [0, 1]
    kind: str  # what was held out: the colour
    by: str = "measured here"
    low: float | None = None  # interval
    high: float | None = None


# Who measured: the marker, and whether it is filled.
MARKERS = {"measured here": ("o", True), "published by the paper": ("s", False), "reported by others": ("D", False)}


def plot_cost(
    points: Sequence[Point], networks: Mapping[str, float], kinds: Sequence[str], ax: Axes, title: str = ""
) -> Axes:
    """Operations (logarithmic) against accuracy: measured filled with its interval, all else hollow.

    ``networks`` are named above the axis: name to operations. Accuracies of one network stand side by side, each moved
    by a few per cent, and their labels in a column beside them: to the left of the smallest and of the largest, where
    nothing else stands. Every one of ``kinds`` keeps its colour.
    """
    colours = {kind: f"C{number}" for number, kind in enumerate(kinds)}
    smallest, largest = (end(point.flops for point in points) for end in (min, max))
    for flops in dict.fromkeys(point.flops for point in points):
        same = sorted((p for p in points if p.flops == flops), key=lambda p: -p.accuracy)
        height = np.inf
        for number, p in enumerate(same):
            marker, filled = MARKERS[p.by]
            at = flops / 1e9 * 1.06 ** (number - (len(same) - 1) / 2)
            spread = None if p.low is None or p.high is None else [
                [100 * (p.accuracy - p.low)], [100 * (p.high - p.accuracy)]
            ]  # fmt: skip
            colour = colours[p.kind]
            face = colour if filled else "none"
            ax.errorbar(at, 100 * p.accuracy, spread, fmt=marker, color=colour, markerfacecolor=face, capsize=2)
            height = min(100 * p.accuracy, height - 4)
            beside = 1.06 ** (len(same) / 2 + 1)
            right = smallest < flops < 0.5 * largest
            ax.annotate(
                p.label,
                (at, 100 * p.accuracy),
                (flops / 1e9 * (beside if right else 1 / beside), height),
                color=colour,
                fontsize=7,
                ha="left" if right else "right",
                va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.5},
            )
    line, lower, lines = 9, 0.0, 2  # points; of the network before; lines of names in use
    for name, flops in sorted(networks.items(), key=lambda item: item[1]):
        raised = flops < 2.5 * lower  # two names this near would run into each other
        lower, lines = (0.0 if raised else flops), max(lines, 4 * raised)
        ax.axvline(flops / 1e9, color="0.85", linewidth=0.8, zorder=0)
        ax.annotate(name, (flops / 1e9, 1), (0, 3 + 2 * line * raised), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=7)  # fmt: skip
    lowest = min(p.accuracy if p.low is None else p.low for p in points)
    ax.set(xscale="log", xlim=(smallest / 1e9 / 10, largest / 1e9 * 2), ylim=(10 * np.floor(10 * lowest - 0.5), 104))
    ax.set_title(title, pad=8 + line * lines)  # above the networks' names
    ax.set(xlabel="operations for one recording (GFLOP, a multiply-add as two)", ylabel="weighted accuracy (%)")
    _plain_numbers(ax.xaxis)
    shown = dict.fromkeys(p.kind for p in points)
    handles = [Line2D([], [], color=colours[kind], label=kind) for kind in kinds if kind in shown]
    for by, (marker, filled) in MARKERS.items():
        face = "0.3" if filled else "none"
        handles.append(Line2D([], [], color="0.3", marker=marker, markerfacecolor=face, linestyle="none", label=by))
    ax.legend(handles=handles, fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.15))
    return ax


def plot_splits(rows: Mapping[str, Float[ndarray, " kinds"]], kinds: Sequence[str], ax: Axes) -> Axes:
    """Horizontal bars: for each protocol, the share of the test set whose speaker, sentence, ... is also trained on."""
    places = np.arange(len(rows))
    height = 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        ax.barh(places + i * height, [100 * shares[i] for shares in rows.values()], height, label=kind)
    ax.set_yticks(places + 0.4 - height / 2, rows)
    ax.invert_yaxis()
    ax.set(xlabel="share of the test set (%)", xlim=(0, 100))
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=len(kinds))
    return ax


def plot_boxes(boxes: Sequence[tuple[str, str]], ax: Axes, title: str = "") -> Axes:
    """A column of boxes joined by arrows, top to bottom: (name, what it gives) each."""
    for i, (name, gives) in enumerate(boxes):
        top = -i * 1.0
        colour = "tab:blue" if i % 2 == 0 else "tab:cyan"
        ax.add_patch(FancyBboxPatch((0, top - 0.32), 4, 0.64, "round,pad=0.05", facecolor=colour, alpha=0.18))
        ax.text(0.1, top, name, va="center", fontsize=9)
        ax.text(3.95, top, gives, va="center", ha="right", fontsize=8, family="monospace")
        if i:
            ax.add_patch(FancyArrowPatch((2, top + 0.63), (2, top + 0.36), arrowstyle="-|>", mutation_scale=8))
    ax.set(xlim=(-0.2, 4.2), ylim=(-len(boxes) + 0.4, 0.6), title=title)
    ax.axis("off")
    return ax


def plot_kinds(lines: Mapping[str, Mapping[str, Interval]], kinds: Sequence[str], ax: Axes, title: str = "") -> Axes:
    """A line for each run: its accuracies of several kinds, each with its interval, in per cent."""
    for number, (kind, marker) in enumerate(zip(kinds, "osD^v" * 5, strict=False)):
        places = [i for i, values in enumerate(lines.values()) if kind in values]
        shown = [values[kind] for values in lines.values() if kind in values]
        at = np.array([100 * one.estimate for one in shown])
        bars = np.array([[100 * (one.estimate - one.low), 100 * (one.high - one.estimate)] for one in shown])
        aside = (number - (len(kinds) - 1) / 2) * 0.18
        ax.errorbar(
            at, np.array(places) + aside, xerr=bars.reshape(-1, 2).T, fmt=marker, markersize=5, capsize=2, label=kind
        )
    ax.set_yticks(range(len(lines)), lines)
    ax.set(title=title, xlabel="weighted accuracy (%)", xlim=(0, 101), ylim=(len(lines) - 0.5, -0.5))
    ax.figure.legend(*ax.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=2)
    return ax


def plot_layers(lines: Mapping[str, Mapping[str, Interval]], ax: Axes, y: str, title: str = "") -> Axes:
    """A line for each network over its layers in their order, each value with its interval; shorter networks end early."""
    layers = list(max(lines.values(), key=len))
    for number, ((name, values), marker) in enumerate(zip(lines.items(), "osD^v" * 5, strict=False)):
        at = np.array([layers.index(layer) for layer in values]) + 0.06 * (number - (len(lines) - 1) / 2)
        low, middle, high = (np.array([getattr(v, k) for v in values.values()]) for k in ("low", "estimate", "high"))
        bars = np.stack((middle - low, high - middle))
        ax.errorbar(at, middle, bars, marker=marker, markersize=4, capsize=2, lw=1, elinewidth=1, label=name)
    ax.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    ax.set(ylabel=y, title=title, ylim=(min(-0.05, ax.get_ylim()[0]), 1))
    return ax


def plot_spreads(
    series: Mapping[str, Mapping[int | float, Mapping[str, float]]], ax: Axes, x: str, y: str, joined: bool = True
) -> Axes:
    """Measurements on logarithmic axes: for each place the median, with a bar from the smallest to the largest.

    ``series`` maps a line's name to ``{place: {"min": ..., "median": ..., "max": ...}}``.
    """
    for (name, values), marker in zip(series.items(), "osD^vP*X" * 5, strict=False):
        places = list(values)
        low, middle, high = (np.array([values[at][key] for at in places]) for key in ("min", "median", "max"))
        bars = np.stack((middle - low, high - middle))
        line = "-" if joined else "none"
        ax.errorbar(
            places, middle, bars, marker=marker, markersize=5, capsize=2, lw=1, ls=line, elinewidth=1, label=name
        )
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    _plain_numbers(ax.xaxis, ax.yaxis)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    return ax


def _plain_numbers(*axes: Axis) -> None:
    """0.5 and 20 where matplotlib writes powers of ten; of a decade the 1, 2 and 5."""
    for axis in axes:
        axis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=15))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())


def plot_roofline(parts: Mapping[str, tuple[float, float]], operations: float, bandwidth: float, ax: Axes) -> Axes:
    """Parts of a computation under the machine's two limits.

    Args:
        parts: name to (operations a byte, operations a second).
        operations, bandwidth: the limits, a second: of a matrix product, of bytes in a pass over memory.
    """
    places = [intensity for intensity, _ in parts.values()]
    x = np.geomspace(min(places) / 3, max(places) * 3, 100)
    ax.plot(x, np.minimum(operations, x * bandwidth) / 1e9, color="black", linewidth=1, label="the machine's limits")
    for (name, (intensity, speed)), marker in zip(parts.items(), "osD^vP*X" * 5, strict=False):
        ax.plot(intensity, speed / 1e9, marker, markersize=8, label=name)
    ax.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP a second")
    _plain_numbers(ax.xaxis, ax.yaxis)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.18))
    return ax
