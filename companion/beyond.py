"""Beyond the paper: what is added to the student alone, chosen on some speakers, reported on others.

* :func:`tried`: each variant against the plain student on the speakers that choose;
* :func:`chosen`: the variant that does best there;
* :func:`reported`: a variant on the speakers that chose nothing.

Only networks of the student's size count: coordinates add 3 % to its FLOPs, the others nothing.
"""

from collections.abc import Collection, Mapping

import pandas as pd

from companion import results
from companion.experiments import CHOOSING_FOLDS, PLAIN, VARIANTS, Variant
from companion.results import Comparison
from serlib.data import splits

ALIKE = [name for name in results.CONDITION if name != "schedule"]  # a variant may be a schedule


def tried(predicted: pd.DataFrame, noise: results.Noise = results.NO_NOISE) -> dict[Variant, Comparison]:
    """Every variant that was tried on all of the speakers that choose, the best there first."""
    choosing = predicted[predicted["protocol"].eq(splits.SELECTION) & predicted["fold"].isin(CHOOSING_FOLDS)]
    found = {variant: compared(choosing, variant, noise) for variant in VARIANTS}
    whole = {v: c for v, c in found.items() if c is not None and tuple(c.folds) == CHOOSING_FOLDS}
    return dict(sorted(whole.items(), key=lambda item: -item[1].gain("UA").estimate))


def chosen(found: Mapping[Variant, Comparison]) -> Variant:
    """The variant with the highest unweighted accuracy on the speakers that choose; the plain student if none gains.

    Choosing is no finding: it may lie inside the noise.
    """
    best = next(iter(found), PLAIN)
    return best if best in found and found[best].gain("UA").estimate > 0 else PLAIN


def reported(
    predicted: pd.DataFrame, variant: Variant, choosers: Collection[str], noise: results.Noise = results.NO_NOISE
) -> Comparison | None:
    """A variant, speaker-independent, without the speakers who chose it."""
    apart = predicted["protocol"].eq("leave-one-speaker-out")
    tests = results.test(predicted[apart])
    choosing = tests[tests["speaker"].isin(choosers)][["corpus", "fold"]].drop_duplicates()
    folds = predicted[apart].merge(choosing, how="left", on=["corpus", "fold"], indicator=True)
    return compared(folds[folds.pop("_merge") == "left_only"], variant, noise)


def choosers(found: Mapping[Variant, Comparison]) -> list[str]:
    """The speakers that choose."""
    return sorted({speaker for c in found.values() for speaker in c.joined["speaker"]})


def compared(predicted: pd.DataFrame, variant: Variant, noise: results.Noise = results.NO_NOISE) -> Comparison | None:
    """A variant and the plain student on the same test utterances; None where they share none."""
    people = predicted[predicted["speech"] == "recordings"]
    found = results.compare(_rows(people, variant), _rows(people, PLAIN), ALIKE, noise)
    return max(found, key=lambda c: len(c.joined), default=None)


def _rows(predicted: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    return predicted[predicted["run"].eq(variant.run) & predicted["schedule"].eq(variant.schedule)]
