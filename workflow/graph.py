"""What the graph is made of: its settings checked, the code that a step depends on, what a folder of recordings holds."""

import ast
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from companion import parameters
from serlib import config
from serlib.data import corpora, facts
from serlib.data.corpora import LETTERS, NAME
from serlib.errors import SerlibError
from serlib.files import sha256

PACKAGES = ("serlib", "studies", "companion", "workflow")
LIMITS = {"seed": (0, 2**32 - 1), "threads": (1, 256), "channel": (0, 255)}
ROOT = Path(__file__).parents[1]
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none
MARK = "SERLIB_BUILD"  # environment variable by which the guard knows what a build has started


def stop(message: str) -> NoReturn:
    """End with one line and exit status 1."""
    print(f"serlib: {message}", file=sys.stderr)
    raise SystemExit(1)


@dataclass(frozen=True)
class Settings:
    """What a build is made of; "" is the default."""

    corpus: str = ""
    data: str = ""
    schedule: str = ""
    seed: int = 0
    threads: int = 1  # of one run: runs side by side keep cores busier than threads do
    channel: int = 0  # of recordings with several, counted from 1; 0: their mean

    def given(self) -> dict[str, object]:
        """The settings that are not the default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def settings(given: Mapping[str, object]) -> Settings:
    """The settings of a build, from the command line or Snakemake's; ends with one line if one of them cannot be."""
    known = [field.name for field in fields(Settings)]
    for name, value in given.items():
        if name not in known:
            stop(f"{name} is none of the settings {', '.join(known)}")
        if name in ("corpus", "data", "schedule") and not isinstance(value, str | None):
            stop(
                f"{name}={value!r} was not read as a text: use make {name.upper()}=..., or a --configfile that quotes it"
            )
    corpus, data, schedule = (given.get(name) or "" for name in ("corpus", "data", "schedule"))
    for name, value in (("CORPUS", corpus), ("SCHEDULE", schedule)):
        if value and not re.fullmatch(NAME, value):
            stop(f"{name}={value!r}: a name is made of {LETTERS}")
    if not data.isprintable():
        stop(f"DATA={data!r} holds a character that cannot be printed: rename it, or link to it by another name")
    numbers = {
        name: number(name.upper(), given.get(name), *limits)
        for name, limits in LIMITS.items()
        if given.get(name) is not None
    }
    made = Settings(corpus, data, schedule, **numbers)
    check_settings(made)
    return made


def number(name: str, value: object, least: int, most: int) -> int:
    """A whole number within limits; ends with one line if it is none."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,10}", str(value)) or not least <= int(str(value)) <= most:
        stop(f"{name}={value!r} is no whole number from {least} to {most}")
    return int(str(value))


def check_settings(asked: Settings) -> None:
    """End with one line if what a build was asked for cannot be."""
    corpus, data, schedule = asked.corpus, asked.data, asked.schedule
    table = data.lower().endswith(".csv")
    if corpus and not data:
        stop(f"CORPUS={corpus} needs DATA=folder of the recordings (or DATA=table.csv for a corpus of your own)")
    if data and not corpus:
        stop("DATA is given without CORPUS: say which corpus it is, as in CORPUS=emodb")
    if asked.channel and not corpus:
        stop(f"CHANNEL={asked.channel} is given without CORPUS: synthetic speech has one channel")
    if data and not (Path(data).is_file() if table else Path(data).is_dir()):
        found = (
            "not a file"
            if table and Path(data).exists()
            else "not a folder"
            if Path(data).exists()
            else "no such file or folder"
        )
        stop(f"DATA={data}: {found}")
    if table and corpus.lower() in facts.CORPORA:
        stop(f"CORPUS={corpus}: a table of your own cannot be called so: give the corpus another name")
    if corpus and corpus not in facts.CORPORA and not table:
        stop(f"CORPUS={corpus} is none of {', '.join(facts.CORPORA)}; for your own, give DATA=table.csv")
    if schedule and schedule not in config.SCHEDULES:
        stop(f"SCHEDULE={schedule} is none of {', '.join(config.SCHEDULES)}")


def guard() -> None:
    """Start a process that outlives this one, to end what it leaves running when killed."""
    os.environ[MARK] = uuid4().hex  # what is started from here on carries it
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = str(ROOT)  # every step imports this checkout, whatever the user's Python is told
    command = (sys.executable, "-m", "workflow.guard")
    options = {"cwd": ROOT, "start_new_session": True}
    guard.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, **options)


@contextmanager
def lock() -> Iterator[None]:
    """Hold this folder's lock within the block, however the process ends; end with one line if another build has it."""
    import fcntl

    try:
        Path(".snakemake").mkdir(exist_ok=True)
        held = os.open(".snakemake/build", os.O_RDWR | os.O_CREAT)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop("another build is at work in this folder: wait until it ends")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            stop(f"{error.filename or '.snakemake/build'}: {error.strerror}: a build writes into its folder")
    try:
        yield
    finally:
        os.close(held)


def code(*sources: str) -> list[str]:
    """The given files and every module of the packages that they import, directly or not, in functions as well.

    A rule names the modules of its step, not the command, which imports every step. A notebook counts with its own
    imports, and is itself not among them: its rule names it.
    """
    found: set[str] = set()
    pending = list(sources)
    while pending:
        source = pending.pop()
        if source not in found:
            found.add(source)
            pending += imports(source)
    return sorted(file for file in found if not file.endswith(".ipynb"))


def check_page(notebook: str, given: Mapping[str, object]) -> None:
    """End with one line if a notebook does not take what this build gives it, before anything is trained."""
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError):
        stop(f"{notebook}: no notebook; `git checkout` restores it")
    (declared,) = ("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    try:
        parameters.check(declared, [f"{name} = {value!r}" for name, value in given.items()])
    except SerlibError as error:
        stop(f"{notebook}: {error}")


@cache
def imports(source: str) -> frozenset[str]:
    """Files of the packages that one file imports anywhere in it, a notebook in any of its cells; the data beside it."""
    if not source.endswith((".py", ".ipynb")):
        return frozenset()
    text = Path(source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell) for cell in cells)
    files = {name.replace(".", "/") + ".py" for name in names(text) if name.split(".")[0] in PACKAGES}
    files |= {str(Path(source).with_name(name)) for name in re.findall(r'"([a-z0-9_-]+\.(?:toml|csv|npz|md))"', text)}
    return frozenset(file for file in files if Path(file).exists())


def names(text: str) -> set[str]:
    """Every module, or name of one, that a program imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def listing(data: str) -> str:
    """A digest over names and contents of the recordings, so that an added or changed file is noticed."""
    try:
        files = [Path(data), *corpora.recordings(Path(data))]
    except corpora.CorpusError:  # the check of the recordings says what is wrong with the table
        files = [Path(data)]
    return digest(str(path) for path in files if path.is_file())


def digest(files: Iterable[str]) -> str:
    """SHA-256 over names and contents of files, whatever their times."""
    lines = (f"{content(file, Path(file).stat().st_ctime_ns)} {file}\n" for file in sorted(set(files)))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


@cache
def content(file: str, changed: int) -> str:
    """SHA-256 of a file's bytes, computed once; ``changed`` is when they were last changed."""
    return sha256(Path(file))
