"""``python -m benchmarks.classifiers``: what each classifier of the book costs the person who uses it.

It measures milliseconds from a file of three seconds to the emotion, and megabytes that prediction reads. For networks, it
also gives the minutes of a training stage, computed from the time of a step. All classifiers take turns in one run, on one
thread. A round counts only if the machine's rates stay the same around it (``benchmarks.measure``). No cost depends on what
was learned. So networks have random weights, and classifiers of statistics are fitted on random values, of as many
utterances as a fold of EmoDB trains on. A support vector machine keeps the values of each of those utterances.

A student costs the same with and without a teacher. A classifier whose package is not installed is left out.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import linear_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from benchmarks import cpu, measure
from serlib import config
from serlib.data import features
from serlib.engine import provenance
from serlib.engine.command import run
from serlib.errors import SerlibError
from serlib.files import atomic_write
from studies import baselines, frontends, variants

SETTINGS = config.Features()
SECONDS = 3
CLASSES, UTTERANCES = 7, 482  # EmoDB: emotions, and utterances that a fold trains on
STEPS = config.Training.epochs * -(-UTTERANCES // config.Training.batch_size)  # training steps of a stage
NETWORKS = ("student-alone", "student-alone+deltas", "teacher", "resnet-18")
NAMES = (*NETWORKS, "mel-statistics", *baselines.FUNCTIONALS)
PACKAGES = {"egemaps": "opensmile", "opensmile": "opensmile", "resemblyzer": "Resemblyzer"}
Classify = Callable[[Path], object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.classifiers", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of recordings (default: the synthetic speech of make book)")
    parser.add_argument("--repeats", type=int, default=30, help="rounds; training steps: a fifth of them")
    parser.add_argument("--out", type=Path, default=cpu.ROOT / "benchmarks/classifiers.json")
    parser.set_defaults(command=measure_all)
    return run(parser, arguments)


def measure_all(options: argparse.Namespace) -> None:
    """Measure every classifier and write its costs.

    Raises:
        SerlibError: there is too little speech, no round, or the machine stays busy; then nothing is written.
    """
    if options.repeats < 1:
        raise SerlibError(f"--repeats {options.repeats}: at least 1 round is measured")
    started, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    classify, steps, sizes = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        paths = sorted((options.data or cpu.ROOT / "build/synthetic/emodb/audio").rglob("*.wav"))
        file = three_seconds(paths, Path(folder, "speech.wav"))
        sample = [paths[i * len(paths) // cpu.BATCH] for i in range(cpu.BATCH)]  # a batch, evenly from the folder
        images = torch.stack([features.picture(path, SETTINGS)[0] for path in sample])
        for name in NAMES:
            try:
                use, sizes[name] = (network if name in NETWORKS else statistics)(name)
            except SerlibError as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
            else:
                classify[name] = partial(use, file)
        for name in NETWORKS:
            steps[name] = cpu.trainer(model := draw(name), lambda batch, model=model: model(batch).logits, images, True)
        times = measure.rounds(classify, options.repeats)
        step_times = measure.rounds(steps, -(-options.repeats // 5))
    torch.set_num_threads(threads)
    if any(map(math.isnan, times.rates + step_times.rates)):
        raise SerlibError(f"{measure.BUSY}; nothing written")
    costs = {}
    for name in classify:
        costs[name] = {"milliseconds": spread(times[name], 1000), "megabytes": sizes[name] / 1e6}
        if name in PACKAGES:
            costs[name]["package, megabytes"] = package(PACKAGES[name]) / 1e6
        if name in steps:
            costs[name]["minutes a stage"] = spread(step_times[name], STEPS / 60)
        print(f"{name:22} {measure.Spread(**costs[name]['milliseconds'])} ms, {sizes[name] / 1e6:.2f} MB")
    origin = provenance.describe("cpu", 1, time.perf_counter() - started) | {"processor": cpu.processor()}
    rates = {"matrix product": spread(times.rates), "pass over memory": spread(times.memory)}
    report = {"made": origin, "rates": rates, "rounds": options.repeats, "utterances": UTTERANCES}
    with atomic_write(options.out) as beside:
        beside.write_text(json.dumps(report | {"classifiers": costs}, indent=1) + "\n", encoding="utf-8")


def spread(values: Sequence[float], scale: float = 1) -> dict[str, float]:
    return {name: float(f"{scale * value:.4g}") for name, value in vars(measure.Spread.of(values)).items()}


def three_seconds(paths: Sequence[Path], out: Path) -> Path:
    """Join the first recordings, cut them to three seconds, and write them to ``out``: 16 bits, mono."""
    length, samples = SECONDS * SETTINGS.sample_rate, np.zeros(0, np.float32)
    for path in paths:
        samples = np.concatenate((samples, features.read_audio(path, SETTINGS).numpy()))
        if len(samples) >= length:
            soundfile.write(out, samples[:length], SETTINGS.sample_rate)
            return out
    raise SerlibError(f"less than {SECONDS} s of speech in WAV files: name recordings by --data, or run `make book`")


def draw(name: str) -> torch.nn.Module:
    """A network with random weights."""
    if name in variants.RESNETS:
        return baselines.ResNet18(CLASSES)
    return frontends.of_run(variants.resolve(name, "paper", 0, CLASSES))


def network(name: str) -> tuple[Classify, int]:
    """A function from a file to a network's prediction, and the bytes of its weights in single precision."""
    model = draw(name).eval()

    def classify(file: Path) -> int:
        with torch.inference_mode():
            return int(model(features.picture(file, SETTINGS)[0][None]).logits.argmax())

    return classify, sum(weights.nbytes for weights in model.state_dict().values())


def statistics(name: str) -> tuple[Classify, int]:
    """A function from a file to the prediction from its statistics; the bytes of the scaler's and classifier's arrays.

    Raises:
        SerlibError: a package is not installed; see :func:`studies.baselines.functionals`.
    """
    if name == "mel-statistics":
        size, classifier = 2 * SETTINGS.image_size[0], LogisticRegression(max_iter=5_000)
    else:
        functionals, classifier = baselines.FUNCTIONALS[name](), SVC(kernel=linear_kernel)
        size = len(functionals(torch.rand(SETTINGS.sample_rate)))

    def values(file: Path) -> np.ndarray:
        if name == "mel-statistics":
            return baselines.mel_statistics(features.picture(file, SETTINGS)[0][None])
        return functionals(features.read_audio(file, SETTINGS))[None]

    random = np.random.default_rng(0)
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(random.normal(size=(UTTERANCES, size)), np.arange(UTTERANCES) % CLASSES)
    arrays = [value for step in pipeline for value in vars(step).values() if isinstance(value, np.ndarray)]
    return lambda file: pipeline.predict(values(file))[0], sum(array.nbytes for array in arrays)


def package(name: str) -> int:
    """Bytes of an installed package's own modules and data, without its dependencies."""
    files = [file.locate() for file in metadata.files(name) or () if file.parts[0] == name.lower()]
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc")


if __name__ == "__main__":
    raise SystemExit(main())
