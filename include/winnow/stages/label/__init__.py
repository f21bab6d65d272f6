"""Label: buy the batch's annotations once, and bring all of them home.

    plan        what to ask, frozen; what it costs
    submit      the vendor has it, within the budgets of the batch, the month and the team
    call_off    a round that is open at its deadline
    follow_up   after the first answers: third votes, and what nobody answered
    collect     everything the vendor sent, aggregated; closes the stage

Others than people (`label.sources`) are asked beside them, each in a round of its own:

    ask_source, bring_source    see `winnow.stages.label.sources`

Each may be run again at any time. Buying reconciles with the vendor's books and sends only what is
missing; whatever the vendor sent is in the lake, as an annotation or in quarantine; the cost is
what the vendor charged.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Artifact, Batch, Manifest, read_table
from winnow.campaign import Campaign, Label
from winnow.campaign.teams import NO_LIMITS, Limits
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ids import PEOPLE
from winnow.ingest.sources import named_files
from winnow.label import unreadable
from winnow.label.collect import Collection
from winnow.label.gold import read_gold
from winnow.label.purchases import room
from winnow.label.rankings import draft_rankings, told_by_pairs
from winnow.label.rounds import follow_up as follow_up_tasks
from winnow.label.shown import ShownPair
from winnow.label.tasks import Draft, draft_tasks
from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.money import MICROS
from winnow.pace import last_note
from winnow.pieces import fitted
from winnow.records import ASKED, RANKING_ASKED, RANKING_TASKS, TASKS, Quarantined
from winnow.sql import database
from winnow.stages.label import annotations_from
from winnow.stages.label.approvals import approved, note_approval
from winnow.stages.label.brought import Brought, all_brought
from winnow.stages.label.budgets import release, settle
from winnow.stages.label.buying import CALLING_OFF, buy, close, committed_elsewhere, limit
from winnow.stages.label.containers import bought, check_container, noted_container
from winnow.stages.label.offered import offered, offered_rankings
from winnow.stages.label.plans import Plan, Totals, freeze_plan, read_plan
from winnow.stages.label.results import STAGE, BroughtHome, Rankings, commit_results
from winnow.stages.label.rounds import (
    ROUNDS,
    Answering,
    SubmissionRecord,
    answers_of,
    has_plan,
    look,
    read_submission,
    rounds_of,
    source_of,
    submissions,
)
from winnow.stages.label.sources import ask_source, bring_source, check_brought, plan_source
from winnow.text import plain_text

__all__ = [
    "CALLING_OFF",
    "STAGE",
    "approve",
    "ask_source",
    "bring_source",
    "call_off",
    "collect",
    "follow_up",
    "gold_of",
    "is_dear",
    "is_submitted",
    "plan",
    "progress",
    "read_submission",
    "submit",
]


def plan(batch: Batch) -> dict[str, Any]:
    """Freeze what will be asked; how many tasks, what they and their follow-ups cost at most."""
    planned = freeze_plan(batch, 0, partial(_first_round, batch))
    totals, label = planned.totals, batch.campaign.label
    names = [source.name for source in label.sources]
    beside = {name: plan_source(batch, name).totals for name in names}
    told = {n: {"tasks": t.tasks, "usd": t.estimate / MICROS} for n, t in beside.items()}
    estimate = totals.estimate + sum(each.estimate for each in beside.values())
    return {
        "tasks": totals.tasks + sum(each.tasks for each in beside.values()),
        "pairs": totals.pairs,
        "taken_over": planned.taken["annotations"].n_rows if planned.taken else 0,
        "estimate_usd": estimate / MICROS,
        "most_usd": min(estimate + _follow_ups(label, totals), label.budget) / MICROS,
        "budget_usd": batch.campaign.label.budget_usd,
        "approved_usd": approved(batch.lake, batch.folder) / MICROS,
        "vendor": batch.campaign.label.vendor,
        "pii": dict(planned.pii),
        "submitted": is_submitted(batch),
        **({"sources": told} if told else {}),
    }


def is_dear(planned: Mapping[str, Any], settings: Label) -> bool:
    """Whether what `plan` returned is still to be bought, and dearer than a person approved."""
    limit = settings.approve_above_usd
    if limit is None or planned["submitted"]:
        return False
    return bool(planned["most_usd"] > max(limit, planned.get("approved_usd", 0.0)))


def approve(batch: Batch, who: str, most_usd: float | None = None) -> None:
    """Note that a person allows the purchase, follow-ups included, up to `most_usd` dollars.

    None is what it costs at most by now. A smaller amount than was approved before changes nothing.
    """
    most = plan(batch)["most_usd"] if most_usd is None else most_usd
    note_approval(batch, who, most)


def submit(batch: Batch, vendor: LabelVendor, limits: Limits = NO_LIMITS) -> dict[str, Any]:
    """Bring the vendor to hold the batch's tasks, within the budgets; what was sent and what not.

    Raises:
        Blocked: It is over the budget of the batch, or of its campaign's or team's month (`limits`,
            from `winnow.campaign.teams.limits_of`), or needs a person's approval that is not there.
    """
    if batch.manifest(STAGE) is not None:
        return {"sent": 0}
    if _needs_approval(batch):
        given = approved(batch.lake, batch.folder)
        so_far = f", who gave it for ${given / MICROS:.2f}" if given else ""
        raise Blocked(
            f"Labels of batch {batch.key} may cost ${plan(batch)['most_usd']:.2f}; above "
            f"${batch.campaign.label.approve_above_usd:.2f} the campaign wants a person's "
            f"approval{so_far}: answer approve_purchase in Airflow (clear it to be asked again), "
            "or run with --approve."
        )
    planned = freeze_plan(batch, 0, partial(_first_round, batch))
    return buy(batch, vendor, 0, planned, limits)


def follow_up(
    batch: Batch, vendor: LabelVendor, salt: bytes, limits: Limits = NO_LIMITS
) -> dict[str, Any]:
    """Buy what the first answers call for, as far as the budgets go.

    Raises:
        Retryable: The vendor is not done and the deadline has not passed, or not for long.
    """
    if batch.manifest(STAGE) is not None or _asks_nothing(batch):
        return {"sent": 0}

    def make(folder: Path) -> Draft:
        submission = _submitted(batch)
        check_container(batch, 0, vendor)
        status = close(batch, vendor, submission)
        if status.is_final:
            settle(batch, {0: status})
        look(batch, 0, vendor, submission.ref, salt)
        return _second_round(batch, vendor, status, limits, folder)

    return buy(batch, vendor, 1, freeze_plan(batch, 1, make), limits)


def call_off(batch: Batch, vendor: LabelVendor, number: int) -> None:
    """End a round whose deadline has passed.

    Raises:
        Retryable: The vendor is not done, and `CALLING_OFF` is not over; or it cannot be asked now.
    """
    check_container(batch, number, vendor)
    status = close(batch, vendor, submissions(batch, (number,))[number])
    if status.is_final:
        settle(batch, {number: status})


def collect(batch: Batch, vendor: LabelVendor, salt: bytes) -> Manifest:
    """Bring home every annotation, aggregate them, and commit the stage.

    Raises:
        Retryable: The vendor is not done and the deadline has not passed, or not for long.
        Blocked: Fewer tasks were answered than the campaign's `min_completion`.
        Fatal: A round was being bought when its task ended, and what the vendor has is not noted.
    """
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    if not _asks_nothing(batch):
        _submitted(batch)
    for number in ROUNDS[1:]:
        # A container is noted and its purchase is not: people may answer there.
        is_noted = has_plan(batch, number) and noted_container(batch, number) is not None
        if is_noted and read_submission(batch, number) is None:
            raise Fatal(
                f"Round {number} of batch {batch.key} was being bought when its task ended, and "
                "what the vendor has of it is not noted: run submit_follow_up again, which buys "
                "nothing twice, then collect_annotations."
            )
    check_brought(batch)
    statuses: dict[int, BatchStatus] = {}
    for number, record in bought(batch, vendor).items():
        close(batch, vendor, record)
        look(batch, number, vendor, record.ref, salt)
        statuses[number] = vendor.status(record.ref)
    settle(batch, statuses)
    brought = all_brought(batch)
    ends: dict[int, BatchStatus | Brought] = {**statuses, **brought}
    never = [number for number in rounds_of(batch) if number not in ends]
    release(batch.lake, batch.campaign.name, batch.key, never)
    records = submissions(batch)
    beside = [number for number in rounds_of(batch) if number not in ROUNDS]
    numbers = sorted({0, *records, *beside})
    plans = {n: plan for n in numbers if (plan := read_plan(batch, n)) is not None}
    unreached = {n: plans[n] for n in beside if n in plans and n not in records}
    with (
        tempfile.TemporaryDirectory(prefix="winnow-collect-") as place,
        annotations_from.taken_tables(batch, plans.get(0)) as taken,
    ):
        folder = Path(place)
        is_ranked = batch.campaign.label.size is not None
        asked = _asked_tasks(
            {n: plans[n] for n in records if n in plans},
            records,
            folder,
            RANKING_TASKS if is_ranked else TASKS,
        )
        told = {n: Answering(each.lists_all, each.names_people) for n, each in brought.items()}
        answers = answers_of(batch, vendor, asked, folder, taken.get("annotations"), told)
        _check_completion(batch, asked, answers)
        tasks, taken_over = annotations_from.beside_taken(asked, taken.get("tasks"), folder)
        annotations, rankings = answers.annotations, None
        if is_ranked:
            rankings = Rankings(
                tasks=_stored(batch, "ranking_tasks", tasks),
                answers=_stored(batch, "ranking_answers", annotations),
            )
            tasks, annotations = told_by_pairs(tasks, annotations, folder)
        home = BroughtHome(
            tasks=_stored(batch, "tasks", tasks),
            annotations=_stored(batch, "annotations", annotations),
            rankings=rankings,
            unasked=_each_once(plans.values()),
            rejected=answers.quarantined,
            charged=sum(each.charged for each in ends.values()),
            pii=dict(
                sum((Counter(plans[n].pii) for n in plans if n not in unreached), Counter[str]())
            ),
            taken_over=taken_over,
            sources=_of_sources(batch, ends),
            unreached=_pairs_of(unreached.values()),
        )
    return commit_results(batch, home)


def _each_once(plans: Iterable[Plan]) -> list[Quarantined]:
    """What was not worth asking: a pair that several sources would be asked stands there once."""
    rows = [row for plan in plans for row in plan.unasked]
    pairs = {row.record_id: row for row in reversed(rows) if row.record_id is not None}
    return [row for row in rows if row.record_id is None or pairs[row.record_id] is row]


def _pairs_of(plans: Iterable[Plan]) -> pa.Table:
    pages = (page for plan in plans for page in plan.rows(["pair_id"]))
    return pa.Table.from_batches(pages, pa.schema([TASKS.field("pair_id")]))


def _of_sources(
    batch: Batch, ends: Mapping[int, BatchStatus | Brought]
) -> dict[str, dict[str, int]]:
    """Tasks, answers and micro-dollars by who was asked; empty where nobody but people can be."""
    if not batch.campaign.label.sources:
        return {}
    found = {PEOPLE: {"tasks": 0, "answered": 0, "charged": 0}}
    for number, each in ends.items():
        told = found.setdefault(source_of(batch, number), dict.fromkeys(found[PEOPLE], 0))
        told["tasks"] += each.n_tasks
        told["answered"] += each.n_answered
        told["charged"] += each.charged
    return found


def _stored(batch: Batch, name: str, file: Path) -> Artifact:
    return batch.write_file(STAGE, name, file, pq.read_metadata(file).num_rows)


def _asked_tasks(
    plans: Mapping[int, Plan],
    records: Mapping[int, SubmissionRecord],
    folder: Path,
    schema: pa.Schema,
) -> Path:
    """Rows of `schema` of what the vendor has, in a file."""
    file = folder / "asked.parquet"
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for number, plan in plans.items():
            at = datetime.fromisoformat(records[number].submitted_at)
            known = {"vendor_ref": records[number].ref, "submitted_at": at}
            for page in plan.rows(schema.names):
                page = fitted(page, schema)
                for name, value in known.items():
                    place, kind = page.schema.get_field_index(name), schema.field(name).type
                    same = pa.repeat(pa.scalar(value, kind), len(page))
                    page = page.set_column(place, schema.field(name), same)
                writer.write(page)
    return file


def is_submitted(batch: Batch) -> bool:
    """Whether the vendor has the batch's tasks."""
    return read_submission(batch) is not None


