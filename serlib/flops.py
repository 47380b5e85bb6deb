"""The cost of a network: parameters and floating-point operations.

Conventions: a multiply-add counts as two operations; one image (batch 1); torch's own counter
(``torch.utils.flop_counter``), which counts convolutions, matrix products and attention and leaves out norms, GELU,
softmax and additions. Every pixel counts: savings by :mod:`serlib.engine.padding` on images that end in silence are not
subtracted. The tests compare the count with a closed form.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from serlib.config import Model
from serlib.model import SpectrogramViT


class Cost(NamedTuple):
    """Trained parameters; operations for one image, in all and in the convolutions before the patches."""

    parameters: int
    flops: int
    stem_flops: int


def count(network: Model | SpectrogramViT) -> Cost:
    """Cost of a network, or of one with that configuration, counted while it runs on one image."""
    model = (SpectrogramViT(network) if isinstance(network, Model) else network).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # with weights, attention runs as plain matrix products: the counter does not know the CPU's fused kernel
        model(_image(model), need_weights=True)
    stem = counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops(), stem)


def _image(model: SpectrogramViT) -> Tensor:
    """An image that does not end in silence, so that no work is saved."""
    return torch.rand(1, *model.takes, generator=torch.Generator().manual_seed(0))


class Step(NamedTuple):
    """One step of a network as it runs: its name, the shape it gives for one image, its trained parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int


def steps(model: SpectrogramViT) -> list[Step]:
    """The steps of one image through the network, in order, read off the running network."""
    observed: list[Step] = []
    parts = {convolution: f"stem {i}: convolution, norm, GELU" for i, convolution in enumerate(model.stem, 1)}
    parts |= {block: f"block {i}: attention, MLP" for i, block in enumerate(model.blocks, 1)}
    parts |= {model.embed: "patch embedding", model.norm: "norm", model.head: "head"}

    def note(module: nn.Module, inputs: object, output: Tensor | tuple) -> None:
        if module in parts:
            shape = (output[0] if isinstance(output, tuple) else output).shape[1:]
            observed.append(Step(parts[module], tuple(shape), sum(p.numel() for p in module.parameters())))

    with register_module_forward_hook(note), torch.no_grad():
        model(_image(model))
    return observed
