"""What a batch has done so far, a line a stage, read from its manifests and unfinished work."""

from __future__ import annotations

from winnow.batch import STAGES, Batch, Manifest
from winnow.records import MICROS
from winnow.stages import expand, label


def progress(batch: Batch) -> dict[str, str]:
    """A line for each stage that has begun, in order."""
    lines = {}
    for stage in STAGES:
        manifest = batch.manifest(stage)
        line = _done(manifest) if manifest else _begun(batch, stage)
        if line:
            lines[stage] = line
        if manifest is None:
            break
    return lines


def summary(batch: Batch) -> str:
    """What a published batch made, what it cost, and where it lies."""
    ingest, expand, select, label, publish = (batch.require(stage) for stage in STAGES)
    agreement, n_pairs = label.figures["agreement"], label.figures["n_agreement"]
    rows = {
        "prompts": f"{ingest.counts['rows_out']} ({ingest.counts['quarantined']} rows in quarantine)",
        "candidate pool": f"{expand.counts['responses']} distinct responses of "
        f"{expand.counts['sampled']} sampled by {expand.figures['engine']}",
        "pairs scored": f"{select.counts['pairs_scored']}",
        "pairs bought": f"{select.counts['comparisons']} as {label.counts['tasks']} tasks, "
        f"{label.counts['annotations']} answered",
        "cost": f"${label.cost / MICROS:.2f} ({batch.campaign.label.vendor})",
        "agreement": "not measured"
        if agreement is None
        else f"{agreement:.2f} on {n_pairs} pairs judged twice",
        "posterior": f"{publish.figures['posterior_labels']} labels, for the next batch",
        "dataset": f"{batch.campaign.publish.dataset} {publish.figures['version']}, "
        f"{publish.figures['reward_rows']} preferences, gate: {publish.figures['verdict']}",
        "folder": f"{batch.lake.uri}/{publish.figures['folder']}",
    }
    return "\n".join(f"  {name:<15} {value}" for name, value in rows.items())


def _done(manifest: Manifest) -> str:
    counts = manifest.counts
    told = {
        "ingest": f"{counts['rows_out']} prompts",
        "expand": f"{counts.get('responses')} responses",
        "select": f"{counts.get('comparisons')} pairs of {counts.get('pairs_scored')}",
        "label": f"{counts.get('annotations')} annotations, ${manifest.cost / MICROS:.2f}",
        "publish": f"{manifest.figures.get('version')}, gate: {manifest.figures.get('verdict')}",
    }[manifest.stage]
    kept = f", {counts['quarantined']} in quarantine" if counts["quarantined"] else ""
    return f"done: {told}{kept}"


def _begun(batch: Batch, stage: str) -> str | None:
    if stage == "expand":
        return expand.progress(batch)
    if stage == "label" and label.is_submitted(batch):
        return "tasks are with the vendor"
    return None
