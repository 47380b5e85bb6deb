"""Numbers to words: the only place where a value of the book becomes text.

* :func:`percent`, :func:`points`, :func:`fraction`, :func:`counted`: intervals; :func:`estimates`, :func:`extremes`: what
  a figure shows, for those who cannot see it;
* :func:`verdict`, :func:`because`: a claim's verdict as words;
* :func:`table` and the tables that several pages share; :func:`commands`, :func:`sources`.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from IPython.display import Markdown

from companion import claims, experiments, labels, paper, results
from companion.claims import Finding, Limit, Verdict
from companion.results import Comparison
from serlib import config, metrics, records
from serlib.data import facts, splits
from studies import variants

if TYPE_CHECKING:  # it needs torch, which is imported where it is used
    from studies.probes import Probe

# How a reader meets each run and baseline.
DISPLAY_NAMES: dict[str, str] = {
    "teacher": "Teacher",
    "student-alone": "Student alone",
    "student-alone-long": "Student alone (twice the epochs)",
    "student-pooled": "Student with teacher",
    "student-tokens": "Student with teacher (token map)",
    "student-no-matching-stage": "Student with teacher (no matching stage)",
    "student-alpha-0.1": "Student with teacher (α = 0.1)",
    "student-alpha-10": "Student with teacher (α = 10)",
    "student-coordinates": "Student alone (coordinates)",
    "student-square-patches": "Student alone (square patches)",
    "student-horizontal-patches": "Student alone (horizontal patches)",
    "student-per-band-norm": "Student alone (normalised mel bands)",
    "student-4s": "Student alone (4 s)",
    "student-alone-speaker-norm": "Student alone, speaker-normalised",
    "teacher-square-patches": "Teacher (square patches)",
    "teacher-horizontal-patches": "Teacher (horizontal patches)",
    "teacher-no-stem": "Teacher (no stem)",
    "teacher-no-position": "Teacher (no position)",
    "teacher-mean-pooling": "Teacher (mean pooling)",
    "teacher-deep": "Teacher (12 blocks of 12 heads)",
    "majority": "Majority class",
    "mel-statistics": "Mel statistics + logistic regression",
    "mel-deltas": "Mel statistics with deltas + SVM",
    "egemaps": "eGeMAPS + SVM",
    "opensmile": "openSMILE + SVM",
    "resemblyzer": "Speaker network (pretrained) + SVM",
    "resnet-18": "ResNet-18",
    "mel-deltas-speaker-norm": "Mel statistics with deltas + SVM, speaker-normalised",
    "egemaps-speaker-norm": "eGeMAPS + SVM, speaker-normalised",
    "opensmile-speaker-norm": "openSMILE + SVM, speaker-normalised",
    "resemblyzer-speaker-norm": "Speaker network (pretrained) + SVM, speaker-normalised",
    "resnet-18-speaker-norm": "ResNet-18, speaker-normalised",
}


def display_name(run: str) -> str:
    """``Student alone`` for ``student-alone``; of a run with steps, their names as well."""
    base, *steps = run.split("+")
    return " + ".join((DISPLAY_NAMES[base], *steps))


def added(run: str) -> str:
    """What the steps of a run add: ``light convolutions before the patches; dropout``, without steps "nothing"."""
    return "; ".join(experiments.ADDS[step] for step in run.split("+")[1:]) or "nothing"


SPEAKERS = {"recordings": "people", "synthetic": "synthetic"}
LEVEL = 0.05  # of an adjusted p-value below which a comparison is called better or worse
REACHED, NEARLY = "reached", "reached by the estimate alone"  # of an aim


def note(text: str) -> Markdown:
    """A paragraph set off from the text."""
    return Markdown(f"> {text}")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markdown:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def times(size: Sequence[int]) -> str:
    """``128 x 128``."""
    return " x ".join(map(str, size))


def rounded(value: float, form: str) -> str:
    """A number in a format such as ``+.1f``, without the sign of a negative zero."""
    return format(round(value, int(form[-2])) + 0.0, form)


def _bounds(at: metrics.Interval, scale: float, form: str) -> str:
    middle, low, high = (rounded(scale * v, form) for v in (at.estimate, at.low, at.high))
    return middle if math.isnan(at.low) else f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"


def percent(at: metrics.Interval) -> str:
    """``81.3 [74.8, 87.9]``: an estimate and its interval in per cent; of one speaker the estimate alone.

    A row of a table with columns estimate, low and high does as well.
    """
    return _bounds(at, 100, ".1f")


def points(at: metrics.Interval) -> str:
    """``+1.2 [-0.3, +2.8]``: a difference of two accuracies and its interval in points."""
    return _bounds(at, 100, "+.1f")


def fraction(at: metrics.Interval, sign: str = "") -> str:
    """``0.93 [0.92, 0.95]``, with ``sign`` "+" ``+0.01 [-0.02, +0.04]``."""
    return _bounds(at, 1, f"{sign}.2f")


def counted(at: metrics.Interval) -> str:
    """``10 speakers, 3 seeds``: what stands behind an interval."""
    return f"{at.speakers} speaker{'s' * (at.speakers > 1)}, {at.seeds} seed{'s' * (at.seeds > 1)}"


def direction(difference: metrics.Interval, p: float) -> str:
    """What a comparison shows, by its p-value adjusted over its table, and whether it shows more by itself."""
    found = "better" if difference.estimate > 0 else "worse"
    if p < LEVEL:
        return found
    if difference.p < LEVEL:
        return f"{found} by itself, not after adjusting"
    return f"no difference shown ({100 * difference.detectable:.0f} points or more would have been)"


def kept(gains: bool, chosen: bool) -> str:
    """What becomes of a step that was tried."""
    return "chosen" if chosen else "yes" if gains else "no"


def aimed(at: metrics.Interval, aim: float) -> str:
    """Whether an accuracy reaches an aim: its whole interval, its estimate alone, or neither."""
    return REACHED if at.low >= aim else NEARLY if at.estimate >= aim else "not reached"


def estimates(table: pd.DataFrame, form: str = ".0f") -> str:
    """``EmoDB: training set 100, listeners 94. CREMA-D: ...``: in per cent, of a table of corpus, what and estimate."""
    said: dict[str, list[str]] = {}
    for row in table.itertuples():
        said.setdefault(facts.title(row.corpus), []).append(
            f"{' '.join(row.what.split())} {rounded(100 * row.estimate, form)}"
        )
    return " ".join(f"{corpus}: {', '.join(each)}." for corpus, each in said.items())


def extremes(shares: Mapping[str, float]) -> str:
    """``from 35 % (fear) to 81 % (anger)``: the smallest and the largest of some shares, with their names."""
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    return f"from {100 * shares[low]:.0f} % ({low}) to {100 * shares[high]:.0f} % ({high})"


def spread(values: Mapping[str, float]) -> str:
    """``2.2 [2.0, 2.3]``: the median of some measurements, the smallest and the largest."""
    middle, low, high = (f"{values[key]:.3g}" for key in ("median", "min", "max"))
    return f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"


def ranges(numbers: Iterable[int]) -> str:
    """``0-9``, or ``0, 2`` where there are gaps."""
    found = sorted(set(numbers))
    if len(found) > 1 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]}-{found[-1]}"
    return ", ".join(map(str, found))


# Verdicts


def found(v: Verdict) -> str:
    """A verdict's finding and what it is limited to: ``holds only as to position``."""
    where = " and ".join(map(facts.title, v.corpora))
    first, *others = (pair[1] for pair in claims.NEEDED[v.claim])
    words = {
        Limit.CORPORA: f"holds on {where}",
        Limit.SPEAKER_DEPENDENT: f"holds only where the split is {splits.KNOWN}",
        Limit.FIRST_PAIR: f"holds against {display_name(first)}, not shown against {' and '.join(map(display_name, others))}",
        Limit.SECOND_PAIR_MISSING: f"holds against {display_name(first)} on {where}; {' and '.join(map(display_name, others))} not complete",
        Limit.POSITION: "holds only as to position",
        Limit.POSITION_RULED_OUT: "not shown; that position passes on is ruled out by proof",
        Limit.OPERATIONS: "holds only as to the number of operations",
    }
    return next((words[limit] for limit in v.limits if limit in words), v.finding.value)


