"""Whom to ask: what judges beside people are worth, and what a bad one costs.

Nights as in `winnow bench labels`: ask about tonight's pools with last night's model, within a
budget of dollars a pool, and refit on every answer so far. The arm `people` spends all on people;
the arm `sources` asks judges too, at a twentieth of the price, as a night does
(`winnow.select.beside_people`). Beside the judges as they are
stand the same judges spoilt: verdicts shuffled among pairs, turned round, or always for the left
side.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Fatal
from winnow.ids import PEOPLE, seed_from
from winnow.money import MICROS
from winnow.reward import Posterior, fit, prior_of
from winnow.reward.blocks import width
from winnow.reward.judges import Heard, Verdicts, listen
from winnow.reward.model import OVERALL
from winnow.select.beside_people import BesidePeople, Prices
from winnow.select.fallback import effective_dimension, effective_rules
from winnow.select.greedy import choose_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Choice, Rules
from winnow_bench.document import machine, write_report
from winnow_bench.source_grounds import Answers, Asking, Drawn, Ground, read_grounds
from winnow_bench.statistics import Comparison, Summary, compare, summarise

N_NIGHTS = 5
LABEL_MICROS, VERDICT_MICROS = 100_000, 5_000
BUDGETS = (1, 2, 3, 4, 6, 8)
"""Dollars a pool, in prices of a person's answer."""
SPOILT_BUDGETS = (2, 4, 8)
JUDGE_SHARE = 0.2
ARM, ALONE = "sources", "people"
SPOILT = ("shuffled", "inverted", "left")
LOWER_IS_BETTER = frozenset({"log_loss"})
QUALITY = "pair_accuracy"
"""The figure whose value at 8 labels of people is to be reached."""

_RULES = Rules(0, "decision_gain", fresh_first=True, residual_sd=0.2)
"""As a campaign chooses that says nothing else."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of the bench: who may be asked, and for how many prices of a person's answer a pool."""

    strategy: str
    labels: int

    @property
    def asks_judges(self) -> bool:
        """Whether judges may be asked."""
        return self.strategy != ALONE

    @property
    def spoilt(self) -> str:
        """How the judges are spoilt; empty where they are as they are."""
        return self.strategy.partition(" (")[2].rstrip(")")


@dataclass(slots=True, eq=False)
class _Asked:
    """Answers so far, by pool."""

    votes: dict[str, tuple[Asking, IndexArray, Answers]] = field(default_factory=dict)
    verdicts: dict[str, dict[str, tuple[Asking, IndexArray, Answers]]] = field(default_factory=dict)


def run(folder: Path, out: Path, n_seeds: int, tell: Callable[[str], None]) -> list[str]:
    """Run the bench on `folder` and write `sources.json` to `out`; returns what it found.

    Raises:
        Fatal: The folder has the files of no ground, or there is no seed.
    """
    grounds = read_grounds(folder)
    if not grounds or n_seeds < 1:
        raise Fatal(
            f"{folder}: needs alpaca_pool.parquet with p_win_v1, or human_votes, human_pairs and "
            "judge_votes; and at least one seed."
        )
    began, rows = time.monotonic(), []
    jobs = [(str(folder), g, seed) for seed in range(n_seeds) for g in range(len(grounds))]
    with ProcessPoolExecutor(max_workers=cpu_count()) as processes:
        for done, found in enumerate(processes.map(_seed, jobs), 1):
            rows += found
            if not sys.stderr.isatty() or done == len(jobs):
                tell(f"{done}/{len(jobs)} after {time.monotonic() - began:.0f} s")
    comparisons = compare(rows, [ALONE])
    curves = summarise(rows)
    summary = {ground.name: _summary(ground.name, curves, comparisons) for ground in grounds}
    facts: Row = {"seeds": n_seeds, "nights": N_NIGHTS, "label_usd": LABEL_MICROS / MICROS}
    facts |= {"verdict_usd": VERDICT_MICROS / MICROS, "machine": machine(), "folder": folder.name}
    worst = min(each["worst_low_at_equal_dollars"] for each in summary.values())
    first = summary[grounds[0].name]
    overall = {**first, "worst_low_at_equal_dollars": worst}
    content = {
        "comparisons": [asdict(row) for row in comparisons],
        "curves": [asdict(each) for each in curves],
    }
    write_report(out, "sources", {**content, "summary": {**overall, **summary}, "facts": facts})
    return [_sentence(name, each) for name, each in summary.items()]


def cells() -> list[Cell]:
    """The rows to run."""
    arms = [Cell(arm, labels) for arm in (ALONE, ARM) for labels in BUDGETS]
    return arms + [Cell(f"{ARM} ({how})", labels) for how in SPOILT for labels in SPOILT_BUDGETS]


def _seed(job: tuple[str, int, int]) -> list[Row]:
    folder, number, seed = job
    with threadpool_limits(1):
        ground = read_grounds(Path(folder))[number]
        drawn = ground.draw(seed)
        return [row for cell in cells() for row in _rows(ground, drawn, cell, seed)]


