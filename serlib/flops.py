"""What a network costs: parameters and floating-point operations.

Conventions: a multiply-add counts as two operations; one image (batch 1); torch's own counter
(``torch.utils.flop_counter``), which counts convolutions, matrix products and attention and leaves out norms, GELU,
softmax and additions. Every pixel counts: what :mod:`serlib.model` saves on images that end in silence is not taken
off. The tests hold it to the closed form :func:`closed_form`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from serlib.config import Model
from serlib.model import SpectrogramViT


@dataclass(frozen=True)
class Cost:
    """Trained parameters; operations for one image, in all and of the stem's convolutions."""

    parameters: int
    flops: int
    stem_flops: int


def count(config: Model) -> Cost:
    """Cost of one network, counted while it runs on one image of random weights."""
    from torch.utils.flop_counter import FlopCounterMode

    model = SpectrogramViT(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # with weights, attention runs as plain matrix products: the counter does not know the CPU's fused kernel
        model(_image(config), need_weights=True)
    by_operation = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=counter.get_total_flops(),
        stem_flops=by_operation.get("aten.convolution", 0),
    )


@cache
def others() -> dict[str, int]:
    """Operations of networks that others use for speech emotion, of random weights: name to count.

    Pictures are 128 x 128 in three channels, sound is three seconds at 16 kHz. Counted without memory or arithmetic
    (PyTorch's meta device), so that the largest takes a second.
    """
    import torchaudio
    import torchvision
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    picture, sound = (1, 3, 128, 128), (1, 3 * 16_000)
    networks = {
        "ResNet-18": (torchvision.models.resnet18, picture),
        "ResNet-50": (torchvision.models.resnet50, picture),
        "ViT-B/16": (lambda: torchvision.models.vit_b_16(image_size=128), picture),
        "wav2vec 2.0 base": (torchaudio.models.wav2vec2_base, sound),
        "HuBERT base": (torchaudio.models.hubert_base, sound),
        "WavLM base": (torchaudio.models.wavlm_base, sound),
        "wav2vec 2.0 large": (torchaudio.models.wav2vec2_large, sound),
    }
    counts = {}
    for name, (made, shape) in networks.items():
        with torch.device("meta"):
            network, given = made().eval(), torch.zeros(shape)
        # attention as the matrix products that it is: the counter does not know every fused kernel
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(given)
        counts[name] = counter.get_total_flops()
    return counts


def _image(config: Model) -> Tensor:
    """An image that ends in no silence, so that nothing of the work is saved."""
    return torch.rand(1, 1, *config.image_size, generator=torch.Generator().manual_seed(0))


def closed_form(c: Model) -> int:
    """The same operations from the configuration alone: 2 for each multiply-add of every matrix product."""
    pixels = c.image_size[0] * c.image_size[1]
    stem = sum(2 * 9 * pixels * i * o for i, o in zip((1, *c.stem)[:-1], c.stem, strict=True))
    tokens, inner = c.num_patches + 1, c.heads * c.head_width
    embed = 2 * c.num_patches * c.patch_values * c.width
    projections = 2 * tokens * c.width * 3 * inner + 2 * tokens * inner * c.width
    attention = 2 * 2 * tokens * tokens * inner
    mlp = 2 * 2 * tokens * c.width * c.mlp_width
    return stem + embed + c.depth * (projections + attention + mlp) + 2 * c.width * c.num_classes


@dataclass(frozen=True)
class Step:
    """One step of a network as it runs: its name, the shape it gives for one image, its trained parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int


def steps(model: SpectrogramViT) -> list[Step]:
    """What happens to one image, in order, read off the running network."""
    found: list[Step] = []

    def note(name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor | tuple) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            found.append(Step(name, tuple(tensor.shape[1:]), sum(p.numel() for p in module.parameters())))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in _parts(model)]
    with torch.no_grad():
        model(_image(model.config))
    for handle in handles:
        handle.remove()
    return found


def _parts(model: SpectrogramViT) -> Iterator[tuple[str, nn.Module]]:
    for i, convolution in enumerate(model.stem, 1):
        yield f"stem {i}: convolution, norm, GELU", convolution
    yield "patch embedding", model.embed
    for i, block in enumerate(model.blocks, 1):
        yield f"block {i}: attention, MLP", block
    yield "norm", model.norm
    yield "head", model.head
