"""A run that was killed goes on from its last whole epoch, if the same run is asked for: same code, images and settings."""

import hashlib
import inspect
import io
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn

from serlib import config
from serlib.files import DIGEST_BYTES, is_sealed, write_sealed

Images = Float[Tensor, "images channels height width"]
Curves = dict[str, dict[str, list[float]]]
TRAINING_CODE = ("config", "losses", "model", "training", "engine/distributed", "engine/padding", "engine/precision")


@dataclass
class TrainState:
    """The inputs and the progress of a run: ``curves`` holds the finished epochs of every stage.

    ``images`` hold the whole corpus, mapped from disk. ``rows`` are the places of the training images in it.
    """

    fabric: Fabric
    settings: config.Training
    images: Images
    rows: Int[Tensor, " train"]
    labels: Int[Tensor, " train"]
    test: tuple[Tensor, Tensor] | None = None  # rows and labels of the test set, only for the log
    checkpoint: Path | None = None  # file that a killed run goes on from
    identity: str = ""  # as :func:`identity` gives it
    progress: bool = True
    curves: Curves = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)  # moved back by the time of an interrupted run

    @property
    def seconds(self) -> float:
        """The time spent on the run so far, without interruptions."""
        return time.perf_counter() - self.started


def identity(model: nn.Module, images: Images, *rest: Any) -> str:
    """SHA-256 (hex) over images, the modules that train, the network's own, threads, the processor's kind and ``rest``."""
    package = Path(__file__).parents[1]
    files = [package / f"{name}.py" for name in TRAINING_CODE] + [Path(inspect.getfile(type(model)))]
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    pixels = hashlib.sha256(images.contiguous().numpy()).hexdigest()
    return config.digest(pixels, code, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), *rest)


def save_state(state: TrainState, stage: str, epoch: int, parts: dict[str, Any]) -> None:
    """Write the progress of ``stage``, if the run has a file for it; only the first process writes."""
    if state.checkpoint is not None and state.fabric.is_global_zero:
        saved = {name: part.state_dict() for name, part in parts.items()}
        progress = {"identity": state.identity, "stage": stage, "epoch": epoch, "curves": state.curves}
        buffer = io.BytesIO()  # torch's own writer hides what went wrong with a file
        torch.save({**saved, **progress, "seconds": state.seconds}, buffer)
        write_sealed(state.checkpoint, [buffer.getbuffer()])


def read_state(state: TrainState, stage: str, parts: dict[str, Any]) -> int:
    """Load the state that a killed run left; return the number of epochs of ``stage`` that it had finished.

    A state that belongs to another identity is left alone: it is overwritten after the first epoch. A file that is
    damaged or no state is set aside. In both cases a line says so, and the run starts from its beginning.
    """
    content = state.fabric.broadcast(_content(state.checkpoint) if state.fabric.is_global_zero else b"")
    if not content:
        return 0
    saved = torch.load(io.BytesIO(content), map_location=state.fabric.device, weights_only=True)
    if saved["identity"] != state.identity:
        if state.fabric.is_global_zero:
            _warn(state.checkpoint, "of other settings, images, code, libraries, threads or device", "")
        return 0
    state.started = min(state.started, time.perf_counter() - saved["seconds"])
    if saved["stage"] != stage:  # it stopped in a later stage, whose state holds this one's outcome
        return state.settings.epochs if stage in saved["curves"] else 0
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    state.curves.update(saved["curves"])
    return saved["epoch"]


def _content(checkpoint: Path | None) -> bytes:
    """The content of the state's file; nothing if there is none. A file that cannot be read is set aside."""
    if checkpoint is None or not os.path.lexists(checkpoint):
        return b""
    try:
        if is_sealed(checkpoint) and (content := checkpoint.read_bytes()).startswith(b"PK"):  # torch's
            return content[:-DIGEST_BYTES]
        reason = "damaged, or not written by serlib"
    except OSError as error:
        reason = str(error.strerror)
    aside = checkpoint.with_name(f"{checkpoint.name}-set-aside")
    os.replace(checkpoint, aside)
    _warn(checkpoint, reason, f"set aside as {aside.name}, ")
    return b""


def _warn(checkpoint: Path | None, reason: str, done: str) -> None:
    print(f"serlib: {checkpoint}: {reason}; {done}the run starts from its beginning", file=sys.stderr)
