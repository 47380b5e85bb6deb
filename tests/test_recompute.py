"""The evidence against a program of its own, and the pages against the evidence."""

import ast
import json
import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import SPEAKERS, evidence_of, outcome

from companion import evidence, labels, text
from serlib import records
from tests import recompute

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "_build/html").glob("*/*.html"))


def test_every_accuracy_and_difference_is_computed_anew():
    evidence.read(ROOT)
    count, wrong = recompute.compared(ROOT)
    assert wrong == []
    assert count > 500


def test_one_changed_number_is_found(tmp_path: Path):
    half = dict.fromkeys(SPEAKERS, 2)
    found = [*outcome("student-pooled", half), *outcome("student-alone", dict.fromkeys(SPEAKERS, 3))]
    folder = evidence_of(tmp_path, *found).folder
    assert recompute.compared(tmp_path)[1] == []
    for name, changed in (("accuracies", 1), ("comparisons", 1)):
        path = folder / f"{name}.json"
        kept = path.read_text()
        rows = json.loads(kept)
        next(row for row in rows if row["estimate"] is not None)["estimate"] += 0.001
        path.write_text(json.dumps(rows))
        assert len(recompute.compared(tmp_path)[1]) == changed, name
        path.write_text(kept)


def augmented() -> records.Record:
    """Of one utterance three versions, the unchanged one named wrongly, and of another one version, named rightly."""
    (made, *_) = outcome("student-alone", dict.fromkeys(SPEAKERS, 4), "augmented-leaky")
    files = ("a.wav", "a.wav (noise)", "a.wav (speed)", "b.wav")
    test = type(made.parts["test"])(files, ("03",) * 4, (0, 0, 0, 1), (1, 0, 0, 1))
    return replace(made, parts=made.parts | {"test": test})


def test_the_recipe_for_pandas_gives_the_numbers_of_the_pages(tmp_path: Path, monkeypatch):
    found = evidence_of(tmp_path, augmented())
    labels.cells(found.predictions).to_csv(tmp_path / "results.csv", index=False)
    recipe = re.search(r"```python\n(import pandas.*?)```", (ROOT / "book/reproduce.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(recipe, said := {})  # nosec B102
    table = found.accuracies.query("part == 'test' and measure == 'WA'")
    assert said["accuracy"].tolist() == pytest.approx(table["estimate"].tolist())
    assert said["accuracy"].tolist() == pytest.approx([(2 / 3 + 1) / 2])


def test_unchanged_utterances_have_an_accuracy_of_their_own(tmp_path: Path):
    found = evidence_of(tmp_path, augmented())
    (row,) = found.accuracies.query("part == 'unchanged' and measure == 'WA'").itertuples()
    assert (row.estimate, row.utterances) == (0.5, 2)
    assert recompute.compared(tmp_path)[1] == []


def test_the_program_knows_nothing_of_what_it_checks():
    tree = ast.parse((ROOT / "tests/recompute.py").read_text())
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not any(re.match("companion|serlib|studies", module) for module in modules)


def test_an_edited_record_is_read_again(tmp_path: Path):
    """Evidence is made anew where a record is another; else the tables are read."""
    (made, *_) = outcome("student-alone", dict.fromkeys(SPEAKERS, 4))
    first = evidence_of(tmp_path, made)
    stamp = (first.folder / evidence.STAMP).stat().st_mtime_ns
    evidence.read(tmp_path)
    assert (first.folder / evidence.STAMP).stat().st_mtime_ns == stamp
    second = evidence_of(tmp_path, replace(made, fold=1))
    assert len(second.runs) == 2
    path = next((tmp_path / "results").rglob("*.json"))
    before = path.stat()
    records.write(replace(made, split="b" * 64), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size  # nor do sizes and times decide
    assert "b" * 64 in set(evidence.read(tmp_path).runs["split"])


@pytest.mark.skipif(not PAGES, reason="no book is built: make book")
def test_a_comparison_has_the_label_of_the_evidence_on_every_page():
    """Rows of tables with a finding: the same two runs and the same points have the same finding in the evidence."""
    table, known, seen = evidence.read(ROOT).comparisons, defaultdict(set), 0
    for row in table[table["estimate"].notna()].itertuples():
        known[text.points(row).replace("\N{NO-BREAK SPACE}", " ")].add(text.label(row))
    for line in re.findall(r"<tr.*?</tr>", "".join(page.read_text(encoding="utf-8") for page in PAGES), re.DOTALL):
        cells = [
            re.sub(r"<[^>]*>", "", cell).replace("\N{NO-BREAK SPACE}", " ").strip()
            for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)
        ]
        gains = [cell for cell in cells if re.fullmatch(r"[+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\]", cell)]
        labels = [cell for cell in cells if re.match(r"(supported|unclear|ruled out|not reached|pending)\b", cell)]
        if gains and labels:
            seen += 1
            assert labels[0] in known[gains[0]], cells
    assert seen
