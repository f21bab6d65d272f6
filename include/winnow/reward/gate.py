"""Whether the model may choose pairs: evidence that it predicts better, or worse, than dull rivals.

The rivals are a coin (log-loss ln 2) and a logistic model of the length difference alone. The gate
is `open` on evidence that the model beats both, `closed` on evidence that it is worse than the
better of them, and `undecided` before either. What was shown last stands: a closed gate opens on
evidence of help since it closed. Only labels of the exploration arm may be passed, with the
probabilities stated before they came.

It may be looked at after every night. The evidence is the capital of one who bets 1 against the
claim "the model is no better" (or "no worse"): with d the rival's log-loss less the model's, a
prompt's mean over its labels, a stake λ multiplies what is bet by 1 + λd. Under the claim no bet
grows in expectation, so capital seldom gets large, whenever one looks (Ville's inequality). Half of
the capital is bet from the first night and a 200th more from each later one, so that a model which
turns bad late is caught by money that its good nights have not cost. In a hundred nights a model
that is worse than neither rival on any is closed with a chance of `CLOSING_RISK` at most; one that
is never better than one of them is opened with a chance of `OPENING_RISK`, counted anew from each
change between open and closed. Stakes are a fixed mixture and depend on no label, hence the order
of labels within a night does not matter.

Worse than the better of two is worse than one of them: closing takes the mean of both evidences.
Opening takes the lesser. The length rival is fitted to the labels of earlier nights alone: with
those that it is judged on it would know what no model can. A model of length alone is its equal
and does not open the gate.

Probabilities, the rival's too, are clipped to [0.1, 0.9], for bets need bounded differences. That
costs little: sureness beyond 9 to 1 wins at most 0.1 nats a label, and a model that boasts still
loses 2.3. The bound must not follow what the model states: smaller stakes where it is sure would
spare it its errors.

Sources: Choe and Ramdas (2024), "Comparing sequential forecasters"; Waudby-Smith and Ramdas (2024),
"Estimating means of bounded random variables by betting"; Shin, Ramdas and Rinaldo (2024),
"E-detectors", for the bets that begin each night.

Shapes: e labels, g prompts, r rivals (coin, length), k stakes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Corrupt
from winnow.reward.calibration import label_losses
from winnow.reward.logistic import Labels, most_probable, sigmoid

GateState = Literal["open", "closed", "undecided"]

OPENING_RISK = 0.05
CLOSING_RISK = 0.01

RECENT_NIGHTS = 10
"""Nights whose log-loss is told; the evidence is of all."""

_LEAST_P = 0.1
_LENGTH_PRECISION = 1.0
"""Prior precision of the length effect: an effect of one logit is unremarkable."""

_FIRST_SHARE, _NIGHTLY_SHARE = 0.5, 0.005
_FRACTIONS_K = np.array([0.95, 0.5, 0.25, 0.125, 0.0625])
"""Stakes, as parts of the one that loses everything on the worst label."""

_MOST_R = np.log([2.0 * (1.0 - _LEAST_P), (1.0 - _LEAST_P) / _LEAST_P])
"""How much lower than each rival's the model's loss can be, nats."""

_LEAST_R = np.log([2.0 * _LEAST_P, _LEAST_P / (1.0 - _LEAST_P)])


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The state of the gate and what it rests on.

    Attributes:
        n: Labels that judged a model in the last `RECENT_NIGHTS` nights that had any.
        log_loss: Of the model on them, nats; None without labels.
        length_log_loss: Of the length rival on them.
        log_help: Logarithm of the evidence that the model beats both rivals.
        log_harm: Logarithm of the evidence that it is worse than the better of them.
        reason: A sentence for a person, with what to do.
    """

    state: GateState
    n: int
    log_loss: float | None
    length_log_loss: float | None
    log_help: float
    log_harm: float
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ExplorationNight:
    """A night's exploration labels.

    Attributes:
        p_e: Stated chance that the first response is preferred; None where no model had labels
            yet: such a night teaches the length rival alone.
        length_e: Length of the first response less that of the second; 1 is a large difference.
        preferred_e: 1, 0, or 0.5 for a tie.
        prompt_e: The prompt of each label; each is its own where this is absent.
    """

    p_e: ArrayLike | None
    length_e: ArrayLike
    preferred_e: ArrayLike
    prompt_e: Sequence[str] | None = None


