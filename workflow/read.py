"""``python -m workflow.read``: the book from what is committed, into ``build/read/_build/html``; nothing is executed.

Needs what the extra ``read`` of pyproject.toml lists: neither PyTorch nor Snakemake. Notebooks stand with their committed
outputs, and say so; the page "Try it" needs networks that ``make book`` exports.
"""

from pathlib import Path

import nbformat

from serlib import records
from serlib.files import atomic_write
from workflow import render

ROOT = Path(__file__).parents[1]
STAGE = ROOT / "build/read"
NOTE = "The outputs of this page are those committed with the repository{commit}; nothing was executed. `make book` executes every page anew."
TRY_IT = """# Try it

The networks that this page computes with are exported by `make book`; this book was rendered by `make read`, from what is
committed alone.
"""


def main() -> int:
    commit = records.commit(ROOT)["commit"]
    note = NOTE.format(commit="" if commit == "unknown" else f" at {commit[:12]}")
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(source, as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"```{{note}}\n{note}\n```", id="this-page"))
        target = STAGE / "notebooks" / source.name
        text = nbformat.writes(notebook)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            with atomic_write(target) as beside:
                beside.write_text(text, encoding="utf-8")
    (STAGE / "try/static").mkdir(parents=True, exist_ok=True)
    status = render.main(ROOT, STAGE, STAGE / "_build", values={"build_note": note}, pages={"book/try_it.md": TRY_IT})
    if not status:
        print(f"The book, from what is committed: {STAGE / '_build/html/index.html'}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
