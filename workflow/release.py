"""``python -m workflow.release RECORD NAME --data FOLDER``: writes trained weights to be committed, with their card.

Writes ``weights/NAME.safetensors`` (half precision) and ``weights/NAME.md``. The card's numbers come from the record, and
from predicting the test recordings again with the halved weights. ``python -m serlib predict FILE --weights`` reads the
weights. If a run was trained again and its results differ from the committed record, ``weights/NAME.json`` is its record.
"""

import argparse
from pathlib import Path

import torch

from companion import evidence, results
from serlib import checkpoints, config, records, training
from serlib.data import corpora, features
from serlib.engine.command import run
from serlib.errors import SerlibError
from serlib.files import atomic_write
from studies import frontends
from workflow import cards

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser("python -m workflow.release", description="Weights of a run, to be committed.")
    parser.add_argument("record", type=Path, help="a run's record, its weights beside it")
    parser.add_argument("name", help="of the two files")
    parser.add_argument("--data", type=Path, required=True, help="the corpus's recordings")
    parser.add_argument("--out", type=Path, default=ROOT / "weights")
    parser.add_argument("--cache", type=Path, default=Path("build/cache"))
    parser.set_defaults(command=release)
    return run(parser)


def release(options: argparse.Namespace) -> None:
    record = records.read(options.record)
    network, metadata = frontends.load(options.record.with_suffix(".safetensors"))
    if metadata["result"] != record.result:
        raise SerlibError(f"{options.record}: the weights beside it are of another run")
    corpus = corpora.load(record.corpus, options.data)
    if corpus.fingerprint != record.fingerprint:
        raise SerlibError(f"{options.data}: not the recordings that {options.record} was made from")
    committed_path = ROOT / "results" / record.location
    if not committed_path.exists():
        raise SerlibError(f"{options.record}: no committed record: its card tells what those say; `make results` first")
    weights = options.out / f"{options.name}.safetensors"
    options.out.mkdir(parents=True, exist_ok=True)
    if records.read(committed_path).result != record.result:
        records.write(record, weights.with_suffix(".json"))
    else:
        weights.with_suffix(".json").unlink(missing_ok=True)
    checkpoints.save(network.half(), weights, **metadata)
    halved, _ = frontends.load(weights)
    settings = config.from_plain(config.Features, metadata["features"])
    paths, hashes = zip(*((u.path, u.sha256) for u in corpus.utterances), strict=True)
    images = features.images(paths, hashes, settings, options.cache)
    test = record.parts["test"]
    predicted = training.predict(halved, images, torch.tensor(corpus.rows(test.file)))
    changed = sum(a != b for a, b in zip(predicted, test.predicted, strict=True))
    with atomic_write(options.out / f"{options.name}.md") as beside:
        committed_rows = evidence.read(ROOT).predictions
        beside.write_text(
            cards.card(record, weights, changed, committed_rows, results.seed_noise(committed_rows)), encoding="utf-8"
        )
    print(weights)


if __name__ == "__main__":
    raise SystemExit(main())
