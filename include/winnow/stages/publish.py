"""Publish: hold the labels against the gate, publish a version, refit the posterior.

Three steps that may each be run again alone. The stage is committed by the last one, when the
version is out and the next batch can learn from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.batch import Artifact, Batch, Manifest, read_table, table_bytes
from winnow.errors import Blocked
from winnow.label.vendors import kind_of
from winnow.publish.card import dataset_card
from winnow.publish.versions import publish, read_version, store_object
from winnow.publish.views import Labelled, build_views
from winnow.stages import reward_model
from winnow.validate.gate import Verdict, judge
from winnow.validate.metrics import LabelFigures

STAGE = "publish"

Row = Mapping[str, Any]


def check(batch: Batch) -> str:
    """Judge the batch's labels and store the verdict; returns where it lies in the lake."""
    labelled = batch.require("label")
    annotations = read_table(batch.lake, labelled.outputs["annotations"])
    verdict = judge(annotations, LabelFigures.of(labelled.figures), batch.campaign.validation)
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
    quality = store_object(batch.lake, dataset, verdict_bytes, "json")
    files = {f"quality/{batch.key}.json": quality, **_data_files(batch)}
    note = kind_of(batch.campaign.label.vendor).note
    return publish(
        batch.lake,
        dataset,
        batch.key,
        files,
        _figures(batch, verdict),
        lambda new: dataset_card(new, batch.campaign, note),
        batch.clock(),
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


def _data_files(batch: Batch) -> dict[str, Artifact]:
    """The batch's shard of each view that has rows, by its name in the version's folder."""
    views = build_views(_labelled(batch), batch.campaign.publish.min_p_chosen)
    dataset = batch.campaign.publish.dataset
    stored = {
        view: store_object(batch.lake, dataset, table_bytes(table), "parquet", table.num_rows)
        for view, table in views.items()
        if table.num_rows
    }
    return {f"data/{view}/{batch.key}-{a.sha256[:8]}.parquet": a for view, a in stored.items()}


def _labelled(batch: Batch) -> Labelled:
    return Labelled(
        batch=batch.key,
        prompts=_by_id(batch, "ingest", "prompts", "prompt_id"),
        responses=_by_id(batch, "expand", "responses", "response_id"),
        comparisons=_by_id(batch, "select", "comparisons", "pair_id"),
        preferences=_rows(batch, "label", "preferences"),
        annotations=[r for r in _rows(batch, "label", "annotations") if r["kind"] != "gold"],
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
