"""What a response is worth by itself: the reward of its own columns, refitted on the same votes.

The reward model reads a response's place in its pool, who wrote it and scores of other networks;
whoever has a single response has none of that. So the votes are read again with the columns of an
embedding and of style alone, and nothing else changes. What that costs is measured: both models are
fitted to votes on some prompts and asked about the others.

Votes that left the window are condensed in all columns (`winnow.reward.condensed`); at weights of 0
for the columns that are left out their sum is the part that belongs to the others.

Shapes: e votes, c raw columns, d features, f folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.campaign import Campaign
from winnow.errors import Fatal
from winnow.expand.features import EMBEDDING, STYLE, feature_version
from winnow.expand.vectors import columns_of
from winnow.ids import seed_from
from winnow.lake import Lake
from winnow.publish.versions import Version
from winnow.reward import Blocks, Condensed, Head, Projection
from winnow.reward.blocks import spans, width
from winnow.reward.logistic import N_NUISANCE, Quadratic
from winnow.select import one_blas_thread
from winnow.stages.select.fitting import final_heads, fit_rows
from winnow.stages.select.history import Past, joined, past_of
from winnow.stages.select.older import Older
from winnow.stages.select.training import halves_of, lists_of, numbers, stages_of, vectors_of
from winnow.style import style_names

_OWN = (EMBEDDING, STYLE)
"""Blocks of one response alone; they lead."""

_LENGTH = "log_chars"
"""The figure of style in whose unit the effect of length is fitted."""

FOLDS = 5
_RESAMPLES = 2000
_INTERVAL = (0.025, 0.975)

FEW = 50
"""Exploration votes below which all votes are asked about."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of votes with its 95 % interval, by resampling prompts."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How often models foresee votes on prompts that they were not fitted to.

    Attributes:
        n_votes: Votes for a side that they were asked about, one by one.
        n_prompts: Whose they are.
        explored: Whether these pairs were drawn uniformly; else they are those that were chosen.
        own: By the columns of one response alone.
        full: By all columns.
        lost: `full` less `own`.
        length: By taking the longer response.
    """

    n_votes: int
    n_prompts: int
    explored: bool
    own: Share
    full: Share
    lost: Share
    length: Share

    @property
    def is_shown(self) -> bool:
        """Whether the interval of `own` lies above what a coin is right in."""
        return self.own.low > 0.5


@dataclass(frozen=True, slots=True, eq=False)
class OwnReward:
    """A reward that is linear in the raw columns of one response.

    Attributes:
        weight_c: Logits per unit of each column, an embedding's first, then those of style.
        bias: Makes the mean reward of the voted responses 0; it means nothing within a prompt.
        dimension: Of which votes it is.
        n_votes: Votes that taught it.
        judges: Models that taught it beside people, as far as their tastes allow.
        feature_version: Of the vectors that they were read by.
        left_out: Blocks of columns that it does not read.
        with_length: Whether what voters give to length itself is part of it.
        foreseen: What it is worth; None where no vote could be asked about.
    """

    weight_c: FloatArray
    bias: float
    dimension: str
    n_votes: int
    judges: tuple[str, ...]
    feature_version: str
    left_out: tuple[str, ...]
    with_length: bool
    foreseen: Foreseen | None


@one_blas_thread()
def own_reward(
    lake: Lake,
    campaign: Campaign,
    version: Version,
    dimension: str = "",
    *,
    with_length: bool = False,
) -> OwnReward:
    """Refit on the version's votes, in the columns that one response has.

    Args:
        lake: Where they lie.
        campaign: Whose they are.
        version: Says which batches.
        dimension: Of which head; it may be left out where there is one.
        with_length: Whether what voters give to length itself is part of the reward.

    Raises:
        Fatal: The embedding is not that of the response alone, there is no vote, or no such head.
        Corrupt: A manifest or a table is missing or is not what it was.
    """
    read = [each for each in campaign.expand.features if isinstance(each, str)]
    if read != ["embedding"]:
        raise Fatal(
            f"Campaign {campaign.name} reads responses by {', '.join(map(str, read)) or 'others'}: "
            "an exported reward model holds a sentence model, so that expand.features must have "
            "`embedding`, and beside it nothing but reward models, which are left out."
        )
    stages = stages_of(lake, campaign.name, version.batches[-1])
    columns = columns_of(stages.expand, campaign.expand)
    if not columns.are_stored_as(feature_version(campaign.expand)):
        raise Fatal(
            f"Batch {version.batches[-1]} was read by {stages.expand.figures['feature_version']}, "
            f"and the settings of {campaign.name} now name {feature_version(campaign.expand)}: "
            "export by the settings that it was read by."
        )
    blocks = columns.blocks[: len(_OWN)]
    past = past_of(lake, campaign, version, columns, writes=False)
    own = _narrowed(past, blocks)
    rows = joined(own.nights)
    fit = fit_rows(rows, own.older, blocks, campaign.select, own.verdicts)
    if not fit.heads:
        raise Fatal(f"Dataset {version.dataset} {version.name} has no vote to learn from.")
    if not dimension and len(fit.heads) == 1:
        [dimension] = fit.heads
    if dimension not in fit.heads:
        raise Fatal(f"Say of which dimension, --dimension NAME: {', '.join(sorted(fit.heads))}.")
    heard = fit.heard.get(dimension)
    weight_c = _raw_weights(fit.projection, fit.heads[dimension].mean_d)
    if with_length:
        weight_c[blocks[0].size + style_names().index(_LENGTH)] += fit.heads[dimension].length
    voted = [vectors_of(rows, side) for side in ("first", "second")] if rows.num_rows else []
    return OwnReward(
        weight_c,
        -float(np.mean([vectors @ weight_c for vectors in voted])) if voted else 0.0,
        dimension,
        fit.heads[dimension].n_labels,
        tuple(judge.name for judge in heard.judges) if heard else (),
        columns.version,
        tuple(block.name for block in columns.blocks[len(blocks) :] if block.size),
        with_length,
        _foreseen(own, past, (blocks, columns.blocks), campaign, dimension, with_length),
    )


def _raw_weights(projection: Projection, weight_d: FloatArray) -> FloatArray:
    """What a unit of each raw column adds to the reward (c,)."""
    c = len(projection.mean_c)
    return np.asarray((projection.apply(np.eye(c)) - projection.apply(np.zeros((1, c)))) @ weight_d)


def _narrowed(past: Past, own: Blocks) -> Past:
    """The past as it looks in its leading columns."""
    n = width(own)
    return replace(
        past,
        nights=[replace(night, rows=_leading(night.rows, n)) for night in past.nights],
        verdicts=_leading(past.verdicts, n),
        older=None if past.older is None else _narrowed_older(past.older, len(own)),
    )


def _leading(rows: pa.Table, n: int) -> pa.Table:
    """Training rows with the first `n` raw columns of both responses."""
    for side in ("first", "second") if rows.num_rows else ():
        lists = lists_of(halves_of(rows, side)[:, :n], np.arange(rows.num_rows))
        rows = rows.set_column(rows.schema.get_field_index(side), rows.schema.field(side), lists)
    return rows


def _narrowed_older(older: Older, n_blocks: int) -> Older:
    """Condensed votes in their first blocks, the others' weights being 0."""
    projection = older.projection
    raw_blocks = projection.raw_blocks[:n_blocks]
    c, d = width(raw_blocks), spans(projection.blocks)[n_blocks - 1].stop
    n_reduced = sum(block.kind == EMBEDDING for block in raw_blocks)
    narrow = Projection(
        projection.mean_c[:c],
        projection.inverse_scale_c[:c],
        raw_blocks,
        projection.components[:n_reduced],
    )
    return replace(
        older,
        projection=narrow,
        heads={name: _narrowed_votes(votes, d) for name, votes in older.heads.items()},
    )


