"""The evidence names runs, folds and seeds that exist."""

import pytest

from companion import experiments, reach, results
from serlib.data import facts, splits
from studies import variants


@pytest.mark.parametrize("corpus", [*facts.CORPORA, "mine"])
def test_every_experiment_is_of_what_can_be_run(corpus):
    for experiment in experiments.experiments_of(corpus):
        assert experiment.protocol in (*splits.PROTOCOLS, *splits.AUGMENTED, *splits.CHOOSING)
        schedule = "paper" if experiment.schedule == variants.BASELINE else experiment.schedule
        for run in experiment.runs:
            variants.resolve(run, schedule, 0, num_classes=7)
        assert len(set(experiment.places(corpus))) == len(experiment.cells) * len(experiment.runs)


def test_emodb_holds_its_ten_speakers_out_one_by_one_and_crema_d_in_five_groups():
    new = {
        c: next(p for p in experiments.experiments_of(c) if p.title == "the protocol, speaker-independent")
        for c in facts.CORPORA
    }
    assert (new["emodb"].protocol, len(new["emodb"].cells)) == ("leave-one-speaker-out", 10)
    assert (new["savee"].protocol, len(new["savee"].cells)) == ("leave-one-speaker-out", 4)
    assert (new["crema-d"].protocol, len(new["crema-d"].cells)) == ("speaker-folds", 5)


def test_crema_d_is_first_divided_as_the_field_divides_it():
    first, protocol, seeds, *others = experiments.experiments_of("crema-d")
    assert {e.protocol for e in (first, protocol, seeds)} == {"actor-split"}
    at_student_size, chosen_epochs, *normalised, last = [e for e in others if e.protocol == "actor-split"]
    assert (at_student_size.runs, len(at_student_size.cells)) == (experiments.AT_STUDENT_SIZE, 3)
    # Speaker folds would test the actors who chose the number of epochs.
    assert [e for e in others if e.schedule == reach.CHOSEN_EPOCHS] == [chosen_epochs]
    assert (chosen_epochs.runs, chosen_epochs.cells) == ((reach.PLAIN,), ((0, 0), (0, 1), (0, 2)))
    assert [e.runs for e in normalised] == [
        ("student-alone-speaker-norm+deltas",),
        ("resnet-18", "resnet-18-speaker-norm"),
    ]
    assert last.runs == experiments.PACKAGED  # packages of their own stop no other experiment
    assert {"student-alone-long", "teacher-no-position"} <= set(protocol.runs)
    assert seeds.cells == ((0, 1), (0, 2))
    assert not [e for e in experiments.experiments_of("emodb") if e.protocol == "actor-split"]


def test_networks_normalised_by_speaker_are_no_ablations_and_need_no_package():
    normalised = {name for name in variants.NAMES if name.endswith(variants.SPEAKER_NORM)}
    assert normalised - {*experiments.PACKAGED, *experiments.FREE_APART} == {
        "student-alone-speaker-norm",
        "resnet-18-speaker-norm",
    }
    assert not normalised & {*experiments.ABLATIONS}
    for corpus in ("emodb", "crema-d", "mine"):
        where = {
            e.protocol
            for e in experiments.experiments_of(corpus)
            if any(variants.SPEAKER_NORM in run for run in e.runs)
        }
        assert where <= {*results.APART}


def test_speakers_are_held_out_in_one_precision():
    found = experiments.experiments_of("emodb")
    compared = [e for e in found if e.protocol == "leave-one-speaker-out" and len(e.runs) > 1]
    assert {e.schedule for e in compared} == {"paper-bf16", variants.BASELINE}
    seeds = {seed for e in compared if set(e.runs) == set(experiments.PROTOCOL) for _, seed in e.cells}
    assert seeds == {0, 1, 2}
