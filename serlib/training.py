"""The paper's three stages, in its order (figure 1):

(a) :func:`train_teacher`: cross entropy;
(b) :func:`match_feature_maps`: L1 between the student's feature map and the frozen teacher's;
(c) :func:`train_student`: cross entropy + alpha * L1.

:func:`execute` is one run from images to a record. A killed run goes on from its last whole epoch and ends with the same
record; the same seed gives the same record bit for bit on one CPU. The evaluated part chooses nothing: a stage ends after
a fixed number of epochs, or takes the epoch that an inner part of the training set prefers.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from serlib import config, losses, records
from serlib.checkpoints import save
from serlib.data.augment import augmented
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.files import atomic_write
from serlib.model import Output, SpectrogramViT
from serlib.precision import device_name, products

Images = Float[Tensor, "images 1 height width"]
Curves = dict[str, dict[str, list[float]]]
# The losses of some training images, by their positions: "loss" is minimised, all are recorded.
Losses = Callable[[nn.Module, Tensor], dict[str, Tensor]]


@dataclass
class TrainState:
    """What a run works with, and how far it is: ``curves`` holds the finished epochs of every stage.

    ``images`` are those of the whole corpus, and ``rows`` says which of them train: mapped from disk, only the images
    of a batch are read.
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
    settings = state.settings
    weights = None
    if settings.balance:  # a class that no training image has still needs a weight
        counts = state.labels.bincount(minlength=model.head.out_features)
        weights = len(state.labels) / counts.clamp_min(1)

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        images, labels = state.images[state.rows[rows]], state.labels[rows]
        if not model.training:
            return {"loss": losses.cross_entropy(model(images).logits, labels)}
        images, shares = augmented(images, labels, settings.augment)
        logits = model(images).logits
        parts = (share * losses.cross_entropy(logits, of, settings.smoothing, weights) for share, of in shares)
        return {"loss": sum(parts)}

    _fit(state, "cross entropy", model, loss)


def match_feature_maps(state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match) -> None:
    """Stage (b): L1 to the teacher's feature map, ``teacher_map[i]`` for the i-th training image."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        return {"loss": losses.matching(feature_map(model(state.images[state.rows[rows]]), match), teacher_map[rows])}

    _fit(state, "matching", model, loss)


def train_student(
    state: TrainState, model: SpectrogramViT, teacher_map: Tensor, match: config.Match, alpha: float
) -> None:
    """Stage (c): cross entropy + alpha * L1."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        output, labels = model(state.images[state.rows[rows]]), state.labels[rows]
        student_map = feature_map(output, match)
        return {
            "loss": losses.transfer(output.logits, labels, student_map, teacher_map[rows], alpha),
            "cross entropy": losses.cross_entropy(output.logits, labels),
            "matching": losses.matching(student_map, teacher_map[rows]),
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


def execute(
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    images: Images,
    *,
    record: Path,
    teacher: tuple[SpectrogramViT, str] | None = None,
    network: Callable[[], nn.Module] | None = None,
    accelerator: str = "cpu",
    progress: bool = True,
) -> records.Record:
    """One run: train on the training set, predict both parts, write weights and record.

    Args:
        run_config: the resolved configuration.
        corpus, split: what it learns from; ``images[i]`` belongs to ``corpus.utterances[i]``.
        record: the record's file; weights go beside it as ``.safetensors``, the state of an unfinished run as ``.state``.
        teacher: the matched network and its record's result digest, when the configuration names a teacher.
        network: makes another network than the configuration's, for a baseline; its weights are not kept.
        accelerator: as Lightning Fabric names it.

    Raises:
        ValueError: the configuration needs a teacher and none is given.
    """
    run, settings = run_config.run, run_config.training
    if run.teacher and teacher is None:
        raise ValueError(f"run {run_config.name!r} follows the run {run.teacher!r}: train that first")
    try:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=settings.precision)
    except RuntimeError as error:  # not on this machine
        raise ValueError(str(error)) from error
    position = {utterance.key: i for i, utterance in enumerate(corpus.utterances)}
    train = torch.tensor([position[key] for key in split.train])
    test = torch.tensor([position[key] for key in split.test])
    labels = torch.tensor(corpus.labels)
    state = TrainState(
        fabric,
        settings,
        fabric.to_device(images),
        fabric.to_device(train),
        fabric.to_device(labels[train]),
        test=(fabric.to_device(test), fabric.to_device(labels[test])) if settings.log_test_accuracy else None,
        checkpoint=record.with_suffix(".state"),
        identity=config.digest(run_config, corpus.fingerprint, split.digest, teacher[1] if teacher else ""),
        progress=progress,
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

    everything = fabric.to_device(torch.arange(len(images)))
    predicted = outputs(model, state.images, everything, lambda output: output.logits).argmax(dim=1).tolist()

    finished = records.finish(
        run_config,
        corpus,
        split,
        predicted,
        records.provenance(device_name(settings.precision, fabric.device), torch.get_num_threads(), state.seconds),
        teacher=teacher[1] if teacher else "",
        curves={stage: {k: tuple(v) for k, v in values.items()} for stage, values in state.curves.items()},
    )
    if network is None:
        about = {"features": run_config.features, "emotions": corpus.emotions, "result": finished.result}
        save(model, record.with_suffix(".safetensors"), **{k: config.plain(v) for k, v in about.items()})
    records.write(finished, record)
    record.with_suffix(".state").unlink(missing_ok=True)
    return finished


def _fit(state: TrainState, stage: str, model: nn.Module, loss: Losses) -> None:
    """One stage: AdamW, one cycle of the learning rate, the same number of epochs for all."""
    settings, device = state.settings, state.fabric.device
    learn, choose = _inner_split(state.labels, settings)
    steps = -(-len(learn) // settings.batch_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.epochs * steps)
    wrapped, optimizer = state.fabric.setup(model, optimizer)
    best: dict[str, Any] = {"loss": float("inf"), "model": {}}
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)) if settings.ema_decay else None
    if ema is not None:
        parts["ema"] = ema
    done = _resume(state, stage, parts, best)
    bar = tqdm(
        range(done, settings.epochs), stage, settings.epochs, initial=done, unit="epoch", disable=not state.progress
    )
    for epoch in bar:
        torch.manual_seed(settings.seed * 100_003 + epoch)  # order and dropout depend on seed and epoch alone
        wrapped.train()
        sums: dict[str, Tensor] = {}
        for rows in torch.randperm(len(learn)).split(settings.batch_size):
            rows = learn[rows].to(device)
            with products(settings.precision, device):
                values = loss(wrapped, rows)
            optimizer.zero_grad()
            state.fabric.backward(values["loss"])
            optimizer.step()
            schedule.step()
            if ema is not None:
                ema.update_parameters(model)
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * len(rows)
        means = {name: (total / len(learn)).item() for name, total in sums.items()}
        if len(choose):
            means["validation"] = _mean_loss(wrapped, loss, choose.to(device))
            if means["validation"] < best["loss"]:
                best = {"loss": means["validation"], "model": {k: v.clone() for k, v in model.state_dict().items()}}
        if state.test is not None:
            rows, labels = state.test
            predicted = outputs(model, state.images, rows, lambda output: output.logits).argmax(dim=1)
            means["test accuracy"] = (predicted == labels).float().mean().item()
        for name, value in means.items():
            state.curves.setdefault(stage, {}).setdefault(name, []).append(value)
        bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
        _keep(state, stage, epoch + 1, parts, best)
    if best["model"]:
        model.load_state_dict(best["model"])
    if ema is not None:
        model.load_state_dict(ema.module.state_dict())


