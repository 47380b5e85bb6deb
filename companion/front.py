"""The pictures of the home page and of the page on the method, drawn from records only."""

import math
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy import ndarray

from companion import figures, labels, listeners, reach, results, text
from companion.claims import PARTS, Kind, published
from companion.evidence import Evidence
from serlib import config, metrics
from serlib.data import facts, splits

RUN = "student-alone"  # the only network that is measured on every kind of split
COLUMNS = ["corpus", "what", "estimate", "low", "high"]
PUBLISHED = "published\n(split not known)"
MATCHED = f"{text.display_name('student-pooled')},\n{splits.NEW}"  # the student that the paper publishes
TRAINED, COPIES, KEPT_APART = "training set", "copies of an utterance\non both sides", "copies kept on one side"
RANDOM = f"random split,\n{splits.KNOWN}"
OTHERS_EPOCHS = f"{splits.NEW}, epochs\nthat others choose"
# Rows that differ only in how the test set was chosen.
CHOSEN_BY = (PUBLISHED, TRAINED, COPIES, KEPT_APART, RANDOM, splits.NEW, OTHERS_EPOCHS)


def ladder(evidence: Evidence, ratings: Path) -> pd.DataFrame:
    """A table of :data:`COLUMNS`, run, protocol, speakers and seeds: accuracies (WA) in [0, 1], the easiest test first.

    Networks in one picture have the same training. A row without a run was not measured here.

    Args:
        ratings: folder of the tables that :mod:`workflow.listeners` writes.
    """
    rungs = [rung for corpus in facts.CORPORA for rung in _rungs(evidence.accuracies, corpus, ratings)]
    columns = [*COLUMNS, "run", "protocol", "speakers", "seeds"]
    table = pd.DataFrame(rungs, columns=["place", *columns]).sort_values("place", kind="stable", ignore_index=True)
    return table[columns].fillna({"run": "", "protocol": ""}).astype({"speakers": "Int64", "seeds": "Int64"})


def _rungs(accuracies: pd.DataFrame, corpus: str, ratings: Path) -> Iterator[dict[str, Any]]:
    """The rows of one corpus, each with its place among the rows of all corpora."""
    rows = accuracies[accuracies["corpus"].eq(corpus) & accuracies["missing"].eq(0) & accuracies["measure"].eq("WA")]
    by_key = {(row["run"], row["protocol"], row["part"]): row for _, row in rows[rows["longest"]].iterrows()}
    as_chosen = rows[rows["schedule"].eq(reach.CHOSEN_EPOCHS) & rows["part"].eq("test")]
    by_key |= {(row["run"], row["protocol"], OTHERS_EPOCHS): row for _, row in as_chosen.iterrows()}
    split = next((p for p in results.APART if (RUN, p, "test") in by_key), "")
    if not split:
        return
    yield {"place": 0, "corpus": corpus, "what": PUBLISHED, "estimate": published(corpus, "student-pooled")}
    rungs = [
        (1, TRAINED, RUN, split, "train"),
        (2, COPIES, RUN, "augmented-leaky", "test"),
        (3, KEPT_APART, RUN, "augmented-grouped", "test"),
        (4, RANDOM, RUN, "random", "test"),
        (5, splits.NEW, RUN, split, "test"),
        (6, OTHERS_EPOCHS, RUN, split, OTHERS_EPOCHS),
        (7, MATCHED, "student-pooled", split, "test"),
        (9, f"{text.display_name('opensmile')},\n{splits.NEW}", "opensmile", split, "test"),
    ]
    steps = (run for run, protocol, part in by_key if run.startswith(f"{RUN}+") and (protocol, part) == (split, "test"))
    rungs += [(8, f"{text.display_name(run)},\n{splits.NEW}", run, split, "test") for run in steps]
    for place, what, *key in rungs:
        row = by_key.get(tuple(key))
        short = row is not None and row["epochs"] < config.SCHEDULES["paper"].epochs
        if row is not None and not (short and place == 8):  # no step trained for fewer epochs
            yield {**row, "place": place, "what": what + f"\n({row['epochs']} epochs)" * short}
    if (ratings / f"{corpus}.csv").exists():
        speakers, recognised = listeners.read(ratings / f"{corpus}.csv")
        interval, what = metrics.interval(recognised, speakers), f"listeners\n({listeners.SCORES[corpus]})"
        yield {"place": 10, "corpus": corpus, "what": what} | vars(interval) | {"seeds": None}


