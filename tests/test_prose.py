"""The prose and its numbers: every substitution exists, and the claims table follows the records."""

import argparse
import re
import runpy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from companion import claims, paper, prose
from serlib import cli, config, probes, records
from serlib.data import facts
from serlib.probes import Probe

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book").glob("*.md"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return prose.values(tmp_path_factory.mktemp("empty"))


def record(run: str, speech: str = "recordings", seed: int = 0, epochs: int = 50) -> records.Record:
    """Four held-out EmoDB utterances, three of them right."""
    named = config.resolve(run, "paper", seed, num_classes=2)
    part = records.Part(("a", "b", "c", "d"), ("03", "03", "08", "08"), (0, 1, 0, 1), (0, 1, 0, 0))
    return records.Record(
        corpus="emodb",
        speech=speech,
        emotions=("anger", "sadness"),
        fingerprint="f" * 64,
        excluded=(),
        notes=(),
        protocol="speaker-folds",
        fold=0,
        split="s" * 64,
        configuration=replace(named, training=replace(named.training, epochs=epochs)),
        teacher="",
        curves={},
        parts={"train": part, "test": part},
        made=records.provenance("cpu", 1, 0.0),
    )


def claim(table: str, key: str) -> str:
    """The row of the claims table that is about the claim ``key``."""
    says = next(claim.says for claim in paper.CLAIMS if claim.key == key)
    return next(line for line in table.splitlines() if says in line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_substitution_is_a_value(page: Path, empty: dict[str, str]) -> None:
    used = set(re.findall(r"{{\s*(.*?)\s*}}", page.read_text(encoding="utf-8")))
    assert used <= empty.keys()


def test_every_value_says_something_and_is_used(empty: dict[str, str]) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name, value in empty.items() if not value.strip()] == []
    assert [name for name in empty if not re.search(rf"{{{{\s*{name}\s*}}}}", text)] == []


def test_without_records_nothing_is_measured(empty: dict[str, str]) -> None:
    for stated in paper.CLAIMS:
        row = claim(empty["claims_table"], stated.key)
        assert "| **not yet** |" in row
        assert all(f"../notebooks/{page}.ipynb" in row for page in stated.notebooks)
    assert empty["measurements_table"].count("Not yet measured on recordings") == len(paper.CLAIMS)
    assert "machinery" not in empty["measurements_table"]
    for name, known in facts.CORPORA.items():
        stated = next(p.value for p in paper.PUBLISHED if (p.corpus, p.model) == (name, "teacher"))
        row = f"| {known.title} | `teacher` | {stated} |{' not measured here |' * 3}"
        assert row in empty["measured_table"].replace("\N{NON-BREAKING HYPHEN}", "-")


def test_a_record_of_recordings_changes_its_claim_alone(tmp_path: Path) -> None:
    records.write(record("student-alone"), tmp_path / "results/recordings/alone.json")
    records.write(record("student-pooled", seed=1), tmp_path / "results/recordings/other-seed.json")
    assert "student-pooled" not in prose.values(tmp_path)["measurements_table"]  # no seed that both runs share

    records.write(record("student-pooled"), tmp_path / "results/recordings/pooled.json")
    table = prose.values(tmp_path)["measurements_table"]
    (row,) = (line for line in table.splitlines() if line.startswith("| transfer |"))
    assert "| EmoDB, split speaker-folds (new speakers), fold 0, seed 0, 4 held-out" in row
    assert "50 epochs a stage" in row
    assert (
        "`student-pooled` 75.0 [25.0,\N{NO-BREAK SPACE}100.0], `student-alone` 75.0 [25.0,\N{NO-BREAK SPACE}100.0]"
        in row
    )
    assert table.count("Not yet measured") == len(paper.CLAIMS) - 1


def probe(run: str, speakers: Iterable[str], missed: float, protocol: str = "leave-one-speaker-out") -> list[Probe]:
    """Of every speaker, as a fold, one utterance; of 10 squared columns that its numbers vary, ``missed`` are missed."""
    return [
        Probe(
            *("emodb", "recordings", "paper", protocol, fold, run, 0, ("anger", "sadness"), "r" * 64),
            *((f"{speaker}.wav",), (speaker,), (0,), (10.0,)),
            errors={"image": (9.0,), "block 1": (missed,)},
            predicted=dict.fromkeys(probes.ORDERS, (0,)),
        )
        for fold, speaker in enumerate(speakers)
    ]


