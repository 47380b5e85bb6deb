"""What the built book computes in a real browser, from disk and over http, against PyTorch on the same samples."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from playwright.sync_api import BrowserContext, Page
from scipy.signal import resample_poly

from serlib import attention, config
from serlib.data import audio, features
from tests import firefox, test_browser
from tests.helpers import write_wav
from tests.test_browser import BOOK, observed, unavailable
from workflow import try_it

ROOT = Path(__file__).parents[1]
SAME = 1e-4  # how far a share of attention may be from PyTorch's on the page of the maps
NEAR = 1e-3  # how far a probability, a share of attention or a logit may be from PyTorch's
phone = test_browser.phone
LIVE = ("book/try_it.html", "notebooks/attention_maps.html")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of the book as ``python -m http.server`` serves it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=BOOK))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def first_answer(phone: BrowserContext, book: str) -> Iterator[Page]:
    """The page after its first answer; at the end, whatever went wrong on it."""
    page, problems, _ = observed(phone, book)
    page.goto(f"{book}/book/try_it.html")
    page.evaluate("tryIt.ready")
    yield page
    page.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(phone) -> Iterator[Page]:
    with first_answer(phone, BOOK.as_uri()) as page:
        yield page


def after(page: Page, act) -> dict:
    """What the page computed after ``act``."""
    page.evaluate("tryIt.result = null")
    act()
    page.wait_for_function("tryIt.result")
    return page.evaluate("tryIt.result")


def test_it_answers_as_pytorch_does(page, phone, served, tmp_path):
    """One visit over http and one from disk: the first utterance, a file, another student, the sliders, silence, what is no
    sound, the columns, the other corpus."""
    student, settings, emotions, _ = try_it.network_of(try_it.STUDENTS[0])

    def answer(network, image, order=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``order``: of the columns that patches are cut from, each with its derivatives."""
        with torch.no_grad():
            if order is None:
                output = network(image[None], need_weights=True)
            else:
                output = network.read(network.patch_input(image[None])[..., order], need_weights=True)
        looks = attention.rollout(output.attention, network.config.grid)[0, 0]
        return output.logits[0].numpy(), output.logits[0].softmax(dim=0).numpy(), looks.numpy()

    def agree(found: dict, network, image, order=None) -> None:
        kinds = ("logits", "probabilities", "attention")
        for kind, expected in zip(kinds, answer(network, image, order), strict=True):
            assert np.abs(np.array(found[kind]) - expected).max() < NEAR, kind

    def first(name: str) -> torch.Tensor:
        said = page.evaluate("(name) => tryIt[name].utterances[0]", name)
        (tmp_path / "first.wav").write_bytes(base64.b64decode(said["wav"]))
        return features.image(features.read_audio(tmp_path / "first.wav", settings), settings)

    image = first(try_it.STUDENTS[0])
    agree(page.evaluate("tryIt.result.student"), student, image)
    with first_answer(phone, served) as over_http:
        assert over_http.evaluate("tryIt.result.student.logits") == page.evaluate("tryIt.result.student.logits")
    likeliest = emotions[int(answer(student, image)[0].argmax())]
    assert page.inner_text("#try-status").startswith(f"The student says {likeliest}, ")
    assert "As expected." in page.inner_text("#try-expected")
    assert page.locator("#try-probabilities tr").count() == len(emotions)

    file = write_wav(tmp_path / "noise.wav", 1.7)
    samples = features.read_audio(file, settings)
    agree(
        after(page, lambda: page.set_input_files("#try-file", file))["student"],
        student,
        features.image(samples, settings),
    )

    student, *_ = try_it.network_of("emodb-student")  # of another split, which gets derivatives
    agree(
        after(page, lambda: page.select_option("#try-network", "emodb-student"))["student"],
        student,
        features.image(samples, settings),
    )
    for name, known in {
        "08a01Fa.wav": "Speaker 08 was in training",
        "03a01Fa.wav": "Speaker 03 was not in training",
        "noise.wav": "Its name does not say whose speech it is",
    }.items():
        after(page, lambda: page.set_input_files("#try-file", file.rename(file.with_name(name))))  # noqa: B023
        assert page.inner_text("#try-trust").startswith(known)
        file = file.with_name(name)
    assert "not calibrated" in page.inner_text("#try-trust")
    file = file.rename(file.with_name("1001_DFA_ANG_XX.wav"))  # a name of the other corpus
    after(page, lambda: page.set_input_files("#try-file", file))
    after(page, lambda: page.select_option("#try-network", "crema-d-student"))
    assert page.inner_text("#try-trust").startswith("Speaker 1001 was ")
    after(page, lambda: page.select_option("#try-network", "emodb-student"))

    after(page, lambda: page.fill("#try-speed", "1.2"))
    changed = features.perturb(features.perturb(samples, "speed", settings), "time shift", settings)
    agree(after(page, lambda: page.fill("#try-shift", "1"))["student"], student, features.image(changed, settings))
    after(page, lambda: page.click("text=As it is"))

    soundfile.write(tmp_path / "silence.wav", np.zeros(8_000), settings.sample_rate, "PCM_16")
    found = after(page, lambda: page.set_input_files("#try-file", tmp_path / "silence.wav"))
    agree(found["student"], student, torch.zeros(1, *settings.image_size))
    assert "silence" in page.inner_text("#try-status")

    (tmp_path / "words.wav").write_text("no sound")
    page.set_input_files("#try-file", tmp_path / "words.wav")
    page.wait_for_function("document.getElementById('try-status').textContent.startsWith('words.wav: no sound')")

    after(page, lambda: page.select_option("#try-utterance", "0"))
    found = after(page, lambda: page.click("#try-shuffle"))
    teacher, *_ = try_it.network_of("emodb-teacher")
    order = found["order"]
    assert sorted(order) == list(range(settings.image_size[1])) != order
    image = first("emodb-student")
    agree(found["student"], student, image)
    agree(found["studentShuffled"], student, image, order)
    agree(found["teacher"], teacher, image)
    agree(found["teacherShuffled"], teacher, image[..., order])
    changes = {
        role: np.abs(np.subtract(found[role]["logits"], found[f"{role}Shuffled"]["logits"])).max()
        for role in ("student", "teacher")
    }
    assert changes["student"] < NEAR < 0.1 < changes["teacher"]
    assert "Student: nothing changes" in page.inner_text("#try-says")
    assert "Teacher: the logits change" in page.inner_text("#try-says")

    after(page, lambda: page.click("#try-shuffle"))  # back in order
    after(page, lambda: page.select_option("#try-network", "crema-d-student"))
    after(page, lambda: page.select_option("#try-utterance", "0"))
    assert "As expected." in page.inner_text("#try-expected")


