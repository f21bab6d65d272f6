"""When a campaign's batches begin, and what they are called."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from winnow.campaign.settings import Settings, setting
from winnow.keys import KeyKind

_RANDOM = re.compile(r"\br\b", re.IGNORECASE)
"""A field that each reader of the cron would fill otherwise."""


class Schedule(Settings):
    """When a batch begins: at each tick of a cron, on another team's asset, or by hand alone.

    A tick has one key, whatever becomes of the clock or of this setting: a batch that was begun is
    never begun again, and a tick whose key is taken is passed over.
    """

    cron: str | None = setting(
        "0 0 * * *", "Minute, hour, day, month, weekday; null: by hand, or as other teams announce"
    )
    timezone: str = setting("UTC", "The clock that the cron reads, such as Europe/Berlin")
    key: KeyKind | None = setting(
        None,
        "What a batch is named by: the `day_before` its tick, the tick's `day`, `hour` or `minute`,"
        " or `text` as an asset gives it; null: `day_before` where the cron ticks once a day, else "
        "`hour`, or `minute` where it ticks twice in one; without a cron any of days, hours and "
        "minutes",
    )
    assets: list[str] = Field(
        default_factory=list,
        description="Names of other teams' partitioned assets, each event of which begins a batch "
        "of its key; takes the place of the cron",
    )

    @model_validator(mode="before")
    @classmethod
    def _assets_or_cron(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("assets"):
            if value.get("cron") is not None:
                raise ValueError("takes a cron or assets, not both")
            return {**value, "cron": None}
        return value

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            _fields(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception:  # of which kind depends on what is wrong with the name
            raise ValueError("no time zone; write one such as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _one_key_a_tick(self) -> Schedule:
        if self.cron is None or self.key is None:
            return self
        needed = _finest(self.cron)
        if self.key == "text":
            raise ValueError("key `text` is what an asset gives; a cron has none")
        order = ("day", "hour", "minute")
        if order.index(self.key.removesuffix("_before")) < order.index(needed):
            raise ValueError(f"key {self.key} would name several ticks alike; write {needed}")
        return self

    @property
    def kind(self) -> KeyKind | None:
        """What batches are named by; None where no cron says it: any day, hour or minute."""
        if self.key is not None or self.cron is None:
            return self.key
        finest = _finest(self.cron)
        return "day_before" if finest == "day" else finest


def _finest(cron: str) -> KeyKind:
    """The coarsest part of time that tells any two ticks of a cron apart."""
    minutes, hours = _fields(cron)[:2]
    if len(minutes) > 1 or minutes == ["*"]:
        return "minute"
    return "hour" if len(hours) > 1 or hours == ["*"] else "day"


def _fields(cron: str) -> list[list[Any]]:
    """The values that each of a cron's five fields allows; `["*"]` for all.

    Raises:
        ValueError: It is none.
    """
    # Here, because it weighs more than the module does.
    from croniter import CroniterBadDateError, croniter

    if len(cron.split()) != 5 or _RANDOM.search(cron):
        raise ValueError("no cron; write five fields, such as 30 2 * * 1-5")
    try:
        ticking = croniter(cron)
        ticking.get_next()
    except CroniterBadDateError:
        raise ValueError("a cron that never ticks; null begins batches by hand") from None
    except ValueError as error:
        raise ValueError(f"no cron: {error}") from None
    fields: list[list[Any]] = ticking.expanded
    return fields
