"""Datasets see nothing of this machine, and no network but what a test serves."""

from __future__ import annotations

import gc
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from numbanet.data import download, image_dataset

_download_from = download._download_from


def loader_threads() -> list[threading.Thread]:
    """The loaders' threads that live."""
    return [t for t in threading.enumerate() if t.name.startswith("numbanet-loader")]


@pytest.fixture(autouse=True)
def no_threads_left():
    """No test leaves a loader's thread behind."""
    assert loader_threads() == []
    yield
    if loader_threads():
        gc.collect()  # a traceback that pytest or the test kept may hold an iterator
    assert loader_threads() == []


@pytest.fixture
def isolated(monkeypatch, tmp_path):
    """No test sees the real cache, the real environment or the network; the addresses that were asked for are listed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBANET_DATA", raising=False)
    monkeypatch.setattr(image_dataset, "_unreachable", {})
    monkeypatch.setattr(image_dataset, "_said", set())
    tries: list[str] = []

    def no_network(url, *_):
        tries.append(url)
        raise OSError("no network")

    monkeypatch.setattr(download, "_download_from", no_network)
    return tries


@pytest.fixture
def server(isolated, monkeypatch, tmp_path):
    """A server of the files in ``tmp_path / "server"``, which can be reached: its address, ending in a slash."""
    monkeypatch.setattr(download, "_download_from", _download_from)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    (tmp_path / "server").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "server"))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    thread.join()
    httpd.server_close()
