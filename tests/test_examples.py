"""The committed images of test utterances: chosen by the rule, of the size that was promised, equal to what audio gives;
and what networks make of them."""

from pathlib import Path

import pytest
import torch
from helpers import tiny_emodb, tiny_record

from companion import examples
from serlib import attention, checkpoints, config, records
from serlib.data import corpora, features, splits
from serlib.engine import provenance
from serlib.model import SpectrogramViT
from studies import variants
from workflow import examples as written

ROOT = Path(__file__).parents[1]
COMMITTED = sorted((ROOT / "results/figures").glob("*.npz"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_ones_are_small_and_follow_the_rule(path: Path, committed_records: list) -> None:
    assert path.stat().st_size < 2e6
    shown = examples.read(path)
    assert len({(e.emotion, e.emotion == e.predicted) for e in shown}) == len(shown)
    tested = [r.parts["test"] for r in committed_records if r.corpus == path.stem and r.run == "teacher"]
    assert any({e.key for e in shown} <= set(part.file) for part in tested)
    assert all(e.images.shape == (len(config.PERTURBATIONS), 1, *config.Features.image_size) for e in shown)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_what_the_committed_teacher_makes_of_them_is_kept(path: Path) -> None:
    teacher, about = checkpoints.load(ROOT / f"weights/{path.stem}-teacher.safetensors")
    made = []
    teacher.register_forward_hook(lambda _network, _given, output: made.append(output))
    for example in examples.read(path):
        seen_now, output = examples.see(teacher, example.images), made.pop()
        expected, tokens = attention.rollout(output.attention, teacher.config.grid), output.tokens[0]
        cosines = torch.nn.functional.cosine_similarity(tokens[:, None], tokens[None], dim=-1)
        for seen in (example.seen[about["result"]], seen_now):
            torch.testing.assert_close(seen.attention, expected, atol=1e-5, rtol=1e-3)
            torch.testing.assert_close(seen.similarity, cosines, atol=2e-3, rtol=0)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_networks_that_saw_them_have_committed_records_of_runs_that_did_not_train_on_them(
    path: Path, committed_records: list
) -> None:
    shown = examples.read(path)
    by_result = {record.result: record for record in committed_records}
    for result in shown[0].seen:
        assert {example.key for example in shown} <= set(by_result[result].parts["test"].file)


def test_a_corpus_without_examples_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine\.npz: no examples of this corpus are committed"):
        examples.read(tmp_path / "mine.npz")


def test_first_by_name_of_the_right_and_the_wrong() -> None:
    part = records.Part(("c", "a", "b", "d"), ("1",) * 4, (0, 0, 0, 1), (0, 1, 0, 1))
    record = tiny_record(parts={"train": part, "test": part})
    assert [part.file[i] for i in written.chosen(record)] == ["b", "a", "d"]


def test_written_images_are_those_of_the_audio(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = corpora.load("emodb", tiny_emodb(tmp_path / "emodb"))
    split = splits.split(corpus, "random", 0)
    run = variants.resolve("majority", "paper", 0, len(corpus.emotions))
    made = records.finish(run, corpus, split, [0] * len(corpus.utterances), provenance.describe("cpu", 1, 0.0))
    records.write(made, tmp_path / "run.json")
    out, data = tmp_path / "figures/emodb.npz", str(tmp_path / "emodb")
    small = config.Model(depth=1, width=16, heads=1, head_width=8, mlp_width=8)
    networks = [(SpectrogramViT(small).eval(), tmp_path / f"{n}.safetensors", str(n)) for n in range(2)]
    for network, weights, result in networks:
        checkpoints.save(network, weights, result=result)
    command = ["emodb", "--data", data, "--record", str(tmp_path / "run.json"), "--out", str(out)]
    command += ["--weights", *(str(weights) for _, weights, _ in networks)]
    assert written.main(command) == 0
    shown = examples.read(out)
    for example in shown:
        waveform = features.read_audio(tmp_path / "emodb/wav" / example.key, config.Features())
        expected = features.image(waveform, config.Features())
        torch.testing.assert_close(example.images[0], expected, atol=5e-4, rtol=0)
        assert list(example.seen) == ["0", "1"]
        for network, _, result in networks:
            expected = examples.see(network, example.images)
            torch.testing.assert_close(example.seen[result].attention, expected.attention)
            torch.testing.assert_close(example.seen[result].similarity, expected.similarity, atol=1e-3, rtol=0)
    records.write(tiny_record(), tmp_path / "run.json")
    assert written.main(command) == 1
    assert "was not made from these recordings" in capsys.readouterr().err