def progress(batch: Batch, vendor: LabelVendor | None) -> str | None:
    """How far the purchase is, and the vendor as far as it can be asked; None before the plan."""
    if not has_plan(batch, 0):
        return None
    if not is_submitted(batch):
        planned = plan(batch)
        taken = f", {planned['taken_over']} votes taken over" if planned["taken_over"] else ""
        waits = ", waiting for a person's approval" if _needs_approval(batch) else ""
        sent = last_note(batch.lake, batch.folder, STAGE)
        told = f"{planned['tasks']} tasks planned, ${planned['estimate_usd']:.2f}{taken}{waits}"
        return f"{told}, {sent}" if sent else told
    try:
        statuses = [vendor.status(r.ref) for r in bought(batch, vendor).values()] if vendor else []
    except Retryable:
        statuses = []
    except Fatal as error:
        # It says nothing of the batch: a credential is wrong, or somebody deleted it there.
        return f"tasks are with the vendor, which cannot be asked: {plain_text(str(error))}"
    if not statuses:
        noted = [unreadable.told(batch.lake, r.ref) for r in submissions(batch).values()]
        return ", ".join(["tasks are with the vendor", *filter(None, noted)])
    n_answered, n_tasks = sum(s.n_answered for s in statuses), sum(s.n_tasks for s in statuses)
    noted = [unreadable.words(status) for status in statuses]
    noted += [
        f"{source_of(batch, n)} answered {each.n_answered} of {each.n_tasks}"
        for n, each in all_brought(batch).items()
    ]
    return ", ".join([f"{n_answered} of {n_tasks} tasks answered", *filter(None, noted)])