def in_short(v: Verdict) -> str:
    """A verdict's reason in one sentence of at most 25 words, for the home page."""
    decided = [c for of_pair in v.comparisons for c in of_pair if c.decides and c.held_out == splits.NEW]
    if not decided:
        return "No speaker-independent comparison is complete."
    if v.claim == "cost":
        counted = "fewer FLOPs" if Limit.OPERATIONS in v.limits or v.finding is Finding.HOLDS else "no fewer FLOPs"
        reached = "" if v.finding is Finding.HOLDS else ", but does not reach the published accuracy"
        return f"The student needs {counted} than the teacher and the networks of others{reached}."
    if v.claim in claims.AGAINST_PUBLISHED:
        (run, at), *_ = decided[0].accuracies()
        stated = 100 * claims.published(decided[0].corpus, run)
        return f"Speaker-independent on {facts.title(decided[0].corpus)}: {percent(at)} % right. Published, split not stated: {stated:.2f} %."
    said = []
    for corpus in dict.fromkeys(c.corpus for c in decided):
        of = [f"{points(c.difference)} points against {display_name(c.second)}" for c in decided if c.corpus == corpus]
        of += [
            f"R2 of a column's number, read from its token: {told}"
            for name, told in _position(v).items()
            if name == corpus
        ]
        said.append(f"{facts.title(corpus)}: {'; '.join(of)}.")
    return " ".join(said)


