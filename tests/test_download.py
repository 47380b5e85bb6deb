"""Fetching against a server on this machine: what is published is kept, and nothing else."""

import gc
import hashlib
import os
import warnings
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from serlib.data.corpora import CorpusError
from workflow import download

# pooch leaves the response of a failed request, with its socket, to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FILES = {"1001_DFA_ANG_XX.wav": b"anger" * 500, "1002_IEO_SAD_LO.wav": b"sadness" * 500}


class Server:
    """Serves the first ``sent`` bytes of the files below ``folder``; ``asked`` lists the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.sent = folder, [], None
        folder.mkdir()
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                super().do_GET()

            def copyfile(self, source, outputfile) -> None:
                outputfile.write(source.read()[: server.sent])

            def log_message(self, *arguments) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    gc.freeze()  # what is collected at the end is of this test
    server = Server(tmp_path / "served")
    yield server
    server.stop()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def published(monkeypatch):
    """The manifest of every corpus, to be changed."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(download, "manifest", lambda name: hashes)
    return hashes


def serve_files(server: Server, files: dict[str, bytes] = FILES) -> None:
    for name, content in files.items():
        (server.folder / name).write_bytes(content)


def serve_archive(server: Server, files: dict[str, bytes] = FILES) -> str:
    """Puts an archive on the server, in the layout of EmoDB's; its address."""
    with zipfile.ZipFile(server.folder / "emodb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("erklaerung.txt", "what else is in the archive")
        for name, content in files.items():
            archive.writestr(f"wav/{name}", content)
    return server.address + "emodb.zip"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(*arguments) -> str:
    """The message, one line, of the error that fetching ends with."""
    with pytest.raises(CorpusError) as error:
        download.fetch(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_crema_d_comes_file_by_file(server, published, tmp_path):
    serve_files(server)
    download.fetch("crema-d", tmp_path / "crema-d", server.address)
    assert contents(tmp_path / "crema-d" / "AudioWAV") == FILES
    assert sorted(server.asked) == [f"/{name}" for name in sorted(FILES)]


def test_a_whole_file_of_crema_d_is_kept_and_a_damaged_one_fetched_again(server, published, tmp_path):
    serve_files(server)
    download.fetch("crema-d", tmp_path / "crema-d", server.address)
    server.asked.clear()
    download.fetch("crema-d", tmp_path / "crema-d", server.address)
    assert server.asked == []
    (tmp_path / "crema-d" / "AudioWAV" / "1001_DFA_ANG_XX.wav").write_bytes(b"half a fi")
    download.fetch("crema-d", tmp_path / "crema-d", server.address)
    assert server.asked == ["/1001_DFA_ANG_XX.wav"]
    assert contents(tmp_path / "crema-d" / "AudioWAV") == FILES


def test_an_interrupted_download_is_continued(server, published, tmp_path):
    serve_files(server)
    (server.folder / "1002_IEO_SAD_LO.wav").unlink()
    assert refusal("crema-d", tmp_path / "crema-d", server.address).startswith(server.address)
    assert contents(tmp_path / "crema-d" / "AudioWAV").keys() == {"1001_DFA_ANG_XX.wav"}
    serve_files(server)
    server.asked.clear()
    download.fetch("crema-d", tmp_path / "crema-d", server.address)
    assert server.asked == ["/1002_IEO_SAD_LO.wav"]
    path = tmp_path / "crema-d/AudioWAV/1002_IEO_SAD_LO.wav"
    path.unlink()
    os.mkfifo(path)  # whoever reads it waits
    with pytest.raises(OSError, match="not a regular file"):
        download.fetch("crema-d", tmp_path / "crema-d", server.address)


def test_a_wrong_hash_is_refused_by_name_and_the_file_not_kept(server, published, tmp_path):
    serve_files(server, FILES | {"1002_IEO_SAD_LO.wav": b"something else"})
    message = refusal("crema-d", tmp_path / "crema-d", server.address)
    assert "not the published file" in message
    assert "1002_IEO_SAD_LO.wav" in message
    assert published["1002_IEO_SAD_LO.wav"] in message
    assert contents(tmp_path / "crema-d" / "AudioWAV").keys() == {"1001_DFA_ANG_XX.wav"}


def test_emodb_comes_as_an_archive(server, published, tmp_path):
    address = serve_archive(server)
    download.fetch("emodb", tmp_path / "emodb", address)
    assert contents(tmp_path / "emodb" / "wav") == FILES
    assert server.asked == ["/emodb.zip"]
    download.fetch("emodb", tmp_path / "emodb", address)
    assert server.asked == ["/emodb.zip"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"1001_DFA_ANG_XX.wav": FILES["1001_DFA_ANG_XX.wav"]}, "1002_IEO_SAD_LO.wav is missing"),
        (FILES | {"1001_DFA_ANG_XX.wav": b"something else"}, "1001_DFA_ANG_XX.wav is different"),
    ],
)
def test_another_archive_is_refused_by_the_name_of_a_file_and_the_right_one_fetched_later(
    server, published, tmp_path, files, says
):
    address = serve_archive(server, files)
    assert refusal("emodb", tmp_path / "emodb", address) == f"{address}: not the published file ({says})"
    serve_archive(server)
    download.fetch("emodb", tmp_path / "emodb", address)
    assert contents(tmp_path / "emodb" / "wav") == FILES


