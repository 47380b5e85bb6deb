"""``python -m serlib``: one command for each step, each a few lines over the package.

Modules are imported where they are used, so that ``--help`` does not wait for torch.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from serlib import config
from serlib.data import corpora, report, splits
from serlib.engine.command import commands, is_first, run
from serlib.errors import SerlibError, printable
from serlib.files import spare

CHANNEL = "of recordings with several, from 1; 0: their mean"


class Networks:
    """The networks of the commands; :mod:`studies` has the same commands with its own."""

    names: Sequence[str] = tuple(config.RUNS)
    resolve = staticmethod(config.resolve)

    def build(self, run_config: config.RunConfig) -> Any:
        """The network of a run with drawn weights; None for a classifier that is no network."""
        from serlib.model import SpectrogramViT

        return SpectrogramViT(run_config.run.model)

    def load(self, path: str | Path) -> tuple[Any, dict[str, Any]]:
        """As :func:`serlib.checkpoints.load`."""
        from serlib import checkpoints

        return checkpoints.load(path)

    def execute(self, *inputs: Any, cache: str | Path, **options: Any) -> Any:
        """As :func:`serlib.training.execute`; the folder ``cache`` is for classifiers that keep values."""
        from serlib import training

        return training.execute(*inputs, **options)


PAPER = Networks()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, command = commands("serlib", "The method of Kim & Lee (2024), step by step.")
    command("corpora", _corpora, "Check a corpus and list what was excluded and why.", corpus_options)
    command("features", _features, "Make the log-Mel images of a corpus.", corpus_options, image_options)
    sub = command("evaluate", _evaluate, "Accuracies of run records, with intervals over speakers.")
    sub.add_argument("records", nargs="+", type=Path, help="record files, or folders of them")
    network_commands(command, PAPER)
    sub = command("audit", _audit, "What training and test set of each protocol share.", corpus_options)
    sub.add_argument("--out", type=Path, help="folder for the splits as CSV")
    return parser


def corpus_options(sub: argparse.ArgumentParser) -> None:
    """The options that :func:`load` reads."""
    sub.add_argument("corpus", help="savee, emodb, crema-d, or any name for a CSV file of your own")
    sub.add_argument("--data", type=Path, help="the corpus's folder or CSV file (default: $SERLIB_DATA/CORPUS)")
    sub.add_argument("--table", type=Path, help="corpus table of `corpora --table`: files are not checked again")
    sub.add_argument("--synthetic", action="store_true", help="the recordings are synthetic speech")
    sub.add_argument("--channel", type=int, help=f"{CHANNEL} (default: the table's)")
    sub.add_argument("--strict", action="store_true", help="stop at a problem instead of excluding the file")


def cache_option(sub: argparse.ArgumentParser) -> None:
    """The option for the folder of the images."""
    sub.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder of the images")


def image_options(sub: argparse.ArgumentParser) -> None:
    """The options for the images' width and their folder."""
    cache_option(sub)
    width = config.Features.image_size[1]
    sub.add_argument("--image-width", type=int, default=width, help="pixels; 1001: not interpolated")


def network_commands(command: Callable[..., argparse.ArgumentParser], networks: Networks) -> None:
    """Add train, predict and flops."""
    summary = "Train one run and write its record and weights."
    sub = command("train", _train, summary, corpus_options, image_options, networks=networks)
    for option, default, names in (
        ("--run", networks.names[0], networks.names),
        ("--schedule", "paper", config.SCHEDULES),
        ("--protocol", "random", splits.HELD_OUT),
    ):
        sub.add_argument(option, default=default, help=f"one of {', '.join(names)}")
    for name in ("--fold", "--seed"):
        sub.add_argument(name, type=int, default=0)
    sub.add_argument("--epochs", type=int, help="epochs a stage, instead of the schedule's")
    sub.add_argument("--out", type=Path, default=Path("build/runs"), help="folder of runs")
    sub.add_argument("--threads", type=int, help="CPU threads")
    sub.add_argument("--accelerator", default="cpu", help="cpu, cuda, mps or auto")

    sub = command("predict", _predict, "The emotion of recordings, by trained weights.", networks=networks)
    sub.add_argument("files", nargs="+", type=Path)
    sub.add_argument("--weights", type=Path, required=True, help=".safetensors that a run wrote")
    sub.add_argument("--channel", type=int, help=f"{CHANNEL} (default: as trained)")

    sub = command("flops", _flops, "Parameters and FLOPs per image of the configurations.", networks=networks)
    sub.add_argument("runs", nargs="*", help=f"of {', '.join(networks.names)} (default: all)")
    sub.add_argument("--classes", type=int, default=7)


