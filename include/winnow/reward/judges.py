"""What AI judges say of the reward of people, each a teacher with a taste of its own.

A judge's log-odds that the first of a pair is better are people's reward on the judge's scale, its
own taste, and noise:

    ℓ = κ wᵀz + dᵀz + b·side + γ·length + e,   d ~ N(0, τ² Λ⁻¹),   e ~ N(0, ν² K)

Λ holds the prior precisions of people's weights, so that a judge may like anything that people may.
Verdicts without probabilities are read as ℓ of 1, 0 and -1: the scale is learnt. What a judge errs
on a response it errs on in each pair that has it: within a prompt K = (1 - ρ) I + ρ D Dᵀ / 2, where
a row of D is 1 for the first and -1 for the second response. Tastes of several judges are alike to
a share c.

κ, ν, τ, ρ and c are those of the highest evidence, given what people's votes alone say of w: a
judge that shuffles has κ near 0, one that is always wrong κ below 0, one that always says the left
side no ℓ but its side. With these the model is linear and Gaussian, so that tastes integrate out:
what all judges say of w is one quadratic, which a fit of people's votes takes as votes beside them.

Always holds: no verdict teaches anything before people voted; verdicts at κ = 0 teach nothing; the
order of verdicts does not matter; (i, j, ℓ, side) and (j, i, -ℓ, -side) teach alike.

Sources: Kennedy and O'Hagan (2000), "Predicting the output from a complex computer code when fast
approximations are available", for κ and d; docs/choosing_pairs.md, "Judges".

Shapes: e verdicts, d features, m = d + 2 effects of a judge (with side and length), t tastes of all
judges together, k = d + 2 effects of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Corrupt
from winnow.reward.blocks import Blocks, per_feature
from winnow.reward.condensed import Condensed
from winnow.reward.logistic import N_NUISANCE, Quadratic, sigmoid
from winnow.reward.posterior import Posterior, with_prefix

_POOLED = 0.5
"""ρ, the share of a judge's noise that a response has in all its pairs. Votes do not tell it well:
where it is estimated it comes out at either end."""
_SHARED = (0.0, 0.3, 0.6, 0.9)
"""Values of c that are tried."""

HEARD_FROM = 1.0
"""Logarithm of the evidence for a judge, nats, from which it is heard. One that is heard by mistake
says more from then on, which shows what it is worth."""

_KAPPA_SD = 1.0
_TASTE, _NOISE, _SPREAD = -0.5, -0.3, 1.0
"""Means and standard deviation of the normal priors of ln τ and ln ν, of log-odds of mean square
1."""
_REACH = ((-5.0, 5.0), (-5.0, 2.5), (-3.0, 1.5))
_ROUNDS = 4
_LEAST_WEIGHT = 0.01
_NOTHING = 1e-6
"""Log-odds that say nothing: of smaller ones alone no scale can be found."""
_STARTS = (0.5, -0.5)
"""Values of κ from which the highest evidence is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What one judge said of pairs.

    Attributes:
        z_ed: Feature differences, first less second.
        log_odds_e: That the first is better; 1, 0, -1 where the judge states no probabilities.
        side_e: +1 where the first was shown first, -1 second, 0 where both orders were asked.
        length_e: Difference of length, as people's votes have it.
        first_e: A number of each first response, equal for equal ones.
        second_e: The same of the second.
        pool_e: A number of each pair's prompt.
    """

    z_ed: FloatArray
    log_odds_e: FloatArray
    side_e: FloatArray
    length_e: FloatArray
    first_e: IndexArray
    second_e: IndexArray
    pool_e: IndexArray
    are_choices: bool = False

    @classmethod
    def of(
        cls,
        z_ed: ArrayLike,
        log_odds_e: ArrayLike,
        side_e: ArrayLike,
        length_e: ArrayLike,
        first_e: ArrayLike,
        second_e: ArrayLike,
        pool_e: ArrayLike,
        are_choices: bool = False,
    ) -> Verdicts:
        """The verdicts, checked.

        Raises:
            Corrupt: A value is not finite.
        """
        z, said, side, length = (
            np.asarray(values, np.float64) for values in (z_ed, log_odds_e, side_e, length_e)
        )
        if not all(np.isfinite(values).all() for values in (z, said, side, length)):
            raise Corrupt(f"Among {len(said)} verdicts there are values that are not finite.")
        first, second, pool = (np.asarray(v, np.intp) for v in (first_e, second_e, pool_e))
        return cls(z, said, side, length, first, second, pool, are_choices)


@dataclass(frozen=True, slots=True)
class Judge:
    """What is believed of one judge, of log-odds brought to a mean square of 1.

    Attributes:
        n: Its verdicts.
        log_help: Logarithm of the evidence that they tell something of people's reward.
        scale: Root mean square of its log-odds, by which they were divided.
        kappa: κ, its log-odds for each logit of people's.
        taste: τ, how far its taste may lie from people's reward; 1: as far as that from 0.
        noise: ν.
        own_sd: Standard deviation of what it errs on a pair alone.
        response_sd: Of what it errs on a response in all its pairs.
    """

    name: str
    n: int
    log_help: float
    scale: float
    kappa: float
    taste_d: FloatArray
    noise: float
    own_sd: float
    response_sd: float

    @property
    def is_heard(self) -> bool:
        """Whether the evidence for it is such that what it says may teach."""
        return self.log_help > HEARD_FROM


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the judges say of people's weights w, and of their own tastes given w.

    Attributes:
        judges: Those that are heard, by name.
        unheard: Those that said something, and on whom there is not evidence enough.
        shared: c.
        hessian_ww: Precision about w and tastes (d, d), before tastes are integrated out.
        hessian_wt: (d, t).
        hessian_tt: (t, t), with the prior of tastes.
        linear_w: (d,).
        linear_t: (t,).
    """

    judges: tuple[Judge, ...]
    unheard: tuple[Judge, ...]
    shared: float
    hessian_ww: FloatArray
    hessian_wt: FloatArray
    hessian_tt: FloatArray
    linear_w: FloatArray
    linear_t: FloatArray

    def condensed(self) -> Condensed:
        """What they say of w, for a fit of people's votes; it counts as no vote."""
        d = len(self.linear_w)
        cross_tw = np.linalg.solve(self.hessian_tt, self.hessian_wt.T)
        hessian_kk, linear_k = np.zeros((d + N_NUISANCE,) * 2), np.zeros(d + N_NUISANCE)
        about_dd = self.hessian_ww - self.hessian_wt @ cross_tw
        hessian_kk[:d, :d] = 0.5 * (about_dd + about_dd.T)
        linear_k[:d] = self.linear_w - cross_tw.T @ self.linear_t
        return Condensed(Quadratic(hessian_kk, linear_k), np.zeros(d), 0, {})

    def teachers(self, alone: Posterior, people: Posterior) -> Teachers:
        """All that is believed, by fits to people's votes alone and with what was heard."""
        return Teachers(alone, self.joint(people), self.unheard)

    def taught(self, alone: Posterior) -> dict[str, float]:
        """Nats that each judge's verdicts, without the others', add to what people's votes tell.

        `alone` is the fit of these; of several judges the tastes of the others count as known.
        """
        d, m = len(self.linear_w), len(self.linear_w) + N_NUISANCE
        told = {}
        for s, judge in enumerate(self.judges):
            own = slice(s * m, (s + 1) * m)
            cross_wt = self.hessian_wt[:, own]
            about_ww = judge.kappa * cross_wt[:, :d]
            about_ww = about_ww - cross_wt @ np.linalg.solve(self.hessian_tt[own, own], cross_wt.T)
            gain_ww = np.eye(d) + alone.cov_dd @ about_ww
            told[judge.name] = 0.5 * float(np.linalg.slogdet(gain_ww)[1])
        return told

    def joint(self, people: Posterior) -> Joint:
        """The covariance of w and tastes together; `people` is the fit that has heard them."""
        given_tt = np.linalg.inv(self.hessian_tt)
        slope_tw = -given_tt @ self.hessian_wt.T
        wt = people.cov_dd @ slope_tw.T
        tt = given_tt + slope_tw @ wt
        cov = np.block([[people.cov_dd, wt], [wt.T, 0.5 * (tt + tt.T)]])
        return Joint(people, self.judges, cov)


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """People's reward with the tastes of judges: cov (d + t, d + t) of all their weights."""

    people: Posterior
    judges: tuple[Judge, ...]
    cov: FloatArray

    def basis(self, judge: Judge, features_nd: FloatArray, length_n: FloatArray) -> FloatArray:
        """Rows (n, d + t): a difference of two tells what the judge says of their pair."""
        n, d = features_nd.shape
        place = d + self.judges.index(judge) * (d + N_NUISANCE)
        rows = np.zeros((n, len(self.cov)))
        rows[:, :d] = judge.kappa * features_nd
        rows[:, place : place + d] = features_nd
        rows[:, place + d + 1] = length_n
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class Teachers:
    """People and judges as a refit left them, of one head.

    Attributes:
        alone: What people's votes alone say of their reward.
        joint: What is believed of people and of the judges that are heard.
        unheard: The judges that are not.
    """

    alone: Posterior
    joint: Joint
    unheard: tuple[Judge, ...]

    @property
    def judges(self) -> tuple[Judge, ...]:
        """All who said anything, those that are heard first."""
        return (*self.joint.judges, *self.unheard)

    def arrays(self) -> dict[str, FloatArray]:
        """The contents by name, but for the judges' names; `from_arrays` reads them."""
        numbers = [[getattr(judge, name) for name in _NUMBERS] for judge in self.judges]
        d = len(self.alone.mean_d)
        return {
            **{f"alone_{name}": array for name, array in self.alone.arrays().items()},
            **{f"people_{name}": array for name, array in self.joint.people.arrays().items()},
            "cov": self.joint.cov,
            "heard": np.array([len(self.joint.judges)], np.float64),
            "judges": np.array(numbers, np.float64).reshape(-1, len(_NUMBERS)),
            "tastes": np.array([j.taste_d for j in self.judges], np.float64).reshape(-1, d),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], names: Sequence[str]) -> Teachers:
        """What `arrays` told, with the names of the judges in their order."""
        judges = []
        for name, row, taste_d in zip(names, arrays["judges"], arrays["tastes"], strict=True):
            told = dict(zip(_NUMBERS, row.tolist(), strict=True))
            judges.append(Judge(name, taste_d=taste_d, **{**told, "n": round(told["n"])}))
        n_heard = int(arrays["heard"][0])
        alone, people = (
            Posterior.from_arrays(with_prefix(arrays, prefix)) for prefix in ("alone_", "people_")
        )
        joint = Joint(people, tuple(judges[:n_heard]), arrays["cov"])
        return cls(alone, joint, tuple(judges[n_heard:]))


