"""Steps beyond the paper: what each adds, against plain loops and other libraries, and what it costs."""

import math
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
import torchaudio
from helpers import tiny_emodb, tiny_record

from serlib import cli, config, export, records
from serlib.config import STEPS, STUDENT, Features, Model, resolve
from serlib.data import augment, features
from serlib.flops import closed_form, count, steps
from serlib.frontend import convolutions, derivative, speech_columns, windows, with_derivatives
from serlib.model import SpectrogramViT

WIDE = Features(image_size=(128, 320))  # columns of 31.25 ms
SMALL = Model(image_size=(16, 40), patch_size=(16, 1), width=32, depth=2, heads=2, head_width=8, mlp_width=24)
STOPS = (3, 12, 13, 38, 40)  # columns of speech
NARROW = replace(SMALL, window=12)
LIGHT = ((4, 2, 1), (6, 1, 2))
CHANGES = {
    "window": {"window": 12},
    "repeat": {"fill": "repeat"},
    "window, repeat": {"window": 12, "fill": "repeat"},
    "segments": {"window": 12, "segments": 3},
    "deltas": {"window": 12, "deltas": True},
    "convolutions": {"convolutions": LIGHT},
    "spread": {"pooling": "spread"},
    "sinusoidal": {"window": 12, "position": "sinusoidal"},
    "all": {
        "window": 12,
        "fill": "repeat",
        "segments": 3,
        "deltas": True,
        "convolutions": LIGHT,
        "pooling": "spread",
        "position": "coordinates",
        "per_band_norm": True,
    },
}


