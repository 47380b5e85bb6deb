"""``python -m tests.fuzz [CASES] [SEED]``: generated inputs for every entry, each read rightly or refused in one line.

An entry is a function that draws one input and says what must become of it: ``True`` it is read, ``False`` it is
refused, ``None`` either; what is read is compared with what the clean input gives, or with a plain reading of the same
bytes. Outcomes are counted by entry; all but ``read`` and ``refused`` are findings. The same case is drawn for the same
seed, entry and number, so that ``python -m tests.fuzz ENTRY NUMBER`` shows one again.
"""

import ast
import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from companion.__main__ import main as companion
from companion.notebook import start
from companion.parameters import assigned
from serlib import checkpoints, config, files, records, training
from serlib.cli import main as serlib
from serlib.data import corpora, facts, features, splits
from serlib.engine import state as unfinished
from serlib.model import SpectrogramViT
from studies import probed
from studies.__main__ import main as studies
from tests.helpers import tiny_emodb, tiny_record, write_wav
from workflow import examples, export, listeners, run

READ, REFUSED, WRONG, TURNED_AWAY = "read", "refused", "silently wrong", "wrongly refused"
TRACEBACK, HANG, UNCLEAR = "traceback", "hang", "more than one line"
LIMIT = 10  # seconds a case
ROOT = Path(__file__).parents[1]
SMALL = config.Model(num_classes=2, depth=1, width=16, mlp_width=16)
PICTURE = config.Features()

Right = Callable[[list[str]], bool]  # of the lines that a command printed
Case = tuple[str, Callable[[], int | None], bool | None, Right]  # what it is, what to do, what must become of it


class Hang(BaseException):
    pass


def judge(do: Callable[[], int | None], must: bool | None, right: Right) -> tuple[str, str]:
    """What becomes of a case, and the last line that it printed on standard error."""

    def late(*_):
        raise Hang

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = do()
    except SystemExit as ended:
        status = ended.code
        if isinstance(status, str):
            err.write(status + "\n")
    except Hang:
        return HANG, ""
    except Exception:
        return TRACEBACK, traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    lines = [line for line in err.getvalue().splitlines() if not line.startswith(("usage: ", " "))]
    lines = [line for line in lines if not line.startswith("serlib: note: ") and "set aside as" not in line]
    said = lines[-1] if lines else ""
    if not status:
        return (READ if must is not False and right(out.getvalue().splitlines()) else WRONG), said
    own = [line for line in lines if not line.startswith("log-Mel images: ")]  # a bar of progress is none
    if len(own) != 1 or len(said) > 20_000:
        return UNCLEAR, err.getvalue()
    return (TURNED_AWAY if must else REFUSED), said


