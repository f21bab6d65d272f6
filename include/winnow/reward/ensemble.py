"""A head that is not linear in the features: K small networks whose disagreement is the doubt.

Each member scores a response by s·(aᵀx + vᵀ tanh(Wx + b)), where x holds the features in units of
their mean length. The rewards of a pool are N(m, B V Bᵀ): m the members' mean, B (n, q) their
deviations from it, one column a member, and V = I/(K - 1) until expected labels shrink it.

Always holds: the same labels and seed give the same members in whatever order labels arrive and
whichever response of a pair is named first.

Shapes: n responses, d features, e labels, q = K members, h hidden units.

Source: docs/choosing_pairs.md, "An ensemble".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from winnow.arrays import FloatArray
from winnow.reward.posterior import Head


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble(Head):
    """Networks of equal shape, and how far their deviations are still believed.

    Attributes:
        linear_qd: Weights a, with the unit of x and the scale s folded in.
        hidden_qdh: Weights W, with the unit of x folded in.
        bias_qh: Biases b.
        output_qh: Weights v, with the scale s folded in.
        cov_qq: Covariance V of the weights of the members' deviations.
        side: Mean fitted advantage of the response shown first, in logits; no part of the reward.
        length: Mean fitted advantage per unit of length difference; no part of the reward.
    """

    kind: ClassVar[str] = "ensemble"

    linear_qd: FloatArray
    hidden_qdh: FloatArray
    bias_qh: FloatArray
    output_qh: FloatArray
    cov_qq: FloatArray
    n_labels: int
    side: float = 0.0
    length: float = 0.0
    temperature: float = 1.0

    def member_rewards(self, features_nd: FloatArray) -> FloatArray:
        """What each member says (q, n), in logits."""
        hidden_qnh = np.tanh(features_nd @ self.hidden_qdh + self.bias_qh[:, None, :])
        bent_qn = (hidden_qnh @ self.output_qh[:, :, None])[:, :, 0]
        return np.asarray(self.linear_qd @ features_nd.T + bent_qn)

    def mean(self, features_nd: FloatArray) -> FloatArray:
        return np.asarray(self.member_rewards(features_nd).mean(axis=0))

    def basis(self, features_nd: FloatArray) -> FloatArray:
        """The members' deviations from their mean (n, q)."""
        rewards_qn = self.member_rewards(features_nd)
        return np.asarray((rewards_qn - rewards_qn.mean(axis=0)).T)

    def with_cov(self, cov_qq: FloatArray) -> Ensemble:
        return replace(self, cov_qq=cov_qq)

    def _divided(self, temperature: float) -> dict[str, Any]:
        names = ("linear_qd", "output_qh", "side", "length")
        return {name: getattr(self, name) / temperature for name in names}

    def arrays(self) -> dict[str, FloatArray]:
        scalars = [self.n_labels, self.side, self.length, self.temperature]
        named = {name: getattr(self, field) for name, field in _FIELDS.items()}
        return {**named, "scalars": np.array(scalars)}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, FloatArray]) -> Ensemble:
        """Read what `arrays` gave.

        Raises:
            KeyError, ValueError: An array is missing or not what it should be.
        """
        n_labels, side, length, temperature = stored["scalars"].tolist()
        named = {field: stored[name] for name, field in _FIELDS.items()}
        return cls(
            **named, n_labels=int(n_labels), side=side, length=length, temperature=temperature
        )


_FIELDS = {
    "bias": "bias_qh",
    "cov": "cov_qq",
    "hidden": "hidden_qdh",
    "linear": "linear_qd",
    "output": "output_qh",
}
"""Names of the arrays in a stored model."""
