"""The paper's three stages, in its order (figure 1):

(a) :func:`train_teacher`: cross entropy;
(b) :func:`match_feature_maps`: L1 between the student's feature map and the frozen teacher's;
(c) :func:`train_student`: cross entropy + alpha * L1.

:func:`execute` is one run from images to a record. The same seed gives the same record bit for bit on one CPU. The
test set chooses nothing: a stage ends after a fixed number of epochs. Seed and number of the epoch alone set the
order of the images, so that (c) repeats the orders of (b).

:mod:`serlib.engine` goes on with a killed run, shares batches among processes and rounds to bf16.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from serlib import config, losses, records
from serlib.checkpoints import save
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.engine import distributed, precision, provenance
from serlib.engine import state as unfinished
from serlib.engine.state import Images, TrainState
from serlib.errors import SerlibError
from serlib.model import Output, SpectrogramViT

# The losses of a batch, given as positions in the training set: "loss" is minimised, all are recorded.
Losses = Callable[[nn.Module, Tensor], dict[str, Tensor]]
Predict = Callable[[Images], list[int]]
Complete = Callable[[records.Record, Predict], records.Record]


def train_teacher(state: TrainState, model: nn.Module) -> None:
    """Stage (a); also the student alone: cross entropy."""

    def loss(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        images = state.images[state.rows[batch]]
        (logits,) = distributed.gather_batch(state.fabric, model, images, lambda output: (output.logits,))
        return {"loss": losses.cross_entropy(logits, state.labels[batch])}

    _fit(state, "cross entropy", model, loss)


def match_feature_maps(state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match) -> None:
    """Stage (b): L1 to the teacher's feature map, ``teacher_map[i]`` for the i-th training image."""

    def loss(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        images = state.images[state.rows[batch]]
        (student_map,) = distributed.gather_batch(
            state.fabric, model, images, lambda output: (feature_map(output, match),)
        )
        return {"loss": losses.matching(student_map, teacher_map[batch])}

    _fit(state, "matching", model, loss)


def train_student(
    state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match, alpha: float
) -> None:
    """Stage (c): cross entropy + alpha * L1."""

    def loss(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        images, labels = state.images[state.rows[batch]], state.labels[batch]
        logits, student_map = distributed.gather_batch(
            state.fabric, model, images, lambda output: (output.logits, feature_map(output, match))
        )
        return {
            "loss": losses.transfer(logits, labels, student_map, teacher_map[batch], alpha),
            "cross entropy": losses.cross_entropy(logits, labels),
            "matching": losses.matching(student_map, teacher_map[batch]),
        }

    _fit(state, "transfer", model, loss)


def feature_map(output: Output, match: config.Match) -> Tensor:
    """The matched feature map: the pooled vector (batch, width) or the token map (batch, patches, width)."""
    return output.pooled if match == "pooled" else output.tokens


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
    record: str | Path,
    teacher: tuple[SpectrogramViT, str] | None = None,
    network: Callable[[], nn.Module] | None = None,
    complete: Complete | None = None,
    accelerator: str = "cpu",
    progress: bool = True,
) -> records.Record:
    """One run: train on the training set, predict both parts, write weights and record.

    Args:
        images: ``images[i]`` belongs to ``corpus.utterances[i]``; a function makes them in the first process first.
        record: the record's file; weights go beside it as ``.safetensors``, the state of an unfinished run as ``.state``.
        teacher: the matched network and its record's result, when the configuration names a teacher.
        network: makes another network than the configuration's; weights of a SpectrogramViT alone are kept.
        complete: adds parts to the record; it takes a function that labels any images by the trained network.
        accelerator: as Lightning Fabric names it.

    Raises:
        SerlibError: the teacher is missing; the accelerator is not on this machine; several processes cannot train this
            network; another process of the run was lost.
    """
    run, settings, record = run_config.run, run_config.training, Path(record)
    if run.teacher and teacher is None:
        raise SerlibError(f"run {run_config.name!r} follows the run {run.teacher!r}: train that first")
    fabric = distributed.make_fabric(accelerator, settings.precision)
    with distributed.fail_together(fabric):
        with fabric.rank_zero_first():
            images = images() if callable(images) else images
        torch.manual_seed(settings.seed)
        model = network() if network else SpectrogramViT(run.model)
        distributed.check_shareable(fabric, model, run_config.name)
        followed, result = teacher or (None, "")
        device = precision.device_name(settings.precision, fabric.device, fabric.world_size)
        inputs = run_config, corpus.fingerprint, split.digest, result, provenance.library_versions(), device
        state = _state(fabric, settings, corpus, split, images)
        state.identity = fabric.broadcast(unfinished.identity(model, images, *inputs))  # each process has a device
        state.checkpoint = record.with_suffix(".state")
        state.progress = progress and fabric.is_global_zero
        train_stages(state, run, fabric.to_device(model), followed)
        label = partial(_label, fabric, model)
        finished = _record(state, run_config, corpus, split, label, result)
        finished = complete(finished, label) if complete else finished
        if fabric.is_global_zero:
            _write(finished, run_config, model, record)
    return finished


def _label(fabric: Fabric, model: nn.Module, images: Images) -> list[int]:
    return predict(model, fabric.to_device(images), fabric.to_device(torch.arange(len(images))))


def _state(fabric: Fabric, settings: config.Training, corpus: Corpus, split: Split, images: Images) -> TrainState:
    columns = corpus.rows(split.train), corpus.rows(split.test), corpus.labels
    train, test, labels = (fabric.to_device(torch.tensor(column)) for column in columns)
    logged = (test, labels[test]) if settings.log_test_accuracy else None
    return TrainState(fabric, settings, fabric.to_device(images), train, labels[train], logged)


def train_stages(state: TrainState, run: config.Run, model: nn.Module, teacher: SpectrogramViT | None) -> None:
    """The stages of a run, in the paper's order: (a) alone, or (b) and (c) with a trained teacher."""
    if teacher is None:
        return train_teacher(state, model)
    frozen = state.fabric.to_device(teacher)  # its map of an image never changes, so it looks at each image once
    teacher_map = outputs(frozen, state.images, state.rows, partial(feature_map, match=run.match))
    if run.matching_stage:
        match_feature_maps(state, model, teacher_map, run.match)
    return train_student(state, model, teacher_map, run.match, run.alpha)


def _record(
    state: TrainState, run_config: config.RunConfig, corpus: Corpus, split: Split, label: Predict, teacher: str
) -> records.Record:
    """The record of a trained network, which predicts every utterance of the corpus."""
    fabric, predicted = state.fabric, label(state.images)
    device = precision.device_name(state.settings.precision, fabric.device, fabric.world_size)
    origin = provenance.describe(device, torch.get_num_threads(), state.seconds)
    curves = {stage: {k: tuple(v) for k, v in values.items()} for stage, values in state.curves.items()}
    return records.finish(run_config, corpus, split, predicted, origin, teacher, curves)


def _write(finished: records.Record, run_config: config.RunConfig, model: nn.Module, path: Path) -> None:
    if isinstance(model, SpectrogramViT):
        about = {"features": config.plain(run_config.features), "emotions": finished.emotions}
        about |= {"result": finished.result} | ({"beyond": run_config.beyond} if run_config.beyond else {})
        save(model, path.with_suffix(".safetensors"), **about)
    records.write(finished, path)
    path.with_suffix(".state").unlink(missing_ok=True)


def _fit(state: TrainState, stage: str, model: nn.Module, loss: Losses) -> None:
    """One stage: AdamW, one cycle of the learning rate, the same number of epochs for all."""
    s, updates = state.settings, state.settings.epochs * math.ceil(len(state.labels) / state.settings.batch_size)
    at_peak, at_ends = s.beta1
    betas = at_ends, s.beta2
    optimizer = torch.optim.AdamW(model.parameters(), s.learning_rate, betas, weight_decay=s.weight_decay, fused=True)
    cycle = {"pct_start": s.warm_up, "base_momentum": at_peak, "max_momentum": at_ends}
    cycle |= {"div_factor": s.first_divisor, "final_div_factor": s.last_divisor}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.learning_rate, updates, **cycle)
    wrapped, optimizer = state.fabric.setup(model, optimizer)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    done = unfinished.read_state(state, stage, parts)
    bar = tqdm(range(done, s.epochs), stage, s.epochs, initial=done, unit="epoch", disable=not state.progress)
    for epoch in bar:
        torch.manual_seed(s.seed * 100_003 + epoch)  # the order depends on seed and epoch alone
        means = _epoch(state, wrapped, optimizer, schedule, loss)
        if state.test is not None:
            rows, labels = state.test
            correct = labels == labels.new_tensor(predict(model, state.images, rows))
            means["test accuracy"] = correct.float().mean().item()
        _check_finite(state, stage, epoch, means)
        for name, value in means.items():
            state.curves.setdefault(stage, {}).setdefault(name, []).append(value)
        bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
        unfinished.save_state(state, stage, epoch + 1, parts)