_NUMBERS = ("n", "log_help", "scale", "kappa", "noise", "own_sd", "response_sd")


@dataclass(frozen=True, eq=False)
class _Sums:
    """A judge's verdicts in sums, whitened by K: XᵀK⁻¹X, XᵀK⁻¹ℓ, ℓᵀK⁻¹ℓ, ln|K| and their number."""

    gram_mm: FloatArray
    linear_m: FloatArray
    square: float
    log_det: float
    n: int

    @cached_property
    def d(self) -> int:
        return len(self.linear_m) - N_NUISANCE


def listen(verdicts: Mapping[str, Verdicts], people: Posterior, blocks: Blocks) -> Heard | None:
    """What the judges of these names say, measured against a posterior of people's votes alone.

    None where people gave no vote, or no judge said anything.
    """
    said = {
        name: v for name, v in sorted(verdicts.items()) if np.any(np.abs(v.log_odds_e) > _NOTHING)
    }
    if not said or not people.n_labels:
        return None
    believed = [_believed(name, each, people, blocks) for name, each in said.items()]
    heard = [(judge, sums) for judge, sums in believed if judge.is_heard]
    unheard = tuple(judge for judge, _ in believed if not judge.is_heard)
    judges, sums = [judge for judge, _ in heard], [own for _, own in heard]
    tries = _SHARED if len(judges) > 1 else _SHARED[:1]
    shared = max(tries, key=lambda c: _log_evidence(sums, judges, c, people)) if judges else 0.0
    return _heard(judges, unheard, sums, shared, people)