def test_probes_and_versions_stand_beside_their_claims(tmp_path: Path) -> None:
    missed = {"teacher": 1.0, "teacher-no-position": 7.0, "student-alone": 8.0, "student-pooled": 6.0}
    for run, each in missed.items():
        for fold, made in enumerate(probe(run, ("03", "08"), each)):
            probes.write(made, tmp_path / f"results/probes/{run}-{fold}.json")
    records.write(replace(record("student-alone"), protocol="augmented-leaky"), tmp_path / "results/recordings/a.json")
    table = prose.values(tmp_path)["claims_table"]
    position = claim(table, "coordinate encoding")
    assert "an R2 of 0.90 [0.90,\N{NO-BREAK SPACE}0.90] (EmoDB, " in position
    assert "Trained without coordinates: 0.30 [0.30,\N{NO-BREAK SPACE}0.30] (EmoDB, " in position
    assert "by +0.20 [+0.20,\N{NO-BREAK SPACE}+0.20] (EmoDB, " in claim(table, "transfer")
    assert "in another version: WA % EmoDB, `student-alone` 75.0" in claim(table, "accuracy")


def test_synthetic_speech_measures_nothing(tmp_path: Path) -> None:
    for run in ("student-alone", "student-pooled"):
        records.write(record(run, speech="synthetic"), tmp_path / f"build/runs/{run}.json")
    found = prose.values(tmp_path)
    table = found["measurements_table"]
    assert "| transfer | Not yet measured on recordings. The machinery runs on synthetic speech. |" in table
    assert table.count("Not yet measured") == len(paper.CLAIMS)
    assert "machinery" not in found["claims_table"]
    assert "No recording of a person was used" in found["build_note"]


def test_the_longest_schedule_is_shown() -> None:
    runs = claims.NEEDED["transfer"]
    (shown,) = claims.measurements(runs, [record(run, epochs=epochs) for epochs in (8, 50, 6) for run in runs])
    assert shown.epochs == 50


def test_what_the_paper_does_not_name_measures_none_of_its_claims() -> None:
    runs = claims.NEEDED["transfer"]
    warped = config.Training(augment=("warp",))
    beyond = [replace(r, configuration=replace(r.configuration, training=warped)) for r in map(record, runs)]
    assert claims.measurements(runs, beyond) == []


def changed(made: Iterable[records.Record], schedule: str = "paper", **training: Any) -> list[records.Record]:
    """The same under another schedule's name, and with other training."""
    return [
        replace(
            r,
            configuration=replace(
                r.configuration, schedule=schedule, training=replace(r.configuration.training, **training)
            ),
        )
        for r in made
    ]


def test_a_short_or_partial_measurement_hides_no_complete_one() -> None:
    runs = claims.NEEDED["transfer"]
    whole = [one for run, right in zip(runs, (ALWAYS, HALF), strict=True) for one in outcome(run, right)]
    part = [one for run in runs for one in outcome(run, NEVER)[:1]]
    for other in (changed(part, "paper-bf16"), changed(part, "paper-60-epochs", epochs=60)):
        for found in ([*other, *whole], [*whole, *other]):
            (shown,) = claims.measurements(runs, found)
            assert (shown.missing, shown.difference.estimate) == (0, 0.5)
    same = changed([one for run in runs for one in outcome(run, NEVER)], "paper-bf16")
    for found in ([*same, *whole], [*whole, *same]):
        (shown,) = claims.measurements(runs, found)
        assert shown.difference.estimate == 0.5  # of two that decide, the paper's schedule


def test_seeds_without_every_fold_do_not_weigh_on_a_speaker() -> None:
    runs = claims.NEEDED["transfer"]
    whole = [one for run, right in zip(runs, (ALWAYS, HALF), strict=True) for one in outcome(run, right)]
    more = [one for run in runs for seed in (1, 2) for one in changed(outcome(run, NEVER)[:1], seed=seed)]
    (shown,) = claims.measurements(runs, [*whole, *more])
    assert (shown.seeds, shown.utterances, shown.difference.estimate) == ("0", 24, 0.5)


