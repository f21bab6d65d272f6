"""The label-efficiency bench: what each strategy's labels are worth, on real judged pools.

A run takes prompts in nights, as the product does: choose pairs of tonight's prompts with last
night's posterior, buy their labels, refit on all labels so far. Prompts that were never labelled
then judge the reward, and the labelled ones judge what would be published. Everything but the rule
that chooses pairs is the product's own code and the same for every row: features, λ by evidence,
the label that a pair would get.

Always holds: rows of one seed share prompts, candidate pools and labels (a pair has one label,
whoever asks), so differences are paired; the same folder and seeds give the same figures.

Labels are drawn from the judge's scores, so they are simulated; the judgments behind them are real.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from math import isfinite
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.campaign import Select
from winnow.commands.say import progress_bar
from winnow.errors import Fatal
from winnow.ids import seed_from
from winnow.reward import Block, Blocks, Posterior, centre, fit, prior_of
from winnow.reward.blocks import has_score, one_block, width
from winnow.select import STRATEGIES, Pool, Rules, choose_for_pools
from winnow.select.fallback import effective_dimension, effective_rules
from winnow.select.rules import UNGUIDED
from winnow.stages.select import pool_rules
from winnow_bench.document import machine, write_report
from winnow_bench.evaluate import (
    Bought,
    belief_figures,
    label_chance,
    policy_figures,
    published_figures,
)
from winnow_bench.page import labels_page
from winnow_bench.peers import PEERS
from winnow_bench.statistics import Comparison, compare, summarise
from winnow_bench.verdicts import FEW_LABELS, OURS, sentences
from winnow_bench.world import JudgedPool, World, read_worlds

N_PROMPTS = 200
"""Labelled prompts, or half of them where a folder has fewer than twice as many."""

N_NIGHTS = 5
POOL_SIZE = 50
BUDGETS = (4, 8)
CURVE_BUDGETS = (1, 2, 3, 16)
"""Further budgets, from a pool of `POOL_SIZE`, for the curves."""

MUCH_LARGER = 1.5
"""Times `POOL_SIZE` from which the largest pool is a pool size of its own."""

LABEL_USD = 0.10
RESPONSE_USD = 0.0005

TRADITIONAL = "traditional"
BEFORE = "0.3"
"""What the reward of release 0.3 saw: no place in the pool, and one prior precision for all."""

SCORES = (50, 60, 70, 80, 90)
"""Shares of pairs, in percent, that a planted score orders as the judge does."""

INVERTED = 20
"""A score that is right on 80 % of pairs, with the wrong sign."""

BASELINES = (
    *("traditional-4", "traditional-8", "random-4", "random-8", "random"),
    *("traditional (0.3)-8", "decision_gain (0.3)-4", "decision_gain-4"),
)

LIMITS = (
    "Whether people would agree: a language model judged every response, and it likes long ones.",
    "A policy trained on the data: the win rates are those of picking from a pool by the reward.",
    "One model's own pool: the responses come from different models and differ more than draws of "
    "one policy do. The homogeneous pool, without the strong models, is nearer to that.",
    "Real labelling noise: labels are drawn from the scores, independently, with one temperature.",
    "The peers' systems: their rules alone run here, on Winnow's reward, several times a prompt.",
    "Languages other than English, conversations of many turns, and safety.",
    "New prompts at large: the seeds split one set of prompts again and again, so the intervals "
    "cover the split, the candidates and the labels, not another set of prompts.",
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the bench: a strategy with its labels per prompt and candidates per prompt.

    `sees` says what the reward sees beside or instead of today's features: `BEFORE`, or a planted
    score by the share of pairs that it is right on, percent.
    """

    strategy: str
    labels: int
    pool_size: int
    sees: str | int = ""

    @property
    def name(self) -> str:
        """The strategy with what it sees."""
        return f"{self.strategy} ({_seen(self.sees)})" if self.sees else self.strategy


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """One seed's prompts, candidates and labels, the same for every cell."""

    seed: int
    labelled: tuple[JudgedPool, ...]
    held_out: tuple[JudgedPool, ...]
    blocks: Blocks

    def offered(self, pool: JudgedPool, cell: Cell) -> IndexArray:
        """Indices of the candidates of a prompt; a smaller pool is part of a larger one.

        Whoever samples a handful would not keep a blocked response in it; a large pool has some.
        """
        shuffled = self._rng("candidates", pool).permutation(len(pool.response_ids))
        if cell.strategy == TRADITIONAL:
            shuffled = shuffled[~pool.blocked_n[shuffled]]
        return np.sort(shuffled[: cell.pool_size])

    def preferred(self, pool: JudgedPool, i: IndexArray, j: IndexArray) -> Any:
        """Labels (e,) of pairs i < j: True where i is preferred."""
        n = len(pool.response_ids)
        luck_nn = self._rng("labels", pool).random((n, n))
        return luck_nn[i, j] < label_chance(pool.quality_n, i, j)

    def score(self, pool: JudgedPool, share: float, sd: float) -> FloatArray:
        """A score (n,) of variance 1 that orders about this share of pairs as quality does.

        Two normal variables of correlation ρ order a pair alike with chance 1/2 + asin(ρ) / π.
        """
        rho = np.sin(np.pi * (share - 0.5))
        noise_n = self._rng("score", pool).standard_normal(len(pool.response_ids))
        return np.asarray(rho * pool.quality_n / sd + np.sqrt(1.0 - rho**2) * noise_n)

    def _rng(self, purpose: str, pool: JudgedPool) -> np.random.Generator:
        return np.random.default_rng(seed_from("bench", purpose, self.seed, pool.prompt_id))


