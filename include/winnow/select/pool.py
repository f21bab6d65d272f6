"""A candidate pool as selection sees it: ids, features, and which pairs may be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.errors import Corrupt


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The n responses to one prompt.

    Attributes:
        response_ids: Content ids; responses with equal ids are the same text.
        features_nd: Projected features; whether they are centred makes no difference.
        eligible_nn: Symmetric mask of the pairs that may be chosen; all when absent.

    Raises:
        Corrupt: Shapes disagree, or a feature is not finite.
    """

    prompt_id: str
    response_ids: Sequence[str]
    features_nd: NDArray[np.floating]
    eligible_nn: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.response_ids)
        mask_fits = self.eligible_nn is None or self.eligible_nn.shape == (n, n)
        if self.features_nd.shape[:-1] != (n,) or not mask_fits:
            raise Corrupt(
                f"Prompt {self.prompt_id}: {n} responses do not match features of shape "
                f"{self.features_nd.shape} or the eligibility mask: join them by response id."
            )
        if not np.isfinite(self.features_nd).all():
            raise Corrupt(f"Prompt {self.prompt_id}: a feature is not finite: compute them again.")

    def distinct(self) -> NDArray[np.intp]:
        """Indices of the distinct texts in order of their ids, the order of everything chosen.

        Selection works in this order, so that neither the order in which responses arrive nor a
        text generated twice can change what is chosen.
        """
        return np.unique(np.array(self.response_ids, dtype=str), return_index=True)[1]

    def open_pairs(self, order_m: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Mask (m, m) over `order_m` of the pairs i < j that may be chosen."""
        every_mm = np.ones((len(order_m), len(order_m)), dtype=np.bool_)
        if self.eligible_nn is not None:
            every_mm = self.eligible_nn[np.ix_(order_m, order_m)]
        return np.triu(every_mm, 1)
