"""The stages: that they learn, that they are the same again, and that the evaluated part chooses nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from serlib import config, records, training
from serlib.checkpoints import load
from serlib.data.corpora import Corpus, Utterance
from serlib.data.splits import Split
from serlib.engine import distributed, provenance, state
from serlib.model import Output, SpectrogramViT

EMOTIONS = ("anger", "joy", "sadness")
SMALL = config.Model(num_classes=3, image_size=(16, 12), patch_size=(16, 1), width=32, depth=2, heads=2, head_width=8)
SMALL_TEACHER = replace(SMALL, stem=(4, 1), position="coordinates")
SETTINGS = config.Training(epochs=3, batch_size=8, learning_rate=3e-3)


def utterance(i: int) -> Utterance:
    return Utterance(f"{i:02}.wav", Path(f"{i:02}.wav"), f"s{i % 4}", f"t{i % 5}", EMOTIONS[i % 3], f"{i:064x}", 1.0)


@pytest.fixture
def corpus() -> Corpus:
    return Corpus("tiny", "synthetic", tuple(utterance(i) for i in range(30)))


@pytest.fixture
def split(corpus) -> Split:
    keys = [utterance.key for utterance in corpus.utterances]
    return Split("random", 0, tuple(keys[:24]), tuple(keys[24:]))


@pytest.fixture
def images() -> torch.Tensor:
    """Noise, with a bright row that tells the emotion."""
    drawn = torch.rand(30, 1, 16, 12, generator=torch.Generator().manual_seed(0)) * 0.5
    for i in range(30):
        drawn[i, 0, 5 * (i % 3)] += 0.5
    return drawn


ALONE = config.Run(SMALL)


def named(run: config.Run = ALONE, **change) -> config.RunConfig:
    return config.RunConfig("tiny", run, "test", replace(SETTINGS, **change))


def execute(folder: Path, settings: config.RunConfig, corpus, split, images, teacher=None) -> records.Record:
    record = str(folder / "run.json")  # a path may be a text
    return training.execute(settings, corpus, split, images, record=record, teacher=teacher, progress=False)


TRANSFER = config.Run(SMALL, teacher="teacher")


def test_precision_is_part_of_what_a_run_is(tmp_path, corpus, split, images):
    single, mixed = (
        execute(tmp_path / precision, named(precision=precision), corpus, split, images)
        for precision in ("32-true", "bf16-mixed")
    )
    assert records.read(tmp_path / "bf16-mixed/run.json").configuration.training.precision == "bf16-mixed"
    losses = [record.curves["cross entropy"]["loss"] for record in (single, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    return SpectrogramViT(SMALL_TEACHER).eval(), "teacher's result"


@pytest.mark.parametrize("schedule", ["synthetic", "synthetic-bf16"])
def test_the_long_student_trains_as_many_updates_as_matching_and_transfer(
    tmp_path, corpus, split, images, teacher, monkeypatch, schedule
):
    updates = []

    class Counted(torch.optim.AdamW):
        def step(self, closure=None):
            updates.append(run)
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Counted)
    for run in ("student-alone", "student-alone-long", "student-pooled"):
        resolved = config.resolve(run, schedule, 0, 3)
        small = replace(resolved, run=replace(resolved.run, model=SMALL))
        execute(tmp_path / run, small, corpus, split, images, teacher if small.run.teacher else None)
    assert updates.count("student-alone-long") == updates.count("student-pooled") == 2 * updates.count("student-alone")


def test_weights_decay_by_the_rate_and_the_decay_of_every_update():
    """A weight whose gradient is zero only decays: by ``1 - rate * weight_decay`` an update (AdamW)."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(16 * 12, 3)
            self.idle = torch.nn.Parameter(torch.ones(1))

        def forward(self, images):
            logits = self.head(images.flatten(1)) + 0 * self.idle
            return Output(logits, logits, logits[:, None])

    settings = replace(SETTINGS, weight_decay=0.5, learning_rate=0.1)
    network, labels = Network(), torch.arange(24) % 3
    bench = state.TrainState(
        distributed.make_fabric(), settings, torch.rand(24, 1, 16, 12), torch.arange(24), labels, progress=False
    )
    training.train_teacher(bench, network)
    plain = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(plain, 0.1, 9)  # three epochs of three batches
    left = 1.0
    for _ in range(9):
        left *= 1 - 0.5 * plain.param_groups[0]["lr"]
        plain.step()
        cycle.step()
    assert network.idle.item() == pytest.approx(left, rel=1e-5)
    assert left < 0.9
    assert config.Training().weight_decay > 0


