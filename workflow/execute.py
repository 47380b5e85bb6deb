"""Execute a notebook: ``execute.py IN OUT [NAME=VALUE ...]``.

papermill runs it with the given parameters; what would differ from run to run (time stamps, versions of the kernel) is
taken out; the result takes its name only when every cell has run. An unknown parameter or a failing cell is one line on
standard error and exit status 1.
"""

import ast
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

warnings.filterwarnings("ignore", category=DeprecationWarning)

import nbformat  # noqa: E402
import papermill  # noqa: E402
from papermill.exceptions import PapermillException, PapermillExecutionError  # noqa: E402
from traitlets.config import Config  # noqa: E402

from companion import text  # noqa: E402
from serlib import records  # noqa: E402
from serlib.files import atomic_write  # noqa: E402

# Of a page: SVG, without the time at which each was drawn, so that the same build has the same bytes.
PICTURES = (
    "--InlineBackend.figure_formats={'svg'}",
    "--InlineBackend.print_figure_kwargs={'bbox_inches': 'tight', 'metadata': {'Date': None}}",
)


def main(source: str, target: str, *assignments: str) -> int:
    parameters = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    try:
        known = papermill.inspect_notebook(source)
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; it takes {', '.join(known) or 'none'}")
        defaults = {name: ast.literal_eval(about["default"]) for name, about in known.items()}
        parameters = {name: value for name, value in parameters.items() if value != defaults[name]}
        with (
            atomic_write(Path(target)) as beside,
            TemporaryDirectory() as sockets,
        ):  # the kernel is not spoken to by network
            local = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
            page = Path(source).resolve() != Path(target).resolve()  # of the book, not the committed notebook
            pictures = PICTURES if page else ()
            local.NotebookClient.extra_arguments = ["--log-level=CRITICAL", *pictures]
            notebook = papermill.execute_notebook(source, None, parameters, progress_bar=False, config=local)
            notebook = clean(notebook)
            if page:
                given = defaults | parameters
                made = records.provenance("cpu", 1, 0.0)
                card = text.card(Path(source).stem, given, made["commit"], made["date"][:10])
                notebook.cells.append(nbformat.v4.new_markdown_cell(card, id="this-page"))
            nbformat.write(notebook, beside)
    except PapermillExecutionError as error:
        print(f"{source}: cell {error.exec_count}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (PapermillException, OSError, ValueError) as error:
        print(f"{source}: {error}", file=sys.stderr)
        return 1
    return 0


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without papermill's time stamps; a page that was given other parameters says so below its defaults."""
    notebook.metadata = {
        key: notebook.metadata[key] for key in ("kernelspec", "language_info") if key in notebook.metadata
    }
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "mystnb")}
        if "injected-parameters" in tags:
            cell.source = cell.source.replace("# Parameters", "# given to this page instead of the defaults above", 1)
    return notebook


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
