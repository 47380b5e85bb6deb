"""Help with getting the corpora. Every file is checked against its published SHA-256 before it is used.

* CREMA-D (Cao et al. 2014): file by file from the corpus's own repository;
* EmoDB (Burkhardt et al. 2005): the archive at the corpus's own address;
* SAVEE asks each user to register: nothing is fetched, and the way there is said.
"""

import csv
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import requests
from tqdm import tqdm

from serlib.data.corpora import Corpus, CorpusError, parse
from serlib.files import sha256

ADDRESSES = {
    "emodb": "http://emodb.bilderbar.info/download/download.zip",
    "crema-d": "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/AudioWAV/",
}

SAVEE_HELP = (
    "SAVEE is given to registered researchers only: register at http://kahlan.eps.surrey.ac.uk/savee/, unpack the audio "
    "and give the folder that holds DC, JE, JK and KL as --data"
)


def manifest(name: str) -> dict[str, str]:
    """File name to SHA-256 (hex) of every published file of ``emodb`` or ``crema-d``."""
    text = resources.files("serlib.data").joinpath("manifests", f"{name}.csv").read_text(encoding="utf-8")
    return {row["file"]: row["sha256"] for row in csv.DictReader(text.splitlines())}


def published(name: str, files: Iterable[str] | None = None) -> Corpus:
    """``emodb`` or ``crema-d`` as its manifest names it, without a recording: all of it, or some of its files.

    Raises:
        KeyError: one of ``files`` is not in the manifest.
    """
    hashes = manifest(name)
    utterances = (replace(parse(name, file), sha256=hashes[file]) for file in sorted(files or hashes))
    return Corpus(name, "recordings", tuple(utterances))


def fetch(name: str, folder: Path, address: str | None = None) -> None:
    """Fetch a corpus into ``folder`` with a progress bar; files that are there already and whole are kept.

    Raises:
        CorpusError: the corpus cannot be fetched, the address does not answer, or a file's hash is wrong.
    """
    import pooch  # here, since it warns in every notebook that only lists hashes

    if name not in ADDRESSES:
        raise CorpusError(SAVEE_HELP if name == "savee" else f"no address is known for corpus {name!r}")
    address = address or ADDRESSES[name]
    hashes = manifest(name)
    pooch.get_logger().setLevel("WARNING")
    try:
        if name == "emodb":
            _archive(address, folder, hashes)
        else:
            _files(address, folder / "AudioWAV", hashes)
    except requests.RequestException as error:
        raise CorpusError(f"{address}: no answer ({type(error).__name__}); fetch it by hand into {folder}") from error
    except ValueError as error:  # pooch: the hash of what came differs
        raise CorpusError(f"{address}: not the published file ({str(error).splitlines()[0]})") from error


def _archive(address: str, folder: Path, hashes: dict[str, str]) -> None:
    """One archive whose own hash is not published; each file in it is checked instead."""
    import pooch

    if not _wrong(folder / "wav", hashes):
        return
    archive = folder / "download.zip"
    archive.unlink(missing_ok=True)
    try:
        unpack = pooch.Unzip(extract_dir=str(folder.resolve()))
        pooch.retrieve(address, known_hash=None, path=folder, fname=archive.name, processor=unpack, progressbar=True)
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    finally:
        archive.unlink(missing_ok=True)
    if wrong := _wrong(folder / "wav", hashes):
        raise ValueError(wrong)


def _wrong(folder: Path, hashes: dict[str, str]) -> str:
    """The first file that is missing or different, "" for none."""
    for file, expected in hashes.items():
        path = folder / file
        if not path.exists() or sha256(path) != expected:
            return f"{file} is {'different' if path.exists() else 'missing'}"
    return ""


def _files(address: str, folder: Path, hashes: dict[str, str]) -> None:
    import pooch

    source = pooch.create(folder, address, registry={file: f"sha256:{value}" for file, value in hashes.items()})
    for file in tqdm(hashes, "download", unit="file"):
        source.fetch(file)
