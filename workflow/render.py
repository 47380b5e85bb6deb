"""``python -m workflow.render ROOT STAGE OUT``: stages the book, then renders it into ``OUT/html``.

Sphinx reads and writes pages on every core. It renders only changed pages anew, since ``OUT/.doctrees`` keeps the parsed
pages. If one of the files in ``RENDERS`` has changed, all pages are rendered anew.
"""

import gc
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from jupyter_book.sphinx import build_sphinx

from serlib.files import atomic_write
from workflow import stage as staging

RENDERS = ("book/_ext/light_pages.py", "book/_toc.yml", "workflow/render.py", "requirements.lock")


def main(root: Path, stage: Path, out: Path, **replaced: Mapping[str, str]) -> int:
    """Stage and render the book. Returns the exit status; for ``replaced`` see :func:`workflow.stage.main`."""
    staging.main(root, stage, **replaced)
    digest = hashlib.sha256(b"".join((root / name).read_bytes() for name in RENDERS)).hexdigest()
    mark = out / ".rendered_by"
    if not mark.exists() or mark.read_text(encoding="utf-8") != digest:
        for old in (out / ".doctrees", *(out / "html").glob("*")):
            if old.name != "data":  # another step writes it
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    os.environ["DOCUTILSCONFIG"] = ""  # ignore the user's docutils settings, and below the date of another build
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    gc.disable()  # saves a fifth of the time: each collection visits every page's tree and frees little
    result = build_sphinx(
        stage.resolve(),
        str(out.resolve() / "html"),
        path_config=stage / "_config.yml",
        noconfig=True,
        confoverrides={
            "external_toc_path": str(stage.resolve() / "book/_toc.yml"),
            "latex_individualpages": False,
            "nitpicky": True,
        },
        warningiserror=True,
        keep_going=True,
        quiet=True,
        jobs=cores(),
    )
    if result:
        mark.unlink(missing_ok=True)  # the next run renders all pages anew
        return 1
    with atomic_write(mark) as beside:
        beside.write_text(digest, encoding="utf-8")
    return 0


def cores() -> int:
    """The number of cores that this process may use; all, if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("usage: python -m workflow.render ROOT STAGE OUT")
    raise SystemExit(main(*map(Path, sys.argv[1:])))
