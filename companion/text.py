"""Numbers to words: the only place where a value of the book becomes text.

Rows come from the tables of :mod:`companion.evidence`.
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
    """The additions of a run's steps: ``light convolutions before the patches; dropout``, without steps "nothing"."""
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


def _bounds(interval: Shown, scale: float, form: str, suffix: str = "") -> str:
    estimate, low, high = (scale * getattr(interval, name + suffix) + 0.0 for name in ("estimate", "low", "high"))
    signed = form.replace("z", "")  # a bound just below zero is not shown above it
    bounds = f" [{low:{signed}},\N{NO-BREAK SPACE}{high:{signed}}]"
    return f"{estimate:{form}}" + bounds * (not math.isnan(low))


def percent(interval: Shown) -> str:
    """``81.3 [74.8, 87.9]``: an estimate and its interval in per cent; for a single speaker, only the estimate."""
    return _bounds(interval, 100, "z.1f")


def points(interval: Shown) -> str:
    """``+1.2 [-0.3, +2.8]``: a difference of two accuracies and its interval in points."""
    return _bounds(interval, 100, "+z.1f")


def fraction(interval: Shown) -> str:
    """``0.93 [0.92, 0.95]``."""
    return _bounds(interval, 1, "z.2f")


def counted(interval: Shown) -> str:
    """``10 speakers, 3 seeds``, or for random splits ``3 draws``: the counts from which an interval was estimated."""
    speakers, seeds = int(interval.speakers), int(interval.seeds)
    repeated = "draw" if getattr(interval, "protocol", "") in splits.DRAWN else "seed"
    return f"{speakers} speaker{'s' * (speakers > 1)}, {seeds} {repeated}{'s' * (seeds > 1)}"


def label(row: Any) -> str:
    """``supported``, or what a comparison still lacks: ``pending: 1 of 3 seeds``."""
    return f"{row.label}: {row.lacks}" if row.lacks else row.label


def estimates(table: pd.DataFrame, form: str = "z.0f") -> str:
    """``EmoDB: training set 100, listeners 94. CREMA-D: ...``: a table of corpus, what and estimate, in per cent."""
    sentences = (
        f"{facts.title(corpus)}: "
        + ", ".join(f"{' '.join(row.what.split())} {100 * row.estimate:{form}}" for row in rows.itertuples())
        for corpus, rows in table.groupby("corpus", sort=False)
    )
    return " ".join(f"{words}." for words in sentences)


def extremes(shares: Mapping[str, float]) -> str:
    """``from 35 % (fear) to 81 % (anger)``: the smallest and the largest share with their names; or the only share."""
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    if len(shares) == 1:
        return f"{share(shares[low])} ({low})"
    return f"from {share(shares[low])} ({low}) to {share(shares[high])} ({high})"


def spread(values: Mapping[str, float]) -> str:
    """``2.2 [2.0, 2.3]``: the median, the smallest and the largest of several measurements."""
    median, low, high = (f"{values[key]:.3g}" for key in ("median", "min", "max"))
    return f"{median} [{low},\N{NO-BREAK SPACE}{high}]"


def ranges(numbers: Iterable[int]) -> str:
    """``0-9``, or ``0, 2`` where there are gaps."""
    values = sorted(pd.Series(numbers).unique())
    if len(values) > 1 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}-{values[-1]}"
    return ", ".join(map(str, values))


# Findings


def sentence(part: Part, rows: pd.DataFrame, orders: pd.DataFrame, finding: Finding) -> str:
    """The evidence for a part of a claim on new speakers: the measured difference and, in brackets, the two values,
    the numbers of speakers and seeds, the label if it differs from the part's ``finding``, and what is lacking."""
    if part.kind is Kind.PROVED:
        return "Impossible with any weights: the student's decision does not depend on the order of the columns."
    if part.kind is Kind.COUNTED:
        least, _ = min(costs.others().items(), key=lambda network: network[1].flops)
        beside = f"{share_of_operations(least)} of those of {least}, the smallest other network counted"
        return f"The student needs {share_of_operations()} of the teacher's operations, and {beside}."
    measured = ". ".join(_measured(part, row, finding) for row in _most_complete(part, rows).itertuples())
    measured = f"New speakers: {measured}." if measured else "Not measured on test speakers."
    return " ".join((measured, *(shuffling(orders, *part.pairs[0]) if part.shuffled else ())))


