"""What a label bench found, in words computed from its comparisons.

Always holds: "better" and "worse" mean that a 95 % interval, paired by seed, lies clear of zero;
anything else is called undecided, never equal. Where nothing was found, a sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mode

from winnow_bench.metrics import METRICS, Metric, metric
from winnow_bench.peers import PEERS
from winnow_bench.statistics import Comparison, Summary

FEW_LABELS = 4
MANY_LABELS = 8
RIVAL = f"traditional-{MANY_LABELS}"
CONTROL = "random"
FLAGSHIP = "hybrid"
OURS = "decision_gain"
"""The rule that campaigns choose by, held against the best of the peers'."""

_SINCE = (
    (4, "traditional (0.3)-8"),
    (2, "traditional (0.3)-8"),
    (3, f"{OURS} (0.3)-4"),
)
"""Labels of our rule, and what of the release before they are held against."""


@dataclass(frozen=True, slots=True)
class Found:
    """One metric's comparisons, by what their intervals say; each list best first."""

    metric: Metric
    better: list[Comparison] = field(default_factory=list)
    worse: list[Comparison] = field(default_factory=list)
    undecided: list[Comparison] = field(default_factory=list)

    @property
    def n_looked_at(self) -> int:
        """How many comparisons have an interval."""
        return len(self.better) + len(self.worse) + len(self.undecided)


def name_of(strategy: str) -> str:
    """A strategy as text shows it."""
    return strategy.replace("_", " ").replace("-", " ")


def usual_size(rows: Iterable[Comparison | Summary]) -> int:
    """The pool size that most rows have; verdicts and curves speak of it where there are several.

    Raises:
        StatisticsError: There are no rows.
    """
    return mode(sorted((row.pool_size for row in rows), reverse=True))


def against_rival(rows: Sequence[Comparison]) -> list[Found]:
    """Strategies at `FEW_LABELS` and the usual pool size against `RIVAL`, a metric at a time.

    Peers' rules, rows of the release before and rows with a planted score, whose names have
    brackets, are no strategies of Winnow: they have sentences of their own.
    """
    rival = RIVAL.rpartition("-")[0]
    others = [
        r for r in rows if r.baseline == RIVAL and r.strategy != rival and "(" not in r.strategy
    ]
    size = usual_size(others) if others else 0
    return _found(r for r in others if (r.labels, r.pool_size) == (FEW_LABELS, size))


def flagship_against_control(rows: Sequence[Comparison]) -> list[Found]:
    """The flagship at every budget and pool size against random pairs of the same."""
    return _found(row for row in rows if row.baseline == CONTROL and row.strategy == FLAGSHIP)


def against_peers(rows: Sequence[Comparison]) -> list[Comparison]:
    """Our rule against each peer's at `FEW_LABELS` on win rate, that of the best peer first."""
    peers = {f"{name}-{FEW_LABELS}" for name in PEERS}
    measured = [
        (advantage[0], row.baseline, row)
        for row in rows
        if (row.metric, row.strategy) == ("win_rate", OURS) and row.baseline in peers
        if (advantage := metric(row.metric).advantage(row)) is not None
    ]
    return [row for *_, row in sorted(measured, key=lambda each: each[:2])]


