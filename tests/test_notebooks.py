"""The committed notebooks: executed, honest about their parameters, and compared for real."""

import base64
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from companion import examples, notebook, parameters
from serlib import config
from tests.helpers import failures, sent, watched
from workflow import execute, graph

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BUILT = ROOT / "build/book/notebooks/fig4_teacher.ipynb"


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def unexecuted(path: Path) -> list[str]:
    """Why nbval would pass this notebook, or part of it, unread."""
    cells = code_cells(path)
    if not any(cell.outputs for cell in cells):
        return [f"{path.name}: no outputs"]
    return [f"{path.name}: never executed: {cell.source[:40]!r}" for cell in cells if cell.execution_count is None]


def python(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run((sys.executable, *arguments), cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_with_outputs(path):
    assert not unexecuted(path)


def test_every_fold_has_a_name_of_its_own():
    assert failures(folds_are_named, NOTEBOOKS) == {}


def folds_are_named(path: Path) -> None:
    folded = [cell.metadata.mystnb for cell in code_cells(path) if "hide-input" in cell.metadata.get("tags", [])]
    names = [fold.code_prompt_show.removeprefix("Code: ") for fold in folded]
    assert len(set(names)) == len(names)
    assert [fold.code_prompt_hide for fold in folded] == [f"Hide: {name}" for name in names]


def test_the_guard_sees_a_notebook_without_outputs(tmp_path):
    book = nbformat.read(NOTEBOOKS[0], as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    nbformat.write(book, tmp_path / "bare.ipynb")
    assert unexecuted(tmp_path / "bare.ipynb") == ["bare.ipynb: no outputs"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_has_what_every_notebook_has(path):
    book = nbformat.read(path, as_version=4)
    assert book.cells[0].source.startswith("# ")
    assert "parameters" in book.cells[1].metadata.tags
    assert any("## Where the numbers came from" in cell.source for cell in book.cells[-3:])
    source = "\n".join(cell.source for cell in code_cells(path))
    assert "\ndef " not in source
    assert "\nclass " not in source
    assert ".fit(" not in source
    assert "training.execute" not in source
    for cell in book.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
    text = json.dumps(book)
    assert str(ROOT) not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_something_in_it_is_compared(path):
    """Not every output is left out of the comparison."""
    cells = [c for c in code_cells(path) if "nbval-ignore-output" not in c.metadata.get("tags", [])]
    assert any(
        {"text/markdown", "text/html"} & set(output.get("data", {})) or output.get("name") == "stdout"
        for cell in cells
        for output in cell.outputs
    )


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder that a notebook takes for a checkout."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "Snakefile").touch()
    (tmp_path / "build").mkdir()
    (ROOT / "build/home").mkdir(parents=True, exist_ok=True)
    (tmp_path / "build/home").symlink_to(ROOT / "build/home")  # where the list of fonts is kept
    for name in ("audit_granularity.ipynb", "fig5_student.ipynb", "conftest.py"):
        shutil.copy(ROOT / "notebooks" / name, tmp_path / "notebooks")
    return tmp_path


def test_the_longest_notebook_comes_first(tmp_path, monkeypatch):
    """As the last build took them; a notebook that it did not make comes last, its cells in their order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # which the module changes
    spec = importlib.util.spec_from_file_location("order", ROOT / "notebooks/conftest.py")
    order = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(order)
    metadata = tmp_path / ".snakemake/metadata"
    metadata.mkdir(parents=True)
    for name, seconds in (("short", 2), ("long", 9)):
        page = base64.b64encode(f"build/book/notebooks/{name}.ipynb".encode()).decode()
        (metadata / page).write_text(json.dumps({"starttime": 100, "endtime": 100 + seconds}))
    names = ("unknown", "short", "long")
    items = [SimpleNamespace(path=Path(f"notebooks/{name}.ipynb"), cell=cell) for name in names for cell in (0, 1)]
    order.pytest_collection_modifyitems(items)
    found = [(item.path.stem, item.cell) for item in items]
    assert found == [(name, cell) for name in ("long", "short", "unknown") for cell in (0, 1)]


def test_changing_one_committed_number_turns_its_cell_red_and_no_other(checkout):
    path = checkout / "notebooks/fig5_student.ipynb"
    text = path.read_text(encoding="utf-8")
    assert text.count("528,817,408") == 1
    (changed,) = [i for i, cell in enumerate(code_cells(path)) if "528,817,408" in json.dumps(cell.outputs)]
    path.write_text(text.replace("528,817,408", "528,817,409"), encoding="utf-8")
    options = ("-p", "no:cacheprovider", "-W", "default", "--nbval", "--nbval-current-env", "-qrA", "--rootdir", ".")
    command = (sys.executable, "-m", "pytest", *options, "notebooks/fig5_student.ipynb")
    env = hostile(checkout / "hostile")
    said = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True).stdout
    found = {int(cell): end for end, cell in re.findall(r"^(PASSED|FAILED) \S+::Cell (\d+)", said, re.MULTILINE)}
    assert found == {i: "FAILED" if i == changed else "PASSED" for i in range(len(code_cells(path)))}, said


def test_an_unknown_parameter_stops_the_build(checkout, capsys):
    out = checkout / "out.ipynb"
    assert execute.main(str(checkout / "notebooks/audit_granularity.ipynb"), str(out), "shore=calm") == 1
    assert "unknown parameter 'shore'; it takes share" in capsys.readouterr().err
    assert not out.exists()


def hostile(folder: Path) -> dict[str, str]:
    """The environment of a user whose settings, kernel and machine would each change a page, or end it."""
    rc, startup = folder / ".config/matplotlib/matplotlibrc", folder / ".ipython/profile_default/startup/0.py"
    for path, text in (
        (rc, "text.usetex: true\nfont.family: serif\nsavefig.dpi: 30\nlines.linewidth: 9\n"),
        (startup, "import pandas; pandas.set_option('display.precision', 1); print('hello')\n"),
        (folder / ".ipython/profile_default/ipython_config.py", "c.InteractiveShell.ast_node_interactivity = 'all'\n"),
        (folder / ".jupyter/jupyter_config.py", "c.KernelManager.transport = 'none'\n"),
        (folder / "jupyter/kernels/python3/kernel.json", '{"argv": ["false"], "display_name": "", "language": "R"}'),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    long = folder / ("t" * 120)
    long.mkdir()
    changed = {"HOME": folder, "MATPLOTLIBRC": rc, "PYTHONSTARTUP": startup, "JUPYTER_PATH": folder / "jupyter"}
    changed |= {"IPYTHONDIR": folder / ".ipython", "JUPYTER_RUNTIME_DIR": "/proc/none", "TMPDIR": long}
    changed |= {"MPLBACKEND": "Agg", "COLUMNS": 30, "OMP_NUM_THREADS": 2, "LC_ALL": "C", "PYTHONHASHSEED": 7}
    return os.environ | {name: str(value) for name, value in changed.items()}


@pytest.mark.nightly
@pytest.mark.skipif(not BUILT.exists(), reason="no book is built: make book")
def test_a_page_has_the_bytes_of_the_books_in_a_hostile_environment_too(checkout):
    """All but its last cell, which names the commit."""
    page, env = checkout / "new/deep/fig4_teacher.ipynb", hostile(checkout / "hostile")
    env["PYTHONPATH"] = str(ROOT)
    command = (sys.executable, "-m", "workflow.execute", ROOT / "notebooks/fig4_teacher.ipynb", page)
    result = subprocess.run(watched(checkout / "log", *command), cwd=checkout, env=env, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert sent(checkout / "log") == []
    ours, books = (json.loads(path.read_text())["cells"][:-1] for path in (page, BUILT))
    assert "<svg" in json.dumps(ours)
    assert ours == books


@pytest.mark.parametrize("source", ["picture(figure)", "x = 1\npicture(\n    figure)", "if x:\n    picture(figure)"])
def test_a_page_whose_picture_is_missing_is_refused(source):
    data = {"image/svg+xml": "<svg/>"}
    shown = nbformat.v4.new_output("display_data", data, metadata={"picture": {"name": "a"}})
    cell = nbformat.v4.new_code_cell(source, outputs=[shown])
    assert execute.without_picture(nbformat.v4.new_notebook(cells=[cell])) == []
    shown["data"] = {"text/plain": "<Figure size 640x480 with 1 Axes>"}
    assert execute.without_picture(nbformat.v4.new_notebook(cells=[cell])) == [source.partition("\n")[0]]
    cell["outputs"] = []
    assert bool(execute.without_picture(nbformat.v4.new_notebook(cells=[cell]))) == ("if" not in source)


def test_a_failing_cell_stops_the_build_in_one_line(checkout, monkeypatch, capsys):
    """On a machine whose settings for every IPython would end the kernel."""
    monkeypatch.chdir(checkout)
    (checkout / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['import os; os._exit(1)']\n")
    of_machine = f"import IPython.core.application as a; a.SYSTEM_CONFIG_DIRS.append({str(checkout)!r}); "
    monkeypatch.setattr(execute, "START", of_machine + execute.START)
    book = nbformat.read("notebooks/audit_granularity.ipynb", as_version=4)
    book.cells[2].source = "raise ValueError(f'no such corpus: {share}')"
    nbformat.write(book, "notebooks/audit_granularity.ipynb")
    assert execute.main("notebooks/audit_granularity.ipynb", "out.ipynb", "share=0.5") == 1
    said = "notebooks/audit_granularity.ipynb: cell 3: ValueError: no such corpus: 0.5\n"
    assert capsys.readouterr().err == said
    assert not Path("out.ipynb").exists()


def test_a_page_with_other_parameters_names_them_and_the_command_that_makes_it_again(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert execute.main("notebooks/fig5_student.ipynb", "page.ipynb", "num_classes=4", "depth=3") == 0
    page = nbformat.read("page.ipynb", as_version=4)
    assert code_cells(Path("page.ipynb"))[1].source.splitlines() == [
        "# given to this page instead of the defaults above",
        "num_classes = 4",  # and not depth, whose default is 3
    ]
    assert f"{1_811_975 - 3 * 257:,}" in json.dumps(page.cells)  # three rows of the head fewer
    assert page.cells[-1].source.count("papermill notebooks/fig5_student.ipynb") == 1
    assert " -p depth 3 -p heads 5 -p num_classes 4" in page.cells[-1].source
    assert all(cell.metadata.keys() <= {"tags", "mystnb"} for cell in page.cells)


def test_a_notebook_executed_in_place_gets_outputs_and_no_card(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    path = Path("notebooks/fig5_student.ipynb")
    before = nbformat.read(path, as_version=4)
    assert execute.main(str(path), str(path)) == 0
    after = nbformat.read(path, as_version=4)
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    assert [[o.data.get("text/markdown") for o in cell.outputs] for cell in code_cells(path)] == [
        [o.data.get("text/markdown") for o in cell.get("outputs", [])]
        for cell in before.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.nightly
def test_papermill_itself_stops_at_an_unknown_parameter(checkout):
    """papermill only warns; the notebook's first call does not."""
    command = ("-m", "papermill", "notebooks/audit_granularity.ipynb", "out.ipynb", "-p", "shore", "0.7")
    result = python(*command, cwd=checkout)
    assert result.returncode != 0
    assert "unknown parameter 'shore'; this notebook takes share" in result.stderr


def test_no_page_asks_for_an_emotion_that_a_corpus_of_ones_own_may_not_have():
    """Nor for a speaker, an utterance or a fold beyond the first: the default is any."""
    for path in NOTEBOOKS:
        declared = parameters.assigned(code_cells(path)[0].source)
        asked = {name: declared.get(name) for name in ("emotion", "speaker", "utterance", "file", "fold", "draw")}
        assert not any(asked.values()), (path.name, asked)


def test_the_page_of_committed_records_takes_a_corpus_of_ones_own_without_any(monkeypatch):
    """As `make book CORPUS=mine DATA=mine.csv` gives it, after the trainings."""
    monkeypatch.chdir(ROOT)
    given = {"corpus": "mine", "In": []}
    for cell in code_cells(ROOT / "notebooks/confusion.ipynb")[1:]:
        exec(cell.source, given)  # nosec B102
    assert given["answer"] == "Not measured speaker-independent on mine."


@pytest.mark.parametrize("given", [{"sede": 3}, {"fold": "first"}, {"draw": 0.5}, {"speech": None}, {"corpus": 2024}])
def test_what_a_page_does_not_take_is_said_before_anything_is_trained(given, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    graph.check_page("notebooks/fig2_stem.ipynb", {"corpus": "mine", "speech": "recordings"})
    with pytest.raises(SystemExit):
        graph.check_page("notebooks/fig2_stem.ipynb", given)
    assert capsys.readouterr().err.startswith("serlib: notebooks/fig2_stem.ipynb: ")


def test_parameters_are_held_against_the_notebooks_own():
    declared = 'corpus = "emodb"  # which\nseed = 0\n'
    parameters.check(declared, ['# Parameters\ncorpus = "savee"\nseed = 3\n'])
    with pytest.raises(ValueError, match="unknown parameter 'sede'; this notebook takes corpus, seed"):
        parameters.check(declared, ["# Parameters\nsede = 3\n"])
    with pytest.raises(ValueError, match="parameter seed = 'three': expected int"):
        parameters.check(declared, ['# Parameters\nseed = "three"\n'])


def test_what_was_not_made_is_named_with_its_remedy(tmp_path):
    build = notebook.Build(tmp_path, "emodb", "recordings", "short")
    with pytest.raises(
        ValueError, match=r"no recordings of 'emodb' in this build: make it with `make book CORPUS=emodb"
    ):
        build.utterances  # noqa: B018
    place = "recordings/emodb/128x128/short/random-2/teacher-seed3.json"
    call = f".venv/bin/snakemake build/runs/{place} --workflow-profile workflow/profiles/default --config corpus=emodb data=<"
    with pytest.raises(ValueError, match=re.escape(f"no record {place}: make it with `{call}")):
        build.record("teacher", fold=2, seed=3)


def test_a_page_of_examples_shows_committed_networks_of_people():
    build = notebook.Build(ROOT, speech="examples")
    assert "no network shown was trained on it" in build.about().data
    example = build.example("", 1)
    assert build.examples[1].key == example.key
    run = build.runs(("teacher", "no such run"))
    assert run == ["teacher"]
    record = build.record("teacher")
    assert (record.speech, record.corpus) == ("recordings", "emodb")
    assert example.key in record.parts["test"].file
    again = examples.see(build.network("teacher"), example.images)
    np.testing.assert_allclose(build.seen("teacher", example).attention, again.attention, atol=1e-3)
    assert build.listen("", 0) is None
    with pytest.raises(ValueError, match="the examples of emodb show no run 'student-tokens'"):
        build.record("student-tokens")
    with pytest.raises(ValueError, match="emotion 'joy' is none of "):
        build.example("joy", 0)


@pytest.mark.skipif(not (ROOT / "build/runs/synthetic/emodb").exists(), reason="no book is built: make book")
def test_a_page_of_synthetic_speech_shows_what_this_build_made():
    build = notebook.Build(ROOT)
    assert "synthetic speech" in build.about().data
    assert build.images().shape == (len(build.utterances.utterances), 1, 128, 128)
    assert build.utterances in build.corpora()
    example = build.example("anger", 2)
    chosen = [u for u in build.utterances.utterances if u.emotion == "anger"][2]
    assert (example.key, example.emotion) == (chosen.key, "anger")
    assert build.listen("anger", 2).data == chosen.path.read_bytes()
    record = build.record("student-pooled")
    assert record in build.built
    assert record.speech == "synthetic"
    assert {probe.result for probe in build.probes} == {record.result}
    ours = examples.see(build.network("student-pooled"), example.images)
    np.testing.assert_array_equal(build.seen("student-pooled", example).attention, ours.attention)
    with pytest.raises(
        ValueError, match=r"no weights \S+student-tokens-seed0\S+: make it with `\S+snakemake \S+random-1"
    ):
        build.network("student-tokens", fold=1)


def test_a_page_says_what_is_found_of_its_claim_and_whose_speech_it_shows():
    build = notebook.Build(ROOT, speech="recordings", schedule="paper-bf16")
    lines = build.verdict("transfer").data.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    rows = build.evidence.verdicts.query("claim == 'transfer'")
    assert lines[0].startswith("> **The claim**, part by part")
    assert sum(f"> - {row.part}: **{row.finding}**. " in "\n".join(lines) for row in rows.itertuples()) == len(rows) > 0
    assert "Made from **recordings of people** (EmoDB), 50 epochs" in build.about().data.replace(
        "\N{NO-BREAK SPACE}", " "
    )


@pytest.mark.nightly
@pytest.mark.skipif(not (ROOT / "build/synthetic/emodb").exists(), reason="no book is built: make book")
def test_one_notebook_by_papermill_as_the_readme_says(tmp_path):
    out = tmp_path / "out.ipynb"
    parameters = ("-p", "corpus", "emodb", "-p", "fold", "0")
    result = python("-m", "papermill", "notebooks/fig1_process.ipynb", out, *parameters)
    assert result.returncode == 0, result.stderr
    assert any("image/png" in o.get("data", {}) for cell in code_cells(out) for o in cell.outputs)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"speech": "nope"}, "speech 'nope' is none of examples, synthetic, recordings"),
        ({"schedule": "nope"}, "schedule 'nope' is none of paper, "),
        (
            {"corpus": "nope"},
            "no synthetic of 'nope' in this build: recordings of your own are made by `make book CORPUS=nope",
        ),
    ],
)
def test_what_a_build_does_not_have_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        notebook.Build(ROOT, **wrong)


def test_a_schedule_by_which_nothing_was_trained_is_named(tmp_path):
    with pytest.raises(ValueError, match="no synthetic trained by the schedule 'search' in this build: make it with"):
        notebook.Build(tmp_path, schedule="search").built  # noqa: B018


@pytest.mark.parametrize("schedule", config.SCHEDULES)
def test_every_schedule_is_known_with_its_epochs_and_with_others(schedule):
    """Also those whose names end in a number, such as paper-bf16."""
    for name in (schedule, f"{schedule}-20-epochs"):
        assert notebook.Build(ROOT, schedule=name).schedule == name


@pytest.mark.parametrize("share", [0, 2, float("nan")])
def test_a_number_out_of_its_range_is_refused(share):
    with pytest.raises(ValueError, match=r"share = .*: give a number from 0\.01 to 0\.99"):
        notebook.start({"In": [], "share": share}, share=(0.01, 0.99))


def test_a_whole_number_may_stand_for_a_float():
    parameters.check("share = 0.5", ["# Parameters\nshare = 1"])
    with pytest.raises(ValueError, match="expected str; papermill passes text by -r"):
        parameters.check("corpus = 'emodb'", ["# Parameters\ncorpus = 2024"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_picture_has_data_code_and_a_caption(path):
    """In the book by its metadata; in JupyterLab, which shows no metadata, the caption stands below it."""
    for cell in code_cells(path):
        for drawn, below in zip(cell.outputs, [*cell.outputs[1:], None], strict=False):
            if about := drawn.get("metadata", {}).get("picture"):
                assert cell.metadata.mystnb.code_prompt_show.startswith("Code: ")
                assert below is not None
                shown = "".join(below.data["text/markdown"]).replace("\N{NO-BREAK SPACE}", " ")
                assert shown == f"**{about['caption']}** {about['alt']}".replace("\N{NO-BREAK SPACE}", " ")
                data = pd.read_csv(io.StringIO(about["data"]))
                assert len(data)
                assert not any("\n" in str(value) for value in data.to_numpy().ravel())
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            assert any("picture" in output.get("metadata", {}) for output in cell.outputs)
