"""The evidence names runs, folds and seeds that exist."""

import pytest

from companion import experiments
from serlib import cli, config
from serlib.data import facts, splits


@pytest.mark.parametrize("corpus", [*facts.CORPORA, "mine"])
def test_every_portion_is_of_what_can_be_run(corpus):
    for experiment in experiments.experiments_of(corpus):
        assert experiment.protocol in (*splits.PROTOCOLS, *splits.AUGMENTED, splits.SELECTION)
        assert set(experiment.runs) <= {*config.RUNS, *config.BASELINES}
        assert len(set(experiment.places(corpus))) == len(experiment.cells) * len(experiment.runs)


def test_emodb_holds_its_ten_speakers_out_one_by_one_and_crema_d_in_five_groups():
    new = {
        c: next(p for p in experiments.experiments_of(c) if p.title == "the protocol, new speakers")
        for c in facts.CORPORA
    }
    assert (new["emodb"].protocol, len(new["emodb"].cells)) == ("leave-one-speaker-out", 10)
    assert (new["savee"].protocol, len(new["savee"].cells)) == ("leave-one-speaker-out", 4)
    assert (new["crema-d"].protocol, len(new["crema-d"].cells)) == ("speaker-folds", 5)


def test_what_is_there_is_counted(tmp_path, capsys):
    place = tmp_path / next(experiments.experiments_of("emodb")[0].places("emodb"))
    place.parent.mkdir(parents=True)
    place.touch()
    assert cli.main(["evidence", "emodb", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == " 1  baselines, new speakers: 1 of 20 records"
