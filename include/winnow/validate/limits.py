"""Which figure is held against which setting of the campaign.

A setting `min_NAME_warn`, `min_NAME_block`, `max_NAME_warn` or `max_NAME_block` is a limit of the
figure NAME; where the figure has an interval, of the end of it that says best of the batch, which
is NAME_high under a least value and NAME_low under a greatest one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import cast

from winnow.campaign import Validate
from winnow.validate.verdict import Check, Severity

_SETTING = re.compile("(min|max)_(.+)_(warn|block)")
_END = {"min": "_high", "max": "_low"}


@dataclass(frozen=True, slots=True)
class Bound:
    """`figure` must be at least `low` or at most `high`; one of the two is None."""

    figure: str
    severity: Severity
    low: float | None
    high: float | None

    @property
    def told(self) -> str:
        """The bound in words."""
        return f"<= {self.high}" if self.low is None else f">= {self.low}"


def setting_of(figure: str, severity: Severity) -> str | None:
    """The setting under `validation` that a check's figure is held against; None where none is.

    >>> setting_of("agreement_high", "block"), setting_of("rows_lost", "block")
    ('min_agreement_block', None)
    """
    settings = [f"{side}_{figure.removesuffix(end)}_{severity}" for side, end in _END.items()]
    return next((name for name in settings if name in Validate.model_fields), None)


def suites_way_out(checks: Iterable[Check]) -> str:
    """What lets a batch pass that checks of a team's suites stopped; empty where none of them did.

    >>> suites_way_out([])
    ''
    """
    names = sorted({check.suite for check in checks if check.suite})
    if not names:
        return ""
    return (
        f"what {' and '.join(names)} expects is no limit here: write `severity: warn` beside its "
        "path under `validation.suites`, or name a corrected file of another name there"
    )


def bounds(limits: Validate, figures: Collection[str]) -> list[Bound]:
    """All bounds of a batch whose figures have these names, in a fixed order."""
    limited = []
    for setting, limit in limits:
        parts = _SETTING.fullmatch(setting)
        if parts is None or limit is None:
            continue
        side, name, severity = parts.groups()
        figure = f"{name}{_END[side]}" if f"{name}{_END[side]}" in figures else name
        low, high = (limit, None) if side == "min" else (None, limit)
        limited.append(Bound(figure, cast("Severity", severity), low, high))
    return [
        *limited,
        Bound("rows_lost", "block", None, 0),
        Bound("floors_unmet", "warn", None, 0),
    ]
