"""The evidence: everything that pages, cards and commands say of the committed records, made once.

``python -m companion.evidence`` writes into ``build/evidence/``:

``predictions.parquet``   a row a predicted utterance of every committed record
``runs.json``             a row a record: what names it, where, when and by what code it was made
``accuracies.json``       a row a run, condition, part and measure (WA, UA): estimate, interval, seeds, speakers, folds
``published.json``        accuracies of the networks that the paper has, each beside the published one, with a label
``comparisons.json``      a row a pair of runs, condition and measure: difference, interval, adjusted p, label
``positions.json``        R2 of a column's number, a row a run, split and layer
``orders.json``           what another order of the columns costs, a row a run, split and order
``unlabelled.json``       what speaker normalisation gains, by how many utterances of each test speaker it knows
``seeds.json``            what a seed does to all speakers alike, a row a corpus and protocol
``verdicts.json``         a row a part of a claim: finding and sentence

Committed records are the evidence; what a build trains itself stands apart. Readers call :func:`read`, and nothing else
decides which runs are compared or what their label is. Shares are in [0, 1]; a row with nothing in ``lacks`` decides.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serlib.files import atomic_write
from studies import variants

if TYPE_CHECKING:  # a command that only shows verdicts does without
    import pandas as pd

    from companion.results import Comparison
    from serlib.metrics import Interval
    from serlib.records import Record

FOLDER, SOURCES = "build/evidence", "results"
STAMP = "made_from.txt"
_RUN = ["speech", "corpus", "fingerprint", "image", "precision", "schedule", "protocol", "run"]
_INTERVAL = ["estimate", "low", "high", "bound", "detectable", "p", "speakers", "seeds"]
_SIDES = [f"{side}_{name}" for side in ("first", "second") for name in ("estimate", "low", "high")]
_PROBED = ["speech", "corpus", "protocol", "schedule", "run"]
_IMAGES = ["image", "fingerprint"]
# The columns of each table; the provenance of a record adds its own to ``runs``.
COLUMNS = {
    "runs": [*_RUN, "fold", "split", "seed", "epochs", "complete", "device", "result", "hardware", "path"],
    "accuracies": [
        *_RUN, "part", "measure", *_INTERVAL, "folds", "seed_numbers", "missing", "epochs", "utterances", "held_out",
        "complete", "devices", "longest", "independent", "unlabelled",
    ],
    "published": [
        "corpus", "run", "protocol", "held_out", "stated", "trained", *_INTERVAL, "lacks", "label",
    ],
    "comparisons": [
        "family", "measure", "first", "second", *_INTERVAL, "adjusted", "label", "lacks", "corpus", "held_out", "protocol",
        "schedule", "second_schedule", "image", "fingerprint", "precision", "epochs", "folds", "seed_numbers", "utterances",
        "device", *_SIDES,
    ],
    "positions": [*_PROBED, *_IMAGES, "layer", "last", *_INTERVAL, "folds", "utterances"],
    "orders": [*_PROBED, "order", *_INTERVAL, "changed", "folds", "utterances"],
    "unlabelled": ["corpus", "run", "utterances", "measure", "estimate", "low", "high"],
    "seeds": ["corpus", "protocol", "deviation", "df"],
    "verdicts": ["claim", "part", "finding", "sentence"],
}  # fmt: skip
PREDICTIONS = "predictions.parquet"
KEEPS_PREDICTIONS = find_spec("pyarrow") is not None  # `make read`, whose pages need none, does without
CODE = (
    *(
        f"companion/{name}.py"
        for name in ("evidence", "results", "claims", "beyond", "reach", "experiments", "text", "paper")
    ),
    "companion/paper.toml",
    "companion/costs.csv",
    "companion/tried.toml",
    "serlib/metrics.py",
)
PARTIAL = ("additions, for choosing", "additions")  # on some speakers, by their plan


class Evidence:
    """The tables that :func:`make` wrote, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table of :data:`TABLES`, a mapping a row."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def _table(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        rows = self.rows(name)
        return pd.DataFrame(rows, columns=None if rows else COLUMNS[name])

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """See :func:`companion.results.predictions`."""
        import pandas as pd

        return pd.read_parquet(self.folder / PREDICTIONS)

    @cached_property
    def runs(self) -> "pd.DataFrame":
        return self._table("runs")

    @cached_property
    def accuracies(self) -> "pd.DataFrame":
        return self._table("accuracies")

    @cached_property
    def published(self) -> "pd.DataFrame":
        return self._table("published")

    @cached_property
    def comparisons(self) -> "pd.DataFrame":
        return self._table("comparisons")

    @cached_property
    def positions(self) -> "pd.DataFrame":
        return self._table("positions")

    @cached_property
    def orders(self) -> "pd.DataFrame":
        return self._table("orders")

    @cached_property
    def unlabelled(self) -> "pd.DataFrame":
        return self._table("unlabelled")

    @cached_property
    def seeds(self) -> "pd.DataFrame":
        return self._table("seeds")

    @cached_property
    def verdicts(self) -> "pd.DataFrame":
        return self._table("verdicts")


