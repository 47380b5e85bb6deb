"""Run records as tidy tables, and what is grouped, paired and pooled from them.

* :func:`predictions`: a row a predicted utterance, which :func:`identity` names;
* :func:`accuracy`: a figure of merit of some rows, with its interval over speakers and seeds;
* :func:`compare`: two runs on the same test utterances, wherever all else is alike;
* :func:`tokens`: what probes know of time, a row a layer and utterance.

Columns named in :data:`CONDITION` say what two runs must share to be compared, those in :data:`CELL` which of their
trainings belong together. :mod:`companion.node` makes the tables of the book from these functions, once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from companion.experiments import GONE_RUNS, GONE_SCHEDULES
from serlib import config, metrics, records
from serlib.data import corpora, facts, splits
from serlib.errors import SerlibError
from studies import variants

Measure = Literal["WA", "UA"]
CONDITION = ["speech", "corpus", "fingerprint", "image", "precision", "schedule", "protocol"]
CELL = ["fold", "split", "seed"]
NAMED = ["first", "second", *CONDITION[1:], "held_out", "utterances"]  # of a comparison
_WHOLE = (*config.RUNS, *GONE_RUNS, *(name for name in variants.VARIANTS if "+" not in name))  # names without steps
RUNS = [*variants.BASELINES, *sorted(_WHOLE, key=lambda run: run.startswith("teacher-"))]  # the order of tables
UNSEEDED = tuple(name for name in variants.BASELINES if name not in variants.RESNETS)  # they have no chance
BEYOND = [*GONE_SCHEDULES]  # schedules that add to the paper's
Noise = Mapping[tuple[str, str], metrics.SeedNoise]  # of one run's WA, by corpus and protocol
SEEDS = 3  # that a comparison needs of both runs to decide
PAPER_EPOCHS = config.SCHEDULES["paper"].epochs
APART = ("leave-one-speaker-out", "actor-split", "speaker-folds")  # protocols whose test speakers are new
NO_NOISE: Noise = MappingProxyType({})


def predictions(found: Iterable[records.Record]) -> pd.DataFrame:
    """One row a predicted utterance.

    Columns: those of :func:`identity`, ``part`` ("train", "test", "validation"), ``file``, ``utterance``
    (the file of which it is a version), ``speaker``, ``true``, ``predicted``, ``correct``, and ``repetition``: the seed,
    or of random draws the draw.
    """
    about, columns = [], {name: [] for name in ("file", "speaker", "true", "predicted")}
    for r in found:
        named = identity(r)
        for name, part in r.parts.items():
            about += [named | {"part": name, "rows": len(part.file)}]
            columns["file"] += part.file
            columns["speaker"] += part.speaker
            columns["true"] += [r.emotions[label] for label in part.true]
            columns["predicted"] += [r.emotions[label] for label in part.predicted]
    names = [*CONDITION, *CELL, "run", "epochs", "complete", "device", "part", "rows"]
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


def grouped(table: pd.DataFrame, keys: Sequence[str], **options: Any) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """What names each group, and its rows; options of ``groupby``."""
    for key, rows in table.groupby(list(keys), observed=True, **options):
        yield dict(zip(keys, key, strict=True)), rows


def identity(r: records.Record) -> dict[str, Any]:
    """What names a run, and what two runs must share."""
    known = corpora.published_fingerprints(r.corpus)  # of the corpus as published, file by file; none of one's own
    published = not known or r.speech == "synthetic" or r.fingerprint in known
    named = [*CONDITION, "fold", "split", "run", "seed", "epochs"]
    return {name: getattr(r, "images" if name == "image" else name) for name in named} | {
        "complete": not r.notes and published,
        "device": "GPU" if str(r.provenance.get("device", "cpu")).startswith("cuda") else "CPU",
    }


def test(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of test sets."""
    return table[table["part"] == "test"]


def accuracy(rows: pd.DataFrame, measure: Measure = "WA", noise: Noise = NO_NOISE) -> metrics.Interval:
    """One of :func:`accuracies`."""
    return accuracies(rows, noise)[measure]