def copies(evidence: Evidence) -> pd.DataFrame:
    """One row per corpus: accuracy (WA) of :data:`RUN` if the training set holds versions of the test utterances.

    ``estimate``, ``low`` and ``high`` are for unchanged utterances, ``versions`` for all four versions. ``apart`` is
    for unchanged ones whose versions stay out of training (NaN: not measured); ``stated`` is the published accuracy.
    """
    table = evidence.accuracies
    run_rows = table[table["longest"] & table["run"].eq(RUN) & table["measure"].eq("WA")]
    sets = {key: rows.set_index("corpus") for key, rows in run_rows.groupby(["protocol", "part"])}
    if ("augmented-leaky", "unchanged") not in sets:
        return pd.DataFrame()
    rows = sets["augmented-leaky", "unchanged"].reindex([*facts.CORPORA]).dropna(subset="estimate").reset_index()
    keys = {"versions": ("augmented-leaky", "test"), "apart": ("augmented-grouped", "unchanged")}
    extra = {name: rows["corpus"].map(sets[key]["estimate"]) if key in sets else math.nan for name, key in keys.items()}
    return rows.assign(**extra, stated=[published(name, "student-pooled") for name in rows["corpus"]])


def differences(evidence: Evidence) -> pd.DataFrame:
    """Every tested difference ``run`` minus ``beside`` (WA) on new speakers over every fold: claim, finding, counts."""
    table = evidence.comparisons
    mask = table["measure"].eq("WA") & table["held_out"].eq(splits.NEW) & table["estimate"].notna()
    mask &= ~table["lacks"].str.contains("folds|epochs")
    parts = {(part.claim, *pair): part for part in PARTS if part.kind is Kind.GAIN for pair in part.pairs}
    rows = []
    for row in table[mask].itertuples():
        if part := parts.get((row.family, row.first, row.second)):
            opponent = f", over {text.display_name(row.second)}" if len(part.pairs) > 1 else ""
            details = (row.first, row.second, row.family, text.label(row), row.protocol, row.speakers, row.seeds)
            what = textwrap.fill(part.says + opponent + " (pending)" * bool(row.lacks), 30)
            rows.append((row.corpus, what, row.estimate, row.low, row.high, *details))
    columns = [*COLUMNS, "run", "beside", "claim", "finding", "protocol", "speakers", "seeds"]
    return pd.DataFrame(rows, columns=columns).astype({"speakers": "Int64", "seeds": "Int64"})


def networks() -> dict[str, list[tuple[str, str]]]:
    """The steps of teacher and student, each with the shape of its output."""
    steps = {}
    for name, c in {"teacher": config.TEACHER, "student": config.STUDENT}.items():
        boxes = [("log-Mel image", text.times((1, *c.image_size)))]
        if c.stem:
            boxes.append((f"{len(c.stem)} convolutions 3 x 3, norm, GELU", text.times((c.stem[-1], *c.image_size))))
            boxes.append(("row and column of each pixel", text.times((3, *c.image_size))))
        boxes += [
            (f"columns of {text.times(c.patch_size)} to tokens", text.times((c.num_patches, c.width))),
            (f"block x {c.depth}: attention ({c.heads} heads), MLP", text.times((1 + c.num_patches, c.width))),
            ("class token, norm, linear", f"{c.num_classes} logits"),
        ]
        steps[name] = boxes
    return steps


def tables(evidence: Evidence, ratings: Path) -> dict[str, pd.DataFrame]:
    """The tables of the home page's pictures: accuracy by choice of the test set, gains by claim, others beside it."""
    rungs = ladder(evidence, ratings)
    chosen = rungs["what"].str.replace(r"\n\(\d+ epochs\)", "", regex=True).isin(CHOSEN_BY)
    return {"accuracy": rungs[chosen], "gains": differences(evidence), "beside": rungs[~chosen]}


