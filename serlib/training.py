"""The paper's three stages, in its order (figure 1):

(a) :func:`train_teacher`: cross entropy;
(b) :func:`match_feature_maps`: L1 between the student's feature map and the frozen teacher's;
(c) :func:`train_student`: cross entropy + alpha * L1.

:func:`execute` is one run from images to a record. A killed run goes on from its last whole epoch and ends with the same
record; the same seed gives the same record bit for bit on one CPU. The evaluated part chooses nothing: a stage
ends after a fixed number of epochs.

Under ``torchrun`` the processes share each batch and see its whole loss (:func:`shared`); the first alone writes files.
"""

import io
import math
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from serlib import config, losses, records, speaker_norm
from serlib.checkpoints import save
from serlib.data.augment import augmented
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.errors import SerlibError
from serlib.files import DIGEST_BYTES, is_sealed, write_sealed
from serlib.model import Output, SpectrogramViT
from serlib.precision import device_name, products

Images = Float[Tensor, "images 1 height width"]
Curves = dict[str, dict[str, list[float]]]
# The losses of some training images, by their positions: "loss" is minimised, all are recorded.
Losses = Callable[[nn.Module, Tensor], dict[str, Tensor]]


@dataclass
class TrainState:
    """What a run works with, and how far it is: ``curves`` holds the finished epochs of every stage.

    ``images`` are the whole corpus's, mapped from disk: only those of a batch are read. ``rows`` says which train.
    """

    fabric: Fabric
    settings: config.Training
    images: Images
    rows: Int[Tensor, " train"]
    labels: Int[Tensor, " train"]
    test: tuple[Tensor, Tensor] | None = None  # rows and labels of the test set, for the log alone
    checkpoint: Path | None = None  # file that a killed run goes on from
    identity: str = ""  # digest of everything the state belongs to
    progress: bool = True
    curves: Curves = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)  # moved back by what an interrupted run had spent

    @property
    def seconds(self) -> float:
        """Spent on the run so far, time in which it was interrupted left out."""
        return time.perf_counter() - self.started


def train_teacher(state: TrainState, model: nn.Module) -> None:
    """Stage (a); also the student alone: cross entropy."""
    settings, weights = state.settings, None
    if settings.balance:  # a class that no training image has still needs a weight
        counts = state.labels.bincount(minlength=model.head.out_features)
        weights = len(state.labels) / counts.clamp_min(1)

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        images, labels = state.images[state.rows[rows]], state.labels[rows]
        images, shares = augmented(images, labels, settings.augment)
        (logits,) = shared(state.fabric, model, images, lambda output: (output.logits,))
        return {"loss": sum(w * losses.cross_entropy(logits, of, settings.smoothing, weights) for w, of in shares)}

    _fit(state, "cross entropy", model, loss)


def match_feature_maps(state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match) -> None:
    """Stage (b): L1 to the teacher's feature map, ``teacher_map[i]`` for the i-th training image."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        images = state.images[state.rows[rows]]
        (student_map,) = shared(state.fabric, model, images, lambda output: (feature_map(output, match),))
        return {"loss": losses.matching(student_map, teacher_map[rows])}

    _fit(state, "matching", model, loss)


def train_student(
    state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match, alpha: float
) -> None:
    """Stage (c): cross entropy + alpha * L1."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        images, labels = state.images[state.rows[rows]], state.labels[rows]
        pick = lambda output: (output.logits, feature_map(output, match))  # noqa: E731
        logits, student_map = shared(state.fabric, model, images, pick)
        return {
            "loss": losses.transfer(logits, labels, student_map, teacher_map[rows], alpha),
            "cross entropy": losses.cross_entropy(logits, labels),
            "matching": losses.matching(student_map, teacher_map[rows]),
        }

    _fit(state, "transfer", model, loss)


def feature_map(output: Output, match: config.Match) -> Tensor:
    """The matched feature map: the pooled vector (batch, width) or the token map (batch, patches, width)."""
    return output.pooled if match == "pooled" else output.tokens


def shared(
    fabric: Fabric, model: nn.Module, images: Images, pick: Callable[[Output], tuple[Tensor, ...]]
) -> list[Tensor]:
    """``pick`` of the network's output for a batch, of which each process has computed its share: every ``world``-th image.

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


@torch.no_grad()
def outputs(model: nn.Module, images: Images, rows: Tensor, pick: Callable[[Output], Tensor]) -> Tensor:
    """``pick`` of the network's output, in eval mode, for the images numbered ``rows``: (rows, ...)."""
    training = model.training
    model.eval()
    picked = torch.cat([pick(model(images[batch])) for batch in rows.split(64)])
    model.train(training)
    return picked


def predict(model: nn.Module, images: Images, rows: Tensor) -> list[int]:
    """Labels of the images numbered ``rows``."""
    return outputs(model, images, rows, lambda output: output.logits.argmax(dim=1)).tolist()


