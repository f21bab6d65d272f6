"""Waiting for the labels of earlier batches without holding a worker slot.

Where a batch chooses in order (`winnow.stages.turn`), `WaitForTurn` defers until its turn comes.
The trigger looks at the lake about once a minute, in one look for all batches of a campaign that
wait. A lake that is away costs waiting and nothing else.

What is waited for stands in the task's log when it changes, and in its XCom `progress`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import TriggerEvent

from winnow.errors import Fatal, Retryable, WinnowError
from winnow_airflow.context import batch_of, the_lake
from winnow_airflow.polling import PollingTrigger, in_thread, jittered

if TYPE_CHECKING:
    from datetime import datetime

    from winnow.stages.turn import Looks, Turn

POLL_SECONDS = 60.0


class TurnTrigger(PollingTrigger):
    """Fires when a batch need wait for no earlier one of its campaign any more."""

    def __init__(self, campaign: str, key: str, poll_seconds: float = POLL_SECONDS) -> None:
        super().__init__()
        self.campaign, self.key, self.poll_seconds = campaign, key, poll_seconds
        self._seen: list[str] = []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("campaign", "key", "poll_seconds")
        return f"{__name__}.TurnTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        began = time.monotonic()
        while (event := await self._look()) is None:
            await asyncio.sleep(jittered(self.poll_seconds))
        await self.settle(began)
        yield TriggerEvent(event)

    async def _look(self) -> dict[str, str] | None:
        """What ends the wait; None while it goes on."""
        try:
            now, turn = await in_thread(self._ask)
        except Retryable as error:
            self.log.warning("The lake cannot be read now, waiting on: %s", error)
            return None
        except WinnowError as error:
            return {"state": "error", "message": str(error)}
        except Exception:
            self.log.exception("Looking at the lake failed, waiting on")
            return None
        waits_for = turn.waits_for(now) if turn is not None else []
        if turn is None or not waits_for:
            return {"state": "turn"}
        if waits_for != self._seen:
            self.log.info("Batch %s: %s", self.key, turn.sentence(now))
            self._seen = waits_for
            await self.show({"waits_for": waits_for, "until": turn.at.isoformat()})
        return None

    def _ask(self) -> tuple[datetime, Turn | None]:
        looks = _looks(self.campaign)
        now, turn = looks.lake.now(), looks.turn_of(self.key)
        if turn is None or not turn.waits_for(now):
            # Seen by another wait a while ago: an earlier batch may have begun since.
            turn = looks.turn_of(self.key, fresh=True)
        return now, turn


class WaitForTurn(BaseOperator):
    """Defers until no earlier batch has to be waited for; most batches go on at once."""

    def execute(self, context: Any) -> str:
        from winnow.stages import select
        from winnow.stages.turn import turn

        batch = batch_of(context["dag_run"])
        if batch.manifest(select.STAGE) is not None:
            return "chosen"
        found, now = turn(batch, batch.require("ingest")), batch.lake.now()
        if found is None or not found.waits_for(now):
            return "turn"
        self.log.info("Batch %s: %s", batch.key, found.sentence(now))
        trigger = TurnTrigger(batch.campaign.name, batch.key)
        self.defer(trigger=trigger, method_name="resume")
        return "deferred"

    def resume(self, context: Any, event: dict[str, str]) -> str:
        """Hand on how the wait ended."""
        if event["state"] == "error":
            raise Fatal(event["message"])
        return event["state"]


@lru_cache(maxsize=256)
def _looks(campaign: str) -> Looks:
    """One for all waits of a campaign in the process, so that the lake is asked once for them."""
    from winnow.stages.turn import Looks

    return Looks(the_lake(), campaign)
