"""What a night would have been with people alone: its votes, foreseen with judges and without.

The model that chose a night knew what people and judges had said before it. Beside it stands the
fit of people's votes alone (`winnow.reward.judges.Teachers.alone`), of the same nights. Both say of
the night's pairs, before anybody voted, whom people would prefer.

Always holds: neither model saw a vote that it is measured by; only votes for a side count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from winnow.arrays import FloatArray
from winnow.reward import OVERALL, RewardModel
from winnow.reward.posterior import Head
from winnow.select.gains import preference_by_mixture
from winnow.stages.select.training import numbers, vectors_of


def foreseen(model: RewardModel, rows: pa.Table) -> dict[str, Any]:
    """How well the model that chose a night foresaw its votes, with judges (`heard`) and `alone`.

    `right` is the share of `votes` for the side that was held to be the likelier one, `log_loss`
    their mean negative log-probability, nats. Empty where the model heard no judge, or nobody voted
    for a side. `rows` are the night's training rows, in columns that the model reads.
    """
    heads = [n if n in model.heads else OVERALL for n in rows["dimension"].to_pylist()]
    decided_e = np.abs(numbers(rows, "preference") - 0.5) > 0.25
    told_e = np.array([name in model.teachers for name in heads], np.bool_)
    own = np.flatnonzero(decided_e & told_e)
    if not len(own) or not any(each.joint.judges for each in model.teachers.values()):
        return {}
    some = rows.take(pa.array(own))
    first_ed, second_ed = (model.projection.apply(vectors_of(some, s)) for s in ("first", "second"))
    preferred_e = numbers(some, "preference") > 0.5
    p_2e, people_heads = np.zeros((2, len(own))), model.people_heads
    for name in sorted({heads[e] for e in own}):
        of_head = np.array([heads[e] == name for e in own])
        z_ed = first_ed[of_head] - second_ed[of_head]
        for k, head in enumerate((model.heads[name], people_heads[name])):
            p_2e[k, of_head] = _chances(head, z_ed)
    chance_2e = np.where(preferred_e, p_2e, 1.0 - p_2e)
    loss_2, right_2 = -np.log(chance_2e).mean(axis=1), (chance_2e > 0.5).mean(axis=1)
    return {
        "votes": len(own),
        **{
            name: {"right": float(right), "log_loss": float(loss)}
            for name, right, loss in zip(("heard", "alone"), right_2, loss_2, strict=True)
        },
    }


def _chances(head: Head, z_ed: FloatArray) -> FloatArray:
    """That the first is preferred, by differences of features; heads with judges are linear."""
    sd_e = np.sqrt(((head.basis(z_ed) @ head.cov_qq) * z_ed).sum(axis=1))
    return preference_by_mixture(head.mean(z_ed), sd_e)