def refusing(do: Callable[[], object]) -> Callable[[], int]:
    """A function of the package as a command: errors that commands turn into a line become one."""

    def command() -> int:
        try:
            do()
        except (ValueError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0

    return command


def command(main: Callable, *arguments: object) -> Callable[[], int]:
    return lambda: main([str(argument) for argument in arguments])


# Damage


def damaged(draw: random.Random, content: bytes) -> tuple[str, bytes]:
    """A file as it should not be, and what was done to it; never the file itself."""
    kind = draw.choice(("bit", "bit", "cut", "odd", "empty", "foreign", "zeros", "pointer", "text"))
    at = draw.randrange(len(content))
    if kind == "bit":
        return f"bit {at}", content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    if kind == "zeros":
        return f"zeros {at}", content[:at] + bytes(len(content) - at) + b"\0"
    others = {"cut": content[:at], "odd": content + draw.randbytes(draw.randint(1, 40)), "empty": b""}
    others |= {"foreign": draw.randbytes(draw.randint(1, 3_000)), "text": b"x,y\n1,2\n" * draw.randint(1, 50)}
    return f"{kind} {at}", (others | {"pointer": files.LFS_POINTER + b"v1\noid sha256:0\n"})[kind]


def odd_place(draw: random.Random, path: Path) -> str:
    """Put what is no file in the place of ``path``; says what."""
    kind = draw.choice(("pipe", "device", "folder", "missing", "dangling", "loop", "below a file"))
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        target = {"device": "/dev/zero", "dangling": "nowhere", "loop": path.name, "below a file": "/dev/null/x"}[kind]
        path.symlink_to(target)
    return kind


# Recordings

FORMATS = {
    "WAV": ("PCM_16", "PCM_24", "FLOAT", "DOUBLE"),
    "WAVEX": ("PCM_16",),
    "RF64": ("PCM_16",),
    "FLAC": ("PCM_16",),
}
RATES = (8_000, 16_000, 22_050, 44_100, 44_101, 48_000)
Reading = list[np.ndarray] | None  # of one channel, any of which may be what is read; None: not compared


def stored(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    written = io.BytesIO()
    soundfile.write(written, samples, rate, format=kind, subtype=subtype)
    return written.getvalue()


def recording(draw: random.Random) -> tuple[str, bytes, bool | None, Reading, int]:
    """What was done, the file, what must become of it, readings that are right, their rate."""
    kind = draw.choice(list(FORMATS))
    subtype, rate = draw.choice(FORMATS[kind]), draw.choice(RATES)
    seconds, channels = draw.choice((0.05, 0.3, 0.5, 1.0, 2.5)), draw.choice((1, 1, 1, 2))
    noise = np.random.default_rng(draw.randrange(2**32)).uniform(-0.9, 0.9, (round(seconds * rate), channels))
    samples = np.round(noise * 2**13) / 2**15  # exact in 16 bits
    content = bytearray(stored(samples, rate, kind, subtype))
    mono = samples.astype("float32").mean(axis=1)
    plain: Reading = [mono]
    what = f"{kind} {subtype}, {rate} Hz, {seconds} s, {channels} channel(s)"
    change = draw.choice(
        ["none", "none", "sizes", "after", "cut", "cut", "sample", "header", "body", "foreign", "late"]
    )
    if change == "sizes" and kind == "WAV" and subtype == "PCM_16":
        size = draw.choice((0, 0x7FFFF000, 0x7FFFF024, 0x7FFFFFFF, 0xFFFFFFFF))
        content[4:8] = content[40:44] = struct.pack("<I", size)
        return f"{what}: sizes {size:x}", bytes(content), True, plain, rate
    if change == "after" and kind in ("WAV", "WAVEX", "FLAC"):
        return f"{what}: bytes after it", bytes(content) + draw.randbytes(draw.randint(1, 99)), None, plain, rate
    if change == "cut":
        return f"{what}: cut", bytes(content[: draw.randrange(len(content) * 19 // 20)]), False, None, rate
    if change == "sample":
        value = draw.choice((np.nan, np.inf, -np.inf, 1e30, 2e3, -5e3))
        samples[draw.randrange(len(samples)), 0] = value
        return f"sample {value}", stored(samples, rate, "WAV", "FLOAT"), False, None, rate
    if change == "late":
        quiet = draw.choice((np.zeros_like(samples), samples * 1e-9, np.pad(samples, ((10 * rate, 0), (0, 0)))))
        return "silence", stored(quiet, rate, "WAV", "FLOAT"), False, None, rate
    if change == "foreign":
        others = (draw.randbytes(2_000), bytes(content[:4]) + draw.randbytes(2_000), b"", files.LFS_POINTER + b"v1\n")
        others += (b"text\n" * 99, b"PK\3\4" + draw.randbytes(99), stored(samples, rate, "NIST"))
        return "foreign", draw.choice(others), False, None, rate
    if change in ("header", "body"):
        end = min(100, len(content)) if change == "header" else len(content)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(end)] = draw.randrange(256)
        with contextlib.suppress(Exception), soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.samplerate and file.frames < 10**8 and kind != "FLAC":
                read = file.read(dtype="float32", always_2d=True)
                if len(read):
                    both = [mono, read.mean(axis=1)]
                    return f"{what}: damaged {change}", bytes(content), None, both, -file.samplerate
        return f"{what}: damaged {change}", bytes(content), None, plain, rate
    return what, bytes(content), True, plain, rate


def pictures(readings: Reading, rate: int) -> list[torch.Tensor]:
    """The images of readings, by a plain WAV file of each."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for samples in readings or []:
            path = Path(folder, "plain.wav")
            path.write_bytes(stored(samples, abs(rate), "WAV", "FLOAT"))
            with contextlib.suppress(ValueError):
                made.append(features.picture(path, PICTURE)[0])
    return made


def looks_right(path: Path, readings: Reading, rate: int) -> bool:
    seen = features.picture(path, PICTURE)[0]
    if not seen.isfinite().all() or not seen.any():
        return False
    return readings is None or any(abs(seen - readable).max() < 1e-3 for readable in pictures(readings, rate))


@cache
def weights(place: Path) -> Path:
    path = place / "small.safetensors"
    torch.manual_seed(0)
    about = {"features": config.plain(PICTURE), "emotions": ["anger", "sadness"], "result": "0" * 64}
    checkpoints.save(SpectrogramViT(SMALL), path, **about)
    return path


def audio_by_predict(draw: random.Random, place: Path) -> Case:
    path = place / draw.choice(("a.wav", "a b.WAV", "ä.mp3", "-x.flac", "a"))
    what, content, must, readings, rate = recording(draw)
    path.write_bytes(content)
    if draw.random() < 0.08:
        what, must = odd_place(draw, path), False
    do = command(serlib, "predict", "--weights", weights(place.parent), "--", path)
    return what, do, must, lambda lines: len(lines) == 1 and looks_right(path, readings, rate)


def audio_by_corpora(draw: random.Random, place: Path) -> Case:
    folder = tiny_emodb(place / "emodb", speakers=("03",))
    path = folder / "wav" / "16b10Na.wav"
    what, content, must, readings, rate = recording(draw)
    path.write_bytes(content)
    if draw.random() < 0.08:
        what, must = odd_place(draw, path), False

    def right(lines: list[str]) -> bool:
        excluded = [line for line in lines if line.startswith(f"  excluded {path.name}: ")]
        if excluded or what == "missing":
            return not must
        return (
            must is not False
            and ["neutral", "1"] in (line.split()[:2] for line in lines)
            and looks_right(path, readings, rate)
        )

    return what, command(serlib, "corpora", "emodb", "--data", folder), None, right


# Folders


def folders(draw: random.Random, place: Path) -> Case:
    """Good recordings in any arrangement, among what else lies in people's folders."""
    folder, good = place / "emodb", {}
    names = draw.sample([f"{s}{t}{c}a" for s in ("03", "08", "16") for t in ("a01", "b10") for c in "WTN"], 6)
    for seed, name in enumerate(names):
        where = draw.choice(("", "wav", "a/b/c", "Ümläut", "with space", "x.wav"))
        write_wav(folder / where / (name + draw.choice((".wav", ".WAV", ".Wav"))), 0.5, draw.randrange(2**20) + seed)
        good[f"{name}.wav"] = name[5]
    for junk in draw.sample(("._x.wav", "__MACOSX/03a01Wa.wav", ".DS_Store", "notes.txt", "nope.wav", "03a01Qa.wav", "99a01Wa.wav",
                             "\udcfc.wav", "dir.wav/", "pipe.wav|", "loop@", "dangling.wav@", ".git/03a01Wa.wav"), 5):  # fmt: skip
        path = folder / junk.rstrip("/|@")
        path.parent.mkdir(parents=True, exist_ok=True)
        if junk.endswith("/"):
            path.mkdir()
        elif junk.endswith("|"):
            os.mkfifo(path)
        elif junk.endswith("@"):
            path.symlink_to(folder if "loop" in junk else "nowhere")
        else:
            path.write_bytes(draw.randbytes(50))
    emotions = Counter(facts.CORPORA["emodb"].codes[code] for code in good.values())
    expected = [[emotion, f"{emotions[emotion]}"] for emotion in sorted(emotions)]

    def right(lines: list[str]) -> bool:
        counted = [line.split()[:2] for line in lines[2 : 2 + len(emotions)]]
        return counted == expected and lines[0].startswith("emodb: 6 utterances")

    strict = ("--strict",) if draw.random() < 0.1 else ()
    do = command(serlib, "corpora", "emodb", "--data", folder, *strict)
    return f"{sorted(good)} {strict}", do, None if strict else True, right


# Tables


def tables(draw: random.Random, place: Path) -> Case:
    """A table of four recordings as programs and people write it, and with what cannot be read in it."""
    rows = [
        line.split("|") for line in ("a.wav|Zoë|joy", "sub/b.wav|Bob|rage", "sub/ç d.wav|Ann|joy", "e.WAV|Bob|fear")
    ]
    for seed, (name, *_) in enumerate(rows):
        write_wav(place / name, 0.5, seed)
    head, broken = ["path", "speaker", "emotion"], draw.random() < 0.5
    (place / "plain.csv").write_text("\n".join(map(",".join, [head, *rows])), encoding="utf-8")
    plain = corpora.load("mine", place / "plain.csv")
    what = []

    def note(text: str) -> bool:
        what.append(text)
        return True

    if broken:
        row, column = draw.randrange(4), draw.randrange(3)
        kinds = "no column|two columns|empty cell|control|long row|twice|one emotion|null|gone|no head|folder"
        kind = draw.choice(kinds.split("|"))
        note(kind)
        if kind == "no column":
            head[column] = draw.choice(("x", "", "emotions"))
        elif kind == "two columns":
            head.append(draw.choice(head))
            rows = [[*r, "x"] for r in rows]
        elif kind == "empty cell":
            rows[row][column] = draw.choice(("", "  "))
        elif kind in ("control", "null"):
            rows[row][column] += "\0" if kind == "null" else draw.choice("\x1b\x07\x7f\u200b\u202e")
        elif kind == "long row":
            rows[row] += ["", "x"]
        elif kind == "twice":
            rows.append(list(rows[row]))
        elif kind == "one emotion":
            rows = [[*r[:2], "joy"] for r in rows]
        elif kind == "gone":
            rows[row][0] = draw.choice(("nope.wav", "/nowhere/x.wav", "../x.wav", "x" * 300, "e.WAV/f"))
        elif kind == "folder":
            rows[row][0] = draw.choice((".", "sub", "/", "/dev/zero"))
        else:
            head = rows.pop()
    else:
        if draw.random() < 0.3 and note("other order"):
            order = draw.sample(range(3), 3)
            head, rows = [head[i] for i in order], [[r[i] for i in order] for r in rows]
        if draw.random() < 0.3 and note("more columns"):
            head, rows = [*head, "remark", ""], [[*r, draw.choice(("", "x, y", 'a "b"')), ""] for r in rows]
        if draw.random() < 0.3 and note("capitals"):
            head = [draw.choice((name.upper(), name.title())) for name in head]
        if draw.random() < 0.3 and note("back slashes"):
            rows = [[cell.replace("/", "\\") for cell in r] for r in rows]
        if draw.random() < 0.3 and note("spaces"):
            head, rows = [f" {n} " for n in head], [[f"{draw.choice(('', ' '))}{cell}  " for cell in r] for r in rows]
        if draw.random() < 0.3 and note("empty rows"):
            rows.insert(draw.randrange(4), [""] * len(head))
    written = io.StringIO(newline="")
    delimiter, end = draw.choice(",;\t"), draw.choice(("\n", "\r\n", "\r"))
    if draw.random() < 0.2 and note("a line for Excel"):
        written.write(f"sep={delimiter}{end}")
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([head, *rows])
    text = unicodedata.normalize(draw.choice(("NFC", "NFD")), written.getvalue())
    encoding = draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"))
    if encoding == "latin-1":
        text = unicodedata.normalize("NFC", text)
        encoding = encoding if max(text) < "\u0100" else "utf-8"
    must = (
        False if broken else {"latin-1": None, "utf-16": False, "utf-16-le": False, "utf-32": False}.get(encoding, True)
    )
    path = place / draw.choice(("own.csv", "own.CSV", "deeper/own.csv"))
    if "/" in str(path.relative_to(place)):
        must = False
        path.parent.mkdir()
    path.write_bytes(text.encode(encoding))
    if draw.random() < 0.05:
        must = None if (kind := odd_place(draw, path)) == "missing" else False
        note(kind)
    gone = bool(broken and what[0] in ("gone", "folder") and must is False)

    def right(lines: list[str]) -> bool:
        if gone:  # one recording is excluded by name, the others are read
            return lines[0].startswith("mine: 3 utterances") and any(x.startswith("  excluded ") for x in lines)
        if encoding == "latin-1":
            return text.isascii()
        return (
            lines[0] == f"mine: 4 utterances, 3 speakers, {plain.fingerprint[:12]}"
            and not lines[len(plain.emotions) + len(plain.speakers) + 3 :]
        )

    do = command(serlib, "corpora", "mine", "--data", path)
    return f"{what} {delimiter!r} {encoding} {path.name}", do, None if gone else must, right


# Arguments

WORDS = (
    "", " ", "nope", "é", "x" * 5_000, "../..", "a\nb", "\0", "-1", "1.5", "nan", "1e9", "٣", "0x10", "None", "$(id)", "--help=",
)  # fmt: skip


def number_argument(draw: random.Random, low: int, high: int) -> tuple[str, bool]:
    """A value, and whether it is a whole number from ``low`` to ``high``."""
    if draw.random() < 0.3:
        word = draw.choice(WORDS)
        return word, word in ("-1", "٣") and low <= (-1 if word == "-1" else 3) <= high
    value = draw.choice((low, high, low - 1, high + 1, -(10**6), 10**6, 10**30, draw.randint(low, max(low, high))))
    return str(value), low <= value <= high


def arguments(draw: random.Random, place: Path) -> Case:
    """One option of a command with any value; the others are right."""
    data = tiny_emodb(place / "emodb", texts=("a01", "b10"), seconds=0.5)
    out, small = place / "out", weights(place.parent)
    start = ["train", "emodb", "--data", data, "--out", out, "--cache", place / "cache", "--run", "majority"]
    kind = draw.choice(("number", "name", "path", "flops", "foreign", "none"))
    if kind == "number":
        made = ["features", "emodb", "--data", data, "--cache", place / "cache"]
        answered = ["predict", "--weights", small, data / "wav/03a01Wa.wav"]
        numbers = (
            ("--image-width", 1, 4096, made), ("--channel", 0, 1, made), ("--channel", 0, 1, ["corpora", "emodb", "--data", data]),
            ("--channel", 0, 1, answered), ("--seed", 0, 2**32 - 1, start), ("--threads", 1, 256, start),
            ("--fold", 0, 10**31, start), ("--classes", 1, 1000, ["flops", "student-alone"]),
            ("--epochs", 1, 0, start),  # the baseline takes none
        )  # fmt: skip
        option, low, high, base = draw.choice(numbers)
        value, valid = number_argument(draw, low, high)
        threads = torch.get_num_threads()

        def do() -> int:
            try:
                return (studies if base is start else serlib)([str(a) for a in (*base, f"{option}={value}")])
            finally:
                torch.set_num_threads(threads)

        must = None if option == "--fold" and valid else valid  # how many there are depends on the protocol
        return f"{base[0]} {option}={value[:40]!r}", do, must, lambda lines: valid and len(lines) > 0
    if kind == "name":
        option, known = draw.choice(
            (("--run", ("majority",)), ("--schedule", config.SCHEDULES), ("--protocol", splits.HELD_OUT))
        )
        value = draw.choice((*WORDS, *(name + "x" for name in known), *(list(known)[:3])))
        do, must = command(studies, *start, f"{option}={value}"), None if value in known else False
        return f"train {option}={value[:40]!r}", do, must, lambda lines: value in known
    if kind == "flops":
        names = draw.sample((*config.RUNS, "nope", "", "majority"), 2)
        must = all(name in config.RUNS for name in names)
        return f"flops {names}", command(serlib, "flops", "--", *names), must, lambda lines: len(lines) == 3
    if kind == "none":
        known = (*WORDS, *["train", "corpora", "emodb", "--data", "predict", "evaluate", "claims", "table", "--out"])
        words, main = draw.choices(known, k=draw.randint(0, 4)), draw.choice((serlib, companion))
        must = None if any(len(word) > 5 and "--help".startswith(word) for word in words) else False
        return f"{main.__module__} {[w[:20] for w in words]}", command(main, *words), must, lambda lines: True
    if kind == "foreign":
        corpus = draw.choice((*WORDS, "savee", "crema-d", "Emodb"))
        base = [draw.choice(("corpora", "audit", "features", "train", "probe")), f"--data={data}"]
        base += ["--runs", "x"] if base[0] == "probe" else []
        return (
            f"{base[0]} {corpus[:20]!r}",
            command(studies if base[0] == "probe" else serlib, *base, "--", corpus),
            False,
            lambda lines: True,
        )
    word = draw.choice((*WORDS[:8], data, small, "/dev/null/x", "/", ".", "/dev/zero"))
    main, given = draw.choice(
        (
            (serlib, ["corpora", "emodb", f"--data={word}"]),
            (serlib, ["predict", "--weights", small, "--", word]),
            (serlib, ["predict", f"--weights={word}", data / "wav/03a01Wa.wav"]),
            (export.main, [f"--weights={word}", f"--out={out}"]),
            (serlib, ["evaluate", "--", word]),
            (studies, ["probe", "emodb", f"--data={data}", f"--runs={word}"]),
            (companion, ["claims", f"--results={word}"]),
            (companion, ["table", f"--out={out}.csv", "--", word]),
            (companion, ["table", f"--out={word}", "--", word]),
            (listeners.main, ["emodb", f"--data={data}", f"--ratings={word}"]),
            (examples.main, ["emodb", f"--data={data}", f"--record={word}", f"--out={out}"]),
        )
    )
    right: bool | None = word == data and given[0] == "corpora"
    # "." and "", which is ".", hold the recordings, "nope" may be a corpus of one's own, all of a disk and a first ONNX take their time
    if (given[0], word) in (("corpora", "."), ("corpora", ""), ("corpora", "/"), (f"--weights={small}", small)):
        right, main, given = True, serlib, ["corpora", "emodb", f"--data={data}"]
    return f"{given[0]} {str(word)[:40]!r} {given[1:2]}", command(main, *given), right, lambda lines: True


# What was written by serlib


def weights_files(draw: random.Random, place: Path) -> Case:
    path, sound = place / "w.safetensors", write_wav(place / "a.wav")
    what, content = damaged(draw, weights(place.parent).read_bytes())
    path.write_bytes(content)
    if draw.random() < 0.1:
        what = odd_place(draw, path)
    elif draw.random() < 0.3:  # whole, with a right digest, and wrong about itself
        names = (["a"], "ab", None, [1, 2], ["a", "b", "c"], {})
        sizes = ([], None, {"image_size": [128, 64]}, {"nope": 1}, {"seconds": "x"}, {"fft_length": 0})
        odd = draw.choice([{"emotions": value} for value in names] + [{"features": value} for value in sizes])
        what = str(odd)
        about = {"features": config.plain(PICTURE), "emotions": ["a", "b"]} | odd
        checkpoints.save(SpectrogramViT(SMALL), path, **about)
    main, base = draw.choice(((serlib, ["predict", sound]), (export.main, ["--out", place / "o.onnx"])))
    return f"{base[0]}: {what}", command(main, *base, "--weights", path), False, lambda lines: False


def spoil(draw: random.Random, path: Path, digest: Callable[[dict], str]) -> str:
    """Damage a JSON file that holds its digest, put something else in its place, or edit it under a right digest."""
    odd = draw.random()
    if odd < 0.45:
        what, content = damaged(draw, path.read_bytes())
        path.write_bytes(content)
    elif odd < 0.6:
        what = odd_place(draw, path)
    else:
        plain = json.loads(path.read_text(encoding="utf-8"))
        del plain["digest"]
        what = edited(draw, plain)
        path.write_text(json.dumps({**plain, "digest": digest(plain)}), encoding="utf-8")
    return what


def record_files(draw: random.Random, place: Path) -> Case:
    """Run records: damaged, edited, and written with a right digest but odd values."""
    path = place / "r.json"
    records.write(tiny_record(), path)
    what = spoil(draw, path, records._digest)
    given = draw.choice(((serlib, "evaluate", path), (companion, "table", "--out", place / "t.csv", path)))
    same = lambda lines: what.startswith("kept")  # noqa: E731
    must = None if what.startswith(("kept", "harmless")) else False
    return f"{given[1]}: {what}", command(*given), must, lambda lines: same(lines) or what.startswith("harmless")


ODD = (
    None, True, -1, 1e400, "", "nope", [], {}, [[]], [None], "\ud800", "x" * 10_000, 2**70, [1, "a"], {"a": {"b": []}},
)  # fmt: skip
FREE = {"curves", "provenance", "notes", "excluded", "fingerprint", "split", "teacher", "fold", "corpus", "emotions"}


def edited(draw: random.Random, plain: dict) -> str:
    """Change one value somewhere in a record or probe; says which, "kept" if it is the same after all."""
    at, keys = plain, []
    while True:
        keys.append(draw.choice(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[keys[-1]]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            break
        at = inner
    value = draw.choice(ODD)
    at[keys[-1]], before = value, at[keys[-1]]
    free = keys[0] in ("provenance", "configuration") or (
        type(value) is type(before) and (isinstance(value, str) or keys[0] in FREE)
    )
    state = "kept" if value == before and type(value) is type(before) else "harmless" if free else "edited"
    return f"{state} {keys} = {str(value)[:40]!a}"


def probe_files(draw: random.Random, place: Path) -> Case:
    about = {
        "corpus": "emodb", "speech": "recordings", "schedule": "paper", "protocol": "random", "fold": 0, "run": "teacher", "seed": 0,
        "emotions": ("anger", "sadness"), "result": "0" * 64, "file": ("a", "b"), "speaker": ("03", "08"), "true": (0, 1),
        "variation": (1.0, 2.0), "errors": {"image": (0.5, 0.5)}, "predicted": {"as it is": (0, 1)},
    }  # fmt: skip
    path = place / "probes" / "p.json"
    probed.write(probed.Probe(**about), path)
    what = spoil(draw, path, config.digest)
    free = what.startswith(("kept", "harmless")) or what == "missing"
    return what, refusing(lambda: probed.read_all(path.parent)), None if free else False, lambda lines: free


NOTHING = ("missing", "dangling", "loop", "below a file")  # in the place of a file: it is made


def image_caches(draw: random.Random, place: Path) -> Case:
    folder = tiny_emodb(place / "emodb", speakers=("03",), seconds=0.5)
    given = ("features", "emodb", "--data", folder, "--cache", place / "cache")
    judge(command(serlib, *given), True, bool)
    (cached,) = (place / "cache").iterdir()
    what, content = damaged(draw, cached.read_bytes())
    cached.write_bytes(content)
    if draw.random() < 0.15:
        what = odd_place(draw, cached)
    return what, command(serlib, *given), what in NOTHING, lambda lines: "2 images" in lines[-1]


def corpus_tables(draw: random.Random, place: Path) -> Case:
    folder, table = tiny_emodb(place / "emodb", speakers=("03", "08"), seconds=0.5), place / "table.csv"
    judge(command(serlib, "corpora", "emodb", "--data", folder, "--table", table), True, bool)
    what, content = damaged(draw, table.read_bytes())
    table.write_bytes(content)
    if draw.random() < 0.15:
        what = odd_place(draw, table)
    elif draw.random() < 0.2:
        tiny_emodb(folder, speakers=("03", "08"), seconds=0.5)
        write_wav(folder / "wav" / "03a01Wa.wav", 0.5, 77)
        table.unlink()
        what = "missing"
    do = command(serlib, "features", "emodb", "--data", folder, "--table", table, "--cache", place / "cache")
    return what, do, what in NOTHING, lambda lines: "4 images" in lines[-1]


def tiny_run(folder: Path, epochs: int = 2, rate: float = 1e-3) -> records.Record:
    """A run of a small network on noise."""
    corpus = corpora.load("emodb", tiny_emodb(folder / "emodb", seconds=0.5), speech="synthetic")
    given = config.Training(epochs=epochs, learning_rate=rate, batch_size=4)
    run_config = config.RunConfig("small", config.Run(SMALL), "short", given, PICTURE)
    images = torch.rand(10, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    where = {"record": folder / "run.json", "progress": False}
    return training.execute(run_config, corpus, splits.split(corpus, "random", 0), images, **where)


@cache
def kept_state(place: Path) -> tuple[str, bytes]:
    """The result of a run that nothing disturbed, and the state that it kept after an epoch."""
    kept, real = [], unfinished.save_state

    def keep(state, *given):
        real(state, *given)
        kept.append(state.checkpoint.read_bytes())

    unfinished.save_state = keep
    try:
        result = tiny_run(place / "undisturbed").result
    finally:
        unfinished.save_state = real
    return result, kept[0]


def training_states(draw: random.Random, place: Path) -> Case:
    result, state = kept_state(place.parent)
    what, content = damaged(draw, state) if draw.random() < 0.9 else ("as it was", state)
    (place / "run.state").write_bytes(content)
    if draw.random() < 0.1:
        what = odd_place(draw, place / "run.state")
    return what, lambda: print(tiny_run(place).result), True, lambda lines: lines == [result]


# Notebooks and make


@cache
def declared() -> dict[str, tuple[str, str]]:
    """Of every notebook its cell of parameters and its call of ``start``."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        call = next((line for source in sources for line in source.splitlines() if "start(globals()" in line), None)
        if call and "parameters" in cells[[c["cell_type"] for c in cells].index("code")]["metadata"].get("tags", []):
            found[path.stem] = sources[0], call
    return found


VALUES = ("emodb", "savee", "nope", "", "synthetic", "examples", "recordings", "paper", "short", "random", 0, 1, -1, 3, 6, 2024, 10**12,
          0.5, 0.8, 2.0, -0.1, float("nan"), float("inf"), None, True, [], "0", "1e3", "anger")  # fmt: skip
TEXTS = {
    "speech": ("synthetic", "examples", "recordings"),
    "corpus": tuple(facts.CORPORA),
    "schedule": tuple(config.SCHEDULES),
    "protocol": tuple(splits.HELD_OUT),
}
NUMBERS = {"depth": (1, 64), "heads": (1, 64), "num_classes": (2, 1000), "share": (0.01, 0.99)}
LATER = ("emotion", "aims", "corpora", "measured", "measured_gpu")  # texts that later cells check


def notebook_parameters(draw: random.Random, place: Path) -> Case:
    name = draw.choice(sorted(declared()))
    source, call = declared()[name]
    defaults = assigned(source)
    known = list(defaults)
    key, value = draw.choice((*known, draw.choice((*known, "nope")))), draw.choice(VALUES)
    right = key in known and (type(value) is type(defaults[key]) or (type(value), type(defaults[key])) == (int, float))
    told = key == "corpus" and "speech" not in defaults  # a page of committed records says of any name what it finds
    if right and key in TEXTS:
        right = told or value in TEXTS[key]
    elif right and type(defaults[key]) in (int, float):
        low, high = NUMBERS.get(key, (0, 2**32 - 1))
        right = low <= value <= high
    written = f"# Parameters\n{key} = {value!r}\n".replace("= nan", "= float('nan')").replace("= inf", "= float('inf')")
    namespace = {**defaults, key: value, "In": ["", source, written, call]}
    ranges = {name: ast.literal_eval(pair) for name, pair in re.findall(r"(\w+)=(\(.*?\))", call)}
    here = os.getcwd()

    def do() -> int:
        os.chdir(ROOT)
        try:
            return refusing(lambda: start(namespace, **ranges))()
        finally:
            os.chdir(here)

    loose = right and key in LATER
    return f"{name}: {key} = {value!r}", do, None if loose else right, lambda lines: right


def make_variables(draw: random.Random, place: Path) -> Case:
    """Values as the environment brings them, checked in process; nothing is started."""
    tiny_emodb(place / "data dir" / "emodb", speakers=("03",))
    (place / "own.csv").write_text("path,speaker,emotion\n")
    odd = (
        "x;touch pwned", "$(touch pwned)", "`touch pwned`", "'", '"', "a b", "a\nb", "é", "-x", "..", "0x1", "1_0", "٣", "1e3", "nan", "-1",
    )  # fmt: skip
    right = {
        "CORPUS": (*facts.CORPORA, "2024_05", "1e3"), "SCHEDULE": tuple(config.SCHEDULES), "SEED": ("0", "7", str(2**32 - 1)),
        "THREADS": ("1", "256"), "CHANNEL": ("0", "1", "255"), "CORES": ("1", "all", "4096"), "V": ("0", "1"), "DATA": ("data dir/emodb", "own.csv"),
    }  # fmt: skip
    keys = draw.sample(sorted(right), draw.randint(0, 4))
    given = {key: draw.choice((*right[key], *right[key], *odd)) for key in keys}
    if draw.random() < 0.1:
        given["MAKEFLAGS"] = f" -- {draw.choice(('SHCEDULE', 'Corpus', 'SEEDS'))}=x"
    corpus, data = given.get("CORPUS", ""), given.get("DATA", "")
    valid = all(value in right.get(key, ()) for key, value in given.items()) and bool(corpus) == bool(data)
    valid = valid and (not corpus or corpus in facts.CORPORA or data == "own.csv")
    valid = valid and (bool(corpus) or given.get("CHANNEL", "0") == "0")
    here = os.getcwd()

    def do() -> int:
        os.chdir(place)
        try:
            chosen, cores = run.check(given)
        finally:
            os.chdir(here)
        print(json.dumps([asdict(chosen), cores]))
        return 0

    def same(lines: list[str]) -> bool:
        chosen, cores = json.loads(lines[0])
        expected = {"corpus": corpus, "data": data, "schedule": given.get("SCHEDULE", "")}
        expected |= {name.lower(): int(given.get(name, 0)) for name in ("SEED", "CHANNEL")}
        return chosen.items() >= expected.items() and cores == given.get("CORES", "all") and valid

    return str(given), do, valid, same


ENTRIES: dict[str, Callable[[random.Random, Path], Case]] = {
    function.__name__.replace("_", " "): function
    for function in (
        audio_by_predict, audio_by_corpora, folders, tables, arguments, weights_files, record_files, probe_files, image_caches,
        corpus_tables, training_states, notebook_parameters, make_variables,
    )
}  # fmt: skip
SHARES = {"training states": 0.5, "folders": 0.7, "tables": 1.5, "arguments": 1.5}


def cases(entry: str, numbers: Iterator[int] | range, seed: int, place: Path) -> Iterator[tuple[int, str, str, str]]:
    """Number, what it is, outcome and last line of every case; each in a folder of its own, which is then removed."""
    here = os.getcwd()
    for number in numbers:
        folder = place / f"{number}"
        folder.mkdir()
        os.chdir(folder)
        try:
            what, do, must, right = ENTRIES[entry](random.Random(f"{seed} {entry} {number}"), folder)  # no secrets  # nosec B311
            yield number, what, *judge(do, must, right)
        finally:
            os.chdir(here)
            shutil.rmtree(folder, ignore_errors=True)


def findings(entry: str, number: int, seed: int, place: Path) -> tuple[Counter, list[str]]:
    """Outcomes of the first cases of an entry, counted, and a line for each finding."""
    place.mkdir(parents=True, exist_ok=True)
    counted, found = Counter(), []
    for case, what, outcome, said in cases(entry, range(number), seed, place):
        counted[outcome] += 1
        if outcome not in (READ, REFUSED):
            found.append(f"{entry} {case}: {outcome}: {what!a}: {said.strip()[-600:]}")
    return counted, found


def line(entry: str, counted: Counter) -> str:
    return f"{entry:20} {counted.total():5,}: {', '.join(f'{n:,} {outcome}' for outcome, n in counted.most_common())}"


def main(*given: str) -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if given and not given[0].isdecimal():
            for case in cases(given[0], range(int(given[1]), int(given[1]) + 1), 0, Path(folder)):
                print(*case, sep="\n")
            return 0
        number, seed, total = int(given[0]) if given else 100, int(given[1]) if len(given) > 1 else 0, Counter()
        for entry in ENTRIES:
            counted, found = findings(entry, round(number * SHARES.get(entry, 1)), seed, Path(folder, entry))
            print(line(entry, counted))
            print(*found, sep="\n", end="\n" if found else "", flush=True)
            total += counted
        print(line("all", total))
        return int(bool(total.keys() - {READ, REFUSED}))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
