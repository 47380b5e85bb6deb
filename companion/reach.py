"""What the paper's student reaches from scratch, at no more than its FLOPs: steps chosen on CREMA-D's actors for choosing.

The rule, committed before any of its runs (42cb958). It was read as "at about its FLOPs" when its results were known; what
either reading chooses is reported:

* a run's score is its unweighted accuracy on the 9 actors of ``actor-selection``, which holds them out of the training of
  the 63; the 19 test actors of ``actor-split`` and EmoDB have no part in it;
* a run gains on another if its mean score over :data:`SEEDS` is higher by more than the spread: the root of the mean of
  the two variances over seeds;
* first the input: the best of :data:`INPUTS`, or the plain student if none gains on it;
* then each of :data:`STEPS` on that input by itself; those that gain are kept;
* last the two, three and at most :data:`MOST` with the largest gains together;
* chosen is the run with the highest mean score of all that gain on the input; none, if none does.

:func:`scores`, :func:`tries`: what was tried, and what the rule makes of it; :func:`reported`, :func:`whole`: the chosen
run and others on the speakers that had no part in the choice.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, variance
from typing import Any

import pandas as pd

from companion import costs, experiments, results
from companion.results import Comparison
from serlib import config, records
from serlib.data import splits
from studies import variants

SEEDS = (0, 1, 2)
SCHEDULE = "search-bf16"
PLAIN = "student-alone"
INPUTS = ("student-alone+4s", "student-alone+4s+repeat", "student-alone+3s+repeat")
STEPS = ("convolutions", "deltas", "spread", "dropout", "warp", "masks", "tilt", "mixup")
MOST = 4

Scores = Mapping[str, Sequence[float]]  # of a run, seed by seed


def gain(scores: Scores, run: str, base: str) -> float:
    """By how much the mean score of ``run`` is above that of ``base``."""
    return mean(scores[run]) - mean(scores[base])


def spread(scores: Scores, run: str, base: str) -> float:
    """What a gain must exceed."""
    return mean((variance(scores[run]), variance(scores[base]))) ** 0.5


def gains(scores: Scores, run: str, base: str) -> bool:
    """Whether ``run`` gains on ``base``."""
    return gain(scores, run, base) > spread(scores, run, base)


def chosen_input(scores: Scores) -> str:
    """The run that steps are added to."""
    best = max(INPUTS, key=lambda run: mean(scores[run]))
    return best if gains(scores, best, PLAIN) else PLAIN


def single(base: str) -> list[str]:
    """Each step by itself."""
    return [f"{base}+{step}" for step in STEPS]


def kept(scores: Scores, base: str) -> list[str]:
    """The runs of one step that gain on the input, the largest gain first."""
    gaining = [run for run in single(base) if gains(scores, run, base)]
    return sorted(gaining, key=lambda run: -gain(scores, run, base))


def together(scores: Scores, base: str) -> list[str]:
    """The runs of two steps and more."""
    steps = [run.removeprefix(f"{base}+") for run in kept(scores, base)[:MOST]]
    return ["+".join((base, *steps[:count])) for count in range(2, len(steps) + 1)]


def chosen(scores: Scores, most_flops: float | None = None) -> str:
    """The run that is reported, of those with at most ``most_flops`` FLOPs per image; None asks for no network's cost."""
    base = chosen_input(scores)
    gaining = [run for run in (*kept(scores, base), *together(scores, base)) if gains(scores, run, base)]
    candidates = [run for run in gaining if most_flops is None or costs.read()[run].flops <= most_flops]
    return max(candidates, key=lambda run: mean(scores[run]), default=base)


def chosen_as_committed(scores: Scores) -> str:
    """The run under the words of the rule: no more FLOPs than the plain student."""
    return chosen(scores, costs.read()[PLAIN].flops)


def scores(predicted: pd.DataFrame) -> dict[str, list[float]]:
    """Of every run with a record of each of :data:`SEEDS`, its scores in [0, 1], seed by seed."""
    tested = results.test(predicted)
    of_rule = tested["protocol"].eq(splits.ACTOR_SELECTION) & tested["schedule"].eq(SCHEDULE)
    found = {}
    for run, rows in tested[of_rule].groupby("run", observed=True):
        by_seed = {seed: results.accuracy(of, "UA").estimate for seed, of in rows.groupby("seed")}
        if by_seed.keys() >= set(SEEDS):
            found[str(run)] = [by_seed[seed] for seed in SEEDS]
    return found


