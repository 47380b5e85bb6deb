"""Classifiers that a reader would try first, on the same splits and with the same records.

* ``majority``: the emotion that the training set holds most of;
* ``mel-statistics``: mean and standard deviation of every mel band over the columns of the log-Mel image that hold
  speech, standardised, with logistic regression;
* ``mel-deltas``: the same of the log-Mel frames with their first and second time derivatives, with a support vector
  machine;
* ``egemaps``, ``opensmile``: functionals of openSMILE (Eyben et al. 2010), the 88 of eGeMAPS v02 (Eyben et al. 2016)
  and the 6,373 of ComParE 2016 (Schuller et al. 2016), with a support vector machine. openSMILE's licence allows
  research alone, so it is an extra: ``pip install opensmile``;
* ``resemblyzer``: mean over time of the second layer of a network trained to tell speakers apart (Wan et al. 2018, as
  the package Resemblyzer carries it), frozen, with a support vector machine. An extra too;
* ``resnet-18``: torchvision's residual network (He et al. 2016) with random weights and one input channel, trained on
  the same images with the teacher's stage and schedule.

The support vector machines are linear, one for each pair of emotions. Standardisation knows the training set alone, and
so does the strength of the regularisation: it is chosen by folds of the training set's own speakers. The residual
network takes its last epoch, as the paper's networks do here.

A name that ends in ``-speaker-norm`` normalises every speaker's values, or images, by that speaker's own utterances
first: see :mod:`studies.speaker_norm`.
"""

import hashlib
import importlib
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import linear_kernel
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn
from torchaudio.functional import compute_deltas
from tqdm import tqdm

from serlib import config, records, training
from serlib.data import features
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.engine import provenance
from serlib.engine.padding import content_width
from serlib.errors import SerlibError
from serlib.files import is_sealed, write_sealed
from serlib.model import Output
from studies import speaker_norm, variants

Waveform = Float[Tensor, " samples"]  # mono, at config.Features.sample_rate
C_GRID = tuple(10.0**k for k in range(-5, 3))  # the inner folds choose one
SVM_C_GRID = C_GRID[:6]  # up to 1: above, fitting CREMA-D takes hours
INNER_FOLDS = 5
CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest() + features.CODE  # another computation gives other values


def execute(
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    images: Callable[[], Tensor],
    *,
    record: str | Path,
    cache: Path,
    accelerator: str = "cpu",
) -> records.Record:
    """One of ``studies.variants.BASELINES``, from recordings to the file ``record``; there are no weights.

    ``images`` makes the corpus's log-Mel images, (files, 1, height, width). The folder ``cache`` keeps functionals. The
    residual network alone uses the ``accelerator``, as Lightning Fabric names it.

    Raises:
        SerlibError: as :func:`functionals` and :func:`serlib.training.execute`; shared speakers are normalised.
    """
    config.check("baseline", run_config.name, variants.BASELINES)
    normalised, complete = variants.from_beyond(run_config.beyond).speaker_norm, None
    if normalised:
        images, complete = speaker_norm.prepare(run_config, corpus, split, images)
    if run_config.name in variants.RESNETS:
        how = {"network": partial(ResNet18, len(corpus.emotions)), "accelerator": accelerator, "complete": complete}
        return training.execute(run_config, corpus, split, images, record=record, **how)
    start = time.perf_counter()
    labels, train = np.array(corpus.labels), np.array(corpus.rows(split.train))
    speakers = np.array([utterance.speaker for utterance in corpus.utterances])
    name = run_config.name.removesuffix(variants.SPEAKER_NORM)
    if name == "majority":
        predicted = np.full(len(labels), np.bincount(labels[train]).argmax())
    elif name == "mel-statistics":
        values = mel_statistics(images())
        predicted = _fit(LogisticRegression(max_iter=5_000), values, labels, train, speakers).predict(values)
    else:
        values = functionals(name, corpus, cache)
        inputs = speaker_norm.normalised_values(values, speakers) if normalised else values
        fitted = _fit(SVC(kernel=linear_kernel), inputs, labels, train, speakers)  # the kernel by one matrix product
        predicted = fitted.predict(inputs)
    origin = provenance.describe("cpu", 1, time.perf_counter() - start)
    finished = records.finish(run_config, corpus, split, predicted.tolist(), origin)
    if normalised:

        def predict(order: ndarray, count: int) -> list[int]:
            fewer = speaker_norm.normalised_values(values, speakers, order, count)
            return fitted.predict(fewer[corpus.rows(split.test)]).tolist()

        finished = speaker_norm.with_fewer(finished, corpus, predict)
    records.write(finished, record)
    return finished


def _fit(
    classifier: ClassifierMixin,
    values: Float[ndarray, "files values"],
    labels: Int[ndarray, " files"],
    train: Int[ndarray, " train"],
    speakers: ndarray,
) -> GridSearchCV:
    """The classifier, fitted, that the training set alone gives.

    Raises:
        SerlibError: the training set has one speaker.
    """
    pipeline = Pipeline([("scaler", StandardScaler()), ("classifier", classifier)])
    groups = speakers[train]
    if len(np.unique(groups)) < 2:
        raise SerlibError(
            f"the training set has one speaker, {groups[0]}: the strength of the regularisation is chosen by folds of "
            "its speakers, which takes two; choose another protocol"
        )
    inner = GroupKFold(min(INNER_FOLDS, len(np.unique(groups))))
    grid = SVM_C_GRID if isinstance(classifier, SVC) else C_GRID
    search = GridSearchCV(pipeline, {"classifier__C": grid}, scoring="balanced_accuracy", cv=inner)
    return search.fit(values[train], labels[train], groups=groups)


