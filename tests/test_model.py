"""The network against hand-computed values, exact counts, and the released models' outputs."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import vit_pytorch

from benchmarks import reference
from companion import costs
from serlib.checkpoints import load, save
from serlib.config import POSITIONS, RUNS, STUDENT, TEACHER, Model
from serlib.engine import padding
from serlib.flops import count, steps
from serlib.model import SpectrogramViT, coordinate_channels
from workflow import released

SMALL = Model(image_size=(16, 12), patch_size=(16, 1), width=32, depth=2, heads=2, head_width=8, mlp_width=24)
SMALL_TEACHER = replace(SMALL, stem=(4, 1), position="coordinates")

# Counts stated for the released code (MLP width 512, 7 classes): parameters, operations with a multiply-add as two.
COUNTS = {
    "teacher": (TEACHER, 3_700_168, 2_585_406_464),
    "student": (STUDENT, 1_811_975, 528_817_408),
    "deep teacher": (replace(TEACHER, depth=12, heads=12), 12_756_424, 5_404_401_152),
}


@pytest.fixture
def images():
    return torch.rand(3, 1, 16, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_operations_are_exact(name):
    settings, parameters, flops = COUNTS[name]
    cost = count(settings)
    assert (cost.parameters, cost.flops) == (parameters, flops)
    assert cost.stem_flops == 1_519_386_624 * bool(settings.stem)


def closed_form(c: Model) -> int:
    """The operations from the configuration alone: 2 for each multiply-add of every matrix product."""
    pixels = c.image_size[0] * c.image_size[1]
    stem = sum(2 * 9 * pixels * i * o for i, o in zip((1, *c.stem)[:-1], c.stem, strict=True))
    tokens, inner = c.num_patches + 1, c.heads * c.head_width
    embed = 2 * c.num_patches * c.patch_values * c.width
    projections = 2 * tokens * c.width * 3 * inner + 2 * tokens * inner * c.width
    attention = 2 * 2 * tokens * tokens * inner
    mlp = 2 * 2 * tokens * c.width * c.mlp_width
    return stem + embed + c.depth * (projections + attention + mlp) + 2 * c.width * c.num_classes


@pytest.mark.parametrize("name", RUNS)
def test_counted_operations_equal_the_closed_form(name):
    settings = RUNS[name].model
    assert count(settings).flops == closed_form(settings)


def test_steps_are_read_off_the_running_network():
    model = SpectrogramViT(TEACHER)
    found = steps(model)
    assert [step.shape[0] for step in found[:6]] == [16, 32, 64, 32, 16, 1]
    assert found[6].shape == (128, 256)
    assert found[7].shape == (129, 256)
    assert found[-1].shape == (7,)
    assert sum(step.parameters for step in found) + 256 == count(TEACHER).parameters
    assert not model._forward_hooks
    assert not model.stem[0]._forward_hooks


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_released_checkpoints_give_their_outputs(golden, name):
    expected = np.load(golden / "io.npz")
    model = released.load(golden / f"{name}.ckpt")
    with torch.no_grad():
        output = model(torch.from_numpy(expected["image"]))
    assert not model.training
    assert np.abs(output.logits.numpy() - expected[f"{name}_logits"]).max() < 1e-5
    assert np.abs(output.pooled.numpy() - expected[f"{name}_pooled"]).max() < 1e-5


def test_released_stem_and_coordinates(golden):
    expected = np.load(golden / "io.npz")
    model = released.load(golden / "teacher.ckpt")
    with torch.no_grad():
        channels = model.patch_input(torch.from_numpy(expected["image"])).numpy()
    assert np.abs(channels[:, :1] - expected["stem"]).max() < 1e-5
    assert np.abs(channels[:1, 1:] - expected["coordinates"]).max() < 1e-6


def test_a_release_checkpoint_must_fit_the_image(golden, tmp_path):
    with pytest.raises(ValueError, match=r"teacher\.ckpt: does not fit images of 100 x 128"):
        released.load(golden / "teacher.ckpt", image_size=(100, 128))
    other = tmp_path / "other.ckpt"
    other.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"other\.ckpt: not a checkpoint in the released format"):
        released.load(other)
    with pytest.raises(ValueError, match="no such checkpoint"):
        released.load(tmp_path / "missing.ckpt")


def test_a_release_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    path = tmp_path / "evil.ckpt"
    torch.save({"model_state_dict": Evil()}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        released.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_the_student_is_a_vision_transformer_without_positions(pooling):
    """vit-pytorch's, with the student's weights and no position embedding; it computes every column of silence."""
    c = replace(STUDENT, pooling=pooling)
    model = SpectrogramViT(c).eval()
    sizes = {"dim": c.width, "depth": c.depth, "heads": c.heads, "dim_head": c.head_width, "mlp_dim": c.mlp_width}
    other = vit_pytorch.ViT(
        image_size=c.image_size, patch_size=c.patch_size, num_classes=c.num_classes, channels=1, **sizes
    ).eval()
    other.pool = {"class": "cls", "mean": "mean"}[pooling]
    names = [(r"^class_token$", "cls_token"), (r"^embed\.(\d)", lambda m: f"to_patch_embedding.{int(m[1]) + 1}")]
    names += [(r"^blocks\.(\d+)\.attention\.", r"transformer.layers.\1.0."), (r"\.0\.qkv\.", ".0.to_qkv.")]
    names += [(r"\.0\.out\.", ".0.to_out.0."), (r"^blocks\.(\d+)\.mlp\.", r"transformer.layers.\1.1.net.")]
    names += [(r"^norm\.", "transformer.norm."), (r"^head\.", "mlp_head.")]
    state = {"pos_embedding": torch.zeros(c.num_patches + 1, c.width)}
    for name, tensor in model.state_dict().items():
        for pattern, theirs in names:
            name = re.sub(pattern, theirs, name)
        state[name] = tensor[0] if name == "cls_token" else tensor
    other.load_state_dict(state)
    images = torch.rand(3, 1, 128, 128, generator=torch.Generator().manual_seed(4))
    images[0, ..., 40:] = images[1, ..., 100:] = 0
    with torch.no_grad():
        assert (model(images).logits - other(images)).abs().max() < 1e-5


def test_coordinates_by_hand():
    rows, columns = coordinate_channels(3, 5)
    assert rows[:, 0].tolist() == [-1, 0, 1]
    assert columns[0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


def test_swapped_divisors_are_the_release_formula():
    rows, columns = coordinate_channels(3, 5, swapped_divisors=True)
    assert rows[:, 0].tolist() == [-1, -0.5, 0]  # row / (5 - 1) * 2 - 1
    assert columns[0].tolist() == [-1, 0, 1, 2, 3]  # column / (3 - 1) * 2 - 1: outside [-1, 1]
    assert torch.equal(coordinate_channels(7, 7), coordinate_channels(7, 7, swapped_divisors=True))


def test_patches_are_ordered_row_column_channel(images):
    model = SpectrogramViT(replace(SMALL, patch_size=(8, 3), position="coordinates"))
    seen = {}
    model.embed[0].register_forward_hook(lambda module, inputs, output: seen.update(patches=inputs[0]))
    model(images)
    patches = seen["patches"]
    assert patches.shape == (3, 2 * 4, 8 * 3 * 3)
    patch = patches[0, 5].reshape(8, 3, 3)  # second row of patches, second column
    assert torch.equal(patch[:, :, 0], images[0, 0, 8:, 3:6])
    assert torch.equal(patch[:, :, 1], model.coordinates[0, 8:, 3:6])


def _speech(batch: int = 5) -> torch.Tensor:
    """Images as speech gives them: content of unequal length, then equal columns; one full to the edge, one all silent."""
    images = torch.rand(batch, 1, 16, 40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for image, stop in zip(images, (3, 11, 39, 40, 1), strict=True):
        image[..., stop:] = 0.25 * (stop % 2)  # black, or grey
    return images


PAPER = [
    replace(SMALL, image_size=(16, 40)),
    replace(SMALL, image_size=(16, 40), pooling="mean"),
    replace(SMALL_TEACHER, image_size=(16, 40)),
    replace(SMALL_TEACHER, image_size=(16, 40), position="none", pooling="mean"),
    replace(SMALL, image_size=(16, 40), position="coordinates"),
]


@pytest.mark.parametrize("settings", PAPER, ids=lambda c: f"{c.position}, {c.pooling}, {len(c.stem)} convolutions")
def test_outputs_and_gradients_equal_the_plain_computation(settings):
    """The network computes the silence at an image's end once; the reference computes every column of every image."""
    images, model = _speech(), SpectrogramViT(settings).double()

    def outcome(output):
        return output.logits.square().sum() + output.pooled.square().sum() + (output.tokens - 0.1).abs().sum()

    ours, plain = model(images), reference.network(model, images)
    for one, other in zip(ours[:3], plain[:3], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)
    weights = list(model.parameters())
    gradients = [torch.autograd.grad(outcome(output), weights) for output in (ours, plain)]
    largest = max(gradient.abs().max() for gradient in gradients[1])
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-9 * largest


