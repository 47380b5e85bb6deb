"""Test utterances of people that figures show: their log-Mel images, and the networks' outputs for them.

:mod:`workflow.examples` chooses them and writes the committed files; their sound stays with the corpus.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from serlib import config
from serlib.data import corpora
from serlib.errors import SerlibError

if TYPE_CHECKING:  # torch is imported where it is used
    from jaxtyping import Float
    from torch import Tensor

    from serlib.model import SpectrogramViT


class Seen(NamedTuple):
    """The attention and the token similarity of a network for one utterance."""

    attention: "Float[Tensor, 'versions rows columns']"  # rollout over the patches of each version, summing to 1
    similarity: "Float[Tensor, 'patches patches']"  # cosine similarity of the tokens of the first version


@dataclass(frozen=True)
class Example:
    """An utterance: its emotion, the run's prediction, its images in the order of ``config.PERTURBATIONS``, and the
    outputs of networks for them, by the ``result`` of each network's record."""

    key: str
    emotion: str
    predicted: str
    images: "Float[Tensor, 'versions 1 height width']"
    seen: Mapping[str, Seen] = field(default_factory=dict)


def see(network: "SpectrogramViT", images: "Float[Tensor, 'versions 1 height width']") -> Seen:
    """Attention rollout over every version, and the similarity of the first version's tokens."""
    import torch

    from serlib import attention

    with torch.no_grad():
        output = network(images, need_weights=True)
    maps = attention.rollout(output.attention, network.config.grid)
    return Seen(maps, attention.token_similarity(output.tokens[:1])[0])


def versions(
    utterance: corpora.Utterance, settings: config.Features, draw: int
) -> "Float[Tensor, 'versions 1 height width']":
    """The images of an utterance in each of ``config.PERTURBATIONS``; ``draw`` seeds the random ones."""
    import torch

    from serlib.data import features

    waveform = features.read_audio(utterance.path, settings, utterance.sha256)
    kinds = (features.perturb(waveform, kind, settings, draw) for kind in config.PERTURBATIONS)
    return torch.stack([features.image(version, settings) for version in kinds])


def read(path: Path) -> list[Example]:
    """The examples of one corpus.

    Raises:
        ValueError: there is no such file.
    """
    import torch

    if not path.exists():
        raise SerlibError(
            f"{path}: no examples of this corpus are committed; make them by `python -m workflow.examples`"
        )
    with np.load(path) as stored:
        arrays = dict(stored)
    tensors = {name: torch.from_numpy(values).float() for name, values in arrays.items() if values.dtype.kind == "f"}
    examples = []
    for i, fields in enumerate(zip(*(arrays[name].tolist() for name in ("key", "true", "predicted")), strict=True)):
        networks = enumerate(arrays["results"].tolist())
        seen = {key: Seen(*(tensors[f"{what} {n}"][i] for what in ("attention", "similarity"))) for n, key in networks}
        examples.append(Example(*fields, tensors["images"][i], seen))
    return examples