def read(root: Path) -> Evidence:
    """The evidence of a checkout; it is made first where records, or the code that reads them, are others."""
    folder, stamp = root / FOLDER, _stamp(root)
    there = folder / STAMP
    whole = (folder / PREDICTIONS).exists() or not KEEPS_PREDICTIONS
    if not whole or not there.exists() or there.read_text(encoding="utf-8") != stamp:
        print(f"reading the records of {root / SOURCES} ...", file=sys.stderr)
        make(root / SOURCES, folder)
        with atomic_write(there) as beside:
            beside.write_text(stamp, encoding="utf-8")
    return Evidence(folder)


def _stamp(root: Path) -> str:
    """Names the records and the code that a folder of evidence is made from: names and sizes, and the code's bytes."""
    digest = hashlib.sha256()
    for path in sorted((root / SOURCES).rglob("*.json")):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
    for name in CODE:
        digest.update((Path(__file__).parents[1] / name).read_bytes())
    return digest.hexdigest()


def make(sources: Path, folder: Path) -> None:
    """Write every table of the records below ``sources``/recordings and the probes below ``sources``/probes.

    Raises:
        RecordError: a record or a probe cannot be read.
    """
    from companion import results
    from serlib import records

    found = records.read_all(sources / "recordings")
    predicted = results.predictions(found)
    (folder / PREDICTIONS).unlink(missing_ok=True)
    if KEEPS_PREDICTIONS:
        with atomic_write(folder / PREDICTIONS) as beside:
            predicted.to_parquet(beside, index=False)
    for name, table in tables(found, predicted, results.probes(sources / "probes")).items():
        with atomic_write(folder / f"{name}.json") as beside:
            table.to_json(beside, orient="records", indent=1, double_precision=15)


def tables(found: "Sequence[Record]", predicted: "pd.DataFrame", probes: Sequence[Any]) -> "dict[str, pd.DataFrame]":
    """By name the tables of :data:`COLUMNS`, of records, their predictions and probes."""
    from companion import results

    noise, tokens = results.seed_noise(predicted), results.tokens(probes, found)
    made = {
        "runs": runs(found),
        "accuracies": accuracies(predicted, noise),
        "published": published(predicted, noise),
        "comparisons": comparisons(predicted, tokens, noise),
        "positions": positions(probes, found),
        "orders": orders(probes),
        "unlabelled": unlabelled(predicted, noise),
        "seeds": _seeds(noise),
    }
    return made | {"verdicts": verdicts(made["comparisons"], made["published"])}


