"""The paper's three stages, in its order (figure 1):

(a) :func:`train_teacher`: cross entropy;
(b) :func:`match_feature_maps`: L1 between the student's feature map and the frozen teacher's;
(c) :func:`train_student`: cross entropy + alpha * L1.

:func:`execute` is one run from images to a record. A killed run goes on from its last whole epoch and ends with the same
record; the same seed gives the same record bit for bit on one CPU. The evaluated part chooses nothing: a stage ends after
a fixed number of epochs, or takes the epoch that an inner part of the training part prefers.
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
from serlib.augment import augmented
from serlib.corpora import Corpus
from serlib.files import whole
from serlib.model import Output, SpectrogramViT, save
from serlib.splits import Split

Images = Float[Tensor, "images 1 height width"]
Curves = dict[str, dict[str, list[float]]]
# The losses of some training images, by their positions: "loss" is minimised, all are recorded.
Losses = Callable[[nn.Module, Tensor], dict[str, Tensor]]


@dataclass
class Bench:
    """What a run works with, and how far it is: ``curves`` holds the finished epochs of every stage.

    ``images`` are those of the whole corpus, and ``rows`` says which of them train: mapped from disk, only the images
    of a batch are read.
    """

    fabric: Fabric
    settings: config.Training
    images: Images
    rows: Int[Tensor, " train"]
    labels: Int[Tensor, " train"]
    watched: tuple[Tensor, Tensor] | None = None  # rows and labels of the held-out part, to be looked at alone
    state: Path | None = None  # file that a killed run goes on from
    identity: str = ""  # digest of everything the state belongs to
    progress: bool = True
    curves: Curves = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)  # moved back by what an interrupted run had spent

    @property
    def seconds(self) -> float:
        """Spent on the run so far, time in which it was interrupted left out."""
        return time.perf_counter() - self.started


def train_teacher(bench: Bench, model: nn.Module) -> None:
    """Stage (a); also the student alone: cross entropy."""

    settings = bench.settings
    weights = None
    if settings.balance:  # a class that no training image has still needs a weight
        counts = bench.labels.bincount(minlength=model.head.out_features)
        weights = len(bench.labels) / counts.clamp_min(1)

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        images, labels = bench.images[bench.rows[rows]], bench.labels[rows]
        if not model.training:
            return {"loss": losses.cross_entropy(model(images).logits, labels)}
        images, shares = augmented(images, labels, settings.augment)
        logits = model(images).logits
        parts = (share * losses.cross_entropy(logits, of, settings.smoothing, weights) for share, of in shares)
        return {"loss": sum(parts)}

    _fit(bench, "cross entropy", model, loss)


def match_feature_maps(bench: Bench, model: SpectrogramViT, teacher_map: Tensor, match: config.Match) -> None:
    """Stage (b): L1 to the teacher's feature map, ``teacher_map[i]`` for the i-th training image."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        return {"loss": losses.matching(feature_map(model(bench.images[bench.rows[rows]]), match), teacher_map[rows])}

    _fit(bench, "matching", model, loss)


def train_student(bench: Bench, model: SpectrogramViT, teacher_map: Tensor, match: config.Match, alpha: float) -> None:
    """Stage (c): cross entropy + alpha * L1."""

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        output, labels = model(bench.images[bench.rows[rows]]), bench.labels[rows]
        student_map = feature_map(output, match)
        return {
            "loss": losses.transfer(output.logits, labels, student_map, teacher_map[rows], alpha),
            "cross entropy": losses.cross_entropy(output.logits, labels),
            "matching": losses.matching(student_map, teacher_map[rows]),
        }

    _fit(bench, "transfer", model, loss)


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
    named: config.Named,
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
    """One run: train on the training part, predict both parts, write weights and record.

    Args:
        named: the resolved configuration.
        corpus, split: what it learns from; ``images[i]`` belongs to ``corpus.utterances[i]``.
        record: the record's file; weights go beside it as ``.safetensors``, the state of an unfinished run as ``.state``.
        teacher: the matched network and its record's result digest, when the configuration names a teacher.
        network: makes another network than the configuration's, for a baseline; its weights are not kept.
        accelerator: as Lightning Fabric names it.

    Raises:
        ValueError: the configuration needs a teacher and none is given.
    """
    run, settings = named.run, named.training
    if run.teacher and teacher is None:
        raise ValueError(f"run {named.name!r} follows the run {run.teacher!r}: train that first")
    try:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=settings.precision)
    except RuntimeError as error:  # not on this machine
        raise ValueError(str(error)) from error
    position = {utterance.key: i for i, utterance in enumerate(corpus.utterances)}
    train = torch.tensor([position[key] for key in split.train])
    test = torch.tensor([position[key] for key in split.test])
    labels = torch.tensor(corpus.labels)
    bench = Bench(
        fabric,
        settings,
        fabric.to_device(images),
        fabric.to_device(train),
        fabric.to_device(labels[train]),
        watched=(fabric.to_device(test), fabric.to_device(labels[test])) if settings.watch else None,
        state=record.with_suffix(".state"),
        identity=config.digest(named, corpus.fingerprint, split.digest, teacher[1] if teacher else ""),
        progress=progress,
    )
    torch.manual_seed(settings.seed)
    model = fabric.to_device(network() if network else SpectrogramViT(run.model))
    if run.model and run.model.standardise:
        model.measure_bands(bench.images[bench.rows])
    if teacher is None:
        train_teacher(bench, model)
    else:
        frozen = fabric.to_device(teacher[0])  # its map of an image never changes, so it looks at each image once
        teacher_map = outputs(frozen, bench.images, bench.rows, lambda output: feature_map(output, run.match))
        if run.matching_stage:
            match_feature_maps(bench, model, teacher_map, run.match)
        train_student(bench, model, teacher_map, run.match, run.alpha)

    everything = fabric.to_device(torch.arange(len(images)))
    predicted = outputs(model, bench.images, everything, lambda output: output.logits).argmax(dim=1).tolist()

    finished = records.finish(
        named,
        corpus,
        split,
        predicted,
        records.provenance(str(fabric.device), torch.get_num_threads(), bench.seconds),
        teacher=teacher[1] if teacher else "",
        curves={stage: {k: tuple(v) for k, v in values.items()} for stage, values in bench.curves.items()},
    )
    if network is None:
        about = {"features": named.features, "emotions": corpus.emotions, "result": finished.result}
        save(model, record.with_suffix(".safetensors"), **{k: config.plain(v) for k, v in about.items()})
    records.write(finished, record)
    record.with_suffix(".state").unlink(missing_ok=True)
    return finished


