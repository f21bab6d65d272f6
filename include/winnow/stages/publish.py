"""Publish: hold the labels against the gate, publish a version, refit the posterior.

Three steps that may each be run again alone. The stage is committed by the last one, when the
version is out and the next batch can learn from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from winnow.batch import Batch, Manifest, read_table
from winnow.campaign import Publish
from winnow.errors import Blocked
from winnow.label.vendors import kind_of
from winnow.label.votes import GOLD
from winnow.publish.card import dataset_card
from winnow.publish.formats import dataset_info
from winnow.publish.shards import Shards, cut_shards, store_shards
from winnow.publish.versions import Version, newest, publish, read_version, store_object
from winnow.publish.views import Labelled, build_views
from winnow.stages import quality, reward_model
from winnow.stages.gate_input import measured
from winnow.validate.gate import judge
from winnow.validate.verdict import Verdict

STAGE = "publish"

Row = Mapping[str, Any]


def check(batch: Batch) -> str:
    """Judge the batch's labels and store the verdict; returns where it lies in the lake."""
    verdict = judge(measured(batch), batch.campaign.validation)
    return batch.write_bytes(STAGE, "verdict", "json", verdict.to_bytes()).path


def version(batch: Batch, verdict_path: str) -> int:
    """Publish the batch as a dataset version, unless the verdict blocks it; returns its number.

    Raises:
        Blocked: A check failed that the campaign makes blocking; each figure and limit is named.
    """
    verdict_bytes = batch.lake.read(verdict_path)
    verdict = Verdict.from_bytes(verdict_bytes)
    if verdict.verdict == "block":
        raise Blocked(f"Batch {batch.key} is not published. " + "; ".join(verdict.reasons()))
    dataset = batch.campaign.publish.dataset
    parent = newest(batch.lake, dataset)
    labelled = _labelled(batch)
    shards = _shards(labelled, batch.campaign.publish, parent)
    facts = quality.facts_of(batch, labelled, asdict(verdict))
    files = {
        f"quality/{batch.key}.json": store_object(batch.lake, dataset, verdict_bytes, "json"),
        "dataset_info.json": store_object(batch.lake, dataset, dataset_info(dataset), "json"),
        **store_shards(batch.lake, dataset, batch.key, shards),
    }
    note = kind_of(batch.campaign.label.vendor).note
    return publish(
        batch.lake,
        dataset,
        batch.key,
        files,
        {**_figures(batch, verdict), "test_share": shards.test_share},
        lambda new: dataset_card(new, batch.campaign, note),
        batch.clock(),
        report=lambda new: quality.report_of(batch, facts, new),
    ).number


def refit(batch: Batch, number: int) -> Manifest:
    """Refit the posterior on every label up to version `number`, and commit the stage."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    published = read_version(batch.lake, batch.campaign.publish.dataset, number)
    fitted = reward_model.refit(batch.lake, batch.campaign, published)
    path = reward_model.store(batch.lake, batch.campaign.name, fitted, number)
    labelled = batch.require("label")
    n_preferences = labelled.outputs["preferences"].n_rows
    return batch.commit(
        STAGE,
        inputs=[labelled],
        outputs={},
        counts={"rows_in": n_preferences, "rows_out": n_preferences, "quarantined": 0},
        cost=labelled.cost,
        figures={
            "version": published.name,
            "digest": published.digest,
            "folder": published.folder,
            "verdict": published.figures["verdict"],
            "reward_rows": published.n_rows("reward"),
            "dpo_rows": published.n_rows("dpo"),
            "posterior": path,
            "posterior_labels": sum(head.n_labels for head in fitted.model.heads.values()),
            "annotators_guessing": fitted.guessing,
            **fitted.trust.figures(),
        },
    )


def _shards(labelled: Labelled, settings: Publish, parent: Version | None) -> Shards:
    views = build_views(labelled, settings.min_p_chosen)
    return cut_shards(views, labelled.prompts, settings.test_share, parent)


def _labelled(batch: Batch) -> Labelled:
    return Labelled(
        batch=batch.key,
        prompts=_by_id(batch, "ingest", "prompts", "prompt_id"),
        responses=_by_id(batch, "expand", "responses", "response_id"),
        comparisons=_by_id(batch, "select", "comparisons", "pair_id"),
        preferences=_rows(batch, "label", "preferences"),
        annotations=[r for r in _rows(batch, "label", "annotations") if r["kind"] != GOLD],
    )


def _by_id(batch: Batch, stage: str, table: str, key: str) -> dict[str, Row]:
    return {row[key]: row for row in _rows(batch, stage, table)}


def _rows(batch: Batch, stage: str, table: str) -> list[Row]:
    return list(read_table(batch.lake, batch.require(stage).outputs[table]).to_pylist())


def _figures(batch: Batch, verdict: Verdict) -> dict[str, Any]:
    """What the card and the manifest tell of this batch, each figure measured on it."""
    ingest, expand, select, label = (
        batch.require(s) for s in ("ingest", "expand", "select", "label")
    )
    return {
        "verdict": verdict.verdict,
        "prompts": ingest.counts["rows_out"],
        "prompts_quarantined": ingest.counts["quarantined"],
        "responses": expand.counts["responses"],
        "pairs_scored": select.counts["pairs_scored"],
        "comparisons": select.counts["comparisons"],
        "strategy": select.figures["strategy"],
        "exploration": select.counts["exploration"],
        "unmet_floors": ", ".join(select.figures["unmet_floors"]) or "none",
        "mean_info_gain": select.figures["mean_info_gain"],
        **label.figures,
        "cost": label.cost,
    }
