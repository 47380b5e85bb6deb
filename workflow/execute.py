"""``python -m workflow.execute IN OUT [NAME=VALUE ...]``: execute a notebook.

papermill runs it with the given parameters in a kernel that knows none of the user's settings; what would differ from
run to run (time stamps, versions of the kernel) is taken out; the result takes its name only when every cell has run and
every picture is there. An unknown parameter or a failing cell is one line on standard error and exit status 1.
"""

import ast
import os
import shlex
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

warnings.filterwarnings("ignore", category=DeprecationWarning)

import nbformat  # noqa: E402
import papermill  # noqa: E402
from jinja2 import Template  # noqa: E402
from jupyter_client.kernelspec import KernelSpecManager  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from papermill.exceptions import PapermillException, PapermillExecutionError  # noqa: E402
from traitlets.config import Config  # noqa: E402

from companion import labels  # noqa: E402
from serlib.engine import provenance  # noqa: E402
from serlib.files import atomic_write  # noqa: E402
from workflow.files import without_picture  # noqa: E402

# Of a page: SVG, without the time at which each was drawn, so that the same build has the same bytes.
PICTURES = (
    "--InlineBackend.figure_formats={'svg'}",
    "--InlineBackend.print_figure_kwargs={'bbox_inches': 'tight', 'metadata': {'Date': None}}",
)

# ipykernel_launcher, without what the machine's administrators have set for every IPython.
START = "import IPython.core.application as a; a.ENV_CONFIG_DIRS[:] = a.SYSTEM_CONFIG_DIRS[:] = (); "
START += "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SERLIB_BUILD")  # of the user's environment; the last is graph.MARK
CARD = Path(__file__).with_name("card.md")
HOME = Path("build/home")  # of every kernel: where libraries look for settings and keep what they cache
LONGEST_FOLDER = 80  # bytes: the whole path of a socket may have 107


class Kernel(AsyncKernelManager):
    """A kernel of this Python, whatever kernels the user has installed, in an environment and a home of its own."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(parent=self, kernel_dirs=[])

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        self.kernel_spec.argv[1:3] = ("-c", START)
        return super().format_kernel_cmd(extra_arguments)

    async def _async_pre_start_kernel(self, **options: Any) -> Any:
        return await super()._async_pre_start_kernel(**options | {"env": environment()})


def environment() -> dict[str, str]:
    """The environment variables of a kernel."""
    HOME.mkdir(parents=True, exist_ok=True)
    checkout = Path(__file__).absolute().parents[1]
    own = {"HOME": HOME.resolve(), "PYTHONPATH": checkout, "PYTHONUTF8": 1, "LANG": "C.UTF-8", "OMP_NUM_THREADS": 1}
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {name: str(value) for name, value in own.items()}


def main(source: str, target: str, *assignments: str) -> int:
    parameters = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    short = len(os.fsencode(gettempdir())) <= LONGEST_FOLDER
    try:
        known = papermill.inspect_notebook(source)
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; it takes {', '.join(known) or 'none'}")
        defaults = {name: ast.literal_eval(about["default"]) for name, about in known.items()}
        parameters = {name: value for name, value in parameters.items() if value != defaults[name]}
        with (
            atomic_write(Path(target)) as beside,
            TemporaryDirectory(dir=None if short else "/tmp") as sockets,  # nosec B108: a folder of its own
        ):
            # The kernel is not spoken to by network.
            speaks = {"transport": "ipc", "ip": f"{sockets}/kernel", "connection_file": f"{sockets}/kernel.json"}
            page = Path(source).resolve() != Path(target).resolve()  # of the book, not the committed notebook
            asked = ["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:", *(PICTURES if page else ())]
            client = {"kernel_manager_class": Kernel, "extra_arguments": asked}
            local = Config({"KernelManager": speaks, "NotebookClient": client})
            notebook = papermill.execute_notebook(source, None, parameters, progress_bar=False, config=local)
            notebook = clean(notebook)
            if missing := without_picture(notebook):
                raise ValueError(f"no picture comes of {missing[0]!r}")
            if page:
                given = defaults | parameters
                made = provenance.describe("cpu", 1, 0.0)
                closing = card(Path(source).stem, given, made["commit"], made["date"][:10])
                notebook.cells.append(nbformat.v4.new_markdown_cell(closing, id="this-page"))
            nbformat.write(notebook, beside)
    except PapermillExecutionError as error:
        print(f"{source}: cell {error.exec_count}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (PapermillException, OSError, ValueError, RuntimeError) as error:  # the last: the kernel died
        print(f"{source}: {error}", file=sys.stderr)
        return 1
    return 0


def card(notebook: str, parameters: Mapping[str, Any], commit: str, date: str) -> str:
    """What closes every page: how to run it with other parameters, its source and data, when it was made from what."""
    given = "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in parameters.items())
    said = {"notebook": notebook, "given": given, "commit": commit[:8], "date": date}
    said["read"] = labels.call("FILE")
    return Template(CARD.read_text(encoding="utf-8")).render(said)


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
