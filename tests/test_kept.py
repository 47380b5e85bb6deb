"""What describes the repository to those who cite, archive and check it: it agrees with itself and names what exists."""

import gzip
import io
import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.utils import canonicalize_name

import serlib
from companion import node, results
from serlib import records
from serlib.files import sha256
from tests.helpers import tiny_record
from workflow import describe

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
META = json.loads((ROOT / "codemeta.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_all_name_the_same_work():
    (paper,) = CITATION["references"]
    bib = (ROOT / "CITATION.bib").read_text()
    check = yaml.safe_load((ROOT / "codecheck.yml").read_text())
    assert CITATION["version"] == META["version"] == serlib.__version__
    assert f"version = {{{serlib.__version__}}}" in bib
    assert CITATION["title"] == META["name"]
    assert f"title   = {{{CITATION['title']}}}" in bib
    assert CITATION["license"] == PROJECT["license"] == META["license"].rpartition("/")[2]
    assert META["description"] == CITATION["abstract"] == PROJECT["description"] + "."
    assert paper["title"] == META["referencePublication"][0]["name"] == check["paper"]["title"]
    assert f"title   = {{{paper['title']}}}" in bib
    assert f"doi     = {{{paper['doi']}}}" in bib
    assert check["paper"]["reference"] == META["referencePublication"][0]["@id"] == f"https://doi.org/{paper['doi']}"
    assert META["programmingLanguage"]["version"] == PROJECT["requires-python"]


def test_the_manifest_names_what_exists():
    check = yaml.safe_load((ROOT / "codecheck.yml").read_text())
    assert [item["file"] for item in check["manifest"] if not (ROOT / item["file"]).exists()] == []
    assert (ROOT / META["softwareRequirements"]).exists()
    assert "certificate" not in check


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_into_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert page != "CONTRIBUTING.md" or len(links) >= 10


def test_the_licence_of_every_locked_package_is_listed():
    listed = dict(re.findall(r"^\| (\S+) +\| \S+ +\| (.+?) +\|$", (ROOT / "LICENCES.md").read_text(), re.MULTILINE))
    named = {canonicalize_name(name): licence for name, licence in listed.items()}
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert sorted(locked - named.keys()) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_commands_that_exist(path):
    targets = re.findall(r"^[a-z -]+(?=:(?!=))", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {f"make {name}" for line in targets for name in line.split()} | {".ci/run"}
    jobs = yaml.safe_load(path.read_text())["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs
    assert set(runs) <= known
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def table() -> pd.DataFrame:
    return results.predictions([tiny_record(), tiny_record(fold=1)])


def test_every_column_of_the_table_is_described_as_it_is(tmp_path):
    other_images = tiny_record(fold=3, provenance=tiny_record().provenance | {"images": "8 bits a pixel"})
    made, given = node.runs([tiny_record(), other_images]), results.predictions([tiny_record(), other_images])
    describe.write(given, made, tmp_path, CITATION)
    about = ["device", "images", "seconds", "commit"]
    assert pd.read_csv(tmp_path / "runs.csv")[about].equals(made[about])
    described = json.loads((tmp_path / "croissant.json").read_text())
    (file,), (rows,) = described["distribution"], described["recordSet"]
    assert file["sha256"] == sha256(tmp_path / file["contentUrl"])
    written = pd.read_csv(tmp_path / describe.TABLE)
    assert [field["source"]["extract"]["column"] for field in rows["field"]] == list(written.columns)
    assert len(written) == len(given)
    for field in rows["field"]:
        if field["dataType"] != "sc:Text":
            assert written[field["name"]].dtype.kind == field["dataType"][3].lower()


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        describe.write(table(), node.runs([tiny_record(), tiny_record(fold=1)]), tmp_path / name, CITATION)
        raw = gzip.decompress((tmp_path / name / describe.TABLE).read_bytes())
        assert len(pd.read_csv(io.BytesIO(raw))) == len(table())
    assert (tmp_path / "a" / describe.TABLE).read_bytes() == (tmp_path / "b" / describe.TABLE).read_bytes()


def test_every_column_of_the_committed_records_has_its_words():
    one = records.read(next((ROOT / "results/recordings").rglob("*.json")))
    assert list(results.predictions([one]).columns) == list(describe.COLUMNS)