def mel_statistics(images: Float[Tensor, "files 1 height width"]) -> Float[ndarray, "files values"]:
    """Means of an image's rows, then standard deviations, over the columns before the silence that fills it up.

    In levels of the image, [0, 1]; two values a row.
    """
    ends = content_width(images).clamp_min(1).tolist()
    speech = [image[0, :, :end].numpy() for image, end in zip(images, ends, strict=True)]
    return np.stack([np.concatenate((rows.mean(axis=1), rows.std(axis=1))) for rows in speech])


class ResNet18(nn.Module):
    """torchvision's ResNet-18 for images of one channel, called as the paper's networks are."""

    def __init__(self, classes: int) -> None:
        from torchvision.models import resnet18

        super().__init__()
        self.body = resnet18()
        self.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.head = nn.Linear(self.body.fc.in_features, classes)
        self.body.fc = nn.Identity()
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, images: Float[Tensor, "batch 1 height width"]) -> Output:
        pooled = self.body(images)
        return Output(self.head(pooled), pooled, pooled[:, None])


def functionals(name: str, corpus: Corpus, cache: str | Path) -> Float[ndarray, "files values"]:
    """The values of every recording by baseline ``name``, a key of :data:`FUNCTIONALS`; kept in ``cache``.

    The name of the stored file covers the corpus, the settings, the baseline, the code and the libraries' versions.

    Raises:
        SerlibError: its package is not installed; the corpus is in versions; a recording was changed since the corpus was
            checked; the stored values are damaged.
    """
    if any(utterance.version != config.ORIGINAL for utterance in corpus.utterances):
        raise SerlibError(f"{name} reads recordings as they are, not in versions: choose another protocol")
    settings = config.Features(channel=corpus.channel)
    stored = Path(cache) / f"{config.digest(corpus.fingerprint, name, settings, CODE, _versions())}.npy"
    if not stored.exists():
        compute, values, content = FUNCTIONALS[name](), [], BytesIO()
        for utterance in tqdm(corpus.utterances, desc=name, unit="file"):
            values.append(compute(features.read_audio(utterance.path, settings, utterance.sha256)))
        np.save(content, np.stack(values).astype(np.float64))
        write_sealed(stored, [content.getbuffer()])
    if not is_sealed(stored):
        raise SerlibError(f"{stored}: damaged; remove it and it is computed again")
    return np.load(stored)


def _versions() -> dict[str, str]:
    """Versions of the installed packages that compute."""
    packages = ("opensmile", "audinterface", "Resemblyzer", "librosa", "torch", "torchaudio", "numpy")
    installed = {found.name for found in metadata.distributions()}
    return {name: metadata.version(name) for name in packages if name in installed}


def _package(name: str, remedy: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SerlibError(f"{name} is not installed: {remedy}") from error


def _opensmile(feature_set: str) -> Callable[[Waveform], ndarray]:
    opensmile = _package("opensmile", "pip install opensmile (its licence allows research)")
    smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    return lambda samples: smile.process_signal(samples.numpy(), config.Features.sample_rate).to_numpy()[0]


def mel_deltas(samples: Waveform) -> Float[ndarray, " values"]:
    """Means, then standard deviations, over a recording's log-Mel frames and their first and second time derivatives.

    Levels are in [0, 1] as :func:`serlib.data.features.log_mel` gives them. Derivatives are in levels a frame of 10 ms, by
    regression over five frames (torchaudio's ``compute_deltas``). 6 values a mel band.
    """
    level = features.log_mel(samples, config.Features())
    slope = compute_deltas(level)
    frames = torch.cat((level, slope, compute_deltas(slope))).numpy()
    return np.concatenate((frames.mean(axis=1), frames.std(axis=1)))


def _resemblyzer() -> Callable[[Waveform], ndarray]:
    resemblyzer = _package("resemblyzer", "pip install Resemblyzer")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    lower = nn.LSTM(encoder.lstm.input_size, encoder.lstm.hidden_size, num_layers=2, batch_first=True)
    lower.load_state_dict({name: encoder.lstm.state_dict()[name] for name in lower.state_dict()})

    def mean_of_second_layer(samples: Waveform) -> ndarray:
        speech = resemblyzer.preprocess_wav(samples.numpy())  # louder, long silences shortened
        frames = resemblyzer.audio.wav_to_mel_spectrogram(speech if len(speech) else samples.numpy())
        with torch.no_grad():
            return lower(torch.from_numpy(frames)[None])[0][0].mean(dim=0).numpy()

    return mean_of_second_layer


FUNCTIONALS: dict[str, Callable[[], Callable[[Waveform], ndarray]]] = {
    "mel-deltas": lambda: mel_deltas,
    "egemaps": partial(_opensmile, "eGeMAPSv02"),
    "opensmile": partial(_opensmile, "ComParE_2016"),
    "resemblyzer": _resemblyzer,
}
