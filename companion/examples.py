"""Test utterances of people that figures show: their log-Mel images, committed; their sound stays with the corpus.

A rule chooses them before anyone looks: of each emotion the first by file name that the run named rightly, and the first
that it named wrongly, among the test set that its network never saw.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serlib import config, records
from serlib.data import corpora, facts
from serlib.files import atomic_write

if TYPE_CHECKING:  # torch is imported where it is used
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Example:
    """An utterance, its emotion, what the run said, and its images in the order of ``config.PERTURBATIONS``."""

    key: str
    emotion: str
    predicted: str
    images: "Float[Tensor, 'versions 1 height width']"


def chosen(record: records.Record) -> list[int]:
    """Positions in the record's test set: of each emotion the first named rightly and the first named wrongly, if any."""
    test = record.parts["test"]
    order = sorted(range(len(test.file)), key=test.file.__getitem__)
    first: dict[tuple[int, bool], int] = {}
    for i in order:
        first.setdefault((test.true[i], test.true[i] == test.predicted[i]), i)
    return sorted(first.values(), key=lambda i: (test.true[i], test.true[i] != test.predicted[i]))


def save(record: records.Record, corpus: corpora.Corpus, path: Path) -> int:
    """Write the chosen utterances' images, every version, as float16 (utterances, versions, 1, height, width) in [0, 1].

    Returns:
        how many utterances.

    Raises:
        ValueError: the record is of other recordings.
    """
    import torch

    from serlib.data import features

    if record.fingerprint != corpus.fingerprint:
        raise ValueError(f"{path}: the record was not made from these recordings; give the corpus it names")
    utterances, test, settings = (
        {u.key: u for u in corpus.utterances},
        record.parts["test"],
        record.configuration.features,
    )
    rows, images = chosen(record), []
    for i in rows:
        utterance = utterances[test.file[i]]
        waveform = features.read_audio(utterance.path, settings, utterance.sha256)
        versions = (
            features.perturb(waveform, kind, settings, int(utterance.sha256[:8], 16)) for kind in config.PERTURBATIONS
        )
        images.append(torch.stack([features.image(version, settings) for version in versions]).half().numpy())
    named = {name: np.array([record.emotions[getattr(test, name)[i]] for i in rows]) for name in ("true", "predicted")}
    about = {"result": record.result, "attribution": f"{facts.title(corpus.name)}: {facts.CORPORA[corpus.name].terms}"}
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, key=np.array([test.file[i] for i in rows]), images=np.stack(images), **named, **about)
    return len(rows)


def read(path: Path) -> list[Example]:
    """What :func:`save` wrote.

    Raises:
        ValueError: there is no such file.
    """
    import torch

    if not path.exists():
        raise ValueError(
            f"{path}: no examples of this corpus are committed; make them by `python -m companion examples`"
        )
    with np.load(path) as held:
        columns: Iterable = zip(*(held[name] for name in ("key", "true", "predicted", "images")), strict=True)
        return [
            Example(str(key), str(true), str(said), torch.from_numpy(images).float())
            for key, true, said, images in columns
        ]
