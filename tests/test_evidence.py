"""What pages say of the evidence, line by line of what once was wrong: each said where it must be, or nowhere."""

import re
import runpy
import sys
from pathlib import Path

import nbformat
import pytest

from companion import claims, evidence, paper, text
from companion.claims import Finding
from serlib.data import facts

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
BOOK = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").glob("*.md"))}
TYPED = "\n".join([*BOOK.values(), *(cell.source for book in NOTEBOOKS.values() for cell in book.cells)])


def shown(name: str) -> str:
    """What a committed notebook says: its words, and what its cells show as Markdown."""
    cells = NOTEBOOKS[name].cells
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    made = ("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)
    return "\n".join([*(cell.source for cell in cells if cell.cell_type == "markdown"), *made])


def test_the_page_of_verdicts_opens_with_a_line_for_each_label():
    before, labels, *_ = BOOK["verdicts"].split("\n## ")
    assert before.startswith("# How verdicts are made")
    assert labels.startswith("The labels\n")
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", labels, re.MULTILINE)
    assert [label for label, *_ in rows] == list(Finding)


@pytest.mark.parametrize(
    "what", [r"\b95 %", r"66, 70|58, 61", "Every number is computed", "None was improved", "over seeds too"]
)
def test_no_page_says_it(what):
    """A typed level; aims that nobody has; a number of records for what no record holds; a boast; seeds where are none."""
    cards = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "weights").glob("*.md"))
    assert not re.search(what, TYPED if what.startswith(r"\b95") else TYPED + cards)


def test_classifiers_that_were_changed_after_their_results_are_marked_beside_the_table():
    said = shown("accuracy")
    assert "Two classifiers were changed after their results on test speakers were known." in said
    assert "The paper's networks were not tuned: they train for 50 epochs" in said


def test_the_answer_on_accuracy_names_every_corpus_that_is_measured():
    measured = {facts.title(row["corpus"]) for row in evidence.read(ROOT).rows("published")}
    answer = shown("accuracy").split("**The claim**")[1]
    assert len(measured) > 1
    assert [name for name in measured if not re.search(rf"Student with teacher [0-9.]+\s% on {name}", answer)] == []


@pytest.mark.parametrize("name", ["fig3_coordinates", "position"])
def test_the_answer_says_what_shuffling_means(name):
    quoted = " ".join(line for line in shown(name).splitlines() if line.startswith("> "))
    assert (
        "Points lost when the columns of speech are shuffled, with intervals over speakers alone. CREMA-D (19 speakers, 1 seed): Teacher "
        in quoted
    )
    assert re.search(r"\. This is (no evidence|a sign) that Teacher uses its coordinates\.", quoted)
    rule = next(row for row in BOOK["verdicts"].splitlines() if row.startswith('| Shuffled columns are "a sign"'))
    assert "`4f426d8`, 29 November 2026 | all results of shuffled columns |" in rule


def test_only_copies_in_training_bring_the_student_alone_near_the_published_accuracy():
    """Home page and audit say it of accuracies at most five points below the student's lowest published one."""
    lowest = min(float(p.value) for p in paper.PUBLISHED if p.model == "student") / 100
    rows = evidence.read(ROOT).accuracies
    rows = rows[rows["run"].eq("student-alone") & rows["measure"].eq("WA") & rows["part"].ne("train")]
    assert set(rows.loc[rows["estimate"].ge(lowest - claims.WIDEST), "protocol"]) == {"augmented-leaky"}


def test_only_the_verdict_on_coordinates_tells_what_shuffled_columns_cost():
    told = [row["part"] for row in evidence.read(ROOT).rows("verdicts") if "shuffled" in row["sentence"]]
    assert told == [f"coordinates raise accuracy, {claims.LARGE}"]


def test_a_verdicts_sentence_has_its_label_in_brackets():
    for row in evidence.read(ROOT).rows("verdicts"):
        outside = re.sub(r"\([^()]*\)", "", row["sentence"])
        assert not re.search(r"pending|unclear|supported|not reached|ruled out", outside), row["sentence"]


def test_the_rule_that_was_read_in_another_way_after_its_results_is_told():
    rules = BOOK["verdicts"].split("## When each rule was fixed")[1]
    assert '"at **no more than** its FLOPs" | `42cb958`' in rules
    assert '"at **about** its FLOPs" | `d2c28e5`' in rules
    for how in ("as committed", "once its limit of FLOPs was widened"):
        assert f", chosen by the rule {how} (UA " in shown("beyond")


def test_rows_that_use_unlabelled_test_utterances_say_so_wherever_they_stand():
    """Every name of such a run says it, and in tables of accuracies the row says of whose utterances."""
    runs = {row["run"]: row["unlabelled"] for row in evidence.read(ROOT).rows("accuracies")}
    names = {run: text.display_name(run) for run in runs}
    assert any(runs.values())
    assert [run for run, name in names.items() if runs[run] != ("speaker-normalised" in name)] == []
    rows = [line for page in ("accuracy", "beyond") for line in shown(page).splitlines() if line.startswith("| ")]
    normalised = [row for row in rows if "speaker-normalised" in row and " minus " not in row]
    assert normalised
    assert [row for row in normalised if "uses unlabelled utterances of the test speakers" not in row] == []


def test_the_tables_are_made_again_when_a_fact_of_a_corpus_changes():
    made_from = {str(path.relative_to(ROOT)) for path in evidence._code()}
    assert {"companion/node.py", "companion/paper.toml", "serlib/data/facts.toml"} <= made_from
    assert "serlib/data/manifests/emodb.csv" in made_from


def test_tables_that_have_no_folder_are_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "build").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evidence"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "companion/evidence.py"), run_name="__main__")
    said = capsys.readouterr().err.splitlines()[-1]
    assert (ended.value.code, said) == (1, "companion.evidence: build/evidence: Not a directory")
