"""Run records as tidy tables, and functions that group, pair and pool them.

Two runs are comparable if they agree in the columns of :data:`CONDITION`; the columns of :data:`CELL` pair their
trainings. :mod:`companion.node` makes the tables of the book from these functions, once.
"""

from collections import Counter
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
NAMED = ["first", "second", *CONDITION[1:], "held_out", "utterances"]  # attributes of a comparison in its table row
_WHOLE = (*config.RUNS, *GONE_RUNS, *(name for name in variants.VARIANTS if "+" not in name))  # names without steps
RUNS = [*variants.BASELINES, *sorted(_WHOLE, key=lambda run: run.startswith("teacher-"))]  # the order of tables
UNSEEDED = tuple(name for name in variants.BASELINES if name not in variants.RESNETS)  # nothing random
BEYOND = [*GONE_SCHEDULES]  # schedules that add something to the paper's
Noise = Mapping[tuple[str, str], metrics.SeedNoise]  # seed noise of one run's WA, by corpus and protocol
SEEDS = 3  # a comparison decides only if both runs have as many
PAPER_EPOCHS = config.SCHEDULES["paper"].epochs
APART = ("leave-one-speaker-out", "actor-split", "speaker-folds")  # protocols whose test speakers are new
NO_NOISE: Noise = MappingProxyType({})


def predictions(run_records: Iterable[records.Record]) -> pd.DataFrame:
    """One row per predicted utterance.

    Columns: those of :func:`identity`, ``part`` ("train", "test", "validation", or "test-3": each test
    speaker normalised by 3 unlabelled utterances), ``file``, ``utterance`` (the original
    of a changed version), ``speaker``, ``true``, ``predicted``, ``correct``, and ``repetition`` (seed, or random draw).
    """
    parts, columns = [], {name: [] for name in ("file", "speaker", "true", "predicted")}
    for r in run_records:
        fields = identity(r)
        for name, part in r.parts.items():
            parts += [fields | {"part": name, "rows": len(part.file)}]
            columns["file"] += part.file
            columns["speaker"] += part.speaker
            columns["true"] += [r.emotions[label] for label in part.true]
            columns["predicted"] += [r.emotions[label] for label in part.predicted]
    names = [*CONDITION, *CELL, "run", "epochs", "complete", "device", "part", "rows"]
    run_table = pd.DataFrame(parts, columns=names)
    categorical = run_table.columns.difference(["fold", "seed", "epochs", "complete", "rows"])
    run_table = run_table.astype(dict.fromkeys(categorical, "category"))
    table = run_table.loc[run_table.index.repeat(run_table.pop("rows").astype(int))].reset_index(drop=True)
    emotions = sorted({*columns["true"], *columns["predicted"]})
    for name, values in columns.items():
        table[name] = pd.Categorical(values, emotions if name in ("true", "predicted") else None)
    table["utterance"] = table["file"].map(_source).astype("category")
    table["correct"] = (table["true"] == table["predicted"]).astype(float)
    table["repetition"] = table["fold"].where(table["protocol"].isin(splits.DRAWN), table["seed"])
    return table


def _source(file: str) -> str:
    """The original utterance of a file or a changed version, as :attr:`serlib.data.corpora.Utterance.source`."""
    name, _, version = file.rpartition(" (")
    return name if version.removesuffix(")") in config.PERTURBATIONS else file


def grouped(table: pd.DataFrame, keys: Sequence[str], **options: Any) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each group's keys by column, and its rows; ``options`` go to ``groupby``."""
    for key, rows in table.groupby(list(keys), observed=True, **options):
        yield dict(zip(keys, key, strict=True)), rows


def identity(r: records.Record) -> dict[str, Any]:
    """The columns that identify a run, among them those that two comparable runs share."""
    fingerprints = corpora.published_fingerprints(r.corpus)  # none for a user's own corpus
    published = not fingerprints or r.speech == "synthetic" or r.fingerprint in fingerprints
    names = [*CONDITION, "fold", "split", "run", "seed", "epochs"]
    return {name: getattr(r, "images" if name == "image" else name) for name in names} | {
        "complete": not r.notes and published,
        "device": "CPU" if "cpu" in str(r.provenance.get("device", "cpu")) else "GPU",
    }


