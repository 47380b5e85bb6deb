"""Log-Mel images against librosa, and the cache against stale or half-written images."""

import importlib.util
import multiprocessing
import os
import queue
import signal
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import strategies as st

from serlib import config
from serlib.config import Features
from serlib.data import features
from serlib.files import sha256

SETTINGS = Features()


def librosa_power(waveform: np.ndarray, settings: Features) -> np.ndarray:
    """The independent reference: the whole ten seconds, padded with zeros."""
    padded = np.zeros(settings.n_samples, dtype=np.float64)
    padded[: len(waveform)] = waveform[: settings.n_samples]
    return librosa.feature.melspectrogram(
        y=padded,
        sr=settings.sample_rate,
        n_fft=settings.fft_length,
        win_length=settings.window_length,
        hop_length=settings.hop_length,
        n_mels=settings.mel_bands,
        fmin=settings.low_frequency,
        fmax=settings.high_frequency,
        pad_mode="constant",
    )


def chirp(seconds: float, settings: Features = SETTINGS) -> torch.Tensor:
    t = torch.arange(round(seconds * settings.sample_rate)) / settings.sample_rate
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))
    return 0.5 * torch.sin(2 * torch.pi * (200 + 300 * t) * t) + 0.05 * noise


def assert_agrees_with_librosa(waveform: torch.Tensor, settings: Features = SETTINGS) -> None:
    reference = librosa_power(waveform.numpy().astype(np.float64), settings)
    power = features.mel_power(waveform, settings).numpy()
    assert reference.shape[1] == settings.n_frames == 1001
    heard = power.shape[1]
    assert np.abs(power - reference[:, :heard]).max() <= 1e-4 * reference.max()
    loud = reference[:, :heard] > 1e-6 * reference.max()
    assert (np.abs(power - reference[:, :heard])[loud] / reference[:, :heard][loud]).max() < 1e-3
    assert np.abs(reference[:, heard:]).max(initial=0) == 0  # the frames that are left out are exactly silent
    decibels = librosa.power_to_db(reference, ref=np.max, top_db=settings.dynamic_range)
    expected = decibels / settings.dynamic_range + 1
    assert np.abs(features.log_mel(waveform, settings).numpy() - expected[:, :heard]).max() < 1e-4
    assert np.abs(expected[:, heard:]).max(initial=0) < 1e-4


@pytest.mark.parametrize("seconds", [0.05, 2.5, 9.99, 12.0])
def test_agrees_with_librosa(seconds):
    assert_agrees_with_librosa(chirp(seconds))


@pytest.mark.parametrize("corpus", ["emodb", "crema-d"])
def test_agrees_with_librosa_on_recordings(recordings, corpus):
    for path in sorted((recordings / corpus).rglob("*.wav"))[::200]:
        assert_agrees_with_librosa(features.read_audio(path, SETTINGS))


def test_no_mel_filter_is_empty():
    reference = librosa.filters.mel(
        sr=SETTINGS.sample_rate, n_fft=SETTINGS.fft_length, n_mels=SETTINGS.mel_bands, fmax=SETTINGS.high_frequency
    )
    assert (reference.sum(axis=1) > 0).all()


def test_low_frequencies_are_at_the_bottom_and_padding_is_black():
    t = torch.arange(2 * 16_000) / 16_000
    low, high = (features.image(torch.sin(2 * torch.pi * f * t), SETTINGS)[0] for f in (200.0, 6000.0))
    assert low.mean(dim=1).argmax() > 100
    assert high.mean(dim=1).argmax() < 28
    assert low.max() <= 1
    assert (low[:, 30:] == 0).all()  # 2 of 10 s are 25.6 of 128 columns


def test_the_uninterpolated_image_is_the_spectrogram_upside_down():
    wide = replace(SETTINGS, image_size=(128, 1001))
    waveform = chirp(1.0)
    image, level = features.image(waveform, wide)[0].flip(0), features.log_mel(waveform, wide)
    assert torch.equal(image[:, : level.shape[1]], level)
    assert not image[:, level.shape[1] :].any()


def test_silence_is_black():
    assert (features.image(torch.zeros(16_000), SETTINGS) == 0).all()


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(gain=st.floats(1e-3, 1))
def test_an_image_does_not_depend_on_the_recordings_level(gain):
    samples = chirp(0.6)
    assert (features.image(samples * gain, SETTINGS) - features.image(samples, SETTINGS)).abs().max() < 1e-5


def test_the_released_colour_is_the_first_channel_of_inferno_as_it_is_saved():
    from matplotlib import colormaps

    waveform = chirp(0.5)
    grey = features.image(waveform, SETTINGS)
    red = features.image(waveform, replace(SETTINGS, colour="inferno-red"))
    expected = colormaps["inferno"]((grey[0] * 255).round().int().numpy(), bytes=True)[..., 0] / 255
    assert np.abs(red[0].numpy() - expected).max() < 1e-6
    assert list(features.INFERNO_RED) == colormaps["inferno"](range(256), bytes=True)[:, 0].tolist()


