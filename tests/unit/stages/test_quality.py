"""What the report tells of a batch comes from its manifests and tables, absent ones included."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow.batch import Artifact, Batch, open_batch, quarantine_table, read_table
from winnow.campaign import parse_campaign
from winnow.lake import FolderLake
from winnow.publish.labelled import labelled
from winnow.publish.report.facts import BatchFacts
from winnow.publish.versions import Version
from winnow.records import ANNOTATIONS, PREFERENCES, Quarantined
from winnow.stages.publish import quality

from ...fabricated import fabricate

PASSED = {"verdict": "pass", "checks": []}


def batch_with_labels(root: Path, key: str = "d1", annotators: bool = True) -> Batch:
    """A batch that stands before publishing; its labels cost 2 dollars."""
    campaign = parse_campaign(
        {
            "name": "d",
            "schedule": {"cron": None, "key": "text"},
            "ingest": {"sources": ["p"]},
            "expand": {"model": "m"},
            "label": {"budget_usd": 9},
            "publish": {"dataset": "d"},
        },
        "test",
    )
    batch = open_batch(campaign, key, FolderLake(root), lambda: datetime(2026, 11, 23, tzinfo=UTC))
    fabricate(batch, 4)
    refused = [Quarantined("label", "no_vote", f"pair {i}", record_id=str(i)) for i in range(3)]
    outputs = {"quarantine": batch.write_table("label", "quarantine", quarantine_table(refused))}
    if annotators:
        report = json.dumps([{"annotator": "abc", "votes": 4}]).encode()
        outputs["annotators"] = batch.write_bytes("label", "annotators", "json", report, 1)
    counts = {"rows_in": 4, "rows_out": 4, "quarantined": 0}
    batch.commit("label", inputs=[], outputs=outputs, counts=counts, cost=2_000_000)
    return batch


def facts_of(batch: Batch, verdict: dict[str, Any]) -> BatchFacts:
    """What is told of the batch while nothing of it is labelled."""
    stages = {"prompts": "ingest", "responses": "expand", "comparisons": "select"}
    rows = {n: read_table(batch.lake, batch.require(s).outputs[n]) for n, s in stages.items()}
    unlabelled = {"preferences": PREFERENCES, "annotations": ANNOTATIONS}
    none = {name: schema.empty_table() for name, schema in unlabelled.items()}
    with labelled(batch.key, {**rows, **none}) as found:
        return quality.facts_of(batch, found, verdict)


def version(*batches: str) -> Version:
    return Version("d", 1, None, batches, {}, {}, "2026-11-23T00:00:00+00:00")


def test_quarantine_is_told_by_reason_and_the_gate_s_bad_rows_with_it(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path)
    bad = {"check": "pair is known", "table": "annotations", "row_id": "x", "detail": "no such"}
    facts = facts_of(batch, {**PASSED, "bad_rows": [bad, bad]})
    told = [(each.stage, each.reason, each.n) for each in facts.refused]
    assert told == [("label", "no_vote", 3), ("publish", "pair is known", 2)]


def test_rows_that_the_verdict_does_not_name_are_counted(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path)
    bad = {"check": "sides_differ", "table": "comparisons", "row_id": "x", "detail": "one"}
    check = {"name": "sides_differ", "severity": "block", "outcome": "fail", "value": 4000}
    facts = facts_of(batch, {**PASSED, "checks": [{**check, "limit": ""}], "bad_rows": [bad]})
    assert facts.refused[-1].n == 4000


def test_annotators_are_those_of_the_label_stage(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path / "a")
    assert facts_of(batch, PASSED).annotators[0]["annotator"] == "abc"
    batch = batch_with_labels(tmp_path / "b", annotators=False)
    assert facts_of(batch, PASSED).annotators == []


def test_all_batches_are_paid_for_or_the_total_is_unknown(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path, annotators=False)
    batch_with_labels(tmp_path, "d2")
    facts = facts_of(batch, PASSED)

    def told_after(*before: str) -> str:
        paid = quality.paid_with(batch, version(*before))
        return quality.report_of(batch, facts, replace(version(*before, "d1"), paid=paid))

    assert "<dt>paid for all batches</dt><dd>$4.00</dd>" in told_after("d2")
    assert "<dt>paid for all batches</dt><dd>not measured</dd>" in told_after("elsewhere")


def test_what_was_paid_before_is_carried_on_and_no_book_is_read_again(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path, annotators=False)
    parent = replace(version("elsewhere"), paid=3_000_000)
    assert quality.paid_with(batch, parent) == 5_000_000
    assert quality.paid_with(batch, replace(parent, paid=0)) == 2_000_000
    assert quality.paid_with(batch, None) == 2_000_000


def test_a_version_without_shards_of_the_batch_has_no_preferences(tmp_path: Path) -> None:
    batch = batch_with_labels(tmp_path, annotators=False)
    facts = facts_of(batch, PASSED)
    shard = Artifact("x", "x", 7, 1)
    other = Version(
        "d", 1, None, ("d0", "d1"), {"data/reward/train/d0-ab.parquet": shard}, {}, "2026"
    )
    assert "and 0 became preferences" in quality.report_of(batch, facts, other)
