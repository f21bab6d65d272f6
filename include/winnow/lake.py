"""The lake: immutable objects and two atomic steps, on a folder or on S3.

An object is written once (`create`) and never changes; the only things that move are pointers,
by compare-and-swap (`swap`). A writer killed at any instruction leaves either the whole object
or nothing a reader can see. Readers follow manifests, never listings; `tags` exists for finding
new input files.

Paths are relative, with forward slashes: `batches/nightly/2026-11-22/ingest/manifest.json`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from winnow.errors import Fatal, Retryable
from winnow.ids import digest


class Lake(Protocol):
    """Where artifacts live. `uri` opens the same lake again in another process."""

    uri: str

    def read(self, path: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError if there is none."""

    def exists(self, path: str) -> bool:
        """Whether the object is there."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a new object whole; False (and no change) if the path is taken."""

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        """A pointer's bytes and its tag for `swap`; (None, None) if it does not exist yet."""

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        """Replace a pointer if its tag is still `tag` (None: still absent); else False."""

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        """Lay out objects that exist (name to path) below `folder`, in order, whole or not at all.

        On S3 they appear one by one, with equal bytes whoever writes them.
        """

    def tags(self, folder: str) -> dict[str, str]:
        """Path and content tag of each object below a folder, by path."""


def open_lake(uri: str, s3_client: Any = None) -> Lake:
    """Open a lake at a folder or at `s3://bucket/prefix`.

    Raises:
        Fatal: The scheme is unknown.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        return S3Lake(parsed.netloc, parsed.path.strip("/"), s3_client or _s3_client())
    if parsed.scheme in ("", "file"):
        return FolderLake(Path(parsed.path if parsed.scheme else uri))
    raise Fatal(
        f"Lake {uri}: unknown scheme {parsed.scheme!r}; use a folder or s3://bucket/prefix."
    )


class FolderLake:
    """A lake on a file system with hard links and atomic renames."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(self.root)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def create(self, path: str, data: bytes) -> bool:
        target = self.root / path
        if target.exists():
            return False
        with _written_beside(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        _sync(target.parent)
        return True

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        try:
            data = self.read(path)
        except FileNotFoundError:
            return None, None
        return data, digest(data)

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read_tagged(path)[1] != tag:
                return False
            with _written_beside(target, data) as temporary:
                os.replace(temporary, target)
            _sync(target.parent)
        return True

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        target = self.root / folder
        if target.exists():
            return
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        for name, path in objects.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(self.root / path, temporary / name)
        # A rename onto a folder that holds files fails: the first writer won, with equal bytes.
        with contextlib.suppress(OSError):
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        _sync(target.parent)

    def tags(self, folder: str) -> dict[str, str]:
        found = sorted(p for p in (self.root / folder).rglob("*") if p.is_file())
        return {
            p.relative_to(self.root).as_posix(): digest(p.read_bytes())
            for p in found
            if not p.name.startswith(".")
        }


class S3Lake:
    """A lake on an S3 bucket; create and swap are conditional PUTs (If-None-Match, If-Match)."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self.bucket, self.prefix, self.client = bucket, prefix, client
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    def read(self, path: str) -> bytes:
        data, _ = self.read_tagged(path)
        if data is None:
            raise FileNotFoundError(f"{self.uri}/{path}")
        return data

    def exists(self, path: str) -> bool:
        with _s3_errors(f"{self.uri}/{path}"):
            try:
                self.client.head_object(Bucket=self.bucket, Key=self._key(path))
            except self.client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
        return True

    def create(self, path: str, data: bytes) -> bool:
        return self._put(path, data, {"IfNoneMatch": "*"})

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        with _s3_errors(f"{self.uri}/{path}"):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(path))
            except self.client.exceptions.NoSuchKey:
                return None, None
            return answer["Body"].read(), answer["ETag"]

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        return self._put(path, data, {"IfMatch": tag} if tag else {"IfNoneMatch": "*"})

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        for name, path in objects.items():
            source = {"Bucket": self.bucket, "Key": self._key(path)}
            with _s3_errors(f"{self.uri}/{folder}/{name}"):
                self.client.copy_object(
                    Bucket=self.bucket, Key=self._key(f"{folder}/{name}"), CopySource=source
                )

    def tags(self, folder: str) -> dict[str, str]:
        prefix = self._key(folder).strip("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{prefix}/" if prefix else ""
        )
        with _s3_errors(f"{self.uri}/{folder}"):
            found = [entry for page in pages for entry in page.get("Contents", [])]
        root = len(self._key(""))
        return {entry["Key"][root:]: entry["ETag"] for entry in found}

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _put(self, path: str, data: bytes, condition: dict[str, str]) -> bool:
        with _s3_errors(f"{self.uri}/{path}"):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self._key(path), Body=data, **condition
                )
            except self.client.exceptions.ClientError as error:
                if _status(error) == 412:
                    return False
                raise
        return True


@contextlib.contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """A synced temporary file in the target's folder, gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        _write(temporary, data)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _s3_client() -> Any:
    import boto3

    return boto3.client("s3")


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


@contextlib.contextmanager
def _s3_errors(where: str) -> Iterator[None]:
    """Translate the store's errors: a conflict or a 5xx is retryable, the rest needs a person."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        kind = Retryable if _status(error) in (409, 429, 500, 502, 503, 504) else Fatal
        raise kind(f"{where}: the store answered {error}.") from error
    except BotoCoreError as error:
        raise Retryable(f"{where}: the store cannot be reached: {error}") from error
