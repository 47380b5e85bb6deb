"""``python -m tests.recompute``: every accuracy and difference of the evidence, computed anew from the raw records.

Written for itself: it reads JSON, knows nothing of ``companion`` or ``serlib``, and compares with ``build/evidence``, from
which pages, cards and commands take their numbers. Estimates must agree to 1e-9.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = re.compile(r" \((?:original|speed|noise|time shift)\)$")
DRAWN = ("random", "augmented-leaky", "augmented-grouped")  # protocols whose fold is a draw
Key = tuple[str, str, str, str, str]  # corpus, run, schedule, protocol, images
Right = dict[tuple[int, str], list[tuple[str, str, bool]]]  # (repetition, utterance) to speaker, emotion, right


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


def answers(records: Iterable[dict[str, Any]], part: str, folds: set[int], seeds: set[int]) -> Right:
    """Each utterance's answers in each repetition; several versions of it are several answers. "unchanged": no version."""
    part, unchanged = ("test", True) if part == "unchanged" else (part, False)
    found: Right = defaultdict(list)
    for record in records:
        seed, fold = record["configuration"]["training"]["seed"], record["fold"]
        if fold not in folds or (record["protocol"] not in DRAWN and seed not in seeds) or part not in record["parts"]:
            continue
        repetition = fold if record["protocol"] in DRAWN else seed
        columns = record["parts"][part]
        for file, speaker, true, predicted in zip(
            *(columns[name] for name in ("file", "speaker", "true", "predicted")), strict=True
        ):
            if unchanged and VERSIONS.search(file):
                continue
            emotion = record["emotions"][true]
            found[repetition, VERSIONS.sub("", file)].append((speaker, emotion, true == predicted))
    return found


def mean(values: Right, measure: str) -> float:
    """WA: the mean over utterances, each counted once a repetition; UA: the mean of the emotions' means."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for several in values.values():
        of = sums[several[0][1] if measure == "UA" else ""]
        of[0] += sum(float(right) for _, _, right in several) / len(several)
        of[1] += 1
    return sum(right / total for right, total in sums.values()) / len(sums)


def whole(records: list[dict[str, Any]]) -> set[int]:
    """The seeds with the most folds."""
    folds = defaultdict(set)
    for record in records:
        folds[record["configuration"]["training"]["seed"]].add(record["fold"])
    most = max(map(len, folds.values()))
    return {seed for seed, of in folds.items() if len(of) == most}


def accuracies(found: dict[Key, list[dict[str, Any]]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for every accuracy that is another."""
    for row in rows:
        records = found[row["corpus"], row["run"], row["schedule"], row["protocol"], row["image"]]
        part = "test" if row["part"] == "unchanged" else row["part"]
        records = [record for record in records if part in record["parts"]]
        values = answers(records, row["part"], numbers(row["folds"]), whole(records))
        if abs(mean(values, row["measure"]) - row["estimate"]) > 1e-9:
            yield f"{row['corpus']} {row['run']} {row['protocol']} {row['part']} {row['measure']}: {row['estimate']} is {mean(values, row['measure'])}"


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
            sides.append(answers(records, "test", folds, seeds if seeds <= there else there))
        reached = [mean(side, row["measure"]) for side in sides]  # the same utterances: a difference of means
        if {utterance for _, utterance in sides[0]} != {utterance for _, utterance in sides[1]}:
            yield f"{row['first']} and {row['second']}, {row['corpus']}: not the same test utterances"
        if abs(reached[0] - reached[1] - row["estimate"]) > 1e-9:
            yield f"{row['first']} minus {row['second']}, {row['corpus']} {row['protocol']} {row['measure']}: {row['estimate']} is {reached[0] - reached[1]}"


def compared(root: Path) -> tuple[int, list[str]]:
    """How many numbers were computed anew, and a line for each that is another."""
    found = raw(root / "results/recordings")
    tables = {
        name: json.loads((root / f"build/evidence/{name}.json").read_text()) for name in ("accuracies", "comparisons")
    }
    wrong = [*accuracies(found, tables["accuracies"]), *differences(found, tables["comparisons"])]
    return sum(row["estimate"] is not None and row["measure"] != "R2" for of in tables.values() for row in of), wrong


def main() -> int:
    count, wrong = compared(ROOT)
    print("\n".join([*wrong, f"{count} accuracies and differences computed anew: {len(wrong)} differ"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
