"""The network: a vision transformer on spectrograms, of which teacher, student and every ablation are configurations.

* stem: 3x3 convolutions, each with InstanceNorm and GELU, that keep the image's size (figure 2 of the paper);
* image coordinate encoding: two channels of coordinates in [-1, 1], concatenated after the stem (figure 3);
* patches of any shape, full-height columns by default; LayerNorm - Linear - LayerNorm;
* pre-norm transformer with a class token; one Linear head (figures 4 and 5);
* everything a loss or a figure needs is returned by name; nothing is stored, nothing hooked;
* on a CPU the silence that fills an image up is computed once, not once per column (:class:`DedupTokens`, :class:`Stem`);
* the authors' released state dictionaries load by :func:`load_release_checkpoint`.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from serlib import config
from serlib.files import atomic_write


class Output(NamedTuple):
    """What the network returns. ``attention`` and ``layers`` hold what happens on the way, only when asked for."""

    logits: Float[Tensor, "batch classes"]
    pooled: Float[Tensor, "batch width"]  # the vector that the head reads
    tokens: Float[Tensor, "batch patches width"]  # after the last norm, without the class token
    attention: tuple[Float[Tensor, "batch heads tokens tokens"], ...] = ()  # of each block; the class token comes first
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


def sinusoidal(length: int, width: int) -> Float[Tensor, "length width"]:
    """Sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5), for ``length`` tokens."""
    angle = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return rearrange(torch.stack((angle.sin(), angle.cos())), "two t f -> t (f two)")


def content_width(images: Float[Tensor, "batch channels height width"]) -> list[int]:
    """For each image, the number of columns before the run of equal columns that it ends in: where its speech stops."""
    if (images[..., -1:] != images[..., -2:-1]).flatten(1).any(dim=1).all():  # none ends in two equal columns
        return [images.shape[-1]] * len(images)
    differs = (images != images[..., -1:]).any(dim=1).any(dim=1)
    last = differs * torch.arange(1, differs.shape[1] + 1, device=images.device)
    return last.amax(dim=1).tolist()


class Stem(nn.Sequential):
    """3x3 convolutions, stride 1, padding 1, each with InstanceNorm (no affine parameters) and GELU (figure 2).

    On a CPU the images pass one after the other: no operation mixes images, and one image's activations (4 MiB at 64
    channels) stay in the cache where a batch's (134 MB) go through memory at every operation. Of the silence that ends
    an image, the columns out of reach of the speech and of the right edge are the same after every convolution: one of
    them is computed, and it counts in the norms for as many as it stands for.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        inputs = (1, *channels)[:-1]
        super().__init__(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o), nn.GELU())
                for i, o in zip(inputs, channels, strict=True)
            )
        )

    def forward(self, images: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        if not (can_skip_padding(images) and len(self)):
            return super().forward(images)
        return torch.cat(
            [self._one(image, stop) for image, stop in zip(images.split(1), content_width(images), strict=True)]
        )

    def _one(self, x: Float[Tensor, "1 1 height width"], stop: int) -> Float[Tensor, "1 1 height width"]:
        reach = len(self)  # columns to each side that a pixel of the outcome depends on: one for each convolution
        one = stop + reach  # the silent column that stands for itself and the next ``more``
        more = x.shape[-1] - one - 1 - reach
        if more <= 0:
            return super().forward(x)
        x = torch.cat((x[..., : one + 1], x[..., -reach:]), dim=-1)
        for convolution, norm, gelu in self:
            x = gelu(_weighted_norm(convolution(x), one, more, norm.eps))
        return torch.cat((x[..., :one], x[..., one : one + 1].expand(-1, -1, -1, more), x[..., one:]), dim=-1)


def can_skip_padding(x: Tensor) -> bool:
    """Whether the work may depend on what is in the images: on a CPU, and not in a graph written once for all."""
    return x.device.type == "cpu" and not torch.compiler.is_exporting()


def _weighted_norm(x: Tensor, one: int, more: int, eps: float) -> Tensor:
    """InstanceNorm of the image in which ``more`` further columns equal column ``one``."""

    def mean(values: Tensor) -> Tensor:
        pixels = values.shape[-2] * (values.shape[-1] + more)
        total = values.sum((-2, -1), keepdim=True) + more * values[..., one : one + 1].sum(-2, keepdim=True)
        return total / pixels

    centred = x - mean(x)
    return centred * (mean(centred.square()) + eps).rsqrt()


class DedupTokens:
    """Many images' tokens as one list of rows, equal patches merged: what a CPU works on instead of (batch, tokens).

    Without position encoding, tokens that start equal stay equal in every block. So the patches of the silence that
    fills an image up are one row, and attention counts it for as many as it stands for: ``log`` of their number is
    added to its scores, which is the softmax over all of them, exactly. Images of unequal length waste nothing: all
    else in the network works on rows.

    The rows are the class tokens of all images, then the patches of the first, the second, and so on. ``stops`` says
    how many patches of each image come before its silence.
    """

    def __init__(self, patches: Float[Tensor, "batch patches values"], stops: Int[Tensor, " batch"]) -> None:
        batch, count, _ = patches.shape
        position = torch.arange(count)
        kept = position <= stops[:, None]  # up to the first silent one, which stands for the rest
        images, columns = kept.nonzero(as_tuple=True)
        self.patches = patches[images, columns]
        self.batch = batch
        self.image = torch.cat((torch.arange(batch), images))
        self.place = torch.cat((torch.zeros(batch, dtype=torch.long), columns + 1))
        lengths = kept.sum(dim=1)
        first = batch + lengths.cumsum(0) - lengths
        self.row = first[:, None] + position.minimum(stops[:, None])  # of every patch
        self.longest = int(lengths.max()) + 1
        bias = patches.new_full((batch, self.longest), -torch.inf)
        bias[self.image, self.place] = 0.0
        bias[torch.arange(batch), lengths] = (count + 1 - lengths).to(patches).log()
        self.bias = bias[:, None, None, :]

    def apart(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "batch longest width"]:
        """Each image's rows by themselves, filled up with zeros: for attention, which must not mix images."""
        padded = rows.new_zeros(self.batch, self.longest, rows.shape[-1])
        return padded.index_put((self.image, self.place), rows)

    def together(self, padded: Float[Tensor, "batch longest width"]) -> Float[Tensor, "rows width"]:
        """The inverse of :meth:`apart`."""
        return padded[self.image, self.place]

    def tokens(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "batch patches width"]:
        """One token for every patch again."""
        return rows.index_select(0, self.row.flatten()).unflatten(0, self.row.shape)


class Attention(nn.Module):
    """Pre-norm multi-head self-attention: a bias-free joint projection to q, k, v; an output projection with bias."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = c.heads * c.head_width
        self.heads, self.dropout = c.heads, c.dropout
        self.norm = nn.LayerNorm(c.width)
        self.qkv = nn.Linear(c.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, c.width)

    def forward(
        self, x: Float[Tensor, "*tokens width"], need_weights: bool = False, merged: DedupTokens | None = None
    ) -> tuple[Tensor, Tensor | None]:
        qkv = self.qkv(self.norm(x))
        if merged is not None:
            qkv = merged.apart(qkv)
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=self.heads)
        weights = None
        bias = None if merged is None else merged.bias
        # in bfloat16 a CPU's fused attention takes longer than its products one by one
        if need_weights or (q.device.type == "cpu" and q.dtype == torch.bfloat16):
            scores = q @ k.mT * q.shape[-1] ** -0.5
            weights = (scores if bias is None else scores + bias).softmax(dim=-1)
            mixed = weights.to(v) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, bias)
        mixed = rearrange(mixed, "b h t d -> b t (h d)")
        if merged is not None:
            mixed = merged.together(mixed)
        return functional.dropout(self.out(mixed), self.dropout, self.training), weights if need_weights else None


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

    def forward(
        self, x: Float[Tensor, "*tokens width"], need_weights: bool = False, merged: DedupTokens | None = None
    ) -> tuple[Tensor, Tensor | None]:
        mixed, weights = self.attention(x, need_weights, merged)
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
        self.stem = Stem(c.stem)
        if c.per_band_norm:
            self.register_buffer("band_mean", torch.zeros(c.image_size[0], 1))
            self.register_buffer("band_spread", torch.ones(c.image_size[0], 1))
        coordinates = coordinate_channels(*c.image_size, swapped_divisors=c.swapped_divisors)
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
        self.head = nn.Linear(c.width, c.num_classes)

    @torch.no_grad()
    def measure_bands(self, images: Float[Tensor, "batch 1 height width"]) -> None:
        """Take every mel band's mean and spread from the columns of ``images`` before their silence."""
        speech = torch.cat(
            [image[0, :, :stop] for image, stop in zip(images, content_width(images), strict=True)], dim=1
        )
        self.band_mean.copy_(speech.mean(dim=1, keepdim=True))
        self.band_spread.copy_(speech.std(dim=1, keepdim=True).clamp_min(1e-3))  # a band without a sound stays finite

    def patch_input(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """What is cut into patches: the stem's image and, with coordinate encoding, the two coordinate channels."""
        x = self.stem(images)
        if self.config.position == "coordinates":
            x = torch.cat((x, repeat(self.coordinates, "c h w -> b c h w", b=len(x))), dim=1)
        return x

    def forward(self, images: Float[Tensor, "batch 1 height width"], need_weights: bool = False) -> Output:
        """Logits and intermediates of a batch of images; ``need_weights`` asks for ``attention`` and ``layers``.

        Raises:
            ValueError: the images are not of the size that the network was built for.
        """
        expected = (1, *self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}: the network takes (batch, {expected})")
        if self.config.per_band_norm:
            images = (images - self.band_mean) / self.band_spread
        height, width = self.config.patch_size
        patches = rearrange(self.patch_input(images), "b c (h p) (w q) -> b (h w) (p q c)", p=height, q=width)
        # weights are asked for by figures and by the count of operations: they show every token
        merged = None if need_weights else self.merge(patches)
        class_tokens = self.class_token.expand(len(patches), -1, -1)
        if merged is None:
            x = self.embed(patches)
            if self.config.position in ("learned", "sinusoidal"):
                x = x + self.positions
            x = torch.cat((class_tokens, x), dim=1)
        else:
            x = torch.cat((class_tokens[:, 0], self.embed(merged.patches)))
        attention, layers = [], [x[:, 1:]] if need_weights else []
        for block in self.blocks:
            x, weights = block(x, need_weights, merged)
            if weights is not None:
                attention.append(weights)
                layers.append(x[:, 1:])
        x = self.norm(x)
        first, tokens = (x[:, 0], x[:, 1:]) if merged is None else (x[: len(patches)], merged.tokens(x))
        pooled = first if self.config.pooling == "class" else torch.cat((first[:, None], tokens), dim=1).mean(dim=1)
        return Output(self.head(pooled), pooled, tokens, tuple(attention), tuple(layers))

    def merge(self, patches: Float[Tensor, "batch patches values"]) -> DedupTokens | None:
        """Equal patches as one, on a CPU, where no position and no dropout tells them apart and it is worth while.

        Elsewhere the number of rows would have to be waited for in every step.
        """
        c = self.config
        if not can_skip_padding(patches) or c.position != "none" or (c.dropout and self.training):
            return None
        stops = content_width(patches.mT[:, None])
        few = sum(stops) < 0.9 * len(patches) * c.num_patches  # taking rows apart and together is work too
        return DedupTokens(patches, torch.tensor(stops)) if few else None


def save(model: SpectrogramViT, path: Path, **about: Any) -> None:
    """Write weights as safetensors; the configuration and ``about`` (JSON values) go into the file's metadata.

    All of it under one name: safetensors writes names in no fixed order, and equal models give equal files.
    """
    from safetensors.torch import save as to_bytes

    metadata = {"serlib": json.dumps({"model": asdict(model.config), **about})}
    with atomic_write(path) as beside:
        beside.write_bytes(to_bytes(model.state_dict(), metadata))


def load(path: Path) -> tuple[SpectrogramViT, dict[str, Any]]:
    """The model that :func:`save` wrote, in eval mode, and what was said about it.

    Raises:
        ValueError: the file is missing or was not written by :func:`save`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["serlib"])
            state = {key: file.get_tensor(key).float() for key in sorted(file.keys())}
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in about.pop("model").items()}
        model = SpectrogramViT(config.Model(**fields))
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such weights") from error
    except (SafetensorError, KeyError, TypeError, AttributeError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].removesuffix(":") if str(error) else type(error).__name__
        raise ValueError(f"{path}: not weights that serlib wrote ({reason})") from error
    return model.eval(), about


# The release's names, rewritten to this module's: a block's first part is attention, its second the MLP.
_RELEASE_NAMES = (
    (r"^cls_token$", "class_token"),
    (r"^to_patch_embedding\.1\.", "embed.0."),
    (r"^to_patch_embedding\.2\.", "embed.1."),
    (r"^to_patch_embedding\.3\.", "embed.2."),
    (r"^transformer\.layers\.(\d+)\.0\.norm\.", r"blocks.\1.attention.norm."),
    (r"^transformer\.layers\.(\d+)\.0\.to_qkv\.", r"blocks.\1.attention.qkv."),
    (r"^transformer\.layers\.(\d+)\.0\.to_out\.0\.", r"blocks.\1.attention.out."),
    (r"^transformer\.layers\.(\d+)\.1\.net\.", r"blocks.\1.mlp."),
    (r"^transformer\.norm\.", "norm."),
    (r"^mlp_head\.", "head."),
)


def _from_release(name: str) -> str:
    if stem := re.match(r"^conv_stem\.(\d+)\.", name):  # convolution, norm, GELU in turn
        return re.sub(r"^conv_stem\.\d+\.", f"stem.{int(stem[1]) // 3}.0.", name)
    for pattern, ours in _RELEASE_NAMES:
        name, found = re.subn(pattern, ours, name)
        if found:
            return name
    raise KeyError(name)


def load_release_checkpoint(
    path: Path, image_size: tuple[int, int] = (128, 128), pooling: str = "class"
) -> SpectrogramViT:
    """A checkpoint in the authors' released format [C], in eval mode; all sizes but the image's are inferred.

    The file is read with ``weights_only=True``: it cannot run code. Coordinates follow the release's formula (its
    divisors are swapped, which matters only for images that are not square).

    Args:
        path: a ``torch.save`` of a dict with ``model_state_dict``.
        image_size: pixels, height x width; patches are full-height columns.
        pooling: ``class``, the release's default, or ``mean``.

    Raises:
        ValueError: the file is missing, not in the format, or does not fit ``image_size``.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = {_from_release(name): tensor for name, tensor in checkpoint["model_state_dict"].items()}
        values, width = state["embed.0.weight"].numel(), state["embed.2.weight"].numel()
        stem = tuple(len(state[name]) for name in state if re.fullmatch(r"stem\.\d+\.0\.bias", name))
        blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
        inner = len(state["blocks.0.attention.qkv.weight"]) // 3
        channels = 3 if stem else 1
        columns, rest = divmod(values, image_size[0] * channels)
        if rest or not columns:
            raise ValueError(f"a patch of {values} values is no {image_size[0]}-pixel column of {channels} channel(s)")
        c = config.Model(
            num_classes=len(state["head.bias"]),
            image_size=image_size,
            patch_size=(image_size[0], columns),
            stem=stem,
            position="coordinates" if stem else "none",
            swapped_divisors=True,
            width=width,
            depth=len(blocks),
            heads=inner // config.Model.head_width,
            mlp_width=len(state["blocks.0.mlp.1.bias"]),
            pooling=pooling,
        )
        model = SpectrogramViT(c)
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such checkpoint") from error
    except ValueError as error:
        raise ValueError(f"{path}: does not fit images of {image_size[0]} x {image_size[1]}: {error}") from error
    except Exception as error:  # torch.load raises many kinds for a file that is none of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a checkpoint in the released format ({reason})") from error
    return model.eval()