@torch.no_grad()
def _mean_loss(model: Any, loss: Losses, rows: Tensor) -> float:
    model.eval()
    return sum(loss(model, batch)["loss"].item() * len(batch) for batch in rows.split(64)) / len(rows)


def _inner_split(labels: Int[Tensor, " train"], settings: config.Training) -> tuple[Tensor, Tensor]:
    """Positions that learn and positions that choose the epoch: a stratified share of the training set."""
    everything = torch.arange(len(labels))
    if not settings.validation:
        return everything, everything[:0]
    from sklearn.model_selection import train_test_split

    learn, choose = train_test_split(
        everything.numpy(), test_size=settings.validation, random_state=settings.seed, stratify=labels.cpu().numpy()
    )
    return torch.from_numpy(learn), torch.from_numpy(choose)


def _keep(state: TrainState, stage: str, epoch: int, parts: dict[str, Any], best: dict[str, Any]) -> None:
    if state.checkpoint is not None:
        saved = {name: part.state_dict() for name, part in parts.items()}
        about = {"identity": state.identity, "stage": stage, "epoch": epoch, "curves": state.curves, "best": best}
        about["seconds"] = state.seconds
        written = io.BytesIO()  # torch's own writer hides what went wrong with a file
        torch.save({**saved, **about}, written)
        with atomic_write(state.checkpoint) as beside:
            beside.write_bytes(written.getbuffer())


def _resume(state: TrainState, stage: str, parts: dict[str, Any], best: dict[str, Any]) -> int:
    """Load the state that a killed run left; the number of epochs of ``stage`` that it had finished.

    A state that belongs to other settings or data is left alone: it is overwritten after the first epoch.
    """
    if state.checkpoint is None or not state.checkpoint.exists():
        return 0
    try:
        saved = torch.load(state.checkpoint, map_location=state.fabric.device, weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is none of its own
        raise ValueError(f"{state.checkpoint}: damaged; remove it and the run starts from its beginning") from error
    if saved["identity"] != state.identity:
        return 0
    state.started = min(state.started, time.perf_counter() - saved["seconds"])
    if saved["stage"] != stage:  # it stopped in a later stage, whose state holds this one's outcome
        return state.settings.epochs if stage in saved["curves"] else 0
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    state.curves.update(saved["curves"])
    best.update(saved["best"])
    return saved["epoch"]
