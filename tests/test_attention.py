"""Attention maps by hand."""

import pytest
import torch

from serlib import attention

# One head, the class token and two patches.
FIRST = torch.tensor([[[[0.2, 0.6, 0.2], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]]])
SECOND = torch.tensor([[[[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]])


def test_rollout_by_hand():
    """(A2 + I)/2 (A1 + I)/2: the class token's row is (0.5, 0.25, 0.25) times the rows of (A1 + I)/2."""
    rows = torch.tensor([[0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    flow = 0.5 * rows[0] + 0.25 * rows[1] + 0.25 * rows[2]
    expected = flow[1:] / flow[1:].sum()
    assert torch.allclose(attention.rollout((FIRST, SECOND), (2, 1))[0, :, 0], expected)


def test_maps_lie_on_the_image_where_their_patches_lie():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    drawn = attention.on_image(maps, (4, 6))
    assert drawn[0, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert drawn[0, 3].tolist() == [3, 3, 3, 4, 4, 4]


def test_similarity_by_hand():
    tokens = torch.tensor([[[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0]]])
    similarity = attention.token_similarity(tokens)[0]
    assert similarity[0].tolist() == pytest.approx([1, 24 / 25, -1])


def test_rollout_stays_on_the_device_of_the_weights():
    with torch.device("meta"):
        weights = [torch.rand(2, 3, 5, 5)] * 2
    assert attention.rollout(weights, (2, 2)).device.type == "meta"
