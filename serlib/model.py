"""The network: a vision transformer on spectrograms. Teacher, student and every ablation are configurations of it.

* stem: 3x3 convolutions, each with InstanceNorm and GELU, that keep the image's size (figure 2 of the paper);
* image coordinate encoding: two channels of coordinates in [-1, 1], concatenated after the stem (figure 3);
* patches of any shape, full-height columns by default; LayerNorm - Linear - LayerNorm;
* pre-norm transformer with a class token; one Linear head (figures 4 and 5);
* ``forward`` returns by name everything that a loss or a figure needs.

On a CPU, :mod:`serlib.engine.padding` computes the silence at an image's end only once. The outcome is the same.
"""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from serlib import config
from serlib.engine import padding
from serlib.errors import SerlibError

Tokens = Float[Tensor, "batch tokens width"]  # of one image the class token comes first
Images = Float[Tensor, "batch channels height width"]


class Output(NamedTuple):
    """The network's output. ``attention`` and ``layers`` hold intermediates, only when asked for."""

    logits: Float[Tensor, "batch classes"]
    pooled: Float[Tensor, "batch width"]  # the vector that the head reads
    tokens: Float[Tensor, "batch patches width"]  # after the last norm, without the class token
    attention: tuple[Float[Tensor, "batch heads tokens tokens"], ...] = ()  # of each block
    layers: tuple[Float[Tensor, "batch patches width"], ...] = ()  # the patches' tokens before and after each block


def coordinate_channels(height: int, width: int, swapped_divisors: bool = False) -> Float[Tensor, "2 height width"]:
    """Row and column coordinates of every pixel in [-1, 1], -1 at the top and the left (figure 3).

    ``swapped_divisors`` gives the release's formula, which divides rows by ``width - 1`` and columns by ``height - 1``:
    the same for square images, outside [-1, 1] for others. An axis of one pixel has the coordinate 0.
    """

    def axis(length: int, divisor: int) -> Tensor:
        return torch.arange(length) / (divisor - 1) * 2 - 1 if divisor > 1 else torch.zeros(length)

    rows = axis(height, width if swapped_divisors else height)
    columns = axis(width, height if swapped_divisors else width)
    return torch.stack((repeat(rows, "h -> h w", w=width), repeat(columns, "w -> h w", h=height)))


def stem(channels: tuple[int, ...], inputs: int = 1) -> nn.Sequential:
    """3x3 convolutions, stride 1, padding 1, each with InstanceNorm (no affine parameters) and GELU (figure 2)."""
    pairs = zip((inputs, *channels)[:-1], channels, strict=True)
    layers = (nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o), nn.GELU()) for i, o in pairs)
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Pre-norm multi-head self-attention: a bias-free joint projection to q, k, v; an output projection with bias."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = c.heads * c.head_width
        self.heads = c.heads
        self.norm = nn.LayerNorm(c.width)
        self.qkv = nn.Linear(c.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, c.width)

    def forward(
        self, x: Tokens, bias: Float[Tensor, " tokens"] | None = None, need_weights: bool = False
    ) -> tuple[Tokens, Float[Tensor, "batch heads tokens tokens"] | None]:
        """The mixed tokens, and when asked for the weights. ``bias`` is added to the scores of the keys."""
        q, k, v = rearrange(self.qkv(self.norm(x)), "b t (three h d) -> three b h t d", three=3, h=self.heads)
        weights = None
        # in bfloat16 a CPU's fused attention takes longer than its products one by one
        if need_weights or (q.device.type == "cpu" and q.dtype == torch.bfloat16):
            scores = q @ k.mT * q.shape[-1] ** -0.5
            weights = (scores if bias is None else scores + bias).softmax(dim=-1)
            mixed = weights.to(v) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, None if bias is None else bias[None])
        mixed = self.out(rearrange(mixed, "b h t d -> b t (h d)"))
        return mixed, weights if need_weights else None


