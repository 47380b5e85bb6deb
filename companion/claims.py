"""The claims: the runs that test each one, and the findings by the stated rule, as values.

:mod:`companion.evidence` stores what they return; :func:`companion.text.sentence` puts it into words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from companion import costs, paper, results
from companion.results import Comparison
from serlib import metrics
from serlib.data import splits

ALPHA = 1 - metrics.LEVEL  # of an adjusted p-value
WIDEST = 0.05  # half-width of an interval that can support a published number
NETWORKS = {"teacher": "teacher", "student-pooled": "student", "student-tokens": "student"}  # run to published network


class Finding(StrEnum):
    """The finding on a comparison, or on a part of a claim; the most decided first."""

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
    """One statement of a claim, and the pairs of runs that test it: the claim says that the first run is better."""

    claim: str
    says: str
    kind: Kind
    pairs: tuple[tuple[str, str], ...] = ()
    shuffled: bool = False  # the sentence also gives the pair's loss from shuffled columns


LARGE, SMALL = "at the teacher's size", "at the student's size"
PARTS = (
    Part("vertical patches", f"full-height patches beat square ones, {LARGE}", Kind.GAIN, (("teacher", "teacher-square-patches"),)),
    Part("vertical patches", f"full-height patches beat horizontal ones, {LARGE}", Kind.GAIN, (("teacher", "teacher-horizontal-patches"),)),
    Part("vertical patches", f"full-height patches beat square ones, {SMALL}, without position", Kind.GAIN, (("student-alone", "student-square-patches"),)),
    Part("vertical patches", f"full-height patches beat horizontal ones, {SMALL}, without position", Kind.GAIN, (("student-alone", "student-horizontal-patches"),)),
    Part("coordinate encoding", "coordinates tell tokens their column", Kind.POSITION, (("teacher", "teacher-no-position"),)),
    Part("coordinate encoding", f"coordinates raise accuracy, {LARGE}", Kind.GAIN, (("teacher", "teacher-no-position"),), shuffled=True),
    Part("coordinate encoding", f"coordinates raise accuracy, {SMALL}", Kind.GAIN, (("student-coordinates", "student-alone"),)),
    Part("transfer", "a teacher raises the student's accuracy", Kind.GAIN, (("student-pooled", "student-alone"), ("student-pooled", "student-alone-long"))),
    Part("transfer", "the teacher passes position on", Kind.PROVED),
    Part("accuracy", "teacher and student reach the published accuracy", Kind.PUBLISHED, (("student-pooled", "teacher"),)),
    Part("cost", "the student needs fewer operations", Kind.COUNTED),
    Part("cost", "teacher and student reach the published accuracy", Kind.PUBLISHED, (("student-pooled", "teacher"),)),
)  # fmt: skip
CLAIMS = frozenset(part.claim for part in PARTS)


def measured(pair: Sequence[str], by_run: dict[str, pd.DataFrame], noise: results.Noise) -> list[Comparison]:
    """Compare two runs' predictions on recordings of people: one comparison per corpus, protocol, set
    of files and image size.

    Of several schedules, one that lacks nothing comes first; then the one with more predictions; then the one with more
    epochs; then single precision before bf16.
    """

    def rank(c: Comparison) -> tuple:
        return not c.lacks(of_claim=True), len(c.joined), int(c.epochs), c.precision == "32-true"

    best: dict[tuple, Comparison] = {}
    for c in sorted(results.compare(*map(by_run.get, pair), noise=noise), key=rank, reverse=True):
        best.setdefault((c.corpus, c.protocol, c.fingerprint, c.image), c)
    order = results.in_order(c.corpus for c in best.values())
    return sorted(best.values(), key=lambda c: (order.index(c.corpus), splits.PROTOCOLS.index(c.protocol)))


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Add two columns to comparisons: ``adjusted``, Holm's p-value within the ``family`` and measure, and ``label``.

    Comparisons that lack something are *pending*, and the adjustment leaves them out. The others are *supported* if the
    adjusted p-value is below :data:`ALPHA` and the first run is better, *ruled out* if it is worse, else *unclear*.
    """
    decides = rows["lacks"].eq("")
    adjusted = pd.Series(float("nan"), rows.index)
    for _, family in rows[decides].groupby(["family", rows["measure"].where(rows["measure"] == "UA", "WA")]):
        adjusted[family.index] = metrics.holm(family["p"].tolist())
    label = pd.Series(Finding.UNCLEAR.value, rows.index)
    label[adjusted.lt(ALPHA) & rows["estimate"].gt(0)] = Finding.SUPPORTED.value
    label[adjusted.lt(ALPHA) & rows["estimate"].lt(0)] = Finding.RULED_OUT.value
    label[~decides] = Finding.PENDING.value
    return rows.assign(adjusted=adjusted, label=label)


def beside_published(interval: metrics.Interval, stated: float) -> Finding:
    """An accuracy against the published one: below it, reaching it, or unclear because its interval is too wide."""
    if interval.high < stated:
        return Finding.NOT_REACHED
    narrow = interval.estimate - interval.low <= WIDEST and interval.high - interval.estimate <= WIDEST
    return Finding.SUPPORTED if narrow else Finding.UNCLEAR  # of one speaker the bounds are NaN


def finding(part: Part, rows: pd.DataFrame) -> Finding:
    """The finding on a part of a claim, from its rows with a ``label``.

    It is the label that all deciding rows share, or *unclear* if they differ. It is *pending* if no row decides, or if
    all deciding rows support the claim but one of its pairs, or of its networks, has no deciding row.
    """
    if part.kind is Kind.PROVED:
        return Finding.RULED_OUT
    if part.kind is Kind.COUNTED:
        return Finding.SUPPORTED if fewer_operations() else Finding.RULED_OUT
    deciding = rows[rows["label"].ne(Finding.PENDING)]
    labels = set(deciding["label"])
    if part.kind is Kind.PUBLISHED:
        decided, pairs = set(deciding["run"]), {run for pair in part.pairs for run in pair}
    else:
        decided, pairs = (set(zip(t["first"], t["second"], strict=True)) for t in (deciding, rows))
    if len(labels) > 1:
        return Finding.UNCLEAR
    if not labels or (labels == {Finding.SUPPORTED} and decided < pairs):
        return Finding.PENDING
    return Finding(labels.pop())


def published(corpus: str, run: str) -> float | None:
    """The accuracy published for a run's network on 128 x 128 images, in [0, 1]; None if the paper gives none."""
    asked = (corpus, NETWORKS.get(run), "128x128")
    values = [p.value for p in paper.PUBLISHED if (p.corpus, p.model, p.image) == asked]
    return float(values[0]) / 100 if values else None


def fewer_operations() -> bool:
    """Whether the student needs fewer operations than the teacher and than every network of others counted here."""
    student = costs.read()[costs.STUDENT].flops
    return student < min(costs.read()[costs.TEACHER].flops, *(other.flops for other in costs.others().values()))


def pairs(kinds: Iterable[Kind] = (Kind.GAIN,)) -> dict[tuple[str, str], str]:
    """Each pair of runs that tests a claim, with that claim."""
    return {pair: part.claim for part in PARTS if part.kind in kinds for pair in part.pairs}
