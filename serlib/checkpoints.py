"""Weights on disk as safetensors; :mod:`workflow.released` reads the authors' checkpoints."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from serlib import config
from serlib.errors import SerlibError
from serlib.files import atomic_write, require_file
from serlib.model import SpectrogramViT


def save(model: SpectrogramViT, path: str | Path, **about: Any) -> None:
    """Write weights as safetensors; the configuration and ``about`` (JSON values) go into the file's metadata.

    All metadata has one name: safetensors writes names in no fixed order, and equal models give equal files.
    """
    about, state = json.loads(json.dumps({"model": asdict(model.config), **about})), model.state_dict()
    metadata = {"serlib": json.dumps({**about, "sha256": _digest(state, about)})}
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_bytes(state, metadata))


def _digest(state: dict[str, torch.Tensor], about: dict[str, Any]) -> str:
    """SHA-256 (hex) over names, types, shapes and values of weights, and over their metadata."""
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


def _check_sizes(model: config.Model, state: dict[str, torch.Tensor]) -> config.Model:
    """``model``, if the weights can have its sizes: a network of absurd sizes takes minutes or all memory."""
    largest = max((size for tensor in state.values() for size in tensor.shape), default=0)
    widths = model.width, model.mlp_width, model.heads * model.head_width, model.patch_values, *model.stem
    if max(widths) > largest or max(model.depth, len(model.stem)) > len(state):
        raise ValueError("no weight is of such a size as the configuration says")
    return model


def load(
    path: str | Path, network: Callable[[config.Model, Mapping[str, Any]], SpectrogramViT] = _plain
) -> tuple[SpectrogramViT, dict[str, Any]]:
    """The model that :func:`save` wrote, in eval mode, and its ``about``.

    ``network`` makes the model of its configuration and its ``about``; ``about["beyond"]`` names a variant.

    Raises:
        SerlibError: the file is missing, was not written by :func:`save`, was changed since, or is of a variant.
    """
    try:
        with safe_open(require_file(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["serlib"])
            state = {key: file.get_tensor(key) for key in sorted(file.keys())}
        if about.pop("sha256", None) != _digest(state, about):
            raise ValueError("changed since they were written: fetch or train them again")
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise ValueError("a weight is not a finite number")
        model = network(_check_sizes(config.from_plain(config.Model, about.pop("model")), state), about)
        model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except VariantError as error:
        raise VariantError(f"{path}: {error}") from error
    except (SafetensorError, KeyError, TypeError, AttributeError, RuntimeError, OSError, ValueError) as error:
        raise SerlibError(f"{path}: not weights that serlib wrote ({reason(error)})") from error
    return model.eval(), about


def reason(error: Exception) -> str:
    """The first line of an error's message."""
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return message.splitlines()[0].removesuffix(":")