def _heard(
    judges: Sequence[Judge],
    unheard: tuple[Judge, ...],
    sums: Sequence[_Sums],
    shared: float,
    people: Posterior,
) -> Heard:
    d, n = len(people.mean_d), len(judges)
    m = d + N_NUISANCE
    hessian_tt, linear_t = np.zeros((n * m, n * m)), np.zeros(n * m)
    hessian_ww, linear_w, hessian_wt = np.zeros((d, d)), np.zeros(d), np.zeros((d, n * m))
    own_dss = np.zeros((d, 0, 0))
    if judges:
        own_dss = np.linalg.inv(_alike(judges, shared)) * people.precision_d[:, None, None]
    for s, (judge, own) in enumerate(zip(judges, sums, strict=True)):
        place, weight = slice(s * m, (s + 1) * m), judge.noise**-2
        hessian_tt[place, place] = weight * own.gram_mm
        linear_t[place] = weight * own.linear_m
        hessian_ww += weight * judge.kappa**2 * own.gram_mm[:d, :d]
        hessian_wt[:, place] = weight * judge.kappa * own.gram_mm[:d]
        linear_w += weight * judge.kappa * own.linear_m[:d]
        hessian_tt[range(s * m + d, (s + 1) * m), range(s * m + d, (s + 1) * m)] += 1.0
        for r in range(n):
            taste_d = np.arange(d)
            hessian_tt[s * m + taste_d, r * m + taste_d] += own_dss[:, s, r]
    return Heard(
        tuple(judges), unheard, shared, hessian_ww, hessian_wt, hessian_tt, linear_w, linear_t
    )


