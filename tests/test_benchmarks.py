"""What the benchmarks compute, not how fast: no test depends on time."""

from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from benchmarks import cpu, gpu, measure, peers
from serlib import config
from serlib.model import SpectrogramViT
from tests.helpers import write_wav

SMALL = replace(config.STUDENT, image_size=(16, 12), patch_size=(16, 1), width=32, depth=1, heads=2, head_width=8)


def test_alternatives_take_turns_and_the_first_round_does_not_count():
    turns = []
    times = measure.rounds({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=2)
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


@pytest.mark.filterwarnings("ignore:.*is deprecated and slated for removal:DeprecationWarning")  # audioread's
def test_extraction_makes_the_images_of_the_files_that_it_counts(tmp_path):
    for seed in range(2):
        write_wav(tmp_path / f"{seed}.wav", seed=seed)
    rows, about = cpu.extraction(corpus=None, options=Namespace(data=tmp_path, repeats=1))
    assert [len(rates) for rates in about["files a second"]] == [2]
    assert rows[0]["said"].startswith("2 files; ")
    assert rows[0]["measured"]["median"] > 0


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out == "no GPU at hand: nothing measured, nothing written\n"
    assert not list(tmp_path.iterdir())
