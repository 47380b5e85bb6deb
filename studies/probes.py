"""A trained network's knowledge of time: in its tokens, layer by layer, and in its decision.

* a linear probe: ridge regression from a token to the number of its column, fitted on the training set's columns of
  speech and tested on the test set's. Content alone tells some columns apart, as the probe on the bare image shows:
  only the gain of a layer over the image counts;
* reordered columns of speech: a decision that does not depend on order stays the same. In a network with a stem the
  convolutions also meet new seams between columns. So a loss of accuracy is an upper bound on the worth of order.

:mod:`studies.probed` stores both.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from serlib.engine.padding import content_width
from serlib.errors import SerlibError
from serlib.model import SpectrogramViT
from serlib.records import Record
from serlib.training import predict
from studies.probed import Probe

IMAGE = "image"  # the layer before the network: a column's pixels
ORDERS = ("as it is", "reversed", "shuffled")
RIDGE = 1.0  # strength of the regularisation, on standardised tokens


def execute(
    record: Record, network: SpectrogramViT, images: Float[Tensor, "files 1 height width"], rows: dict[str, int]
) -> Probe:
    """Probe the network of ``record``, in eval mode; ``rows`` gives each file's place in the corpus's ``images``.

    Raises:
        ValueError: the network's patches are not one for each column of the image.
    """
    if network.config.grid != (1, images.shape[3]):
        raise SerlibError(f"run {record.run!r} has not one patch for each column of the image, which the probe needs")
    train, test = (torch.tensor([rows[file] for file in record.parts[part].file]) for part in ("train", "test"))
    all_files = torch.arange(len(test))
    known, known_numbers, _ = _columns(network, images, train)
    tokens, numbers, owner = _columns(network, images, test)
    errors = {name: np.bincount(owner, _missed(known[name], known_numbers, tokens[name], numbers)) for name in known}
    part, shared = record.parts["test"], ("corpus", "speech", "protocol", "fold", "run", "seed", "emotions", "result")
    return Probe(
        **{name: getattr(record, name) for name in shared},
        schedule=record.schedule,
        file=part.file,
        speaker=part.speaker,
        true=part.true,
        variation=tuple(np.bincount(owner, (numbers - known_numbers.mean()) ** 2).tolist()),
        errors={name: tuple(values.tolist()) for name, values in errors.items()},
        predicted={order: tuple(predict(network, reorder(images[test], order), all_files)) for order in ORDERS},
    )


def reorder(images: Float[Tensor, "batch 1 height width"], order: str) -> Float[Tensor, "batch 1 height width"]:
    """Reorder each image's columns up to its silence; the same place in the batch always gets the same shuffle."""
    draw = torch.Generator().manual_seed(0)
    changed = images.clone()
    for image, width in zip(changed, content_width(images).tolist(), strict=True):
        shuffled = torch.randperm(width, generator=draw)
        if order == "reversed":
            image[..., :width] = image[..., :width].flip(-1)
        elif order == "shuffled":
            image[..., :width] = image[..., shuffled]
    return changed


@torch.no_grad()
def _columns(
    network: SpectrogramViT, images: Tensor, rows: Int[Tensor, " rows"]
) -> tuple[dict[str, ndarray], Float[ndarray, " columns"], Int[ndarray, " columns"]]:
    """For every column of speech: its tokens by layer, its number, and the index in ``rows`` of its file."""
    by_layer: dict[str, list[Tensor]] = {}
    numbers, owners = [], []
    for start in range(0, len(rows), 32):
        batch = images[rows[start : start + 32]]
        is_speech = torch.arange(batch.shape[-1]) < content_width(batch)[:, None]
        layers = network(batch, need_weights=True).layers
        layer_tokens = {IMAGE: batch[:, 0].mT, "embedding": layers[0]}
        layer_tokens |= {f"block {i}": block for i, block in enumerate(layers[1:], 1)}
        for name, tokens in layer_tokens.items():
            by_layer.setdefault(name, []).append(tokens[is_speech])
        owner, number = is_speech.nonzero(as_tuple=True)
        owners.append(owner + start)
        numbers.append(number)
    layers = {name: torch.cat(tokens).numpy() for name, tokens in by_layer.items()}
    return layers, torch.cat(numbers).numpy().astype(float), torch.cat(owners).numpy()


def _missed(known: ndarray, known_numbers: ndarray, tokens: ndarray, numbers: ndarray) -> Float[ndarray, " columns"]:
    """The squared error, on every held-out column, of a probe that is fitted on the known columns."""
    probe = make_pipeline(StandardScaler(), Ridge(RIDGE)).fit(known.astype(float), known_numbers)
    return (probe.predict(tokens.astype(float)) - numbers) ** 2
