"""Responses that a pair should not hold, found before any pair is scored.

Near-duplicates are kept, but as one cluster: a label between two of them teaches nothing. Blocked
are empty responses, long texts that answer many prompts word by word, and models that answer
whatever is asked at one length: none of these answers a prompt, and what games a judge would
otherwise be bought again and again.

Always holds: the order of responses changes nothing but the order of the answer.

Shapes: n responses of one prompt, r responses of many prompts, c columns of an embedding.
"""

from __future__ import annotations

from collections import Counter
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

_ONE_LENGTH_SHARE = 0.9
_ONE_LENGTH_PROMPTS = 20
_ONE_LENGTH_ELSEWHERE = 0.5
"""A model that gives this share of its responses at one length, over this many prompts, does not
look at the prompt; unless half of the other models' responses have one length too, as where the
question is a multiple choice."""


def near_duplicates(embedding_nc: ArrayLike, cosine: float = NEAR_DUPLICATE) -> NDArray[np.intp]:
    """Cluster number (n,) of each response; chains of near-duplicates are one cluster.

    A response whose embedding is all zeros is alone.
    """
    vectors_nc = np.asarray(embedding_nc, dtype=np.float64)
    norm_n = np.linalg.norm(vectors_nc, axis=1, keepdims=True)
    unit_nc = np.divide(vectors_nc, norm_n, out=np.zeros_like(vectors_nc), where=norm_n > 0)
    close_nn = csr_array(unit_nc @ unit_nc.T >= cosine)
    return np.asarray(connected_components(close_nn, directed=False)[1], dtype=np.intp)


def answers_nothing(
    prompt_r: Sequence[str], text_r: Sequence[str], model_r: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Mask (r,) of the responses that answer no prompt.

    Args:
        prompt_r: Id of each response's prompt.
        text_r: What it says.
        model_r: Which model wrote it; None: unknown, so that no model is judged as a whole.
    """
    prompts_of: dict[str, set[str]] = {}
    for prompt, text in zip(prompt_r, text_r, strict=True):
        prompts_of.setdefault(text, set()).add(prompt)
    limit = max(_REPEATED_SHARE * len(set(prompt_r)), _REPEATED_PROMPTS - 1)
    repeated = {
        text
        for text, prompts in prompts_of.items()
        if len(prompts) > limit and len(text) >= _REPEATED_CHARS
    }
    blocked_r = [not text.strip() or text in repeated for text in text_r]
    if model_r is not None:
        deaf = _of_one_length(prompt_r, text_r, model_r)
        blocked_r = [b or model in deaf for b, model in zip(blocked_r, model_r, strict=True)]
    return np.array(blocked_r, dtype=np.bool_)


def _of_one_length(
    prompt_r: Sequence[str], text_r: Sequence[str], model_r: Sequence[str]
) -> set[str]:
    """Models whose responses have one length whatever is asked, where those of others do not."""
    lengths_of: dict[str, Counter[int]] = {}
    prompts_of: dict[str, set[str]] = {}
    for prompt, text, model in zip(prompt_r, text_r, model_r, strict=True):
        lengths_of.setdefault(model, Counter())[len(text)] += 1
        prompts_of.setdefault(model, set()).add(prompt)
    every = sum(lengths_of.values(), Counter[int]())
    found = set()
    for model, lengths in lengths_of.items():
        elsewhere = every - lengths
        if (
            len(prompts_of[model]) >= _ONE_LENGTH_PROMPTS
            and _largest_share(lengths) >= _ONE_LENGTH_SHARE
            and _largest_share(elsewhere) < _ONE_LENGTH_ELSEWHERE
        ):
            found.add(model)
    return found


def _largest_share(lengths: Counter[int]) -> float:
    """Share of the most frequent length; 1 where there is none, which is like nothing else."""
    return max(lengths.values()) / lengths.total() if lengths else 1.0
