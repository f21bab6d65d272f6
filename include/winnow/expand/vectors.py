"""Raw vectors of a batch: what is stored of each response, and behind it what it is in its pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.batch import Manifest
from winnow.campaign import Expand
from winnow.errors import Corrupt
from winnow.expand.features import are_related, n_embedding, stored_blocks
from winnow.expand.pool_features import (
    in_pool,
    in_pool_blocks,
    in_pool_version,
    stored_version,
)
from winnow.expand.samplers import models_of
from winnow.reward import Blocks
from winnow.reward.blocks import width
from winnow.style import style_names

Row = Mapping[str, Any]
HalfArray = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a batch's raw vectors are.

    Attributes:
        version: Their identity: vectors of two versions never meet in one reward model.
        stored: Blocks that the lake holds, an embedding first.
        models: The models that pools mix.
    """

    version: str
    stored: Blocks
    models: tuple[str, ...]

    @property
    def blocks(self) -> Blocks:
        """All blocks, in the order of the columns."""
        return self.stored + in_pool_blocks(self.models)

    @property
    def n_embedding(self) -> int:
        """Leading columns that are an embedding."""
        return n_embedding(self.stored)

    def are_stored_as(self, version: str) -> bool:
        """Whether vectors stored for `version` are these as far as they are stored."""
        return stored_version(self.version) == stored_version(version)

    def are_related(self, version: str) -> bool:
        """Whether they are at least for a response of one window."""
        return are_related(stored_version(self.version), stored_version(version))

    def of_pool(self, rows: Sequence[Row], stored_nc: HalfArray) -> HalfArray:
        """Vectors of the responses to one prompt, from their rows and what is stored of them.

        Columns of another mix of models that are stored behind these are left out.
        """
        stored_nc = stored_nc[:, : width(self.stored)]
        embedding_nh = stored_nc[:, : self.n_embedding].astype(np.float64)
        beside = in_pool(rows, embedding_nh, self.models).astype(np.float16)
        return np.hstack([stored_nc, beside])


def columns_of(expanded: Manifest, settings: Expand) -> Columns:
    """What the vectors of a batch are, by its expand stage and the campaign's samplers."""
    figures = expanded.figures
    n_before = figures["n_embedding"] + len(style_names())
    stored = stored_blocks(figures.get("blocks", ()), n_before)
    return new_columns(figures["feature_version"], stored, settings)


def new_columns(version: str, stored: Blocks, settings: Expand) -> Columns:
    """What vectors are of which `stored` is stored for `version`, in pools of these samplers."""
    models = tuple(models_of(settings))
    return Columns(in_pool_version(version, models), stored, models)


def vectors_of(features: pa.Table) -> HalfArray:
    """The vectors (r, c) of a features table, row by row."""
    column = features["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
    return np.asarray(flat.reshape(features.num_rows, -1))


def stored_vectors(features: pa.Table, ids: Sequence[str] | pa.ChunkedArray) -> HalfArray:
    """Stored vectors (r, c) in the order of `ids`.

    Raises:
        Corrupt: A response has none.
    """
    if not features.num_rows:
        return np.zeros((0, len(style_names())), dtype=np.float16)
    wanted = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids], pa.string())
    if features["response_id"].equals(wanted):
        return vectors_of(features)
    place_r = pc.index_in(wanted, value_set=features["response_id"])
    if place_r.null_count:
        raise Corrupt(f"{place_r.null_count} responses have no features: run expand_pools again.")
    rows = np.asarray(place_r.to_numpy())
    return np.asarray(vectors_of(features)[rows])