def sentences(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[str]:
    """The verdicts on all pools, each sentence led by its pool's name."""
    return [
        f"{pool}: {sentence}"
        for pool in sorted({row.pool for row in summaries})
        for sentence in pool_sentences(
            [row for row in summaries if row.pool == pool],
            [row for row in comparisons if row.pool == pool],
        )
    ]


def pool_sentences(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[str]:
    """The verdict on one pool: on winning, other figures, money, the flagship and the peers."""
    against = against_rival(comparisons)
    return [
        _winning(next((each for each in against if each.metric.name == "win_rate"), None)),
        *_nowhere_better([each for each in against if each.metric.name != "win_rate"]),
        *_money(summaries),
        _flagship(flagship_against_control(comparisons)),
        *_since_before(comparisons),
        *_with_scores(comparisons),
        *_best_known(against_peers(comparisons)),
    ]


def _found(rows: Iterable[Comparison]) -> list[Found]:
    measured = [
        (*advantage, row)
        for row in rows
        if metric(row.metric).is_quality
        and (advantage := metric(row.metric).advantage(row)) is not None
    ]
    by_metric = {name: Found(each) for name, each in METRICS.items()}
    for _, low, high, row in sorted(measured, key=lambda each: (-each[0], each[3].strategy)):
        sides = by_metric[row.metric]
        (sides.better if low > 0 else sides.worse if high < 0 else sides.undecided).append(row)
    return [sides for sides in by_metric.values() if sides.n_looked_at]


def _winning(found: Found | None) -> str:
    rival = f"traditional sampling with {MANY_LABELS}"
    if found is None:
        return f"Nothing was measured with {FEW_LABELS} labels per prompt against {rival}."
    few = f"With {FEW_LABELS} labels per prompt"
    if found.better:
        few += f" from pools of {found.better[0].pool_size}"
        who = join(f"{name_of(row.strategy)} ({gap(found.metric, row)})" for row in found.better)
        verb = "wins" if len(found.better) == 1 else "win"
        return f"{few}, {who} {verb} more often than {rival}."
    best = (found.undecided + found.worse)[0]
    return (
        f"{few} from pools of {best.pool_size}, no strategy wins more often than {rival}: the "
        f"best, {name_of(best.strategy)}, differs by {gap(found.metric, best)}."
    )


def _nowhere_better(found: list[Found]) -> list[str]:
    none = [each.metric.title.lower() for each in found if not each.better]
    if not none:
        return []
    return [
        f"On {join(none)}, no strategy with {FEW_LABELS} labels is better than traditional with "
        f"{MANY_LABELS}."
    ]


def _money(summaries: Sequence[Summary]) -> list[str]:
    costs = {
        (row.strategy, row.labels): METRICS[row.metric].write(row.mean)
        for row in summaries
        if row.metric == "cost_usd"
    }
    flagship, rival = (FLAGSHIP, FEW_LABELS), ("traditional", MANY_LABELS)
    if flagship not in costs or rival not in costs:
        return []
    return [
        f"{FLAGSHIP.capitalize()} with {FEW_LABELS} labels per prompt costs {costs[flagship]} in "
        f"all, traditional with {MANY_LABELS} {costs[rival]}."
    ]


def _flagship(found: list[Found]) -> str:
    looked_at = sum(each.n_looked_at for each in found)
    worse = [
        f"{each.metric.title.lower()} with {row.labels} labels from pools of {row.pool_size} "
        f"({gap(each.metric, row)})"
        for each in found
        for row in each.worse
    ]
    against = f"{FLAGSHIP} against random pairs of the same pool at the same budget"
    if not looked_at:
        return f"Nothing was measured of {against}."
    better = sum(len(each.better) for each in found)
    plural = "" if looked_at == 1 else "s"
    counts = f"Of {looked_at} comparison{plural} of {against}, it is better in {better}"
    return f"{counts} and worse in {len(worse)}" + (f": {join(worse)}." if worse else ".")


def _since_before(rows: Sequence[Comparison]) -> list[str]:
    """What today's features and priors changed, beside both ways of the release before."""
    ours = [row for row in rows if (row.metric, row.strategy) == ("win_rate", OURS)]
    size = usual_size(ours) if ours else 0
    parts = [
        f"{labels} labels {gap(metric(row.metric), row)} against {name_of(strategy)} with {n}"
        for labels, baseline in _SINCE
        for strategy, _, n in [baseline.rpartition("-")]
        for row in ours
        if (row.labels, row.pool_size, row.baseline) == (labels, size, baseline)
    ]
    return [f"Win rate of {name_of(OURS)} as it is today: {'; '.join(parts)}."] if parts else []


def _with_scores(rows: Sequence[Comparison]) -> list[str]:
    """What a planted score changes, beside the same choice without one."""
    scored = [
        f"{row.strategy.partition('(')[2].rstrip(')')}: {gap(metric(row.metric), row)}"
        for row in rows
        if row.metric == "win_rate" and row.strategy.startswith(f"{OURS} (score")
        if row.baseline == f"{OURS}-{FEW_LABELS}"
    ]
    whole = f"Win rate with a score that is right on so many pairs: {'; '.join(scored)}."
    return [whole] if scored else []


def _best_known(rows: Sequence[Comparison]) -> list[str]:
    """Whether our rule is the best known, as far as these peers and seeds can say."""
    if not rows:
        return []
    best, measured = rows[0], metric("win_rate")
    rules = f"the best of {len(rows)} rules of peers" if len(rows) > 1 else "the one rule of a peer"
    peer = f"{rules}, {name_of(best.baseline.rpartition('-')[0])} ({gap(measured, best)})"
    few = f"With {FEW_LABELS} labels per prompt"
    if (best.low or 0.0) > 0:
        return [f"{few}, {name_of(OURS)} wins more often than {peer}."]
    if (best.high or 0.0) < 0:
        return [f"{few}, {name_of(OURS)} wins less often than {peer}: it is not the best known."]
    return [f"{few}, it is undecided whether {name_of(OURS)} wins more often than {peer}."]


def gap(measured: Metric, row: Comparison) -> str:
    """A difference with its interval, positive where better: "+2.4 points, 1.6 to 3.2"."""
    advantage = measured.advantage(row)
    if advantage is None:
        return "not measured"
    mean, low, high = advantage
    bounds = f"{measured.bare(low)} to {measured.bare(high)}"
    return f"{measured.signed(mean)} {measured.difference_unit}, {bounds}"


def join(parts: Iterable[str]) -> str:
    """Parts as English joins them: "a", "a and b", "a, b and c"."""
    *head, last = list(parts)
    return f"{', '.join(head)} and {last}" if head else last
