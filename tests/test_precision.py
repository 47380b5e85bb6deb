"""Rounded products against PyTorch's own bf16 products: values, types and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from serlib.config import STUDENT, TEACHER
from serlib.engine.precision import RoundedProducts, device_name, products
from serlib.model import SpectrogramViT


class Products(nn.Module):
    """One product of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(16, 8)

    def forward(self, x):
        rows = self.linear(functional.gelu(self.convolution(x)))
        return rows, rows @ rows.mT, torch.matmul(rows.mT, rows)


def measured(model: nn.Module, x: torch.Tensor, rounded: bool) -> list[torch.Tensor]:
    """Outputs and gradients in bf16 mixed precision."""
    model.zero_grad()
    outputs = []
    with RoundedProducts() if rounded else torch.autocast("cpu", enabled=False), torch.autocast("cpu", torch.bfloat16):
        outputs = [*model(x)]
    sum(output.float().square().mean() for output in outputs).backward()
    return outputs + [p.grad.clone() for p in model.parameters()]


def test_products_and_gradients_are_those_of_bf16():
    torch.manual_seed(0)
    model, x = Products(), torch.randn(3, 1, 16, 16)
    own, ours = measured(model, x, False), measured(model, x, True)
    for theirs, rounded in zip(own, ours, strict=True):
        assert theirs.dtype == rounded.dtype
        scale = theirs.float().abs().max()
        assert (theirs.float() - rounded.float()).abs().max() <= 2**-7 * scale  # one step of bf16 at the largest value
        assert torch.equal(theirs, rounded) or (theirs == rounded).float().mean() > 0.5


def test_products_are_not_those_of_single_precision():
    torch.manual_seed(0)
    model, x = Products(), torch.randn(3, 1, 16, 16)
    with RoundedProducts(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)[1]
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(rounded.float(), model(x)[1])


def test_nothing_changes_outside_autocast():
    torch.manual_seed(0)
    model, x = Products(), torch.randn(2, 1, 16, 16)
    with RoundedProducts():
        inside = model(x)
    assert all(torch.equal(a, b) for a, b in zip(inside, model(x), strict=True))


@pytest.mark.parametrize("config", [STUDENT, TEACHER], ids=["student", "teacher"])
def test_a_networks_logits_are_as_near_to_bf16_as_bf16_is_to_single_precision(config):
    torch.manual_seed(0)
    model = SpectrogramViT(config).eval()
    images = torch.rand(1, 1, 128, 128)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        own = model(images).logits
        with RoundedProducts():
            rounded = model(images).logits
    single = model(images).logits
    assert (own.float() - rounded.float()).abs().max() <= (own.float() - single).abs().max() + 2**-7


def test_only_bf16_on_a_cpu_is_rounded(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr("serlib.engine.precision.has_bf16_products", lambda: False)
    assert isinstance(products("bf16-mixed", cpu), RoundedProducts)
    assert not isinstance(products("32-true", cpu), RoundedProducts)
    assert not isinstance(products("bf16-mixed", torch.device("cuda")), RoundedProducts)
    monkeypatch.setattr("serlib.engine.precision.has_bf16_products", lambda: True)
    assert not isinstance(products("bf16-mixed", cpu), RoundedProducts)


def test_a_device_is_named_with_its_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card number {device.index}")
    monkeypatch.setattr("serlib.engine.precision.has_bf16_products", lambda: False)
    assert device_name("bf16-mixed", torch.device("cuda", 1)) == "cuda:1, card number 1"
    assert device_name("32-true", torch.device("cpu")) == "cpu"
    assert device_name("bf16-mixed", torch.device("cpu")) == "cpu, products rounded to bf16"
