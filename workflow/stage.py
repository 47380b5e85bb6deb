"""``python workflow/stage.py ROOT STAGE``: the folder that Jupyter Book renders, all but the executed notebooks.

``STAGE/book`` is a copy of ``ROOT/book``; ``STAGE/_config.yml`` is ``ROOT/_config.yml`` with the numbers that the prose
uses and, if the checkout came from GitHub or GitLab, the buttons that lead back to it. The stage repeats the
repository's layout, so that a page's "edit" link names a file that exists. ``STAGE/notebooks`` is left alone.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from companion import prose
from serlib.files import atomic_write
from serlib.records import git

HOSTS = ("github.com", "gitlab.com")
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"


def main(root: Path, stage: Path) -> None:
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    given = os.environ.get("REPOSITORY_URL") or ""  # of the workflow that publishes
    address = repository(given or git(root, "config", "--local", "--get", "remote.origin.url") or "")
    if address:
        branch = git(root, "symbolic-ref", "--short", "HEAD") or "main"
        config["repository"] = {"url": address, "branch": branch, "path_to_book": ""}
        config["html"] |= {"use_repository_button": True, "use_edit_page_button": True}
        if urlsplit(address).hostname == "github.com":  # the stage has the repository's layout: the links name files
            config["launch_buttons"] = {"binderhub_url": BINDER, "colab_url": COLAB, "notebook_interface": "jupyterlab"}
    _copy(root / "book", stage / "book")
    _copy(root / "docs", stage / "docs")  # which pages offer
    _copy(root / "serlib", stage / "serlib")  # of which pages show functions
    shutil.copy(root / "CITATION.bib", stage)
    config["sphinx"]["config"]["myst_substitutions"] = prose.values(
        root, stage / "book", prose.byline(config["author"], address, os.environ.get("ARCHIVE_DOI") or "")
    )
    with atomic_write(stage / "_config.yml") as beside:
        beside.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=120), encoding="utf-8")


def repository(origin: str) -> str:
    """The web address of a GitHub or GitLab repository, without a user's name or password; "" for any other origin."""
    parts = urlsplit(origin)
    if parts.scheme != "https" or parts.hostname not in HOSTS:
        return ""
    return f"https://{parts.hostname}{parts.path.rstrip('/').removesuffix('.git')}"


def _copy(source: Path, target: Path) -> None:
    """``target`` becomes a copy of ``source``; it is replaced only when the copy is whole."""
    beside = target.with_name(f".{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.rmtree(target, ignore_errors=True)
    beside.replace(target)


def _arguments(arguments: list[str]) -> Any:
    if len(arguments) != 2:
        raise SystemExit("usage: python workflow/stage.py ROOT STAGE")
    return map(Path, arguments)


if __name__ == "__main__":
    main(*_arguments(sys.argv[1:]))
