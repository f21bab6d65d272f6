"""What the label bench measures: each metric's name, direction and way to be written.

Shares and probabilities lie in [0, 1] and are written in percent; differences between them are
percentage points. Costs are dollars. The judge is the model whose scores the bench has; its
reference is the response that every other one was judged against.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from winnow.errors import Fatal
from winnow_bench.statistics import Comparison

MINUS = "−"


class Unit(Enum):
    """How a value is written."""

    SHARE = "share"
    NATS = "nats"
    COUNT = "pairs"
    DOLLARS = "dollars"


_FORMS = {Unit.SHARE: ".1f", Unit.NATS: ".3f", Unit.COUNT: ".1f", Unit.DOLLARS: ",.2f"}


@dataclass(frozen=True, slots=True)
class Metric:
    """`meaning` is for a reader who knows what a preference label is, and nothing of this bench."""

    name: str
    title: str
    meaning: str
    higher_is_better: bool = True
    unit: Unit = Unit.SHARE

    @property
    def is_quality(self) -> bool:
        """Whether it says what the labels were good for; a cost or a count does not."""
        return self.unit in (Unit.SHARE, Unit.NATS)

    def advantage(self, row: Comparison) -> tuple[float, float, float] | None:
        """Difference and interval of `row`, turned so that positive is better; None without one."""
        if row.difference is None or row.low is None or row.high is None:
            return None
        if self.higher_is_better:
            return row.difference, row.low, row.high
        return -row.difference, -row.high, -row.low

    @property
    def _sign(self) -> str:
        return "%" if self.unit is Unit.SHARE else self.unit.value

    def write(self, value: float) -> str:
        """A value with its unit, as in a sentence."""
        bare = self.bare(value)
        return f"${bare}" if self.unit is Unit.DOLLARS else f"{bare} {self._sign}"

    def bare(self, value: float) -> str:
        """A value without its unit, as in a column of values."""
        shown = 100 * value if self.unit is Unit.SHARE else value
        return f"{shown:z{_FORMS[self.unit]}}".replace("-", MINUS)

    def signed(self, value: float) -> str:
        """A difference without its unit, its sign always shown."""
        return self.bare(value) if value < 0 else f"+{self.bare(value)}"

    @property
    def heading(self) -> str:
        """The title with the unit of the values below it."""
        return f"{self.title}, {self._sign}"

    @property
    def difference_unit(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit is Unit.SHARE else self.unit.value


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "win_rate",
            "Win rate",
            "How often the judge prefers the trained policy's response to the reference, on "
            "prompts that were never labelled. The policy draws from a prompt's pool, the more "
            "often the higher the trained reward.",
        ),
        Metric(
            "best_of_pool_win_rate",
            "Best of pool",
            "The same for the response that the trained reward ranks first in the pool.",
        ),
        Metric(
            "length_controlled_win_rate",
            "Length-controlled",
            "Best of pool, had each pick been as long as the reference: what is won by length "
            "alone is taken out.",
        ),
        Metric(
            "pair_accuracy",
            "Pair accuracy",
            "How often the trained reward names the better response of a random pair that the "
            "judge clearly tells apart, on prompts that were never labelled.",
        ),
        Metric(
            "log_loss",
            "Log-loss",
            "Mean −ln of the probability that the reward gave to a label, in nats; lower is "
            "better, and ln 2 = 0.693 is knowing nothing.",
            higher_is_better=False,
            unit=Unit.NATS,
        ),
        Metric(
            "ece",
            "Calibration error",
            "How far stated probabilities lie from how often they come true; lower is better.",
            higher_is_better=False,
        ),
        Metric(
            "recommended_p_win",
            "Recommended",
            "The judge's probability that the response recommended for a labelled prompt beats "
            "the reference, out of the candidates that the strategy had.",
        ),
        Metric(
            "recommended_of_all_p_win",
            "Recommended of all",
            "The same with every strategy recommending out of the whole pool, also one that "
            "sampled a handful.",
        ),
        Metric(
            "winners_p_win",
            "Winners",
            "The judge's probability that the winner of a labelled pair beats the reference.",
        ),
        Metric(
            "label_accuracy",
            "Label accuracy",
            "How often a bought label names the response that the judge scores higher.",
        ),
        Metric(
            "blocked_pairs",
            "Blocked",
            "Labels spent on a response that games the judge or says nothing; lower is better.",
            higher_is_better=False,
            unit=Unit.COUNT,
        ),
        Metric(
            "cost_usd",
            "Cost",
            "Generating the pools and buying the labels, in dollars; lower is better.",
            higher_is_better=False,
            unit=Unit.DOLLARS,
        ),
    )
}
"""Metrics by name, in the order of a table's columns."""


def metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        Fatal: It is unknown, so nobody could say which direction is better.
    """
    if name not in METRICS:
        raise Fatal(
            f"Metric {name} is unknown, so a page cannot say whether more of it is better: "
            f"add it to winnow_bench.metrics.METRICS."
        )
    return METRICS[name]
