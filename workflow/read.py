"""``make read``: renders the book from committed files into ``build/read/_build/html``; nothing is trained or executed.

Notebooks are shown with their committed outputs, and say so. The page "Try it" needs networks that only ``make book``
exports. ``make read`` installs neither PyTorch nor Snakemake.
"""

import sys
from pathlib import Path

import nbformat

from serlib.engine import provenance
from serlib.files import atomic_write, below
from workflow import render
from workflow.files import without_picture

STAGE = Path("build/read")
NOTE = "This book was rendered by `make read` from what is committed{at}: nothing was trained or executed. `make book` executes every page anew."
TRY_IT = "# Try it\n\nThe networks that this page computes with are exported by `make book`. {note}\n"


def main(root: Path, stage: Path) -> int:
    """Render the book of the checkout ``root``. Returns the exit status."""
    commit = provenance.commit(root)["commit"]
    note = NOTE.format(at="" if commit == "unknown" else f" at {commit[:8]}")
    for source in below(root / "notebooks", ".ipynb"):
        try:
            notebook = nbformat.read(source, as_version=4)
        except ValueError:  # the file has merge marks, or was cut
            print(f"serlib: {source}: no notebook; `git checkout` restores it", file=sys.stderr)
            return 1
        if missing := without_picture(notebook):
            print(
                f"serlib: {source}: no picture is kept of {missing[0]!r}: `make notebooks` executes it", file=sys.stderr
            )
            return 1
        notebook.cells.append(nbformat.v4.new_markdown_cell(f":::{{note}}\n{note}\n:::", id="this-page"))
        target, text = stage / "notebooks" / source.name, nbformat.writes(notebook)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            with atomic_write(target) as beside:
                beside.write_text(text, encoding="utf-8")
    (stage / "try/static").mkdir(parents=True, exist_ok=True)
    replaced = {"values": {"build_note": note}, "pages": {"book/try_it.md": TRY_IT.format(note=note)}}
    return render.main(root, stage, stage / "_build", **replaced)
