"""Losses by hand."""

import math
import re

import pytest
import torch

from serlib import losses

LOGITS = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # softmax: (1/4, 3/4) and (1/2, 1/2)
LABELS = torch.tensor([1, 0])
STUDENT = torch.tensor([[1.0, -2.0], [0.0, 4.0]])
TEACHER = torch.tensor([[0.0, 2.0], [1.0, 1.0]])  # differences 1, 4, 1, 3
CROSS_ENTROPY = (math.log(4 / 3) + math.log(2)) / 2


def test_cross_entropy_by_hand():
    assert losses.cross_entropy(LOGITS, LABELS).item() == pytest.approx(CROSS_ENTROPY)


def test_matching_by_hand():
    assert losses.matching(STUDENT, TEACHER).item() == 2.25
    assert losses.matching(STUDENT.reshape(1, 2, 2), TEACHER.reshape(1, 2, 2)).item() == 2.25


def test_transfer_by_hand():
    value = losses.transfer(LOGITS, LABELS, STUDENT, TEACHER, alpha=0.25).item()
    assert value == pytest.approx(CROSS_ENTROPY + 0.25 * 2.25)


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (2,)])
def test_feature_maps_never_broadcast(shape):
    with pytest.raises((ValueError, TypeError)):  # the annotation, where it is checked, speaks first
        losses.matching(STUDENT, torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 1), (2, 2, 2)])
def test_without_annotation_checks_the_shapes_are_still_held(shape):
    import inspect

    with pytest.raises(ValueError, match=re.escape(f"student (2, 2), teacher {shape}")):
        inspect.unwrap(losses.matching)(STUDENT, torch.zeros(shape))
