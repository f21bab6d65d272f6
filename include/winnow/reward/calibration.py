"""Whether the model's probabilities can be taken at their word, and the temperature that helps.

All of it wants labels that the model has not seen and did not choose, with the probabilities that
were stated before the label came. Temperature T divides every logit; it is the most probable one
under a log-normal prior around 1, and exactly 1 below `MIN_LABELS`. The calibration error (ECE) is
read on bins of equal mass: bins of equal width leave most of them nearly empty. Equal probabilities
share a bin, so that the order of labels does not matter.

Sources: Guo et al. (2017), "On calibration of modern neural networks"; Nixon et al. (2019),
"Measuring calibration in deep learning".

Shapes: e labels, b bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Corrupt, Fatal
from winnow.ids import seed_from
from winnow.reward.logistic import preference_by_quadrature

MIN_LABELS = 200
"""Labels below which a temperature is noise: T stays exactly 1."""

_TEMPERATURE_SPREAD = 0.5
"""Standard deviation of the prior on log T; 200 labels of a usual model know it to about 0.2."""

_LOG_TEMPERATURE_LIMIT = np.log(20.0)

_QUANTILES = (0.025, 0.975)
"""Ends of the interval around the calibration error."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Labels of similar stated probability: their number, mean probability and share preferred."""

    n: int
    stated: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error with its 95 % bootstrap interval, and the bins of its picture.

    Attributes:
        ece: Mean distance of stated and observed probability over the bins, within [0, 1].
        low: Lower end of the percentile interval; noise makes it an overestimate, as the ECE is.
        high: Upper end.
        bins: From the lowest stated probability to the highest.
    """

    ece: float
    low: float
    high: float
    bins: tuple[ReliabilityBin, ...]


def label_losses(p_e: ArrayLike, preferred_e: ArrayLike) -> FloatArray:
    """Log-loss of each label in nats; a tie (0.5) is half of either answer.

    Raises:
        Corrupt: A probability or a preference is outside [0, 1].
    """
    p, y = _checked_probabilities(p_e, preferred_e)
    tiny = np.finfo(np.float64).tiny
    return -(y * np.log(np.maximum(p, tiny)) + (1.0 - y) * np.log(np.maximum(1.0 - p, tiny)))


def log_loss(p_e: ArrayLike, preferred_e: ArrayLike) -> float:
    """Mean log-loss in nats; ln 2 is what a coin scores.

    Raises:
        Corrupt: A probability or a preference is outside [0, 1].
        Fatal: There are no labels.
    """
    losses_e = label_losses(p_e, preferred_e)
    _require_labels(len(losses_e))
    return float(losses_e.mean())


def temperature(
    mu_e: ArrayLike, sd_e: ArrayLike, preferred_e: ArrayLike, weight_e: ArrayLike
) -> float:
    """T that makes E σ((μ + su)/T) most probable, within [1/20, 20]; above 1 for a boaster.

    `mu_e` and `sd_e` are mean and standard deviation of each pair's logit, as the model stated them
    before the label; `preferred_e` is 1 for the first response, 0 for the second, 0.5 for a tie.

    Raises:
        Corrupt: A preference is outside [0, 1] or a number is not finite.
    """
    given = (mu_e, sd_e, preferred_e, weight_e)
    mu, sd, y, weight = (np.asarray(values, dtype=np.float64) for values in given)
    if (weight > 0).sum() < MIN_LABELS:
        return 1.0

    def objective(log_t: float) -> float:
        t = np.exp(log_t)
        losses_e = label_losses(preference_by_quadrature(mu / t, sd / t), y)
        return float(weight @ losses_e) + 0.5 * (log_t / _TEMPERATURE_SPREAD) ** 2

    bounds = (-_LOG_TEMPERATURE_LIMIT, _LOG_TEMPERATURE_LIMIT)
    # Imported where it is needed: it takes as long to load as all else here.
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def expected_calibration_error(
    p_e: ArrayLike,
    preferred_e: ArrayLike,
    n_bins: int = 10,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """ECE of stated probabilities on bins of equal mass, with a bootstrap interval over labels.

    Raises:
        Corrupt: A probability or a preference is outside [0, 1].
        Fatal: There are no labels, or `n_bins` or `n_resamples` is below 1.
    """
    p, y = _checked_probabilities(p_e, preferred_e)
    _require_labels(len(p))
    if n_bins < 1 or n_resamples < 1:
        raise Fatal(f"{n_bins} bins and {n_resamples} resamples: each must be at least 1.")
    order_e = np.lexsort((y, p))
    p, y = p[order_e], y[order_e]
    bin_e = _equal_mass_bins(p, n_bins)
    rng, n = np.random.default_rng(seed_from("calibration", seed)), len(p)
    drawn = (rng.integers(0, n, n) for _ in range(n_resamples))
    errors = [_error(bin_e[drawn_e], (y - p)[drawn_e]) for drawn_e in drawn]
    low, high = np.quantile(errors, _QUANTILES).tolist()
    bins = [(p[bin_e == b], y[bin_e == b]) for b in np.unique(bin_e)]
    return Calibration(
        ece=_error(bin_e, y - p),
        low=low,
        high=high,
        bins=tuple(ReliabilityBin(len(p), float(p.mean()), float(y.mean())) for p, y in bins),
    )


def _equal_mass_bins(sorted_e: FloatArray, n_bins: int) -> IndexArray:
    """Bin of each sorted probability; equal ones share the last bin that they reach."""
    chunks = np.array_split(sorted_e, min(n_bins, len(sorted_e)))
    return np.searchsorted([chunk[0] for chunk in chunks[1:]], sorted_e, side="right")


def _error(bin_e: IndexArray, surplus_e: FloatArray) -> float:
    """Σ_b (n_b/n) |ȳ_b - p̄_b|, from the surplus y - p of each label."""
    return float(np.abs(np.bincount(bin_e, weights=surplus_e)).sum() / len(bin_e))


def _checked_probabilities(p_e: ArrayLike, preferred_e: ArrayLike) -> tuple[FloatArray, FloatArray]:
    p, y = (np.asarray(values, dtype=np.float64) for values in (p_e, preferred_e))
    outside = int((~((p >= 0) & (p <= 1))).sum() + (~((y >= 0) & (y <= 1))).sum())
    if outside:
        raise Corrupt(
            f"{outside} of {len(p)} probabilities and {len(y)} preferences are not within "
            "[0, 1]: check where they were computed."
        )
    return p, y


def _require_labels(n_labels: int) -> None:
    if not n_labels:
        raise Fatal("No labels to score: wait for the exploration arm's first votes.")
