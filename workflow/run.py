"""``python -m workflow.run ACTION``: the work of ``make ACTION``.

Make passes its variables by the environment, so that no shell reads them. Before anything starts, this module checks each
one with the standard library alone.
"""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Container, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from serlib import files
from serlib.engine.command import INTERRUPTED, RESUMES
from serlib.engine.plain import read_json, write_json
from workflow.files import copy
from workflow.graph import Settings, lock, number, settings, stop

GRAPH = ("CORPUS", "DATA", "SCHEDULE", "SEED", "THREADS", "CHANNEL")
OTHERS = ("CORES", "V", "PYTHON", "PIP_ARGS", "BENCH")
MOST_CORES = 4096
NEVER = f"{os.pathsep}${{}}"  # venv refuses the first character, setuptools takes the others for variables
PROFILE = ("--profile", "none", "--workflow-profile", "workflow/profiles/default")  # not the one of SNAKEMAKE_PROFILE
# The book, the mark that it was rendered, and the digests of its files after the last build.
HTML, RENDERED, MADE = Path("_build/html"), Path("_build/.rendered_by"), Path("_build/.made.json")


def check(environment: Mapping[str, str]) -> tuple[Settings, str]:
    """The settings of the graph and the number of cores; ends with one line if a value is invalid."""
    folder = str(Path.cwd())
    if refused := [character for character in folder if character in NEVER or not character.isprintable()]:
        stop(
            f"the folder {folder!r}: Python's installer cannot work below a folder with {refused[0]!r} in its name: rename it"
        )
    existing = (name for name in (".", ".snakemake", "build", "_build") if Path(name).exists())
    if unwritable := [name for name in existing if not os.access(name, os.W_OK)]:
        stop(
            f"{Path(unwritable[0]).resolve()} cannot be written to: a build installs and writes there; copy the checkout"
        )
    _, _, overrides = environment.get("MAKEFLAGS", "").partition("-- ")
    for name in re.findall(r"(?:^|(?<!\\)\s)([A-Za-z_]\w*):{0,3}[+?]?=", overrides):
        if name not in (*GRAPH, *OTHERS):
            stop(f"{name} is none of the variables {', '.join((*GRAPH, *OTHERS))}")
    cores = environment.get("CORES") or "all"
    if cores != "all":
        cores = str(number("CORES", cores, 1, MOST_CORES))
    if environment.get("V") not in (None, "", "0", "1"):
        stop(f"V={environment['V']!r} is neither 0 nor 1")
    return settings({name.lower(): environment[name] for name in GRAPH if environment.get(name)}), cores


def graph(*targets: str, chosen: Mapping[str, object], cores: str) -> None:
    """Run the graph up to the targets, or end with exit status 1."""
    from snakemake import cli
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    from workflow import line as logger

    LoggerPluginRegistry().register_plugin("line", logger)
    os.environ["V"] = os.environ.get("V") or "0"  # the steps, in a shell, read it too
    verbose = os.environ["V"] == "1"
    line = () if verbose else ("--logger", "line", "--quiet", "all")
    with TemporaryDirectory() as folder:
        file = Path(folder, "config.json")  # --config would take a name of digits for a number
        file.write_text(json.dumps(chosen), encoding="utf-8")
        arguments = [*PROFILE, *line, "--cores", cores, "--configfile", str(file), "--", *targets]
        messages = io.StringIO()
        try:
            with redirect_stderr(sys.stderr if verbose else messages):
                parser, options = cli.parse_args(arguments)
        except SystemExit:
            stop(messages.getvalue().strip().rpartition("\n")[2])
        previous = signal.signal(signal.SIGINT, interrupt)
        try:
            with lock():
                if "book" in targets:
                    forget_changed()
                done = cli.args_to_api(options, parser)
                if done and "book" in targets:
                    write_json(book_files(), MADE)
        except KeyboardInterrupt:
            done = False
        finally:
            signal.signal(signal.SIGINT, previous)
        if logger.LogHandler.interrupted:
            print(f"serlib: interrupted; {RESUMES}", file=sys.stderr)
            raise SystemExit(INTERRUPTED)
        if not done:
            raise SystemExit(1)