def run(folder: Path, out: Path, n_seeds: int, tell: Callable[[str], None]) -> list[str]:
    """Run the bench on `folder`; write `labels.parquet`, `labels.json` and `labels.html` to `out`.

    Returns:
        What it found, in sentences.

    Raises:
        Corrupt: The folder does not hold judged pools.
        Fatal: Fewer than one seed, or fewer prompts than nights.
    """
    began, worlds = time.monotonic(), worlds_for(folder, n_seeds)
    table = pa.Table.from_pylist(list(over_seeds(worlds, n_seeds, run_seed, cells, tell)))
    comparisons = compared(table)
    facts = _facts(folder, worlds, n_seeds, time.monotonic() - began)
    summaries, rows = summarise(table), [asdict(row) for row in comparisons]
    page = labels_page([asdict(row) for row in summaries], rows, facts)
    write_report(out, "labels", {"comparisons": rows, "facts": facts}, page)
    pq.write_table(table, out / "labels.parquet")
    return sentences(summaries, comparisons)


def worlds_for(folder: Path, n_seeds: int) -> list[World]:
    """The worlds of a folder that have prompts enough for every night.

    Raises:
        Corrupt: The folder does not hold judged pools.
        Fatal: Fewer than one seed, or fewer prompts than nights.
    """
    if n_seeds < 1:
        raise Fatal(f"{n_seeds} seeds: the bench needs at least one, and 20 for intervals.")
    every = read_worlds(folder)
    worlds = [world for world in every if len(world.pools) >= 2 * N_NIGHTS]
    if not worlds:
        raise Fatal(
            f"{folder} has {len(every[0].pools)} prompts with two responses that can be compared: "
            f"use at least {2 * N_NIGHTS}."
        )
    return worlds


def compared(table: pa.Table) -> list[Comparison]:
    """Differences from the baselines, each strategy against `random` at its own pool size."""
    rows = table.to_pylist()
    traditional = [row for row in rows if is_traditional(row)]
    sizes = sorted({row["pool_size"] for row in rows if row["strategy"] == "random"})
    differences = _against_peers(rows)
    for size in sizes:
        own = [r for r in rows if r["pool_size"] == size and not is_traditional(r)]
        differences += [
            row
            for row in compare(traditional + own, _baselines(traditional + own))
            if row.pool_size == size or size == sizes[0]
        ]
    return sorted(differences, key=lambda r: (r.pool, r.metric, r.baseline, r.strategy, r.labels))