def test_a_part_of_the_corpus_other_recordings_and_other_images_are_told_apart() -> None:
    runs = claims.NEEDED["transfer"]
    ours, theirs = outcome(runs[0], ALWAYS), outcome(runs[1], HALF)
    partial = [replace(r, notes=("9 speakers, published 10",)) for r in (*ours, *theirs)]
    assert decided("transfer", partial).startswith("**Verdict: not yet.**")
    assert claims.measurements(runs, [*ours, *(replace(r, fingerprint="0" * 64) for r in theirs)]) == []
    wide = config.Features(image_size=(128, 1001))
    assert (
        claims.measurements(
            runs, [*ours, *(replace(r, configuration=replace(r.configuration, features=wide)) for r in theirs)]
        )
        == []
    )


def test_different_precisions_are_said() -> None:
    runs = claims.NEEDED["transfer"]
    ours, theirs = outcome(runs[0], ALWAYS), outcome(runs[1], HALF)
    (same,) = claims.measurements(runs, [*ours, *theirs])
    assert "precisions" not in str(same)
    (mixed,) = claims.measurements(runs, [*changed(ours[:2], precision="bf16-mixed"), *ours[2:], *theirs])
    assert "precisions differ in fold 0-1" in str(mixed)


def outcome(
    run: str, right: dict[str, int], protocol: str = "leave-one-speaker-out", epochs: int = 50, trained: int = 4
):
    """Records of a corpus of six speakers of four utterances each, of which ``right[speaker]`` are named rightly."""
    made = []
    for fold, (speaker, count) in enumerate(right.items()):
        true = (0, 1, 0, 1)
        predicted = tuple(label if i < count else 1 - label for i, label in enumerate(true))
        test = records.Part(tuple(f"{speaker}{i}" for i in range(4)), (speaker,) * 4, true, predicted)
        others = tuple(other for other in SPEAKERS if other != speaker)
        learnt = (trained > 0,) * len(others)
        train = records.Part(others, others, (0,) * len(others), tuple(0 if right else 1 for right in learnt))
        base = record(run, epochs=epochs)
        made.append(
            replace(base, protocol=protocol, fold=fold, split=f"{fold}" * 64, parts={"train": train, "test": test})
        )
    return made


SPEAKERS = ("03", "08", "09", "10", "11", "12")
ALWAYS, NEVER, HALF = (dict.fromkeys(SPEAKERS, count) for count in (4, 0, 2))
SIX_OF_SIX = "EmoDB, new speakers: +50.0 [+50.0,\N{NO-BREAK SPACE}+50.0] points."


def decided(key: str, *made: list[records.Record]) -> str:
    return str(claims.verdict(key, [one for many in made for one in many]))


def test_a_claim_holds_where_its_interval_lies_above_zero_on_new_speakers() -> None:
    found = decided("transfer", outcome("student-pooled", ALWAYS), outcome("student-alone", HALF))
    assert found == f"**Verdict: holds on EmoDB.** `student-pooled` minus `student-alone`: {SIX_OF_SIX}"
    both = [*outcome("student-pooled", ALWAYS), *outcome("student-alone", HALF)]
    everywhere = [replace(r, corpus=corpus) for corpus in facts.CORPORA for r in both]
    assert decided("transfer", everywhere).startswith("**Verdict: holds.**")


def test_transfer_is_shown_for_both_maps_and_in_one_precision() -> None:
    def made(run: str, right: dict[str, int], schedule: str, precision: str) -> list[records.Record]:
        return changed(outcome(run, right), schedule, precision=precision)

    half, single = "bf16-mixed", "32-true"
    found = [
        *made("teacher", HALF, "paper", half)[:4],
        *made("teacher", HALF, "paper", single)[4:],
        *made("student-tokens", ALWAYS, "paper", half)[:4],
        *made("student-tokens", ALWAYS, "paper", single)[4:],
        *made("student-alone", HALF, "paper", single),
        *made("student-alone", NEVER, "paper-bf16", half),
    ]
    first, second = prose._matched_otherwise(found).split("<br>")
    assert f"the token map instead: {SIX_OF_SIX}" in first
    # four speakers gain all of their utterances, two gain half
    assert second.startswith("With one precision in every fold, token map: EmoDB, new speakers: +83.3 [+")