def because(v: Verdict) -> str:
    """The comparisons that a verdict rests on."""
    if v.claim in claims.AGAINST_PUBLISHED:
        said = [beside_published(c) for c in v.comparisons[0] if c.decides or v.finding is Finding.PENDING]
    else:
        said = [against(of_pair) for of_pair in v.comparisons if of_pair]
    if v.position:
        gains = (f"{facts.title(corpus)}: {told}" for corpus, told in _position(v).items())
        said.append(
            f"R2 of the column's number from the last tokens, {splits.NEW}, with coordinates minus without: {'; '.join(gains)}"
        )
    if Limit.TRAINING_SET in v.limits:
        said.append("The published accuracies are reached on the training set")
    if Limit.WIDE in v.limits:
        said.append(f"An interval wider than {100 * claims.WIDEST:.0f} points to each side is consistent with nothing")
    wait = "No corpus is complete, speaker-independent. " if v.finding is Finding.PENDING else ""
    return wait + " ".join(f"{sentence}." for sentence in said)


def _position(v: Verdict) -> dict[str, str]:
    """By corpus the gain in R2, and of how many speakers it is where that are not all, which the rule asks for."""
    known = {corpus: facts.CORPORA[corpus].speakers for corpus in v.position}
    return {
        corpus: fraction(gain, "+")
        + (f" ({gain.speakers} of {known[corpus]} speakers; the rule asks for all)" * (gain.speakers < known[corpus]))
        for corpus, gain in v.position.items()
    }


def verdict(v: Verdict) -> str:
    """A claim in the abstract's words and its verdict, for the page that tests it."""
    (claim,) = (claim for claim in paper.CLAIMS if claim.key == v.claim)
    return f"**The claim:** {claim.says} **Verdict: {found(v)}.** {because(v)}"


