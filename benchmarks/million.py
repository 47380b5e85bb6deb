"""``python -m benchmarks.million``: a corpus of a million images, streamed from shards, beside one file for the corpus.

The ``--count`` images are noise of speech-like length, one byte a pixel; no audio is read. webdataset (the extra ``bench``)
writes and reads the shards, which are tar files. An epoch visits every image once. It takes the shards in a random order,
and draws images from a buffer of ``BUFFER``. So two images of a shard meet only if they lie within a buffer of each other.
The single file is read in an order drawn uniformly from all orders. Before each pass, its files leave the system's cache.
Rates are measured per block of ``BLOCK`` images; a block does not count if the machine's own rate changed around it
(``benchmarks.measure``). Writes benchmarks/million.json, which the book's speed page shows.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from benchmarks import measure
from benchmarks.measure import Spread, own_memory
from serlib import config
from serlib.engine import provenance

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = config.Features.image_size
CLASSES, BATCH = 7, 32
SHARD = 2_000  # images, 33 MB
BUFFER = 2_000  # images in the buffer of the random draw
BLOCK = 20_000  # images between two measurements of the machine's rate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.million", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--count", type=int, default=1_000_000, help="images (default: a million, 34 GB for both forms)"
    )
    parser.add_argument("--folder", type=Path, help="where the files are written for the time being")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/million.json")
    options = parser.parse_args(arguments)
    started, results = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write_shards(Path(name), options.count)
        write_one(Path(name), options.count)
        for form, files, read in (("shards", "*.tar", from_shards), ("one file", "*.npy", from_one)):
            paths = sorted(Path(name).glob(files))
            rates, memory = watched(paths, read(paths, seed=0))
            results[form] = {
                "files": len(paths),
                "bytes": sum(path.stat().st_size for path in paths),
                "blocks": len(rates),
                "images a second": vars(Spread.of(rates or [math.nan])),
                "own memory, MB": memory,
            }
            print(form, json.dumps(results[form]), file=sys.stderr)
    origin = provenance.describe("cpu", torch.get_num_threads(), time.perf_counter() - started)
    settings = {"images": options.count, "shard": SHARD, "buffer": BUFFER, **results}
    options.out.write_text(json.dumps({"made": origin, **settings}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}")
    return 0


def draw(count: int) -> Iterator[tuple[int, ndarray]]:
    """Labels and images (height, width), one byte a pixel, black after a random length; every call gives the same ones."""
    random = np.random.default_rng(0)
    bank = random.integers(1, 256, (HEIGHT, 4_096), dtype=np.uint8)
    for start, length, label in zip(
        random.integers(bank.shape[1] - WIDTH, size=count),
        random.integers(WIDTH // 8, WIDTH + 1, size=count),
        random.integers(CLASSES, size=count),
        strict=True,
    ):
        image = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        image[:, :length] = bank[:, start : start + length]
        yield int(label), image


def write_shards(folder: Path, count: int) -> None:
    """Write tar files of ``SHARD`` images; each image is one member, its label the first byte."""
    import webdataset

    with webdataset.ShardWriter(f"{folder}/%06d.tar", maxcount=SHARD, verbose=0) as sink:
        for number, (label, image) in enumerate(draw(count)):
            sink.write({"__key__": f"{number:09}", "u8": bytes([label]) + image.tobytes()})


def write_one(folder: Path, count: int) -> None:
    """Write one file for the corpus: each row is an image, its label the first byte."""
    stored = np.lib.format.open_memmap(folder / "one.npy", "w+", np.uint8, (count, 1 + HEIGHT * WIDTH))
    for number, (label, image) in enumerate(draw(count)):
        stored[number, 0], stored[number, 1:] = label, image.ravel()
    stored.flush()


def from_shards(paths: Sequence[Path], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch from shards; under torchrun, each process reads different shards."""
    import webdataset

    urls, split = [str(path) for path in paths], webdataset.split_by_node
    shards = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=seed, nodesplitter=split, empty_check=False)
    rows = (np.frombuffer(sample["u8"], np.uint8) for sample in shards.shuffle(BUFFER, initial=BUFFER, seed=seed))
    while batch := [row for _, row in zip(range(BATCH), rows, strict=False)]:
        yield tensors(np.stack(batch))


def from_one(paths: Sequence[Path], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch from the single file."""
    stored = np.load(paths[0], mmap_mode="r")
    for rows in torch.randperm(len(stored), generator=torch.Generator().manual_seed(seed)).split(BATCH):
        yield tensors(stored[rows.numpy()])


def tensors(rows: ndarray) -> tuple[Tensor, Tensor]:
    """Labels (batch,) and images (batch, 1, height, width) in [0, 1]."""
    images = torch.from_numpy(rows[:, 1:].astype(np.float32)).div_(255)
    return torch.from_numpy(rows[:, 0].astype(np.int64)), images.unflatten(1, (1, HEIGHT, WIDTH))


def watched(paths: Sequence[Path], batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[list[float], list[float]]:
    """Images a second of every block that counts, and the process's own memory in MB after every block."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rates, memory, before = [], [], (measure.rate(),)
    while True:
        count, start = 0, time.perf_counter()
        for labels, _ in batches:
            count += len(labels)
            if count >= BLOCK:
                break
        seconds = time.perf_counter() - start
        if not count:
            return rates, memory
        after = (measure.rate(),)
        if measure.same(before, after):
            rates.append(count / seconds)
        memory.append(own_memory())
        before = after


if __name__ == "__main__":
    raise SystemExit(main())
