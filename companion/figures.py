"""Drawing: tables, records and images in, ``ax`` in, ``ax`` out. Nothing is trained, read or estimated here.

:func:`style` sets the look of every figure once; seaborn draws the tables. A table with
intervals has columns ``estimate``, ``low`` and ``high``, which are drawn unchanged.
"""

import math
import textwrap
import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, ScalarFormatter, SymmetricalLogLocator
from numpy import ndarray

from serlib.config import Features
from serlib.data import facts

# All colours have a contrast of at least 4.5:1 on white, so that they serve for text; book/_ext/light_pages.py swaps
# light and dark on dark pages. These are for teacher and student in schemes and loss curves, and for published values.
COLOURS = {"teacher": "#B84A00", "student": "#0072B2", "published": "#222222"}
CORPORA = ("#0064A0", "#B84A00", "#A0207F")  # side by side on one axis
# For all other lines (splits, layers, machines), never without markers or line styles.
PALETTE = ("#00788C", "#2F1B69", "#8C1515", "#7A5C00", "#4A0D2B", "#4B6B00", "#A3195B", "#3C3C3C")
MARKERS = "osD^vP*X<"  # one more than colours: lines of one colour have different markers
FEATURES = Features()
RECALL = sns.blend_palette(("white", "#4C9BD6"), as_cmap=True).resampled(25)  # black text is readable on all of it


def style() -> None:
    """The look of every figure: no frame where none is needed, no word below 9 points.

    A figure of at most 4.9 inches then fits a phone's width; a phone shows a wider one in parts.

    Axes and legends take their text sizes from seaborn's context (``font_scale`` multiplies them). Titles and words
    inside a figure take theirs from the settings below, unless a function gives a ``fontsize``.
    """
    warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, which librosa's downloads load
    plt.rcdefaults()  # ignores the user's matplotlibrc
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=1.15,
        palette=PALETTE,
        rc={
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: a machine's own fonts move no word
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": "inferno",
            "legend.frameon": False,
            "svg.fonttype": "none",  # words stay words, in the font of the page
            "svg.hashsalt": "figure",
            "text.parse_math": False,  # a name with two dollars is a name
        },
    )


# Spectrograms


def column_times(columns: int, settings: Features) -> Float[ndarray, " columns"]:
    """Seconds at the centre of each column of an image that is ``columns`` wide; a frame's centre is its time."""
    frames = (np.arange(columns) + 0.5) * settings.n_frames / columns - 0.5
    return frames * settings.hop_length / settings.sample_rate


def band_frequencies(settings: Features) -> Float[ndarray, " mel"]:
    """Hertz at the peak of each mel filter, lowest first; Slaney's scale: 200/3 Hz a mel below 1 kHz, then a ratio."""
    ratio = math.log(6.4) / 27
    edges = (
        hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) / ratio
        for hertz in (settings.low_frequency, settings.high_frequency)
    )
    mels = np.linspace(*edges, settings.mel_bands + 2)[1:-1]
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(ratio * (mels - 15)))


def is_speech(image: Float[ndarray, "height width"]) -> Bool[ndarray, " width"]:
    """The columns before the padding, which repeats the last column; all columns of an image without padding."""
    width = image.shape[1]
    end = np.flatnonzero((image != image[:, -1:]).any(axis=0)).max(initial=-1) + 1
    return np.arange(width) < (end if 0 < end < width - 1 else width)


def plot_channel(
    values: Float[ndarray, "height width"],
    ax: Axes,
    title: str = "",
    columns: int | None = None,
    settings: Features = FEATURES,
    **options,
) -> Axes:
    """Values over the pixels of a log-Mel image, on axes of hertz and seconds.

    Args:
        values: a channel of the image's size, its top row the highest band.
        columns: the number of columns shown, from the left; None: all.
        options: for ``pcolormesh``.
    """
    columns = columns or values.shape[1]
    times = column_times(values.shape[1], settings)
    look = {"cmap": "inferno", "rasterized": True, "shading": "nearest"} | options
    ax.pcolormesh(times[:columns], band_frequencies(settings), values[::-1, :columns], **look)
    ax.set_yscale("symlog", linthresh=1000, base=2)  # nearly the mel scale
    ax.yaxis.set_major_locator(SymmetricalLogLocator(ax.yaxis.get_transform()))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    end = times[columns - 1] + (times[1] - times[0]) / 2
    ax.set(title=title, xlim=(0, end), ylim=(settings.low_frequency, settings.high_frequency))
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)")
    ax.locator_params(axis="x", nbins=5, steps=(1, 2, 5, 10))
    return ax


