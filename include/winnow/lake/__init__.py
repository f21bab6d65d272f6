"""The lake: immutable objects and two atomic steps, on a folder or on S3.

An object is written once (`create`) and never changes; the only things that move are pointers,
by compare-and-swap (`swap`). A writer killed at any instruction leaves either the whole object
or nothing a reader can see. Readers follow manifests, never listings; `tags` exists for finding
new input files, `listing` for finding what nothing needs.

Paths are relative, with forward slashes: `batches/nightly/2026-11-22/ingest/manifest.json`.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from winnow.addresses import holds_secret
from winnow.errors import Corrupt, Fatal
from winnow.lake.aws import aws_client
from winnow.lake.contract import Lake, Stored
from winnow.lake.folder import FolderLake
from winnow.lake.s3 import S3Lake

__all__ = ["FolderLake", "Lake", "S3Lake", "Stored", "aws_client", "lake_id", "open_lake"]


def open_lake(uri: str, s3_client: Any = None) -> Lake:
    """Open a lake at a folder or at `s3://bucket/prefix`; every character is one of the name.

    Raises:
        Fatal: The scheme is unknown, S3 without a bucket, there is a key in the address, or the
            client's settings are wrong.
    """
    if holds_secret(uri):
        raise Fatal(
            "The address of a folder or bucket holds a user, a key or a password: write "
            "s3://bucket/prefix, and put the key into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "or the file that AWS_SHARED_CREDENTIALS_FILE names."
        )
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return FolderLake(Path(uri))
    if scheme == "file":
        return FolderLake(Path(rest))
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Lake(bucket, prefix.strip("/"), s3_client or aws_client("s3"))
    raise Fatal(f"{uri} is no place for files; use a folder or s3://bucket/prefix.")


_IDENTITY = "lake.json"
"""The id, written once, before the lake's first purchase: it moves with the lake's content."""


def lake_id(lake: Lake) -> str:
    """The lake's id, given to it now unless it has one.

    Raises:
        Corrupt: `lake.json` cannot be read.
    """
    if not lake.exists(_IDENTITY):
        lake.create(_IDENTITY, json.dumps({"id": uuid.uuid4().hex}).encode())
    try:
        return str(json.loads(lake.read(_IDENTITY))["id"])
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupt(
            f"{lake.uri}/{_IDENTITY} cannot be read, so what this lake bought cannot be told from "
            "another's purchases: restore it from the bucket's versions or a copy of the lake."
        ) from error
