"""A candidate pool as selection sees it: ids, features, and which pairs may be chosen.

Shapes: n responses, m distinct responses in order of their ids, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, IndexArray
from winnow.errors import Corrupt
from winnow.select.packing import open_to_each_other, packed_pairs


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The n responses to one prompt.

    Attributes:
        prompt_id: Content id of the prompt.
        response_ids: Content ids; responses with equal ids are the same text.
        features_nd: Projected features; whether they are centred makes no difference.
        eligible_nn: Symmetric mask of the pairs that may be chosen; all when absent.
        clusters: Near-duplicate cluster of each response: two of one cluster are never paired.
        blocked: Responses that no pair may hold, exploration included: empty ones, loops, texts
            that game the judge.
        n_tokens: Length of each response, for the cost of reading it.
        asked: The dimension that annotators choose by here; None: every dimension.
        rated: Dimensions on which they answer beside it.
        strata: Strata of every pair of this prompt, such as "language:de".
        response_strata: Strata of each response, such as "failure:refusal"; a pair belongs to
            those of both its responses.

    Raises:
        Corrupt: Shapes disagree, or a feature is not finite.
    """

    prompt_id: str
    response_ids: Sequence[str]
    features_nd: NDArray[np.floating]
    eligible_nn: BoolArray | None = None
    clusters: Sequence[int] | IndexArray | None = None
    blocked: BoolArray | None = None
    n_tokens: Sequence[int] | None = None
    asked: str | None = None
    rated: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    response_strata: Sequence[frozenset[str]] | None = None

    def __post_init__(self) -> None:
        n = len(self.response_ids)
        per_response = (self.clusters, self.blocked, self.n_tokens, self.response_strata)
        mask_fits = self.eligible_nn is None or self.eligible_nn.shape == (n, n)
        lengths_fit = all(facts is None or len(facts) == n for facts in per_response)
        if self.features_nd.shape[:-1] != (n,) or not mask_fits or not lengths_fit:
            raise Corrupt(
                f"Prompt {self.prompt_id}: {n} responses do not match features of shape "
                f"{self.features_nd.shape}, the eligibility mask or the facts per response: "
                "join them by response id."
            )
        if not np.isfinite(self.features_nd).all():
            raise Corrupt(f"Prompt {self.prompt_id}: a feature is not finite: compute them again.")

    def distinct(self) -> IndexArray:
        """Indices of the distinct texts in order of their ids, the order of everything chosen.

        Selection works in this order, so that neither the order in which responses arrive nor a
        text generated twice can change what is chosen.
        """
        ids = self.response_ids
        if all(map(lt, ids, islice(ids, 1, None))):
            return np.arange(len(ids), dtype=np.intp)
        # Of equal ids the last one entered stays, which is the first response.
        first = dict(zip(reversed(ids), reversed(range(len(ids))), strict=True))
        return np.array([first[response] for response in sorted(first)], dtype=np.intp)

    def open_pairs(self, order_m: IndexArray) -> BoolArray:
        """Mask (e,) of the packed pairs of the responses `order_m` that may be chosen."""
        m = len(order_m)
        open_e = np.ones(m * (m - 1) // 2, dtype=np.bool_)
        if self.clusters is not None or self.blocked is not None:
            cluster_m, blocked_m = np.arange(m), np.zeros(m, np.bool_)
            if self.clusters is not None:
                cluster_m = np.asarray(self.clusters, np.intp)[order_m]
            if self.blocked is not None:
                blocked_m = np.asarray(self.blocked, np.bool_)[order_m]
            open_e = open_to_each_other(cluster_m, blocked_m)
        if self.eligible_nn is not None:
            first_e, second_e = packed_pairs(m)
            open_e &= self.eligible_nn[order_m[first_e], order_m[second_e]]
        return open_e
