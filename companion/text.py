"""Numbers to words: the only place where a value of the book becomes text.

* :func:`percent`, :func:`points`, :func:`fraction`, :func:`counted`: intervals; :func:`estimates`, :func:`extremes`: what
  a figure shows, for those who cannot see it;
* :func:`label`, :func:`sentence`: what is found of a comparison, and of a part of a claim;
* :func:`table` and the tables that several pages share; :func:`commands`, :func:`sources`.

Rows are those of the tables of :mod:`companion.evidence`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown

from companion import costs, experiments, results
from companion.claims import Finding, Kind, Part
from companion.labels import display_name, share
from serlib import records
from serlib.data import facts, splits
from studies import variants


def added(run: str) -> str:
    """What the steps of a run add: ``light convolutions before the patches; dropout``, without steps "nothing"."""
    return "; ".join(experiments.ADDS[step] for step in run.split("+")[1:]) or "nothing"


Shown = Any  # an Interval, or a row of a table with the same columns


def note(text: str) -> Markdown:
    """A paragraph set off from the text."""
    return Markdown("\n".join(f"> {line}" for line in text.splitlines()))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markdown:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def times(size: Sequence[int]) -> str:
    """``128 x 128``."""
    return " x ".join(map(str, size))


def _bounds(at: Shown, scale: float, form: str, of: str = "") -> str:
    middle, low, high = (scale * getattr(at, name + of) + 0.0 for name in ("estimate", "low", "high"))
    signed = form.replace("z", "")  # a bound just below zero is not shown above it
    bounds = f" [{low:{signed}},\N{NO-BREAK SPACE}{high:{signed}}]"
    return f"{middle:{form}}" + bounds * (not math.isnan(low))


def percent(at: Shown) -> str:
    """``81.3 [74.8, 87.9]``: an estimate and its interval in per cent; of one speaker the estimate alone."""
    return _bounds(at, 100, "z.1f")


def points(at: Shown) -> str:
    """``+1.2 [-0.3, +2.8]``: a difference of two accuracies and its interval in points."""
    return _bounds(at, 100, "+z.1f")


def fraction(at: Shown) -> str:
    """``0.93 [0.92, 0.95]``."""
    return _bounds(at, 1, "z.2f")


def counted(at: Shown) -> str:
    """``10 speakers, 3 seeds``, or of random splits ``3 draws``: what stands behind an interval."""
    speakers, seeds = int(at.speakers), int(at.seeds)
    repeated = "draw" if getattr(at, "protocol", "") in splits.DRAWN else "seed"
    return f"{speakers} speaker{'s' * (speakers > 1)}, {seeds} {repeated}{'s' * (seeds > 1)}"


def label(row: Any) -> str:
    """``supported``, or what a comparison still lacks: ``pending: 1 of 3 seeds``."""
    return f"{row.label}: {row.lacks}" if row.lacks else row.label


def estimates(table: pd.DataFrame, form: str = "z.0f") -> str:
    """``EmoDB: training set 100, listeners 94. CREMA-D: ...``: in per cent, of a table of corpus, what and estimate."""
    said = (
        f"{facts.title(corpus)}: "
        + ", ".join(f"{' '.join(row.what.split())} {100 * row.estimate:{form}}" for row in rows.itertuples())
        for corpus, rows in table.groupby("corpus", sort=False)
    )
    return " ".join(f"{each}." for each in said)


def extremes(shares: Mapping[str, float]) -> str:
    """``from 35 % (fear) to 81 % (anger)``: the smallest and the largest of some shares, with their names; or the one."""
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    if len(shares) == 1:
        return f"{share(shares[low])} ({low})"
    return f"from {share(shares[low])} ({low}) to {share(shares[high])} ({high})"


def spread(values: Mapping[str, float]) -> str:
    """``2.2 [2.0, 2.3]``: the median of some measurements, the smallest and the largest."""
    middle, low, high = (f"{values[key]:.3g}" for key in ("median", "min", "max"))
    return f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"


def ranges(numbers: Iterable[int]) -> str:
    """``0-9``, or ``0, 2`` where there are gaps."""
    found = sorted(pd.Series(numbers).unique())
    if len(found) > 1 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]}-{found[-1]}"
    return ", ".join(map(str, found))


# What is found


def sentence(part: Part, rows: pd.DataFrame, orders: pd.DataFrame, found: Finding) -> str:
    """What a part of a claim rests on, on new speakers: what was measured, in brackets between what, on how many speakers and
    seeds, how the label differs from what is ``found`` of the part, and what is lacking."""
    if part.kind is Kind.PROVED:
        return "Impossible with any weights: the student's decision does not depend on the order of the columns."
    if part.kind is Kind.COUNTED:
        return f"The student needs {share_of_operations()} of the teacher's operations."
    measured = ". ".join(_measured(part, row, found) for row in _nearest(part, rows).itertuples())
    measured = f"New speakers: {measured}." if measured else "Not measured on test speakers."
    return " ".join((measured, *(shuffling(orders, *part.pairs[0]) if part.shuffled else ())))


def shuffling(orders: pd.DataFrame, first: str, second: str) -> list[str]:
    """What shuffled columns cost two runs on new speakers, and whether that shows that the first uses order."""
    new = orders["order"].eq("shuffled") & orders["protocol"].map(splits.HELD_OUT).eq(splits.NEW)
    sides = (orders[new & orders["run"].eq(run)] for run in (first, second))
    both = pd.merge(*sides, on=["corpus", "protocol", "schedule", "folds"], suffixes=("", "_without"))
    lost = ", ".join(
        f"{percent(row)} and {_bounds(row, 100, 'z.1f', '_without')} points ({facts.title(row.corpus)}, {counted(row)})"
        for row in both.itertuples()
    )
    shows = "a sign" if (both["low"] > both["high_without"]).all() else "no evidence"
    said = f"Shuffling the columns of speech costs {display_name(first)} and {display_name(second)} {lost}. "
    return [f"{said}This is {shows} that the first uses its coordinates."] if lost else []


def _nearest(part: Part, rows: pd.DataFrame) -> pd.DataFrame:
    """Of each corpus and run, or pair of runs, the measured rows on new speakers that lack least."""
    new = rows[rows["held_out"].eq(splits.NEW) & rows["estimate"].notna()]
    if new.empty:
        return new
    lacking = new["lacks"].map(lambda lacks: len(lacks.split("; ")) if lacks else 0)
    names = ["corpus", "run"] if part.kind is Kind.PUBLISHED else ["corpus", "first", "second"]
    return new[lacking == lacking.groupby([new[name] for name in names]).transform("min")]


def _measured(part: Part, row: Any, found: Finding) -> str:
    """``EmoDB +12.9 points (61.5 against 48.6; 10 speakers; 1 of 3 seeds)``, with the bound where a gain is unclear."""
    where, differs = facts.title(row.corpus), row.lacks if row.label == found else label(row)
    counts = counted(row).partition(",")[0] if " seeds" in differs else counted(row)
    if part.kind is Kind.PUBLISHED:
        said, about = (
            f"{display_name(row.run)} {share(row.estimate, 1)} on {where}",
            f"published: {share(row.stated, 2)}; ",
        )
    elif part.kind is Kind.POSITION:
        said, about = f"{where} R2 {row.first_estimate:.2f} with, {row.second_estimate:.2f} without", ""
    else:
        said = f"{where} {100 * row.estimate:+z.1f} points" + f" over {display_name(row.second)}" * (
            len(part.pairs) > 1
        )
        about = f"{100 * row.first_estimate:.1f} against {100 * row.second_estimate:.1f}; "
        about += f"at most {100 * row.bound:+z.1f}; " * (row.label == Finding.UNCLEAR)
    return f"{said} ({about}{counts}{'; ' * bool(differs)}{differs})"


def share_of_operations() -> str:
    """``20.5 %``: what the student needs of the teacher's operations."""
    counted = costs.read()
    return share(counted[costs.STUDENT].flops / counted[costs.TEACHER].flops, 1)


