"""Beyond the paper: what is added to the student alone, chosen on some speakers, reported on others.

* :data:`companion.experiments.VARIANTS`: what is tried;
* :func:`trials`: each variant against the plain student on the speakers that choose;
* :func:`chosen`: the variant that does best there;
* :func:`reported`: a variant on the speakers that chose nothing;
* :func:`summary`: all of it in a sentence or two.

Only networks of the student's size count: coordinates add 3 % to its operations, the others nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from companion import claims, notebook
from companion.experiments import CHOOSING_FOLDS, PLAIN, VARIANTS, Variant
from serlib import config, metrics, records
from serlib.data import splits


@dataclass(frozen=True)
class Comparison:
    """A variant and the plain student on the same test utterances, in the same precision."""

    variant: Variant
    plain: records.Record  # every fold put together
    tried: records.Record
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.tried.parts["test"].speaker)))

    def gain(self, measure=metrics.unweighted_accuracy) -> metrics.Interval:
        """By how much the variant is better, in [0, 1], with its interval over speakers."""
        return claims.difference((self.tried, self.plain), measure)


def comparisons(found: Iterable[records.Record]) -> list[Comparison]:
    """Every variant that was tried on the speakers that choose, the best there first."""
    found = list(found)
    made = [comparison(found, variant, splits.SELECTION, CHOOSING_FOLDS) for variant in VARIANTS]
    return sorted((t for t in made if t), key=lambda t: -t.gain().estimate)


def chosen(tried: Iterable[Comparison]) -> Variant:
    """The variant with the highest unweighted accuracy on the speakers that choose; the plain student if none gains.

    Only variants that were tried on every choosing fold compete. Choosing is no finding: it may lie inside the noise.
    """
    best = max((t for t in tried if t.folds == CHOOSING_FOLDS), key=lambda t: t.gain().estimate, default=None)
    return best.variant if best and best.gain().estimate > 0 else PLAIN


def reported(found: Iterable[records.Record], variant: Variant, choosing: Sequence[str]) -> Comparison | None:
    """A variant on new speakers, without those who chose it."""
    apart = [r for r in found if not set(choosing) & set(r.parts["test"].speaker)]
    return comparison(apart, variant, "leave-one-speaker-out")


def summary(found: Iterable[records.Record]) -> str:
    """In a sentence or two: how many variants were tried, which was chosen, and what it does on other speakers."""
    found = list(found)
    tried = comparisons(found)
    variant = chosen(tried)
    said = f"{len(tried)} of {len(VARIANTS)} additions were tried. "
    if variant == PLAIN:
        return said + "None does better on the speakers that choose than the student alone, so none is chosen."
    said += f"Best on the speakers that choose: {variant.adds} (`{variant.run}`, schedule `{variant.schedule}`). "
    outcome = reported(found, variant, choosers(tried))
    if outcome is None:
        return said + "On other speakers it has not been measured yet."
    changed = outcome.gain()
    return said + (
        f"On {len(outcome.speakers)} other speakers it changes the unweighted accuracy of the student alone, "
        f"{notebook.percent(notebook.accuracy(outcome.plain, measure=metrics.unweighted_accuracy))} %, by "
        f"{notebook.points(changed)} points: {notebook.direction(changed)}."
    )


def choosers(tried: Iterable[Comparison]) -> list[str]:
    """The speakers that choose."""
    return sorted({speaker for t in tried for speaker in t.speakers})


def comparison(
    found: Iterable[records.Record], variant: Variant, protocol: str, folds: Sequence[int] | None = None
) -> Comparison | None:
    """A variant and the plain student on the folds that both have, or on those of ``folds``; None if there are none."""
    found = [
        r for r in found if r.speech == "recordings" and r.protocol == protocol and (folds is None or r.fold in folds)
    ]
    tried = [r for r in found if _made_by(r, variant)]
    exactly = {(r.split, r.configuration.training.precision) for r in tried}
    plain = [r for r in found if _made_by(r, PLAIN) and (r.split, r.configuration.training.precision) in exactly]
    pair = claims.matched(tried, plain)
    if pair is None:
        return None
    there = {(r.split, r.seed, r.configuration.training.precision) for r in plain}
    shared = [r for r in tried if (r.split, r.seed, r.configuration.training.precision) in there]
    folds, seeds = ({getattr(r, name) for r in shared} for name in ("fold", "seed"))
    return Comparison(variant, pair[1], pair[0], tuple(sorted(folds)), tuple(sorted(seeds)))


def _made_by(r: records.Record, variant: Variant) -> bool:
    """Whether a record is a variant's: what differs in seed and precision alone, under whatever name, is the same one."""
    training = r.configuration.training
    wanted = replace(config.SCHEDULES[variant.schedule], seed=training.seed, precision=training.precision)
    return r.run == variant.run and training == wanted
