"""Training an ensemble: each member by itself, on all labels at once, to its own optimum.

Labels are first put into an order and an orientation that depend on their contents alone, so that
the random weights that a member gives them do too.

Labels that are condensed (`winnow.reward.condensed`) speak through d made-up pairs ±z/2: along each
axis u of their quadratic, of curvature λ, a pair of usual length was seen to differ by uᵀw, give or
take 1/√λ, and each member has its own draw of that.

Shapes: e labels, d features, h hidden units, q members, o made-up pairs, p parameters of one
network (with its own effects of side and length).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.errors import Fatal
from winnow.ids import seed_from
from winnow.reward.blocks import SCORE, Blocks, one_block, per_feature
from winnow.reward.condensed import Condensed
from winnow.reward.ensemble import Ensemble
from winnow.reward.evidence import fit_by_evidence
from winnow.reward.logistic import N_NUISANCE, Labels, Mode, checked_labels, sigmoid

_FLAT = 1e-9
"""An axis with less than this share of the largest curvature is one that no label spoke of."""

_MAX_STEPS = 60
"""Far beyond this the members still settle in detail; their mean and spread no longer move."""


def fit_ensemble(
    first_ed: ArrayLike,
    second_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
    n_members: int = 20,
    n_hidden: int = 16,
    seed: int = 0,
    blocks: Blocks | None = None,
    older: Condensed | None = None,
) -> Ensemble:
    """Train an ensemble on labels of pairs (first, second), given as in `winnow.reward.fit`.

    Args:
        first_ed: Features of the first responses, centred within their prompts.
        second_ed: Features of the second ones.
        preferred_e: 1 when the first was preferred, 0 when the second was, 0.5 for a tie.
        weight_e: Trust in each label.
        side_e: +1 when the first was shown first.
        length_e: Length of the first less that of the second.
        n_members: K; the doubt has K - 1 directions.
        n_hidden: Hidden units of each member.
        seed: Decides initial weights and label weights.
        blocks: The features' blocks, by which a score is believed before any label; all are one
            when absent.
        older: Labels beside these, condensed.

    Raises:
        Corrupt: As `fit`.
        Fatal: No label has a weight, or there are fewer than two members.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (first_ed, second_ed))
    labels = checked_labels(first - second, preferred_e, weight_e, side_e, length_e)
    counts_e = np.asarray(weight_e, dtype=np.float64) > 0
    if n_members < 2 or not counts_e.any():
        raise Fatal(
            f"{n_members} members and {counts_e.sum()} labels with a weight: an ensemble needs at "
            "least two members and one label; before the first label use a prior."
        )
    data = _canonical(labels, first[counts_e], second[counts_e])
    rng = np.random.default_rng(seed_from("ensemble", seed))
    anchors = [_draw_anchor(data, n_hidden, rng) for _ in range(n_members)]
    blocks = one_block(first.shape[1]) if blocks is None else blocks
    precision_d, linear = fit_by_evidence(labels, blocks, older)
    data = replace(data, scale=_scale(labels, data, anchors, precision_d))
    if older is not None:
        data = replace(data, older=_made_up(older, data.unit))
    expected_d = _of_scores(linear, blocks) * (data.unit / data.scale)
    members = [
        _train(
            replace(anchor, linear_d=anchor.linear_d + expected_d),
            _as_one_draw(data, rng),
        )
        for anchor in anchors
    ]
    fitted = _assemble(members, data)
    return fitted if older is None else replace(fitted, n_labels=fitted.n_labels + older.n_labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Made-up pairs with known differences: firsts over seconds, in the features' unit."""

    features_rd: FloatArray
    difference_o: FloatArray
    precision_o: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Labels as one member sees them; `features_rd` stacks the firsts over the seconds (r = 2e)."""

    features_rd: FloatArray
    preferred_e: FloatArray
    weight_e: FloatArray
    nuisance_e2: FloatArray
    unit: float
    scale: float
    older: _Pairs | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """Weights of one network, or a gradient in them."""

    linear_d: FloatArray
    hidden_dh: FloatArray
    bias_h: FloatArray
    output_h: FloatArray
    nuisance_2: FloatArray

    def flat(self) -> FloatArray:
        return np.concatenate([getattr(self, field.name).ravel() for field in fields(self)])

    def with_values(self, flat_p: FloatArray) -> _Member:
        """The same shapes with other values."""
        shapes = [getattr(self, field.name).shape for field in fields(self)]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = np.split(flat_p, ends[:-1])
        return _Member(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def _canonical(labels: Labels, first_ed: FloatArray, second_ed: FloatArray) -> _Data:
    """Labels in an order and orientation that depend on their contents only."""
    effects_ek = labels.effects_ek
    leading_e = effects_ek[np.arange(len(effects_ek)), (effects_ek != 0).argmax(axis=1)]
    swap_e1 = (leading_e < 0)[:, None]
    first, second = np.where(swap_e1, (second_ed, first_ed), (first_ed, second_ed))
    preferred_e = np.where(swap_e1[:, 0], 1.0 - labels.preferred_e, labels.preferred_e)
    nuisance_e2 = np.where(swap_e1, -1.0, 1.0) * effects_ek[:, -N_NUISANCE:]
    order_e = np.lexsort(
        np.column_stack([first, second, preferred_e, labels.weight_e, nuisance_e2]).T
    )
    features_rd = np.vstack([first[order_e], second[order_e]])
    unit = float(np.sqrt((features_rd**2).sum(axis=1).mean())) or 1.0
    return _Data(
        features_rd=features_rd / unit,
        preferred_e=preferred_e[order_e],
        weight_e=labels.weight_e[order_e],
        nuisance_e2=nuisance_e2[order_e],
        unit=unit,
        scale=1.0,
    )


def _made_up(older: Condensed, unit: float) -> _Pairs:
    hessian_dd, linear_d = older.of_weights()
    curvature_d, axes_dd = np.linalg.eigh(hessian_dd)
    real_d = curvature_d > _FLAT * curvature_d.max(initial=0.0)
    curvature_o, axes_od = curvature_d[real_d], axes_dd[:, real_d].T
    difference_o = unit * (axes_od @ linear_d) / curvature_o
    return _Pairs(np.vstack([axes_od, -axes_od]) / 2.0, difference_o, curvature_o / unit**2)


def _as_one_draw(data: _Data, rng: np.random.Generator) -> _Data:
    """The labels as one member counts them."""
    drawn = replace(data, weight_e=rng.standard_gamma(data.weight_e))
    older = data.older
    if older is None:
        return drawn
    noise_o = rng.standard_normal(len(older.difference_o)) / np.sqrt(older.precision_o)
    return replace(drawn, older=replace(older, difference_o=older.difference_o + noise_o))


def _draw_anchor(data: _Data, n_hidden: int, rng: np.random.Generator) -> _Member:
    d = data.features_rd.shape[1]
    shapes = [(d,), (d, n_hidden), (n_hidden,), (n_hidden,), (N_NUISANCE,)]
    return _Member(*(rng.standard_normal(shape) for shape in shapes))


def _of_scores(linear: Mode, blocks: Blocks) -> FloatArray:
    """What a linear model makes of the scores' weights (d,); of all other features nothing.

    Networks around what is expected before any label would take hundreds of labels to leave a score
    that people contradict; the evidence for a block sees it in dozens.
    """
    is_score_d = per_feature(blocks, [float(block.kind == SCORE) for block in blocks])
    return is_score_d * linear.theta_k[:-N_NUISANCE]


def _scale(labels: Labels, data: _Data, anchors: list[_Member], precision_d: FloatArray) -> float:
    """Size of the rewards at which the untrained members doubt a pair as a linear prior would."""
    z_ed = labels.effects_ek[:, :-N_NUISANCE]
    wanted = (z_ed**2 / precision_d).sum(axis=1).mean()
    spread = np.mean([_differences(anchor, data, data.scale)[0] ** 2 for anchor in anchors])
    return float(np.sqrt(wanted / spread)) if spread else 1.0


def _differences(
    member: _Member, data: _Data | _Pairs, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Reward differences (e,) and the hidden units (r, h) behind them."""
    hidden_rh = np.tanh(data.features_rd @ member.hidden_dh + member.bias_h)
    output_h = member.output_h / np.sqrt(len(member.output_h))
    reward_r = scale * (data.features_rd @ member.linear_d + hidden_rh @ output_h)
    e = len(reward_r) // 2
    return reward_r[:e] - reward_r[e:], hidden_rh


def _train(anchor: _Member, data: _Data) -> _Member:
    """The weights that fit the labels while staying near the anchor."""
    anchor_p = anchor.flat()

    def objective(flat_p: FloatArray) -> tuple[float, FloatArray]:
        loss, gradient = _loss(anchor.with_values(flat_p), data)
        pull_p = flat_p - anchor_p
        return loss + 0.5 * float(pull_p @ pull_p), gradient.flat() + pull_p

    options = {"maxiter": _MAX_STEPS}
    from scipy.optimize import minimize

    best = minimize(objective, anchor_p, jac=True, method="L-BFGS-B", options=options)
    return anchor.with_values(best.x)


def _loss(member: _Member, data: _Data) -> tuple[float, _Member]:
    """Negative log-likelihood in nats and its gradient, by back-propagation."""
    difference_e, hidden_rh = _differences(member, data, data.scale)
    logit_e = difference_e + data.nuisance_e2 @ member.nuisance_2
    loss_e = np.logaddexp(0.0, logit_e) - data.preferred_e * logit_e
    residual_e = data.weight_e * (sigmoid(logit_e) - data.preferred_e)
    gradient = replace(
        _back(member, data, data.scale, residual_e, hidden_rh),
        nuisance_2=residual_e @ data.nuisance_e2,
    )
    loss = float(data.weight_e @ loss_e)
    if data.older is None:
        return loss, gradient
    difference_o, hidden_rh = _differences(member, data.older, data.scale)
    error_o = difference_o - data.older.difference_o
    pull_o = data.older.precision_o * error_o
    more = _back(member, data.older, data.scale, pull_o, hidden_rh)
    both = gradient.with_values(gradient.flat() + more.flat())
    return loss + 0.5 * float(pull_o @ error_o), both


def _back(
    member: _Member,
    data: _Data | _Pairs,
    scale: float,
    residual_e: FloatArray,
    hidden_rh: FloatArray,
) -> _Member:
    """Gradient in the weights, from that in the differences; none in the effects of its own."""
    error_r = scale * np.concatenate([residual_e, -residual_e])
    shrink = 1.0 / np.sqrt(len(member.output_h))
    error_rh = error_r[:, None] * (1.0 - hidden_rh**2) * (member.output_h * shrink)
    return _Member(
        linear_d=error_r @ data.features_rd,
        hidden_dh=data.features_rd.T @ error_rh,
        bias_h=error_rh.sum(axis=0),
        output_h=error_r @ hidden_rh * shrink,
        nuisance_2=np.zeros(N_NUISANCE),
    )


def _assemble(members: list[_Member], data: _Data) -> Ensemble:
    """The ensemble with the unit of the features and the scale folded into the weights."""
    side, length = np.mean([member.nuisance_2 for member in members], axis=0)
    shrink = data.scale / np.sqrt(len(members[0].output_h))
    return Ensemble(
        linear_qd=np.array([member.linear_d for member in members]) * (data.scale / data.unit),
        hidden_qdh=np.array([member.hidden_dh for member in members]) / data.unit,
        bias_qh=np.array([member.bias_h for member in members]),
        output_qh=np.array([member.output_h for member in members]) * shrink,
        cov_qq=np.eye(len(members)) / (len(members) - 1),
        n_labels=len(data.weight_e),
        side=float(side),
        length=float(length),
    )
