"""On a CPU, the silence at the end of an image is computed once; the result is exact.

An image of a short recording ends in a run of equal columns. :func:`apply_stem` and :func:`skip_repeats` compute one of
them and weight it by their number. A GPU would wait for that number: there, and in exported graphs, all are computed.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "batch channels height width"]
WORTH = 0.9  # if more than this share of the patches is left, cropping gains nothing


def can_skip(x: Tensor) -> bool:
    """Whether the work may depend on what is in the images: on a CPU, and not in a graph written once for all."""
    return x.device.type == "cpu" and not torch.compiler.is_exporting()


def content_width(images: Images) -> Int[Tensor, " batch"]:
    """For each image, the number of columns before its final run of equal columns; its width without two equal ones."""
    width = images.shape[-1]
    if (images[..., -1:] != images[..., -2:-1]).flatten(1).any(dim=1).all():  # none ends in two equal columns
        return torch.full((len(images),), width, device=images.device)
    differs = (images != images[..., -1:]).any(dim=1).any(dim=1)
    last = (differs * torch.arange(1, width + 1, device=images.device)).amax(dim=1)
    return last.where(last != width - 1, width)


def skip_repeats(encode: Callable[..., Any], patches: Float[Tensor, "batch patches values"]) -> Any:
    """``encode(patches)``, on a CPU without the equal patches that end each image.

    Without position, equal patches have equal tokens in every block. So the batch is ordered by length and cut in two.
    Each half is cropped to its longest image and one patch of silence, which stands for itself and the cropped ones.
    ``bias`` adds the logarithm of their number to its attention scores: the softmax is then that over all patches.
    """
    count = patches.shape[1]
    if not can_skip(patches):
        return encode(patches)
    widths = content_width(patches.mT[:, None])
    order = widths.argsort(stable=True)
    halves = [(rows, min(int(widths[rows[-1]]) + 1, count)) for rows in order.chunk(2)]
    if sum(len(rows) * kept for rows, kept in halves) > WORTH * len(patches) * count:
        return encode(patches)
    done = [_cropped(encode, patches[rows, :kept], count - kept) for rows, kept in halves]
    back = order.argsort()
    joined = {name: torch.cat([getattr(o, name) for o in done])[back] for name in ("logits", "pooled", "tokens")}
    return done[0]._replace(**joined)


def _cropped(encode: Callable[..., Any], patches: Float[Tensor, "batch kept values"], copies: int) -> Any:
    """The output for images whose last patch stands for ``copies`` further ones."""
    bias = patches.new_zeros(patches.shape[1] + 1)  # the class token comes first
    bias[-1] = math.log(copies + 1)
    output = encode(patches, bias)
    silent = output.tokens[:, -1:].expand(-1, copies, -1)
    return output._replace(tokens=torch.cat((output.tokens, silent), dim=1))


def apply_stem(stem: nn.Sequential, images: Images) -> Images:
    """``stem(images)``, for a stem of 3x3 convolutions, each with InstanceNorm and GELU.

    On a CPU the images pass one after the other: one image's activations (4 MiB at 64 channels) stay in the cache, a
    batch's (134 MB) do not. In the silence that ends an image, columns out of reach of the speech and of the right edge
    are the same after every convolution. One of them is computed; in the norms it counts for as many as it stands for.
    """
    if not (len(stem) and can_skip(images)):
        return stem(images)
    widths = content_width(images).tolist()
    return torch.cat([_one_image(stem, image, width) for image, width in zip(images.split(1), widths, strict=True)])


def _one_image(stem: nn.Sequential, x: Images, width: int) -> Images:
    reach = len(stem)  # columns to each side that a pixel of the outcome depends on: one for each convolution
    silent = width + reach  # the column that stands for itself and the next ``copies``
    copies = x.shape[-1] - silent - 1 - reach
    if copies <= 0:
        return stem(x)
    x = torch.cat((x[..., : silent + 1], x[..., -reach:]), dim=-1)
    for convolution, norm, gelu in stem:
        x = gelu(_weighted_norm(convolution(x), silent, copies, norm.eps))
    between = x[..., silent : silent + 1].expand(-1, -1, -1, copies)
    return torch.cat((x[..., :silent], between, x[..., silent:]), dim=-1)


def _weighted_norm(x: Tensor, silent: int, copies: int, eps: float) -> Tensor:
    """InstanceNorm of the image in which ``copies`` further columns equal column ``silent``."""

    def mean(values: Tensor) -> Tensor:
        pixels = values.shape[-2] * (values.shape[-1] + copies)
        total = values.sum((-2, -1), keepdim=True) + copies * values[..., silent : silent + 1].sum(-2, keepdim=True)
        return total / pixels

    centred = x - mean(x)
    return centred * (mean(centred.square()) + eps).rsqrt()
