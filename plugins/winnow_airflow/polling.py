"""What every wait that holds no worker slot shares: its threads, its pauses, and its progress.

A wait is a trigger that looks again and again. It is stateless: it can be lost with its triggerer
and started again from its arguments, and it looks as if for the first time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from airflow.triggers.base import BaseTrigger

SETTLE_SECONDS = 10.0
"""A wait lasts at least this long: a task that is resumed within a beat of the scheduler passes for
one that was killed (Airflow 3.3.2), and is retried."""

# Not the event loop's own threads: a store or vendor that hangs must not hold up other triggers.
_THREADS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="winnow-wait")

_T = TypeVar("_T")


class PollingTrigger(BaseTrigger):
    """A trigger that looks again and again, and says in its task's XCom how far things are."""

    async def settle(self, began: float) -> None:
        """Let a beat of the scheduler pass since the wait began (`time.monotonic`)."""
        await asyncio.sleep(max(0.0, began + SETTLE_SECONDS - time.monotonic()))

    async def show(self, progress: dict[str, Any]) -> bool:
        """Put the progress into the XCom; whether it is there: it costs no wait if it is not."""
        if self.task_instance is None:
            return False
        try:
            await publish(self.task_instance, progress)
        except Exception as error:
            self.log.warning("XCom progress cannot be written now: %s", error)
            return False
        return True


def jittered(seconds: float) -> float:
    """Jitter keeps a night's many waits from asking in step."""
    return seconds * random.uniform(0.8, 1.2)


async def in_thread(call: Callable[[], _T]) -> _T:
    """What a call gives that may block."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)


async def publish(task_instance: Any, progress: dict[str, Any]) -> None:
    """Set a task's XCom `progress`."""
    from airflow.sdk.execution_time.xcom import XCom

    await XCom.aset(
        "progress",
        progress,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )
