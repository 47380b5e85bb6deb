"""A trained network as two ONNX files, the image and the network with its attention, for the page that computes itself."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from serlib.attention import rollout
from serlib.config import Features
from serlib.files import atomic_write
from serlib.model import SpectrogramViT
from workflow.export import ToImage, to_onnx


class InstanceNorm(nn.Module):
    """Means over rows of their means over columns: a browser's sum over a whole image loses two digits."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Float[Tensor, "*image height width"]) -> Float[Tensor, "*image height width"]:
        centred = x - x.mean(-1, keepdim=True).mean(-2, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True).mean(-2, keepdim=True) + self.eps).rsqrt()


class ToChannels(nn.Module):
    """The log-Mel image and what a front makes of it, where the network has one."""

    def __init__(self, settings: Features, front: nn.Module | None) -> None:
        super().__init__()
        self.image, self.front = ToImage(settings), front or nn.Identity()

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "channels height width"]:
        return self.front(self.image(samples)[None, None])[0]


class FromChannels(nn.Module):
    """A network's logits for what :class:`ToChannels` gives, and the attention rollout over its patches."""

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


def write_onnx_parts(
    network: SpectrogramViT,
    settings: Features,
    emotions: Sequence[str],
    image: Path,
    path: Path,
    front: nn.Module | None = None,
) -> None:
    """A network in two files: ``image`` from samples to ``channels``, (channels, height, width), the log-Mel image or what
    ``front``, the network's own where it has one, makes of it; ``path`` from there to ``logits`` and ``attention``, (rows,
    columns) of patches: attention rollout, scaled to sum to 1.

    Weights that half precision holds exactly, as it does those of released networks, are stored in it. A network with a
    front must have neither stem nor coordinates.

    Raises:
        SerlibError: the images that the network was trained on are not linear.
    """
    channels = torch.zeros(network.config.channels, *network.config.image_size)
    to_image = to_onnx(ToChannels(settings, front), "samples", ("channels",), settings, emotions)
    reader = FromChannels(network, front is not None)
    to_answer = to_onnx(reader, "channels", ("logits", "attention"), settings, emotions, channels)
    _halve(to_answer.graph)
    for file, model in ((image, to_image), (path, to_answer)):
        with atomic_write(file) as beside:
            beside.write_bytes(model.SerializeToString())


def _halve(graph) -> None:
    """Store what half precision holds exactly in it, each with a cast back."""
    for stored in graph.initializer:
        exact = onnx.numpy_helper.to_array(stored)
        if exact.dtype != np.float32 or exact.size < 100 or (exact.astype(np.float16) != exact).any():
            continue
        name = f"{stored.name}_half"
        graph.node.insert(0, onnx.helper.make_node("Cast", [name], [stored.name], to=onnx.TensorProto.FLOAT))
        stored.CopyFrom(onnx.numpy_helper.from_array(exact.astype(np.float16), name))