def test_one_batch_is_learned_by_heart(tmp_path, corpus, split, images):
    record = execute(tmp_path, named(epochs=40, batch_size=24), corpus, split, images)
    true, predicted = record.labels("train")
    assert (true == predicted).all()
    assert record.curves["cross entropy"]["loss"][-1] < 0.05


def test_what_is_learned_holds_for_held_out_images(tmp_path, corpus, split, images):
    true, predicted = execute(tmp_path, named(epochs=40), corpus, split, images).labels("test")
    assert (true == predicted).all()


@pytest.mark.parametrize(
    "run", [config.Run(SMALL_TEACHER), config.Run(SMALL), TRANSFER], ids=["teacher", "alone", "transfer"]
)
def test_the_same_seed_gives_the_same_record(tmp_path, corpus, split, images, run, teacher):
    given = teacher if run.teacher else None
    first, second, other = (
        execute(tmp_path / name, named(run, seed=seed), corpus, split, images, given)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.result == second.result
    assert first.curves != other.curves
    assert (tmp_path / "a/run.safetensors").read_bytes() == (tmp_path / "b/run.safetensors").read_bytes()


class Killed(Exception):
    pass


@pytest.fixture
def kill(monkeypatch, corpus, split, images):
    """Executes a run that is killed after ``epochs`` epochs, begun ``seconds`` earlier than it says."""
    keep = state.save_state

    def execute_killed(folder: Path, settings=None, teacher=None, epochs: int = 1, seconds: float = 0.0) -> None:
        kept = []

        def killed(run, *arguments):
            run.started -= seconds
            keep(run, *arguments)
            kept.append(arguments)
            if len(kept) == epochs:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(state, "save_state", killed)
            with pytest.raises(Killed):
                execute(folder, settings or named(), corpus, split, images, teacher)

    return execute_killed


@pytest.mark.parametrize("stop_after", [1, 3, 5])
@pytest.mark.parametrize("change", [{}, {"log_test_accuracy": True}], ids=str)
def test_a_killed_run_ends_with_the_same_record(
    tmp_path, corpus, split, images, teacher, monkeypatch, kill, stop_after, change
):
    settings = named(TRANSFER, **change)
    whole = execute(tmp_path / "whole", settings, corpus, split, images, teacher)
    kill(tmp_path / "killed", settings, teacher, stop_after)
    assert not (tmp_path / "killed/run.json").exists()
    keep, epochs = state.save_state, []
    monkeypatch.setattr(state, "save_state", lambda *arguments: (keep(*arguments), epochs.append(arguments)))
    resumed = execute(tmp_path / "killed", settings, corpus, split, images, teacher)
    assert len(epochs) == 6 - stop_after  # two stages of three epochs
    assert resumed.result == whole.result
    assert [path.name for path in sorted((tmp_path / "killed").iterdir())] == ["run.json", "run.safetensors"]


def test_seconds_count_from_the_first_start(tmp_path, corpus, split, images, kill):
    kill(tmp_path, seconds=1_000.0)
    assert 1_000 < execute(tmp_path, named(), corpus, split, images).provenance["seconds"] < 1_100


def test_the_state_of_other_settings_is_not_taken_up(tmp_path, corpus, split, images, kill):
    kill(tmp_path)
    other = named(learning_rate=1e-3)
    assert (
        execute(tmp_path, other, corpus, split, images).result
        == execute(tmp_path / "fresh", other, corpus, split, images).result
    )


def test_the_evaluated_part_chooses_nothing(tmp_path, corpus, split, images):
    """Other held-out images and labels leave the training exactly as it was."""
    settings = named()
    first = execute(tmp_path / "a", settings, corpus, split, images)
    other = images.clone()
    other[24:] = 1 - other[24:]
    second = execute(tmp_path / "b", settings, corpus, split, other)
    assert first.curves == second.curves
    assert load(tmp_path / "a/run.safetensors")[0].head.weight.equal(
        load(tmp_path / "b/run.safetensors")[0].head.weight
    )
    assert first.parts["train"] == second.parts["train"]


def test_logging_the_test_accuracy_changes_nothing(tmp_path, corpus, split, images):
    plain = execute(tmp_path / "a", named(epochs=4), corpus, split, images)
    logged = execute(tmp_path / "b", named(epochs=4, log_test_accuracy=True), corpus, split, images)
    accuracies = logged.curves["cross entropy"].pop("test accuracy")
    assert logged.curves == plain.curves
    assert logged.parts == plain.parts
    true, predicted = logged.labels("test")
    assert len(accuracies) == 4
    assert accuracies[-1] == pytest.approx((true == predicted).mean())


def test_the_stages_keep_the_papers_order(tmp_path, corpus, split, images, teacher):
    record = execute(tmp_path, named(TRANSFER), corpus, split, images, teacher)
    assert list(record.curves) == ["matching", "transfer"]
    stage = record.curves["transfer"]
    for total, entropy, l1 in zip(stage["loss"], stage["cross entropy"], stage["matching"], strict=True):
        assert total == pytest.approx(entropy + TRANSFER.alpha * l1, rel=1e-5)
    short = execute(tmp_path / "c", named(replace(TRANSFER, matching_stage=False)), corpus, split, images, teacher)
    assert list(short.curves) == ["transfer"]


@pytest.mark.parametrize("match", config.MATCHES)
def test_matching_approaches_the_frozen_teacher(tmp_path, corpus, split, images, teacher, match):
    before = {name: tensor.clone() for name, tensor in teacher[0].state_dict().items()}
    settings = named(replace(TRANSFER, match=match), epochs=10)
    record = execute(tmp_path, settings, corpus, split, images, teacher)
    losses = record.curves["matching"]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    for name, tensor in teacher[0].state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_student_without_its_teacher_is_refused(tmp_path, corpus, split, images):
    with pytest.raises(ValueError, match="follows the run 'teacher': train that first"):
        execute(tmp_path, named(TRANSFER), corpus, split, images)


def test_the_record_says_what_was_left_out(tmp_path, corpus, split, images):
    from serlib.data.corpora import Excluded

    corpus = replace(corpus, excluded=(Excluded("x.wav", "digital silence"),), notes=("4 speakers, published 10",))
    record = records.read(tmp_path / "run.json") if execute(tmp_path, named(), corpus, split, images) else None
    assert record.excluded == (("x.wav", "digital silence"),)
    assert record.notes == ("4 speakers, published 10",)
    assert set(record.parts["train"].file).isdisjoint(record.parts["test"].file)


SEVERAL = (
    named(batch_size=7),  # neither 24 images nor the last three divide by two processes and seven
    named(config.Run(SMALL_TEACHER)),
    named(TRANSFER),
    named(replace(TRANSFER, match="tokens"), log_test_accuracy=True),
)


def several(folder: Path, lost_after: int = 0) -> list[int]:
    """The runs above, each process with a folder of its own; the second is killed after some epochs. Epochs of each."""
    made = torch.Generator().manual_seed(0)
    corpus = Corpus("tiny", "synthetic", tuple(utterance(i) for i in range(30)))
    keys = [u.key for u in corpus.utterances]
    split, rank = Split("random", 0, tuple(keys[:24]), tuple(keys[24:])), int(os.environ.get("RANK", 0))
    images = torch.rand(30, 1, 16, 12, generator=made)
    torch.manual_seed(1)
    teacher = SpectrogramViT(SMALL_TEACHER).eval(), "teacher's result"
    keep, kept = state.save_state, []

    def keeps(*arguments):
        keep(*arguments)
        kept.append(arguments)
        if rank and len(kept) == lost_after:
            os.kill(os.getpid(), signal.SIGKILL)

    state.save_state, epochs = keeps, []
    try:
        for i, settings in enumerate(SEVERAL):
            given = teacher if settings.run.teacher else None
            execute(folder / str(rank) / str(i), settings, corpus, split, images, given)
            epochs.append(len(kept) - sum(epochs))
    finally:
        state.save_state = keep
    return epochs


# Two processes as torchrun starts them, and ends the other when one is lost: forks of one that has imported the libraries.
# A folder and a number a line; a port as the argument.
FORKED = """
import os, signal, sys
from tests.test_training import *
shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
os.environ |= shared | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
for line in sys.stdin:
    folder, lost_after = line.rsplit(maxsplit=1)
    children, failed = [], False
    for rank in "01":
        if not (child := os.fork()):
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
            try:
                print(several(Path(folder), int(lost_after)), flush=True)
            except ValueError as error:
                print(f"serlib: {error}", flush=True)
                os._exit(1)
            os._exit(0)
        children.append(child)
    while children:
        ended, status = os.wait()
        children.remove(ended)
        failed = failed or bool(status)
        if status:
            [os.kill(other, signal.SIGTERM) for other in children]
    print("failed" if failed else "done", flush=True)
"""


@contextmanager
def forked():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen((sys.executable, "-c", FORKED, port), cwd=Path(__file__).parents[1], **pipes) as process:

        def run(folder: Path, lost_after: int = 0) -> tuple[bool, list[str]]:
            print(folder, lost_after, file=process.stdin, flush=True)
            lines = []
            for line in map(str.rstrip, process.stdout):
                if line in ("failed", "done"):
                    return line == "done", lines
                lines.append(line)
            pytest.fail("\n".join(lines))

        yield run
        process.stdin.close()


@contextmanager
def by_torchrun():
    def run(folder: Path, lost_after: int = 0) -> tuple[bool, list[str]]:
        program = f"from tests.test_training import *; print(several(Path({str(folder)!r}), {lost_after}))"
        guarded = f"import sys\ntry:\n    {program}\nexcept ValueError as error:\n    sys.exit(f'serlib: {{error}}')"
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        command = (*torchrun, "--no-python", "--", sys.executable, "-c", guarded)
        ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        return ended.returncode == 0, [*ended.stdout.splitlines(), *ended.stderr.splitlines()]

    yield run


@pytest.mark.nightly
@pytest.mark.parametrize("launcher", [forked, by_torchrun])
def test_two_processes_end_with_a_line_when_one_is_lost_and_then_learn_as_one(tmp_path, launcher):
    with launcher() as by_two:
        whole, said = by_two(tmp_path, 2)
        assert not whole
        (line,) = [line for line in said if line.startswith("serlib: ")]
        begins = "serlib: process 0 of 2 ends: another was lost, or it was told to; the same command goes on "
        assert line.startswith(begins)
        assert [path.name for path in (tmp_path / "0/0").iterdir()] == ["run.state"]
        left = 3 - torch.load(tmp_path / "0/0/run.state", weights_only=True)["epoch"]
        whole, said = by_two(tmp_path)
    assert whole, said
    epochs = [line for line in said if re.fullmatch(r"\[[\d, ]+\]", line)]
    assert left in (1, 2)
    assert epochs == [f"[{left}, 3, 6, 6]"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["0"]  # the second process writes nothing
    assert several(tmp_path / "one") == [3, 3, 6, 6]
    for i in range(len(SEVERAL)):
        two, one = (records.read(tmp_path / where / str(i) / "run.json") for where in ("0", "one/0"))
        assert two.parts == one.parts
        assert two.provenance["device"] == f"2 x {one.provenance['device']}"
        for stage, curves in one.curves.items():
            for name, values in curves.items():
                assert two.curves[stage][name] == pytest.approx(values, abs=1e-5), (i, stage, name)


def test_single_precision_is_meant_in_convolutions_as_well(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    distributed.make_fabric()
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("part", [torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.1)], ids=["norm", "dropout"])
def test_what_must_see_the_whole_batch_is_refused_in_several_processes(
    tmp_path, corpus, split, images, monkeypatch, part
):
    """By the modules that were built, whatever the configuration says: a network that is handed in counts too."""

    def network():
        return torch.nn.Sequential(part, SpectrogramViT(SMALL))

    monkeypatch.setattr(distributed.Fabric, "world_size", property(lambda self: 2))
    monkeypatch.setattr(distributed.signal, "signal", lambda *_: None)
    settings, record = named(config.Run(None)), tmp_path / "run.json"
    with pytest.raises(ValueError, match=r"must see the whole batch: one process, not 2$"):
        training.execute(settings, corpus, split, images, record=record, network=network, progress=False)


CHANGED = {
    "images": lambda images, patch: images.mul_(0.5),
    "code": lambda images, patch: patch.setattr(state, "TRAINING_CODE", (*state.TRAINING_CODE, "flops")),
    "libraries": lambda images, patch: patch.setattr(provenance, "library_versions", lambda: {"torch": "0.0"}),
    "threads": lambda images, patch: patch.setattr(torch, "get_num_threads", lambda: 99),
    "processor": lambda images, patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other"),
    "device": lambda images, patch: patch.setattr(training.precision, "device_name", lambda *_: "other"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_killed_run_is_not_gone_on_with_by_other_images_or_code(
    tmp_path, corpus, split, images, monkeypatch, capsys, kill, change
):
    kill(tmp_path / "killed")
    CHANGED[change](images, monkeypatch)
    again = execute(tmp_path / "killed", named(), corpus, split, images)
    assert again.result == execute(tmp_path / "fresh", named(), corpus, split, images).result
    said = "run.state: of other settings, images, code, libraries, threads or device; the run starts from its beginning"
    assert said in capsys.readouterr().err


def test_the_cycle_of_rate_and_momentum_is_what_the_settings_say(monkeypatch):
    """PyTorch's defaults, each a field: nothing of the optimiser is left unsaid."""
    seen = {}

    class Cycle(torch.optim.lr_scheduler.OneCycleLR):
        def __init__(self, optimizer, *arguments, **named):
            seen.update(named, decay=optimizer.param_groups[0]["weight_decay"], groups=len(optimizer.param_groups))
            super().__init__(optimizer, *arguments, **named)
            seen["betas"] = optimizer.param_groups[0]["betas"]

    monkeypatch.setattr(torch.optim.lr_scheduler, "OneCycleLR", Cycle)
    settings = replace(SETTINGS, warm_up=0.5, first_divisor=10.0, last_divisor=100.0, beta1=(0.8, 0.9), beta2=0.99)
    bench = state.TrainState(
        distributed.make_fabric(),
        settings,
        torch.rand(24, 1, 16, 12),
        torch.arange(24),
        torch.arange(24) % 3,
        progress=False,
    )
    training.train_teacher(bench, SpectrogramViT(SMALL))
    assert (seen["pct_start"], seen["div_factor"], seen["final_div_factor"]) == (0.5, 10.0, 100.0)
    assert (seen["base_momentum"], seen["max_momentum"], seen["betas"]) == (0.8, 0.9, (0.9, 0.99))
    assert (seen["decay"], seen["groups"]) == (0.01, 1)  # every parameter decays


def test_a_loss_that_is_not_finite_is_told_where_nothing_is_kept_either():
    """Without a state file, as benchmarks train."""
    rows, labels = torch.arange(1), torch.zeros(1, dtype=torch.int64)
    unkept = training.TrainState(
        distributed.make_fabric(), config.Training(), torch.zeros(1, 1, 128, 128), rows, labels, progress=False
    )
    with pytest.raises(ValueError, match=r"^training: matching, epoch 2: the loss is not finite; try another seed"):
        training._check_finite(unkept, "matching", 1, {"matching": float("nan")})
