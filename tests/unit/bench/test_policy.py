"""A policy is trained as its losses say, compared at the KL that it is said to have, and blind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from winnow_bench import policy_fit
from winnow_bench.labels import Cell, Purchase, buy_in_nights, draw
from winnow_bench.policy import cells, compared, run_seed
from winnow_bench.policy_fit import LABEL_LOG_ODDS, LOSSES, Field, Preferences, preferences, train
from winnow_bench.policy_page import KLS, SAME_MONEY, overview, verdicts, win_rate
from winnow_bench.statistics import summarise
from winnow_bench.world import JudgedPool, World, read_worlds

D = 5


def pool_of(n: int, seed: int, ignored: int = 0) -> JudgedPool:
    """A pool of random responses, the first ones ignored."""
    rng = np.random.default_rng(seed)
    features_nd = rng.normal(size=(n, D))
    mask_n = np.arange(n) < ignored
    ids = tuple(f"{seed}-{k}" for k in range(n))
    return JudgedPool(
        str(seed),
        ids,
        features_nd - features_nd.mean(axis=0),
        rng.uniform(0.05, 0.95, n),
        rng.normal(size=n),
        rng.normal(size=n),
        mask_n,
        mask_n,
    )


def labelled(theta_d: np.ndarray, n_prompts: int, n_pairs: int, seed: int = 0) -> Preferences:
    """Pairs of random pools whose labels a planted θ draws."""
    rng, rows = np.random.default_rng(seed), []
    for prompt in range(n_prompts):
        pool = pool_of(8, 1000 + prompt)
        i = rng.integers(8, size=n_pairs)
        j = (i + rng.integers(1, 8, size=n_pairs)) % 8
        margin_e = (pool.features_nd[i] - pool.features_nd[j]) @ theta_d
        first_e = rng.random(n_pairs) < 1.0 / (1.0 + np.exp(-margin_e))
        rows.append((pool, np.where(first_e, i, j), np.where(first_e, j, i)))
    return preferences(rows)


PLANTED = np.array([2.0, -1.0, 0.5, 0.0, 1.0])


# What a policy does at a KL


@pytest.mark.parametrize("kl", [0.1, *KLS])
def test_a_policy_at_a_kl_has_that_kl_on_average(kl: float) -> None:
    pools = [pool_of(n, n, ignored=n % 3) for n in (12, 30, 17, 25)]
    field = Field.of(pools)
    chance_pn = field.at_kl(field.features_pnd @ PLANTED, kl)
    assert chance_pn is not None
    kls = []
    for pool, chance_n in zip(pools, chance_pn, strict=True):
        n = int((~pool.ignored_n).sum())
        assert chance_n[n:].tolist() == [0.0] * (len(chance_n) - n)
        assert sum(chance_n) == pytest.approx(1.0)
        kls.append(sum(p * log(p * n) for p in chance_n[:n].tolist() if p > 0))
    assert np.mean(kls) == pytest.approx(kl, abs=1e-6)


def test_a_policy_at_a_kl_is_its_scores_stretched_whatever_their_scale() -> None:
    field = Field.of([pool_of(20, 1), pool_of(9, 2)])
    score_pn = field.features_pnd @ PLANTED
    one, other = (field.at_kl(factor * score_pn, 0.7) for factor in (1e-4, 300.0))
    np.testing.assert_allclose(one, other, atol=1e-7)
    logit_n = np.log(one[0, :9]) - np.log(one[0, 0])
    lead_n = score_pn[0, :9] - score_pn[0, 0]
    assert np.ptp(logit_n[1:] / lead_n[1:]) < 1e-6


def test_no_policy_reaches_a_kl_that_its_pools_do_not_have() -> None:
    pair, alike = Field.of([pool_of(2, 1)]), Field.of([pool_of(30, 2)])
    assert pair.at_kl(pair.features_pnd @ PLANTED, 0.69) is not None
    assert pair.at_kl(pair.features_pnd @ PLANTED, 0.70) is None
    assert alike.at_kl(np.ones_like(alike.p_win_pn), 0.1) is None


# What it is trained to


def slow_dpo(data: Preferences, score_m: np.ndarray) -> float:
    pairs = zip(data.winner_e, data.loser_e, strict=True)
    return sum(log(1.0 + exp(score_m[lost] - score_m[won])) for won, lost in pairs)


def slow_kto(data: Preferences, score_m: np.ndarray) -> float:
    total = 0.0
    for row, score in enumerate(score_m):
        lead = (data.winner_e == row).sum() - (data.loser_e == row).sum()
        if lead:
            total += 1.0 - 1.0 / (1.0 + exp(-np.sign(lead) * score))
    return total


def slow_listwise(data: Preferences, score_m: np.ndarray) -> float:
    total = 0.0
    for prompt in range(data.n_prompts):
        rows = np.flatnonzero(data.prompt_m == prompt)
        won = np.array([(data.winner_e == row).sum() for row in rows])
        lost = np.array([(data.loser_e == row).sum() for row in rows])
        weight = np.exp(LABEL_LOG_ODDS * (won - lost) / (won + lost))
        chance = np.exp(score_m[rows]) / np.exp(score_m[rows]).sum()
        total -= float(weight / weight.sum() @ np.log(chance))
    return total


SLOW: dict[str, Callable[[Preferences, np.ndarray], float]] = {
    "dpo": slow_dpo,
    "kto": slow_kto,
    "listwise": slow_listwise,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_definition_and_its_gradient_is_its_slope(name: str) -> None:
    data = labelled(PLANTED, 6, 5)
    loss = LOSSES[name](data)
    score_m = np.random.default_rng(1).normal(size=len(data.prompt_m))
    value, gradient_m = loss(score_m)
    assert value == pytest.approx(SLOW[name](data, score_m))
    for row in range(len(score_m)):
        nudge_m = 1e-5 * (np.arange(len(score_m)) == row)
        slope = (SLOW[name](data, score_m + nudge_m) - SLOW[name](data, score_m - nudge_m)) / 2e-5
        assert gradient_m[row] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("name", ["dpo", "listwise"])
@pytest.mark.parametrize("ridge", [0.3, 30.0])
def test_training_finds_the_least_of_a_convex_loss(
    name: str, ridge: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = labelled(PLANTED, 12, 4)
    monkeypatch.setattr(policy_fit, "RIDGES", (ridge,))
    theta_d = train(data, LOSSES[name], np.random.default_rng(0))

    def slow(x_d: np.ndarray) -> float:
        return SLOW[name](data, data.features_md @ x_d) + 0.5 * ridge * float(x_d @ x_d)

    np.testing.assert_allclose(theta_d, minimize(slow, np.zeros(D), tol=1e-9).x, atol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_a_planted_policy_give_its_direction_back(name: str) -> None:
    theta_d = train(labelled(PLANTED, 150, 6), LOSSES[name], np.random.default_rng(0))
    cosine = theta_d @ PLANTED / np.linalg.norm(theta_d) / np.linalg.norm(PLANTED)
    assert cosine > 0.97


def test_labels_that_say_nothing_are_held_down_by_the_ridge() -> None:
    for_real, by_coin = (
        train(labelled(theta_d, 100, 4), LOSSES["dpo"], np.random.default_rng(0))
        for theta_d in (PLANTED, np.zeros(D))
    )
    assert np.linalg.norm(by_coin) < 0.1 * np.linalg.norm(for_real)


def test_no_pair_teaches_nothing() -> None:
    none = np.empty(0, dtype=np.intp)
    theta_d = train(
        preferences([(pool_of(4, 0), none, none)]), LOSSES["dpo"], np.random.default_rng(0)
    )
    assert theta_d.tolist() == [0.0] * D


def test_the_pairs_of_some_prompts_are_theirs() -> None:
    data = labelled(PLANTED, 4, 5)
    some = data.of(np.array([True, False, False, True]))
    kept_e = np.isin(data.prompt_m[data.winner_e], [0, 3])
    for side in ("winner_e", "loser_e"):
        whole = data.features_md[getattr(data, side)[kept_e]]
        np.testing.assert_array_equal(some.features_md[getattr(some, side)], whole)
    assert set(some.prompt_m) == {0, 1}


# The experiment


@pytest.fixture(scope="module")
def world(judged_folder: Path) -> World:
    return read_worlds(judged_folder)[0]


def test_the_usual_rows_are_there_and_each_strategy_at_both_budgets(world: World) -> None:
    wanted = cells(replace(world, pools=(pool_of(57, 1),)))
    assert {Cell("traditional", 4, 4), Cell("traditional", 8, 8)} <= set(wanted)
    assert {Cell("decision_gain", 4, 50), Cell("decision_gain", 8, 57)} <= set(wanted)
    assert {Cell("random", 8, 50), Cell("uncertainty", 4, 50)} <= set(wanted)
    assert len(wanted) == len(set(wanted))


def test_arms_of_one_seed_have_one_label_a_pair(world: World) -> None:
    drawn = draw(world, 2)

    def said(bought: Purchase) -> dict[tuple[str, int, int], bool]:
        return {(q, b.i, b.j): b.preferred for q, labels in bought.labels.items() for b in labels}

    arms = [
        said(buy_in_nights(drawn, cell))
        for cell in (Cell("traditional", 8, 8), Cell("random", 8, 9), Cell("dts", 8, 9))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        both = arms[one].keys() & arms[other].keys()
        assert len(both) > 20
        assert all(arms[one][pair] == arms[other][pair] for pair in both)


def test_nothing_but_the_judging_sees_the_gold_of_unseen_prompts(world: World) -> None:
    held_out = {pool.prompt_id for pool in draw(world, 0).held_out}
    blind = replace(
        world,
        pools=tuple(
            replace(pool, p_win_n=pool.p_win_n[::-1]) if pool.prompt_id in held_out else pool
            for pool in world.pools
        ),
    )
    wanted = [Cell("random", 4, 9)]
    one, other = (
        {(r["strategy"], r["metric"]): r["value"] for r in run_seed(w, 0, wanted)}
        for w in (world, blind)
    )
    for training in ("dpo", "kto", "listwise", "dpo_sure"):
        lengths = [figures["random", f"{training}_log_length"] for figures in (one, other)]
        assert lengths[0] == lengths[1]
    key = ("random", win_rate("dpo", 1))
    assert one[key] > other[key]


def test_references_lie_around_what_labels_reach(world: World) -> None:
    rows = run_seed(world, 0, [Cell("random", 8, 9)])
    rate = {r["strategy"]: r["value"] for r in rows if r["metric"] == win_rate("dpo", 1)}
    assert rate["uniform"] < rate["random"] < rate["oracle"]
    assert rate["uniform"] < rate["all-pairs"] < rate["oracle"]
    assert rate["linear-oracle"] < rate["oracle"]


def rows_of(
    strategy: str, labels: int, size: int, values: list[float | None]
) -> list[dict[str, object]]:
    about = {"pool": "p", "strategy": strategy, "labels": labels, "pool_size": size}
    metric = win_rate("dpo", 1)
    return [{**about, "seed": s, "metric": metric, "value": v} for s, v in enumerate(values)]


def test_equal_dollars_are_a_point_between_the_two_budgets_of_the_usual_way() -> None:
    rows = [
        *rows_of("traditional", 4, 4, [0.30, 0.32]),
        *rows_of("traditional", 8, 8, [0.34, 0.36]),
        *rows_of("random", 4, 50, [0.30, 0.30]),
        *rows_of("random", 8, 50, [0.30, 0.30]),
        *rows_of("dts", 4, 50, [0.33, 0.36]),
    ]
    [row] = [r for r in compared(rows) if (r.baseline, r.strategy) == (SAME_MONEY, "dts")]
    share = log((4 * 0.10 + 50 * 0.0005) / (4 * 0.1005)) / log(2)
    same = [0.30 + 0.04 * share, 0.32 + 0.04 * share]
    assert row.difference == pytest.approx(np.mean([0.33 - same[0], 0.36 - same[1]]))
    assert not [r for r in compared(rows) if r.strategy == SAME_MONEY]


def test_a_baseline_that_was_not_measured_has_no_differences() -> None:
    rows = [
        *rows_of("traditional", 4, 4, [0.30]),
        *rows_of("traditional", 8, 8, [None]),
        *rows_of("random", 4, 50, [0.30]),
        *rows_of("dts", 4, 50, [0.31]),
    ]
    assert {row.baseline for row in compared(rows)} == {"random"}


def test_pools_of_other_sizes_stand_in_one_table() -> None:
    def of(pool: str, sizes: list[int], more: float) -> list[dict[str, object]]:
        rows = [
            *rows_of("traditional", 4, 4, [0.30, 0.31]),
            *rows_of("traditional", 8, 8, [0.34, 0.36]),
            *(r for n in sizes for r in rows_of("random", 8, n, [0.33, 0.35])),
            *(r for n in sizes for r in rows_of("dts", 8, n, [0.34 + more, 0.36 + more])),
        ]
        return [{**row, "pool": pool} for row in rows]

    rows = [*of("large", [50, 57], 0.01), *of("small", [9], -0.02)]
    table = overview(summarise(rows), compared(rows))
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["dts 50·9/8"][1:3] == ["36.0", "**+1.00 ± 0.00**"]
    assert cells["dts 50·9/8"][5:7] == ["33.0", "**−2.00 ± 0.00**"]
    assert cells["dts 57/8"][5:7] == ["–", "–"]


def test_a_strategy_that_does_not_pay_is_named() -> None:
    rows = [
        *rows_of("traditional", 8, 8, [0.34, 0.36, 0.35]),
        *(r for n in (4, 8) for r in rows_of("random", n, 50, [0.33, 0.35, 0.34])),
        *(r for n in (4, 8) for r in rows_of("dts", n, 50, [0.36, 0.38, 0.37])),
        *(r for n in (4, 8) for r in rows_of("delta", n, 50, [0.32, 0.34, 0.33])),
        *(r for n in (4, 8) for r in rows_of("hybrid", n, 50, [0.30, 0.38, 0.34])),
    ]
    sentences = " ".join(verdicts(summarise(rows), compared(rows)))
    assert "with 4 labels by hybrid and delta and with 8 labels by hybrid and delta" in sentences
    worse = "random (−1.00 ± 0.00) and delta (−2.00 ± 0.00)"
    assert f"more often dts (+2.00 ± 0.00); less often {worse}; not told" in sentences


def test_a_feature_in_a_larger_unit_is_held_down_less() -> None:
    data = labelled(PLANTED, 100, 4)
    unit_d = np.array([100.0, 1.0, 1.0, 1.0, 1.0])
    plain_d, free_d = (
        unit * train(data.in_units(unit), LOSSES["dpo"], np.random.default_rng(0))
        for unit in (np.ones(D), unit_d)
    )
    assert free_d[0] / np.linalg.norm(free_d) > plain_d[0] / np.linalg.norm(plain_d)


def test_rows_of_the_release_before_see_what_it_saw(world: World) -> None:
    wanted = [Cell("random", 8, 9), Cell("random", 8, 9, "0.3"), Cell("traditional", 8, 8, "0.3")]
    rows = run_seed(world, 0, wanted)
    value = {(r["strategy"], r["metric"]): r["value"] for r in rows}
    assert value["random", "pairs"] == value["random (0.3)", "pairs"]
    assert value["random", win_rate("dpo", 1)] != value["random (0.3)", win_rate("dpo", 1)]
    assert ("traditional (0.3)", win_rate("kto", 2)) in value
    # One prior precision for all features is one ridge for all.
    alike = [value["random (0.3)", win_rate(name, 1)] for name in ("dpo", "dpo_blocks")]
    assert alike[0] == pytest.approx(alike[1], abs=1e-6)
