"""Does a policy get better? Policies trained on each strategy's labels, at equal distance.

The field's controlled experiment. A gold score (the judge's `p_win`) makes the labels, with the
noise of people, and judges the policies; nothing between the two sees it. Each cell buys labels as
the label bench does, publishes them, and a log-linear policy over the pools is trained on what was
published (`winnow_bench.policy_fit`). On prompts that were never labelled, policies are compared at
one mean KL to the uniform policy, since a policy that may go farther wins more.

What a policy is trained on, by name:

    dpo, kto, listwise    every labelled pair. That is what the view `dpo` holds where each pair has
                          one vote: a vote's certainty comes from people's agreement (0.80 before
                          any was measured, `min_p_chosen` being 0.75), not from the reward model
    dpo_blocks            DPO with a ridge for each block of features, in the proportions of the
                          reward's own prior precisions
    dpo_sure              DPO on the pairs alone to which the reward gives P(chosen is better) of at
                          least `min_p_chosen` after all labels

Always holds: rows of one seed share prompts, candidates and labels; no figure is computed from an
ignored response; a policy that cannot reach the KL has no figure at it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from winnow.arrays import FloatArray, IndexArray
from winnow.campaign import Label, Publish, Select
from winnow.ids import seed_from
from winnow.label.aggregation.certainty import estimate_error_rate
from winnow.reward.logistic import preference_by_quadrature
from winnow.select import STRATEGIES
from winnow_bench.document import machine, write_report
from winnow_bench.evaluate import Bought, label_chance
from winnow_bench.labels import (
    BEFORE,
    BUDGETS,
    LABEL_USD,
    POOL_SIZE,
    RESPONSE_USD,
    TRADITIONAL,
    Cell,
    Purchase,
    Row,
    Seed,
    all_pairs_cell,
    as_rows,
    buy_all_pairs,
    buy_in_nights,
    draw,
    is_traditional,
    n_labelled,
    over_seeds,
    seeing,
    worlds_for,
)
from winnow_bench.policy_fit import LOSSES, Field, preferences, train
from winnow_bench.policy_page import (
    KLS,
    SAME_MONEY,
    markdown,
    overview,
    policy_page,
    report,
    sure_gain,
    verdicts,
    win_rate,
)
from winnow_bench.statistics import Comparison, compare, summarise
from winnow_bench.world import JudgedPool, World

BASELINES = ("traditional-8", f"{TRADITIONAL} ({BEFORE})-8", "random-8", "random", SAME_MONEY)
MIN_P_CHOSEN = float(Publish.model_fields["min_p_chosen"].default)
SECOND_VOTES = float(Label.model_fields["second_vote_share"].default)
DEFAULT_STRATEGY = Select().strategy

LIMITS = (
    "A language model: the policy picks from a pool by a linear score; it writes nothing new.",
    "What people prefer: a language model's scores made the labels and judge the policies.",
    "How far a real trainer goes: policies are scaled to one KL, which no trainer does for you.",
    "New prompts at large: the seeds split one set of prompts again and again.",
)


def run(
    folder: Path, out: Path, n_seeds: int, tell: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Run the bench on `folder`; write `policy.parquet`, `.json`, `.html` and `.md` to `out`.

    Returns:
        What it found in sentences, and its main table as lines of Markdown.

    Raises:
        Corrupt: The folder does not hold judged pools.
        Fatal: Fewer than one seed, or fewer prompts than nights.
    """
    began, worlds = time.monotonic(), worlds_for(folder, n_seeds)
    rows = list(over_seeds(worlds, n_seeds, run_seed, cells, tell))
    summaries, comparisons = summarise(rows), compared(rows)
    facts: Row = {
        "features": worlds[0].features,
        "seeds": n_seeds,
        "prompts": {world.name: len(world.pools) for world in worlds},
        "labelled_prompts": {world.name: n_labelled(world) for world in worlds},
        "label_usd": LABEL_USD,
        "response_usd": RESPONSE_USD,
        "command": f"winnow bench policy --policy linear --pool {folder.name} --seeds {n_seeds} "
        "--out OUT",
        "machine": f"{machine()}, NumPy {np.__version__}",
        "seconds": round(time.monotonic() - began, 1),
        "limits": list(LIMITS),
    }
    figures = {
        "summaries": [asdict(row) for row in summaries],
        "comparisons": [asdict(row) for row in comparisons],
        "facts": facts,
    }
    write_report(out, "policy", figures, policy_page(summaries, comparisons, facts))
    (out / "policy.md").write_text(report(summaries, comparisons), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), out / "policy.parquet")
    return verdicts(summaries, comparisons), markdown(overview(summaries, comparisons))


