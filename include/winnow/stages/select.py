"""Select: score every pair of every pool, choose the few that are worth a label.

The pairs depend on the pools, the posterior and the campaign's settings alone, and the posterior
that was used is stored with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.batch import Batch, Manifest, quarantine_table, read_table
from winnow.campaign import Label
from winnow.ids import pair_id
from winnow.records import COMPARISONS, FEATURES, Quarantined, to_table
from winnow.reward import RewardModel, centre, fit_projection, prior
from winnow.select import Choice, Pool, Rules, choose_for_pools
from winnow.stages import reward_model

STAGE = "select"

Row = Mapping[str, Any]


def run(batch: Batch) -> Manifest:
    """Choose the batch's comparisons."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    features = read_table(batch.lake, expanded.outputs["features"])
    responses = read_table(batch.lake, expanded.outputs["responses"])
    prompts = {
        r["prompt_id"]: r for r in read_table(batch.lake, ingested.outputs["prompts"]).to_pylist()
    }
    pools = _pools(responses, features)
    model = _model(batch, pools, expanded)
    projected = [Pool(p.prompt_id, p.response_ids, model.features(p.features_nd)) for p in pools]
    chosen = choose_for_pools(
        projected, model.posterior, _rules(batch), batch.campaign.select.prompts_per_shard
    )
    comparisons = [
        _comparison(batch, prompts[pool.prompt_id], pool, choice, model.version)
        for pool in projected
        for choice in chosen[pool.prompt_id]
    ]
    alone = [_alone(pool) for pool in projected if not chosen[pool.prompt_id]]
    return batch.commit(
        STAGE,
        inputs=[ingested, expanded],
        outputs={
            "comparisons": batch.write_table(
                STAGE, "comparisons", to_table(comparisons, COMPARISONS)
            ),
            "compared": batch.write_table(STAGE, "compared", _compared(features, comparisons)),
            "reward_model": batch.write_bytes(STAGE, "reward_model", "npz", model.to_bytes()),
            "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(alone)),
        },
        counts={
            "rows_in": len(pools),
            "rows_out": len(pools) - len(alone),
            "quarantined": len(alone),
            "pairs_scored": sum(
                len(p.response_ids) * (len(p.response_ids) - 1) // 2 for p in pools
            ),
            "comparisons": len(comparisons),
        },
        figures={
            "posterior_version": model.version,
            "posterior_labels": model.posterior.n_labels,
            "mean_info_gain": _mean(c["info_gain"] for c in comparisons),
        },
    )


def _pools(responses: pa.Table, features: pa.Table) -> list[Pool]:
    """The batch's pools by prompt id, with raw features."""
    vectors = dict(
        zip(features["response_id"].to_pylist(), features["vector"].to_pylist(), strict=True)
    )
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for row in responses.select(["prompt_id", "response_id"]).to_pylist():
        ids[row["prompt_id"]].append(row["response_id"])
    return [
        Pool(prompt, found, np.array([vectors[i] for i in found], dtype=np.float64))
        for prompt, found in sorted(ids.items())
    ]


def _model(batch: Batch, pools: list[Pool], expanded: Manifest) -> RewardModel:
    """The newest reward model, or before any label a prior over this batch's own features."""
    version = expanded.figures["feature_version"]
    model = reward_model.newest(batch.lake, batch.campaign.name)
    if model is not None and model.feature_version == version:
        return model
    centred = np.vstack([centre(pool.features_nd.astype(np.float64)) for pool in pools])
    projection = fit_projection(
        centred, expanded.figures["n_embedding"], batch.campaign.select.max_components
    )
    d = projection.n_features
    return RewardModel(projection, prior(d, float(max(d, 1))), version)


def _rules(batch: Batch) -> Rules:
    settings = batch.campaign.select
    return Rules(
        budget=settings.pairs_per_prompt,
        strategy=settings.strategy,
        exploration=settings.exploration,
        max_pairs_per_response=settings.max_pairs_per_response,
        seed=settings.seed,
    )


def _comparison(
    batch: Batch, prompt: Row, pool: Pool, choice: Choice, posterior_version: str
) -> dict[str, Any]:
    first, second = pool.response_ids[choice.i], pool.response_ids[choice.j]
    return {
        "pair_id": pair_id(first, second),
        "prompt_id": pool.prompt_id,
        "first_id": first,
        "second_id": second,
        "kind": "exploration" if choice.arm == "explore" else "selected",
        "strategy": batch.campaign.select.strategy,
        "rank": choice.rank,
        "info_gain": choice.info_gain,
        "score": choice.score,
        "p_first": choice.p_first,
        "propensity": choice.propensity,
        "dimension": prompt["dimension"],
        "posterior_version": posterior_version,
        "expected_cost": _expected_cost(batch.campaign.label),
    }


def _expected_cost(label: Label) -> int:
    """Price of a comparison with its share of second votes, micro-dollars."""
    return round(label.price * (1.0 + label.second_vote_share))


def _compared(features: pa.Table, comparisons: list[dict[str, Any]]) -> pa.Table:
    """Features of the compared responses only: what every later refit reads."""
    wanted = sorted({c[side] for c in comparisons for side in ("first_id", "second_id")})
    rows = {row["response_id"]: row for row in features.to_pylist()}
    return to_table([rows[i] for i in wanted], FEATURES)


def _alone(pool: Pool) -> Quarantined:
    detail = (
        f"the pool holds {len(set(pool.response_ids))} distinct response(s): no pair to compare"
    )
    return Quarantined(STAGE, "no_pair", detail, record_id=pool.prompt_id)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