def test_patches_hold_only_against_square_ones_unless_they_gain_at_equal_cost_too() -> None:
    square = [outcome("teacher", ALWAYS), outcome("teacher-square-patches", HALF)]
    assert decided("vertical patches", *square).startswith("**Verdict: holds against square patches, not yet at equal")
    rows = outcome("teacher-horizontal-patches", HALF)
    some = decided("vertical patches", *square, rows[:4])
    assert some.startswith("**Verdict: holds against square patches, not yet at equal cost.**")
    assert "; at equal cost `teacher` minus `teacher-horizontal-patches`: EmoDB, new speakers (2 folds missing)" in some
    assert decided("vertical patches", *square, rows).startswith("**Verdict: holds on EmoDB.**")
    assert len(claims.behind("vertical patches", [r for many in (*square, rows) for r in many])) == 2
    equal = decided("vertical patches", *square, outcome("teacher-horizontal-patches", ALWAYS))
    assert equal.startswith("**Verdict: holds only against square patches.**")
    known = [outcome(run, right, "random") for run, right in (("teacher", ALWAYS), ("teacher-square-patches", HALF))]
    level = [outcome(run, HALF) for run in claims.NEEDED["vertical patches"]]
    assert decided("vertical patches", *known, *level).startswith("**Verdict: holds against square patches, not yet")
    elsewhere = [replace(r, corpus="savee") for many in square for r in many]
    assert "not yet at equal cost" in decided("vertical patches", *square, rows, elsewhere)  # SAVEE has no rows
    few = [replace(r, corpus="savee") for many in level for r in many]
    lost = outcome("teacher-horizontal-patches", ALWAYS)
    assert decided("vertical patches", *square, lost, few).startswith("**Verdict: holds only against square patches.**")
    assert "square patches need 79% of the operations, horizontal ones 100%" in prose._patches_cost()


def test_a_claim_that_gains_nothing_on_new_speakers_is_not_supported() -> None:
    mixed = {speaker: 4 if i % 2 else 0 for i, speaker in enumerate(SPEAKERS)}
    for better in (HALF, NEVER, mixed):
        found = decided("transfer", outcome("student-pooled", better), outcome("student-alone", HALF))
        assert found.startswith("**Verdict: not supported here; as to position ruled out by proof.**")


def test_a_claim_that_gains_on_known_speakers_alone_says_so() -> None:
    found = decided(
        "transfer",
        *(outcome(run, HALF) for run in ("student-pooled", "student-alone")),
        outcome("student-pooled", ALWAYS, "random"),
        outcome("student-alone", HALF, "random"),
    )
    assert found.startswith("**Verdict: holds only on speakers also trained on.**")


@pytest.mark.parametrize("epochs", [8, 50])
def test_folds_or_epochs_that_are_missing_decide_nothing(epochs: int) -> None:
    right = ALWAYS if epochs == 8 else dict.fromkeys(SPEAKERS[:4], 4)
    found = decided(
        "transfer", outcome("student-pooled", right, epochs=epochs), outcome("student-alone", HALF, epochs=epochs)
    )
    assert found.startswith(
        "**Verdict: not yet.** No corpus's new speakers are complete yet; so far `student-pooled` minus "
        "`student-alone`: EmoDB, new speakers"
    )
    assert ("(2 folds missing)" in found) == (epochs == 50)


