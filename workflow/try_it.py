"""``python -m workflow.try_it OUT``: the files that "Try it" and the live attention maps load, and their computed text.

Writes ``OUT/static/try/*.js`` and ``OUT/about.md``. The scripts are classic ones, since a page opened from disk may load
nothing else. The networks are the committed ones; the utterances are synthetic. PyTorch computes the answers that the page
should give. The runtime, onnxruntime-web, lies beside this file, so that a build needs no npm. Its archive holds the three
files that one thread needs, and the licences of the same version. They come from ``npm pack onnxruntime-web@1.30.0``
(sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==).
"""

import base64
import gzip
import json
import sys
import tarfile
from functools import cache
from pathlib import Path
from statistics import mode
from tempfile import TemporaryDirectory

import librosa
import matplotlib
import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly

from companion.labels import display_name, share  # companion.text would export the networks anew after an edit
from serlib import attention, config, records
from serlib.data import facts, features, splits
from serlib.files import atomic_write, sha256
from studies import frontends
from workflow import onnx_parts, synthetic

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "workflow/onnxruntime-web-1.30.0.tar.xz"
RUNTIME_SHA256 = "fd0200ecc3658979f660ef976659d5eeb505b03c352379ba4d00397ef3b8fc7c"
LANGUAGES = {"emodb": "German", "crema-d": "English"}
# The students on offer, each with the teacher of its corpus. "Try it" starts with the first, the attention maps with MAPS.
STUDENTS = ("emodb-student-pooled", "emodb-student", "crema-d-student")
MAPS = "emodb-student-pooled"
EMOTIONS = ("anger", "happiness", "neutral", "sadness")  # one speaker says one sentence in each
CARDS = (
    "The card of each network, with its training and its accuracies, lies beside it in the repository: `weights/*.md`."
)
TICKS = (250, 500, 1_000, 2_000, 4_000)  # Hz


def main(out: Path) -> None:
    torch.set_num_threads(1)
    scripts = out / "static/try"
    scripts.mkdir(parents=True, exist_ok=True)
    runtime = unpack(RUNTIME, RUNTIME_SHA256)
    glue, wasm = (runtime[f"ort-wasm-simd-threaded.{kind}"] for kind in ("mjs", "wasm"))
    (scripts / "ort.wasm.min.js").write_bytes(runtime["ort.wasm.min.js"])
    (scripts / "LICENSE.txt").write_bytes(runtime["LICENSE"] + b"\n" + runtime["ThirdPartyNotices.txt"])
    write(scripts / "runtime.js", {"glue": glue.decode(), "wasm": packed(wasm)})
    rows, titles, fronts, networks, cards = {}, {}, {}, {}, [CARDS]
    for name in STUDENTS:
        corpus = name.partition("-student")[0]
        network, settings, emotions, record = weights(name)
        teacher, teacher_settings, teacher_emotions, _ = weights(f"{corpus}-teacher")
        if (teacher_settings, teacher_emotions) != (settings, emotions):
            raise ValueError(f"weights/{corpus}-teacher: not of the images and emotions of {name}")
        for stem, trained in ((f"{corpus}-teacher", teacher), (name, network)):
            if stem not in networks:
                networks[stem] = packed(onnx_parts.network_part(trained, settings, emotions))
                fronts[trained.config.channels] = trained.front if isinstance(trained, frontends.FrontedViT) else None
        with TemporaryDirectory() as folder:
            utterances = [utterance(corpus, emotion, Path(folder, "a.wav"), network, settings) for emotion in EMOTIONS]
        utterances.sort(key=lambda item: -surely_wrong(item, emotions))
        titles[name] = f"{display_name(record.run)}, {facts.title(corpus)} ({LANGUAGES[corpus]})"
        shared = {
            "emotions": emotions,
            "utterances": utterances,
            "titles": {role: display_name(run) for role, run in (("student", record.run), ("teacher", "teacher"))},
        }
        write(
            scripts / f"{name}.js",
            {
                **shared,
                "network": networks[name],
                "channels": network.config.channels,
                "teacher": f"{corpus}-teacher",
                "megabytes": f"{len(networks[f'{corpus}-teacher']) / 1e6:.1f}",
                "names": facts.CORPORA[corpus].pattern.replace("(?P<", "(?<"),
                "speakers": sorted(set(record.parts["train"].speaker)),
                "reliability": reliability(record),
            },
        )
        write(scripts / f"{corpus}-teacher.js", {"network": networks[f"{corpus}-teacher"]})
        if name == MAPS:
            start = first_maps({"teacher": teacher, "student": network}, utterances[0], settings)
            start["corpus"] = {
                **shared,
                "name": name,
                "utterances": [{k: u[k] for k in ("emotion", "text")} for u in utterances],
            }
        if record not in committed():
            cards.append(again(name, record))
        silence = answer(network, torch.zeros(settings.sample_rate), settings)
        for suffix, outcome in (("", utterances[0]), (", silence", silence)):
            rows[titles[name] + suffix] = dict(zip(emotions, outcome["probabilities"], strict=True))
    if len(fronts) > 1 + (1 in fronts):
        raise ValueError("weights: students take different derivatives; the pages make one image for all")
    # A network of one channel takes the first channel of this image.
    image = onnx_parts.image_part(fronts[max(fronts)], settings, emotions)
    write(scripts / "image.js", {"network": packed(image)})
    write(scripts / "settings.js", {**drawing(settings), "networks": titles})
    loaded = (MAPS, f"{MAPS.partition('-student')[0]}-teacher", "runtime")
    start["corpus"]["megabytes"] = f"{sum((scripts / f'{stem}.js').stat().st_size for stem in loaded) / 1e6:.0f}"
    write(scripts / "start.js", start)
    with atomic_write(out / "about.md") as beside:
        beside.write_text("\n\n".join((expected(rows), limits(settings), " ".join(cards), "")), encoding="utf-8")


