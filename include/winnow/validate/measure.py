"""Everything that is measured of a batch before the gate judges it, in SQL where it is heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Validate
from winnow.sql import Source
from winnow.validate.annotators import (
    READING,
    Held,
    held_annotators,
    suspects,
    timed_counts,
)
from winnow.validate.leakage import CHECK as LEAKED
from winnow.validate.leakage import EvaluationSet, leaked
from winnow.validate.metrics import LabelFigures
from winnow.validate.profile import Profile, batch_figures, drift, profile_of, unmet_floors
from winnow.validate.rows import MOST_ROWS, Faults, bad_rows, row_checks
from winnow.validate.sessions import UNSEEN, Sessions, sessions
from winnow.validate.tables import BatchTables, opened, rows_of, schema_of, wrong_columns
from winnow.validate.team_suites import Suite
from winnow.validate.verdict import Severity, Suspect


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What the gate judges.

    Attributes:
        tables: The batch's tables as they are, by name.
        faults: Rows that break each check of rows, by its name; none where none does.
        broken: All of them, a table `records.QUARANTINE`.
        severities: Severity of each check in `faults`.
        figures: Figures of the whole batch; None is not measured.
        held: Each annotator on each check that they can be held against.
        suspects: Those who fail one.
        profile: What later batches are held against.
        unmet_floors: Strata of which fewer pairs were labelled than wanted.
        sessions: How people's answers change over a session.
        suites: A team's own, to be held against the tables.
    """

    tables: Mapping[str, Source]
    faults: Mapping[str, Faults]
    broken: pa.Table
    severities: Mapping[str, Severity]
    figures: Mapping[str, float | int | None]
    held: Sequence[Held]
    suspects: Sequence[Suspect]
    profile: Profile
    unmet_floors: Sequence[str] = ()
    sessions: Sessions = UNSEEN
    suites: Sequence[Suite] = ()


def measure(
    batch: BatchTables,
    label: LabelFigures,
    limits: Validate,
    *,
    aggregation: str = "bradley_terry",
    share: float = 1.0,
    history: Sequence[Profile] = (),
    evaluation: EvaluationSet | None = None,
    shifts: Mapping[str, float | None] | None = None,
    suites: Sequence[Suite] = (),
) -> Measured:
    """Measure a batch.

    Args:
        batch: Its tables.
        label: Figures of its annotations, as the label stage took them.
        limits: Of the campaign.
        aggregation: How votes became preferences.
        share: Of a vote that a judged pair counts for.
        history: Profiles of the last versions; none, and drift is not measured.
        evaluation: Prompts that no batch may contain; None, and they are not looked for.
        shifts: How far shares moved from the pool to the bought and on to the chosen responses.
        suites: A team's own; they are only passed on.
    """
    checks = row_checks(aggregation)
    with opened(batch.tables) as connection:
        connection.execute(READING)
        faults, broken = bad_rows(connection, checks)
        counts = timed_counts(connection, limits, share)
        # The pairs of a ranking are one answer.
        worked = sessions(connection, limits.session_gap_minutes) if share == 1.0 else UNSEEN
        own = batch_figures(connection, batch, limits)
        profile = profile_of(connection, label, own["mean_chars"])
        unmet = unmet_floors(connection, batch)
    severities: dict[str, Severity] = {check.name: check.severity for check in checks}
    others = {"columns": wrong_columns(batch.tables)}
    if evaluation is not None:
        prompts, wanted = batch.tables["prompts"], ("prompt_id", "messages")
        has_all = set(wanted) <= set(schema_of(prompts).names)
        rows = (row for row in rows_of(prompts, wanted) if row["prompt_id"] is not None)
        limit = limits.near_duplicate_prompt
        others[LEAKED] = leaked(rows, evaluation, limit) if has_all else []
    faults |= {name: Faults(len(rows), rows[:MOST_ROWS]) for name, rows in others.items()}
    severities |= dict.fromkeys(others, "block")
    named = [row.quarantined() for rows in others.values() for row in rows]
    held = held_annotators(counts, limits)
    suspected = suspects(held, counts, limits)
    n_votes = sum(row["n_votes"] for row in counts)
    votes = {suspect.annotator: suspect.votes for suspect in suspected}
    figures = {
        **label.as_dict(),
        **own,
        **(shifts or {}),
        "session_decline": worked.decline,
        "session_decline_low": worked.low,
        "floors_unmet": len(unmet),
        # As a share of the votes.
        "suspects": sum(votes.values()) / n_votes if n_votes else None,
    }
    return Measured(
        tables=batch.tables,
        faults=faults,
        broken=pa.concat_tables([broken, quarantine_table(named)]),
        severities=severities,
        figures={**figures, **drift(profile, figures, history)},
        held=held,
        suspects=suspected,
        profile=profile,
        unmet_floors=unmet,
        sessions=worked,
        suites=suites,
    )
