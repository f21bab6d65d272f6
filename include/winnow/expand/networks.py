"""Last hidden states of a network over token ids, in batches of like length.

The rounding of a row depends on its batch (differences around 2e-7), so equal calls give equal
bytes, while a text alone and the same text among others may differ in the last bit.

An exported reward model carries this file as it is (`winnow.expand.reward_folder`).

Shapes: n rows, t tokens, h hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[list[int], int]
"""Token ids that are read at once, and from which of them on states count."""

EMBEDDED_TOKENS = 256
"""What the sentence model was trained to read at once: a longer response is read in windows."""

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


def read_sentences(network: Any, tokenizer: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings (n, h) of `texts` by a sentence model: unit rows, means over all tokens."""
    if not texts:
        return np.zeros((0, network.config.hidden_size), np.float32)
    read = tokenizer(
        list(texts),
        truncation=True,
        max_length=EMBEDDED_TOKENS,
        return_overflowing_tokens=True,
    )
    windows = [(ids, 0) for ids in read["input_ids"]]
    return whole_states(network, windows, read["overflow_to_sample_mapping"])


def whole_states(
    network: Any, windows: Sequence[Window], text_of: Sequence[int]
) -> NDArray[np.float32]:
    """Unit rows (n, h) of n texts: of each the mean over its windows, weighted by their tokens.

    Args:
        network: What reads a window.
        windows: Those of all texts, text by text.
        text_of: Number of each window's text, rising from 0.

    First windows run by themselves, so that texts of one are read as if there were no longer ones.
    """
    is_first = np.diff(np.array(text_of), prepend=-1) > 0
    states_nh = mean_states(network, [windows[k] for k in np.flatnonzero(is_first).tolist()])
    later = np.flatnonzero(~is_first)
    if len(later):
        tokens_w = np.array([len(ids) - first for ids, first in windows], np.float32)
        owner = np.array(text_of)[later]
        sums_nh = states_nh * tokens_w[is_first, None]
        states_wh = mean_states(network, [windows[k] for k in later.tolist()])
        np.add.at(sums_nh, owner, states_wh * tokens_w[later, None])
        long = np.unique(owner)
        states_nh[long] = sums_nh[long] / np.linalg.norm(sums_nh[long], axis=1, keepdims=True)
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
