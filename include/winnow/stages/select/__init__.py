"""Select: score every pair of every pool, choose the few that are worth a label.

The pairs depend on the pools, the reward model and the campaign's settings alone. The model that
was used is stored with them, and each pair says why it was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from winnow.batch import Batch, Manifest, quarantine_table, read_table
from winnow.campaign import Label, Select
from winnow.ids import pair_id
from winnow.records import COMPARISONS, FEATURES, Quarantined, to_table
from winnow.reward import OVERALL, GateState, Posterior, RewardModel, fit_projection, prior_of
from winnow.select import Choice, Pool, Rules, one_blas_thread
from winnow.select.budget import NightRules, count_capacity
from winnow.select.fallback import effective_dimension, effective_rules, untrusted_because
from winnow.select.night import Night
from winnow.stages.compared import with_pool_columns
from winnow.stages.select import reward_model
from winnow.stages.select.candidates import Candidates, read_candidates

STAGE = "select"

Row = Mapping[str, Any]

_OF_CHOICE = (
    *("kind", "rank", "reason", "info_gain", "decision_gain", "score"),
    *("p_first", "contested", "conflict", "propensity"),
)
"""Columns of `records.COMPARISONS` that a choice has."""


@one_blas_thread()
def run(batch: Batch) -> Manifest:
    """Choose the batch's comparisons."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    candidates = read_candidates(batch)
    current = _newest(batch, candidates)
    model, gate = _model_of(batch, candidates, current)
    rules, fallback = night_rules(batch.campaign.select, model, gate)
    capacity = count_capacity(candidates.bare_pools, rules)
    night = Night(candidates.pools(model), model.heads, rules, capacity)
    comparisons, alone = [], []
    for pool, choices in night:
        prompt = candidates.prompts[pool.prompt_id]
        comparisons += [_comparison(batch, rules, prompt, pool, c, model.version) for c in choices]
        if not choices:
            detail = (
                f"the pool holds {len(set(pool.response_ids))} distinct response(s) and no pair of "
                "them is worth comparing"
            )
            alone.append(Quarantined(STAGE, "no_pair", detail, record_id=pool.prompt_id))
    report = night.report
    return batch.commit(
        STAGE,
        inputs=[ingested, expanded],
        outputs={
            "comparisons": batch.write_table(
                STAGE, "comparisons", to_table(comparisons, COMPARISONS)
            ),
            "compared": batch.write_table(
                STAGE, "compared", _compared(batch, candidates, comparisons, model.feature_version)
            ),
            "reward_model": batch.write_bytes(STAGE, "reward_model", "npz", model.to_bytes()),
            "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(alone)),
        },
        counts={
            "rows_in": len(candidates.rows_of),
            "rows_out": len(candidates.rows_of) - len(alone),
            "quarantined": len(alone),
            "pairs_scored": candidates.n_pairs,
            "comparisons": len(comparisons),
            "exploration": report.explored,
            "blocked_responses": int(candidates.blocked_r.sum()),
        },
        figures={
            "strategy": rules.pool_rules.strategy,
            "fallback": fallback,
            "gate": gate,
            "gate_reason": current.gate_reason if current else "",
            "posterior_version": model.version,
            "posterior_labels": _n_labels(model),
            "mean_info_gain": report.mean_info_gain,
            "mean_decision_gain": report.mean_decision_gain,
            "unspent_pairs": report.unspent,
            "floors": [asdict(floor) for floor in report.floors],
            "unmet_floors": [floor.stratum for floor in report.unmet],
            "conflicts": sum(c["conflict"] for c in comparisons),
        },
    )


def reward_model_for(batch: Batch, candidates: Candidates) -> tuple[RewardModel, GateState]:
    """The newest reward model with the state of its gate.

    Before any label on features of this version it is a prior over this batch's own features, and
    so is the head of a dimension that no label spoke of yet.
    """
    return _model_of(batch, candidates, _newest(batch, candidates))


