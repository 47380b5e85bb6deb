"""``python -m serlib``: one command for each step, each a few lines over the package.

Modules are imported where they are used, so that ``--help`` does not wait for torch.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from serlib import config

INTERRUPTED = 130  # exit status of a shell command ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status; what the user can mend is said in one line."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()  # while a reader that has gone can still be caught
    except KeyboardInterrupt:
        print("serlib: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        print(f"serlib: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"serlib: {error.filename or ''}: {error.strerror or error}".replace(" : ", " "), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m serlib", description="A companion to Kim & Lee (2024).")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name, run, summary):
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub

    def corpus(sub):
        sub.add_argument("corpus", help="savee, emodb, crema-d, or any name for a CSV file of your own")
        sub.add_argument("--data", type=Path, help="the corpus's folder or CSV file (default: $SERLIB_DATA/CORPUS)")
        sub.add_argument(
            "--table", type=Path, help="corpus table made by `corpora --table`, so that files are not checked again"
        )
        sub.add_argument("--synthetic", action="store_true", help="the recordings are synthetic speech")
        sub.add_argument("--strict", action="store_true", help="stop at a problem instead of excluding the file")

    sub = command("corpora", _corpora, "Check a corpus and list what was excluded and why.")
    corpus(sub)
    sub.add_argument("--download", action="store_true", help="fetch the recordings into --data first")
    sub.add_argument("--synthesize", action="store_true", help="make synthetic speech in --data first")

    sub = command("features", _features, "Make the log-Mel images of a corpus.")
    corpus(sub)
    _features_options(sub)

    sub = command("train", _train, "Train one run and write its record and weights.")
    corpus(sub)
    _features_options(sub)
    sub.add_argument(
        "--run", dest="name", default="teacher", help=f"one of {', '.join((*config.RUNS, *config.BASELINES))}"
    )
    sub.add_argument("--schedule", default="paper", help=f"one of {', '.join(config.SCHEDULES)}")
    sub.add_argument(
        "--protocol",
        default="random",
        help="random, stratified-folds, leave-one-speaker-out, speaker-folds, or CREMA-D's actor-split; or, every utterance in four versions, "
        "augmented-leaky, augmented-grouped; or selection, for choosing",
    )
    sub.add_argument("--fold", type=int, default=0)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--epochs", type=int, help="epochs a stage, instead of the schedule's")
    sub.add_argument("--out", type=Path, default=Path("build/runs"), help="folder of runs")
    sub.add_argument("--threads", type=int, help="CPU threads")
    sub.add_argument("--accelerator", default="cpu", help="cpu, cuda, mps or auto")

    sub = command("evaluate", _evaluate, "Accuracies of run records, with intervals over speakers.")
    sub.add_argument("records", nargs="+", type=Path, help="record files, or folders of them")

    sub = command("evidence", _evidence, "The runs that the book's claims rest on, experiment by experiment.")
    sub.add_argument("corpus", help="savee, emodb, crema-d, or the name of your own")
    sub.add_argument("--runs", type=Path, default=Path("results"), help="folder in which records are looked for")
    sub.add_argument("--numbers", action="store_true", help="print the experiments' numbers alone")

    sub = command("probe", _probe, "What trained networks know of time, on their test sets.")
    corpus(sub)
    sub.add_argument("--runs", nargs="+", type=Path, required=True, help="run records, their weights beside them")
    sub.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder of the images")
    sub.add_argument("--out", type=Path, default=Path("build/probes"), help="folder of probes")

    sub = command("listeners", _listeners, "How far listeners recognised each recording of EmoDB or CREMA-D.")
    corpus(sub)
    sub.add_argument("--ratings", type=Path, help="erkennung.txt or summaryTable.csv (default: in --data)")
    sub.add_argument("--out", type=Path, help="CSV table to write")

    sub = command("predict", _predict, "The emotion of recordings, by trained weights.")
    sub.add_argument("files", nargs="+", type=Path)
    sub.add_argument("--weights", type=Path, required=True, help=".safetensors that a run wrote")

    sub = command("export", _export, "Trained weights as ONNX: samples in, logits out, without PyTorch.")
    sub.add_argument("--weights", type=Path, required=True, help=".safetensors that a run wrote")
    sub.add_argument("--out", type=Path, required=True, help="the .onnx file to write")
    sub.add_argument("--int8", action="store_true", help="the transformer in eight bits")

    sub = command("flops", _flops, "Parameters and operations of the configurations.")
    sub.add_argument("runs", nargs="*", help=f"of {', '.join(config.RUNS)} (default: all)")
    sub.add_argument("--classes", type=int, default=7)

    sub = command("audit", _audit, "What training and test set of each protocol share.")
    corpus(sub)
    sub.add_argument("--out", type=Path, help="folder for the splits as CSV")
    return parser


def _features_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder of the images")
    sub.add_argument(
        "--image-width", type=int, default=config.Features.image_size[1], help="pixels; 1001: not interpolated"
    )


def _settings(options: argparse.Namespace) -> config.Features:
    return config.Features(image_size=(config.Features.mel_bands, options.image_width))


def _data(options: argparse.Namespace) -> Path:
    if options.data:
        return options.data
    return Path(os.environ.get("SERLIB_DATA", "data")) / options.corpus


def _load(options: argparse.Namespace):
    from serlib.data import corpora

    speech = "synthetic" if options.synthetic else "recordings"
    if options.table and options.table.exists():
        return corpora.read(options.table, _data(options), options.corpus, speech)
    corpus = corpora.load(options.corpus, _data(options), strict=options.strict, speech=speech)
    if options.table:
        corpora.save(corpus, options.table, _data(options))
    return corpus


def _corpora(options: argparse.Namespace) -> None:
    if options.synthesize:
        from serlib.data import synthetic

        options.synthetic = True
        synthetic.make_corpus(options.corpus, _data(options))
    if options.download:
        from serlib.data import download

        download.fetch(options.corpus, _data(options))
    if options.table:
        options.table.unlink(missing_ok=True)  # checking is what this command is for
    corpus = _load(options)
    print(
        f"{corpus.name}: {len(corpus.utterances):,} utterances, {len(corpus.speakers)} speakers, {corpus.fingerprint[:12]}"
    )
    for emotion in corpus.emotions:
        print(f"  {emotion}: {sum(u.emotion == emotion for u in corpus.utterances):,}")
    for item in corpus.excluded:
        print(f"  excluded {item.file}: {item.reason}")
    for note in corpus.notes:
        print(f"  note: {note}")


def _images(options: argparse.Namespace, corpus, settings: config.Features):
    from serlib.data import features

    used = corpus.utterances
    paths, hashes, versions = ([getattr(u, name) for u in used] for name in ("path", "sha256", "version"))
    return features.images(paths, hashes, settings, options.cache, versions=versions)


def _features(options: argparse.Namespace) -> None:
    images = _images(options, _load(options), _settings(options))
    print(f"{options.corpus}: {len(images):,} images of {images.shape[2]} x {images.shape[3]} in {options.cache}")


def _train(options: argparse.Namespace) -> None:
    import torch

    from serlib import baselines, records, training
    from serlib.data import corpora, splits

    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"threads {options.threads} must be at least 1")
        torch.set_num_threads(options.threads)
    corpus = _load(options)
    if options.protocol in splits.AUGMENTED:
        corpus = corpora.versions(corpus)
    split = splits.split(corpus, options.protocol, options.fold)
    run_config = config.resolve(options.name, options.schedule, options.seed, len(corpus.emotions), _settings(options))
    if options.epochs is not None and run_config.run.model is None:
        raise ValueError(f"epochs {options.epochs}: the baseline {options.name!r} takes none; leave it out")
    if options.epochs is not None:
        run_config = replace(
            run_config,
            schedule=f"{options.schedule}-{options.epochs}-epochs",
            training=replace(run_config.training, epochs=options.epochs),
        )

    def place(run: str) -> Path:
        where = (corpus.speech, corpus.name, run_config.schedule, options.protocol, options.fold, run, options.seed)
        return options.out / records.location(*where, run_config.features.image_size)

    record = place(options.name)
    if run_config.run.model is None:
        images = partial(_images, options, corpus, run_config.features)
        finished = baselines.execute(run_config, corpus, split, images, record=record, cache=options.cache)
        print(record)
        _print_accuracy(finished)
        return
    teacher = None
    if run_config.run.teacher:
        followed = place(run_config.run.teacher)
        if not followed.exists():
            raise ValueError(f"{followed}: no such record; train the run {run_config.run.teacher!r} first")
        ahead = records.read(followed)
        if (ahead.fingerprint, ahead.split) != (corpus.fingerprint, split.digest):
            raise ValueError(f"{followed}: not trained on these recordings and this split; train it again")
        teacher = _network(followed, ahead), ahead.result
    finished = training.execute(
        run_config,
        corpus,
        split,
        _images(options, corpus, run_config.features),
        record=record,
        teacher=teacher,
        accelerator=options.accelerator,
    )
    print(record)
    _print_accuracy(finished)


def _print_accuracy(record) -> None:
    from serlib import metrics

    print(f"{record.run}: {record.describe()}")
    for part in ("test", "train"):
        true, predicted = record.labels(part)
        measured = []
        for name, measure in (("WA", metrics.weighted_accuracy), ("UA", metrics.unweighted_accuracy)):
            at = metrics.bootstrap(true, predicted, record.parts[part].speaker, len(record.emotions), measure)
            measured.append(f"{name} {at.estimate:.1%} [{at.low:.1%}, {at.high:.1%}]")
        spread = metrics.by_speaker(true, predicted, record.parts[part].speaker).values()
        measured.append(f"WA by speaker {min(spread):.1%} to {max(spread):.1%}")
        print(f"  {part} ({len(true):,} utterances): {', '.join(measured)}")


def _evaluate(options: argparse.Namespace) -> None:
    from serlib import records

    for path in options.records:
        if path.is_dir() and not any(path.rglob("*.json")):
            raise ValueError(f"{path}: no record in this folder")
        for record in records.read_all(path) if path.is_dir() else [records.read(path)]:
            _print_accuracy(record)


def _evidence(options: argparse.Namespace) -> None:
    from companion import experiments

    for number, experiment in enumerate(experiments.experiments_of(options.corpus), 1):
        if options.numbers:
            print(number)
        else:
            places = list(experiment.places(options.corpus))
            there = sum((options.runs / place).exists() for place in places)
            print(f"{number:2}  {experiment.title}: {there} of {len(places)} records")


def _probe(options: argparse.Namespace) -> None:
    from serlib import probes, records

    corpus = _load(options)
    rows = {utterance.key: i for i, utterance in enumerate(corpus.utterances)}
    for path in options.runs:
        record = records.read(path)
        if record.fingerprint != corpus.fingerprint:
            raise ValueError(f"{path}: not a run on the recordings in {_data(options)}")
        images = _images(options, corpus, record.configuration.features)
        probe = probes.execute(record, _network(path, record), images, rows)
        place = options.out / record.location
        probes.write(probe, place)
        bare, last = (probe.r2(layer) for layer in (probes.IMAGE, probe.last))
        print(f"{place}: R2 of the column's number {bare:.2f} from the image, {last:.2f} from the last layer")


def _network(path: Path, record):
    """The trained network beside a record.

    Raises:
        ValueError: the weights there are of another run.
    """
    from serlib import checkpoints

    network, about = checkpoints.load(path.with_suffix(".safetensors"))
    if about.get("result") != record.result:
        raise ValueError(f"{path}: the weights beside it are of another run")
    return network


def _listeners(options: argparse.Namespace) -> None:
    from companion import listeners
    from serlib import metrics

    corpus = _load(options)
    ratings = options.ratings or _data(options) / listeners.RATINGS.get(corpus.name, "")
    shares = listeners.recognised(corpus, ratings)
    if options.out:
        listeners.save(corpus, shares, options.out)
    at = metrics.ratio(shares, [1.0] * len(shares), [u.speaker for u in corpus.utterances])
    print(
        f"{corpus.name}: listeners recognised {at.estimate:.1%} [{at.low:.1%}, {at.high:.1%}] of {len(shares):,} utterances"
    )


def _weights(path: Path):
    """A trained network, the images that it takes, its emotions."""
    from serlib import checkpoints
    from serlib.convert import structure

    network, about = checkpoints.load(path)
    try:
        return network, structure(config.Features, about["features"]), about["emotions"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not the weights of a run ({error})") from error


def _predict(options: argparse.Namespace) -> None:
    import torch

    from serlib.data import features

    network, settings, emotions = _weights(options.weights)
    for file in options.files:
        with torch.no_grad():
            logits = network(features.image(features.read_audio(file, settings), settings)[None]).logits
        chances = sorted(zip(logits.softmax(dim=1)[0].tolist(), emotions, strict=True), reverse=True)
        print(f"{file}: " + ", ".join(f"{emotion} {chance:.2f}" for chance, emotion in chances))


def _export(options: argparse.Namespace) -> None:
    from serlib import export

    export.onnx(*_weights(options.weights), options.out)
    if options.int8:
        export.quantise(options.out, options.out)
    print(options.out)


def _flops(options: argparse.Namespace) -> None:
    from serlib import flops

    print(f"{'run':28} {'parameters':>12} {'FLOPs':>15} {'of them stem':>15}")
    for name in options.runs or config.RUNS:
        if name not in config.RUNS:
            raise ValueError(f"run {name!r} is none of {', '.join(config.RUNS)}")
        cost = flops.count(replace(config.RUNS[name].model, num_classes=options.classes))
        print(f"{name:28} {cost.parameters:12,} {cost.flops:15,} {cost.stem_flops:15,}")


def _audit(options: argparse.Namespace) -> None:
    from serlib.data import splits

    corpus = _load(options)
    for protocol in splits.PROTOCOLS:
        try:
            made = [splits.split(corpus, protocol, fold) for fold in range(splits.folds(corpus, protocol))]
        except ValueError as error:  # too few speakers or utterances
            print(f"{protocol}: {error}")
            continue
        for split in made:
            shared = splits.audit(corpus, split)
            print(
                f"{protocol} fold {split.fold}: {shared.train} train, {shared.test} test; on both sides "
                f"{len(shared.speakers)} speakers, {len(shared.sentences)} sentences, "
                f"{len(shared.identical)} identical recordings; split {split.digest[:12]}"
            )
        if options.out:
            splits.save(made, options.out / f"{protocol}.csv")