def _linked(row: Any) -> str:
    """The link of a point of :func:`ladder` or :func:`differences`, with the words that describe the point."""
    corpus, what = facts.title(row.corpus), " ".join(row.what.split())
    if not row.run:  # published, or heard by people
        page = "audit_granularity.html" if row.what == PUBLISHED else "evidence.html#listeners"
        return f"../notebooks/{page}#!{quote(f'{corpus}, {what}: {text.share(row.estimate, 2)}')}"
    name = text.display_name(row.run)
    if "finding" in row._fields:
        name += f" minus {text.display_name(row.beside)}"
        words = f"{name}, {corpus}, {row.protocol}: {text.points(row)} points, {text.counted(row)}, {row.finding}"
        return f"verdicts.html?rows={quote(f'{corpus} {splits.NEW} {name}')}#!{quote(words)}"
    split = f"{TRAINED} of {row.protocol}" if row.what == TRAINED else row.protocol
    words = f"{name}, {corpus}, {split}: {text.share(row.estimate, 1)}, {text.counted(row)}"
    return f"../notebooks/accuracy.html?rows={quote(f'{corpus} {name} {row.protocol}')}#!{quote(words)}"


def draw(tables: dict[str, pd.DataFrame], images: Path, book: Path) -> None:
    """Write :func:`tables`, ``teacher``, ``student`` and each corpus's ``-emotions`` into ``book/figures`` as SVG.

    ``images`` holds the files of :mod:`companion.examples`.
    """
    folder = book / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.assign(what=table["what"].str.replace("\n", " ")).rename(columns=labels.UNITS).to_csv(
            folder / f"{name}.csv", index=False
        )
        titled = table.assign(corpus=table["corpus"].map(facts.title)).reset_index(drop=True)
        titled["url"] = [_linked(row) for row in table.itertuples()]
        size = (4.7, 0.8 + (0.62 if name == "gains" else 0.52) * (table["what"].nunique() + 1))
        _save(folder / name, figures.plot_ladder, titled, size=size, hollow=(PUBLISHED,), gains=name == "gains")
    for name, boxes in networks().items():
        pd.DataFrame(boxes, columns=["step", "gives"]).to_csv(folder / f"{name}.csv", index=False)
        _save(folder / name, figures.plot_boxes, boxes, title=name.capitalize(), role=name)
    for corpus in facts.CORPORA:
        if (path := images / f"{corpus}.npz").exists():
            draw_emotions(path, folder / f"{corpus}-emotions")


def draw_emotions(path: Path, picture: Path) -> None:
    """Draw the :func:`emotions` in ``path`` as ``picture``, an SVG, with each column's mean level as CSV."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    images, settings = emotions(path), config.Features()
    _save(picture, _emotions, images, size=(4.9, 4.8))
    levels = {
        f"{name}, mean level (dB)": settings.dynamic_range * (image.mean(axis=0) - 1) for name, image in images.items()
    }
    times = pd.Index(figures.column_times(settings.image_size[1], settings), name="time (s)")
    pd.DataFrame(levels, times).to_csv(picture.with_suffix(".csv"), float_format="%.4g")


def emotions(path: Path) -> dict[str, ndarray]:
    """For each emotion the image of the committed utterance that the network got right (:mod:`companion.examples`)."""
    with np.load(path) as stored:
        utterances = zip(stored["true"], stored["predicted"], stored["images"][:, 0, 0].astype(np.float32), strict=True)
        return {str(true): image for true, predicted, image in utterances if true == predicted}


def seconds(image: ndarray) -> float:
    """The duration of an image's sound before the padding."""
    return float(figures.is_speech(image).mean() * config.Features().seconds)


def _emotions(images: dict[str, ndarray], ax: Axes) -> None:
    """A log-Mel image for each emotion, on one axis of time."""
    ax.axis("off")
    axes = ax.figure.subplots(-(-len(images) // 3), 3, sharex=True, sharey=True)
    columns = max(int(figures.is_speech(image).sum()) for image in images.values())
    for panel, (emotion, image) in zip(axes.flat, images.items(), strict=False):
        figures.plot_spectrogram(image, panel, emotion, columns, bar=False)
    figures.name_frequency_once(axes)
    for panel in axes.flat[len(images) :]:
        panel.axis("off")


def _save(path: Path, plot: Callable, *data: Any, size: tuple[float, float] = (4.7, 3.6), **options: Any) -> None:
    figures.style()
    fig, ax = plt.subplots(figsize=size)
    plot(*data, ax=ax, **options)
    fig.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(fig)
