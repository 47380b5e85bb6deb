"""Exported networks, run by ONNX Runtime from samples, against the package's own way from samples to logits."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from serlib import attention, cli
from serlib.checkpoints import save
from serlib.config import STUDENT, TEACHER, Features
from serlib.data import features
from serlib.model import SpectrogramViT
from studies import frontends, variants
from workflow import export
from workflow.onnx_parts import image_part, network_part

SETTINGS = Features()
EMOTIONS = ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")


def speech(seconds: float) -> torch.Tensor:
    t = torch.arange(round(seconds * 16_000)) / 16_000
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))
    return 0.4 * torch.sin(2 * torch.pi * (150 + 200 * t) * t) * torch.sin(3 * t) + 0.01 * noise


def logits(network: SpectrogramViT, samples: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(features.image(samples, SETTINGS)[None]).logits[0].numpy()


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A network of random weights, its file of weights, and its export."""
    torch.manual_seed(0)
    network = SpectrogramViT(STUDENT).eval()
    folder = tmp_path_factory.mktemp("export")
    save(network, folder / "student.safetensors", features=vars(SETTINGS), emotions=EMOTIONS)
    assert export.main(["--weights", f"{folder}/student.safetensors", "--out", f"{folder}/student.onnx"]) == 0
    return network, folder


@pytest.mark.parametrize("seconds", [0.03, 1.3, 3.0, 9.999])
def test_samples_to_logits(student, seconds):
    network, folder = student
    session = onnxruntime.InferenceSession(folder / "student.onnx")
    (found,) = session.run(None, {"samples": speech(seconds).numpy()})
    assert np.abs(found - logits(network, speech(seconds))).max() < 1e-4


def test_silence_is_black(student):
    network, folder = student
    (found,) = onnxruntime.InferenceSession(folder / "student.onnx").run(None, {"samples": np.zeros(8_000, "f4")})
    assert np.abs(found - logits(network, torch.zeros(8_000))).max() < 1e-4


@pytest.mark.parametrize("level", [-20, -30, -40, -60, -300])
def test_a_quiet_recording_gives_the_same_logits_and_black_padding(student, level):
    """``level``: of the loudest mel bin, in dB; the file's own image is read from inside the graph."""
    network, folder = student
    loudest = 10 * features.mel_power(speech(2.0), SETTINGS).max().log10().item()
    samples = speech(2.0) * 10 ** ((level - loudest) / 20)
    graph = onnx.load(folder / "student.onnx")
    image = next(node.output[0] for node in reversed(graph.graph.node) if node.op_type == "Clip")
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(image))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found, image = session.run(None, {"samples": samples.numpy()})
    expected = features.image(samples, SETTINGS)[0].numpy()
    assert np.abs(found - logits(network, samples)).max() < 1e-3
    if level > -300:  # there the squares of quiet samples are too small for single precision
        assert np.abs(image.squeeze() - expected).max() < 1e-3
    assert (image.squeeze()[:, 30:] == 0).all()  # 2 of 10 s are 25.6 of 128 columns
    assert (expected[:, 30:] == 0).all()


