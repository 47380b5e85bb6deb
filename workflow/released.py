"""Reads the authors' released checkpoints [C], and translates their names to those of :mod:`serlib.model`."""

import re
from pathlib import Path

import torch

from serlib import config
from serlib.checkpoints import reason
from serlib.errors import SerlibError
from serlib.files import require_file
from serlib.model import SpectrogramViT

# From the release's names to those of :mod:`serlib.model`: a block's part 0 is attention, its part 1 the MLP.
_RELEASE_NAMES = (
    (r"^cls_token$", "class_token"),
    (r"^to_patch_embedding\.([123])\.", lambda match: f"embed.{int(match[1]) - 1}."),
    (r"^conv_stem\.(\d+)\.", lambda match: f"stem.{int(match[1]) // 3}.0."),  # each layer is convolution, norm, GELU
    (r"^transformer\.layers\.(\d+)\.0\.norm\.", r"blocks.\1.attention.norm."),
    (r"^transformer\.layers\.(\d+)\.0\.to_qkv\.", r"blocks.\1.attention.qkv."),
    (r"^transformer\.layers\.(\d+)\.0\.to_out\.0\.", r"blocks.\1.attention.out."),
    (r"^transformer\.layers\.(\d+)\.1\.net\.", r"blocks.\1.mlp."),
    (r"^transformer\.norm\.", "norm."),
    (r"^mlp_head\.", "head."),
)


def _own_name(name: str) -> str:
    pattern, replacement = next((pair for pair in _RELEASE_NAMES if re.match(pair[0], name)), (None, None))
    if pattern is None:
        raise KeyError(name)
    return re.sub(pattern, replacement, name)


def load(
    path: str | Path, image_size: tuple[int, int] = (128, 128), pooling: config.Pooling = "class"
) -> SpectrogramViT:
    """Load a checkpoint in the authors' released format [C], in eval mode; all sizes but the image's are inferred.

    The file, a ``torch.save`` of a dict with ``model_state_dict``, is read with ``weights_only=True``: it cannot run
    code. Patches are full-height columns of ``image_size``, pixels in height x width. Coordinates follow the release's
    formula: its swapped divisors matter only for images that are not square. The release pools by ``class``.

    Raises:
        SerlibError: the file is missing, not in the format, or does not fit ``image_size``.
    """
    try:
        checkpoint = torch.load(require_file(path), map_location="cpu", weights_only=True)
        state = {_own_name(name): tensor for name, tensor in checkpoint["model_state_dict"].items()}
        values, width = state["embed.0.weight"].numel(), state["embed.2.weight"].numel()
        stem = tuple(len(state[name]) for name in state if re.fullmatch(r"stem\.\d+\.0\.bias", name))
        blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
        inner = len(state["blocks.0.attention.qkv.weight"]) // 3
        channels = 3 if stem else 1
        columns, rest = divmod(values, image_size[0] * channels)
        if rest or not columns:
            raise ValueError(f"a patch of {values} values is no {image_size[0]}-pixel column of {channels} channel(s)")
        c = config.Model(
            num_classes=len(state["head.bias"]),
            image_size=image_size,
            patch_size=(image_size[0], columns),
            stem=stem,
            position="coordinates" if stem else "none",
            swapped_divisors=True,
            width=width,
            depth=len(blocks),
            heads=inner // config.Model.head_width,
            mlp_width=len(state["blocks.0.mlp.1.bias"]),
            pooling=pooling,
        )
        model = SpectrogramViT(c)
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise SerlibError(f"{path}: no such checkpoint") from error
    except ValueError as error:
        raise SerlibError(f"{path}: does not fit images of {image_size[0]} x {image_size[1]}: {error}") from error
    except Exception as error:  # torch.load raises many types of error for other files
        raise SerlibError(f"{path}: not a checkpoint in the released format ({reason(error)})") from error
    return model.eval()
