"""Downloads, from a server on this machine: whole, damaged, broken off, missing, out of reach."""

import dataclasses
import functools
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading

import plp
import pytest
from plp import _download
from plp.cli import main
from plp.datasets import download

FILES = {"meta": b"names", "train": b"images " * 20_000, "test": b"images"}


def pack(files, folder="cifar-100-python", extra=()):
    """A .tar.gz as bytes, with a folder entry as the published one has."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w:gz") as tar:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry in extra:
            tar.addfile(entry)
    return result.getvalue()


@pytest.fixture
def server(tmp_path):
    """Serves the folder it is given as ``server.folder``; ``server.cut`` ends each answer after so many bytes.

    ``server.length`` is what it says of an answer's length, None for nothing.
    """

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send_header(self, name, value):
            if name == "Content-Length" and self.server.length != "true":
                value = self.server.length
            if value is not None:
                super().send_header(name, value)

        def copyfile(self, source, target):
            target.write(source.read(self.server.cut))

    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as instance:
        instance.folder = tmp_path / "served"
        instance.cut, instance.length = -1, "true"
        threading.Thread(target=instance.serve_forever, daemon=True).start()
        yield instance
        instance.shutdown()


@pytest.fixture
def publish(server, monkeypatch):
    """Puts an archive on the server and makes it the published one; returns its address."""

    def publish(data, md5=None):
        (server.folder / "cifar-100-python.tar.gz").write_bytes(data)
        url = f"http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz"
        archive = _download.Archive(url, md5 or hashlib.md5(data).hexdigest(), "cifar-100-python", frozenset(FILES))
        monkeypatch.setitem(_download.ARCHIVES["cifar100"], "python", archive)
        return url

    return publish


def test_whole(publish, tmp_path, capfd):
    publish(pack(FILES))
    folder = download(tmp_path / "data")
    assert folder == tmp_path / "data" / "cifar-100-python"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-100-python"]
    assert "fetching cifar-100-python.tar.gz" in capfd.readouterr().err


def test_what_was_fetched_is_found_from_any_folder(publish, tmp_path, monkeypatch):
    """In the user's cache, but for what data/ and PLP_DATA hold."""
    monkeypatch.setattr("plp._download.user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.delenv("PLP_DATA", raising=False)
    publish(pack(FILES))
    assert download() == tmp_path / "cache" / "cifar-100-python"
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        with pytest.raises(plp.Error, match="cache/cifar-100-python/"):  # found, and no data set
            plp.datasets.cifar100()
    download("data")
    with pytest.raises(plp.Error, match="there/data/cifar-100-python/"):
        plp.datasets.cifar100()
    monkeypatch.setenv("PLP_DATA", download(tmp_path / "named").parent.as_posix())
    with pytest.raises(plp.Error, match="named/cifar-100-python/"):
        plp.datasets.cifar100()


def test_nothing_is_fetched_twice(publish, server, tmp_path):
    publish(pack(FILES))
    download(tmp_path)
    (server.folder / "cifar-100-python.tar.gz").unlink()
    download(tmp_path)


def test_a_servers_words_do_not_steer_the_terminal(server, monkeypatch, capfd):
    handle = server.RequestHandlerClass.func
    monkeypatch.setattr(handle, "do_GET", lambda self: self.send_response(404, "\x1b[2Jnot here") or self.end_headers())
    assert main(["download", "--url", f"http://127.0.0.1:{server.server_port}/x"]) == 1
    assert r"404 (\x1b[2Jnot here)" in capfd.readouterr().err
    with pytest.raises(ConnectionError, match=re.escape(r"404 (\x1b[2Jnot here)")):
        download(url=f"http://127.0.0.1:{server.server_port}/x")


def test_missing_files_are_added(publish, tmp_path):
    publish(pack(FILES))
    (download(tmp_path) / "test").unlink()
    assert (download(tmp_path) / "test").read_bytes() == FILES["test"]


def test_damaged(publish, tmp_path):
    data = bytearray(pack(FILES))
    publish(data, md5="0" * 32)
    with pytest.raises(plp.Error, match="MD5 .* expected 0000"):
        download(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_broken_off(publish, server, tmp_path):
    publish(pack(FILES))
    server.cut = 100
    with pytest.raises(ConnectionError, match="broke off after 100 of"):
        download(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "", "²"])
def test_a_length_that_is_no_number(publish, server, tmp_path, length):
    publish(pack(FILES))
    server.length = length
    with pytest.raises(plp.Error, match="the server says Content-Length .*, expected a number of bytes"):
        download(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("length", ["true", None, "9" * 5000])
def test_more_than_an_archive_can_have(publish, server, tmp_path, length, monkeypatch):
    monkeypatch.setattr(_download, "MOST", 10_000)
    publish(pack({**FILES, "test": os.urandom(20_000)}))
    server.length = length
    with pytest.raises(plp.Error, match="found more than 10,000 bytes, expected the published archive"):
        download(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_no_length_at_all(publish, server, tmp_path):
    publish(pack(FILES))
    server.length = None
    assert {path.name for path in download(tmp_path / "data").iterdir()} == set(FILES)


def test_not_on_the_server(publish, tmp_path):
    url = publish(pack(FILES))
    with pytest.raises(ConnectionError, match="answered 404"):
        download(tmp_path, url=url + ".old")


def test_out_of_reach(tmp_path):
    with pytest.raises(ConnectionError, match="cannot reach .* check the network"):
        download(tmp_path / "data", url="http://127.0.0.1:1/cifar-100-python.tar.gz")
    assert not list((tmp_path / "data").iterdir())


def test_an_archive_cannot_write_elsewhere(publish, tmp_path):
    link = tarfile.TarInfo("cifar-100-python/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    publish(pack({**FILES, "../../escaped": b"x", "unknown": b"x"}, extra=[link]))
    folder = download(tmp_path / "data")
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_without_the_files(publish, tmp_path):
    publish(pack({"train": b""}))
    with pytest.raises(plp.Error, match="no meta, test"):
        download(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="layout is 'json', expected one of 'python', 'binary'"):
        download(tmp_path, "json")
    with pytest.raises(ValueError, match="dataset is 'mnist', expected one of 'cifar100', 'cifar10'"):
        download(tmp_path, dataset="mnist")


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_cifar10(server, tmp_path, monkeypatch, layout):
    """Fetched where it is asked for, by name."""
    archive = _download.ARCHIVES["cifar10"][layout]
    data = pack(dict.fromkeys(archive.files, b"some"), archive.folder)
    (server.folder / "x.tar.gz").write_bytes(data)
    url = f"http://127.0.0.1:{server.server_port}/x.tar.gz"
    served = dataclasses.replace(archive, url=url, md5=hashlib.md5(data).hexdigest())
    monkeypatch.setitem(_download.ARCHIVES["cifar10"], layout, served)
    folder = download(tmp_path / "data", layout, dataset="cifar10")
    assert folder.name == archive.folder and {path.name for path in folder.iterdir()} == archive.files
    with pytest.raises(plp.Error, match="data_batch_1"):  # found, and no data set
        plp.datasets.cifar10(tmp_path / "data")
    if layout == "python":
        with pytest.raises(plp.Error, match="data_batch_1"):
            plp.datasets.cifar10(tmp_path / "others", download=True)


def test_cifar100_downloads_only_when_asked(publish, tmp_path):
    publish(pack(FILES))
    with pytest.raises(FileNotFoundError):
        plp.datasets.cifar100(tmp_path / "data")
    with pytest.raises(plp.Error):  # fetched, and then read: it is no data set
        plp.datasets.cifar100(tmp_path / "data", download=True)
