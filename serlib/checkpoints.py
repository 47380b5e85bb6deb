"""Weights on disk: serlib's own as safetensors, and the authors' released state dictionaries."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from serlib import config
from serlib.errors import SerlibError
from serlib.files import atomic_write, check
from serlib.model import SpectrogramViT


def save(model: SpectrogramViT, path: str | Path, **about: Any) -> None:
    """Write weights as safetensors; the configuration and ``about`` (JSON values) go into the file's metadata.

    All of it under one name: safetensors writes names in no fixed order, and equal models give equal files.
    """
    about, state = json.loads(json.dumps({"model": asdict(model.config), **about})), model.state_dict()
    metadata = {"serlib": json.dumps({**about, "sha256": _digest(state, about)})}
    with atomic_write(Path(path)) as beside:
        beside.write_bytes(to_bytes(state, metadata))


def _digest(state: dict[str, torch.Tensor], about: dict[str, Any]) -> str:
    """SHA-256 (hex) over names, types, shapes and values of weights, and over what is said about them."""
    computed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        computed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        computed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return computed.hexdigest()


class VariantError(SerlibError):
    """Weights of a network that goes beyond the paper's."""


def _plain(model: config.Model, about: Mapping[str, Any]) -> SpectrogramViT:
    if about.get("beyond"):
        raise VariantError("of a variant beyond the paper: `python -m studies` has the same commands for it")
    return SpectrogramViT(model)


def _held(model: config.Model, state: dict[str, torch.Tensor]) -> config.Model:
    """``model``, if the weights can be those of its sizes: to make a network of absurd ones takes minutes or all memory."""
    largest = max((size for tensor in state.values() for size in tensor.shape), default=0)
    inner = model.heads * model.head_width
    sizes = {"depth": model.depth, "stem": len(model.stem), "width": model.width, "mlp_width": model.mlp_width}
    sizes |= {"heads": inner, "convolution": max((0, *model.stem)), "patch_size": model.patch_values}
    for name, size in sizes.items():
        if size > (len(state) if name in ("depth", "stem") else largest):
            raise ValueError(f"{name}: no weight is of such a size")
    return model


def load(
    path: str | Path, network: Callable[[config.Model, Mapping[str, Any]], SpectrogramViT] = _plain
) -> tuple[SpectrogramViT, dict[str, Any]]:
    """The model that :func:`save` wrote, in eval mode, and what was said about it.

    ``network`` makes it of its configuration and of what was said about it, ``beyond`` among it.

    Raises:
        ValueError: the file is missing, was not written by :func:`save`, was changed since, or is of a variant.
    """
    try:
        with safe_open(check(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["serlib"])
            state = {key: file.get_tensor(key) for key in sorted(file.keys())}
        if about.pop("sha256", None) != _digest(state, about):
            raise ValueError("changed since they were written: fetch or train them again")
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise ValueError("a weight is not a finite number")
        model = network(_held(config.from_plain(config.Model, about.pop("model")), state), about)
        model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except FileNotFoundError as error:
        raise SerlibError(f"{path}: no such weights") from error
    except VariantError as error:
        raise VariantError(f"{path}: {error}") from error
    except (SafetensorError, KeyError, TypeError, AttributeError, RuntimeError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = said.splitlines()[0].removesuffix(":")
        raise SerlibError(f"{path}: not weights that serlib wrote ({reason})") from error
    return model.eval(), about


# The release's names, rewritten to :mod:`serlib.model`'s: a block's first part is attention, its second the MLP.
_RELEASE_NAMES = (
    (r"^cls_token$", "class_token"),
    (r"^to_patch_embedding\.([123])\.", lambda found: f"embed.{int(found[1]) - 1}."),
    (r"^conv_stem\.(\d+)\.", lambda found: f"stem.{int(found[1]) // 3}.0."),  # convolution, norm, GELU in turn
    (r"^transformer\.layers\.(\d+)\.0\.norm\.", r"blocks.\1.attention.norm."),
    (r"^transformer\.layers\.(\d+)\.0\.to_qkv\.", r"blocks.\1.attention.qkv."),
    (r"^transformer\.layers\.(\d+)\.0\.to_out\.0\.", r"blocks.\1.attention.out."),
    (r"^transformer\.layers\.(\d+)\.1\.net\.", r"blocks.\1.mlp."),
    (r"^transformer\.norm\.", "norm."),
    (r"^mlp_head\.", "head."),
)


def _from_release(name: str) -> str:
    for pattern, ours in _RELEASE_NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, ours, name)
    raise KeyError(name)


def load_release_checkpoint(
    path: str | Path, image_size: tuple[int, int] = (128, 128), pooling: config.Pooling = "class"
) -> SpectrogramViT:
    """A checkpoint in the authors' released format [C], in eval mode; all sizes but the image's are inferred.

    The file, a ``torch.save`` of a dict with ``model_state_dict``, is read with ``weights_only=True``: it cannot run
    code. Patches are full-height columns of ``image_size``, pixels in height x width. Coordinates follow the release's
    formula (its divisors are swapped, which matters only for images that are not square), and ``class`` is its pooling.

    Raises:
        ValueError: the file is missing, not in the format, or does not fit ``image_size``.
    """
    try:
        checkpoint = torch.load(check(path), map_location="cpu", weights_only=True)
        state = {_from_release(name): tensor for name, tensor in checkpoint["model_state_dict"].items()}
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
    except Exception as error:  # torch.load raises many kinds for a file that is none of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SerlibError(f"{path}: not a checkpoint in the released format ({reason})") from error
    return model.eval()
