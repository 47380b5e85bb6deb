"""Baselines against hand-computed statistics, and against leaks from the test set."""

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import savgol_filter

from serlib import config, files, records
from serlib.data import corpora, features, splits
from studies import baselines, speaker_norm, variants
from tests.helpers import tiny_emodb


@pytest.fixture
def corpus(tmp_path):
    return corpora.load("emodb", tiny_emodb(tmp_path / "emodb", texts=("a01", "a02")))


@pytest.fixture
def images(corpus):
    """Angry images are bright at the top, sad ones at the bottom: easy for anything that sees mel bands."""
    made = torch.rand(len(corpus.utterances), 1, 8, 12, generator=torch.Generator().manual_seed(0)) * 0.5
    for i, label in enumerate(corpus.labels):
        made[i, 0, : 4 if label else 8, :6][-4:] += 0.4
    made[..., 7:] = 0
    return made


def execute(name, corpus, images, tmp_path, fold=0):
    named = variants.resolve(name, "paper", 0, len(corpus.emotions))
    split = splits.split(corpus, "leave-one-speaker-out", fold)
    where = tmp_path / f"{name}.json"
    return baselines.execute(named, corpus, split, lambda: images, record=where, cache=tmp_path / "cache")


def test_statistics_by_hand():
    image = torch.zeros(1, 1, 2, 5)
    image[0, 0, 0, :3] = torch.tensor([1, 2, 3])  # speech ends after three columns
    image[0, 0, 1, :3] = 4
    assert baselines.mel_statistics(image)[0].tolist() == pytest.approx([2, 4, np.sqrt(2 / 3), 0])


def test_a_silent_image_has_statistics_too():
    assert baselines.mel_statistics(torch.zeros(1, 1, 2, 5))[0].tolist() == [0, 0, 0, 0]


def test_majority_names_the_training_parts_most_frequent_emotion(corpus, images, tmp_path):
    more = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.emotion == "sadness" or "a01" in u.key))
    record = execute("majority", more, images, tmp_path)
    assert {record.emotions[label] for label in record.parts["test"].predicted} == {"sadness"}


def test_statistics_tell_what_mel_bands_tell(corpus, images, tmp_path):
    record = execute("mel-statistics", corpus, images, tmp_path)
    assert record.parts["test"].predicted == record.parts["test"].true
    assert records.read(tmp_path / "mel-statistics.json") == record
    assert record.configuration.run.model is None


def test_the_held_out_part_changes_nothing(corpus, images, tmp_path):
    """Other held-out images and labels leave the predictions for the training set as they were."""
    first = execute("mel-statistics", corpus, images, tmp_path)
    held_out = [i for i, u in enumerate(corpus.utterances) if u.key in first.parts["test"].file]
    other = images.clone()
    other[held_out] = 100 * torch.rand(other[held_out].shape)
    assert execute("mel-statistics", corpus, other, tmp_path).parts["train"] == first.parts["train"]


def test_the_residual_network_learns_on_the_training_part_and_is_the_same_again(corpus, images, tmp_path):
    big = torch.nn.functional.interpolate(images, (16, 16))
    named = replace(variants.resolve("resnet-18", "paper", 0, 2), training=config.Training(epochs=2, batch_size=4))
    split = splits.split(corpus, "leave-one-speaker-out", 0)

    def execute(where):
        return baselines.execute(named, corpus, split, lambda: big, record=where, cache=tmp_path / "cache")

    record = execute(tmp_path / "a/resnet.json")
    assert len(record.curves["cross entropy"]["loss"]) == 2
    assert record.curves["cross entropy"]["loss"][-1] < record.curves["cross entropy"]["loss"][0]
    assert records.read(tmp_path / "a/resnet.json") == record
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["resnet.json"]
    assert execute(tmp_path / "b/resnet.json").result == record.result


def test_the_residual_network_is_torchvisions_with_one_channel():
    from torchvision.models import resnet18

    network = baselines.ResNet18(7).eval()
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == sum(p.numel() for p in resnet18(num_classes=7).parameters()) - 2 * 64 * 7 * 7
    out = network(torch.rand(2, 1, 128, 128))
    assert out.logits.shape == (2, 7)
    torch.testing.assert_close(network.head(out.pooled), out.logits)


@pytest.mark.parametrize("name", ["opensmile", "resemblyzer"])
def test_an_absent_package_is_named_with_its_remedy(name, corpus, images, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ValueError, match=rf"^{name} is not installed: pip install (?i:{name})"):
        execute(name, corpus, images, tmp_path)
    assert not (tmp_path / f"{name}.json").exists()


def test_versions_are_refused_where_they_cannot_be_read(corpus, tmp_path):
    with pytest.raises(ValueError, match="opensmile reads recordings as they are, not in versions"):
        baselines.functionals("opensmile", corpora.versions(corpus), tmp_path)


