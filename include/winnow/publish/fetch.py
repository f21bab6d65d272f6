"""A stored file brought to this machine, piece by piece, and held against its digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from winnow.batch import Artifact
from winnow.errors import Corrupt
from winnow.ids import file_digest
from winnow.lake import Lake


def fetch(lake: Lake, artifact: Artifact, target: Path) -> None:
    """Write the artifact's bytes to `target`, which appears whole and checked or not at all.

    Raises:
        Corrupt: The bytes are missing or do not match the digest in the manifest.
    """
    where = f"{lake.uri}/{artifact.path}"
    beside = target.with_name(f".{target.name}.part")
    sha256 = hashlib.sha256()
    try:
        with beside.open("wb") as file:
            for chunk in lake.chunks(artifact.path):
                sha256.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as error:
        raise Corrupt(f"{where} is named by a manifest but missing; restore it.") from error
    if sha256.hexdigest() != artifact.sha256:
        beside.unlink()
        raise Corrupt(f"{where} does not match its digest; restore it.")
    beside.replace(target)


def is_whole(path: Path, artifact: Artifact) -> bool:
    """Whether the file at `path` has the artifact's bytes."""
    if not path.is_file() or path.stat().st_size != artifact.n_bytes:
        return False
    return file_digest(path) == artifact.sha256