def complete(scores: Scores) -> bool:
    """Whether every run that the rule asks for is there."""
    if not {PLAIN, *INPUTS} <= scores.keys():
        return False
    base = chosen_input(scores)
    return {*single(base)} <= scores.keys() and {*together(scores, base)} <= scores.keys()


def tries(scores: Scores) -> pd.DataFrame:
    """A row a run in the order of the rule, the plain student first.

    Columns: run; beside, the run that it is held against; scores, mean, gain, spread (shares of one); gains; chosen.
    """
    base = chosen_input(scores)
    beside = dict.fromkeys((PLAIN, *INPUTS), PLAIN) | dict.fromkeys((*single(base), *together(scores, base)), base)
    measures = (gain, spread, gains)
    rows = [
        (run, by, scores[run], mean(scores[run]), *(of(scores, run, by) for of in measures))
        for run, by in beside.items()
    ]
    table = pd.DataFrame(rows, columns=["run", "beside", "scores", "mean", "gain", "spread", "gains"])
    return table.assign(chosen=table["run"] == chosen(scores))


def gflops(record: records.Record) -> float:
    """GFLOPs per image of a record's network, from what the record says of it; a window is an image of its own width."""
    from serlib import flops
    from studies import frontends

    c, said = record.configuration, record.configuration.run.model
    size = said.image_size[0], said.get("window") or said.image_size[1]
    beyond = c.get("beyond") or {name: said[name] for name in ("deltas", "convolutions") if said.get(name)}
    plain = config.Model(said.num_classes, size, width=said.width, depth=said.depth, heads=said.heads)
    about = {"beyond": beyond, "features": {"image_size": size}}
    return flops.count(frontends.network(variants.from_beyond(beyond).network(plain), about)).flops / 1e9


def normalised(run: str) -> str:
    """The same run, normalised by each speaker's unlabelled utterances."""
    return PLAIN + variants.SPEAKER_NORM + run.removeprefix(PLAIN)


def not_tried() -> list[str]:
    """The steps that could have been tried."""
    named = {step for run in (*INPUTS, *STEPS) for step in run.split("+")}
    return [step for step in experiments.ADDS if step not in named]


def report_pairs(scores: Scores) -> list[tuple[str, str]]:
    """The chosen run beside others, and its normalised sibling beside others that use unlabelled utterances as well."""
    run = chosen(scores)
    pairs = [(one, PLAIN) for one in dict.fromkeys((run, chosen_as_committed(scores))) if one != PLAIN]
    pairs += [(run, other) for other in ("opensmile", "resnet-18")]
    return pairs + [(normalised(run), other) for other in (run, "opensmile-speaker-norm")]


def reported(
    predicted: pd.DataFrame, run: str, base: str = PLAIN, noise: results.Noise = results.NO_NOISE
) -> dict[str, Comparison]:
    """By corpus a run beside another on new speakers, every fold of one protocol.

    Two networks share schedule and precision. A classifier without chance is beside every seed of the run.
    """
    new = predicted[predicted["speech"].eq("recordings") & predicted["protocol"].isin(results.APART)]
    ours, theirs = new[new["run"] == run], new[new["run"] == base]
    other = ("schedule", "precision") if base in variants.BASELINES else ()
    if base in results.UNSEEDED:
        theirs = pd.concat([theirs.assign(seed=seed, repetition=seed) for seed in ours["seed"].unique()] or [theirs])
    found = results.compare(ours, theirs, [name for name in results.CONDITION if name not in other], noise)
    best = {c.corpus: c for c in sorted(found, key=lambda c: (len(c.joined), int(c.epochs))) if not c.missing}
    return {corpus: best[corpus] for corpus in results.in_order(best)}


def whole(accuracies: pd.DataFrame, like: Iterable[Any], runs: Sequence[str]) -> pd.DataFrame:
    """The accuracies of those runs that stand where a comparison of ``like`` was made, in its schedule or none, every fold."""
    found = []
    for row in like:
        here = accuracies["schedule"].isin((row.schedule, variants.BASELINE)) & accuracies["missing"].eq(0)
        for name in ("corpus", "fingerprint", "image", "protocol"):
            here &= accuracies[name] == getattr(row, name)
        found.append(accuracies[here & accuracies["run"].isin(runs)])
    return pd.concat(found or [accuracies[:0]])
