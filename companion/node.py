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
from studies import probed, variants

Rows = Iterator[dict[str, Any]]
EARLIER = "additions, for choosing"  # a family on some speakers, by its plan
# What names a comparison: of two that agree in it, the first gives the family.
COMPARED = ["first", "second", "measure", "corpus", "protocol", "schedule", "second_schedule", "image", "fingerprint"]


def make(sources: Path, folder: Path) -> None:
    """Write every table of the records below ``sources``/recordings and the probes below ``sources``/probes.

    Raises:
        RecordError: a record or a probe cannot be read.
    """
    found = records.read_all(sources / "recordings")
    predicted = results.predictions(found)
    if evidence.KEEPS_PREDICTIONS:
        with atomic_write(folder / PREDICTIONS) as beside:
            predicted.to_parquet(beside, index=False)
    else:  # those of other records would stay
        (folder / PREDICTIONS).unlink(missing_ok=True)
    for name, table in tables(found, predicted, probed.read_all(sources / "probes")).items():
        with atomic_write(folder / f"{name}.json") as beside:
            table.to_json(beside, orient="records", indent=1, double_precision=15)


def tables(found: Sequence[records.Record], predicted: pd.DataFrame, probes: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """By name the tables of :data:`companion.evidence.COLUMNS`, of records, their predictions and probes."""
    noise, tokens = results.seed_noise(predicted), results.tokens(probes, found)
    reached, tries = accuracies(predicted, noise), reach.tries(reach.scores(predicted))
    made = {
        "runs": runs(found),
        "accuracies": reached,
        "published": published(reached),
        "comparisons": claims.labelled(comparisons(predicted, tokens, tries, noise)),
        "positions": positions(tokens),
        "orders": orders(probes),
        "tries": tries,
        "seeds": seeds(noise),
    }
    return made | {"verdicts": verdicts(made["comparisons"], made["published"], made["orders"])}


def table(rows: Callable[..., Iterable[dict[str, Any]]]) -> Callable[..., pd.DataFrame]:
    """What a function of this module yields as the table of its name, no column missing or unknown."""

    @wraps(rows)
    def made(*given: Any) -> pd.DataFrame:
        found, columns = list(rows(*given)), COLUMNS[rows.__name__]
        if unknown := {column for row in found for column in row}.difference(columns):
            raise KeyError(f"{rows.__name__}: unknown columns {', '.join(sorted(unknown))}")
        return pd.DataFrame(found, columns=columns)

    return made


def runs(found: Sequence[records.Record]) -> pd.DataFrame:
    """A row a record: what names it, all of its provenance, and ``path``, where it lies below ``results``."""
    made = []
    for r in found:
        named = {"result": r.result, "hardware": r.provenance.get("device", ""), "path": r.location}
        made.append(r.provenance | results.identity(r) | named)
    return pd.DataFrame(made) if made else pd.DataFrame(columns=COLUMNS["runs"])


def _interval(at: metrics.Interval) -> dict[str, Any]:
    return {name: getattr(at, name) for name in INTERVAL}


def accuracies(predicted: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    """A row a run, condition, part and measure; part "unchanged" is without the changed versions of test utterances.

    ``longest`` marks the rows of :func:`companion.results.longest`, one a corpus, run and protocol. ``independent`` marks
    of them those with every fold of one protocol whose test speakers are new, the same for all runs of a corpus: the
    protocol with the most runs. ``unlabelled`` marks runs that use unlabelled utterances of the test speakers.
    """
    made, keys = _accuracies(predicted, noise), [*results.CONDITION, "run"]
    longest = pd.MultiIndex.from_frame(made[keys]).isin(pd.MultiIndex.from_frame(results.longest(predicted)[keys]))
    whole = longest & made["protocol"].isin(results.APART) & made["missing"].eq(0)
    runs_of = made[whole].groupby(["corpus", "protocol"])["run"].nunique().unstack().reindex(columns=results.APART)
    independent = whole & made["protocol"].eq(made["corpus"].map(runs_of.idxmax(axis=1)))
    return made.assign(longest=longest, independent=independent)


def _accuracies(predicted: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    rows = []
    for about, of_run in grouped(predicted, [*results.CONDITION, "run"]):
        about |= {
            "folds": text.ranges(of_run["fold"]),
            "missing": results.missing_folds(of_run),
            "epochs": int(of_run["epochs"].iloc[0]),
            "complete": bool(of_run["complete"].all()),
            "held_out": splits.HELD_OUT[about["protocol"]],
            "devices": ", ".join(sorted(of_run["device"].unique())),
            "unlabelled": variants.SPEAKER_NORM in about["run"],
        }
        parts = dict(iter(of_run.groupby("part", observed=True)))
        if about["protocol"] in splits.AUGMENTED:
            tested = parts["test"]
            parts["unchanged"] = tested[tested["file"].astype(str).eq(tested["utterance"].astype(str))]
        for part, of in parts.items():
            about |= {"part": part, "seed_numbers": text.ranges(results.fullest_seeds(of)["seed"])}
            about |= {"utterances": of["utterance"].nunique()}
            for measure, at in results.accuracies(of, noise if part != "train" else results.NO_NOISE).items():
                rows.append(about | {"measure": measure} | _interval(at))
    return pd.DataFrame(rows, columns=COLUMNS["accuracies"])


@table
def seeds(noise: Noise) -> Rows:
    """What a seed does to all speakers alike."""
    for (corpus, protocol), of in noise.items():
        yield {"corpus": corpus, "protocol": protocol, "deviation": of.variance**0.5, "df": of.df}


@table
def published(accuracies: pd.DataFrame) -> Rows:
    """A row a corpus, protocol and network that the paper has: measured, on the training set, published, label."""
    shown = accuracies["longest"] & accuracies["measure"].eq("WA") & accuracies["image"].eq(config.Features().images)
    rows = accuracies[shown & accuracies["protocol"].isin(splits.PROTOCOLS) & accuracies["run"].isin(claims.NETWORKS)]
    names, order = ["corpus", "run", "protocol"], results.in_order(rows["corpus"])
    trained = rows[rows["part"] == "train"].set_index(names)["estimate"]

    def place(row: Any) -> tuple:
        return order.index(row.corpus), results.place(row.run), splits.PROTOCOLS.index(row.protocol)

    for row in sorted(rows[rows["part"] == "test"].itertuples(), key=place):
        if stated := claims.published(row.corpus, row.run):
            lacks = results.lacking(row.seeds, row.missing, row.held_out, row.epochs, row.complete)
            label = Finding.PENDING if lacks else claims.beside_published(row, stated)
            about = {name: getattr(row, name) for name in (*names, "held_out", *INTERVAL)}
            about |= {"stated": stated, "trained": trained.get((row.corpus, row.run, row.protocol))}
            yield about | {"lacks": lacks, "label": label.value}


@table
def comparisons(predicted: pd.DataFrame, tokens: pd.DataFrame, tries: pd.DataFrame, noise: Noise) -> Rows:
    """Every comparison of the book, once: a row a pair of runs, condition and measure (WA, UA, R2), still without a label.

    ``family`` is the claim that it tests, or the question that it belongs to; p-values are adjusted within it.
    """
    found: dict[tuple, dict[str, Any]] = {}
    for family, measures, c in _compared(predicted, tries, noise):
        for measure in measures:
            row = _comparison(family, measure, c)
            found.setdefault(tuple(row[name] for name in (*COMPARED, "folds")), row)
    yield from found.values()
    # A row for every pair of a claim and corpus of the paper without a comparison on new speakers.
    known = {(row["first"], row["second"], row["corpus"]) for row in found.values() if row["held_out"] == splits.NEW}
    for pair, claim in claims.pairs().items():
        for corpus in facts.CORPORA:
            if (*pair, corpus) not in known:
                about = {"family": claim, "measure": "WA", "first": pair[0], "second": pair[1], "corpus": corpus}
                yield about | {"held_out": splits.NEW, "lacks": "not measured", "p": None, "estimate": None}
    yield from _positions_compared(tokens)


def _compared(
    predicted: pd.DataFrame, tries: pd.DataFrame, noise: Noise
) -> Iterator[tuple[str, tuple[str, ...], Comparison]]:
    """Family, measures, comparison."""
    others = [("student-tokens", "student-alone"), ("student-tokens", "student-alone-long")]
    others += [("student-pooled", "student-tokens"), ("student-alone", "teacher"), ("student-pooled", "teacher")]
    others += [("teacher", run) for run in config.RUNS if run.startswith("teacher-")]
    counts = predicted["speech"].eq("recordings") & ~predicted["schedule"].isin(results.BEYOND)
    by_run = dict(iter(predicted[counts & predicted["protocol"].isin(splits.PROTOCOLS)].groupby("run", observed=True)))
    for pair, family in {**dict.fromkeys(others, "other runs"), **claims.pairs()}.items():
        if by_run.keys() >= set(pair):
            yield from ((family, ("WA",), c) for c in claims.measured(pair, by_run, noise))
    alike = [name for name in results.CONDITION if name not in ("schedule", "precision")]
    by_schedule = {name: predicted[predicted["schedule"] == name] for name in ("paper", "short", "paper-bf16")}
    for other in ("short", "paper-bf16"):
        found = results.compare(by_schedule["paper"], by_schedule[other], [*alike, "run"], noise)
        yield from (("schedules", ("WA",), c) for c in found)
    chosen_on = predicted[predicted["protocol"].eq(splits.SELECTION)]
    for corpus in results.in_order(chosen_on["corpus"].unique()):
        yield from ((EARLIER, ("UA",), c) for c in reach.earlier(chosen_on[chosen_on["corpus"] == corpus], noise))
    for pair in [] if tries.empty else reach.report_pairs(tries):
        yield from (("steps", ("UA", "WA"), c) for c in reach.reported(predicted, *pair, noise).values())


def _comparison(family: str, measure: str, c: Comparison) -> dict[str, Any]:
    devices = [" and ".join(sorted(c.joined[name].unique())) for name in ("device", "device_theirs")]
    return {
        "family": family,
        "measure": measure,
        **{name: getattr(c, name) for name in results.NAMED},
        "second_schedule": c.theirs["schedule"].iloc[0],
        "folds": text.ranges(c.folds),
        "seed_numbers": text.ranges(c.seeds),
        "epochs": c.epochs_of_both,
        "device": " against ".join(dict.fromkeys(devices)),
        **_interval(c.gain(measure)),
        **_sides(*c.accuracies(measure)),
        "lacks": c.lacks(of_claim=family in claims.CLAIMS, whole=family != EARLIER),
    }


def _sides(first: metrics.Interval, second: metrics.Interval) -> dict[str, float]:
    return {"first_estimate": first.estimate, "second_estimate": second.estimate}


def _positions_compared(tokens: pd.DataFrame) -> Rows:
    """R2 of a column's number in the last tokens, one run against another, people's recordings."""
    noise, of_claims = results.position_noise(tokens), claims.pairs([Kind.POSITION])
    there = set(tokens["run"])
    asked = {(run, "student-alone"): "position" for run in config.RUNS if run in there and run.startswith("student-")}
    for (first, second), family in {**asked, **of_claims}.items():
        for about, gain, rows in results.position_r2_gain(tokens, first, second, noise):
            schedule, held_out = about["schedule"], splits.HELD_OUT[about["protocol"]]
            epochs = config.SCHEDULES[schedule].epochs if schedule in config.SCHEDULES else 0
            reached = (results.explained(rows.assign(missed=rows[name])) for name in ("missed", "missed_base"))
            yield {
                "family": family,
                "measure": "R2",
                "first": first,
                "second": second,
                **about,
                "held_out": held_out,
                "epochs": epochs,
                "folds": text.ranges(rows["fold"]),
                "seed_numbers": text.ranges(rows["seed"]),
                **_interval(gain),
                **_sides(*reached),
                "utterances": rows["file"].nunique(),
                "lacks": results.lacking(gain.seeds, results.missing_folds(rows), held_out, epochs),
            }


@table
def positions(tokens: pd.DataFrame) -> Rows:
    """R2 of a column's number, a row a run, split and layer, in the order of the layers; of :func:`results.tokens`."""
    noise = results.position_noise(tokens)
    for about, rows in grouped(tokens, [*PROBED, "image", "fingerprint", "layer"], sort=False):
        at = results.explained(rows, noise.get((about["corpus"], about["protocol"])))
        counted = {"last": bool(rows["last"].iloc[0]), "folds": text.ranges(rows["fold"])}
        yield about | counted | _interval(at) | {"utterances": rows["file"].nunique()}


@table
def orders(probes: Iterable[Any]) -> Rows:
    """What another order of the columns of speech costs: a row a run, split and order, the intact order first.

    ``estimate`` is the accuracy (WA) as it is, and the loss of accuracy in another order; ``changed`` counts decisions.
    """
    for about, of_run in grouped(results.orders(probes), PROBED, sort=False):
        intact = None
        for order, rows in of_run.groupby("order", sort=False):
            intact = rows if intact is None else intact
            right, predicted = (intact[name].to_numpy() for name in ("correct", "predicted"))
            values = right if rows is intact else right - rows["correct"].to_numpy()
            at = metrics.interval(values, rows["speaker"].to_numpy(), seeds=rows["seed"].to_numpy()).within(-1.0, 1.0)
            counted = {"order": order, "folds": text.ranges(rows["fold"]), "utterances": len(rows)}
            yield about | counted | _interval(at) | {"changed": int((predicted != rows["predicted"]).sum())}


@table
def verdicts(compared: pd.DataFrame, beside: pd.DataFrame, orders: pd.DataFrame) -> Rows:
    """A row a part of a claim: the finding, the corpora of the rows that decide, and a sentence that says what it rests on."""
    for part in claims.PARTS:
        rows = rows_of(part, compared, beside)
        found = claims.finding(part, rows)
        decide = results.in_order(rows.loc[rows["label"].ne(Finding.PENDING), "corpus"])
        about = {"claim": part.claim, "part": part.says, "finding": found.value, "corpora": ", ".join(decide)}
        yield about | {"sentence": text.sentence(part, rows, orders, found)}


def rows_of(part: claims.Part, compared: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
    """The rows of the tables ``comparisons`` or ``published`` that a part of a claim rests on."""
    if part.kind is Kind.PUBLISHED:
        return beside[beside["run"].isin([run for pair in part.pairs for run in pair])]
    measure = "R2" if part.kind is Kind.POSITION else "WA"
    rows = compared[compared["measure"].eq(measure) & compared["family"].eq(part.claim)]
    return rows.loc[[pair in part.pairs for pair in zip(rows["first"], rows["second"], strict=True)]]
