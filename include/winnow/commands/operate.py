"""Commands for whoever keeps the nights going: backfill, reconcile, late answers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from winnow.batch import STAGES, done_stages, next_stage, open_batch, read_manifest
from winnow.campaign import Campaign
from winnow.commands.airflow_rest import HEAD_DAG, AirflowRest, connect_airflow
from winnow.commands.batches import keys_of
from winnow.commands.options import (
    SHIPPED,
    VENDOR_URL,
    BatchOption,
    CampaignOption,
    LakeOption,
    VendorUrlOption,
    whole_number,
)
from winnow.commands.say import say, say_text
from winnow.errors import Fatal
from winnow.ingest.ledger import read_ledger
from winnow.ingest.sources import look_for
from winnow.label.vendor import LabelVendor, VendorAccount
from winnow.label.vendors import connect
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.memory import read_memory
from winnow.operate.reconcile.once import leave_alone, report_text, start_again, unfinished
from winnow.operate.reconcile.once import reconcile as make_pass
from winnow.operate.standing import mend_name, standing_of
from winnow.records import MICROS
from winnow.stages.label.late import late_answers
from winnow.stages.tasks import DAG_OF

COST_OF = 7
"""What a batch will cost is told from so many that were collected last."""
MAX_DAYS = 1000


def backfill(
    lake: LakeOption,
    first: Annotated[str, typer.Option("--from", help="the first day, 2026-09-01")],
    last: Annotated[str, typer.Option("--to", help="the last day")],
    campaign: CampaignOption = SHIPPED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would do")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="days whose first run failed too")
    ] = False,
    at_once: Annotated[int, whole_number(1, 1000, help="first stages side by side")] = 2,
) -> None:
    """Start the batches of past days in Airflow: says what it will do and cost, then does it."""
    days = days_between(first, last, datetime.now(UTC).date())
    airflow = connect_airflow()
    body = {
        "dag_id": HEAD_DAG,
        "from_date": f"{days[0]}T00:00:00+00:00",
        "to_date": f"{days[-1]}T00:00:00+00:00",
        "reprocess_behavior": "failed" if failed else "none",
        "max_active_runs": at_once,
    }
    to_run = airflow.days_to_run(body)
    if not {*to_run} <= {*days}:
        raise Fatal(
            f"Airflow at {airflow.url} would start runs of {HEAD_DAG} that are none of these days; "
            "does it run Winnow's own DAG?"
        )
    say(*plan_lines(lake, campaign, days, to_run))
    if paused := airflow.paused(list(DAG_OF.values())):
        say(f"  paused     {', '.join(paused)}: batches wait there until they are unpaused")
    if dry_run:
        say("Nothing was started. The same without --dry-run starts it.")
        return
    if not to_run:
        say("Nothing was started.")
        return
    _start(airflow, body, len(to_run))


def reconcile(
    lake: LakeOption,
    campaign: CampaignOption = SHIPPED,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="try this batch again, from nought"),
    ] = None,
    leave: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="neither mend this batch nor tell of it"),
    ] = None,
    vendor_url: VendorUrlOption = VENDOR_URL,
) -> None:
    """Find and mend what the lake alone shows: half-written versions, late answers."""
    for key in again or ():
        start_again(lake, campaign.name, key)
        say(f"{key} is started again by the next run of the DAG reconcile.")
    for key in leave or ():
        leave_alone(lake, campaign.name, key)
        say(f"{key} is left alone; --again {key} takes it up.")
    if again or leave:
        return
    now = datetime.now(UTC)
    vendor, salt = _vendor(campaign, vendor_url)
    say_text(report_text(make_pass(lake, campaign, None, now, vendor, salt)))
    mends = read_memory(lake, campaign.name)[0].mends
    for facts in unfinished(lake, campaign):
        since = f"since {facts.since:%Y-%m-%d %H:%M} UTC" if facts.since else "since it began"
        mended = mends.get(mend_name(facts.key, facts.stage or ""))
        standing = standing_of(facts, now, mended=mended)
        why = standing.cause or "the DAG reconcile sees to it"
        say(f"{facts.key} is in {facts.stage} {since}; {why}")
        if standing.mend:
            say(f"    {standing.mend}")


def late(
    lake: LakeOption,
    batch: BatchOption,
    campaign: CampaignOption = SHIPPED,
    vendor_url: VendorUrlOption = VENDOR_URL,
) -> None:
    """A line an answer that came after its batch was collected: what was chosen, what it cost."""
    keys_of(lake, campaign, batch)
    opened = open_batch(campaign, batch, lake, lambda: datetime.now(UTC))
    vendor, _ = _vendor(opened.campaign, vendor_url)
    if vendor is None:
        raise Fatal("Set WINNOW_VENDOR_TOKEN to the vendor's token.")
    answers = late_answers(opened, vendor)
    for each in answers:
        say(
            f"{each.finished_at} task {each.task_id} by {each.annotator}: {each.preferred}, "
            f"revision {each.revision}, {each.status}, ${each.price / MICROS:.2f}"
        )
    told = "none" if not answers else f"{len(answers)}; kept in the lake, in no dataset"
    say(f"Answers of batch {batch} that came after it was collected: {told}.")


def days_between(first: str, last: str, today: date) -> list[str]:
    """Days from `first` to `last`, both included.

    Raises:
        Fatal: They are no days, in the wrong order, not over yet, or too many.
    """
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise Fatal(f"{first} to {last}: write days like 2026-09-01.") from None
    if begin > end:
        raise Fatal(f"--from {first} is after --to {last}.")
    if end >= today:
        raise Fatal(
            f"{last} is not over (UTC): its batch starts by itself after midnight. "
            f"Use --to {today - timedelta(days=1)} at the latest."
        )
    if (end - begin).days >= MAX_DAYS:
        raise Fatal(f"{first} to {last} are more than {MAX_DAYS} days; take them in parts.")
    return [(begin + timedelta(days=i)).isoformat() for i in range((end - begin).days + 1)]


def plan_lines(
    lake: Lake, campaign: Campaign, days: Sequence[str], to_run: Sequence[str]
) -> list[str]:
    """What a backfill of `days` does, of which Airflow would start `to_run`, and what it costs."""
    read = {day: whole(partial(done_stages, lake, campaign.name, day)) for day in days}
    manifests = {day: {} if isinstance(done, Damage) else done for day, done in read.items()}
    ledger = read_ledger(lake, campaign.name)
    damaged = [day for day in days if day in ledger.damaged or isinstance(read[day], Damage)]
    dropped = [day for day in days if ledger.dropped(day) is not None]
    given_up = {*damaged, *dropped}
    in_ledger = {*ledger.keys}
    empty = [d for d in to_run if d not in in_ledger and not _can_begin(lake, campaign, d)]
    buys = [d for d in to_run if "label" not in manifests[d] and d not in {*empty, *given_up}]
    begun_days = [day for day in days if day in in_ledger and day not in given_up]
    stages = Counter(next_stage(manifests[day]) for day in begun_days)
    begun = ", ".join(f"{stages[stage]} in {stage}" for stage in STAGES if stages[stage])
    lines = [
        f"Backfill of {campaign.name}, {days[0]} to {days[-1]}: {len(days)} days",
        f"  published  {stages[None]}",
        f"  begun      {begun or 'none'}",
        f"  to start   {len(to_run)}; {len(days) - len(to_run)} have a run in Airflow already",
    ]
    if dropped:
        lines.append(f"  dropped    {len(dropped)}: {', '.join(dropped[:5])}; nothing is started")
    if damaged:
        lines.append(f"  damaged    {len(damaged)}: {', '.join(damaged[:5])}; see `winnow status`")
    if empty:
        lines.append(f"  empty      {len(empty)} of them {_why_empty(campaign)}")
    return [*lines, *_cost_lines(lake, campaign, len(buys))]


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
    for entry in reversed(read_ledger(lake, campaign).entries):
        manifest = whole(partial(read_manifest, lake, campaign, entry.batch, "label"))
        if manifest is not None and not isinstance(manifest, Damage):
            costs.append(manifest.cost)
        if len(costs) == COST_OF:
            break
    return costs


def _why_empty(campaign: Campaign) -> str:
    if campaign.pools_from is not None:
        return f"have no pools of {campaign.pools_from} and will fail"
    return "have no new prompt file and are skipped"


def _can_begin(lake: Lake, campaign: Campaign, day: str) -> bool:
    """Whether there is something for the day. Sources that do not name it may hold a file."""
    if campaign.pools_from is not None:
        return read_manifest(lake, campaign.pools_from, day, "expand") is not None
    sources = campaign.ingest.sources
    if not all("{day}" in source for source in sources):
        return True
    return bool(look_for(sources, day).files)


def _start(airflow: AirflowRest, body: Mapping[str, Any], n: int) -> None:
    number = airflow.create_backfill(body)
    say(
        f"Backfill {number} of {n} batches is started; they go through all five DAGs by "
        "themselves.",
        f"See {airflow.url}/dags/{HEAD_DAG}/backfills, or `winnow status`.",
    )


def _vendor(campaign: Campaign, url: str) -> tuple[LabelVendor | None, bytes]:
    """The campaign's vendor and the salt, where its token is in the environment."""
    token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
    if not token:
        return None, b""
    return connect(campaign.label.vendor, VendorAccount(url, token)), token.encode()