def exploration_gate(
    nights: Iterable[ExplorationNight], before: Mapping[str, Any] | None = None
) -> GateVerdict:
    """Judge the models of these nights, oldest first, on labels that they neither saw nor chose.

    `before` is the gate as nights before them left it (`Gate.as_json`).

    Raises:
        Corrupt: A probability or preference is outside [0, 1], or a length is not finite.
    """
    gate = Gate.resumed(before)
    for night in nights:
        gate.add(night)
    return gate.verdict()


class Gate:
    """The gate as it stands after the nights that were added, oldest first."""

    def __init__(self) -> None:
        self.state: GateState = "undecided"
        self._help, self._harm = _Bets(-_LEAST_R), _Bets(_MOST_R)
        self._length = _LengthRival()
        self._recent: deque[FloatArray] = deque(maxlen=RECENT_NIGHTS)

    def as_json(self) -> dict[str, Any]:
        """All that it knows; `resumed` goes on from there, to the same numbers."""
        return {
            "state": self.state,
            "help": self._help.log_rk.tolist(),
            "harm": self._harm.log_rk.tolist(),
            "length": [self._length.mean, self._length.precision],
            "recent": [losses_2e.tolist() for losses_2e in self._recent],
        }

    @classmethod
    def resumed(cls, stored: Mapping[str, Any] | None) -> Gate:
        """A gate as `as_json` told it; the first one where there is none."""
        gate = cls()
        if stored is not None:
            gate.state = stored["state"]
            gate._help.log_rk, gate._harm.log_rk = (
                np.array(stored[name], np.float64) for name in ("help", "harm")
            )
            gate._length.mean, gate._length.precision = stored["length"]
            gate._recent.extend(np.array(losses, np.float64) for losses in stored["recent"])
        return gate

    def add(self, night: ExplorationNight) -> GateState:
        """The state with one more night.

        Raises:
            Corrupt: A probability or preference is outside [0, 1], or a length is not finite.
        """
        stated_e, length_e, y_e, prompt_e = _in_order(night)
        if not np.isfinite(length_e).all():
            raise Corrupt(f"Among {len(length_e)} length differences are some that are not finite.")
        by_length_e = self._length.p(length_e)
        length_loss_e = label_losses(by_length_e, y_e)
        if len(y_e) and night.p_e is not None:
            self._recent.append(np.stack([label_losses(stated_e, y_e), length_loss_e]))
            model_e, rival_e = (
                label_losses(p_e.clip(_LEAST_P, 1.0 - _LEAST_P), y_e)
                for p_e in (stated_e, by_length_e)
            )
            gain_re = np.stack([np.log(2.0) - model_e, rival_e - model_e])
            _, start_g, n_g = np.unique(prompt_e, return_index=True, return_counts=True)
            self._bet(np.add.reduceat(gain_re, start_g, axis=1) / n_g)
        self._length.learn(length_e, y_e)
        return self.state

    def _bet(self, gain_rg: FloatArray) -> None:
        self._help.add(gain_rg)
        self._harm.add(-gain_rg)
        if self.state != "closed" and self._log_harm >= -np.log(CLOSING_RISK):
            self.state, self._help = "closed", _Bets(-_LEAST_R)
        elif self.state != "open" and self._log_help >= -np.log(OPENING_RISK):
            if self.state == "closed":
                self._harm = _Bets(_MOST_R)
            self.state = "open"

    @property
    def _log_help(self) -> float:
        return float(self._help.log_capital_r.min())

    @property
    def _log_harm(self) -> float:
        return float(np.logaddexp.reduce(self._harm.log_capital_r) - np.log(2.0))

    def verdict(self) -> GateVerdict:
        """What there is to tell."""
        evidence = self._log_help, self._log_harm
        if not self._recent:
            return GateVerdict(self.state, 0, None, None, *evidence, _NOTHING)
        losses_2e = np.hstack(self._recent)
        n, (log_loss, length_loss) = losses_2e.shape[1], losses_2e.mean(axis=1).tolist()
        reason = _reason(self.state, n, log_loss, length_loss, *evidence)
        return GateVerdict(self.state, n, log_loss, length_loss, *evidence, reason)


