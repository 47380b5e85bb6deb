"""Every file that people really have is read or refused in one line, by every entry alike; nothing is silently wrong."""

import ast
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import struct
import tomllib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import tiny_emodb, tiny_record, write_wav
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from serlib import checkpoints, config, files, records
from serlib.cli import main
from serlib.data import audio, corpora, features
from serlib.data.corpora import CorpusError, load
from serlib.model import SpectrogramViT
from studies import probed
from tests import fuzz
from tests.fuzz import tiny_run
from workflow import examples, listeners
from workflow.export import main as export

ROOT = Path(__file__).parents[1]
SPEECH = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype("float32")  # two seconds
SMALL = config.Model(num_classes=2, depth=1, width=16, mlp_width=16)
FEATURES = config.Features()
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wave extensible": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
}
OTHERS = {
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "nist": ("NIST", "PCM_16"),
}


def stored(kind: str, samples: np.ndarray = SPEECH, rate: int = 16_000) -> bytes:
    """``samples`` as a file of that format."""
    written = io.BytesIO()
    container, subtype = (FORMATS | OTHERS)[kind]
    soundfile.write(written, samples, rate, format=container, subtype=subtype)
    return written.getvalue()


def floats(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, samples, 16_000, format="WAV", subtype="FLOAT")
    return written.getvalue()


def changed(sample: float) -> bytes:
    samples = SPEECH.copy()
    samples[16_000] = sample
    return floats(samples)


def with_sizes(whole: int | None, data: int | None) -> bytes:
    """A WAV file whose header declares these sizes of the file and of its samples."""
    content = bytearray(stored("wav"))
    for at, size in ((4, whole), (40, data)):
        if size is not None:
            content[at : at + 4] = struct.pack("<I", size)
    return bytes(content)


def with_rate(rate: int) -> bytes:
    content = bytearray(stored("wav"))
    content[24:28] = struct.pack("<I", rate)
    return bytes(content)


def in_bytes(bits: int, size: int, channels: int = 1, order: str = "<", extensible: bool = False) -> bytes:
    """A WAV file of whole numbers of ``bits``, each in the upper bits of ``size`` bytes."""
    values = (SPEECH * (2 ** (bits - 1) - 1)).astype(int) << (8 * size - bits)
    byteorder = {"<": "little", ">": "big"}[order]
    samples = b"".join(int(value).to_bytes(size, byteorder, signed=True) for value in values)
    rest = 16_000, 16_000 * size * channels, size * channels, bits
    head = struct.pack(f"{order}HHIIHH", 0xFFFE if extensible else 1, channels, *rest)
    if extensible:
        head += struct.pack(f"{order}HHIH", 22, bits, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")
    parts = ((b"fmt ", head), (b"data", samples))
    body = b"WAVE" + b"".join(name + struct.pack(f"{order}I", len(part)) + part for name, part in parts)
    return {"<": b"RIFF", ">": b"RIFX"}[order] + struct.pack(f"{order}I", len(body)) + body


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return fuzz.weights(tmp_path_factory.mktemp("weights"))


def put(kind: str, path: Path) -> Path:
    """A pipe, a device or a folder in the place of a file."""
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](path)
    return path


NO_FILES = pytest.mark.parametrize("kind", ["pipe", "device", "folder"])


