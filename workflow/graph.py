"""The parts of the graph: checked settings, the code that a step depends on, and digests of recordings and files."""

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
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of file systems without locks
MARK = "SERLIB_BUILD"  # environment variable by which the guard recognises processes of a build


def stop(message: str) -> NoReturn:
    """End with one line and exit status 1."""
    print(f"serlib: {message}", file=sys.stderr)
    raise SystemExit(1)


@dataclass(frozen=True)
class Settings:
    """The settings of a build; "" is the default."""

    corpus: str = ""
    data: str = ""
    schedule: str = ""
    seed: int = 0
    threads: int = 1  # per run: several runs side by side keep cores busier than several threads
    channel: int = 0  # which channel of a recording is read, counted from 1; 0 takes the mean of all

    def given(self) -> dict[str, object]:
        """The settings that are not the default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def settings(values: Mapping[str, object]) -> Settings:
    """The settings of a build, from the command line or from Snakemake; ends with one line if one is invalid."""
    field_names = [field.name for field in fields(Settings)]
    for name, value in values.items():
        if name not in field_names:
            stop(f"{name} is none of the settings {', '.join(field_names)}")
        if name in ("corpus", "data", "schedule") and not isinstance(value, str | None):
            stop(
                f"{name}={value!r} was not read as a text: use make {name.upper()}=..., or a --configfile that quotes it"
            )
    corpus, data, schedule = (values.get(name) or "" for name in ("corpus", "data", "schedule"))
    for name, value in (("CORPUS", corpus), ("SCHEDULE", schedule)):
        if value and not re.fullmatch(NAME, value):
            stop(f"{name}={value!r}: a name is made of {LETTERS}")
    if not data.isprintable():
        stop(f"DATA={data!r} holds a character that cannot be printed: rename it, or link to it by another name")
    numbers = {
        name: number(name.upper(), values.get(name), *limits)
        for name, limits in LIMITS.items()
        if values.get(name) is not None
    }
    chosen = Settings(corpus, data, schedule, **numbers)
    check_settings(chosen)
    return chosen


def number(name: str, value: object, least: int, most: int) -> int:
    """A whole number within limits; ends with one line if the value is none."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,10}", str(value)) or not least <= int(str(value)) <= most:
        stop(f"{name}={value!r} is no whole number from {least} to {most}")
    return int(str(value))


def check_settings(chosen: Settings) -> None:
    """End with one line if the chosen settings are invalid or do not fit together."""
    corpus, data, schedule = chosen.corpus, chosen.data, chosen.schedule
    table = data.lower().endswith(".csv")
    if corpus and not data:
        stop(f"CORPUS={corpus} needs DATA=folder of the recordings (or DATA=table.csv for a corpus of your own)")
    if data and not corpus:
        stop("DATA is given without CORPUS: say which corpus it is, as in CORPUS=emodb")
    if chosen.channel and not corpus:
        stop(f"CHANNEL={chosen.channel} is given without CORPUS: synthetic speech has one channel")
    if data and not (Path(data).is_file() if table else Path(data).is_dir()):
        problem = (
            "not a file"
            if table and Path(data).exists()
            else "not a folder"
            if Path(data).exists()
            else "no such file or folder"
        )
        stop(f"DATA={data}: {problem}")
    if table and corpus.lower() in facts.CORPORA:
        stop(f"CORPUS={corpus}: a table of your own cannot be called so: give the corpus another name")
    if corpus and corpus not in facts.CORPORA and not table:
        stop(f"CORPUS={corpus} is none of {', '.join(facts.CORPORA)}; for your own, give DATA=table.csv")
    if schedule and schedule not in config.SCHEDULES:
        stop(f"SCHEDULE={schedule} is none of {', '.join(config.SCHEDULES)}")


def guard() -> None:
    """Start a process that outlives this one: if this one is killed, it ends the processes left running."""
    os.environ[MARK] = uuid4().hex  # every process started from now on inherits this mark
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = str(ROOT)  # every step imports this checkout, whatever the user's Python is told
    command = (sys.executable, "-m", "workflow.guard")
    options = {"cwd": ROOT, "start_new_session": True}
    guard.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, **options)


@contextmanager
def lock() -> Iterator[None]:
    """Hold this folder's lock within the block, and free it however the process ends.

    If another build holds the lock, end with one line.
    """
    import fcntl

    try:
        Path(".snakemake").mkdir(exist_ok=True)
        descriptor = os.open(".snakemake/build", os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop("another build is at work in this folder: wait until it ends")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            stop(f"{error.filename or '.snakemake/build'}: {error.strerror}: a build writes into its folder")
    try:
        yield
    finally:
        os.close(descriptor)


def code(*sources: str) -> list[str]:
    """The given files, and every module of the packages that they import, directly or indirectly, in functions too.

    A rule names the modules of its step, not the command, which imports every step. A notebook's imports are listed, but
    not the notebook itself: its rule names it.
    """
    files: set[str] = set()
    pending = list(sources)
    while pending:
        source = pending.pop()
        if source not in files:
            files.add(source)
            pending += imports(source)
    return sorted(file for file in files if not file.endswith(".ipynb"))


def check_page(notebook: str, values: Mapping[str, object]) -> None:
    """End with one line, before anything is trained, if a notebook does not take this build's parameters."""
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError):
        stop(f"{notebook}: no notebook; `git checkout` restores it")
    (declared,) = ("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    try:
        parameters.check(declared, [f"{name} = {value!r}" for name, value in values.items()])
    except SerlibError as error:
        stop(f"{notebook}: {error}")


@cache
def imports(source: str) -> frozenset[str]:
    """The package files that one file imports, anywhere in a module or in any cell of a notebook.

    The list includes data files beside the module, which it names as quoted strings.
    """
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
    """Every module that a program imports, and every name that it imports from one, as ``module.name``."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def listing(data: str) -> str:
    """A digest over names and contents of the recordings: it changes when a file is added or changed."""
    try:
        files = [Path(data), *corpora.recordings(Path(data))]
    except corpora.CorpusError:  # the check of the recordings reports the error in the table
        files = [Path(data)]
    return digest(str(path) for path in files if path.is_file())


def digest(files: Iterable[str]) -> str:
    """SHA-256 over names and contents of files; their time stamps do not count."""
    lines = (f"{content(file, Path(file).stat().st_ctime_ns)} {file}\n" for file in sorted(set(files)))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


@cache
def content(file: str, changed: int) -> str:
    """SHA-256 of a file's bytes, computed once per ``changed``, the time of the file's last change."""
    return sha256(Path(file))
