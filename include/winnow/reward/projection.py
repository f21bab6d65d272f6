"""Raw response features to the few numbers that the reward model sees.

A raw vector is an embedding followed by cheap text features (length, list items, ...). Both are
standardised; the embedding is then reduced by PCA, the cheap columns pass through. The block of
components shares one scale, so that an average component weighs as much as a cheap column while
the components keep their relative sizes: one prior precision then fits all columns, and the
directions that PCA found small stay small.

Always holds: the same features give the same projection (each component's sign is fixed), at most
`MAX_FEATURES` columns come out, and a column that never varied is 0 ever after.

Shapes: n responses, c raw columns, m embedding columns, k components, d = k + (c - m) features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.errors import Corrupt, Fatal

MAX_FEATURES = 256
"""Most columns a projection gives; the posterior's covariance is the square of this."""

_CONSTANT = 1e-8
"""A standard deviation below this share of the column's size is rounding, not variation."""

_EMPTY_COMPONENT = 1e-10
"""A component with less than this share of the first one's variance is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A fitted map from raw columns to features; `components_mk` carries the block's scale."""

    mean_c: FloatArray
    inverse_scale_c: FloatArray
    components_mk: FloatArray

    @property
    def n_features(self) -> int:
        """d, the number of columns that `apply` gives."""
        n_cheap = len(self.mean_c) - len(self.components_mk)
        return n_cheap + int(self.components_mk.shape[1])

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
        standard_nc = (raw_nc - self.mean_c) * self.inverse_scale_c
        m = len(self.components_mk)
        return np.hstack([standard_nc[:, :m] @ self.components_mk, standard_nc[:, m:]])


def fit_projection(features_nc: ArrayLike, n_embedding: int, max_components: int) -> Projection:
    """Learn a projection from responses, of which the first `n_embedding` columns are embeddings.

    Pass features centred within each prompt: components are then spent on what tells responses
    apart, not on what tells prompts apart.

    Raises:
        Fatal: No rows, or more cheap columns than `MAX_FEATURES`.
        Corrupt: A value is not finite.
    """
    raw_nc = _finite(features_nc)
    n_cheap = raw_nc.shape[1] - n_embedding
    if not len(raw_nc) or not 0 <= n_cheap <= MAX_FEATURES:
        raise Fatal(
            f"A projection needs at least one row and 0 to {MAX_FEATURES} columns after the "
            f"embedding; got {len(raw_nc)} rows and {n_cheap} columns."
        )
    mean_c, scale_c = raw_nc.mean(axis=0), raw_nc.std(axis=0)
    varies_c = scale_c > _CONSTANT * np.maximum(1.0, np.abs(mean_c))
    inverse_scale_c = np.divide(1.0, scale_c, out=np.zeros_like(scale_c), where=varies_c)
    standard_nm = ((raw_nc - mean_c) * inverse_scale_c)[:, :n_embedding]
    limit = min(max_components, MAX_FEATURES - n_cheap)
    return Projection(mean_c, inverse_scale_c, _principal_components(standard_nm, limit))


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