def unpack(archive: Path, expected: str) -> dict[str, bytes]:
    """The files of an archive, by name.

    Raises:
        ValueError: the archive is not the one that was committed.
    """
    if sha256(archive) != expected:
        raise ValueError(f"{archive}: not the file that was committed; restore it with git checkout")
    with tarfile.open(archive) as tar:
        return {Path(m.name).name: tar.extractfile(m).read() for m in tar if m.isfile()}


@cache
def network_of(name: str):
    """A committed network, the images that it takes, its emotions, and the digest of its run's results."""
    network, metadata = frontends.load(ROOT / f"weights/{name}.safetensors")
    return (
        network.eval(),
        config.from_plain(config.Features, metadata["features"]),
        metadata["emotions"],
        metadata["result"],
    )


def weights(name: str):
    """A committed network, the images that it takes, its emotions, its record.

    Raises:
        ValueError: no record of the network is committed.
    """
    *parts, result = network_of(name)
    candidates = (*committed(), *records.read_all(ROOT / "weights"))  # weights/ has the records of runs trained again
    record = next((candidate for candidate in candidates if candidate.result == result), None)
    if record is None:
        raise ValueError(f"weights/{name}: no committed record of this network")
    return *parts, record


@cache
def committed() -> list[records.Record]:
    return records.read_all(ROOT / "results/recordings")


def reliability(record: records.Record) -> str:
    """The page's note beside every answer: how often networks of the same run are right on new speakers.

    These networks trained for as many epochs. Of several schedules, the one with the most records counts.
    """
    new = record.protocol if splits.HELD_OUT[record.protocol] == splits.NEW else "leave-one-speaker-out"
    same_fields = ("corpus", "run", "seed", "epochs", "images")
    matches = [
        r for r in committed() if r.protocol == new and all(getattr(r, a) == getattr(record, a) for a in same_fields)
    ]
    schedule = mode(match.schedule for match in matches)
    tests = [match.parts["test"] for match in matches if match.schedule == schedule]
    correct = [a == b for test in tests for a, b in zip(test.true, test.predicted, strict=True)]
    speakers = len({speaker for test in tests for speaker in test.speaker})
    return (
        f"On {speakers} speakers that it was not trained on, such a network is right for {share(sum(correct) / len(correct))} of "
        f"the utterances ({facts.title(record.corpus)}). Its percentages are not calibrated: how far to trust them was not measured."
    )


def again(name: str, record: records.Record) -> str:
    """The note on a network that was trained again: its accuracy beside that of the committed run."""
    (committed_record,) = (candidate for candidate in committed() if candidate.location == record.location)
    accuracies = [np.mean(np.equal(*r.labels())) for r in (record, committed_record)]
    return (
        f"`{name}` was trained again, from the file of its teacher in this repository, which is in half precision: it is right for {share(accuracies[0], 1)} of "
        f"{len(record.parts['test'].file)} test utterances of speakers who were in training. The committed run, from the teacher in "
        f"single precision, is right for {share(accuracies[1], 1)}: so much do two runs differ."
    )


def first_maps(networks: dict, spoken: dict, settings: config.Features) -> dict:
    """The data that the attention-maps page shows before it loads a network: the utterance unchanged, and the hint."""
    with TemporaryDirectory() as folder:
        wav = Path(folder, "a.wav")
        wav.write_bytes(base64.b64decode(spoken["wav"]))
        samples = features.read_audio(wav, settings)
    image = features.image(samples, settings)[0]
    levels = np.round(255 * image.numpy()).astype(np.uint8).tobytes()
    answers = {role: answer(network, samples, settings) for role, network in networks.items()}
    return {
        **{role: {"attention": outcome["attention"]} for role, outcome in answers.items()},
        "levels": base64.b64encode(levels).decode(),
        "seconds": len(samples) / settings.sample_rate,
        "source": {"title": "the synthetic utterance"},
        "hint": hint(networks, samples, settings),
    }