def _fit(bench: Bench, stage: str, model: nn.Module, loss: Losses) -> None:
    """One stage: AdamW, one cycle of the learning rate, the same number of epochs for all."""
    settings, device = bench.settings, bench.fabric.device
    learn, choose = _inner_split(bench.labels, settings)
    steps = -(-len(learn) // settings.batch_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.epochs * steps)
    wrapped, optimizer = bench.fabric.setup(model, optimizer)
    best: dict[str, Any] = {"loss": float("inf"), "model": {}}
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average)) if settings.average else None
    if averaged is not None:
        parts["average"] = averaged
    done = _resume(bench, stage, parts, best)
    bar = tqdm(
        range(done, settings.epochs), stage, settings.epochs, initial=done, unit="epoch", disable=not bench.progress
    )
    for epoch in bar:
        torch.manual_seed(settings.seed * 100_003 + epoch)  # order and dropout depend on seed and epoch alone
        wrapped.train()
        sums: dict[str, Tensor] = {}
        for rows in torch.randperm(len(learn)).split(settings.batch_size):
            rows = learn[rows].to(device)
            values = loss(wrapped, rows)
            optimizer.zero_grad()
            bench.fabric.backward(values["loss"])
            optimizer.step()
            schedule.step()
            if averaged is not None:
                averaged.update_parameters(model)
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * len(rows)
        means = {name: (total / len(learn)).item() for name, total in sums.items()}
        if len(choose):
            means["validation"] = _mean_loss(wrapped, loss, choose.to(device))
            if means["validation"] < best["loss"]:
                best = {"loss": means["validation"], "model": {k: v.clone() for k, v in model.state_dict().items()}}
        if bench.watched is not None:
            rows, labels = bench.watched
            predicted = outputs(model, bench.images, rows, lambda output: output.logits).argmax(dim=1)
            means["held-out accuracy"] = (predicted == labels).float().mean().item()
        for name, value in means.items():
            bench.curves.setdefault(stage, {}).setdefault(name, []).append(value)
        bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
        _keep(bench, stage, epoch + 1, parts, best)
    if best["model"]:
        model.load_state_dict(best["model"])
    if averaged is not None:
        model.load_state_dict(averaged.module.state_dict())


@torch.no_grad()
def _mean_loss(model: Any, loss: Losses, rows: Tensor) -> float:
    model.eval()
    return sum(loss(model, batch)["loss"].item() * len(batch) for batch in rows.split(64)) / len(rows)


def _inner_split(labels: Int[Tensor, " train"], settings: config.Training) -> tuple[Tensor, Tensor]:
    """Positions that learn and positions that choose the epoch: a stratified share of the training part."""
    everything = torch.arange(len(labels))
    if not settings.validation:
        return everything, everything[:0]
    from sklearn.model_selection import train_test_split

    learn, choose = train_test_split(
        everything.numpy(), test_size=settings.validation, random_state=settings.seed, stratify=labels.cpu().numpy()
    )
    return torch.from_numpy(learn), torch.from_numpy(choose)


def _keep(bench: Bench, stage: str, epoch: int, parts: dict[str, Any], best: dict[str, Any]) -> None:
    if bench.state is not None:
        state = {name: part.state_dict() for name, part in parts.items()}
        about = {"identity": bench.identity, "stage": stage, "epoch": epoch, "curves": bench.curves, "best": best}
        about["seconds"] = bench.seconds
        written = io.BytesIO()  # torch's own writer hides what went wrong with a file
        torch.save({**state, **about}, written)
        with whole(bench.state) as beside:
            beside.write_bytes(written.getbuffer())


def _resume(bench: Bench, stage: str, parts: dict[str, Any], best: dict[str, Any]) -> int:
    """Load the state that a killed run left; the number of epochs of ``stage`` that it had finished.

    A state that belongs to other settings or data is left alone: it is overwritten after the first epoch.
    """
    if bench.state is None or not bench.state.exists():
        return 0
    try:
        state = torch.load(bench.state, map_location=bench.fabric.device, weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is none of its own
        raise ValueError(f"{bench.state}: damaged; remove it and the run starts from its beginning") from error
    if state["identity"] != bench.identity:
        return 0
    bench.started = min(bench.started, time.perf_counter() - state["seconds"])
    if state["stage"] != stage:  # it stopped in a later stage, whose state holds this one's outcome
        return bench.settings.epochs if stage in state["curves"] else 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    bench.curves.update(state["curves"])
    best.update(state["best"])
    return state["epoch"]