def _alike(judges: Sequence[Judge], shared: float) -> FloatArray:
    """Covariance (d, s, s) of the judges' tastes in each direction, of a prior variance of 1."""
    taste_ds = np.stack([judge.taste_d for judge in judges], axis=1)
    mixed_ss = (1.0 - shared) * np.eye(len(judges)) + shared
    return np.asarray(taste_ds[:, :, None] * mixed_ss * taste_ds[:, None, :])


def _believed(
    name: str, verdicts: Verdicts, people: Posterior, blocks: Blocks
) -> tuple[Judge, _Sums]:
    """The judge of the highest evidence, with its verdicts in sums."""
    blocks = tuple(block for block in blocks if block.size)
    if not verdicts.are_choices:
        scale = float(np.sqrt((verdicts.log_odds_e**2).mean()))
        search = _Search(name, verdicts, verdicts.log_odds_e / scale, None, scale, people, blocks)
        return search.found(search.highest()), search.sums
    # Quasi-likelihood: choices as log-odds that would give their slope where the judge stands.
    preferred_e = 0.5 * (1.0 + np.sign(verdicts.log_odds_e))
    logit_e = np.zeros(len(preferred_e))
    at: FloatArray | None = None
    for _ in range(_ROUNDS):
        p_e = sigmoid(logit_e)
        weight_e = np.maximum(p_e * (1.0 - p_e), _LEAST_WEIGHT)
        said_e = logit_e + (preferred_e - p_e) / weight_e
        search = _Search(name, verdicts, said_e, 1.0 / weight_e, 1.0, people, blocks)
        at = search.highest(at)
        logit_e = _effects(verdicts) @ _mode(search.judge(at), search.sums, people)
    assert at is not None
    return search.found(at), search.sums


class _Search:
    """Looks for the judge of the highest evidence by its log-odds `said_e`.

    `own_e` are the variances of what it errs on each pair alone; None: one that is to be found.
    """

    def __init__(
        self,
        name: str,
        verdicts: Verdicts,
        said_e: FloatArray,
        own_e: FloatArray | None,
        scale: float,
        people: Posterior,
        blocks: Blocks,
    ) -> None:
        self._name, self._scale, self._people, self._blocks = name, scale, people, blocks
        self._has_noise, self._n = own_e is None, len(said_e)
        own_e = np.full(len(said_e), 1.0 - _POOLED) if own_e is None else own_e
        # Relative to what is a pair's own, of choices; of the whole noise, of log-odds.
        self._common = 0.5 * _POOLED / (1.0 if self._has_noise else 1.0 - _POOLED)
        self._own = float(np.median(own_e))
        self._expected = np.array([_TASTE] * len(blocks) + [_NOISE] * self._has_noise)
        self._reach = [*[_REACH[1]] * len(blocks), *[_REACH[2]] * self._has_noise]
        self.sums = _summed(verdicts, said_e, own_e, self._common)

    def judge(self, x: FloatArray, log_help: float = 0.0) -> Judge:
        """The judge of κ, ln τ of each block and, where it is to be found, ln ν."""
        noise = float(np.exp(x[-1])) if self._has_noise else 1.0
        return Judge(
            self._name,
            n=self._n,
            log_help=log_help,
            scale=self._scale,
            kappa=float(x[0]),
            taste_d=per_feature(self._blocks, np.exp(x[1 : 1 + len(self._blocks)]).tolist()),
            noise=noise,
            own_sd=noise * float(np.sqrt(self._own)),
            response_sd=noise * float(np.sqrt(self._common)),
        )

    def highest(self, start: FloatArray | None = None) -> FloatArray:
        """Where the evidence is highest, from a start or from either sign of κ."""
        starts = [[kappa, *self._expected] for kappa in _STARTS] if start is None else [start]
        found = [self._climbed(each, _REACH[0]) for each in starts]
        return np.asarray(min(found, key=self._loss))

    def found(self, x: FloatArray) -> Judge:
        """The judge there, with the evidence against one that tells nothing of people's reward."""
        nothing = self._climbed([0.0, *x[1:]], (0.0, 0.0))
        return self.judge(x, self._loss(nothing) - self._loss(x))

    def _climbed(self, start: ArrayLike, kappa: tuple[float, float]) -> FloatArray:
        # Imported where it is needed: it takes as long to load as all else here.
        from scipy.optimize import minimize

        bounds = [kappa, *self._reach]
        return np.asarray(minimize(self._loss, start, method="L-BFGS-B", bounds=bounds).x)

    def _loss(self, x: FloatArray) -> float:
        odd = (x[0] / _KAPPA_SD) ** 2 + (((x[1:] - self._expected) / _SPREAD) ** 2).sum()
        return float(0.5 * odd) - _log_evidence([self.sums], [self.judge(x)], 0.0, self._people)


