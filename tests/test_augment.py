"""Augmentation: what each change does to an image, and that it reaches training alone."""

import pytest
import torch

from serlib import config
from serlib.data import augment


@pytest.fixture
def images():
    """Bright all over up to column 30 of 40, black after it."""
    made = 0.5 + torch.rand(16, 1, 32, 40, generator=torch.Generator().manual_seed(0)) / 2
    made[..., 30:] = 0
    return made


LABELS = torch.arange(16) % 3


def test_no_kind_changes_nothing(images):
    same, shares = augment.augmented(images, LABELS, ())
    assert same is images
    assert shares == [(1.0, LABELS)]


def test_masks_hide_whole_rows_and_columns_and_leave_the_rest(images):
    torch.manual_seed(0)
    masked = augment.masks(images)
    hidden = (masked == 0) & (images > 0)
    assert ((masked == images) | hidden).all()
    speech = hidden[:, 0, :, :30]
    rows, columns = speech.all(dim=2), speech.all(dim=1)
    assert (speech == (rows[:, :, None] | columns[:, None, :])).all()
    assert rows.sum(dim=1).max() <= 2 * augment.FREQ_MASK
    assert columns.sum(dim=1).max() <= augment.TIME_MASK
    assert rows.any()
    assert columns.any()


def test_there_are_two_frequency_masks_and_one_time_mask():
    """Counted as runs of black rows and columns; masks that overlap are one run."""
    torch.manual_seed(0)
    black = augment.masks(torch.ones(2000, 1, 128, 40))[:, 0] == 0
    for hidden, masks, widest in ((black.all(dim=2), 2, 16), (black.all(dim=1), 1, 12)):
        starts = hidden & ~torch.nn.functional.pad(hidden, (1, 0))[:, :-1]
        assert starts.sum(dim=1).max() == masks
        assert hidden.sum(dim=1).max() == masks * widest


def test_masks_of_every_width_are_as_likely_and_reach_both_ends():
    torch.manual_seed(0)
    hidden = (augment.masks(torch.ones(4000, 1, 40, 30)) == 0)[:, 0].all(dim=1)
    widths = hidden.sum(dim=1)
    shares = widths.bincount() / len(widths)
    assert shares.tolist() == pytest.approx([1 / 13] * 13, abs=0.02)
    for width in range(1, 13):
        of = hidden[widths == width]
        assert of[:, 0].any()
        assert of[:, -1].any()
    assert hidden[:, -1].sum().item() == pytest.approx(hidden[:, 0].sum().item(), rel=0.3)


def test_no_mask_is_wider_than_the_image():
    torch.manual_seed(0)
    hidden = (augment.masks(torch.ones(500, 1, 40, 5)) == 0)[:, 0].all(dim=1)
    assert hidden.sum(dim=1).unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_kinds_come_one_after_another(images):
    torch.manual_seed(0)
    changed, shares = augment.augmented(images, LABELS, ("masks", "warp"))
    torch.manual_seed(0)
    assert torch.equal(changed, augment.masks(augment.warp(images)))
    assert shares == [(1.0, LABELS)]


def test_a_warp_of_nothing_is_the_image_and_silence_stays_black(images, monkeypatch):
    monkeypatch.setattr(augment, "TIME_WARP", 0.0)
    monkeypatch.setattr(augment, "VTLP", 0.0)
    torch.testing.assert_close(augment.warp(images), images, atol=1e-5, rtol=0)
    monkeypatch.setattr(augment, "TIME_WARP", 0.22)
    torch.manual_seed(0)
    lengths = (augment.warp(images)[:, 0] > 0.25).any(dim=1).sum(dim=1)
    assert lengths.min() < 30 < lengths.max()
    assert lengths.min() >= 30 * 0.8 - 1


def test_a_warp_moves_a_line_by_its_scale(monkeypatch):
    """A bright column at 20 of 40 comes to lie at 20 / scale."""
    monkeypatch.setattr(augment, "VTLP", 0.0)
    image = torch.zeros(64, 1, 8, 40)
    image[..., 20] = 1
    torch.manual_seed(3)
    scale = torch.empty(64).uniform_(-augment.TIME_WARP, augment.TIME_WARP).exp()
    assert 0.8 < scale.min() < 0.83 < 1.2 < scale.max() < 1.25
    torch.manual_seed(3)
    moved = augment.warp(image)[:, 0, 0]
    centre = (moved * torch.arange(40)).sum(dim=1) / moved.sum(dim=1)
    torch.testing.assert_close(centre, 20.5 / scale - 0.5, atol=0.3, rtol=0)


def test_vtlp_moves_a_frequency_by_its_scale(monkeypatch):
    """A bright row 20 above the bottom comes to lie 20 / scale above it; the lowest row stays the lowest."""
    monkeypatch.setattr(augment, "TIME_WARP", 0.0)
    image = torch.zeros(64, 1, 40, 8)
    image[:, :, 19] = 1
    torch.manual_seed(3)
    torch.empty(64).uniform_(0, 0)  # of the time warp
    scale = torch.empty(64).uniform_(-augment.VTLP, augment.VTLP).exp()
    assert 0.9 < scale.min() < 0.92 < 1.08 < scale.max() < 1.11
    torch.manual_seed(3)
    moved = augment.warp(image)[:, 0, :, 3]
    centre = (moved * (39.5 - torch.arange(40))).sum(dim=1) / moved.sum(dim=1)
    torch.testing.assert_close(centre, 20.5 / scale, atol=0.3, rtol=0)
    image = torch.zeros(64, 1, 40, 8)
    image[:, :, 39] = 1
    assert (augment.warp(image)[:, 0].sum(dim=2).argmax(dim=1) == 39).all()


@pytest.mark.parametrize("seed", range(4))
def test_mixup_mixes_images_and_labels_alike(images, seed):
    torch.manual_seed(seed)
    mixed, ((share, first), (rest, second)) = augment.augmented(images, LABELS, ("mixup",))
    assert share + rest == pytest.approx(1)
    assert torch.equal(first, LABELS)
    assert torch.equal(first.bincount(), second.bincount())
    torch.manual_seed(seed)
    assert share == torch.distributions.Beta(0.3, 0.3).sample().item()
    other = torch.randperm(16)
    assert torch.equal(second, LABELS[other])
    torch.testing.assert_close(mixed, share * images + rest * images[other])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="each must be one of warp, masks, mixup"):
        config.Training(augment=("echo",))
    with pytest.raises(ValueError, match="smoothing"):
        config.Training(smoothing=1.0)
