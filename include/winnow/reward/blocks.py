"""Blocks of features: columns of one kind, which share what is believed of their weights.

An embedding, the form of a response, its place in the pool, a score: each block has a prior
precision of its own, learnt from the labels (`winnow.reward.evidence`), so that one that says
nothing does not make one that says much look small. A score is believed before any label: its
weight starts at `SCORE_SLOPE`.

Shapes: d features, all blocks together, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from winnow.arrays import FloatArray

SCORE, STATE = "score", "state"

REDUCED = frozenset({"embedding", STATE, "vector"})
"""Kinds of many columns, which a projection reduces; those of another kind pass through."""

SCORE_SLOPE = 1.0
"""Logits that one standard deviation of a score is worth before any label speaks: of a score that
is right on 70 % of pairs 0.9, on 80 % of them 1.2, where two people agree on 70 %."""


class Block(NamedTuple):
    """Columns of one kind; the name is the kind, and after a colon whose they are."""

    name: str
    size: int

    @property
    def kind(self) -> str:
        """The name up to its colon."""
        return self.name.partition(":")[0]

    @property
    def slope(self) -> float:
        """Expected weight of each column before any label, logits per standard deviation."""
        return SCORE_SLOPE if self.kind == SCORE else 0.0


Blocks = tuple[Block, ...]


def one_block(d: int) -> Blocks:
    """All features as one block."""
    return (Block("all", d),)


def has_score(blocks: Sequence[Block]) -> bool:
    """Whether a score is among them, which says something of a response before any label does."""
    return any(block.kind == SCORE for block in blocks)


def width(blocks: Iterable[Block]) -> int:
    """How many columns they have together."""
    return sum(block.size for block in blocks)


def spans(blocks: Sequence[Block]) -> list[slice]:
    """Where the columns of each block stand."""
    ends = accumulate((block.size for block in blocks), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def per_feature(blocks: Sequence[Block], values: Sequence[float]) -> FloatArray:
    """The value of each block for every one of its features (d,)."""
    sizes = [block.size for block in blocks]
    return np.repeat(np.asarray(values, dtype=np.float64), sizes)


def contributions(
    weight_d: FloatArray, z_ed: FloatArray, blocks: Sequence[Block]
) -> dict[str, float]:
    """What each block adds to the reward difference of a pair, root mean square in logits.

    A block without columns is left out: nothing in it ever varied.
    """
    return {
        block.name: float(np.sqrt(((z_ed[:, span] @ weight_d[span]) ** 2).mean()))
        for block, span in zip(blocks, spans(blocks), strict=True)
        if block.size and len(z_ed)
    }


def prior_mean(blocks: Sequence[Block]) -> FloatArray:
    """Expected weights (d,) before any label."""
    return per_feature(blocks, [block.slope for block in blocks])


def prior_precision(blocks: Sequence[Block]) -> FloatArray:
    """Precisions (d,) before any label, of standardised features.

    Each block but a score has the same share of a prior variance near 2 for a pair's difference; a
    score's slope is known to within itself.
    """
    n_shares = sum(block.size > 0 and block.kind != SCORE for block in blocks)
    scores = [block.slope**-2 if block.slope else float(n_shares * block.size) for block in blocks]
    return per_feature(blocks, scores)
