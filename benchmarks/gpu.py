"""``python -m benchmarks.gpu``: training on a GPU, images a second, beside the plain computation in single precision.

Four ways take turns:

* plain: eager, single precision
* ours: the package's network, eager
* bf16 compiled: ``bfloat16`` autocast and ``torch.compile``
* stacked: networks of several folds and seeds, trained at once in one program (``torch.func``), since one network alone
  leaves a GPU idle

Writes benchmarks/gpu.json; the book's speed page shows it with its date and card. Of other packages, it needs only PyTorch
and Lightning, neither librosa nor soundfile.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional

from benchmarks import reference
from benchmarks.measure import Spread, faster, rounds, row, show, turns_of
from serlib import config, flops
from serlib.engine import provenance
from serlib.model import SpectrogramViT

ROOT = Path(__file__).parents[1]
BATCH = 32
TRAINED = 3  # a training step costs about three times the operations of a forward pass


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--stacked", type=int, default=10, help="networks trained at once")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/gpu.json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU at hand: nothing measured, nothing written")
        return 0
    device, started = torch.device("cuda"), time.perf_counter()
    matrix = torch.rand(8192, 8192, device=device, dtype=torch.bfloat16)

    def limits(repeats: int = 5) -> Spread:
        return Spread.of(
            [2 * 8192**3 / turns_of({"product": lambda: matrix @ matrix})["product"] for _ in range(repeats)]
        )

    limit = limits(options.repeats)
    rows, speeds = [], {}
    for name, settings in (("teacher", config.TEACHER), ("student", config.STUDENT)):
        ways = {
            "plain": (trainer(settings, device, plain=True), 1),
            "ours": (trainer(settings, device), 1),
            "bf16 compiled": (trainer(settings, device, compiled=True), 1),
            f"bf16, {options.stacked} stacked": (stacked(settings, device, options.stacked), options.stacked),
        }
        steps = {way: step for way, (step, _) in ways.items()}
        times = rounds(steps, options.repeats, speed=lambda: (limits().median,))
        per_image = {way: [t / (count * BATCH) for t in times[way]] for way, (_, count) in ways.items()}
        speeds[name] = {way: vars(Spread.of([1 / t for t in values])) for way, values in per_image.items()}
        for way in list(ways)[1:]:
            ratio = faster(per_image, "plain", way)
            share = TRAINED * flops.count(settings).flops * speeds[name][way]["median"] / limit.median
            note = f"{speeds[name][way]['median']:,.0f} images/s; {share:.0%} of the card's bf16 matrix-product rate"
            rows.append(row(f"{name} training, {way}", "8 x", ratio, ratio.median >= 8, note))
    show(rows)
    card = torch.cuda.get_device_name()
    origin = {**provenance.describe("cuda", torch.get_num_threads(), time.perf_counter() - started), "card": card}
    report = {"made": origin, "limit": vars(limit), "table": rows, "images a second": speeds}
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}")
    return 0


def trainer(
    settings: config.Model, device: torch.device, plain: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """A function that takes one training step of one network, on a batch without silence."""
    model = SpectrogramViT(settings).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=not plain)
    images, labels = _batch(device)

    def loss() -> Tensor:
        logits = (reference.network(model, images) if plain else model(images)).logits
        return functional.cross_entropy(logits, labels)

    compute_loss = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=compiled):
            value = compute_loss()
        value.backward()
        optimizer.step()

    return step


def stacked(
    settings: config.Model, device: torch.device, count: int, precise: bool = False, seed: int = 0
) -> Callable[[], Tensor]:
    """A function that takes one training step of ``count`` networks at once, on one batch, and returns their losses."""
    models = []
    for i in range(count):
        torch.manual_seed(seed + i)
        models.append(SpectrogramViT(settings).to(device))
    parameters, buffers = stack_module_state(models)
    skeleton = models[0]
    images, labels = (t.expand(count, *t.shape) for t in _batch(device))
    optimizer = torch.optim.AdamW(parameters.values(), 3e-4, fused=device.type == "cuda")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=not precise):
            logits = functional_call(skeleton, (parameters, buffers), (images,)).logits
        return functional.cross_entropy(logits.float(), labels)

    together = vmap(grad_and_value(loss), randomness="different")
    compute_gradients = together if precise else torch.compile(together)

    def step() -> Tensor:
        gradients, values = compute_gradients(parameters, buffers, images, labels)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        optimizer.step()
        return values

    return step


def _batch(device: torch.device) -> tuple[Tensor, Tensor]:
    images = torch.rand(BATCH, 1, *config.STUDENT.image_size, generator=torch.Generator().manual_seed(0))
    return images.to(device), (torch.arange(BATCH) % config.STUDENT.num_classes).to(device)


if __name__ == "__main__":
    raise SystemExit(main())