def shuffling(orders: pd.DataFrame, first: str, second: str) -> list[str]:
    """The cost of shuffled columns for two runs on new speakers, and whether it is a sign that the first uses order."""
    new = orders["order"].eq("shuffled") & orders["protocol"].map(splits.HELD_OUT).eq(splits.NEW)
    by_run = (orders[new & orders["run"].eq(run)] for run in (first, second))
    both = pd.merge(*by_run, on=[*results.POSITIONS_ALIKE, "folds", "seed_numbers"], suffixes=("", "_without"))
    losses = " ".join(
        f"{facts.title(row.corpus)} ({counted(row)}): {display_name(first)} {percent(row)}, {display_name(second)} {_bounds(row, 100, 'z.1f', '_without')}."
        for row in both.itertuples()
    )
    evidence = "a sign" if (both["low"] > both["high_without"]).all() else "no evidence"
    measured = f"Points lost when the columns of speech are shuffled, with intervals over speakers alone. {losses} "
    return [f"{measured}This is {evidence} that {display_name(first)} uses its coordinates."] if losses else []


def _most_complete(part: Part, rows: pd.DataFrame) -> pd.DataFrame:
    """For each corpus and run, or pair of runs, the measured rows on new speakers that lack the fewest conditions."""
    new = rows[rows["held_out"].eq(splits.NEW) & rows["estimate"].notna()]
    if new.empty:
        return new
    lacking = new["lacks"].map(lambda lacks: len(lacks.split("; ")) if lacks else 0)
    names = ["corpus", "run"] if part.kind is Kind.PUBLISHED else ["corpus", "first", "second"]
    return new[lacking == lacking.groupby([new[name] for name in names]).transform("min")]


def _measured(part: Part, row: Any, finding: Finding) -> str:
    """``EmoDB +12.9 points (61.5 against 48.6; 10 speakers; 1 of 3 seeds)``; an unclear gain shows its upper bound."""
    corpus, caveat = facts.title(row.corpus), row.lacks if row.label == finding else label(row)
    counts = counted(row).partition(",")[0] if " seeds" in caveat else counted(row)
    if part.kind is Kind.PUBLISHED:
        statement = f"{display_name(row.run)} {share(row.estimate, 1)} on {corpus}"
        details = f"published: {share(row.stated, 2)}; "
    elif part.kind is Kind.POSITION:
        statement, details = f"{corpus} R2 {row.first_estimate:.2f} with, {row.second_estimate:.2f} without", ""
    else:
        statement = f"{corpus} {100 * row.estimate:+z.1f} points"
        statement += f" over {display_name(row.second)}" * (len(part.pairs) > 1)
        details = f"seed{'s' * (row.seeds > 1)} {row.seed_numbers}: " * (row.seeds < results.SEEDS)
        details += f"{100 * row.first_estimate:.1f} against {100 * row.second_estimate:.1f}; "
        details += f"at most {100 * row.bound:+z.1f}; " * (row.label == Finding.UNCLEAR)
    return f"{statement} ({details}{counts}{'; ' * bool(caveat)}{caveat})"


def share_of_operations(other: str = costs.TEACHER) -> str:
    """``20.5 %``: the student's number of operations as a share of another network's, the teacher's if not named."""
    return share(costs.read()[costs.STUDENT].flops / costs.read()[other].flops, 1)


# Tables that several pages share

ACCURACY_HEAD = ("run", "WA %", "corpus", "split, folds", "UA %", "WA %, training set", "epochs; seeds", "test set")


def accuracy_rows(accuracies: pd.DataFrame) -> list[tuple[Any, ...]]:
    """One row under :data:`ACCURACY_HEAD` per run, protocol and schedule in some rows of the table ``accuracies``."""
    order, rows = results.in_order(accuracies["corpus"].unique()), []
    table = accuracies[accuracies["part"].isin(("test", "train"))].assign(title=titles)
    for _, group in table.groupby([*results.CONDITION, "run"], sort=False):
        by_part = {(row.part, row.measure): row for row in group.itertuples()}
        wa, ua, trained = by_part["test", "WA"], by_part["test", "UA"], by_part["train", "WA"]
        schedule = "" if wa.schedule in ("paper", variants.BASELINE) else f" ({wa.schedule})"
        cells = (
            display_name(wa.run) + UNLABELLED * wa.unlabelled,
            percent(wa),
            wa.title + ", synthetic" * (wa.speech == "synthetic"),
            f"{wa.held_out}: `{wa.protocol}` {wa.folds}",
            *map(percent, (ua, trained)),
            f"{EN_DASH if wa.run in results.UNSEEDED else wa.epochs}{schedule}; {wa.seed_numbers}",
            f"{wa.utterances:,}, {counted(wa)}",
        )
        protocol = list(splits.HELD_OUT).index(wa.protocol)
        rows.append(((order.index(wa.corpus), protocol, results.place(wa.run), wa.schedule), cells))
    return [cells for _, cells in sorted(rows)]