def cells(world: World) -> list[Cell]:
    """Each strategy at each budget, and the default one from the largest pools at the last."""
    largest = world.largest_pool
    small = min(POOL_SIZE, largest)
    wanted = [Cell(TRADITIONAL, k, k, sees) for sees in ("", BEFORE) for k in BUDGETS]
    wanted += [Cell(DEFAULT_STRATEGY, k, small, BEFORE) for k in BUDGETS]
    wanted += [Cell(s, k, small) for s in sorted({*STRATEGIES} - {TRADITIONAL}) for k in BUDGETS]
    if largest > small:
        wanted += [Cell(s, BUDGETS[-1], largest) for s in (DEFAULT_STRATEGY, "random")]
    return wanted


def run_seed(world: World, seed: int, wanted: Iterable[Cell]) -> list[Row]:
    """Every figure of every cell at one seed, with the references."""
    with threadpool_limits(1):
        drawn = draw(world, seed)
        field = Field.of(drawn.held_out)
        rows = list(_references(world, drawn, field))
        for cell in [*wanted, all_pairs_cell(world)]:
            buy = buy_all_pairs if cell == all_pairs_cell(world) else buy_in_nights
            seen = seeing(drawn, cell.sees)
            judged = Field.of(seen.held_out) if cell.sees else field
            rows += as_rows(world.name, cell, seed, _figures(seen, judged, buy(seen, cell)))
        return rows


def compared(rows: Sequence[Row]) -> list[Comparison]:
    """Differences from those of `BASELINES` that were measured, in every figure of a policy.

    The strategies of larger pools are held against random pairs of their own.
    """
    judged = [r for r in rows if r["metric"].startswith(tuple(LOSSES)) and r["value"] is not None]
    sizes = sorted({row["pool_size"] for row in rows if row["strategy"] == "random"})
    differences: list[Comparison] = []
    for size in sizes:
        fair = [row for row in judged if is_traditional(row) or row["pool_size"] == size]
        fair += _same_money(judged, size)
        present = {f"{row['strategy']}{end}" for row in fair for end in ("", f"-{row['labels']}")}
        against = compare(fair, [name for name in BASELINES if name in present])
        # Traditional sampling is in the comparisons of every size: once is enough.
        differences += [r for r in against if r.pool_size == size or size == sizes[0]]
    return [row for row in differences if row.strategy != SAME_MONEY]


def _same_money(rows: Sequence[Row], size: int) -> Iterator[Row]:
    """What traditional sampling gives for a row's dollars, for the budgets at a pool size.

    Its figures at its two budgets, joined by a line in the logarithm of dollars.
    """
    few, many = BUDGETS
    paid = {b: b * (LABEL_USD + RESPONSE_USD) for b in BUDGETS}
    value = {
        (row["pool"], row["seed"], row["metric"], row["labels"]): row["value"]
        for row in rows
        if row["strategy"] == TRADITIONAL
    }
    for (pool, seed, metric, labels), low in value.items():
        high = value.get((pool, seed, metric, many))
        if labels != few or high is None:
            continue
        for budget in BUDGETS:
            dollars = budget * LABEL_USD + size * RESPONSE_USD
            share = np.log(dollars / paid[few]) / np.log(paid[many] / paid[few])
            figures = {metric: low + share * (high - low)}
            yield from as_rows(pool, Cell(SAME_MONEY, budget, size), seed, figures)


