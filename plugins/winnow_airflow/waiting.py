"""Waiting for a labelling vendor without holding a worker slot.

The trigger is stateless: it can be lost with its triggerer and started again from its arguments,
and it looks at the vendor as if for the first time. Looks grow rarer from the campaign's
`poll_seconds` to its `max_poll_seconds`; a webhook that was taken makes the next one come at once.
Only what a person must mend ends the wait early; a vendor that is down for an hour costs an hour of
waiting and nothing else. At the deadline what is open is called off, again and again where the
vendor does not end, for a day at most.

How far the vendor is stands in the task's log, a line a look, and in its XCom `progress`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import TriggerEvent

from winnow.errors import Fatal, Retryable, WinnowError
from winnow.ids import PEOPLE
from winnow_airflow.context import batch_of, the_lake, vendor_from, vendor_of, webhook_account
from winnow_airflow.polling import PollingTrigger, in_thread, jittered

if TYPE_CHECKING:
    from winnow.batch import Batch
    from winnow.label.vendor import BatchStatus
    from winnow.label.webhooks import Nudges

GROWTH = 1.5
"""How much longer each pause between looks is than the one before."""
NUDGE_SECONDS = 5.0
"""How often a wait asks whether a webhook came."""
SET_SECONDS = 600.0
"""How often a wait sets its clock by the lake's: a triggerer's own may be days off."""


class VendorTrigger(PollingTrigger):
    """Fires when the vendor is done with a batch, or at the deadline (UTC, ISO 8601)."""

    def __init__(
        self,
        vendor: str,
        connection: str,
        ref: str,
        deadline: str,
        poll_seconds: float,
        max_poll_seconds: float = 900.0,
    ) -> None:
        super().__init__()
        self.vendor, self.connection, self.ref, self.deadline = vendor, connection, ref, deadline
        self.poll_seconds, self.max_poll_seconds = poll_seconds, max_poll_seconds
        self._seen: tuple[int, int] | None = None
        self._told = ""
        self._skew, self._set_at = timedelta(0), -math.inf

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("vendor", "connection", "ref", "deadline", "poll_seconds", "max_poll_seconds")
        return f"{__name__}.VendorTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        deadline = datetime.fromisoformat(self.deadline)
        pause, began = self.poll_seconds, time.monotonic()
        while True:
            nudge, last = await self._nudge()
            event, status = await self._look()
            now = await self._now()
            if event is None and now >= deadline:
                event = {"state": "deadline"}
            if event is not None:
                await self.settle(began)
                yield TriggerEvent(event)
                return
            if await self._rest(self._seconds(pause, deadline - now, status, now), nudge, last):
                pause = self.poll_seconds
            else:
                pause = min(pause * GROWTH, max(self.max_poll_seconds, self.poll_seconds))

    async def _now(self) -> datetime:
        """The time that decides: the lake's, this machine's where it cannot be read."""
        if time.monotonic() >= self._set_at + SET_SECONDS:
            try:
                self._skew = await in_thread(lambda: the_lake().now()) - datetime.now(UTC)
            except Exception as error:
                self.log.warning("The lake's time cannot be read now: %s", error)
            self._set_at = time.monotonic()
        return datetime.now(UTC) + self._skew

    async def _look(self) -> tuple[dict[str, str] | None, BatchStatus | None]:
        """What ends the wait, or None while it goes on; and where the batch stands, if known."""
        from airflow.sdk.bases.hook import BaseHook

        try:
            connection = await BaseHook.aget_connection(self.connection)
            vendor = await in_thread(lambda: vendor_from(self.vendor, connection))
            status = await in_thread(lambda: vendor.status(self.ref))
        except Retryable as error:
            self.log.warning("Vendor %s cannot be asked now, waiting on: %s", self.vendor, error)
            return None, None
        except (WinnowError, AirflowNotFoundException) as error:
            return {"state": "error", "message": str(error)}, None
        except Exception:
            self.log.exception("Looking at vendor %s failed, waiting on", self.vendor)
            return None, None
        await self._report(status)
        await self._note(status)
        return ({"state": status.state} if status.is_final else None), status

    async def _report(self, status: BatchStatus) -> None:
        """Say how far the vendor is: in the log each time, in the XCom when it changed."""
        share = status.n_answered / status.n_tasks if status.n_tasks else 1.0
        expected = status.expected_done_at
        self.log.info(
            "Vendor %s: %s of %s tasks answered (%.0f%%), %s ended without an answer, expected "
            "done at %s, waiting until %s at most",
            self.vendor,
            status.n_answered,
            status.n_tasks,
            100.0 * share,
            status.n_expired,
            expected,
            self.deadline,
        )
        seen = (status.n_answered, status.n_expired)
        if self.task_instance is None or seen == self._seen:
            return
        progress = {
            "answered": status.n_answered,
            "unanswered": status.n_expired,
            "tasks": status.n_tasks,
            "share": round(share, 4),
            "expected_done_at": expected.isoformat() if expected else None,
            "looked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if await self.show(progress):
            self._seen = seen

    async def _note(self, status: BatchStatus) -> None:
        """Say what answers cannot be read, in the log and where `winnow status` looks."""
        from winnow.label import unreadable

        try:
            told = unreadable.words(status)
            if told != self._told:
                said = told or "all answers can be read again"
                self.log.warning("Vendor %s: %s", self.vendor, said)
                await in_thread(lambda: unreadable.note(the_lake(), self.ref, status))
                self._told = told
        except Exception as error:
            self.log.warning("What cannot be read cannot be noted now: %s", error)

    async def _nudge(self) -> tuple[Nudges | None, str | None]:
        """Where webhooks about the batch show, if the vendor sends any; and the last one."""
        from airflow.sdk.bases.hook import BaseHook

        try:
            connection = await BaseHook.aget_connection(self.connection)
            if webhook_account(self.vendor, connection) is None:
                return None, None
            nudges = await in_thread(lambda: _nudges(self.vendor))
            return nudges, await in_thread(lambda: nudges.tag(self.ref))
        except Exception as error:
            self.log.warning("Webhooks cannot be looked up now, polling on: %s", error)
            return None, None

    async def _rest(self, seconds: float, nudges: Nudges | None, last: str | None) -> bool:
        """Sleep, unless a webhook comes; whether one came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            if nudges is None:
                await asyncio.sleep(left)
                continue
            await asyncio.sleep(min(left, jittered(NUDGE_SECONDS)))
            try:
                tag = await in_thread(lambda: nudges.tag(self.ref))
            except Exception as error:
                self.log.warning("Webhooks cannot be looked up now, polling on: %s", error)
                continue
            if tag != last:
                self.log.info("Vendor %s sent a webhook: looking at once", self.vendor)
                return True
        return False

    def _seconds(
        self, pause: float, left: timedelta, status: BatchStatus | None, now: datetime
    ) -> float:
        """The pause, cut short by the deadline and by the time the vendor expects to be done."""
        seconds = jittered(pause)
        if status is not None and status.expected_done_at is not None:
            expected = (status.expected_done_at - now).total_seconds()
            seconds = min(seconds, max(expected, jittered(self.poll_seconds)))
        return min(seconds, max(0.0, left.total_seconds()))


