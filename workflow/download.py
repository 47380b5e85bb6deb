"""``python -m workflow.download CORPUS``: fetches a corpus, and checks each recording against its published SHA-256.

A recording takes its place only after the check.

* CREMA-D (Cao et al. 2014): fetched file by file from the corpus's own repository;
* EmoDB (Burkhardt et al. 2005): fetched as the archive at the corpus's own address;
* SAVEE: nothing is fetched, since each user must register; the command says how.
"""

import argparse
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from tqdm import tqdm

from serlib import cli
from serlib.data.corpora import CorpusError, manifest
from serlib.engine.command import run
from serlib.files import UNFINISHED, below, require_file, sha256
from workflow.files import copy

ADDRESSES = {  # corpus -> addresses, tried in this order
    "emodb": (
        "https://emodb.bilderbar.info/download/download.zip",
        "http://emodb.bilderbar.info/download/download.zip",
    ),
    "crema-d": ("https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/AudioWAV/",),
}
ARCHIVE = "download.zip"  # EmoDB's archive; the user may have fetched it by hand

SAVEE_HELP = (
    "SAVEE is given to registered researchers only: register at http://kahlan.eps.surrey.ac.uk/savee/, unpack the audio "
    "and give the folder that holds DC, JE, JK and KL as --data"
)


def fetch(name: str, folder: str | Path, address: str | None = None) -> None:
    """Fetch a corpus into ``folder`` with a progress bar; correct files that already exist are not touched.

    Raises:
        CorpusError: the corpus cannot be fetched, the address does not answer, or a file's hash is wrong.
    """
    import pooch  # imported late: otherwise it warns in every notebook that only lists hashes

    if name not in ADDRESSES:
        raise CorpusError(SAVEE_HELP if name == "savee" else f"no address is known for corpus {name!r}")
    pooch.get_logger().setLevel("WARNING")
    *others, last = (address,) if address else ADDRESSES[name]
    get = _archive if name == "emodb" else _files
    for url in (*others, last):
        try:
            return get(url, Path(folder), manifest(name))
        except (requests.RequestException, ValueError) as error:
            if url == last and isinstance(error, requests.RequestException):
                message = f"no answer ({type(error).__name__}); fetch it by hand into {folder}"
                raise CorpusError(f"{url}: {message}") from error
            if url == last:  # pooch or _archive found another file than the published one
                raise CorpusError(f"{url}: not the published file ({str(error).splitlines()[0]})") from error


def _archive(address: str, folder: Path, hashes: dict[str, str]) -> None:
    """Fetch an archive without a published hash; all its files are checked before the first takes its place."""
    import pooch

    if not _wrong(folder / "wav", hashes):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=UNFINISHED, dir=folder) as scratch:
        fetched, unpacked, reason = Path(scratch, "archive"), Path(scratch, "unpacked"), "fetched"
        if (folder / ARCHIVE).is_file():
            reason = _unpack(folder / ARCHIVE, unpacked, hashes)
        if reason:
            with tqdm(total=1, unit="B", unit_scale=True) as bar:  # ends its line, whatever happens
                pooch.retrieve(address, known_hash=None, path=scratch, fname=fetched.name, progressbar=bar)
            reason = _unpack(fetched, unpacked, hashes)
        if reason:
            raise ValueError(reason)
        for path in below(unpacked, ""):
            target = folder / path.relative_to(unpacked)
            if path.is_file() and ((path.parent == unpacked / "wav" and path.name in hashes) or not target.exists()):
                copy(path, target)


def _unpack(archive: Path, target: Path, hashes: dict[str, str]) -> str:
    """Unpack an archive of recordings; return why it is not the published one, "" if it is."""
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(target)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # an error of the disk, not of the archive
            raise
        return str(error) or type(error).__name__
    return _wrong(target / "wav", hashes)


def _wrong(folder: Path, hashes: dict[str, str]) -> str:
    """Name the first file that is missing or different; "" if there is none."""
    for file, expected in hashes.items():
        path = folder / file
        if not path.is_file() or sha256(path) != expected:
            return f"{file} is {'different' if path.exists() else 'missing'}"
    return ""


def _files(address: str, folder: Path, hashes: dict[str, str]) -> None:
    import pooch

    registry = {file: f"sha256:{value}" for file, value in hashes.items()}
    source = pooch.create(folder / "AudioWAV", address, registry=registry)
    for file in tqdm(hashes, "download", unit="file"):
        if (path := folder / "AudioWAV" / file).exists() and not path.is_file():
            require_file(path)  # raises an error that says what it is: reading a pipe would wait for ever
        source.fetch(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch a corpus. Returns the exit status."""
    parser = argparse.ArgumentParser("python -m workflow.download", description="Fetch a corpus, each file checked.")
    parser.add_argument("corpus", help=", ".join(ADDRESSES))
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where it goes (default: $SERLIB_DATA/CORPUS)")
    parser.set_defaults(command=lambda options: fetch(options.corpus, cli.data(options)))
    return run(parser, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
