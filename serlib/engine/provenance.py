"""Where, when and by what code a run was made."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


def library_versions() -> dict[str, str]:
    """The versions on which predictions may depend."""
    return {name: metadata.version(name) for name in ("torch", "torchaudio", "lightning-fabric", "numpy")}


def describe(device: str, threads: int, seconds: float) -> dict[str, Any]:
    """Where, when and by what code something was made, on how many CPU threads, in how many seconds of elapsed time."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
        "device": device,
        "threads": threads,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **library_versions(),
        **commit(Path(__file__).parents[2]),
    }


def git(folder: str | Path, *arguments: str) -> str | None:
    """The answer of git in the checkout whose top level is ``folder``; None if it is none, or git fails or is missing.

    A repository around ``folder`` is another project's, and so may be one that GIT_DIR names, as in a hook.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}

    def ask(*arguments: str) -> str:
        settings = ("-c", "core.fileMode=false", "-c", "core.excludesFile=")
        command = ("git", "--no-optional-locks", *settings, "-C", folder, *arguments)
        ran = subprocess.run(command, env=environment, capture_output=True, check=True)
        return os.fsdecode(ran.stdout).removesuffix("\n")

    try:
        is_top = Path(ask("rev-parse", "--show-toplevel")).resolve() == Path(folder).resolve()
        return ask(*arguments) if is_top else None
    except (OSError, subprocess.CalledProcessError):
        return None


def commit(folder: str | Path) -> dict[str, Any]:
    """The commit of a checkout ("unknown" outside one), and whether the files of the method differ from the commit."""
    head = git(folder, "rev-parse", "HEAD")
    changed = git(folder, "status", "--porcelain", "--untracked-files=normal", "--", "serlib", "studies")
    files = git(folder, "ls-files", "-vco", "--", "serlib", "studies") or ""
    hidden = re.search(r"(?m)^[a-zS] |^\? .*\.py$", files)  # files that git was told to ignore
    return {"commit": head or "unknown", "dirty": not head or changed != "" or bool(hidden)}
