"""Networks of other libraries that people would use instead, for the same images."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from serlib.config import STUDENT


class Grey(nn.Module):
    """Gives a network for colour pictures the one channel three times."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images.expand(-1, 3, -1, -1))


def peers(classes: int = 7) -> Iterator[tuple[str, nn.Module, int]]:
    """Yields name, network and operations for one image of each peer.

    The peers are the vision transformers of vit-pytorch and timm, with the student's tokens, width and depth, and two
    residual networks. timm's heads must divide the width: it has 4 heads of 64 values, the student has 5.
    """
    import timm
    import torchvision
    import vit_pytorch

    c = STUDENT
    size, patch = c.image_size[0], c.patch_size
    networks = {
        "vit-pytorch ViT": vit_pytorch.ViT(
            image_size=size,
            patch_size=patch,
            num_classes=classes,
            dim=c.width,
            depth=c.depth,
            heads=c.heads,
            mlp_dim=c.mlp_width,
            channels=1,
            dim_head=c.head_width,
        ),
        "timm VisionTransformer": timm.models.vision_transformer.VisionTransformer(
            img_size=size,
            patch_size=patch,
            in_chans=1,
            num_classes=classes,
            embed_dim=c.width,
            depth=c.depth,
            num_heads=c.width // c.head_width,
            mlp_ratio=c.mlp_width / c.width,
        ),
        "torchvision ResNet-18": Grey(torchvision.models.resnet18(num_classes=classes)),
        "torchvision ResNet-50": Grey(torchvision.models.resnet50(num_classes=classes)),
    }
    for name, network in networks.items():
        yield name, network, operations(network)


def operations(network: nn.Module) -> int:
    """Operations for one image by PyTorch's counter, which counts attention as its matrix products."""
    network.eval()
    with (
        torch.no_grad(),
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        network(torch.rand(1, 1, *STUDENT.image_size))
    network.train()
    return counter.get_total_flops()