def _narrowed_votes(votes: Condensed, d: int) -> Condensed:
    k = len(votes.loss.linear_k)
    kept = np.r_[0:d, k - N_NUISANCE : k]
    loss = Quadratic(votes.loss.hessian_kk[np.ix_(kept, kept)], votes.loss.linear_k[kept])
    return replace(votes, loss=loss, squares_d=votes.squares_d[:d])


def _foreseen(
    own: Past,
    past: Past,
    blocks: tuple[Blocks, Blocks],
    campaign: Campaign,
    dimension: str,
    with_length: bool,
) -> Foreseen | None:
    """How both models foresee votes on the prompts of each fold, fitted to the other folds."""
    pasts, tables = (own, past), [joined(own.nights), joined(past.nights)]
    rows, settings = tables[0], campaign.select
    asked_e, explored = _asked(rows, campaign, dimension)
    prompts, asked = rows["prompt_id"].to_pylist(), np.flatnonzero(asked_e)
    if not len(asked):
        return None
    ahead_2e, fold_e = np.zeros((2, rows.num_rows)), _folds(prompts)
    for fold in range(FOLDS):
        of_fold = np.flatnonzero(asked_e & (fold_e == fold))
        for k, (seen, table) in enumerate(zip(pasts, tables, strict=True)):
            told = seen.verdicts
            told = told.filter(pa.array(_folds(told["prompt_id"].to_pylist()) != fold))
            others = table.filter(pa.array(fold_e != fold))
            fit = fit_rows(others, seen.older, blocks[k], settings, told)
            heads = fit.heads if seen is own else final_heads(fit, seen.older, settings)
            if dimension in heads and len(of_fold):
                asked_rows = table.take(pa.array(of_fold))
                ahead_2e[k, of_fold] = _ahead(fit.projection, heads[dimension], asked_rows)
                if with_length and seen is own:
                    given = fit.heads[dimension].length * numbers(asked_rows, "length")
                    ahead_2e[k, of_fold] += given
    preferred_e = np.sign(numbers(rows, "preference") - 0.5)[asked]
    said_3e = np.vstack([ahead_2e, numbers(rows, "length")])[:, asked]
    # One that sees no difference is right half of the time.
    right_3e = 0.5 + 0.5 * np.sign(said_3e) * preferred_e
    lost_e = right_3e[1] - right_3e[0]
    prompt_e = np.unique([prompts[e] for e in asked.tolist()], return_inverse=True)[1]
    own_share, full, length, lost = _shares(np.vstack([right_3e, lost_e]), prompt_e)
    n_prompts = int(prompt_e.max()) + 1
    return Foreseen(len(asked), n_prompts, explored, own_share, full, lost, length)