def accuracies(rows: pd.DataFrame, noise: Noise = NO_NOISE) -> dict[str, metrics.Interval]:
    """WA and UA, in [0, 1], of one run's rows of one part, every fold and seed that is there put together.

    Copies of an utterance, in several random draws or several versions, count as one. Of seeds, those with the most
    folds are taken, so that every speaker weighs the same for each. UA takes the seed noise of WA.

    Raises:
        ValueError: rows of several parts, such as training and test set.
    """
    if rows["part"].nunique() > 1:
        raise ValueError(f"one accuracy of several parts: {', '.join(sorted(rows['part'].unique()))}")
    run, corpus, protocol = (rows[name].iloc[0] for name in ("run", "corpus", "protocol"))
    found = _intervals(fullest_seeds(rows), "correct", _noise_of(corpus, protocol, noise, run))
    return {measure: at.within(0.0, 1.0) for measure, at in found.items()}


def fullest_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, of one protocol, of the seeds with the most folds; a random draw is fold and seed at once."""
    if rows["protocol"].iloc[0] in splits.DRAWN:
        return rows
    folds = rows[["seed", "fold"]].drop_duplicates()["seed"].value_counts()
    return rows if folds.nunique() == 1 else rows[rows["seed"].isin(folds.index[folds == folds.max()])]


def _intervals(rows: pd.DataFrame, column: str, noise: metrics.SeedNoise | None = None) -> dict[str, metrics.Interval]:
    """Of a column, each utterance once in a repetition."""
    seed, _ = pd.factorize(rows["repetition"], sort=True)
    copy = seed * len(rows["utterance"].cat.categories) + rows["utterance"].cat.codes.to_numpy()
    there, first, counts = np.unique(copy, return_index=True, return_counts=True)
    values = np.bincount(copy, rows[column].to_numpy())[there] / counts
    speakers, true = (rows[name].cat.codes.to_numpy()[first] for name in ("speaker", "true"))
    wa, ua = (metrics.interval(values, speakers, classes=of, seeds=seed[first], noise=noise) for of in (None, true))
    return {"WA": wa, "UA": ua}


def longest(predicted: pd.DataFrame) -> pd.DataFrame:
    """Of each corpus, run and protocol the one condition that stands for it, of schedules that add nothing to the paper's.

    That with the most test predictions; then that with the most epochs; then single precision before bf16. Columns: those
    of :data:`CONDITION` and ``run``, in the order of tables.
    """
    tested = test(predicted[~predicted["schedule"].isin(BEYOND)])
    sizes = tested.groupby([*CONDITION, "run"], observed=True).agg(size=("file", "size"), epochs=("epochs", "first"))
    sizes = sizes.reset_index().assign(single=lambda of: of["precision"].eq("32-true"))
    ranked = sizes.sort_values(["size", "epochs", "single"], ascending=False, kind="stable")
    best = ranked.drop_duplicates(["corpus", "run", "protocol"]).sort_index()
    return best[[*CONDITION, "run"]].sort_values("run", key=lambda runs: runs.astype(object).map(place), kind="stable")


def place(run: str) -> tuple[int, str]:
    """A run's place in tables; with steps it follows the run that they are added to."""
    base, _, steps = run.partition("+")
    return RUNS.index(base), steps


def seed_noise(table: pd.DataFrame) -> Noise:
    """By corpus and protocol, what a seed does to the WA of all speakers alike, see :func:`serlib.metrics.seed_noise`.

    Pooled over the networks with several seeds that trained at least as long as the paper's. Additions to the paper, a
    schedule or steps of a run, have no part in it, nor have random draws: their test utterances differ.
    """
    added = table["schedule"].isin(BEYOND) | table["run"].str.contains("+", regex=False)
    networks = ~table["run"].isin(variants.BASELINES) & ~table["protocol"].isin(splits.DRAWN)
    rows = test(table[~added & networks & table["epochs"].ge(PAPER_EPOCHS)])
    return _pooled_noise(rows.assign(one=1.0), [*CONDITION, "run"], "correct", "one")


def position_noise(table: pd.DataFrame) -> Noise:
    """As :func:`seed_noise`, of R2 at the last of :func:`tokens`."""
    rows = table[table["last"].astype(bool)]
    rows = rows.assign(explained=rows["variation"] - rows["missed"])
    return _pooled_noise(rows, ["schedule", "image", "fingerprint", "run"], "explained", "variation")


def _pooled_noise(rows: pd.DataFrame, alike: list[str], above: str, below: str) -> Noise:
    """Of the ratio of the sums of two columns; rows that are one run are alike in some others."""
    found = {}
    for where, of in rows.groupby(["corpus", "protocol"], observed=True):
        each = [by_seed_and_speaker(same, above, below) for _, same in of.groupby(alike, observed=True)]
        if pooled := metrics.seed_noise(each):
            found[where] = pooled
    return found


