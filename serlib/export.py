"""A trained network as one ONNX file that takes samples and gives logits, the log-Mel image made inside the graph.

The file runs without PyTorch: ``onnxruntime.InferenceSession(path).run(None, {"samples": samples})``. Its metadata
names the emotions and the sampling rate. :func:`quantise` stores the transformer's weights in eight bits;
:func:`write_onnx_parts` writes the image and the network as two files, with the attention.
"""

import contextlib
import copy
import io
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional

from serlib.attention import rollout
from serlib.config import Features
from serlib.data import features
from serlib.errors import SerlibError
from serlib.files import atomic_write
from serlib.model import SpectrogramViT


class ToImage(nn.Module):
    """:func:`serlib.data.features.image`, of operations that ONNX has.

    The Fourier transform is a convolution of the samples with the window's cosines and sines, and the interpolation to
    the image's width a product with the matrix that it is. Only frames that the samples reach are computed: the others
    are black.
    """

    def __init__(self, settings: Features) -> None:
        super().__init__()
        if settings.colour != "linear":
            raise SerlibError(f"colour {settings.colour!r}: only linear images can be exported")
        self.settings = c = settings
        before = (c.fft_length - c.window_length) // 2  # the window stands in the middle of the transform's samples
        self.columns = c.n_frames + c.window_length // c.hop_length  # that frames of ``c.seconds`` and the padding fill
        n = torch.arange(c.window_length) + before
        k = torch.arange(c.fft_length // 2 + 1)
        # cosines and sines are computed when a file is read: stored, they would be larger than half the student
        self.register_buffer("turns", (torch.outer(k, n) % c.fft_length).to(torch.int16))  # times ``fft_length``
        self.register_buffer("window", features.window(c))
        self.register_buffer("mel", features.mel_filters(c))
        self.register_buffer("across", features.across(c))

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "height width"]:
        c = self.settings
        angle = self.turns.float() * (2 * torch.pi / c.fft_length)
        waves = torch.cat((angle.cos(), angle.sin())) * self.window
        padded = functional.pad(samples[None, None], (c.window_length // 2, c.window_length))
        parts = functional.conv1d(padded, waves[:, None], stride=c.hop_length)[0]
        real, imaginary = parts.chunk(2)
        power = self.mel @ (real.square() + imaginary.square())
        decibels = 10 * torch.log10(power.clamp_min(features.LEAST_POWER))
        missing = self.columns - power.shape[1]  # frames after the samples: below every floor, so black at any level
        decibels = functional.pad(decibels, (0, missing), value=-math.inf)[:, : c.n_frames]
        level = ((decibels - decibels.max()) / c.dynamic_range + 1).clamp_min(0)
        level = level * (power.max() > features.LEAST_POWER)  # a silent recording is black, not white
        return (level.flip(0) @ self.across).clamp(0, 1)


class FromSamples(nn.Module):
    """The image and a network as one computation."""

    def __init__(self, network: SpectrogramViT, settings: Features) -> None:
        super().__init__()
        self.network, self.image = network, ToImage(settings)

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, " classes"]:
        return self.network(self.image(samples)[None, None]).logits[0]


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


def write_onnx(network: SpectrogramViT, settings: Features, emotions: Sequence[str], path: Path) -> None:
    """Write ``network`` as ONNX: input ``samples``, (samples,) in [-1, 1] and no more than the image shows (10 s);
    output ``logits``, (classes,).

    Raises:
        ValueError: the images that the network was trained on are not linear.
    """
    _write(path, FromSamples(network, settings), "samples", ("logits",), settings, emotions)


def write_onnx_parts(
    network: SpectrogramViT,
    settings: Features,
    emotions: Sequence[str],
    image: Path,
    path: Path,
    front: nn.Module | None = None,
) -> None:
    """The same in two files: ``image`` from samples to ``channels``, (channels, height, width), the log-Mel image or what
    ``front``, the network's own where it has one, makes of it; ``path`` from there to ``logits`` and ``attention``, (rows,
    columns) of patches: attention rollout, scaled to sum to 1.

    Weights that half precision holds exactly, as it does those of released networks, are stored in it. A network with a
    front must have neither stem nor coordinates.

    Raises:
        SerlibError: the images that the network was trained on are not linear.
    """
    channels = torch.zeros(network.config.channels, *network.config.image_size)
    _write(image, ToChannels(settings, front), "samples", ("channels",), settings, emotions)
    reader = FromChannels(network, front is not None)
    _write(path, reader, "channels", ("logits", "attention"), settings, emotions, channels)


def _write(
    path: Path,
    module: nn.Module,
    given: str,
    outputs: Sequence[str],
    settings: Features,
    emotions: Sequence[str],
    example: Tensor | None = None,
) -> None:
    """``module`` as a file; ``given``, its input, is like ``example``, without one samples of any length."""
    lengths = None
    if example is None:
        example = torch.zeros(3 * settings.sample_rate)
        lengths = ({0: torch.export.Dim("samples", min=settings.hop_length, max=settings.n_samples)},)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        names = {"input_names": [given], "output_names": list(outputs), "dynamic_shapes": lengths}
        program = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, **names)
    model = program.model_proto
    about = {"emotions": json.dumps(list(emotions)), "sample_rate": str(settings.sample_rate)}
    onnx.helper.set_model_props(model, about)
    if lengths is None:
        _halve(model.graph)
    with atomic_write(path) as beside:
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


def quantise(path: Path, target: Path) -> None:
    """The same network with the transformer's weights and activations in eight bits.

    The log-Mel image and the embedding of its patches stay exact: on training recordings the embedding alone made two
    thirds of the error of the logits.
    """
    products = [node.name for node in onnx.load(path).graph.node if node.op_type == "MatMul"]
    exact = products[:3]  # mel filters, interpolation, embedding, in the order of the computation
    with atomic_write(target) as beside, _no_warnings():
        quantize_dynamic(
            path,
            beside,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=exact,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # seven bits: processors without VNNI overflow in sums of two products of eight
        )


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Without the logged warnings of a preparation that these graphs do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
