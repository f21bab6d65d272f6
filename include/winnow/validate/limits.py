"""Which figure is held against which setting of the campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from winnow.campaign import Validate
from winnow.validate.verdict import Severity

_LIMITED: Mapping[str, str] = {
    "agreement_high": "min_agreement",
    "side_bias_low": "max_side_bias",
    "gold_accuracy_high": "min_gold_accuracy",
    "tie_rate_low": "max_tie_rate",
    "repeat_consistency_high": "min_repeat_consistency",
    "speeding_low": "max_speeding",
    "longer_chosen_low": "max_longer_chosen",
    "suspects": "max_suspects",
    "cost_gap": "max_cost_gap",
    "agreement_drift": "max_agreement_drift",
    "tie_rate_drift": "max_tie_rate_drift",
    "length_drift": "max_length_drift",
    "language_drift": "max_language_drift",
    "strategy_drift": "max_strategy_drift",
    "selection_shift": "max_selection_shift",
    "choice_shift": "max_choice_shift",
}
"""Setting of each figure, without its severity."""


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
    """The setting under `validation` that a figure is held against; None where none is.

    >>> setting_of("agreement_high", "block"), setting_of("rows_lost", "block")
    ('min_agreement_block', None)
    """
    setting = _LIMITED.get(figure)
    return None if setting is None else f"{setting}_{severity}"


def bounds(limits: Validate) -> list[Bound]:
    """All bounds of a batch's figures, in a fixed order."""
    severities: tuple[Severity, Severity] = ("warn", "block")
    found = [
        Bound(figure, severity, *_sides(setting, limit))
        for figure, setting in _LIMITED.items()
        for severity in severities
        if (limit := getattr(limits, f"{setting}_{severity}", None)) is not None
    ]
    return [
        *found,
        Bound("rows_lost", "block", None, 0),
        Bound("floors_unmet", "warn", None, 0),
    ]


def _sides(setting: str, limit: float) -> tuple[float | None, float | None]:
    return (limit, None) if setting.startswith("min_") else (None, limit)
