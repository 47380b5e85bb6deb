"""On a CPU, the silence that fills an image up is computed once: exact, and out of the reader's way.

An image of a short recording ends in a run of equal columns. :func:`apply_stem` and :func:`tokens` compute one of them
and count it for as many as it stands for. On a GPU, which would have to wait for their number in every step, and in
exported graphs, every column is computed.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "batch 1 height width"]
Patches = Float[Tensor, "batch patches values"]
Parted = tuple[Float[Tensor, "batch width"], Float[Tensor, "batch patches width"]]  # class tokens; one for every patch


def can_skip_padding(x: Tensor) -> bool:
    """Whether the work may depend on what is in the images: on a CPU, and not in a graph written once for all."""
    return x.device.type == "cpu" and not torch.compiler.is_exporting()


def content_width(images: Float[Tensor, "batch channels height width"]) -> list[int]:
    """For each image, the number of columns before the run of equal columns that it ends in: where its speech stops."""
    if (images[..., -1:] != images[..., -2:-1]).flatten(1).any(dim=1).all():  # none ends in two equal columns
        return [images.shape[-1]] * len(images)
    differs = (images != images[..., -1:]).any(dim=1).any(dim=1)
    width = differs.shape[1]
    last = (differs * torch.arange(1, width + 1, device=images.device)).amax(dim=1)
    return last.where(last != width - 1, width).tolist()  # one column is no run of equal ones


def apply_stem(stem: nn.Sequential, images: Images) -> Images:
    """``stem(images)``, for a stem of 3x3 convolutions, each with InstanceNorm and GELU.

    On a CPU the images pass one after the other: no operation mixes images, and one image's activations (4 MiB at 64
    channels) stay in the cache where a batch's (134 MB) go through memory at every operation. Of the silence that ends
    an image, the columns out of reach of the speech and of the right edge are the same after every convolution: one of
    them is computed, and it counts in the norms for as many as it stands for.
    """
    if not (can_skip_padding(images) and len(stem)):
        return stem(images)
    widths = content_width(images)
    return torch.cat([_one_image(stem, image, width) for image, width in zip(images.split(1), widths, strict=True)])


def _one_image(stem: nn.Sequential, x: Images, width: int) -> Images:
    reach = len(stem)  # columns to each side that a pixel of the outcome depends on: one for each convolution
    one = width + reach  # the silent column that stands for itself and the next ``more``
    more = x.shape[-1] - one - 1 - reach
    if more <= 0:
        return stem(x)
    x = torch.cat((x[..., : one + 1], x[..., -reach:]), dim=-1)
    for convolution, norm, gelu in stem:
        x = gelu(_weighted_norm(convolution(x), one, more, norm.eps))
    return torch.cat((x[..., :one], x[..., one : one + 1].expand(-1, -1, -1, more), x[..., one:]), dim=-1)


def _weighted_norm(x: Tensor, one: int, more: int, eps: float) -> Tensor:
    """InstanceNorm of the image in which ``more`` further columns equal column ``one``."""

    def mean(values: Tensor) -> Tensor:
        pixels = values.shape[-2] * (values.shape[-1] + more)
        total = values.sum((-2, -1), keepdim=True) + more * values[..., one : one + 1].sum(-2, keepdim=True)
        return total / pixels

    centred = x - mean(x)
    return centred * (mean(centred.square()) + eps).rsqrt()


def tokens(patches: Patches, alike: bool) -> "Tokens":
    """How the network holds the tokens of ``patches``: on a CPU, equal ones merged where that is worth while.

    ``alike`` says whether equal patches stay equal: no position and no dropout tells them apart.
    """
    if alike and can_skip_padding(patches):
        widths = content_width(patches.mT[:, None])
        if sum(widths) < 0.9 * patches.shape[0] * patches.shape[1]:  # unflattening and flattening are work too
            return DedupTokens(patches, torch.tensor(widths))
    return Tokens(patches)


class Tokens:
    """One token for every patch, in (batch, tokens, width), the class token first."""

    bias: Tensor | None = None  # added to the scores of attention

    def __init__(self, patches: Patches) -> None:
        self.patches = patches

    def with_class(self, token: Float[Tensor, "1 1 width"], x: Tensor) -> Tensor:
        """The class token before the patches' tokens ``x``."""
        return torch.cat((token.expand(len(x), -1, -1), x), dim=1)

    def unflatten(self, x: Tensor) -> Float[Tensor, "batch tokens width"]:
        """Each image's tokens by themselves: for attention, which must not mix images."""
        return x

    def flatten(self, x: Float[Tensor, "batch tokens width"]) -> Tensor:
        """The inverse of :meth:`unflatten`."""
        return x

    def split(self, x: Tensor) -> Parted:
        """The class tokens, and one token for every patch."""
        return x[:, 0], x[:, 1:]


class DedupTokens(Tokens):
    """Many images' tokens as one list of rows, equal patches merged: what a CPU works on instead of (batch, tokens).

    Without position encoding, tokens that start equal stay equal in every block. So the patches of the silence that
    fills an image up are one row, and attention counts it for as many as it stands for: ``log`` of their number is
    added to its scores, which is the softmax over all of them, exactly. All else in the network works on rows.

    The rows are the class tokens of all images, then the patches of the first, the second, and so on. ``widths`` says
    how many patches of each image come before its silence.
    """

    def __init__(self, patches: Patches, widths: Int[Tensor, " batch"]) -> None:
        batch, count, _ = patches.shape
        patch = torch.arange(count)
        kept = patch <= widths[:, None]  # up to the first silent one, which stands for the rest
        images, columns = kept.nonzero(as_tuple=True)
        self.patches = patches[images, columns]
        self.batch = batch
        self.image = torch.cat((torch.arange(batch), images))
        self.position = torch.cat((torch.zeros(batch, dtype=torch.long), columns + 1))
        lengths = kept.sum(dim=1)
        first = batch + lengths.cumsum(0) - lengths
        self.row = first[:, None] + patch.minimum(widths[:, None])  # of every patch
        self.longest = int(lengths.max()) + 1
        bias = patches.new_full((batch, self.longest), -torch.inf)
        bias[self.image, self.position] = 0.0
        bias[torch.arange(batch), lengths] = (count + 1 - lengths).to(patches).log()
        self.bias = bias[:, None, None, :]

    def with_class(self, token: Float[Tensor, "1 1 width"], x: Float[Tensor, "rows width"]) -> Tensor:
        return torch.cat((token[0].expand(self.batch, -1), x))

    def unflatten(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "batch longest width"]:
        """Each image's rows by themselves, filled up with zeros."""
        padded = rows.new_zeros(self.batch, self.longest, rows.shape[-1])
        return padded.index_put((self.image, self.position), rows)

    def flatten(self, padded: Float[Tensor, "batch longest width"]) -> Float[Tensor, "rows width"]:
        return padded[self.image, self.position]

    def split(self, rows: Float[Tensor, "rows width"]) -> Parted:
        patches = rows.index_select(0, self.row.flatten()).unflatten(0, self.row.shape)
        return rows[: self.batch], patches
