"""Exports a trained network as one ONNX file from samples to logits; the graph itself makes the log-Mel image.

The file runs without PyTorch: ``onnxruntime.InferenceSession(path).run(None, {"samples": samples})``. Its metadata
names the emotions and the sampling rate. :func:`quantise` stores the transformer's weights in eight bits.

``python -m workflow.export --weights WEIGHTS --out FILE.onnx [--int8]``
"""

import argparse
import contextlib
import io
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from jaxtyping import Float
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional

from serlib import cli
from serlib.config import Features
from serlib.data import features
from serlib.engine.command import run
from serlib.errors import SerlibError
from serlib.files import atomic_write, spare
from serlib.model import SpectrogramViT
from studies.__main__ import STUDIES


class ToImage(nn.Module):
    """:func:`serlib.data.features.image`, built from operations that ONNX has.

    The Fourier transform is a convolution of the samples with the window's cosines and sines. The interpolation to the
    image's width is a matrix product. Only frames that the samples reach are computed; the other frames are black.
    """

    def __init__(self, settings: Features) -> None:
        super().__init__()
        if settings.colour != "linear":
            raise SerlibError(f"colour {settings.colour!r}: only linear images can be exported")
        self.settings = c = settings
        left = (c.fft_length - c.window_length) // 2  # samples before the window, which is centred in the transform
        self.columns = c.n_frames + c.window_length // c.hop_length  # columns of ``c.seconds`` plus the padding
        n = torch.arange(c.window_length) + left
        k = torch.arange(c.fft_length // 2 + 1)
        # The graph computes cosines and sines for each file: stored, they would be larger than half the student. The unit
        # is 1 / ``fft_length`` of a turn.
        self.register_buffer("turns", (torch.outer(k, n) % c.fft_length).to(torch.int16))
        self.register_buffer("window", torch.hann_window(c.window_length))
        self.register_buffer("mel", features.mel_filters(c))
        self.register_buffer("across", features.interpolation(c))

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "height width"]:
        c = self.settings
        angle = self.turns.float() * (2 * torch.pi / c.fft_length)
        waves = torch.cat((angle.cos(), angle.sin())) * self.window
        padded = functional.pad(samples[None, None], (c.window_length // 2, c.window_length))
        parts = functional.conv1d(padded, waves[:, None], stride=c.hop_length)[0]
        real, imaginary = parts.chunk(2)
        power = self.mel @ (real.square() + imaginary.square())
        decibels = 10 * torch.log10(power.clamp_min(features.LEAST_POWER))
        missing = self.columns - power.shape[1]  # frames after the samples, filled with -inf dB: black at any level
        decibels = functional.pad(decibels, (0, missing), value=-math.inf)[:, : c.n_frames]
        level = ((decibels - decibels.max()) / c.dynamic_range + 1).clamp_min(0)
        level = level * (power.max() > features.LEAST_POWER)  # a silent recording is black, not white
        return (level.flip(0) @ self.across).clamp(0, 1)


class FromSamples(nn.Module):
    """The image and the network as one module, from samples to logits."""

    def __init__(self, network: SpectrogramViT, settings: Features) -> None:
        super().__init__()
        self.network, self.image = network, ToImage(settings)

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, " classes"]:
        return self.network(self.image(samples)[None, None]).logits[0]


def write_onnx(network: SpectrogramViT, settings: Features, emotions: Sequence[str], path: str | Path) -> None:
    """Write ``network`` as ONNX.

    The input ``samples``, (samples,), lies in [-1, 1] and is no longer than the image shows (10 s). The output is
    ``logits``, (classes,).

    Raises:
        ValueError: the images that the network was trained on are not linear.
    """
    model = to_onnx(FromSamples(network, settings), "samples", ("logits",), settings, emotions)
    with atomic_write(path) as beside:
        beside.write_bytes(model.SerializeToString())


def to_onnx(
    module: nn.Module,
    input_name: str,
    outputs: Sequence[str],
    settings: Features,
    emotions: Sequence[str],
    example: Tensor | None = None,
) -> onnx.ModelProto:
    """``module`` as an ONNX graph with the input ``input_name``.

    The input has the shape of ``example``; without an example, it takes samples of any length.
    """
    lengths = None
    if example is None:
        example = torch.zeros(3 * settings.sample_rate)
        lengths = ({0: torch.export.Dim("samples", min=settings.hop_length, max=settings.n_samples)},)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        names = {"input_names": [input_name], "output_names": list(outputs), "dynamic_shapes": lengths}
        program = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, **names)
    metadata = {"emotions": json.dumps(list(emotions)), "sample_rate": str(settings.sample_rate)}
    model = program.model_proto  # a new copy at every access
    for node in model.graph.node:
        del node.metadata_props[:]  # they name this machine's folders
    onnx.helper.set_model_props(model, metadata)
    return model


def quantise(path: str | Path, target: str | Path) -> None:
    """Write the same network with the transformer's weights and activations in eight bits.

    The log-Mel image and the patch embedding stay in single precision: on training recordings, the embedding alone caused
    two thirds of the error of the logits.
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
            reduce_range=True,  # seven bits: without VNNI, a sum of two products of eight bits overflows
        )


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Suppress logged warnings within the block: they ask for a preparation that these graphs do not need."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export weights of the paper's networks and of variants. Returns the exit status."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m workflow.export", description="Trained weights as ONNX.")
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors that a run wrote")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx file to write")
    parser.add_argument("--int8", action="store_true", help="the transformer in eight bits")
    parser.set_defaults(command=_export)
    return parser


def _export(options: argparse.Namespace) -> None:
    spare(options.out, options.weights)
    with TemporaryDirectory() as folder:
        exact = Path(folder, "exact.onnx") if options.int8 else options.out
        write_onnx(*cli.weights(STUDIES, options.weights), exact)
        if options.int8:
            quantise(exact, options.out)
    print(options.out)


if __name__ == "__main__":
    raise SystemExit(main())
