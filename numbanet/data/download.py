"""Where datasets live on disk, and how they get there."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DownloadError", "cache_dir", "download_file"]

#: Seconds without an answer after which a mirror is given up.
TIMEOUT = 5.0
_CHUNK = 1 << 16


class DownloadError(RuntimeError):
    """A file could not be fetched from any mirror; ``brief`` gives the reasons without the addresses."""

    def __init__(self, message: str, brief: str) -> None:
        super().__init__(message)
        self.brief = brief


def cache_dir(name: str) -> Path:
    """Return the user's cache folder for ``name`` (it need not exist).

    ``$XDG_CACHE_HOME/numbanet/name`` where that is set, else ``~/.cache`` (Linux), ``~/Library/Caches`` (macOS) or
    ``%LOCALAPPDATA%`` (Windows) in its place.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    if home and os.path.isabs(home):  # the XDG specification has relative paths ignored
        base = Path(home)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "numbanet" / name


def download_file(
    name: str, mirrors: Sequence[str], folder: Path, md5: str, *, timeout: float | None = None, progress: bool = True
) -> Path:
    """Download ``name`` from the first mirror that delivers it intact.

    The data go to a temporary file in ``folder``, which gets its name only once its MD5 is right: an interrupted or
    broken download leaves nothing behind.

    Args:
        name: File name, appended to each mirror's address.
        mirrors: Addresses ending in a slash.
        folder: Where to put the file; made if missing.
        md5: The file's MD5 in hexadecimal.
        timeout: Seconds to wait for a connection or for more data; None: ``TIMEOUT``.
        progress: Show a progress bar on stderr.

    Returns:
        Path of the file.

    Raises:
        DownloadError: no mirror delivered the file; says why for each.
    """
    reasons: list[tuple[str, str]] = []
    for mirror in mirrors:
        url = mirror + name
        try:
            return _download_from(url, folder, name, md5, TIMEOUT if timeout is None else timeout, progress)
        except (OSError, ValueError) as error:  # URLError, timeouts and HTTP errors are OSErrors
            reasons.append((url, str(getattr(error, "reason", None) or error)))
    raise DownloadError(
        f"could not download {name} to {folder} ({'; '.join(f'{url}: {reason}' for url, reason in reasons)})",
        "; ".join(dict.fromkeys(reason for _, reason in reasons)),
    )


def _download_from(url: str, folder: Path, name: str, md5: str, timeout: float, progress: bool) -> Path:
    import http.client
    import tempfile
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "numbanet"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        total = int(response.headers.get("Content-Length") or 0)
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=folder)
        try:
            digest, received = hashlib.md5(usedforsecurity=False), 0
            with os.fdopen(handle, "wb") as file, _progress_bar(name, total, progress) as bar:
                try:
                    while chunk := response.read(_CHUNK):
                        file.write(chunk)
                        digest.update(chunk)
                        received += len(chunk)
                        bar.update(len(chunk))
                except http.client.HTTPException as error:
                    raise ValueError(f"transfer broke off ({error!r})") from error
            if total and received != total:
                raise ValueError(f"transfer broke off after {received} of {total} bytes")
            if digest.hexdigest() != md5:
                raise ValueError(f"wrong checksum: MD5 {digest.hexdigest()} of {received} bytes, expected {md5}")
            os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner may read
            os.replace(temporary, folder / name)
        except BaseException:  # KeyboardInterrupt too: never leave a partial file
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
    return folder / name


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _: int) -> None:
        return None


def _progress_bar(name: str, total: int, wanted: bool):  # type: ignore[no-untyped-def]
    if not wanted:
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(total=total or None, desc=name, unit="B", unit_scale=True, unit_divisor=1024, leave=False)