def _first_round(batch: Batch, folder: Path) -> Draft:
    selected, label = batch.require("select"), batch.campaign.label
    if label.size is not None:
        ranked = draft_rankings(partial(offered_rankings, batch), label, batch.campaign.select.seed)
        return annotations_from.with_own_ids(batch, ranked)
    gold, bad = gold_of(batch.campaign, batch.day)
    pairs: list[dict[str, Any]] = []
    if batch.campaign.vote_campaigns:
        compared = read_table(batch.lake, selected.outputs["comparisons"])
        pairs = compared.select(["pair_id", "second_id"]).to_pylist()
    votes = annotations_from.votes_bought_before(batch, pairs)
    if selected.figures.get("gate") != "open":
        # Nobody has shown yet that the model knows what people differ on.
        label = label.model_copy(update={"second_votes": "uniform"})
    draft = draft_tasks(offered(batch), gold, label, batch.campaign.select.seed, votes.held, folder)
    draft = annotations_from.with_votes(batch, draft, votes)
    return replace(draft, quarantined=[*draft.quarantined, *bad])


def gold_of(campaign: Campaign, day: str) -> tuple[list[ShownPair], list[Quarantined]]:
    """The campaign's tasks with a known answer, and the rows that are none."""
    items: list[ShownPair] = []
    bad: list[Quarantined] = []
    gold = campaign.label.gold
    for file in named_files(gold, day, "label.gold") if gold is not None else ():
        with file.local() as path:
            some, wrong = read_gold(file.name, path)
        items, bad = [*items, *some], [*bad, *wrong]
    return items, bad


