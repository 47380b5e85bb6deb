"""``make read``: what it does not install, nothing of it asks for; its book says what it is."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from companion import evidence, front
from serlib import config, flops, records
from serlib.model import SpectrogramViT
from tests.helpers import tiny_record
from workflow import graph, read, run, spoken

ROOT = Path(__file__).parents[1]
READ = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path
class Installed(PathFinder):
    @staticmethod
    def find_spec(name, *rest):
        return None if name.partition(".")[0] in sys.argv[1:] else PathFinder.find_spec(name, *rest)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
from workflow import read, render
render.build_sphinx = lambda *given, **options: 0
raise SystemExit(read.main(Path.cwd(), Path.cwd() / "build/read"))
"""


def missing() -> set[str]:
    """The modules of every installed package that the packages of ``make read`` do not ask for."""
    pending = re.search(r"^READS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    found: set[str] = set()
    while pending:
        if (name := canonicalize_name(pending.pop())) not in found:
            found.add(name)
            asked = map(Requirement, metadata.requires(name) or ())
            pending += [one.name for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]
    own = {"serlib", "pip", "setuptools", "wheel"}
    modules = metadata.packages_distributions().items()
    return {module for module, of in modules if not {canonicalize_name(name) for name in of} & (found | own)}


def test_the_book_is_made_of_what_is_installed_for_it_and_says_that_nothing_was_executed(tmp_path):
    gone = missing()
    assert {"torch", "snakemake", "librosa", "pyarrow", "sklearn"} <= gone
    for name in ("book", "docs", "companion", "serlib", "studies", "workflow", "notebooks", "_config.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("requirements.lock", "CITATION.bib"):
        (tmp_path / name).symlink_to(ROOT / name)
    ended = subprocess.run((sys.executable, "-c", READ, *sorted(gone)), cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    stage = tmp_path / "build/read"
    note = re.search("^This book was rendered.*$", (stage / "book/index.md").read_text(), re.MULTILINE)[0]
    assert "rendered by `make read`" in note
    assert note in (stage / "book/try_it.md").read_text()
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        *cells, last = json.loads((stage / "notebooks" / source.name).read_text())["cells"]
        assert note in "".join(last["source"])
        assert not any("../data/" in line for cell in cells for line in cell["source"])  # tables that it does not make
        assert [cell.get("outputs") for cell in cells] == [
            cell.get("outputs") for cell in json.loads(source.read_text())["cells"]
        ]
    assert (stage / "book/figures/synthetic-emotions.svg").exists()


def test_a_notebook_whose_pictures_are_not_kept_is_named(tmp_path, capsys):
    """As nbstripout leaves it; and as a merge or a full disk does."""
    notebook = json.loads((ROOT / "notebooks/fig5_student.ipynb").read_text())
    for cell in notebook["cells"]:
        cell |= {"outputs": []} if cell["cell_type"] == "code" else {}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/fig5_student.ipynb").write_text(json.dumps(notebook))
    assert read.main(tmp_path, tmp_path / "build/read") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"serlib: {tmp_path}/notebooks/fig5_student.ipynb: no picture is kept of ")
    for content in (f"<<<<<<< HEAD\n{json.dumps(notebook)}", ""):
        (path := tmp_path / "notebooks/fig5_student.ipynb").write_text(content)
        assert read.main(tmp_path, tmp_path / "build/read") == 1
        with pytest.raises(SystemExit):
            graph.check_page(str(path), {})
        assert capsys.readouterr().err == 2 * f"serlib: {path}: no notebook; `git checkout` restores it\n"


def test_predictions_are_made_again_where_they_can_be_kept_and_no_old_ones_stay(tmp_path, monkeypatch):
    path = tmp_path / "results/recordings" / records.location("recordings", "emodb", "paper", "random", 0, "teacher", 0)
    records.write(tiny_record(), path)
    kept = evidence.read(tmp_path).predictions
    records.write(tiny_record(fold=1), path.with_name("other.json"))
    monkeypatch.setattr(evidence, "KEEPS_PREDICTIONS", False)
    with pytest.raises(FileNotFoundError):
        _ = evidence.read(tmp_path).predictions
    accuracies = evidence.read(tmp_path).rows("accuracies")
    monkeypatch.setattr(evidence, "KEEPS_PREDICTIONS", True)
    again = evidence.read(tmp_path)
    assert len(again.predictions) == 2 * len(kept)
    assert again.rows("accuracies") == accuracies


def test_committed_images_of_synthetic_speech_are_those_that_it_has():
    made = spoken.images()
    with np.load(spoken.IMAGES) as held:
        assert {name: held[name].tolist() for name in ("true", "predicted")} == {
            name: made[name].tolist() for name in ("true", "predicted")
        }
        np.testing.assert_allclose(held["images"].astype(float), made["images"].astype(float), atol=2e-3)


@pytest.mark.parametrize(("name", "model"), [("teacher", config.TEACHER), ("student", config.STUDENT)])
def test_the_shapes_of_a_networks_steps_are_those_of_the_network(name, model):
    shapes = {step.name.split(":")[0]: tuple(step.shape) for step in flops.steps(SpectrogramViT(model).eval())}
    wanted = [shapes["patch embedding"], shapes[f"block {model.depth}"]]
    wanted += [shapes[f"stem {len(model.stem)}"]] if model.stem else []
    shown = [tuple(map(int, re.findall(r"\d+", gives))) for _, gives in front.networks()[name]]
    assert set(wanted) <= set(shown)


def test_it_takes_no_corpus(monkeypatch, capsys):
    monkeypatch.setattr(run, "end_with", lambda parent: None)
    monkeypatch.setattr(read, "main", lambda *_: 0)
    monkeypatch.setattr(os, "environ", {"CORPUS": "emodb", "DATA": "."})
    with pytest.raises(SystemExit):
        run.main("read")
    assert "CORPUS, DATA is for make book" in capsys.readouterr().err
    monkeypatch.setattr(os, "environ", {})
    run.main("read")
    assert capsys.readouterr().out.startswith("The book, as committed: ")
