"""Run records as tidy tables, and what is grouped, paired and pooled from them.

* :func:`predictions`: a row a predicted utterance; :func:`runs`: a row a run;
* :func:`accuracy`: a figure of merit of some rows, with its interval over speakers and seeds;
* :func:`compare`: two runs on the same test utterances, wherever all else is alike;
* :func:`comparison_table`: many comparisons, adjusted for being many;
* :func:`tokens`: what probes know of time, a row a layer and utterance.

Columns named in :data:`CONDITION` say what two runs must share to be compared, those in :data:`CELL` which of their
trainings belong together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from companion.experiments import GONE_RUNS, GONE_SCHEDULES
from serlib import config, metrics, records
from serlib.data import corpora, facts, splits
from serlib.errors import SerlibError
from studies import variants

if TYPE_CHECKING:  # it needs torch, which is imported where it is used
    from studies.probes import Probe

Measure = Literal["WA", "UA"]
CONDITION = ["speech", "corpus", "fingerprint", "image", "precision", "schedule", "protocol"]
CELL = ["fold", "split", "seed"]
_WHOLE = (*config.RUNS, *GONE_RUNS, *(name for name in variants.VARIANTS if "+" not in name))  # names without steps
RUNS = [*variants.BASELINES, *sorted(_WHOLE, key=lambda run: run.startswith("teacher-"))]  # the order of tables
UNSEEDED = tuple(
    name for name in variants.BASELINES if name not in variants.RESNETS
)  # on one split they have no chance
BEYOND = [*GONE_SCHEDULES]  # schedules that add to the paper's
Noise = Mapping[str, metrics.SeedNoise]  # of one run's WA, by protocol
APART = ("leave-one-speaker-out", "actor-split", "speaker-folds")  # protocols whose test speakers are new
NO_NOISE: Noise = MappingProxyType({})


def predictions(found: Iterable[records.Record]) -> pd.DataFrame:
    """One row a predicted utterance.

    Columns: those of :func:`runs` that name the run, ``part`` ("train", "test", "validation"), ``file``, ``utterance``
    (the file of which it is a version), ``speaker``, ``true``, ``predicted``, ``correct``, and ``repetition``: the seed,
    or of random draws the draw.
    """
    about, columns = [], {name: [] for name in ("file", "speaker", "true", "predicted")}
    for r in found:
        for name, part in r.parts.items():
            about += [_identity(r) | {"part": name, "rows": len(part.file)}]
            columns["file"] += part.file
            columns["speaker"] += part.speaker
            columns["true"] += [r.emotions[label] for label in part.true]
            columns["predicted"] += [r.emotions[label] for label in part.predicted]
    names = [*CONDITION, *CELL, "run", "epochs", "complete", "part", "rows"]
    runs_of = pd.DataFrame(about, columns=names)
    named = runs_of.columns.difference(["fold", "seed", "epochs", "complete", "rows"])
    runs_of = runs_of.astype(dict.fromkeys(named, "category"))
    table = runs_of.loc[runs_of.index.repeat(runs_of.pop("rows").astype(int))].reset_index(drop=True)
    emotions = sorted({*columns["true"], *columns["predicted"]})
    for name, values in columns.items():
        table[name] = pd.Categorical(values, emotions if name in ("true", "predicted") else None)
    table["utterance"] = table["file"].map(_source).astype("category")
    table["correct"] = (table["true"] == table["predicted"]).astype(float)
    table["repetition"] = table["fold"].where(table["protocol"].isin(splits.DRAWN), table["seed"])
    return table


def _source(file: str) -> str:
    """The utterance that a file is a version of, as :attr:`serlib.data.corpora.Utterance.source`."""
    name, _, version = file.rpartition(" (")
    return name if version.removesuffix(")") in config.PERTURBATIONS else file


def runs(found: Iterable[records.Record]) -> pd.DataFrame:
    """One row a run: what names it, its ``curves`` (stage to loss to values), ``result`` and all of its provenance."""
    return pd.DataFrame(
        [_identity(r) | {"curves": r.curves, "result": r.result, "record": r} | r.provenance for r in found]
    )


def _identity(r: records.Record) -> dict:
    return {
        "speech": r.speech,
        "corpus": r.corpus,
        "fingerprint": r.fingerprint,
        "image": r.images,
        "precision": r.precision,
        "schedule": r.schedule,
        "protocol": r.protocol,
        "fold": r.fold,
        "split": r.split,
        "run": r.run,
        "seed": r.seed,
        "epochs": r.epochs,
        "complete": not r.notes and _as_published(r),  # the recordings are those of the corpus as published
    }


def _as_published(r: records.Record) -> bool:
    """Whether a record's recordings are, file by file, those whose hashes are kept; true where none are kept."""
    known = corpora.published_fingerprints(r.corpus)
    return not known or r.speech == "synthetic" or r.fingerprint in known