def name_frequency_once(axes: Float[ndarray, "rows columns"]) -> None:
    """Label a grid of spectrograms only at its edge, with one name for all axes of frequency."""
    for ax in axes.flat:
        ax.label_outer()
        ax.set_ylabel("")
    axes.flat[0].figure.supylabel("frequency (Hz)", fontsize=10)


def plot_spectrogram(
    image: Float[ndarray, "height width"],
    ax: Axes,
    title: str = "",
    columns: int | None = None,
    settings: Features = FEATURES,
    bar: bool = True,
) -> Axes:
    """A log-Mel image in decibels below its loudest point; without ``columns``, all columns before the padding."""
    level = settings.dynamic_range * (image - 1)
    columns = columns or int(is_speech(image).sum())
    plot_channel(level, ax, title, columns, settings, vmin=-settings.dynamic_range, vmax=0)
    if bar:
        ax.figure.colorbar(ax.collections[-1], ax=ax, label="level (dB)")
    return ax


def plot_attention(
    image: Float[ndarray, "height width"],
    attention: Float[ndarray, "height width"],
    ax: Axes,
    title: str = "",
    columns: int | None = None,
) -> Axes:
    """A map of attention over its image: transparent at the smallest value shown, red at the largest."""
    columns = columns or int(is_speech(image).sum())
    visible = attention[:, :columns]
    level = (attention - visible.min()) / max(np.ptp(visible), 1e-12)
    plot_channel(1 - image, ax, title, columns, FEATURES, cmap="gray", vmin=-0.5, vmax=1)
    alpha = 0.85 * level[::-1, :columns]
    return plot_channel(level, ax, title, columns, FEATURES, cmap="autumn_r", alpha=alpha, vmin=0, vmax=1)


def plot_similarity(similarity: Float[ndarray, "patches patches"], ax: Axes, title: str = "") -> Axes:
    """Cosine similarity between tokens, in [-1, 1]."""
    ticks = {"xticklabels": 32, "yticklabels": 32}
    sns.heatmap(similarity, vmin=-1, vmax=1, cmap="RdBu_r", cbar=False, square=True, rasterized=True, ax=ax, **ticks)
    ax.set(title=title, xlabel="token", ylabel="token")
    ax.tick_params(axis="y", rotation=0)
    return ax


# Records and tables


def plot_curves(losses: Mapping[str, Sequence[float]], ax: Axes, color: str) -> Axes:
    """The losses of a stage by epoch, each in its own line style."""
    table = pd.DataFrame(losses).rename(index=lambda epoch: epoch + 1)
    table.plot(ax=ax, color=color, style=["-", "--", ":"][: len(losses)], legend=len(losses) > 1)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", integer=True)
    return ax


