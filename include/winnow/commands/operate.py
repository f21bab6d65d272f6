"""Commands for whoever keeps the nights going: backfill, reconcile, late answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from winnow.batch import STAGES, done_stages, next_stage, open_batch, read_manifest
from winnow.campaign import Campaign
from winnow.campaign.ticks import keys_of_days
from winnow.commands import options
from winnow.commands.airflow_rest import AirflowRest, connect_airflow
from winnow.commands.batches import keys_of, vendor_of, vendor_token
from winnow.commands.chosen import Answer, Note, of_each, with_batch
from winnow.commands.say import answer, say, say_json
from winnow.errors import Fatal
from winnow.ingest.ledger import read_ledger
from winnow.ingest.sources import look_for
from winnow.keys import is_of_kind, moment_of
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole
from winnow.operate.memory import read_memory
from winnow.operate.reconcile.once import leave_alone, report_text, start_again, unfinished
from winnow.operate.reconcile.once import reconcile as make_pass
from winnow.operate.standing import mend_name, standing_of
from winnow.stages.label.late import late_answers
from winnow.stages.tasks import dag_id, dag_ids
from winnow.stages.turn import waits_at_once

_TICK = timedelta(seconds=1)

COST_OF = 7
"""What a batch will cost is told from so many that were collected last."""
MAX_DAYS = 1000
FIRST_STAGES = 2
"""Batches that take their prompts side by side, where none waits for another."""
LATE_COLUMNS = ("task_id", "annotator", "preferred", "revision", "status", "price", "finished_at")


def backfill(
    lake: options.LakeOption,
    first: Annotated[str, typer.Option("--from", help="the first day, 2026-09-01, or key")],
    last: Annotated[str, typer.Option("--to", help="the last one")],
    campaign: options.CampaignOption = options.UNNAMED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would do")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="days whose first run failed too")
    ] = False,
    at_once: Annotated[
        int | None,
        options.whole_number(
            1, 1000, help="so many batches side by side: give up that each learns from those before"
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Start the batches of past days in Airflow: says what it will do and cost, then does it."""
    keys = keys_between(campaign, first, last, datetime.now(UTC))
    head, airflow = dag_id(campaign.name, "ingest"), connect_airflow()
    if campaign.schedule.cron is not None:
        plan = _by_schedule(campaign, airflow, keys, at_once, "failed" if failed else "none")
    elif failed:
        raise Fatal(
            f"{campaign.name} has no cron: clear the runs that failed in Airflow, DAG {head}."
        )
    else:
        plan = _by_hand(lake, campaign, airflow, keys, at_once)
    planned = planned_days(lake, campaign, plan.keys, plan.to_run)
    lines = plan_lines(lake, campaign, planned)
    lines.append(f"  order      {order_words(campaign, at_once)}")
    if paused := airflow.paused(list(dag_ids(campaign.name).values())):
        lines.append(
            f"  paused     {', '.join(paused)}: batches wait there until they are unpaused"
        )
    if not as_json:
        say(*lines)
    is_started = bool(plan.to_run) and not dry_run
    number = plan.start() if is_started else None
    if as_json:
        rows = [{"campaign": campaign.name, **asdict(day)} for day in planned]
        say_json([{**row, "backfill": number if row["starts"] else None} for row in rows])
    elif not is_started:
        again = " The same without --dry-run starts it." if dry_run else ""
        say(f"Nothing was started.{again}")
    else:
        name = f"Backfill {number}" if number is not None else "A run each"
        page = "backfills" if number is not None else "runs"
        say(
            f"{name} of {len(plan.to_run)} batches is started; they go through all five DAGs "
            "by themselves.",
            f"See {airflow.url}/dags/{head}/{page}, or `winnow status`.",
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a backfill is about to do: the keys in its range, those to start, and how.

    `start` returns the number of Airflow's backfill, where it is one.
    """

    keys: Sequence[str]
    to_run: Sequence[str]
    start: Callable[[], int | None]


def _by_schedule(
    campaign: Campaign,
    airflow: AirflowRest,
    keys: Sequence[str],
    at_once: int | None,
    again: str,
) -> _Plan:
    """A backfill of Airflow's own, which takes the ticks of the campaign's cron.

    `again` is Airflow's word for which days that have a run are begun anew.
    """
    head = dag_id(campaign.name, "ingest")
    first, last = _moments(keys[0], keys[-1])
    body = {
        "dag_id": head,
        "from_date": first.isoformat(),
        # Midnight would take the whole day in.
        "to_date": (
            last.replace(hour=0, minute=0, second=0) if _is_day(keys[-1]) else last + _TICK
        ).isoformat(),
        "reprocess_behavior": again,
        "max_active_runs": at_once or (1 if _is_in_order(campaign) else FIRST_STAGES),
        "dag_run_conf": None if at_once is None else {"at_once": at_once},
    }
    to_run = airflow.days_to_run(body)
    moments = [moment_of(key) for key in to_run]
    if not all(moment is not None and first <= moment <= last for moment in moments):
        raise Fatal(
            f"Airflow at {airflow.url} would start runs of {head} that are none of these days; "
            "does it run Winnow's own DAG?"
        )
    return _Plan(sorted({*keys, *to_run}), to_run, partial(airflow.create_backfill, body))


def _by_hand(
    lake: Lake, campaign: Campaign, airflow: AirflowRest, keys: Sequence[str], at_once: int | None
) -> _Plan:
    """A run of the first DAG for each key, in order: without a cron Airflow has no backfill."""
    head = dag_id(campaign.name, "ingest")
    begun = read_ledger(lake, campaign.name).keys
    to_run = [key for key in keys if key not in begun and not airflow.has_run(head, key)]

    def start() -> None:
        for key in to_run:
            airflow.begin(head, key, {"at_once": at_once or 1})

    return _Plan(keys, to_run, start)


def reconcile(
    lake: options.LakeOption,
    campaign: options.CampaignsOption = options.UNNAMED,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="try this batch again, from nought"),
    ] = None,
    leave: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="neither mend this batch nor tell of it"),
    ] = None,
    vendor_url: options.VendorUrlOption = options.VENDOR_URL,
    as_json: options.JsonOption = False,
) -> int:
    """Find and mend what the lake alone shows: half-written versions, late answers.

    All campaigns by default; of one without a file what is open.
    """
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for key in again or ():
        name = with_batch(lake, campaign, key).name
        start_again(lake, name, key)
        rows.append({"campaign": name, "kind": "started_again", "batch": key})
        lines.append(f"{key} is started again by the next run of {name}.reconcile.")
    for key in leave or ():
        name = with_batch(lake, campaign, key).name
        leave_alone(lake, name, key)
        rows.append({"campaign": name, "kind": "left_alone", "batch": key})
        lines.append(f"{key} is left alone; --campaign {name} --again {key} takes it up.")
    code = 0
    if not (again or leave):
        look = partial(_reconciled, lake, vendor_url)
        rows, lines, code = of_each(lake, campaign, look, _note_row, with_gone=True)
    answer(rows, lines, as_json)
    return code


def _note_row(note: Note) -> dict[str, Any]:
    """What is to be said of a campaign as a whole, as a finding."""
    kind = f"{note.level}_campaign"
    return {"kind": kind, "batch": None, "stage": "", "cause": note.cause, "mend": note.mend}


def _reconciled(lake: Lake, vendor_url: str, campaign: Campaign) -> Answer:
    """One pass over a campaign: what it found, and what is not through."""
    now = datetime.now(UTC)
    salt = vendor_token(needed=False).encode()
    vendor = vendor_of(campaign, vendor_url) if salt else None
    report = make_pass(lake, campaign, None, now, vendor, salt)
    rows: list[dict[str, Any]] = [
        {"kind": f.kind, "batch": f.key, "stage": f.stage, "cause": f.detail, "mend": f.command}
        for f in report.findings
    ]
    rows += [{"kind": "mended", "cause": line} for line in report.mended]
    lines = report_text(report).split("\n")
    mends = read_memory(lake, campaign.name)[0].mends
    for facts in unfinished(lake, campaign):
        since = f"since {facts.since:%Y-%m-%d %H:%M} UTC" if facts.since else "since it began"
        mended = mends.get(mend_name(facts.key, facts.stage or ""))
        standing = standing_of(facts, now, mended=mended)
        why = standing.cause or "the DAG reconcile sees to it"
        lines.append(f"{facts.key} is in {facts.stage} {since}; {why}")
        lines += [f"    {standing.mend}"] if standing.mend else []
        rows.append(
            {
                "kind": "unfinished",
                "batch": facts.key,
                "stage": facts.stage,
                "cause": why,
                "mend": standing.mend,
                "since": facts.since.isoformat() if facts.since else None,
            }
        )
    return rows, lines


def late(
    lake: options.LakeOption,
    batch: options.BatchOption,
    campaign: options.CampaignsOption = options.UNNAMED,
    vendor_url: options.VendorUrlOption = options.VENDOR_URL,
    as_json: options.JsonOption = False,
) -> None:
    """A line an answer that came after its batch was collected: what was chosen, what it cost."""
    settings = with_batch(lake, campaign, batch)
    keys_of(lake, settings, batch)
    opened = open_batch(settings, batch, lake, lambda: datetime.now(UTC))
    vendor_token()
    answers = late_answers(opened, vendor_of(opened.campaign, vendor_url))
    lines = [
        f"{each.finished_at} task {each.task_id} by {each.annotator}: {each.preferred}, "
        f"revision {each.revision}, {each.status}, ${each.price / MICROS:.2f}"
        for each in answers
    ]
    n = f"{len(answers)}; kept in the lake, in no dataset" if answers else "none"
    lines.append(f"Answers of batch {batch} that came after it was collected: {n}.")
    key = {"campaign": settings.name, "batch": batch}
    rows = [{**key, **{n: getattr(each, n) for n in LATE_COLUMNS}} for each in answers]
    answer(rows, lines, as_json)


def keys_between(campaign: Campaign, first: str, last: str, now: datetime) -> list[str]:
    """Keys of a campaign's batches from a day or key to another, both included.

    Days are whole: of an hourly campaign they have 24 batches.

    Raises:
        Fatal: They name no batch of this campaign, are in the wrong order, not over yet, or too
            many; or the cron ticks at none of them.
    """
    schedule, zone = campaign.schedule, ZoneInfo(campaign.schedule.timezone)
    if schedule.cron is None and schedule.kind == "minute":
        raise Fatal(
            f"{campaign.name} has no cron, and names its batches by minutes: which of them have "
            "one cannot be told. Trigger its first DAG with each key."
        )
    if not all("1970" <= key[:4] < "9999" for key in (first, last) if key[:4].isdecimal()):
        raise Fatal(f"{first} to {last}: write days of the years 1970 to 9998.")
    if "T" in first or "T" in last:
        kind = schedule.kind or "hour"
        wrong = [key for key in (first, last) if not (_is_day(key) or is_of_kind(key, kind))]
        if wrong or kind in ("text", "day", "day_before"):
            raise Fatal(f"{first} to {last}: write days like 2026-09-01.")
    else:
        days_between(first, last, now.astimezone(zone).date())
    begin, end = _moments(first, last)
    if begin > end:
        raise Fatal(f"--from {first} is after --to {last}.")
    if end >= now.astimezone(zone).replace(tzinfo=UTC):
        raise Fatal(f"{last} is not over: its batch starts by itself. Use an earlier --to.")
    keys = keys_of_days(schedule, begin, end)
    if not keys:
        raise Fatal(f"{campaign.name} has no batch from {first} to {last}: {schedule.cron}.")
    if len(keys) > MAX_DAYS:
        raise Fatal(f"{first} to {last} are more than {MAX_DAYS} batches; take them in parts.")
    return keys


def _moments(first: str, last: str) -> tuple[datetime, datetime]:
    """The first and the last moment of what two keys name."""
    begin, end = moment_of(first), moment_of(last)
    assert begin is not None
    assert end is not None
    return begin, end + timedelta(days=1, seconds=-1) if _is_day(last) else end


def _is_day(key: str) -> bool:
    """Whether a key is a whole day."""
    return is_of_kind(key, "day") and "." not in key


def days_between(first: str, last: str, today: date) -> list[str]:
    """Days from `first` to `last`, both included.

    Raises:
        Fatal: They are no days, in the wrong order, not over yet, or too many.
    """
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
        if (begin.isoformat(), end.isoformat()) != (first, last):
            raise ValueError
    except ValueError:
        raise Fatal(f"{first} to {last}: write days like 2026-09-01.") from None
    if begin > end:
        raise Fatal(f"--from {first} is after --to {last}.")
    if end >= today:
        raise Fatal(
            f"{last} is not over: its batch starts by itself. "
            f"Use --to {today - timedelta(days=1)} at the latest."
        )
    if (end - begin).days >= MAX_DAYS:
        raise Fatal(f"{first} to {last} are more than {MAX_DAYS} days; take them in parts.")
    return [(begin + timedelta(days=i)).isoformat() for i in range((end - begin).days + 1)]


@dataclass(frozen=True, slots=True)
class Day:
    """What a backfill of a day comes upon, and does.

    Attributes:
        state: new, begun, published; empty: it cannot begin; dropped or damaged: it is let be.
        stage: The first stage that is not done.
        starts: Whether Airflow starts a run.
        buys: Whether that run buys labels.
    """

    day: str
    state: Literal["new", "begun", "published", "empty", "dropped", "damaged"]
    stage: str | None
    starts: bool
    buys: bool


def planned_days(
    lake: Lake, campaign: Campaign, days: Sequence[str], to_run: Container[str]
) -> list[Day]:
    """What a backfill of `days` does, of which Airflow would start `to_run`."""
    ledger = read_ledger(lake, campaign.name)

    def planned(day: str) -> Day:
        done = whole(partial(done_stages, lake, campaign.name, day))
        starts = day in to_run
        if day in ledger.damaged or isinstance(done, Damage):
            return Day(day, "damaged", None, starts, False)
        stage, buys = next_stage(done), starts and "label" not in done
        if ledger.dropped(day) is not None:
            return Day(day, "dropped", stage, starts, False)
        if day in ledger.keys:
            return Day(day, "begun" if stage else "published", stage, starts, buys)
        if starts and not _can_begin(lake, campaign, day):
            return Day(day, "empty", stage, starts, False)
        return Day(day, "new", stage, starts, buys)

    return [planned(day) for day in days]


def plan_lines(lake: Lake, campaign: Campaign, days: Sequence[Day]) -> list[str]:
    """A backfill in words: what it does with each kind of day, and what it costs."""
    of_state: dict[str, list[str]] = {}
    for each in days:
        of_state.setdefault(each.state, []).append(each.day)
    stages = Counter(each.stage for each in days if each.state == "begun")
    begun = ", ".join(f"{stages[stage]} in {stage}" for stage in STAGES if stages[stage])
    n_starts = sum(each.starts for each in days)
    lines = [
        f"Backfill of {campaign.name}, {days[0].day} to {days[-1].day}: {len(days)} "
        f"{'days' if _is_day(days[0].day) else 'batches'}",
        f"  published  {len(of_state.get('published', ()))}",
        f"  begun      {begun or 'none'}",
        f"  to start   {n_starts}; {len(days) - n_starts} have a run in Airflow already",
    ]
    for state, mend in (("dropped", "nothing is started"), ("damaged", "see `winnow status`")):
        if let_be := of_state.get(state):
            lines.append(f"  {state}    {len(let_be)}: {', '.join(let_be[:5])}; {mend}")
    if empty := of_state.get("empty"):
        why = "have no new prompt file and are skipped"
        if campaign.pools_from is not None:
            why = f"have no pools of {campaign.pools_from} and will fail"
        lines.append(f"  empty      {len(empty)} of them {why}")
    return [*lines, *_cost_lines(lake, campaign, sum(each.buys for each in days))]


def _is_in_order(campaign: Campaign) -> bool:
    """Whether a backfill goes by day, unless it says otherwise."""
    select = campaign.select
    return waits_at_once(select.strategy, select.wait_for, 1) is not None


def order_words(campaign: Campaign, at_once: int | None) -> str:
    """Whether the batches of a backfill learn from one another, in words."""
    select = campaign.select
    n = waits_at_once(select.strategy, select.wait_for, at_once or 1)
    if n is None:
        return f"none: {select.strategy} reads no model, so that no batch waits for another"
    if n == 1:
        return "by day: each batch chooses once those before it have taught the model"
    return f"{n} at once: a batch chooses though {n - 1} before it have not taught the model"


def _cost_lines(lake: Lake, campaign: Campaign, n: int) -> list[str]:
    costs = _last_costs(lake, campaign.name)
    most = n * campaign.label.budget / MICROS
    expected = "not known before the first batch is collected"
    if costs:
        mean = sum(costs) / len(costs) / MICROS
        expected = (
            f"${n * mean:,.2f}: {n} batches at ${mean:,.2f}, the mean of the last {len(costs)}"
        )
    lines = [f"  labels     {expected}", f"  at most    ${most:,.2f}, by label.budget_usd"]
    limit = campaign.label.approve_above_usd
    if limit is not None:
        lines.append(f"  approval   a person is asked for each batch above ${limit:,.2f}")
    return lines


def _last_costs(lake: Lake, campaign: str) -> list[int]:
    """Micro-dollars of the batches that were collected last, newest first."""
    costs: list[int] = []
    for entry in read_ledger(lake, campaign).newest_first():
        manifest = whole(partial(read_manifest, lake, campaign, entry.batch, "label"))
        if manifest is not None and not isinstance(manifest, Damage):
            costs.append(manifest.cost)
        if len(costs) == COST_OF:
            break
    return costs


def _can_begin(lake: Lake, campaign: Campaign, day: str) -> bool:
    """Whether there is something for the day. Sources that do not name it may hold a file."""
    if campaign.pools_from is not None:
        return read_manifest(lake, campaign.pools_from, day, "expand") is not None
    sources = campaign.ingest.sources
    if not all("{day}" in source for source in sources):
        return True
    return bool(look_for(sources, day).files)