def _figures(drawn: Seed, field: Field, bought: Purchase) -> dict[str, float]:
    every = [(pool, list(bought.labels[pool.prompt_id])) for pool in drawn.labelled]
    sure = [(pool, _sure(pool, labels, bought)) for pool, labels in every]
    views = {**dict.fromkeys([*LOSSES, "dpo_blocks"], every), "dpo_sure": sure}
    precision_d = bought.posterior.precision_d
    blocks_d = np.exp(0.5 * (np.log(precision_d).mean() - np.log(precision_d)))
    figures = {
        "cost_usd": bought.cost_usd,
        "pairs": float(sum(len(labels) for _, labels in every)),
        "sure_pairs": float(sum(len(labels) for _, labels in sure)),
        "one_vote_sure": _one_vote_sure(every),
    }
    for name, view in views.items():
        data = preferences([(pool, *_sides(labels)) for pool, labels in view])
        loss = LOSSES[name.partition("_")[0]]
        rng = np.random.default_rng(seed_from("bench", "folds", drawn.seed))
        unit_d = blocks_d if name == "dpo_blocks" else np.ones_like(blocks_d)
        theta_d = unit_d * train(data.in_units(unit_d), loss, rng)
        figures |= _judged(name, field, field.features_pnd @ theta_d)
    both = [(sure_gain(kl), win_rate("dpo_sure", kl), win_rate("dpo", kl)) for kl in KLS]
    return figures | {gain: figures[sure_] - figures[all_] for gain, sure_, all_ in both}


def _sure(pool: JudgedPool, labels: Sequence[Bought], bought: Purchase) -> list[Bought]:
    """The labels that the reward agrees with, by at least `MIN_P_CHOSEN`."""
    winner_e, loser_e = _sides(labels)
    z_ed = pool.features_nd[winner_e] - pool.features_nd[loser_e]
    sd_e = np.sqrt(np.einsum("ed,ed->e", z_ed @ bought.posterior.cov_dd, z_ed))
    p_e = preference_by_quadrature(z_ed @ bought.posterior.mean_d, sd_e)
    return [label for label, p in zip(labels, p_e, strict=True) if p >= MIN_P_CHOSEN]


def _sides(labels: Sequence[Bought]) -> tuple[IndexArray, IndexArray]:
    """Indices (e,) of the winners and of the losers."""
    pairs = [(b.i, b.j) if b.preferred else (b.j, b.i) for b in labels]
    winner_e, loser_e = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return winner_e, loser_e


def _one_vote_sure(view: Iterable[tuple[JudgedPool, Sequence[Bought]]]) -> float:
    """How sure the product calls one vote, had the usual share of these pairs a second vote.

    Two people agree with the chance that their labels have.
    """
    chance = [label_chance(pool.quality_n, b.i, b.j) for pool, labels in view for b in labels]
    chance_e = np.array(chance, dtype=np.float64)
    judged_twice = round(SECOND_VOTES * len(chance_e))
    agreed = float((chance_e**2 + (1.0 - chance_e) ** 2).mean()) if len(chance_e) else 0.5
    return 1.0 - estimate_error_rate(round(agreed * judged_twice), judged_twice)


def _judged(name: str, field: Field, score_pn: FloatArray) -> dict[str, float]:
    """Win rate at each KL, and the mean log length of what is drawn at the first."""
    figures = {}
    for kl in KLS:
        chance_pn = field.at_kl(score_pn, kl)
        missing = np.full_like(score_pn, np.nan)
        drawn_pn = missing if chance_pn is None else chance_pn
        figures[win_rate(name, kl)] = float((drawn_pn * field.p_win_pn).sum(axis=1).mean())
        if kl == KLS[0]:
            length = float((drawn_pn * field.length_pn).sum(axis=1).mean())
            figures[f"{name}_log_length"] = length
    return figures


def _references(world: World, drawn: Seed, field: Field) -> Iterator[Row]:
    """Policies that no label trained: uniform, by length, by gold through the features, by gold."""
    uniform_pn = field.policy(np.zeros_like(field.p_win_pn))
    rate = float((uniform_pn * field.p_win_pn).sum(axis=1).mean())
    figures = {
        "uniform": {win_rate("dpo", kl): rate for kl in KLS},
        "length": _judged("dpo", field, field.length_pn),
        "linear-oracle": _judged("dpo", field, field.features_pnd @ _gold_theta(drawn)),
        "oracle": _judged("dpo", field, field.quality_pn),
    }
    for name, values in figures.items():
        yield from as_rows(world.name, Cell(name, 0, world.largest_pool), drawn.seed, values)


def _gold_theta(drawn: Seed) -> FloatArray:
    """Least squares of the gold score on the features, on the responses of labelled prompts."""
    seen = [(pool, ~pool.ignored_n) for pool in drawn.labelled]
    x = [p.features_nd[open_n] - p.features_nd[open_n].mean(axis=0) for p, open_n in seen]
    y = [p.quality_n[open_n] - p.quality_n[open_n].mean() for p, open_n in seen]
    return np.asarray(np.linalg.lstsq(np.vstack(x), np.concatenate(y), rcond=None)[0])
