"""Claim by claim: which runs test it, and what is found by the stated rule, as values.

* :data:`PARTS`: what each claim comes to, and the pairs of runs that test it;
* :func:`measured`: the comparisons of a pair that may be reported, the best for each corpus and split;
* :func:`labelled`: the label of each comparison, after Holm within its claim;
* :func:`finding`: what the labels of a part come to.

:mod:`companion.evidence` keeps what they return; words are made of it in :func:`companion.text.sentence`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from companion import costs, paper, results
from companion.results import Comparison
from serlib import metrics
from serlib.data import splits

ALPHA = 1 - metrics.LEVEL  # of an adjusted p-value
WIDEST = 0.05  # half-width of an interval that can support a published number
NETWORKS = {"teacher": "teacher", "student-pooled": "student", "student-tokens": "student"}  # published ones


class Finding(StrEnum):
    """What is found of a comparison, and of a part of a claim; the most decided first."""

    SUPPORTED = "supported"
    RULED_OUT = "ruled out"
    NOT_REACHED = "not reached"
    UNCLEAR = "unclear"
    PENDING = "pending"


class Kind(StrEnum):
    """How a part of a claim is tested."""

    GAIN = "accuracy of one run against another"
    POSITION = "R2 of a column's number in the last tokens, one run against another"
    PUBLISHED = "accuracy against the published one"
    COUNTED = "operations, counted"
    PROVED = "a proof"


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, and the pairs of runs that test it: the run said to be better comes first."""

    claim: str
    says: str
    kind: Kind
    pairs: tuple[tuple[str, str], ...] = ()
    shuffled: bool = False  # the sentence says what another order of the columns costs the pairs


SMALL = "at the student's size"  # beside the claim's own runs, which are the teacher's
PARTS = (
    Part("vertical patches", "full-height patches beat square ones", Kind.GAIN, (("teacher", "teacher-square-patches"),)),
    Part("vertical patches", "full-height patches beat horizontal ones", Kind.GAIN, (("teacher", "teacher-horizontal-patches"),)),
    Part("vertical patches", f"full-height patches beat square ones, {SMALL}", Kind.GAIN, (("student-alone", "student-square-patches"),)),
    Part("vertical patches", f"full-height patches beat horizontal ones, {SMALL}", Kind.GAIN, (("student-alone", "student-horizontal-patches"),)),
    Part("coordinate encoding", "coordinates tell tokens their column", Kind.POSITION, (("teacher", "teacher-no-position"),)),
    Part("coordinate encoding", "coordinates raise accuracy", Kind.GAIN, (("teacher", "teacher-no-position"),), shuffled=True),
    Part("coordinate encoding", f"coordinates raise accuracy, {SMALL}", Kind.GAIN, (("student-coordinates", "student-alone"),)),
    Part("transfer", "a teacher raises the student's accuracy", Kind.GAIN, (("student-pooled", "student-alone"), ("student-pooled", "student-alone-long"))),
    Part("transfer", "the teacher passes position on", Kind.PROVED),
    Part("accuracy", "the student reaches the published accuracy", Kind.PUBLISHED, (("student-pooled", "teacher"),)),
    Part("cost", "the student needs fewer operations", Kind.COUNTED),
    Part("cost", "the student reaches the published accuracy", Kind.PUBLISHED, (("student-pooled", "teacher"),)),
)  # fmt: skip
CLAIMS = frozenset(part.claim for part in PARTS)


def measured(pair: Sequence[str], by_run: dict[str, pd.DataFrame], noise: results.Noise) -> list[Comparison]:
    """Two runs' predictions on people's recordings compared, one comparison a corpus, protocol and image size.

    Of several schedules that is taken which lacks least; then that with more predictions; then that with more epochs;
    then single precision before bf16.
    """

    def rank(c: Comparison) -> tuple:
        return not c.lacks(of_claim=True), len(c.joined), int(c.epochs), c.precision == "32-true"

    best: dict[tuple, Comparison] = {}
    for c in sorted(results.compare(*map(by_run.get, pair), noise=noise), key=rank, reverse=True):
        best.setdefault((c.corpus, c.protocol, c.fingerprint, c.image), c)
    order = results.in_order(c.corpus for c in best.values())
    return sorted(best.values(), key=lambda c: (order.index(c.corpus), splits.PROTOCOLS.index(c.protocol)))


