"""A clock for what waits and tries again: nobody waits for it."""

from __future__ import annotations

import asyncio
import random

from winnow.flight import Patience


class QuickClock:
    """Time that passes only while somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def patience(self) -> Patience:
        return Patience(self, self.sleep, random.Random(0))
