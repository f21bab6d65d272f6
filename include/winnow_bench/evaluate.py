"""What a fitted reward and a bought batch are worth, on the judge's own scores.

Three kinds of figures:
    policy     what the reward makes of pools it has not seen (win rates, pair accuracy);
    beliefs    how honest its probabilities are (log-loss and ECE against the labels' true chances);
    published  what is in the dataset: the response that the labels recommend for each labelled
               prompt, the winners of the pairs, and how many labels are right.

No figure is computed from an ignored response. Log-loss and ECE take the true chance of a label in
place of a drawn one, which has the same expectation and less noise.

Shapes: n responses of one prompt, e pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.arrays import FloatArray, IndexArray
from winnow.reward import Posterior
from winnow.reward.calibration import expected_calibration_error, log_loss
from winnow.reward.logistic import Labels, most_probable, preference_by_quadrature, sigmoid
from winnow_bench.world import JudgedPool

POLICY_SHARPNESS = 4.0
"""κ of the policy softmax(κ r̂), for every strategy alike."""

LABEL_TEMPERATURE = 2.42
"""T of a label's chance σ((quality_i - quality_j) / T): two such labels of a random pair agree as
often as two people of a crowd did (70 %)."""

RESPONSE_EFFECT = 1.5
"""Standard deviation, in logits, of what a prompt's own labels may say beyond the reward."""

_PAIRS_PER_PROMPT = 30
_CLEAR_DIFFERENCE = 1.0
"""Difference of quality, in logits, from which an order counts for pair accuracy."""


@dataclass(frozen=True, slots=True)
class Bought:
    """One label: responses i and j of a pool, and whether i was preferred."""

    i: int
    j: int
    preferred: bool


def label_chance(quality_n: FloatArray, i: IndexArray | int, j: IndexArray | int) -> FloatArray:
    """Chance that a labeller prefers i to j."""
    return sigmoid(np.asarray((quality_n[i] - quality_n[j]) / LABEL_TEMPERATURE))


def policy_figures(posterior: Posterior, pools: Sequence[JudgedPool]) -> dict[str, float]:
    """Mean judged win rate of three readings of the reward over the pools."""
    soft, best, longer = [], [], []
    for pool in pools:
        open_n = ~pool.ignored_n
        mean_n, p_win_n = posterior.mean(pool.features_nd[open_n]), pool.p_win_n[open_n]
        soft.append(softmax(POLICY_SHARPNESS * mean_n) @ p_win_n)
        best.append(p_win_n[mean_n.argmax()])
        longer.append(pool.longer_n[open_n][mean_n.argmax()])
    return {
        "win_rate": float(np.mean(soft)),
        "best_of_pool_win_rate": float(np.mean(best)),
        "length_controlled_win_rate": _at_equal_length(np.array(best), np.array(longer), pools),
    }


def belief_figures(
    posterior: Posterior, pools: Sequence[JudgedPool], rng: np.random.Generator
) -> dict[str, float]:
    """Pair accuracy, log-loss (nats) and expected calibration error on random pairs."""
    p, chance, right = [], [], []
    for pool in pools:
        i, j = _random_pairs(np.flatnonzero(~pool.ignored_n), rng)
        z_ed = pool.features_nd[i] - pool.features_nd[j]
        sd_e = np.sqrt(np.einsum("ed,ed->e", z_ed @ posterior.cov_dd, z_ed))
        mu_e, gap_e = z_ed @ posterior.mean_d, pool.quality_n[i] - pool.quality_n[j]
        p.append(preference_by_quadrature(mu_e, sd_e))
        chance.append(label_chance(pool.quality_n, i, j))
        clear_e = np.abs(gap_e) > _CLEAR_DIFFERENCE
        right.append(((mu_e > 0) == (gap_e > 0))[clear_e])
    p_e, chance_e = np.concatenate(p), np.concatenate(chance)
    return {
        "pair_accuracy": float(np.concatenate(right).mean()),
        "log_loss": log_loss(p_e, chance_e),
        "ece": expected_calibration_error(p_e, chance_e, n_resamples=1).ece,
    }


