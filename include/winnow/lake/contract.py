"""What every lake can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing; `modified` is the store's own time, with its zone."""

    path: str
    n_bytes: int
    modified: datetime


class Lake(Protocol):
    """Where artifacts live. `uri` opens the same lake again in another process.

    Every method raises Retryable where the store is away or full for now, and Fatal where a person
    has to change something: a right, a credential, the address.
    """

    uri: str
    store: str
    """Which store the lake lies on, for people: its folder, or S3's address and bucket."""
    links: bool
    """Whether an object has a second name at no cost, as on a disk."""

    def read(self, path: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError if there is none."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The object's bytes piece by piece, for those too large to hold; raises like `read`."""

    def local(self, path: str) -> AbstractContextManager[Path]:
        """The object as a file to read, for those too large to hold; raises like `read`."""

    def part(self, path: str, start: int, n_bytes: int) -> bytes:
        """`n_bytes` of an object from byte `start`, fewer at its end; raises like `read`."""

    def exists(self, path: str) -> bool:
        """Whether the object is there."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a new object whole; False (and no change) if the path is taken."""

    def create_file(self, path: str, source: Path) -> bool:
        """Like `create`, from a file of any size."""

    def copy(self, source: str, target: str) -> None:
        """Put an object at a second path, which is free or already holds the same bytes.

        Raises:
            FileNotFoundError: There is no such object.
        """

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        """A pointer's bytes and its tag for `swap`; (None, None) if it does not exist yet."""

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        """Replace a pointer if its tag is still `tag` (None: still absent); else False."""

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        """Lay out objects that exist (name to path) below `folder`, whole or not at all.

        On S3 they appear one by one, with equal bytes whoever writes them; the last one comes when
        all others are there.
        """

    def tags(self, folder: str) -> dict[str, str]:
        """Path and content tag of each object below a folder, by path."""

    def listing(self, folder: str) -> list[Stored]:
        """Each object below a folder, by path."""

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        """Names directly below a folder that come after `after`, in order.

        They are those of objects, and of folders that hold some. The first few cost one request.
        """

    def remove(self, path: str) -> None:
        """Remove an object that nothing needs; one that is gone already is no error."""

    def remove_folder(self, folder: str, last: str) -> None:
        """Remove a folder that `create_folder` made, or what is left of one.

        `last` is the object that was made last in it: without it the folder counts as none.
        """

    def now(self) -> datetime:
        """The store's own time, UTC: the one clock that all who work on a lake share."""

    def unfinished(self, folder: str, before: datetime, *, remove: bool) -> list[str]:
        """What killed writers left below a folder before a time, removed if asked.

        No reader sees it. A writer that still lives and loses it fails with Retryable.
        """