@pytest.mark.parametrize("settings", [STUDENT, TEACHER], ids=["student", "teacher"])
def test_the_networks_in_single_precision_equal_the_plain_computation_in_double(settings):
    """Forward to 1e-5 of the largest value, gradients to 1e-4 of the largest."""
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(2, 1, 128, 128, generator=generator)
    images[0, ..., 40:] = 0
    model = SpectrogramViT(settings)
    exact = copy.deepcopy(model).double()
    ours, plain = model(images), reference.network(exact, images.double())
    for one, other in zip(ours[:3], plain[:3], strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()
    ours.logits.square().sum().backward()
    plain.logits.square().sum().backward()
    largest = max(p.grad.abs().max() for p in exact.parameters())
    for one, other in zip(model.parameters(), exact.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() < 1e-4 * largest


@pytest.mark.parametrize("settings", [STUDENT, TEACHER], ids=["student", "teacher"])
def test_bfloat16_is_close_to_single_precision(settings):
    """A CPU goes through attention product by product then, with the silence still counted for what it stands for."""
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(2, 1, 128, 128, generator=generator)
    images[0, ..., 40:] = 0
    model = SpectrogramViT(settings).eval()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images)
    for one, other in zip(half[:3], model(images)[:3], strict=True):
        assert (one - other).abs().max() < 0.04 * other.abs().max()
    assert half.attention == half.layers == ()


def test_a_half_of_the_batch_is_cropped_to_its_longest_speech_and_one_column_of_silence():
    seen = []
    model = SpectrogramViT(PAPER[0]).double()
    model.blocks[0].mlp.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[:2])))
    images = _speech()
    images[2, ..., 20:] = 0
    model(images)
    assert seen == [
        (3, 1 + 11 + 1),
        (2, 1 + 40),
    ]  # class token, speech, silence; in the order of their lengths 1, 3, 11