def test_the_surest_wrong_answer_comes_first():
    known = ["anger", "fear"]
    said = [{"emotion": "fear", "probabilities": shares} for shares in ([0.1, 0.9], [0.6, 0.4], [0.8, 0.2])]
    assert [try_it.surely_wrong(one, known) for one in said] == [0, 0.6, 0.8]


def test_a_network_that_was_trained_again_is_told_from_the_committed_run(committed_records, monkeypatch):
    monkeypatch.setattr(try_it, "committed", lambda: committed_records)
    *_, own = try_it.weights("emodb-student-pooled")
    (same,) = (r for r in try_it.committed() if r.location == own.location)
    assert same.result != own.result
    rights = [sum(map(int.__eq__, p.true, p.predicted)) / len(p.true) for p in (own.parts["test"], same.parts["test"])]
    said = try_it.again("emodb-student-pooled", own).replace("\xa0", " ")
    assert [f"right for {100 * right:.1f} %" in said for right in rights] == [True, True]


def test_the_hint_says_which_network_looks_away_more(monkeypatch):
    """By attention on the columns of the sound, here 13 of 128 for a second, before and with noise."""
    settings = config.Features()
    before, after = np.zeros(128), np.zeros(128)
    before[12] = after[13] = 1  # the sound's last column, and the first behind it
    answers = {"teacher": [before, after], "student": [before, before]}
    monkeypatch.setattr(try_it, "answer", lambda role, *_: {"attention": said[role].pop(0)})
    for more, less in (("teacher", "student"), ("student", "teacher")):
        said = {more: list(answers["teacher"]), less: list(answers["student"])}
        words = try_it.hint({role: role for role in answers}, torch.ones(settings.sample_rate), settings)
        assert words.endswith(f"the {more} then looks away from the sound more than the {less} does.")
    said = {role: [before, before] for role in answers}
    assert "both" in try_it.hint({role: role for role in answers}, torch.ones(settings.sample_rate), settings)


