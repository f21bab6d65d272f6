"""Training rows to heads: one projection of all of them, a fit for each head.

Votes that left the window (`Older`) stand in the coordinates of their own projection, which is
kept. A plain column that was the same for all of them, and is not any more, is scaled by the
window: they differ in it by nothing, at any scale.

Shapes: e votes, c raw feature columns, d features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.arrays import FloatArray, IndexArray
from winnow.campaign import Select
from winnow.reward import (
    OVERALL,
    Block,
    Blocks,
    Condensed,
    Head,
    Posterior,
    Projection,
    centre,
    condense,
    fit_ensemble,
    fit_projection,
    fit_with_annotators,
)
from winnow.reward.annotators import has_parts
from winnow.reward.blocks import REDUCED, width
from winnow.reward.brought import MOST_VOTES, Brought, weighed
from winnow.reward.judges import Heard, Teachers, Verdicts, listen
from winnow.stages.select.brought_labels import BroughtRows
from winnow.stages.select.older import Older
from winnow.stages.select.training import halves_of, numbers, vectors_of, weights_of


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Training rows as arrays, with the features of the first and the second responses."""

    compared_2ed: FloatArray
    preference_e: FloatArray
    side_e: FloatArray
    length_e: FloatArray
    weight_e: FloatArray
    annotators: list[str]
    rows_of_head: Mapping[str, IndexArray]

    def of(self, rows: IndexArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Differences of features, preference, side and length of some rows."""
        first_ed, second_ed = self.compared_2ed[:, rows]
        return first_ed - second_ed, self.preference_e[rows], self.side_e[rows], self.length_e[rows]

    def annotators_of(self, rows: IndexArray) -> list[str]:
        """Who gave the votes of some rows."""
        return [self.annotators[row] for row in rows]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What some votes teach.

    Attributes:
        projection: Of their features.
        votes: The votes that were read one by one.
        heads: The linear posterior of each head.
        epsilon: For each head the chance that each annotator's vote is a guess gone wrong.
        heard: For each head what judges say of it; none where nobody but people was asked.
        alone: The posteriors of these heads by people's votes alone.
        brought: For each head how far labels that a team brought count.
    """

    projection: Projection
    votes: Votes
    heads: Mapping[str, Posterior]
    epsilon: Mapping[str, Mapping[str, float]]
    heard: Mapping[str, Heard] = field(default_factory=dict)
    alone: Mapping[str, Posterior] = field(default_factory=dict)
    brought: Mapping[str, Brought] = field(default_factory=dict)

    @property
    def teachers(self) -> dict[str, Teachers]:
        """People and judges told apart, of the heads of which a judge spoke."""
        return {
            name: heard.teachers(self.alone[name], self.heads[name])
            for name, heard in self.heard.items()
        }

    def condensed(self, rows: pa.Table, settings: Select) -> dict[str, Condensed]:
        """Training rows in a few numbers, by head, as they look from here."""
        votes = _votes(rows, self.projection, settings)
        return {
            name: condense(
                self.heads[name],
                self.epsilon[name],
                *votes.of(own),
                votes.annotators_of(own),
                votes.weight_e[own],
            )
            for name, own in votes.rows_of_head.items()
        }


def fit_rows(
    rows: pa.Table,
    older: Older | None,
    blocks: Blocks,
    settings: Select,
    verdicts: pa.Table | None = None,
    brought: BroughtRows | None = None,
) -> Fit:
    """Fit every head that the rows, the older votes, or labels that a team brought speak of.

    The columns of all are `blocks`.

    What judges say beside them (`verdicts`, rows of `records.VERDICTS`) teaches the head as far as
    their tastes allow, which are measured against a fit of the votes alone.
    """
    # Of a small window a draw could be empty.
    some = brought.some(max(settings.history_votes, MOST_VOTES)) if brought else None
    if older is None:
        both = rows if some is None else pa.concat_tables([rows, some], promote_options="default")
        projection = _projection(both, blocks, settings)
    else:
        projection = _awake(older.projection, rows)
    votes, held = _votes(rows, projection, settings), dict(older.heads if older else {})
    heads, epsilon, heard, alone = {}, {}, dict[str, Heard](), dict[str, Posterior]()
    beside_own = {}
    if brought is not None and some is not None:
        beside_own = _condensed_labels(brought, some, projection, settings)
    counted = dict[str, Brought]()
    said = (
        _verdicts(verdicts, projection, settings)
        if verdicts is not None and verdicts.num_rows
        else {}
    )
    for name in sorted({*votes.rows_of_head, *held, *beside_own}):
        own = votes.rows_of_head.get(name, np.zeros(0, np.intp))
        z_ed, preference_e, side_e, length_e = votes.of(own)
        given = (
            z_ed,
            preference_e,
            votes.weight_e[own],
            side_e,
            length_e,
            votes.annotators_of(own),
        )
        seen, beside = projection.blocks, held.get(name)
        if name in beside_own:
            counted[name] = _weighed(beside_own[name], given, seen, beside)
            beside = plus(beside, counted[name].votes)
            if beside is None and not len(own):
                continue
        heads[name], epsilon[name] = fit_with_annotators(*given, blocks=seen, older=beside)
        told = listen(said[name], heads[name], seen) if name in said else None
        if told is None:
            continue
        heard[name], alone[name] = told, heads[name]
        if told.judges:
            beside = plus(beside, told.condensed())
            heads[name], epsilon[name] = fit_with_annotators(*given, blocks=seen, older=beside)
    return Fit(projection, votes, heads, epsilon, heard, alone, counted)


Given = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, list[str]]
"""Votes as `winnow.reward.fit_with_annotators` takes them."""


