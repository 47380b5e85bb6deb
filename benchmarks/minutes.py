"""``python -m benchmarks.minutes [REVISION ...] [--repeats 3] [--edits]``: how long clones of this repository take.

Each round clones every revision (default: the last commit) anew. The revisions take turns, so that a slow hour affects all
of them. A round times ``make book``, a second ``make book``, the tests, nbval and, if the revision has it, ``make read``.
``--edits`` also times ``make book`` after one line was added to a page, a notebook, a module of the telling and one of the
method. Installation is not measured: clones use the packages installed here. Prints medians, smallest and largest. No other
program may be at work: the load before every step is printed too.
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
EDITED = ("book/index.md", "notebooks/fig5_student.ipynb", "companion/text.py", "serlib/model.py")
MAKE = ("make", "--no-print-directory", "-o", ".venv/installed", "-o", ".venv-read/installed")


def clone(revision: str, folder: Path) -> Path:
    """Clone a revision, with environments that use the packages and commands of this one."""
    subprocess.run(("git", "clone", "-q", ROOT, folder), check=True)
    subprocess.run(("git", "-C", folder, "checkout", "-q", revision), check=True)
    for name in (".venv", ".venv-read"):
        subprocess.run((sys.executable, "-m", "venv", "--without-pip", folder / name), check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / name / "lib" / version / "site-packages"
        (packages / "here.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        for command in entry_points(group="console_scripts"):
            script, (module, _, function) = folder / name / "bin" / command.name, command.value.partition(":")
            script.write_text(
                f"#!{script.with_name('python')}\nimport {module}, sys\nsys.exit({module}.{function}())\n"
            )
            script.chmod(0o755)
        (folder / name / "installed").touch()
    return folder


def recipe(makefile: str, target: str) -> list[str]:
    """The commands of a target of the Makefile, without make's marks and variables."""
    (lines,) = re.findall(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", makefile, re.MULTILINE)
    commands = [line.strip().removeprefix("@") for line in lines.splitlines()]
    return [
        command.replace("$(BIN)", ".venv/bin").replace("$(RUN)", ".venv/bin/python -m workflow.run")
        for command in commands
    ]


def steps(makefile: str, edits: bool) -> Iterator[tuple[str, str, str]]:
    """For each step its name, the file that is edited before it ("": none), and its command."""
    book = " ".join((*MAKE, "book"))
    yield "make book", "", book
    yield "make book again", "", book
    for file in EDITED if edits else ():
        yield f"make book, {file} edited", file, book
    _, tests, nbval = recipe(makefile, "test")
    yield "tests", "", tests
    yield "nbval", "", nbval
    if re.search(r"^read:", makefile, re.MULTILINE):
        yield "make read", "", " ".join((*MAKE, "read"))


def timed(folder: Path, command: str) -> float:
    """Run a command and return its seconds; if it fails, end with the last part of its output."""
    dropped = ("MAKEFLAGS", "MAKELEVEL", "PYTHON")  # the Makefile, too, hides Python's variables from its recipes
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    start = time.perf_counter()
    process = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{command} failed in {folder}:\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
    return time.perf_counter() - start


def measure(revisions: Sequence[str], repeats: int, edits: bool) -> dict[tuple[str, str], list[float]]:
    """The seconds of every round, by step and revision."""
    seconds_by_step: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(repeats):
        for revision in revisions:
            with TemporaryDirectory() as parent:
                folder = clone(revision, Path(parent, "clone"))
                makefile = (folder / "Makefile").read_text(encoding="utf-8")
                for name, file, command in steps(makefile, edits):
                    if file:
                        with (folder / file).open("a", encoding="utf-8") as text:
                            text.write("\n")
                    load = os.getloadavg()[0]
                    seconds_by_step[name, revision].append(seconds := timed(folder, command))
                    print(f"round {number + 1}, {revision}, {name}: {seconds:.1f} s (load {load:.1f})", file=sys.stderr)
    return seconds_by_step


def table(seconds_by_step: Mapping[tuple[str, str], Sequence[float]], revisions: Sequence[str]) -> str:
    """A line for each step: each revision's median in seconds, with smallest and largest in brackets."""
    lines = [["seconds", *revisions]]
    for name in dict.fromkeys(name for name, _ in seconds_by_step):
        times = [seconds_by_step.get((name, revision), ()) for revision in revisions]
        lines.append([name, *(f"{median(t):.1f} ({min(t):.1f} to {max(t):.1f})" if t else "-" for t in times)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minutes", description=__doc__.split("\n\n")[0])
    parser.add_argument("revisions", nargs="*", default=["HEAD"], metavar="REVISION")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--edits", action="store_true", help="also after one edited file of each kind")
    options = parser.parse_args(arguments)
    print(table(measure(options.revisions, options.repeats, options.edits), options.revisions))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
