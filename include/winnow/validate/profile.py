"""Figures of a batch beyond its votes, and the profile that later batches are held against.

Drift is the distance of a batch's profile from the mean of the last versions'. Of shares it is what
remains beyond the 95 % interval of this batch's share; of mixes the total variation distance,
1/2 sum |p - q|, which is the share that would have to move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from winnow.campaign import Validate
from winnow.intervals import wilson
from winnow.sql import statements
from winnow.validate.metrics import LabelFigures
from winnow.validate.tables import BatchTables, n_rows_of

Profile = Mapping[str, Any]

_SQL = statements(__file__)
COUNTS = _SQL["counts"]


_COUNTED = ("language:", "dimension:", "tag:", "failure:")
"""Strata that a batch's tables tell of; topics and contested dimensions only choosing can."""


def batch_figures(
    connection: duckdb.DuckDBPyConnection, batch: BatchTables, limits: Validate
) -> dict[str, float | int | None]:
    """Shares with the end of their 95 % interval that is held against a limit, and plain counts.

    `cost_gap` is |charged - prices of all annotations| / charged.
    """
    relation = connection.sql(COUNTS, params={"speed": limits.max_chars_per_second})
    counted = relation.to_arrow_table().to_pylist()[0]
    sided, first = counted["n_shown"], counted["n_first_shown"]
    low, high = wilson(first, sided) if sided else (None, None)
    longer, longer_low, _ = _share(counted["n_longer"], counted["n_sided"])
    fast, fast_low, _ = _share(counted["n_fast"], counted["n_timed"])
    _, ties_low, _ = _share(counted["n_ties"], counted["n_votes"])
    _, _, same_high = _share(counted["n_same"], counted["n_repeats"])
    gap = abs(batch.charged - counted["paid"])
    return {
        "side_bias_low": None if low is None or high is None else max(0.0, low - 0.5, 0.5 - high),
        "tie_rate_low": ties_low,
        "repeat_consistency_high": same_high,
        "speeding": fast,
        "speeding_low": fast_low,
        "longer_chosen": longer,
        "longer_chosen_low": longer_low,
        "cost_gap": gap / max(batch.charged, counted["paid"]) if gap else 0.0,
        "mean_chars": counted["mean_chars"],
        "n_votes": counted["n_votes"],
        "n_ties": counted["n_ties"],
        "rows_lost": sum(
            abs(n - n_rows_of(batch.tables[name])) for name, n in batch.n_rows.items()
        ),
    }


def unmet_floors(connection: duckdb.DuckDBPyConnection, batch: BatchTables) -> list[str]:
    """Strata of which fewer pairs were labelled than the campaign wants, sorted."""
    held = dict(connection.sql(_SQL["strata"]).fetchall())
    short = {
        stratum
        for stratum, wanted in batch.floors.items()
        if stratum.startswith(_COUNTED) and held.get(stratum, 0) < wanted
    }
    return sorted(short | set(batch.unmet_floors))


def profile_of(
    connection: duckdb.DuckDBPyConnection, figures: LabelFigures, mean_chars: float | None
) -> Profile:
    """What later batches are held against: two shares, a length, and mixes (name to share)."""
    return {
        "agreement": figures.agreement,
        "tie_rate": figures.tie_rate,
        "mean_chars": mean_chars,
        "languages": _mix(connection, "prompts.language"),
        "strategies": _mix(connection, "comparisons.strategy"),
    }


def drift(
    profile: Profile, figures: Mapping[str, Any], history: Sequence[Profile]
) -> dict[str, float | None]:
    """Distance of `profile` from the mean of `history`; None where either has nothing to compare.

    `figures` are the batch's, for the intervals of its shares.
    """
    counts = {
        "agreement": (figures["n_agreed"], figures["n_agreement"]),
        "tie_rate": (figures["n_ties"], figures["n_votes"]),
    }
    shares = {
        f"{name}_drift": _beyond(_mean([past.get(name) for past in history]), *counted)
        for name, counted in counts.items()
    }
    length = _mean([past.get("mean_chars") for past in history])
    now = profile["mean_chars"]
    return {
        **shares,
        "length_drift": abs(now - length) / length if now is not None and length else None,
        "language_drift": _distance(profile["languages"], [p.get("languages") for p in history]),
        "strategy_drift": _distance(profile["strategies"], [p.get("strategies") for p in history]),
    }


def _mix(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, float]:
    counted = connection.sql(_SQL["mix"].format(name=name)).fetchall()
    total = sum(n for _, n in counted)
    return {value: n / total for value, n in counted}


def _share(n_hits: int, n: int) -> tuple[float | None, float | None, float | None]:
    return (n_hits / n, *wilson(n_hits, n)) if n else (None, None, None)


def _beyond(past: float | None, n_hits: int, n: int) -> float | None:
    if past is None or not n:
        return None
    low, high = wilson(n_hits, n)
    return max(0.0, low - past, past - high)


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None


def _distance(mix: Mapping[str, float], past: Sequence[Mapping[str, float] | None]) -> float | None:
    mixes = [each for each in past if each]
    if not mix or not mixes:
        return None
    names = set(mix).union(*mixes)
    usual = {name: sum(each.get(name, 0.0) for each in mixes) / len(mixes) for name in names}
    return sum(abs(mix.get(name, 0.0) - usual[name]) for name in names) / 2.0