def test_cropping_is_left_alone_where_it_saves_little_and_where_the_device_would_wait():
    model, seen = SpectrogramViT(PAPER[0]).double(), []
    model.blocks[0].mlp.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[:2])))
    images = torch.rand(4, 1, 16, 40, dtype=torch.float64)
    images[0, ..., 38:] = 0
    model(images)
    assert seen == [(4, 41)]
    with torch.device("meta"):  # there are no numbers to wait for: reading one is an error
        elsewhere, nothing = SpectrogramViT(PAPER[0]).train(), torch.zeros(5, 1, 16, 40)
    elsewhere(nothing).logits.sum().backward()


def test_speech_ends_before_the_run_of_equal_columns():
    images = _speech()
    assert padding.content_width(images).tolist() == [3, 11, 40, 40, 1]  # one column is no run
    assert padding.content_width(torch.zeros(2, 1, 16, 40)).tolist() == [0, 0]
    assert padding.content_width(images[3:4]).tolist() == [40]


@pytest.mark.parametrize("settings", [SMALL, SMALL_TEACHER, replace(SMALL, patch_size=(4, 4), pooling="mean")])
def test_asking_for_attention_changes_nothing(images, settings):
    model = SpectrogramViT(settings).eval()
    plain, asked = model(images), model(images, need_weights=True)
    assert torch.allclose(plain.logits, asked.logits, atol=1e-5)
    assert plain.attention == plain.layers == ()
    assert len(asked.attention) == 2
    for weights in asked.attention:
        assert weights.shape == (3, 2, settings.num_patches + 1, settings.num_patches + 1)
        assert torch.allclose(weights.sum(-1), torch.ones(()))