@pytest.mark.parametrize("name", ["emodb", "crema-d"])
def test_an_address_that_does_not_answer_is_named(server, published, tmp_path, name, capsys, monkeypatch):
    """One that ends in the middle of a file, too: the message begins a line."""
    serve_files(server)
    address, server.sent = serve_archive(server) if name == "emodb" else server.address, 20
    monkeypatch.setitem(download.ADDRESSES, name, (address,))
    assert download.main([name, "--data", str(tmp_path / name)]) == 1
    assert f"\nworkflow.download: {address}: no answer" in capsys.readouterr().err
    server.stop()
    message = refusal(name, tmp_path / name, server.address)
    assert message.startswith(f"{server.address}: no answer")
    assert str(tmp_path / name) in message


def test_savee_says_where_to_register_and_fetches_nothing(tmp_path, capsys):
    message = refusal("savee", tmp_path / "savee")
    assert "register at http://kahlan.eps.surrey.ac.uk/savee/" in message
    assert download.main(["savee", "--data", str(tmp_path / "savee")]) == 1
    assert capsys.readouterr().err == f"workflow.download: {message}\n"
    assert not (tmp_path / "savee").exists()


def test_a_corpus_without_an_address_is_named(tmp_path):
    assert "'ravdess'" in refusal("ravdess", tmp_path / "ravdess")


# What is there and right is never touched


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and inode of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def half(server, published, tmp_path):
    """A folder with one good recording, one damaged one and the user's own notes."""
    folder = tmp_path / "emodb"
    (folder / "wav").mkdir(parents=True)
    good, bad = FILES
    (folder / "wav" / good).write_bytes(FILES[good])
    (folder / "wav" / bad).write_bytes(b"half a fi")
    (folder / "erklaerung.txt").write_text("my own notes")
    return folder


def test_with_the_address_down_an_archive_that_lies_there_is_used_and_kept(server, half):
    """Of the archive only the recordings that were published replace what is there."""
    address = serve_archive(server, FILES | {"mine.wav": b"of the archive"})
    (half / download.ARCHIVE).write_bytes((server.folder / "emodb.zip").read_bytes())
    (half / "wav/mine.wav").write_bytes(b"my own")
    before = everything(half)
    server.stop()
    download.fetch("emodb", half, address)
    assert contents(half / "wav") == FILES | {"mine.wav": b"my own"}
    after = everything(half)
    _, bad = FILES
    assert {name: after[name] for name in after if name != f"wav/{bad}"} == {
        name: before[name] for name in before if name != f"wav/{bad}"
    }


def damaged(archive: Path, how: str) -> bytes:
    """An archive, cut in half, with a bit changed in a file that is packed, or with a name that is no text."""
    content = bytearray(archive.read_bytes())
    if how == "name":
        return bytes(content).replace("Ä".encode(), b"\xc3\xff")
    content[content.index(name := b"wav/1002_IEO_SAD_LO.wav") + len(name)] |= 6
    return bytes(content[: len(content) // 2] if how == "cut" else content)


@pytest.mark.parametrize("lying", [None, "cut", "bit", "name", "another"])
def test_with_the_address_down_nothing_is_touched(server, half, lying):
    address = serve_archive(server, {"1001_DFA_ANG_XX.wav": b"other"} if lying == "another" else FILES | {"Ä": b"more"})
    if lying:
        archive = server.folder / "emodb.zip"
        (half / download.ARCHIVE).write_bytes(archive.read_bytes() if lying == "another" else damaged(archive, lying))
    before = everything(half)
    server.stop()
    assert refusal("emodb", half, address).startswith(f"{address}: no answer")
    assert everything(half) == before


@pytest.mark.parametrize("served", ["another", "a file short", "cut", "bit", "name", "a page"])
def test_a_wrong_archive_touches_nothing(server, half, served):
    files = {"another": dict.fromkeys(FILES, b"other"), "a file short": dict(list(FILES.items())[:1])}
    address = serve_archive(server, files.get(served, FILES | {"Ä": b"more"}))
    archive = server.folder / "emodb.zip"
    if served not in files:
        archive.write_bytes(b"<html>moved</html>" if served == "a page" else damaged(archive, served))
    before = everything(half)
    assert refusal("emodb", half, address).startswith(f"{address}: not the published file")
    assert everything(half) == before


def test_the_second_address_is_asked_where_the_first_does_not_answer(server, half, monkeypatch):
    address = serve_archive(server)
    monkeypatch.setitem(download.ADDRESSES, "emodb", (server.address + "nothing.zip", address))
    download.fetch("emodb", half)
    assert contents(half / "wav") == FILES
    assert server.asked == ["/nothing.zip", "/emodb.zip"]


def test_every_corpus_is_asked_for_by_https_first():
    assert all(address.startswith("https://") for address, *_ in download.ADDRESSES.values())
