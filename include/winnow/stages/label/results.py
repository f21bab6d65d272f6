"""What a batch's annotations say, once all are home: preferences, annotators, figures.

The tables are read where they lie, so that a batch of a million annotations fits into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from winnow.batch import Artifact, Batch, Manifest, quarantine_table, table_files
from winnow.ids import canonical_json
from winnow.label.aggregation.aggregate import aggregate
from winnow.label.aggregation.annotators import annotator_report
from winnow.label.aggregation.certainty import estimate_error_rate
from winnow.label.aggregation.judges import judge_figures
from winnow.label.aggregation.votes import GOLD
from winnow.label.database import NARROW, opened
from winnow.records import Quarantined
from winnow.sql import count, database
from winnow.stages.label.lists import lists_of
from winnow.validate.metrics import label_figures

STAGE = "label"


_PAIRS = pa.schema([("pair_id", pa.string())])


@dataclass(frozen=True, slots=True)
class Rankings:
    """Rankings as they were asked and answered, which tasks and annotations tell by pairs.

    Attributes:
        tasks: The table `records.RANKING_TASKS`.
        answers: The table `records.ANNOTATIONS` whose `pair_id` is a ranking's and whose `choice`
            is the order, groups of response ids as JSON, the best first.
    """

    tasks: Artifact
    answers: Artifact

    @property
    def outputs(self) -> dict[str, Artifact]:
        """The tables by their names in the manifest."""
        return {"ranking_tasks": self.tasks, "ranking_answers": self.answers}


@dataclass(frozen=True, slots=True)
class BroughtHome:
    """Everything that came of a batch's tasks.

    Attributes:
        tasks: The table `records.TASKS` of what was asked.
        annotations: The table `records.ANNOTATIONS`.
        unasked: Pairs and gold that were not worth asking.
        rejected: Records of the vendor that are no annotation.
        charged: What the vendor charged, micro-dollars.
        pii: Personal data found in the texts, by kind.
        taken_over: Votes that another campaign has bought, by campaign.
        rankings: What was asked, where that were rankings.
        sources: Tasks, answers and micro-dollars by who was asked, where there were several.
        unreached: `pair_id` of what was planned for sources that were gone on without.
    """

    tasks: Artifact
    annotations: Artifact
    unasked: Sequence[Quarantined]
    rejected: Sequence[Quarantined]
    charged: int
    pii: Mapping[str, int]
    taken_over: Mapping[str, int] = field(default_factory=dict)
    rankings: Rankings | None = None
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unreached: pa.Table = field(default_factory=_PAIRS.empty_table)


def commit_results(batch: Batch, home: BroughtHome) -> Manifest:
    """Aggregate the annotations and commit the stage."""
    selected = batch.require("select")
    stored = {
        "comparisons": selected.outputs["comparisons"],
        "tasks": home.tasks,
        "annotations": home.annotations,
    }
    unasked = pa.table([[r.record_id for r in home.unasked]], schema=_PAIRS)
    tables = {"unasked": unasked, "unreached": home.unreached}
    with (
        table_files(batch.lake, stored) as files,
        opened({**files, **tables}, NARROW) as labels,
    ):
        share = batch.campaign.label.pair_share
        preferences = aggregate(labels, batch.campaign.label.aggregation, share)
        report = [each.as_dict() for each in annotator_report(labels)]
        figures = label_figures(labels, share).as_dict()
        judges = judge_figures(labels)
        # Asked, and nobody decided: expired, skipped, or retracted.
        no_vote = "no_vote", "no annotation of this pair counts: unanswered, skipped or retracted"
        not_asked = "not_asked", "the source that was to be asked of this pair was gone on without"
        silent = [
            Quarantined(STAGE, *(no_vote if was_asked else not_asked), record_id=pair)
            for pair, was_asked in labels.sql(_SILENT).fetchall()
        ]
        counts = {
            "rows_in": count(labels, "(SELECT DISTINCT pair_id FROM comparisons)"),
            "quarantined": len(silent)
            + count(labels, "unasked SEMI JOIN comparisons USING (pair_id)"),
            "tasks": count(labels, "tasks"),
            "follow_ups": count(labels, "tasks WHERE round = 1"),
            "gold": count(labels, f"tasks WHERE kind = '{GOLD}'"),
            "unanswered": count(labels, _UNANSWERED),
        }
    ranked: dict[str, Artifact] = {}
    asked: dict[str, int] = {}
    if home.rankings is not None:
        lists, asked = _of_rankings(batch, home.rankings)
        ranked = {**home.rankings.outputs, "lists": batch.write_table(STAGE, "lists", lists)}
        figures["n_annotations"] = asked["annotations"]
        report = [_in_votes(row, share) for row in report]
    quarantined = quarantine_table([*home.unasked, *home.rejected, *silent])
    return batch.commit(
        STAGE,
        inputs=[selected],
        outputs={
            "annotations": home.annotations,
            "preferences": batch.write_table(STAGE, "preferences", preferences),
            "tasks": home.tasks,
            "annotators": batch.write_bytes(
                STAGE, "annotators", "json", canonical_json(report), len(report)
            ),
            "quarantine": batch.write_table(STAGE, "quarantine", quarantined),
            **ranked,
        },
        counts={
            **counts,
            "rows_out": preferences.num_rows,
            "taken_over": sum(home.taken_over.values()),
            "annotations": home.annotations.n_rows,
            "annotations_quarantined": len(home.rejected),
            **asked,
        },
        cost=home.charged,
        figures={
            **figures,
            "vote_certainty": 1.0
            - estimate_error_rate(figures["n_agreed"], figures["n_agreement"]),
            "pii": dict(home.pii),
            **({"judges": judges} if judges else {}),
            **({"taken_over": dict(home.taken_over)} if home.taken_over else {}),
            **({"sources": dict(home.sources)} if home.sources else {}),
        },
    )


def _in_votes(row: Mapping[str, Any], share: float) -> dict[str, Any]:
    """An annotator's figures, counted in votes and not in pairs; seconds are of a ranking."""
    seconds = row["median_seconds"]
    return {
        **row,
        "votes": round(share * row["votes"]),
        "n_agreement": round(share * row["n_agreement"]),
        "median_seconds": None if seconds is None else seconds / share,
    }


def _of_rankings(batch: Batch, rankings: Rankings) -> tuple[pa.Table, dict[str, int]]:
    """The table `records.LISTS`; tasks and annotations counted as they were asked, not by pairs."""
    stored = {
        "tasks": rankings.tasks,
        "annotations": rankings.answers,
        "rankings": batch.require("select").outputs["rankings"],
    }
    with table_files(batch.lake, stored) as files:
        lists = lists_of(files["rankings"], files["annotations"])
        with database(files, NARROW) as asked:
            counts = {
                "tasks": count(asked, "tasks"),
                "follow_ups": count(asked, "tasks WHERE round = 1"),
                "unanswered": count(asked, _UNANSWERED),
                "annotations": rankings.answers.n_rows,
                "rankings": lists.num_rows,
            }
    return lists, counts


_UNANSWERED = "tasks WHERE task_id NOT IN (SELECT task_id FROM annotations)"
_SILENT = """
SELECT pair_id, pair_id IN (SELECT pair_id FROM tasks) FROM comparisons
WHERE pair_id IN (SELECT pair_id FROM tasks UNION ALL SELECT pair_id FROM unreached)
    AND pair_id NOT IN (SELECT pair_id FROM votes)
    AND pair_id NOT IN (SELECT pair_id FROM verdicts)
ORDER BY row_n
"""