def _mode(judge: Judge, sums: _Sums, people: Posterior) -> FloatArray:
    """The most probable whole weights (m,) of a judge, side and length with them."""
    cov, mean, gram, linear = _prior_and_sums([sums], [judge], 0.0, people)
    shrink = np.eye(len(mean)) + cov @ gram
    return np.asarray(mean + np.linalg.solve(shrink, cov @ (linear - gram @ mean)))


def _log_evidence(
    sums: Sequence[_Sums], judges: Sequence[Judge], shared: float, people: Posterior
) -> float:
    """Log-probability, nats, of what the judges said by people's posterior; up to a constant.

    With S = κ w + d a judge's whole weights, their prior is N(κ ŵ, κ κᵀ Σ + T Λ⁻¹).
    """
    cov, mean, gram, linear = _prior_and_sums(sums, judges, shared, people)
    value: Any = 0.0
    for judge, own in zip(judges, sums, strict=True):
        value -= own.n * np.log(judge.noise) + 0.5 * own.log_det
        value -= 0.5 * judge.noise**-2 * own.square
    shrink = np.eye(len(mean)) + cov @ gram
    left = linear - gram @ mean
    value += mean @ linear - 0.5 * mean @ gram @ mean
    value += 0.5 * left @ np.linalg.solve(shrink, cov @ left)
    return float(value - 0.5 * np.linalg.slogdet(shrink)[1])


def _prior_and_sums(
    sums: Sequence[_Sums], judges: Sequence[Judge], shared: float, people: Posterior
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Covariance and mean of the judges' whole weights before they spoke, and what they said."""
    d, m, n = sums[0].d, sums[0].d + N_NUISANCE, len(judges)
    alike_dss = _alike(judges, shared)
    cov, mean = np.eye(n * m), np.zeros(n * m)
    gram, linear = np.zeros((n * m, n * m)), np.zeros(n * m)
    for s, (judge, own) in enumerate(zip(judges, sums, strict=True)):
        for r, other in enumerate(judges):
            block = judge.kappa * other.kappa * people.cov_dd
            block = block + np.diag(alike_dss[:, s, r] / people.precision_d)
            cov[s * m : s * m + d, r * m : r * m + d] = block
        place, weight = slice(s * m, (s + 1) * m), judge.noise**-2
        mean[s * m : s * m + d] = judge.kappa * people.mean_d
        gram[place, place], linear[place] = weight * own.gram_mm, weight * own.linear_m
    return cov, mean, gram, linear


def _effects(verdicts: Verdicts) -> FloatArray:
    return np.column_stack([verdicts.z_ed, verdicts.side_e, verdicts.length_e])


def _summed(verdicts: Verdicts, said_e: FloatArray, own_e: FloatArray, common: float) -> _Sums:
    """The verdicts in sums, whitened prompt by prompt by K = diag(`own_e`) + `common` D Dᵀ."""
    root_e = np.sqrt(own_e)
    both_en = np.column_stack([_effects(verdicts), said_e])
    log_det = float(np.log(own_e).sum())
    if common:
        log_det, order = 0.0, np.argsort(verdicts.pool_e, kind="stable")
        ends = np.flatnonzero(np.diff(verdicts.pool_e[order])) + 1
        for own in np.split(order, ends):
            first, second = verdicts.first_e[own], verdicts.second_e[own]
            alike = (first[:, None] == first).astype(np.float64) + (second[:, None] == second)
            alike -= (first[:, None] == second).astype(np.float64) + (second[:, None] == first)
            root = np.linalg.cholesky(np.diag(own_e[own]) + common * alike)
            both_en[own] = np.linalg.solve(root, both_en[own])
            log_det += 2.0 * float(np.log(root.diagonal()).sum())
    else:
        both_en = both_en / root_e[:, None]
    gram = both_en.T @ both_en
    return _Sums(gram[:-1, :-1], gram[:-1, -1], float(gram[-1, -1]), log_det, len(said_e))
