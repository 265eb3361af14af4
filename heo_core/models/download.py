"""Fetching one large file in as many pieces as the network allows: what has arrived is kept, and continued."""

from __future__ import annotations

import os
import re
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from heo_core.errors import ModelError, first_line

_TIMEOUT = httpx.Timeout(60, connect=20)
_PAUSE_S = 1.0
_PATIENCE = 3  # tries in a row that bring nothing new
_SECONDS_BETWEEN_LINES = 10.0

Tell = Callable[[str], None]


def tell_stderr(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{line}\n")


def download(url: str, target: Path, tell: Tell = tell_stderr) -> None:
    """Fetch a model file from url to target, by way of target.part beside it.

    A download that was cut, in this process or an earlier one, goes on where it stopped, as long as the server still
    has the same file; it starts again where the server cannot tell or cannot serve parts. The file stands under its
    name only when it is whole. One process downloads, others wait for it. ModelError, with the reason in one sentence.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"another process is downloading {target.name}: waiting for it")
        lock.acquire()
    try:
        if not target.is_file():
            _download_locked(url, target, tell)
    finally:
        lock.release()


def _download_locked(url: str, target: Path, tell: Tell) -> None:
    part = _Part(target)
    furthest, tries = part.size, 0
    while True:
        try:
            part.fetch(url, tell)
            break
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            tries = 0 if part.size > furthest else tries + 1
            furthest = max(furthest, part.size)
            if tries >= _PATIENCE:
                kept = f"; {part.size} bytes are kept, the next try goes on from there" if part.can_go_on else ""
                raise ModelError(f"{type(exc).__name__}: {first_line(exc)}{kept}") from exc
            time.sleep(_PAUSE_S)
    part.finish(url, target)


class _Part:
    """An unfinished file, and beside it how the server named the version that it is a part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._version_path = target.with_name(f"{target.name}.part.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def can_go_on(self) -> bool:
        return self.size > 0 and self._version_path.is_file()

    def fetch(self, url: str, tell: Tell) -> None:
        """Fetch what is missing; httpx.HTTPError if the connection breaks, ModelError if there is no such file."""
        headers = {"Accept-Encoding": "identity"}  # the file's own bytes, so that positions in it mean the same
        if self.can_go_on:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self._version_path.read_text()}
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                if response.headers.get("content-range") == f"bytes */{self.size}":
                    return  # it was whole already
                self.discard()
                raise httpx.ReadError("the server has another file than the one that was begun")
            self._check(response, url)
            total = self._begin(response)
            tell(f"downloading {url}: {_say_size(self.size)} of {_say_size(total)} are here")
            self._append(response, total, tell)
        if total is not None and self.size != total:
            raise httpx.ReadError(f"{self.size} of {total} bytes arrived")

    def finish(self, url: str, target: Path) -> None:
        """Give the file its name, if it is a torch archive at all."""
        with self.path.open("rb") as file:
            head = file.read(16)
            os.fsync(file.fileno())
        if not zipfile.is_zipfile(self.path):
            self.discard()
            raise ModelError(f"what {url} gave is no model file: it begins with {head!r}")
        self.path.replace(target)
        self._version_path.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version_path.unlink(missing_ok=True)

    @staticmethod
    def _check(response: httpx.Response, url: str) -> None:
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:  # it may pass
            raise httpx.ReadError(f"{url} answers {response.status_code} {response.reason_phrase}")
        if response.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
            raise ModelError(f"{url} answers {response.status_code} {response.reason_phrase}")
        if response.headers.get("content-type", "").startswith("text/html"):
            raise ModelError(f"{url} answers with a web page, not with a file")

    def _begin(self, response: httpx.Response) -> int | None:
        """Make ready to append what comes; return the size of the whole file, bytes."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
            if span is None or int(span[1]) != self.size:
                self.discard()
                raise httpx.ReadError("the server sent another part than the one it was asked for")
            return int(span[2])
        self.discard()
        self.path.touch()
        etag = response.headers.get("etag", "")
        # A weak tag names a meaning, not bytes.
        version = response.headers.get("last-modified") if etag.startswith("W/") or not etag else etag
        if version:
            self._version_path.write_text(version)
        length = response.headers.get("content-length")
        return int(length) if length else None

    def _append(self, response: httpx.Response, total: int | None, tell: Tell) -> None:
        said_at = time.monotonic()
        with self.path.open("ab") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                if time.monotonic() - said_at >= _SECONDS_BETWEEN_LINES:
                    said_at = time.monotonic()
                    tell(f"{_say_size(file.tell())} of {_say_size(total)}")


def _say_size(n_bytes: int | None) -> str:
    return "an unknown size" if n_bytes is None else f"{n_bytes / 1e6:.1f} MB"
