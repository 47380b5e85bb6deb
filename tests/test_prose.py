"""The prose and its numbers: every substitution exists, and tables follow the records."""

import argparse
import dataclasses
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pytest
from helpers import SPEAKERS, evidence_of, outcome

from companion import __main__ as companion_cli
from companion import claims, front, paper, prose, text
from serlib import cli, records
from serlib.data import splits

NO_BREAK = "\N{NO-BREAK SPACE}"
ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book").glob("*.md"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prose.values(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_substitution_is_a_value(page: Path, empty: dict[str, Any]) -> None:
    text = page.read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # nosec B701
    for expression in re.findall(r"{{.*?}}", text):  # as MyST renders them
        assert environment.from_string(expression).render(empty).strip()


def test_every_value_says_something_and_is_used(empty: dict[str, Any]) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name, value in empty.items() if not value] == []
    assert [name for name in empty if not re.search(rf"{{{{[^}}]*\b{name}\b", text)] == []


@pytest.mark.parametrize(("package", "parser"), [("serlib", cli._parser), ("companion", companion_cli._parser)])
def test_every_command_has_an_example(package, parser) -> None:
    text = (ROOT / "book/reproduce.md").read_text(encoding="utf-8")
    (commands,) = (a.choices for a in parser()._actions if a.dest == argparse.SUPPRESS and a.choices)
    assert [name for name in commands if f"python -m {package} {name}" not in text] == []


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://name:secret@gitlab.com/a/b/", "https://gitlab.com/a/b"),
        ("git@github.com:a/b.git", ""),
        ("https://example.org/a/b", ""),
        ("", ""),
    ],
)
def test_buttons_lead_to_public_hosts_alone(origin: str, address: str) -> None:
    assert runpy.run_path(str(ROOT / "workflow/stage.py"))["repository"](origin) == address


def test_without_records_nothing_is_measured(empty: dict[str, Any]) -> None:
    assert empty["claims_table"].count("**pending**") == sum(bool(part.pairs) for part in claims.PARTS)
    assert empty["comparisons_table"].count("pending: not measured") == 3 * len(claims.pairs())


def test_settings_read_the_configurations() -> None:
    here = {setting.name: setting.here for setting in paper.settings()}
    assert (here["image"], here["token width"], here["MLP width"]) == ("128 x 128", "256", "512")
    assert "{" not in "".join(here.values())


def test_every_field_of_a_record_is_explained() -> None:
    fields = {field.name for field in dataclasses.fields(records.Record)}
    assert set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/records.md").read_text(), re.MULTILINE)) >= fields


def test_what_a_build_was_made_from_is_said() -> None:
    made = outcome("teacher", dict.fromkeys(SPEAKERS[:1], 4))
    assert "recordings of people: EmoDB (1 run, 50 epochs a stage)" in prose.build_note(made)
    synthetic = [replace(r, speech="synthetic") for r in made]
    assert "No recording of a person was used" in prose.build_note(synthetic)


def test_what_a_figure_shows_is_said_in_words() -> None:
    rows = [("emodb", "training\nset", 1.0), ("mine", "listeners", 0.94), ("emodb", front.PUBLISHED, 0.9883)]
    rows += [("emodb", splits.NEW, 0.598), ("emodb", front.MATCHED, 0.606), ("mine", "rounded", 0.4444)]
    table = pd.DataFrame(rows, columns=["corpus", "what", "estimate"])
    said = "EmoDB: training set 100, published (split not stated) 99, speaker-independent 60, with a teacher, speaker-independent 61. mine: listeners 94, rounded 44."
    assert text.estimates(table) == said
    assert text.estimates(table[-1:], ".1f") == "mine: rounded 44.4."
    assert text.extremes({"fear": 0.354, "anger": 0.81, "joy": 0.5}) == "from 35 % (fear) to 81 % (anger)"
    assert f"the student with teacher is right for 61{NO_BREAK}% (EmoDB)." in prose.headline(table)


def test_the_answer_says_what_holds_what_does_not_and_what_came_near(tmp_path: Path) -> None:
    half, right = (dict.fromkeys(SPEAKERS, count) for count in (2, 4))
    made = [*outcome("student-alone", half), *outcome("student-alone", right, "augmented-leaky")[:1]]
    evidence = evidence_of(tmp_path, *made, *outcome("student-pooled", half))
    said = prose.answer(evidence, **front.tables(evidence, tmp_path))
    assert "**What holds:** the student needs fewer operations." in said
    assert "the teacher passes position on" in said.split("**What does not:**")[1]
    near = "on the training set (100 %) and with copies of test utterances in training (100 %)"
    assert f"was approached only {near}" in said
    assert f"is right for 50{NO_BREAK}% (EmoDB)." in said


def test_a_byline_leaves_out_what_is_not_given() -> None:
    assert prose.byline("us") == "By us."
    said = prose.byline("us", "https://github.com/a/b", "10.5281/zenodo.1")
    assert "`git clone https://github.com/a/b`" in said
    assert "https://doi.org/10.5281/zenodo.1" in said