def execute(
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    images: Images | Callable[[], Images],
    *,
    record: Path,
    teacher: tuple[SpectrogramViT, str] | None = None,
    network: Callable[[], nn.Module] | None = None,
    accelerator: str = "cpu",
    progress: bool = True,
) -> records.Record:
    """One run: train on the training set, predict both parts, write weights and record.

    Args:
        images: ``images[i]`` belongs to ``corpus.utterances[i]``; or what makes them, in the first process first.
        record: the record's file; weights go beside it as ``.safetensors``, the state of an unfinished run as ``.state``.
        teacher: the matched network and its record's result, when the configuration names a teacher.
        network: makes another network than the configuration's, for a baseline; its weights are not kept.
        accelerator: as Lightning Fabric names it.

    Raises:
        ValueError: the configuration needs a teacher and none is given; speakers are normalised that are in training and
            test set; the accelerator is not on this machine; another process of the run was lost.
    """
    run, settings = run_config.run, run_config.training
    if run.teacher and teacher is None:
        raise SerlibError(f"run {run_config.name!r} follows the run {run.teacher!r}: train that first")
    if run.speaker_norm:
        speaker_norm.refuse_shared(run_config, corpus, split)
    fabric = launched(accelerator, settings.precision)
    if fabric.world_size > 1 and run.model and run.model.alone:
        what = "dropout, windows and norms over the batch"
        raise SerlibError(f"run {run_config.name!r}: {what} are of one process alone, not of {fabric.world_size}")
    with together(fabric):
        if callable(images):
            with fabric.rank_zero_first():
                images = images()
        return _execute(fabric, run_config, corpus, split, images, record, teacher, network, progress)