def data(options: argparse.Namespace) -> Path:
    """The path of the recordings."""
    return options.data or Path(os.environ.get("SERLIB_DATA", "data")) / options.corpus


def load(options: argparse.Namespace, anew: bool = False) -> corpora.Corpus:
    """The corpus that a command names; ``anew`` checks its files even if its table exists."""
    speech = "synthetic" if options.synthetic else "recordings"
    if options.table and options.table.exists() and not anew:
        corpus = corpora.read(options.table, data(options), options.corpus, speech)
        if options.channel not in (None, corpus.channel):
            checked = f"checked with --channel {corpus.channel}, not {options.channel}"
            raise corpora.CorpusError(f"{options.table}: {checked}: name another table")
        return corpus
    channel = options.channel or 0
    corpus = corpora.load(options.corpus, data(options), strict=options.strict, speech=speech, channel=channel)
    if options.table and is_first():
        corpora.save(corpus, options.table, data(options))
    return corpus


def _corpora(options: argparse.Namespace) -> None:
    if options.table:
        spare(options.table, data(options))
    for line in report.lines(load(options, anew=True)):
        print(printable(line))


def make_images(options: argparse.Namespace, corpus: corpora.Corpus, settings: config.Features) -> Any:
    """The corpus's images, kept in ``options.cache``."""
    from serlib.data import features

    paths, hashes, versions = ([getattr(u, name) for u in corpus.utterances] for name in ("path", "sha256", "version"))
    return features.images(paths, hashes, settings, options.cache, versions=versions)


def _settings(options: argparse.Namespace, corpus: corpora.Corpus) -> config.Features:
    return config.Features(image_size=(config.Features.mel_bands, options.image_width), channel=corpus.channel)


def _features(options: argparse.Namespace) -> None:
    corpus = load(options)
    images = make_images(options, corpus, _settings(options, corpus))
    print(f"{options.corpus}: {len(images):,} images of {images.shape[2]} x {images.shape[3]} in {options.cache}")


def _train(options: argparse.Namespace) -> None:
    from serlib import records

    _check_numbers(options)
    corpus = load(options)
    if len(corpus.emotions) < 2:
        raise SerlibError(f"{data(options)}: every recording is {corpus.emotions[0]!r}: there is nothing to tell apart")
    if options.protocol in splits.AUGMENTED:
        corpus = corpora.versions(corpus)
    split = splits.split(corpus, options.protocol, options.fold)
    run_config = _resolved(options, corpus)

    def path(name: str) -> Path:
        cell = (corpus.speech, corpus.name, run_config.schedule, options.protocol, options.fold, name, options.seed)
        return options.out / records.location(*cell, run_config.features.images)

    record, teacher = path(options.run), run_config.run.teacher
    finished = options.networks.execute(
        run_config,
        corpus,
        split,
        partial(make_images, options, corpus, run_config.features),
        record=record,
        teacher=_teacher(options, teacher, path(teacher), corpus, split) if teacher else None,
        accelerator=options.accelerator,
        cache=options.cache,
    )
    if is_first():
        print(record)
        _print_accuracy(finished)


def _check_numbers(options: argparse.Namespace) -> None:
    import torch

    if options.threads is not None:
        if not 1 <= options.threads <= 256:
            raise SerlibError(f"threads {options.threads} must be at least 1 and at most 256")
        torch.set_num_threads(options.threads)
    for name in ("seed", "fold"):
        if not 0 <= getattr(options, name) < 2**32:
            raise SerlibError(f"{name} {getattr(options, name)} must be at least 0 and below 2^32")


def _resolved(options: argparse.Namespace, corpus: corpora.Corpus) -> config.RunConfig:
    settings = _settings(options, corpus)
    resolved = options.networks.resolve(options.run, options.schedule, options.seed, len(corpus.emotions), settings)
    if options.epochs is None:
        return resolved
    if resolved.run.model is None:
        raise SerlibError(f"epochs {options.epochs}: the baseline {options.run!r} takes none; leave it out")
    training = replace(resolved.training, epochs=options.epochs * resolved.run.epoch_factor)
    return replace(resolved, schedule=f"{options.schedule}-{options.epochs}-epochs", training=training)


def _teacher(
    options: argparse.Namespace, run: str, path: Path, corpus: corpora.Corpus, split: splits.Split
) -> tuple[Any, str]:
    """The trained network that a student follows, and the digest of its run's result."""
    from serlib import records

    if not path.exists():
        raise SerlibError(f"{path}: no such record; train the run {run!r} first")
    record, settings = records.read(path), _resolved(argparse.Namespace(**vars(options) | {"run": run}), corpus)
    wanted = corpus.fingerprint, split.digest, path, records.Settings.from_config(settings)
    if (record.fingerprint, record.split, options.out / record.location, record.configuration) != wanted:
        raise SerlibError(f"{path}: not the run {run!r} on these recordings, split and settings; train it again")
    return trained(options.networks, path, record), record.result