def published_figures(
    posterior: Posterior,
    pools: Sequence[JudgedPool],
    labels: Mapping[str, Sequence[Bought]],
    offered: Mapping[str, IndexArray],
) -> dict[str, float]:
    """Quality of what was bought for the labelled `pools`, with the reward after all labels.

    The recommended response is the best of the strategy's own candidates (`offered`, their indices
    by prompt id) by reward and labels. For a sharper comparison of labels alone,
    `recommended_of_all_p_win` lets every strategy recommend from the whole pool, also one that
    sampled only K responses.
    """
    recommended, of_all, winners, right = [], [], [], []
    for pool in pools:
        bought, open_n = labels.get(pool.prompt_id, []), ~pool.ignored_n
        mean_n = posterior.mean(pool.features_nd)
        reward_n = mean_n + response_effects(mean_n, bought)
        own, every = offered[pool.prompt_id], np.flatnonzero(open_n)
        own = own[open_n[own]]
        recommended.append(pool.p_win_n[own[reward_n[own].argmax()]])
        of_all.append(pool.p_win_n[every[reward_n[every].argmax()]])
        for label in bought:
            winner, loser = (label.i, label.j) if label.preferred else (label.j, label.i)
            winners.append(pool.p_win_n[winner])
            right.append(float(pool.quality_n[winner] > pool.quality_n[loser]))
    return {
        "recommended_p_win": float(np.mean(recommended)),
        "recommended_of_all_p_win": float(np.mean(of_all)),
        "winners_p_win": float(np.mean(winners)),
        "label_accuracy": float(np.mean(right)),
    }


def response_effects(mean_n: FloatArray, bought: Sequence[Bought]) -> FloatArray:
    """Most probable u of P(i ≻ j) = σ(r_i + u_i - r_j - u_j) with u ~ N(0, `RESPONSE_EFFECT`²).

    What the labels of one prompt say about its own responses beyond the reward that all prompts
    share; 0 for a response that no label names.
    """
    effects_n = np.zeros_like(mean_n)
    if not bought:
        return effects_n
    i, j = np.array([b.i for b in bought]), np.array([b.j for b in bought])
    seen_m, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    sign_em = np.zeros((len(bought), len(seen_m)))
    rows = np.arange(len(bought))
    sign_em[rows, place[: len(i)]], sign_em[rows, place[len(i) :]] = 1.0, -1.0
    preferred_e = np.array([b.preferred for b in bought], dtype=np.float64)
    labels = Labels(sign_em, preferred_e, np.ones(len(bought)))
    precision_m, nothing_m = np.full(len(seen_m), RESPONSE_EFFECT**-2), np.zeros(len(seen_m))
    effects_n[seen_m] = most_probable(labels, precision_m, nothing_m, mean_n[i] - mean_n[j]).theta_k
    return effects_n


def _at_equal_length(
    best_p: FloatArray, longer_p: FloatArray, pools: Sequence[JudgedPool]
) -> float:
    """Win rate of the picks had each been as long as the reference.

    As AlpacaEval's length-controlled rate: a logistic model of the win with an effect of length.
    The effect is fitted once on all responses of the pools, within prompts, so that no strategy's
    picks decide their own correction.
    """
    wins = Labels(np.ones((len(best_p), 1)), best_p, np.ones(len(best_p)))
    level = most_probable(wins, np.full(1, 1e-9), np.zeros(1), _length_slope(pools) * longer_p)
    return float(sigmoid(level.theta_k)[0])


def _length_slope(pools: Sequence[JudgedPool]) -> float:
    """Least-squares slope of quality on length within prompts, logits per unit of `longer_n`."""
    product = square = 0.0
    for pool in pools:
        open_n = ~pool.ignored_n
        longer_n = pool.longer_n[open_n] - pool.longer_n[open_n].mean()
        product += float(longer_n @ pool.quality_n[open_n])
        square += float(longer_n @ longer_n)
    return product / max(square, 1e-9)


def _random_pairs(open_m: IndexArray, rng: np.random.Generator) -> tuple[IndexArray, IndexArray]:
    i = rng.integers(len(open_m), size=_PAIRS_PER_PROMPT)
    j = (i + rng.integers(1, len(open_m), size=_PAIRS_PER_PROMPT)) % len(open_m)
    return open_m[i], open_m[j]


def softmax(x_n: FloatArray) -> FloatArray:
    """exp(x) brought to a sum of one (n,)."""
    weight_n = np.exp(x_n - x_n.max())
    return np.asarray(weight_n / weight_n.sum())