def _rows(ground: Ground, drawn: Drawn, cell: Cell, seed: int) -> Iterator[Row]:
    posterior, heard, spent = in_nights(ground, drawn, cell, seed)
    figures = drawn.figures(posterior)
    figures |= {f"dollars_{name}": value / MICROS for name, value in spent.items()}
    for judge in heard.judges if heard else ():
        figures[f"kappa_{judge.name}"] = judge.kappa
    for metric, value in figures.items():
        of_cell = {"strategy": cell.strategy, "labels": cell.labels, "pool_size": 0}
        yield {
            "pool": ground.name,
            **of_cell,
            "seed": seed,
            "metric": metric,
            "value": value if isfinite(value) else None,
        }


def in_nights(
    ground: Ground, drawn: Drawn, cell: Cell, seed: int
) -> tuple[Posterior, Heard | None, dict[str, int]]:
    """Nights of asking and refitting: people's reward, what was heard, micro-dollars by teacher."""
    judges = ground.judges if cell.asks_judges else ()
    share = JUDGE_SHARE if judges else 0.0
    prices = Prices(LABEL_MICROS, dict.fromkeys(judges, VERDICT_MICROS), share / (1.0 - share), 0.0)
    asked, spent = _Asked(), {PEOPLE: 0, "judges": 0}
    alone = posterior = prior_of(ground.blocks)
    heard: Heard | None = None
    left = 0
    for night in np.array_split(np.arange(len(drawn.pools)), N_NIGHTS):
        teachers = {OVERALL: heard.teachers(alone, posterior)} if heard else {}
        names = {name: name for name in judges}
        known = alone.n_labels, effective_dimension(alone)
        rules, _ = effective_rules(replace(_RULES, seed=seed), *known, "undecided")
        beside = BesidePeople({OVERALL: posterior}, teachers, rules, prices, names)
        for pool in (drawn.pools[k] for k in night):
            # What judges leave of their share, or owe of it, is people's at the next pool: while
            # none is heard people are asked nearly what they would be alone.
            left += cell.labels * LABEL_MICROS
            for_judges = share * cell.labels * LABEL_MICROS if heard and heard.judges else 0.0
            n_people = max(0, round((left - for_judges) / LABEL_MICROS))
            beside.left = 0.0
            offered = _offered(pool)
            people = choose_pairs(offered, {OVERALL: alone}, replace(rules, budget=n_people))
            chosen = beside.of(offered, people)
            _answer(drawn, pool, chosen, asked, cell, seed)
            n_judged = sum(name != PEOPLE for each in chosen for name in each.sources)
            paid = {PEOPLE: LABEL_MICROS * len(people), "judges": VERDICT_MICROS * n_judged}
            for name, price in paid.items():
                spent[name] += price
                left -= price
        alone, posterior, heard = _refit(ground, asked)
    return posterior, heard, spent


def _offered(pool: Asking) -> Pool:
    ids = [f"{k:04d}" for k in range(len(pool.features_nd))]
    n_tokens = np.expm1(pool.length_n).tolist()
    return Pool(pool.key, ids, pool.features_nd, pool.open_nn, n_tokens=n_tokens)


def _answer(
    drawn: Drawn, pool: Asking, chosen: Sequence[Choice], asked: _Asked, cell: Cell, seed: int
) -> None:
    for teacher in dict.fromkeys(name for each in chosen for name in each.sources):
        pairs = np.array([(c.i, c.j) for c in chosen if teacher in c.sources], np.intp)
        i, j = pairs.T
        if teacher == PEOPLE:
            asked.votes[pool.key] = pool, pairs, drawn.people(pool, i, j)
        else:
            said = _spoilt(
                drawn.judge(teacher, pool, i, j), drawn, teacher, pool, pairs, cell, seed
            )
            asked.verdicts.setdefault(teacher, {})[pool.key] = pool, pairs, said


def _spoilt(
    said: Answers,
    drawn: Drawn,
    judge: str,
    pool: Asking,
    pairs: IndexArray,
    cell: Cell,
    seed: int,
) -> Answers:
    """The verdicts as a bad judge would give them."""
    if cell.spoilt == "inverted":
        return Answers(-said.said_e, said.side_e)
    if cell.spoilt == "shuffled":
        every = np.argwhere(np.triu(pool.open_nn, 1))
        order = np.random.default_rng(seed_from("shuffled", seed, pool.key)).permutation(len(every))
        other = {tuple(pair): every[k] for pair, k in zip(every.tolist(), order, strict=True)}
        i, j = np.array([other[min(i, j), max(i, j)] for i, j in pairs.tolist()], np.intp).T
        return Answers(drawn.judge(judge, pool, i, j).said_e, said.side_e)
    if cell.spoilt == "left":
        rng = np.random.default_rng(seed_from("left", seed, judge, pool.key))
        side_e = rng.choice([-1.0, 1.0], len(pairs))
        return Answers(side_e, side_e)
    return said


