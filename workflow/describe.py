"""``python -m workflow.describe FOLDER [--crate]``: writes the table of predictions with a description for machines.

* ``FOLDER/predictions.csv.gz``: a row for every prediction of every committed record
* ``FOLDER/croissant.json``: the table's description in Croissant 1.0
* ``FOLDER/runs.csv`` and ``runs.json``: a row for every run, with its accuracies, device, seconds and commit
* ``FOLDER/ro-crate-metadata.json``, with ``--crate`` (needs ``pip install -e '.[archive]'``): describes the checkout, that
  is the workflow, its settings and profiles, records, weights and notebooks
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import yaml
from pyarrow import csv

from companion import evidence, labels, results
from serlib.files import atomic_write, sha256

TABLE = "predictions.csv.gz"
# Data types of Croissant, by the kind of a column's values.
TYPES = {"i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float", "b": "sc:Boolean"}
COLUMNS = {
    "speech": "recordings of people, or synthetic speech",
    "corpus": "which corpus",
    "fingerprint": "SHA-256 over the corpus's files and labels",
    "image": "height x width of the log-Mel image in pixels",
    "precision": "of the products while training",
    "schedule": "how long and how it was trained",
    "protocol": "how training and test set are parted",
    "fold": "which part is the test set",
    "split": "SHA-256 over the split",
    "seed": "draws the weights and the order of the images",
    "run": "which network or baseline",
    "epochs": "a stage",
    "complete": "whether the recordings are those of the corpus as published",
    "device": "CPU or GPU",
    "part": "train, test, validation, or test-3: each test speaker normalised by 3 unlabelled utterances",
    "file": "the file's name",
    "speaker": "as the corpus names them",
    "true": "the emotion that the corpus names",
    "predicted": "the emotion that the run names",
    "utterance": "the file of which this one is a version",
    "correct": "1 if both agree, else 0",
    "repetition": "the seed, or of random draws the draw",
}
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "recordSet": "cr:recordSet",
    "sha256": "cr:sha256",
    "source": "cr:source",
}


def write(table: pd.DataFrame, records: pd.DataFrame, folder: Path, citation: dict[str, Any]) -> None:
    """Write the table, its description and the table of runs; equal predictions and ``records`` give equal bytes."""
    table = table.astype({"correct": int})
    with (
        atomic_write(folder / TABLE) as beside,
        beside.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
    ):
        csv.write_csv(pyarrow.Table.from_pandas(labels.cells(table), preserve_index=False), packed)
    columns = [*results.CONDITION, *results.CELL, "run"]
    runs = table.pivot_table("correct", columns, "part", "mean", observed=True).add_suffix(" WA").reset_index()
    runs = runs.merge(
        records.reindex(columns=[*columns, "device", "hardware", "images", "seconds", "commit"]), "left", columns
    )
    for name, text in {
        "runs.csv": labels.cells(runs).to_csv(index=False),
        "runs.json": runs.to_json(orient="records", indent=1),
    }.items():
        with atomic_write(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")
    description = json.dumps(croissant(table, sha256(folder / TABLE), citation), indent=1, ensure_ascii=False)
    with atomic_write(folder / "croissant.json") as beside:
        beside.write_text(description + "\n", encoding="utf-8")


def croissant(table: pd.DataFrame, digest: str, citation: dict[str, Any]) -> dict[str, Any]:
    """The Croissant description of the table and of each of its columns."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"predictions/{name}",
            "name": name,
            "description": COLUMNS[name],
            "dataType": TYPES.get(values.dtype.kind, "sc:Text"),
            "source": {"fileObject": {"@id": TABLE}, "extract": {"column": name}},
        }
        for name, values in table.items()
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "predictions",
        "description": f"{len(table):,} predictions. {citation['abstract']}",
        "license": f"https://spdx.org/licenses/{citation['license']}",
        "version": citation["version"],
        "creator": {"@type": "sc:Organization", "name": citation["authors"][0]["name"]},
        "keywords": citation["keywords"],
        "citeAs": citation["message"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": TABLE,
                "name": TABLE,
                "contentUrl": TABLE,
                "encodingFormat": "text/csv",
                "sha256": digest,
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "predictions", "name": "predictions", "field": fields}],
    }


def crate(root: Path, folder: Path, citation: dict[str, Any]) -> None:
    """Write the metadata of an RO-Crate of the checkout beside the table; no file is copied."""
    from rocrate.rocrate import ROCrate

    ro_crate = ROCrate()
    ro_crate.name, ro_crate.description = citation["title"], citation["abstract"]
    ro_crate.license = f"https://spdx.org/licenses/{citation['license']}"
    workflow = ro_crate.add_workflow(dest_path="Snakefile", main=True, lang="snakemake")
    workflow["name"] = "from recordings to the book"
    for path in ("CITATION.cff", "requirements.lock", "pyproject.toml", "workflow/profiles/default/config.yaml"):
        ro_crate.add_file(dest_path=path)
    for path in ("results", "weights", "notebooks", "benchmarks", "book"):
        if (root / path).is_dir():
            ro_crate.add_directory(dest_path=f"{path}/")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "ro-crate-metadata.json") as beside:
        beside.write_text(json.dumps(ro_crate.metadata.generate(), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m workflow.describe", description="Describe the tables of predictions."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crate", action="store_true", help="describe the checkout as well")
    options = parser.parse_args()
    root = Path(__file__).parents[1]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    committed = evidence.read(root)
    write(committed.predictions, committed.runs, options.folder, citation)
    if options.crate:
        crate(root, options.folder, citation)


if __name__ == "__main__":
    main()