def _newest(batch: Batch, candidates: Candidates) -> reward_model.Current | None:
    return reward_model.newest_for(batch.lake, batch.campaign, candidates.columns)


def _model_of(
    batch: Batch, candidates: Candidates, current: reward_model.Current | None
) -> tuple[RewardModel, GateState]:
    columns = candidates.columns
    if current is not None:
        projection, heads_so_far, gate = current.model.projection, current.model.heads, current.gate
    else:
        projection = fit_projection(
            candidates.sample(), columns.blocks, batch.campaign.select.max_components
        )
        heads_so_far, gate = {}, "undecided"
    unknown = prior_of(projection.blocks)
    names = {OVERALL}
    if batch.campaign.select.head_per_dimension:
        names = {candidates.prompts[prompt]["dimension"] for prompt in candidates.rows_of}
    heads = {name: heads_so_far.get(name, unknown) for name in sorted(names)}
    return RewardModel(projection, heads, columns.version), gate


def pool_rules(settings: Select) -> Rules:
    """How the campaign asks to choose from one pool."""
    return Rules(
        budget=settings.pairs_per_prompt,
        strategy=settings.strategy,
        exploration=settings.exploration,
        max_pairs_per_response=settings.max_pairs_per_response,
        fresh_first=settings.fresh_first,
        seed=settings.seed,
        kappa=settings.kappa,
        residual_sd=settings.residual_sd,
        traditional_k=settings.traditional_k,
    )


def night_rules(settings: Select, model: RewardModel, gate: GateState) -> tuple[NightRules, str]:
    """What the campaign asks for, or what is done instead with the reason."""
    least, most = settings.pair_limits
    chosen, reason = effective_rules(
        pool_rules(settings),
        _n_labels(model),
        _dimension(model),
        gate,
        has_score=model.projection.has_score,
    )
    rules = NightRules(
        chosen, least, most, floors=settings.floors, shard_size=settings.prompts_per_shard
    )
    return rules, reason


def why_untrusted(model: RewardModel, gate: GateState) -> str:
    """Why the model may not choose or steer; empty where it may."""
    return untrusted_because(_n_labels(model), _dimension(model), gate)


def _dimension(model: RewardModel) -> float:
    heads = [head for head in model.heads.values() if isinstance(head, Posterior)]
    return sum(effective_dimension(head) for head in heads)


def _n_labels(model: RewardModel) -> int:
    return sum(head.n_labels for head in model.heads.values())


def _comparison(
    batch: Batch, rules: NightRules, prompt: Row, pool: Pool, choice: Choice, model_version: str
) -> dict[str, Any]:
    first, second = pool.response_ids[choice.i], pool.response_ids[choice.j]
    return {
        "pair_id": pair_id(first, second),
        "prompt_id": pool.prompt_id,
        "first_id": first,
        "second_id": second,
        "strategy": rules.pool_rules.strategy,
        **{name: getattr(choice, name) for name in _OF_CHOICE},
        "dimension": prompt["dimension"],
        "posterior_version": model_version,
        "expected_cost": expected_cost(batch.campaign.label),
    }


def expected_cost(label: Label) -> int:
    """Price of a comparison with its share of second votes, micro-dollars."""
    return round(label.price * (1.0 + label.second_vote_share))


def _compared(
    batch: Batch, candidates: Candidates, comparisons: Sequence[Row], feature_version: str
) -> pa.Table:
    """The compared responses with all that later stages read of them."""
    place = {response: row for row, response in enumerate(candidates.response_ids)}
    compared = {
        (c["prompt_id"], c[side]) for c in comparisons for side in ("first_id", "second_id")
    }
    vectors = to_table(
        (
            {
                "response_id": response,
                "vector": candidates.raw_rc[place[response]],
                "feature_version": feature_version,
            }
            for _, response in sorted(compared)
        ),
        FEATURES,
    )
    responses = read_table(batch.lake, batch.require("expand").outputs["responses"])
    prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"])
    return with_pool_columns(vectors, responses, prompts)