def _refit(ground: Ground, asked: _Asked) -> tuple[Posterior, Posterior, Heard | None]:
    """People's reward by their votes alone, and with what judges say of it."""
    z_ed, preferred, side = _stacked(asked.votes, width(ground.blocks))
    nothing = np.zeros(len(preferred))
    given = z_ed, preferred, np.ones(len(preferred)), side, nothing
    alone = fit(*given, blocks=ground.blocks)
    verdicts = {name: _verdicts(ground, said) for name, said in asked.verdicts.items()}
    heard = listen(verdicts, alone, ground.blocks)
    if heard is None or not heard.judges:
        return alone, alone, heard
    return alone, fit(*given, blocks=ground.blocks, older=heard.condensed()), heard


def _stacked(
    answers: Mapping[str, tuple[Asking, IndexArray, Answers]], d: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    held = list(answers.values())
    z = [pool.features_nd[p[:, 0]] - pool.features_nd[p[:, 1]] for pool, p, _ in held]
    said, side = ([getattr(a, name) for _, _, a in held] for name in ("said_e", "side_e"))
    joined = [np.concatenate(each) if held else np.zeros(0) for each in (said, side)]
    return np.vstack([np.zeros((0, d)), *z]), joined[0], joined[1]


def _verdicts(
    ground: Ground, answers: Mapping[str, tuple[Asking, IndexArray, Answers]]
) -> Verdicts:
    z_ed, said, side = _stacked(answers, width(ground.blocks))
    length, ends, pools = [], [], []
    start = 0
    for number, (pool, pairs, _) in enumerate(answers.values()):
        length.append(pool.length_n[pairs[:, 0]] - pool.length_n[pairs[:, 1]])
        ends.append(pairs + start)
        pools.append(np.full(len(pairs), number))
        start += len(pool.length_n)
    first, second = np.concatenate(ends).T
    of_pairs = first, second, np.concatenate(pools)
    return Verdicts.of(z_ed, said, side, np.concatenate(length), *of_pairs, ground.choosing)


def _summary(pool: str, curves: Sequence[Summary], comparisons: Sequence[Comparison]) -> Row:
    """What it costs to be as good as people at 8 labels, and the worst that judges do."""
    means = {(c.metric, c.strategy, c.labels): c.mean for c in curves if c.pool == pool}
    figures = sorted({name for name, _, _ in means if not name.startswith(("dollars_", "kappa_"))})
    spent = {
        arm: {
            labels: means["dollars_people", arm, labels] + means["dollars_judges", arm, labels]
            for labels in BUDGETS
        }
        for arm in (ALONE, ARM)
    }
    reached = {
        metric: _dollars_to(
            means[metric, ALONE, BUDGETS[-1]],
            [means[metric, ARM, labels] for labels in BUDGETS],
            [spent[ARM][labels] for labels in BUDGETS],
            metric,
        )
        for metric in figures
    }
    own = [c for c in comparisons if c.pool == pool and c.metric in figures and c.high is not None]
    bounds = {(c.strategy, c.labels, c.metric): _bound(c) for c in own}
    worst = min(bounds, key=lambda name: bounds[name])
    return {
        "people_8_dollars": spent[ALONE][BUDGETS[-1]],
        "dollars_to_people_8": reached.get(QUALITY),
        "dollars_to_people_8_by_figure": reached,
        "worst_low_at_equal_dollars": bounds[worst],
        "worst": " ".join(map(str, worst)),
        "n_compared": len(bounds),
        "n_significantly_worse": sum(bound < 0.0 for bound in bounds.values()),
    }


def _bound(comparison: Comparison) -> float:
    """The best that the interval allows of a difference; below 0 it is significantly worse."""
    low, high = comparison.low or 0.0, comparison.high or 0.0
    return -low if comparison.metric in LOWER_IS_BETTER else high


def _dollars_to(
    wanted: float, reached: Sequence[float], dollars: Sequence[float], metric: str
) -> float | None:
    """Dollars at which a curve first reaches a value, between its points by a line; None: never."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    before: tuple[float, float] | None = None
    for value, paid in zip(reached, dollars, strict=True):
        if sign * (value - wanted) >= 0.0:
            if before is None or value == before[0]:
                return paid
            return before[1] + (paid - before[1]) * (wanted - before[0]) / (value - before[0])
        before = value, paid
    return None


def _sentence(name: str, summary: Mapping[str, Any]) -> str:
    reached, whole = summary["dollars_to_people_8"], summary["people_8_dollars"]
    cost = "is not reached" if reached is None else f"costs ${reached:.2f}, {reached / whole:.2f}"
    worse = f"{summary['n_significantly_worse']} of {summary['n_compared']}"
    return (
        f"{name}: the pair accuracy of 8 labels of people (${whole:.2f}) {cost} of it with judges; "
        f"{worse} figures are significantly worse at equal dollars (worst: {summary['worst']}, "
        f"upper bound {summary['worst_low_at_equal_dollars']:.4f})"
    )