def hint(networks: dict, samples: torch.Tensor, settings: config.Features) -> str:
    """The page's hint: add noise as strong as the speech; it says what that does to the first utterance."""
    noise = torch.randn(len(samples), generator=torch.Generator().manual_seed(0)) * samples.square().mean().sqrt()
    columns = round(settings.image_size[1] * len(samples) / settings.n_samples)
    on_sound = {
        role: [sum(answer(network, sound, settings)["attention"][:columns]) for sound in (samples, samples + noise)]
        for role, network in networks.items()
    }
    losses = {role: before - after for role, (before, after) in on_sound.items()}
    most_affected, least_affected = sorted(losses, key=losses.get, reverse=True)
    if losses[most_affected] <= 0:
        return "Move the noise to 0 dB. On the first utterance, both then keep looking at the sound."
    return f"Move the noise to 0 dB. On the first utterance, the {most_affected} then looks away from the sound more than the {least_affected} does."


def surely_wrong(outcome: dict, emotions: list[str]) -> float:
    """The probability of the answer if it is wrong, else 0. The page sorts by it, the most instructive utterance first."""
    largest = max(outcome["probabilities"])
    return largest * (emotions[outcome["probabilities"].index(largest)] != outcome["emotion"])


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def write(path: Path, value: dict) -> None:
    """Write a script that puts a value into the page's ``tryIt``, under the name of the file."""
    with atomic_write(path) as beside:
        beside.write_text(
            f"(window.tryIt ??= {{}})[{json.dumps(path.stem)}] = {json.dumps(value)};\n", encoding="utf-8"
        )


def utterance(corpus: str, emotion: str, path: Path, network, settings: config.Features) -> dict:
    """Synthesize the corpus's first sentence in its second voice; also the answer that the page should give."""
    corpus_facts = facts.CORPORA[corpus]
    voice, words = list(corpus_facts.voices.values())[1], next(iter(corpus_facts.texts.values()))
    wave = synthetic.synthesize(words, voice, synthetic.PROSODY[emotion], seed=0)
    wave = resample_poly(wave.astype(np.float64), settings.sample_rate, synthetic.SAMPLE_RATE)
    soundfile.write(path, np.round(wave * 32_767).astype(np.int16), settings.sample_rate, "PCM_16")
    outcome = answer(network, features.read_audio(path, settings), settings)
    return {"emotion": emotion, "text": words, "wav": base64.b64encode(path.read_bytes()).decode(), **outcome}


def answer(network, samples: torch.Tensor, settings: config.Features) -> dict[str, list[float]]:
    """A network's probabilities, and its attention rollout summed over each column."""
    with torch.no_grad():
        output = network(features.image(samples, settings)[None], need_weights=True)
    by_column = attention.rollout(output.attention, network.config.grid)[0].sum(dim=0)
    return {"probabilities": output.logits.softmax(dim=1)[0].tolist(), "attention": by_column.tolist()}


def drawing(settings: config.Features) -> dict:
    """The values that the page needs to draw axes: ``ticks`` are [Hz, share of the height, from below]."""
    c, bands = settings, settings.mel_bands
    peaks = librosa.mel_frequencies(bands + 2, fmin=c.low_frequency, fmax=c.high_frequency)[1:-1]
    positions = np.interp(TICKS, peaks, (np.arange(bands) + 0.5) / bands)
    colours = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]
    names = ("sample_rate", "hop_length", "window_length", "seconds", "n_frames", "dynamic_range", "image_size")
    return {
        **{name: getattr(c, name) for name in names},
        "ticks": list(zip(TICKS, positions.tolist(), strict=True)),
        "colours": colours.tolist(),
    }


def expected(rows: dict[str, dict[str, float]]) -> str:
    """The probabilities that the page should show."""
    chances = {name: ", ".join(f"{emotion} {share(p, 1)}" for emotion, p in row.items()) for name, row in rows.items()}
    lines = [f"- {name}: {text}." for name, text in chances.items()]
    first = "The probabilities of the first utterance and of silence, computed by PyTorch when this book was built:"
    return "\n".join(("## Expected output", "", first, "", *lines))


def limits(settings: config.Features) -> str:
    """The text on what recordings the networks take, and in which languages they were trained."""
    c = settings
    languages = ", ".join(f"{words} ({facts.title(corpus)})" for corpus, words in LANGUAGES.items())
    return (
        "## What the networks take\n\n"
        f"- One channel at {c.sample_rate:,} Hz; the page converts what you open or record.\n"
        f"- The first {c.seconds:g} s; what is shorter ends in black.\n"
        f"- Any level: the image goes from the loudest point of the recording down to {c.dynamic_range:g} dB below it.\n"
        f"- Languages: {languages}."
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m workflow.try_it OUT")
    main(Path(sys.argv[1]))
