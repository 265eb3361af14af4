"""A Hugging Face Hub of our own on the loopback: as much of its API as the clients use to read a dataset, over HTTP.

Point a client at it with HF_ENDPOINT=server.url before the client is imported. It counts requests and misbehaves on
command. Xet is not spoken: files come from `resolve`, by range, as from the real Hub with HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

FOR_EVER = sys.maxsize


class Fault(StrEnum):
    """What the server does instead of answering."""

    CUT = "the connection is closed in the middle of the body"
    UNAVAILABLE = "503"
    SILENT = "the request is read, and nothing comes back"


@dataclass(frozen=True)
class Request:
    """One request as it came; n_bytes is what it was to get of a file."""

    method: str
    path: str
    n_bytes: int = 0


@dataclass
class _Order:
    text: str
    fault: Fault
    pass_first: int
    times: int


@dataclass
class HubServer:
    """Serves the commits of one dataset repository, in a with statement; `push` makes a folder the newest one."""

    repository: str
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take a free port."""
        self._commits: dict[str, Path] = {}
        self._head = ""
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._healed = threading.Event()
        self._server = _QuietServer(("127.0.0.1", 0), partial(_Handler, hub=self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Begin to serve."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """End, also the requests that hang."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    def push(self, folder: Path) -> str:
        """Make a folder the newest commit, and return its sha: that of what is in it."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path in _list_files(folder):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        self._head = digest.hexdigest()
        self._commits[self._head] = folder
        return self._head

    def misbehave(self, text: str, fault: Fault, *, pass_first: int = 0, times: int = FOR_EVER) -> None:
        """Do wrong to requests for data or API whose path holds text: so many of them, after some that are answered."""
        self._healed.clear()
        with self._lock:
            self._orders.append(_Order(text, fault, pass_first, times))

    def heal(self) -> None:
        """Behave again, and let go of the requests that hang."""
        with self._lock:
            self._orders.clear()
        self._healed.set()

    def forget(self) -> None:
        """Count from here on."""
        with self._lock:
            self.requests.clear()

    def count(self, text: str) -> int:
        """How many ranges of files whose path holds text were asked for."""
        with self._lock:
            return sum(text in request.path and request.n_bytes > 0 for request in self.requests)

    def wait_for(self, text: str, n: int, timeout_s: float = 30.0) -> None:
        """Wait until so many ranges were asked for; TimeoutError otherwise."""

        def is_there() -> bool:
            return sum(text in request.path and request.n_bytes > 0 for request in self.requests) >= n

        with self._arrived:
            if not self._arrived.wait_for(is_there, timeout_s):
                raise TimeoutError(f"{text} was not asked for {n} times in {timeout_s:g} s")

    # What the handler asks.

    def note(self, request: Request) -> Fault | None:
        """Write a request down and say what to do wrong."""
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
            for order in self._orders:
                if order.text in request.path and request.method != "HEAD":
                    if order.pass_first:
                        order.pass_first -= 1
                    elif order.times:
                        order.times -= 1
                        return order.fault
        return None

    def wait_until_healed(self) -> None:
        """Hang."""
        self._healed.wait()

    @property
    def head(self) -> str:
        """Sha of the newest commit."""
        return self._head

    def find(self, revision: str) -> tuple[str, Path] | None:
        """Sha and folder of a revision."""
        sha = self._head if revision == "main" else revision
        return (sha, self._commits[sha]) if sha in self._commits else None


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is killed, is part of the tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *args: Any, hub: HubServer) -> None:
        self._hub = hub
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the requests are counted."""

    def do_HEAD(self) -> None:
        """Header of a file."""
        self._answer()

    def do_GET(self) -> None:
        """A file or a part of it, or the API."""
        self._answer()

    def do_POST(self) -> None:
        """Only paths-info is asked this way."""
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        api = f"/api/datasets/{self._hub.repository}"
        files = f"/datasets/{self._hub.repository}/resolve/"
        if path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            self._send_file(path, revision, name)
            return
        fault = self._hub.note(Request(self.command, path))
        if fault:
            self._do_wrong(fault)
        elif path == api or path.startswith(f"{api}/"):
            self._send_api(path.removeprefix(api).strip("/"), body)
        else:
            self._send_error("RepoNotFound" if path.startswith("/api/datasets/") else "NotFound")

    def _send_api(self, path: str, body: bytes) -> None:
        kind, _, rest = path.partition("/")
        if kind == "refs":
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": self._hub.head}
            self._send_json({"branches": [branch], "converts": [], "tags": []})
            return
        revision, _, name = rest.partition("/")
        found = self._hub.find(revision or "main")
        if found is None:
            self._send_error("RevisionNotFound")
            return
        sha, folder = found
        if kind in ("", "revision"):
            self._send_json(_describe_repository(self._hub.repository, sha, folder))
        elif kind == "tree":
            query = parse_qs(urlsplit(self.path).query)
            recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
            if (folder / name).is_dir():
                paths = sorted((folder / name).rglob("*") if recursive else (folder / name).iterdir())
                self._send_json([_describe_path(path, folder) for path in paths])
            else:
                self._send_error("EntryNotFound")
        elif kind == "paths-info":
            asked = _read_paths(body, self.headers.get("Content-Type", ""))
            paths = [folder / name for name in asked]
            self._send_json([_describe_path(path, folder) for path in paths if path.exists()])
        else:
            self._send_error("NotFound")

    def _send_file(self, path: str, revision: str, name: str) -> None:
        found = self._hub.find(revision)
        file = found[1] / name if found else None
        if found is None or file is None or not file.is_file():
            self._hub.note(Request(self.command, path))
            self._send_error("EntryNotFound" if found else "RevisionNotFound")
            return
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2] or size), size - 1)) if asked else (0, size - 1)
        n_bytes = end - start + 1
        fault = self._hub.note(Request(self.command, path, 0 if self.command == "HEAD" else n_bytes))
        if fault in (Fault.UNAVAILABLE, Fault.SILENT):
            self._do_wrong(fault)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("ETag", f'"{found[0]}-{_describe_path(file, found[1])["oid"]}"')
        self.send_header("X-Repo-Commit", found[0])
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(n_bytes))
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as stream:
            stream.seek(start)
            self.wfile.write(stream.read(n_bytes // 2 if fault else n_bytes))
        self.close_connection = self.close_connection or bool(fault)

    def _do_wrong(self, fault: Fault) -> None:
        if fault is Fault.UNAVAILABLE:
            self._send_json({"error": "busy"}, status=503)
            return
        if fault is Fault.SILENT:
            self._hub.wait_until_healed()
        self.close_connection = True

    def _send_error(self, code: str) -> None:
        self._send_json({"error": code}, status=404, headers={"X-Error-Code": code, "X-Error-Message": code})

    def _send_json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _describe_repository(repository: str, sha: str, folder: Path) -> dict[str, Any]:
    header = re.match(r"---\n(.*?)\n---\n", (folder / "README.md").read_text(), re.DOTALL)
    return {
        "_id": "0",
        "id": repository,
        "author": repository.split("/", 1)[0],
        "sha": sha,
        "lastModified": datetime(2025, 1, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": yaml.safe_load(header[1]) if header else {},
        "siblings": [{"rfilename": path.relative_to(folder).as_posix()} for path in _list_files(folder)],
    }


def _describe_path(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    oid = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": oid, "size": 0}
    return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}


def _read_paths(body: bytes, content_type: str) -> list[str]:
    if content_type.startswith("application/json"):
        paths = json.loads(body)["paths"]
        return [paths] if isinstance(paths, str) else list(paths)
    return parse_qs(body.decode()).get("paths", [])
