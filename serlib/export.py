"""A trained network as one ONNX file that takes samples and gives logits, the log-Mel image made inside the graph.

The file runs without PyTorch: ``onnxruntime.InferenceSession(path).run(None, {"samples": samples})``. Its metadata
names the emotions and the sampling rate. :func:`quantise` stores the transformer's weights in eight bits.
"""

import contextlib
import io
import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from serlib.config import Features
from serlib.data import features
from serlib.files import atomic_write
from serlib.model import SpectrogramViT


class FromSamples(nn.Module):
    """:func:`serlib.data.features.image` and a network as one computation, of operations that ONNX has.

    The Fourier transform is a convolution of the samples with the window's cosines and sines, and the interpolation to
    the image's width a product with the matrix that it is. Only frames that the samples reach are computed: the others
    are black.
    """

    def __init__(self, network: SpectrogramViT, settings: Features) -> None:
        super().__init__()
        if settings.colour != "linear":
            raise ValueError(f"colour {settings.colour!r}: only linear images can be exported")
        self.network, self.settings = network, settings
        c = settings
        before = (c.fft_length - c.window_length) // 2  # the window stands in the middle of the transform's samples
        n = torch.arange(c.window_length, dtype=torch.float64) + before
        k = torch.arange(c.fft_length // 2 + 1, dtype=torch.float64)
        angle = 2 * torch.pi * torch.outer(k, n) / c.fft_length
        waves = torch.cat((angle.cos(), angle.sin())) * features.window(c)
        self.columns = c.n_frames + c.window_length // c.hop_length  # that frames of ``c.seconds`` and the padding fill
        self.register_buffer("waves", waves.float()[:, None])
        self.register_buffer("mel", features.mel_filters(c))
        self.register_buffer("across", features.across(c))

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, " classes"]:
        c = self.settings
        padded = functional.pad(samples[None, None], (c.window_length // 2, c.window_length))
        parts = functional.conv1d(padded, self.waves, stride=c.hop_length)[0]
        real, imaginary = parts.chunk(2)
        power = self.mel @ (real.square() + imaginary.square())
        decibels = 10 * torch.log10(power.clamp_min(features.LEAST_POWER))
        missing = self.columns - power.shape[1]  # frames after the samples: below every floor, so black at any level
        decibels = functional.pad(decibels, (0, missing), value=-math.inf)[:, : c.n_frames]
        level = ((decibels - decibels.max()) / c.dynamic_range + 1).clamp_min(0)
        level = level * (power.max() > features.LEAST_POWER)  # a silent recording is black, not white
        image = (level.flip(0) @ self.across).clamp(0, 1)
        return self.network(image[None, None]).logits[0]


def onnx(network: SpectrogramViT, settings: Features, emotions: Sequence[str], path: Path) -> None:
    """Write ``network`` as ONNX: input ``samples``, (samples,) in [-1, 1] and no more than the image shows (10 s);
    output ``logits``, (classes,).

    Raises:
        ValueError: the images that the network was trained on are not linear.
    """
    import onnx as format

    module = FromSamples(network, settings).eval()
    samples = torch.export.Dim("samples", min=settings.hop_length, max=settings.n_samples)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(3 * settings.sample_rate),),
            dynamo=True,
            input_names=["samples"],
            output_names=["logits"],
            dynamic_shapes=({0: samples},),
            verbose=False,
        )
    model = program.model_proto
    about = {"emotions": json.dumps(list(emotions)), "sample_rate": str(settings.sample_rate)}
    format.helper.set_model_props(model, about)
    with atomic_write(path) as beside:
        beside.write_bytes(model.SerializeToString())


def quantise(path: Path, target: Path) -> None:
    """The same network with the transformer's weights and activations in eight bits.

    The log-Mel image and the embedding of its patches stay exact: on training recordings the embedding alone made two
    thirds of the error of the logits.
    """
    import onnx as format
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # of a preparation that these graphs do not need
    products = [node.name for node in format.load(path).graph.node if node.op_type == "MatMul"]
    exact = products[:3]  # mel filters, interpolation, embedding, in the order of the computation
    with atomic_write(target) as beside:
        quantize_dynamic(
            path,
            beside,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=exact,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # seven bits: processors without VNNI overflow in sums of two products of eight
        )
    logging.disable(logging.NOTSET)
