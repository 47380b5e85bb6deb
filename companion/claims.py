"""Claim by claim: which runs test it, what has been measured of them, and the verdict by a stated rule.

* :data:`NEEDED`: the runs of each claim;
* :func:`accuracies`: what every run reaches on every kind of test set;
* :func:`repeated`: how far the seeds of a run lie apart;
* :func:`measurements`: the rule by which a claim counts as measured on recordings;
* :func:`verdict`: the rule by which a claim holds, holds in part, or is not supported.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import TYPE_CHECKING, Any

from IPython.display import Markdown

from companion import notebook, paper
from serlib import config, metrics, records
from serlib.data import facts, splits

if TYPE_CHECKING:  # it needs torch, which is imported where it is used
    from serlib.probes import Probe

# The runs whose comparison on the same test recordings tests a claim of the paper, by the claim's key: what the
# claim says is better comes first.
NEEDED = {
    "vertical patches": ("teacher", "teacher-square-patches"),
    "coordinate encoding": ("teacher", "teacher-no-position"),
    "transfer": ("student-pooled", "student-alone"),
    "accuracy": ("student-pooled", "teacher"),
    "cost": ("student-pooled", "teacher"),
}
AT_EQUAL_COST = ("teacher", "teacher-horizontal-patches")  # square patches cost less than vertical ones
AGAINST_EACH_OTHER = ("vertical patches", "coordinate encoding", "transfer")  # the others: against published numbers


@dataclass(frozen=True)
class Measurement:
    """The runs of one claim, on the same test recordings of one corpus."""

    corpus: str
    protocol: str
    folds: str
    seeds: str
    utterances: int
    epochs: int
    image_size: tuple[int, int]
    partial: bool  # the recordings are not the whole corpus as published
    missing: int  # folds of the protocol that are not there; of random draws none can be missing
    accuracies: tuple[tuple[str, metrics.Interval], ...]  # run, weighted accuracy
    difference: metrics.Interval  # of the first run's weighted accuracy from the second's, on the same utterances
    trained: tuple[tuple[str, metrics.Interval], ...]  # run, weighted accuracy on its training set
    mixed: str  # folds whose runs were trained in different precisions

    @property
    def held_out(self) -> str:
        return splits.HELD_OUT[self.protocol]

    @property
    def decides(self) -> bool:
        """Whether a verdict may rest on it: the whole corpus, every fold of it, as many epochs as the paper."""
        return not self.partial and not self.missing and self.epochs >= config.SCHEDULES["paper"].epochs

    @property
    def compared(self) -> str:
        """``EmoDB, new speakers: +1.2 [-0.3, 2.8] points``, and what it lacks to decide."""
        short = self.epochs < config.SCHEDULES["paper"].epochs
        lacks = [f"{self.missing} folds missing"] * bool(self.missing) + [f"{self.epochs} epochs a stage"] * short
        missing = f" ({', '.join(lacks)})" if lacks else ""
        return f"{facts.title(self.corpus)}, {self.held_out}{missing}: {notebook.points(self.difference)} points"

    def __str__(self) -> str:
        split = f"split {self.protocol} ({splits.HELD_OUT[self.protocol]}), fold {self.folds}, seed {self.seeds}"
        size = "" if self.image_size == config.Features().image_size else f", image {notebook.times(self.image_size)}"
        part = " (counts differ from the published corpus)" if self.partial else ""
        mixed = f", precisions differ in fold {self.mixed}" if self.mixed else ""
        figures = ", ".join(f"`{run}` {notebook.percent(accuracy)}" for run, accuracy in self.accuracies)
        return (
            f"{facts.title(self.corpus)}{part}, {split}, {self.utterances:,} test predictions a run, {self.epochs} epochs a stage{size}{mixed}: "
            f"WA % {figures}"
        )


def measurements(needed: Sequence[str], found: Iterable[records.Record]) -> list[Measurement]:
    """What has been measured of the runs ``needed``, from records of recordings alone.

    A corpus and a split count when every needed run exists for the same recordings, images and schedule, and for at
    least one fold and seed that all of them share; those folds and seeds are pooled, of seeds those that have every
    fold, so that every speaker weighs the same for each. Augmented corpora do not count, nor does training beyond the
    paper. Of several schedules one that decides is taken, then that with the most epochs, then the paper's. Of a
    record that is given twice the later one counts.
    """
    cases: dict[tuple[Any, ...], dict[str, dict[tuple[int, int, str], records.Record]]] = {}
    for r in found:
        c = r.configuration
        counts = r.speech == "recordings" and r.protocol in splits.PROTOCOLS and not c.training.beyond
        if counts and r.run in needed:
            case = (r.corpus, r.protocol, r.fingerprint, c.features, c.training.epochs, c.schedule)
            cases.setdefault(case, {}).setdefault(r.run, {})[r.fold, r.seed, r.split] = r
    best: dict[tuple[Any, ...], tuple[tuple[Any, ...], Measurement]] = {}
    for (corpus, protocol, fingerprint, images, epochs, schedule), by_run in cases.items():
        shared = _even(protocol, set.intersection(*(set(by_run.get(run, ())) for run in needed)))
        if not shared:
            continue
        pooled = {run: notebook.pooled(by_run[run][key] for key in sorted(shared))[0] for run in needed}
        first, second = (pooled[run] for run in needed[:2])
        precisions = {k: {by_run[run][k].configuration.training.precision for run in needed} for k in shared}
        made = Measurement(
            corpus=corpus,
            protocol=protocol,
            folds=notebook.ranges(fold for fold, _, _ in shared),
            seeds=notebook.ranges(seed for _, seed, _ in shared),
            utterances=len(first.parts["test"].file),
            epochs=epochs,
            image_size=images.image_size,
            partial=bool(first.notes),
            missing=missing([by_run[needed[0]][key] for key in shared]),
            accuracies=tuple((run, notebook.accuracy(record)) for run, record in pooled.items()),
            difference=difference((first, second)),
            trained=tuple((run, notebook.accuracy(record, "train")) for run, record in pooled.items()),
            mixed=notebook.ranges(k[0] for k, different in precisions.items() if len(different) > 1),
        )
        rank = made.decides, epochs, schedule == "paper"
        key = corpus, protocol, fingerprint, images
        if key not in best or rank > best[key][0]:
            best[key] = rank, made
    order = [*facts.CORPORA]
    return sorted(
        (m for _, m in best.values()),
        key=lambda m: (order.index(m.corpus) if m.corpus in order else len(order), splits.PROTOCOLS.index(m.protocol)),
    )


def _even(protocol: str, cells: set[tuple[int, int, str]]) -> set[tuple[int, int, str]]:
    """Of cells of fold, seed and split those of the seeds with the most folds; random draws vary fold and seed together."""
    if protocol in splits.DRAWN or not cells:
        return cells
    folds = Counter(seed for _, seed, _ in cells)
    return {cell for cell in cells if folds[cell[1]] == max(folds.values())}


def behind(key: str, found: Iterable[records.Record]) -> list[Measurement]:
    """Every measurement that a claim's verdict rests on, see :func:`measurements`."""
    found = list(found)
    pairs = [NEEDED[key], *[AT_EQUAL_COST] * (key == "vertical patches")]
    return [m for pair in pairs for m in measurements(pair, found)]