def by_seed_and_speaker(rows: pd.DataFrame, above: str, below: str) -> tuple[np.ndarray, np.ndarray]:
    """The sums of two columns of one run, (seeds, speakers), of the seeds with the most folds."""
    sums = fullest_seeds(rows).groupby(["seed", "speaker"], observed=True)[[above, below]].sum().unstack()
    return sums[above].to_numpy(), sums[below].to_numpy()


def _noise_of(corpus: str, protocol: str, noise: Noise, *runs: str) -> metrics.SeedNoise | None:
    """The seed noise of a difference of ``runs``, or of one, each trained by itself; a run without chance adds none.

    A protocol without its own takes the largest that is known.
    """
    known = noise.get((corpus, protocol)) or max(noise.values(), default=None)
    chances = sum(run not in UNSEEDED for run in runs)
    return metrics.SeedNoise(chances * known.variance, known.df) if known and chances else None


def seeds_apart(table: pd.DataFrame) -> pd.DataFrame:
    """How far the seeds of a run lie apart: every run with more than one, on the folds that all of its seeds have.

    Of random draws, whose test utterances differ, each draw counts for a seed. Columns: those of :data:`CONDITION`, run,
    folds, seeds (their number), accuracies (by seed, in [0, 1]), deviation (with one less than their number for a divisor).
    """
    rows, found = test(table[~table["run"].isin(variants.BASELINES)]), []
    for about, same in grouped(rows, [*CONDITION, "run"]):
        if about["protocol"] not in splits.DRAWN:
            same = same[same.groupby("fold")["seed"].transform("nunique") == same["seed"].nunique()]
        reached = {k: _intervals(of, "correct")["WA"].estimate for k, of in same.groupby("repetition")}
        if len(reached) > 1:
            about |= {"folds": sorted(same["fold"].unique()), "seeds": len(reached), "accuracies": reached}
            found.append(about | {"deviation": pd.Series(reached).std()})
    return pd.DataFrame(found, columns=[*CONDITION, "run", "folds", "seeds", "accuracies", "deviation"])


def lacking(
    seeds: int,
    missing: int = 0,
    held_out: str = splits.NEW,
    epochs: int = PAPER_EPOCHS,
    complete: bool = True,
    alike: int = SEEDS,
) -> str:
    """What keeps a number from deciding: ``speaker-dependent; 8 epochs; 1 of 3 seeds``; "" if nothing does.

    Args:
        missing: folds.
        alike: seeds of which both runs were trained on one kind of device.
    """
    said = {
        held_out: held_out != splits.NEW,
        f"{epochs} epochs": epochs < PAPER_EPOCHS,
        "not the corpus as published": not complete,
        f"{missing} folds missing": missing > 0,
        f"{seeds} of {SEEDS} seeds": seeds < SEEDS,
        f"{alike} of {SEEDS} seeds on one kind of device": seeds >= SEEDS > alike,
    }
    return "; ".join(words for words, so in said.items() if so)


@dataclass(frozen=True, eq=False)  # equality of tables is no yes or no
class Comparison:
    """Two runs on the same test utterances, all folds and seeds that both have; all of :data:`CONDITION` is alike."""

    ours: pd.DataFrame  # predictions of the test set
    theirs: pd.DataFrame
    joined: pd.DataFrame  # test utterances, ``value`` how much better ours is
    noise: Noise
    missing: int  # folds, see :func:`missing_folds`

    def __getattr__(self, name: str):
        """A column in which all rows are alike: ``corpus``, ``protocol``, ``schedule``, ``epochs``, ..."""
        if name.startswith("_") or name not in self.ours.columns:
            raise AttributeError(name)
        return self.ours[name].iloc[0]

    first = property(lambda self: self.ours["run"].iloc[0])
    second = property(lambda self: self.theirs["run"].iloc[0])
    folds = property(lambda self: sorted(self.joined["fold"].unique()))
    seeds = property(lambda self: sorted(self.joined["seed"].unique()))
    utterances = property(lambda self: self.joined["utterance"].nunique())  # different ones
    held_out = property(lambda self: splits.HELD_OUT[self.protocol])

    @property
    def epochs_of_both(self) -> int:
        """Of the run that trained for fewer."""
        networks = [rows for rows in (self.ours, self.theirs) if rows["run"].iloc[0] not in UNSEEDED]
        return min((rows["epochs"].min() for rows in networks), default=PAPER_EPOCHS)

    def lacks(self, of_claim: bool = False, whole: bool = True) -> str:
        """What keeps it from a finding, see :func:`lacking`: three seeds of both runs, one kind of device, every fold
        (where ``whole``); of a claim new speakers and the paper's length as well."""
        runs, seeds = {self.first, self.second}, self.joined["seed"]
        alike = self.joined["device"].astype(str).eq(self.joined["device_theirs"].astype(str))
        alike = int(alike.groupby(seeds).all().sum()) if not runs & set(variants.BASELINES) else seeds.nunique()
        seeds, alike = (SEEDS, SEEDS) if runs <= set(UNSEEDED) else (seeds.nunique(), alike)
        asked = {"held_out": self.held_out, "epochs": self.epochs_of_both} if of_claim else {}
        return lacking(seeds, self.missing if whole else 0, complete=self.complete, alike=alike, **asked)

    def gain(self, measure: Measure) -> metrics.Interval:
        """By how much ours is better, in [-1, 1], with its interval."""
        noise = _noise_of(self.corpus, self.protocol, self.noise, self.first, self.second)
        return _intervals(self.joined, "value", noise)[measure].within(-1.0, 1.0)

    def accuracies(self, measure: Measure = "WA") -> list[metrics.Interval]:
        """Of both runs on the test set, ours first."""
        return [accuracy(rows, measure, self.noise) for rows in (self.ours, self.theirs)]