def _second_round(
    batch: Batch, vendor: LabelVendor, status: BatchStatus, limits: Limits, folder: Path
) -> Draft:
    """Round 1, as far as the budgets go."""
    first = read_plan(batch, 0)
    if first is None:
        raise Fatal(f"Batch {batch.key} has no plan of what to ask; run plan_tasks first.")
    label = batch.campaign.label
    with first.asked() as asked, annotations_from.taken_tables(batch, first) as taken:
        answers = answers_of(batch, vendor, asked, folder, taken.get("annotations"))
        # What was answered so that nobody can read it is paid: it is not bought again.
        refused = pa.table({"task_id": pa.array(sorted(answers.refused), pa.string())})
        # Nor what a vendor that is not done may still bring, nor while answers are there of which
        # nobody can tell the task.
        is_told = status.n_unreadable <= len(answers.refused)
        is_told = is_told and status.n_tasks >= first.totals.tasks
        tables = {"asked": asked, "annotations": answers.annotations, "refused": refused}
        with database(tables) as connection:
            unanswered = connection.sql(_UNANSWERED).to_arrow_table()
    if not (status.is_final and is_told):
        unanswered = unanswered.slice(0, 0)
    left = max(0, limit(batch) - committed_elsewhere(batch, 1, vendor))
    month = room(batch.lake, batch.campaign.name, limits)
    left = left if month is None else min(left, month)
    affordable = left // label.price if label.price else None

    def tasks() -> Iterator[pa.RecordBatch]:
        with first.asked() as asked:
            yield from follow_up_tasks(asked, answers.annotations, unanswered, label, 1, affordable)

    schema = ASKED if label.size is None else RANKING_ASKED
    drafted = Draft(tasks(), first.instructions, schema=schema)
    return annotations_from.with_own_ids(batch, drafted)