def answer(v: Verdict) -> str:
    """A verdict in one line, for the head of the page that tests it."""
    return f"**The claim: {found(v)}.** {in_short(v)} [All that it rests on](../book/verdicts.html)."


def card(notebook: str, parameters: Mapping[str, Any], commit: str, date: str) -> str:
    """What closes every page: how to run it with other parameters, its source and data, when it was made from what."""
    given = "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in parameters.items())
    return f""":::{{card}} This page
Run it with parameters of your own, from the folder of the repository:

```bash
.venv/bin/papermill notebooks/{notebook}.ipynb out.ipynb{given}
```

Its first cell says what each parameter means; <a href="../book/corpora.html#a-corpus-of-your-own">recordings of your own</a> are read from a table.

Source: <a href="../_sources/notebooks/{notebook}.ipynb" download>{notebook}.ipynb</a>.
Data: every prediction of every committed record as <a href="../data/predictions.csv.gz" download>CSV</a>,
(in pandas `{labels.READ_CSV.replace("FILE", "'predictions.csv.gz'")}`),
described for machines by <a href="../data/croissant.json" download>Croissant</a>; every run as <a href="../data/runs.csv" download>CSV</a> or <a href="../data/runs.json" download>JSON</a>.
Made on {date} from commit `{commit[:8]}`.
:::
"""


def against(compared: Sequence[Comparison]) -> str:
    """Two runs, and by how much the first was better wherever both were measured."""
    where = "; ".join(f"{place(c)}: {points(c.difference)} points, {counted(c.difference)}" for c in compared)
    return f"{display_name(compared[0].first)} minus {display_name(compared[0].second)}: {where}"


def place(c: Comparison) -> str:
    """``EmoDB, speaker-independent``, and what the comparison lacks to decide."""
    lacks = [f"{c.missing} folds missing"] if c.missing else []
    lacks += [] if c.full_length else [f"{min(c.ours['epochs'].min(), c.theirs['epochs'].min())} epochs a stage"]
    lacks += [] if c.complete else ["not the corpus as published"]
    return f"{facts.title(c.corpus)}, {c.held_out}" + (f" ({', '.join(lacks)})" if lacks else "")


def beside_published(c: Comparison) -> str:
    trained = dict(c.accuracies("train"))
    figures = ", ".join(
        f"{display_name(run)} {percent(at)}, on its training set {100 * trained[run].estimate:.1f}, published "
        f"{100 * claims.published(c.corpus, run):.2f}"
        for run, at in c.accuracies()
    )
    return f"{place(c)}: {figures}"


# Tables that several pages share

ACCURACY_HEAD = ("corpus", "run", "split, folds", "epochs; seeds", "test set", "WA %", "UA %", "WA %, training set")


def accuracy_rows(predicted: pd.DataFrame, noise: results.Noise = results.NO_NOISE) -> list[tuple[Any, ...]]:
    """A row for each run, protocol and schedule, under :data:`ACCURACY_HEAD`."""
    rows = []
    order = results.in_order(predicted["corpus"].unique())
    for key, same in predicted.groupby([*results.CONDITION, "run"], observed=True):
        about = dict(zip([*results.CONDITION, "run"], key, strict=True))
        tested, trained = (same[same["part"] == part] for part in ("test", "train"))
        wa, ua = (results.accuracy(tested, measure, noise) for measure in ("WA", "UA"))
        baseline = about["run"] in results.UNSEEDED
        schedule = "" if about["schedule"] in ("paper", variants.BASELINE) else f" ({about['schedule']})"
        row = (
            facts.title(about["corpus"]) + (", synthetic" if about["speech"] == "synthetic" else ""),
            display_name(about["run"]),
            f"{splits.HELD_OUT[about['protocol']]}: `{about['protocol']}` {ranges(same['fold'])}",
            f"{EN_DASH if baseline else same['epochs'].iloc[0]}{schedule}; {ranges(same['seed'])}",
            f"{tested['utterance'].nunique():,}, {counted(wa)}",
            percent(wa),
            percent(ua),
            percent(results.accuracy(trained)),
        )
        protocol = list(splits.HELD_OUT).index(about["protocol"])
        rows.append(((order.index(about["corpus"]), protocol, results.place(about["run"]), about["schedule"]), row))
    return [row for _, row in sorted(rows)]


