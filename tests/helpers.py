"""Small corpora of noise under real file names, enough to read, train on and tell apart; and a small record."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from serlib import config
from serlib.data import corpora
from serlib.records import Part, Record
from studies import variants


def write_wav(path: Path, seconds: float = 0.5, seed: int = 0, rate: int = 16_000) -> Path:
    """Noise as 16-bit PCM, the same bytes for the same arguments; another seed gives other bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, noise, rate, subtype="PCM_16")
    return path


def tiny_emodb(
    folder: Path,
    speakers: Iterable[str] = ("03", "08", "09", "10", "11"),
    codes: Iterable[str] = "WT",
    texts: Iterable[str] = ("a01",),
    seconds: float = 0.5,
) -> Path:
    """Every speaker says every text in every emotion, in EmoDB's layout; no two files are alike. Returns ``folder``."""
    names = [f"{speaker}{text}{code}a.wav" for speaker in speakers for text in texts for code in codes]
    for seed, name in enumerate(names):
        write_wav(folder / "wav" / name, seconds, seed)
    return folder


@cache
def resolved(run: str, schedule: str = "paper", seed: int = 0, classes: int = 2) -> config.RunConfig:
    """A run's configuration; one that is no longer in the code as the student's, under its own names."""
    known = run in variants.NAMES, schedule in (*config.SCHEDULES, variants.BASELINE)
    found = variants.resolve(
        run if known[0] else "student-alone", schedule if known[1] else "paper-bf16", seed, classes
    )
    return replace(found, name=run, schedule=found.schedule if known[1] else schedule)


@cache
def published(corpus: str) -> str:
    """The fingerprint of a corpus as published; of a corpus whose hashes are not known, any."""
    return min(corpora.published_fingerprints(corpus), default="f" * 64)


def tiny_record(**change: Any) -> Record:
    """A record of five utterances: three of four right in the training set, the one held out wrong."""
    values = {
        "corpus": "emodb",
        "speech": "recordings",
        "emotions": ("anger", "sadness"),
        "fingerprint": published(change.get("corpus", "emodb")),
        "excluded": (("03a01Xa.wav", "digital silence"),),
        "notes": ("anger: 3 utterances, published 127",),
        "protocol": "random",
        "fold": 2,
        "split": "5" * 64,
        "configuration": config.resolve("student-pooled", "paper", 7, 2),
        "teacher": "a" * 64,
        "curves": {"matching": {"loss": (0.5, 0.25)}, "transfer": {"loss": (0.3, 0.1), "matching": (0.2, 1 / 3)}},
        "parts": {
            "train": Part(("a.wav", "b.wav", "c.wav", "d.wav"), ("03", "03", "08", "08"), (0, 1, 0, 1), (0, 1, 0, 0)),
            "test": Part(("e.wav",), ("08",), (1,), (0,)),
        },
        "provenance": {"date": "2026-01-31", "seconds": 1.5, "commit": "c" * 40, "dirty": False},
    }
    return Record(**values | change)


SPEAKERS = ("03", "08", "09", "10", "11", "12")


def outcome(
    run: str,
    right: dict[str, int],
    protocol: str = "leave-one-speaker-out",
    schedule: str = "paper",
    seed: int = 0,
    trained: bool = True,
    **change: Any,
) -> list[Record]:
    """A record a fold of a corpus of six speakers of four utterances, of which ``right[speaker]`` are named rightly."""
    records = []
    for fold, (speaker, count) in enumerate(right.items()):
        true = (0, 1, 0, 1)
        predicted = tuple(label if i < count else 1 - label for i, label in enumerate(true))
        test = Part(tuple(f"{speaker}{i}.wav" for i in range(4)), (speaker,) * 4, true, predicted)
        others = tuple(other for other in SPEAKERS if other != speaker)
        train = Part(others, others, (0,) * len(others), (0 if trained else 1,) * len(others))
        about = {
            "notes": (),
            "protocol": protocol,
            "fold": fold,
            "split": f"{fold}" * 64,
            "configuration": resolved(run, schedule, seed),
            "parts": {"train": train, "test": test},
            "curves": {},
        }
        records.append(tiny_record(**about | change))
    return records


def watched(log: Path, *command: str | Path) -> tuple[str | Path, ...]:
    """A command whose connections, and those of all that it starts, are written to a log where strace is installed."""
    options = ("-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", log)
    return ("strace", *options, *command) if shutil.which("strace") else command


def sent(log: Path) -> list[str]:
    """The connections to other machines, and the questions to a resolver, that a log of :func:`watched` holds."""
    lines = log.read_text().splitlines() if log.exists() else []
    asked = [line for line in lines if "AF_INET" in line]
    return [line for line in asked if "htons(53)" in line or not re.search(r'"(127\.|::1")', line)]


def failures(check: Callable[[Any], None], cases: Iterable[Any]) -> dict[str, str]:
    """The cases in which ``check`` fails, each with its reason; all of them are tried."""
    found = {}
    for case in cases:
        try:
            check(case)
        except AssertionError as error:
            found[str(case)] = str(error)
    return found


# Imports what a dry run needs once, Snakemake's plugins too; every case is a fork of it. A case is a folder, and the
# arguments.
DRY_RUNS = """
import gc
gc.disable()  # each plan is a process of a second
import json, os, sys
from pathlib import Path
import pandas
from snakemake import cli
from companion import experiments
import workflow.graph

PROFILE = ("--cores", "1", "--dry-run")
cli.parse_args(PROFILE)
for number, (folder, arguments) in enumerate(json.loads(sys.stdin.read())):
    child = os.fork()
    if not child:
        failed = True
        try:
            os.chdir(folder)
            out = os.open(f"{sys.argv[1]}/{number}", os.O_CREAT | os.O_WRONLY)
            os.dup2(out, 1)
            os.dup2(out, 2)
            profile = () if "--workflow-profile" in arguments else ("--workflow-profile", "workflow/profiles/default")
            parser, options = cli.parse_args([*profile, *PROFILE, *arguments])
            failed = not cli.args_to_api(options, parser)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def dry_runs(out: Path, *cases: tuple[Path, tuple[str, ...]]) -> list[tuple[int, str]]:
    """Snakemake's exit status and words for each case: a folder and the arguments. ``out`` must be empty."""
    given = json.dumps([(str(folder), arguments) for folder, arguments in cases])
    command = (sys.executable, "-c", DRY_RUNS, str(out))
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[1], input=given, capture_output=True, text=True, check=True
    )
    return [(int(status), (out / str(i)).read_text()) for i, status in enumerate(ended.stdout.split())]


def jobs(said: str) -> set[str]:
    """The messages of the jobs that Snakemake plans."""
    return set(re.findall(r"^Job \d+: (.*)$", said, re.MULTILINE))


def evidence_of(folder: Path, *found: Record) -> Any:
    """The evidence of a checkout that holds these records and nothing else."""
    from companion import evidence
    from serlib import records

    for record in found:
        records.write(record, folder / "results/recordings" / record.location.partition("/")[2])
    return evidence.read(folder)