def test_layers_are_the_tokens_before_and_after_each_block(images):
    model = SpectrogramViT(SMALL_TEACHER).eval()
    with torch.no_grad():
        asked = model(images, need_weights=True)
        columns = model.patch_input(images).permute(0, 3, 2, 1).flatten(2)
        torch.testing.assert_close(asked.layers[0], model.embed(columns))
        torch.testing.assert_close(model.norm(asked.layers[-1]), asked.tokens)
    assert len(asked.layers) == SMALL_TEACHER.depth + 1


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_the_student_cannot_know_where_a_column_stands(images, pooling):
    model = SpectrogramViT(replace(SMALL, pooling=pooling)).double().eval()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    before, after = model(images.double()), model(images.double()[..., order])
    assert torch.allclose(after.logits, before.logits, atol=1e-12)
    assert torch.allclose(after.pooled, before.pooled, atol=1e-12)
    assert torch.allclose(after.tokens, before.tokens[:, order], atol=1e-12)


@pytest.mark.parametrize(
    "change", [{"position": p} for p in POSITIONS if p != "none"] + [{"stem": (4, 1)}, {"patch_size": (16, 2)}], ids=str
)
def test_anything_else_can(images, change):
    model = SpectrogramViT(replace(SMALL, **change)).double().eval()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert (model(images.double()[..., order]).logits - model(images.double()).logits).abs().max() > 1e-6


def test_saved_weights_load_with_their_configuration(images, tmp_path):
    model = SpectrogramViT(SMALL_TEACHER).eval()
    save(model, tmp_path / "model.safetensors", emotions=["a", "b"])
    loaded, about = load(tmp_path / "model.safetensors")
    assert loaded.config == SMALL_TEACHER
    assert about == {"emotions": ["a", "b"]}
    assert torch.equal(loaded(images).logits, model(images).logits)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images of shape \(1, 1, 16, 13\): the network takes"):
        SpectrogramViT(SMALL)(torch.zeros(1, 1, 16, 13))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": (5, 1)}, "patch height 5 does not divide image height 16"),
        ({"stem": (4, 2)}, "the last convolution must give 1 channel"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_other_networks_are_counted_as_their_authors_say():
    """He et al. 2016: 1.8 and 3.8 billion multiply-adds at 224 x 224 (of them all but the last layer scale with the
    area); Dosovitskiy et al. 2021 and Baevski et al. 2020 by the counts known for these sizes; AST and Whisper's encoder
    by hand: patches or convolutions, then for each layer 12 width^2 a token and 2 width a pair of tokens."""
    found = {name: cost.flops / 2e9 for name, cost in costs.others().items()}  # as tests/test_claims.py counts them
    assert found["ResNet-18"] == pytest.approx(1.81 * (128 / 224) ** 2, rel=0.02)
    assert found["ResNet-50"] == pytest.approx(4.09 * (128 / 224) ** 2, rel=0.02)
    assert found["ViT-B/16"] == pytest.approx(5.6, rel=0.01)
    assert found["wav2vec 2.0 base"] == found["HuBERT base"] == pytest.approx(21.2, rel=0.01)
    assert found["wav2vec 2.0 large"] == found["HuBERT large"] == pytest.approx(54.8, rel=0.01)

    def layers(tokens, depth, width):
        return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)

    ast = 12 * 29 * 256 * 768 + layers(12 * 29 + 2, 12, 768)
    whisper = 3000 * 3 * 128 * 1280 + 1500 * 3 * 1280**2 + layers(1500, 32, 1280)
    assert found["AST"] * 1e9 == pytest.approx(ast, rel=1e-6)
    assert found["Whisper large v3, encoder"] * 1e9 == pytest.approx(whisper, rel=1e-6)
