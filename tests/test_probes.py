"""The probe against closed forms, reordered columns against the permutation property, the file against tampering."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny_record

from serlib import config, model, records
from studies import probes
from studies.probed import Probe, read_all, write

STUDENT = replace(config.STUDENT, num_classes=2, image_size=(16, 24), patch_size=(16, 1), width=12, depth=2, heads=2)


def spoken(lengths, height=16, width=24) -> torch.Tensor:
    """Noise of some lengths, silence after it."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(len(lengths), 1, height, width, generator=draw)
    for image, length in zip(images, lengths, strict=True):
        image[..., length:] = 0
    return images


def probed(network: config.Model, images: torch.Tensor) -> Probe:
    """The probe of a network with random weights; the first images are the training set."""
    files = [f"{i}.wav" for i in range(len(images))]
    held = len(images) // 3
    parts = {
        name: records.Part(tuple(of), tuple("AB"[i % 2] for i in range(len(of))), (0,) * len(of), (0,) * len(of))
        for name, of in (("train", files[held:]), ("test", files[:held]))
    }
    torch.manual_seed(0)
    made = model.SpectrogramViT(network).eval()
    rows = {file: i for i, file in enumerate(files)}
    return probes.execute(tiny_record(parts=parts), made, images, rows)


def test_columns_with_coordinates_tell_their_number_and_columns_of_noise_do_not():
    images = spoken([20 + i % 3 for i in range(60)])
    with_coordinates = probed(replace(STUDENT, position="coordinates"), images)
    without = probed(STUDENT, images)
    assert with_coordinates.r2("embedding") > 0.9
    for layer in (probes.IMAGE, "embedding"):
        assert without.r2(layer) < 0.05
    assert list(without.errors) == ["image", "embedding", "block 1", "block 2"]


def test_the_probe_is_ridge_regression_on_standardised_values():
    draw = np.random.default_rng(0)
    known, held = draw.normal(3, 5, (40, 4)), draw.normal(3, 5, (7, 4))
    target, truth = draw.normal(size=40), draw.normal(size=7)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    x, y = (known - mean) / spread, target - target.mean()
    weights = np.linalg.solve(x.T @ x + probes.RIDGE * np.eye(4), x.T @ y)
    expected = ((held - mean) / spread @ weights + target.mean() - truth) ** 2
    np.testing.assert_allclose(probes._missed(known, target, held, truth), expected)


def test_variation_is_about_the_training_parts_mean():
    images = spoken([10, 20, 4, 4, 8, 8])  # the first two are held out; speech alone counts
    probe = probed(STUDENT, images)
    mean = np.concatenate([np.arange(n) for n in (4, 4, 8, 8)]).mean()
    assert probe.variation == pytest.approx([((np.arange(n) - mean) ** 2).sum() for n in (10, 20)])


def test_reordering_moves_columns_of_speech_alone():
    images = spoken([24, 10, 1])
    assert torch.equal(probes.reorder(images, "as it is"), images)
    assert torch.equal(probes.reorder(probes.reorder(images, "reversed"), "reversed"), images)
    for order in ("reversed", "shuffled"):
        moved = probes.reorder(images, order)
        assert not torch.equal(moved[:2], images[:2])
        assert torch.equal(moved.sort(dim=-1).values, images.sort(dim=-1).values)
        assert (moved[1, ..., 10:] == 0).all()
        before, after = ({column.numpy().tobytes() for column in image[0].T} for image in (images[1], moved[1]))
        assert before == after


def test_a_student_decides_alike_in_every_order_and_a_network_with_coordinates_does_not():
    images = spoken([20] * 30)
    probe = probed(STUDENT, images)
    assert len({probe.predicted[order] for order in probes.ORDERS}) == 1
    torch.manual_seed(0)
    other = model.SpectrogramViT(replace(STUDENT, position="coordinates")).eval()
    with torch.no_grad():
        logits = [other(probes.reorder(images, order)).logits for order in probes.ORDERS]
    assert all((changed - logits[0]).abs().max() > 1e-3 for changed in logits[1:])


@pytest.mark.parametrize("change", [{"patch_size": shape} for shape in ((4, 4), (16, 2), (8, 1))])
def test_patches_that_are_no_columns_are_refused(change):
    with pytest.raises(ValueError, match="one patch for each column"):
        probed(replace(STUDENT, **change), spoken([20] * 6))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_sum_of_squares_that_is_none_is_refused(value):
    probe = probed(STUDENT, spoken([20] * 12))
    for change in ({"variation": (value, *probe.variation[1:])}, {"errors": {"image": (value, *probe.variation[1:])}}):
        with pytest.raises(records.RecordError, match="a sum of squares is negative or not finite"):
            replace(probe, **change)


def test_a_probe_is_read_back_and_a_changed_one_refused(tmp_path):
    probe = probed(STUDENT, spoken([20] * 12))
    path = tmp_path / "a/probe.json"
    write(probe, path)
    (tmp_path / "._x.json").write_bytes(b"Mac OS X")
    write(probe, tmp_path / ".ipynb_checkpoints/probe.json")
    assert read_all(tmp_path) == [probe]
    plain = json.loads(path.read_text())
    plain["errors"]["image"][0] += 1
    path.write_text(json.dumps(plain))
    with pytest.raises(records.RecordError, match=r"probe\.json: not a probe \(not the values that its digest covers"):
        read_all(tmp_path)
    path.write_text("{}")
    with pytest.raises(records.RecordError, match="not a probe"):
        read_all(tmp_path)
