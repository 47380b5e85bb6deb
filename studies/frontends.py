"""Fronts between image and patches, beyond the paper: derivatives along time, light convolutions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from serlib import checkpoints
from serlib.config import Model, RunConfig, plain
from serlib.errors import SerlibError
from serlib.model import SpectrogramViT
from studies import variants
from studies.variants import Variant

Channels = Float[torch.Tensor, "batch channels height width"]


def derivative(x: Channels) -> Channels:
    """The slope along time, per column: of the line through five columns, with the first and the last column repeated.

    It equals torchaudio's ``compute_deltas``, which is a convolution, so that autocast would round it to bf16.
    """
    width = x.shape[-1]
    padded = functional.pad(x, (2, 2, 0, 0), mode="replicate")
    before, just_before, _, just_after, after = (padded[..., i : i + width] for i in range(5))
    return (2 * (after - before) + just_after - just_before) / 10


class WithDerivatives(nn.Module):
    """The image, its first and its second derivative along time."""

    def forward(self, x: Float[torch.Tensor, "batch 1 height width"]) -> Float[torch.Tensor, "batch 3 height width"]:
        first = derivative(x)
        return torch.cat((x, first, derivative(first)), dim=1)


def front(variant: Variant) -> nn.Sequential:
    """A variant's layers before the patches: derivatives, then 3x3 convolutions, each with BatchNorm and GELU."""
    layers: list[nn.Module] = [WithDerivatives()] if variant.deltas else []
    inputs = 3 if variant.deltas else 1
    for outputs, *stride in variant.convolutions:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        layers.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU()))
        inputs = outputs
    return nn.Sequential(*layers)


class FrontedViT(SpectrogramViT):
    """The paper's network on the output of ``front`` for images of ``image_size``; ``c`` configures the rest."""

    def __init__(self, c: Model, front: nn.Module, image_size: tuple[int, int]) -> None:
        super().__init__(c)
        self.front, self.takes = front, (1, *image_size)

    def patch_input(self, images: Channels) -> Channels:
        return super().patch_input(self.front(images))


def network(model: Model, about: Mapping[str, Any]) -> SpectrogramViT:
    """The network of a run of the paper or of a variant, with drawn weights.

    ``about``: ``features`` and ``beyond`` of a :class:`serlib.config.RunConfig`, as JSON values.
    """
    variant = variants.from_beyond(about.get("beyond", {}))
    if not (variant.deltas or variant.convolutions):
        return SpectrogramViT(model)
    return FrontedViT(model, front(variant), tuple(about["features"]["image_size"]))


def of_run(run_config: RunConfig) -> SpectrogramViT:
    """The network of a resolved configuration, see :func:`network`."""
    return network(run_config.run.model, plain(run_config))


def load(path: str | Path) -> tuple[SpectrogramViT, dict[str, Any]]:
    """As :func:`serlib.checkpoints.load`, also for variants.

    Raises:
        SerlibError: as there; or the network takes images normalised by :mod:`studies.speaker_norm`.
    """
    loaded, metadata = checkpoints.load(path, network)
    if variants.from_beyond(metadata.get("beyond", {})).speaker_norm:
        images = "each speaker's images normalised by several utterances of the same speaker"
        remedy = f"choose the weights of a run without {variants.SPEAKER_NORM}"
        raise SerlibError(f"{path}: the network takes {images}; {remedy}")
    return loaded, metadata