EN_DASH = "\N{EN DASH}"
COMPARISON_HEAD = (
    "runs",
    "test set",
    "folds; seeds",
    "utterances",
    "points",
    "speakers, seeds",
    "better or worse (Holm)",
)


def comparison_rows(compared: Sequence[Comparison], measure: results.Measure = "WA") -> list[tuple[Any, ...]]:
    """A row a comparison under :data:`COMPARISON_HEAD`; better or worse by p-values adjusted over these rows."""
    return [
        (
            f"{display_name(c.first)} minus {display_name(c.second)}"
            + (f" (`{c.schedule}`)" if c.schedule != "paper" else ""),
            place(c),
            f"{ranges(c.folds)}; {ranges(c.seeds)}",
            f"{c.utterances:,}",
            points(row.difference),
            counted(row.difference),
            direction(row.difference, row.p),
        )
        for row in results.comparison_table(compared, measure).itertuples()
        for c in [row.comparison]
    ]


def ablations(runs: Sequence[str], predicted: pd.DataFrame) -> Markdown:
    """Runs that change the teacher in one thing: what each costs, and what it reaches beside the teacher."""
    from serlib import flops

    cost = {run: flops.count(config.RUNS[run].model).flops for run in ("teacher", *runs)}
    noise = results.seed_noise(predicted)
    compared = [c for run in runs for c in claims.measurements(("teacher", run), predicted, noise)]
    gflops = {run: f"{cost[run] / 1e9:.2f} ({cost[run] / cost['teacher']:.0%} of the teacher's)" for run in runs}
    rows = [
        (display_name(c.second), gflops[c.second], *row[1:4], *(percent(at) for _, at in c.accuracies()), *row[4:])
        for c, row in zip(compared, comparison_rows(compared), strict=True)
    ]
    rows += [
        (display_name(run), gflops[run], "not measured", *[""] * 7)
        for run in runs
        if run not in {c.second for c in compared}
    ]
    head = (
        "run",
        "GFLOPs per image",
        *COMPARISON_HEAD[1:4],
        "teacher, WA %",
        "this run, WA %",
        "teacher minus this run, points",
    )
    return table((*head, *COMPARISON_HEAD[5:]), rows)


def layers_table(tokens: pd.DataFrame) -> Markdown:
    """R2 on the image, at the first and at the last layer, and beside the run that the last column names."""
    gains = {
        (run, *where): f"{fraction(gain, '+')} ({display_name(base)})"
        for run in config.RUNS
        for base in ["teacher" if run.startswith("teacher") else "student-alone"]
        if run != base
        for where, (gain, _) in results.position_r2_gain(tokens, run, base).items()
    }
    rows = [
        (
            f"{facts.title(corpus)}, `{protocol}` {ranges(of['fold'])}, `{schedule}`",
            display_name(run),
            f"{of['file'].nunique():,}, {of['speaker'].nunique()} speakers",
            *(
                fraction(results.explained(of[at]))
                for at in (of["layer"] == "image", of["layer"] == "embedding", of["last"])
            ),
            gains.get((run, corpus, protocol, schedule), ""),
        )
        for (corpus, protocol, schedule, run), of in tokens.groupby(
            ["corpus", "protocol", "schedule", "run"], sort=False
        )
    ]
    head = ("corpus, split, folds, schedule", "run", "test set", "image", "embedding", "last block")
    return table((*head, "last block minus that of the run named"), rows)


