"""A lake whose calls can be struck by a fault, as those of an S3 client can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.errors import Retryable
from winnow.lake import Lake, Stored

from ...vendor_faults import Fault, Killed, Strike


@dataclass
class FaultyLake:
    """Passes calls on to `inner`, except the one that is struck.

    A store's 409, 429 and 5xx, time-outs and answers cut short are `Retryable` at a lake; a request
    sent twice finds its own object there the second time.
    """

    inner: Lake
    strike: Strike

    @property
    def uri(self) -> str:
        return self.inner.uri

    def read(self, path: str) -> bytes:
        return self._call(lambda: self.inner.read(path))

    def part(self, path: str, start: int, n_bytes: int) -> bytes:
        return self._call(lambda: self.inner.part(path, start, n_bytes))

    def exists(self, path: str) -> bool:
        return self._call(lambda: self.inner.exists(path))

    def create(self, path: str, data: bytes) -> bool:
        return self._call(lambda: self.inner.create(path, data))

    def create_file(self, path: str, source: Path) -> bool:
        return self._call(lambda: self.inner.create_file(path, source))

    def listing(self, folder: str) -> list[Stored]:
        return self._call(lambda: self.inner.listing(folder))

    def names(self, folder: str) -> list[str]:
        return self._call(lambda: list(self.inner.names(folder)))

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        return self._call(lambda: self.inner.read_tagged(path))

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        return self._call(lambda: self.inner.swap(path, data, tag))

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        context = self._call(lambda: self.inner.local(path))
        with context as file:
            yield file

    def _call(self, act: Callable[[], Any]) -> Any:
        fault = self.strike.fault if self.strike.hits() else None
        if fault is Fault.KILLED_BEFORE:
            raise Killed
        if fault is not None and not fault.name.endswith("_AFTER"):
            raise Retryable(f"{fault}; try again later.")
        result = act()
        if fault is Fault.SENT_TWICE_AFTER:
            return act()
        if fault is Fault.KILLED_AFTER:
            raise Killed
        if fault is not None:
            raise Retryable(f"{fault}; try again later.")
        return result