def matched(
    first: Iterable[records.Record], second: Iterable[records.Record]
) -> tuple[records.Record, records.Record] | None:
    """Two runs of one corpus on the splits, seeds and precisions that both have, each put together; None without any."""
    ours, theirs = (
        {(r.split, r.seed, r.configuration.training.precision): r for r in side} for side in (first, second)
    )
    shared = [key for key in ours if key in theirs]
    if not shared:
        return None
    return notebook.joined([ours[key] for key in shared]), notebook.joined([theirs[key] for key in shared])


def difference(pair: tuple[records.Record, records.Record], measure=metrics.weighted_accuracy) -> metrics.Interval:
    """How much better the first of a :func:`matched` pair predicts than the second, see :func:`serlib.metrics.paired`."""
    ours, theirs = pair
    true, predicted = ours.labels("test")
    speakers = ours.parts["test"].speaker
    return metrics.paired(true, predicted, theirs.labels("test")[1], speakers, len(ours.emotions), measure)


def as_precise(found: Iterable[records.Record]) -> list[records.Record]:
    """The records that were trained in the precision of their fold's and seed's teacher, as schedule ``paper``.

    Of a run whose record of schedule ``paper`` has another precision, that of schedule ``bfloat16`` is taken.
    """
    found = list(found)

    def place(r: records.Record) -> tuple[Any, ...]:
        return r.corpus, r.protocol, r.fold, r.seed, r.configuration.training.precision

    schedules = ("paper", "paper-bf16")
    teachers = {place(r) for r in found if r.run == "teacher" and r.configuration.schedule == "paper"}
    same = [r for r in found if place(r) in teachers and r.configuration.schedule in schedules]
    return [replace(r, configuration=replace(r.configuration, schedule="paper")) for r in same]


