"""``python -m benchmarks.cpu``: how fast the companion is on this machine's CPU, beside the plain computation.

Prints a table and writes the data of the book's speed page. Alternatives take turns, and a speed ratio compares two turns
of one round. Seconds, rates and megabytes hold for this machine only. The images come from the synthetic speech of ``make
book``; the package computes their silence once. As many images without silence are timed too: there nothing can be saved.
If the machine is busy, a block is measured again; after some tries it counts as not measured (``benchmarks.measure``). A
part that fails does not affect the others. ``--parts`` measures only the named parts anew.

The file keeps every run with its machine and both rates, newest last. The worst run judges a target, and pictures show the
newest run. ``--anew`` forgets earlier runs of the parts that it measures: use it after a change of the timed code.
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
from serlib.files import atomic_write
from serlib.model import SpectrogramViT

ROOT = Path(__file__).parents[1]
BATCH = 32
MATCHED = 64, 10  # images and epochs of stage (b)
SIZES = (1, 2, 4, 8, 16, 32, 64)  # images at once
COUNTS = (100, 1_000, 10_000, 100_000)  # images mapped from disk
NETWORKS = ("TEACHER", "STUDENT")  # by_cores starts processes for these
PASS = 2**26  # numbers: more than any cache holds
LOADING = "most of it PyTorch itself, in its build for CUDA"
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
COUNTS_OF = flop_registry | {  # PyTorch itself counts attention on GPUs only
    FUSED: lambda q, k, v, *_, **__: sdpa_flop_count(q.shape, k.shape, v.shape),
    FUSED_BACKWARD: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape),
}
TRAINED = 3  # a training step costs about three times the operations of a forward pass


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
    empty = {"runs": [], "table": [], "made": {}}
    stored = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else empty
    corpus, images = synthetic()
    full = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    start, started_at = time.perf_counter(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    limits = machine(5 * options.repeats)
    memory = limits["pass over memory, all cores"]["median"]
    inputs = {"corpus": corpus, "images": images, "full": full, "memory": memory, "options": options}
    rows, results, provenances, failed = {}, {}, {}, []
    for part in PARTS:
        name, started = part.__name__, time.perf_counter()
        if name in (options.parts or names):
            print(f"{started - start:6.0f} s  {name}", file=sys.stderr)
            try:
                rows[name], results[name] = part(**inputs)
            except Exception:
                traceback.print_exc()
                failed.append(name)
            else:
                provenances[name] = provenance.describe("cpu", threads, time.perf_counter() - started)
                provenances[name]["processor"] = processor()
    show([line for part_rows in rows.values() for line in part_rows])
    earlier_runs = {(line["part"], line["what"]): line["runs"] for line in stored["table"]}
    table = []
    for name, part_rows in rows.items():
        for line in part_rows:
            earlier = () if options.anew and line["measured"] else earlier_runs.get((name, line["what"]), ())
            table.append(measure.judged({**line, "part": name}, earlier, started_at))
    table += [line for line in stored["table"] if line["part"] not in rows and line["part"] in names]
    rates = {name.removesuffix(", all cores"): spread["median"] for name, spread in limits.items() if "all" in name}
    run = provenance.describe("cpu", threads, time.perf_counter() - start)
    run |= {"started": started_at, "processor": processor(), "rounds": options.repeats, "rates": rates}
    counted = {entry["run"] for line in table for entry in line["runs"]}
    runs = [entry for entry in (*stored["runs"], run) if entry["started"] in counted]
    report = {"limits": limits, **stored, **results, "made": stored["made"] | provenances, "runs": runs}
    if "roofline" in results:  # its points are drawn under these limits
        report["limits"] = limits
    report["table"] = sorted(table, key=lambda line: names.index(line["part"]))
    with atomic_write(options.out) as beside:
        beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
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
    """The machine's two limits: operations a second of a large matrix product, bytes a second of a pass over memory."""
    limits = {}
    a, b = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT)
    x, y = torch.rand(PASS), torch.rand(PASS)
    threads = torch.get_num_threads()
    for name, cores in (("one core", 1), ("all cores", threads)):
        torch.set_num_threads(cores)
        times = rounds({"product": lambda: a @ b, "pass": lambda: torch.add(x, y, out=x)}, repeats)
        torch.set_num_threads(threads)
        limits[f"matrix product, {name}"] = vars(Spread.of([2 * PRODUCT**3 / t for t in times["product"]]))
        limits[f"pass over memory, {name}"] = vars(Spread.of([3 * 4 * PASS / t for t in times["pass"]]))
    return limits


