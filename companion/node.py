"""The step that makes the evidence: records, predictions and probes in, the tables of :mod:`companion.evidence` out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd

from companion import claims, evidence, reach, results, text
from companion.claims import Finding, Kind
from companion.evidence import COLUMNS, INTERVAL, PREDICTIONS, PROBED
from companion.results import Comparison, Noise, grouped
from serlib import config, metrics, records
from serlib.data import facts, splits
from serlib.files import atomic_write
from serlib.records import Record
from studies import probed, variants

Rows = Iterator[dict[str, Any]]
BOTH = ("first_estimate", "second_estimate")
# The columns that identify a comparison: of two that agree in them, only the first is kept.
COMPARED = ["first", "second", "measure", "corpus", "protocol", "schedule", "second_schedule", "image", "fingerprint"]


def make(sources: Path, folder: Path) -> None:
    """Write every table of the records below ``sources``/recordings and the probes below ``sources``/probes.

    Raises:
        RecordError: a record or a probe cannot be read.
    """
    run_records = records.read_all(sources / "recordings")
    predicted = results.predictions(run_records)
    if evidence.KEEPS_PREDICTIONS:
        with atomic_write(folder / PREDICTIONS) as temporary:
            predicted.to_parquet(temporary, index=False)
    else:  # a file from an earlier set of records would stay
        (folder / PREDICTIONS).unlink(missing_ok=True)
    for name, table in tables(run_records, predicted, probed.read_all(sources / "probes")).items():
        with atomic_write(folder / f"{name}.json") as temporary:
            table.to_json(temporary, orient="records", indent=1, double_precision=15)


def tables(run_records: Sequence[Record], predicted: pd.DataFrame, probes: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """The tables of :data:`companion.evidence.COLUMNS` by name, from records, their predictions and probes."""
    noise, tokens = results.seed_noise(predicted), results.tokens(probes, run_records)
    accuracy_table, tries = accuracies(predicted, noise), reach.tries(reach.scores(predicted))
    by_name = {
        "runs": runs(run_records),
        "accuracies": accuracy_table,
        "published": published(accuracy_table),
        "comparisons": claims.labelled(comparisons(predicted, tokens, tries, noise)),
        "positions": positions(tokens),
        "orders": orders(probes, run_records),
        "tries": tries,
        "seeds": seeds(noise),
    }
    return by_name | {"verdicts": verdicts(by_name["comparisons"], by_name["published"], by_name["orders"])}


def table(rows: Callable[..., Iterable[dict[str, Any]]]) -> Callable[..., pd.DataFrame]:
    """Decorate a function of this module: its rows become the table of its name, with exactly that table's columns."""

    @wraps(rows)
    def tabulated(*arguments: Any) -> pd.DataFrame:
        yielded, columns = list(rows(*arguments)), COLUMNS[rows.__name__]
        if unknown := {column for row in yielded for column in row}.difference(columns):
            raise KeyError(f"{rows.__name__}: unknown columns {', '.join(sorted(unknown))}")
        return pd.DataFrame(yielded, columns=columns)

    return tabulated


def runs(run_records: Sequence[Record]) -> pd.DataFrame:
    """One row per record: its identity, all of its provenance, and its ``path`` below ``results``."""
    rows = []
    for r in run_records:
        extra = {"result": r.result, "hardware": r.provenance.get("device", ""), "path": r.location}
        rows.append(r.provenance | results.identity(r) | extra)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=COLUMNS["runs"])


def _interval(interval: metrics.Interval) -> dict[str, Any]:
    return {name: getattr(interval, name) for name in INTERVAL}