def titles(rows: pd.DataFrame) -> pd.Series:
    """The name of each row's corpus, with its fingerprint if one protocol has several sets of files of that corpus."""
    tables = rows.groupby(["corpus", "protocol"], observed=True)["fingerprint"].transform("nunique")
    return rows["corpus"].map(facts.title) + (", files " + rows["fingerprint"].str[:8]).where(tables > 1, "")


EN_DASH = "\N{EN DASH}"
UNLABELLED = ", uses unlabelled utterances of the test speakers"
_CONDITIONS = ("corpus, split", "folds; seeds", "utterances, speakers", "device")
COMPARISON_HEAD = ("runs", "points", "finding", "at most, one-sided", *_CONDITIONS)


def comparison_rows(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    """One row under :data:`COMPARISON_HEAD` per comparison of the evidence; comparisons not measured come last."""
    table_rows = []
    rows = rows.assign(title=titles).sort_values("estimate", key=lambda estimates: estimates.isna(), kind="stable")
    for row in rows.itertuples():
        runs = f"{display_name(row.first)} minus {display_name(row.second)}"
        if pd.isna(row.estimate):
            table_rows.append((runs, "", label(row), "", row.title, "", "", ""))
            continue
        runs += f" (`{row.schedule}`)" if row.schedule != "paper" else ""
        setting = f"{row.title}, {row.held_out}"
        setting += f", {row.epochs:.0f} epochs" * (row.epochs < results.PAPER_EPOCHS)
        cells = (setting, f"{row.folds}; {row.seed_numbers}", f"{row.utterances:,.0f}, {row.speakers:.0f}", row.device)
        table_rows.append((runs, points(row), label(row), f"{100 * row.bound:+z.1f}", *cells))
    return table_rows


def commands(runs: pd.DataFrame) -> Markdown:
    """The Snakemake commands that make the records of ``runs`` again, one for each schedule and protocol.

    Runs with other folds or seeds have a command of their own. Snakemake first makes what a run needs: images, and the
    teacher of a student that follows one. Runs that are no longer in the code come last, with the commit that has them.
    """
    shared = ["gone", "corpus", "image", "schedule", "protocol"]
    runs = runs.assign(gone=[not experiments.makeable(r.run, r.schedule) for r in runs.itertuples()])
    for names, several in ((["run", "seed"], "fold"), (["run", "fold"], "seed"), (["fold", "seed"], "run")):
        groups = runs.groupby([*shared, *names], sort=False)[several]
        runs = groups.agg(lambda values: tuple(sorted(set(values)))).reset_index()
    lines: dict[bool, list[str]] = {False: [], True: []}
    for r in runs.itertuples():
        fold, run, seed = map(_braces, (r.fold, r.run, r.seed))
        place = records.location("recordings", r.corpus, r.schedule, r.protocol, fold, run, seed, r.image)
        channel = r.image.partition("-channel")[2]
        lines[r.gone].append(command(place, corpus=r.corpus, data=f"data/{r.corpus}", channel=channel))
    gone = [f"git checkout {experiments.TRIED['commit']}  # the last code that has the runs below", *lines[True]]
    return Markdown("\n".join(("```bash", *lines[False], *(gone if lines[True] else ()), "```")))


def command(place: str, **options: Any) -> str:
    """The Snakemake command that makes the record at ``place`` below a folder of runs; empty options are left out."""
    settings = " ".join(f"{name}={value}" for name, value in options.items() if value)
    call = f".venv/bin/snakemake build/runs/{place} --workflow-profile workflow/profiles/default"
    return f"{call} --config {settings}" if settings else call


def _braces(values: Iterable[int | str]) -> str:
    """One number or name as it is; several as a shell's brace pattern."""
    joined = ",".join(map(str, values))
    return f"{{{joined}}}" if "," in joined else joined


def sources(used: Iterable[records.Record]) -> Markdown:
    """The origin of a page's numbers: run, split, seed, seconds, commit and result of every record used."""
    return Markdown(
        "\n".join(
            f"- `{r.run}`: {facts.title(r.corpus)}, {'people' if r.speech == 'recordings' else 'synthetic'}, `{r.protocol}` {r.fold}, seed {r.seed}, `{r.schedule}`; "
            f"{r.provenance['seconds']:.0f} s with code `{r.provenance['commit'][:8]}`{' + changes' * r.provenance['dirty']}, "
            f"result `{r.result[:12]}`."
            for r in used
        )
    )
