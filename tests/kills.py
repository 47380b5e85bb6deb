"""``python -m tests.kills FOLDER [KILLS [SECONDS]]``: a build that is killed at random moments ends as one that never was.

Two clones of this checkout's last commit are built below FOLDER, from synthetic speech to the book, on one core and with
two epochs a stage: one undisturbed, one killed KILLS times (50), each after at most SECONDS (60) of computing, so that a
busy machine gets as far as an idle one. After a kill it is started again; where it ends
before, it is removed and made anew. Each kill takes make's whole group, make alone or the build alone; nothing may go on
computing. At the end runs, weights, images, probes, tables and outputs of notebooks are compared. Takes hours.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
MAKE = ("make", "--no-print-directory", "-o", ".venv/installed")


def clone(folder: Path) -> Path:
    if not folder.exists():
        subprocess.run(("git", "clone", "-q", ROOT, folder), check=True)
        (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    return folder


def make(folder: Path, target: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CORES": "1"}
    with (folder / f"{target}.log").open("ab") as log:
        return subprocess.Popen((*MAKE, target), cwd=folder, env=environment, stderr=log, start_new_session=True)


def wait(process: subprocess.Popen, seconds: float | None) -> int | None:
    """The exit status of a build; None if it has computed for ``seconds`` before it ended."""
    while seconds is not None and process.poll() is None:
        spent = 0.0
        root = psutil.Process(process.pid)
        for member in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += sum(member.cpu_times()[:4])  # its own, and of the children that it has waited for
        if spent > seconds:
            return None
        time.sleep(0.2)
    return process.wait()


def kill(process: subprocess.Popen, whom: str) -> None:
    """Kill the group of ``make``, ``make`` itself or the build that it started."""
    started = psutil.Process(process.pid).children()
    if whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "build" and started:
        started[0].kill()
    else:
        process.kill()
    process.wait()


def at_work(folder: Path) -> list[psutil.Process]:
    """Processes whose working folder is ``folder`` or below it."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [p for p in found if p.pid != os.getpid() and Path(p.info["cwd"] or "/").is_relative_to(folder)]


def digests(folder: Path) -> dict[str, str]:
    """By path, what a build made: whole files, but of records all except where they were made, of notebooks the
    outputs that do not tell how long a run took. What libraries keep for themselves, as their list of fonts, is none."""
    from serlib import records

    found = {}
    for path in sorted((folder / "build").rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith("build/home/"):
            continue
        if path.suffix == ".json" and name.startswith("build/runs"):
            found[name] = records.read(path).result
        elif path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            steady = [cell for cell in cells if "nbval-ignore-output" not in cell["metadata"].get("tags", [])]
            outputs = json.dumps([cell.get("outputs") for cell in steady]).replace(str(folder), "")
            found[name] = hashlib.sha256(outputs.encode()).hexdigest()
        elif path.suffix in (".json", ".safetensors", ".npy", ".csv", ".wav"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main(where: str, kills: str = "50", longest: str = "60") -> int:
    left, draw, counts, rounds = int(kills), random.Random(0), Counter(), 0  # no secrets  # nosec B311
    base = Path(where).resolve()
    whole, killed = clone(base / "whole"), clone(base / "killed")
    if make(whole, "book").wait():
        return print(f"the undisturbed build failed: {whole}/book.log") or 1
    expected = digests(whole)
    while True:
        process = make(killed, "book")
        status = wait(process, draw.uniform(0, float(longest)) if left else None)
        if status:
            return print(f"a build failed: {killed}/book.log") or 1
        if status is None:
            kill(process, whom := draw.choice(("group", "make", "build")))
            counts[whom] += 1
            left -= 1
            for _ in range(150):
                if not (others := at_work(killed)):
                    break
                time.sleep(0.1)
            else:
                return print(f"still at work after a kill of {whom}: {others}") or 1
            done = sum(1 for _ in (killed / "build/book/notebooks").glob("*.ipynb"))
            print(f"{int(kills) - left}: {whom}, {done} notebooks done", flush=True)
            continue
        rounds += 1
        found = digests(killed)
        differ = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        print(f"build {rounds}: {len(found):,} files, {len(differ)} differ: {differ[:20]}", flush=True)
        if differ or not left:
            return print(f"{counts.total()} kills: {dict(counts)}") or bool(differ)
        for name in ("build", "_build", ".snakemake"):
            shutil.rmtree(killed / name)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
