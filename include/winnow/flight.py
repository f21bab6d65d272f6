"""Run asynchronous work behind a synchronous face, a bounded number of pieces at once.

One thread of its own runs the event loop. Leaving the `with` block, by an exception or Ctrl-C too,
cancels what is in flight, closes its connections (a server that sees that stops generating) and
ends the thread; nothing waits for an answer that nobody wants.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Flight(Generic[Piece, Result]):
    """Does `work` on the pieces that are sent, `most` at once; `close` is awaited at the end.

    `aloft` counts the pieces that were sent and have not landed.
    """

    def __init__(
        self,
        work: Callable[[Piece], Awaitable[Result]],
        most: int,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._work, self._close = work, close
        self._slots = asyncio.Semaphore(most)
        self._landed: queue.SimpleQueue[tuple[Piece, Future[Result]]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="winnow-server", daemon=True)
        self.aloft = 0

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C while the thread starts: nobody will call __exit__.
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def send(self, piece: Piece) -> None:
        """Start on a piece as soon as a slot is free; returns at once."""
        self.aloft += 1
        future = asyncio.run_coroutine_threadsafe(self._in_slot(piece), self._loop)
        future.add_done_callback(lambda done: self._landed.put((piece, done)))

    def land(self) -> tuple[Piece, Result]:
        """Wait for the next piece that is done; raises what its work raised."""
        piece, future = self._landed.get()
        self.aloft -= 1
        return piece, future.result()

    async def _in_slot(self, piece: Piece) -> Result:
        async with self._slots:
            return await self._work(piece)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close()


FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0
LONGEST_HOLD_SECONDS = 300.0
"""A server that asks to wait longer is left to the caller."""


@dataclass
class Patience:
    """Holds every request back where the server is busy; clock, sleep and chance are injected.

    `clock` gives monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: random.Random = field(default_factory=random.Random)
    _not_before: float = field(default=0.0, init=False)

    def hold(self, seconds: float) -> None:
        """Let no request start for so long."""
        self._not_before = max(self._not_before, self.clock() + seconds)

    async def turn(self) -> None:
        """Wait until requests may start."""
        while (left := self._not_before - self.clock()) > 0.0:
            await self.sleep(left)

    def back_off(self, failures: int) -> float:
        """Seconds before the next try after so many failures: exponential, with full jitter."""
        longest = FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 16)
        return self.chance.uniform(0.0, min(longest, LONGEST_BACK_OFF_SECONDS))
