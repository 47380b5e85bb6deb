"""What the benchmarks compute, not how fast: no test depends on time."""

import json
import math
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from benchmarks import classifiers, cpu, gpu, measure, million, minutes, peers
from companion import costs
from serlib import config
from serlib.data import features
from serlib.data.corpora import Corpus, Utterance
from serlib.errors import SerlibError
from serlib.model import SpectrogramViT
from tests.helpers import write_wav

SMALL = replace(config.STUDENT, image_size=(16, 12), patch_size=(16, 1), width=32, depth=1, heads=2, head_width=8)


def test_alternatives_take_turns_and_the_first_round_does_not_count():
    turns = []
    given = {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}
    times = measure.rounds(given, repeats=2, speed=lambda: (1.0,))
    assert turns == ["a", "b"] * 3
    assert [len(values) for values in times.values()] == [2, 2]


def test_ratios_are_taken_round_by_round():
    found = measure.faster({"plain": [2.0, 6.0, 1.0], "ours": [1.0, 2.0, 2.0]}, "plain", "ours")
    assert found == measure.Spread(0.5, 2.0, 3.0)


def test_peers_are_counted_as_they_run():
    """ResNet-18 at 128 x 128: 0.59 billion multiply-adds; vit-pytorch's transformer does what the student does."""
    pytest.importorskip("timm", reason="`pip install -e .[bench]` brings what the benchmarks compare with")
    counts = {name: count for name, _, count in peers.peers()}
    assert counts["torchvision ResNet-18"] / 2e9 == pytest.approx(0.59, abs=0.02)
    assert counts["vit-pytorch ViT"] == pytest.approx(528_817_408, rel=0.01)