def compare(
    ours: pd.DataFrame, theirs: pd.DataFrame, alike: Sequence[str] = CONDITION, noise: Noise = NO_NOISE
) -> list[Comparison]:
    """Two runs' prediction rows, compared wherever they are alike in the columns ``alike`` and share folds and seeds.

    Of seeds, those with the most folds are taken, so that every speaker weighs the same for each.

    Raises:
        ValueError: on the same fold and seed the two were not tested on the same utterances.
    """
    first, second = (dict(iter(side.groupby(list(alike), observed=True))) for side in (ours, theirs))
    made, columns = [], [*CELL, "file", "true", "correct", "device"]
    for condition in (each for each in first if each in second):
        whole, tested = first[condition], [test(of[condition]) for of in (first, second)]
        cells = tested[0][["protocol", *CELL]].drop_duplicates().merge(tested[1][CELL].drop_duplicates())
        if cells.empty:
            continue
        cells = fullest_seeds(cells)
        sides = [side.merge(cells[CELL], on=CELL) for side in tested]
        pair = sides[0].merge(sides[1][columns], on=columns[:4], how="outer", suffixes=("", "_theirs"), indicator=True)
        unlike = pair[(pair["_merge"] != "both") | (pair["true"] != pair["true_theirs"])]
        if len(unlike):
            at = unlike.iloc[0]
            raise SerlibError(
                f"{whole['corpus'].iloc[0]}, {whole['protocol'].iloc[0]} {at['fold']}, seed {at['seed']}: {at['file']} is not in both test sets "
                "under the same label; make the two records again from the same recordings"
            )
        missing = missing_folds(whole[whole["fold"].isin(cells["fold"])])
        made.append(Comparison(*sides, pair.assign(value=pair["correct"] - pair["correct_theirs"]), noise, missing))
    return made


def by_unlabelled(accuracies: pd.DataFrame, measure: Measure = "UA") -> pd.DataFrame:
    """What speaker normalisation gains, by how many unlabelled utterances of each test speaker it knows.

    ``accuracies`` are those of :mod:`companion.evidence`. Columns: corpus, run (without normalisation), utterances ("none",
    "3", ..., "all"), estimate, low, high, measure.
    """
    tested = accuracies[accuracies["part"].str.startswith("test") & accuracies["measure"].eq(measure)]
    tested = tested[tested["independent"].astype(bool)]
    known = tested["part"].str.removeprefix("test-").replace("test", "all").where(tested["unlabelled"], "none")
    tested = tested.assign(run=tested["run"].str.replace(variants.SPEAKER_NORM, ""), utterances=known)
    both = tested.groupby(["corpus", "run"])["unlabelled"].transform("nunique").eq(2)
    corpora = in_order(tested["corpus"])
    number = known.replace({"none": -1, "all": np.inf}).astype(float)
    ranked = tested.assign(number=number, at=tested["corpus"].map(corpora.index), place=tested["run"].map(place))[both]
    ranked = ranked.sort_values(["at", "place", "number"])
    return ranked[["corpus", "run", "utterances", "estimate", "low", "high", "measure"]]


