"""What the paper's student reaches from scratch, at no more than its FLOPs: steps chosen on 9 actors of CREMA-D.

The rule was committed before any of its runs (42cb958). Once the results were known, it was read as "at about its
FLOPs"; the book names the choice of either reading:

* a run's score is its unweighted accuracy on the 9 actors of ``actor-selection``, after training on the other 63 there;
  the 19 test actors of ``actor-split`` and EmoDB have no part in it;
* a run gains on another if its mean score over :data:`SEEDS` is higher by more than the spread: the root of the mean of
  the two variances over seeds;
* first the rule picks the input: the best of :data:`INPUTS`, or the plain student if none gains on it;
* then it tries each of :data:`STEPS` alone on that input, and keeps the steps that gain;
* last it tries the two, three and at most :data:`MOST` steps with the largest gains together;
* it chooses the run with the highest mean score among all runs that gain on the input; none, if no run gains.

:func:`tries` applies the rule to :func:`scores`; :func:`reported` compares the chosen run with others on the speakers
that had no part in the choice.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, variance
from typing import Any

import pandas as pd

from companion import costs, experiments, results
from companion.evidence import COLUMNS
from companion.results import Comparison
from serlib.data import splits
from serlib.errors import SerlibError
from studies import variants

SEEDS = (0, 1, 2)
LOGGED, CHOSEN_EPOCHS = "logged-bf16", "chosen-epochs-bf16"  # schedules: to choose a number of epochs, and to use it
SCHEDULE = "search-bf16"
PLAIN = "student-alone"
EARLIER = "additions, for choosing"  # a family of comparisons that by its plan uses only some speakers
INPUTS = ("student-alone+4s", "student-alone+4s+repeat", "student-alone+3s+repeat")
STEPS = ("convolutions", "deltas", "spread", "dropout", "warp", "masks", "tilt", "mixup")
MOST = 4


def scores(predicted: pd.DataFrame) -> dict[str, list[float]]:
    """The scores in [0, 1], seed by seed, of every run that has a record for each of :data:`SEEDS`."""
    tests = results.test(predicted)
    in_rule = tests["protocol"].eq(splits.ACTOR_SELECTION) & tests["schedule"].eq(SCHEDULE) & tests["seed"].isin(SEEDS)
    by_run = {}
    for run, rows in tests[in_rule].groupby("run", observed=True):
        by_run[str(run)] = [results.accuracy(seed_rows, "UA").estimate for _, seed_rows in rows.groupby("seed")]
    return {run: seed_scores for run, seed_scores in by_run.items() if len(seed_scores) == len(SEEDS)}


def spread(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The threshold that the gain of one run's scores over another's must exceed."""
    return mean((variance(ours), variance(theirs))) ** 0.5