def trained(networks: Networks, path: str | Path, record: Any) -> Any:
    """The trained network whose weights lie beside a record."""
    network, metadata = networks.load(Path(path).with_suffix(".safetensors"))
    if metadata.get("result") != record.result:
        raise SerlibError(f"{path}: the weights beside it are of another run")
    return network


def _print_accuracy(record: Any) -> None:
    from serlib import metrics

    print(f"{record.run}: {record.describe()}")
    for part in ("test", "train"):
        true, predicted = record.labels(part)
        speakers, right, accuracies = record.parts[part].speaker, (true == predicted).astype(float), []
        for name, classes in (("WA", None), ("UA", true)):
            interval = metrics.interval(right, speakers, classes=classes).within(0.0, 1.0)
            bounds = f" [{interval.low:.1%}, {interval.high:.1%}]" if interval.speakers > 1 else ""
            accuracies.append(f"{name} {interval.estimate:.1%}{bounds}")
        spread = [right[[speaker == name for speaker in speakers]].mean() for name in set(speakers)]
        accuracies.append(f"WA by speaker {min(spread):.1%} to {max(spread):.1%}")
        print(f"  {part} ({len(true):,} utterances): {', '.join(accuracies)}")


def read(paths: Iterable[str | Path]) -> Iterator[Any]:
    """The records in files, and in folders of them.

    Raises:
        SerlibError: a folder holds none, or a file is no record.
    """
    from serlib import records

    for path in paths:
        run_records = records.read_all(path) if Path(path).is_dir() else [records.read(path)]
        if not run_records:
            raise SerlibError(f"{path}: no record in this folder")
        yield from run_records


def _evaluate(options: argparse.Namespace) -> None:
    for record in read(options.records):
        _print_accuracy(record)


def weights(networks: Networks, path: str | Path) -> tuple[Any, config.Features, list[str]]:
    """A trained network, the images that it takes, its emotions."""
    network, metadata = networks.load(path)
    try:
        settings = config.from_plain(config.Features, metadata["features"])
        emotions = config.from_plain(list[str], metadata["emotions"])
        if ((1, *settings.image_size), len(emotions)) != (network.takes, network.config.num_classes):
            raise ValueError("made for other images or other emotions than they say")
        return network, settings, emotions
    except (KeyError, ValueError) as error:
        raise SerlibError(f"{path}: not the weights of a run ({error})") from error


def _predict(options: argparse.Namespace) -> None:
    import torch

    from serlib.data import features

    network, settings, emotions = weights(options.networks, options.weights)
    if options.channel is not None:
        settings = replace(settings, channel=options.channel)
    for file in options.files:
        picture, notes = features.picture(file, settings)
        with torch.no_grad():
            logits = network(picture[None]).logits
        if not logits.isfinite().all():
            raise SerlibError(f"{options.weights}: gives no finite answer for {file}")
        for note in notes:
            print(printable(f"serlib: note: {file}: {note}"), file=sys.stderr)
        chances = sorted(zip(logits.softmax(dim=1)[0].tolist(), emotions, strict=True), reverse=True)
        print(printable(f"{file}: " + ", ".join(f"{emotion} {chance:.2f}" for chance, emotion in chances)))


def _flops(options: argparse.Namespace) -> None:
    from serlib import flops

    print(f"{'run':34} {'parameters':>12} {'FLOPs':>15} {'of them stem':>15}")
    for name in options.runs or options.networks.names:
        network = options.networks.build(options.networks.resolve(name, "paper", 0, options.classes))
        if network is not None:
            cost = flops.count(network)
            print(f"{name:34} {cost.parameters:12,} {cost.flops:15,} {cost.stem_flops:15,}")


def _audit(options: argparse.Namespace) -> None:
    corpus = load(options)
    for protocol in splits.PROTOCOLS:
        try:
            folds = [splits.split(corpus, protocol, fold) for fold in range(splits.folds(corpus, protocol))]
        except SerlibError as error:  # too few speakers or utterances
            print(f"{protocol}: {error}")
            continue
        for split in folds:
            print(f"{protocol} fold {split.fold}: {splits.audit(corpus, split)}; split {split.digest[:12]}")
        if options.out:
            table = options.out / f"{protocol}.csv"
            spare(table, *filter(None, (data(options), options.table)))
            splits.save(folds, table)