def _asked(rows: pa.Table, campaign: Campaign, dimension: str) -> tuple[BoolArray, bool]:
    """Which votes for a side speak of a dimension, and whether it is those of exploration."""
    own_e = np.abs(numbers(rows, "preference") - 0.5) > 0.25
    if campaign.select.head_per_dimension:
        own_e &= np.asarray(pc.equal(rows["dimension"], dimension), np.bool_)
    drawn_e = own_e & np.asarray(pc.equal(rows["kind"], "exploration"), np.bool_)
    return (drawn_e, True) if drawn_e.sum() >= FEW else (own_e, False)


def _folds(prompts: Sequence[str]) -> IndexArray:
    fold_of = {prompt: seed_from("fold", prompt) % FOLDS for prompt in set(prompts)}
    return np.array([fold_of[prompt] for prompt in prompts], np.intp)


def _ahead(projection: Projection, head: Head, rows: pa.Table) -> FloatArray:
    """How far the first response of each vote is ahead (e,)."""
    first_e, second_e = (
        head.mean(projection.apply(vectors_of(rows, side))) for side in ("first", "second")
    )
    return first_e - second_e


def _shares(right_xe: FloatArray, prompt_e: IndexArray) -> list[Share]:
    """Means of each row over votes, with intervals over resampled prompts."""
    n = int(prompt_e.max()) + 1
    sums_xp = np.array([np.bincount(prompt_e, right_e, n) for right_e in right_xe])
    votes_p = np.bincount(prompt_e, minlength=n).astype(np.float64)
    rng, means_sx = (
        np.random.default_rng(seed_from("own reward")),
        np.zeros((_RESAMPLES, len(sums_xp))),
    )
    for mean_x in means_sx:
        drawn_p = np.bincount(rng.integers(0, n, n), minlength=n)
        mean_x[:] = (sums_xp @ drawn_p) / (votes_p @ drawn_p)
    bounds_2x = np.quantile(means_sx, _INTERVAL, axis=0)
    return [
        Share(float(right_e.mean()), float(low), float(high))
        for right_e, low, high in zip(right_xe, *bounds_2x, strict=True)
    ]
