"""Last hidden states of a network over token ids, in batches of like length.

The rounding of a row depends on its batch (differences around 2e-7), so equal calls give equal
bytes, while a text alone and the same text among others may differ in the last bit.

Shapes: n rows, t tokens, h hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[list[int], int]
"""Token ids that are read at once, and from which of them on states count."""

_BATCH, _BATCH_TOKENS = 32, 1 << 16
"""Rows and tokens of a batch, at most; of one longer row it is that row."""

_ROW_STEP, _TOKEN_STEP = 8, 32
"""Batches are padded to multiples of so many rows and tokens: libraries keep a plan, and memory,
for each shape that they have seen."""


def in_windows(
    question: list[int], answer: list[int], longest: int
) -> tuple[list[int], list[list[int]]]:
    """The part of a question that stands before each part of its answer, and these parts.

    Together they have `longest` tokens at most. Of a question that leaves less than half of them,
    the end is read; each token of the answer is in one part.
    """
    if len(question) + len(answer) > longest:
        question = question[-max(longest - len(answer), longest // 2) :]
    room = max(longest - len(question), 1)
    starts = range(0, max(len(answer), 1), room)
    return question, [answer[start : start + room] for start in starts]


def mean_states(network: Any, rows: Sequence[Window], *, unit: bool = True) -> NDArray[np.float32]:
    """Means (n, h) of the last hidden states from each row's position on, brought to length one."""
    states_nh = np.zeros((len(rows), network.config.hidden_size), np.float32)
    order = sorted(range(len(rows)), key=lambda k: (len(rows[k][0]), rows[k]))
    while order:
        longest = len(rows[order[min(_BATCH, len(order)) - 1]][0])
        n = max(min(_BATCH, _BATCH_TOKENS // max(longest, 1)), 1)
        batch, order = order[:n], order[n:]
        states_nh[batch] = _batch_states(network, [rows[k] for k in batch], unit)
    return states_nh


def _batch_states(network: Any, rows: Sequence[Window], unit: bool) -> NDArray[np.float32]:
    import torch

    n, t = _up(len(rows), _ROW_STEP), _up(max(len(ids) for ids, _ in rows), _TOKEN_STEP)
    ids_nt = torch.zeros((n, t), dtype=torch.long)
    read_nt, mean_nt = torch.zeros_like(ids_nt), torch.zeros((n, t, 1))
    read_nt[len(rows) :, 0], mean_nt[len(rows) :, 0] = 1, 1.0
    for k, (ids, first) in enumerate(rows):
        ids_nt[k, : len(ids)] = torch.tensor(ids)
        read_nt[k, : len(ids)] = 1
        mean_nt[k, min(first, len(ids) - 1) : len(ids)] = 1.0
    device = network.device
    with torch.inference_mode():
        hidden = network(input_ids=ids_nt.to(device), attention_mask=read_nt.to(device))
        states = hidden.last_hidden_state.float() * mean_nt.to(device)
        mean = states.sum(1) / mean_nt.to(device).sum(1)
        if unit:
            mean = torch.nn.functional.normalize(mean, dim=1)
        states_nh: NDArray[np.float32] = mean.cpu().numpy()
    return states_nh[: len(rows)]


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
