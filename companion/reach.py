"""What the paper's student reaches from scratch, at no more than its FLOPs: steps chosen on CREMA-D's actors for choosing.

The rule, committed before any of its runs (42cb958). It was read as "at about its FLOPs" when its results were known; what
either reading chooses is named:

* a run's score is its unweighted accuracy on the 9 actors of ``actor-selection``, which holds them out of the training of
  the 63; the 19 test actors of ``actor-split`` and EmoDB have no part in it;
* a run gains on another if its mean score over :data:`SEEDS` is higher by more than the spread: the root of the mean of
  the two variances over seeds;
* first the input: the best of :data:`INPUTS`, or the plain student if none gains on it;
* then each of :data:`STEPS` on that input by itself; those that gain are kept;
* last the two, three and at most :data:`MOST` with the largest gains together;
* chosen is the run with the highest mean score of all that gain on the input; none, if none does.

:func:`tries` is what the rule makes of :func:`scores`; :func:`reported`: the chosen run beside others on the speakers that
had no part in the choice.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, variance
from typing import Any

import pandas as pd

from companion import costs, experiments, results
from companion.evidence import COLUMNS
from companion.results import Comparison
from serlib.data import splits
from studies import variants

SEEDS = (0, 1, 2)
SCHEDULE = "search-bf16"
PLAIN = "student-alone"
INPUTS = ("student-alone+4s", "student-alone+4s+repeat", "student-alone+3s+repeat")
STEPS = ("convolutions", "deltas", "spread", "dropout", "warp", "masks", "tilt", "mixup")
MOST = 4


def scores(predicted: pd.DataFrame) -> dict[str, list[float]]:
    """Of every run with a record of each of :data:`SEEDS`, its scores in [0, 1], seed by seed."""
    tested = results.test(predicted)
    of_rule = (
        tested["protocol"].eq(splits.ACTOR_SELECTION) & tested["schedule"].eq(SCHEDULE) & tested["seed"].isin(SEEDS)
    )
    found = {}
    for run, rows in tested[of_rule].groupby("run", observed=True):
        found[str(run)] = [results.accuracy(of, "UA").estimate for _, of in rows.groupby("seed")]
    return {run: of_run for run, of_run in found.items() if len(of_run) == len(SEEDS)}


def spread(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """What a gain of one run's scores over another's must exceed."""
    return mean((variance(ours), variance(theirs))) ** 0.5


def tries(scores: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """A row a run that the rule asks for, in its order, the plain student first; no row if one of them has no scores.

    Columns: run; beside, the run that it is held against; scores, mean, gain, spread (shares of one); gains; chosen.
    """
    rows: list[dict[str, Any]] = []

    def hold(run: str, beside: str) -> dict[str, Any]:
        ours, theirs = scores[run], scores[beside]
        gain, most = mean(ours) - mean(theirs), spread(ours, theirs)
        rows.append({"run": run, "beside": beside, "scores": ours, "mean": mean(ours), "gain": gain, "spread": most})
        rows[-1]["gains"] = gain > most
        return rows[-1]

    try:
        hold(PLAIN, PLAIN)
        best = max([hold(run, PLAIN) for run in INPUTS], key=lambda row: row["mean"])
        base = best["run"] if best["gains"] else PLAIN
        gaining = [row for row in [hold(f"{base}+{step}", base) for step in STEPS] if row["gains"]]
        kept = sorted(gaining, key=lambda row: -row["gain"])[:MOST]
        steps = [row["run"].removeprefix(f"{base}+") for row in kept]
        for count in range(2, len(steps) + 1):
            hold("+".join((base, *steps[:count])), base)
    except KeyError:
        return pd.DataFrame(columns=COLUMNS["tries"])
    table = pd.DataFrame(rows)
    return table.assign(chosen=table["run"] == chosen(table))


def chosen(tries: pd.DataFrame, most_flops: float | None = None) -> str:
    """The run that is reported, of those with at most ``most_flops`` FLOPs per image; by the words of the rule, those of PLAIN."""
    added = tries[1 + len(INPUTS) :]
    gaining = added[added["gains"]]
    if most_flops is not None:
        gaining = gaining[[costs.read()[run].flops <= most_flops for run in gaining["run"]]]
    return added["beside"].iloc[0] if gaining.empty else gaining["run"][gaining["mean"].idxmax()]


def earlier(predicted: pd.DataFrame, noise: results.Noise = results.NO_NOISE) -> list[Comparison]:
    """An earlier search: every variant beside the plain student on all of the speakers that chose, the best there first.

    Only networks of the student's size count: coordinates add 3 % to its FLOPs, the others nothing.
    """
    alike = [name for name in results.CONDITION if name != "schedule"]  # a variant may be a schedule
    here = predicted["speech"].eq("recordings") & predicted["protocol"].eq(splits.SELECTION)
    by_run = dict(
        iter(predicted[here & predicted["fold"].isin(experiments.CHOOSING_FOLDS)].groupby(["run", "schedule"]))
    )
    known = {v: by_run.get((v.run, v.schedule), predicted[:0]) for v in (experiments.PLAIN, *experiments.VARIANTS)}
    found = [
        c
        for variant in experiments.VARIANTS
        for c in results.compare(known[variant], known[experiments.PLAIN], alike, noise)
        if tuple(c.folds) == experiments.CHOOSING_FOLDS
    ]
    return sorted(found, key=lambda c: -c.gain("UA").estimate)


def normalised(run: str) -> str:
    """The same run, normalised by each speaker's unlabelled utterances."""
    return PLAIN + variants.SPEAKER_NORM + run.removeprefix(PLAIN)


def report_pairs(tries: pd.DataFrame) -> list[tuple[str, str]]:
    """The chosen run beside others, and its normalised sibling beside others that use unlabelled utterances as well."""
    run = chosen(tries)
    pairs = [(one, PLAIN) for one in dict.fromkeys((run, chosen(tries, costs.read()[PLAIN].flops))) if one != PLAIN]
    pairs += [(run, other) for other in ("opensmile", "resnet-18")]
    return pairs + [(normalised(run), other) for other in (run, "opensmile-speaker-norm")]


def reported(
    predicted: pd.DataFrame, run: str, base: str = PLAIN, noise: results.Noise = results.NO_NOISE
) -> dict[str, Comparison]:
    """By corpus a run beside another on new speakers, every fold of one protocol.

    Two networks share schedule and precision. A classifier without chance is beside every seed of the run.
    """
    new = predicted["speech"].eq("recordings") & predicted["protocol"].isin(results.APART)
    ours, theirs = (predicted[new & predicted["run"].eq(name)] for name in (run, base))
    other = ("schedule", "precision") if base in variants.BASELINES else ()
    if base in results.UNSEEDED:
        theirs = pd.concat([theirs.assign(seed=seed, repetition=seed) for seed in ours["seed"].unique()] or [theirs])
    found = results.compare(ours, theirs, [name for name in results.CONDITION if name not in other], noise)
    best = {c.corpus: c for c in sorted(found, key=lambda c: (len(c.joined), int(c.epochs))) if not c.missing}
    return {corpus: best[corpus] for corpus in results.in_order(best)}