def plot_confusion(counts: pd.DataFrame, ax: Axes, title: str = "", bar: bool = True) -> Axes:
    """Recall in per cent with the count below it; the title ends in accuracy and mean recall.

    Args:
        counts: utterances; rows are true classes, columns predicted ones, in one order.
    """
    if list(counts.index) != list(counts.columns):
        raise ValueError(f"classes {list(counts.columns)} predicted, {list(counts.index)} true: want one order")
    recall = 100 * counts.div(counts.sum(axis=1), axis=0)  # NaN, drawn blank, for a class without an utterance
    words = np.where(counts > 0, recall.map("{:.0f}".format) + "\n(" + counts.map("{:,}".format) + ")", "")
    black = {"color": "black", "fontsize": 9}
    scale = {"vmin": 0, "vmax": 100, "cmap": RECALL, "cbar": bar}
    sns.heatmap(recall, annot=words, fmt="", annot_kws=black, cbar_kws={"label": "recall (%)"} if bar else None,
                linewidths=0.5, ax=ax, **scale)  # fmt: skip
    cells = counts.to_numpy()
    accuracy, mean = 100 * cells.trace() / cells.sum(), np.nanmean(np.diag(recall))
    ax.set_title(f"{title}\naccuracy {accuracy:.1f} %, mean recall {mean:.1f} %".lstrip())
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(axis="y", rotation=0)
    plt.setp(ax.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    return ax


def plot_intervals(
    table: pd.DataFrame,
    ax: Axes,
    x: str = "estimate",
    y: str = "estimate",
    hue: str | None = None,
    percent: bool = True,
    joined: bool = False,
    **options,
) -> Axes:
    """A dot for each row, with its interval: rows of one category stand side by side, one for each ``hue``.

    Args:
        table: one row per dot; if ``low`` and ``high`` are NaN, the dot has no interval.
        x, y: one is the column of the categories, the other is the estimate.
        percent: estimates are shares of one, shown in per cent.
        joined: a line joins the dots of one ``hue``, for ordered categories.
        options: for ``seaborn.pointplot``.
    """
    horizontal = x == "estimate"
    key, value_axis = (y, ax.xaxis) if horizontal else (x, ax.yaxis)
    hues = options.get("hue_order") or (list(table[hue].unique()) if hue else [None])
    look = {"linestyles": "-" if joined else "none", "markersize": 5, "linewidth": 1}
    if hue:
        look["markers"] = (3 * list(MARKERS))[: len(hues)]
        look["dodge"] = (0.06 if joined else 0.18) * (len(hues) - 1)
    sns.pointplot(table, x=x, y=y, hue=hue, errorbar=None, ax=ax, **look | options)
    for level, line in zip(hues, list(ax.lines), strict=False):
        rows = (table if hue is None else table[table[hue] == level]).set_index(key).reindex(table[key].unique())
        bars = ax.hlines if horizontal else ax.vlines
        bars(line.get_data()[horizontal], rows.low, rows.high, color=line.get_color(), linewidth=1)
    if percent:
        value_axis.set_major_formatter(PercentFormatter(1, symbol=None))
    (ax.set_ylabel if horizontal else ax.set_xlabel)("")
    if horizontal:
        ax.set_ylim(table[key].nunique() - 0.5, -0.5)
    if hue and horizontal:  # above the figure, where long labels of the axis never meet it
        ax.get_legend().remove()
        dots, names = ax.get_legend_handles_labels()
        columns = 1 if max(map(len, names)) > 26 else 2  # a legend no wider than a phone
        ax.figure.legend(dots, names, loc="outside upper center", ncols=columns)
    elif hue:
        ax.get_legend().set_title("")
    return ax


def wrapped(label: str, width: int = 24) -> str:
    """A label in lines of at most ``width`` characters; a label that has several lines stays as it is."""
    return label if "\n" in label else textwrap.fill(label, width)


def _rows(ax: Axes, names: Sequence[str], x: str, width: int = 24, below: float = 0.0) -> None:
    """A row for each name, the first on top, on an axis named ``x``; ``below`` adds room at the bottom."""
    ax.set_yticks(range(len(names)), [wrapped(name, width) for name in names])
    ax.set(ylim=(len(names) - 0.5 + below, -0.5), xlabel=x)
    ax.grid(axis="x", linewidth=0.4)
    ax.tick_params(axis="y", length=0)


def plot_ladder(table: pd.DataFrame, ax: Axes, hollow: Collection[str] = (), gains: bool = False) -> Axes:
    """Dots with intervals, a row for each ``what`` in the order of the table, a colour and marker for each ``corpus``.

    Args:
        table: columns corpus, what, estimate, low, high; shares of one, drawn in per cent; url, if points are links.
        hollow: values of ``what`` or ``corpus`` that were not measured here; their dots are hollow.
        gains: differences, in points, about a line at zero.
    """
    rows, titles = list(dict.fromkeys(table["what"])), list(dict.fromkeys(table["corpus"]))
    corpora = sorted(titles, key=[*(known.title for known in facts.CORPORA.values()), *titles].index)  # one colour each
    percent = table.assign(**100 * table[["estimate", "low", "high"]].astype(float))
    for number, (corpus, colour, marker) in enumerate(zip(corpora, cycle(CORPORA), cycle(MARKERS), strict=False)):
        subset = percent[percent["corpus"] == corpus]
        y = subset["what"].map(rows.index) + 0.24 * (number - (len(corpora) - 1) / 2)
        ax.hlines(y, subset["low"], subset["high"], color=colour, linewidth=1.6)
        for filled, group in subset.groupby(~subset[["what", "corpus"]].isin(hollow).any(axis=1)):
            face = colour if filled else "none"
            ax.plot(group["estimate"], y[group.index], marker, color=colour, markerfacecolor=face, markersize=6)
        if "url" in subset:  # a wide, invisible mark links to the dot's row
            ax.scatter(subset["estimate"], y, s=260, alpha=0, zorder=9, urls=[url or None for url in subset["url"]])
        look = {"xytext": (0, -5), "va": "top"} if number else {"xytext": (0, 5), "va": "bottom"}  # no overlap
        for place in zip(subset["estimate"], y, strict=True):
            words = f"{place[0]:{'+.1f' if gains else '.0f'}}"
            ax.annotate(words, place, fontsize=9, textcoords="offset points", ha="center", color=colour, **look)
        ax.plot([], [], marker, color=colour, markerfacecolor="none" if corpus in hollow else colour, label=corpus)
    x = "points of accuracy (WA)" if gains else "accuracy (WA), %"
    _rows(ax, rows, x, below=0.3 * (len(corpora) > 1))
    if gains:
        ax.axvline(0, color=plt.rcParams["axes.edgecolor"], linewidth=1)
    else:
        ax.set_xlim(right=101)
    if corpora:
        ax.figure.legend(loc="outside upper right", ncols=len(corpora) if len("".join(corpora)) < 40 else 2)
    return ax


def plot_cost(table: pd.DataFrame, operations: Axes, time: Axes, accuracy: Axes) -> None:
    """One row per classifier, the fewest FLOPs first: FLOPs and milliseconds (logarithmic), accuracy with its interval.

    Args:
        table: as for :func:`plot_ladder`, with flops and milliseconds (NaN: not counted, not measured); ``corpus`` says
            who measured the accuracy ("measured here", else hollow).
    """
    table = table.sort_values(["flops", "milliseconds", "estimate"], ascending=[True, True, False], ignore_index=True)
    rows = list(dict.fromkeys(table["what"]))
    plot_ladder(table, accuracy, hollow={*table["corpus"]} - {"measured here"})
    flops, milliseconds = table["flops"] / 1e9, table["milliseconds"]
    for ax, values, axis in ((operations, flops, "GFLOP\nper image"), (time, milliseconds, "ms\nper file")):
        ax.plot(values, table["what"].map(rows.index), "o", color=PALETTE[-1])
        for what in table.loc[values.isna(), "what"].unique():
            place = (0.04, rows.index(what))
            ax.annotate("unknown", place, fontsize=9, xycoords=("axes fraction", "data"), va="center")
        _rows(ax, rows, axis, 22)
        ax.set(xscale="log", xmargin=0.12, ylim=accuracy.get_ylim())
        plain_numbers(ax.xaxis)
        if values.max() > 5 * values.min():  # else the narrow panel's ticks collide
            ax.xaxis.set_major_locator(LogLocator(10))
    for ax in (time, accuracy):
        ax.set_yticks([])


def plot_boxes(boxes: Sequence[tuple[str, str]], ax: Axes, title: str = "", role: str = "student") -> Axes:
    """A column of boxes joined by arrows, top to bottom: each a (name, output shape), in the colour of ``role``."""
    for i, (name, gives) in enumerate(boxes):
        ax.add_patch(FancyBboxPatch((0, -i - 0.32), 4, 0.64, "round,pad=0.05", facecolor=COLOURS[role], alpha=0.25))
        ax.text(0.1, -i, name, va="center", fontsize=9)
        ax.text(3.95, -i, gives, va="center", ha="right", fontsize=9, family="monospace")
        if i:
            arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": plt.rcParams["axes.edgecolor"]}
            ax.annotate("", (2, 0.36 - i), (2, 0.63 - i), arrowprops=arrow)
    ax.set(xlim=(-0.2, 4.2), ylim=(-len(boxes) + 0.4, 0.6), title=title)
    ax.axis("off")
    return ax


def plain_numbers(*axes: Axis) -> None:
    """Write 0.5 and 20 instead of powers of ten; a wide range shows only 1, 10, 100 and so on."""
    for axis in axes:
        low, high = axis.get_data_interval()
        axis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 500 * low else (1,), numticks=15))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
