"""``python -m benchmarks.cpu``: how fast the companion is on this machine's CPU, beside the plain computation.

Prints a table and writes all that the book's speed page draws. Alternatives take turns, and how many times as fast one is
as another is the ratio of two turns of one round. Seconds, rates and megabytes are those of this machine alone. Images are
those of the synthetic speech that ``make book`` made (their silence is computed once by the package), and the same number
without silence, where nothing can be saved. What is measured while the machine is busy with something else is measured
again, and at last counts as not measured (``benchmarks.measure``). A part that fails takes nothing from the others, and
``--parts`` measures some anew.

Every run stays in the file with its machine and both rates, the newest last, and the worst run judges a target. Pictures
show the newest run. ``--anew`` forgets earlier runs of what it measures, for after a change of the code that is timed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks import measure, peers, reference
from benchmarks.measure import PRODUCT, Spread, faster, own_memory, rounds, row, show, steadily, tree_memory
from serlib import config, flops, losses, records, training
from serlib.data import audio, corpora, facts, features
from serlib.engine import provenance
from serlib.engine.distributed import make_fabric
from serlib.model import SpectrogramViT

ROOT = Path(__file__).parents[1]
BATCH = 32
MATCHED = 64, 10  # images and epochs of stage (b)
SIZES = (1, 2, 4, 8, 16, 32, 64)  # images at once
COUNTS = (100, 1_000, 10_000, 100_000)  # images mapped from disk
NETWORKS = ("TEACHER", "STUDENT")  # by_cores starts processes for
PASS = 2**26  # numbers, more than any cache holds
LOADING = "most of it PyTorch itself, in its build for CUDA"
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
COUNTS_OF = flop_registry | {  # PyTorch counts the attention of GPUs alone
    FUSED: lambda q, k, v, *_, **__: sdpa_flop_count(q.shape, k.shape, v.shape),
    FUSED_BACKWARD: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape),
}
TRAINED = 3  # a training step costs about three times the operations of looking at an image


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cpu", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="a folder of recordings for the feature extraction (default: synthetic)"
    )
    parser.add_argument("--weights", type=Path, help="folder of trained students and their records, for the eight bits")
    parser.add_argument("--recordings", type=Path, help="folder of the recordings that those held out")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of every comparison")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/cpu.json")
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--parts", nargs="+", choices=names, metavar="PART", help=f"only some of {', '.join(names)}")
    parser.add_argument("--anew", action="store_true", help="forget earlier runs of what is measured")
    options = parser.parse_args(arguments)
    nothing = {"runs": [], "table": [], "made": {}}
    there = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else nothing
    before = there if options.parts else nothing
    corpus, images = synthetic()
    full = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    begun, started_at = time.perf_counter(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    limits = machine(5 * options.repeats)
    memory = limits["pass over memory, all cores"]["median"]
    given = {"corpus": corpus, "images": images, "full": full, "memory": memory, "options": options}
    rows, found, made, failed = {}, {}, {}, []
    for part in PARTS:
        name, started = part.__name__, time.perf_counter()
        if name in (options.parts or names):
            print(f"{started - begun:6.0f} s  {name}", file=sys.stderr)
            try:
                rows[name], found[name] = part(**given)
            except Exception:
                traceback.print_exc()
                failed.append(name)
            else:
                made[name] = provenance.describe("cpu", threads, time.perf_counter() - started)
                made[name]["processor"] = processor()
    show([line for more in rows.values() for line in more])
    known = {(line["part"], line["what"]): line["runs"] for line in there["table"]}
    kept = []
    for name, more in rows.items():
        for line in more:
            earlier = () if options.anew and line["measured"] else known.get((name, line["what"]), ())
            kept.append(measure.judged({**line, "part": name}, earlier, started_at))
    kept += [line for line in before["table"] if line["part"] not in rows]
    rates = {name.removesuffix(", all cores"): at["median"] for name, at in limits.items() if "all" in name}
    run = provenance.describe("cpu", threads, time.perf_counter() - begun)
    run |= {"started": started_at, "processor": processor(), "rounds": options.repeats, "rates": rates}
    counted = {of["run"] for line in kept for of in line["runs"]}
    runs = [of for of in (*there["runs"], run) if of["started"] in counted]
    written = {"limits": limits, **before, **found, "made": before["made"] | made, "runs": runs}
    if "roofline" in found:  # whose points stand under them
        written["limits"] = limits
    written["table"] = sorted(kept, key=lambda line: names.index(line["part"]))
    options.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}" + f"; failed: {', '.join(failed)}" * bool(failed))
    return 1 if failed else 0


def synthetic() -> tuple[corpora.Corpus, Tensor]:
    folder = ROOT / "build/synthetic/emodb"
    if not (folder / "corpus.json").exists():
        raise SystemExit("serlib: no synthetic speech yet: run `make bench`, or `make book` first")
    corpus = corpora.read(folder / "corpus.json", folder / "audio", "emodb", "synthetic")
    paths, hashes = zip(*((u.path, u.sha256) for u in corpus.utterances), strict=True)
    return corpus, features.images(paths, hashes, config.Features(), ROOT / "build/cache", progress=False)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def machine(repeats: int) -> dict[str, dict[str, float]]:
    """The two limits: operations a second of a large matrix product, bytes a second of a pass over memory."""
    found = {}
    a, b = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT)
    x, y = torch.rand(PASS), torch.rand(PASS)
    for cores in sorted({1, torch.get_num_threads()}):
        threads, name = torch.get_num_threads(), "one core" if cores == 1 else "all cores"
        torch.set_num_threads(cores)
        times = rounds({"product": lambda: a @ b, "pass": lambda: torch.add(x, y, out=x)}, repeats)
        torch.set_num_threads(threads)
        found[f"matrix product, {name}"] = vars(Spread.of([2 * PRODUCT**3 / t for t in times["product"]]))
        found[f"pass over memory, {name}"] = vars(Spread.of([3 * 4 * PASS / t for t in times["pass"]]))
    return found


def trainer(model: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor, fused: bool) -> Callable[[], None]:
    """One training step on a batch."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=fused)
    batch = images[:BATCH]
    labels = torch.arange(len(batch)) % 7

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(forward(batch), labels).backward()
        optimizer.step()

    return step


