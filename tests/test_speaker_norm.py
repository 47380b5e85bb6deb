"""Per-speaker normalisation against a loop in numpy, and what a record of it holds against the network's weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from serlib import checkpoints, config, records
from serlib.data.corpora import Corpus, Utterance
from serlib.data.splits import Split
from serlib.engine import padding
from serlib.model import SpectrogramViT
from studies import __main__ as studies
from studies import baselines, frontends, speaker_norm, variants
from studies.frontends import load

SMALL = config.Model(num_classes=2, image_size=(8, 12), patch_size=(8, 1), width=32, depth=2, heads=2, head_width=8)
SPEAKERS = np.array(["a", "b"] * 12)  # 12 files each
WIDTHS = [12, 10, 5, 7, 9, 3, 12, 1] * 3  # columns of speech: some images hold no silence


@pytest.fixture
def images() -> torch.Tensor:
    made = torch.rand(24, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    made[::2] = 0.2 + 0.3 * made[::2]  # speaker a is another room
    made[:, :, 2] = 0.5  # a band without deviation in the speech
    for image, width in zip(made, WIDTHS, strict=True):
        image[..., width:] = 0
    return made


@pytest.fixture
def corpus() -> Corpus:
    said = [
        Utterance(f"{i:02}.wav", Path(f"{i:02}.wav"), s, "t", ("anger", "sadness")[i // 2 % 2], f"{i:064x}", 1.0)
        for i, s in enumerate(SPEAKERS)
    ]
    return Corpus("tiny", "synthetic", tuple(said))


@pytest.fixture
def split(corpus) -> Split:
    train, test = ([u.key for u in corpus.utterances if u.speaker == speaker] for speaker in "ab")
    return Split("leave-one-speaker-out", 1, tuple(train), tuple(test))


def by_hand(images: torch.Tensor, known: dict[str, list[int]]) -> np.ndarray:
    """Pixel by pixel; ``known`` says by which files each speaker is normalised."""
    found = np.zeros(images.shape, dtype=np.float64)
    for i, (speaker, width) in enumerate(zip(SPEAKERS, WIDTHS, strict=True)):
        for band in range(8):
            levels = [float(images[k, 0, band, x]) for k in known[speaker] for x in range(WIDTHS[k])]
            for x in range(width):
                found[i, 0, band, x] = (images[i, 0, band, x] - np.mean(levels)) / max(np.std(levels), 1e-3)
    return found


EVERY = {"a": list(range(0, 24, 2)), "b": list(range(1, 24, 2))}


def first(order: np.ndarray, count: int) -> dict[str, list[int]]:
    return {speaker: [i for i in order if SPEAKERS[i] == speaker][:count] for speaker in "ab"}


def test_bands_are_normalised_by_all_of_a_speakers_speech_or_by_some_files(images):
    np.testing.assert_allclose(speaker_norm.normalised_images(images, SPEAKERS), by_hand(images, EVERY), atol=2e-4)
    order = np.random.default_rng(3).permutation(24)
    some = speaker_norm.normalised_images(images, SPEAKERS, order, 3, rows=[7, 4, 5])
    np.testing.assert_allclose(some, by_hand(images, first(order, 3))[[7, 4, 5]], atol=2e-4)


def test_a_speaker_of_silence_alone_stays_finite(images):
    images[1::2] = 0
    assert not speaker_norm.normalised_images(images, SPEAKERS)[1::2].any()


def test_silence_stays_one_run_of_equal_columns_that_a_network_computes_once(images, monkeypatch):
    found = speaker_norm.normalised_images(images, SPEAKERS)
    assert torch.equal(padding.content_width(found), padding.content_width(images))
    torch.manual_seed(0)
    network = SpectrogramViT(replace(SMALL, stem=(2, 1))).eval()
    quick = network(found).logits
    monkeypatch.setattr(padding, "can_skip", lambda _: False)
    torch.testing.assert_close(quick, network(found).logits, atol=1e-5, rtol=1e-5)


def test_each_speakers_values_are_standardised_by_its_own_files_or_by_some_of_them():
    values = np.array([[1.0, 5], [3, 5], [8, 5], [10, 6], [20, 8]])
    speakers, order = np.array(["a", "a", "a", "b", "b"]), np.array([4, 1, 0, 3, 2])
    whole = speaker_norm.normalised_values(values, speakers)
    np.testing.assert_allclose(whole[:3, 0], zscore([1, 3, 8]))
    np.testing.assert_allclose(whole, [[*whole[0, :1], 0], [*whole[1, :1], 0], [*whole[2, :1], 0], [-1, -1], [1, 1]])
    two = speaker_norm.normalised_values(values, speakers, order, 2)  # of speaker a the files 1 and 0
    np.testing.assert_allclose(two, [[-1, 0], [1, 0], [6, 0], [-1, -1], [1, 1]])


def student(normalised: bool = True) -> config.RunConfig:
    settings = config.Training(epochs=2, batch_size=6, learning_rate=3e-3, seed=5)
    beyond = vars(variants.VARIANTS["student-alone-speaker-norm"]) if normalised else {}
    return config.RunConfig("student-alone-speaker-norm", config.Run(SMALL), "test", settings, beyond=beyond)


def execute(folder, corpus, split, images, settings=None) -> records.Record:
    how = {"record": folder / "run.json", "cache": folder, "progress": False}
    return studies.STUDIES.execute(settings or student(), corpus, split, lambda: images, **how)


def test_every_part_is_what_the_trained_network_says_of_images_normalised_by_hand(tmp_path, corpus, split, images):
    record = execute(tmp_path, corpus, split, images)
    assert list(record.parts) == ["train", "test", "test-3", "test-5", "test-10", "test-20"]
    assert records.read(tmp_path / "run.json") == record
    network, about = checkpoints.load(tmp_path / "run.safetensors", frontends.network)
    assert about["result"] == record.result
    order = np.random.default_rng([5, 1]).permutation(24)  # seed, fold
    known = {"train": EVERY, "test": EVERY} | {f"test-{n}": first(order, n) for n in (3, 5, 10, 20)}
    plain = network(images).logits
    for name, by in known.items():
        with torch.no_grad():
            logits = network(torch.tensor(by_hand(images, by), dtype=torch.float32)).logits
        rows = corpus.rows(record.parts[name].file)
        assert record.parts[name].file == (split.train if name == "train" else split.test)
        assert record.parts[name].predicted == tuple(logits.argmax(dim=1)[rows].tolist())
        assert not torch.allclose(logits, plain, atol=1e-2)
    assert record.parts["test-20"] == record.parts["test"]  # the speaker has 12


def test_training_sees_nothing_of_the_test_speaker_and_the_test_speakers_room_is_no_matter(
    tmp_path, corpus, split, images
):
    whole = execute(tmp_path / "a", corpus, split, images)
    room = images.clone()
    for row, width in list(enumerate(WIDTHS))[1::2]:
        room[row, ..., :width] = 0.1 + 0.5 * images[row, ..., :width]
    other = execute(tmp_path / "b", corpus, split, room)
    assert other.curves == whole.curves
    assert other.parts == whole.parts
    assert execute(tmp_path / "c", corpus, split, images, student(normalised=False)).curves != whole.curves


def test_a_speaker_on_both_sides_is_refused_before_the_images_are_made(tmp_path, corpus, split):
    both = replace(split, train=(*split.train, split.test[0]), test=split.test[1:])
    resnet, where = variants.resolve("resnet-18-speaker-norm", "paper", 0, 2), {"record": tmp_path / "run.json"}
    made = lambda: pytest.fail("images were made")  # noqa: E731
    said = "-speaker-norm: b is in training and test set; choose a speaker-independent protocol$"
    with pytest.raises(ValueError, match=f"^student-alone{said}"):
        studies.STUDIES.execute(student(), corpus, both, made, cache=tmp_path, **where)
    with pytest.raises(ValueError, match=f"^resnet-18{said}"):
        baselines.execute(resnet, corpus, both, made, cache=tmp_path, **where)
    assert not list(tmp_path.iterdir())


def test_the_residual_network_has_the_parts_too(tmp_path, corpus, split, images):
    resolved = variants.resolve("resnet-18-speaker-norm", "paper", 0, 2)
    assert resolved.training == variants.resolve("resnet-18", "paper", 0, 2).training
    settings = replace(resolved, training=config.Training(epochs=1, batch_size=6))
    big = torch.nn.functional.interpolate(images, (32, 48))
    where = {"record": tmp_path / "run.json", "cache": tmp_path / "cache"}
    record = baselines.execute(settings, corpus, split, lambda: big, **where)
    assert list(record.parts) == ["train", "test", "test-3", "test-5", "test-10", "test-20"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_weights_are_not_loaded_for_images_as_they_are(tmp_path, corpus, split, images):
    execute(tmp_path, corpus, split, images)
    with pytest.raises(ValueError, match=r"run\.safetensors: the network takes each speaker's images normalised by"):
        load(tmp_path / "run.safetensors")
    execute(tmp_path / "plain", corpus, split, images, student(normalised=False))
    assert "beyond" not in load(tmp_path / "plain/run.safetensors")[1]