def test_other_rates_and_channels_are_read(tmp_path):
    t = np.arange(44_100) / 44_100
    stereo = np.stack((np.sin(2 * np.pi * 440 * t), np.zeros_like(t)), axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 44_100)
    waveform = features.read_audio(tmp_path / "a.wav", SETTINGS)
    assert len(waveform) == 16_000
    spectrum = waveform.numpy()[2000:14_000] @ np.exp(-2j * np.pi * 440 * np.arange(2000, 14_000) / 16_000)
    assert abs(abs(spectrum) / 6000 - 0.5) < 0.01  # half the amplitude: the mean of the channels


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    for i, path in enumerate(paths):
        soundfile.write(path, chirp(0.3 + 0.1 * i).numpy(), 16_000)
    return paths


def test_the_cache_follows_content_settings_and_code(files, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def made(settings=SETTINGS):
        images = features.images(files, [sha256(path) for path in files], settings, cache, progress=False)
        return images, len(list(cache.iterdir()))

    first, stored = made()
    assert stored == 1
    expected = torch.stack([features.image(features.read_audio(path, SETTINGS), SETTINGS) for path in files])
    assert torch.equal(first, expected)
    assert made()[1] == 1  # read, not made
    narrow, stored = made(replace(SETTINGS, dynamic_range=60.0))
    assert stored == 2
    assert not torch.equal(narrow, first)
    soundfile.write(files[1], chirp(1.0).numpy(), 16_000)
    changed, stored = made()
    assert stored == 3
    assert torch.equal(changed[0], first[0])
    assert not torch.equal(changed[1], first[1])
    monkeypatch.setattr(features, "CODE", "other")
    assert made()[1] == 4


@pytest.mark.parametrize(
    "library", ["numpy", "soundfile", "soxr", "torch", "torchaudio", "libsndfile", "inferno_red.csv"]
)
def test_the_cache_follows_what_computes_the_images(library, monkeypatch):
    def code() -> str:
        """Of the module as it is read anew, beside the one in use."""
        spec = importlib.util.spec_from_file_location("features_again", features.__file__)
        again = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(again)
        return again.CODE

    before, version, read = code(), metadata.version, Path.read_text
    assert before == features.CODE == code()
    monkeypatch.setattr(metadata, "version", lambda name: version(name) + "x" * (name == library))
    if library == "libsndfile":
        monkeypatch.setattr(soundfile, "__libsndfile_version__", "0")
    changed = lambda path, **how: read(path, **how) + "1" * (path.name == library)  # noqa: E731
    monkeypatch.setattr(Path, "read_text", changed)
    assert code() != before


def test_processes_give_the_same_images_and_refusals(files, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MANY_FILES", 1)
    monkeypatch.setattr(features, "CHUNK", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    random = torch.get_rng_state()
    hashes = [sha256(path) for path in files]
    made = features.images(files, hashes, SETTINGS, tmp_path / "cache", progress=False)
    assert torch.equal(torch.get_rng_state(), random)
    expected = torch.stack([features.image(features.read_audio(path, SETTINGS), SETTINGS) for path in files])
    assert torch.equal(made, expected)
    files[1].write_bytes(b"")
    with pytest.raises(ValueError, match=r"^[^\n]*1\.wav: [^\n]*$"):
        features.images(files, hashes, SETTINGS, tmp_path / "other", progress=False)


def test_a_version_is_the_image_of_the_perturbed_recording(files, tmp_path):
    kinds = config.PERTURBATIONS
    path, cache = files[0], tmp_path / "cache"
    whole = sha256(path)
    hashes = [whole, *(config.digest(whole, kind) for kind in kinds[1:])]
    made = features.images([path] * 4, hashes, SETTINGS, cache, False, kinds)
    samples = features.read_audio(path, SETTINGS)
    for picture, kind, file_hash in zip(made, kinds, hashes, strict=True):
        expected = features.image(features.perturb(samples, kind, SETTINGS, seed=int(file_hash[:8], 16)), SETTINGS)
        torch.testing.assert_close(picture, expected, atol=1e-4, rtol=0)  # resampling rounds with the threads
    assert len({picture.numpy().tobytes() for picture in made}) == 4


def test_perturbations_do_what_they_say():
    waveform = chirp(2.0)
    assert torch.equal(features.perturb(waveform, "original", SETTINGS), waveform)
    assert abs(len(features.perturb(waveform, "speed", SETTINGS)) - len(waveform) / 1.2) <= 1
    noise = features.perturb(waveform, "noise", SETTINGS) - waveform
    assert abs(10 * torch.log10(waveform.square().mean() / noise.square().mean()) - 20) < 0.2
    shifted = features.perturb(waveform, "time shift", SETTINGS)
    assert torch.equal(shifted[16_000:], waveform)
    assert (shifted[:16_000] == 0).all()
    with pytest.raises(ValueError, match="'echo' is none of"):
        features.perturb(waveform, "echo", SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (64, 128)}, r"image_size \(64, 128\): the height must be mel_bands = 128"),
        ({"image_size": (128, 0)}, r"image_size \(128, 0\): both must be at least 1 pixel"),
        ({"channel": -1}, "channel -1: channels are counted from 1"),
        ({"window_length": 4_096}, r"window_length 4096 is longer than fft_length \d+"),
        ({"seconds": 0.0}, "must be greater than 0"),
    ],
)
def test_settings_of_no_image_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Features(**change)


def test_a_worker_ends_with_its_parent_and_leaves_interrupts_to_it(monkeypatch):
    ended, before = queue.Queue(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(join=lambda: None))  # has ended
    monkeypatch.setattr(os, "_exit", ended.put)
    try:
        features._start_worker()
        assert ended.get(timeout=60) == 1
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