def both(model: SpectrogramViT, images: Tensor) -> dict[str, Callable[[], None]]:
    plain = SpectrogramViT(model.config)
    return {
        "plain": trainer(plain, lambda batch: reference.network(plain, batch).logits, images, fused=False),
        "ours": trainer(model, lambda batch: model(batch).logits, images, fused=True),
    }


def steps(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Training steps of teacher and student, and their share of the matrix product's rate around them."""
    rows, about = [], {}
    for name, settings, least in (("teacher", config.TEACHER, 1.6), ("student", config.STUDENT, 1.0)):
        work = TRAINED * BATCH * flops.count(settings).flops
        for kind, given in (("speech", images), ("no silence", full)):
            times = rounds(both(SpectrogramViT(settings), given), options.repeats)
            ratio = faster(times, "plain", "ours")
            share = Spread.of([work / t / at for t, at in zip(times["ours"], times.rates, strict=True)])
            about[f"{name}, {kind}"] = {"seconds": times, "share": vars(share), "operations": work}
            said = f"{share.median:.0%} of the measured matrix-product rate"
            if kind == "speech":
                said += ", counting the operations that were saved"
            rows.append(
                row(f"{name} training step, {kind}, {BATCH} images", f"{least} x", ratio, ratio.median >= least, said)
            )
            if name == "student" and kind == "no silence":
                rows.append(
                    row("  its share of the matrix-product rate", "0.9", share, share.median >= 0.9, "no silence")
                )
    return rows, about


def stages(images: Tensor, options: argparse.Namespace, **_: object):
    """Stage (b): the frozen teacher once an image, or once an image and epoch."""
    count, epochs = MATCHED
    given, settings = images[:count], config.Training(epochs=epochs)
    teacher = SpectrogramViT(config.TEACHER).eval()

    def ours() -> None:
        bench = training.TrainState(
            make_fabric(), settings, given, torch.arange(count), torch.zeros(count, dtype=int),
            progress=False,
        )  # fmt: skip
        followed = training.outputs(teacher, given, bench.rows, lambda output: output.pooled)
        training.match_feature_maps(bench, SpectrogramViT(config.STUDENT), followed, "pooled")

    def plain() -> None:
        student = SpectrogramViT(config.STUDENT)
        optimizer = torch.optim.AdamW(student.parameters(), 3e-4)
        for _ in range(epochs):
            for batch in given.split(BATCH):
                with torch.no_grad():
                    followed = reference.network(teacher, batch).pooled
                optimizer.zero_grad()
                losses.matching(reference.network(student, batch).pooled, followed).backward()
                optimizer.step()

    times = rounds({"plain": plain, "ours": ours}, max(2, options.repeats // 2))
    ratio = faster(times, "plain", "ours")
    said = f"{count} images, {epochs} epochs; with more epochs the teacher's one look counts for less"
    return [row("stage (b), teacher once an image", "3 x", ratio, ratio.median >= 3, said)], {"seconds": times}


def inference(corpus: corpora.Corpus, options: argparse.Namespace, **_: object):
    """From a file of three seconds to an emotion, the network loaded: PyTorch, ONNX, ONNX in eight bits."""
    import onnx
    import onnxruntime
    import soundfile

    from serlib import checkpoints
    from workflow import export

    rows, about = [], {}
    settings = config.Features()
    samples = np.concatenate([features.read_audio(u.path, settings).numpy() for u in corpus.utterances[:3]])[:48_000]
    trained = sorted(options.weights.rglob("student-alone*.safetensors")) if options.weights else []
    network = checkpoints.load(trained[0])[0] if trained else SpectrogramViT(config.STUDENT).eval()
    with tempfile.TemporaryDirectory() as folder:
        file, exact, small = (Path(folder, name) for name in ("a.wav", "exact.onnx", "int8.onnx"))
        soundfile.write(file, samples, settings.sample_rate)
        export.write_onnx(network, settings, corpus.emotions, exact)
        export.quantise(exact, small)
        alone = onnxruntime.SessionOptions()
        alone.intra_op_num_threads = torch.get_num_threads()
        alone.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or it takes the others' turns too
        sessions = {path.stem: onnxruntime.InferenceSession(path, alone) for path in (exact, small)}
        for path in (exact, small):  # the network alone, from the image
            image = next(node.output[0] for node in reversed(onnx.load(path).graph.node) if node.op_type == "Clip")
            onnx.utils.extract_model(path, Path(folder, "network.onnx"), [image], ["logits"])
            sessions[f"{path.stem} network"] = onnxruntime.InferenceSession(Path(folder, "network.onnx"), alone)
        pixels = features.image(torch.from_numpy(samples), settings)[0].numpy()

        def from_image(name: str) -> np.ndarray:
            session = sessions[f"{name} network"]
            return session.run(None, {session.get_inputs()[0].name: pixels})[0]

        def graph(name: str) -> np.ndarray:
            given = features.read_audio(file, settings).numpy()
            return sessions[name].run(None, {"samples": given})[0]

        def pytorch() -> Tensor:
            with torch.inference_mode():
                return network(features.image(features.read_audio(file, settings), settings)[None]).logits[0]

        times = rounds(
            {
                "PyTorch": pytorch,
                **{name: lambda name=name: graph(name) for name in ("exact", "int8")},
                **{f"{name} network": lambda name=name: from_image(name) for name in ("exact", "int8")},
            },
            10 * options.repeats,
        )
        apart = float(np.abs(graph("exact") - pytorch().numpy()).max())
        about["seconds"] = times
    for name, key in (("PyTorch", "PyTorch"), ("ONNX", "exact"), ("ONNX, eight bits", "int8")):
        spread = Spread.of([1000 * t for t in times[key]])
        rows.append(row(f"file of 3 s to emotion, student, {name}, ms", "15", spread, spread.median < 15))
    rows.append(row("ONNX against PyTorch, largest difference of a logit", "1e-4", Spread.of([apart]), apart < 1e-4))
    ratio = faster(times, "exact network", "int8 network")
    rows.append(row("student in eight bits against single precision, ONNX", "1.5 x", ratio, ratio.median >= 1.5))
    ratio = faster(times, "exact", "int8")
    rows.append(row("  the same from file to emotion", "", ratio, None, "the log-Mel image stays in single precision"))
    rows.append(eight_bits(trained, options.recordings))
    return rows, about


def eight_bits(trained: Sequence[Path], data: Path | None) -> dict[str, object]:
    """Accuracy of trained students in eight bits on what their runs held out, in points from single precision."""
    import onnxruntime

    from serlib import checkpoints
    from workflow import export

    what, target = "accuracy of the eight-bit student, points from single precision", "0.5"
    if not trained or data is None:
        return row(what, target, None, None, "needs --weights and --recordings")
    settings, right, utterances = config.Features(), {"exact": 0, "int8": 0}, 0
    files = {path.name: path for path in data.rglob("*.wav")}
    with tempfile.TemporaryDirectory() as folder:
        for weights in trained:
            record = records.read(weights.with_suffix(".json"))
            export.write_onnx(checkpoints.load(weights)[0], settings, record.emotions, Path(folder, "exact.onnx"))
            export.quantise(Path(folder, "exact.onnx"), Path(folder, "int8.onnx"))
            for name in right:
                session = onnxruntime.InferenceSession(Path(folder, f"{name}.onnx"))
                held_out = record.parts["test"]
                for file, true in zip(held_out.file, held_out.true, strict=True):
                    samples = features.read_audio(files[Path(file).name], settings).numpy()
                    right[name] += int(session.run(None, {"samples": samples})[0].argmax() == true)
            utterances += len(held_out.file)
    points = 100 * (right["int8"] - right["exact"]) / utterances
    said = (
        f"{record.corpus}, {record.protocol}, {len(trained)} folds, {utterances} held out: "
        f"WA {right['int8'] / utterances:.1%} against {right['exact'] / utterances:.1%}"
    )
    return row(what, target, Spread.of([points]), abs(points) <= 0.5, said)


def extraction(corpus: corpora.Corpus, options: argparse.Namespace, **_: object):
    """Files to images, all cores, in a process of its own; librosa's own pipeline in one process."""
    import librosa

    settings = config.Features()
    files = sorted((options.data or ROOT / "build/synthetic/emodb/audio").resolve().rglob("*.wav"))
    files = [path for path in files if path.name not in facts.CREMA_D_DEFECTIVE]  # one is silent, and would be refused

    def by_librosa(path: Path) -> np.ndarray:
        samples, _ = librosa.load(path, sr=settings.sample_rate)
        power = librosa.feature.melspectrogram(
            y=samples, sr=settings.sample_rate, n_fft=settings.fft_length, win_length=settings.window_length,
            hop_length=settings.hop_length, n_mels=settings.mel_bands, pad_mode="constant",
        )  # fmt: skip
        return librosa.power_to_db(power, ref=np.max, top_db=settings.dynamic_range)

    code = (
        "import sys, time; from pathlib import Path; from benchmarks.measure import tree_memory\n"
        "from serlib import config; from serlib.data import features; from serlib.files import sha256\n"
        "files = [Path(line) for line in sys.stdin.read().splitlines()]\n"
        "features.image(features.read_audio(files[0], config.Features()), config.Features())\n"
        "hashes = list(map(sha256, files)); before = tree_memory(); start = time.perf_counter()\n"
        "features.images(files, hashes, config.Features(), Path(sys.argv[1]), progress=False)\n"
        "print(time.perf_counter() - start, before)\n"
    )
    few = files[:: max(1, len(files) // 200)]
    by_librosa(few[0])
    given = "\n".join(map(str, files))

    def both() -> tuple[float, ...]:
        start = time.perf_counter()
        for path in few:
            by_librosa(path)
        librosas = len(few) / (time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as cache:
            command, pipe = [sys.executable, "-c", code, cache], subprocess.PIPE
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
                process.stdin.write(given)
                process.stdin.close()
                held = [0.0]
                while process.poll() is None:
                    held.append(tree_memory(process.pid))
                    time.sleep(1)  # a look takes 50 ms of a core
                seconds, before = map(float, process.stdout.read().split())
        return len(files) / seconds, librosas, max(held) - before, max(held)

    waves, threads = [features.read_audio(path, settings) for path in few], torch.get_num_threads()
    torch.set_num_threads(1)
    steps = {
        "reading and checking": lambda: [audio.read(path, settings) for path in few],
        "mel power": lambda: [features.mel_power(wave, settings) for wave in waves],
        "mel power and image": lambda: [features.image(wave, settings) for wave in waves],
        "file to image": lambda: [features.picture(path, settings) for path in few],
        "librosa, reading": lambda: [librosa.load(path, sr=settings.sample_rate) for path in few],
        "librosa, file to decibels": lambda: [by_librosa(path) for path in few],
    }
    tries = min(3, options.repeats)
    times = rounds(steps, tries)
    torch.set_num_threads(threads)
    each = {name: vars(Spread.of([1000 * at / len(few) for at in taken])) for name, taken in times.items()}
    measured = [turn for _ in range(tries) if (turn := steadily(both))] or [(math.nan,) * 4]
    rates, librosas, own, whole = zip(*measured, strict=True)
    ratios = [ours / theirs for ours, theirs in zip(rates, librosas, strict=True)]
    ratio = Spread.of(ratios)
    said = f"{len(files):,} files; {rates[-1]:.0f} files/s against {librosas[-1]:.0f} of librosa ({len(few)} files)"
    said += f"; {len(measured)} of {tries} turns counted"
    rows = [
        row("feature extraction against librosa in one process", "4 x", ratio, ratio.median >= 4, said),
        row("  memory of the whole process, MB", "500", Spread.of(whole), max(whole) < 500, LOADING),
        row("  of it above what the loaded libraries hold, MB", "500", Spread.of(own), max(own) < 500),
    ]
    return rows, {"files a second": list(zip(rates, librosas, strict=True)), "milliseconds a file": each}


def starting(options: argparse.Namespace, **_: object):
    """Seconds until the package is imported, and until its help is printed."""
    commands = {"import": ("-c", "import serlib"), "help": ("-m", "serlib", "--help")}

    def start(arguments: Sequence[str]) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=ROOT)

    times = rounds({name: start(arguments) for name, arguments in commands.items()}, options.repeats)
    found = {name: Spread.of(values) for name, values in times.items()}
    return [
        row("import serlib, s, Python's own start included", "0.3", found["import"], found["import"].median < 0.3),
        row("python -m serlib --help, s", "0.5", found["help"], found["help"].median < 0.5),
    ], {"seconds": times}


def comparison(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Time an image and operations, in training and in use, beside other libraries' networks."""
    student, plain = SpectrogramViT(config.STUDENT), flops.count(config.STUDENT).flops
    networks = {"serlib student": (student, plain)} | {name: (net, count) for name, net, count in peers.peers()}
    rows, about = [], {}
    for kind, given in (("speech", images), ("no silence", full)):

        def forward(network: nn.Module, given: Tensor = given) -> Callable[[], object]:
            def run() -> object:
                with torch.inference_mode():
                    return network.eval()(given[:BATCH])

            return run

        def step(network: nn.Module, given: Tensor = given) -> Callable[[], None]:
            network.train()
            of = (lambda batch: network(batch).logits) if network is student else network
            return trainer(network, of, given, fused=True)

        for use, make in (("training", step), ("inference", forward)):
            times = rounds({name: make(net) for name, (net, _) in networks.items()}, options.repeats)
            about[f"{use}, {kind}"] = {
                name: {
                    "operations": count,
                    "milliseconds": vars(Spread.of([1000 * t / len(given[:BATCH]) for t in times[name]])),
                }
                for name, (_, count) in networks.items()
            }
            for name, (_, count) in networks.items():
                if name == "serlib student":
                    continue
                per_operation = Spread.of(
                    [(a / count) / (b / plain) for a, b in zip(times[name], times["serlib student"], strict=True)]
                )
                rows.append(
                    row(f"{use} per operation against {name}, {kind}", "1 x", per_operation, per_operation.median >= 1)
                )
    return rows, about


def by_batch(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Images a second against batch size."""
    found = {}
    for name, settings in (("teacher", config.TEACHER), ("student", config.STUDENT)):
        model = SpectrogramViT(settings)
        for size in SIZES:

            def use(model: SpectrogramViT = model, size: int = size) -> None:
                with torch.inference_mode():
                    model(images[:size])

            def learn(model: SpectrogramViT = model, size: int = size) -> None:
                model(images[:size]).logits.sum().backward()

            times = rounds({"inference": use, "training": learn}, max(2, options.repeats // 2))
            for kind, values in times.items():
                found.setdefault(f"{name}, {kind}", {})[size] = vars(Spread.of([size / t for t in values]))
    return [], found


def by_configuration(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Milliseconds an image against operations, for every network that a run can train; no silence."""
    found = {}
    for name, run in config.RUNS.items():
        if run.teacher:
            continue
        model = SpectrogramViT(run.model).eval()

        def use(model: SpectrogramViT = model) -> None:
            with torch.inference_mode():
                model(full[:8])

        times = rounds({"ours": use}, max(2, options.repeats // 2))["ours"]
        about = vars(Spread.of([1000 * t / 8 for t in times]))
        found[name] = {"operations": flops.count(run.model).flops, "milliseconds": about}
    return [], found


def by_cores(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Training images a second on one thread, on all, and by one process a core."""
    found, cores = {}, os.cpu_count() or 1
    code = (
        "import sys, time, torch; from benchmarks import cpu; from serlib import config; from serlib.model import SpectrogramViT\n"
        "images = torch.load(sys.argv[2], weights_only=True); model = SpectrogramViT(getattr(config, sys.argv[1]))\n"
        "step = cpu.trainer(model, lambda batch: model(batch).logits, images, True)\n"
        "for line in sys.stdin:\n"
        "    torch.set_num_threads(int(line)); step(); print(flush=True); sys.stdin.readline()\n"
        "    start = time.perf_counter(); [step() for _ in range(4)]; print(time.perf_counter() - start, flush=True)\n"
    )

    def together(processes: list[subprocess.Popen], threads: int) -> float:
        for said in (f"{threads}\n", "\n"):  # every process is warm before one is measured
            for process in processes:
                process.stdin.write(said)
                process.stdin.flush()
            heard = [process.stdout.readline() for process in processes]
        return sum(4 * len(images[:BATCH]) / float(seconds) for seconds in heard)

    ways = {
        "1 process, 1 thread": (1, 1),
        f"1 process, {cores} threads": (cores, 1),
        f"{cores} processes, 1 thread each": (1, cores),
    }
    with tempfile.NamedTemporaryFile() as file:
        torch.save(images[:BATCH].clone(), file.name)
        for name in NETWORKS:
            speeds: dict[str, list[float]] = defaultdict(list)
            with ExitStack() as stack:
                started = ([sys.executable, "-c", code, name, file.name] for _ in range(cores))
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                running = [stack.enter_context(subprocess.Popen(each, cwd=ROOT, **pipes)) for each in started]
                for _ in range(min(options.repeats, max(2, options.repeats // 2))):
                    for way, (threads, processes) in ways.items():
                        run = partial(together, running[:processes], threads)
                        speeds[way].append(steadily(run) or math.nan)
            found[name.lower()] = {way: vars(Spread.of(values)) for way, values in speeds.items()}
    return [], found


def by_utterances(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """A student's training steps on images mapped from disk: seconds a step and memory of its own, up to 100,000."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            stored = np.lib.format.open_memmap(f"{folder}/{count}.npy", "w+", "<f4", (count, 1, 128, 128))
            for start in range(0, count, len(images)):
                stored[start : start + len(images)] = images[: count - start].numpy()
            stored.flush()
            del stored
            mapped = torch.from_numpy(np.load(f"{folder}/{count}.npy", mmap_mode="c"))
            model = SpectrogramViT(config.STUDENT)
            optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=True)
            drawn = torch.randint(count, (8 * options.repeats, BATCH), generator=torch.Generator().manual_seed(0))

            def steps(mapped=mapped, model=model, optimizer=optimizer, drawn=drawn) -> list[float]:
                labels = torch.arange(BATCH) % 7
                times = []
                for rows in drawn:
                    start = time.perf_counter()
                    optimizer.zero_grad()
                    functional.cross_entropy(model(mapped[rows]).logits, labels).backward()
                    optimizer.step()
                    times.append(time.perf_counter() - start)
                return times[1:]

            times = steadily(steps) or [math.nan]
            found[count] = {"seconds a step": vars(Spread.of(times)), "own memory, MB": own_memory()}
            Path(f"{folder}/{count}.npy").unlink()
    return [], found


def roofline(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Operations a second of the network's parts against operations a byte that they move (inputs, outputs, weights)."""
    inputs, outputs = config.TEACHER.stem[1], config.TEACHER.stem[2]
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    rows = torch.rand(BATCH * config.STUDENT.num_patches, config.STUDENT.width)
    qkv = nn.Linear(config.STUDENT.width, 3 * config.STUDENT.heads * config.STUDENT.head_width, bias=False)
    found: dict[str, object] = {}
    parts: dict[str, tuple[Callable[[], Tensor], float, float]] = {}
    for batch, where in ((BATCH, "32 images at once"), (1, "one image at a time")):
        before = torch.rand(batch, inputs, *config.TEACHER.image_size)
        after = torch.rand(batch, outputs, *config.TEACHER.image_size)
        moved = 2 * 4 * after.numel()
        work = 2 * 9 * inputs * after.numel()
        parts[f"convolution, {where}"] = (
            lambda before=before: convolution(before), work, 4 * (before.numel() + after.numel())
        )  # fmt: skip
        parts[f"InstanceNorm, {where}"] = (
            lambda after=after: functional.instance_norm(after),
            5 * after.numel(),
            moved,
        )
        parts[f"GELU, {where}"] = (lambda after=after: functional.gelu(after), 8 * after.numel(), moved)
    parts["joint projection, 32 images at once"] = (
        lambda: qkv(rows), 2 * rows.numel() * qkv.out_features,
        4 * (rows.numel() + len(rows) * qkv.out_features + qkv.weight.numel()),
    )  # fmt: skip
    c = config.STUDENT
    q, k, v = torch.rand(3, BATCH, c.heads, c.num_patches, c.head_width)
    work = sdpa_flop_count(q.shape, k.shape, v.shape)
    parts |= {
        "attention, fused": (lambda: functional.scaled_dot_product_attention(q, k, v), work, 4 * 4 * q.numel()),
        "attention, its products one by one": (lambda: (q @ k.mT).softmax(dim=-1) @ v, work, 4 * 4 * q.numel()),
    }
    with torch.inference_mode():
        for name, (run, work, moved) in parts.items():
            times = rounds({name: run}, 3 * options.repeats)[name]
            speed = vars(Spread.of([work / t for t in times]))
            found[name] = {"operations": work, "bytes": moved, "operations a second": speed}
    return [], found


def profile(full: Tensor, memory: float, options: argparse.Namespace, **_: object):
    """A training step without silence, operator by operator: launches, bytes, operations and milliseconds.

    ``share`` is the time that the operations and the bytes need at least, of the time taken: at the matrix product's rate
    just before and after, and the memory's at the start.
    """
    found = {}
    for name, settings in (("teacher", config.TEACHER), ("student", config.STUDENT)):
        model = SpectrogramViT(settings)
        step = trainer(model, lambda batch, model=model: model(batch).logits, full, fused=True)
        step()

        def watched(step=step) -> tuple[dict[str, dict[str, float]], float]:
            at = measure.rate()
            with Operators() as operators:
                step()
            return operators.found, at

        taken, rate = steadily(watched) or ({}, math.nan)
        found[name] = {
            op: {**at, "share": max(at["operations"] / rate, at["bytes"] / memory) / at["seconds"]}
            for op, at in sorted(taken.items(), key=lambda item: -item[1]["seconds"])[:12]
        }
    return [], found


class Operators(TorchDispatchMode):
    """Launches, seconds, bytes (inputs and outputs) and operations of every operator that is called, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, float]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        seconds, packet = time.perf_counter() - start, func.overloadpacket
        if not func.is_view:
            zero = {"launches": 0, "seconds": 0.0, "bytes": 0, "operations": 0}
            at = self.found.setdefault(str(packet).removeprefix("aten."), zero)
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            at["launches"] += 1
            at["seconds"] += seconds
            at["bytes"] += sum(x.numel() * x.element_size() for x in tensors)
            if packet in COUNTS_OF:
                at["operations"] += COUNTS_OF[packet](*args, **(kwargs or {}), out_val=out)
        return out


PARTS = (
    steps, stages, inference, extraction, starting, comparison,
    by_batch, by_configuration, by_cores, by_utterances, roofline, profile,
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