def runs(found: "Sequence[Record]") -> "pd.DataFrame":
    """A row a record: see :func:`companion.results.runs`; ``path`` is where it lies below ``results``."""
    from companion import results
    from serlib import records

    table = results.runs(found)
    if table.empty:
        return _frame("runs", ())
    named = table[["speech", "corpus", "schedule", "protocol", "fold", "run", "seed", "image"]].itertuples(index=False)
    return table.drop(columns="curves").assign(path=[records.location(*key) for key in named])


def _interval(at: "Interval") -> dict[str, Any]:
    names = ("estimate", "low", "high", "bound", "detectable", "p", "speakers", "seeds")
    return {name: getattr(at, name) for name in names}


def _frame(name: str, rows: Iterable[dict[str, Any]]) -> "pd.DataFrame":
    """A table of :data:`COLUMNS`, none of its columns missing or unknown."""
    import pandas as pd

    rows = list(rows)
    unknown = {column for row in rows for column in row}.difference(COLUMNS[name])
    assert not unknown, unknown
    return pd.DataFrame(rows, columns=COLUMNS[name])


def accuracies(predicted: "pd.DataFrame", noise: Any) -> "pd.DataFrame":
    """A row a run, condition, part and measure.

    ``longest`` marks the rows of :func:`companion.results.longest`, one a corpus, run and protocol; ``independent`` those
    of :func:`companion.results.speaker_independent`; ``unlabelled`` runs that use unlabelled utterances of the test
    speakers.
    """
    from companion import results
    from serlib.data import splits

    keys = [*results.CONDITION, "run"]
    chosen: dict[str, set[tuple]] = {"longest": set(), "independent": set()}
    for _, rows in predicted.groupby("corpus", observed=True):
        chosen["longest"] |= {_key(of, keys) for of in results.longest(rows).values()}
    chosen["independent"] |= {_key(of, keys) for of in results.speaker_independent(predicted).values()}
    found = []
    for key, of_run in predicted.groupby(keys, observed=True):
        about = dict(zip(keys, key, strict=True))
        about |= {name: key in these for name, these in chosen.items()}
        about |= {
            "folds": _ranges(of_run["fold"]),
            "missing": results.missing_folds(of_run),
            "epochs": int(of_run["epochs"].iloc[0]),
            "complete": bool(of_run["complete"].all()),
            "held_out": splits.HELD_OUT[about["protocol"]],
            "devices": ", ".join(sorted(of_run["device"].astype(str).unique())),
            "unlabelled": variants.SPEAKER_NORM in about["run"],
        }
        for part, rows in of_run.groupby("part", observed=True):
            for measure in ("WA", "UA"):
                at = results.accuracy(rows, measure, noise if part != "train" else results.NO_NOISE)
                about_part = {
                    "part": part,
                    "measure": measure,
                    "seed_numbers": _ranges(results.fullest_seeds(rows)["seed"]),
                }
                found.append(about | about_part | _interval(at) | {"utterances": rows["utterance"].nunique()})
    return _frame("accuracies", found)


def _key(rows: "pd.DataFrame", names: list[str]) -> tuple:
    return tuple(rows[names].iloc[0])


def _ranges(numbers: Iterable[int]) -> str:
    from companion import text

    return text.ranges(numbers)


def _seeds(noise: Any) -> "pd.DataFrame":
    rows = (
        {"corpus": key[0], "protocol": key[1], "deviation": of.variance**0.5, "df": of.df} for key, of in noise.items()
    )
    return _frame("seeds", rows)


def unlabelled(predicted: "pd.DataFrame", noise: Any) -> "pd.DataFrame":
    """See :func:`companion.results.by_unlabelled`; and ``measure``."""
    import pandas as pd

    from companion import results

    return pd.concat(
        results.by_unlabelled(predicted, measure, noise).assign(measure=measure) for measure in ("WA", "UA")
    )


