"""``python -m workflow.examples``: writes log-Mel images of a few test utterances of people, to be committed for figures.

A rule chooses the utterances before anyone looks. Of each emotion it takes two from the test set: the first by file name
that the run classified correctly, and the first that it misclassified. The networks' attention and tokens are committed
beside the images, so that a figure needs neither the recordings nor the weights.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from companion import examples
from serlib import cli, config, records
from serlib.data import corpora, facts
from serlib.errors import SerlibError
from serlib.files import atomic_write, spare
from serlib.model import SpectrogramViT
from studies import frontends


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the examples of one corpus. Returns the exit status."""
    return cli.run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    summary = "The log-Mel images of a few test utterances and what networks make of them, for figures."
    parser = argparse.ArgumentParser("python -m workflow.examples", description=summary)
    cli.corpus_options(parser)
    parser.add_argument("--record", type=Path, required=True, help="the run whose test set they are chosen from")
    weights = "of the networks whose attention and tokens are kept, in the order of figures"
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help=weights)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.set_defaults(command=_examples)
    return parser


def _examples(options: argparse.Namespace) -> None:
    spare(options.out, options.record, *options.weights)
    loaded = [frontends.load(path) for path in options.weights]
    networks = {metadata["result"]: network for network, metadata in loaded}
    number = save(records.read(options.record), cli.load(options), options.out, networks)
    print(f"{options.out}: {number} utterances, {options.out.stat().st_size / 1e6:.1f} MB")


def chosen(record: records.Record) -> list[int]:
    """Positions in the record's test set: of each emotion the first correct and the first wrong prediction, if any."""
    test = record.parts["test"]
    order = sorted(range(len(test.file)), key=test.file.__getitem__)
    first: dict[tuple[int, bool], int] = {}
    for i in order:
        first.setdefault((test.true[i], test.true[i] == test.predicted[i]), i)
    return sorted(first.values(), key=lambda i: (test.true[i], test.true[i] != test.predicted[i]))


def save(record: records.Record, corpus: corpora.Corpus, path: Path, networks: Mapping[str, SpectrogramViT]) -> int:
    """Write the chosen utterances' images, and the attention and tokens of ``networks``, keyed by their record's ``result``.

    * images, every version: float16 (utterances, versions, 1, height, width) in [0, 1]
    * attention: float32 (utterances, versions, rows, columns), summing to 1
    * similarity of tokens: float16 (utterances, patches, patches) in [-1, 1]

    Returns:
        the number of utterances.

    Raises:
        ValueError: the record was made from other recordings, or a network takes images of another size.
    """
    if record.fingerprint != corpus.fingerprint:
        raise SerlibError(f"{path}: the record was not made from these recordings; give the corpus it names")
    utterances, test, rows = {u.key: u for u in corpus.utterances}, record.parts["test"], chosen(record)
    settings = config.from_plain(config.Features, record.configuration.features)
    selected = [utterances[test.file[i]] for i in rows]
    images = [examples.versions(u, settings, int(u.sha256[:8], 16)).half() for u in selected]
    arrays = {"key": np.array([u.key for u in selected]), "images": torch.stack(images).numpy()}
    arrays |= {
        name: np.array([record.emotions[getattr(test, name)[i]] for i in rows]) for name in ("true", "predicted")
    }
    terms = facts.CORPORA[corpus.name].terms if corpus.name in facts.CORPORA else "terms: its own"
    arrays |= {"result": record.result, "attribution": f"{facts.title(corpus.name)}: {terms}"}
    arrays["results"] = np.array(list(networks), dtype=str)
    for n, network in enumerate(networks.values()):
        views = [examples.see(network, image.float()) for image in images]
        arrays[f"attention {n}"] = torch.stack([view.attention for view in views]).numpy()
        arrays[f"similarity {n}"] = torch.stack([view.similarity for view in views]).half().numpy()
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return len(rows)


if __name__ == "__main__":
    raise SystemExit(main())
