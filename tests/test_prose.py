"""The prose and its numbers: every substitution exists, and tables follow the records."""

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import SPEAKERS, evidence_of, outcome
from jinja2 import meta

from companion import __main__ as companion_cli
from companion import claims, evidence, front, node, paper, prose, results, text
from serlib import cli, records
from serlib.data import splits
from workflow import download, stage, synthetic

NO_BREAK = "\N{NO-BREAK SPACE}"
ROOT = Path(__file__).resolve().parents[1]
OF_STAGE = {"download": download, "synthetic": synthetic}  # what workflow hands to pages
PAGES = sorted((ROOT / "book").glob("*.md"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prose.values(tmp_path_factory.mktemp("empty")) | OF_STAGE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_filled_in(page: Path, empty: dict[str, Any]) -> None:
    assert "{{" not in stage.page(page.read_text(encoding="utf-8"), empty)


def test_every_value_is_used() -> None:
    """And names nothing that is not there: a page that does is not filled in."""
    named = [meta.find_undeclared_variables(stage.TEMPLATES.parse(page.read_text())) for page in PAGES]
    assert set().union(*named) == prose.values(ROOT).keys() | OF_STAGE.keys()


def test_a_changed_word_reads_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence is made once; a page takes its numbers from there, and of this build the names of its records."""
    evidence.read(ROOT)

    def read(*_: Any) -> None:
        raise AssertionError("a record is read")

    for module, name in ((records, "read"), (records, "read_all"), (results, "predictions"), (node, "make")):
        monkeypatch.setattr(module, name, read)
    index = stage.page((ROOT / "book/index.md").read_text(encoding="utf-8"), prose.values(ROOT))
    assert "committed run records" in index


@pytest.mark.parametrize(("package", "parser"), [("serlib", cli._parser), ("companion", companion_cli._parser)])
def test_every_command_has_an_example(package, parser) -> None:
    text = (ROOT / "book/reproduce.md").read_text(encoding="utf-8")
    (commands,) = (a.choices for a in parser()._actions if a.dest == argparse.SUPPRESS and a.choices)
    assert [name for name in commands if f"python -m {package} {name}" not in text] == []


def page(name: str, values: dict[str, Any]) -> str:
    return stage.page((ROOT / f"book/{name}.md").read_text(encoding="utf-8"), values)


def test_without_records_nothing_is_measured(empty: dict[str, Any]) -> None:
    assert page("verdicts", empty).count("**pending** | Not measured on test speakers.") == sum(
        bool(p.pairs) for p in claims.PARTS
    )
    assert page("verdicts", empty).count("pending: not measured") == 3 * len(claims.pairs())
    assert "square ones, at both sizes; " in page("index", empty)  # as the evidence counts parts


def test_a_part_that_one_corpus_decides_names_it() -> None:
    decide = ("emodb, crema-d", "crema-d", "", "emodb")  # the last lacks one of its pairs
    rows = pd.DataFrame(
        {"claim": "c", "part": list("abcd"), "finding": 3 * ["supported"] + ["pending"], "corpora": decide}
    )
    found = ["supported", "pending"]
    assert prose.parts(rows, found, where=True) == ["a", "b (CREMA-D alone)", "c", "d"]
    assert prose.parts(rows, found) == list("abcd")
    assert prose.parts(rows, ["unclear"], where=True) == []


def test_settings_read_the_configurations() -> None:
    here = {setting.name: setting.here for setting in paper.settings()}
    assert (here["image"], here["token width"], here["MLP width"]) == ("128 x 128", "256", "512")
    assert "{" not in "".join(here.values())


def test_every_field_of_a_record_is_explained() -> None:
    fields = {field.name for field in dataclasses.fields(records.Record)}
    assert set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/records.md").read_text(), re.MULTILINE)) >= fields


def test_what_a_build_was_made_from_is_said(tmp_path: Path) -> None:
    for run in ("teacher", "student-alone"):
        path = tmp_path / "build/runs" / records.location("recordings", "emodb", "paper", "random", 0, run, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    made = prose.made_from(tmp_path / "build/runs")
    assert made == {"recordings": ["EmoDB (2 runs, 50 epochs a stage)"]}
    empty = prose.values(tmp_path / "nothing")
    assert "This build holds no runs." in page("index", empty)
    assert "on recordings of people: EmoDB (2 runs, 50 epochs a stage).\n" in page("index", empty | {"built": made})
    synthetic = page("index", empty | {"built": {"synthetic": made["recordings"]}})
    assert "on synthetic speech: EmoDB (2 runs, 50 epochs a stage). That only tests the code.\n" in synthetic


def test_what_a_figure_shows_is_said_in_words() -> None:
    rows = [("emodb", "training\nset", 1.0), ("mine", "listeners", 0.94), ("emodb", front.PUBLISHED, 0.9883)]
    rows += [("emodb", splits.NEW, 0.598), ("emodb", front.MATCHED, 0.606), ("mine", "rounded", 0.4444)]
    table = pd.DataFrame(rows, columns=["corpus", "what", "estimate"])
    said = "EmoDB: training set 100, published (split not known) 99, speaker-independent 60, Student with teacher, speaker-independent 61. mine: listeners 94, rounded 44."
    assert text.estimates(table) == said
    assert text.estimates(table[-1:], ".1f") == "mine: rounded 44.4."
    shares = {"fear": 0.354, "anger": 0.81, "joy": 0.5}
    assert text.extremes(shares) == f"from 35{NO_BREAK}% (fear) to 81{NO_BREAK}% (anger)"
    assert [text.share(-0.0001), text.share(0.0349, 1, "+")] == [f"0{NO_BREAK}%", f"+3.5{NO_BREAK}%"]


def test_the_answer_says_what_holds_what_does_not_and_what_came_near(tmp_path: Path) -> None:
    half, right = (dict.fromkeys(SPEAKERS, count) for count in (2, 4))
    copied = [
        outcome("student-alone", right, f"augmented-{kind}")[:1]
        for kind, right in (("leaky", right), ("grouped", half))
    ]
    evidence_of(tmp_path, *outcome("student-alone", half), *copied[0], *copied[1], *outcome("student-pooled", half))
    said = page("index", prose.values(tmp_path))
    assert "**Does it work?** Not shown. In the paper " in said
    right = f"right for 50{NO_BREAK}% of German utterances (EmoDB, 6 speakers, 1 seed; published 98.83{NO_BREAK}%)."
    assert f"On speakers that it never heard, this rebuild of the student is {right} How the published" in said
    assert "the student's accuracy is pending. The paper's" in said
    assert (
        f"be trusted?** The student's lowest published accuracy is 98.83{NO_BREAK}%." in said
    )  # one seed decides nothing
    assert "With such versions in training, it is right on EmoDB (" in said
    assert (
        f"for 100.0{NO_BREAK}% of unaltered utterances and 100.0{NO_BREAK}% of all four versions; with versions, but"
        in said
    )
    assert f"not speakers, kept apart, for 50.0{NO_BREAK}% of unaltered ones. [Which test sets" in said
    holds = said.split("**What holds of the claims?**")[1]
    assert '<span class="verdict supported">supported</span> the student needs fewer operations.\n' in holds
    assert '<span class="verdict ruled_out">ruled out</span> the teacher passes position on.\n' in holds
    assert '<span class="verdict pending">pending</span> (too few runs) ' in holds


def test_a_byline_leaves_out_what_is_not_given(empty: dict[str, Any]) -> None:
    assert "\nBy us.\n" in page("index", empty | {"whence": {"author": "us"}})
    whence = {"author": "us", "address": "https://github.com/a/b", "doi": "10.5281/zenodo.1"}
    said = page("index", empty | {"whence": whence})
    assert (
        "By us. Code: [github.com/a/b](https://github.com/a/b), `git clone https://github.com/a/b`. Archive: " in said
    )
    assert "https://doi.org/10.5281/zenodo.1" in said
