"""Responses that a pair should not hold, found before any pair is scored.

Near-duplicates are kept, but as one cluster: a label between two of them teaches nothing. Empty
responses, and long texts that answer many prompts word by word, are blocked: no such text answers a
prompt, and one that games a judge would otherwise be bought again and again.

Always holds: the order of responses changes nothing but the order of the answer.

Shapes: n responses of one prompt, r responses of many prompts, c columns of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

NEAR_DUPLICATE = 0.97
"""Cosine of two embeddings from which their texts say the same thing."""

_REPEATED_SHARE = 0.05
_REPEATED_PROMPTS = 3
_REPEATED_CHARS = 200
"""A text this long, word by word the answer to more prompts than these two limits, answers none.

Shorter ones are left alone: "Yes." and a refusal may well be right for many prompts."""


def near_duplicates(embedding_nc: ArrayLike, cosine: float = NEAR_DUPLICATE) -> NDArray[np.intp]:
    """Cluster number (n,) of each response; chains of near-duplicates are one cluster.

    A response whose embedding is all zeros is alone.
    """
    vectors_nc = np.asarray(embedding_nc, dtype=np.float64)
    norm_n = np.linalg.norm(vectors_nc, axis=1, keepdims=True)
    unit_nc = np.divide(vectors_nc, norm_n, out=np.zeros_like(vectors_nc), where=norm_n > 0)
    close_nn = csr_array(unit_nc @ unit_nc.T >= cosine)
    return np.asarray(connected_components(close_nn, directed=False)[1], dtype=np.intp)


def answers_nothing(prompt_r: Sequence[str], text_r: Sequence[str]) -> NDArray[np.bool_]:
    """Mask (r,) of empty responses, and of long texts that are the answer to many prompts."""
    prompts_of: dict[str, set[str]] = {}
    for prompt, text in zip(prompt_r, text_r, strict=True):
        prompts_of.setdefault(text, set()).add(prompt)
    limit = max(_REPEATED_SHARE * len(set(prompt_r)), _REPEATED_PROMPTS - 1)
    repeated = {
        text
        for text, prompts in prompts_of.items()
        if len(prompts) > limit and len(text) >= _REPEATED_CHARS
    }
    return np.array([not text.strip() or text in repeated for text in text_r], dtype=np.bool_)
