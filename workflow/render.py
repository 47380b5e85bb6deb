"""``python -m workflow.render ROOT STAGE OUT``: stages the book, then renders it into ``OUT/html``.

Pages are read and written on every core, and a page is rendered anew only if it has changed: Sphinx keeps what it has
read in ``OUT/.doctrees``. All are rendered anew where what renders them has changed.
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
    """Exit status; for ``replaced`` see :func:`workflow.stage.main`."""
    staging.main(root, stage, **replaced)
    made_by = hashlib.sha256(b"".join((root / name).read_bytes() for name in RENDERS)).hexdigest()
    mark = out / ".rendered_by"
    if not mark.exists() or mark.read_text(encoding="utf-8") != made_by:
        for old in (out / ".doctrees", *(out / "html").glob("*")):
            if old.name != "data":  # another step's
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    os.environ["DOCUTILSCONFIG"] = ""  # no settings of the user, and no date of another build
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    gc.disable()  # a fifth of the time: each collection goes through every page's tree and frees little
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
        mark.unlink(missing_ok=True)  # the next time begins anew
        return 1
    with atomic_write(mark) as beside:
        beside.write_text(made_by, encoding="utf-8")
    return 0


def cores() -> int:
    """The cores that this process may use; all, where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("usage: python -m workflow.render ROOT STAGE OUT")
    raise SystemExit(main(*map(Path, sys.argv[1:])))