def pcm(bits: str, rate: int = 16_000, format: str = "WAV", channels: int = 1, endian: str = "FILE", keep: float = 1.0):
    """What writes a sound as such a file; of its bytes only a share."""

    def write(path: Path, sound: np.ndarray) -> None:
        sound = sound if rate == 16_000 else resample_poly(sound, rate, 16_000)
        soundfile.write(path, np.stack([sound] * channels, 1), rate, bits, endian, format)
        path.write_bytes(path.read_bytes()[: round(keep * path.stat().st_size)])

    return write


def with_sample(value: float, bits: str = "FLOAT"):
    """What writes a sound that ends in a sample of such a value."""
    return lambda path, sound: soundfile.write(path, np.append(sound, value), 16_000, bits)


def with_header(place: int, value: bytes, keep: float = 1.0):
    """What writes a WAV file of 16 bits with other bytes at a place of its header; of its samples only a share."""

    def write(path: Path, sound: np.ndarray) -> None:
        pcm("PCM_16")(path, sound)
        content = path.read_bytes()
        content = content[: 44 + int(keep * (len(content) - 44))]
        path.write_bytes(content[:place] + value + content[place + len(value) :])

    return write


def with_chunk(name: bytes, content: bytes):
    """What writes a WAV file of 16 bits with a chunk before its samples."""

    def write(path: Path, sound: np.ndarray) -> None:
        pcm("PCM_16")(path, sound)
        whole = path.read_bytes()
        path.write_bytes(whole[:36] + name + len(content).to_bytes(4, "little") + content + whole[36:])

    return write


