"""What may stand between image and patches beyond the paper: windows of it, derivatives along time, light convolutions.

Nothing here waits for the device: how many columns an image's speech has stays a tensor.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from serlib.config import Model
from serlib.padding import Images

Channels = Float[Tensor, "batch channels height width"]


def speech_columns(images: Images) -> Int[Tensor, " batch"]:
    """For each image, the columns before the run of two or more equal columns that it ends in; at least one."""
    width = images.shape[-1]
    differs = (images != images[..., -1:]).flatten(1, 2).any(dim=1)
    last = (differs * torch.arange(1, width + 1, device=images.device)).amax(dim=1)
    return last.where(last != width - 1, width).clamp_min(1)


def windows(images: Images, c: Model, training: bool) -> Float[Tensor, "windows 1 height columns"]:
    """The windows of each image that the network sees, ``c.columns`` wide, an image's own next to each other.

    Evaluated, an image has ``c.segments``, from one that starts with its speech to one that ends with it. In training it
    has one, which starts at a column drawn from torch's global generator: any from which it stays within the speech.
    Where the speech is shorter, windows start with it and end in black; or (``fill="repeat"``) the speech is repeated,
    in training from any of its columns on.
    """
    wide, segments = c.columns, 1 if training else c.segments
    if c.fill == "black" and segments == 1 and (not training or wide == images.shape[-1]):
        return images[..., :wide]
    speech = speech_columns(images)
    last = (speech - wide).clamp_min(0)
    if training:
        starts = (last if c.fill == "black" else torch.where(speech < wide, speech - 1, last)) + 1
        drawn = torch.rand(len(images)).to(images.device, non_blocking=True)
        start = (drawn * starts).long().minimum(starts - 1)[:, None]  # a product may be rounded up
    else:
        start = last[:, None] * torch.arange(segments, device=images.device) // max(segments - 1, 1)
    columns = start[..., None] + torch.arange(wide, device=images.device)
    if c.fill == "repeat":
        columns = columns % speech[:, None, None]
    index = rearrange(columns, "b s w -> (b s) 1 1 w").expand(-1, 1, images.shape[2], -1)
    return images.repeat_interleave(segments, dim=0).gather(3, index)


def derivative(x: Channels) -> Channels:
    """Along time, a column: the slope of the line through five columns, the first and last columns continued.

    The same as torchaudio's ``compute_deltas``, which is a convolution: autocast would round it to bf16.
    """
    width = x.shape[-1]
    padded = functional.pad(x, (2, 2, 0, 0), mode="replicate")
    before, just_before, _, just_after, after = (padded[..., i : i + width] for i in range(5))
    return (2 * (after - before) + just_after - just_before) / 10


def with_derivatives(x: Images) -> Float[Tensor, "batch 3 height width"]:
    """The image, its first and its second derivative along time."""
    first = derivative(x)
    return torch.cat((x, first, derivative(first)), dim=1)


def convolutions(c: Model) -> nn.Sequential:
    """3x3 convolutions of ``c.convolutions``, each with BatchNorm and GELU."""
    inputs = (c.image_channels, *(channels for channels, *_ in c.convolutions))
    return nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1, bias=False), nn.BatchNorm2d(o), nn.GELU())
            for i, (o, *stride) in zip(inputs, c.convolutions, strict=False)
        )
    )


def spread(tokens: Float[Tensor, "batch patches width"]) -> Float[Tensor, "batch twice"]:
    """Mean and standard deviation of each value over the tokens; where it is below 1e-3 it has no gradient."""
    deviation = tokens.var(dim=1, correction=0).clamp_min(1e-6).sqrt()
    return torch.cat((tokens.mean(dim=1), deviation), dim=1)


def mean_posterior(logits: Float[Tensor, "windows classes"], segments: int) -> Float[Tensor, "batch classes"]:
    """Logits of each image's class probabilities, the mean over its windows."""
    of_image = logits.log_softmax(dim=1).unflatten(0, (-1, segments))
    return of_image.logsumexp(dim=1) - math.log(segments)
