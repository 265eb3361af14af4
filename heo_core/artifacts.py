"""Model files by content: a file's sha256 is its name, so that nothing is stored twice or changed unseen.

They are kept in a folder or in an S3 bucket. A file in a bucket is fetched once, into a cache on this machine; whatever
is read, from wherever, is checked against the registered sha256 first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from heo_core.errors import InputError, ModelError, ServiceError, first_line
from heo_core.whole_file import replacing

ALLOWED_STORES = "a folder, file:///FOLDER or s3://BUCKET/PREFIX"

# A store that does not answer is said within a minute, not after botocore's five.
_S3_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2, "mode": "standard"}}


@dataclass(frozen=True)
class Artifact:
    """A stored file: where it is (file:// or s3://, without credentials), its hash, and its size."""

    uri: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class StoredFile:
    """A file that lies in a store: its URI, its size, and when it was last written."""

    uri: str
    size_bytes: int
    written_at: datetime


@dataclass(frozen=True)
class ArtifactStore:
    """Where model files are kept.

    uri: as normalize_store_uri gives it. cache: folder for the copies of files that are kept in a bucket.
    """

    uri: str
    cache: Path

    def put(self, path: Path) -> Artifact:
        """Store a file as STORE/ab/abcdef....model and return where; free when a folder holds it already.

        To a bucket it goes anew each time: nothing there says that an object is whole, and what is stored again must be
        as good as new, for gc takes what is old and has no row yet. A kill, a full disk or a lost connection never
        leaves half a file under the final name. InputError if the extra for the store is not installed, ServiceError if
        the store does not answer or refuses.
        """
        sha256 = compute_sha256(path)
        name = f"{sha256[:2]}/{sha256}{path.suffix}"
        size_bytes = path.stat().st_size
        if not _is_remote(self.uri):
            target = _to_path(self.uri) / name
            _copy(path, target, sha256)
            return Artifact(target.as_uri(), sha256, size_bytes)
        # By way of the cache: what is uploaded cannot change meanwhile, and is here when it is loaded next.
        copy = self.cache / name
        _copy(path, copy, sha256)
        uri = f"{self.uri}/{name}"
        with _connect(uri) as files:
            files.put_file(str(copy), uri)
        return Artifact(uri, sha256, size_bytes)

    def fetch(self, uri: str, sha256: str) -> Path:
        """Return a file on this machine with the bytes that were registered: a URI of any store, or a plain path.

        ModelError, naming both hashes, if they differ, and if there is no such file; ServiceError if the store does
        not answer or refuses.
        """
        if not _is_remote(uri):
            path = _to_path(uri)
            check_sha256(path, sha256)
            return path
        copy = self.cache / sha256[:2] / uri.rpartition("/")[2]
        if copy.is_file() and compute_sha256(copy) == sha256:
            return copy
        with _connect(uri) as files, replacing(copy) as partial:
            try:
                files.get_file(uri, str(partial))
            except FileNotFoundError as exc:
                raise ModelError(f"model file {uri} is not there ({first_line(exc)}); registered is {sha256}") from exc
            found = compute_sha256(partial)
            if found != sha256:
                raise ModelError(f"model file {uri} has changed: its sha256 is {found}, registered is {sha256}")
        return copy

    def check(self, uri: str, sha256: str) -> None:
        """Raise as fetch does unless the file itself, not a copy in the cache, has the bytes that were registered."""
        if not _is_remote(uri):
            check_sha256(_to_path(uri), sha256)
            return
        with _connect(uri) as files:
            try:
                with files.open(uri, "rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
            except FileNotFoundError as exc:
                raise ModelError(f"file {uri} is not there ({first_line(exc)}); registered is {sha256}") from exc
        if found != sha256:
            raise ModelError(f"file {uri} has changed: its sha256 is {found}, registered is {sha256}")

    def list_files(self) -> list[StoredFile]:
        """Return all files of the store, by URI; ServiceError if the store does not answer or refuses."""
        if not _is_remote(self.uri):
            paths = sorted(path for path in _to_path(self.uri).glob("*/*") if path.is_file())
            return [
                StoredFile(path.as_uri(), facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))
                for path in paths
                if (facts := find_facts(path)) is not None
            ]
        with _connect(self.uri) as files:
            listed = files.find(self.uri, detail=True)
            return [
                StoredFile(f"s3://{name}", int(info["size"]), info["LastModified"]) for name, info in listed.items()
            ]

    def remove(self, uri: str) -> None:
        """Remove a file of the store, and its copy in the cache; free when it is not there."""
        if not _is_remote(uri):
            _to_path(uri).unlink(missing_ok=True)
            return
        name = uri.rpartition("/")[2]
        (self.cache / name[:2] / name).unlink(missing_ok=True)
        with _connect(uri) as files:
            if _find_size(files, uri) is not None:
                files.rm_file(uri)


def normalize_store_uri(text: str | Path) -> str:
    """Return the URI of a store: file:///FOLDER for a folder, s3://BUCKET/PREFIX as it is.

    InputError for any other scheme, and for a URI with credentials, which would end in the database.
    """
    text = str(text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text).expanduser().resolve().as_uri()
    if scheme == "file":
        return _to_path(text).resolve().as_uri()
    if scheme != "s3":
        raise InputError(f"the artifact store has the scheme {scheme!r}; allowed: {ALLOWED_STORES}")
    if "@" in rest:
        raise InputError(
            "the artifact store's URI holds credentials, which would end in the database: leave them out, and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    bucket, _, prefix = rest.partition("/")
    if not bucket or set("?#") & set(rest):
        raise InputError(f"the artifact store {text!r} names no bucket and prefix; allowed: {ALLOWED_STORES}")
    return f"s3://{bucket}/{prefix.strip('/')}".rstrip("/")


def compute_sha256(path: Path) -> str:
    """Sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_facts(path: Path) -> os.stat_result | None:
    """Size and times of a file, of a link itself; None where it is gone: others work in the same folders."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def check_sha256(path: Path, expected: str) -> None:
    """Raise ModelError, naming both hashes, unless a file is the registered one: loading a model file runs code."""
    try:
        found = compute_sha256(path)
    except OSError as exc:
        raise ModelError(f"model file {path} cannot be read: {exc.strerror}; registered is {expected}") from exc
    if found != expected:
        raise ModelError(f"model file {path} has changed: its sha256 is {found}, registered is {expected}")


def _is_remote(uri: str) -> bool:
    return uri.startswith("s3://")


def _to_path(uri: str) -> Path:
    """Path of a file URI; rows of the first releases hold the path itself."""
    return Path(unquote(uri.removeprefix("file://"))) if uri.startswith("file://") else Path(uri)


def _copy(path: Path, target: Path, sha256: str) -> None:
    """Copy a file of known hash, unless the target is that file; a target that was damaged is replaced."""
    if target.is_file() and compute_sha256(target) == sha256:
        # Asked for again, it is as good as new: what is long unused may be cleaned away.
        target.touch()
        return
    with replacing(target) as partial:
        with path.open("rb") as original, partial.open("wb") as copy:
            shutil.copyfileobj(original, copy)
        if compute_sha256(partial) != sha256:
            raise ModelError(f"{path} was changed while it was copied: try again when nothing writes to it")


@contextmanager
def _connect(uri: str) -> Iterator[Any]:
    """Yield fsspec's file system for a bucket; what it raises comes out as one line that names the URI.

    Address and credentials are looked for where every program of S3 does: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ~/.aws.
    """
    try:
        import s3fs  # noqa: F401
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as exc:
        raise InputError(f"the artifact store {uri} needs the extra for S3: pip install 'heo[s3]' ({exc})") from exc
    import fsspec

    try:
        # A new one each time: an old one would not see a changed address, and belongs to one event loop.
        yield fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False, config_kwargs=_S3_CONFIG)
    except PermissionError as exc:
        raise ServiceError(f"the artifact store refuses {uri}: {first_line(exc)} (check the AWS credentials)") from exc
    except FileNotFoundError as exc:
        raise ServiceError(f"the artifact store has no place for {uri}: {first_line(exc)} (make the bucket)") from exc
    except (OSError, ValueError, BotoCoreError, ClientError) as exc:
        if getattr(exc, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
            raise  # this machine's disk
        raise ServiceError(
            f"the artifact store cannot be reached for {uri}: {first_line(exc)} "
            "(check AWS_ENDPOINT_URL and the AWS credentials)"
        ) from exc


def _find_size(files: Any, uri: str) -> int | None:
    try:
        return int(files.info(uri)["size"])
    except FileNotFoundError:
        return None
    except PermissionError:
        return None  # who may write but not list is told this of a file that is not there
