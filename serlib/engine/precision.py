"""bf16 mixed precision on processors without bf16 instructions.

There PyTorch's products of bf16 matrices take ten times as long as those in single precision. :class:`RoundedProducts`
rounds operands and results to bf16 and multiplies in single precision, which is what such instructions do: products of
bf16 numbers, sums in single precision, one rounding at the end. Gradients pass the same roundings. Only the order of the
sums differs, as it does between any two processors.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRODUCTS = (functional.linear, torch.conv2d, functional.conv2d, torch.matmul, Tensor.matmul, Tensor.__matmul__)


def has_bf16_products() -> bool:
    """Whether this processor's library has products of bf16 matrices that are worth using."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def products(precision: str, device: torch.device) -> AbstractContextManager:
    """The context that a training loop runs inside."""
    return RoundedProducts() if _needed(precision, device) else nullcontext()


def device_name(precision: str, device: torch.device, processes: int = 1) -> str:
    """The device as a record's provenance names it: how many, which card, and whether products are rounded on it."""
    card = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    name = f"{device}{card}" + (", products rounded to bf16" if _needed(precision, device) else "")
    return f"{processes} x {name}" if processes > 1 else name


def _needed(precision: str, device: torch.device) -> bool:
    return precision == "bf16-mixed" and device.type == "cpu" and not has_bf16_products()


class RoundedProducts(TorchFunctionMode):
    """Inside ``torch.autocast`` in bf16, every product of ``PRODUCTS`` in single precision between two roundings."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return function(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return function(*map(_rounded, args), **{k: _rounded(v) for k, v in (kwargs or {}).items()}).bfloat16()


def _rounded(value: Any) -> Any:
    """A tensor's values, and on the way back its gradient's, as bf16 has them."""
    return value.bfloat16().float() if isinstance(value, Tensor) else value
