"""Variants beyond the paper: what each puts before the patches, against other libraries, what it costs, that it runs."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
import torchaudio
from helpers import tiny_emodb, tiny_record

from serlib import checkpoints, cli, config, records
from serlib.config import STUDENT, Features, Model
from serlib.data import features
from serlib.flops import count
from studies import frontends, variants
from studies.__main__ import main as studies
from studies.frontends import FrontedViT, WithDerivatives, derivative, front
from studies.variants import LIGHT, VARIANTS, Variant, resolve
from workflow import export

SMALL = Model(image_size=(16, 40), patch_size=(16, 1), width=32, depth=2, heads=2, head_width=8, mlp_width=24)
FRONTS = {"deltas": Variant(deltas=True), "convolutions": Variant(convolutions=((4, 2, 1), (6, 1, 2)))}
FRONTS["both"] = replace(FRONTS["convolutions"], deltas=True)


@pytest.fixture
def images():
    """Speech of several lengths, then black; the last fills its image."""
    made = torch.rand(5, 1, 16, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for image, stop in zip(made, (3, 12, 13, 20, 40), strict=True):
        image[..., stop:] = 0
    return made


def network(variant: Variant) -> FrontedViT:
    torch.manual_seed(1)
    return FrontedViT(variant.network(SMALL), front(variant), SMALL.image_size).double().eval()


def test_derivatives_are_torchaudios(images):
    first = torchaudio.functional.compute_deltas(images)
    expected = torch.cat((images, first, torchaudio.functional.compute_deltas(first)), dim=1)
    torch.testing.assert_close(WithDerivatives()(images), expected)
    slope = derivative(0.5 * torch.arange(40.0).expand(1, 1, 16, 40))
    assert (slope[..., 2:-2] - 0.5).abs().max() < 1e-6


def test_patches_are_the_columns_of_derivatives_and_convolutions(images):
    seen = []
    model = network(FRONTS["both"]).train()
    model.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(images, need_weights=True)  # so that every column is computed
    x = WithDerivatives()(images)
    for (convolution, norm, _), (channels, *stride) in zip(model.front[1:], FRONTS["both"].convolutions, strict=True):
        x = torch.nn.functional.conv2d(x, convolution.weight, stride=stride, padding=1)
        assert x.shape[1] == channels
        spread, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
        x = torch.nn.functional.gelu((x - mean) / (spread + norm.eps).sqrt())
    assert x.shape == (5, 6, 8, 20)
    torch.testing.assert_close(seen[0], x.permute(0, 3, 2, 1).flatten(2))


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("training", [False, True])
def test_what_is_computed_once_changes_neither_outputs_nor_gradients(images, name, training):
    """Asked for attention, the network computes every column."""
    outcomes = []
    for asked in (False, True):
        model = network(FRONTS[name]).train(training)
        output = model(images, need_weights=asked)
        loss = output.logits.square().sum() + output.pooled.square().sum() + (output.tokens - 0.1).abs().sum()
        outcomes.append((*output[:3], *torch.autograd.grad(loss, list(model.parameters()))))
    for cropped, whole in zip(*outcomes, strict=True):
        assert torch.allclose(cropped, whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_changes_the_student_and_its_record_reads_back(name, tmp_path):
    made, plain = resolve(name, "paper", 3, 7), resolve("student-alone", "paper", 3, 7)
    assert (made.name, made.training, made.features) == (name, plain.training, plain.features)
    assert variants.from_beyond(made.beyond) == VARIANTS[name] != Variant()
    assert VARIANTS[name].adds
    record = tiny_record(configuration=made)
    records.write(record, tmp_path / "run.json")
    assert records.read(tmp_path / "run.json").configuration == records.Settings.from_config(made)


def test_names_and_variants_that_are_none_are_refused():
    with pytest.raises(ValueError, match="run 'student-alone\\+4s' is none of "):
        resolve("student-alone+4s", "paper", 0, 7)
    with pytest.raises(ValueError, match="schedule 'warp' is none of "):
        resolve("student-alone+deltas", "warp", 0, 7)
    with pytest.raises(ValueError, match="window"):
        variants.from_beyond({"window": 12})


def test_variants_cost_no_more_than_the_student():
    """By the student's two digits: 0.53 GFLOPs. Derivatives alone make each patch three times as large."""
    costs = {name: count(frontends.of_run(resolve(name, "paper", 0, 7))) for name in VARIANTS}
    plain = count(STUDENT).flops
    assert costs["student-alone+deltas"].flops == plain + 2 * 128 * 2 * 128 * 256
    assert costs["student-alone-speaker-norm"].flops == plain
    pixels = (64 * 128, 32 * 64, 16 * 64)
    by_hand = sum(2 * 9 * p * i * o for p, i, o in zip(pixels, (1, 16, 32), (16, 32, 64), strict=True))
    assert costs["student-alone+convolutions"].stem_flops == by_hand
    assert max(costs["student-alone+convolutions"].flops, costs["student-alone+deltas+convolutions"].flops) < plain
    assert Variant(convolutions=LIGHT).network(STUDENT).grid == (1, 64)


