"""``python -m benchmarks.classifiers``: what each classifier of the book costs the person who uses it.

Milliseconds from a file of three seconds to the emotion, megabytes of what prediction reads, and of networks the minutes of
a training stage, from the time of a step. All classifiers take turns in one run, on one thread, in rounds around which the
machine's rates stay the same (``benchmarks.measure``). None of this depends on what was learned, so networks have drawn
weights. Classifiers of statistics are fitted on drawn values, of as many utterances as a fold of EmoDB trains on. A
support vector machine keeps the values of each of those utterances.

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
CLASSES, UTTERANCES = 7, 482  # of EmoDB: emotions, and utterances that a fold trains on
STEPS = config.Training.epochs * -(-UTTERANCES // config.Training.batch_size)  # of a stage
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
    """Measures every classifier and writes what it costs.

    Raises:
        SerlibError: too little speech, no rounds, or a machine that is busy all the time; nothing is written.
    """
    if options.repeats < 1:
        raise SerlibError(f"--repeats {options.repeats}: at least 1 round is measured")
    started, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    classify, steps, sizes = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        paths = sorted((options.data or cpu.ROOT / "build/synthetic/emodb/audio").rglob("*.wav"))
        file = three_seconds(paths, Path(folder, "speech.wav"))
        some = [paths[i * len(paths) // cpu.BATCH] for i in range(cpu.BATCH)]  # a batch, from all over the folder
        images = torch.stack([features.picture(path, SETTINGS)[0] for path in some])
        for name in NAMES:
            try:
                use, sizes[name] = (network if name in NETWORKS else statistics)(name)
            except SerlibError as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
            else:
                classify[name] = partial(use, file)
        for name in NETWORKS:
            steps[name] = cpu.trainer(drawn := draw(name), lambda batch, drawn=drawn: drawn(batch).logits, images, True)
        times = measure.rounds(classify, options.repeats)
        learning = measure.rounds(steps, -(-options.repeats // 5))
    torch.set_num_threads(threads)
    if any(map(math.isnan, times.rates + learning.rates)):
        raise SerlibError(f"{measure.BUSY}; nothing written")
    costs = {}
    for name in classify:
        costs[name] = {"milliseconds": spread(times[name], 1000), "megabytes": sizes[name] / 1e6}
        if name in PACKAGES:
            costs[name]["package, megabytes"] = package(PACKAGES[name]) / 1e6
        if name in steps:
            costs[name]["minutes a stage"] = spread(learning[name], STEPS / 60)
        print(f"{name:22} {measure.Spread(**costs[name]['milliseconds'])} ms, {sizes[name] / 1e6:.2f} MB")
    made = provenance.describe("cpu", 1, time.perf_counter() - started) | {"processor": cpu.processor()}
    rates = {"matrix product": spread(times.rates), "pass over memory": spread(times.memory)}
    about = {"made": made, "rates": rates, "rounds": options.repeats, "utterances": UTTERANCES}
    with atomic_write(options.out) as beside:
        beside.write_text(json.dumps(about | {"classifiers": costs}, indent=1) + "\n", encoding="utf-8")


def spread(values: Sequence[float], scale: float = 1) -> dict[str, float]:
    return {name: float(f"{scale * value:.4g}") for name, value in vars(measure.Spread.of(values)).items()}


def three_seconds(paths: Sequence[Path], out: Path) -> Path:
    """The first recordings, one after the other, cut to three seconds; 16 bits, mono."""
    length, samples = SECONDS * SETTINGS.sample_rate, np.zeros(0, np.float32)
    for path in paths:
        samples = np.concatenate((samples, features.read_audio(path, SETTINGS).numpy()))
        if len(samples) >= length:
            soundfile.write(out, samples[:length], SETTINGS.sample_rate)
            return out
    raise SerlibError(f"less than {SECONDS} s of speech in WAV files: name recordings by --data, or run `make book`")


def draw(name: str) -> torch.nn.Module:
    """A network with drawn weights."""
    if name in variants.RESNETS:
        return baselines.ResNet18(CLASSES)
    return frontends.of_run(variants.resolve(name, "paper", 0, CLASSES))


def network(name: str) -> tuple[Classify, int]:
    """What a network makes of a file, and the bytes of its weights in single precision."""
    drawn = draw(name).eval()

    def classify(file: Path) -> int:
        with torch.inference_mode():
            return int(drawn(features.picture(file, SETTINGS)[0][None]).logits.argmax())

    return classify, sum(weights.nbytes for weights in drawn.state_dict().values())


def statistics(name: str) -> tuple[Classify, int]:
    """What statistics with a classifier make of a file, and the bytes of the scaler's and the classifier's arrays.

    Raises:
        SerlibError: as :func:`studies.baselines.functionals`, of a package.
    """
    if name == "mel-statistics":
        size, last = 2 * SETTINGS.image_size[0], LogisticRegression(max_iter=5_000)
    else:
        functionals, last = baselines.FUNCTIONALS[name](), SVC(kernel=linear_kernel)
        size = len(functionals(torch.rand(SETTINGS.sample_rate)))

    def values(file: Path) -> np.ndarray:
        if name == "mel-statistics":
            return baselines.mel_statistics(features.picture(file, SETTINGS)[0][None])
        return functionals(features.read_audio(file, SETTINGS))[None]

    random = np.random.default_rng(0)
    fitted = make_pipeline(StandardScaler(), last)
    fitted.fit(random.normal(size=(UTTERANCES, size)), np.arange(UTTERANCES) % CLASSES)
    arrays = [value for step in fitted for value in vars(step).values() if isinstance(value, np.ndarray)]
    return lambda file: fitted.predict(values(file))[0], sum(array.nbytes for array in arrays)


def package(name: str) -> int:
    """Bytes of an installed package's own modules and data, without the packages that it needs."""
    files = [file.locate() for file in metadata.files(name) or () if file.parts[0] == name.lower()]
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc")


if __name__ == "__main__":
    raise SystemExit(main())
