"""The network: a vision transformer on spectrograms, of which teacher, student and every ablation are configurations.

* stem: 3x3 convolutions, each with InstanceNorm and GELU, that keep the image's size (figure 2 of the paper);
* image coordinate encoding: two channels of coordinates in [-1, 1], concatenated after the stem (figure 3);
* patches of any shape, full-height columns by default; LayerNorm - Linear - LayerNorm;
* pre-norm transformer with a class token; one Linear head (figures 4 and 5);
* everything a loss or a figure needs is returned by name; nothing is stored, nothing hooked;
* what may be added to the paper's network before the patches and after the tokens is in :mod:`serlib.frontend`;
* on a CPU :mod:`serlib.padding` computes the silence that fills an image up once, with the same outcome.
"""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from serlib import config, frontend, padding
from serlib.padding import Images

Rows = Float[Tensor, "*tokens width"]  # tokens as padding.Tokens lays them out


class Output(NamedTuple):
    """What the network returns. ``attention`` and ``layers`` hold what happens on the way, only when asked for."""

    logits: Float[Tensor, "batch classes"]
    pooled: Float[Tensor, "batch pooled_width"]  # the vector that the head reads
    tokens: Float[Tensor, "batch patches width"]  # after the last norm, without the class token
    attention: tuple[Float[Tensor, "batch heads tokens tokens"], ...] = ()  # of each block; the class token comes first
    layers: tuple[Float[Tensor, "batch patches width"], ...] = ()  # the patches' tokens before and after each block


def averaged(output: Output, segments: int) -> Output:
    """The output for images of which each was computed as ``segments`` windows."""
    logits = frontend.mean_posterior(output.logits, segments)
    pooled, tokens = (x.unflatten(0, (-1, segments)).mean(dim=1) for x in (output.pooled, output.tokens))
    return Output(logits, pooled, tokens, *(tuple(x[::segments] for x in part) for part in output[3:]))


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


def sinusoidal(length: int, width: int) -> Float[Tensor, "length width"]:
    """Sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5), for ``length`` tokens."""
    angle = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return rearrange(torch.stack((angle.sin(), angle.cos())), "two t f -> t (f two)")


