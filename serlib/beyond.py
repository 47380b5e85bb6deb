"""Beyond the paper: what is added to the student alone, chosen on some speakers, reported on others.

* :data:`RECIPES`: what is tried;
* :func:`trials`: each recipe against the plain student on the speakers that choose;
* :func:`chosen`: the recipe that does best there;
* :func:`reported`: a recipe on the speakers that chose nothing;
* :func:`summary`: all of it in a sentence or two.

Only networks of the student's size count: coordinates add 3 % to its operations, the others nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from serlib import claims, config, evaluation, notebook, records, splits

CHOOSING_FOLDS = (0, 2)  # of splits.CHOOSING: each holds two speakers out, all four different


@dataclass(frozen=True)
class Recipe:
    """A run and a schedule: what is added to the paper's student, trained alone."""

    run: str
    schedule: str
    adds: str


PLAIN = Recipe("student-alone", "paper", "nothing")
RECIPES = (
    Recipe("student-alone", "balance", "every emotion counts the same in the loss"),
    Recipe("student-alone", "smooth", f"{config.BEYOND['smooth'].smoothing:g} of each label spread over all emotions"),
    Recipe("student-alone", "average", "the running mean of the weights instead of the last"),
    Recipe("student-alone", "masks", "two bands of rows and a run of columns of every training image black"),
    Recipe("student-alone", "warp", "time and frequency of every training image stretched"),
    Recipe("student-alone", "mixup", "pairs of training images and their labels mixed"),
    Recipe("student-standardised", "paper", "every mel band by its mean and spread over the training part's speech"),
    Recipe("student-4s", "paper", f"{config.RUNS['student-4s'].seconds:g} s of sound in the image, not {config.Features().seconds:g}"),
    Recipe("student-coordinates", "paper", "coordinates as two more channels"),
    # the second round: the best of the first, with the next two, and for longer
    Recipe("student-alone", "warp-average", "the images stretched, and the running mean of the weights"),
    Recipe("student-4s", "warp", f"the images stretched, and {config.RUNS['student-4s'].seconds:g} s of sound in them"),
    Recipe("student-alone", "warp-longer", f"the images stretched, for {config.BEYOND['warp-longer'].epochs} epochs"),
)  # fmt: skip
# What EmoDB's committed records choose, as a test holds.
CHOSEN = next(recipe for recipe in RECIPES if (recipe.run, recipe.schedule) == ("student-4s", "warp"))


@dataclass(frozen=True)
class Trial:
    """A recipe and the plain student on the same held-out utterances, in the same precision."""

    recipe: Recipe
    plain: records.Record  # every fold put together
    tried: records.Record
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.tried.parts["test"].speaker)))

    def gain(self, measure=evaluation.unweighted_accuracy) -> evaluation.Interval:
        """By how much the recipe is better, in [0, 1], with its interval over speakers."""
        return claims.difference((self.tried, self.plain), measure)


def trials(found: Iterable[records.Record]) -> list[Trial]:
    """Every recipe that was tried on the speakers that choose, the best there first."""
    found = list(found)
    made = [trial(found, recipe, splits.CHOOSING, CHOOSING_FOLDS) for recipe in RECIPES]
    return sorted((t for t in made if t), key=lambda t: -t.gain().estimate)


def chosen(tried: Iterable[Trial]) -> Recipe:
    """The recipe with the highest unweighted accuracy on the speakers that choose; the plain student if none gains.

    Only recipes that were tried on every choosing fold compete. Choosing is no finding: it may lie inside the noise.
    """
    best = max((t for t in tried if t.folds == CHOOSING_FOLDS), key=lambda t: t.gain().estimate, default=None)
    return best.recipe if best and best.gain().estimate > 0 else PLAIN


def reported(found: Iterable[records.Record], recipe: Recipe, choosing: Sequence[str]) -> Trial | None:
    """A recipe on new speakers, without those who chose it."""
    apart = [r for r in found if not set(choosing) & set(r.parts["test"].speaker)]
    return trial(apart, recipe, "leave-one-speaker-out")


def summary(found: Iterable[records.Record]) -> str:
    """In a sentence or two: how many recipes were tried, which was chosen, and what it does on other speakers."""
    found = list(found)
    tried = trials(found)
    recipe = chosen(tried)
    said = f"{len(tried)} of {len(RECIPES)} additions were tried. "
    if recipe == PLAIN:
        return said + "None does better on the speakers that choose than the student alone, so none is chosen."
    said += f"Best on the speakers that choose: {recipe.adds} (`{recipe.run}`, schedule `{recipe.schedule}`). "
    outcome = reported(found, recipe, choosers(tried))
    if outcome is None:
        return said + "On other speakers it has not been measured yet."
    changed = outcome.gain()
    return said + (
        f"On {len(outcome.speakers)} other speakers it changes the unweighted accuracy of the student alone, "
        f"{notebook.percent(notebook.accuracy(outcome.plain, measure=evaluation.unweighted_accuracy))} %, by "
        f"{notebook.points(changed)} points: {notebook.direction(changed)}."
    )


def choosers(tried: Iterable[Trial]) -> list[str]:
    """The speakers that choose."""
    return sorted({speaker for t in tried for speaker in t.speakers})


def trial(
    found: Iterable[records.Record], recipe: Recipe, protocol: str, folds: Sequence[int] | None = None
) -> Trial | None:
    """A recipe and the plain student on the folds that both have, or on those of ``folds``; None if there are none."""
    found = [
        r for r in found if r.speech == "recordings" and r.protocol == protocol and (folds is None or r.fold in folds)
    ]
    tried = [r for r in found if _made_by(r, recipe)]
    exactly = {(r.split, r.configuration.training.precision) for r in tried}
    plain = [r for r in found if _made_by(r, PLAIN) and (r.split, r.configuration.training.precision) in exactly]
    pair = claims.matched(tried, plain)
    if pair is None:
        return None
    there = {(r.split, r.seed, r.configuration.training.precision) for r in plain}
    shared = [r for r in tried if (r.split, r.seed, r.configuration.training.precision) in there]
    folds, seeds = ({getattr(r, name) for r in shared} for name in ("fold", "seed"))
    return Trial(recipe, pair[1], pair[0], tuple(sorted(folds)), tuple(sorted(seeds)))


def _made_by(r: records.Record, recipe: Recipe) -> bool:
    """Whether a record is a recipe's: what differs in seed and precision alone, under whatever name, is the same one."""
    training = r.configuration.training
    wanted = replace(config.SCHEDULES[recipe.schedule], seed=training.seed, precision=training.precision)
    return r.run == recipe.run and training == wanted