@dataclass(frozen=True)
class Accuracy:
    """What one run reaches on one kind of part, every fold and seed that is there put together."""

    corpus: str
    run: str
    protocol: str
    at: metrics.Interval  # weighted accuracy on what was held out
    trained: metrics.Interval  # the same on the training sets
    lacks: tuple[str, ...]  # folds and epochs that are missing, in words
    drawn: tuple[str, ...]  # of random draws: which, in words

    @property
    def held_out(self) -> str:
        return splits.HELD_OUT[self.protocol]


def accuracies(found: Iterable[records.Record]) -> list[Accuracy]:
    """Of every run and protocol in ``found`` the accuracy; of several schedules that of the one with the most epochs."""
    alike: dict[tuple[str, str, str], dict[tuple[int, str], list[records.Record]]] = {}
    for r in found:
        c = r.configuration
        by_length = alike.setdefault((r.corpus, r.run, r.protocol), {})
        by_length.setdefault((c.training.epochs, c.schedule), []).append(r)
    runs = (*config.BASELINES, *config.RUNS)
    made = []
    for (corpus, run, protocol), by_length in sorted(alike.items(), key=lambda item: runs.index(item[0][1])):
        (epochs, _), same = max(by_length.items(), key=lambda item: item[0])
        (pooled,) = notebook.pooled(same)
        folds = {r.fold for r in same}
        drawn = (f"draw{'s' * (len(folds) > 1)} {notebook.ranges(folds)}",) * (protocol in splits.DRAWN)
        there = len(folds)
        lacks = [f"{there} of {there + missing(same)} folds"] * bool(missing(same))
        lacks += [f"{epochs} epochs"] * (epochs < config.SCHEDULES["paper"].epochs)
        at, trained = notebook.accuracy(pooled), notebook.accuracy(pooled, "train")
        made.append(Accuracy(corpus, run, protocol, at, trained, tuple(lacks), drawn))
    return made


@dataclass(frozen=True)
class Repeated:
    """A run that was trained more than once for the same protocol, in all else alike."""

    corpus: str
    run: str
    protocol: str
    schedule: str
    precision: str
    folds: tuple[int, ...]
    weighted_accuracies: Mapping[int, float]  # by seed, in [0, 1]; of random draws by draw, which is the fold

    @property
    def deviation(self) -> float:
        """Standard deviation of the accuracies, in [0, 1], with one less than their number for a divisor."""
        return stdev(self.weighted_accuracies.values())


def repeated(found: Iterable[records.Record]) -> list[Repeated]:
    """The spread over seeds: every run with more than one, on the folds that each of its seeds has.

    Precisions stay apart, except among random draws, whose test utterances differ far more.
    """
    alike: dict[tuple[str, ...], dict[int, dict[int, records.Record]]] = {}
    for r in found:
        drawn, c = r.protocol in splits.DRAWN, r.configuration
        repetition, place = (r.fold, 0) if drawn else (r.seed, r.fold)
        group = (r.corpus, r.run, r.protocol, c.schedule, "" if drawn else c.training.precision)
        alike.setdefault(group, {}).setdefault(repetition, {})[place] = r
    made = []
    for group, by_seed in sorted(alike.items()):
        shared = sorted(set.intersection(*(set(places) for places in by_seed.values())))
        if len(by_seed) > 1 and shared:
            same = {seed: [by_seed[seed][place] for place in shared] for seed in sorted(by_seed)}
            folds = tuple(sorted({r.fold for of_seed in same.values() for r in of_seed}))
            reached = {}
            for seed, of_seed in same.items():
                whole = notebook.joined(of_seed)
                counts = metrics.confusion(*whole.labels("test"), len(whole.emotions))
                reached[seed] = float(metrics.weighted_accuracy(counts))
            made.append(Repeated(*group, folds, reached))
    return made


def missing(same: Sequence[records.Record]) -> int:
    """How many folds of their protocol some records of one run leave out; of random draws none can be missing."""
    first, there = same[0], {r.fold for r in same}
    speakers = {speaker for part in first.parts.values() for speaker in part.speaker}
    count = {"leave-one-speaker-out": len(speakers), **dict.fromkeys(splits.DRAWN, len(there))}
    return count.get(first.protocol, splits.FOLDS) - len(there)


