"""Charts of the page *Selector*: log-loss and labels by night, strategies and uniform draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from winnow.console.selector.figures import Contender, Heard, Night
from winnow.pages.charts import Axis, Chart, Point, Row, Series, bars, intervals, plane, value_axis
from winnow.pages.words import cut, number

_SIZE = (520, 228)
_MOST_NAMES = 6

MILLI = 1000.0
"""Thousandths of a nat."""


def log_loss_chart(nights: Sequence[Night]) -> Chart:
    """Log-loss of the model and of response length on exploration votes, oldest night first."""
    model, length = [n.log_loss for n in nights], [n.length_log_loss for n in nights]
    coin = math.log(2.0)
    known = [v for v in (*model, *length) if v is not None]
    return plane(
        "Log-loss on exploration votes by night, nats a vote",
        _nights(nights),
        value_axis([*known, coin], lambda t, _: number(t, 3)),
        [*_lines(model, nights, "k0", "model", 3), *_lines(length, nights, "k1", "length", 3)],
        levels=[(coin, "a coin")],
        size=_SIZE,
    )


def labels_chart(nights: Sequence[Night]) -> Chart:
    """Labels behind the posterior, oldest night first."""
    values = [None if n.labels is None else float(n.labels) for n in nights]
    return plane(
        "Labels behind the posterior by night",
        _nights(nights),
        value_axis([0.0, *(v for v in values if v is not None)]),
        _lines(values, nights, "k0", "labels", 0),
        size=_SIZE,
    )


def gains_chart(contenders: Sequence[Contender]) -> Chart:
    """How much more a vote on each strategy's picks taught than one on a uniform draw."""
    rows = []
    for each in contenders:
        if each.gain is not None:
            mean, low, high = (MILLI * value for value in each.gain)
            said = f"{number(mean, 3)} ({number(low, 3)} to {number(high, 3)}) thousandths"
            rows.append(Row(each.strategy, mean, said, low, high))
    label = "What picks of each strategy taught beyond uniform draws, thousandths of a nat"
    return intervals(label, rows, sides=("← less than uniform", "more →"), width=700)


def heard_chart(heard: Sequence[Heard]) -> Chart:
    """What each block of features adds to the reward difference of a pair."""
    rows = [Row(each.block, each.logits, f"{number(each.logits, 2)} logits") for each in heard]
    label = "What each kind of feature adds to a pair's reward difference, logits"
    return bars(label, rows, [])


def _nights(nights: Sequence[Night]) -> Axis:
    every = math.ceil(len(nights) / _MOST_NAMES)
    shown = range((len(nights) - 1) % every, len(nights), every)
    return Axis(-0.5, max(len(nights), 1) - 0.5, [(k, cut(nights[k].key, 12)) for k in shown])


def _lines(
    values: Sequence[float | None], nights: Sequence[Night], css: str, name: str, decimals: int
) -> list[Series]:
    """A line over the nights that have a value, broken where one has none."""
    stretches = groupby(enumerate(values), lambda each: each[1] is not None)
    return [
        Series(
            css,
            [
                Point(k, v, f"{nights[k].key}, {name}: {number(v, decimals)}", size=3.5)
                for k, v in stretch
                if v is not None
            ],
            joined=True,
        )
        for is_known, stretch in stretches
        if is_known
    ]
