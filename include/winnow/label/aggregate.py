"""Makes one preference of a pair's votes.

The model: with probability e an annotator names the wrong side, the same e for everyone and both
sides. A vote then moves the log-odds that the first response is preferred by ln((1 - e) / e), from
where the posterior had them when the pair was chosen. Two annotators agree on a decisive pair with
probability (1 - e)^2 + e^2, which is how e is estimated from pairs judged twice. A tie or "both
bad" says that there is no difference to see: its share of the votes pulls the probability to one
half. A skip is no vote.

What always holds: comparisons in = preferences out + comparisons without a vote; of each
annotation only the latest revision counts, and none that was retracted or rejected; exchanging
first and second throughout mirrors the result. Per-annotator models come where there are more votes
per annotator (Dawid and Skene, Applied Statistics 28, 1979, is the classic).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import Corrupt
from winnow.label.annotation import NOT_COUNTED

Row = Mapping[str, Any]

PRIOR_AGREEMENT = 0.72
"""Agreement expected before any pair was judged twice: what crowds show on model responses."""
PRIOR_PAIRS = 10.0
"""How many pairs judged twice that expectation is worth."""
P_LIMIT = 0.02
"""The model's probability is cut to [P_LIMIT, 1 - P_LIMIT]: it is no surer than that unasked."""
MIN_ERROR_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Preference:
    """A row of `records.PREFERENCES`.

    `preferred` is the side that more than half of the votes chose, else `tie`; `p_preferred` the
    probability that the first response is preferred; `agreement` the largest share of votes for
    one of first, second, tie, null for a single vote; `cost` what its annotations cost.
    """

    pair_id: str
    prompt_id: str
    first_id: str
    second_id: str
    preferred: str
    p_preferred: float
    votes: int
    agreement: float | None
    cost: int


def aggregate(
    annotations: Iterable[Row], comparisons: Sequence[Row], error_rate: float
) -> list[Preference]:
    """Preferences of all `comparisons` that have a vote, in their order.

    Args:
        annotations: Rows of `records.ANNOTATIONS`, every revision.
        comparisons: Rows of `records.COMPARISONS`.
        error_rate: Chance that an annotator names the wrong side, from `estimate_error_rate`.

    Raises:
        Corrupt: An annotation's pair is none of the comparisons.
    """
    latest = latest_revisions(annotations)
    _check_pairs_known(latest, comparisons)
    votes = by_pair(
        row for row in latest if row["status"] not in NOT_COUNTED and row["preferred"] is not None
    )
    cost = {pair: sum(row["price"] for row in rows) for pair, rows in by_pair(latest).items()}
    return [
        _preference(comparison, votes[comparison["pair_id"]], cost, error_rate)
        for comparison in comparisons
        if comparison["pair_id"] in votes
    ]


def latest_revisions(annotations: Iterable[Row]) -> list[Row]:
    """The highest revision of each annotation, sorted by annotation id."""
    latest: dict[str, Row] = {}
    for row in sorted(annotations, key=lambda r: (r["annotation_id"], r["revision"])):
        latest[row["annotation_id"]] = row
    return list(latest.values())


def by_pair(annotations: Iterable[Row]) -> dict[str, list[Row]]:
    """Annotations grouped by their pair, in their order."""
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in annotations:
        grouped[row["pair_id"]].append(row)
    return dict(grouped)


def estimate_error_rate(n_agreed: int, n_pairs: int) -> float:
    """An annotator's chance to name the wrong side, from how many of `n_pairs` two agreed on.

    The agreement a is shrunk to `PRIOR_AGREEMENT` by a Beta prior worth `PRIOR_PAIRS`; then
    a = (1 - e)^2 + e^2 is solved for e <= 1/2. At or below one half, votes carry nothing: e = 1/2.

    >>> round(estimate_error_rate(0, 0), 3), round(estimate_error_rate(82, 100), 3)
    (0.168, 0.106)
    """
    agreement = (n_agreed + PRIOR_AGREEMENT * PRIOR_PAIRS) / (n_pairs + PRIOR_PAIRS)
    error_rate = (1.0 - math.sqrt(max(0.0, 2.0 * agreement - 1.0))) / 2.0
    return max(MIN_ERROR_RATE, error_rate)


def probability_first(
    p_prior: float, n_first: int, n_second: int, n_no_difference: int, error_rate: float
) -> float:
    """P(first response preferred) after the votes; `p_prior` is the model's, before them.

    >>> round(probability_first(0.5, 1, 0, 0, 0.2), 3), probability_first(0.9, 0, 0, 1, 0.2)
    (0.8, 0.5)
    """
    p = min(max(p_prior, P_LIMIT), 1.0 - P_LIMIT)
    per_vote = math.log((1.0 - error_rate) / error_rate)
    log_odds = math.log(p / (1.0 - p)) + (n_first - n_second) * per_vote
    decisive = (n_first + n_second) / max(1, n_first + n_second + n_no_difference)
    return 0.5 + decisive * 0.5 * math.tanh(log_odds / 2.0)


def _check_pairs_known(annotations: Iterable[Row], comparisons: Iterable[Row]) -> None:
    unknown = {row["pair_id"] for row in annotations} - {c["pair_id"] for c in comparisons}
    if unknown:
        raise Corrupt(
            f"{len(unknown)} annotated pairs are none of the batch's comparisons, {min(unknown)} "
            "being one; collect the batch again."
        )


def _preference(
    comparison: Row, votes: Sequence[Row], cost: Mapping[str, int], error_rate: float
) -> Preference:
    n_first = sum(row["preferred"] == "first" for row in votes)
    n_second = sum(row["preferred"] == "second" for row in votes)
    n_none = len(votes) - n_first - n_second
    preferred = "first" if 2 * n_first > len(votes) else "tie"
    preferred = "second" if 2 * n_second > len(votes) else preferred
    return Preference(
        pair_id=comparison["pair_id"],
        prompt_id=comparison["prompt_id"],
        first_id=comparison["first_id"],
        second_id=comparison["second_id"],
        preferred=preferred,
        p_preferred=probability_first(comparison["p_first"], n_first, n_second, n_none, error_rate),
        votes=len(votes),
        agreement=max(n_first, n_second, n_none) / len(votes) if len(votes) > 1 else None,
        cost=cost[comparison["pair_id"]],
    )