def missing_folds(rows: pd.DataFrame) -> int:
    """How many folds of their protocol one run's rows leave out; of random draws none can be missing."""
    protocol, there = rows["protocol"].iloc[0], rows["fold"].nunique()
    whole = {"leave-one-speaker-out": rows["speaker"].nunique(), "actor-split": 1} | dict.fromkeys(splits.DRAWN, there)
    return whole.get(protocol, splits.FOLDS) - there


def tokens(probed: Iterable[Any], found: Iterable[records.Record] = ()) -> pd.DataFrame:
    """One row a layer and test utterance of a probed network; ``found`` are the records, of which each probe names one.

    Columns: what names the run, its record's image and fingerprint (else empty), file, speaker and layer. ``missed`` is
    the sum of squares, over the utterance's columns, of what the probe misses. ``variation`` is that of the column
    numbers about the training set's mean. Both are in columns squared.
    """
    made_from = {r.result: {"image": r.images, "fingerprint": r.fingerprint} for r in found}
    none, made = {"image": "", "fingerprint": ""}, []
    for p in probed:
        about = {name: getattr(p, name) for name in _PROBED} | made_from.get(p.result, none)
        about |= {"file": p.file, "speaker": p.speaker, "variation": p.variation}
        made += [about | {"layer": of, "last": of == p.last, "missed": missed} for of, missed in p.errors.items()]
    return _stacked(made, [*_PROBED, *none, "layer", "last", "file", "speaker", "variation", "missed"])


def orders(probed: Iterable[Any]) -> pd.DataFrame:
    """One row a test utterance and order of its columns: what names the run, speaker, predicted label, correct."""
    made = []
    for p in probed:
        about = {name: getattr(p, name) for name in _PROBED}
        for order, labels in p.predicted.items():
            right = np.equal(p.true, labels).astype(float)
            made.append(about | {"order": order, "speaker": p.speaker, "predicted": labels, "correct": right})
    return _stacked(made, [*_PROBED, "order", "speaker", "predicted", "correct"])


def _stacked(tables: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """One table of several, each with a value or a sequence of values a column."""
    rows, values = [len(of["speaker"]) for of in tables], {name: [of[name] for of in tables] for name in columns}
    long = [name for name, of in values.items() if of and not np.isscalar(of[0])]
    return pd.DataFrame({k: np.concatenate(of) if k in long else np.repeat(of, rows) for k, of in values.items()})


_PROBED = ("speech", "corpus", "schedule", "protocol", "fold", "run", "seed")


def explained(rows: pd.DataFrame, noise: metrics.SeedNoise | None = None) -> metrics.Interval:
    """R2: the fraction of the variation of column numbers that one layer's tokens explain on the test utterances."""
    return _ratio(rows, rows["variation"] - rows["missed"], noise).within(-np.inf, 1.0)


def _ratio(rows: pd.DataFrame, above: pd.Series, noise: metrics.SeedNoise | None) -> metrics.Interval:
    speakers, seeds, weights = (rows[name].to_numpy() for name in ("speaker", "seed", "variation"))
    return metrics.interval(above.to_numpy(), speakers, weights=weights, seeds=seeds, noise=noise)


def position_r2_gain(
    table: pd.DataFrame, run: str, base: str, noise: Noise = NO_NOISE
) -> Iterator[tuple[dict[str, str], metrics.Interval, pd.DataFrame]]:
    """By how much R2 of the last tokens lies above that of run ``base`` on the same columns, and the rows of both.

    Yields it with the corpus, protocol, schedule, image and fingerprint; only what both runs have counts.
    """
    where = ["corpus", "protocol", "schedule", "image", "fingerprint"]
    sides = [table[table["last"].astype(bool) & table["run"].eq(name)] for name in (run, base)]
    pair = pd.merge(*sides, on=["speech", *where, "fold", "seed", "file"], suffixes=("", "_base"))
    for about, rows in grouped(pair, ["speech", *where]):
        of_both = _noise_of(about["corpus"], about["protocol"], noise, run, base)
        del about["speech"]
        yield about, _ratio(rows, rows["missed_base"] - rows["missed"], of_both), rows


def in_order(corpora: Iterable[str]) -> list[str]:
    """Corpora in the paper's order, others behind."""
    known = list(facts.CORPORA)
    return sorted(set(corpora), key=lambda name: (known.index(name) if name in known else len(known), name))
