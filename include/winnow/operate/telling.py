"""Tell alarms: to whom, and each once, however often a task is tried or run again.

The lake remembers, an object an alarm, which channels have had it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from winnow.errors import Fatal, Retryable, WinnowError
from winnow.ids import canonical_json
from winnow.lake import Lake
from winnow.operate.alarms import Alarm, alarm_folder
from winnow.stored import parsed
from winnow.text import plain_line

SETTING = "WINNOW_ALARMS"
CLAIM = timedelta(minutes=10)
"""Who claimed to tell an alarm and has not after this time was killed; another one tells it."""

FORMS: Mapping[str, str] = {
    "slack": "CONNECTION#CHANNEL",
    "slack-webhook": "CONNECTION",
    "smtp": "CONNECTION#ADDRESS",
    "apprise": "CONNECTION",
}
"""The ways to tell, each with what must stand behind it in the setting."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is told: how, by which Airflow connection, and to which channel, address or tag."""

    how: str
    connection: str
    target: str = ""

    @property
    def name(self) -> str:
        """As it stands in the setting."""
        return f"{self.how}:{self.connection}" + (f"#{self.target}" if self.target else "")


Send = Callable[[Alarm], None]


def recipients(setting: str | None) -> list[Recipient]:
    """Who is told, from entries of `FORMS`, such as `slack:CONNECTION#CHANNEL, apprise:CONNECTION`.

    Also `apprise:CONNECTION#TAG`. Nothing set: nobody.

    Raises:
        Fatal: An entry is none of these.
    """
    listed = []
    for entry in re.split(r"[,\s]+", setting or ""):
        if not entry:
            continue
        how, _, place = entry.partition(":")
        connection, _, target = place.partition("#")
        target = f"#{target}" if how == "slack" and target else target
        if how not in FORMS or not connection or ("#" in FORMS[how] and not target):
            *others, last = (f"{name}:{form}" for name, form in FORMS.items())
            raise Fatal(
                f"{SETTING} holds {plain_line(entry, 60)!r}; write {', '.join(others)} or {last}, "
                "separated by commas."
            )
        listed.append(Recipient(how, connection, target))
    return listed


def tell_once(lake: Lake | None, alarm: Alarm, now: datetime, channels: Mapping[str, Send]) -> bool:
    """Send the alarm to every channel that has not had it; whether anything was sent now.

    Who comes first claims it by compare-and-swap; a claim that was never fulfilled lapses after
    `CLAIM`. A channel that failed, or that this process has and the one before had not, is tried
    the next time the alarm is raised. A lake that is absent or cannot be reached silences nothing:
    the alarm is sent, and not remembered.

    Raises:
        Retryable: A channel failed; the message says which. Each other one has the alarm.
    """
    note: dict[str, Any] | None = {"reached": []}
    remembers = lake is not None
    if lake is not None:
        try:
            note = _claim(lake, alarm, now, channels)
        except (OSError, WinnowError):
            remembers = False
    if note is None:
        return False
    failed = {}
    for name in [name for name in channels if name not in note["reached"]]:
        try:
            channels[name](alarm)
        except Exception as error:
            failed[name] = str(error) if isinstance(error, WinnowError) else type(error).__name__
        else:
            note["reached"].append(name)
    if lake is not None and remembers:
        note["state"] = "unsent" if failed else "told"
        _, tag = lake.read_tagged(alarm.path)
        lake.swap(alarm.path, canonical_json(note), tag)
    if failed:
        faults = "; ".join(f"{name}: {fault}" for name, fault in failed.items())
        raise Retryable(f"An alarm did not arrive everywhere: {faults}")
    return True


def _claim(
    lake: Lake, alarm: Alarm, now: datetime, channels: Collection[str]
) -> dict[str, Any] | None:
    """The note, now ours to fulfil; None if every channel has it or another process is at it."""
    data, tag = lake.read_tagged(alarm.path)
    new = {"reached": [], "state": "new"}
    note: dict[str, Any] = parsed(lake, alarm.path, json.loads, data) if data else new
    if data and set(channels) <= set(note["reached"]):
        return None
    if note["state"] == "claimed" and not _lapsed(note, now):
        return None
    note |= asdict(alarm) | {"state": "claimed", "at": now.isoformat()}
    return note if lake.swap(alarm.path, canonical_json(note), tag) else None


def told(lake: Lake, campaign: str, key: str) -> list[dict[str, Any]]:
    """The alarms of a batch, oldest first: kind, heading, cause, mend, at, reached."""
    paths = [stored.path for stored in lake.listing(alarm_folder(campaign, key))]
    notes = [parsed(lake, path, json.loads) for path in paths if path.endswith(".json")]
    return sorted(notes, key=lambda note: str(note["at"]))


def _lapsed(note: Mapping[str, Any], now: datetime) -> bool:
    return now - datetime.fromisoformat(note["at"]) > CLAIM