def test(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of test sets."""
    return table[table["part"] == "test"]


def accuracy(rows: pd.DataFrame, measure: Measure = "WA", noise: Noise = NO_NOISE) -> metrics.Interval:
    """WA or UA, in [0, 1], of one run's rows of one part, every fold and seed that is there put together.

    Copies of an utterance, in several random draws or several versions, count as one. Of seeds, those with the most
    folds are taken, so that every speaker weighs the same for each. ``noise`` is left out for classifiers that give the
    same with every seed, unless the split is drawn as well; UA takes that of WA.

    Raises:
        ValueError: rows of several parts, such as training and test set.
    """
    if rows["part"].nunique() > 1:
        raise ValueError(f"one accuracy of several parts: {', '.join(sorted(rows['part'].unique()))}")
    run, protocol = rows[["run", "protocol"]].iloc[0]
    rows = _fullest_seeds(rows)
    of = None if run in UNSEEDED and protocol not in splits.DRAWN else _noise_of(protocol, noise)
    return _interval(rows.assign(value=rows["correct"]), measure, of).within(0.0, 1.0)


def _fullest_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, of one protocol, of the seeds with the most folds; a random draw is fold and seed at once."""
    if rows["protocol"].iloc[0] in splits.DRAWN:
        return rows
    folds = rows.groupby("seed")["fold"].transform("nunique")
    return rows[folds == folds.max()]


def _interval(rows: pd.DataFrame, measure: Measure, noise: metrics.SeedNoise | None = None) -> metrics.Interval:
    once = rows.groupby(["repetition", "speaker", "true", "utterance"], observed=True)["value"].mean().reset_index()
    values, speakers, true, seeds = (once[name].to_numpy() for name in ("value", "speaker", "true", "repetition"))
    return metrics.interval(values, speakers, classes=true if measure == "UA" else None, seeds=seeds, noise=noise)


def longest(predicted: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """By run and protocol the rows of one corpus's one condition, of schedules that add nothing to the paper's.

    That with the most test predictions; then that with the most epochs; then single precision before bf16.
    """
    best: dict[tuple[str, str], tuple[tuple, pd.DataFrame]] = {}
    added = predicted["schedule"].isin(BEYOND)
    for _, rows in predicted[~added].groupby([*CONDITION, "run"], observed=True):
        key = rows["run"].iloc[0], rows["protocol"].iloc[0]
        rank = len(test(rows)), rows["epochs"].iloc[0], rows["precision"].iloc[0] == "32-true"
        if key not in best or rank > best[key][0]:
            best[key] = rank, rows
    return {key: best[key][1] for key in sorted(best, key=lambda key: place(key[0]))}


def place(run: str) -> tuple[int, str]:
    """A run's place in tables; with steps it follows the run that they are added to."""
    base, _, steps = run.partition("+")
    return RUNS.index(base), steps


def seed_noise(table: pd.DataFrame) -> dict[str, metrics.SeedNoise]:
    """By protocol, the variance of WA over seeds (of random splits: over draws), pooled over runs with several.

    What goes beyond the paper, a schedule or steps of a run, has no part in it: verdicts rest on it.
    """
    pooled, added = {}, table["schedule"].isin(BEYOND) | table["run"].str.contains("+", regex=False)
    for protocol, spread in seeds_apart(table[~added]).groupby("protocol", observed=True):
        df = spread["seeds"] - 1
        pooled[protocol] = metrics.SeedNoise(float((df * spread["deviation"] ** 2).sum() / df.sum()), int(df.sum()))
    return pooled


def _noise_of(protocol: str, noise: Noise) -> metrics.SeedNoise | None:
    """A protocol's seed noise; without its own the largest of the others that are drawn, or fixed, as it is."""
    alike = [found for other, found in noise.items() if (other in splits.DRAWN) == (protocol in splits.DRAWN)]
    return noise.get(protocol) or max(alike, default=None)


def seeds_apart(table: pd.DataFrame) -> pd.DataFrame:
    """How far the seeds of a run lie apart: every run with more than one, on the folds that all of its seeds have.

    Of random draws, whose test utterances differ, each draw counts for a seed. Columns: those of :data:`CONDITION`, run,
    folds, seeds (their number), accuracies (by seed, in [0, 1]), deviation (with one less than their number for a divisor).
    """
    rows = test(table[~table["run"].isin(variants.BASELINES)])
    found = []
    for key, same in rows.groupby([*CONDITION, "run"], observed=True):
        if same["protocol"].iloc[0] not in splits.DRAWN:
            same = same[same.groupby("fold")["seed"].transform("nunique") == same["seed"].nunique()]
        reached = {k: _interval(of.assign(value=of["correct"]), "WA").estimate for k, of in same.groupby("repetition")}
        if len(reached) > 1:
            about = dict(zip([*CONDITION, "run"], key, strict=True))
            deviation = pd.Series(reached).std()
            folds = sorted(same["fold"].unique())
            found.append(about | {"folds": folds, "seeds": len(reached), "accuracies": reached, "deviation": deviation})
    return pd.DataFrame(found, columns=[*CONDITION, "run", "folds", "seeds", "accuracies", "deviation"])


@dataclass(frozen=True, eq=False)  # equality of tables is no yes or no
class Comparison:
    """Two runs on the same test utterances, all folds and seeds that both have; all of :data:`CONDITION` is alike."""

    ours: pd.DataFrame  # prediction rows, every part
    theirs: pd.DataFrame
    joined: pd.DataFrame  # test utterances, ``value`` how much better ours is
    noise: metrics.SeedNoise | None = None  # of one run's WA

    def __getattr__(self, name: str):
        """A column in which all rows are alike: ``corpus``, ``protocol``, ``schedule``, ``epochs``, ..."""
        if name.startswith("_") or name not in self.ours.columns:
            raise AttributeError(name)
        return self.ours[name].iloc[0]

    @property
    def first(self) -> str:
        return self.ours["run"].iloc[0]

    @property
    def second(self) -> str:
        return self.theirs["run"].iloc[0]

    @property
    def folds(self) -> list[int]:
        return sorted(self.joined["fold"].unique())

    @property
    def seeds(self) -> list[int]:
        return sorted(self.joined["seed"].unique())

    @property
    def utterances(self) -> int:
        """Different test utterances."""
        return self.joined["utterance"].nunique()

    @property
    def held_out(self) -> str:
        return splits.HELD_OUT[self.protocol]

    @cached_property
    def missing(self) -> int:
        return missing_folds(self.ours)

    @property
    def full_length(self) -> bool:
        return min(self.ours["epochs"].min(), self.theirs["epochs"].min()) >= config.SCHEDULES["paper"].epochs

    @property
    def decides(self) -> bool:
        """Whether a verdict may rest on it: the whole corpus, every fold of it, as many epochs as the paper."""
        return bool(self.complete and not self.missing and self.full_length)

    @cached_property
    def difference(self) -> metrics.Interval:
        return self.gain("WA")

    def gain(self, measure: Measure) -> metrics.Interval:
        """By how much ours is better, in [-1, 1], with its interval; two runs differ by the seed noise of both."""
        noise = self.noise and metrics.SeedNoise(2 * self.noise.variance, self.noise.df)
        return _interval(self.joined, measure, noise)

    def accuracies(self, part: str = "test", measure: Measure = "WA") -> list[tuple[str, metrics.Interval]]:
        """Of both runs, ours first, with their names."""
        noise = {self.protocol: self.noise} if self.noise else NO_NOISE
        sides = (self.first, self.ours), (self.second, self.theirs)
        return [(run, accuracy(rows[rows["part"] == part], measure, noise)) for run, rows in sides]


def compare(
    ours: pd.DataFrame, theirs: pd.DataFrame, alike: Sequence[str] = CONDITION, noise: Noise = NO_NOISE
) -> list[Comparison]:
    """Two runs' prediction rows, compared wherever they are alike in the columns ``alike`` and share folds and seeds.

    Of seeds, those with the most folds are taken, so that every speaker weighs the same for each.

    Raises:
        ValueError: on the same fold and seed the two were not tested on the same utterances.
    """
    keys = [*alike, *CELL]
    both = ours[keys].drop_duplicates().merge(theirs[keys].drop_duplicates())
    made = []
    for _, cells in both.groupby(list(alike), observed=True):
        protocol, cells = cells["protocol"].iloc[0], _fullest_seeds(cells)
        sides = [side.merge(cells, on=keys) for side in (ours, theirs)]
        columns = [*keys, "file", "true", "correct"]
        pair = test(sides[0]).merge(
            test(sides[1])[columns], on=[*keys, "file"], how="outer", suffixes=("", "_theirs"), indicator=True
        )
        unlike = pair[(pair["_merge"] != "both") | (pair["true"] != pair["true_theirs"])]
        if len(unlike):
            at = unlike.iloc[0]
            raise SerlibError(
                f"{at['corpus']}, {at['protocol']} {at['fold']}, seed {at['seed']}: {at['file']} is not in both test sets "
                "under the same label; make the two records again from the same recordings"
            )
        made.append(
            Comparison(*sides, pair.assign(value=pair["correct"] - pair["correct_theirs"]), _noise_of(protocol, noise))
        )
    return made


def speaker_independent(predicted: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """By corpus and run the rows of :func:`longest`, every fold of one protocol whose test speakers are new.

    It is the protocol with the most runs that have every fold.
    """
    found = {}
    for corpus in in_order(predicted["corpus"].unique()):
        best = longest(predicted[predicted["corpus"] == corpus])
        whole = {p: {r: rows for (r, q), rows in best.items() if q == p and not missing_folds(rows)} for p in APART}
        found |= {(corpus, run): rows for run, rows in max(whole.values(), key=len).items()}
    return found


def by_unlabelled(predicted: pd.DataFrame, measure: Measure = "UA", noise: Noise = NO_NOISE) -> pd.DataFrame:
    """What speaker normalisation gains, by how many unlabelled utterances of each test speaker it knows.

    Columns corpus, run (without normalisation), utterances ("none", "3", ..., "all"), estimate, low, high; ``noise`` as in
    :func:`accuracy`.
    """
    found, rows = speaker_independent(predicted), []
    for (corpus, run), normalised in found.items():
        base = run.replace(variants.SPEAKER_NORM, "")
        if run == base or (corpus, base) not in found:
            continue
        counts = sorted(
            (part for part in normalised["part"].unique() if part.startswith("test-")), key=lambda p: int(p[5:])
        )
        tested = {"none": test(found[corpus, base])}
        tested |= {part[5:]: normalised[normalised["part"] == part] for part in counts} | {"all": test(normalised)}
        for utterances, some in tested.items():
            at = accuracy(some, measure, noise)
            rows.append((corpus, base, utterances, at.estimate, at.low, at.high))
    return pd.DataFrame(rows, columns=["corpus", "run", "utterances", "estimate", "low", "high"])


def missing_folds(rows: pd.DataFrame) -> int:
    """How many folds of their protocol one run's rows leave out; of random draws none can be missing."""
    protocol, there = rows["protocol"].iloc[0], rows["fold"].nunique()
    whole = {"leave-one-speaker-out": rows["speaker"].nunique(), "actor-split": 1} | dict.fromkeys(splits.DRAWN, there)
    return whole.get(protocol, splits.FOLDS) - there


def comparison_table(compared: Sequence[Comparison], measure: Measure = "WA") -> pd.DataFrame:
    """A row a comparison: who, where, the difference with its interval, Holm's p-value over the table, what was detectable."""
    gains = [c.gain(measure) for c in compared]
    return pd.DataFrame(
        {
            "first": [c.first for c in compared],
            "second": [c.second for c in compared],
            "corpus": [c.corpus for c in compared],
            "held_out": [c.held_out for c in compared],
            "comparison": compared,
            "difference": gains,
            "p": metrics.holm([gain.p for gain in gains]) if gains else [],
            "detectable": [gain.detectable for gain in gains],
        }
    )


def tokens(probed: Iterable["Probe"]) -> pd.DataFrame:
    """One row a layer and test utterance of a probed network.

    Columns: what names the run, file, speaker, layer, ``missed`` and ``variation``: sums of squares over the utterance's
    columns of what the probe misses, and of the column numbers about the training set's mean, in columns squared.
    """
    frames = []
    for p in probed:
        for layer, missed in p.errors.items():
            columns = {"file": p.file, "speaker": p.speaker, "variation": p.variation, "missed": missed}
            frames.append(pd.DataFrame(columns).assign(layer=layer, last=layer == p.last, **_probed(p)))
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=["file", "speaker", "variation", "missed", "layer", "last", *_PROBED])
    )


def orders(probed: Iterable["Probe"]) -> pd.DataFrame:
    """One row a test utterance and order of its columns: what names the run, speaker, predicted label, correct."""
    frames = [
        pd.DataFrame(
            {"speaker": p.speaker, "predicted": labels, "correct": np.equal(p.true, labels).astype(float)}
        ).assign(order=order, **_probed(p))
        for p in probed
        for order, labels in p.predicted.items()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["order", *_PROBED])


_PROBED = ("speech", "corpus", "schedule", "protocol", "fold", "run", "seed")


def _probed(p: "Probe") -> dict:
    return {name: getattr(p, name) for name in _PROBED}


def explained(rows: pd.DataFrame) -> metrics.Interval:
    """R2: the fraction of the variation of column numbers that one layer's tokens explain on the test utterances."""
    return _ratio(rows, rows["variation"] - rows["missed"])


def _ratio(rows: pd.DataFrame, above: pd.Series) -> metrics.Interval:
    speakers, seeds, weights = (rows[name].to_numpy() for name in ("speaker", "seed", "variation"))
    return metrics.interval(above.to_numpy(), speakers, weights=weights, seeds=seeds)


def position_r2_gain(
    table: pd.DataFrame, run: str, base: str
) -> dict[tuple[str, str, str], tuple[metrics.Interval, pd.DataFrame]]:
    """By how much R2 of the last tokens lies above that of run ``base`` on the same columns.

    Returns:
        (corpus, protocol, schedule) to the difference and its rows; only what both runs have counts.
    """
    where = ["speech", "corpus", "protocol", "schedule"]
    last = table[table["last"].astype(bool)]
    pair = last[last["run"] == run].merge(
        last[last["run"] == base], on=[*where, "fold", "seed", "file"], suffixes=("", "_base")
    )
    return {
        (corpus, protocol, schedule): (_ratio(rows, rows["missed_base"] - rows["missed"]), rows)
        for (_, corpus, protocol, schedule), rows in pair.groupby(where, observed=True)
    }


def in_order(corpora: Iterable[str]) -> list[str]:
    """Corpora in the paper's order, others behind."""
    known = list(facts.CORPORA)
    return sorted(set(corpora), key=lambda name: (known.index(name) if name in known else len(known), name))
