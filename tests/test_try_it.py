"""The page "Try it" of the built book in a real browser, from disk and over http, against PyTorch on the same samples."""

import base64
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from playwright.sync_api import Page
from scipy.signal import resample_poly

from serlib import attention
from serlib.data import features
from tests import test_browser
from tests.helpers import write_wav
from tests.test_browser import BOOK, observed, unavailable
from workflow import try_it

ROOT = Path(__file__).parents[1]
NEAR = 1e-3  # how far a probability, a share of attention or a logit may be from PyTorch's
phone = test_browser.phone


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


@pytest.fixture(params=["disk", "http"])
def page(request, phone, served) -> Iterator[Page]:
    """The page after its first answer; at the end, whatever went wrong on it."""
    book = BOOK.as_uri() if request.param == "disk" else served
    page, problems, _ = observed(phone, book)
    page.goto(f"{book}/book/try_it.html")
    page.evaluate("tryIt.ready")
    yield page
    page.close()
    assert not problems, "\n".join(problems)


def after(page: Page, act) -> dict:
    """What the page computed after ``act``."""
    page.evaluate("tryIt.result = null")
    act()
    page.wait_for_function("tryIt.result")
    return page.evaluate("tryIt.result")


def test_it_answers_as_pytorch_does(page, tmp_path):
    """One visit: the first utterance, a file, the sliders, silence, the other corpus, what is no sound, the columns."""
    student, settings, emotions, _ = try_it.weights("emodb-student")

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

    first = page.evaluate("tryIt.emodb.utterances[0]")
    (tmp_path / "first.wav").write_bytes(base64.b64decode(first["wav"]))
    image = features.image(features.read_audio(tmp_path / "first.wav", settings), settings)
    agree(page.evaluate("tryIt.result.student"), student, image)
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

    after(page, lambda: page.fill("#try-speed", "1.2"))
    changed = features.perturb(features.perturb(samples, "speed", settings), "time shift", settings)
    agree(after(page, lambda: page.fill("#try-shift", "1"))["student"], student, features.image(changed, settings))
    after(page, lambda: page.click("#try-reset"))

    soundfile.write(tmp_path / "silence.wav", np.zeros(8_000), settings.sample_rate, "PCM_16")
    found = after(page, lambda: page.set_input_files("#try-file", tmp_path / "silence.wav"))
    agree(found["student"], student, torch.zeros(1, *settings.image_size))
    assert "silence" in page.inner_text("#try-status")

    (tmp_path / "words.wav").write_text("no sound")
    page.set_input_files("#try-file", tmp_path / "words.wav")
    page.wait_for_function("document.getElementById('try-status').textContent.startsWith('words.wav: no sound')")

    after(page, lambda: page.select_option("#try-utterance", "0"))
    found = after(page, lambda: page.click("#try-shuffle"))
    teacher, *_ = try_it.weights("emodb-teacher")
    order = found["order"]
    assert sorted(order) == list(range(settings.image_size[1])) != order
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
    after(page, lambda: page.select_option("#try-corpus", "crema-d"))
    after(page, lambda: page.select_option("#try-utterance", "0"))
    assert "As expected." in page.inner_text("#try-expected")


# A file as it is opened, and how the line begins that the page says of it; "" where it answers.
FILES = {
    "floating point of 64 bits": (lambda path, sound: soundfile.write(path, sound, 16_000, "DOUBLE"), ""),
    "24 bits at 44.1 kHz": (
        lambda path, sound: soundfile.write(path, resample_poly(sound, 441, 160), 44_100, "PCM_24"),
        "",
    ),
    "two channels of 8 bits": (
        lambda path, sound: soundfile.write(path, np.stack((sound, sound), 1), 16_000, "PCM_U8"),
        "",
    ),
    "no length in the header": (
        lambda path, sound: path.write_bytes(header(sound)[:40] + b"\xff" * 4 + header(sound)[44:]),
        "",
    ),
    "cut in half": (lambda path, sound: path.write_bytes(header(sound)[: 44 + len(sound)]), "a.wav: cut off: "),
    "not a number": (
        lambda path, sound: soundfile.write(path, np.append(sound, np.nan), 16_000, "FLOAT"),
        "a.wav: a sample is not a finite number.",
    ),
    "1e30": (
        lambda path, sound: soundfile.write(path, np.append(sound, 1e30), 16_000, "FLOAT"),
        "a.wav: a sample of 1e+30: they lie between -1 and 1.",
    ),
    "no samples": (lambda path, sound: soundfile.write(path, sound[:0], 16_000, "PCM_16"), "a.wav: no samples."),
    "ADPCM": (
        lambda path, sound: soundfile.write(path, sound, 16_000, "IMA_ADPCM"),
        "a.wav: a compressed WAV file (coding 17), which this browser cannot read. Convert it to 16-bit PCM.",
    ),
}


def header(sound: np.ndarray) -> bytes:
    """A WAV file of 16 bits with a header of 44 bytes."""
    soundfile.write(written := io.BytesIO(), sound, 16_000, "PCM_16", format="WAV")
    return written.getvalue()


@pytest.mark.parametrize("kind", FILES)
def test_a_wav_file_is_read_by_its_header(kind, phone, tmp_path):
    """As serlib reads it, whatever the browser would make of it."""
    student, settings, *_ = try_it.weights("emodb-student")
    write, said = FILES[kind]
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 16_000) * np.linspace(0, 1, 24_000)
    write(tmp_path / "a.wav", sound)
    page, problems, _ = observed(phone)
    page.goto(f"{BOOK.as_uri()}/book/try_it.html")
    page.evaluate("tryIt.ready")
    if said:
        page.set_input_files("#try-file", tmp_path / "a.wav")
        page.wait_for_function("start => document.getElementById('try-status').textContent.startsWith(start)", arg=said)
    else:
        found = after(page, lambda: page.set_input_files("#try-file", tmp_path / "a.wav"))
        image = features.image(features.read_audio(tmp_path / "a.wav", settings), settings)
        with torch.no_grad():
            expected = student(image[None]).logits[0].softmax(dim=0).numpy()
        assert np.abs(np.array(found["student"]["probabilities"]) - expected).max() < NEAR
        assert "such a network is right for" in page.inner_text("#try-trust")
    page.close()
    assert not problems


def test_a_browser_without_simd_is_told_so(phone):
    page, problems, _ = observed(phone)
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(f"{BOOK.as_uri()}/book/try_it.html")
    page.wait_for_function("document.getElementById('try-status').textContent.includes('lacks WebAssembly SIMD')")
    page.close()
    assert not problems


def test_it_loads_its_scripts_on_its_page_alone():
    if not BOOK.exists():
        unavailable("no book is built")
    for path in BOOK.rglob("*.html"):
        assert ("_static/try/" in path.read_text(encoding="utf-8")) == (path.name == "try_it.html"), path


def test_another_runtime_is_refused(tmp_path):
    (tmp_path / "runtime.tar.xz").write_bytes(try_it.RUNTIME.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"runtime\.tar\.xz: not the file that was committed"):
        try_it.unpack(tmp_path / "runtime.tar.xz", try_it.RUNTIME_SHA256)
    assert {"ort.wasm.min.js", "LICENSE", "ThirdPartyNotices.txt"} <= try_it.unpack(
        try_it.RUNTIME, try_it.RUNTIME_SHA256
    ).keys()