# Tables that several pages share

ACCURACY_HEAD = ("run", "WA %", "corpus", "split, folds", "UA %", "WA %, training set", "epochs; seeds", "test set")


def accuracy_rows(accuracies: pd.DataFrame) -> list[tuple[Any, ...]]:
    """A row for each run, protocol and schedule of some rows of the evidence, under :data:`ACCURACY_HEAD`."""
    order, rows = results.in_order(accuracies["corpus"].unique()), []
    shown = accuracies[accuracies["part"].isin(("test", "train"))].assign(title=titles)
    for _, of in shown.groupby([*results.CONDITION, "run"], sort=False):
        at = {(row.part, row.measure): row for row in of.itertuples()}
        wa, ua, trained = at["test", "WA"], at["test", "UA"], at["train", "WA"]
        schedule = "" if wa.schedule in ("paper", variants.BASELINE) else f" ({wa.schedule})"
        row = (
            display_name(wa.run) + UNLABELLED * wa.unlabelled,
            percent(wa),
            wa.title + ", synthetic" * (wa.speech == "synthetic"),
            f"{wa.held_out}: `{wa.protocol}` {wa.folds}",
            *map(percent, (ua, trained)),
            f"{EN_DASH if wa.run in results.UNSEEDED else wa.epochs}{schedule}; {wa.seed_numbers}",
            f"{wa.utterances:,}, {counted(wa)}",
        )
        protocol = list(splits.HELD_OUT).index(wa.protocol)
        rows.append(((order.index(wa.corpus), protocol, results.place(wa.run), wa.schedule), row))
    return [row for _, row in sorted(rows)]