@pytest.fixture
def images():
    """Speech of :data:`STOPS` columns, then black; the last fills its image."""
    made = torch.rand(5, 1, 16, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for image, stop in zip(made, STOPS, strict=True):
        image[..., stop:] = 0
    return made


def network(c: Model) -> SpectrogramViT:
    torch.manual_seed(1)
    return SpectrogramViT(c).double().eval()


def cut(image: np.ndarray, stop: int, start: int, c: Model) -> np.ndarray:
    """One window of an image (height, width), column by column."""
    places = range(start, start + c.columns)
    return np.stack([image[:, place % stop if c.fill == "repeat" else place] for place in places], axis=1)


def test_speech_ends_before_the_run_of_equal_columns(images):
    assert speech_columns(images).tolist() == list(STOPS)
    images[3, ..., 39] = 0.5  # one column after a pause ends the speech
    assert speech_columns(images).tolist() == [3, 12, 13, 40, 40]
    assert speech_columns(torch.zeros(2, 1, 16, 40)).tolist() == [1, 1]


@pytest.mark.parametrize("fill", ["black", "repeat"])
@pytest.mark.parametrize("segments", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [7, 12])
def test_evaluated_windows_run_from_the_first_to_the_last_column_of_speech(images, fill, segments, window):
    c = replace(SMALL, window=window, fill=fill, segments=segments)
    found = windows(images, c, training=False)[:, 0].numpy()
    expected = []
    for image, stop in zip(images[:, 0].numpy(), STOPS, strict=True):
        for i in range(segments):
            room = max(stop - window, 0)
            expected.append(cut(image, stop, math.floor(room * i / max(segments - 1, 1)), c))
    assert (found == np.stack(expected)).all()


@pytest.mark.parametrize("fill", ["black", "repeat"])
@pytest.mark.parametrize("window", [0, 12])
def test_trained_windows_start_anywhere_in_the_speech_each_as_often(images, fill, window):
    c = replace(SMALL, window=window, fill=fill)
    many = 4000
    for image, stop in zip(images, STOPS, strict=True):
        torch.manual_seed(0)
        found = windows(image.expand(many, -1, -1, -1), c, training=True)
        torch.manual_seed(0)
        assert torch.equal(windows(image.expand(many, -1, -1, -1), c, training=True), found)
        first = found[:, 0, 0, 0].numpy()  # the column at which a window starts
        starts = np.abs(first[:, None] - image[0, 0, :stop].numpy()).argmin(axis=1)
        for start in set(starts):
            expected = cut(image[0].numpy(), stop, start, c)
            assert (found[starts == start, 0].numpy() == expected).all()
        wanted = stop - c.columns + 1 if stop >= c.columns else stop if fill == "repeat" else 1
        shares = np.bincount(starts, minlength=wanted) / many
        assert shares.tolist() == pytest.approx([1 / wanted] * wanted, abs=5 * (1 / wanted / many) ** 0.5)


def test_a_network_with_a_window_is_the_one_for_smaller_images(images):
    wide, small = network(NARROW), network(replace(SMALL, image_size=(16, 12)))
    for one, other in zip(wide(images)[:3], small(images[..., :12])[:3], strict=True):
        assert torch.equal(one, other)


def test_segments_are_averaged(images):
    c = replace(NARROW, segments=3)
    several, one = network(c), network(replace(SMALL, image_size=(16, 12)))
    output = several(images, need_weights=True)
    for i, (image, stop) in enumerate(zip(images, STOPS, strict=True)):
        starts = (0, max(stop - 12, 0) // 2, max(stop - 12, 0))
        parts = [one(image[None, ..., start : start + 12], need_weights=True) for start in starts]
        mean = np.mean([part.logits.softmax(dim=1)[0].detach().numpy() for part in parts], axis=0)
        assert output.logits[i].exp().detach().numpy() == pytest.approx(mean)
        for name in ("pooled", "tokens"):
            expected = sum(getattr(part, name)[0] for part in parts) / 3
            torch.testing.assert_close(getattr(output, name)[i], expected)
        for name in ("attention", "layers"):
            for found, expected in zip(getattr(output, name), getattr(parts[0], name), strict=True):
                torch.testing.assert_close(found[i], expected[0])
    assert several.train()(images).tokens.shape == (5, 12, 32)  # in training there is one


def test_derivatives_are_torchaudios(images):
    first = torchaudio.functional.compute_deltas(images)
    expected = torch.cat((images, first, torchaudio.functional.compute_deltas(first)), dim=1)
    torch.testing.assert_close(with_derivatives(images), expected)
    slope = derivative(0.5 * torch.arange(40.0).expand(1, 1, 16, 40))
    assert (slope[..., 2:-2] - 0.5).abs().max() < 1e-6


def test_patches_are_the_columns_of_derivatives_and_convolutions(images):
    seen = []
    model = network(replace(SMALL, deltas=True))
    model.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(images, need_weights=True)
    assert torch.equal(seen[0], with_derivatives(images).permute(0, 3, 2, 1).flatten(2))
    model = network(replace(SMALL, deltas=True, convolutions=LIGHT))
    model.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model.train()
    model(images, need_weights=True)  # so that every column is computed
    x = with_derivatives(images)
    for (convolution, norm, _), (channels, *stride) in zip(model.convolutions, LIGHT, strict=True):
        x = torch.nn.functional.conv2d(x, convolution.weight, stride=stride, padding=1)
        assert x.shape[1] == channels
        spread, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
        x = torch.nn.functional.gelu((x - mean) / (spread + norm.eps).sqrt())
    assert x.shape == (5, 6, 8, 20)
    torch.testing.assert_close(seen[1], x.permute(0, 3, 2, 1).flatten(2))


def test_spread_is_mean_and_standard_deviation_of_the_patches(images):
    model = network(replace(SMALL, pooling="spread"))
    output = model(images)
    tokens = output.tokens.detach().numpy()
    expected = np.concatenate((tokens.mean(axis=1), tokens.std(axis=1)), axis=1)
    assert output.pooled.detach().numpy() == pytest.approx(expected)
    torch.testing.assert_close(output.logits, model.head(output.pooled))
    model(torch.zeros(2, 1, 16, 40).double()).logits.sum().backward()  # all tokens equal: a deviation of zero
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("training", [False, True])
def test_what_is_computed_once_changes_neither_outputs_nor_gradients(images, name, training):
    """Asked for attention, the network computes every column."""
    outcomes = []
    for asked in (False, True):
        model = network(replace(SMALL, **CHANGES[name])).train(training)
        torch.manual_seed(2)
        output = model(images, need_weights=asked)
        loss = output.logits.square().sum() + output.pooled.square().sum() + (output.tokens - 0.1).abs().sum()
        outcomes.append((*output[:3], *torch.autograd.grad(loss, list(model.parameters()))))
    for one, other in zip(*outcomes, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHANGES)
def test_a_training_step_waits_for_no_number_of_the_device(name):
    """On the meta device there are no numbers to wait for: reading one is an error."""
    with torch.device("meta"):
        model = SpectrogramViT(replace(SMALL, **CHANGES[name])).train()
        images = torch.zeros(5, 1, 16, 40)
    model(images).logits.sum().backward()
    model.eval()(images)


@pytest.mark.parametrize("seed", range(6))
def test_tilt_by_hand(seed):
    image = torch.full((1, 1, 5, 4), 0.5)
    image[..., 3], image[0, 0, (0, 4), 0], image[0, 0, (0, 4), 2] = 0, 0.99, 0.01
    torch.manual_seed(seed)
    gain = torch.empty(1).uniform_(-6, 6).item() / 80  # dB, of 80 from black to the loudest
    torch.manual_seed(seed)
    tilted = augment.tilt(image)[0, 0]
    for row, slope in enumerate((1, 0.5, 0, -0.5, -1)):
        before = image[0, 0, row].tolist()
        expected = [min(max(level + slope * gain, 0), 1) if level else 0 for level in before]
        assert tilted[row].tolist() == pytest.approx(expected)


def test_tilt_is_one_of_the_augmentations_and_at_most_six_decibels():
    torch.manual_seed(0)
    many, _ = augment.augmented(torch.full((4000, 1, 3, 1), 0.5), torch.zeros(4000).long(), ("tilt",))
    gain = many[:, 0, 0, 0] - 0.5
    assert (gain.min().item(), gain.max().item()) == pytest.approx((-0.075, 0.075), abs=1e-3)


def test_steps_change_a_run_in_their_order():
    name = "student-alone+4s+repeat+tilt+warp+smooth+longer"
    made = resolve(name, "masks", 3, 6, WIDE)
    model = replace(STUDENT, num_classes=6, image_size=(128, 320), window=128, fill="repeat")
    assert (made.name, made.schedule, made.run.epoch_factor) == (name, "masks", 2)
    assert made.run.model == model
    expected = config.Training(seed=3, augment=("masks", "tilt", "warp"), smoothing=0.1, epochs=100)
    assert made.training == expected
    assert resolve("student-alone+3s", "paper", 0, 6, WIDE).run.model.window == 96
    plain = resolve("student-alone", "paper", 0, 6, WIDE)
    assert plain.run == config.Run(replace(STUDENT, num_classes=6, image_size=(128, 320)))
    assert resolve("student-alone+4s", "paper", 0, 6).run.model.window == 51  # of 128 columns for 10 s


@pytest.mark.parametrize("step", STEPS)
def test_every_step_changes_the_run_and_its_record_reads_back(step, tmp_path):
    base = "student-alone+4s" if step == "segments" else "student-alone"
    made, plain = (resolve(name, "paper", 0, 7, WIDE) for name in (f"{base}+{step}", base))
    assert (made.run, made.training) != (plain.run, plain.training)
    records.write(tiny_record(configuration=made), tmp_path / "run.json")
    assert records.read(tmp_path / "run.json").configuration == records.Settings.of(made)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("student-alone+nope", "step 'nope' is none of 3s, 4s, repeat"),
        ("student-alone+", "step '' is none of"),
        ("nope+4s", "run 'nope' is none of teacher"),
        ("student-alone+warp+4s+warp", "step 'warp' is named twice"),
        ("student-alone+3s+4s", "step '4s' gives it a second window"),
        ("majority+4s", "a baseline takes no steps"),
        ("student-pooled+4s", "a student with a teacher takes no steps"),
        ("student-alone-speaker-norm+tilt", "not those of normalised images"),
        ("student-alone+segments", "segments 3 must be at least 1, and 1 without a window"),
        ("teacher-square-patches+convolutions", "after convolutions patches are full-height columns"),
    ],
)
def test_impossible_names_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        resolve(name, "paper", 0, 7, WIDE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": 41}, "window 41 must be at least 0 and at most the image's 40 columns"),
        ({"window": -1}, "window -1"),
        ({"window": 9, "patch_size": (16, 2)}, "patch width 2 does not divide window 9"),
        ({"segments": 0}, "segments 0"),
        ({"convolutions": ((4, 0, 1),)}, "channels and strides must be at least 1"),
    ],
)
def test_impossible_networks_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)