def tries(scores: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """One row per run of the rule, in the rule's order, the plain student first; no rows if a run has no scores.

    Columns: run; beside, the run it is compared with; scores, mean, gain, spread (shares of one); gains; chosen.
    """
    rows: list[dict[str, Any]] = []

    def add_row(run: str, beside: str) -> dict[str, Any]:
        ours, theirs = scores[run], scores[beside]
        gain, needed = mean(ours) - mean(theirs), spread(ours, theirs)
        rows.append({"run": run, "beside": beside, "scores": ours, "mean": mean(ours), "gain": gain, "spread": needed})
        rows[-1]["gains"] = gain > needed
        return rows[-1]

    try:
        add_row(PLAIN, PLAIN)
        best = max([add_row(run, PLAIN) for run in INPUTS], key=lambda row: row["mean"])
        base = best["run"] if best["gains"] else PLAIN
        gaining = [row for row in [add_row(f"{base}+{step}", base) for step in STEPS] if row["gains"]]
        kept = sorted(gaining, key=lambda row: -row["gain"])[:MOST]
        steps = [row["run"].removeprefix(f"{base}+") for row in kept]
        for count in range(2, len(steps) + 1):
            add_row("+".join((base, *steps[:count])), base)
    except KeyError:
        return pd.DataFrame(columns=COLUMNS["tries"])
    table = pd.DataFrame(rows)
    return table.assign(chosen=table["run"] == chosen(table))


def chosen(tries: pd.DataFrame, most_flops: float | None = None) -> str:
    """The chosen run, among those with at most ``most_flops`` FLOPs per image (in the rule's words, those of PLAIN)."""
    if tries.empty:
        raise SerlibError(f"no committed records of every run of the rule, with seeds {', '.join(map(str, SEEDS))}")
    steps = tries[1 + len(INPUTS) :]
    gaining = steps[steps["gains"]]
    if most_flops is not None:
        gaining = gaining[[costs.read()[run].flops <= most_flops for run in gaining["run"]]]
    return steps["beside"].iloc[0] if gaining.empty else gaining["run"][gaining["mean"].idxmax()]


def epochs(curves: Sequence[Sequence[float]]) -> int:
    """The epochs after which the mean over seeds of ``curves`` (seeds x epochs, in [0, 1]) is highest; if equal, fewest."""
    means = [round(mean(accuracies), 9) for accuracies in zip(*curves, strict=True)]  # equal ones differ by rounding
    return 1 + means.index(max(means))


def earlier(predicted: pd.DataFrame, noise: results.Noise = results.NO_NOISE) -> list[Comparison]:
    """An earlier search: every trial against the plain student on all its selection speakers, the best one first.

    Only networks of the student's size count: coordinates add 3 % to its FLOPs, the others nothing.
    """
    shared = [name for name in results.CONDITION if name != "schedule"]  # a trial may be a schedule
    mask = predicted["speech"].eq("recordings") & predicted["protocol"].eq(splits.SELECTION)
    rows = predicted[mask & predicted["fold"].isin(experiments.CHOOSING_FOLDS)]
    by_run = dict(iter(rows.groupby(["run", "schedule"])))
    trials = (experiments.PLAIN_TRIAL, *experiments.TRIALS)
    plain, *others = (by_run.get((trial.run, trial.schedule), predicted[:0]) for trial in trials)
    comparisons = [
        c
        for trial_rows in others
        for c in results.compare(trial_rows, plain, shared, noise)
        if tuple(c.folds) == experiments.CHOOSING_FOLDS
    ]
    return sorted(comparisons, key=lambda c: -c.gain("UA").estimate)


def normalised(run: str) -> str:
    """The same run, normalised by each speaker's unlabelled utterances."""
    return PLAIN + variants.SPEAKER_NORM + run.removeprefix(PLAIN)


def report_pairs(tries: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs: the chosen run with its rivals; its normalised form with rivals that use unlabelled utterances as well."""
    run = chosen(tries)
    pairs = [(name, PLAIN) for name in dict.fromkeys((run, chosen(tries, costs.read()[PLAIN].flops))) if name != PLAIN]
    pairs += [(run, other) for other in ("opensmile", "resnet-18")]
    return pairs + [(normalised(run), other) for other in (run, "opensmile-speaker-norm")]


def reported(
    predicted: pd.DataFrame, run: str, base: str = PLAIN, noise: results.Noise = results.NO_NOISE
) -> dict[str, Comparison]:
    """The comparison of two runs on new speakers by corpus, over every fold of one protocol.

    Two networks must share schedule and precision. A baseline has its own; one without chance is compared with every seed.
    """
    mask = predicted["speech"].eq("recordings") & predicted["protocol"].isin(results.APART)
    ours, theirs = (predicted[mask & predicted["run"].eq(name)] for name in (run, base))
    differing = ("schedule", "precision") if base in variants.BASELINES else ()
    if base in results.UNSEEDED:
        theirs = pd.concat([theirs.assign(seed=seed, repetition=seed) for seed in ours["seed"].unique()] or [theirs])
    alike = [name for name in results.CONDITION if name not in differing]
    by_schedule = ours.groupby(["schedule", "precision"], observed=True)
    comparisons = [c for _, rows in by_schedule for c in results.compare(rows, theirs, alike, noise)]
    best = {c.corpus: c for c in sorted(comparisons, key=lambda c: (len(c.joined), int(c.epochs))) if not c.missing}
    return {corpus: best[corpus] for corpus in results.in_order(best)}