@pytest.mark.parametrize("change", [{}, {"stem": (4, 1), "position": "coordinates"}], ids=["student", "teacher"])
def test_networks_trained_at_once_learn_as_one_by_one(monkeypatch, change):
    settings = replace(SMALL, **change)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)  # as on a GPU, every column is computed
    monkeypatch.setattr(config, "STUDENT", settings)
    together = gpu.stacked(settings, torch.device("cpu"), count=3, precise=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the CPU's fused one is not for stacks
        found = torch.stack([together() for _ in range(3)])
    images, labels = gpu._batch(torch.device("cpu"))
    for i in range(3):
        torch.manual_seed(i)
        alone = SpectrogramViT(settings)
        optimizer = torch.optim.AdamW(alone.parameters(), 3e-4)
        for step in range(3):
            loss = functional.cross_entropy(alone(images).logits, labels)
            assert found[step, i].item() == pytest.approx(loss.item(), rel=1e-4)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_a_block_is_measured_again_while_the_rate_changes(capsys):
    speeds, made = iter([100.0, 80.0, 85.0]), iter("ab")
    assert measure.steadily(lambda: next(made), lambda: (next(speeds),)) == "b"
    assert capsys.readouterr().err == "         does not count: the rate went from 100 to 80\n"
    rising = (2.0**i for i in range(99))
    times = measure.rounds({"a": lambda: None, "b": lambda: None}, 2, lambda: (next(rising),))
    assert [math.isnan(t) for name in "ab" for t in times[name]] == [True] * 4
    assert next(rising) == 2.0 ** (1 + 2 * measure.TRIES)
    line = measure.row("a step", "2 x", measure.faster(times, "a", "b"), reached=False, said="fast")
    assert (line["measured"], line["reached"], line["said"]) == (None, None, measure.BUSY)


def test_rounds_keep_those_between_which_the_rate_is_the_same(monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 0.0)
    made, speeds = [], iter([100.0, 50.0, 50.0, 90.0, 99.0])
    times = measure.rounds({"a": lambda: made.append(len(made))}, 2, lambda: (next(speeds),))
    assert len(made) == 5  # one does not count, two are between different rates
    assert (len(times["a"]), times.rates) == (2, [50.0, 94.5])


def test_a_block_is_measured_again_while_memory_is_taken_by_others(monkeypatch, capsys):
    monkeypatch.setattr(measure, "rate", lambda: 100.0)
    passes = iter([40.0, 25.0, 25.0, 26.0])
    monkeypatch.setattr(measure, "memory_rate", lambda: next(passes))
    monkeypatch.setattr(measure, "BLOCK", 0.0)
    times = measure.rounds({"a": lambda: None}, 2)
    assert (times.rates, times.memory) == ([100.0] * 2, [25.0, 25.5])
    assert capsys.readouterr().err == "         does not count: the memory's rate went from 40 to 25\n"


def test_the_rate_of_memory_is_bytes_a_second(monkeypatch):
    monkeypatch.setattr(measure, "PASS", 1_000)
    clock = iter(range(100))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    assert measure.memory_rate() == 12_000  # 4 bytes of three numbers in a second


def test_the_steps_share_is_of_the_rate_around_them(bench, monkeypatch):
    times = measure.Times({"plain": [4.0] * 3, "ours": [2.0] * 3})
    times.rates = [1.0, 2.0, 4.0]
    monkeypatch.setattr(cpu, "rounds", lambda *_: times)
    _, about = cpu.steps(**bench)
    found = about["student, speech"]
    assert [found["share"][name] for name in ("min", "max")] == [found["operations"] / 2 / rate for rate in (4.0, 1.0)]


def test_operators_are_counted_by_hand():
    left, right = torch.rand(2, 3), torch.rand(3, 4)
    with cpu.Operators() as operators:
        turned = (left @ right).relu().T
    product, relu = operators.found["mm"], operators.found["relu"]
    assert (product["launches"], product["operations"], product["bytes"]) == (1, 2 * 2 * 3 * 4, 4 * (6 + 12 + 8))
    assert (relu["launches"], relu["operations"], relu["bytes"]) == (1, 0, 4 * (8 + 8))
    assert turned.shape == (4, 2)
    assert set(operators.found) == {"mm", "relu"}  # transposing moves nothing


def test_the_fused_attention_is_counted_by_hand():
    """Two products of 7 tokens by 7 tokens by 4 forwards, five backwards: the scores once more, and four gradients."""
    q, k, v = (torch.rand(2, 3, 7, 4, requires_grad=True) for _ in range(3))
    with cpu.Operators() as operators:
        functional.scaled_dot_product_attention(q, k, v).sum().backward()
    product = 2 * (2 * 3) * 7 * 7 * 4
    found = {name: counted["operations"] for name, counted in operators.found.items() if "attention" in name}
    assert sorted(found.values()) == [2 * product, 5 * product]


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Two images, two files, every part as small as it goes; the machine counts as quiet."""
    images = torch.rand(2, 1, 128, 128)
    images[:, :, :, 64:] = 0
    for seed in range(2):
        write_wav(tmp_path / f"{seed}.wav", 3, seed=seed)
    utterances = tuple(Utterance(f"{i}.wav", tmp_path / f"{i}.wav", "s", "t", "anger", "0" * 64, 3.0) for i in range(2))
    corpus = Corpus("tiny", "synthetic", utterances)
    for name, value in {"BATCH": 2, "MATCHED": (2, 1), "SIZES": (1, 2), "COUNTS": (2, 4), "PASS": 2**10}.items():
        monkeypatch.setattr(cpu, name, value)
    monkeypatch.setattr(cpu, "PRODUCT", 32)
    monkeypatch.setattr(cpu, "NETWORKS", ("STUDENT",))
    monkeypatch.setattr(measure, "rate", lambda: 1e9)
    monkeypatch.setattr(measure, "memory_rate", lambda: 1e9)
    monkeypatch.setattr(config, "RUNS", {name: config.RUNS[name] for name in ("teacher", "student-alone")})
    options = Namespace(data=tmp_path, weights=None, recordings=None, repeats=1)
    return {"corpus": corpus, "images": images, "full": torch.rand(2, 1, 128, 128), "memory": 1e9} | {
        "options": options
    }


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # others' own
@pytest.mark.parametrize("part", cpu.PARTS, ids=lambda part: part.__name__)
def test_every_part_of_the_bench_runs(bench, part):
    if part is cpu.comparison:
        pytest.importorskip("timm", reason="`pip install -e .[bench]` brings what the benchmarks compare with")
    rows, about = part(**bench)
    assert rows or about
    json.dumps([rows, about])
    assert all(line["measured"] or line["said"] for line in rows)


def test_a_part_that_fails_takes_nothing_from_the_others(bench, monkeypatch, tmp_path, capsys):
    def steps(**_):
        return [measure.row("a step", "2 x", measure.Spread(1, 2, 3), True)], {"seconds": [2.0]}

    def stages(**_):
        raise ValueError("no teacher")

    monkeypatch.setattr(cpu, "PARTS", (stages, steps))
    monkeypatch.setattr(cpu, "synthetic", lambda: (bench["corpus"], bench["images"]))
    assert cpu.main(["--out", str(tmp_path / "cpu.json"), "--repeats", "1"]) == 1
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert (found["steps"], "stages" in found) == ({"seconds": [2.0]}, False)
    assert [line["what"] for line in found["table"]] == ["a step"]
    said = capsys.readouterr()
    assert said.out.endswith("cpu.json; failed: stages\n")
    assert "ValueError: no teacher" in said.err

    def fails(**_):
        raise ValueError("no memory")

    fails.__name__ = "steps"
    monkeypatch.setattr(cpu, "PARTS", (fails,))
    assert cpu.main(["--out", str(tmp_path / "cpu.json"), "--repeats", "1"]) == 1
    later = json.loads((tmp_path / "cpu.json").read_text())
    assert (later["steps"], later["table"]) == (found["steps"], found["table"]), "its earlier runs stay"


def test_some_parts_are_measured_anew_and_the_others_stay(bench, monkeypatch, tmp_path):
    rates = iter((2.0, 3.0, 4.0, 5.0))

    def part():
        at = next(rates)
        return [measure.row("what", "2 x", measure.Spread(at, at, at), True)], {"rate": at}

    def first(**_):
        return part()

    def roofline(**_):
        return part()

    speeds = iter((1.0, 2.0, 3.0))
    monkeypatch.setattr(cpu, "machine", lambda _: {"pass over memory, all cores": {"median": next(speeds)}})
    monkeypatch.setattr(cpu, "PARTS", (first, roofline))
    monkeypatch.setattr(cpu, "synthetic", lambda: (bench["corpus"], bench["images"]))
    out = tmp_path / "cpu.json"
    assert cpu.main(["--out", str(out), "--repeats", "1"]) == 0
    old = json.loads(out.read_text())
    assert cpu.main(["--out", str(out), "--repeats", "1", "--parts", "first"]) == 0
    new = json.loads(out.read_text())
    kept = old["made"]["roofline"]
    assert (new["first"], new["roofline"], new["made"]["roofline"]) == ({"rate": 4.0}, {"rate": 3.0}, kept)
    newest = [(line["part"], line["runs"][-1]["measured"]["median"]) for line in new["table"]]
    assert newest == [("first", 4.0), ("roofline", 3.0)]
    assert new["limits"] == old["limits"]  # those of the roofline's run
    assert cpu.main(["--out", str(out), "--repeats", "1", "--parts", "roofline"]) == 0
    assert json.loads(out.read_text())["limits"]["pass over memory, all cores"] == {"median": 3.0}


@pytest.mark.parametrize(("target", "worst"), [("2 x", 1.5), ("15", 3.0)])
def test_the_worst_run_judges(target, worst):
    def run(median: float, reached: bool, started: str, earlier=()) -> dict:
        line = measure.row("a step", target, measure.Spread(1.0, median, 4.0), reached, f"{median}")
        return measure.judged(line, earlier, started)

    first = run(3.0, target == "2 x", "2026-11-01 10:00")
    both = run(1.5, target != "2 x", "2026-11-01 11:00", first["runs"])
    assert [line["run"] for line in both["runs"]] == ["2026-11-01 10:00", "2026-11-01 11:00"]
    assert (both["measured"]["median"], both["said"], both["reached"]) == (worst, f"{worst}", False)
    busy = measure.judged(measure.row("a step", target, None, None, measure.BUSY), both["runs"], "2026-11-02 10:00")
    assert busy["runs"] == both["runs"]
    assert measure.judged(measure.row("a step", target, None, None, "busy"), (), "2026-11-02 10:00")["runs"] == []


def test_runs_stay_with_their_rates_until_they_are_measured_anew(bench, monkeypatch, tmp_path):
    speeds, measured = iter((9.0, 8.0, 7.0, 6.0, 5.0)), iter((2.0, 3.0, None, 4.0, 5.0))

    def steps(**_):
        rate = next(measured)
        return [measure.row("a step", "2 x", rate and measure.Spread(rate, rate, rate), rate and True)], {}

    monkeypatch.setattr(cpu, "machine", lambda _: {"pass over memory, all cores": {"median": next(speeds)}})
    monkeypatch.setattr(cpu, "PARTS", (steps,))
    monkeypatch.setattr(cpu, "synthetic", lambda: (bench["corpus"], bench["images"]))
    clock = iter(f"2026-11-01 1{hour}:00" for hour in range(9))
    monkeypatch.setattr(cpu, "datetime", Namespace(now=lambda _: Namespace(strftime=lambda _: next(clock))))
    out = tmp_path / "cpu.json"

    def runs(*given) -> list[tuple[float, float]]:
        assert cpu.main(["--out", str(out), "--repeats", "1", *given]) == 0
        found = json.loads(out.read_text())
        rates = {run["started"]: run["rates"]["pass over memory"] for run in found["runs"]}
        assert len(rates) == len(found["table"][0]["runs"])
        return [(run["measured"]["median"], rates[run["run"]]) for run in found["table"][0]["runs"]]

    assert runs() == [(2.0, 9.0)]
    assert runs() == [(2.0, 9.0), (3.0, 8.0)]
    assert runs("--anew") == [(2.0, 9.0), (3.0, 8.0)]  # the machine was busy: nothing was measured
    assert runs("--parts", "steps") == [(2.0, 9.0), (3.0, 8.0), (4.0, 6.0)]
    assert runs("--anew") == [(5.0, 5.0)]


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:.*is deprecated and slated for removal:DeprecationWarning")  # audioread's
def test_extraction_makes_the_images_of_the_files_that_it_counts(tmp_path, monkeypatch):
    for seed in range(2):
        write_wav(tmp_path / f"{seed}.wav", seed=seed)
    monkeypatch.setattr(measure, "rate", lambda: 1e9)
    monkeypatch.setattr(measure, "memory_rate", lambda: 1e9)
    rows, about = cpu.extraction(corpus=None, options=Namespace(data=tmp_path, repeats=1))
    assert [len(rates) for rates in about["files a second"]] == [2]
    assert rows[0]["said"].startswith("2 files; ")
    assert rows[0]["measured"]["median"] > 0
    assert rows[1]["measured"]["median"] > 100  # MB: PyTorch is loaded


def test_memory_counts_children_too():
    child = "held = bytearray(b'1') * 100_000_000; print(flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", parent], stdin=pipe, stdout=pipe, text=True) as process:
        process.stdout.readline()
        held = measure.tree_memory(process.pid)
        process.communicate("\n")
    assert 95 < held < 200  # MB
    assert measure.tree_memory(process.pid) == 0


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out == "no GPU at hand: nothing measured, nothing written\n"
    assert not list(tmp_path.iterdir())


# webdataset leaves it to Python to close the shards that it has read
unclosed = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Forty drawn images in shards of eight and in one file."""
    pytest.importorskip("webdataset", reason="`pip install -e .[bench]` brings the shards")
    for name, value in {"SHARD": 8, "BUFFER": 12, "BATCH": 6}.items():
        monkeypatch.setattr(million, name, value)
    million.write_shards(tmp_path, 40)
    million.write_one(tmp_path, 40)
    return {name: sorted(tmp_path.glob(f"*.{name}")) for name in ("tar", "npy")}


def whole(batches) -> list[tuple[int, bytes]]:
    return [(int(row[0]), row[1].numpy().tobytes()) for pair in batches for row in zip(*pair, strict=True)]


@unclosed
def test_an_epoch_from_shards_or_one_file_visits_every_image_once_in_another_order(drawn):
    made = [(label, (image.astype("f4") / 255).tobytes()) for label, image in million.draw(40)]
    assert len(drawn["tar"]) == 5
    for name, read in (("tar", million.from_shards), ("npy", million.from_one)):
        first, again, second = (whole(read(drawn[name], seed)) for seed in (0, 0, 1))
        assert first == again
        assert sorted(first) == sorted(second) == sorted(made)
        assert first != second
        assert first != made


@unclosed
def test_processes_read_shards_of_their_own(drawn, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    read = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        read.append(whole(million.from_shards(drawn["tar"], seed=0)))
    assert [len(images) for images in read] == [24, 16]
    assert len(set(read[0] + read[1])) == 40


def test_the_blocks_of_a_steady_machine_count(monkeypatch):
    monkeypatch.setattr(measure, "rate", lambda: 1.0)
    monkeypatch.setattr(million, "BLOCK", 32)
    rates, memory = million.watched([], iter([(torch.zeros(16), torch.zeros(16, 1))] * 3))
    assert len(rates) == len(memory) == 2


@unclosed
def test_the_million_is_measured_and_written(monkeypatch, tmp_path):
    pytest.importorskip("webdataset", reason="`pip install -e .[bench]` brings the shards")
    speeds = iter([1.0, 1.0, 2.0, *[2.0] * 9])  # the second block of the first pass does not count
    monkeypatch.setattr(measure, "rate", lambda: next(speeds))
    for name, value in {"SHARD": 20, "BLOCK": 32, "BATCH": 16}.items():
        monkeypatch.setattr(million, name, value)
    out = tmp_path / "million.json"
    assert million.main(["--count", "50", "--folder", str(tmp_path), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["images"], found["shards"]["files"], found["one file"]["files"]) == (50, 3, 1)
    assert found["shards"]["images a second"]["min"] > 0
    assert (found["shards"]["blocks"], found["one file"]["blocks"]) == (1, 2)
    assert len(found["one file"]["own memory, MB"]) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_the_cost_of_classifiers_is_written_without_those_whose_package_is_not_there(monkeypatch, tmp_path, capsys):
    write_wav(tmp_path / "a.wav", 3)
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.setattr(measure, "rate", lambda: 2e9)
    monkeypatch.setattr(measure, "memory_rate", lambda: 1e9)
    monkeypatch.setattr(classifiers, "NETWORKS", ("student-alone",))
    monkeypatch.setattr(classifiers, "NAMES", ("student-alone", "mel-statistics", "mel-deltas", "opensmile"))
    out = tmp_path / "classifiers.json"
    assert classifiers.main(["--data", str(tmp_path), "--repeats", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found["classifiers"]) == ["student-alone", "mel-statistics", "mel-deltas"]
    assert capsys.readouterr().err.startswith("left out: opensmile: opensmile is not installed: pip install opensmile")
    assert [rate["median"] for rate in found["rates"].values()] == [2e9, 1e9]
    assert found["classifiers"]["student-alone"]["minutes a stage"]["median"] > 0
    size = {name: cost["megabytes"] for name, cost in found["classifiers"].items()}
    assert size["student-alone"] == 4 * costs.read()["student-alone"].parameters / 1e6
    bands, utterances = config.Features.mel_bands, classifiers.UTTERANCES
    assert size["mel-deltas"] == pytest.approx(8 * 6 * bands * utterances / 1e6, rel=0.03)  # one vector an utterance
    assert size["mel-statistics"] == pytest.approx(8 * 2 * bands * (3 + classifiers.CLASSES) / 1e6, rel=0.02)
    speeds = (2.0**i for i in range(99))
    monkeypatch.setattr(measure, "rate", lambda: next(speeds))
    assert classifiers.main(["--data", str(tmp_path), "--repeats", "1", "--out", str(out)]) == 1
    assert capsys.readouterr().err.endswith(f"benchmarks.classifiers: {measure.BUSY}; nothing written\n")
    assert classifiers.main(["--data", str(tmp_path), "--repeats", "0", "--out", str(out)]) == 1
    assert capsys.readouterr().err == "benchmarks.classifiers: --repeats 0: at least 1 round is measured\n"
    (tmp_path / "a.wav").write_text("no sound")
    assert classifiers.main(["--data", str(tmp_path), "--repeats", "1", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith(f"benchmarks.classifiers: {tmp_path}/a.wav: unreadable: ")
    assert json.loads(out.read_text()) == found


def test_three_seconds_are_the_first_of_several_files(tmp_path):
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for seed, path in enumerate(paths):
        write_wav(path, 2, seed=seed)
    samples = [
        features.read_audio(path, config.Features())
        for path in (*paths, classifiers.three_seconds(paths, tmp_path / "c.wav"))
    ]
    torch.testing.assert_close(samples[2], torch.cat(samples[:2])[:48_000], atol=2**-15, rtol=0)
    with pytest.raises(SerlibError, match="less than 3 s of speech"):
        classifiers.three_seconds(paths[:1], tmp_path / "c.wav")


def test_minutes_are_of_the_commands_of_make():
    makefile = (minutes.ROOT / "Makefile").read_text()
    found = {name: command for name, _, command in minutes.steps(makefile, edits=True)}
    assert found["tests"].startswith(".venv/bin/python -m pytest -n logical")
    assert "--nbval" in found["nbval"]
    assert "--nbval" not in found["tests"]
    assert [file for _, file, _ in minutes.steps(makefile, edits=True) if file] == list(minutes.EDITED)
    assert [file for file in minutes.EDITED if not (minutes.ROOT / file).exists()] == []
    without = {name for name, _, _ in minutes.steps(makefile.replace("\nread:", "\nwritten:"), edits=True)}
    assert found.keys() - without == {"make read"}  # a revision that cannot read is measured without it


def test_what_is_told_to_python_reaches_no_step_that_is_timed(tmp_path, monkeypatch):
    """Such as ``PYTHONDONTWRITEBYTECODE``, with which every process would compile the checkout's modules anew."""
    for name in ("PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "KEPT"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "env").write_text("#!/bin/sh\nenv > said.txt\n")
    (tmp_path / "env").chmod(0o755)
    assert minutes.timed(tmp_path, "./env") > 0
    told = {line.partition("=")[0] for line in (tmp_path / "said.txt").read_text().splitlines()}
    assert told & {"PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "KEPT"} == {"KEPT"}


def test_the_page_on_speed_shows_the_committed_measurements():
    page = (cpu.ROOT / "docs/speed.ipynb").read_text(encoding="utf-8")
    targets = [line["reached"] for line in json.loads((cpu.ROOT / "benchmarks/cpu.json").read_text())["table"]]
    judged = [reached for reached in targets if reached is not None]
    assert f" {sum(judged)} of {len(judged)} targets are reached." in page, "execute docs/speed.ipynb anew"


def test_minutes_are_told_by_revision():
    found = {("book", "a"): [3.0, 1.0, 8.0], ("book", "b"): [2.0], ("read", "b"): [0.25]}
    assert minutes.table(found, ["a", "b"]).splitlines() == [
        "seconds  a                 b",
        "book     3.0 (1.0 to 8.0)  2.0 (2.0 to 2.0)",
        "read     -                 0.2 (0.2 to 0.2)",
    ]


def test_a_step_that_fails_ends_the_measurement_with_its_words(tmp_path):
    with pytest.raises(SystemExit, match=r"ls nothing-here failed in "):
        minutes.timed(tmp_path, "ls nothing-here")
