"""Runs triggers as a triggerer does, one at a time."""

from __future__ import annotations

import asyncio
from typing import Any


def event(of: Any) -> Any:
    """What the first event of a trigger carries; None where it ends without one."""

    async def first() -> Any:
        async for found in of.run():
            return found.payload
        return None

    return asyncio.run(first())