def answer(key: str, found: Iterable[records.Record], probed: Iterable["Probe"] = ()) -> str:
    """A claim in the abstract's words and its verdict, for the page that tests it."""
    (claim,) = (claim for claim in paper.CLAIMS if claim.key == key)
    return f"**The claim:** {claim.says} {verdict(key, found, probed)}"


def ablations(runs: Sequence[str], found: Iterable[records.Record]) -> Markdown:
    """Runs that change the teacher in one thing: what each costs, and what it reaches beside the teacher."""
    from serlib import flops

    found = list(found)
    cost = {run: flops.count(config.RUNS[run].model) for run in ("teacher", *runs)}
    rows = []
    for run in runs:
        shared = f"{cost[run].flops / 1e9:.2f} ({cost[run].flops / cost['teacher'].flops:.0%} of the teacher's)"
        measured = measurements(("teacher", run), found)
        for m in measured:
            missing = f" ({m.missing} folds missing)" if m.missing else ""
            where = f"{facts.title(m.corpus)}, {m.held_out}, fold {m.folds}{missing}, {m.utterances:,} utterances, {m.epochs} epochs"
            both = (notebook.percent(accuracy) for _, accuracy in m.accuracies)
            rows.append(
                (
                    f"`{run}`",
                    shared,
                    where,
                    *both,
                    f"{notebook.points(m.difference)}: {notebook.direction(m.difference)}",
                )
            )
        if not measured:
            rows.append((f"`{run}`", shared, "not measured", *[""] * 3))
    head = (
        "run",
        "GFLOP an image",
        "held out",
        "teacher, WA %",
        "this run, WA %",
        "the teacher beside this run, points",
    )
    return notebook.table(head, rows)


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim, and the measurements that it rests on, both in words."""

    found: str
    because: str

    def __str__(self) -> str:
        return f"**Verdict: {self.found}.** {self.because}"


def verdict(key: str, found: Iterable[records.Record], probed: Iterable["Probe"] = ()) -> Verdict:
    """A claim's verdict from records, and from probes of networks, by the rule that the landing page states.

    A measurement decides when it covers the whole corpus, every fold of its protocol (of random draws, those that are
    there), and as many epochs as the paper's.

    * Of two runs against each other: the claim holds if the interval of the difference lies above zero on new speakers
      in every corpus that decides, and names these unless they are all of the paper's; it holds only on some of them,
      or only on speakers also trained on, if that is where it does.
    * Of patches also what costs the same: where vertical ones gain on square ones, the claim holds only against these
      unless they gain on horizontal ones there too.
    * Of coordinates also what was ``probed``: where accuracy shows no gain, the claim holds only as to position if the
      last tokens of every new speaker of every corpus that decides tell less of their columns' numbers without.
    * Of transfer, where accuracy shows no gain: that position passes on is ruled out by proof.
    * Of accuracies against published ones: it holds if every published number of a corpus lies within or below our
      interval on new speakers, and holds only on speakers also trained on if it does there; else the verdict says
      whether they are reached on the training set.
    * Of cost: the accuracies decide one half; the other, whether the student needs fewer operations than the teacher and
      every other network that is counted here.
    """
    found = list(found)
    measured = measurements(NEEDED[key], found)
    if key not in AGAINST_EACH_OTHER:
        measured = [m for m in measured if _has_published(m)]
    deciding = [m for m in measured if m.decides]
    new = [m for m in deciding if m.held_out == splits.NEW]
    known = [m for m in deciding if m.held_out == splits.KNOWN]
    if not new:
        so_far = against(NEEDED[key], measured) if key in AGAINST_EACH_OTHER and measured else ""
        wait = "No corpus's new speakers are complete yet"
        return Verdict("not yet", f"{wait}{f'; so far {so_far}' if so_far else ''}.")
    if key in AGAINST_EACH_OTHER:
        said = _where(*([m.difference.low > 0 for m in kind] for kind in (new, known)), new)
        because = [against(NEEDED[key], deciding)]
        if key == "vertical patches" and (equal := measurements(AT_EQUAL_COST, found)):
            because += [f"at equal cost {against(AT_EQUAL_COST, equal)}"]
        if key == "vertical patches" and said != NOT_SUPPORTED:
            at_equal_cost = {(m.corpus, m.protocol): m.difference.low > 0 for m in equal if m.decides}
            there, elsewhere = ([m for m in kind if m.difference.low > 0] for kind in (new, known))
            gains = [at_equal_cost.get((m.corpus, m.protocol)) for m in there or elsewhere]
            if False in gains:
                said = "holds only against square patches"
            elif None in gains:
                said = "holds against square patches, not yet at equal cost"
        if key == "coordinate encoding" and (told := position_told(probed)):
            gains = (f"{facts.title(c)}, {splits.NEW}: {notebook.share(gain, '+')}" for c, gain in told.items())
            because += [
                f"R2 of the column's number from the last tokens, with coordinates minus without: {'; '.join(gains)}"
            ]
            if said == NOT_SUPPORTED and all(m.corpus in told and told[m.corpus].low > 0 for m in new):
                said = "holds only as to position"
        if key == "transfer" and said == NOT_SUPPORTED:
            said += "; as to position ruled out by proof"
        return Verdict(said, f"{'; '.join(because)}.")
    reached = {kind: [_reaches(m, m.accuracies) for m in of] for kind, of in ((splits.NEW, new), (splits.KNOWN, known))}
    said = _where(reached[splits.NEW], reached[splits.KNOWN], new)
    if key == "cost" and not _fewer_operations():
        said = NOT_SUPPORTED
    elif key == "cost" and said == NOT_SUPPORTED:
        said = "holds only as to the number of operations"
    elif said == NOT_SUPPORTED and all(_reaches(m, m.trained) for m in deciding):
        said = "published accuracies reached only on the training set"
    return Verdict(said, "; ".join(_beside_published(m) for m in deciding) + ".")


def position_told(probed: Iterable["Probe"]) -> dict[str, metrics.Interval]:
    """By corpus, the R2 of the column's number from the last tokens with coordinates, less that without them.

    Only networks trained as long as the paper's count, and only corpora of which every speaker was new to one of them.
    """
    from serlib import probes

    told = {}
    for (speech, corpus, schedule, protocol), runs in probes.grouped(probed).items():
        counts = (speech, schedule, splits.HELD_OUT[protocol]) == ("recordings", "paper", splits.NEW)
        c = probes.compared("teacher-no-position", runs) if counts and "teacher-no-position" in runs else None
        if c and corpus in facts.CORPORA and len(set(c.ours.speaker)) == facts.CORPORA[corpus].speakers:
            told[corpus] = c.theirs.gain(c.ours, c.ours.last)
    return told


def against(runs: Sequence[str], measured: Iterable[Measurement]) -> str:
    """The two runs, and by how much the first was better wherever both were measured."""
    first, second = runs
    return f"`{first}` minus `{second}`: {'; '.join(m.compared for m in measured)}"


NOT_SUPPORTED = "not supported here"


def _where(new: Sequence[bool], known: Sequence[bool], measured: Sequence[Measurement]) -> str:
    there = [m.corpus for m, holds in zip(measured, new, strict=True) if holds]
    if all(new) and set(there) >= set(facts.CORPORA):
        return "holds"
    if there:
        return f"holds {'' if all(new) else 'only '}on {', '.join(map(known.title, there))}"
    return f"holds only on {splits.KNOWN}" if any(known) else NOT_SUPPORTED


def published(corpus: str, run: str) -> float | None:
    """The accuracy published for a run's network on 128 x 128 images, in [0, 1]."""
    network = "teacher" if run == "teacher" else "student"
    values = [p.value for p in paper.PUBLISHED if (p.corpus, p.model, p.image) == (corpus, network, "128x128")]
    return float(values[0]) / 100 if values else None


def _has_published(m: Measurement) -> bool:
    """Whether there is a published accuracy for each of its runs on its images."""
    return m.image_size == config.Features().image_size and all(published(m.corpus, run) for run, _ in m.accuracies)


def _fewer_operations() -> bool:
    """Whether the student needs fewer operations than the teacher and than every other network counted here."""
    from serlib import flops

    others = (other.flops for other in flops.others().values())
    return flops.count(config.STUDENT).flops < min(flops.count(config.TEACHER).flops, *others)


def _reaches(m: Measurement, accuracies: Iterable[tuple[str, metrics.Interval]]) -> bool:
    """Whether every run's interval reaches what is published for it, or lies above."""
    stated = [(at, published(m.corpus, run)) for run, at in accuracies]
    return all(value is not None and at.high >= value for at, value in stated)


def _beside_published(m: Measurement) -> str:
    trained = dict(m.trained)
    figures = ", ".join(
        f"`{run}` {notebook.percent(at)}, trained on {100 * trained[run].estimate:.1f}, published {100 * value:.2f}"
        for run, at in m.accuracies
        if (value := published(m.corpus, run)) is not None
    )
    return f"{facts.title(m.corpus)}, {m.held_out}: {figures}"
