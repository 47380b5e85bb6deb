"""From scratch, step by step: the rule on scores made by hand, and that the committed records choose what is reported."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import outcome, resolved, tiny_record

from companion import claims, costs, experiments, figures, node, prose, reach, results, text
from companion.reach import INPUTS, PLAIN, SEEDS, STEPS
from serlib import records
from serlib.data import splits
from serlib.records import Part

ROOT = Path(__file__).parents[1]
CHOSEN = "student-alone+deltas"


def scored(base: str = PLAIN, others: float = 0.40, **better: Sequence[float]) -> dict[str, Sequence[float]]:
    """Every run of the rule up to single steps at ``others`` with every seed; steps of ``better`` as given."""
    found = dict.fromkeys((PLAIN, *INPUTS, *reach.single(base)), (others,) * 3)
    return found | {f"{base}+{step}": scores for step, scores in better.items()}


def test_the_spread_is_the_root_of_the_mean_of_both_variances():
    scores = {PLAIN: (0.50, 0.52, 0.54), "a": (0.60, 0.60, 0.66)}
    assert reach.gain(scores, "a", PLAIN) == pytest.approx(0.10)
    assert reach.spread(scores, "a", PLAIN) == pytest.approx(np.sqrt((0.0004 + 0.0012) / 2))  # by hand
    alike = {PLAIN: (0.50, 0.51, 0.52), "a": (0.51, 0.52, 0.53), "b": (0.505, 0.515, 0.525)}
    assert reach.spread(alike, "a", PLAIN) == pytest.approx(0.01)
    assert not reach.gains(alike, "b", PLAIN)
    assert reach.gains(alike | {"a": (0.52, 0.53, 0.54)}, "a", PLAIN)


def test_the_input_that_gains_is_what_steps_are_added_to():
    scores = scored()
    assert reach.chosen_input(scores) == PLAIN
    scores |= {INPUTS[1]: (0.42, 0.42, 0.42), INPUTS[2]: (0.41, 0.41, 0.41)}
    assert reach.chosen_input(scores) == INPUTS[1]
    scores[INPUTS[1]] = (0.30, 0.42, 0.54)  # the best, by less than its seeds differ
    assert reach.chosen_input(scores) == PLAIN


def test_steps_that_gain_come_largest_first_and_at_most_four_together():
    better = {step: (0.41 + 0.01 * k,) * 3 for k, step in enumerate(STEPS[:5])}
    scores = scored(**better)
    assert reach.kept(scores, PLAIN) == [f"{PLAIN}+{step}" for step in STEPS[4::-1]]
    first, second, third, fourth, _ = STEPS[4::-1]
    assert reach.together(scores, PLAIN) == [
        f"{PLAIN}+{first}+{second}",
        f"{PLAIN}+{first}+{second}+{third}",
        f"{PLAIN}+{first}+{second}+{third}+{fourth}",
    ]
    assert reach.together(scored(warp=(0.5,) * 3), PLAIN) == []


def test_the_highest_mean_of_all_that_gain_is_chosen_on_its_input():
    base = INPUTS[1]
    scores = scored(base, warp=(0.45,) * 3, tilt=(0.46,) * 3) | {base: (0.42,) * 3}
    both = f"{base}+tilt+warp"
    assert reach.chosen(scores | {both: (0.50,) * 3}) == both
    assert reach.chosen(scores | {both: (0.30, 0.50, 0.70)}) == f"{base}+tilt"  # higher, and within its spread


def test_the_input_itself_is_chosen_where_no_step_gains():
    assert reach.chosen(scored()) == PLAIN
    assert reach.chosen(scored(INPUTS[0]) | {INPUTS[0]: (0.42,) * 3}) == INPUTS[0]


def test_the_rule_waits_for_every_run_it_asks_for():
    whole = scored(warp=(0.45,) * 3, tilt=(0.46,) * 3) | {f"{PLAIN}+tilt+warp": (0.4,) * 3}
    assert reach.complete(whole)
    for run in whole:
        assert not reach.complete({other: at for other, at in whole.items() if other != run})


def test_the_table_of_tries_says_what_the_rule_made_of_each():
    base = INPUTS[2]
    both = f"{base}+tilt+warp"
    scores = scored(base, warp=(0.45,) * 3, tilt=(0.46,) * 3) | {base: (0.42, 0.42, 0.42), both: (0.45, 0.46, 0.48)}
    table = reach.tries(scores).set_index("run")
    assert list(table.index) == [PLAIN, *INPUTS, *reach.single(base), both]
    assert list(table["beside"]) == [PLAIN] * 4 + [base] * (len(STEPS) + 1)
    assert list(table.index[table["gains"]]) == [base, f"{base}+warp", f"{base}+tilt", both]
    assert list(table.index[table["chosen"]]) == [both]
    assert table.loc[both, "gain"] == pytest.approx(0.13 / 3)
    assert table.loc[both, "scores"] == (0.45, 0.46, 0.48)


def record(run: str, seed: int, right: int, protocol: str = splits.ACTOR_SELECTION, schedule: str = reach.SCHEDULE):
    """Two utterances of one emotion, of which ``right`` are recognised, and one of another that is."""
    part = Part(("a", "b", "c"), ("1", "2", "1"), (0, 0, 1), (*(int(i >= right) for i in range(2)), 1))
    return tiny_record(
        corpus="crema-d",
        protocol=protocol,
        fold=0,
        split="5" * 64,
        configuration=resolved(run, schedule, seed),
        notes=(),
        parts={"train": replace(part, predicted=(0, 0, 1)), "test": part},
    )


def test_a_score_is_the_unweighted_accuracy_of_each_seed_on_the_actors_for_choosing():
    found = [record(PLAIN, seed, right) for seed, right in zip(SEEDS, (2, 0, 1), strict=True)]
    found += [record(PLAIN, max(SEEDS) + 1, 0)]  # a seed that the rule does not know
    found += [record(CHOSEN, seed, 2) for seed in SEEDS[:2]]  # a seed is missing
    found += [record("student-alone+warp", seed, 2, "actor-split") for seed in SEEDS]
    found += [record("student-alone+tilt", seed, 2, schedule="paper-bf16") for seed in SEEDS]
    assert reach.scores(results.predictions(found[::-1])) == {PLAIN: [1.0, 0.5, 0.75]}


def test_a_run_is_reported_beside_the_plain_student_of_its_schedule_with_every_fold():
    speakers = dict.fromkeys(("03", "08", "09", "10", "11", "12"), 2)
    better, partial = dict.fromkeys(speakers, 3), dict.fromkeys(list(speakers)[:5], 4)
    found = [*outcome(PLAIN, speakers), *outcome(PLAIN, speakers, schedule="search-bf16"), *outcome(CHOSEN, better)]
    found += [*outcome(PLAIN, speakers, seed=1), *outcome(CHOSEN, partial, seed=1)]
    (c,) = reach.reported(results.predictions(found), CHOSEN).values()
    assert (c.schedule, c.folds, c.seeds) == ("paper", [0, 1, 2, 3, 4, 5], [0])
    assert c.gain("WA").estimate == pytest.approx(0.25)
    lacking = [*outcome(PLAIN, speakers), *outcome(CHOSEN, partial)]
    assert reach.reported(results.predictions(lacking), CHOSEN) == {}
    assert reach.reported(results.predictions(outcome(PLAIN, speakers)), CHOSEN) == {}


def test_a_classifier_without_chance_is_beside_every_seed():
    speakers = dict.fromkeys(("03", "08", "09", "10", "11", "12"), 4)
    found = outcome("opensmile", speakers)
    for seed, right in enumerate((1, 2, 3)):
        found += outcome(CHOSEN, dict.fromkeys(speakers, right), schedule="paper-bf16", seed=seed)
    (c,) = reach.reported(results.predictions(found), CHOSEN, "opensmile").values()
    assert c.seeds == [0, 1, 2]
    assert c.gain("WA").estimate == pytest.approx(-0.5)


def test_tables_show_the_seeds_that_have_every_fold_in_the_reports_schedule():
    speakers = dict.fromkeys(("03", "08", "09", "10", "11", "12"), 2)
    normalised = reach.normalised(CHOSEN)
    assert normalised == "student-alone-speaker-norm+deltas"
    found = [*outcome(PLAIN, speakers), *outcome(CHOSEN, speakers), *outcome(CHOSEN, speakers, schedule="short")]
    found += [*outcome(normalised, speakers), *outcome(normalised, speakers, seed=1)[:4]]
    found += outcome("opensmile", speakers)
    tables = node.tables(found, results.predictions(found), ())
    (c,) = reach.reported(results.predictions(found), CHOSEN).values()
    like = SimpleNamespace(
        **{name: getattr(c, name) for name in ("corpus", "fingerprint", "image", "protocol", "schedule")}
    )
    rows = reach.whole(tables["accuracies"], [like], (CHOSEN, normalised, "opensmile"))
    kept = rows[["run", "schedule", "seed_numbers"]].drop_duplicates().itertuples(index=False, name=None)
    assert sorted(kept) == [("opensmile", "baseline", "0"), (CHOSEN, "paper", "0"), (normalised, "paper", "0")]
    assert reach.whole(tables["accuracies"], [like], ("resnet-18",)).empty


def test_what_was_not_tried_is_every_other_step():
    tried = {step for run in (*INPUTS, *STEPS) for step in run.split("+")} - {PLAIN}
    assert tried.isdisjoint(reach.not_tried())
    assert tried | set(reach.not_tried()) == experiments.ADDS.keys()


@pytest.fixture(scope="module")
def predicted(committed) -> pd.DataFrame:
    protocols, runs = {*splits.BY_ACTORS, "leave-one-speaker-out"}, (f"{PLAIN}-seed", f"{PLAIN}+")
    wanted = (r for p, r in committed.items() if r.protocol in protocols and p.name.startswith(runs))
    return results.predictions(wanted)


def test_the_committed_records_choose_what_is_reported(predicted):
    scores = reach.scores(predicted)
    assert reach.complete(scores)
    assert reach.chosen(scores) == CHOSEN
    assert (reach.normalised(CHOSEN),) == experiments.NORMALISED
    normalised = [e for e in experiments.experiments_of("crema-d") if e.runs == experiments.NORMALISED]
    assert reach.SCHEDULE in {e.schedule for e in normalised}
    report = reach.reported(predicted, CHOSEN)
    assert {corpus: (c.schedule, c.seeds, c.missing) for corpus, c in report.items()} == {
        "emodb": ("paper-bf16", [0, 1, 2], 0),
        "crema-d": ("search-bf16", [0, 1, 2], 0),
    }


def test_the_actors_that_choose_are_not_those_of_the_report(predicted):
    tested = results.test(predicted[predicted["corpus"] == "crema-d"])
    choosing, reporting = (set(tested.loc[tested["protocol"] == p, "speaker"]) for p in splits.BY_ACTORS[::-1])
    trained = predicted[predicted["protocol"].eq(splits.ACTOR_SELECTION) & predicted["part"].eq("train")]
    assert len(choosing) == 9
    assert len(reporting) == 19
    assert choosing.isdisjoint(reporting)
    assert set(trained["speaker"]).isdisjoint(choosing | reporting)


def test_the_note_says_what_was_chosen_and_what_it_gains(predicted):
    compared = claims.labelled(node.comparisons(predicted, results.tokens(()), results.seed_noise(predicted)))
    said = prose.reach_note(SimpleNamespace(predictions=predicted, comparisons=compared))
    assert said.startswith(f"12 additions were tried. Chosen: {experiments.ADDS['deltas']} (`{CHOSEN}`).")
    assert f"chooses {experiments.ADDS['convolutions']} instead (54.9 on the actors for choosing, " in said
    assert "EmoDB (10 speakers, 3 seeds, 50 epochs): UA " in said
    assert "CREMA-D (19 speakers, 3 seeds, 16 epochs): UA " in said
    assert said.count("minus") == 0
    nothing = SimpleNamespace(predictions=predicted[predicted["protocol"] == "actor-split"])
    assert prose.reach_note(nothing) == "Nothing was tried yet."


def test_the_rule_as_committed_allows_no_more_operations_than_the_plain_student(predicted):
    """42cb958: "at no more than its FLOPs"; d2c28e5, after the results: "at about its FLOPs"."""
    scores = reach.scores(predicted)
    assert reach.chosen(scores) == f"{PLAIN}+deltas"
    assert reach.chosen_as_committed(scores) == f"{PLAIN}+convolutions"
    assert costs.read()[f"{PLAIN}+convolutions"].flops < costs.read()[PLAIN].flops < costs.read()[CHOSEN].flops
    assert (f"{PLAIN}+convolutions", PLAIN) in reach.report_pairs(scores)
    assert reach.__doc__.startswith("What the paper's student reaches from scratch, at no more than its FLOPs")


def test_a_picture_of_tries_has_every_seed_and_the_mean():
    table = pd.DataFrame(
        {"what": ["one", "two"], "scores": [[0.5, 0.6, 0.7], [0.4, 0.4, 0.4]], "filled": [True, False]}
    )
    ax = figures.plot_tries(table, plt.figure().subplots(), 0.55)
    seeds, mean, *_ = ax.lines
    assert list(seeds.get_xdata()) == pytest.approx([50, 60, 70])
    assert list(mean.get_xdata()) == pytest.approx([60])
    faces = [line.get_markerfacecolor() for line in ax.lines[1:4:2]]
    assert faces == [figures.CORPORA[0], "none"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert "60.0" in [word.get_text() for word in ax.texts]
    plt.close("all")


def test_records_of_wider_images_have_a_command_of_their_own():
    path = next((ROOT / "results/recordings/crema-d/128x320").rglob("*.json"))
    wide = node.runs([records.read(path)])
    assert f"build/runs/{path.relative_to(ROOT / 'results')} " in text.commands(wide).data
    assert json.loads(path.read_text())["configuration"]["features"]["image_size"] == [128, 320]


def test_a_network_that_is_gone_costs_what_its_record_says(committed_records):
    """A window of three of ten seconds has 96 of 320 columns; by hand: 97 tokens in three blocks of the student."""
    wanted = {r.run: r for r in committed_records if (r.protocol, r.seed) == (splits.ACTOR_SELECTION, 0)}
    tokens, inner, width = 97, 320, 256
    block = (
        2 * tokens * width * 3 * inner + 2 * tokens * inner * width + 4 * tokens**2 * inner + 4 * tokens * width * 512
    )
    by_hand = 2 * 96 * 128 * width + 3 * block + 2 * width * 6
    assert reach.gflops(wanted["student-alone+3s+repeat"]) == by_hand / 1e9
    assert reach.gflops(wanted["student-alone+4s"]) == reach.gflops(wanted["student-alone"])
    assert reach.gflops(wanted["student-alone+deltas"]) > reach.gflops(wanted["student-alone"])