def test_coordinates_that_gain_no_accuracy_hold_as_to_position_if_every_new_speaker_was_probed() -> None:
    made = [*outcome("teacher", HALF), *outcome("teacher-no-position", HALF)]
    everyone = [f"{i:02}" for i in range(facts.CORPORA["emodb"].speakers)]

    def found(speakers: list[str], with_them: float, without: float, protocol: str = "leave-one-speaker-out") -> str:
        probed = [
            *probe("teacher", speakers, with_them, protocol),
            *probe("teacher-no-position", speakers, without, protocol),
        ]
        return str(claims.verdict("coordinate encoding", made, probed))

    told = found(everyone, 1.0, 6.0)
    assert told.startswith("**Verdict: holds only as to position.**")
    assert "coordinates minus without: EmoDB, new speakers: +0.50 [+0.50,\N{NO-BREAK SPACE}+0.50]." in told
    for other in (found(everyone, 6.0, 6.0), found(everyone[1:], 1.0, 6.0), found(everyone, 1.0, 6.0, "random")):
        assert other.startswith("**Verdict: not supported here.**")
    elsewhere = [replace(r, corpus="savee") for r in made]
    probed = [*probe("teacher", everyone, 1.0), *probe("teacher-no-position", everyone, 6.0)]
    for decides in (elsewhere, [*made, *elsewhere]):  # SAVEE was not probed
        assert claims.verdict("coordinate encoding", decides, probed).found == "not supported here"
    for change in ({"speech": "synthetic"}, {"schedule": "short"}):
        others = [replace(p, **change) for p in probed]
        assert claims.verdict("coordinate encoding", made, others).found == "not supported here"


def test_only_what_has_a_published_number_is_held_against_it() -> None:
    reached = [one for run in ("student-pooled", "teacher") for one in outcome(run, ALWAYS)]
    own = [replace(r, corpus="mine") for r in reached]
    assert claims.verdict("accuracy", [*reached, *own]).found == "holds on EmoDB"
    assert claims.verdict("accuracy", own).found == "not yet"
    wide = config.Features(image_size=(128, 1001))
    wider = [replace(r, configuration=replace(r.configuration, features=wide)) for r in reached]
    assert claims.verdict("accuracy", wider).found == "not yet"
    half = [*outcome("student-pooled", ALWAYS), *outcome("teacher", HALF)]  # one of two reaches its number
    assert claims.verdict("accuracy", half).found == "published accuracies reached only on the training set"
    forgot = [one for run in ("student-pooled", "teacher") for one in outcome(run, HALF, "random", trained=0)]
    learns = [one for run in ("student-pooled", "teacher") for one in outcome(run, HALF)]
    assert claims.verdict("accuracy", [*learns, *forgot]).found == "not supported here"
    learnt = [*outcome("student-pooled", HALF), *outcome("teacher", HALF, trained=0)]
    assert claims.verdict("accuracy", learnt).found == "not supported here"


def test_the_claim_of_cost_fails_where_the_student_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = [one for run in ("student-pooled", "teacher") for one in outcome(run, HALF)]
    assert claims.verdict("cost", missed).found == "holds only as to the number of operations"
    monkeypatch.setattr(config, "STUDENT", config.TEACHER)
    assert claims.verdict("cost", missed).found == "not supported here"


def test_accuracy_and_cost_are_held_against_what_is_published() -> None:
    reached = [outcome(run, ALWAYS) for run in ("student-pooled", "teacher")]
    assert decided("accuracy", *reached).startswith(
        "**Verdict: holds on EmoDB.** EmoDB, new speakers: `student-pooled` 100.0"
    )
    assert "published 98.83" in decided("accuracy", *reached)
    missed = [outcome(run, HALF) for run in ("student-pooled", "teacher")]
    assert decided("accuracy", *missed).startswith(
        "**Verdict: published accuracies reached only on the training set.**"
    )
    assert decided("cost", *missed).startswith("**Verdict: holds only as to the number of operations.**")
    worse = [outcome(run, HALF, trained=0) for run in ("student-pooled", "teacher")]
    assert decided("accuracy", *worse).startswith("**Verdict: not supported here.**")
    assert decided("cost", *worse).startswith("**Verdict: holds only as to the number of operations.**")


def test_every_claim_and_setting_has_its_entry() -> None:
    assert claims.NEEDED.keys() == {claim.key for claim in paper.CLAIMS}
    assert set(sum(claims.NEEDED.values(), ())) <= config.RUNS.keys()
    assert prose.choices().keys() == paper.STATED.keys()


