"""Normalise every speaker's values or images by the speaker's own utterances.

For a test speaker these are unlabelled test utterances, so such a run uses more data than others. Part "test" of its
record uses all of them; parts "test-3" to "test-20" use that many, drawn at random, with the same trained classifier.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from serlib.config import RunConfig
from serlib.data.corpora import Corpus
from serlib.data.splits import Split
from serlib.engine.padding import content_width
from serlib.errors import SerlibError
from serlib.records import Record

UNLABELLED = (3, 5, 10, 20)  # utterances of a test speaker
MIN_SPREAD = 1e-3  # of a mel band in an image, whose levels are in [0, 1]: a band without a sound stays finite


def prepare(
    run_config: RunConfig, corpus: Corpus, split: Split, images: Callable[[], Tensor]
) -> tuple[Callable[[], Tensor], Callable[[Record, Callable[[Tensor], list[int]]], Record]]:
    """Normalised images for :func:`serlib.training.execute`, and a function that adds the parts with fewer utterances.

    Raises:
        SerlibError: training and test set share a speaker.
    """
    refuse_shared(run_config, corpus, split)
    speakers = np.array([utterance.speaker for utterance in corpus.utterances])

    def complete(record: Record, predict: Callable[[Tensor], list[int]]) -> Record:
        unnormalised, test = images(), corpus.rows(split.test)
        return with_fewer(
            record, corpus, lambda order, count: predict(normalised_images(unnormalised, speakers, order, count, test))
        )

    return lambda: normalised_images(images(), speakers), complete


def refuse_shared(run_config: RunConfig, corpus: Corpus, split: Split) -> None:
    """Raises ValueError if training and test set share a speaker: its labels would have been seen."""
    train, test = ({corpus.utterances[row].speaker for row in corpus.rows(keys)} for keys in (split.train, split.test))
    if train & test:
        remedy = "choose a speaker-independent protocol"
        raise SerlibError(f"{run_config.name}: {min(train & test)} is in training and test set; {remedy}")


def with_fewer(
    record: Record, corpus: Corpus, predict: Callable[[Int[ndarray, " files"], int], Sequence[int]]
) -> Record:
    """``record`` with a part for each of ``UNLABELLED``.

    ``predict(order, count)`` gives the labels of the test utterances with each speaker normalised by ``count`` files,
    the speaker's first in ``order``.
    """
    order = np.random.default_rng([record.seed, record.fold]).permutation(len(corpus.utterances))
    test = record.parts["test"]
    fewer = {f"test-{count}": replace(test, predicted=tuple(predict(order, count))) for count in UNLABELLED}
    return replace(record, parts=record.parts | fewer)


def normalised_values(
    values: Float[ndarray, "files values"],
    speakers: Shaped[ndarray, " files"],
    order: Int[ndarray, " files"] | None = None,
    count: int | None = None,
) -> Float[ndarray, "files values"]:
    """Every speaker's values minus their mean, over their standard deviation; constant values are only centred.

    Args:
        order: a permutation of the files; None: as they stand.
        count: number of files of each speaker, the first in ``order``, that give mean and deviation; None: all.
    """
    normalised = np.empty_like(values)
    for own_files, reference in _by_speaker(speakers, order, count):
        spread = values[reference].std(axis=0)
        normalised[own_files] = (values[own_files] - values[reference].mean(axis=0)) / np.where(spread > 0, spread, 1)
    return normalised


def normalised_images(
    images: Float[Tensor, "files 1 height width"],
    speakers: Shaped[ndarray, " files"],
    order: Int[ndarray, " files"] | None = None,
    count: int | None = None,
    rows: Sequence[int] | None = None,
) -> Float[Tensor, "rows 1 height width"]:
    """Every mel band minus the mean of its speaker's columns of speech, over their deviation, at least ``MIN_SPREAD``.

    The silence that fills an image up becomes 0, the mean.

    Args:
        order, count: as for :func:`normalised_values`.
        rows: the files whose images are returned, in this order; None: all, as they stand.
    """
    wanted = np.arange(len(images)) if rows is None else np.array(rows)
    result = torch.empty(len(wanted), *images.shape[1:])
    for own_files, reference in _by_speaker(speakers, order, count):
        places = np.flatnonzero(np.isin(wanted, own_files))
        if not len(places):
            continue
        reference_images, own_images = images[reference], images[wanted[places]]
        speech = reference_images[:, 0].mT[_is_speech(reference_images)]  # (columns, height)
        spread, mean = torch.std_mean(speech, dim=0, correction=0)
        normalised = (own_images - mean[:, None]) / spread.clamp_min(MIN_SPREAD)[:, None]
        result[places] = normalised.where(_is_speech(own_images)[:, None, None], 0.0)
    return result


def _is_speech(images: Float[Tensor, "files 1 height width"]) -> Shaped[Tensor, "files width"]:
    """Whether each column comes before the silence that fills an image up; without such silence, all do."""
    return torch.arange(images.shape[-1]) < content_width(images).clamp_min(1)[:, None]


def _by_speaker(
    speakers: Shaped[ndarray, " files"], order: Int[ndarray, " files"] | None, count: int | None
) -> Iterator[tuple[Int[ndarray, " own"], Int[ndarray, " reference"]]]:
    """Each speaker's files, and the files that give mean and deviation."""
    order = np.arange(len(speakers)) if order is None else order
    for speaker in np.unique(speakers):
        yield np.flatnonzero(speakers == speaker), order[speakers[order] == speaker][:count]
