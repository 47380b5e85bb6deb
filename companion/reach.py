"""What the paper's student reaches from scratch, at no more than its FLOPs: steps chosen on CREMA-D's actors for choosing.

The rule, committed before any of its runs:

* a run's score is its unweighted accuracy on the 9 actors of ``actor-selection``, which holds them out of the training of
  the 63; the 19 test actors of ``actor-split`` and EmoDB have no part in it;
* a run gains on another if its mean score over :data:`SEEDS` is higher by more than the spread: the root of the mean of
  the two variances over seeds;
* first the input: the best of :data:`INPUTS`, or the plain student if none gains on it;
* then each of :data:`STEPS` on that input by itself; those that gain are kept;
* last the two, three and at most :data:`MOST` with the largest gains together;
* chosen is the run with the highest mean score of all that gain on the input; none, if none does.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, variance

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


def chosen(scores: Scores) -> str:
    """The run that is reported."""
    base = chosen_input(scores)
    candidates = [run for run in (*kept(scores, base), *together(scores, base)) if gains(scores, run, base)]
    return max(candidates, key=lambda run: mean(scores[run]), default=base)