def wrong_fact(path: Path, sound: np.ndarray) -> None:
    """A compressed WAV file of which the header says half the length."""
    pcm("ULAW")(path, sound)
    content = path.read_bytes()
    place = content.index(b"fact") + 8
    path.write_bytes(content[:place] + (len(sound) // 2).to_bytes(4, "little") + content[place + 4 :])


FINITE, LOUD = "a.wav: a sample is not a finite number.", "a.wav: a sample of 1e+30: they lie between -1 and 1."
COMPRESSED = "a.wav: a compressed WAV file (coding {}), which this browser cannot read. Convert it to 16-bit PCM."
CUT = ("a.wav: this browser reads ", "a.wav: no sound that this browser can read")  # Chromium, Firefox
NO_SOUND = "a.wav: no sound that this browser can read. Try a WAV file of 16-bit PCM, or an MP3 file."
# A file as it is opened, and how the line begins that the page says of it; "" where it answers as PyTorch does.
FILES = {
    "floating point of 64 bits": (pcm("DOUBLE"), ""),
    "floating point of 64 bits, extensible, two channels": (pcm("DOUBLE", format="WAVEX", channels=2), ""),
    "floating point of 32 bits": (pcm("FLOAT"), ""),
    "32 bits": (pcm("PCM_32"), ""),
    "24 bits, extensible": (pcm("PCM_24", format="WAVEX"), ""),
    "12 bits in two bytes": (with_header(34, b"\x0c"), ""),
    "24 bits at 44.1 kHz": (pcm("PCM_24", rate=44_100), ""),
    "big-endian, 24 bits": (pcm("PCM_24", endian="BIG"), ""),
    "big-endian floating point, two channels": (pcm("FLOAT", endian="BIG", channels=2), ""),
    "RF64": (pcm("PCM_16", format="RF64"), ""),
    "RF64 of 64 bits at 22,050 Hz": (pcm("DOUBLE", rate=22_050, format="RF64"), ""),
    "a third of a second": (lambda path, sound: pcm("PCM_16")(path, sound[-5_000:]), ""),
    "8 kHz": (pcm("PCM_16", rate=8_000), ""),
    "96 kHz": (pcm("FLOAT", rate=96_000), ""),
    "two channels of 8 bits": (pcm("PCM_U8", channels=2), ""),
    "six channels": (pcm("PCM_16", channels=6), ""),
    "mu-law": (pcm("ULAW"), ""),
    "mu-law at 8 kHz": (pcm("ULAW", rate=8_000), ""),
    "A-law": (pcm("ALAW"), ""),
    "FLAC at 8 kHz": (pcm("PCM_16", rate=8_000, format="FLAC"), ""),
    "FLAC": (pcm("PCM_16", format="FLAC"), ""),
    "FLAC at 44.1 kHz, two channels": (pcm("PCM_24", rate=44_100, format="FLAC", channels=2), ""),
    "a chunk of odd length before the samples": (with_chunk(b"LIST", b"INFOICMT123\0"), ""),
    "no length in the header": (with_header(40, b"\xff" * 4), ""),
    "cut in half": (with_header(0, b"RIFF", keep=0.5), "a.wav: cut off: "),
    "8 bits in two bytes": (
        with_header(34, b"\x08"),
        "a.wav: samples of 8 bits in 2 bytes: save it as 16, 24 or 32 bits.",
    ),
    "two samples in the bytes of one": (with_header(32, b"\1"), "a.wav: samples of 16 bits in 1 bytes: save it as"),
    "floating point of 16 bits": (with_header(20, b"\3"), "a.wav: samples of 16 bits (coding 3) are not read. Convert"),
    "half of a FLAC file": (pcm("PCM_16", format="FLAC", keep=0.5), CUT),
    "most of a FLAC file": (pcm("PCM_24", rate=44_100, format="FLAC", keep=0.9), CUT),
    "less than a window": (
        lambda path, sound: pcm("PCM_16")(path, sound[-399:]),
        "a.wav: 399 samples: shorter than a window of 25 ms.",
    ),
    "no channels": (with_header(22, bytes(2)), "a.wav: a WAV file without channels or sampling rate."),
    "0 Hz": (with_header(24, bytes(4)), "a.wav: a WAV file without channels or sampling rate."),
    "1 Hz": (with_header(24, b"\1\0\0\0"), "a.wav: a sampling rate of 1 Hz: 1,000 to 192,000 are read."),
    "4 GHz": (with_header(24, b"\xff" * 4), "a.wav: a sampling rate of 4,294,967,295 Hz: 1,000 to"),
    "samples before the format": (with_header(12, b"data"), "a.wav: a WAV file without a format or samples."),
    "not a number": (with_sample(np.nan), FINITE),
    "1e30": (with_sample(1e30), LOUD),
    "1e300": (with_sample(1e300, "DOUBLE"), FINITE),
    "no samples": (lambda path, sound: pcm("PCM_16")(path, sound[:0]), "a.wav: no samples."),
    "ADPCM": (pcm("IMA_ADPCM"), COMPRESSED.format(17)),
    "ADPCM of Microsoft": (pcm("MS_ADPCM"), COMPRESSED.format(2)),
    "GSM": (pcm("GSM610"), COMPRESSED.format(49)),
    "the header says half the length": (wrong_fact, "a.wav: this browser reads 1.50 s; the header says 0.75 s."),
    "AIFF": (pcm("PCM_16", format="AIFF"), NO_SOUND),
    "words": (lambda path, sound: path.write_text("no sound"), NO_SOUND),
    "empty": (lambda path, sound: path.touch(), NO_SOUND),
}


@pytest.fixture(scope="module", params=["Chromium", pytest.param("Firefox", marks=pytest.mark.nightly)])
def opened(request) -> Iterator[Page | firefox.Firefox]:
    """A page in each browser; at the end, what it asked other hosts for, and other problems."""
    problems: list[str] = []
    with ExitStack() as stack:
        if request.param == "Chromium":
            page, problems, _ = observed(request.getfixturevalue("phone"))
            page.set_default_timeout(1000 * firefox.ANSWER)  # however busy the machine is
        elif not firefox.executable():
            pytest.skip(f"none of {', '.join(firefox.NAMES)} is installed")
        else:
            page = stack.enter_context(firefox.started())
        yield page
        assert problems + elsewhere(page) == []


def visit(page: Page | firefox.Firefox, name: str) -> None:
    """A page of the book after its first picture, where it is not shown already."""
    if not page.evaluate("location.pathname").endswith(name):
        assert elsewhere(page) == []
        page.goto(f"{BOOK.as_uri()}/{name}")
        page.evaluate("tryIt.ready")


def asked(page: Page | firefox.Firefox) -> list[str]:
    """The addresses of what a page loaded."""
    return page.evaluate("performance.getEntriesByType('resource').map((resource) => resource.name)")


def elsewhere(page: Page | firefox.Firefox) -> list[str]:
    """What a page loaded from other hosts."""
    return [address for address in asked(page) if not address.startswith(("file:", "blob:", "data:"))]


SET = """(values) => {
    tryIt.result = null;
    for (const [name, value] of Object.entries({speed: 1, noise: -45, shift: 0, ...values})) {
        document.getElementById(`try-${name}`).value = value;
    }
    document.getElementById("try-noise").dispatchEvent(new Event("input"));
}"""
RESULT = """() => {
    const {samples, student, teacher} = tryIt.result;
    const found = {samples: Array.from(samples), student: student.attention, teacher: teacher.attention};
    return JSON.stringify(found);  // one value: browsers and Playwright look at each number of a list by itself
}"""
# By version: how the sliders stand.
VERSIONS = dict(zip(config.PERTURBATIONS, ({}, {"speed": 1.2}, {"noise": -20}, {"shift": 1}), strict=True))


def test_the_maps_that_a_reader_changes_are_those_of_pytorch(opened, tmp_path):
    """One visit: the utterance as it is, its three other versions, all of them together, a file."""
    visit(opened, "notebooks/attention_maps.html")
    assert not [address for address in asked(opened) if "teacher" in address or "runtime" in address]  # a light page
    student, settings, *_ = try_it.network_of(try_it.MAPS)
    networks = {"student": student, "teacher": try_it.network_of("emodb-teacher")[0]}
    first = opened.evaluate("[tryIt.start.teacher.attention, tryIt.start.student.attention]")
    said = opened.inner_text("#try-status")

    def moved(values: dict) -> tuple[torch.Tensor, dict]:
        opened.evaluate(SET, values)
        opened.wait_for_function("tryIt.result?.samples")
        found = json.loads(opened.evaluate(RESULT))
        samples = torch.tensor(found["samples"])
        with torch.no_grad():
            for role, network in networks.items():
                output = network(features.image(samples, settings)[None], need_weights=True)
                looks = attention.rollout(output.attention, network.config.grid)[0, 0]
                assert np.abs(np.array(found[role]) - looks.numpy()).max() < SAME, (values, role)
        return samples, found

    plain, as_it_is = moved({})
    href, pixels = opened.evaluate(
        "[document.querySelector('#try-picture image').getAttribute('href'), Array.from(tryIt.result.pixels).join()]"
    )
    drawn = np.array(Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2]))).convert("RGB"))
    levels = np.round(255 * np.fromstring(pixels, sep=",").reshape(settings.image_size)).astype(int)[
        :, : drawn.shape[1]
    ]
    assert (drawn == np.array(opened.evaluate("tryIt.settings.colours"))[levels]).all()
    assert np.abs(np.subtract(first, [as_it_is["teacher"], as_it_is["student"]])).max() < SAME
    assert opened.inner_text("#try-status") == said  # networks and the picture before they were there agree
    for kind, values in VERSIONS.items():
        changed, found = moved(values)
        expected = features.perturb(plain, kind, settings)
        if kind == "noise":  # drawn by other generators
            noise, drawn = changed - plain, expected - plain
            assert noise.square().mean().item() == pytest.approx(drawn.square().mean().item(), rel=0.05)
        else:
            torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)
        if values:
            for role in networks:
                assert np.abs(np.subtract(found[role], as_it_is[role])).max() > 10 * SAME, (kind, role)
            assert "(as it is: " in opened.inner_text("#try-status")
    moved({"speed": 0.7, "noise": -10, "shift": 2.5})
    file = write_wav(tmp_path / "own.wav", 1.7)
    opened.evaluate(SET, {})
    opened.wait_for_function("tryIt.result?.samples")
    opened.evaluate("tryIt.result = null")
    opened.set_input_files("#try-file", file)
    opened.wait_for_function("tryIt.result?.samples")
    own, _ = moved({})
    torch.testing.assert_close(own, features.read_audio(file, settings), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", FILES)
def test_a_sound_file_is_read_as_serlib_reads_it(kind, opened, tmp_path):
    """Whatever the browser would make of it: Firefox takes floating point of 64 bits for twice as many samples."""
    visit(opened, "book/try_it.html")
    student, settings, *_ = try_it.network_of(try_it.STUDENTS[0])
    write, said = FILES[kind]
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 16_000) * np.linspace(0, 1, 24_000)
    write(tmp_path / "a.wav", sound)
    opened.evaluate("() => { tryIt.result = null; document.getElementById('try-status').textContent = ''; }")
    opened.set_input_files("#try-file", tmp_path / "a.wav")
    opened.wait_for_function("tryIt.result || document.getElementById('try-status').textContent")
    status = opened.inner_text("#try-status")
    assert "NaN" not in status
    if said:
        assert status.startswith(said)
        assert opened.evaluate("tryIt.result") is None
    else:
        assert status.startswith("The student says ")
        image = features.image(features.read_audio(tmp_path / "a.wav", settings), settings)
        with torch.no_grad():
            expected = student(image[None]).logits[0].softmax(dim=0).numpy()
        found = np.array(opened.evaluate("tryIt.result.student.probabilities"))
        assert np.abs(found - expected).max() < NEAR
        assert "such a network is right for" in opened.inner_text("#try-trust")
        notes = [note.partition(" (")[0] for note in audio.read(tmp_path / "a.wav").notes if "narrow" not in note]
        assert [note for note in notes if note not in status] == []


