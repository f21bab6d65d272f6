"""Raw response features to the few numbers that the reward model sees.

A raw vector is made of blocks: an embedding, figures of form, the response's place in its pool,
scores, ... All columns are standardised; blocks of many columns (an embedding, hidden states) are
then reduced by PCA, the others pass through. The components of a block share one scale, so that an
average component weighs as much as a plain column while the components keep their relative sizes:
directions that PCA found small stay small.

Always holds: the same features give the same projection (each component's sign is fixed), at most
`MAX_FEATURES` columns come out, and a column that never varied is 0 ever after.

Shapes: n responses, c raw columns, m columns of a reduced block, k components, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.errors import Corrupt, Fatal
from winnow.reward.blocks import REDUCED, SCORE, Block, Blocks, spans, width

MAX_FEATURES = 256
"""Most columns a projection gives; the posterior's covariance is the square of this."""

_CONSTANT = 1e-8
"""A standard deviation below this share of the column's size is rounding, not variation."""

_EMPTY_COMPONENT = 1e-10
"""A component with less than this share of the first one's variance is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A fitted map from raw columns to features.

    Attributes:
        mean_c: Taken off each raw column.
        inverse_scale_c: What the difference is then multiplied by.
        raw_blocks: What the raw columns are.
        components: Loadings (m, k) of each reduced block, with the block's scale, in order.
    """

    mean_c: FloatArray
    inverse_scale_c: FloatArray
    raw_blocks: Blocks
    components: tuple[FloatArray, ...]

    @property
    def blocks(self) -> Blocks:
        """What the features are."""
        sizes = iter([int(loadings_mk.shape[1]) for loadings_mk in self.components])
        return tuple(
            Block(block.name, next(sizes) if block.kind in REDUCED else block.size)
            for block in self.raw_blocks
        )

    @property
    def n_features(self) -> int:
        """d, the number of columns that `apply` gives."""
        return width(self.blocks)

    @property
    def has_score(self) -> bool:
        """Whether a score is among the columns, and was not the same for all responses."""
        places = zip(self.raw_blocks, spans(self.raw_blocks), strict=True)
        return any(b.kind == SCORE and self.inverse_scale_c[place].any() for b, place in places)

    def apply(self, features_nc: ArrayLike) -> FloatArray:
        """Raw features as float64 (n, d), not yet centred within the prompt.

        Raises:
            Fatal: The number of columns is not the one the projection was fitted on.
            Corrupt: A value is not finite.
        """
        raw_nc = _finite(features_nc)
        if raw_nc.shape[1] != len(self.mean_c):
            raise Fatal(
                f"Features have {raw_nc.shape[1]} columns, the reward model was fitted on "
                f"{len(self.mean_c)}: refit it on features of this version."
            )
        projected_nd = np.empty((len(raw_nc), self.n_features))
        loadings, places = iter(self.components), spans(self.blocks)
        for block, span, place in zip(self.raw_blocks, spans(self.raw_blocks), places, strict=True):
            mean_m, inverse_m = self.mean_c[span], self.inverse_scale_c[span]
            if block.kind in REDUCED:
                # Few loadings are scaled rather than many rows.
                scaled_mk = inverse_m[:, None] * next(loadings)
                projected_nd[:, place] = raw_nc[:, span] @ scaled_mk - mean_m @ scaled_mk
            else:
                projected_nd[:, place] = (raw_nc[:, span] - mean_m) * inverse_m
        return projected_nd


def fit_projection(
    features_nc: ArrayLike, blocks: Sequence[Block], max_components: int
) -> Projection:
    """Learn a projection from responses whose raw columns are `blocks`.

    Pass features centred within each prompt: components are then spent on what tells responses
    apart, not on what tells prompts apart. Each reduced block has at most `max_components`.

    Raises:
        Fatal: No rows, blocks of another number of columns, or more plain columns than
            `MAX_FEATURES`.
        Corrupt: A value is not finite.
    """
    raw_nc = _finite(features_nc)
    n_plain = width(block for block in blocks if block.kind not in REDUCED)
    n_columns = width(blocks)
    if not len(raw_nc) or raw_nc.shape[1] != n_columns or n_plain > MAX_FEATURES:
        raise Fatal(
            f"A projection needs at least one row, columns as its blocks say and at most "
            f"{MAX_FEATURES} that it does not reduce; got {len(raw_nc)} rows of {raw_nc.shape[1]} "
            f"columns for {', '.join(f'{block.name} ({block.size})' for block in blocks)}."
        )
    mean_c, scale_c = raw_nc.mean(axis=0), raw_nc.std(axis=0)
    varies_c = scale_c > _CONSTANT * np.maximum(1.0, np.abs(mean_c))
    inverse_scale_c = np.divide(1.0, scale_c, out=np.zeros_like(scale_c), where=varies_c)
    standard_nc = (raw_nc - mean_c) * inverse_scale_c
    components, left = list[FloatArray](), MAX_FEATURES - n_plain
    for block, span in zip(blocks, spans(blocks), strict=True):
        if block.kind in REDUCED:
            loadings_mk = _principal_components(standard_nc[:, span], min(max_components, left))
            components.append(loadings_mk)
            left -= loadings_mk.shape[1]
    return Projection(mean_c, inverse_scale_c, tuple(blocks), tuple(components))


def centre(features_nd: FloatArray) -> FloatArray:
    """Features of one pool less their mean: Bradley-Terry cannot see what a pool has in common."""
    return features_nd - features_nd.mean(axis=0) if len(features_nd) else features_nd


def _principal_components(standard_nm: FloatArray, limit: int) -> FloatArray:
    """Loadings (m, k), largest variance first, scaled to a mean variance of 1 over the k."""
    variance_m, vectors_mm = np.linalg.eigh(standard_nm.T @ standard_nm / len(standard_nm))
    largest_first = slice(None, None, -1)
    variance_k = variance_m[largest_first][:limit]
    vectors_mk = vectors_mm[:, largest_first][:, :limit]
    real_k = variance_k > _EMPTY_COMPONENT * variance_k.max(initial=1.0)
    if not real_k.any():
        return np.zeros((standard_nm.shape[1], 0))
    vectors_mk = vectors_mk[:, real_k]
    # An eigenvector's sign is the solver's whim; the largest loading is made positive.
    largest_k = np.abs(vectors_mk).argmax(axis=0)
    signs_k = np.sign(vectors_mk[largest_k, np.arange(vectors_mk.shape[1])])
    scaled_mk = vectors_mk * signs_k / np.sqrt(variance_k[real_k].mean())
    # Row-major as it is after a round trip through a file: BLAS rounds by layout.
    return np.ascontiguousarray(scaled_mk)


def _finite(features_nc: ArrayLike) -> FloatArray:
    raw_nc = np.asarray(features_nc, dtype=np.float64)
    if not np.isfinite(raw_nc).all():
        bad = int((~np.isfinite(raw_nc)).any(axis=1).sum())
        raise Corrupt(f"{bad} of {len(raw_nc)} feature rows are not finite: compute them again.")
    return raw_nc
