"""Waiting for a labelling vendor without holding a worker slot.

The trigger is stateless: it can be lost with its triggerer and started again from its arguments,
and it looks at the vendor as if for the first time. Only a fatal error ends the wait early; a
vendor that is down for an hour costs an hour of waiting and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from winnow.errors import Fatal, Retryable, WinnowError
from winnow_airflow.context import batch_of, vendor_from


class VendorTrigger(BaseTrigger):
    """Fires when the vendor is done with a batch, or at the deadline (UTC, ISO 8601)."""

    def __init__(
        self, vendor: str, connection: str, ref: str, deadline: str, poll_seconds: float
    ) -> None:
        super().__init__()
        self.vendor, self.connection, self.ref = vendor, connection, ref
        self.deadline, self.poll_seconds = deadline, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("vendor", "connection", "ref", "deadline", "poll_seconds")
        return f"{__name__}.VendorTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        deadline = datetime.fromisoformat(self.deadline)
        while True:
            event = await self._look()
            if event is None and datetime.now(UTC) >= deadline:
                event = {"state": "deadline"}
            if event is not None:
                yield TriggerEvent(event)
                return
            # Jitter keeps a night's many waits from asking in step.
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))

    async def _look(self) -> dict[str, str] | None:
        """What the vendor says, once the wait is over; None while it goes on."""
        from airflow.sdk.bases.hook import BaseHook

        try:
            connection = await BaseHook.aget_connection(self.connection)
            vendor = vendor_from(self.vendor, connection)
            status = await asyncio.to_thread(vendor.status, self.ref)
        except Retryable as error:
            self.log.warning("Vendor %s cannot be asked now, waiting on: %s", self.vendor, error)
            return None
        except WinnowError as error:
            return {"state": "error", "message": str(error)}
        self.log.info(
            "Vendor %s: %s of %s tasks answered, expected done at %s",
            self.vendor,
            status.n_answered,
            status.n_tasks,
            status.expected_done_at,
        )
        return {"state": status.state} if status.is_final else None


class WaitForVendor(BaseOperator):
    """Defers until the batch's tasks are answered, expired, or past the campaign's deadline."""

    def execute(self, context: Any) -> None:
        from winnow.stages import label

        batch = batch_of(context["dag_run"])
        if batch.manifest(label.STAGE) is not None:
            return
        submission = label.read_submission(batch)
        settings = batch.campaign.label
        self.defer(
            trigger=VendorTrigger(
                vendor=settings.vendor,
                connection=settings.connection,
                ref=submission.ref,
                deadline=submission.deadline,
                poll_seconds=settings.poll_seconds,
            ),
            method_name="resume",
        )

    def resume(self, context: Any, event: dict[str, str]) -> str:
        """Say how the wait ended; `collect_annotations` decides whether that is enough."""
        if event["state"] == "error":
            raise Fatal(event["message"])
        return event["state"]