def stem(channels: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions, stride 1, padding 1, each with InstanceNorm (no affine parameters) and GELU (figure 2)."""
    pairs = zip((1, *channels)[:-1], channels, strict=True)
    layers = (nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o), nn.GELU()) for i, o in pairs)
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Pre-norm multi-head self-attention: a bias-free joint projection to q, k, v; an output projection with bias."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = c.heads * c.head_width
        self.heads, self.dropout = c.heads, c.dropout
        self.norm = nn.LayerNorm(c.width)
        self.qkv = nn.Linear(c.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, c.width)

    def forward(self, x: Rows, layout: padding.Tokens, need_weights: bool = False) -> tuple[Rows, Tensor | None]:
        qkv = layout.unflatten(self.qkv(self.norm(x)))
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=self.heads)
        weights = None
        # in bfloat16 a CPU's fused attention takes longer than its products one by one
        if need_weights or (q.device.type == "cpu" and q.dtype == torch.bfloat16):
            scores = q @ k.mT * q.shape[-1] ** -0.5
            weights = (scores if layout.bias is None else scores + layout.bias).softmax(dim=-1)
            mixed = weights.to(v) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, layout.bias)
        mixed = self.out(layout.flatten(rearrange(mixed, "b h t d -> b t (h d)")))
        return functional.dropout(mixed, self.dropout, self.training), weights if need_weights else None


class Block(nn.Module):
    """Attention and a two-layer MLP, each with a residual connection."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        self.attention = Attention(c)
        self.mlp = nn.Sequential(
            nn.LayerNorm(c.width),
            nn.Linear(c.width, c.mlp_width),
            nn.GELU(),
            nn.Dropout(c.dropout),
            nn.Linear(c.mlp_width, c.width),
            nn.Dropout(c.dropout),
        )

    def forward(self, x: Rows, layout: padding.Tokens, need_weights: bool = False) -> tuple[Rows, Tensor | None]:
        mixed, weights = self.attention(x, layout, need_weights)
        x = x + mixed
        return x + self.mlp(x), weights


class SpectrogramViT(nn.Module):
    """The network that ``c`` describes: ``SpectrogramViT(TEACHER)``, ``SpectrogramViT(replace(STUDENT, depth=6))``."""

    band_mean: Tensor
    band_spread: Tensor
    coordinates: Tensor
    positions: Tensor

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        self.config = c
        self.stem = stem(c.stem)
        if c.per_band_norm:
            self.register_buffer("band_mean", torch.zeros(c.image_size[0], 1))
            self.register_buffer("band_spread", torch.ones(c.image_size[0], 1))
        self.convolutions = frontend.convolutions(c)
        coordinates = coordinate_channels(*c.maps[-1], swapped_divisors=c.swapped_divisors)
        self.register_buffer("coordinates", coordinates, persistent=False)
        self.embed = nn.Sequential(
            nn.LayerNorm(c.patch_values), nn.Linear(c.patch_values, c.width), nn.LayerNorm(c.width)
        )
        self.class_token = nn.Parameter(torch.randn(1, 1, c.width) * 0.02)
        if c.position == "learned":
            self.positions = nn.Parameter(torch.randn(c.num_patches, c.width) * 0.02)
        elif c.position == "sinusoidal":
            self.register_buffer("positions", sinusoidal(c.num_patches, c.width), persistent=False)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.pooled_width, c.num_classes)

    @torch.no_grad()
    def measure_bands(self, images: Images) -> None:
        """Take every mel band's mean and spread from the columns of ``images`` before their silence."""
        widths = padding.content_width(images)
        speech = torch.cat([image[0, :, :width] for image, width in zip(images, widths, strict=True)], dim=1)
        self.band_mean.copy_(speech.mean(dim=1, keepdim=True))
        self.band_spread.copy_(speech.std(dim=1, keepdim=True).clamp_min(1e-3))  # a band without a sound stays finite

    def patch_input(self, images: Images) -> Float[Tensor, "batch channels rows columns"]:
        """What is cut into patches: the stem's image and, with coordinate encoding, the two coordinate channels.

        Beyond the paper, derivatives are added to the stem's image, and convolutions follow.
        """
        x = padding.apply_stem(self.stem, images)
        x = self.convolutions(frontend.with_derivatives(x) if self.config.deltas else x)
        if self.config.position == "coordinates":
            x = torch.cat((x, repeat(self.coordinates, "c h w -> b c h w", b=len(x))), dim=1)
        return x

    def forward(self, images: Images, need_weights: bool = False) -> Output:
        """Logits and intermediates of a batch of images; ``need_weights`` asks for ``attention`` and ``layers``.

        Of an image of which several windows are evaluated, these two are the first window's; the others are means.

        Raises:
            ValueError: the images are not of the size that the network was built for.
        """
        expected = (1, *self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}: the network takes (batch, {expected})")
        if self.config.per_band_norm:
            images = (images - self.band_mean) / self.band_spread
        images = frontend.windows(images, self.config, self.training)
        output = self.read(self.patch_input(images), need_weights)
        return output if self.training or self.config.segments == 1 else averaged(output, self.config.segments)

    def read(self, channels: Float[Tensor, "batch channels rows columns"], need_weights: bool = False) -> Output:
        """Logits and intermediates of what :meth:`patch_input` gives, cut into patches."""
        height, width = self.config.patch
        patches = rearrange(channels, "b c (h p) (w q) -> b (h w) (p q c)", p=height, q=width)
        # equal patches have equal tokens unless position or dropout tells them apart; figures show every token
        alike = self.config.position == "none" and not (self.config.dropout and self.training) and not need_weights
        layout = padding.tokens(patches, alike)
        x = self.embed(layout.patches)
        if self.config.position in ("learned", "sinusoidal"):
            x = x + self.positions
        x = layout.with_class(self.class_token, x)
        attention, layers = [], [x[:, 1:]] if need_weights else []
        for block in self.blocks:
            x, weights = block(x, layout, need_weights)
            if weights is not None:
                attention.append(weights)
                layers.append(x[:, 1:])
        first, tokens = layout.split(self.norm(x))
        pooled = self.pool(first, tokens)
        return Output(self.head(pooled), pooled, tokens, tuple(attention), tuple(layers))

    def pool(
        self, first: Float[Tensor, "batch width"], tokens: Float[Tensor, "batch patches width"]
    ) -> Float[Tensor, "batch pooled_width"]:
        """The vector that the head reads: the class token, or the mean of all tokens."""
        if self.config.pooling == "spread":
            return frontend.spread(tokens)
        return first if self.config.pooling == "class" else torch.cat((first[:, None], tokens), dim=1).mean(dim=1)
