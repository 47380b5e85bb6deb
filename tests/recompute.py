"""``python -m tests.recompute``: every accuracy and difference of the evidence, computed anew from the raw records.

Written for itself: it reads JSON, knows nothing of ``companion`` or ``serlib``, and compares with ``build/evidence``, from
which pages, cards and commands take their numbers. Estimates must agree to 1e-9.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from math import fsum
from operator import itemgetter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = re.compile(r" \((?:original|speed|noise|time shift)\)$")
DRAWN = ("random", "augmented-leaky", "augmented-grouped")  # protocols whose fold is a draw
Key = tuple[str, str, str, str, str]  # corpus, run, schedule, protocol, images


def numbers(listed: str) -> set[int]:
    """``0-9`` or ``0, 2`` as numbers."""
    if match := re.fullmatch(r"(\d+)-(\d+)", listed):
        return set(range(int(match[1]), int(match[2]) + 1))
    return {int(number) for number in listed.split(", ")}


def raw(folder: Path) -> dict[Key, list[dict[str, Any]]]:
    """Every record, by what names it."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        about = record["configuration"]
        images = path.relative_to(folder).parts[1]
        found[record["corpus"], about["name"], about["schedule"], record["protocol"], images].append(record)
    return found


def reached(
    records: Iterable[dict[str, Any]], part: str, folds: Iterable[int], seeds: Iterable[int]
) -> tuple[dict[str, float], set[str]]:
    """WA and UA, and the utterances behind them.

    WA is the mean over utterances, each counted once a repetition; several versions of it are several answers. UA is the
    mean of the emotions' means. Part "unchanged" is the test set without versions.
    """
    part, unchanged = ("test", True) if part == "unchanged" else (part, False)
    answers: dict[tuple[int, str], list[Any]] = {}  # (repetition, utterance) to emotion, right answers, all answers
    for record in records:
        seed, fold = record["configuration"]["training"]["seed"], record["fold"]
        if fold not in folds or (record["protocol"] not in DRAWN and seed not in seeds) or part not in record["parts"]:
            continue
        repetition = fold if record["protocol"] in DRAWN else seed
        columns = record["parts"][part]
        for file, true, predicted in zip(*(columns[name] for name in ("file", "true", "predicted")), strict=True):
            utterance = VERSIONS.sub("", file) if file.endswith(")") else file
            if not unchanged or utterance == file:
                of = answers.setdefault((repetition, utterance), [record["emotions"][true], 0, 0])
                of[1] += true == predicted
                of[2] += 1
    by_emotion = defaultdict(list)
    for emotion, right, several in answers.values():
        by_emotion[emotion].append(right / several)
    means = [fsum(shares) / len(shares) for shares in by_emotion.values()]
    measures = {"WA": fsum(map(fsum, by_emotion.values())) / len(answers), "UA": fsum(means) / len(means)}
    return measures, {utterance for _, utterance in answers}


def whole(records: list[dict[str, Any]]) -> set[int]:
    """The seeds with the most folds."""
    folds = defaultdict(set)
    for record in records:
        folds[record["configuration"]["training"]["seed"]].add(record["fold"])
    most = max(map(len, folds.values()))
    return {seed for seed, of_seed in folds.items() if len(of_seed) == most}


def accuracies(found: dict[Key, list[dict[str, Any]]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for every accuracy that is another."""
    alike = itemgetter("corpus", "run", "schedule", "protocol", "image", "part", "folds")
    for (*key, part, folds), both in groupby(rows, alike):
        records = [record for record in found[tuple(key)] if part.replace("unchanged", "test") in record["parts"]]
        here, _ = reached(records, part, numbers(folds), whole(records))
        for row in both:
            if abs(here[row["measure"]] - row["estimate"]) > 1e-9:
                yield f"{' '.join(key)} {part} {row['measure']}: {row['estimate']} is {here[row['measure']]}"


def differences(found: dict[Key, list[dict[str, Any]]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for every difference that is another."""
    for row in rows:
        if row["measure"] == "R2" or row["estimate"] is None:
            continue
        folds, seeds = numbers(row["folds"]), numbers(row["seed_numbers"])
        sides = []
        for run, schedule in ((row["first"], row["schedule"]), (row["second"], row["second_schedule"])):
            records = found[row["corpus"], run, schedule, row["protocol"], row["image"]]
            there = {record["configuration"]["training"]["seed"] for record in records}
            sides.append(reached(records, "test", folds, seeds if seeds <= there else there))
        (ours, heard), (theirs, heard_by_theirs) = sides
        difference = ours[row["measure"]] - theirs[row["measure"]]  # the same utterances: a difference of means
        if heard != heard_by_theirs:
            yield f"{row['first']} and {row['second']}, {row['corpus']}: not the same test utterances"
        if abs(difference - row["estimate"]) > 1e-9:
            yield f"{row['first']} minus {row['second']}, {row['corpus']} {row['protocol']} {row['measure']}: {row['estimate']} is {difference}"


def compared(root: Path) -> tuple[int, list[str]]:
    """How many numbers were computed anew, and a line for each that is another."""
    found = raw(root / "results/recordings")
    tables = {
        name: json.loads((root / f"build/evidence/{name}.json").read_text()) for name in ("accuracies", "comparisons")
    }
    wrong = [*accuracies(found, tables["accuracies"]), *differences(found, tables["comparisons"])]
    return sum(
        row["estimate"] is not None and row["measure"] != "R2" for rows in tables.values() for row in rows
    ), wrong


def main() -> int:
    count, wrong = compared(ROOT)
    print("\n".join([*wrong, f"{count} accuracies and differences computed anew: {len(wrong)} differ"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