_UNANSWERED = """
SELECT task_id FROM asked WHERE task_id NOT IN (SELECT task_id FROM annotations)
    AND task_id NOT IN (SELECT task_id FROM refused)
"""


def _follow_ups(label: Label, totals: Totals) -> int:
    """Most that round 1 can cost: a third vote of each pair that two judge, all bought again."""
    third = totals.second_votes if label.third_votes else 0
    return third + (totals.votes if label.unanswered == "buy_again" else 0)


def _needs_approval(batch: Batch) -> bool:
    settings = batch.campaign.label
    return settings.approve_above_usd is not None and is_dear(plan(batch), settings)


def _submitted(batch: Batch) -> SubmissionRecord:
    submission = read_submission(batch)
    if submission is None:
        raise Fatal(f"Batch {batch.key} was not submitted; run submit_tasks first.")
    return submission


def _asks_nothing(batch: Batch) -> bool:
    """Whether the plan has no task, as where every vote is taken over: no vendor hears of it."""
    if is_submitted(batch):
        return False
    planned = read_plan(batch, 0)
    return planned is not None and not planned.totals.tasks


def _check_completion(batch: Batch, asked: Path, answers: Collection) -> None:
    """Hold what came back against what the first round asked; a task bought again stands for one.

    Raises:
        Blocked: Too little came back.
    """
    with database({"asked": asked, "answers": answers.annotations}) as connection:
        [(n_came, n_wanted)] = connection.sql(_CAME).fetchall()
    needed = batch.campaign.label.min_completion
    if n_came < needed * n_wanted:
        first = answers.quarantined[:1]
        refused = "".join(
            f" {len(answers.quarantined)} records cannot be used, the first ({row.file}, record "
            f"{row.line}) for {row.reason}: {row.detail}."
            for row in first
        )
        raise Blocked(
            f"Batch {batch.key}: {n_came} of {n_wanted} tasks were answered, the campaign "
            f"asks for {needed:.0%}.{refused} Ask the vendor, or lower label.min_completion "
            "and clear collect_annotations."
        )


_CAME = """
WITH wanted AS (
    SELECT pair_id, kind, count(*) AS n FROM asked WHERE round = 0 GROUP BY pair_id, kind
),
came AS (
    SELECT pair_id, kind, count(*) AS n FROM asked
    WHERE round <= 1 AND task_id IN (SELECT task_id FROM answers) GROUP BY pair_id, kind
)
SELECT coalesce(sum(least(wanted.n, coalesce(came.n, 0))), 0)::BIGINT,
    coalesce(sum(wanted.n), 0)::BIGINT
FROM wanted LEFT JOIN came USING (pair_id, kind)
"""