def plus(votes: Condensed | None, more: Condensed | None) -> Condensed | None:
    """Condensed votes of both, where there are any."""
    if votes is None or more is None:
        return votes or more
    return votes.plus(more)


def _weighed(labels: Condensed, given: Given, blocks: Blocks, older: Condensed | None) -> Brought:
    """Labels as far as own votes bear them out, each of these as far as its annotator is trusted.

    Annotators are measured without the labels, which must not decide who contradicts them.
    """
    z_ed, preference_e, weight_e, side_e, length_e, annotators = given
    if annotators:
        _, epsilon = fit_with_annotators(*given, blocks=blocks, older=older)
        weight_e = weight_e * np.array([1.0 - 2.0 * epsilon[name] for name in annotators])
    return weighed(labels, z_ed, preference_e, weight_e, side_e, length_e, blocks, older)


def _condensed_labels(
    brought: BroughtRows, some: pa.Table, projection: Projection, settings: Select
) -> dict[str, Condensed]:
    """All labels that were brought in a few numbers, by head, as they look from a fit of `some`."""
    votes = _votes(some, projection, settings)
    heads, epsilon = {}, {}
    for name, own in votes.rows_of_head.items():
        z_ed, preference_e, _, length_e = votes.of(own)
        given = z_ed, preference_e, votes.weight_e[own], np.zeros(len(own)), length_e
        annotators = votes.annotators_of(own)
        heads[name], epsilon[name] = fit_with_annotators(
            *given, annotators, blocks=projection.blocks
        )
    found = dict[str, Condensed]()
    for rows in brought.all():
        votes = _votes(rows, projection, settings)
        for name in heads.keys() & votes.rows_of_head.keys():
            own = votes.rows_of_head[name]
            z_ed, preference_e, _, length_e = votes.of(own)
            more = condense(
                *(heads[name], epsilon[name], z_ed, preference_e, np.zeros(len(own)), length_e),
                votes.annotators_of(own),
                votes.weight_e[own],
            )
            found[name] = found[name].plus(more) if name in found else more
    return found


def final_heads(fit: Fit, older: Older | None, settings: Select) -> dict[str, Head]:
    """The heads of the kind that the campaign asks for.

    An ensemble learns from votes; a head without any in the window stays linear.
    """
    heads: dict[str, Head] = dict(fit.heads)
    if settings.head == "laplace":
        return heads
    held = older.heads if older else {}
    for name, own in fit.votes.rows_of_head.items():
        labels = fit.brought[name].votes if name in fit.brought else None
        first_ed, second_ed = fit.votes.compared_2ed[:, own]
        _, preference_e, side_e, length_e = fit.votes.of(own)
        epsilon = fit.epsilon[name]
        trusted_e = np.array([1.0 - 2.0 * epsilon[a] for a in fit.votes.annotators_of(own)])
        trusted_e *= fit.votes.weight_e[own]
        ensemble = fit_ensemble(
            first_ed,
            second_ed,
            preference_e,
            trusted_e,
            side_e,
            length_e,
            blocks=fit.projection.blocks,
            older=plus(held.get(name), labels),
        )
        if has_parts(fit.votes.weight_e[own]):
            ensemble = replace(ensemble, n_labels=fit.heads[name].n_labels)
        heads[name] = ensemble
    return heads


