"""The network written plainly: benchmarks compare serlib's speed with it, and tests compare serlib's results with it.

It passes one batch through eager PyTorch, and computes every image, column and pixel. Nothing is merged or cut up. It uses
the weights of the compared network, so gradients can be read from that network's parameters.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from serlib.model import Output, SpectrogramViT


def network(model: SpectrogramViT, images: Tensor) -> Output:
    """The same output as ``model(images)``, for the paper's patches: full-height columns."""
    x = images
    for convolution, norm, _ in model.stem:
        x = F.gelu(F.instance_norm(F.conv2d(x, convolution.weight, convolution.bias, padding=1), eps=norm.eps))
    batch, height = x.shape[0], x.shape[2]
    c = model.config
    if c.patch_size != (height, 1):
        raise ValueError(f"patches of {c.patch_size}: the reference knows full-height columns only")
    if c.position == "coordinates":
        x = torch.cat((x, model.coordinates.expand(batch, -1, -1, -1)), dim=1)
    x = model.embed(x.permute(0, 3, 2, 1).flatten(2))  # (batch, columns, rows * channels)
    x = torch.cat((model.class_token.expand(batch, 1, -1), x), dim=1)
    for block in model.blocks:
        q, k, v = block.attention.qkv(block.attention.norm(x)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (c.heads, c.head_width)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + block.attention.out(mixed)
        x = x + block.mlp(x)
    x = model.norm(x)
    pooled = x[:, 0] if c.pooling == "class" else x.mean(dim=1)
    return Output(model.head(pooled), pooled, x[:, 1:])