LACKING = """async (name) => {
    const known = window[name], script = document.createElement("script");
    delete window[name];
    document.getElementById("try-status").textContent = "";
    script.src = document.querySelector("script[src$='try_it.js']").src;
    await new Promise((loaded) => { script.onload = loaded; document.head.append(script); });
    await tryIt.ready;
    window[name] = known;
}"""


@pytest.mark.parametrize("name", LIVE)
def test_a_browser_without_simd_is_told_so(name, opened):
    """What the page's script says where it begins; before Firefox 113, where nothing unpacks the networks, too."""
    visit(opened, name)
    for lacks in ("WebAssembly", "DecompressionStream"):
        opened.evaluate(LACKING, lacks)
        opened.wait_for_function("document.getElementById('try-status').textContent.includes('lacks WebAssembly SIMD')")


def test_pages_that_compute_load_the_scripts_and_no_other_does():
    if not BOOK.exists():
        unavailable("no book is built")
    for path in BOOK.rglob("*.html"):
        assert ("_static/try/" in path.read_text(encoding="utf-8")) == (path.relative_to(BOOK).as_posix() in LIVE), path


def test_another_runtime_is_refused(tmp_path):
    (tmp_path / "runtime.tar.xz").write_bytes(try_it.RUNTIME.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"runtime\.tar\.xz: not the file that was committed"):
        try_it.unpack(tmp_path / "runtime.tar.xz", try_it.RUNTIME_SHA256)
    assert {"ort.wasm.min.js", "LICENSE", "ThirdPartyNotices.txt"} <= try_it.unpack(
        try_it.RUNTIME, try_it.RUNTIME_SHA256
    ).keys()