def test(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of test sets."""
    return table[table["part"] == "test"]


def accuracy(rows: pd.DataFrame, measure: Measure = "WA", noise: Noise = NO_NOISE) -> metrics.Interval:
    """WA or UA alone, see :func:`accuracies`."""
    return accuracies(rows, noise)[measure]


def accuracies(rows: pd.DataFrame, noise: Noise = NO_NOISE) -> dict[str, metrics.Interval]:
    """WA and UA in [0, 1] from one run's rows of one part, pooled over every available fold and seed.

    Copies of an utterance, in several random draws or versions, count as one. Only the seeds of :func:`fullest_seeds`
    count, so that every speaker has the same weight for each seed. UA takes the seed noise of WA.

    Raises:
        ValueError: rows of several parts, such as training and test set.
    """
    if rows["part"].nunique() > 1:
        raise ValueError(f"one accuracy of several parts: {', '.join(sorted(rows['part'].unique()))}")
    run, corpus, protocol = (rows[name].iloc[0] for name in ("run", "corpus", "protocol"))
    intervals = _intervals(fullest_seeds(rows), "correct", _noise_of(corpus, protocol, noise, run))
    return {measure: interval.within(0.0, 1.0) for measure, interval in intervals.items()}


def fullest_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """One protocol's rows of the seeds that have the same, and the most, folds; a random draw is both fold and seed."""
    if rows["protocol"].iloc[0] in splits.DRAWN:
        return rows
    folds = rows[["seed", "fold"]].drop_duplicates().groupby("seed")["fold"].agg(lambda some: tuple(sorted(some)))
    counts = Counter(folds)
    most = max(counts, key=lambda some: (len(some), counts[some]))
    return rows[rows["seed"].isin([seed for seed, some in folds.items() if some == most])]


def _intervals(rows: pd.DataFrame, column: str, noise: metrics.SeedNoise | None = None) -> dict[str, metrics.Interval]:
    """WA and UA of a column; each utterance counts once per repetition."""
    seed, _ = pd.factorize(rows["repetition"], sort=True)
    key = seed * len(rows["utterance"].cat.categories) + rows["utterance"].cat.codes.to_numpy()
    unique, first, counts = np.unique(key, return_index=True, return_counts=True)
    values = np.bincount(key, rows[column].to_numpy())[unique] / counts
    speakers, true = (rows[name].cat.codes.to_numpy()[first] for name in ("speaker", "true"))
    wa, ua = (metrics.interval(values, speakers, classes=c, seeds=seed[first], noise=noise) for c in (None, true))
    return {"WA": wa, "UA": ua}


def longest(predicted: pd.DataFrame) -> pd.DataFrame:
    """The one condition that represents each corpus, run and protocol; no schedule of :data:`BEYOND` counts.

    It has the most test predictions; among equals, the most epochs; then single precision precedes bf16, and the paper's
    size of image others. Columns: those of :data:`CONDITION` and ``run``, in the order of tables.
    """
    test_rows = test(predicted[~predicted["schedule"].isin(BEYOND)])
    sizes = test_rows.groupby([*CONDITION, "run"], observed=True).agg(size=("file", "size"), epochs=("epochs", "first"))
    sizes = sizes.reset_index()
    sizes = sizes.assign(single=sizes["precision"].eq("32-true"), plain=sizes["image"].eq(config.Features().images))
    ranked = sizes.sort_values(["size", "epochs", "single", "plain"], ascending=False, kind="stable")
    best = ranked.drop_duplicates(["corpus", "run", "protocol"]).sort_index()
    return best[[*CONDITION, "run"]].sort_values("run", key=lambda runs: runs.astype(object).map(place), kind="stable")


def place(run: str) -> tuple[int, str]:
    """A run's place in tables; a run with steps follows the run without them."""
    base, _, steps = run.partition("+")
    return RUNS.index(base), steps


def seed_noise(table: pd.DataFrame) -> Noise:
    """The effect of a seed on the WA of all speakers, by corpus and protocol; see :func:`serlib.metrics.seed_noise`.

    It is pooled over the networks with several seeds that trained at least as long as the paper's. Schedules and steps
    beyond the paper are left out. So are random draws, because their test utterances differ, and runs for choosing.
    """
    added = table["schedule"].isin(BEYOND) | table["run"].str.contains("+", regex=False)
    networks = ~table["run"].isin(variants.BASELINES) & ~table["protocol"].isin((*splits.DRAWN, *splits.CHOOSING))
    rows = test(table[~added & networks & table["epochs"].ge(PAPER_EPOCHS)])
    return _pooled_noise(rows.assign(weight=1.0), [*CONDITION, "run"], "correct", "weight")


def position_noise(table: pd.DataFrame) -> Noise:
    """As :func:`seed_noise`, for R2 in the last layer of :func:`tokens`: the noise of 1 - R2 is the same."""
    rows = table[table["last"].astype(bool)]
    return _pooled_noise(rows, ["schedule", "image", "fingerprint", "run"], "missed", "variation")


def _pooled_noise(rows: pd.DataFrame, run_columns: list[str], numerator: str, denominator: str) -> Noise:
    """Seed noise of the ratio of two summed columns, pooled over runs; the rows of a run agree in ``run_columns``."""
    by_split = {}
    for key, split in rows.groupby(["corpus", "protocol"], observed=True):
        sums = [by_seed_and_speaker(r, numerator, denominator) for _, r in split.groupby(run_columns, observed=True)]
        if pooled := metrics.seed_noise(sums):
            by_split[key] = pooled
    return by_split


def by_seed_and_speaker(rows: pd.DataFrame, numerator: str, denominator: str) -> tuple[np.ndarray, np.ndarray]:
    """The sums of two columns of one run as arrays (seeds, speakers), for the seeds of :func:`fullest_seeds`."""
    sums = fullest_seeds(rows).groupby(["seed", "speaker"], observed=True)[[numerator, denominator]].sum().unstack()
    return sums[numerator].to_numpy(), sums[denominator].to_numpy()


def _noise_of(corpus: str, protocol: str, noise: Noise, *runs: str) -> metrics.SeedNoise | None:
    """The seed noise of one run, or of the difference of two independent ones; a deterministic run adds none.

    A protocol without an estimate takes the largest known one.
    """
    known = noise.get((corpus, protocol)) or max(noise.values(), default=None)
    seeded = sum(run not in UNSEEDED for run in runs)
    return metrics.SeedNoise(seeded * known.variance, known.df) if known and seeded else None


def seeds_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The spread between the seeds of every run with several, over those of :func:`fullest_seeds`.

    A random draw counts as a seed, although its test utterances differ. Columns: those of :data:`CONDITION`, run,
    folds, seeds (their number n), accuracies (by seed, in [0, 1]), deviation (standard deviation with divisor n - 1).
    """
    test_rows, spreads = test(table[~table["run"].isin(variants.BASELINES)]), []
    for fields, run_rows in grouped(test_rows, [*CONDITION, "run"]):
        run_rows = fullest_seeds(run_rows)
        wa = {k: _intervals(rows, "correct")["WA"].estimate for k, rows in run_rows.groupby("repetition")}
        if len(wa) > 1:
            fields |= {"folds": sorted(run_rows["fold"].unique()), "seeds": len(wa), "accuracies": wa}
            spreads.append(fields | {"deviation": pd.Series(wa).std()})
    return pd.DataFrame(spreads, columns=[*CONDITION, "run", "folds", "seeds", "accuracies", "deviation"])


def lacking(
    seeds: int,
    missing: int = 0,
    held_out: str = splits.NEW,
    epochs: int = PAPER_EPOCHS,
    complete: bool = True,
    alike: int = SEEDS,
) -> str:
    """Why a number cannot decide: ``speaker-dependent; 8 epochs; 1 of 3 seeds``; "" if it can.

    Args:
        missing: number of missing folds.
        alike: number of seeds for which both runs were trained on one kind of device.
    """
    reasons = {
        held_out: held_out != splits.NEW,
        f"{epochs} epochs": epochs < PAPER_EPOCHS,
        "not the corpus as published": not complete,
        f"{missing} folds missing": missing > 0,
        f"{seeds} of {SEEDS} seeds": seeds < SEEDS,
        f"{alike} of {SEEDS} seeds on one kind of device": seeds >= SEEDS > alike,
    }
    return "; ".join(words for words, applies in reasons.items() if applies)


@dataclass(frozen=True, eq=False)  # tables compare element by element
class Comparison:
    """Two runs on the same test utterances, over all folds and seeds that both have; :func:`compare` makes it."""

    ours: pd.DataFrame  # predictions of the test set
    theirs: pd.DataFrame
    joined: pd.DataFrame  # one row per test utterance; ``value``: ours correct minus theirs correct
    noise: Noise
    missing: int  # number of folds, see :func:`missing_folds`

    def __getattr__(self, name: str):
        """The first value of a column of ours: ``corpus``, ``protocol``, ``schedule``, ``epochs``, ..."""
        if name.startswith("_") or name not in self.ours.columns:
            raise AttributeError(name)
        return self.ours[name].iloc[0]

    first = property(lambda self: self.ours["run"].iloc[0])
    second = property(lambda self: self.theirs["run"].iloc[0])
    folds = property(lambda self: sorted(self.joined["fold"].unique()))
    seeds = property(lambda self: sorted(self.joined["seed"].unique()))
    utterances = property(lambda self: self.joined["utterance"].nunique())  # distinct ones
    held_out = property(lambda self: splits.HELD_OUT[self.protocol])

    @property
    def epochs_of_both(self) -> int:
        """The epochs of the run that trained for fewer; a classifier in :data:`UNSEEDED` does not count."""
        networks = [rows for rows in (self.ours, self.theirs) if rows["run"].iloc[0] not in UNSEEDED]
        return min((rows["epochs"].min() for rows in networks), default=PAPER_EPOCHS)

    def lacks(self, of_claim: bool = False, whole: bool = True) -> str:
        """Why it cannot decide, see :func:`lacking`. It needs three seeds of both runs, on one kind of device, and
        every fold (if ``whole``); a claim also needs new speakers and the paper's number of epochs."""
        runs, seeds = {self.first, self.second}, self.joined["seed"]
        matching = self.joined["device"].astype(str).eq(self.joined["device_theirs"].astype(str))
        matching = int(matching.groupby(seeds).all().sum()) if not runs & set(variants.BASELINES) else seeds.nunique()
        seeds, matching = (SEEDS, SEEDS) if runs <= set(UNSEEDED) else (seeds.nunique(), matching)
        claim_needs = {"held_out": self.held_out, "epochs": self.epochs_of_both} if of_claim else {}
        return lacking(seeds, self.missing if whole else 0, complete=self.complete, alike=matching, **claim_needs)

    def gain(self, measure: Measure) -> metrics.Interval:
        """The gain of ours over theirs, in [-1, 1], with its interval."""
        noise = _noise_of(self.corpus, self.protocol, self.noise, self.first, self.second)
        return _intervals(self.joined, "value", noise)[measure].within(-1.0, 1.0)

    def accuracies(self, measure: Measure = "WA") -> list[metrics.Interval]:
        """The accuracies of both runs on the test set, ours first."""
        return [accuracy(rows, measure, self.noise) for rows in (self.ours, self.theirs)]


def compare(
    ours: pd.DataFrame, theirs: pd.DataFrame, alike: Sequence[str] = CONDITION, noise: Noise = NO_NOISE
) -> list[Comparison]:
    """Compare two runs' predictions wherever they agree in the columns ``alike`` and share folds and seeds.

    Only the seeds of :func:`fullest_seeds` count, so that every speaker has the same weight for each seed.

    Raises:
        ValueError: on the same fold and seed the two were not tested on the same utterances.
    """
    first, second = (dict(iter(side.groupby(list(alike), observed=True))) for side in (ours, theirs))
    compared, columns = [], [*CELL, "file", "true", "correct", "device"]
    for condition in (condition for condition in first if condition in second):
        our_rows, tested = first[condition], [test(groups[condition]) for groups in (first, second)]
        cells = tested[0][["protocol", *CELL]].drop_duplicates().merge(tested[1][CELL].drop_duplicates())
        if cells.empty:
            continue
        cells = fullest_seeds(cells)
        both = [side.merge(cells[CELL], on=CELL) for side in tested]
        pair = both[0].merge(both[1][columns], on=columns[:4], how="outer", suffixes=("", "_theirs"), indicator=True)
        labels_differ = pair["true"].astype(object) != pair["true_theirs"].astype(object)
        mismatched = pair[pair["_merge"].ne("both") | labels_differ]
        if len(mismatched):
            row = mismatched.iloc[0]
            raise SerlibError(
                f"{our_rows['corpus'].iloc[0]}, {our_rows['protocol'].iloc[0]} {row['fold']}, seed {row['seed']}: {row['file']} is not in both test sets "
                "under the same label; make the two records again from the same recordings"
            )
        missing = missing_folds(our_rows[our_rows["fold"].isin(cells["fold"])])
        compared.append(Comparison(*both, pair.assign(value=pair["correct"] - pair["correct_theirs"]), noise, missing))
    return compared


def by_unlabelled(accuracies: pd.DataFrame, measure: Measure = "UA") -> pd.DataFrame:
    """Accuracy without and with speaker normalisation, by how many unlabelled utterances of each test speaker it uses.

    ``accuracies`` is the table of :mod:`companion.evidence`. Columns: corpus, run (without normalisation), utterances
    ("none", "3", ..., "all"), estimate, low, high, measure.
    """
    tested = accuracies[accuracies["part"].str.startswith("test") & accuracies["measure"].eq(measure)]
    tested = tested[tested["independent"].astype(bool)]
    known = tested["part"].str.removeprefix("test-").replace("test", "all").where(tested["unlabelled"], "none")
    tested = tested.assign(run=tested["run"].str.replace(variants.SPEAKER_NORM, ""), utterances=known)
    pairs = tested.groupby(["corpus", "run"])["unlabelled"].transform("nunique").eq(2)
    order = in_order(tested["corpus"])
    number = known.replace({"none": -1, "all": np.inf}).astype(float)
    ranked = tested.assign(number=number, rank=tested["corpus"].map(order.index), place=tested["run"].map(place))[pairs]
    ranked = ranked.sort_values(["rank", "place", "number"])
    return ranked[["corpus", "run", "utterances", "estimate", "low", "high", "measure"]]


def missing_folds(rows: pd.DataFrame, speakers: int = 0) -> int:
    """The number of a protocol's folds that one run's rows lack; 0 for random draws, which have no fixed number.

    ``speakers``: how many the corpus has, if the rows do not hold the training set.
    """
    protocol, folds = rows["protocol"].iloc[0], rows["fold"].nunique()
    total = dict.fromkeys(("leave-one-speaker-out", splits.SELECTION), speakers or rows["speaker"].nunique())
    total |= dict.fromkeys(splits.BY_ACTORS, 1) | dict.fromkeys(splits.DRAWN, folds)
    return total.get(protocol, splits.FOLDS) - folds


def _of_probes(probed: Iterable[Any], run_records: Iterable[records.Record]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each probe with its run's columns, those of :data:`_UNKNOWN` from the record that it names by ``result``."""
    by_result = {r.result: r for r in run_records}
    for p in probed:
        fields = {name: getattr(p, name) for name in _PROBED} | _UNKNOWN
        if r := by_result.get(p.result):
            speakers = {speaker for part in r.parts.values() for speaker in part.speaker}
            fields |= {name: value for name, value in identity(r).items() if name in _UNKNOWN}
            fields |= {"all_speakers": len(speakers)}
        yield p, fields


def tokens(probed: Iterable[Any], run_records: Iterable[records.Record] = ()) -> pd.DataFrame:
    """One row per layer and test utterance of a probed network.

    Columns: the run's, file, speaker, layer. ``missed`` sums the probe's squared errors. ``variation`` sums the squares of
    the column numbers about the training set's mean. Both are in columns squared.
    """
    parts = []
    for p, run in _of_probes(probed, run_records):
        run |= {"file": p.file, "speaker": p.speaker, "variation": p.variation}
        parts += [run | {"layer": layer, "last": layer == p.last, "missed": error} for layer, error in p.errors.items()]
    return _stacked(parts, [*_PROBED, *_UNKNOWN, "layer", "last", "file", "speaker", "variation", "missed"])


def orders(probed: Iterable[Any], run_records: Iterable[records.Record] = ()) -> pd.DataFrame:
    """One row per test utterance and order of its columns: the run's columns, speaker, predicted label, correct."""
    tables = []
    for p, fields in _of_probes(probed, run_records):
        for order, labels in p.predicted.items():
            correct = np.equal(p.true, labels).astype(float)
            tables.append(fields | {"order": order, "speaker": p.speaker, "predicted": labels, "correct": correct})
    return _stacked(tables, [*_PROBED, *_UNKNOWN, "order", "speaker", "predicted", "correct"])


def _stacked(tables: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Stack tables into one; each holds a single value per column, or a sequence of values."""
    lengths, values = [len(t["speaker"]) for t in tables], {name: [t[name] for t in tables] for name in columns}
    sequences = [name for name, v in values.items() if v and not np.isscalar(v[0])]
    return pd.DataFrame({k: np.concatenate(v) if k in sequences else np.repeat(v, lengths) for k, v in values.items()})


_PROBED = ("speech", "corpus", "schedule", "protocol", "fold", "run", "seed")
_UNKNOWN = {
    "image": "",
    "fingerprint": "",
    "device": "",
    "complete": False,
    "all_speakers": 0,
}  # of a probe without record
POSITIONS_ALIKE = ["corpus", "protocol", "schedule", "image", "fingerprint"]  # two runs' probes must share these


def explained(rows: pd.DataFrame, noise: metrics.SeedNoise | None = None) -> metrics.Interval:
    """R2: the fraction of the variation of column numbers that one layer's tokens explain on the test utterances."""
    return _ratio(rows, rows["variation"] - rows["missed"], noise).within(-np.inf, 1.0)


def _ratio(rows: pd.DataFrame, numerator: pd.Series, noise: metrics.SeedNoise | None) -> metrics.Interval:
    speakers, seeds, weights = (rows[name].to_numpy() for name in ("speaker", "seed", "variation"))
    return metrics.interval(numerator.to_numpy(), speakers, weights=weights, seeds=seeds, noise=noise)


def position_r2_gain(
    table: pd.DataFrame, run: str, base: str, noise: Noise = NO_NOISE
) -> Iterator[tuple[dict[str, str], metrics.Interval, pd.DataFrame]]:
    """The gain in R2 of the last tokens of ``run`` over those of ``base``, on the columns that both runs have.

    Yields the corpus, protocol, schedule, image and fingerprint; the gain; and the rows of both runs.
    """
    last_tokens = [table[table["last"].astype(bool) & table["run"].eq(name)] for name in (run, base)]
    pair = pd.merge(*last_tokens, on=["speech", *POSITIONS_ALIKE, "fold", "seed", "file"], suffixes=("", "_base"))
    for fields, rows in grouped(pair, ["speech", *POSITIONS_ALIKE]):
        pair_noise = _noise_of(fields["corpus"], fields["protocol"], noise, run, base)
        del fields["speech"]
        rows = fullest_seeds(rows)
        yield fields, _ratio(rows, rows["missed_base"] - rows["missed"], pair_noise), rows


def in_order(corpora: Iterable[str]) -> list[str]:
    """Corpora in the paper's order, then all others by name."""
    known = list(facts.CORPORA)
    return sorted(set(corpora), key=lambda name: (known.index(name) if name in known else len(known), name))