def book_files() -> dict[str, str]:
    """The SHA-256 of every file of the book."""
    return {str(path): files.sha256(path) for path in sorted(HTML.rglob("*")) if path.is_file()}


def forget_changed() -> None:
    """If a file of the book changed since the last build, delete the files that mark the book as up to date."""
    try:
        digests = read_json(MADE)
    except FileNotFoundError:
        return
    except ValueError:
        digests = {"": ""}
    current = book_files()
    if any(current.get(name) != digest for name, digest in digests.items()):
        for path in (RENDERED, HTML / "index.html", HTML / "data/croissant.json"):
            path.unlink(missing_ok=True)


def interrupt(*_: object) -> NoReturn:
    from workflow.line import LogHandler

    LogHandler.interrupted = True  # steps that end from now on are not reported as failures
    raise KeyboardInterrupt


def keep(corpus: str, asked: Container[str] | None = None) -> None:
    """Copy the records of runs on a corpus, and the probes of their networks, into ``results/``, to be committed.

    ``asked``: only those that stand so below a folder of runs, and none that is there already.
    """
    for source, target in (("build/runs", "results"), ("build/probes", "results/probes")):
        for path in files.below(f"{source}/recordings/{corpus}", ".json"):
            kept = Path(target, path.relative_to(source))
            try:
                if asked is None or (path.relative_to(source).as_posix() in asked and not kept.exists()):
                    copy(path, kept)
            except OSError as error:
                stop(f"{error.filename}: {error.strerror}; what was there before is whole")


def python(*arguments: str) -> None:
    if status := subprocess.run((sys.executable, *arguments)).returncode:
        raise SystemExit(status)


def end_with(parent: int) -> None:
    """End this process when make has been killed; the graph's guard then ends the processes that it started."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(action: str) -> None:
    chosen, cores = check(os.environ)
    if action == "check":
        return
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    options = {"chosen": chosen.given(), "cores": cores}
    if action == "read":
        if chosen.given():
            stop(f"make read shows what is committed: {', '.join(chosen.given()).upper()} is for make book")
        from workflow import read

        if read.main(Path(), read.STAGE):
            raise SystemExit(1)
        print(f"The book, as committed: {(read.STAGE / '_build/html/index.html').resolve()}")
        return
    if action in ("evidence", "results") and not (chosen.corpus and chosen.data):
        stop(f"name the corpus, as in make {action} CORPUS=emodb DATA=data/emodb")
    if action == "notebooks":
        graph("runs", **options)
        for notebook in map(str, files.below("notebooks", ".ipynb")):
            python("-m", "workflow.execute", notebook, notebook)
        python("-m", "workflow.cards")
    elif action == "bench":
        graph("build/synthetic/emodb/images", chosen={}, cores=cores)
        python("-m", "benchmarks.cpu", *shlex.split(os.environ.get("BENCH", "")))
    elif action == "results":
        graph("runs", **options)
        keep(chosen.corpus)
        table, out = f"build/recordings/{chosen.corpus}/corpus.json", f"results/splits/{chosen.corpus}"
        python("-m", "serlib", "audit", chosen.corpus, f"--data={chosen.data}", "--table", table, "--out", out)
    elif action == "evidence":
        from companion import experiments
        from serlib import config

        images = config.Features(channel=chosen.channel).images
        for rank, experiment in enumerate(experiments.experiments_of(chosen.corpus), 1):
            python("-m", "workflow.run", f"evidence_{rank}")
            keep(chosen.corpus, set(experiment.places(chosen.corpus, images)))
    else:
        graph(action, **options)
        if action == "book":
            print(f"The book: {Path('_build/html/index.html').resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