def test_an_export_with_a_front_gives_the_same_logits(tmp_path):
    variant = Variant(deltas=True, convolutions=LIGHT)
    torch.manual_seed(0)
    shallow = replace(STUDENT, depth=2)  # blocks are alike
    model = FrontedViT(variant.network(shallow), front(variant), shallow.image_size)
    t = torch.arange(3 * 16_000) / 16_000
    sounds = [
        0.4 * torch.sin(2 * torch.pi * (150 + 200 * t[:n]) * t[:n]) * torch.sin(3 * t[:n]) for n in (30_000, 48_000)
    ]
    model(torch.stack([features.image(sound, Features()) for sound in sounds]))  # statistics of the norms
    export.write_onnx(model.eval(), Features(), ("a",) * 7, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for sound in sounds:
        (found,) = session.run(None, {"samples": sound.numpy()})
        with torch.no_grad():
            expected = model(features.image(sound, Features())[None]).logits[0].numpy()
        assert np.abs(found - expected).max() < 1e-4


def test_a_variant_trains_and_predicts_from_its_own_commands(tmp_path, monkeypatch, capsys):
    small = replace(STUDENT, width=16, depth=1, heads=1, head_width=8, mlp_width=16)
    monkeypatch.setitem(config.RUNS, "student-alone", config.Run(small))
    data = tiny_emodb(tmp_path / "emodb")
    name = "student-alone+deltas+convolutions"
    arguments = ["train", "emodb", "--data", str(data), "--cache", f"{tmp_path}/cache", "--out", f"{tmp_path}/runs"]
    arguments += ["--run", name, "--epochs", "1", "--protocol", "leave-one-speaker-out"]
    assert studies(arguments) == 0, capsys.readouterr().err
    (path,) = (tmp_path / "runs").rglob("*.json")
    assert path.name == f"{name}-seed0.json"
    assert records.read(path).configuration.beyond.deltas is True
    weights, file = str(path.with_suffix(".safetensors")), str(next(data.rglob("*.wav")))
    assert studies(["predict", "--weights", weights, file]) == 0
    assert cli.main(["predict", "--weights", weights, file]) == 1
    assert "of a variant beyond the paper: `python -m studies`" in capsys.readouterr().err
    assert cli.main([*arguments[:8], "--run", name]) == 1
    assert "run 'student-alone+deltas+convolutions' is none of teacher, " in capsys.readouterr().err
    loaded, _ = frontends.load(path.with_suffix(".safetensors"))
    assert isinstance(loaded, FrontedViT)
    with pytest.raises(checkpoints.VariantError):
        checkpoints.load(path.with_suffix(".safetensors"))
