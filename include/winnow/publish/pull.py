"""Pull: a published version as a folder on this machine, whole or not at all.

Files are fetched into a hidden folder beside the wanted one and checked against the manifest; only
when the last one is there does the folder get its name. A pull that was killed goes on from the
files that are there. Two pulls of one version into one place: the second waits for the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from winnow.batch import Artifact
from winnow.errors import Corrupt, Fatal, Retryable
from winnow.ids import file_digest
from winnow.lake.folder import sync
from winnow.publish.versions import Version

MANIFEST = "manifest.json"
_AT_ONCE = 4


class Source(Protocol):
    """What is pulled from: a lake, or what reads like one."""

    @property
    def uri(self) -> str:
        """Where it is, for people."""

    def read(self, path: str) -> bytes:
        """An object's bytes; raises as `Lake.read`."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """An object's bytes piece by piece; raises as `Lake.read`."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """Where a version lies now; how many files and bytes it has, how many files were fetched."""

    folder: Path
    n_files: int
    n_bytes: int
    n_fetched: int


def pull(
    lake: Source, version: Version, out: Path, tell: Callable[[], None] = lambda: None
) -> Pulled:
    """Bring `version` into the folder `out`; returns at once where it is there already.

    `tell` is called for each file that has come.

    A folder that is there is trusted when its manifest is the version's and each file is as long as
    it should be; files fetched now are held against their digests.

    Raises:
        Fatal: `out` holds something else.
        Corrupt: A stored file is not what the manifest says, or a file of `out` is gone.
        Retryable: The store does not answer; what was fetched stays for the next try.
    """
    out = out.absolute()
    manifest = _manifest(lake, version)
    n_fetched = 0
    if not _is_there(out, version, manifest):
        partial = out.parent / f".{out.name}.{version.name}-{version.digest[:12]}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        with _alone_in(partial):
            if not _is_there(out, version, manifest):
                n_fetched = _fetch_all(lake, version, partial, tell)
                (partial / MANIFEST).write_bytes(manifest)
                sync(partial / MANIFEST)
                partial.rename(out)
                sync(out.parent)
    n_bytes = sum(artifact.n_bytes for artifact in version.files.values())
    return Pulled(out, len(version.files), n_bytes, n_fetched)


def _manifest(lake: Source, version: Version) -> bytes:
    """The manifest as stored, checked to be of `version` and to name only files below a folder."""
    path = f"datasets/{version.dataset}/versions/{version.name}.json"
    stored = lake.read(path)
    if json.loads(stored).get("digest") != version.digest:
        raise Corrupt(f"{lake.uri}/{path} does not match the digest in it; restore it.")
    for name in version.files:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or name == MANIFEST:
            raise Corrupt(f"{lake.uri}/{path} names the file {name!r}, outside a version's folder.")
    return stored


def _is_there(out: Path, version: Version, manifest: bytes) -> bool:
    """Whether `out` is the version; an absent or empty folder is not yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    mark = out / MANIFEST
    if not mark.is_file():
        raise Fatal(f"{out} holds other files; name a folder that does not exist yet.")
    if mark.read_bytes() != manifest:
        raise Fatal(
            f"{out} holds another version, and a pulled version is never replaced; name another "
            f"folder for {version.name}, or delete this one."
        )
    for name, artifact in version.files.items():
        if not (out / name).is_file() or (out / name).stat().st_size != artifact.n_bytes:
            raise Corrupt(
                f"{out} is {version.name}, but its file {name} was changed or is gone; delete the "
                "folder and pull again."
            )
    return True


def _fetch_all(lake: Source, version: Version, folder: Path, tell: Callable[[], None]) -> int:
    """Bring every file into `folder`; how many were fetched now."""

    def bring(name: str) -> bool:
        artifact, target = version.files[name], folder / name
        is_there = is_whole(target, artifact)
        if not is_there:
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch(lake, artifact, target)
        tell()
        return not is_there

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            fetched = list(pool.map(bring, sorted(version.files)))
    except Retryable as error:
        raise Retryable(f"{error} Pull again: it goes on from the files it has.") from error
    for below in {(folder / name).parent for name in version.files}:
        sync(below)
    return sum(fetched)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which a kill gives back; one that stayed empty goes afterwards."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            folder.rmdir()


def fetch(lake: Source, artifact: Artifact, target: Path) -> None:
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
