"""What the quality report tells of a batch, gathered from its manifests and tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from winnow.batch import Batch, Manifest, read_artifact, read_manifest, table_file
from winnow.label.vendors import kind_of
from winnow.publish.labelled import Labelled
from winnow.publish.report import figures, quality_report
from winnow.publish.report.facts import BatchFacts, History, Refused
from winnow.publish.report.shares import traits
from winnow.publish.versions import Version, read_version
from winnow.sql import database
from winnow.validate.verdict import NO_TABLE

STAGES = ("ingest", "expand", "select", "label")


def report_of(
    batch: Batch, facts: BatchFacts, version: Version, known: Version | None = None
) -> str:
    """The quality report of a version that the batch is about to become.

    `known` is a version that was read before, likely its parent.
    """
    parent = known if known is not None and known.number == version.parent else None
    if version.parent is not None and parent is None:
        parent = read_version(batch.lake, version.dataset, version.parent)
    return quality_report(version, facts, History(parent, version.paid))


def paid_with(batch: Batch, parent: Version | None) -> int | None:
    """What the labels of all batches cost with this one's, micro-dollars; None: not known.

    An older parent does not say it: the books of all its batches are read, once.
    """
    own = batch.require("label").cost
    if parent is None or parent.paid is not None:
        return own + (parent.paid or 0 if parent else 0)
    books = [read_manifest(batch.lake, batch.campaign.name, k, "label") for k in parent.batches]
    costs = [manifest.cost for manifest in books if manifest is not None]
    return own + sum(costs) if len(costs) == len(books) else None


def facts_of(batch: Batch, labelled: Labelled, verdict: Mapping[str, Any]) -> BatchFacts:
    """Everything that the report tells of the batch.

    Args:
        batch: A batch whose labels are collected.
        labelled: Its tables.
        verdict: What the gate said, as JSON has it.
    """
    manifests = {stage: batch.require(stage) for stage in STAGES}
    # A batch of a time before it has no report on annotators.
    annotators = manifests["label"].outputs.get("annotators")
    return BatchFacts(
        batch=batch.key,
        campaign=batch.campaign,
        vendor_note=kind_of(batch.campaign.label.vendor).note,
        manifests=manifests,
        verdict=verdict,
        annotators=json.loads(read_artifact(batch.lake, annotators)) if annotators else [],
        refused=[
            *(each for stage in STAGES for each in _refused(batch, manifests[stage])),
            *_bad_rows(verdict),
        ],
        ranks=figures.gain_by_rank(labelled),
        calibration=figures.calibration(labelled),
        traits=traits(labelled),
        lengths=figures.lengths(labelled),
        longer=figures.longer_wins(labelled),
        examples=figures.examples(labelled),
        seconds=figures.seconds_spent(labelled),
    )


def _refused(batch: Batch, manifest: Manifest) -> list[Refused]:
    """A stage's quarantine by reason, the commonest first."""
    if "quarantine" not in manifest.outputs:
        return []
    with (
        table_file(batch.lake, manifest.outputs["quarantine"]) as file,
        database({"quarantine": file}) as rows,
    ):
        return [Refused(*row) for row in rows.sql(_REFUSED).fetchall()]


_REFUSED = """
SELECT stage, reason, count(*) AS n, coalesce(first(detail ORDER BY row_n), '')
FROM quarantine GROUP BY stage, reason ORDER BY n DESC, reason
"""


def _bad_rows(verdict: Mapping[str, Any]) -> list[Refused]:
    """Rows that break a check of the gate, by check."""
    details: defaultdict[str, list[str]] = defaultdict(list)
    for row in verdict.get("bad_rows", ()):
        if row["table"] == NO_TABLE:
            continue
        details[row["check"]].append(row["detail"])
    # The verdict names the first rows only; the value of such a check counts them all.
    n = {check["name"]: check["value"] for check in verdict["checks"]}
    n |= (verdict.get("set_aside") or {}).get("checks", {})
    return [
        Refused("publish", name, n.get(name, len(rows)), rows[0]) for name, rows in details.items()
    ]
