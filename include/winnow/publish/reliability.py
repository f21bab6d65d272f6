"""The reliability chart: what a model stated against what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from winnow.intervals import wilson
from winnow.pages.charts import Axis, Chart, Point, Series, plane
from winnow.reward.calibration import ReliabilityBin


def reliability(bins: Sequence[ReliabilityBin]) -> Chart:
    """Share preferred against stated probability, with Wilson intervals; honest is diagonal."""
    largest = max((each.n for each in bins), default=1)
    share = [(t, f"{100 * t:.0f}") for t in (0, 0.25, 0.5, 0.75, 1)]
    return plane(
        "Share preferred, in percent, against stated probability",
        Axis(0, 1, share, "stated probability, %"),
        Axis(0, 1, share),
        [Series("k0", [_bin(each, largest) for each in bins])],
        diagonal=True,
        size=(300, 296),
    )


def _bin(each: ReliabilityBin, largest: int) -> Point:
    low, high = wilson(round(each.n * each.observed), each.n)
    words = (
        f"stated {100 * each.stated:.1f} %, preferred {100 * each.observed:.1f} % "
        f"({100 * low:.1f} to {100 * high:.1f}) of {each.n} labels"
    )
    size = round(3 + 4 * math.sqrt(each.n / largest), 1)
    return Point(each.stated, each.observed, words, low, high, size)
