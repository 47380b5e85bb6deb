"""Makes the folder that Jupyter Book renders, except the executed notebooks; :mod:`workflow.render` calls it.

``STAGE/book`` is ``ROOT/book`` with the numbers of its pages filled in. ``STAGE/_config.yml`` is ``ROOT/_config.yml``; if the
checkout came from GitHub or GitLab, it has buttons that lead back there. The stage has the repository's layout, so that a
page's "edit" link names an existing file. ``STAGE/notebooks`` is not touched. An unchanged file keeps its time stamp, so
that pages that use it are not rendered again.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import yaml
from jinja2 import Environment, StrictUndefined

from companion import prose
from serlib.engine.provenance import git
from workflow import download, spoken, synthetic
from workflow.files import copy

HOSTS = ("github.com", "gitlab.com")
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"


def main(
    root: Path, stage: Path, values: Mapping[str, Any] | None = None, pages: Mapping[str, str] | None = None
) -> None:
    """Stage the book of the checkout ``root``; ``values`` replace those of the prose, ``pages`` those of ``root/book``."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    configured = os.environ.get("REPOSITORY_URL") or ""  # set by the workflow that publishes
    address = repository(configured or git(root, "config", "--local", "--get", "remote.origin.url") or "")
    if address:
        branch = git(root, "symbolic-ref", "--short", "HEAD") or "main"
        config["repository"] = {"url": address, "branch": branch, "path_to_book": ""}
        config["html"] |= {"use_repository_button": True, "use_edit_page_button": True}
        if urlsplit(address).hostname == "github.com":  # links name files: the stage has the repository's layout
            config["launch_buttons"] = {"binderhub_url": BINDER, "colab_url": COLAB, "notebook_interface": "jupyterlab"}
    stage.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=stage.parent) as folder:
        fresh = Path(folder)
        for name in ("book", "docs", "companion", "serlib"):  # pages offer files, and show functions of serlib
            shutil.copytree(root / name, fresh / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for name, text in (pages or {}).items():
            (fresh / name).write_text(text, encoding="utf-8")
        shutil.copy2(root / "CITATION.bib", fresh)
        source = {"author": config["author"], "address": address, "doi": os.environ.get("ARCHIVE_DOI") or ""}
        page_values = (
            prose.values(root, fresh / "book", source) | {"download": download, "synthetic": synthetic} | (values or {})
        )
        spoken.draw(fresh / "book")
        for path in (fresh / "book").glob("*.md"):
            path.write_text(page(path.read_text(encoding="utf-8"), page_values), encoding="utf-8")
        text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=120)
        (fresh / "_config.yml").write_text(text, encoding="utf-8")
        renew(fresh, stage, ("book", "docs", "companion", "serlib"))


# Pages are Markdown, and names from tables are escaped by companion.labels.
TEMPLATES = Environment(  # nosec B701
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def page(template: str, values: Mapping[str, Any]) -> str:
    """A page of the book: its template with numbers and rows filled in.

    Raises:
        jinja2.UndefinedError: the template names a value that does not exist.
    """
    return TEMPLATES.from_string(template).render(values)


def renew(source: Path, target: Path, folders: Iterable[str]) -> None:
    """Copy new and changed files from ``source`` to ``target``; delete other files from the ``folders`` of ``target``."""
    for folder in folders:
        for path in sorted((target / folder).rglob("*"), reverse=True):
            if not (source / path.relative_to(target)).exists():
                path.rmdir() if path.is_dir() else path.unlink()
    for path in (path for path in sorted(source.rglob("*")) if path.is_file()):
        copy(path, target / path.relative_to(source))


def repository(origin: str) -> str:
    """The web address of a GitHub or GitLab repository, without a user's name or password; "" for any other origin."""
    parts = urlsplit(origin)
    if parts.scheme != "https" or parts.hostname not in HOSTS:
        return ""
    return f"https://{parts.hostname}{parts.path.rstrip('/').removesuffix('.git')}"
