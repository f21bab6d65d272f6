"""What the gate is given of a batch: its tables, the last versions, the evaluation prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winnow.batch import Artifact, Batch, Manifest, read_artifact, table_files
from winnow.campaign import Campaign
from winnow.errors import Fatal
from winnow.ingest.sources import named_files
from winnow.label.database import opened
from winnow.publish.labelled import labelled, pool_tables
from winnow.publish.report.shares import largest_shifts, traits
from winnow.publish.versions import newest
from winnow.sql import Source
from winnow.validate.aside import Aside, without
from winnow.validate.leakage import EvaluationSet, merged, read_evaluation
from winnow.validate.measure import Measured, measure
from winnow.validate.metrics import LabelFigures, label_figures
from winnow.validate.tables import BatchTables
from winnow.validate.team_suites import Suite
from winnow.validate.verdict import Verdict

_STAGE_OF = {
    "prompts": "ingest",
    "comparisons": "select",
    "tasks": "label",
    "annotations": "label",
    "preferences": "label",
}
NOTHING = Aside()
_COUNT_OF = {
    "comparisons": "comparisons",
    "tasks": "tasks",
    "annotations": "annotations",
    "preferences": "rows_out",
}
"""Count of its stage's manifest that says how many rows a table has."""


@contextmanager
def tables_of(batch: Batch) -> Iterator[dict[str, Path]]:
    """The tables that the gate looks at, as files.

    Raises:
        Corrupt: One is not what its manifest says.
    """
    with table_files(batch.lake, _stored(batch)) as files:
        yield files


def _stored(batch: Batch) -> dict[str, Artifact]:
    own = {table: batch.require(stage).outputs[table] for table, stage in _STAGE_OF.items()}
    return {**own, **pool_tables(*(batch.require(stage).outputs for stage in ("expand", "select")))}


@contextmanager
def measured(
    batch: Batch, aside: Aside = NOTHING, suites: Sequence[Suite] = ()
) -> Iterator[Measured]:
    """Measure a batch whose labels are collected; its files are there while it is looked at.

    What is set `aside` is left out, and so is what it cost. A team's `suites` go along.

    Raises:
        Fatal: The campaign's evaluation prompts cannot be read.
        Corrupt: A table, or the verdict of a published batch, is not what its manifest says.
    """
    manifests = {table: batch.require(stage) for table, stage in _STAGE_OF.items()}
    label = manifests["annotations"]
    n_rows = {
        table: _n_rows(manifests, table, artifact) - aside.n_rows.get(table, 0)
        for table, artifact in _stored(batch).items()
    }
    figures, charged = LabelFigures.of(label.figures), label.cost
    with tables_of(batch) as whole, without(whole, aside) as files:
        with labelled(batch.key, files) as tables:
            shifts = largest_shifts(traits(tables))
        if aside:
            charged = max(0, charged - (_paid(whole) - _paid(files)))
            with opened(files) as labels:
                figures = label_figures(labels, batch.campaign.label.pair_share)
        yield measure(
            BatchTables(
                tables=files,
                n_rows=n_rows,
                charged=charged,
                floors=batch.campaign.select.floors,
                unmet_floors=manifests["comparisons"].figures.get("unmet_floors", ()),
            ),
            figures,
            batch.campaign.validation,
            aggregation=batch.campaign.label.aggregation,
            share=batch.campaign.label.pair_share,
            history=_history(batch),
            evaluation=evaluation_of(batch.campaign, batch.day),
            shifts=shifts,
            suites=suites,
        )


def _n_rows(manifests: Mapping[str, Manifest], table: str, artifact: Artifact) -> int:
    """Rows of a table when its stage committed."""
    # Rankings are counted as they were asked, and are told here by their pairs.
    is_ranked = "ranking_tasks" in manifests[table].outputs if table in manifests else False
    if table not in _COUNT_OF or (is_ranked and table in ("tasks", "annotations")):
        return artifact.n_rows
    return manifests[table].counts.get(_COUNT_OF[table], artifact.n_rows)


def _paid(files: Mapping[str, Source]) -> int:
    """What the annotations cost, micro-dollars."""
    with opened(files) as labels:
        [(paid,)] = labels.sql("SELECT coalesce(sum(price), 0) FROM latest").fetchall()
    return int(paid)


def _history(batch: Batch) -> list[Mapping[str, Any]]:
    """Profiles of the batches published last, this one's left out if it is among them."""
    version = newest(batch.lake, batch.campaign.publish.dataset)
    before = [key for key in version.batches if key != batch.key] if version else []
    names = [f"quality/{key}.json" for key in before[-batch.campaign.validation.history_versions :]]
    stored = [version.files[name] for name in names if name in version.files] if version else []
    verdicts = [Verdict.from_bytes(read_artifact(batch.lake, artifact)) for artifact in stored]
    return [verdict.profile for verdict in verdicts if verdict.profile]


def evaluation_of(campaign: Campaign, day: str) -> EvaluationSet | None:
    """The prompts that no batch may contain; None where the campaign names none.

    Raises:
        Fatal: They cannot be read, all of them.
    """
    source = campaign.validation.evaluation_prompts
    if source is None:
        return None
    setting = "validation.evaluation_prompts"
    sets = []
    for file in named_files(source, day, setting):
        with file.local() as path:
            sets.append(read_evaluation(file.name, path))
    if not sets:
        raise Fatal(f"No file at {source} for {day}; correct {setting} of the campaign.")
    return merged(sets)
