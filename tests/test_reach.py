"""From scratch, step by step: the rule on scores made by hand, and that the committed records choose what is reported."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import SPEAKERS, outcome, resolved, tiny_record

from companion import claims, costs, experiments, node, prose, reach, results, text
from companion.reach import INPUTS, PLAIN, SEEDS, STEPS
from serlib import config, records
from serlib.data import splits
from serlib.records import Part

ROOT = Path(__file__).parents[1]
CHOSEN = "student-alone+deltas"


def scored(base: str = PLAIN, others: float = 0.40, **better: Sequence[float]) -> dict[str, Sequence[float]]:
    """Every run of the rule up to single steps at ``others`` with every seed; steps of ``better`` as given."""
    found = dict.fromkeys((PLAIN, *INPUTS, *(f"{base}+{step}" for step in STEPS)), (others,) * 3)
    return found | {f"{base}+{step}": scores for step, scores in better.items()}


def chosen(scores: dict[str, Sequence[float]]) -> str:
    return reach.chosen(reach.tries(scores))


def test_the_spread_is_the_root_of_the_mean_of_both_variances():
    assert reach.spread((0.60, 0.60, 0.66), (0.50, 0.52, 0.54)) == pytest.approx(
        np.sqrt((0.0004 + 0.0012) / 2)
    )  # by hand
    assert reach.spread((0.51, 0.52, 0.53), (0.50, 0.51, 0.52)) == pytest.approx(0.01)
    close = dict(zip(STEPS, ((0.408, 0.418, 0.428), (0.405, 0.415, 0.425), (0.42, 0.43, 0.44)), strict=False))
    table = reach.tries(scored(**close) | {PLAIN: (0.40, 0.41, 0.42)}).set_index("run")
    of_step = [f"{PLAIN}+{step}" for step in close]
    assert table.loc[of_step, "gain"].tolist() == pytest.approx([0.008, 0.005, 0.02])
    assert table.loc[of_step, "gains"].tolist() == [False, False, True]


def test_the_input_that_gains_is_what_steps_are_added_to():
    def base(scores: dict[str, Sequence[float]]) -> str:
        return reach.tries(scored(INPUTS[1]) | scored() | scores)["beside"].iloc[-1]

    assert base({}) == PLAIN
    better = {INPUTS[1]: (0.42, 0.42, 0.42), INPUTS[2]: (0.41, 0.41, 0.41)}
    assert base(better) == INPUTS[1]
    assert base(better | {INPUTS[1]: (0.30, 0.42, 0.54)}) == PLAIN  # the best, by less than its seeds differ


def test_steps_that_gain_come_largest_first_and_at_most_four_together():
    better = {step: (0.41 + 0.01 * k,) * 3 for k, step in enumerate(STEPS[:5])}
    largest = STEPS[4::-1]
    together = ["+".join((PLAIN, *largest[:count])) for count in (2, 3, 4)]
    table = reach.tries(scored(**better) | dict.fromkeys(together, (0.4,) * 3))
    assert list(table["run"])[-3:] == together
    assert list(table["run"][table["gains"]]) == [f"{PLAIN}+{step}" for step in STEPS[:5]]
    assert list(reach.tries(scored(warp=(0.5,) * 3))["run"])[-1] == f"{PLAIN}+{STEPS[-1]}"


def test_the_highest_mean_of_all_that_gain_is_chosen_on_its_input():
    base = INPUTS[1]
    scores = scored(base, warp=(0.45,) * 3, tilt=(0.46,) * 3) | {base: (0.42,) * 3}
    both = f"{base}+tilt+warp"
    assert chosen(scores | {both: (0.50,) * 3}) == both
    assert chosen(scores | {both: (0.30, 0.50, 0.70)}) == f"{base}+tilt"  # higher, and within its spread


def test_the_input_itself_is_chosen_where_no_step_gains():
    assert chosen(scored()) == PLAIN
    assert chosen(scored(INPUTS[0]) | {INPUTS[0]: (0.42,) * 3}) == INPUTS[0]


def test_the_rule_waits_for_every_run_it_asks_for():
    whole = scored(warp=(0.45,) * 3, tilt=(0.46,) * 3) | {f"{PLAIN}+tilt+warp": (0.4,) * 3}
    assert len(reach.tries(whole)) == len(whole)
    for run in whole:
        assert reach.tries({other: at for other, at in whole.items() if other != run}).empty


def test_the_table_of_tries_says_what_the_rule_made_of_each():
    base = INPUTS[2]
    both = f"{base}+tilt+warp"
    scores = scored(base, warp=(0.45,) * 3, tilt=(0.46,) * 3) | {base: (0.42, 0.42, 0.42), both: (0.45, 0.46, 0.48)}
    table = reach.tries(scores).set_index("run")
    assert list(table.index) == [PLAIN, *INPUTS, *(f"{base}+{step}" for step in STEPS), both]
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


def test_the_chosen_number_of_epochs_has_the_highest_mean_over_seeds_and_of_equal_ones_is_the_fewest():
    assert reach.epochs([(0.2, 0.6, 0.3, 0.5), (0.3, 0.1, 0.5, 0.5)]) == 4  # not the best epoch of any one seed alone
    assert reach.epochs([(0.1, 0.5, 0.4), (0.3, 0.1, 0.2)]) == 2  # 0.6 / 2 twice, as 0.5 + 0.1 and 0.4 + 0.2
    assert reach.epochs([(0.4,)]) == 1


def test_the_schedule_has_the_number_of_epochs_that_the_committed_records_choose(committed_records):
    logged = [r for r in committed_records if (r.protocol, r.schedule) == (splits.ACTOR_SELECTION, reach.LOGGED)]
    assert [(r.run, r.seed) for r in sorted(logged, key=lambda r: r.seed)] == [(PLAIN, seed) for seed in SEEDS]
    curves = [r.curves["cross entropy"]["test accuracy"] for r in logged]
    assert {len(curve) for curve in curves} == {results.PAPER_EPOCHS}
    assert config.SCHEDULES[reach.CHOSEN_EPOCHS] == replace(config.SCHEDULES["paper-bf16"], epochs=reach.epochs(curves))


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


@pytest.fixture(scope="module")
def predicted(committed) -> pd.DataFrame:
    protocols, runs = {*splits.BY_ACTORS, "leave-one-speaker-out"}, (f"{PLAIN}-seed", f"{PLAIN}+")
    wanted = (r for p, r in committed.items() if r.protocol in protocols and p.name.startswith(runs))
    return results.predictions(wanted)


def test_the_committed_records_choose_what_is_reported(predicted):
    assert chosen(reach.scores(predicted)) == CHOSEN
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
    tries = reach.tries(reach.scores(predicted))
    compared = claims.labelled(node.comparisons(predicted, results.tokens(()), tries, results.seed_noise(predicted)))
    said = prose.reach_note(SimpleNamespace(tries=tries, comparisons=compared, orders=None))
    assert said.startswith(
        "12 additions were tried by one rule, 0 in an earlier search. Of the chosen ones, none is shown"
    )
    chosen_line, committed_line, beside_line = said.split("\n- ")[1:]
    assert chosen_line.startswith(
        f"{experiments.ADDS['deltas']}, chosen by the rule once its limit of FLOPs was widened ("
    )
    assert ": **pending**. New speakers: EmoDB +" in chosen_line
    assert committed_line.startswith(
        f"{experiments.ADDS['convolutions']}, chosen by the rule as committed (UA 54.9 on the actors for choosing): "
    )
    assert beside_line.startswith(f"{experiments.ADDS['deltas']}, minus openSMILE + SVM. Not measured")


def test_two_schedules_of_a_run_are_not_pooled_beside_a_classifier_without_chance():
    """As once: the mean of both stood under the name of the first."""
    ours = [*outcome(PLAIN, dict.fromkeys(SPEAKERS, 4)), *outcome(PLAIN, dict.fromkeys(SPEAKERS, 0), schedule="short")]
    theirs = outcome("majority", dict.fromkeys(SPEAKERS, 2), schedule="baseline")
    (found,) = reach.reported(results.predictions([*ours, *theirs]), PLAIN, "majority").values()
    assert (found.schedule, found.gain("WA").estimate) == ("paper", 0.5)


def test_the_rule_as_committed_allows_no_more_operations_than_the_plain_student(predicted):
    """42cb958: "at no more than its FLOPs"; d2c28e5, after the results: "at about its FLOPs"."""
    tries = reach.tries(reach.scores(predicted))
    assert reach.chosen(tries) == f"{PLAIN}+deltas"
    assert reach.chosen(tries, costs.read()[PLAIN].flops) == f"{PLAIN}+convolutions"
    assert costs.read()[f"{PLAIN}+convolutions"].flops < costs.read()[PLAIN].flops < costs.read()[CHOSEN].flops
    assert (f"{PLAIN}+convolutions", PLAIN) in reach.report_pairs(tries)
    assert reach.__doc__.startswith("What the paper's student reaches from scratch, at no more than its FLOPs")


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
    by_hand = 2 * 96 * 128 * width + 3 * block + 2 * width * 7
    kept = costs.read()
    assert costs.of_record(wanted["student-alone+3s+repeat"]).flops == by_hand == kept["student-alone+3s+repeat"].flops
    assert kept["student-alone+4s"].flops == kept["student-alone"].flops < kept["student-alone+deltas"].flops
    assert costs.of_record(wanted["student-alone+deltas"]).flops == kept["student-alone+deltas"].flops
