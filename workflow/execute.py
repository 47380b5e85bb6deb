"""``python -m workflow.execute IN OUT [NAME=VALUE ...]``: execute a notebook.

papermill runs the notebook with the given parameters, in a kernel without any of the user's settings. Data that differ from
run to run (time stamps, kernel versions) are removed. OUT is written only after every cell has run and made its pictures.
An unknown parameter or a failing cell gives one line on standard error and exit status 1.
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

# Pages have SVG pictures without the time of drawing, so that equal builds have equal bytes.
PICTURES = (
    "--InlineBackend.figure_formats={'svg'}",
    "--InlineBackend.print_figure_kwargs={'bbox_inches': 'tight', 'metadata': {'Date': None}}",
)

# Starts like ipykernel_launcher, without the settings of the machine's administrators for every IPython.
START = "import IPython.core.application as a; a.ENV_CONFIG_DIRS[:] = a.SYSTEM_CONFIG_DIRS[:] = (); "
START += "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SERLIB_BUILD")  # kept from the user's environment; the last is graph.MARK
CARD = Path(__file__).with_name("card.md")
HOME = Path("build/home")  # the home of every kernel, where libraries look for settings and keep their caches
LONGEST_FOLDER = 80  # bytes: a socket's complete path may have 107


class Kernel(AsyncKernelManager):
    """A kernel of this Python, in its own environment and home; kernels that the user installed do not matter."""

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
    fixed = {"HOME": HOME.resolve(), "PYTHONPATH": checkout, "PYTHONUTF8": 1, "LANG": "C.UTF-8", "OMP_NUM_THREADS": 1}
    inherited = {name: os.environ[name] for name in KEPT if name in os.environ}
    return inherited | {name: str(value) for name, value in fixed.items()}


def main(source: str, target: str, *assignments: str) -> int:
    parameters = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    short_path = len(os.fsencode(gettempdir())) <= LONGEST_FOLDER
    try:
        declared = papermill.inspect_notebook(source)
        unknown = [name for name in parameters if name not in declared]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; it takes {', '.join(declared) or 'none'}")
        defaults = {name: ast.literal_eval(parameter["default"]) for name, parameter in declared.items()}
        parameters = {name: value for name, value in parameters.items() if value != defaults[name]}
        with (
            atomic_write(Path(target)) as beside,
            TemporaryDirectory(dir=None if short_path else "/tmp") as sockets,  # nosec B108: a folder of its own
        ):
            # The kernel is reached through sockets in a folder, not by the network.
            connection = {"transport": "ipc", "ip": f"{sockets}/kernel", "connection_file": f"{sockets}/kernel.json"}
            page = Path(source).resolve() != Path(target).resolve()  # else OUT is the notebook itself
            arguments = ["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:", *(PICTURES if page else ())]
            client = {"kernel_manager_class": Kernel, "extra_arguments": arguments}
            kernel_config = Config({"KernelManager": connection, "NotebookClient": client})
            notebook = papermill.execute_notebook(source, None, parameters, progress_bar=False, config=kernel_config)
            notebook = clean(notebook)
            if missing := without_picture(notebook):
                raise ValueError(f"no picture comes of {missing[0]!r}")
            if page:
                values = defaults | parameters
                origin = provenance.describe("cpu", 1, 0.0)
                card_text = card(Path(source).stem, values, origin["commit"], origin["date"][:10])
                notebook.cells.append(nbformat.v4.new_markdown_cell(card_text, id="this-page"))
            nbformat.write(notebook, beside)
    except PapermillExecutionError as error:
        print(f"{source}: cell {error.exec_count}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (PapermillException, OSError, ValueError, RuntimeError) as error:  # RuntimeError: the kernel died
        print(f"{source}: {error}", file=sys.stderr)
        return 1
    return 0


def card(notebook: str, parameters: Mapping[str, Any], commit: str, date: str) -> str:
    """The card at the end of every page: how to run it with other parameters, its source and data, commit and date."""
    options = "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in parameters.items())
    fields = {"notebook": notebook, "given": options, "commit": commit[:8], "date": date}
    fields["read"] = labels.call("FILE")
    return Template(CARD.read_text(encoding="utf-8")).render(fields)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove papermill's time stamps; in a page with other parameters, label them as given instead of the defaults."""
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
