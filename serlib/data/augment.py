"""Changes of training images, drawn anew for every batch; nothing that is evaluated is ever changed.

* ``masks``: SpecAugment's frequency and time masks, two and one (Park et al. 2019);
* ``warp``: a time warp, which changes the speaking rate, and vocal tract length perturbation (VTLP: Jaitly & Hinton 2013),
  which scales the frequencies;
* ``tilt``: high frequencies raised against low ones or lowered, as by another microphone or vocal effort;
* ``mixup``: two images of the batch and their labels mixed (Zhang et al. 2018).

How strong each is, is chosen here, not by any accuracy.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from serlib.config import Features

FREQ_MASK = 16  # mel bands: the widest frequency mask
TIME_MASK = 12  # columns: the widest time mask
TIME_WARP = 0.22  # largest change of the logarithm of the speaking rate
VTLP = 0.1  # largest change of the logarithm of the frequencies' scale
TILT = 6.0  # dB: largest gain at the highest and the lowest band against the middle
MIXUP_ALPHA = 0.3  # both parameters of the beta distribution that the share of an image is drawn from

Images = Float[Tensor, "batch 1 height width"]
Labels = Int[Tensor, " batch"]
Shares = list[tuple[float, Labels]]  # labels and how much they count, together 1


def augmented(images: Images, labels: Labels, kinds: tuple[str, ...]) -> tuple[Images, Shares]:
    """A batch changed by ``kinds``, of :data:`serlib.config.AUGMENTATIONS`, and the labels it then has.

    Draws from torch's global generator.
    """
    for kind, change in CHANGES.items():
        if kind in kinds:
            images = change(images)
    return mixup(images, labels) if "mixup" in kinds else (images, [(1.0, labels)])


def warp(images: Images) -> Images:
    """Time warp and VTLP of each image; the first column and the lowest row, at the bottom, stay where they are."""
    time, frequency = (torch.empty(len(images)).uniform_(-by, by).exp().to(images) for by in (TIME_WARP, VTLP))
    matrix = images.new_zeros(len(images), 2, 3)  # where a pixel of the outcome comes from, in [-1, 1]
    matrix[:, 0, 0], matrix[:, 0, 2] = time, time - 1
    matrix[:, 1, 1], matrix[:, 1, 2] = frequency, 1 - frequency
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def masks(images: Images) -> Images:
    """Two frequency masks and one time mask in each image: rows and columns made black."""
    for axis, widest in ((2, FREQ_MASK), (2, FREQ_MASK), (3, TIME_MASK)):
        length = images.shape[axis]
        wide = torch.randint(min(widest, length) + 1, (len(images),))
        start = (torch.rand(len(images)) * (length - wide + 1)).long()
        place = torch.arange(length)
        hidden = (place >= start[:, None]) & (place < (start + wide)[:, None])
        hidden = hidden[:, None, :, None] if axis == 2 else hidden[:, None, None, :]
        images = images.masked_fill(hidden.to(images.device), 0.0)
    return images


def tilt(images: Images) -> Images:
    """A straight line over the bands added to each image, within its range; black stays black."""
    gain = torch.empty(len(images)).uniform_(-TILT, TILT).to(images) / Features.dynamic_range
    line = gain[:, None, None, None] * torch.linspace(1, -1, images.shape[2], device=images.device)[:, None]
    return torch.where(images > 0, (images + line).clamp(0, 1), images)


def mixup(images: Images, labels: Labels) -> tuple[Images, Shares]:
    """Each image with another of the batch, one share for all."""
    share = torch.distributions.Beta(MIXUP_ALPHA, MIXUP_ALPHA).sample().item()
    other = torch.randperm(len(images)).to(images.device)
    return share * images + (1 - share) * images[other], [(share, labels), (1 - share, labels[other])]


CHANGES = {"warp": warp, "masks": masks, "tilt": tilt}
