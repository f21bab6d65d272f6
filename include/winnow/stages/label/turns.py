"""One purchase of a round at a time, at a vendor that takes the same task twice.

    label/round-0/turn.json     pointer: who adds tasks, and until when

A twin that comes meanwhile is told to wait; the turn of one that was killed ends by itself. Times
are the store's, and a turn is longer than any call to a vendor may take.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from winnow.batch import Batch
from winnow.errors import Retryable
from winnow.label.vendor import LabelVendor, TaskRequest
from winnow.stored import as_json, parsed, reader, sealed_json

TURN = timedelta(minutes=5)


@contextmanager
def turn_to_buy(batch: Batch, number: int, vendor: LabelVendor) -> Iterator[LabelVendor]:
    """The vendor, to which nobody else adds tasks of the round meanwhile.

    Raises:
        Retryable: Another process has the turn, or took it after this one was silent for too long.
    """
    if vendor.takes_a_task_once:
        yield vendor
        return
    turn = _Turns(batch, f"{batch.folder}/label/round-{number}/turn.json")
    turn.take()
    try:
        yield _InTurn(vendor, turn.take)
    finally:
        turn.end()


class _InTurn:
    """The vendor; whoever adds tasks has the turn anew."""

    def __init__(self, vendor: LabelVendor, take: Callable[[], None]) -> None:
        self._vendor, self._take = vendor, take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vendor, name)

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        self._take()
        self._vendor.add_tasks(ref, tasks)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Who has the turn, and until when."""

    holder: str = ""
    until: datetime = datetime(1970, 1, 1, tzinfo=UTC)


class _Turns:
    def __init__(self, batch: Batch, path: str) -> None:
        self._batch, self._path, self._holder = batch, path, uuid.uuid4().hex

    def take(self) -> None:
        """Have the turn from now on."""
        turn, tag = self._held()
        if turn.holder != self._holder and turn.until > self._batch.lake.now():
            raise Retryable(
                f"Another process buys labels of batch {self._batch.key}; its turn ends at "
                f"{turn.until:%Y-%m-%d %H:%M:%S} UTC at the latest. Try again then."
            )
        if not self._write(_Turn(self._holder, self._batch.lake.now() + TURN), tag):
            raise Retryable(f"Another process was first to buy labels of batch {self._batch.key}.")

    def end(self) -> None:
        """Let others in; one that took the turn meanwhile keeps it."""
        turn, tag = self._held()
        if turn.holder == self._holder:
            self._write(_Turn(self._holder), tag)

    def _held(self) -> tuple[_Turn, str | None]:
        data, tag = self._batch.lake.read_tagged(self._path)
        path, lake = self._path, self._batch.lake
        return (parsed(lake, path, reader(_Turn), data) if data is not None else _Turn()), tag

    def _write(self, turn: _Turn, tag: str | None) -> bool:
        return self._batch.lake.swap(self._path, sealed_json(as_json(turn)), tag)