def published(predicted: "pd.DataFrame", noise: Any) -> "pd.DataFrame":
    """A row a corpus, protocol and network that the paper has: measured, on the training set, published, label."""
    from companion import claims, results
    from serlib import config
    from serlib.data import splits

    counts = predicted["protocol"].isin(splits.PROTOCOLS) & predicted["image"].eq(config.Features().images)
    found = []
    for corpus in results.in_order(predicted["corpus"].unique()):
        rows_of = results.longest(predicted[counts & predicted["corpus"].eq(corpus)])
        for (run, protocol), rows in rows_of.items():
            stated = claims.published(corpus, run)
            if stated is None:
                continue
            at = results.accuracy(results.test(rows), noise=noise)
            trained = results.accuracy(rows[rows["part"] == "train"])
            missing, epochs, held_out = results.missing_folds(rows), rows["epochs"].iloc[0], splits.HELD_OUT[protocol]
            lacks = [] if held_out == splits.NEW else [held_out]
            lacks += [f"{epochs} epochs"] if epochs < config.SCHEDULES["paper"].epochs else []
            lacks += [] if rows["complete"].all() else ["not the corpus as published"]
            lacks += [f"{missing} folds missing"] if missing else []
            lacks += [f"{at.seeds} of {results.SEEDS} seeds"] if at.seeds < results.SEEDS else []
            label = claims.Finding.PENDING if lacks else claims.beside_published(at, stated)
            about = {"corpus": corpus, "run": run, "protocol": protocol, "held_out": held_out, "stated": stated}
            about |= {"trained": trained.estimate, "lacks": "; ".join(lacks), "label": label.value}
            found.append(about | _interval(at))
    return _frame("published", found)


def comparisons(predicted: "pd.DataFrame", tokens: "pd.DataFrame", noise: Any) -> "pd.DataFrame":
    """Every comparison of the book, once: a row a pair of runs, condition and measure (WA, UA, R2).

    ``family`` is the claim that it tests, or the question that it belongs to; p-values are adjusted within it.
    """
    from companion import claims

    found: dict[tuple, dict[str, Any]] = {}
    for family, measures, c in _compared(predicted, noise):
        for measure in measures:
            row = _comparison(family, measure, c)
            found.setdefault(tuple(row[name] for name in _COMPARED), row)
    table = _frame("comparisons", [*found.values(), *_unmeasured(found.values()), *_position_rows(tokens)])
    return claims.labelled(table)


_COMPARED = (
    "first",
    "second",
    "measure",
    "corpus",
    "protocol",
    "schedule",
    "second_schedule",
    "image",
    "fingerprint",
    "folds",
)


def _compared(predicted: "pd.DataFrame", noise: Any) -> Iterator[tuple[str, tuple[str, ...], "Comparison"]]:
    """Family, measures, comparison; what is given first names a comparison's family."""
    from companion import beyond, claims, reach, results
    from serlib import config

    tested = claims.pairs()
    runs = [("student-tokens", "student-alone"), ("student-tokens", "student-alone-long")]
    runs += [("student-pooled", "student-tokens"), ("student-alone", "teacher"), ("student-pooled", "teacher")]
    runs += [("teacher", run) for run in config.RUNS if run.startswith("teacher-")]
    for pair, family in {**dict.fromkeys(runs, "other runs"), **tested}.items():
        yield from ((family, ("WA",), c) for c in claims.measured(pair, predicted, noise))
    alike = [name for name in results.CONDITION if name not in ("schedule", "precision")]
    paper = predicted[predicted["schedule"] == "paper"]
    for schedule in ("short", "paper-bf16"):
        other = predicted[predicted["schedule"] == schedule]
        yield from (("schedules", ("WA",), c) for c in results.compare(paper, other, [*alike, "run"], noise))
    for corpus in results.in_order(predicted["corpus"].unique()):
        here = predicted[predicted["corpus"] == corpus]
        tried = beyond.tried(here, noise)
        yield from (("additions, for choosing", ("UA",), c) for c in tried.values())
        reported = beyond.reported(here, beyond.chosen(tried), beyond.choosers(tried), noise) if tried else None
        if reported is not None:
            yield "additions", ("UA", "WA"), reported
    scores = reach.scores(predicted)
    if reach.complete(scores):
        for pair in reach.report_pairs(scores):
            yield from (("steps", ("UA", "WA"), c) for c in reach.reported(predicted, *pair, noise).values())


