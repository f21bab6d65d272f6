"""Features of responses from their text alone, for pools that come without embeddings.

Latent semantic analysis: counts of words and of neighbouring pairs of words, hashed into 2^16
buckets, weighted by TF-IDF, rows scaled to length one, reduced by a truncated SVD, which is fitted
on a sample where there are more than `MAX_FITTED` texts. The figures of style follow behind.
Characters of scripts written without spaces are words of their own; a text without any word, such
as one of emoji, is read by its characters.

Always holds: equal lists of texts give equal bytes in every process of one machine; another
machine's BLAS may round the last bits differently. The order of the texts changes a row by rounding
only. A text without a visible character has zeros for components.

Shapes: r responses, b hash buckets, c components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from winnow.arrays import FloatArray, IndexArray, unit_rows
from winnow.errors import Fatal
from winnow.ids import content_id
from winnow.style import style_figures
from winnow.text import WORD

N_BUCKETS = 1 << 16

MAX_FITTED = 8_192
"""Most texts that the components are fitted on; all texts get coordinates in them."""

_MIXER = np.uint32(2654435761)
"""Knuth's multiplier, 2^32 / golden ratio: makes (a, b) and (b, a) different pairs of words."""

_ROUNDING = 1e-6
"""A singular value below this share of the largest one is rounding, not text."""


def text_features(
    prompts_r: Sequence[str], responses_r: Sequence[str], n_components: int = 64
) -> NDArray[np.float32]:
    """Components of the text, largest first, then the figures of style: float32 (r, c + style).

    Fewer texts or words than components leave the last components 0. The prompts serve the figures
    of style alone.

    Raises:
        Fatal: `n_components` is below one, or prompts and responses differ in number.
    """
    if n_components < 1 or len(prompts_r) != len(responses_r):
        raise Fatal(
            f"Text features need a prompt per response and at least one component; got "
            f"{len(prompts_r)} prompts, {len(responses_r)} responses, {n_components} components."
        )
    style = [style_figures(p, r) for p, r in zip(prompts_r, responses_r, strict=True)]
    n_style = len(style_figures("", ""))
    style_rs = np.array(style, np.float32).reshape(len(style), n_style)
    weights_rb = _tf_idf(_counts(responses_r))
    components_rc = _components(weights_rb, _fitted(responses_r), n_components)
    return np.hstack([components_rc.astype(np.float32), style_rs])


def embedded_words(prompts: Sequence[Any], texts_r: Sequence[str]) -> NDArray[np.float32]:
    """Unit rows (r, 256) by the words and pairs of words of each text alone; prompts are not read.

    1 + ln count of each bucket, projected on random signs, which nearly keep the cosine of two
    texts (Achlioptas 2003): nothing is fitted, so that a text has the same row every night.
    """
    counts_rb = _counts(texts_r)
    used = np.unique(counts_rb.indices)
    weights = (1 + np.log(counts_rb.data), np.searchsorted(used, counts_rb.indices))
    matrix = csr_matrix((*weights, counts_rb.indptr), shape=(len(texts_r), len(used)))
    return unit_rows(matrix @ _signs(used)).astype(np.float32)


def _signs(buckets_u: NDArray[np.int32]) -> NDArray[np.float32]:
    """A row of signs for each bucket, (u, 256): the bits of SplitMix64 of its number."""
    mixed_uw = (buckets_u.astype(np.int64)[:, None] * 4 + np.arange(1, 5)).astype(np.uint64)
    mixed_uw *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed_uw ^= mixed_uw >> np.uint64(shift)
        mixed_uw *= np.uint64(factor)
    bits_u = np.unpackbits(mixed_uw.astype("<u8").view(np.uint8), axis=1)
    return bits_u.astype(np.float32) * 2 - 1