def accuracies(predicted: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    """One row per run, condition, part and measure; part "unchanged" leaves out changed versions of test utterances.

    ``longest`` marks the rows of :func:`companion.results.longest`, one per corpus, run and protocol. ``independent``
    marks those with every fold of a protocol whose test speakers are new: for each corpus, the protocol with most runs.
    ``unlabelled`` marks runs that use unlabelled utterances of the test speakers.
    """
    rows, keys = _accuracies(predicted, noise), [*results.CONDITION, "run"]
    longest = pd.MultiIndex.from_frame(rows[keys]).isin(pd.MultiIndex.from_frame(results.longest(predicted)[keys]))
    every_fold = longest & rows["protocol"].isin(results.APART) & rows["missing"].eq(0)
    counts = rows[every_fold].groupby(["corpus", "protocol"])["run"].nunique().unstack().reindex(columns=results.APART)
    independent = every_fold & rows["protocol"].eq(rows["corpus"].map(counts.idxmax(axis=1)))
    return rows.assign(longest=longest, independent=independent)


def _accuracies(predicted: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    table_rows = []
    for fields, run_rows in grouped(predicted, [*results.CONDITION, "run"]):
        fields |= {
            "folds": text.ranges(run_rows["fold"]),
            "missing": results.missing_folds(run_rows),
            "epochs": int(run_rows["epochs"].iloc[0]),
            "complete": bool(run_rows["complete"].all()),
            "held_out": splits.HELD_OUT[fields["protocol"]],
            "devices": ", ".join(sorted(run_rows["device"].unique())),
            "unlabelled": variants.SPEAKER_NORM in fields["run"],
        }
        parts = dict(iter(run_rows.groupby("part", observed=True)))
        if fields["protocol"] in splits.AUGMENTED:
            test_rows = parts["test"]
            parts["unchanged"] = test_rows[test_rows["file"].astype(str).eq(test_rows["utterance"].astype(str))]
        for part, rows in parts.items():
            fields |= {"part": part, "seed_numbers": text.ranges(results.fullest_seeds(rows)["seed"])}
            fields |= {"utterances": rows["utterance"].nunique()}
            for measure, interval in results.accuracies(rows, noise if part != "train" else results.NO_NOISE).items():
                table_rows.append(fields | {"measure": measure} | _interval(interval))
    return pd.DataFrame(table_rows, columns=COLUMNS["accuracies"])


@table
def seeds(noise: Noise) -> Rows:
    """One row per corpus and protocol: the effect of a seed that all speakers share."""
    for (corpus, protocol), pooled in noise.items():
        yield {"corpus": corpus, "protocol": protocol, "deviation": pooled.variance**0.5, "df": pooled.df}


@table
def published(accuracies: pd.DataFrame) -> Rows:
    """One row per corpus, protocol and network of the paper: test, training and published accuracy, and the label."""
    mask = accuracies["longest"] & accuracies["measure"].eq("WA") & accuracies["image"].eq(config.Features().images)
    rows = accuracies[mask & accuracies["protocol"].isin(splits.PROTOCOLS) & accuracies["run"].isin(claims.NETWORKS)]
    names, order = ["corpus", "run", "protocol"], results.in_order(rows["corpus"])
    trained = rows[rows["part"] == "train"].set_index(names)["estimate"]

    def place(row: Any) -> tuple:
        return order.index(row.corpus), results.place(row.run), splits.PROTOCOLS.index(row.protocol)

    for row in sorted(rows[rows["part"] == "test"].itertuples(), key=place):
        if stated := claims.published(row.corpus, row.run):
            lacks = results.lacking(row.seeds, row.missing, row.held_out, row.epochs, row.complete)
            label = Finding.PENDING if lacks else claims.beside_published(row, stated)
            fields = {name: getattr(row, name) for name in (*names, "held_out", *INTERVAL)}
            fields |= {"stated": stated, "trained": trained.get((row.corpus, row.run, row.protocol))}
            yield fields | {"lacks": lacks, "label": label.value}


@table
def comparisons(predicted: pd.DataFrame, tokens: pd.DataFrame, tries: pd.DataFrame, noise: Noise) -> Rows:
    """Every comparison of the book once: one row per pair of runs, condition and measure (WA, UA, R2), unlabelled.

    ``family`` names the claim that a comparison tests, or its question; p-values are adjusted within a family.
    """
    by_key: dict[tuple, dict[str, Any]] = {}
    for family, measures, comparison in _compared(predicted, tries, noise):
        for measure in measures:
            row = _comparison(family, measure, comparison)
            by_key.setdefault(tuple(row[name] for name in (*COMPARED, "folds")), row)
    yield from by_key.values()
    # The pairs of a claim that were not compared on a corpus's new speakers get a row without an estimate.
    covered = {(row["first"], row["second"], row["corpus"]) for row in by_key.values() if row["held_out"] == splits.NEW}
    for pair, claim in claims.pairs().items():
        for corpus in facts.CORPORA:
            if (*pair, corpus) not in covered:
                fields = {"family": claim, "measure": "WA", "first": pair[0], "second": pair[1], "corpus": corpus}
                yield fields | {"held_out": splits.NEW, "lacks": "not measured", "p": None, "estimate": None}
    yield from _positions_compared(tokens)


def _compared(
    predicted: pd.DataFrame, tries: pd.DataFrame, noise: Noise
) -> Iterator[tuple[str, tuple[str, ...], Comparison]]:
    """Yield each comparison after its family and its measures."""
    other_pairs = [("student-tokens", "student-alone"), ("student-tokens", "student-alone-long")]
    other_pairs += [("student-pooled", "student-tokens"), ("student-alone", "teacher"), ("student-pooled", "teacher")]
    other_pairs += [("teacher", run) for run in config.RUNS if run.startswith("teacher-")]
    usable = predicted["speech"].eq("recordings") & ~predicted["schedule"].isin(results.BEYOND)
    by_run = dict(iter(predicted[usable & predicted["protocol"].isin(splits.PROTOCOLS)].groupby("run", observed=True)))
    for pair, family in {**dict.fromkeys(other_pairs, "other runs"), **claims.pairs()}.items():
        if by_run.keys() >= set(pair):
            yield from ((family, ("WA",), c) for c in claims.measured(pair, by_run, noise))
    shared = [name for name in results.CONDITION if name not in ("schedule", "precision")]
    for names in (("paper", "short"), ("paper", "paper-bf16"), ("paper-bf16", reach.CHOSEN_EPOCHS)):
        first, second = (predicted[predicted["schedule"] == name] for name in names)
        yield from (("schedules", ("WA",), c) for c in results.compare(first, second, [*shared, "run"], noise))
    selection = predicted[predicted["protocol"].eq(splits.SELECTION)]
    for corpus in results.in_order(selection["corpus"].unique()):
        yield from ((reach.EARLIER, ("UA",), c) for c in reach.earlier(selection[selection["corpus"] == corpus], noise))
    for pair in [] if tries.empty else reach.report_pairs(tries):
        yield from (("steps", ("UA", "WA"), c) for c in reach.reported(predicted, *pair, noise).values())


def _comparison(family: str, measure: str, comparison: Comparison) -> dict[str, Any]:
    devices = [" and ".join(sorted(comparison.joined[name].unique())) for name in ("device", "device_theirs")]
    return {
        "family": family,
        "measure": measure,
        **{name: getattr(comparison, name) for name in results.NAMED},
        "second_schedule": comparison.theirs["schedule"].iloc[0],
        "folds": text.ranges(comparison.folds),
        "seed_numbers": text.ranges(comparison.seeds),
        "epochs": comparison.epochs_of_both,
        "device": " against ".join(dict.fromkeys(devices)),
        **_interval(comparison.gain(measure)),
        **{name: side.estimate for name, side in zip(BOTH, comparison.accuracies(measure), strict=True)},
        "lacks": comparison.lacks(of_claim=family in claims.CLAIMS, whole=family != reach.EARLIER),
    }


def _positions_compared(tokens: pd.DataFrame) -> Rows:
    """Compare runs in pairs by R2 of the column number in the last tokens, on recordings of people."""
    noise, of_claims = results.position_noise(tokens), claims.pairs([Kind.POSITION])
    known = set(tokens["run"])
    students = [run for run in config.RUNS if run in known and run.startswith("student-") and run != "student-alone"]
    pairs = {(run, "student-alone"): "position" for run in students}
    for (first, second), family in {**pairs, **of_claims}.items():
        for fields, gain, rows in results.position_r2_gain(tokens, first, second, noise):
            schedule, held_out = fields["schedule"], splits.HELD_OUT[fields["protocol"]]
            epochs = config.SCHEDULES[schedule].epochs if schedule in config.SCHEDULES else 0
            both_r2 = (results.explained(rows.assign(missed=rows[name])) for name in ("missed", "missed_base"))
            missing = results.missing_folds(rows, rows["all_speakers"].max())
            alike = int(rows["device"].eq(rows["device_base"]).groupby(rows["seed"]).all().sum())
            lacks = results.lacking(gain.seeds, missing, held_out, epochs, bool(rows["complete"].all()), alike)
            fields |= {"family": family, "measure": "R2", "first": first, "second": second, "held_out": held_out}
            fields |= {"folds": text.ranges(rows["fold"]), "seed_numbers": text.ranges(rows["seed"]), "epochs": epochs}
            fields |= {"utterances": rows["file"].nunique(), "lacks": lacks}
            yield fields | _interval(gain) | {name: side.estimate for name, side in zip(BOTH, both_r2, strict=True)}


@table
def positions(tokens: pd.DataFrame) -> Rows:
    """R2 of the column number, from :func:`results.tokens`: one row per run, split and layer, in the layers' order."""
    noise = results.position_noise(tokens)
    for fields, rows in grouped(tokens, [*PROBED, "layer"], sort=False):
        interval = results.explained(rows, noise.get((fields["corpus"], fields["protocol"])))
        extra = {"last": bool(rows["last"].iloc[0]), "folds": text.ranges(rows["fold"])}
        yield fields | extra | _interval(interval) | {"utterances": rows["file"].nunique()}


@table
def orders(probes: Iterable[Any], run_records: Sequence[Record]) -> Rows:
    """The cost of reordering the columns of speech: one row per run, split and order, the intact order first.

    ``estimate`` is the accuracy (WA) in the intact order, in another the loss; ``changed`` counts changed decisions.
    Intervals are over speakers alone.
    """
    for fields, run_rows in grouped(results.orders(probes, run_records), PROBED, sort=False):
        intact = None
        for order, rows in run_rows.groupby("order", sort=False):
            intact = rows if intact is None else intact
            correct, predicted = (intact[name].to_numpy() for name in ("correct", "predicted"))
            values = correct if rows is intact else correct - rows["correct"].to_numpy()
            mean = metrics.interval(values, rows["speaker"].to_numpy(), seeds=rows["seed"].to_numpy()).within(-1.0, 1.0)
            extra = {"order": order, "utterances": len(rows)}
            extra |= {"folds": text.ranges(rows["fold"]), "seed_numbers": text.ranges(rows["seed"])}
            yield fields | extra | _interval(mean) | {"changed": int((predicted != rows["predicted"]).sum())}


@table
def verdicts(compared: pd.DataFrame, published_rows: pd.DataFrame, orders: pd.DataFrame) -> Rows:
    """One row per part of a claim: its finding, the corpora that decide it, and a sentence with the evidence."""
    for part in claims.PARTS:
        rows = rows_of(part, compared, published_rows)
        finding = claims.finding(part, rows)
        deciding = results.in_order(rows.loc[rows["label"].ne(Finding.PENDING), "corpus"])
        fields = {"claim": part.claim, "part": part.says, "finding": finding.value, "corpora": ", ".join(deciding)}
        yield fields | {"sentence": text.sentence(part, rows, orders, finding)}


def rows_of(part: claims.Part, compared: pd.DataFrame, published_rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the tables ``comparisons`` or ``published`` that test a part of a claim."""
    if part.kind is Kind.PUBLISHED:
        return published_rows[published_rows["run"].isin([run for pair in part.pairs for run in pair])]
    measure = "R2" if part.kind is Kind.POSITION else "WA"
    rows = compared[compared["measure"].eq(measure) & compared["family"].eq(part.claim)]
    return rows.loc[[pair in part.pairs for pair in zip(rows["first"], rows["second"], strict=True)]]
