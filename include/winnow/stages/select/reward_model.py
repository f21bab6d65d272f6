"""The reward model of a campaign: refitted from all published labels, read by the next batch.

A model is stored by its version; one pointer names the newest. The pointer only moves forward with
the dataset's versions, so a late twin never brings an old posterior back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.batch import read_artifact
from winnow.campaign import Campaign
from winnow.errors import Corrupt
from winnow.expand.vectors import Columns, columns_of
from winnow.lake import Lake
from winnow.publish.versions import Version, read_version
from winnow.reward import OVERALL, GateState, Posterior, RewardModel, prior_of, version_as_stored
from winnow.reward.blocks import contributions, prior_mean
from winnow.reward.drift import drift
from winnow.reward.judges import Heard
from winnow.select import one_blas_thread
from winnow.stages.select.brought_labels import BroughtRows, brought_rows, told
from winnow.stages.select.fitting import Fit, Votes, final_heads, fit_rows
from winnow.stages.select.history import History, Past, joined, past_of
from winnow.stages.select.older import Older
from winnow.stages.select.people_alone import foreseen
from winnow.stages.select.training import numbers, stages_of, vectors_of
from winnow.stages.select.trust import Trust, measure
from winnow.stored import RESTORE, as_json, parsed, reader, refuse_lost, sealed_json

GUESSING = 0.5
"""Share of guesses from which an annotator is named."""


_NOTHING = Past(History("", 0, "", (), None), [], None)
"""Before the first night."""


@dataclass(frozen=True, slots=True)
class Current:
    """The newest model, where it lies, whether its gate lets it choose, and what version taught it.

    `number` is that of the dataset, `gate_reason` the gate's sentence. Of a model of labels that a
    team brought alone, `brought` tells of them, and there is no version and no place.
    """

    model: RewardModel
    gate: GateState
    path: str
    number: int
    gate_reason: str = ""
    brought: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Target:
    """What the pointer says: the model, where it lies, what version taught it, its gate."""

    number: int
    path: str
    version: str
    gate: GateState
    gate_reason: str = ""


@dataclass(frozen=True, slots=True)
class Refitted:
    """A model fitted to all votes.

    Attributes:
        model: At the temperature that exploration votes ask for.
        trust: What those votes say.
        guessing: Annotators (hashes) with the share of their votes that are guesses, above
            `GUESSING`.
        listens_to: What each block of features adds to the reward difference of a labelled pair,
            root mean square in logits; empty where a head is no linear one.
        drift: How far the newest night moved the model (`winnow.reward.drift`); empty where no
            model with labels chose it.
        past: What it was fitted to.
        judges: What is believed of each judge, by head and name; empty where none was asked.
        brought: How far labels that a team brought count, and where they came from; empty where
            none did (`winnow.stages.select.brought_labels.told`).
        people_alone: How the newest night would have been foreseen without judges
            (`winnow.stages.select.people_alone`); empty where the model that chose it heard none.
    """

    model: RewardModel
    trust: Trust
    guessing: dict[str, float]
    listens_to: dict[str, float]
    drift: dict[str, Any] = field(default_factory=dict)
    past: Past | None = None
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    people_alone: dict[str, Any] = field(default_factory=dict)
    brought: dict[str, Any] = field(default_factory=dict)


def newest(lake: Lake, campaign: str) -> Current | None:
    """The campaign's newest model, or None before the first labels.

    Raises:
        Corrupt: The model or the pointer to it is lost, or not what it was.
    """
    pointer = _pointer_path(campaign)
    data, _ = lake.read_tagged(pointer)
    if data is None:
        models = f"campaigns/{campaign}/reward"
        refuse_lost(lake, pointer, [f"{models}/{name}" for name in lake.names(models)])
        return None
    target = parsed(lake, pointer, reader(_Target), data)
    try:
        model, version = parsed(lake, target.path, _model_and_version)
    except FileNotFoundError as error:
        raise Corrupt(f"{lake.uri}/{target.path} is named by {pointer} but missing.") from error
    if version != target.version:
        raise Corrupt(f"{lake.uri}/{target.path} is not the model that {pointer} names; {RESTORE}.")
    return Current(model, target.gate, target.path, target.number, target.gate_reason)


def _model_and_version(data: bytes) -> tuple[RewardModel, str]:
    return RewardModel.from_bytes(data), version_as_stored(data)


@one_blas_thread()
def newest_for(
    lake: Lake, campaign: Campaign, columns: Columns, brought: BroughtRows | None = None
) -> Current | None:
    """The newest model as far as it reads these columns; None if none does, or it has no labels.

    One of related columns, as after an upgrade, is fitted again to the votes that both share, and
    to labels `brought`. Where there is none, these alone make one.
    """
    current = _newest_for(lake, campaign, columns, brought)
    if current is not None or brought is None:
        return current
    started = _refitted(_NOTHING, campaign, columns, brought=brought)
    return Current(started.model, "undecided", "", 0, brought=started.brought)


def _newest_for(
    lake: Lake, campaign: Campaign, columns: Columns, brought: BroughtRows | None
) -> Current | None:
    current = newest(lake, campaign.name)
    if current is None or not any(head.n_labels for head in current.model.heads.values()):
        return None
    if current.model.feature_version == columns.version:
        return current
    if not columns.are_related(current.model.feature_version):
        return None
    if not columns.n_embedding:  # No prompt has a response, so that there is nothing to read.
        return current
    version = read_version(lake, campaign.publish.dataset, current.number)
    past = past_of(lake, campaign, version, columns, writes=False)
    if past.older is None and not any(night.rows.num_rows for night in past.nights):
        return None
    return replace(current, model=_refitted(past, campaign, columns, brought=brought).model)


@one_blas_thread()
def refit(lake: Lake, campaign: Campaign, version: Version) -> Refitted:
    """Fit a model to every vote of the version's batches, on features as the newest batch has them.

    Batches whose vectors cannot be compared with these are left out. Where that leaves no vote, as
    of a night of which all was skipped, it is a prior. Votes of nights before the window count as
    `winnow.stages.select.history` says.
    """
    stages = stages_of(lake, campaign.name, version.batches[-1])
    columns = columns_of(stages.expand, campaign.expand)
    past = past_of(lake, campaign, version, columns)
    brought = brought_rows(lake, stages.expand.outputs, columns.version)
    fitted = _refitted(past, campaign, columns, newest=version.batches[-1], brought=brought)
    own = next((night.rows for night in past.nights if night.key == version.batches[-1]), None)
    if own is None or not stages.is_judged or not fitted.judges:
        return fitted
    chose = RewardModel.from_bytes(read_artifact(lake, stages.select.outputs["reward_model"]))
    if chose.feature_version != columns.version:
        return fitted
    return replace(fitted, people_alone=foreseen(chose, own))


def _refitted(
    past: Past,
    campaign: Campaign,
    columns: Columns,
    newest: str = "",
    brought: BroughtRows | None = None,
) -> Refitted:
    """The model of a history, with the drift by the votes of its `newest` batch."""
    before = past.older.trust if past.older else None
    trust = measure([night.explored for night in past.nights], before)
    rows = joined(past.nights)
    fit = fit_rows(rows, past.older, columns.blocks, campaign.select, past.verdicts, brought)
    heads = {
        name: head.at_temperature(trust.temperature)
        for name, head in final_heads(fit, past.older, campaign.select).items()
    }
    epsilon = dict[str, float]()
    for guesses in fit.epsilon.values():
        epsilon |= {a: max(2.0 * e, epsilon.get(a, 0.0)) for a, e in guesses.items()}
    heads = heads or {OVERALL: prior_of(fit.projection.blocks)}
    model = RewardModel(fit.projection, heads, columns.version, fit.teachers)
    own = next((night.rows for night in past.nights if night.key == newest), None)
    return Refitted(
        model,
        trust,
        {a: share for a, share in sorted(epsilon.items()) if share > GUESSING},
        _listens_to(model, fit.votes),
        {} if own is None else _drift(own, model, fit, past.older),
        past,
        {name: _told(heard, fit.alone[name]) for name, heard in fit.heard.items()},
        brought=told(fit.brought, brought),
    )


def _told(heard: Heard, alone: Posterior) -> dict[str, Any]:
    """What is believed of the judges, as it is shown."""
    taught = heard.taught(alone)
    return {
        judge.name: {
            "verdicts": judge.n,
            "is_heard": judge.is_heard,
            "evidence": judge.log_help,
            "kappa": judge.kappa,
            "noise": judge.own_sd,
            "taste": float(np.sqrt(np.mean(judge.taste_d**2))),
            "taught_nats": taught.get(judge.name, 0.0),
        }
        for judge in (*heard.judges, *heard.unheard)
    }


def _listens_to(model: RewardModel, votes: Votes) -> dict[str, float]:
    head, (first_ed, second_ed) = model.posterior, votes.compared_2ed
    if not isinstance(head, Posterior) or not len(first_ed):
        return {}
    return contributions(head.mean_d, first_ed - second_ed, model.projection.blocks)


def _drift(rows: pa.Table, model: RewardModel, fit: Fit, older: Older | None) -> dict[str, Any]:
    """What the training rows of the newest night say of the models before it."""
    drawn = rows.filter(pc.and_(pc.equal(rows["kind"], "exploration"), pc.is_valid(rows["mu"])))
    if not drawn.num_rows:
        return {}
    first_ed, second_ed = (
        model.projection.apply(vectors_of(drawn, side)) for side in ("first", "second")
    )
    names = [n if n in model.heads else OVERALL for n in drawn["dimension"].to_pylist()]
    reward_e, older_e = np.zeros((2, len(names)))
    held, mean_d = older.heads if older else {}, prior_mean(model.projection.blocks)
    for name in sorted(set(names)):
        own, head = np.flatnonzero(np.array(names) == name), model.heads[name]
        reward_e[own] = head.mean(first_ed[own]) - head.mean(second_ed[own])
        if name in held:
            weights_d = held[name].weights(fit.heads[name].precision_d, mean_d)
            older_e[own] = (first_ed[own] - second_ed[own]) @ weights_d
    return asdict(
        drift(
            numbers(drawn, "p_first"),
            reward_e,
            older_e,
            numbers(drawn, "preference"),
            drawn["pair_id"].to_pylist(),
            sum(votes.n_labels for votes in held.values()),
        )
    )


def store(lake: Lake, campaign: str, fitted: Refitted, number: int) -> str:
    """Keep the model of dataset version `number`, and point to it unless a newer one is there."""
    version = fitted.model.version
    path = f"campaigns/{campaign}/reward/{version[:16]}.npz"
    lake.create(path, fitted.model.to_bytes())
    gate = fitted.trust.gate
    target = sealed_json(as_json(_Target(number, path, version, gate.state, gate.reason)))
    while True:
        pointer = _pointer_path(campaign)
        data, tag = lake.read_tagged(pointer)
        if data is not None and parsed(lake, pointer, reader(_Target), data).number >= number:
            return path
        if lake.swap(pointer, target, tag):
            return path


def _pointer_path(campaign: str) -> str:
    return f"campaigns/{campaign}/reward/latest.json"