def test_the_file_names_emotions_and_rate(student):
    about = onnxruntime.InferenceSession(student[1] / "student.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(about["emotions"]) == list(EMOTIONS)
    assert about["sample_rate"] == "16000"


def test_the_teacher_too(tmp_path):
    torch.manual_seed(0)
    network = SpectrogramViT(replace(TEACHER, depth=1)).eval()  # blocks are alike
    export.write_onnx(network, SETTINGS, EMOTIONS, tmp_path / "teacher.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "teacher.onnx").run(None, {"samples": speech(2.0).numpy()})
    assert np.abs(found - logits(network, speech(2.0))).max() < 1e-3


@pytest.mark.parametrize("name", ["teacher", "student-alone+deltas"])
def test_the_image_and_the_network_apart(name):
    """Weights that half precision holds exactly, as those of released networks, lose nothing by being stored in it."""
    torch.manual_seed(0)
    resolved = variants.resolve(name, "paper", 0, 7)
    shallow = replace(resolved.run.model, depth=2)  # blocks are alike
    network = frontends.of_run(replace(resolved, run=replace(resolved.run, model=shallow))).half().float().eval()
    model = network.config
    image = image_part(getattr(network, "front", None), SETTINGS, EMOTIONS)
    part = network_part(network, SETTINGS, EMOTIONS)
    assert not any(str(Path(__file__).parents[1]).encode() in made for made in (image, part)), (
        "the folders of who exports"
    )
    assert len(part) < 2.2 * sum(p.numel() for p in network.parameters())  # bytes
    (channels,) = onnxruntime.InferenceSession(image).run(None, {"samples": speech(2.0).numpy()})
    exact = features.image(speech(2.0), SETTINGS)
    slopes = [librosa.feature.delta(exact[0].numpy(), width=5, order=1, mode="nearest")]
    slopes += [librosa.feature.delta(slopes[0], width=5, order=1, mode="nearest")]
    expected = [exact[0].numpy(), *slopes][: model.channels]
    assert np.abs(channels - np.stack(expected)).max() < 1e-3
    found, looks = onnxruntime.InferenceSession(part).run(None, {"channels": channels})
    with torch.no_grad():
        output = network(exact[None], need_weights=True)
    assert np.abs(found - output.logits[0].numpy()).max() < 1e-3
    assert np.abs(looks - attention.rollout(output.attention, model.grid)[0].numpy()).max() < 1e-5


def test_a_failed_export_leaves_logging_as_it_was(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    before = logging.root.manager.disable
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever onnx raises
        export.quantise(tmp_path / "no.onnx", tmp_path / "small.onnx")
    assert logging.root.manager.disable == before
    with pytest.raises(RuntimeError), export._no_warnings():
        raise RuntimeError
    assert logging.root.manager.disable == before


def test_eight_bits_stay_near(student, tmp_path, monkeypatch):
    network, folder = student
    monkeypatch.setattr(export, "write_onnx", lambda *given: shutil.copy(folder / "student.onnx", given[-1]))
    arguments = ["--weights", f"{folder}/student.safetensors", "--out", f"{tmp_path}/int8.onnx", "--int8"]
    assert export.main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (folder / "student.onnx").stat().st_size
    (found,) = onnxruntime.InferenceSession(tmp_path / "int8.onnx").run(None, {"samples": speech(3.0).numpy()})
    exact = logits(network, speech(3.0))
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()

    def breaks_off(*given):
        raise KeyboardInterrupt

    before = (tmp_path / "int8.onnx").read_bytes()
    monkeypatch.setattr(export, "quantise", breaks_off)
    assert export.main(arguments) == 130
    assert (tmp_path / "int8.onnx").read_bytes() == before


def test_a_coloured_image_is_refused(student, tmp_path, capsys):
    path = tmp_path / "coloured.safetensors"
    save(student[0], path, features=vars(Features(colour="inferno-red")), emotions=EMOTIONS)
    assert export.main(["--weights", str(path), "--out", f"{tmp_path}/x.onnx"]) == 1
    assert capsys.readouterr().err == "workflow.export: colour 'inferno-red': only linear images can be exported\n"
    assert not (tmp_path / "x.onnx").exists()


def test_predict_agrees(student, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", speech(2.0).numpy(), 16_000, subtype="FLOAT")
    assert cli.main(["predict", f"{tmp_path}/a.wav", "--weights", f"{student[1]}/student.safetensors"]) == 0
    said = capsys.readouterr().out
    (found,) = onnxruntime.InferenceSession(student[1] / "student.onnx").run(None, {"samples": speech(2.0).numpy()})
    assert said.split(": ")[1].startswith(EMOTIONS[int(found.argmax())])