def _comparison(family: str, measure: str, c: "Comparison") -> dict[str, Any]:
    from companion import claims

    lacks = c.lacks_for_a_claim if claims.parts_of(family) else c.lacks(whole=family not in PARTIAL)
    about = {
        name: getattr(c, name) for name in ("first", "second", "corpus", "protocol", "schedule", "image", "fingerprint")
    }
    about |= {"second_schedule": c.theirs["schedule"].iloc[0], "precision": c.precision, "held_out": c.held_out}
    about |= {"folds": _ranges(c.folds), "seed_numbers": _ranges(c.seeds), "utterances": c.utterances}
    about |= {"epochs": c.epochs_of_both, "device": _devices(c)}
    sides = dict(zip(("first", "second"), c.accuracies(measure=measure), strict=True))
    reached = {
        f"{side}_{name}": getattr(at, name) for side, (_, at) in sides.items() for name in ("estimate", "low", "high")
    }
    return (
        {"family": family, "measure": measure}
        | about
        | _interval(c.gain(measure))
        | reached
        | {"lacks": "; ".join(lacks)}
    )


def _devices(c: "Comparison") -> str:
    """``CPU``, or ``CPU against GPU`` where the two runs were trained on different kinds."""
    sides = [" and ".join(sorted(c.joined[name].astype(str).unique())) for name in ("device", "device_theirs")]
    return sides[0] if sides[0] == sides[1] else " against ".join(sides)


