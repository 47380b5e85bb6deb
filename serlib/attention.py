"""Attention maps from the weights that the network returns when asked (``model(images, need_weights=True)``)."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Maps = Float[Tensor, "batch height width"]


def rollout(attention: Sequence[Float[Tensor, "batch heads tokens tokens"]], grid: tuple[int, int]) -> Maps:
    """Attention rollout from the class token to the patches (Abnar & Zuidema 2020, doi 10.18653/v1/2020.acl-main.385).

    Each block contributes ``(mean over heads + identity) / 2``, rows summing to 1; the blocks' product is followed from
    the class token. Scaled to sum to 1 over the patches.
    """
    identity = torch.eye(attention[0].shape[-1], dtype=attention[0].dtype, device=attention[0].device)
    flow = identity
    for weights in attention:
        flow = (weights.mean(dim=1) + identity) / 2 @ flow
    to_patches = flow[:, 0, 1:]
    return rearrange(to_patches / to_patches.sum(dim=-1, keepdim=True), "b (h w) -> b h w", h=grid[0], w=grid[1])


def on_image(maps: Maps, image_size: tuple[int, int]) -> Float[Tensor, "batch h w"]:
    """Maps of patches, repeated to the image's pixels."""
    return functional.interpolate(maps[:, None], image_size, mode="nearest")[:, 0]


def token_similarity(tokens: Float[Tensor, "batch patches width"]) -> Float[Tensor, "batch patches patches"]:
    """Cosine similarity between an image's tokens, in [-1, 1]."""
    unit = functional.normalize(tokens, dim=-1)
    return unit @ unit.mT
