"""A plan as text: its table, a curve for each pool size, and advice in a sentence or three."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isnan

from winnow.select.planner import MICROS_PER_DOLLAR, Option, Plan, Prices

_NEARLY = 0.95
"""An option with this share of the best one's gain is named when it is cheaper."""

_SIZED_PROMPTS = (100, 1_000, 10_000, 100_000)
"""Nights of a small, a middling and a large team, and a backfill."""

_BARS = "▁▂▃▄▅▆▇█"


def render(plan: Plan) -> str:
    """The plan as text: a table, a curve for each pool size, and what to do."""
    first = plan.listed[0]
    lines = [f"{first.prompts:,} prompts, a budget of {_usd(plan.budget)}", "", _HEADER]
    lines += [_row(option, plan) for option in plan.listed]
    lines += ["* best   - over the budget", "", *_curves(plan.listed), _advice(plan)]
    return "\n".join(lines) + "\n"


def sizing(prices: Prices, pool_sizes: Sequence[int]) -> str:
    """GPU hours of pools of some sizes for numbers of prompts, a Markdown table."""
    speed = (
        f"{prices.tokens_per_second:,.0f} tokens a second on one GPU, "
        f"{prices.tokens_per_response:,.0f} tokens a response: GPU hours"
    )
    lines = [speed, "", "| prompts | " + " | ".join(f"pool of {n}" for n in pool_sizes) + " |"]
    lines.append("|---|" + "---|" * len(pool_sizes))
    rows = sizing_rows(prices, pool_sizes)
    for n_prompts in _SIZED_PROMPTS:
        hours = [f"{row['gpu_hours']:,.1f}" for row in rows if row["prompts"] == n_prompts]
        lines.append(f"| {n_prompts:,} | " + " | ".join(hours) + " |")
    return "\n".join(lines)


def sizing_rows(prices: Prices, pool_sizes: Sequence[int]) -> list[dict[str, float]]:
    """The same as rows: prompts, pool_size, gpu_hours."""
    return [
        {"prompts": n, "pool_size": size, "gpu_hours": float(prices.hours(n * size))}
        for n in _SIZED_PROMPTS
        for size in pool_sizes
    ]


_ROW = "{:1} {:>6} {:>7} {:>10} {:>14} {:>14} {:>14} {:>8} {:>14} {:>11} {:>12}"
_HEADER = _ROW.format(
    *("", "pool", "labels", "GPU hours", "responses", "comparisons", "total"),
    *("gain", "95 %", "per $1", "best reward"),
)


def _row(option: Option, plan: Plan) -> str:
    point, rate = option.point, option.gain_per_dollar
    return _ROW.format(
        "*" if option is plan.best else "-" if option.affordable < option.prompts else "",
        option.pool_size,
        option.labels,
        f"{option.gpu_hours:,.2f}",
        _usd(option.generation_cost),
        _usd(option.label_cost),
        _usd(option.cost),
        f"{point.gain:.1%}" if point else "unknown",
        f"{point.low:.1%}-{point.high:.1%}" if point else "",
        "" if isnan(rate) else f"{rate:.3%}",
        f"{point.best_reward:+.2f}" if point else "",
    )


def _curves(options: Iterable[Option]) -> list[str]:
    """For each measured pool size its gains at 1, 2, ... labels as bars of 0 to 100 %."""
    by_size: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for option in options:
        if option.point:
            by_size[option.pool_size][option.labels] = option.point.gain
    lines = []
    for size, gains in sorted(by_size.items()):
        curve = [gains[labels] for labels in sorted(gains)]
        bars = "".join(_BARS[round(gain * (len(_BARS) - 1))] for gain in curve)
        lines.append(f"pool {size:>4}  {bars}  {curve[0]:.1%} to {curve[-1]:.1%}")
    return [*lines, ""] if lines else []


def _advice(plan: Plan) -> str:
    best = plan.best
    if not plan.options:
        least = plan.listed[0]
        return (
            f"The budget affords no option for all {least.prompts:,} prompts; the cheapest, "
            f"{_design(least)}, for {least.affordable:,} of them. Raise it to {_usd(least.cost)}, "
            "or take fewer prompts."
        )
    if best is None or best.point is None:
        return "These are costs only: gains are unknown until a batch with such pools exists."
    return " ".join(
        [
            f"Buy {_design(best)}: {_usd(best.cost)}, expected to take away "
            f"{best.point.gain:.1%} of the uncertainty that matters "
            f"(measured on {best.point.n_prompts} prompts).",
            *_less_for_less(best, plan.options),
            _more_for_more(best, plan.infeasible),
        ]
    )


def _less_for_less(best: Option, cheaper_first: Iterable[Option]) -> list[str]:
    """Names the cheapest option that gains nearly as much, if it is not the best itself."""
    for option in cheaper_first:
        if option.cost < best.cost and option.gain >= _NEARLY * best.gain > 0.0:
            return [
                f"Nearly as good: {_design(option)}, {option.gain / best.gain:.0%} of that gain "
                f"for {option.cost / best.cost:.0%} of the money{_rewards(option, best)}."
            ]
    return []


def _more_for_more(best: Option, cheaper_first: Iterable[Option]) -> str:
    """Names the cheapest option over the budget that gains more."""
    for option in cheaper_first:
        if option.gain > best.gain > 0.0:
            return (
                f"The next step up, {_design(option)}, costs {_usd(option.cost)}: "
                f"{option.gain / best.gain - 1.0:.1%} more gain for "
                f"{option.cost / best.cost - 1.0:.1%} more money{_rewards(option, best)}."
            )
    return "No larger option considered gains more."


def _rewards(option: Option, best: Option) -> str:
    """The other thing that money buys: a larger pool holds better responses."""
    if option.point is None or best.point is None:
        return ""
    return (
        f", best response at {option.point.best_reward:+.2f} logits instead of "
        f"{best.point.best_reward:+.2f}"
    )


def _design(option: Option) -> str:
    return f"pools of {option.pool_size} and {option.labels} label(s) per prompt"


def _usd(micros: int) -> str:
    return f"${micros / MICROS_PER_DOLLAR:,.2f}"