def _unmeasured(there: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for every pair of a claim and corpus of the paper without a comparison on new speakers."""
    from companion import claims
    from serlib.data import facts, splits

    known = {(row["first"], row["second"], row["corpus"]) for row in there if row["held_out"] == splits.NEW}
    for pair, claim in claims.pairs().items():
        for corpus in facts.CORPORA:
            if (*pair, corpus) not in known:
                about = {"family": claim, "measure": "WA", "first": pair[0], "second": pair[1], "corpus": corpus}
                yield about | {"held_out": splits.NEW, "lacks": "not measured", "p": None, "estimate": None}


def _position_rows(tokens: "pd.DataFrame") -> Iterator[dict[str, Any]]:
    """R2 of a column's number in the last tokens, one run against another, people's recordings."""
    from companion import claims, results
    from serlib import config
    from serlib.data import splits

    noise, of_claims = results.position_noise(tokens), claims.pairs([claims.Kind.POSITION])
    asked = {(run, "student-alone"): "position" for run in config.RUNS if run.startswith("student-")}
    for pair, family in {**asked, **of_claims}.items():
        for (corpus, protocol, schedule, *images), (gain, rows) in results.position_r2_gain(
            tokens, *pair, noise
        ).items():
            missing = results.missing_folds(rows)
            epochs = config.SCHEDULES[schedule].epochs if schedule in config.SCHEDULES else 0
            lacks = [] if splits.HELD_OUT[protocol] == splits.NEW else [splits.HELD_OUT[protocol]]
            lacks += [f"{missing} folds missing"] if missing else []
            lacks += [f"{epochs} epochs"] if epochs < config.SCHEDULES["paper"].epochs else []
            lacks += [f"{gain.seeds} of {results.SEEDS} seeds"] if gain.seeds < results.SEEDS else []
            sides = {"first": rows["missed"], "second": rows["missed_base"]}
            reached = {
                f"{side}_{name}": getattr(results.explained(rows.assign(missed=missed)), name)
                for side, missed in sides.items()
                for name in ("estimate", "low", "high")
            }
            about = {"family": family, "measure": "R2", "first": pair[0], "second": pair[1], "corpus": corpus}
            about |= {
                "protocol": protocol,
                "schedule": schedule,
                "held_out": splits.HELD_OUT[protocol],
                "epochs": epochs,
            }
            about |= dict(zip(_IMAGES, images, strict=True))
            about |= {"folds": _ranges(rows["fold"]), "seed_numbers": _ranges(rows["seed"])}
            yield about | _interval(gain) | reached | {"utterances": rows["file"].nunique(), "lacks": "; ".join(lacks)}


def positions(probes: Iterable[Any], found: "Iterable[Record]" = ()) -> "pd.DataFrame":
    """R2 of a column's number, a row a run, split and layer, in the order of the layers; of probes and their records."""
    from companion import results

    tokens = results.tokens(probes, found)
    noise, keys = results.position_noise(tokens), [*_PROBED, *_IMAGES]
    found = []
    for key, of_run in tokens.groupby(keys, sort=False):
        about = dict(zip(keys, key, strict=True))
        for layer, rows in of_run.groupby("layer", sort=False):
            at = results.explained(rows, noise.get((about["corpus"], about["protocol"])))
            counted = {"layer": layer, "last": bool(rows["last"].iloc[0]), "folds": _ranges(rows["fold"])}
            found.append(about | counted | _interval(at) | {"utterances": rows["file"].nunique()})
    return _frame("positions", found)


def orders(probes: Iterable[Any]) -> "pd.DataFrame":
    """What another order of the columns of speech costs: a row a run, split and order, the intact order first.

    ``estimate`` is the accuracy (WA) as it is, and the loss of accuracy in another order; ``changed`` counts decisions.
    """
    from companion import results
    from serlib import metrics

    keys, found = ["speech", "corpus", "protocol", "schedule", "run"], []
    for key, of_run in results.orders(probes).groupby(keys, sort=False):
        about, intact = dict(zip(keys, key, strict=True)), None
        for order, rows in of_run.groupby("order", sort=False):
            intact = rows if intact is None else intact
            right, predicted = (intact[name].to_numpy() for name in ("correct", "predicted"))
            values = right if rows is intact else right - rows["correct"].to_numpy()
            at = metrics.interval(values, rows["speaker"].to_numpy(), seeds=rows["seed"].to_numpy())
            counted = {"order": order, "folds": _ranges(rows["fold"]), "utterances": len(rows)}
            found.append(
                about
                | counted
                | _interval(at.within(-1.0, 1.0))
                | {"changed": int((predicted != rows["predicted"]).sum())}
            )
    return _frame("orders", found)


def verdicts(compared: "pd.DataFrame", beside: "pd.DataFrame") -> "pd.DataFrame":
    """A row a part of a claim: the finding, and a sentence that says what it rests on."""
    from companion import claims, text

    found = []
    for part in claims.PARTS:
        rows = rows_of(part, compared, beside)
        said = {"finding": claims.finding(part, rows).value, "sentence": text.sentence(part, rows)}
        found.append({"claim": part.claim, "part": part.says} | said)
    return _frame("verdicts", found)


def rows_of(part: Any, compared: "pd.DataFrame", beside: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of the tables ``comparisons`` or ``published`` that a part of a claim rests on."""
    from companion.claims import Kind

    if part.kind is Kind.PUBLISHED:
        return beside[beside["run"].isin([run for pair in part.pairs for run in pair])]
    measure = "R2" if part.kind is Kind.POSITION else "WA"
    pairs = compared[["first", "second"]].apply(tuple, axis=1).isin(part.pairs)
    return compared[pairs & compared["measure"].eq(measure) & compared["family"].eq(part.claim)]


def main(root: Path = Path()) -> None:
    read(root)


if __name__ == "__main__":
    main()