def holm(p_values: Sequence[float]) -> Float[ndarray, " comparisons"]:
    """p-values adjusted for being several (Holm 1979): the chance of one false finding among all stays below the level."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1)
    return adjusted[np.argsort(order)]


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Comparisons with the columns ``adjusted``, Holm's p-value within the ``family`` and measure, and ``label``.

    Only comparisons that lack nothing decide, and only those are adjusted for. A comparison is *supported* if its adjusted
    p-value is below :data:`ALPHA` and the first run is better, *ruled out* if it is worse, else *unclear*.
    """
    decides = rows["lacks"].eq("")
    adjusted = pd.Series(float("nan"), rows.index)
    for _, family in rows[decides].groupby(["family", rows["measure"].where(rows["measure"] == "UA", "WA")]):
        adjusted[family.index] = holm(family["p"].tolist())
    label = pd.Series(Finding.UNCLEAR.value, rows.index)
    label[adjusted.lt(ALPHA) & rows["estimate"].gt(0)] = Finding.SUPPORTED.value
    label[adjusted.lt(ALPHA) & rows["estimate"].lt(0)] = Finding.RULED_OUT.value
    label[~decides] = Finding.PENDING.value
    return rows.assign(adjusted=adjusted, label=label)


def beside_published(at: metrics.Interval, stated: float) -> Finding:
    """An accuracy beside the published one: below it, too uncertain to say, or up to it."""
    if at.high < stated:
        return Finding.NOT_REACHED
    return Finding.UNCLEAR if (at.high - at.low) / 2 > WIDEST else Finding.SUPPORTED


def finding(part: Part, rows: pd.DataFrame) -> Finding:
    """What a part of a claim comes to, of its rows with a ``label``.

    One label if all that decide have it; *unclear* if they differ. It is *pending* if none decides, or if all that decide
    support the claim but one of its pairs has none that decides.
    """
    if part.kind is Kind.PROVED:
        return Finding.RULED_OUT
    if part.kind is Kind.COUNTED:
        return Finding.SUPPORTED if fewer_operations() else Finding.RULED_OUT
    deciding = rows[rows["label"].ne(Finding.PENDING)]
    labels = set(deciding["label"])
    decided, pairs = (set(zip(of.get("first", ()), of.get("second", ()), strict=True)) for of in (deciding, rows))
    if len(labels) > 1:
        return Finding.UNCLEAR
    if not labels or (labels == {Finding.SUPPORTED} and decided < pairs):
        return Finding.PENDING
    return Finding(labels.pop())


def published(corpus: str, run: str) -> float | None:
    """The accuracy published for a run's network on 128 x 128 images, in [0, 1]; None for networks the paper has not."""
    values = [
        p.value for p in paper.PUBLISHED if (p.corpus, p.model, p.image) == (corpus, NETWORKS.get(run), "128x128")
    ]
    return float(values[0]) / 100 if values else None


def fewer_operations() -> bool:
    """Whether the student needs fewer operations than the teacher and than every network of others counted here."""
    student = costs.read()[costs.STUDENT].flops
    return student < min(costs.read()[costs.TEACHER].flops, *(other.flops for other in costs.others().values()))


def pairs(kinds: Iterable[Kind] = (Kind.GAIN,)) -> dict[tuple[str, str], str]:
    """Each pair of runs that tests a claim, and the claim."""
    return {pair: part.claim for part in PARTS if part.kind in kinds for pair in part.pairs}
