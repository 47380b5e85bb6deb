"""Test utterances of people that figures show: their log-Mel images, committed; their sound stays with the corpus.

A rule chooses them before anyone looks: of each emotion the first by file name that the run named rightly, and the first
that it named wrongly, among the test set that its network never saw. What networks make of them, attention and tokens,
is committed beside the images, so that a figure needs neither the recordings nor the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from serlib import config, records
from serlib.data import corpora, facts
from serlib.errors import SerlibError
from serlib.files import atomic_write

if TYPE_CHECKING:  # torch is imported where it is used
    from jaxtyping import Float
    from torch import Tensor

    from serlib.model import SpectrogramViT


class Seen(NamedTuple):
    """What a network makes of an utterance."""

    attention: "Float[Tensor, 'versions rows columns']"  # rollout over the patches of each version, summing to 1
    similarity: "Float[Tensor, 'patches patches']"  # cosine similarity of the tokens of the first version


@dataclass(frozen=True)
class Example:
    """An utterance, its emotion, what the run said, its images in the order of ``config.PERTURBATIONS``, and what networks make
    of them, by the ``result`` of each network's record."""

    key: str
    emotion: str
    predicted: str
    images: "Float[Tensor, 'versions 1 height width']"
    seen: Mapping[str, Seen] = field(default_factory=dict)


def see(network: "SpectrogramViT", images: "Float[Tensor, 'versions 1 height width']") -> Seen:
    """Attention rollout over every version, and how alike the first version's tokens are."""
    import torch

    from serlib import attention

    with torch.no_grad():
        output = network(images, need_weights=True)
    maps = attention.rollout(output.attention, network.config.grid)
    return Seen(maps, attention.token_similarity(output.tokens[:1])[0])


def chosen(record: records.Record) -> list[int]:
    """Positions in the record's test set: of each emotion the first named rightly and the first named wrongly, if any."""
    test = record.parts["test"]
    order = sorted(range(len(test.file)), key=test.file.__getitem__)
    first: dict[tuple[int, bool], int] = {}
    for i in order:
        first.setdefault((test.true[i], test.true[i] == test.predicted[i]), i)
    return sorted(first.values(), key=lambda i: (test.true[i], test.true[i] != test.predicted[i]))


def versions(
    utterance: corpora.Utterance, settings: config.Features, draw: int
) -> "Float[Tensor, 'versions 1 height width']":
    """The images of an utterance in each of ``config.PERTURBATIONS``; ``draw`` seeds what is drawn."""
    import torch

    from serlib.data import features

    waveform = features.read_audio(utterance.path, settings, utterance.sha256)
    kinds = (features.perturb(waveform, kind, settings, draw) for kind in config.PERTURBATIONS)
    return torch.stack([features.image(version, settings) for version in kinds])


def save(record: records.Record, corpus: corpora.Corpus, path: Path, networks: Mapping[str, "SpectrogramViT"]) -> int:
    """Write the chosen utterances' images, every version, as float16 (utterances, versions, 1, height, width) in [0, 1],
    and what ``networks``, by the ``result`` of their records, make of them: attention, float32 (utterances, versions, rows,
    columns), summing to 1; similarity of tokens, float16 (utterances, patches, patches) in [-1, 1].

    Returns:
        how many utterances.

    Raises:
        ValueError: the record is of other recordings, or a network takes images of another size.
    """
    import torch

    if record.fingerprint != corpus.fingerprint:
        raise SerlibError(f"{path}: the record was not made from these recordings; give the corpus it names")
    known, test, rows = {u.key: u for u in corpus.utterances}, record.parts["test"], chosen(record)
    settings = config.from_plain(config.Features, record.configuration.features)
    shown = [known[test.file[i]] for i in rows]
    images = [versions(u, settings, int(u.sha256[:8], 16)).half() for u in shown]
    held = {"key": np.array([u.key for u in shown]), "images": torch.stack(images).numpy()}
    held |= {name: np.array([record.emotions[getattr(test, name)[i]] for i in rows]) for name in ("true", "predicted")}
    held |= {"result": record.result, "attribution": f"{facts.title(corpus.name)}: {facts.CORPORA[corpus.name].terms}"}
    held["results"] = np.array(list(networks), dtype=str)
    for n, network in enumerate(networks.values()):
        seen = [see(network, of_one.float()) for of_one in images]
        held[f"attention {n}"] = torch.stack([one.attention for one in seen]).numpy()
        held[f"similarity {n}"] = torch.stack([one.similarity for one in seen]).half().numpy()
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **held)
    return len(rows)


def read(path: Path) -> list[Example]:
    """What :func:`save` wrote.

    Raises:
        ValueError: there is no such file.
    """
    import torch

    if not path.exists():
        raise SerlibError(
            f"{path}: no examples of this corpus are committed; make them by `python -m companion examples`"
        )
    with np.load(path) as stored:
        held = dict(stored)
    tensors = {name: torch.from_numpy(values).float() for name, values in held.items() if values.dtype.kind == "f"}
    names = zip(*(held[name].tolist() for name in ("key", "true", "predicted")), strict=True)
    made = [
        (of, tensors[f"attention {n}"], tensors[f"similarity {n}"]) for n, of in enumerate(held["results"].tolist())
    ]
    return [
        Example(*named, tensors["images"][i], {of: Seen(maps[i], alike[i]) for of, maps, alike in made})
        for i, named in enumerate(names)
    ]
