"""When to try a request again: waits of one request, and those that all requests share."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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
