"""What the pages have read before, bounded in bytes.

Manifests never change, so what was parsed from one is kept until room is needed, and a stage that
is done is read once in a process. What may change is kept for a few seconds. Only small summaries
belong here, never tables.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from winnow.lake import Lake
from winnow.stored import parsed

T = TypeVar("T")

MAX_BYTES = 96 << 20
SECONDS = 5.0
LONGEST_SECONDS = 60.0
AT_ONCE = 8
"""Reads that run at the same time; a client of S3 holds ten connections."""

_WEIGHT = 3
"""A parsed object is about this many times as large as its pickle."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    n_bytes: int
    until: float | None = None
    wait: float = 0.0


@dataclass(slots=True)
class Memory:
    """Least recently used entries go first once they exceed `max_bytes`. Safe to share by threads.

    Two threads that miss the same entry may both read it; both get equal values.
    """

    max_bytes: int = MAX_BYTES
    clock: Callable[[], float] = time.monotonic
    n_bytes: int = 0
    _kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, lake: Lake, path: str, parse: Callable[[bytes], T]) -> T | None:
        """What `parse`, a module's function, makes of an immutable object, read at most once.

        None where there is no such object; that is not remembered.

        Raises:
            Corrupt: The object is not what `parse` reads.
        """
        known: T | None = self.known(lake, path, parse)
        if known is not None:
            return known
        try:
            value = parsed(lake, path, parse)
        except FileNotFoundError:
            return None
        self._put(("once", lake.uri, path, parse), value)
        return value

    def known(self, lake: Lake, path: str, parse: Callable[[bytes], T]) -> T | None:
        """What `once` has read already; None where it has not."""
        kept = self._get(("once", lake.uri, path, parse))
        value: T | None = None if kept is None else kept.value
        return value

    def each(self, lake: Lake, paths: Iterable[str], parse: Callable[[bytes], T]) -> dict[str, T]:
        """`once` for many objects, those not known read at the same time; absent ones left out."""
        found = at_once(lambda path: self.once(lake, path, parse), paths)
        return {path: value for path, value in found.items() if value is not None}

    def lately(
        self,
        lake: Lake,
        name: Hashable,
        make: Callable[[], T],
        seconds: float | Callable[[T], float] = SECONDS,
    ) -> T:
        """What `make` gave for `name` in the last seconds, or gives now.

        `seconds` may be a function of what was made.
        """
        key = ("lately", lake.uri, name)
        kept = self._fresh(key)
        if kept is None:
            made = make()
            kept = self._put(key, made, seconds(made) if callable(seconds) else seconds)
        value: T = kept.value
        return value

    def last(self, lake: Lake, name: Hashable) -> Any:
        """What `lately` had for `name` when it was asked last, however old; None before."""
        kept = self._get(("lately", lake.uri, name))
        return None if kept is None else kept.value

    def watched(self, lake: Lake, name: Hashable, make: Callable[[], T]) -> T:
        """`lately` for what rests for long: each look that sees no change doubles the wait."""
        key = ("watched", lake.uri, name)
        kept = self._fresh(key)
        if kept is None:
            before, value = self._get(key), make()
            rests = before is not None and before.value == value
            wait = min(2 * before.wait, LONGEST_SECONDS) if before and rests else SECONDS
            kept = self._put(key, value, wait)
        found: T = kept.value
        return found

    def facts(self) -> Mapping[str, int]:
        """Entries and bytes held, for a look at the memory itself."""
        with self._lock:
            return {"entries": len(self._kept), "bytes": self.n_bytes}

    def _fresh(self, key: Hashable) -> _Kept | None:
        kept = self._get(key)
        return kept if kept and kept.until is not None and kept.until > self.clock() else None

    def _get(self, key: Hashable) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def _put(self, key: Hashable, value: Any, wait: float | None = None) -> _Kept:
        n_bytes = _WEIGHT * len(pickle.dumps(value)) + 200
        until = None if wait is None else self.clock() + wait
        kept = _Kept(value, n_bytes, until, wait or 0.0)
        with self._lock:
            old = self._kept.pop(key, None)
            self.n_bytes += n_bytes - (old.n_bytes if old else 0)
            self._kept[key] = kept
            while self.n_bytes > self.max_bytes and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self.n_bytes -= gone.n_bytes
        return kept


_within = threading.local()


def at_once(read: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
    """What `read` gives for each name, some read at the same time.

    What a `read` asks for at once itself is read one after the other: `AT_ONCE` is for all.
    """
    wanted = list(dict.fromkeys(names))
    if len(wanted) < 2 or getattr(_within, "is_busy", False):
        return {name: read(name) for name in wanted}
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted)), initializer=_enter) as pool:
        return dict(zip(wanted, pool.map(read, wanted), strict=True))


def _enter() -> None:
    _within.is_busy = True