def trainer(model: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor, fused: bool) -> Callable[[], None]:
    """A function that takes one training step on a batch."""
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
    """Times training steps of teacher and student, also as a share of the matrix-product rate around each step."""
    rows, details = [], {}
    for name, settings, least in (("teacher", config.TEACHER, 1.6), ("student", config.STUDENT, 1.0)):
        work = TRAINED * BATCH * flops.count(settings).flops
        for kind, inputs in (("speech", images), ("no silence", full)):
            times = rounds(both(SpectrogramViT(settings), inputs), options.repeats)
            ratio = faster(times, "plain", "ours")
            share = Spread.of([work / t / rate for t, rate in zip(times["ours"], times.rates, strict=True)])
            details[f"{name}, {kind}"] = {"seconds": times, "share": vars(share), "operations": work}
            note = f"{share.median:.0%} of the measured matrix-product rate"
            if kind == "speech":
                note += ", counting the operations that were saved"
            rows.append(
                row(f"{name} training step, {kind}, {BATCH} images", f"{least} x", ratio, ratio.median >= least, note)
            )
            if name == "student" and kind == "no silence":
                rows.append(
                    row("  its share of the matrix-product rate", "0.9", share, share.median >= 0.9, "no silence")
                )
    return rows, details


def stages(images: Tensor, options: argparse.Namespace, **_: object):
    """Times stage (b): the frozen teacher runs once per image (ours), or once per image and epoch (plain)."""
    count, epochs = MATCHED
    inputs, settings = images[:count], config.Training(epochs=epochs)
    teacher = SpectrogramViT(config.TEACHER).eval()

    def ours() -> None:
        state = training.TrainState(
            make_fabric(), settings, inputs, torch.arange(count), torch.zeros(count, dtype=int),
            progress=False,
        )  # fmt: skip
        targets = training.outputs(teacher, inputs, state.rows, lambda output: output.pooled)
        training.match_feature_maps(state, SpectrogramViT(config.STUDENT), targets, "pooled")

    def plain() -> None:
        student = SpectrogramViT(config.STUDENT)
        optimizer = torch.optim.AdamW(student.parameters(), 3e-4)
        for _ in range(epochs):
            for batch in inputs.split(BATCH):
                with torch.no_grad():
                    targets = reference.network(teacher, batch).pooled
                optimizer.zero_grad()
                losses.matching(reference.network(student, batch).pooled, targets).backward()
                optimizer.step()

    times = rounds({"plain": plain, "ours": ours}, max(2, options.repeats // 2))
    ratio = faster(times, "plain", "ours")
    note = f"{count} images, {epochs} epochs; with more epochs the teacher's one look counts for less"
    return [row("stage (b), teacher once an image", "3 x", ratio, ratio.median >= 3, note)], {"seconds": times}


def inference(corpus: corpora.Corpus, options: argparse.Namespace, **_: object):
    """Times the way from a file of 3 s to an emotion, network loaded, in PyTorch, ONNX and ONNX in eight bits."""
    import onnx
    import onnxruntime
    import soundfile

    from serlib import checkpoints
    from workflow import export

    rows, details = [], {}
    settings = config.Features()
    samples = np.concatenate([features.read_audio(u.path, settings).numpy() for u in corpus.utterances[:3]])[:48_000]
    trained = sorted(options.weights.rglob("student-alone*.safetensors")) if options.weights else []
    network = checkpoints.load(trained[0])[0] if trained else SpectrogramViT(config.STUDENT).eval()
    with tempfile.TemporaryDirectory() as folder:
        file, exact, small = (Path(folder, name) for name in ("a.wav", "exact.onnx", "int8.onnx"))
        soundfile.write(file, samples, settings.sample_rate)
        export.write_onnx(network, settings, corpus.emotions, exact)
        export.quantise(exact, small)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = torch.get_num_threads()
        # A spinning session would use the cores during the other alternatives' turns.
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        sessions = {path.stem: onnxruntime.InferenceSession(path, session_options) for path in (exact, small)}
        for path in (exact, small):  # the network alone, from the image
            image = next(node.output[0] for node in reversed(onnx.load(path).graph.node) if node.op_type == "Clip")
            onnx.utils.extract_model(path, Path(folder, "network.onnx"), [image], ["logits"])
            sessions[f"{path.stem} network"] = onnxruntime.InferenceSession(
                Path(folder, "network.onnx"), session_options
            )
        pixels = features.image(torch.from_numpy(samples), settings)[0].numpy()

        def from_image(name: str) -> np.ndarray:
            session = sessions[f"{name} network"]
            return session.run(None, {session.get_inputs()[0].name: pixels})[0]

        def graph(name: str) -> np.ndarray:
            waveform = features.read_audio(file, settings).numpy()
            return sessions[name].run(None, {"samples": waveform})[0]

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
        difference = float(np.abs(graph("exact") - pytorch().numpy()).max())
        details["seconds"] = times
    for name, key in (("PyTorch", "PyTorch"), ("ONNX", "exact"), ("ONNX, eight bits", "int8")):
        spread = Spread.of([1000 * t for t in times[key]])
        rows.append(row(f"file of 3 s to emotion, student, {name}, ms", "15", spread, spread.median < 15))
    rows.append(
        row("ONNX against PyTorch, largest difference of a logit", "1e-4", Spread.of([difference]), difference < 1e-4)
    )
    ratio = faster(times, "exact network", "int8 network")
    rows.append(row("student in eight bits against single precision, ONNX", "1.5 x", ratio, ratio.median >= 1.5))
    ratio = faster(times, "exact", "int8")
    rows.append(row("  the same from file to emotion", "", ratio, None, "the log-Mel image stays in single precision"))
    rows.append(eight_bits(trained, options.recordings))
    return rows, details


def eight_bits(trained: Sequence[Path], data: Path | None) -> dict[str, object]:
    """Accuracy of trained students in eight bits on their held-out test sets, in points from single precision."""
    import onnxruntime

    from serlib import checkpoints
    from workflow import export

    what, target = "accuracy of the eight-bit student, points from single precision", "0.5"
    if not trained or data is None:
        return row(what, target, None, None, "needs --weights and --recordings")
    settings, correct, utterances = config.Features(), {"exact": 0, "int8": 0}, 0
    with tempfile.TemporaryDirectory() as folder:
        for weights in trained:
            record = records.read(weights.with_suffix(".json"))
            files = {u.key: u.path for u in corpora.load(record.corpus, data).utterances}
            export.write_onnx(checkpoints.load(weights)[0], settings, record.emotions, Path(folder, "exact.onnx"))
            export.quantise(Path(folder, "exact.onnx"), Path(folder, "int8.onnx"))
            for name in correct:
                session = onnxruntime.InferenceSession(Path(folder, f"{name}.onnx"))
                held_out = record.parts["test"]
                for file, true in zip(held_out.file, held_out.true, strict=True):
                    samples = features.read_audio(files[file], settings).numpy()
                    correct[name] += int(session.run(None, {"samples": samples})[0].argmax() == true)
            utterances += len(held_out.file)
    points = 100 * (correct["int8"] - correct["exact"]) / utterances
    note = (
        f"{record.corpus}, {record.protocol}, {len(trained)} folds, {utterances} held out: "
        f"WA {correct['int8'] / utterances:.1%} against {correct['exact'] / utterances:.1%}"
    )
    return row(what, target, Spread.of([abs(points)]), abs(points) <= 0.5, note)


def extraction(corpus: corpora.Corpus, options: argparse.Namespace, **_: object):
    """Times the extraction of images from files: ours on all cores, in a new process; librosa's pipeline in this one."""
    import librosa

    settings = config.Features()
    files = sorted((options.data or ROOT / "build/synthetic/emodb/audio").resolve().rglob("*.wav"))
    files = [path for path in files if path.name not in facts.CREMA_D_DEFECTIVE]  # a silent file would be refused

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
    sample_files = files[:: max(1, len(files) // 200)]
    by_librosa(sample_files[0])
    file_list = "\n".join(map(str, files))

    def both() -> tuple[float, ...]:
        start = time.perf_counter()
        for path in sample_files:
            by_librosa(path)
        librosa_rate = len(sample_files) / (time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as cache:
            command, pipe = [sys.executable, "-c", code, cache], subprocess.PIPE
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
                process.stdin.write(file_list)
                process.stdin.close()
                memory = [0.0]
                while process.poll() is None:
                    memory.append(tree_memory(process.pid))
                    time.sleep(1)  # reading the memory takes 50 ms of a core
                seconds, baseline = map(float, process.stdout.read().split())
        return len(files) / seconds, librosa_rate, max(memory) - baseline, max(memory)

    waves, threads = [features.read_audio(path, settings) for path in sample_files], torch.get_num_threads()
    torch.set_num_threads(1)
    steps = {
        "reading and checking": lambda: [audio.read(path, settings) for path in sample_files],
        "mel power": lambda: [features.mel_power(wave, settings) for wave in waves],
        "mel power and image": lambda: [features.image(wave, settings) for wave in waves],
        "file to image": lambda: [features.picture(path, settings) for path in sample_files],
        "librosa, reading": lambda: [librosa.load(path, sr=settings.sample_rate) for path in sample_files],
        "librosa, file to decibels": lambda: [by_librosa(path) for path in sample_files],
    }
    tries = min(3, options.repeats)
    times = rounds(steps, tries)
    torch.set_num_threads(threads)
    milliseconds = {
        name: vars(Spread.of([1000 * seconds / len(sample_files) for seconds in durations]))
        for name, durations in times.items()
    }
    turns = [turn for _ in range(tries) if (turn := steadily(both))] or [(math.nan,) * 4]
    rates, librosa_rates, added, total = zip(*turns, strict=True)
    ratios = [ours / theirs for ours, theirs in zip(rates, librosa_rates, strict=True)]
    ratio = Spread.of(ratios)
    note = f"{len(files):,} files; {rates[-1]:.0f} files/s against {librosa_rates[-1]:.0f} of librosa ({len(sample_files)} files)"
    note += f"; {len(turns)} of {tries} turns counted"
    rows = [
        row("feature extraction against librosa in one process", "4 x", ratio, ratio.median >= 4, note),
        row("  memory of the whole process, MB", "500", Spread.of(total), max(total) < 500, LOADING),
        row("  of it above what the loaded libraries hold, MB", "500", Spread.of(added), max(added) < 500),
    ]
    return rows, {"files a second": list(zip(rates, librosa_rates, strict=True)), "milliseconds a file": milliseconds}


def starting(options: argparse.Namespace, **_: object):
    """Times two commands in seconds: importing the package, and printing its help."""
    commands = {"import": ("-c", "import serlib"), "help": ("-m", "serlib", "--help")}

    def start(arguments: Sequence[str]) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=ROOT)

    times = rounds({name: start(arguments) for name, arguments in commands.items()}, options.repeats)
    spreads = {name: Spread.of(values) for name, values in times.items()}
    return [
        row("import serlib, s, Python's own start included", "0.3", spreads["import"], spreads["import"].median < 0.3),
        row("python -m serlib --help, s", "0.5", spreads["help"], spreads["help"].median < 0.5),
    ], {"seconds": times}


def comparison(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Compares time per image and operation with other libraries' networks, in training and in inference."""
    student, plain = SpectrogramViT(config.STUDENT), flops.count(config.STUDENT).flops
    networks = {"serlib student": (student, plain)} | {name: (net, count) for name, net, count in peers.peers()}
    rows, details = [], {}
    for kind, inputs in (("speech", images), ("no silence", full)):

        def forward(network: nn.Module, inputs: Tensor = inputs) -> Callable[[], object]:
            def run() -> object:
                with torch.inference_mode():
                    return network.eval()(inputs[:BATCH])

            return run

        def step(network: nn.Module, inputs: Tensor = inputs) -> Callable[[], None]:
            network.train()
            to_logits = (lambda batch: network(batch).logits) if network is student else network
            return trainer(network, to_logits, inputs, fused=True)

        for use, make in (("training", step), ("inference", forward)):
            times = rounds({name: make(net) for name, (net, _) in networks.items()}, options.repeats)
            details[f"{use}, {kind}"] = {
                name: {
                    "operations": count,
                    "milliseconds": vars(Spread.of([1000 * t / len(inputs[:BATCH]) for t in times[name]])),
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
    return rows, details


def by_batch(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Measures images a second for each batch size."""
    rates = {}
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
                rates.setdefault(f"{name}, {kind}", {})[size] = vars(Spread.of([size / t for t in values]))
    return [], rates


def by_configuration(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Measures milliseconds per image, beside operations, for every network that a run can train; no silence."""
    results = {}
    for name, run in config.RUNS.items():
        if run.teacher:
            continue
        model = SpectrogramViT(run.model).eval()

        def use(model: SpectrogramViT = model) -> None:
            with torch.inference_mode():
                model(full[:8])

        times = rounds({"ours": use}, max(2, options.repeats // 2))["ours"]
        milliseconds = vars(Spread.of([1000 * t / 8 for t in times]))
        results[name] = {"operations": flops.count(run.model).flops, "milliseconds": milliseconds}
    return [], results


def by_cores(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Measures training images a second on one thread, on all threads, and with one process per core."""
    rates, cores = {}, os.cpu_count() or 1
    code = (
        "import sys, time, torch; from benchmarks import cpu; from serlib import config; from serlib.model import SpectrogramViT\n"
        "images = torch.load(sys.argv[2], weights_only=True); model = SpectrogramViT(getattr(config, sys.argv[1]))\n"
        "step = cpu.trainer(model, lambda batch: model(batch).logits, images, True)\n"
        "for line in sys.stdin:\n"
        "    torch.set_num_threads(int(line)); step(); print(flush=True); sys.stdin.readline()\n"
        "    start = time.perf_counter(); [step() for _ in range(4)]; print(time.perf_counter() - start, flush=True)\n"
    )

    def together(processes: list[subprocess.Popen], threads: int) -> float:
        for line in (f"{threads}\n", "\n"):  # all processes warm up before any is measured
            for process in processes:
                process.stdin.write(line)
                process.stdin.flush()
            replies = [process.stdout.readline() for process in processes]
        return sum(4 * len(images[:BATCH]) / float(seconds) for seconds in replies)

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
                commands = ([sys.executable, "-c", code, name, file.name] for _ in range(cores))
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                running = [stack.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes)) for command in commands]
                for _ in range(min(options.repeats, max(2, options.repeats // 2))):
                    for way, (threads, processes) in ways.items():
                        run = partial(together, running[:processes], threads)
                        speeds[way].append(steadily(run) or math.nan)
            rates[name.lower()] = {way: vars(Spread.of(values)) for way, values in speeds.items()}
    return [], rates


def by_utterances(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Trains a student on up to 100,000 images mapped from disk: seconds a step, and the process's own memory."""
    results = {}
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
            batches = torch.randint(count, (8 * options.repeats, BATCH), generator=torch.Generator().manual_seed(0))

            def steps(mapped=mapped, model=model, optimizer=optimizer, batches=batches) -> list[float]:
                labels = torch.arange(BATCH) % 7
                times = []
                for indices in batches:
                    start = time.perf_counter()
                    optimizer.zero_grad()
                    functional.cross_entropy(model(mapped[indices]).logits, labels).backward()
                    optimizer.step()
                    times.append(time.perf_counter() - start)
                return times[1:]

            times = steadily(steps) or [math.nan]
            results[count] = {"seconds a step": vars(Spread.of(times)), "own memory, MB": own_memory()}
            Path(f"{folder}/{count}.npy").unlink()
    return [], results


def roofline(images: Tensor, full: Tensor, options: argparse.Namespace, **_: object):
    """Measures, for each part of the network, operations a second and bytes moved (inputs, outputs, weights)."""
    inputs, outputs = config.TEACHER.stem[1], config.TEACHER.stem[2]
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    tokens = torch.rand(BATCH * config.STUDENT.num_patches, config.STUDENT.width)
    qkv = nn.Linear(config.STUDENT.width, 3 * config.STUDENT.heads * config.STUDENT.head_width, bias=False)
    results: dict[str, object] = {}
    parts: dict[str, tuple[Callable[[], Tensor], float, float]] = {}
    for batch, label in ((BATCH, "32 images at once"), (1, "one image at a time")):
        before = torch.rand(batch, inputs, *config.TEACHER.image_size)
        after = torch.rand(batch, outputs, *config.TEACHER.image_size)
        moved = 2 * 4 * after.numel()
        work = 2 * 9 * inputs * after.numel()
        parts[f"convolution, {label}"] = (
            lambda before=before: convolution(before), work, 4 * (before.numel() + after.numel())
        )  # fmt: skip
        parts[f"InstanceNorm, {label}"] = (
            lambda after=after: functional.instance_norm(after),
            5 * after.numel(),
            moved,
        )
        parts[f"GELU, {label}"] = (lambda after=after: functional.gelu(after), 8 * after.numel(), moved)
    parts["joint projection, 32 images at once"] = (
        lambda: qkv(tokens), 2 * tokens.numel() * qkv.out_features,
        4 * (tokens.numel() + len(tokens) * qkv.out_features + qkv.weight.numel()),
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
            results[name] = {"operations": work, "bytes": moved, "operations a second": speed}
    return [], results


def profile(full: Tensor, memory: float, options: argparse.Namespace, **_: object):
    """Profiles a training step without silence, operator by operator: launches, bytes, operations and seconds.

    ``share`` is the least time that an operator's operations and bytes need, divided by the measured time. The least time
    takes the matrix-product rate from just before the step, and the memory rate from the start of the benchmark.
    """
    results = {}
    for name, settings in (("teacher", config.TEACHER), ("student", config.STUDENT)):
        model = SpectrogramViT(settings)
        step = trainer(model, lambda batch, model=model: model(batch).logits, full, fused=True)
        step()

        def watched(step=step) -> tuple[dict[str, dict[str, float]], float]:
            rate = measure.rate()
            with Operators() as operators:
                step()
            return operators.found, rate

        costs, rate = steadily(watched) or ({}, math.nan)
        results[name] = {
            op: {**cost, "share": max(cost["operations"] / rate, cost["bytes"] / memory) / cost["seconds"]}
            for op, cost in sorted(costs.items(), key=lambda item: -item[1]["seconds"])[:12]
        }
    return [], results


class Operators(TorchDispatchMode):
    """Records launches, seconds, bytes (inputs and outputs) and operations of every called operator, except views."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, float]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        seconds, packet = time.perf_counter() - start, func.overloadpacket
        if not func.is_view:
            zero = {"launches": 0, "seconds": 0.0, "bytes": 0, "operations": 0}
            entry = self.found.setdefault(str(packet).removeprefix("aten."), zero)
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            entry["launches"] += 1
            entry["seconds"] += seconds
            entry["bytes"] += sum(x.numel() * x.element_size() for x in tensors)
            if packet in COUNTS_OF:
                entry["operations"] += COUNTS_OF[packet](*args, **(kwargs or {}), out_val=out)
        return out


PARTS = (
    steps, stages, inference, extraction, starting, comparison,
    by_batch, by_configuration, by_cores, by_utterances, roofline, profile,
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
