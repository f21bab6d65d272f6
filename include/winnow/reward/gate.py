"""Whether the model may choose pairs: it must predict unseen labels better than two dull rivals.

The rivals are a coin (log-loss ln 2) and a logistic model of the length difference alone. The gate
is `open` when the model beats both by more than two standard errors of the paired differences per
label, `closed` when it does not, and `undecided` below `MIN_LABELS` labels or `MIN_PROMPTS`
prompts. Only labels of the exploration arm may be passed, with the probabilities stated before they
came.

The length rival is fitted to the very labels that it is judged on. Its one effect flatters it by
1/(2n) nats, which errs on the safe side; leaving out what it predicts handicaps it as much, and
then every fourth model that knew length alone opened the gate at 400 labels.

Always holds: the order of labels does not matter, and a model of length alone does not open the
gate. Standard errors treat the labels of one prompt as one cluster.

Shapes: e labels, g prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Corrupt
from winnow.reward.calibration import label_losses
from winnow.reward.logistic import Labels, most_probable, sigmoid

GateState = Literal["open", "closed", "undecided"]

MIN_LABELS = 100
"""A useful model (log-loss 0.6) lies about 2.5 standard errors below ln 2 at this number."""

MIN_PROMPTS = 10

_ERRORS_TO_BEAT = 2.0

_LENGTH_PRECISION = 1e-3
"""Prior precision of the length effect: next to none, enough for labels that length explains."""


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The state of the gate and what it rests on; figures (nats) are None while undecided.

    Attributes:
        n: Labels judged.
        log_loss: Of the model.
        length_log_loss: Of the length rival.
        margin_ln2: How far the model beats ln 2 beyond two standard errors; below 0: it does not.
        margin_length: The same for the length rival.
        reason: A sentence for a person.
    """

    state: GateState
    n: int
    log_loss: float | None
    length_log_loss: float | None
    margin_ln2: float | None
    margin_length: float | None
    reason: str


def exploration_gate(
    p_e: ArrayLike,
    length_e: ArrayLike,
    preferred_e: ArrayLike,
    prompt_e: Sequence[str] | None = None,
) -> GateVerdict:
    """Judge the model on labels that it neither saw nor chose.

    `p_e` is the stated chance that the first response is preferred, `length_e` its length less that
    of the second (1 is a large difference), `preferred_e` 1, 0 or 0.5 for a tie; each label is its
    own prompt where `prompt_e` is absent.

    Raises:
        Corrupt: A probability or preference is outside [0, 1], or a length is not finite.
    """
    losses_e = label_losses(p_e, preferred_e)
    y, length = (np.asarray(values, dtype=np.float64) for values in (preferred_e, length_e))
    if not np.isfinite(length).all():
        raise Corrupt(f"Among {len(length)} length differences are some that are not finite.")
    n = len(losses_e)
    prompts = np.asarray(range(n) if prompt_e is None else prompt_e)
    distinct_g, prompt_index_e = np.unique(prompts, return_inverse=True)
    if n < MIN_LABELS or len(distinct_g) < MIN_PROMPTS:
        reason = _too_few(n, len(distinct_g))
        return GateVerdict("undecided", n, None, None, None, None, reason)
    rival_e = label_losses(_length_only(length, y), y)
    margin_ln2 = _margin(np.log(2.0) - losses_e, prompt_index_e)
    margin_length = _margin(rival_e - losses_e, prompt_index_e)
    state: GateState = "open" if min(margin_ln2, margin_length) > 0 else "closed"
    figures = float(losses_e.mean()), float(rival_e.mean()), margin_ln2, margin_length
    return GateVerdict(state, n, *figures, _reason(n, *figures))


def _length_only(length_e: FloatArray, preferred_e: FloatArray) -> FloatArray:
    """P(first preferred) by length alone, fitted to these labels."""
    labels = Labels(length_e[:, None], preferred_e, np.ones(len(length_e)))
    mode = most_probable(labels, np.array([_LENGTH_PRECISION]), np.zeros(1))
    return sigmoid(length_e * mode.theta_k[0])


def _margin(gain_e: FloatArray, prompt_e: IndexArray) -> float:
    """Mean gain less two of its standard errors, with prompts as clusters."""
    mean = float(gain_e.mean())
    sum_g = np.bincount(prompt_e, weights=gain_e - mean)
    variance = float(sum_g @ sum_g) * len(sum_g) / (len(sum_g) - 1) / len(gain_e) ** 2
    return mean - _ERRORS_TO_BEAT * float(np.sqrt(variance))


def _too_few(n: int, n_prompts: int) -> str:
    return (
        f"The gate is undecided: {n} exploration labels on {n_prompts} prompts cannot tell a "
        f"useful model from a useless one; {MIN_LABELS} labels on {MIN_PROMPTS} prompts can."
    )


def _reason(
    n: int, log_loss: float, length_log_loss: float, margin_ln2: float, margin_length: float
) -> str:
    figures = (
        f"on {n} exploration labels the model's log-loss is {log_loss:.3f}, against "
        f"{np.log(2.0):.3f} for a coin and {length_log_loss:.3f} for response length alone"
    )
    rivals = {"the coin": margin_ln2, "length": margin_length}
    unbeaten = [name for name, margin in rivals.items() if not margin > 0]
    if not unbeaten:
        return f"The gate is open: {figures}, and it beats both by more than two standard errors."
    return (
        f"The gate is closed: {figures}, and it does not beat {' or '.join(unbeaten)} by two "
        "standard errors, so choose by diversity until it does."
    )