def _epoch(
    state: TrainState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Losses,
) -> dict[str, float]:
    """One pass over the training set in a drawn order: the mean of each loss."""
    settings, device, count = state.settings, state.fabric.device, len(state.labels)
    model.train()
    sums: dict[str, Float[Tensor, ""]] = defaultdict(lambda: torch.zeros((), device=device))
    for batch in torch.randperm(count).split(settings.batch_size):
        batch = batch.to(device)
        with precision.products(settings.precision, device):
            values = loss(model, batch)
        optimizer.zero_grad()
        state.fabric.backward(values["loss"])
        optimizer.step()
        schedule.step()
        for name, value in values.items():
            sums[name] += value.detach() * len(batch)
    return {name: (total / count).item() for name, total in sums.items()}


def _check_finite(state: TrainState, stage: str, epoch: int, means: dict[str, float]) -> None:
    """Raises SerlibError if a loss is not finite; going on from the state would end there again, so it goes."""
    if all(map(math.isfinite, means.values())):
        return
    if state.checkpoint is not None:
        state.checkpoint.unlink(missing_ok=True)
    name = state.checkpoint.with_suffix(".json") if state.checkpoint else "training"
    raise SerlibError(f"{name}: {stage}, epoch {epoch + 1}: the loss is not finite; try another seed or schedule")
