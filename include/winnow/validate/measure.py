"""Everything that is measured of a batch before the gate judges it, in SQL where it is heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from winnow.campaign import Validate
from winnow.validate.annotators import (
    READING,
    Held,
    annotator_counts,
    held_annotators,
    suspects,
)
from winnow.validate.leakage import CHECK as LEAKED
from winnow.validate.leakage import EvaluationSet, leaked
from winnow.validate.metrics import LabelFigures
from winnow.validate.profile import Profile, batch_figures, drift, profile_of, unmet_floors
from winnow.validate.rows import bad_rows, row_checks
from winnow.validate.tables import BatchTables, opened, wrong_columns
from winnow.validate.verdict import BadRow, Severity, Suspect


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What the gate judges.

    Attributes:
        annotations: The batch's annotations as they are.
        preferences: Its preferences as they are.
        faults: Rows that break each check of rows, by its name; empty where none does.
        severities: Severity of each check in `faults`.
        figures: Figures of the whole batch; None is not measured.
        held: Each annotator on each check that they can be held against.
        suspects: Those who fail one.
        profile: What later batches are held against.
        unmet_floors: Strata of which fewer pairs were labelled than wanted.
    """

    annotations: pa.Table
    preferences: pa.Table
    faults: Mapping[str, Sequence[BadRow]]
    severities: Mapping[str, Severity]
    figures: Mapping[str, float | int | None]
    held: Sequence[Held]
    suspects: Sequence[Suspect]
    profile: Profile
    unmet_floors: Sequence[str] = ()


def measure(
    batch: BatchTables,
    label: LabelFigures,
    limits: Validate,
    *,
    aggregation: str = "bradley_terry",
    history: Sequence[Profile] = (),
    evaluation: EvaluationSet | None = None,
) -> Measured:
    """Measure a batch.

    Args:
        batch: Its tables.
        label: Figures of its annotations, as the label stage took them.
        limits: Of the campaign.
        aggregation: How votes became preferences.
        history: Profiles of the last versions; none, and drift is not measured.
        evaluation: Prompts that no batch may contain; None, and they are not looked for.
    """
    checks = row_checks(aggregation)
    with opened(batch.tables) as connection:
        connection.execute(READING)
        faults = bad_rows(connection, checks)
        counts = annotator_counts(connection, limits)
        own = batch_figures(connection, batch, limits)
        profile = profile_of(connection, label, own["mean_chars"])
        unmet = unmet_floors(connection, batch)
    severities: dict[str, Severity] = {check.name: check.severity for check in checks}
    faults["columns"], severities["columns"] = wrong_columns(batch.tables), "block"
    if evaluation is not None:
        faults[LEAKED] = _leaked(batch.tables["prompts"], evaluation, limits)
        severities[LEAKED] = "block"
    held = held_annotators(counts, limits)
    suspected = suspects(held, counts, limits)
    figures = {
        **label.as_dict(),
        **own,
        "floors_unmet": len(unmet),
        "suspects": _share_of_votes(suspected, counts),
    }
    return Measured(
        annotations=batch.tables["annotations"],
        preferences=batch.tables["preferences"],
        faults=faults,
        severities=severities,
        figures={**figures, **drift(profile, figures, history)},
        held=held,
        suspects=suspected,
        profile=profile,
        unmet_floors=unmet,
    )


def _leaked(prompts: pa.Table, evaluation: EvaluationSet, limits: Validate) -> list[BadRow]:
    if not {"prompt_id", "messages"} <= set(prompts.column_names):
        return []
    rows = [row for row in prompts.to_pylist() if row["prompt_id"] is not None]
    return leaked(rows, evaluation, limits.near_duplicate_prompt)


def _share_of_votes(found: Sequence[Suspect], counts: Sequence[Mapping[str, Any]]) -> float | None:
    total = sum(row["n_votes"] for row in counts)
    votes = {suspect.annotator: suspect.votes for suspect in found}
    return sum(votes.values()) / total if total else None