class _Bets:
    """Capital bet on positive gains, against each rival; `worst_r` is how low a gain can be."""

    def __init__(self, worst_r: FloatArray) -> None:
        self._stake_rk = _FRACTIONS_K / worst_r[:, None]
        self.log_rk = np.full(self._stake_rk.shape, np.log(_FIRST_SHARE))

    def add(self, gain_rg: FloatArray) -> None:
        growth_rk = np.log1p(self._stake_rk[:, :, None] * gain_rg[:, None, :]).sum(axis=2)
        self.log_rk = np.logaddexp(self.log_rk + growth_rk, np.log(_NIGHTLY_SHARE))

    @property
    def log_capital_r(self) -> FloatArray:
        return np.asarray(np.logaddexp.reduce(self.log_rk, axis=1) - np.log(len(_FRACTIONS_K)))


class _LengthRival:
    """A belief in the length effect, N(mean, 1 / precision), from the labels of earlier nights."""

    def __init__(self) -> None:
        self.mean, self.precision = 0.0, _LENGTH_PRECISION

    def p(self, length_e: FloatArray) -> FloatArray:
        return sigmoid(self.mean * length_e)

    def learn(self, length_e: FloatArray, preferred_e: FloatArray) -> None:
        labels = Labels(length_e[:, None], preferred_e, np.ones(len(length_e)))
        known_e = self.mean * length_e
        mode = most_probable(labels, np.array([self.precision]), np.zeros(1), known_e)
        self.mean += float(mode.theta_k[0])
        self.precision = float(mode.hessian_kk[0, 0])


def _in_order(night: ExplorationNight) -> tuple[FloatArray, FloatArray, FloatArray, IndexArray]:
    """Probability, length, preference and prompt of each label, in an order that they set."""
    length_e, y_e = (np.asarray(v, np.float64) for v in (night.length_e, night.preferred_e))
    p_e = np.full(len(y_e), 0.5) if night.p_e is None else np.asarray(night.p_e, np.float64)
    if night.prompt_e is None:
        order_e = np.lexsort((p_e, length_e, y_e))
        return p_e[order_e], length_e[order_e], y_e[order_e], np.arange(len(y_e))
    prompt_e = np.unique(np.asarray(night.prompt_e), return_inverse=True)[1]
    order_e = np.lexsort((p_e, length_e, y_e, prompt_e))
    return p_e[order_e], length_e[order_e], y_e[order_e], prompt_e[order_e]


_NOTHING = (
    "The gate is undecided: no exploration label has judged a model yet. Go on labelling: those of "
    "the next batch that a model chooses will."
)


def _reason(
    state: GateState, n: int, log_loss: float, length: float, log_help: float, log_harm: float
) -> str:
    figures = (
        f"on the last {n:,} exploration labels the model's log-loss is {log_loss:.3f}, against "
        f"{np.log(2.0):.3f} for a coin and {length:.3f} for response length alone"
    )
    helps = f"evidence {_times(log_help)}, {1 / OPENING_RISK:.0f} opens the gate"
    harms = f"evidence {_times(log_harm)}, {1 / CLOSING_RISK:.0f} closes the gate"
    if state == "open":
        return (
            f"The gate is open: {figures}, and it was shown to predict better than both. There is "
            f"nothing to do: the model chooses until it is shown to harm ({harms})."
        )
    if state == "closed":
        return (
            f"The gate is closed: {figures}, and it was shown to predict worse than the better of "
            "them. Go on labelling: pairs are chosen by diversity, half of them drawn uniformly, "
            f"until later models are shown to help ({helps}); look at agreement and gold meanwhile."
        )
    return (
        f"The gate is undecided: {figures}, which shows neither that it helps ({helps}) nor that "
        f"it harms ({harms}). Go on labelling: the model chooses, and more pairs are drawn "
        "uniformly while labels are few."
    )


def _times(log_evidence: float) -> str:
    """Evidence as a number for a person: of capital 1, what there is now."""
    return f"{np.exp(log_evidence):.2g}" if log_evidence < np.log(1000.0) else "over 1,000"