def command(capsys, *arguments, program=main) -> tuple[int, list[str], list[str]]:
    """Exit status and lines of a command."""
    status = program([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err.splitlines()


# One reader: what one entry refuses, all refuse, for the same reason

REFUSED = {
    "not a number": (changed(np.nan), "a sample is not a finite number"),
    "infinite": (changed(-np.inf), "a sample is not a finite number"),
    "huge": (changed(1e30), "a sample of 1e+30"),
    "too large": (changed(2e3), "a sample of 2e+03"),
    "digital silence": (floats(np.zeros(9_000)), "digital silence"),
    "too quiet": (floats(SPEECH * 1e-8), "digital silence"),
    "silent when mixed": (
        floats(np.stack((SPEECH, -SPEECH), 1)),
        "silence in the first 10 s of the mean of its channels (--channel chooses one)",
    ),
    "24 bits in four bytes": (in_bytes(24, 4), "samples of 24 bits in 4 bytes: save it as 16, 24 or 32 bits"),
    "16 bits in three bytes": (in_bytes(16, 3, order=">"), "samples of 16 bits in 3 bytes"),
    "20 bits in four bytes": (in_bytes(20, 4, channels=2, extensible=True), "samples of 20 bits in 4 bytes"),
    "two samples in the bytes of one": (in_bytes(16, 2).replace(b"\2\0\x10\0data", b"\1\0\x10\0data"), "samples of 16 bits in 1 bytes: "),
    "sound after ten seconds": (floats(np.pad(SPEECH, (160_000, 0))), "silence in the first 10 s"),
    "no samples": (floats(np.zeros(0)), "no samples"),
    "samples under a right file size": (with_sizes(None, 80_000), "truncated: 64,000 of 80,000 bytes of samples"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "unreadable: a Git LFS pointer: `git lfs pull`"),
    "text": (b"this is no audio" * 20, "unreadable: "),
    "an m4a": (b"\0\0\0\x20ftypM4A " + b"\0" * 400, "unreadable: of another format; WAV and FLAC are read; `ffmpeg -i "),
    "nothing": (b"", "unreadable: "),
    "a folder": (os.mkdir, "unreadable: a folder, not a file"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "unreadable: No such file"),
    **{kind: (stored(kind), "unreadable: of another format; WAV and FLAC are read; `ffmpeg -i ") for kind in OTHERS},
    "a tag before a WAV": (b"ID3\3\0\0\0\0\1\2" + bytes(130) + stored("wav"), "unreadable: of another format; "),
    "no clock": (with_rate(0), "a header of 0 Hz or of no channel"),
    "one sample": (floats(SPEECH[:1]), "1 samples: shorter than a window of 25 ms"),
    "less than a window": (floats(SPEECH[:399]), "399 samples: shorter than a window of 25 ms"),
    "a slow clock": (stored("wav", rate=7), "a sampling rate of 7 Hz"),
    **{f"half of {kind}": (stored(kind)[: len(stored(kind)) // 2], None) for kind in FORMATS},
    **{f"most of {kind}": (stored(kind)[: len(stored(kind)) * 9 // 10], None) for kind in FORMATS},
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_every_entry_refuses_what_one_refuses(case, tmp_path, weights, capsys):
    content, reason = REFUSED[case]
    folder = tiny_emodb(tmp_path / "emodb", speakers=("03",))
    bad = folder / "wav" / "16b10Na.wav"
    content(bad) if callable(content) else bad.write_bytes(content)
    corpus = load("emodb", folder)
    (excluded,) = corpus.excluded
    assert (excluded.file, len(corpus.utterances)) == (bad.name, 2)
    assert excluded.reason.startswith(reason or ("truncated: ", "unreadable: ", "no samples"))
    assert command(capsys, "predict", bad, "--weights", weights) == (1, [], [f"serlib: {bad}: {excluded.reason}"])
    with pytest.raises(ValueError, match=r"16b10Na\.wav: ") as error:
        features.images([bad], ["0" * 64], FEATURES, tmp_path / "cache", progress=False)
    assert str(error.value) == f"{bad}: {excluded.reason}"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_whole(kind, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(stored(kind))
    recording = audio.read(path)
    assert abs(recording.seconds - 2) < 0.1
    assert recording.notes == ()
    assert abs(recording.samples - SPEECH).max() < 2**-15


UNKNOWN = "a header without the length of the samples"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        *((with_sizes(size, size), UNKNOWN) for size in (0x7FFFF000, 0x7FFFF024, 0x7FFFFFFF, 0xFFFFFFFF, 0)),
        (with_sizes(0x7FFFF024, 0x7FFFF000), UNKNOWN),
        (with_sizes(64_036 + 6, None), "a header that declares a longer file"),
        (with_sizes(None, None), None),
        (with_sizes(None, None) + b"LIST\4\0\0\0info", None),
        (with_sizes(None, None) + bytes(9_000), None),
    ],
)
def test_a_header_that_is_off_is_a_note_and_every_sample_is_read(content, note, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    recording = audio.read(path)
    assert recording.notes == ((note,) if note else ())
    np.testing.assert_array_equal(recording.samples, soundfile.read(io.BytesIO(stored("wav")), dtype="float32")[0])


def test_the_quietest_sound_that_24_bits_hold_is_read(tmp_path):
    samples = np.tile(np.float32([1e-7, -1e-7]), 8_000)
    (tmp_path / "a.wav").write_bytes(floats(samples))
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav").samples, samples)


def test_a_file_of_more_than_half_a_gigabyte_is_refused_unread(tmp_path):
    with (tmp_path / "a.wav").open("wb") as file:
        file.truncate(2**29 + 1)  # no byte of it is stored
    with pytest.raises(audio.AudioError, match=r"^536,870,913 bytes: cut it into utterances$"):
        audio.read(tmp_path / "a.wav")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FORMATS)), data=st.data())
def test_a_file_cut_anywhere_is_never_read_as_a_whole_one(kind, data, tmp_path):
    content = stored(kind)
    path = tmp_path / "a.wav"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) * 19 // 20))])
    with pytest.raises(audio.AudioError):
        audio.read(path)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FORMATS)), at=st.integers(0, 90), value=st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_read_or_refused_and_never_another_error(kind, at, value, tmp_path):
    content = bytearray(stored(kind))
    content[at : at + len(value)] = value
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    try:
        image, _ = features.picture(path, FEATURES)
    except ValueError as error:
        said = str(error)
    else:
        said = f"{path}: "
        assert image.any()
        assert image.isfinite().all()
    assert said.startswith(f"{path}: ")
    assert "\n" not in said


def test_an_image_without_anything_in_it_is_refused(tmp_path):
    """Sound that a version pushes out of the image."""
    path = tmp_path / "late.wav"
    path.write_bytes(floats(np.pad(SPEECH[:8_000], (152_000, 0))))
    assert features.picture(path, FEATURES)[0].any()
    with pytest.raises(ValueError, match=r"late\.wav: its image is black$"):
        features.picture(path, FEATURES, "time shift")


@pytest.mark.parametrize("rate", [44_101, 15_999, 1_234_567])
def test_rates_without_a_common_factor_take_no_longer_than_others(rate, tmp_path, monkeypatch):
    monkeypatch.setattr(features.torchaudio.functional, "resample", None)  # takes as many filters as the rates' ratio
    t = np.arange(rate) / rate
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * t), rate)
    samples = features.read_audio(path, FEATURES).numpy()
    assert len(samples) == 16_000
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert abs(samples - expected)[1_000:-1_000].max() < 1e-3


@pytest.mark.parametrize(
    ("samples", "rate", "notes"),
    [
        (SPEECH, 8_000, ("8,000 Hz: nothing above 4 kHz",)),
        (SPEECH, 11_025, ("11,025 Hz: nothing above 5.5125 kHz",)),
        (SPEECH, 44_100, ()),
        (SPEECH[:400], 16_000, ("shorter than 0.5 s",)),
        (SPEECH[:7_999], 16_000, ("shorter than 0.5 s",)),
        (SPEECH[:8_000], 16_000, ()),
        (
            np.repeat(SPEECH[:8_000], 2).cumsum() / 100,
            16_000,
            ("a narrow band, as of a telephone or a lower sampling rate",),
        ),
    ],
)
def test_a_recording_that_cannot_carry_an_image_is_noted(samples, rate, notes, tmp_path, weights, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples / abs(samples).max() / 2, rate)
    assert audio.read(path).notes == notes
    status, _, said = command(capsys, "predict", path, "--weights", weights)
    assert (status, said) == (0, [f"serlib: note: {path}: {note}" for note in notes])


@pytest.mark.parametrize(("bits", "size", "order"), [(12, 2, "<"), (20, 3, ">"), (24, 3, "<"), (32, 4, ">")])
def test_samples_of_as_many_bytes_as_they_need_are_read(bits, size, order, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(in_bytes(bits, size, order=order))
    assert abs(audio.read(path).samples - SPEECH).max() < 2.0 ** (2 - bits) + 1e-6


# Channels


@pytest.mark.parametrize(
    ("second", "cancel"),
    [
        (-SPEECH * 0.8, True),
        (SPEECH[::-1] / 10 - SPEECH, True),
        (SPEECH * 0, False),
        (SPEECH[::-1], False),
        (SPEECH, False),
    ],
    ids=["upside down, quieter", "upside down, noisier", "silent", "another", "the same"],
)
@pytest.mark.parametrize("more", [0, 2])
def test_channels_that_cancel_are_noted(second, cancel, more, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(floats(np.stack((SPEECH, second, *[SPEECH * 0] * more), 1)))
    how = "which cancel when averaged" if cancel else "averaged"
    assert audio.read(path).notes == (f"{2 + more} channels, {how} (--channel chooses one)",)
    assert audio.read(path, config.Features(channel=1)).notes == (f"{2 + more} channels, channel 1 alone",)


def test_a_channel_is_chosen_and_the_images_know_it(tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb")
    path = folder / "wav" / "16b10Na.wav"
    path.write_bytes(floats(np.stack((SPEECH, np.roll(SPEECH, 7) * 0.5, SPEECH[::-1]), 1)))
    averaged = load("emodb", folder)
    assert averaged.notes[-1] == "1 file(s), 16b10Na.wav first: 3 channels, averaged (--channel chooses one)"
    second = config.Features(channel=2)
    np.testing.assert_array_equal(features.read_audio(path, second), np.roll(SPEECH, 7) * 0.5)
    assert not torch.equal(features.picture(path, second)[0], features.picture(path, FEATURES)[0])
    assert config.digest(second) != config.digest(FEATURES)
    places = [records.location("r", "c", "s", "p", 0, "n", 0, chosen.images) for chosen in (FEATURES, second)]
    assert places == ["r/c/128x128/s/p-0/n-seed0.json", "r/c/128x128-channel2/s/p-0/n-seed0.json"]
    chosen = load("emodb", folder, channel=1)
    assert chosen.notes[-1] == "1 file(s), 16b10Na.wav first: 3 channels, channel 1 alone"
    status, _, err = command(capsys, "features", "emodb", "--data", folder, "--channel", -1, "--cache", tmp_path / "c")
    assert (status, err) == (1, ["serlib: channel -1: channels are counted from 1; 0 is their mean"])


def test_predict_takes_the_channel_that_is_chosen(tmp_path, weights, capsys):
    both, one, two = (tmp_path / f"{name}.wav" for name in ("both", "one", "two"))
    channels = SPEECH, np.roll(SPEECH, 9_000) * np.linspace(0, 1, len(SPEECH), dtype="float32") ** 4
    for path, samples in ((both, np.stack(channels, 1)), (one, channels[0]), (two, channels[1])):
        path.write_bytes(floats(samples))
    for channel, alone in ((1, one), (2, two)):
        _, (said,), (noted,) = command(capsys, "predict", both, "--weights", weights, "--channel", channel)
        assert noted == f"serlib: note: {both}: 2 channels, channel {channel} alone"
        _, (expected,), _ = command(capsys, "predict", alone, "--weights", weights)
        assert said.removeprefix(f"{both}") == expected.removeprefix(f"{alone}")
    status, out, err = command(capsys, "predict", both, "--weights", weights, "--channel", 3)
    assert (status, out, err) == (1, [], [f"serlib: {both}: channel 3 of 2"])


def test_a_table_knows_the_channel_it_was_checked_with(tmp_path, capsys):
    from studies.__main__ import main as studies

    folder, table, cache = tiny_emodb(tmp_path / "emodb"), tmp_path / "t.csv", tmp_path / "cache"
    for turn, path in enumerate(folder.rglob("*.wav"), 7):
        path.write_bytes(floats(np.stack((SPEECH, np.roll(SPEECH, turn) * 0.5), 1)))
    given = ("emodb", "--data", folder, "--table", table)
    assert command(capsys, "corpora", *given, "--channel", 2)[0] == 0
    assert corpora.read(table, folder, "emodb", "recordings").channel == 2
    train = ("train", *given, "--run", "majority", "--cache", cache, "--out", tmp_path / "runs")
    assert studies(list(map(str, train))) == 0
    (record,) = records.read_all(tmp_path / "runs")
    assert (record.configuration.features.channel, "/128x128-channel2/" in f"/{record.location}") == (2, True)
    status, _, err = command(capsys, "features", *given, "--channel", 1, "--cache", cache)
    assert (status, err) == (1, [f"serlib: {table}: checked with --channel 2, not 1: name another table"])
    table.write_text(table.read_text().replace('"channel": 2', '"channel": 1'))
    status, _, err = command(capsys, "features", *given, "--cache", cache)
    assert (status, len(err)) == (1, 1)
    assert "not a corpus table, or changed since" in err[0]


# Checksums: a flipped bit, a cut, an empty, an odd and a foreign file


def damages(content: bytes, seed: int = 0):
    """The content of a file as it should not be, by what was done to it."""
    places = np.random.default_rng(seed).integers(0, len(content), 12)
    for at in map(int, (0, len(content) - 1, *places)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        yield f"bit {at}", bytes(flipped)
    yield from (("cut", content[: len(content) // 2]), ("empty", b""), ("odd", content + b"x"), ("short", content[:-1]))
    yield from (("foreign", b"PK\3\4 of another program" * 9), ("pointer", files.LFS_POINTER + b"v1\n"))


def test_a_damaged_image_cache_is_named(tmp_path):
    path = write_wav(tmp_path / "a.wav", 1.0)
    arguments = ([path], [files.sha256(path)], FEATURES, tmp_path / "cache", False)
    images = features.images(*arguments)
    (cache,) = (tmp_path / "cache").iterdir()
    for what, content in damages(cache.read_bytes()):
        cache.unlink()  # the mapped images stay as they are
        cache.write_bytes(content)
        with pytest.raises((ValueError, OSError)) as error:
            features.images(*arguments)
        assert what == "pointer" or str(error.value) == f"{cache}: damaged; remove it and the images are made again"
    cache.unlink()
    assert torch.equal(features.images(*arguments), images)


def test_a_file_swapped_after_the_check_makes_no_image(tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb")
    table = ("emodb", "--data", folder, "--table", tmp_path / "table.csv")
    assert command(capsys, "corpora", *table)[0] == 0
    path = folder / "wav" / "03a01Wa.wav"
    write_wav(path, seed=99)
    status, out, err = command(capsys, "features", *table, "--cache", tmp_path / "cache")
    assert (status, out) == (1, [])
    assert err[-1] == (
        f"serlib: {path}: changed since the corpus was checked; check it again with `python -m serlib corpora`"
    )
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("given", "other"), [("savee", ()), ("emodb", ("--synthetic",))])
def test_a_table_of_another_corpus_or_of_other_speech_is_none(given, other, tmp_path, capsys):
    folder, table = tiny_emodb(tmp_path / "emodb"), tmp_path / "table.csv"
    assert command(capsys, "corpora", "emodb", "--data", folder, "--table", table)[0] == 0
    status, out, err = command(capsys, "audit", given, "--data", folder, "--table", table, *other)
    speech = "synthetic" if other else "recordings"
    said = f"serlib: {table}: of emodb (recordings), not of {given} ({speech}): name another table"
    assert (status, out, err) == (1, [], [said])


def test_a_damaged_corpus_table_is_named(tmp_path):
    folder, table = tiny_emodb(tmp_path / "emodb"), tmp_path / "table.csv"
    corpora.save(load("emodb", folder), table, folder)
    assert corpora.read(table, folder, "emodb", "recordings") == load("emodb", folder)
    named = {"name": "emodb", "speech": "recordings"}
    written = (PLAIN, '{"name": "emodb", "speech": "recordings", "utterances": [', "[" * 100_000, json.dumps(named),
               json.dumps({**named, "utterances": [], "digest": "abc"}), json.dumps({**named, "digest": config.digest(named)}))  # fmt: skip
    others = [("text", text.encode()) for text in written] + [("no text", b"\xff\xfe\x00")]
    for what, content in [*damages(table.read_bytes()), *others]:
        table.write_bytes(content)
        with pytest.raises((CorpusError, OSError)) as error:
            corpora.read(table, folder, "emodb", "recordings")
        assert what == "pointer" or str(error.value).startswith(f"{table}: not a corpus table, or changed since; ")


def test_damaged_weights_are_named_whatever_byte_changed(tmp_path, weights):
    copy = tmp_path / "copy.safetensors"
    for _, content in damages(weights.read_bytes()):
        copy.write_bytes(content)
        with pytest.raises(ValueError, match=r"copy\.safetensors: not weights that serlib wrote \(") as error:
            checkpoints.load(copy)
        assert "\n" not in str(error.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = SpectrogramViT(SMALL)
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    checkpoints.save(model, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"nan\.safetensors: .*a weight is not a finite number"):
        checkpoints.load(tmp_path / "nan.safetensors")


def test_a_state_that_is_none_is_set_aside_and_the_run_ends_the_same(tmp_path, capsys):
    whole, kept = fuzz.kept_state(tmp_path)
    state = tmp_path / "run.state"
    images = b"images" + hashlib.sha256(b"run.stateimages").digest()
    for what, content in [*list(damages(kept))[::3], ("sealed images", images)]:
        state.write_bytes(content)
        capsys.readouterr()
        assert tiny_run(tmp_path).result == whole, what
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"serlib: {state}: ")
        assert said.endswith("set aside as run.state-set-aside, the run starts from its beginning")
        assert (tmp_path / "run.state-set-aside").read_bytes() == content
    state.write_bytes(kept)
    assert tiny_run(tmp_path).result == whole
    assert capsys.readouterr().err == ""
    state.mkdir()
    (tmp_path / "run.state-set-aside").unlink()
    assert tiny_run(tmp_path).result == whole


def test_a_teacher_with_a_changed_bit_teaches_nothing(tmp_path):
    from serlib import cli

    tiny_run(tmp_path, epochs=1)
    given = (cli.PAPER, tmp_path / "run.json", records.read(tmp_path / "run.json"))
    assert cli.trained(*given)
    one_bit(tmp_path / "run.safetensors", -9)
    with pytest.raises(ValueError, match=r"\.safetensors: .*changed since they were written: fetch or train them"):
        cli.trained(*given)


def test_a_loss_that_is_no_number_names_run_and_epoch_and_blocks_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"run\.json: cross entropy, epoch \d+: the loss is not finite") as error:
        tiny_run(tmp_path, epochs=6, rate=1e30)
    assert "\n" not in str(error.value)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


# Tables of one's own


@pytest.fixture
def own(tmp_path):
    """Writes a table of bytes beside three recordings and reads it."""
    for seed, name in enumerate(("a.wav", "sub/b.wav", "sub/c.wav")):
        write_wav(tmp_path / name, seed=seed)

    def read_table(text: str, encoding: str = "utf-8", name: str = "own.csv") -> corpora.Corpus:
        (tmp_path / name).write_bytes(text.encode(encoding))
        return load("mine", tmp_path / name)

    return read_table


PLAIN = "path,speaker,emotion\na.wav,Zoë,joy\nsub/b.wav,Bob,rage\n"
TABLES = {
    "semicolons": PLAIN.replace(",", ";"),
    "Excel's first line": "sep=;\r\n" + PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "empty rows": PLAIN.replace("\n", "\n,,,\n") + ",,,\n\n",
    "spaces": PLAIN.replace(",", " , "),
    "heads in capitals": PLAIN.replace("path,speaker", "Path,SPEAKER"),
    "windows": PLAIN.replace("\n", "\r\n").replace("sub/", "sub\\"),
    "decomposed": unicodedata.normalize("NFD", PLAIN),
    "empty columns": PLAIN.replace("\n", ",,\n"),
    "byte order mark": "\ufeff" + PLAIN,
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_as_spreadsheets_save_it_is_the_plain_one(case, own):
    found, plain = own(TABLES[case]), own(PLAIN)
    assert found == plain
    assert (found.fingerprint, plain.notes) == (plain.fingerprint, ())
    assert own(TABLES[case], name="own.CSV").fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,speaker,emotion, Emotion \na.wav,A,joy,rage\n", "own.csv: 2 columns are called 'emotion': leave one"),
        ("path,speaker\na.wav,A\n", "own.csv: no column emotion; it needs path, speaker, emotion"),
        ("emotion\njoy\n", "own.csv: no column path, speaker; it needs path, speaker, emotion"),
        ("", "own.csv: no column emotion, path, speaker"),
        (PLAIN.replace(",", "|"), "own.csv: no column emotion, path, speaker"),
        (PLAIN + "sub/c.wav,C,\n", "own.csv: row 4: emotion is empty"),
        (PLAIN + "sub/c.wav,C\n", "own.csv: row 4: emotion is empty"),
        (PLAIN + ",C,joy\n", "own.csv: row 4: path is empty"),
        ("speaker,emotion,path\nC,joy\n", "own.csv: row 2: path is empty"),
        (PLAIN + ",,,\nsub/c.wav, ,joy\n", "own.csv: row 5: speaker is empty"),
        (PLAIN + "sub/c.wav,C\x1b[2J,joy\n", r"own.csv: row 4: speaker 'C\x1b[2J' cannot be printed"),
        (PLAIN + "sub\\b.wav,C,joy\n", "own.csv: row 4: path 'sub/b.wav' stands in more than one row"),
        (PLAIN.encode("utf-16-le").decode("latin-1"), "own.csv: no column emotion, path, speaker; it needs"),
        (PLAIN.replace("joy", "\0" * 3 + '"' + "x" * 200_000), "own.csv: "),
    ],
)
def test_a_table_that_says_two_things_is_refused_in_one_line(text, says, own):
    with pytest.raises(CorpusError) as error:
        own(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_differ_by_case_and_recordings_under_two_names_are_noted(own, tmp_path):
    write_wav(tmp_path / "d.wav", seed=0)  # a.wav again
    for seed, name in enumerate(("f.wav", "g.wav"), 60):
        write_wav(tmp_path / name, seed=seed)
    corpus = own(PLAIN + "sub/c.wav,bob,Joy\nd.wav,Zoë,joy\nf.wav,03,joy\ng.wav,3,joy\n")
    assert corpus.emotions == ("Joy", "joy", "rage")
    assert corpus.notes == (
        "emotions that differ by case alone: Joy, joy",
        "speakers that differ by case alone: Bob, bob",
        "speakers that differ by zeros in front alone: 03, 3",
        "the same recording under several names: a.wav, d.wav",
    )


@pytest.mark.parametrize("name", ["emodb", "EmoDB", "SAVEE", "crema-d", "CREMA-D"])
def test_a_table_is_never_recorded_as_a_published_corpus(name, own, tmp_path):
    own(PLAIN)
    with pytest.raises(CorpusError, match=rf"^own\.csv: .* cannot be called '{name}': give the corpus another name$"):
        load(name, tmp_path / "own.csv")


def test_absolute_paths_and_paths_above_survive_a_table(own, tmp_path):
    write_wav(tmp_path / "x" / "e.wav", seed=5)
    (tmp_path / "in").mkdir()
    corpus = own(f"path,speaker,emotion\n{tmp_path}/x/e.wav,A,joy\n../a.wav,B,rage\n", name="in/own.csv")
    assert corpus.excluded == ()
    corpora.save(corpus, tmp_path / "table.csv", tmp_path / "in/own.csv")
    again = corpora.read(tmp_path / "table.csv", tmp_path / "in/own.csv", "mine", "recordings")
    assert again == corpus
    assert all(utterance.path.is_file() for utterance in again.utterances)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.sampled_from("path,speaker,emotion;\t\n\r\" 'a.wav\\/\0Éjoy0"), max_size=80), headed=st.booleans()
)
def test_any_table_is_read_or_refused_in_one_line(text, headed, own):
    try:
        corpus = own(("path,speaker,emotion\n" if headed else "") + text)
    except CorpusError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert len(corpus.emotions) > 1


# Folders as they come from Macs, mirrors and Windows


def test_what_a_system_adds_is_skipped_and_every_spelling_of_wav_found(tmp_path):
    folder = tiny_emodb(tmp_path / "emodb")
    plain = load("emodb", folder)
    for junk in ("wav/._03a01Wa.wav", "__MACOSX/wav/._03a01Wa.wav", "wav/.DS_Store", ".hidden/08a01Wa.wav",
                 "wav/@eaDir/08a01Wa.wav/X.wav", "$RECYCLE.BIN/08a01Wa.wav"):  # fmt: skip
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_bytes(b"\0\5\x16\7")
    for path in (folder / "wav").glob("0[389]*.wav"):
        path.rename(path.with_suffix(".WAV"))
    (folder / "wav").rename(tmp_path / "elsewhere")
    (folder / "wav").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(folder)
    found = load("emodb", folder)
    assert (found.fingerprint, found.excluded, found.notes) == (plain.fingerprint, (), plain.notes)


def test_crema_ds_known_alias_is_read_and_a_doubled_folder(tmp_path):
    write_wav(tmp_path / "AudioWAV" / "AudioWAV" / "1040_ITH_SAD_X.wav")
    write_wav(tmp_path / "AudioWAV" / "AudioWAV" / "1040_ITH_ANG_XX.wav", seed=1)
    found = {u.key: u.emotion for u in load("crema-d", tmp_path).utterances}
    assert found["1040_ITH_SAD_XX.wav"] == "sadness"


def test_a_name_that_is_not_utf_8_ends_nothing(tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb")
    Path(os.fsdecode(os.fsencode(folder) + b"/wav/J\xfcrgen.wav")).write_bytes(b"")
    status, out, err = command(capsys, "corpora", "emodb", "--data", folder, "--table", tmp_path / "table.csv")
    assert (status, err) == (0, [])
    assert "  excluded wav/J\\udcfcrgen.wav: its name is not UTF-8 or cannot be printed: rename it" in out
    assert corpora.read(tmp_path / "table.csv", folder, "emodb", "recordings").excluded


def test_a_terminal_that_is_not_utf_8_loses_no_line(own, tmp_path, monkeypatch):
    own(PLAIN.replace("joy", "Glück"))
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert main(["corpora", "mine", "--data", str(tmp_path / "own.csv")]) == 0
    assert written.getvalue().decode("ascii").splitlines()[2].split()[:2] == ["Gl\\xfcck", "1"]


# Pipes, devices and folders in the place of files


@NO_FILES
def test_what_is_no_file_is_refused_and_nothing_waits(kind, tmp_path, weights, capsys):
    there = put(kind, tmp_path / "x.csv")
    for arguments in (
        ("predict", there, "--weights", weights),
        ("predict", write_wav(tmp_path / "a.wav"), "--weights", there),
        ("corpora", "mine", "--data", there),
        ("audit", "emodb", "--data", tmp_path, "--table", there),
        *([] if kind == "folder" else [("evaluate", there)]),
        ("--weights", there, "--out", tmp_path / "o.onnx"),
    ):
        name, program = ("workflow.export", export) if arguments[0] == "--weights" else ("serlib", main)
        status, out, err = command(capsys, *arguments, program=program)
        assert (status, out, len(err)) == (1, [], 1), arguments
        assert err[0].startswith(f"{name}: ")


@NO_FILES
def test_what_is_no_file_where_serlib_keeps_its_own_stops_nothing(kind, tmp_path, capsys):
    sound = write_wav(tmp_path / "a.wav")
    given = ([sound], [files.sha256(sound)], FEATURES, tmp_path / "cache", False)
    features.images(*given)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.unlink()
    put(kind, cached)
    with pytest.raises(OSError, match=r"not a (regular )?file"):
        features.images(*given)
    (tmp_path / "probes").mkdir()
    put(kind, tmp_path / "probes/p.json")
    with pytest.raises(OSError, match=r"not a (regular )?file"):
        probed.read_all(tmp_path / "probes")
    put(kind, tmp_path / "run.state")
    assert tiny_run(tmp_path, epochs=1).run == "small"
    assert capsys.readouterr().err.endswith("set aside as run.state-set-aside, the run starts from its beginning\n")


def test_a_name_with_a_line_break_is_one_line(tmp_path, weights, capsys):
    path = tmp_path / "a\n\x1b[2Jb.wav"
    path.write_bytes(b"")
    status, _, err = command(capsys, "predict", path, "--weights", weights)
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith(f"serlib: {tmp_path}/a\\n\\x1b[2Jb.wav: unreadable: ")


@pytest.mark.parametrize("name", ["..", "a/b", "", "a b", "-x", "a;b", "x" * 101])
def test_a_corpus_is_called_by_what_can_be_part_of_a_path(name, own, tmp_path):
    own(PLAIN)
    with pytest.raises(CorpusError, match=r"^corpus .*: a name is made of at most 100 letters, digits"):
        load(name, tmp_path / "own.csv")


# Commands


def test_no_command_replaces_what_it_reads(own, tmp_path, weights, capsys):
    own(PLAIN)
    folder = tiny_emodb(tmp_path / "emodb")
    ratings, record, notes, table, link = (
        tmp_path / name for name in ("erkennung.txt", "run.json", "notes.txt", "random.csv", "link.onnx")
    )
    names = sorted((folder / "wav").iterdir())
    ratings.write_text("\n".join(["head", *(f"1\t{path.name}\t90,0\t90,0" for path in names)]))
    notes.write_text("not mine to remove")
    table.write_text("path,speaker,emotion\n" + "".join(f"{p},{p.name[:2]},{p.name[5]}\n" for p in names))
    link.symlink_to(weights)
    records.write(tiny_record(), record)
    for main_of, file, arguments in (
        (
            main,
            tmp_path / "own.csv",
            ("corpora", "mine", "--data", tmp_path / "own.csv", "--table", tmp_path / "own.csv"),
        ),
        (main, notes, ("corpora", "emodb", "--data", folder, "--table", notes)),
        (listeners.main, ratings, ("emodb", "--data", folder, "--ratings", ratings, "--out", ratings)),
        (examples.main, record, ("emodb", "--data", folder, "--record", record, "--out", record)),
        (export, weights, ("--weights", weights, "--out", weights)),
        (export, link, ("--weights", weights, "--out", link)),
        (main, table, ("audit", "mine", "--data", table, "--out", tmp_path)),
    ):
        before = file.read_bytes()
        status, _, (said,) = command(capsys, *arguments, program=main_of)
        assert (status, file.read_bytes()) == (1, before)
        kept = "would replace a file that is read; give another one to write"
        assert said.endswith(f": {file}: {kept}") if file != notes else str(file) in said


@pytest.mark.parametrize("share", ["9000,0", "-1,0", "nan", "inf"])
def test_ratings_are_shares_of_listeners(share, tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb", speakers=("03",))
    ratings = tmp_path / "erkennung.txt"
    ratings.write_text(f"head\n1\t03a01Wa.wav\t{share}\t0\n2\t03a01Ta.wav\t90,0\t0\n")
    assert listeners.main(["emodb", "--data", str(folder), "--ratings", str(ratings)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{ratings}: 03a01Wa.wav: recognised by " in said


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("protocol", "nope", "protocol 'nope' is none of random, "),
        ("fold", -1, "parameter fold = -1: give a number from 0"),
        ("training_seed", 2**32, "parameter training_seed = 4294967296: give a number from 0"),
        ("draw", -3, "parameter draw = -3: give a number from 0"),
    ],
)
def test_a_parameter_without_effect_is_checked_too(name, value, says):
    from companion.notebook import start

    with pytest.raises(ValueError, match=f"^{says}"):
        start({"In": [], "speech": "examples", "protocol": "random", "fold": 0, name: value})


@pytest.mark.parametrize("name", fuzz.declared())
def test_every_number_that_a_notebook_takes_has_its_range(name):
    from companion.notebook import RANGES
    from companion.parameters import assigned

    source, call = fuzz.declared()[name]
    numbers = {key for key, value in assigned(source).items() if isinstance(value, int | float)}
    assert numbers <= RANGES.keys() | set(re.findall(r"(\w+)=\(", call))


def test_a_missing_run_names_the_command_with_the_corpuss_own_data(tmp_path):
    from companion.notebook import Build

    place = tmp_path / "build/recordings/emodb"
    place.mkdir(parents=True)
    (tmp_path / "my data").mkdir()
    (place / "audio").symlink_to(tmp_path / "my data")
    with pytest.raises(ValueError, match=f"teacher-seed0.json .* --config corpus=emodb data='{tmp_path}/my data'`"):
        Build(tmp_path, "emodb", "recordings", "short").record("teacher")


def test_one_emotion_is_nothing_to_train_on(tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb", codes="W")
    status, _, err = command(capsys, "train", "emodb", "--data", folder, "--out", tmp_path)
    assert (status, err) == (1, [f"serlib: {folder}: every recording is 'anger': there is nothing to tell apart"])


@pytest.mark.parametrize("accelerator", ["", "abacus", "tpu", "cuda:99", "cpu,gpu"])
def test_an_accelerator_that_cannot_be_is_named(accelerator, tmp_path, capsys):
    given = ("--accelerator", accelerator, "--out", tmp_path, "--cache", tmp_path / "cache")
    status, _, err = command(capsys, "train", "emodb", "--data", tiny_emodb(tmp_path / "emodb"), *given)
    assert (status, err[-1][:8]) == (1, "serlib: ")
    assert accelerator in err[-1]


@pytest.mark.parametrize(
    "about",
    [
        {"emotions": "ab"},
        {"emotions": [1, 2]},
        {"emotions": ["anger"]},
        {"emotions": None},
        {"features": {"image_size": [128, 64]}},
        {"features": []},
    ],
    ids=str,
)
def test_weights_that_contradict_themselves_are_named(about, tmp_path, capsys):
    path = tmp_path / "odd.safetensors"
    said = {"features": config.plain(FEATURES), "emotions": ["anger", "sadness"]}
    checkpoints.save(SpectrogramViT(SMALL), path, **said | about)
    status, out, err = command(capsys, "predict", write_wav(tmp_path / "a.wav"), "--weights", path)
    assert (status, out, len(err)) == (1, [], 1)
    assert err[0].startswith(f"serlib: {path}: not the weights of a run (")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{}", "[]", "1", '{"version": [2]}', "9" * 5_000, '{"version": 2}', "\ud800"]
)
def test_json_that_is_no_record_is_named(content, tmp_path):
    (tmp_path / "a.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(records.RecordError, match=r"a\.json: "):
        records.read(tmp_path / "a.json")


def test_metadata_that_is_none_is_named(tmp_path, weights):
    from safetensors.torch import load_file, save_file

    with safe_open(weights, framework="pt") as file:
        undated = {k: v for k, v in json.loads(file.metadata()["serlib"]).items() if k != "sha256"}
    for about in (json.dumps(undated), "3", "null", "[" * 100_000, "[]", "nonsense", None):
        path = tmp_path / "odd.safetensors"
        save_file(load_file(weights), path, about and {"serlib": about})
        with pytest.raises(ValueError, match=r"odd\.safetensors: not weights that serlib wrote"):
            checkpoints.load(path)


# The graph


def test_the_graph_notices_what_the_loader_reads(own, tmp_path):
    """A changed, replaced, added or deleted recording, whatever its name is written like."""
    from workflow.graph import listing

    own(PLAIN.replace("sub/", "sub\\"))
    folder = tiny_emodb(tmp_path / "emodb")
    (folder / "link").symlink_to(tiny_emodb(tmp_path / "other", speakers=("12",)))
    for data, path in (
        (tmp_path / "own.csv", tmp_path / "sub" / "b.wav"),
        (folder, write_wav(folder / "wav" / "12a01Wa.WAV")),
        (folder, tmp_path / "other" / "wav" / "12a01Ta.wav"),
    ):
        before = [listing(str(data))]
        write_wav(path, seed=50)
        os.utime(path, ns=(1, 1))
        before.append(listing(str(data)))
        path.unlink()
        before.append(listing(str(data)))
        assert len(set(before)) == 3


# What the book says of all this: docs/inputs.toml, every line as it is printed

STATED = tomllib.loads((ROOT / "docs/inputs.toml").read_text(encoding="utf-8"))
NOISE = floats(SPEECH)
HEARD = {
    "WAV, RF64 or FLAC, at 1 kHz to 2 MHz, in 16 to 64 bits": stored("rf64"),
    "any other format: Ogg, MP3, M4A, AIFF": stored("ogg"),
    "a header whose sizes the writer did not know, as of SoX and ffmpeg into a pipe": with_sizes(
        0x7FFFF024, 0x7FFFF000
    ),
    "a header that declares a few bytes more than the file has, all samples there": with_sizes(64_042, None),
    "a header that declares fewer samples than there are": with_sizes(None, 32_000),
    "two channels, as EmoDB's original release has them": floats(np.stack((SPEECH, SPEECH[::-1]), 1)),
    "more than ten seconds": floats(np.tile(SPEECH, 6)),
    "a rate below 16 kHz": stored("wav", rate=8_000),
    "16 kHz and more, but nothing above 6 kHz": floats(SPEECH.cumsum().repeat(2)[:32_000].cumsum() / 1e5),
    "less than half a second": stored("wav", SPEECH[:7_999]),
    "less than a window of 25 ms": stored("wav", SPEECH[:399]),
    "a sampling rate of 0 Hz": with_rate(0),
    "a file cut in half": stored("wav")[:32_022],
    "a sample that is not a number": changed(np.nan),
    "a sample of 1e30": changed(1e30),
    "nothing but zeros": floats(np.zeros(9_000)),
    "sound only after ten seconds": floats(np.pad(SPEECH, (160_000, 0))),
    "samples of 24 bits in four bytes each": in_bytes(24, 4),
    "two channels of which one is nearly the other upside down": floats(np.stack((SPEECH, SPEECH * -0.8), 1)),
    "two channels that cancel each other": floats(np.stack((SPEECH, -SPEECH), 1)),
    "a header and no samples": floats(np.zeros(0)),
    "a Git LFS pointer": REFUSED["a pointer"][0],
    "a sampling rate of 7 Hz": stored("wav", rate=7),
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
}


@pytest.mark.parametrize("case", STATED["recordings"], ids=lambda case: case["input"])
def test_the_book_prints_what_is_said_of_a_recording(case, tmp_path, weights, capsys):
    made, path = HEARD[case["input"]], tmp_path / "a.wav"
    made(path) if callable(made) else path.write_bytes(made)
    status, out, err = command(capsys, "predict", path, "--weights", weights)
    start = {"refused": f"serlib: {path}: ", "noted": f"serlib: note: {path}: ", "read": ""}[case["happens"]]
    assert err == ([start + case["says"]] if case["says"] else [])
    assert (status, len(out)) == ((1, 0) if case["happens"] == "refused" else (0, 1))


LISTED = {
    "commas, semicolons or tabs between cells, spaces around them, empty rows, Excel's first line `sep=;`": (
        TABLES["Excel's first line"] + ";;\n"
    ),
    "UTF-8 with or without its mark": PLAIN.encode("utf-8-sig"),
    'UTF-16, as of spreadsheets\' "Unicode text"': PLAIN.encode("utf-16"),
    "back slashes in paths, absolute paths, letters and accents in one or two characters": TABLES["windows"],
    "emotions that differ by case alone": PLAIN + "sub/c.wav,Ann,Joy\n",
    "speakers whose zeros a spreadsheet left out here and there": PLAIN + "d.wav,03,joy\nsub/c.wav,3,joy\n",
    "one recording under two names": PLAIN + "d.wav,Zoë,joy\n",
    "one recording under two emotions": PLAIN + "sub/c.wav,Ann,joy\nd.wav,Zoë,rage\ne.wav,Ann,joy\n",
    "a file that is not there": PLAIN + "x.wav,Ann,joy\n",
    "Latin-1 with letters beyond ASCII": PLAIN.encode("latin-1"),
    "two columns of one name": "path,speaker,emotion,emotion\na.wav,A,joy,rage\n",
    "a cell more than there are heads": PLAIN + "sub/c.wav,Ann,joy,rage\n",
    "an empty cell": PLAIN + "sub/c.wav,,joy\n",
    "one file in two rows": PLAIN + "a.wav,Ann,joy\n",
    "a single emotion": PLAIN.replace("rage", "joy"),
    "the name of a published corpus, in any case": PLAIN,
}


@pytest.mark.parametrize("case", STATED["tables"], ids=lambda case: case["input"])
def test_the_book_prints_what_is_said_of_a_table(case, own, tmp_path, capsys):
    own(PLAIN)
    for name in ("d.wav", "e.wav"):
        write_wav(tmp_path / name, seed=0 if name == "d.wav" else 9)
    text, table = LISTED[case["input"]], tmp_path / "own.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    name = "EmoDB" if case["input"].startswith("the name of a published corpus") else "mine"
    assert_said(case, *command(capsys, "corpora", name, "--data", table), tmp_path)


def assert_said(case, status, out, err, folder) -> None:
    """Of a corpus: refused, a file left out, a note, or none of them."""
    assert status == (case["happens"] == "refused")
    said = [line.removeprefix("serlib: ") for line in err]
    said += [line.strip().removeprefix("note: ") for line in out if line.startswith(("  excluded ", "  note: "))]
    said = [line.replace(f"{folder}/", "") for line in said if "published" not in line or status]
    assert said[:1] == ([case["says"]] if case["says"] else [])
    kinds = {"read": [], "noted": ["note"], "left out": ["excluded"], "refused": []}[case["happens"]]
    assert [
        kind
        for kind in ("note", "excluded")
        if any(line.startswith(f"  {kind}") for line in out[1:] if "published" not in line)
    ] == kinds


@pytest.mark.parametrize("case", STATED["folders"], ids=lambda case: case["input"])
def test_the_book_prints_what_is_said_of_a_folder(case, tmp_path, capsys):
    folder = tiny_emodb(tmp_path / "emodb")
    if case["happens"] == "read":
        (folder / "wav/03a01Wa.wav").rename(folder / "wav/03a01Wa.WAV")
        for junk in ("._x.wav", "__MACOSX/x.wav", ".DS_Store.wav", "@eaDir/x.wav"):
            write_wav(folder / junk)
    else:
        other = b"J\xfcrgen.wav" if "UTF-8" in case["input"] else b"00a01Wa.wav"
        Path(os.fsdecode(os.fsencode(folder) + b"/wav/" + other)).write_bytes(b"")
    assert_said(case, *command(capsys, "corpora", "emodb", "--data", folder), folder)


def one_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_the_book_prints_what_is_said_of_what_serlib_wrote(tmp_path, weights, capsys, monkeypatch):
    folder, table, network = tiny_emodb(tmp_path / "emodb"), tmp_path / "corpus.json", tmp_path / "network.safetensors"
    given = ("features", "emodb", "--data", folder, "--cache", tmp_path / "cache")
    command(capsys, *given)
    (cached,) = (tmp_path / "cache").iterdir()
    one_bit(cached, 5_000)
    said = {"images in the cache, one bit changed": command(capsys, *given)}
    shutil.copy(weights, network)
    one_bit(network, network.stat().st_size - 9)
    sound = write_wav(tmp_path / "a.wav")
    said["weights, one bit changed"] = command(capsys, "predict", sound, "--weights", network)
    network.write_bytes(files.LFS_POINTER + b"v1\n")
    said["weights that are a Git LFS pointer"] = command(capsys, "predict", sound, "--weights", network)
    records.write(tiny_record(), tmp_path / "run.json")
    edited = (tmp_path / "run.json").read_text().replace("student-pooled", "student-tokens", 1)
    (tmp_path / "run.json").write_text(edited)
    said["a record, one letter changed"] = command(capsys, "evaluate", tmp_path / "run.json")
    command(capsys, "corpora", "emodb", "--data", folder, "--table", table)
    table.write_text(table.read_text().replace("anger", "angel", 1))
    said["a corpus table, one letter changed"] = command(capsys, "audit", "emodb", "--data", folder, "--table", table)
    (tmp_path / "run.state").write_bytes(b"x" * 99)
    tiny_run(tmp_path)
    said["the state of a killed run, one bit changed"] = (1, [], capsys.readouterr().err.splitlines())
    lines = {
        name: [
            line.removeprefix("serlib: ").replace(f"{tmp_path}/", "").replace(cached.name, "image.npy") for line in err
        ]
        for name, (_, _, err) in said.items()
    }
    assert [status for status, *_ in said.values()] == [1] * len(said)
    assert {name: line[-1].replace("cache/", "") for name, line in lines.items()} == {
        case["input"]: case["says"] for case in STATED["kept"]
    }


@pytest.mark.parametrize("case", STATED["make"], ids=lambda case: case["input"])
def test_the_book_prints_what_make_says(case, capsys):
    from workflow import run

    pairs = dict(word.split("=", 1) for word in shlex.split(case["input"].strip("`")))
    given = pairs if "SHCEDULE" not in pairs else {"MAKEFLAGS": " -- SHCEDULE=short"}
    with pytest.raises(SystemExit):
        run.check(given)
    assert capsys.readouterr().err == f"serlib: {case['says']}\n"


# Kept that way


def test_what_is_read_is_never_run():
    """What SECURITY.md says of the package's own calls; bandit, which .ci/run starts, looks further."""
    unsafe = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "marshal.loads", "os.system", "os.popen"}
    for source in sorted(
        path for package in ("serlib", "studies", "companion", "workflow") for path in (ROOT / package).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert name not in unsafe, (source, name)
                assert "True" not in (given.get("allow_pickle"), given.get("shell")), (source, name)
                assert name != "torch.load" or given["weights_only"] == "True", source
    checks = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.search(
        r"^\.venv/bin/bandit -q -c pyproject\.toml -r serlib studies companion workflow", checks, re.MULTILINE
    )
    audit = (ROOT / ".ci/audit").read_text(encoding="utf-8")
    assert "pip-audit -r requirements.lock" in audit.replace('"', "").replace("$audit/venv/bin/", "")
    assert re.search(r"^\t@\.ci/audit$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


# The generator of tests/fuzz.py: a few of its cases; `make check-all` runs a hundred of each entry


@pytest.mark.parametrize("entry", fuzz.ENTRIES)
def test_generated_inputs_are_read_rightly_or_refused_in_one_line(entry, tmp_path):
    _, found = fuzz.findings(entry, 2, 0, tmp_path)
    assert found == []