def within(*names: str) -> Model:
    return resolve("+".join(("student-alone", "4s", *names)), "paper", 0, 7, WIDE).run.model


ALL = [step for step in STEPS if step not in ("3s", "4s")]


@pytest.mark.parametrize("names", [(), *((step,) for step in ALL), ALL], ids="+".join)
def test_steps_cost_no_more_than_the_student(names):
    """By the student's two digits: 0.53 GFLOPs a window. Derivatives alone make each patch three times as large."""
    c = within(*names)
    cost = count(c)
    assert cost.flops == closed_form(c)
    assert cost.flops % c.segments == 0
    plain = 528_817_408
    most = plain + 2 * 128 * 2 * 128 * 256 if list(names) == ["deltas"] else 0.535e9
    assert cost.flops / c.segments <= most
    assert sum(step.parameters for step in steps(SpectrogramViT(c))) + 256 == cost.parameters


def test_the_cost_of_the_convolutions_by_hand():
    pixels = (64 * 128, 32 * 64, 16 * 64)
    by_hand = sum(2 * 9 * p * i * o for p, i, o in zip(pixels, (1, 16, 32), (16, 32, 64), strict=True))
    assert count(within("convolutions")).stem_flops == by_hand
    assert within("convolutions").grid == (1, 64)
    assert convolutions(STUDENT).state_dict() == {}


