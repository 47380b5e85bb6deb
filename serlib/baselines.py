"""What a reader would try first, on the same splits and with the same records.

* ``majority``: the emotion that the training set holds most of;
* ``mel-statistics``: mean and standard deviation of every mel band over the columns of the log-Mel image that hold
  speech, standardised, with logistic regression;
* ``opensmile``: the ComParE 2016 functionals (Schuller et al. 2016) of openSMILE (Eyben et al. 2010), standardised,
  with a linear support vector machine. Its licence allows research alone, so it is an extra: ``pip install opensmile``;
* ``resnet-18``: torchvision's residual network (He et al. 2016) with random weights and one input channel, trained on
  the same images with the teacher's stage and schedule.

Standardisation knows the training set alone, and so does the strength of the regularisation: it is chosen by folds of
the training set's own speakers. The residual network takes its last epoch, as the paper's networks do here.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from serlib import config, records
from serlib.data import features
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.files import atomic_write, is_sealed, seal
from serlib.model import Output

C_GRID = tuple(10.0**k for k in range(-5, 3))  # of which the inner folds choose
INNER_FOLDS = 5


def execute(
    run_config: config.RunConfig,
    corpus: Corpus,
    split: Split,
    images: Callable[[], Tensor],
    *,
    record: Path,
    cache: Path,
) -> records.Record:
    """One baseline, of ``serlib.config.BASELINES``, from recordings to the file ``record``; there are no weights.

    ``images`` gives the corpus's log-Mel images, (files, 1, height, width), when they are needed; the folder ``cache``
    keeps what takes long to compute.

    Raises:
        ValueError: no such baseline, or its package is not installed.
    """
    config.check("baseline", run_config.name, config.BASELINES)
    if run_config.name == "resnet-18":
        from serlib import training

        network = partial(ResNet18, len(corpus.emotions))
        return training.execute(run_config, corpus, split, images(), record=record, network=network)
    start = time.perf_counter()
    labels, train = np.array(corpus.labels), np.array(corpus.rows(split.train))
    speakers = np.array([utterance.speaker for utterance in corpus.utterances])
    if run_config.name == "majority":
        predicted = np.full(len(labels), np.bincount(labels[train]).argmax())
    elif run_config.name == "mel-statistics":
        predicted = _fit(LogisticRegression(max_iter=5_000), mel_statistics(images().numpy()), labels, train, speakers)
    else:
        predicted = _fit(LinearSVC(max_iter=20_000), opensmile_functionals(corpus, cache), labels, train, speakers)
    made = records.provenance("cpu", 1, time.perf_counter() - start)
    finished = records.finish(run_config, corpus, split, predicted.tolist(), made)
    records.write(finished, record)
    return finished


def _fit(
    classifier: ClassifierMixin,
    values: Float[ndarray, "files values"],
    labels: Int[ndarray, " files"],
    train: Int[ndarray, " train"],
    speakers: ndarray,
) -> Int[ndarray, " files"]:
    """Labels of every file by the classifier that the training set alone gives."""
    pipeline = Pipeline([("scaler", StandardScaler()), ("classifier", classifier)])
    groups = speakers[train]
    inner = GroupKFold(min(INNER_FOLDS, len(np.unique(groups))))
    search = GridSearchCV(pipeline, {"classifier__C": C_GRID}, scoring="balanced_accuracy", cv=inner)
    return search.fit(values[train], labels[train], groups=groups).predict(values)


def mel_statistics(images: Float[ndarray, "files 1 height width"]) -> Float[ndarray, "files values"]:
    """Mean and standard deviation of each row over the columns before the silence that fills an image up."""
    found = []
    for image in images[:, 0]:
        heard = np.flatnonzero((image != image[:, -1:]).any(axis=0))
        speech = image[:, : heard[-1] + 1] if len(heard) else image
        found.append(np.concatenate((speech.mean(axis=1), speech.std(axis=1))))
    return np.stack(found)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 for images of one channel, called as the paper's networks are."""

    def __init__(self, classes: int) -> None:
        from torchvision.models import resnet18

        super().__init__()
        self.body = resnet18()
        self.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.head = nn.Linear(self.body.fc.in_features, classes)
        self.body.fc = nn.Identity()

    def forward(self, images: Float[Tensor, "batch 1 height width"]) -> Output:
        pooled = self.body(images)
        return Output(self.head(pooled), pooled, pooled[:, None])


def opensmile_functionals(corpus: Corpus, cache: Path) -> Float[ndarray, "files 6373"]:
    """ComParE 2016 functionals of every recording, kept in ``cache``.

    Raises:
        ValueError: the package ``opensmile`` is not installed, or the corpus is in versions, which it cannot read.
    """
    if any(utterance.version != config.ORIGINAL for utterance in corpus.utterances):
        raise ValueError("opensmile reads recordings as they are, not in versions: choose another protocol")
    stored = cache / f"{corpus.fingerprint}-functionals.npy"
    if not stored.exists():
        try:
            import opensmile
        except ImportError as error:
            remedy = "pip install opensmile (its licence allows research)"
            raise ValueError(f"opensmile is not installed: {remedy}") from error
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
        values = []
        for utterance in corpus.utterances:
            features.picture(utterance.path, config.Features(), sha256=utterance.sha256)  # the file that was checked
            values.append(smile.process_file(str(utterance.path)).to_numpy()[0])
        with atomic_write(stored) as beside:
            with beside.open("wb") as file:
                np.save(file, np.stack(values))
            seal(beside)
    if not is_sealed(stored):
        raise ValueError(f"{stored}: damaged; remove it and it is computed again")
    return np.load(stored)
