"""The objects of a dataset: its files by content, each below the version it was stored after.

    datasets/NAME/objects/v000006/SHA256.suffix   stored for the version after v000006

A manifest names two kinds of objects only: those that an earlier version names, and those below the
folder of its own parent. Hence what lies below the folder of a version that already has a follower,
and is named by none, can never be named again, however long its publisher sleeps (`garbage`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.batch import Artifact
from winnow.errors import Retryable
from winnow.ids import digest, file_digest
from winnow.lake import Lake

_PATH = re.compile(r"datasets/[^/]+/objects/v(\d{6,})/[^/]+")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where objects for the version after number `base` go; `held` are the files of `base`."""

    lake: Lake
    dataset: str
    base: int
    held: Mapping[str, Artifact]

    def put(self, data: bytes, suffix: str, n_rows: int = 0) -> Artifact:
        """Store a file unless the version `base` has its content; equal content, one object."""
        artifact = Artifact("", digest(data), n_rows, len(data))
        return self._put(artifact, suffix, lambda path: self.lake.create(path, data))

    def put_file(self, source: Path, suffix: str, n_rows: int = 0) -> Artifact:
        """Like `put`, from a file of any size."""
        artifact = Artifact("", file_digest(source), n_rows, source.stat().st_size)
        return self._put(artifact, suffix, lambda path: self.lake.create_file(path, source))

    def bring(self, files: Mapping[str, Artifact]) -> dict[str, Artifact]:
        """The files with each object where the version after `base` may name it.

        One that was stored for a number which another publisher took is copied over.

        Raises:
            Retryable: An object is gone: it was garbage by the time.
        """
        named = {artifact.path for artifact in self.held.values()}
        return {
            name: artifact if artifact.path in named else self._copied(artifact)
            for name, artifact in files.items()
        }

    def _put(self, artifact: Artifact, suffix: str, create: Callable[[str], object]) -> Artifact:
        for held in self.held.values():
            if held.sha256 == artifact.sha256 and held.path.endswith(f".{suffix}"):
                return replace(artifact, path=held.path)
        path = self._path(f"{artifact.sha256}.{suffix}")
        create(path)
        return replace(artifact, path=path)

    def _copied(self, artifact: Artifact) -> Artifact:
        path = self._path(f"{artifact.sha256}.{artifact.path.rpartition('.')[2]}")
        if path != artifact.path:
            try:
                self.lake.copy(artifact.path, path)
            except FileNotFoundError as error:
                raise Retryable(
                    f"{self.lake.uri}/{artifact.path} was removed as garbage before its batch was "
                    "published, after other batches were; store its files again."
                ) from error
        return replace(artifact, path=path)

    def _path(self, name: str) -> str:
        return f"{objects_folder(self.dataset)}/v{self.base:06d}/{name}"


def objects_folder(dataset: str) -> str:
    """Where the objects of a dataset lie."""
    return f"datasets/{dataset}/objects"


def stored_after(path: str) -> int | None:
    """Number of the version that an object was stored after, or None if the path is no object's."""
    match = _PATH.fullmatch(path)
    return int(match[1]) if match else None