def titles(rows: pd.DataFrame) -> pd.Series:
    """The name of each row's corpus, with the files that it stands for where one protocol has several tables of it."""
    tables = rows.groupby(["corpus", "protocol"], observed=True)["fingerprint"].transform("nunique")
    return rows["corpus"].map(facts.title) + (", files " + rows["fingerprint"].str[:8]).where(tables > 1, "")


EN_DASH = "\N{EN DASH}"
UNLABELLED = ", uses unlabelled utterances of the test speakers"
_MADE = ("corpus, split", "folds; seeds", "utterances, speakers", "device")
COMPARISON_HEAD = ("runs", "points", "finding", "at most, one-sided", *_MADE)


def comparison_rows(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    """A row a comparison of the evidence under :data:`COMPARISON_HEAD`; those not measured come last."""
    found = []
    rows = rows.assign(title=titles).sort_values("estimate", key=lambda at: at.isna(), kind="stable")
    for row in rows.itertuples():
        runs = f"{display_name(row.first)} minus {display_name(row.second)}"
        if pd.isna(row.estimate):
            found.append((runs, "", label(row), "", row.title, "", "", ""))
            continue
        runs += f" (`{row.schedule}`)" if row.schedule != "paper" else ""
        where = f"{row.title}, {row.held_out}"
        where += f", {row.epochs:.0f} epochs" * (row.epochs < results.PAPER_EPOCHS)
        made = (where, f"{row.folds}; {row.seed_numbers}", f"{row.utterances:,.0f}, {row.speakers:.0f}", row.device)
        found.append((runs, points(row), label(row), f"{100 * row.bound:+z.1f}", *made))
    return found


def commands(runs: pd.DataFrame) -> Markdown:
    """For each schedule and protocol the one command of the graph that makes the records of ``runs`` again.

    Runs with other folds or seeds have a command of their own. The graph makes what a run needs first: images, and the
    teacher of a student that follows one. Runs that are no longer in the code come last, at the commit that has them.
    """
    alike = ["gone", "corpus", "image", "schedule", "protocol"]
    runs = runs.assign(gone=[not experiments.makeable(r.run, r.schedule) for r in runs.itertuples()])
    for names, several in ((["run", "seed"], "fold"), (["run", "fold"], "seed"), (["fold", "seed"], "run")):
        of = runs.groupby([*alike, *names], sort=False)[several]
        runs = of.agg(lambda some: tuple(sorted(set(some)))).reset_index()
    lines: dict[bool, list[str]] = {False: [], True: []}
    for r in runs.itertuples():
        fold, run, seed = map(_braces, (r.fold, r.run, r.seed))
        where = records.location("recordings", r.corpus, r.schedule, r.protocol, fold, run, seed, r.image)
        channel = r.image.partition("-channel")[2]
        lines[r.gone].append(
            f".venv/bin/snakemake build/runs/{where} --workflow-profile workflow/profiles/default "
            f"--config corpus={r.corpus} data=data/{r.corpus}" + f" channel={channel}" * bool(channel)
        )
    gone = [f"git checkout {experiments.TRIED['commit']}  # the last code that has the runs below", *lines[True]]
    return Markdown("\n".join(("```bash", *lines[False], *(gone if lines[True] else ()), "```")))


def _braces(some: Iterable[int | str]) -> str:
    """One number or name, or several as a shell's pattern."""
    of = ",".join(map(str, some))
    return f"{{{of}}}" if "," in of else of


def sources(used: Iterable[records.Record]) -> Markdown:
    """Where the numbers of a page came from: run, split, seed, commit, date and seconds of every record used."""
    return Markdown(
        "\n".join(
            f"- `{r.run}`: {facts.title(r.corpus)}, {'people' if r.speech == 'recordings' else 'synthetic'}, `{r.protocol}` {r.fold}, seed {r.seed}, `{r.schedule}`; "
            f"{r.provenance['seconds']:.0f} s with code `{r.provenance['commit'][:8]}`{' + changes' * r.provenance['dirty']}, "
            f"result `{r.result[:12]}`."
            for r in used
        )
    )
