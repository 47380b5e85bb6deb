"""``python -m workflow.examples``: the log-Mel images of a few test utterances of people, for figures, as a file to commit.

A rule chooses them before anyone looks. Of each emotion it takes two utterances of the test set: the first by file name
that the run named rightly, and the first that it named wrongly. What networks make of them, attention and tokens,
is committed beside the images, so that a figure needs neither the recordings nor the weights.
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
    networks = {about["result"]: network for network, about in loaded}
    number = save(records.read(options.record), cli.load(options), options.out, networks)
    print(f"{options.out}: {number} utterances, {options.out.stat().st_size / 1e6:.1f} MB")


def chosen(record: records.Record) -> list[int]:
    """Positions in the record's test set: of each emotion the first named rightly and the first named wrongly, if any."""
    test = record.parts["test"]
    order = sorted(range(len(test.file)), key=test.file.__getitem__)
    first: dict[tuple[int, bool], int] = {}
    for i in order:
        first.setdefault((test.true[i], test.true[i] == test.predicted[i]), i)
    return sorted(first.values(), key=lambda i: (test.true[i], test.true[i] != test.predicted[i]))


def save(record: records.Record, corpus: corpora.Corpus, path: Path, networks: Mapping[str, SpectrogramViT]) -> int:
    """Write the chosen utterances' images, every version, as float16 (utterances, versions, 1, height, width) in [0, 1],
    and what ``networks``, by the ``result`` of their records, make of them: attention, float32 (utterances, versions, rows,
    columns), summing to 1; similarity of tokens, float16 (utterances, patches, patches) in [-1, 1].

    Returns:
        how many utterances.

    Raises:
        ValueError: the record is of other recordings, or a network takes images of another size.
    """
    if record.fingerprint != corpus.fingerprint:
        raise SerlibError(f"{path}: the record was not made from these recordings; give the corpus it names")
    known, test, rows = {u.key: u for u in corpus.utterances}, record.parts["test"], chosen(record)
    settings = config.from_plain(config.Features, record.configuration.features)
    shown = [known[test.file[i]] for i in rows]
    images = [examples.versions(u, settings, int(u.sha256[:8], 16)).half() for u in shown]
    held = {"key": np.array([u.key for u in shown]), "images": torch.stack(images).numpy()}
    held |= {name: np.array([record.emotions[getattr(test, name)[i]] for i in rows]) for name in ("true", "predicted")}
    held |= {"result": record.result, "attribution": f"{facts.title(corpus.name)}: {facts.CORPORA[corpus.name].terms}"}
    held["results"] = np.array(list(networks), dtype=str)
    for n, network in enumerate(networks.values()):
        seen = [examples.see(network, of_one.float()) for of_one in images]
        held[f"attention {n}"] = torch.stack([one.attention for one in seen]).numpy()
        held[f"similarity {n}"] = torch.stack([one.similarity for one in seen]).half().numpy()
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **held)
    return len(rows)


if __name__ == "__main__":
    raise SystemExit(main())
