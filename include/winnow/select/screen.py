"""Responses that a pair should not hold, found before any pair is scored.

Near-duplicates are kept, but as one cluster: a label between two of them teaches nothing. Blocked
are empty responses, texts that say the same to many prompts with whatever inserted, and models that
answer whatever is asked at one length: none of these answers a prompt, and what games a judge would
otherwise be bought again and again.

Always holds: the order of responses changes nothing but the order of the answer.

Shapes: n responses of one prompt, r responses of many prompts, c columns of an embedding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from winnow.arrays import BoolArray, IndexArray, unit_rows
from winnow.characters import bare_forms, plain_texts
from winnow.select.same_to_all import same_to_all
from winnow.select.wording import agreeing, may_agree

_NUMBER = re.compile(r"\d+")

NEAR_DUPLICATE = 0.97
"""Cosine of two embeddings from which their texts may say the same thing."""

_REPEATED_SHARE = 0.05
_REPEATED_PROMPTS = 3
_REPEATED_CHARS = 200
"""A text this long, word by word the answer to more prompts than these two limits, answers none,
whatever numbers it holds. Shorter ones may be right for many prompts."""

_ONE_LENGTH_SHARE = 0.9
_ONE_LENGTH_PROMPTS = 20
_ONE_LENGTH_ELSEWHERE = 0.5
"""A model that gives this share of its responses at one length, over this many prompts, does not
look at the prompt; unless half of the other models' responses have one length too, as where the
question is a multiple choice."""


def near_duplicates(
    embedding_nc: ArrayLike, cosine: float = NEAR_DUPLICATE, text_n: Sequence[str] | None = None
) -> IndexArray:
    """Cluster number (n,) of each response; chains of near-duplicates are one cluster.

    From `cosine` on, two embeddings may be of texts that say the same; all zeros are like nothing.
    Where the texts are given, those of one cluster agree in all that
    `winnow.select.wording.substance` reads: an embedding hardly sees a digit, a sign, a "not" or a
    line of code in a long text.
    """
    unit_nc = unit_rows(embedding_nc)
    close_nn = unit_nc @ unit_nc.T >= cosine
    if text_n is not None:
        close_nn = close_nn & _same_wording(close_nn, text_n)
        # Two writings of one text may have embeddings that differ.
        first_of: dict[str, int] = {}
        for number, text in enumerate(bare_forms(text_n)):
            first = first_of.setdefault(text.strip(), number)
            close_nn[first, number] = True
    np.fill_diagonal(close_nn, True)
    if not _in_pairs(close_nn):
        return np.arange(len(close_nn), dtype=np.intp)
    return np.asarray(connected_components(csr_array(close_nn), directed=False)[1], dtype=np.intp)


def _same_wording(close_nn: BoolArray, text_n: Sequence[str]) -> BoolArray:
    """Mask (n, n) of the pairs, among the close ones, whose words agree too."""
    same_nn = np.eye(len(text_n), dtype=np.bool_)
    close = _in_pairs(close_nn)
    if close:
        # Reading for substance is dear: only what shares most of its words is read so.
        close_nn[np.ix_(close, close)] &= may_agree([text_n[k] for k in close])
    index = _in_pairs(close_nn)
    if index:
        same_nn[np.ix_(index, index)] = agreeing([text_n[k] for k in index])
    return same_nn


def _in_pairs(close_nn: BoolArray) -> list[int]:
    """What is close to more than itself."""
    return list(np.flatnonzero(close_nn.sum(axis=1) > 1).tolist())


def answers_nothing(
    prompt_r: Sequence[str],
    text_r: Sequence[str],
    model_r: Sequence[str] | None = None,
    drawn_r: Sequence[int] | None = None,
    asked_r: Sequence[str] | None = None,
) -> BoolArray:
    """Mask (r,) of the responses that answer no prompt, given as to `same_to_all`.

    `model_r`: which model wrote each; None: unknown, so that no model is judged as a whole.
    """
    seen_r = [text.strip() for text in plain_texts(text_r)]
    blocked_r = np.array([not seen for seen in seen_r], dtype=np.bool_)
    blocked_r[_repeated(prompt_r, seen_r)] = True
    blocked_r |= same_to_all(prompt_r, text_r, drawn_r, asked_r)
    if model_r is not None:
        deaf = _of_one_length(prompt_r, text_r, model_r)
        blocked_r |= np.array([model in deaf for model in model_r], dtype=np.bool_)
    return blocked_r


def _repeated(prompt_r: Sequence[str], seen_r: Sequence[str]) -> list[int]:
    """Long texts that are the answer to many prompts, but for their numbers."""
    limit = max(_REPEATED_SHARE * len(set(prompt_r)), _REPEATED_PROMPTS - 1)
    long = [r for r, seen in enumerate(seen_r) if len(seen) >= _REPEATED_CHARS]
    # What is left without numbers is soon told, and hardly any text shares it.
    rest_of = {r: hash(_without_numbers(seen_r[r])) for r in long}
    times = Counter(rest_of.values())
    shape_of = {r: _NUMBER.sub("0", seen_r[r]) for r in long if times[rest_of[r]] > limit}
    prompts_of: dict[str, set[str]] = {}
    for r, shape in shape_of.items():
        if len(shape) >= _REPEATED_CHARS:
            prompts_of.setdefault(shape, set()).add(prompt_r[r])
    return [r for r, shape in shape_of.items() if len(prompts_of.get(shape, ())) > limit]


def _without_numbers(text: str) -> bytes:
    text = text if text.isascii() else _NUMBER.sub("", text)
    return text.encode().translate(None, b"0123456789")


def _of_one_length(
    prompt_r: Sequence[str], text_r: Sequence[str], model_r: Sequence[str]
) -> set[str]:
    """Models whose responses have one length whatever is asked, where those of others do not."""
    lengths_of: dict[str, Counter[int]] = {}
    prompts_of: dict[str, set[str]] = {}
    for prompt, text, model in zip(prompt_r, text_r, model_r, strict=True):
        lengths_of.setdefault(model, Counter())[len(text)] += 1
        prompts_of.setdefault(model, set()).add(prompt)
    often_first = Counter(map(len, text_r)).most_common()
    deaf = set()
    for model, lengths in lengths_of.items():
        n_own, n_elsewhere = lengths.total(), len(text_r) - lengths.total()
        if (
            len(prompts_of[model]) >= _ONE_LENGTH_PROMPTS
            and max(lengths.values()) / n_own >= _ONE_LENGTH_SHARE
            and n_elsewhere
            and _most_elsewhere(often_first, lengths) / n_elsewhere < _ONE_LENGTH_ELSEWHERE
        ):
            deaf.add(model)
    return deaf


def _most_elsewhere(often_first: Sequence[tuple[int, int]], own: Counter[int]) -> int:
    """How many of the others' responses have their most frequent length.

    Read are no more of all lengths, the most frequent first, than the model has, and one.
    """
    most = 0
    for length, times in often_first:
        if times <= most:
            break
        most = max(most, times - own[length])
    return most