class Block(nn.Module):
    """Attention and a two-layer MLP, each with a residual connection."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        self.attention = Attention(c)
        self.mlp = nn.Sequential(
            nn.LayerNorm(c.width),
            nn.Linear(c.width, c.mlp_width),
            nn.GELU(),
            nn.Identity(),  # dropout in the release, which does not state its share; none here
            nn.Linear(c.mlp_width, c.width),
        )

    def forward(
        self, x: Tokens, bias: Float[Tensor, " tokens"] | None = None, need_weights: bool = False
    ) -> tuple[Tokens, Float[Tensor, "batch heads tokens tokens"] | None]:
        mixed, weights = self.attention(x, bias, need_weights)
        x = x + mixed
        return x + self.mlp(x), weights


class SpectrogramViT(nn.Module):
    """The network that ``c`` describes: ``SpectrogramViT(TEACHER)``, ``SpectrogramViT(replace(STUDENT, depth=6))``."""

    coordinates: Tensor

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        self.config = c
        self.takes = (c.channels, *c.image_size)  # an image's channels, height and width
        self.stem = stem(c.stem, c.channels)
        coordinates = coordinate_channels(*c.image_size, swapped_divisors=c.swapped_divisors)
        self.register_buffer("coordinates", coordinates, persistent=False)
        self.embed = nn.Sequential(
            nn.LayerNorm(c.patch_values), nn.Linear(c.patch_values, c.width), nn.LayerNorm(c.width)
        )
        self.class_token = nn.Parameter(torch.randn(1, 1, c.width) * 0.02)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.width, c.num_classes)

    def forward(self, images: Images, need_weights: bool = False) -> Output:
        """Logits and intermediates of a batch of images; ``need_weights`` asks for ``attention`` and ``layers``.

        Raises:
            SerlibError: the images are not of the size that the network was built for.
        """
        if images.shape[1:] != self.takes:
            raise SerlibError(f"images of shape {tuple(images.shape)}: the network takes (batch, {self.takes})")
        return self.read(self.patch_input(images), need_weights)

    def patch_input(self, images: Images) -> Float[Tensor, "batch c height width"]:
        """The channels that are cut into patches: the stem's image and, with coordinate encoding, the two coordinates."""
        x = padding.apply_stem(self.stem, images)
        if self.config.position == "coordinates":
            x = torch.cat((x, repeat(self.coordinates, "c h w -> b c h w", b=len(x))), dim=1)
        return x

    def read(self, channels: Images, need_weights: bool = False) -> Output:
        """Cut the channels that :meth:`patch_input` gives into patches, and encode them."""
        height, width = self.config.patch_size
        patches = rearrange(channels, "b c (h p) (w q) -> b (h w) (p q c)", p=height, q=width)
        # without position, equal patches have equal tokens: one is computed; figures and mean pooling need every one
        if self.config.position == "none" and self.config.pooling == "class" and not need_weights:
            return padding.skip_repeats(self.encode, patches)
        return self.encode(patches, need_weights=need_weights)

    def encode(
        self,
        patches: Float[Tensor, "batch patches values"],
        bias: Float[Tensor, " tokens"] | None = None,
        need_weights: bool = False,
    ) -> Output:
        """Embed the patches, run the blocks, read the head; ``bias`` as for :meth:`Attention.forward`."""
        x = self.embed(patches)
        x = torch.cat((self.class_token.expand(len(x), -1, -1), x), dim=1)
        attention, layers = [], [x[:, 1:]] if need_weights else []
        for block in self.blocks:
            x, weights = block(x, bias, need_weights)
            if weights is not None:
                attention.append(weights)
                layers.append(x[:, 1:])
        x = self.norm(x)
        pooled = x[:, 0] if self.config.pooling == "class" else x.mean(dim=1)
        return Output(self.head(pooled), pooled, x[:, 1:], tuple(attention), tuple(layers))