def _votes(rows: pa.Table, projection: Projection, settings: Select) -> Votes:
    names = [OVERALL] * rows.num_rows
    if settings.head_per_dimension:
        names = rows["dimension"].to_pylist()
    rows_of_head: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of_head.setdefault(name, []).append(row)
    sides = ("first", "second")
    compared_2ed = np.zeros((2, 0, projection.n_features))
    if rows.num_rows:
        compared_2ed = np.array([projection.apply(vectors_of(rows, side)) for side in sides])
    return Votes(
        compared_2ed,
        numbers(rows, "preference"),
        np.where(rows["swapped"].to_numpy(), -1.0, 1.0),
        numbers(rows, "length"),
        weights_of(rows),
        rows["annotator"].to_pylist(),
        {name: np.array(own, np.intp) for name, own in rows_of_head.items()},
    )


def _verdicts(
    rows: pa.Table, projection: Projection, settings: Select
) -> dict[str, dict[str, Verdicts]]:
    """What each judge says of what each head learns."""
    said = _votes(rows, projection, settings)
    prompts = _numbered(rows["prompt_id"])
    # Equal responses have one number, whichever side they stood on.
    ends = _numbered(pa.chunked_array([*rows["first_id"].chunks, *rows["second_id"].chunks]))
    models = np.array(rows["model"].to_pylist(), object)
    # Only where log-probabilities were told do log-odds say how sure a judge is; a vendor of files
    # may say that they were and leave them out.
    odds_e = rows["log_odds"].to_numpy()
    is_sure_e = pc.fill_null(pc.equal(rows["mode"], "logits"), False).to_numpy()
    is_sure_e = is_sure_e & np.isfinite(odds_e)
    found: dict[str, dict[str, Verdicts]] = {}
    for head, rows_of in said.rows_of_head.items():
        for model in sorted(set(models[rows_of])):
            own = rows_of[models[rows_of] == model]
            z_ed, preference_e, side_e, length_e = said.of(own)
            are_choices = not is_sure_e[own].all()
            value_e = 2.0 * preference_e - 1.0 if are_choices else odds_e[own]
            # One that has log-odds was asked in both orders.
            shown_e = np.where(np.isnan(odds_e[own]), side_e, 0.0)
            pairs = ends[own], ends[rows.num_rows + own], prompts[own]
            found.setdefault(head, {})[model] = Verdicts.of(
                z_ed, value_e, shown_e, length_e, *pairs, are_choices=are_choices
            )
    return found


def _numbered(column: pa.ChunkedArray) -> IndexArray:
    return np.unique(np.array(column.to_pylist(), object).astype(str), return_inverse=True)[1]


def _projection(rows: pa.Table, blocks: Blocks, settings: Select) -> Projection:
    nothing = np.zeros((1, width(blocks)))
    centred = _centred(rows) if rows.num_rows else nothing
    return fit_projection(centred, blocks, settings.max_components)


def _awake(projection: Projection, rows: pa.Table) -> Projection:
    """The projection with a scale for each plain column that had none and varies in these rows."""
    plain = [np.full(block.size, block.kind not in REDUCED) for block in projection.raw_blocks]
    asleep = np.flatnonzero(np.concatenate(plain) & (projection.inverse_scale_c == 0.0))
    if not len(asleep) or not rows.num_rows:
        return projection
    block = Block("plain", len(asleep))
    own = fit_projection(_centred(rows, asleep), (block,), 1)
    mean_c, inverse_scale_c = projection.mean_c.copy(), projection.inverse_scale_c.copy()
    mean_c[asleep], inverse_scale_c[asleep] = own.mean_c, own.inverse_scale_c
    return replace(projection, mean_c=mean_c, inverse_scale_c=inverse_scale_c)


def _centred(rows: pa.Table, of: IndexArray | slice = slice(None)) -> FloatArray:
    """Raw features of the voted responses, each once, centred within their prompts.

    All columns, or some `of` them.
    """
    # At half precision until they are centred: these are the largest arrays of a refit.
    halves = [halves_of(rows, side)[:, of] for side in ("first", "second")]
    prompts: dict[str, dict[str, tuple[int, int]]] = {}
    names = (rows[name].to_pylist() for name in ("prompt_id", "first_id", "second_id"))
    for row, (prompt, first, second) in enumerate(zip(*names, strict=True)):
        places = prompts.setdefault(prompt, {})
        places[first], places[second] = (0, row), (1, row)
    centred_nc = np.zeros((sum(map(len, prompts.values())), halves[0].shape[1]))
    end = 0
    for places in prompts.values():
        start, end = end, end + len(places)
        own = [halves[side][row] for _, (side, row) in sorted(places.items())]
        centred_nc[start:end] = centre(np.array(own, np.float64))
    return centred_nc