def orders_table(probed: Iterable["Probe"]) -> Markdown:
    """What another order of the columns of speech costs each run."""
    from studies import probes

    rows = []
    for (corpus, protocol, schedule, run), of in results.orders(probed).groupby(
        ["corpus", "protocol", "schedule", "run"], sort=False
    ):
        intact, *others = ((order, at) for order, at in of.groupby("order", sort=False))
        cells = []
        for _, at in others:
            lost = metrics.interval(
                intact[1]["correct"].to_numpy() - at["correct"].to_numpy(), at["speaker"].to_numpy()
            )
            changed = (intact[1]["predicted"].to_numpy() != at["predicted"].to_numpy()).sum()
            cells.append(f"{percent(lost)}; {changed}")
        whole = metrics.interval(intact[1]["correct"].to_numpy(), intact[1]["speaker"].to_numpy()).within(0, 1)
        where = f"{facts.title(corpus)}, `{protocol}` {ranges(of['fold'])}, `{schedule}`"
        rows.append((where, display_name(run), f"{len(intact[1]):,}", percent(whole), *cells))
    changes = (f"{order}: points lost; decisions changed" for order in probes.ORDERS[1:])
    return table(("corpus, split, folds, schedule", "run", "test set", "WA % as it is", *changes), rows)


def commands(used: Iterable[records.Record]) -> Markdown:
    """For each schedule and protocol the one command of the graph that makes the records of ``used`` again.

    Runs with other folds or seeds have a command of their own. The graph makes what a run needs first: images, and the
    teacher of a student that follows one. Runs that are no longer in the code come last, at the commit that has them.
    """
    cells: dict[tuple[Any, ...], dict[int, set[int]]] = {}
    for r in used:
        channel = r.configuration.features.get("channel", 0)
        there = experiments.makeable(r.run, r.schedule)
        run = (there, r.corpus, r.images, channel, r.schedule, r.protocol, r.run)
        cells.setdefault(run, {}).setdefault(r.seed, set()).add(r.fold)
    alike: dict[tuple[Any, ...], dict[str, None]] = {}
    for (*where, run), folds_of in cells.items():
        for folds in dict.fromkeys(map(frozenset, folds_of.values())):
            seeds = frozenset(seed for seed, of in folds_of.items() if of == folds)
            alike.setdefault((*where, folds, seeds), {})[run] = None
    lines, gone = [], []
    for (there, corpus, images, channel, schedule, protocol, folds, seeds), runs in alike.items():
        fold, run, seed = map(_braces, (sorted(folds), runs, sorted(seeds)))
        where = records.location("recordings", corpus, schedule, protocol, fold, run, seed, images)
        chosen = f" channel={channel}" if channel else ""
        (lines if there else gone).append(
            f".venv/bin/snakemake build/runs/{where} --workflow-profile workflow/profiles/default "
            f"--config corpus={corpus} data=data/{corpus}{chosen}"
        )
    if gone:
        lines += [f"git checkout {experiments.TRIED['commit']}  # the last code that has the runs below", *gone]
    return Markdown("\n".join(("```bash", *lines, "```")))


def _braces(some: Iterable[int | str]) -> str:
    """One number or name, or several as a shell's pattern."""
    of = ",".join(map(str, some))
    return f"{{{of}}}" if "," in of else of


def sources(used: Iterable[records.Record]) -> Markdown:
    """Where the numbers of a page came from: run, split, seed, commit, date and seconds of every record used."""
    rows = [
        (
            f"`{r.run}`",
            f"{facts.title(r.corpus)}, {SPEAKERS[r.speech]}",
            f"`{r.protocol}` {r.fold}",
            r.seed,
            f"`{r.schedule}`",
            f"{r.provenance['seconds']:.0f}",
            f"`{r.provenance['commit'][:8]}`{' + changes' if r.provenance['dirty'] else ''}",
            f"`{r.result[:12]}`",
        )
        for r in used
    ]
    return table(("run", "corpus", "split, fold", "seed", "schedule", "seconds", "code", "result"), rows)
