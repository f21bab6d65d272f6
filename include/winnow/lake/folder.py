"""A lake on a file system with hard links and atomic renames."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from winnow.errors import Retryable
from winnow.ids import digest, file_digest
from winnow.lake.contract import Stored
from winnow.lake.disk import disk_errors

_PIECE_BYTES = 1 << 20
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of `_beside`. The locks of `swap` are no such names: without them nothing would lock."""


class FolderLake:
    """A lake on a file system with hard links and atomic renames; `clock` stands for its time."""

    links = True

    def __init__(self, root: Path, clock: Callable[[], datetime] | None = None) -> None:
        self.root, self._clock = root.resolve(), clock
        self.uri = self.store = str(self.root)

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return (self.root / path).read_bytes()

    def chunks(self, path: str) -> Iterator[bytes]:
        with self._errors(path):
            file = (self.root / path).open("rb")
        with file:
            while piece := self._piece(path, file):
                yield piece

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        file = self.root / path
        if not self.exists(path):
            raise FileNotFoundError(file)
        yield file

    def part(self, path: str, start: int, n_bytes: int) -> bytes:
        # A buffer of the usual size would read thousands of bytes for a few.
        buffer = max(2, min(n_bytes, io.DEFAULT_BUFFER_SIZE))
        with self._errors(path), (self.root / path).open("rb", buffering=buffer) as file:
            file.seek(start)
            return file.read(n_bytes)

    def exists(self, path: str) -> bool:
        with self._errors(path):
            return (self.root / path).exists()

    def create(self, path: str, data: bytes) -> bool:
        return self._create(path, lambda temporary: temporary.write_bytes(data))

    def create_file(self, path: str, source: Path) -> bool:
        def fill(temporary: Path) -> None:
            with temporary.open("wb") as copy:
                shutil.copyfileobj(body, copy, _PIECE_BYTES)

        with self._errors(path), source.open("rb") as body:
            return self._create(path, fill)

    def _create(self, path: str, fill: Callable[[Path], object]) -> bool:
        target = self.root / path
        with self._errors(path):
            if target.exists():
                return False
            with _beside(target) as temporary:
                fill(temporary)
                return _link_synced(temporary, target)

    def copy(self, source: str, target: str) -> None:
        path = self.root / target
        with self._errors(target):
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(self.root / source, path)
            sync(path.parent)

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        try:
            data = self.read(path)
        except FileNotFoundError:
            return None, None
        return data, digest(data)

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        target = self.root / path
        with self._errors(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / f".{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.read_tagged(path)[1] != tag:
                    return False
                with _beside(target) as temporary:
                    temporary.write_bytes(data)
                    sync(temporary)
                    os.replace(temporary, target)
                sync(target.parent)
        return True

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        target = self.root / folder
        with self._errors(folder):
            if target.exists():
                return
            with _beside(target) as temporary:
                # Folders first: one made later would bring back a folder that `unfinished` removed,
                # without the files it had.
                for name in objects:
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                for name, path in objects.items():
                    os.link(self.root / path, temporary / name)
                try:
                    temporary.rename(target)
                except OSError:
                    # A rename onto a folder that holds files fails: the first won, equal bytes.
                    if not target.exists():
                        raise
            sync(target.parent)

    def tags(self, folder: str) -> dict[str, str]:
        with self._errors(folder):
            digests = {}
            for file in sorted(self._files(folder)):
                with contextlib.suppress(FileNotFoundError):
                    digests[self._path(file)] = file_digest(file)
        return digests

    def listing(self, folder: str) -> list[Stored]:
        objects = []
        with self._errors(folder):
            for file in sorted(self._files(folder)):
                with contextlib.suppress(FileNotFoundError):
                    about = file.stat()
                    objects.append(Stored(self._path(file), about.st_size, _modified(about)))
        return objects

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        place = self.root / folder
        with self._errors(folder):
            entries = sorted(os.listdir(place)) if place.is_dir() else []
        for name in entries:
            is_empty = (place / name).is_dir() and not any(self._files(f"{folder}/{name}"))
            if name > after and not name.startswith(".") and not is_empty:
                yield name

    def remove(self, path: str) -> None:
        with self._errors(path):
            (self.root / path).unlink(missing_ok=True)

    def remove_folder(self, folder: str, last: str) -> None:
        with self._errors(folder):
            _discard(self.root / folder)

    def now(self) -> datetime:
        """The file system's time, which on a network drive is its server's."""
        if self._clock is not None:
            return self._clock()
        with self._errors("now"), _beside(self.root / "now") as temporary:
            temporary.touch()
            return _modified(temporary.stat())

    def unfinished(self, folder: str, before: datetime, *, remove: bool) -> list[str]:
        left = []
        with self._errors(folder):
            for place, folders, files in os.walk(self.root / folder, onerror=_unless_gone):
                for name in filter(_TEMPORARY.fullmatch, [*folders, *files]):
                    with contextlib.suppress(FileNotFoundError):
                        if _modified((Path(place) / name).stat()) < before:
                            left.append(Path(place) / name)
                folders[:] = [name for name in folders if not _TEMPORARY.fullmatch(name)]
            for path in left if remove else ():
                _discard(path)
        return sorted(map(self._path, left))

    def _errors(self, path: str) -> contextlib.AbstractContextManager[None]:
        return disk_errors(f"{self.root}/{path}")

    def _piece(self, path: str, file: BinaryIO) -> bytes:
        with self._errors(path):
            return file.read(_PIECE_BYTES)

    def _files(self, folder: str) -> Iterator[Path]:
        """Objects below a folder: what writers have finished.

        A pipe, a device or a link is none: one holds whoever opens it, the other leads anywhere.
        """
        for place, folders, files in os.walk(self.root / folder, onerror=_unless_gone):
            folders[:] = [name for name in folders if not _TEMPORARY.fullmatch(name)]
            places = (Path(place) / name for name in files if not name.startswith("."))
            yield from filter(_is_regular, places)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name for a temporary file or folder beside the target; what has it is gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
    except FileNotFoundError as error:
        if temporary.exists():
            raise
        raise Retryable(f"{target}: its temporary file was taken away; write it again.") from error
    finally:
        _discard(temporary)


def _link_synced(temporary: Path, target: Path) -> bool:
    """Give a whole file its name, once it is on the disk; False if the name is taken."""
    sync(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    sync(target.parent)
    return True


def _discard(path: Path) -> None:
    """Remove a temporary file or folder, if it is there."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Taken from its writer first, who could else give a half-emptied folder its name.
    taken = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with contextlib.suppress(FileNotFoundError):
        path.rename(taken)
        shutil.rmtree(taken, ignore_errors=True)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlast the machine's loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unless_gone(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_regular(path: Path) -> bool:
    """Whether it is a file of its own, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _modified(about: os.stat_result) -> datetime:
    return datetime.fromtimestamp(about.st_mtime, UTC)
