"""Two ONNX graphs for the page that computes in the browser: the image, and a trained network with its attention."""

import copy
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from serlib.attention import rollout
from serlib.config import Features
from serlib.model import SpectrogramViT
from studies.frontends import FrontedViT
from workflow.export import ToImage, to_onnx


class InstanceNorm(nn.Module):
    """Instance norm by the mean over rows of each row's mean: a browser's sum over a complete image loses two digits."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Float[Tensor, "*image height width"]) -> Float[Tensor, "*image height width"]:
        centred = x - x.mean(-1, keepdim=True).mean(-2, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True).mean(-2, keepdim=True) + self.eps).rsqrt()


class ToChannels(nn.Module):
    """The log-Mel image, passed through the network's front if it has one."""

    def __init__(self, settings: Features, front: nn.Module | None) -> None:
        super().__init__()
        self.image, self.front = ToImage(settings), front or nn.Identity()

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "channels height width"]:
        return self.front(self.image(samples)[None, None])[0]


class FromChannels(nn.Module):
    """A network's logits for the output of :class:`ToChannels`, and the attention rollout over its patches."""

    def __init__(self, network: SpectrogramViT, fronted: bool) -> None:
        super().__init__()
        self.network, self.fronted = copy.deepcopy(network), fronted
        for layer in self.network.stem:
            layer[1] = InstanceNorm(layer[1].eps)

    def forward(
        self, channels: Float[Tensor, "channels height width"]
    ) -> tuple[Float[Tensor, " classes"], Float[Tensor, "rows columns"]]:
        network = self.network.read if self.fronted else self.network
        output = network(channels[None], need_weights=True)
        return output.logits[0], rollout(output.attention, self.network.config.grid)[0]


def image_part(front: nn.Module | None, settings: Features, emotions: Sequence[str]) -> bytes:
    """The graph that all networks share, from ``samples`` to ``channels``, (channels, height, width).

    The channels are the log-Mel image, or the output of ``front`` for that image.

    Raises:
        SerlibError: the images of ``settings`` are not linear.
    """
    return to_onnx(ToChannels(settings, front), "samples", ("channels",), settings, emotions).SerializeToString()


def network_part(network: SpectrogramViT, settings: Features, emotions: Sequence[str]) -> bytes:
    """The graph of a trained network, from ``channels`` to ``logits`` and ``attention``.

    ``attention``, (rows, columns) of patches, is the attention rollout, scaled to sum to 1. Weights that half precision
    represents exactly, such as those of released networks, are stored in half precision. A network with a front must have
    neither stem nor coordinates.
    """
    channels = torch.zeros(network.config.channels, *network.config.image_size)
    reader = FromChannels(network, isinstance(network, FrontedViT))
    model = to_onnx(reader, "channels", ("logits", "attention"), settings, emotions, channels)
    _halve(model.graph)
    return model.SerializeToString()


def _halve(graph) -> None:
    """Store weights that half precision represents exactly in half precision, each with a cast back."""
    for stored in graph.initializer:
        exact = onnx.numpy_helper.to_array(stored)
        if exact.dtype != np.float32 or exact.size < 100 or (exact.astype(np.float16) != exact).any():
            continue
        name = f"{stored.name}_half"
        graph.node.insert(0, onnx.helper.make_node("Cast", [name], [stored.name], to=onnx.TensorProto.FLOAT))
        stored.CopyFrom(onnx.numpy_helper.from_array(exact.astype(np.float16), name))