def launched(accelerator: str = "cpu", precision: str = "32-true") -> Fabric:
    """Fabric for this process alone or, under ``torchrun``, for it as one of several.

    Raises:
        ValueError: the accelerator is not on this machine.
    """
    elastic = TorchElasticEnvironment.detect()  # chosen here: on a cluster's node Fabric would look for Slurm's tasks
    world, local = (int(os.environ[name]) if elastic else 1 for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"  # stage (b) needs no classifier
    plugins = TorchElasticEnvironment() if elastic else LightningEnvironment()
    options = {"devices": local, "num_nodes": world // local, "strategy": strategy, "plugins": plugins}
    try:
        fabric = Fabric(accelerator=accelerator, precision=precision, **options)
    except (RuntimeError, ImportError, ValueError) as error:  # not on this machine
        raise SerlibError(f"accelerator {accelerator!r}: {str(error).splitlines()[0]}") from error
    fabric.launch()
    torch.backends.cudnn.allow_tf32 = False  # single precision is meant, in convolutions as well
    return fabric


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """What ends one process of several ends the others too, each with one line; one process alone is left as it is."""
    if fabric.world_size == 1:
        yield
        return
    which = f"process {fabric.global_rank} of {fabric.world_size}"

    def ended(*_: object, cause: Exception | None = None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the line is said once, and whole
        why = "another was lost, or it was told to; the same command goes on from the last whole epoch"
        raise SerlibError(f"{which} ends: {why}") from cause

    signal.signal(signal.SIGTERM, ended)  # as torchrun ends the others
    try:
        yield
    except RuntimeError as error:  # as the connection to a lost process does
        ended(cause=error)


def _execute(
    fabric: Fabric,
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    images: Images,
    record: Path,
    teacher: tuple[SpectrogramViT, str] | None,
    network: Callable[[], nn.Module] | None,
    progress: bool,
) -> records.Record:
    run, settings = run_config.run, run_config.training
    followed = teacher[1] if teacher else ""
    plain, speakers = images, np.array([utterance.speaker for utterance in corpus.utterances])
    if run.speaker_norm:
        images = speaker_norm.images(plain, speakers)
    columns = corpus.rows(split.train), corpus.rows(split.test), corpus.labels
    train, test, labels = (fabric.to_device(torch.tensor(column)) for column in columns)
    state = TrainState(
        fabric,
        settings,
        fabric.to_device(images),
        train,
        labels[train],
        test=(test, labels[test]) if settings.log_test_accuracy else None,
        checkpoint=record.with_suffix(".state"),
        identity=config.digest(run_config, corpus.fingerprint, split.digest, followed),
        progress=progress and fabric.is_global_zero,
    )
    torch.manual_seed(settings.seed)
    model = fabric.to_device(network() if network else SpectrogramViT(run.model))
    if run.model and run.model.per_band_norm:
        model.measure_bands(state.images[state.rows])
    if teacher is None:
        train_teacher(state, model)
    else:
        frozen = fabric.to_device(teacher[0])  # its map of an image never changes, so it looks at each image once
        teacher_map = outputs(frozen, state.images, state.rows, lambda output: feature_map(output, run.match))
        if run.matching_stage:
            match_feature_maps(state, model, teacher_map, run.match)
        train_student(state, model, teacher_map, run.match, run.alpha)

    predicted = predict(model, state.images, fabric.to_device(torch.arange(len(images))))
    device = f"{fabric.world_size} x " * (fabric.world_size > 1) + device_name(settings.precision, fabric.device)
    made = records.provenance(device, torch.get_num_threads(), state.seconds)
    curves = {stage: {k: tuple(v) for k, v in values.items()} for stage, values in state.curves.items()}
    finished = records.finish(run_config, corpus, split, predicted, made, followed, curves)
    if run.speaker_norm:

        def guess(*known: Any) -> list[int]:
            some = speaker_norm.images(plain, speakers, *known, rows=corpus.rows(split.test))
            return predict(model, fabric.to_device(some), fabric.to_device(torch.arange(len(some))))

        finished = speaker_norm.with_fewer(finished, corpus, guess)
    if not fabric.is_global_zero:
        return finished
    if network is None:
        about = {"features": run_config.features, "emotions": corpus.emotions, "result": finished.result}
        about |= {"speaker_norm": True} if run.speaker_norm else {}
        save(model, record.with_suffix(".safetensors"), **{k: config.plain(v) for k, v in about.items()})
    records.write(finished, record)
    record.with_suffix(".state").unlink(missing_ok=True)
    return finished


def _fit(state: TrainState, stage: str, model: nn.Module, loss: Losses) -> None:
    """One stage: AdamW, one cycle of the learning rate, the same number of epochs for all."""
    settings, device, count = state.settings, state.fabric.device, len(state.labels)
    rate, steps = settings.learning_rate, settings.epochs * math.ceil(count / settings.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=settings.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    wrapped, optimizer = state.fabric.setup(model, optimizer)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if settings.ema_decay:
        parts["ema"] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    done = _resume(state, stage, parts)
    bar = tqdm(
        range(done, settings.epochs), stage, settings.epochs, initial=done, unit="epoch", disable=not state.progress
    )
    for epoch in bar:
        torch.manual_seed(settings.seed * 100_003 + epoch)  # order and dropout depend on seed and epoch alone
        wrapped.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
        for rows in torch.randperm(count).split(settings.batch_size):
            rows = rows.to(device)
            with products(settings.precision, device):
                values = loss(wrapped, rows)
            optimizer.zero_grad()
            state.fabric.backward(values["loss"])
            optimizer.step()
            schedule.step()
            if "ema" in parts:
                parts["ema"].update_parameters(model)
            for name, value in values.items():
                sums[name] += value.detach() * len(rows)
        means = {name: (total / count).item() for name, total in sums.items()}
        if state.test is not None:
            rows, labels = state.test
            right = labels == labels.new_tensor(predict(model, state.images, rows))
            means["test accuracy"] = right.float().mean().item()
        if not all(map(math.isfinite, means.values())):
            if state.checkpoint is not None:
                state.checkpoint.unlink(missing_ok=True)  # going on from it would end here again
            where = state.checkpoint.with_suffix(".json") if state.checkpoint else "training"
            raise SerlibError(
                f"{where}: {stage}, epoch {epoch + 1}: the loss is not finite; try another seed or schedule"
            )
        for name, value in means.items():
            state.curves.setdefault(stage, {}).setdefault(name, []).append(value)
        bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
        _keep(state, stage, epoch + 1, parts)
    if "ema" in parts:
        model.load_state_dict(parts["ema"].module.state_dict())


def _keep(state: TrainState, stage: str, epoch: int, parts: dict[str, Any]) -> None:
    if state.checkpoint is not None and state.fabric.is_global_zero:
        saved = {name: part.state_dict() for name, part in parts.items()}
        about = {"identity": state.identity, "stage": stage, "epoch": epoch, "curves": state.curves}
        written = io.BytesIO()  # torch's own writer hides what went wrong with a file
        torch.save({**saved, **about, "seconds": state.seconds}, written)
        write_sealed(state.checkpoint, [written.getbuffer()])


def _resume(state: TrainState, stage: str, parts: dict[str, Any]) -> int:
    """Load the state that a killed run left; the number of epochs of ``stage`` that it had finished.

    A state that belongs to other settings or data is left alone: it is overwritten after the first epoch. A file that
    is damaged or no state is set aside, and the run starts from its beginning.
    """
    content = state.fabric.broadcast(_left(state.checkpoint) if state.fabric.is_global_zero else b"")
    if not content:
        return 0
    saved = torch.load(io.BytesIO(content), map_location=state.fabric.device, weights_only=True)
    if saved["identity"] != state.identity:
        return 0
    state.started = min(state.started, time.perf_counter() - saved["seconds"])
    if saved["stage"] != stage:  # it stopped in a later stage, whose state holds this one's outcome
        return state.settings.epochs if stage in saved["curves"] else 0
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    state.curves.update(saved["curves"])
    return saved["epoch"]


def _left(checkpoint: Path | None) -> bytes:
    """What the state's file holds; nothing if there is none, or none that can be read, which is set aside."""
    if checkpoint is None or not os.path.lexists(checkpoint):
        return b""
    try:
        if not is_sealed(checkpoint):
            raise ValueError("damaged, or not written by serlib")
        return checkpoint.read_bytes()[:-DIGEST_BYTES]
    except (ValueError, OSError) as error:
        aside = checkpoint.with_name(f"{checkpoint.name}-set-aside")
        os.replace(checkpoint, aside)
        reason = getattr(error, "strerror", None) or error
        warned = f"serlib: {checkpoint}: {reason}; set aside as {aside.name}, the run starts from its beginning"
        print(warned, file=sys.stderr)
        return b""
