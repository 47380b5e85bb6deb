"""What a network costs: parameters and floating-point operations.

Conventions: a multiply-add counts as two operations; one image (batch 1), with every
window that is evaluated of it; torch's own counter
(``torch.utils.flop_counter``), which counts convolutions, matrix products and attention and leaves out norms, GELU,
softmax and additions. Every pixel counts: what :mod:`serlib.padding` saves on images that end in silence is not taken
off. The tests hold it to the closed form :func:`closed_form`.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from serlib.config import Model
from serlib.model import SpectrogramViT


@dataclass(frozen=True)
class Cost:
    """Trained parameters; operations for one image, in all its windows, and of the convolutions before the patches."""

    parameters: int
    flops: int
    stem_flops: int


def count(config: Model) -> Cost:
    """Cost of one network, counted while it runs on one image of random weights."""
    model = SpectrogramViT(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # with weights, attention runs as plain matrix products: the counter does not know the CPU's fused kernel
        model(_image(config), need_weights=True)
    stem = counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops(), stem)


@dataclass(frozen=True)
class Other:
    """Operations of a network of other authors, and for what: ``seconds`` of sound, or None for a picture."""

    flops: int
    seconds: float | None


@cache
def reference_networks() -> dict[str, Other]:
    """Networks that others use for speech emotion, counted with random weights.

    Pictures are 128 x 128 in three channels. Sound is three seconds at 16 kHz, of AST 298 frames of it; Whisper always
    takes thirty seconds. Counted without memory or arithmetic (PyTorch's meta device), so that the largest takes a
    second. AST (Gong et al. 2021) and Whisper's encoder (Radford et al. 2022) are built here from their published sizes.
    """
    import torchaudio
    import torchvision

    def transformer(tokens: int, depth: int, heads: int, width: int) -> nn.Module:
        return torchvision.models.vision_transformer.Encoder(tokens, depth, heads, width, 4 * width, 0.0, 0.0)

    def ast() -> nn.Module:
        patches = nn.Conv2d(1, 768, 16, stride=10), nn.Flatten(2), nn.ZeroPad1d((2, 0))  # two further tokens
        return nn.Sequential(*patches, Rearrange("b w t -> b t w"), transformer(12 * 29 + 2, 12, 12, 768))

    def whisper() -> nn.Module:
        frames = nn.Conv1d(128, 1280, 3, padding=1), nn.Conv1d(1280, 1280, 3, stride=2, padding=1)
        return nn.Sequential(*frames, Rearrange("b w t -> b t w"), transformer(1500, 32, 20, 1280))

    picture, sound = (1, 3, 128, 128), (1, 3 * 16_000)
    networks = {
        "ResNet-18": (torchvision.models.resnet18, picture, None),
        "ResNet-50": (torchvision.models.resnet50, picture, None),
        "ViT-B/16": (lambda: torchvision.models.vit_b_16(image_size=128), picture, None),
        "wav2vec 2.0 base": (torchaudio.models.wav2vec2_base, sound, 3.0),
        "HuBERT base": (torchaudio.models.hubert_base, sound, 3.0),
        "WavLM base": (torchaudio.models.wavlm_base, sound, 3.0),
        "AST": (ast, (1, 1, 128, 298), 3.0),
        "wav2vec 2.0 large": (torchaudio.models.wav2vec2_large, sound, 3.0),
        "HuBERT large": (torchaudio.models.hubert_large, sound, 3.0),
        "WavLM large": (torchaudio.models.wavlm_large, sound, 3.0),
        "Whisper large v3, encoder": (whisper, (1, 128, 3000), 30.0),
    }
    counts = {}
    for name, (made, shape, seconds) in networks.items():
        with torch.device("meta"):
            network, given = made().eval(), torch.zeros(shape)
        # attention as the matrix products that it is: the counter does not know every fused kernel
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(given)
        counts[name] = Other(counter.get_total_flops(), seconds)
    return counts


def _image(config: Model) -> Tensor:
    """An image that ends in no silence, so that nothing of the work is saved."""
    return torch.rand(1, 1, *config.image_size, generator=torch.Generator().manual_seed(0))


def closed_form(c: Model) -> int:
    """The same operations from the configuration alone: 2 for each multiply-add of every matrix product."""
    pixels = c.maps[0][0] * c.maps[0][1]
    stem = sum(2 * 9 * pixels * i * o for i, o in zip((1, *c.stem)[:-1], c.stem, strict=True))
    inputs = (c.image_channels, *(channels for channels, *_ in c.convolutions))
    for i, (o, *_), (height, width) in zip(inputs, c.convolutions, c.maps[1:], strict=False):
        stem += 2 * 9 * height * width * i * o
    tokens, inner = c.num_patches + 1, c.heads * c.head_width
    embed = 2 * c.num_patches * c.patch_values * c.width
    projections = 2 * tokens * c.width * 3 * inner + 2 * tokens * inner * c.width
    attention = 2 * 2 * tokens * tokens * inner
    mlp = 2 * 2 * tokens * c.width * c.mlp_width
    window = stem + embed + c.depth * (projections + attention + mlp) + 2 * c.pooled_width * c.num_classes
    return c.segments * window


@dataclass(frozen=True)
class Step:
    """One step of a network as it runs: its name, the shape it gives for one image, its trained parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int


def steps(model: SpectrogramViT) -> list[Step]:
    """What happens to one image, in order, read off the running network."""
    found: list[Step] = []
    parts = {convolution: f"stem {i}: convolution, norm, GELU" for i, convolution in enumerate(model.stem, 1)}
    more = enumerate(model.convolutions, 1)
    parts |= {convolution: f"convolution {i}: convolution, norm, GELU" for i, convolution in more}
    parts[model.embed] = "patch embedding"
    parts |= {block: f"block {i}: attention, MLP" for i, block in enumerate(model.blocks, 1)}
    parts |= {model.norm: "norm", model.head: "head"}

    def note(module: nn.Module, inputs: object, output: Tensor | tuple) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        found.append(Step(parts[module], tuple(tensor.shape[1:]), sum(p.numel() for p in module.parameters())))

    with ExitStack() as hooks, torch.no_grad():
        for module in parts:
            hooks.callback(module.register_forward_hook(note).remove)
        model(_image(model.config))
    return found