def _counts(texts_r: Sequence[str]) -> csr_matrix:
    """How often each bucket's words and pairs of words occur: (r, b)."""
    hash_of: dict[str, int] = {}
    rows = [np.unique(_buckets(text, hash_of), return_counts=True) for text in texts_r]
    starts_r = np.cumsum([0] + [len(buckets) for buckets, _ in rows])
    nothing = [np.zeros(0, np.int32)]
    buckets_x = np.concatenate(nothing + [buckets for buckets, _ in rows])
    counts_x = np.concatenate(nothing + [counts for _, counts in rows]).astype(np.float64)
    return csr_matrix((counts_x, buckets_x, starts_r), shape=(len(texts_r), N_BUCKETS))


def _buckets(text: str, hash_of: dict[str, int]) -> NDArray[np.int32]:
    """Buckets of a text's words and neighbouring pairs; `hash_of` remembers words seen before."""
    lower = text.lower()
    words = WORD.findall(lower) or "".join(lower.split())
    hashes = [
        hash_of.get(word) or hash_of.setdefault(word, crc32(word.encode("utf-8", "replace")))
        for word in words
    ]
    words_w = np.array(hashes, np.uint32)
    pairs_w = words_w[:-1] * _MIXER + words_w[1:]
    # The high bits of a product are the well-mixed ones.
    mixed_w = np.concatenate([words_w, pairs_w]) * _MIXER
    return (mixed_w >> np.uint32(16)).astype(np.int32)


def _tf_idf(counts_rb: csr_matrix) -> csr_matrix:
    """(1 + ln count) · (1 + ln((1 + r) / (1 + texts that have it))), rows of length one or zero.

    Buckets that no text has are left out.
    """
    n_texts_b = np.bincount(counts_rb.indices, minlength=N_BUCKETS)
    idf_b = 1 + np.log((1 + counts_rb.shape[0]) / (1 + n_texts_b))
    row_x = np.repeat(np.arange(counts_rb.shape[0]), np.diff(counts_rb.indptr))
    weight_x = (1 + np.log(counts_rb.data)) * idf_b[counts_rb.indices]
    length_r = np.sqrt(np.bincount(row_x, weight_x**2, minlength=counts_rb.shape[0]))
    used_b = np.cumsum(n_texts_b > 0) - 1
    matrix = (weight_x / length_r[row_x], used_b[counts_rb.indices], counts_rb.indptr)
    return csr_matrix(matrix, shape=(counts_rb.shape[0], int((n_texts_b > 0).sum())))


def _fitted(texts_r: Sequence[str]) -> IndexArray:
    """Texts to fit on: drawn by content, so the order of the texts plays no part."""
    if len(texts_r) <= MAX_FITTED:
        return np.arange(len(texts_r))
    return np.argsort([content_id("fitted", text) for text in texts_r], kind="stable")[:MAX_FITTED]


def _components(weights_rb: csr_matrix, fitted: IndexArray, n_components: int) -> FloatArray:
    """Coordinates of the rows along the largest singular vectors of the fitted ones: (r, c)."""
    components_rc = np.zeros((weights_rb.shape[0], n_components))
    if weights_rb[fitted].nnz:
        with threadpool_limits(limits=1, user_api="blas"):
            vectors_kb = _right_vectors(weights_rb[fitted], n_components)
            components_rc[:, : len(vectors_kb)] = weights_rb @ vectors_kb.T
    return components_rc


def _right_vectors(weights_rb: csr_matrix, n_components: int) -> FloatArray:
    """Right singular vectors (k, b) of the k ≤ c singular values that are not rounding."""
    if min(weights_rb.shape) <= n_components + 1:
        _, size_k, vectors_kb = np.linalg.svd(weights_rb.toarray(), full_matrices=False)
    else:
        _, size_k, vectors_kb = svds(weights_rb, n_components, rng=np.random.default_rng(0))
    largest_first = np.argsort(-size_k, kind="stable")[:n_components]
    kept = largest_first[size_k[largest_first] > _ROUNDING * size_k.max()]
    vectors_kb = vectors_kb[kept]
    # A singular vector's sign is the solver's whim; its largest loading is made positive.
    largest_k = np.abs(vectors_kb).argmax(axis=1)
    signs_k = np.sign(vectors_kb[np.arange(len(kept)), largest_k])
    return np.asarray(vectors_kb * signs_k[:, None])
