"""The common part of every command line: its parser, its exit status, one line for what the user can mend."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from serlib.errors import SerlibError, printable

LAUNCHER = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
LAUNCHER += ("SLURM_PROCID", "SLURM_LOCALID", "JSM_NAMESPACE_RANK")
# Messages of PyTorch's allocators on a processor and on an accelerator, of a pool that lost a process, of the loader.
NO_MEMORY = "out of memory|allocate memory|bad_alloc|terminated abruptly|start new thread|to map segment"
INTERRUPTED = 130  # exit status of a shell command ended by Ctrl-C
RESUMES = "the same command goes on where this one stopped"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, whatever was given; help that cannot be written is an error."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        print(end="", flush=True)
        super().exit(status, message and f"{printable(message.rstrip())}\n")


def commands(package: str, description: str) -> tuple[Parser, Callable[..., Parser]]:
    """The parser of ``python -m package``, and a function that adds a command to it.

    That function takes a name, what runs, a summary and functions that add shared options; named values become defaults.
    """
    parser = Parser(f"python -m {package}", description=description)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, summary: str, *shared: Callable, **defaults: Any) -> Parser:
        sub = subparsers.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=run, **defaults)
        for add_options in shared:
            add_options(sub)
        return sub

    return parser, command


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Run the command that a parser finds. Returns the exit status; what the user can mend is said in one line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 loses no line
    try:
        options = parser.parse_args(arguments)
        _check_launcher()
        options.command(options)
        print(end="", flush=True)  # while a reader that has gone can still be caught; stdout may be closed
        return 0
    except (KeyboardInterrupt, MemoryError, RuntimeError, ImportError, SerlibError, OSError) as error:
        try:
            print(end="", flush=True)
        except OSError:  # Python would try again at its end
            error.filename = "standard output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader of a pipe has gone, as in `| head`
            return 0
        message = _message(error)
        if message is None:
            raise
        print(printable(f"{parser.prog.split()[-1]}: {message}"), file=sys.stderr)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _message(error: BaseException) -> str | None:
    """One line for what the user can mend; None for a bug, which keeps its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {RESUMES}"
    if isinstance(error, SerlibError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or error}" if error.filename else str(error.strerror or error)
    no_memory = isinstance(error, MemoryError) or re.search(NO_MEMORY, str(error))
    return f"not enough memory for this; {RESUMES}" if no_memory else None


def _check_launcher() -> None:
    """Raises SerlibError for a variable of a launcher that is no number: libraries read it while they are imported."""
    for name in LAUNCHER:
        if not os.environ.get(name, "0").isdecimal():
            raise SerlibError(f"{name}={os.environ[name]!r} is no whole number: torchrun or Slurm set it; unset {name}")


def is_first() -> bool:
    """Whether this process writes and prints: the first of torchrun's, and any that torchrun did not start."""
    return "GROUP_RANK" not in os.environ or os.environ["RANK"] == "0"
