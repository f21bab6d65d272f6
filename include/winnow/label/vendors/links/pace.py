"""How often somebody may ask: so many at once, and then so many a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

KEPT = 10_000
"""Of so many it is known how often they asked; who asked longest ago is forgotten first."""


class Pace:
    """A bucket for each name that holds `minute` requests and fills in a minute."""

    def __init__(self, minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._minute, self._clock, self._lock = minute, clock, Lock()
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str, cost: float = 1.0) -> float:
        """Count a request; seconds until one is allowed, 0 where this one is."""
        per_second, now = self._minute / 60, self._clock()
        with self._lock:
            left, at = self._held.pop(name, (float(self._minute), now))
            left = min(float(self._minute), left + (now - at) * per_second)
            allowed = left >= cost
            self._held[name] = left - cost if allowed else left, now
            if len(self._held) > KEPT:
                self._held.popitem(last=False)
        return 0.0 if allowed else (cost - left) / per_second