class WaitForVendor(BaseOperator):
    """Defers until a round's tasks are answered, expired, or called off at the campaign's deadline.

    A vendor that does not end at once what is called off costs waiting, and no try of a task.
    A round is one of people, or that in which a `source` is asked.
    """

    def __init__(self, *, round: int = 0, source: str = PEOPLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.round, self.source = round, source

    def execute(self, context: Any) -> str:
        from winnow.stages import label

        batch = batch_of(context["dag_run"])
        if batch.manifest(label.STAGE) is not None:
            return "collected"
        submission = label.read_submission(batch, self._number(batch))
        if submission is None:
            self.log.info("Nothing was bought in this round: nothing to wait for.")
            return "nothing"
        self._wait(batch, submission.ref, submission.deadline)
        return "deferred"

    def resume(self, context: Any, event: dict[str, str]) -> str:
        """Say how the wait ended; the next task decides whether that is enough."""
        if event["state"] == "error":
            raise Fatal(event["message"])
        if event["state"] == "deadline":
            self.log.warning(
                "The deadline passed before every task was answered; what is open is called off."
            )
            self._call_off(batch_of(context["dag_run"]))
        return event["state"]

    def _number(self, batch: Batch) -> int:
        from winnow.stages.label.rounds import round_of

        return self.round if self.source == PEOPLE else round_of(batch, self.source)

    def _call_off(self, batch: Batch) -> None:
        """Call the round off, and wait on where the vendor is not done with that."""
        from winnow.stages import label

        try:
            label.call_off(batch, vendor_of(batch.campaign, self.source), self._number(batch))
        except Retryable as error:
            submission = label.read_submission(batch, self._number(batch))
            now = batch.lake.now()
            end = datetime.fromisoformat(submission.deadline) + label.CALLING_OFF
            if now >= end:
                raise
            self.log.warning("%s", error)
            again = now + timedelta(seconds=batch.campaign.label.max_poll_seconds)
            self._wait(batch, submission.ref, min(again, end).isoformat())

    def _wait(self, batch: Batch, ref: str, deadline: str) -> None:
        settings = batch.campaign.label.of_source(self.source)
        trigger = VendorTrigger(
            vendor=settings.vendor,
            connection=settings.connection,
            ref=ref,
            deadline=deadline,
            poll_seconds=settings.poll_seconds,
            max_poll_seconds=settings.max_poll_seconds,
        )
        self.defer(trigger=trigger, method_name="resume")


@lru_cache(maxsize=8)
def _nudges(vendor: str) -> Nudges:
    """One for all waits of the process, so that the lake is asked once for all of them."""
    from winnow.label.webhooks import Nudges

    return Nudges(the_lake(), vendor)
