"""Downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from numbanet.data import download

GOOD = bytes(range(256)) * 700
MD5 = hashlib.md5(GOOD).hexdigest()


@pytest.fixture
def server():
    """Serves /good/, /wrong/ (other bytes), /cut/ (breaks off), /silent/ (never answers); the rest is 404."""
    requests: list[str] = []
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            kind = self.path.split("/")[1]
            if kind == "silent":
                release.wait(5)
                return
            if kind not in ("good", "wrong", "cut"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(GOOD)))
            self.end_headers()
            body = {"good": GOOD, "wrong": GOOD[::-1], "cut": GOOD[: len(GOOD) // 2]}[kind]
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    httpd.requests = requests  # type: ignore[attr-defined]
    httpd.address = f"http://127.0.0.1:{httpd.server_port}"  # type: ignore[attr-defined]
    yield httpd
    release.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetch(server, folder, *mirrors, **options):
    addresses = [m if "//" in m else f"{server.address}/{m}/" for m in mirrors]
    return download.download_file("file.gz", addresses, folder, MD5, progress=False, **options)


def test_good_mirror(server, tmp_path):
    path = fetch(server, tmp_path / "new" / "folder", "good")
    assert path.read_bytes() == GOOD
    assert [p.name for p in path.parent.iterdir()] == ["file.gz"]
    assert server.requests == ["/good/file.gz"]


@pytest.mark.parametrize("first", ["wrong", "cut", "missing"])
def test_bad_first_mirror_then_good_second(server, tmp_path, first):
    assert fetch(server, tmp_path, first, "good").read_bytes() == GOOD
    assert server.requests == [f"/{first}/file.gz", "/good/file.gz"]
    assert [p.name for p in tmp_path.iterdir()] == ["file.gz"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong", f"wrong checksum: MD5 {hashlib.md5(GOOD[::-1]).hexdigest()}"),
        ("cut", "broke off"),
        ("missing", "Not Found"),
    ],
)
def test_failure_names_the_reason_and_leaves_nothing(server, tmp_path, kind, reason):
    with pytest.raises(download.DownloadError, match=reason) as caught:
        fetch(server, tmp_path, kind)
    assert f"{server.address}/{kind}/file.gz" in str(caught.value) and str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_silent_server_is_given_up(server, tmp_path):
    with pytest.raises(download.DownloadError, match="timed out"):
        fetch(server, tmp_path, "silent", timeout=0.2)


def test_refused_connection(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(download.DownloadError, match="refused"):
            fetch(server, tmp_path, f"http://127.0.0.1:{port}/")


def test_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr(download, "_progress_bar", lambda *_: Bar())
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, "good")
    assert list(tmp_path.iterdir()) == []


def test_failed_download_keeps_an_older_file(server, tmp_path):
    (tmp_path / "file.gz").write_bytes(b"older")
    with pytest.raises(download.DownloadError):
        fetch(server, tmp_path, "wrong")
    assert (tmp_path / "file.gz").read_bytes() == b"older"


def test_progress_bar_is_shown(server, tmp_path, capsys):
    download.download_file("file.gz", [f"{server.address}/good/"], tmp_path, MD5)
    assert "file.gz" in capsys.readouterr().err


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_dir("mnist") == tmp_path / "numbanet" / "mnist"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.platform", "linux")
    for unusable in ("relative/path", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert download.cache_dir("mnist") == tmp_path / "home" / ".cache" / "numbanet" / "mnist"
    monkeypatch.setattr("sys.platform", "darwin")
    assert download.cache_dir("mnist") == tmp_path / "home" / "Library" / "Caches" / "numbanet" / "mnist"