def test_every_command_has_an_example() -> None:
    text = (ROOT / "book/reproduce.md").read_text(encoding="utf-8")
    commands = next(
        action.choices for action in cli._parser()._actions if action.dest == argparse.SUPPRESS and action.choices
    )
    assert [name for name in commands if f"python -m serlib {name}" not in text] == []


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


def test_what_was_measured_stands_beside_what_is_published_by_kind(tmp_path: Path) -> None:
    for made in (*outcome("student-pooled", HALF), *outcome("student-pooled", ALWAYS, "random")[:1]):
        records.write(made, tmp_path / f"results/recordings/{made.protocol}-{made.fold}.json")
    for made in outcome("teacher", dict.fromkeys(SPEAKERS[:2], 1), epochs=8):
        records.write(made, tmp_path / f"results/recordings/teacher-{made.fold}.json")
    table = prose.values(tmp_path)["measured_table"]
    all_of, half, fourth = (f"{v} [{v},\N{NO-BREAK SPACE}{v}]" for v in ("100.0", "50.0", "25.0"))
    assert f"| EmoDB | `student-pooled` | 98.83 | {all_of} | {all_of} (draw 0) | {half} |" in table
    lacks = "(2 of 6 folds, 8 epochs)"
    at = fourth.replace("[25.0", "[0.0").replace("25.0]", "62.5]")  # of two speakers, utterances are drawn
    assert f"| EmoDB | `teacher` | 96.96 | {all_of} {lacks} | not measured here | {at} {lacks} |" in table


def test_one_changed_prediction_changes_the_page(tmp_path: Path) -> None:
    made = record("student-alone")
    records.write(made, tmp_path / "results/recordings/alone.json")
    before = prose.values(tmp_path)["measured_table"]
    part = made.parts["test"]
    changed = replace(part, predicted=(1 - part.predicted[0], *part.predicted[1:]))
    records.write(replace(made, parts={**made.parts, "test": changed}), tmp_path / "results/recordings/alone.json")
    assert prose.values(tmp_path)["measured_table"] != before


def test_an_ablation_stands_beside_the_teacher_with_its_cost():
    found = [r for run, right in (("teacher", ALWAYS), ("teacher-no-position", HALF)) for r in outcome(run, right)]
    lines = claims.ablations(("teacher-no-position", "teacher-learned-position"), found).data.splitlines()
    assert len(lines) == 4
    _, run, cost, held_out, teacher, changed, difference, _ = (cell.strip() for cell in lines[2].split("|"))
    assert run == "`teacher-no-position`"
    assert held_out == "EmoDB, new speakers, fold 0-5, 24 utterances, 50 epochs"
    assert (teacher[:5], changed[:4], difference[:5]) == ("100.0", "50.0", "+50.0")
    assert "99% of the teacher's" in cost
    assert "| not measured |" in lines[3]


def test_the_spread_over_seeds_is_that_of_the_folds_that_every_seed_has():
    def trained(right: dict[str, int], seed: int, precision: str = "32-true") -> list[records.Record]:
        made = outcome("student-alone", right)
        training = replace(made[0].configuration.training, seed=seed, precision=precision)
        return [replace(r, configuration=replace(r.configuration, training=training)) for r in made]

    apart = {**ALWAYS, "12": 0}
    found = [*trained(ALWAYS, 0), *trained(HALF, 1), *trained(apart, 2)[-2:], *trained(NEVER, 0, "bf16-mixed")]
    (spread,) = claims.repeated(found)
    assert (spread.run, spread.precision, spread.folds) == ("student-alone", "32-true", (4, 5))
    assert spread.weighted_accuracies == {0: 1.0, 1: 0.5, 2: 0.5}
    assert spread.deviation == pytest.approx((1 / 12) ** 0.5)  # mean 2/3, squares 1/9 + 1/36 + 1/36 over two
    assert claims.repeated(found[:6]) == []


def test_of_random_draws_each_counts_once():
    draws = [replace(r, protocol="random", fold=k) for k, r in enumerate(outcome("teacher", {"03": 4, "08": 2}))]
    (spread,) = claims.repeated(draws)
    assert (spread.folds, spread.weighted_accuracies) == ((0, 1), {0: 1.0, 1: 0.5})