def test_an_export_with_steps_gives_the_same_logits(tmp_path):
    c = within("repeat", "deltas", "convolutions", "spread", "segments")
    torch.manual_seed(0)
    model = SpectrogramViT(c)
    t = torch.arange(5 * 16_000) / 16_000
    sounds = [
        0.4 * torch.sin(2 * torch.pi * (150 + 200 * t[:n]) * t[:n]) * torch.sin(3 * t[:n]) for n in (30_000, 80_000)
    ]
    model(torch.stack([features.image(sound, WIDE) for sound in sounds]))  # statistics of the norms
    export.onnx(model.eval(), WIDE, ("a",) * 7, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for sound in sounds:
        (found,) = session.run(None, {"samples": sound.numpy()})
        with torch.no_grad():
            expected = model(features.image(sound, WIDE)[None]).logits[0].numpy()
        assert np.abs(found - expected).max() < 1e-4


def test_a_run_with_steps_trains_from_the_command_line(tmp_path, monkeypatch, capsys):
    small = replace(STUDENT, width=16, depth=1, heads=1, head_width=8, mlp_width=16)
    monkeypatch.setitem(config.RUNS, "student-alone", config.Run(small))
    data = tiny_emodb(tmp_path / "emodb")
    name = "student-alone+4s+repeat+deltas+convolutions+spread+segments+tilt+dropout"
    arguments = ["train", "emodb", "--data", str(data), "--cache", f"{tmp_path}/cache", "--out", f"{tmp_path}/runs"]
    arguments += ["--run", name, "--epochs", "1", "--protocol", "leave-one-speaker-out", "--image-width", "320"]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    (path,) = (tmp_path / "runs").rglob("*.json")
    assert path.name == f"{name}-seed0.json"
    assert records.read(path).configuration.run.model.window == 128
    weights = str(path.with_suffix(".safetensors"))
    assert cli.main(["predict", "--weights", weights, str(next(data.rglob("*.wav")))]) == 0