def _against_peers(rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Our rule against each peer's, at the labels and pool size that the peers have."""
    sizes = {(row["pool"], row["pool_size"]) for row in rows if row["strategy"] in PEERS}
    rivals = [
        row
        for row in rows
        if (row["pool"], row["pool_size"]) in sizes
        and row["labels"] == FEW_LABELS
        and row["strategy"] in {OURS, *PEERS}
    ]
    held = sorted({row["strategy"] for row in rivals} & set(PEERS))
    compared_to = compare(rivals, [f"{peer}-{FEW_LABELS}" for peer in held])
    return [row for row in compared_to if row.strategy == OURS]


def is_traditional(row: Mapping[str, Any]) -> bool:
    """Whether a row of results is of traditional sampling, whatever its reward saw."""
    return bool(row["strategy"].startswith(TRADITIONAL))


def _baselines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The baselines that the results have."""
    held = {f"{row['strategy']}-{row['labels']}" for row in rows} | {r["strategy"] for r in rows}
    return [name for name in BASELINES if name in held]


def cells(world: World) -> list[Cell]:
    """The rows to run in a world; the largest pools count only where they are much larger."""
    largest = world.largest_pool
    small = min(POOL_SIZE, largest)
    sizes = [small, largest] if largest >= MUCH_LARGER * small else [small]
    default = Select().strategy
    wanted = [Cell(TRADITIONAL, k, k, sees) for sees in ("", BEFORE) for k in BUDGETS]
    wanted += [Cell(default, k, small, BEFORE) for k in BUDGETS]
    wanted += [Cell(default, BUDGETS[0], small, share) for share in (INVERTED, *SCORES)]
    wanted += [Cell(peer, FEW_LABELS, small) for peer in PEERS]
    for strategy in sorted(set(STRATEGIES) - {TRADITIONAL}):
        wanted += [Cell(strategy, labels, size) for labels in BUDGETS for size in sizes]
        wanted += [Cell(strategy, labels, small) for labels in CURVE_BUDGETS]
    return wanted


def run_seed(world: World, seed: int, wanted: Iterable[Cell]) -> list[Row]:
    """Every figure of every cell at one seed, with the references that need no label."""
    with threadpool_limits(1):
        drawn = draw(world, seed)
        rows = list(_references(world, drawn))
        for cell in wanted:
            seen = seeing(drawn, cell.sees)
            rows += as_rows(world.name, cell, seed, _figures(seen, buy_in_nights(seen, cell)))
        bound = all_pairs_cell(world)
        figures = _figures(drawn, buy_all_pairs(drawn, bound))
        return [*rows, *as_rows(world.name, bound, seed, figures)]


def all_pairs_cell(world: World) -> Cell:
    """Every pair of a pool of the usual size."""
    size = min(POOL_SIZE, world.largest_pool)
    return Cell("all-pairs", size * (size - 1) // 2, size)


def over_seeds(
    worlds: Sequence[World],
    n_seeds: int,
    work: Callable[[World, int, list[Cell]], list[Row]],
    cells_of: Callable[[World], list[Cell]],
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Rows of all worlds and seeds, a process a core, in the order of worlds and seeds.

    `work` gives those of a world at a seed for the cells that `cells_of` names there.
    """
    runs = [(world, seed) for seed in range(n_seeds) for world in worlds]
    began, rows_of = time.monotonic(), {}
    bar = progress_bar("Runs", len(runs))
    with ProcessPoolExecutor(max_workers=cpu_count()) as processes, bar as advance:
        futures = {processes.submit(work, w, s, cells_of(w)): (w.name, s) for w, s in runs}
        for done in as_completed(futures):
            rows_of[futures[done]] = done.result()
            advance()
            if not sys.stderr.isatty():  # There is no bar.
                spent = time.monotonic() - began
                left = spent / len(rows_of) * (len(runs) - len(rows_of)) / 60
                name, seed = futures[done]
                tell(f"{len(rows_of)}/{len(runs)} {name}, seed {seed}; about {left:.0f} min left")
    for world in worlds:
        for seed in range(n_seeds):
            yield from rows_of[world.name, seed]


def draw(world: World, seed: int) -> Seed:
    """The prompts of a world in a seed's order, cut into labelled and held-out ones."""
    order = np.random.default_rng(seed_from("bench", "prompts", seed)).permutation(len(world.pools))
    n, pools = n_labelled(world), [world.pools[k] for k in order]
    return Seed(seed, tuple(pools[:n]), tuple(pools[n:]), world.blocks)


def _seen(sees: str | int) -> str:
    if isinstance(sees, str):
        return sees
    return f"score inverted, {100 - sees} %" if sees < 50 else f"score {sees} %"


def seeing(drawn: Seed, sees: str | int) -> Seed:
    """The same prompts, candidates and labels with what a cell sees; see `Cell`."""
    if not sees:
        return drawn
    every = [*drawn.labelled, *drawn.held_out]
    if isinstance(sees, str):
        d = width(block for block in drawn.blocks if block.name != "pool")
        blocks: Blocks = one_block(d)
        views = {pool.prompt_id: pool.features_nd[:, :d] for pool in every}
    else:
        sd = float(np.concatenate([p.quality_n - p.quality_n.mean() for p in every]).std())
        blocks = (*drawn.blocks, Block("score:planted", 1))
        scores = {pool.prompt_id: drawn.score(pool, sees / 100.0, sd) for pool in every}
        views = {
            pool.prompt_id: np.column_stack([pool.features_nd, centre(scores[pool.prompt_id])])
            for pool in every
        }
    labelled, held_out = (
        tuple(replace(pool, features_nd=views[pool.prompt_id]) for pool in pools)
        for pools in (drawn.labelled, drawn.held_out)
    )
    return replace(drawn, labelled=labelled, held_out=held_out, blocks=blocks)


def n_labelled(world: World) -> int:
    """How many prompts of a world are labelled."""
    return min(N_PROMPTS, len(world.pools) // 2)


@dataclass(frozen=True, slots=True, eq=False)
class Purchase:
    """What a cell bought at a seed: labels and candidates by prompt, and the reward after them."""

    cell: Cell
    posterior: Posterior
    labels: Mapping[str, Sequence[Bought]]
    offered: Mapping[str, IndexArray]

    @property
    def cost_usd(self) -> float:
        """Of the labels and of sampling the candidates."""
        responses = self.cell.pool_size * len(self.offered)
        return LABEL_USD * sum(map(len, self.labels.values())) + RESPONSE_USD * responses


def buy_in_nights(drawn: Seed, cell: Cell) -> Purchase:
    """Nights of choosing, labelling and refitting."""
    posterior, labels = prior_of(drawn.blocks), dict[str, list[Bought]]()
    offered = {p.prompt_id: drawn.offered(p, cell) for p in drawn.labelled}
    for night in np.array_split(np.arange(len(drawn.labelled)), N_NIGHTS):
        tonight = [drawn.labelled[k] for k in night]
        labels.update(_buy(drawn, cell, posterior, tonight, offered))
        posterior = _refit(drawn, labels)
    return Purchase(cell, posterior, labels, offered)


def _buy(
    drawn: Seed,
    cell: Cell,
    posterior: Posterior,
    tonight: Sequence[JudgedPool],
    offered: Mapping[str, IndexArray],
) -> dict[str, list[Bought]]:
    rules = _rules(cell, posterior, drawn)
    by_id = {pool.prompt_id: pool for pool in sorted(tonight, key=lambda p: p.prompt_id)}
    candidates, bought = [], {}
    for prompt, pool in by_id.items():
        index = offered[prompt]
        ids = [pool.response_ids[k] for k in index]
        blocked = pool.blocked_n[index]
        candidates.append(Pool(prompt, ids, pool.features_nd[index], blocked=blocked))
    strategies = {**STRATEGIES, **PEERS}
    for chosen_from, choices in choose_for_pools(
        candidates, posterior, rules, strategies=strategies
    ):
        pool, index = by_id[chosen_from.prompt_id], offered[chosen_from.prompt_id]
        one, other = (index[[getattr(c, side) for c in choices]] for side in ("i", "j"))
        i, j = np.minimum(one, other), np.maximum(one, other)
        bought[pool.prompt_id] = _bought(i, j, drawn.preferred(pool, i, j))
    return bought


def _bought(i_e: IndexArray, j_e: IndexArray, preferred_e: BoolArray) -> list[Bought]:
    pairs = zip(i_e.tolist(), j_e.tolist(), preferred_e.tolist(), strict=True)
    return [Bought(i, j, preferred) for i, j, preferred in pairs]


def _rules(cell: Cell, posterior: Posterior, drawn: Seed) -> Rules:
    if cell.strategy in UNGUIDED:
        # They use no model: no exploration share, no cold start.
        return Rules(cell.labels, cell.strategy, 0.0, max_pairs_per_response=None, seed=drawn.seed)
    shipped = pool_rules(Select())
    rules = replace(shipped, budget=cell.labels, strategy=cell.strategy, seed=drawn.seed)
    dimension = effective_dimension(posterior)
    n_labels, scored = posterior.n_labels, has_score(drawn.blocks)
    return effective_rules(rules, n_labels, dimension, "open", has_score=scored)[0]


def _refit(drawn: Seed, labels: Mapping[str, Sequence[Bought]]) -> Posterior:
    z, preferred = [], []
    for pool in drawn.labelled:
        bought = labels.get(pool.prompt_id, [])
        z.append(pool.features_nd[[b.i for b in bought]] - pool.features_nd[[b.j for b in bought]])
        preferred += [b.preferred for b in bought]
    nothing = np.zeros(len(preferred))
    return fit(
        np.vstack(z), preferred, np.ones(len(preferred)), nothing, nothing, blocks=drawn.blocks
    )


def buy_all_pairs(drawn: Seed, cell: Cell) -> Purchase:
    """The bound of what labels can give: every open pair of every pool has one."""
    offered = {p.prompt_id: drawn.offered(p, cell) for p in drawn.labelled}
    labels = {}
    for pool in drawn.labelled:
        index = offered[pool.prompt_id]
        open_m = index[~pool.blocked_n[index]]
        first, second = np.triu_indices(len(open_m), 1)
        i, j = open_m[first], open_m[second]
        labels[pool.prompt_id] = _bought(i, j, drawn.preferred(pool, i, j))
    return Purchase(cell, _refit(drawn, labels), labels, offered)


def _figures(drawn: Seed, bought: Purchase) -> dict[str, float]:
    posterior, labels, offered = bought.posterior, bought.labels, bought.offered
    rng = np.random.default_rng(seed_from("bench", "pairs", drawn.seed))
    blocked = sum(
        bool(pool.ignored_n[b.i] or pool.ignored_n[b.j])
        for pool in drawn.labelled
        for b in labels[pool.prompt_id]
    )
    return {
        **policy_figures(posterior, drawn.held_out),
        **belief_figures(posterior, drawn.held_out, rng),
        **published_figures(posterior, drawn.labelled, labels, offered),
        "blocked_pairs": float(blocked),
        "cost_usd": bought.cost_usd,
    }


def _references(world: World, drawn: Seed) -> Iterator[Row]:
    """Win rates that need no label: a random, the longest and the best response."""
    picks = []
    for pool in drawn.held_out:
        p_win_n = pool.p_win_n[~pool.ignored_n]
        longest = pool.length_n[~pool.ignored_n].argmax()
        picks.append((p_win_n.mean(), p_win_n[longest], p_win_n.max()))
    names = ("random-response", "longest-response", "best-response")
    for name, rate in zip(names, np.mean(picks, axis=0).tolist(), strict=True):
        cell = Cell(name, 0, world.largest_pool)
        figures = {"win_rate": rate, "best_of_pool_win_rate": rate}
        yield from as_rows(world.name, cell, drawn.seed, figures)


def as_rows(pool: str, cell: Cell, seed: int, figures: Mapping[str, float]) -> Iterator[Row]:
    """A row of results a figure; one that is not finite was not measured."""
    for metric, value in figures.items():
        measured = {"seed": seed, "metric": metric, "value": value if isfinite(value) else None}
        of_cell = {"labels": cell.labels, "pool_size": cell.pool_size}
        yield {"pool": pool, "strategy": cell.name, **of_cell, **measured}


def _facts(folder: Path, worlds: Sequence[World], n_seeds: int, seconds: float) -> Row:
    return {
        "features": worlds[0].features,
        "seeds": n_seeds,
        "prompts": {world.name: len(world.pools) for world in worlds},
        "labelled_prompts": {world.name: n_labelled(world) for world in worlds},
        "largest_pool": {world.name: world.largest_pool for world in worlds},
        "nights": N_NIGHTS,
        "label_usd": LABEL_USD,
        "response_usd": RESPONSE_USD,
        "command": f"winnow bench labels --pool {folder.name} --seeds {n_seeds} --out OUT",
        "machine": f"{machine()}, NumPy {np.__version__}",
        "seconds": round(seconds, 1),
        "limits": list(LIMITS),
    }
