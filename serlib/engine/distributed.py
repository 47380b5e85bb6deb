"""One process or, under ``torchrun``, several that share each batch and see its whole loss; the first alone writes files."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from serlib.errors import SerlibError


def make_fabric(accelerator: str = "cpu", precision: str = "32-true") -> Fabric:
    """Fabric for this process alone or, under ``torchrun``, for it as one of several.

    Raises:
        SerlibError: the accelerator is not on this machine.
    """
    elastic = TorchElasticEnvironment.detect()  # chosen here: on a cluster's node Fabric would look for Slurm's tasks
    world, local = (int(os.environ[name]) if elastic else 1 for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"  # stage (b) needs no classifier
    plugins = TorchElasticEnvironment() if elastic else LightningEnvironment()
    options = {"devices": local, "num_nodes": world // local, "strategy": strategy, "plugins": plugins}
    try:
        fabric = Fabric(accelerator=accelerator, precision=precision, **options)
    except (RuntimeError, ImportError, ValueError) as error:  # not on this machine, or no accelerator at all
        raise SerlibError(f"accelerator {accelerator!r}: {str(error).splitlines()[0]}") from error
    fabric.launch()
    torch.backends.cudnn.allow_tf32 = False  # single precision is meant, in convolutions as well
    return fabric


def check_shareable(fabric: Fabric, model: nn.Module, name: str) -> None:
    """Raises SerlibError if several processes would train another network: one that draws, or norms over the batch."""
    kinds = {type(part).__name__ for part in model.modules() if isinstance(part, (_BatchNorm, _DropoutNd))}
    if fabric.world_size > 1 and kinds:
        which = ", ".join(sorted(kinds))
        raise SerlibError(f"run {name!r}: its {which} must see the whole batch: one process, not {fabric.world_size}")


@contextmanager
def fail_together(fabric: Fabric) -> Iterator[None]:
    """An error in one process of several ends the others too, each with one line; one process alone is left as it is."""
    if fabric.world_size == 1:
        yield
        return
    which = f"process {fabric.global_rank} of {fabric.world_size}"

    def end(*_: object, cause: Exception | None = None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the line is said once, and whole
        why = "another was lost, or it was told to; the same command goes on from the last whole epoch"
        raise SerlibError(f"{which} ends: {why}") from cause

    signal.signal(signal.SIGTERM, end)  # as torchrun ends the others
    try:
        yield
    except RuntimeError as error:  # as the connection to a lost process does
        end(cause=error)


def gather_batch(
    fabric: Fabric,
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    pick: Callable[[Any], tuple[Tensor, ...]],
) -> list[Tensor]:
    """``pick`` of the network's output for a batch. Each process computes its share, every ``world``-th image.

    Gradients flow back to the process whose image it was; their mean over the processes, which Fabric takes, is the
    gradient of one process that computes the whole batch.
    """
    world, count = fabric.world_size, len(images)
    if world == 1:
        return list(pick(model(images)))
    shares = -(-count // world)  # as many for each process: images are repeated where they do not divide
    own = torch.arange(fabric.global_rank, shares * world, world) % count
    gathered = (fabric.all_gather(part, sync_grads=True) for part in pick(model(images[own])))
    return [part.transpose(0, 1).flatten(0, 1)[:count] for part in gathered]
