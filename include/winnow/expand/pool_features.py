"""What a response is within its pool: figures that only the other answers give a meaning to.

Each is the response's against all others to the prompt, so it tells what the embedding and the form
of one response cannot: whether it says what the others say and more.

They are worked out when a pool is read, from its texts and stored vectors, so that batches of a
release that knew fewer figures serve on.

Always holds: the order of the responses changes nothing, nor does the process (sums over sets of
words are exact), and every share lies in [0, 1] whatever the pool's size.

Shapes: n responses of one pool, w words of all, p words of each, h columns of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from winnow.arrays import FloatArray, unit_rows
from winnow.ids import content_id
from winnow.reward.blocks import Block, Blocks
from winnow.style import share
from winnow.words import vocabularies

POOL_FIGURES = ("recall", "coverage", "likeness")
"""Names of the figures, in the order of their columns."""

LOGPROB_FIGURES = ("mean_logprob", "logprob_rank")

_POOL_VERSION = "+pool-1"

_LEAST_LOGPROB = -30.0
"""Mean of a response's tokens, nats: below every real one. A server may state the least number of
its arithmetic for a chance of 0, beside which all other responses would look alike."""

Row = Mapping[str, Any]
"""A row of the `responses` table."""


def in_pool_blocks(models: Sequence[str]) -> Blocks:
    """Columns that `in_pool` gives where pools mix these models."""
    blocks = (Block("pool", len(POOL_FIGURES)), Block("logprob", len(LOGPROB_FIGURES)))
    return (*blocks, Block(f"model:{'|'.join(models)}", len(models))) if models[1:] else blocks


def in_pool_version(version: str, models: Sequence[str]) -> str:
    """Identity of stored vectors of `version` with the columns of `in_pool` behind them."""
    mixed = f"+models-{content_id('models', *models)[:12]}" if models[1:] else ""
    return f"{version}{_POOL_VERSION}{mixed}"


def stored_version(version: str) -> str:
    """The version of the stored vectors in one of `in_pool_version`."""
    return version.partition(_POOL_VERSION)[0]


def in_pool(rows: Sequence[Row], embedding_nh: FloatArray, models: Sequence[str]) -> FloatArray:
    """Figures of the distinct responses to one prompt, of the policy and of who wrote them.

    Returns:
        (n, columns of `in_pool_blocks`).
    """
    parts = [
        pool_figures([row["message"] for row in rows], embedding_nh),
        logprob_figures([row["logprob"] for row in rows], [row["n_tokens"] for row in rows]),
    ]
    if models[1:]:
        wrote = np.array([row["model"] for row in rows], dtype=object)
        parts.append((wrote[:, None] == np.array(models, dtype=object)).astype(np.float64))
    return np.hstack(parts)


def pool_figures(texts: Sequence[str], embedding_nh: FloatArray) -> FloatArray:
    """Figures (n, 3) of the distinct responses to one prompt, in the order of `POOL_FIGURES`.

    `recall`: mean share of another response's words that this one has too. `coverage`: share of
    the words that two or more responses have, a word counting ln((n + 1) / responses that have
    it). `likeness`: mean cosine with the others.
    """
    n = len(texts)
    word_p, size_n = vocabularies(texts)
    n_texts_w = np.bincount(word_p)
    weight_of = np.array([0.0, 0.0, *(math.log((n + 1) / count) for count in range(2, n + 1))])
    weight_w = weight_of[n_texts_w]
    # A word's share of each vocabulary that has it, summed: what knowing it recalls of them all.
    recalled_w = np.bincount(word_p, np.repeat(1.0 / np.maximum(size_n, 1), size_n))
    total = math.fsum(weight_w.tolist())
    # In sets of words, those of two texts or more.
    common_p = n_texts_w[word_p] > 1
    end_n = np.cumsum(np.bincount(np.repeat(np.arange(n), size_n)[common_p], minlength=n)).tolist()
    recalled, weight = (each_w[word_p[common_p]].tolist() for each_w in (recalled_w, weight_w))
    figures = np.zeros((n, len(POOL_FIGURES)))
    for k, (begin, end) in enumerate(pairwise([0, *end_n])):
        # Its own share of what it recalls of itself is taken off.
        of_others = math.fsum(recalled[begin:end]) - share(end - begin, int(size_n[k]))
        figures[k, 0] = of_others / max(n - 1, 1)
        figures[k, 1] = share(math.fsum(weight[begin:end]), total)
    figures[:, 2] = _likeness(embedding_nh)
    return figures


def logprob_figures(logprobs: Sequence[float | None], n_tokens: Sequence[int]) -> FloatArray:
    """Mean log-probability of a response's tokens, and its rank in the pool: (n, 2).

    A response whose engine told none, or no number, has the mean of the others, and so the middle
    rank.
    """
    mean_n = np.array(
        [
            np.nan if total is None else total / max(count, 1)
            for total, count in zip(logprobs, n_tokens, strict=True)
        ],
        np.float64,
    )
    mean_n[mean_n == np.inf] = np.nan
    mean_n = mean_n.clip(_LEAST_LOGPROB, 0.0)
    unknown_n = np.isnan(mean_n)
    if unknown_n.all():
        return np.zeros((len(mean_n), len(LOGPROB_FIGURES)))
    mean_n[unknown_n] = mean_n[~unknown_n].mean()
    below_nn = np.sign(mean_n[:, None] - mean_n[None, :])
    return np.column_stack([mean_n, 0.5 + 0.5 * below_nn.sum(axis=1) / max(len(mean_n) - 1, 1)])


def _likeness(embedding_nh: FloatArray) -> FloatArray:
    """Mean cosine (n,) of each response with the others."""
    unit_nh = unit_rows(embedding_nh)
    others_n = unit_nh @ unit_nh.sum(axis=0) - (unit_nh * unit_nh).sum(axis=1)
    return np.asarray(others_n / max(len(unit_nh) - 1, 1))