def test_deltas_are_the_slope_of_a_line_through_five_frames(corpus):
    """scipy's Savitzky-Golay filter of order one is the same regression."""
    path, settings, found = corpus.utterances[0].path, config.Features(), []
    samples = features.read_audio(path, settings)
    level = features.log_mel(samples, settings).numpy()
    for _ in range(3):
        found.append(level)
        level = savgol_filter(level, 5, 1, deriv=1, axis=1, mode="nearest")
    expected = np.concatenate([part.mean(axis=1) for part in found] + [part.std(axis=1) for part in found])
    np.testing.assert_allclose(baselines.mel_deltas(samples), expected, atol=1e-6)


def test_functionals_are_of_the_files_and_the_channel_that_were_checked(corpus, tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, 2)).astype("float32")
    path = tmp_path / "two.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    two = replace(corpus.utterances[0], path=path, sha256=files.sha256(path))
    for channel, expected in enumerate((samples.mean(axis=1), *samples.T)):
        of = replace(corpus, utterances=(two,), channel=channel)
        wanted = baselines.mel_deltas(torch.from_numpy(expected))
        np.testing.assert_allclose(baselines.functionals("mel-deltas", of, tmp_path)[0], wanted, atol=1e-6)
    changed = replace(corpus, utterances=(replace(two, sha256="0" * 64),))
    with pytest.raises(ValueError, match=r"two\.wav: changed since the corpus was checked"):
        baselines.functionals("mel-deltas", changed, tmp_path)


def test_speaker_normalisation_says_how_many_unlabelled_utterances_it_took(corpus, tmp_path):
    plain = execute("mel-deltas", corpus, None, tmp_path)
    record = execute("mel-deltas-speaker-norm", corpus, None, tmp_path)
    assert list(record.parts) == ["train", "test", *(f"test-{count}" for count in speaker_norm.UNLABELLED)]
    assert {part.file for name, part in record.parts.items() if name != "train"} == {plain.parts["test"].file}
    assert record.parts["test"] == record.parts["test-20"]  # the speaker has fewer
    assert records.read(tmp_path / "mel-deltas-speaker-norm.json") == record


def test_speaker_normalisation_never_sees_the_other_parts_labels_or_values(corpus, tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(len(corpus.utterances), 4))
    monkeypatch.setattr(baselines, "functionals", lambda *_: values)
    first = execute("egemaps-speaker-norm", corpus, None, tmp_path)
    test = [i for i, u in enumerate(corpus.utterances) if u.key in first.parts["test"].file]
    values[test] = 7 + 3 * values[test]  # the same speaker through another microphone
    again = execute("egemaps-speaker-norm", corpus, None, tmp_path)
    assert again.parts["train"] == first.parts["train"]
    assert again.parts["test"] == first.parts["test"]
    values[test] = np.random.default_rng(1).normal(size=(len(test), 4))
    assert execute("egemaps-speaker-norm", corpus, None, tmp_path).parts["train"] == first.parts["train"]


def test_a_baseline_has_one_schedule_in_single_precision():
    named = variants.resolve("resnet-18", "paper", 0, 7)
    assert named == variants.resolve("resnet-18", variants.BASELINE, 0, 7)
    assert named.training.precision == "32-true"
    for other in ("paper-bf16", "short"):
        with pytest.raises(ValueError, match=f"schedule of a baseline {other!r} is none of paper, baseline"):
            variants.resolve("resnet-18", other, 0, 7)


def test_the_stored_values_are_of_the_settings_and_of_the_libraries_that_computed_them(corpus, tmp_path, monkeypatch):
    first = baselines.functionals("mel-deltas", corpus, tmp_path)
    assert np.array_equal(baselines.functionals("mel-deltas", corpus, tmp_path), first)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    with monkeypatch.context() as patch:
        narrow = replace(config.Features(), dynamic_range=40.0)
        patch.setattr(baselines.config, "Features", lambda channel=0: replace(narrow, channel=channel))
        assert not np.allclose(baselines.functionals("mel-deltas", corpus, tmp_path), first)
    assert baselines._versions()["torchaudio"] == metadata.version("torchaudio")
    monkeypatch.setattr(baselines.metadata, "version", lambda library: "0.0" if library == "torchaudio" else "1")
    baselines.functionals("mel-deltas", corpus, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_one_training_speaker_is_refused_in_our_own_words(corpus, tmp_path):
    two = [u for u in corpus.utterances if u.speaker in corpus.speakers[:2]]
    few = replace(corpus, utterances=tuple(two))
    with pytest.raises(ValueError, match=r"^the training set has one speaker, .*; choose another protocol$"):
        execute("mel-deltas", few, None, tmp_path)
