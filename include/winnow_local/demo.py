"""The demo: two nightly batches through real Airflow runs, shown as they go.

The second night's pairs are chosen by the model that the first night's labels taught. The demo
starts where an earlier one was stopped, however it was stopped; a batch that is published is only
shown. What it prints is read from the batches' manifests and tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

from rich.console import Console

from winnow.batch import STAGES, Batch, open_batch, read_manifest
from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, read
from winnow.label.vendor import LabelVendor, VendorAccount
from winnow.label.vendors import connect
from winnow.lake import open_lake
from winnow.progress import progress, summary
from winnow.stages.tasks import DAG_OF, dag_id, dag_ids
from winnow.text import plain_line
from winnow_local import stack
from winnow_local.airflow_api import ACTIVE, AirflowApi, Run

POLL_SECONDS = 2.0
IDLE_LIMIT = 180.0
"""Seconds without any active run after which the batch counts as stuck."""
TELL_SECONDS = 15.0
"""A stage tells of its progress at most this often, and when it is done."""
SETTLE_SECONDS = 10.0
"""Seconds that Airflow gets to start a next run after one that ended the batch early."""
DEMO_SPEED = 240.0
"""The demo's simulated people do in a minute what would take them four hours."""


def last_nights() -> list[str]:
    """The two batches that the nightly schedule ran last, up to yesterday, UTC."""
    today = datetime.now(UTC).date()
    return [(today - timedelta(days=days)).isoformat() for days in (2, 1)]


def demo(home: stack.Home, days: Sequence[str], console: Console) -> int:
    """Run the batches of `days` that are not published, in order; 0 if one is in the end."""
    for day in days:
        if not _is_day(day):
            raise stack.StackError(f"{day!r} is not a day; write it like {last_nights()[-1]}.")
    campaign, lake = followed(home), open_lake(str(home.lake))

    def version(day: str) -> str:
        done = read_manifest(lake, campaign.name, day, "publish")
        return str(done.figures["version"]) if done else ""

    def opened(day: str) -> Batch:
        return open_batch(campaign, day, lake, lambda: datetime.now(UTC))

    waiting = [day for day in days if not version(day)]
    if waiting:
        prepare(home, console)
        with stack.running(home, DEMO_SPEED):
            show_login(home, console)
            if not _follow_all(home, campaign.name, waiting, opened, console):
                return 1
    else:
        are = " is" if len(days) == 1 else "es are"
        nothing = "nothing to generate, nothing to buy."
        console.print(f"{' and '.join(days)}: the batch{are} published already, {nothing}")
    newest = max(days, key=version)
    if not version(newest):
        return 1
    console.print(f"Batch {newest}\n{summary(opened(newest))}", markup=False)
    show_login(home, console, "`make up` starts the UI: ")
    return 0


def followed(home: stack.Home) -> Campaign:
    """The campaign that the demo shows: `nightly`, or the first by name."""
    names = sorted(files_in(home.campaigns), key=lambda name: (name != "nightly", name))
    if not names:
        raise stack.StackError(f"There is no campaign in {home.campaigns}.")
    return read(home.campaigns, names[0])


def _follow_all(
    home: stack.Home,
    campaign: str,
    days: Sequence[str],
    opened: Callable[[str], Batch],
    console: Console,
) -> bool:
    """See each batch through before the next is opened, which chooses by what its labels taught."""
    secrets, started = stack.secrets_of(home), time.monotonic()
    api = AirflowApi(home.ui, secrets["password"], campaign)
    vendor = connect("simulator", VendorAccount(home.vendor, secrets["vendor_token"]))
    wanted = set(dag_ids(campaign).values())
    _await(lambda: wanted <= api.parsed_dags(), "Airflow has not read the DAGs")
    # Shortly after midnight the schedule starts the later one by itself: what has begun goes first.
    in_order = sorted(days, key=lambda day: not api.runs(day))
    return all(follow(opened(day), api, vendor, console, started) for day in in_order)


def follow(
    batch: Batch, api: AirflowApi, vendor: LabelVendor, console: Console, started: float
) -> bool:
    """See the batch through its five stages, a line a change; False if it stopped on the way.

    A batch for which no new prompt file is there is over at once. `started` is when the demo did,
    seconds of the monotonic clock.
    """
    missing = [stage for stage in STAGES if batch.manifest(stage) is None]
    if missing and not _active(api.runs(batch.key)):
        api.trigger(dag_id(batch.campaign.name, missing[0]), batch.key)
    console.print(f"Batch {batch.key}", markup=False)
    last_active = time.monotonic()
    shown: dict[str, str] = {}
    told_at: dict[str, float] = {}
    while True:
        now = time.monotonic()
        for stage, line in progress(batch, vendor).items():
            is_due = line.startswith("done") or now - told_at.get(stage, 0.0) >= TELL_SECONDS
            if shown.get(stage) != line and is_due:
                shown[stage], told_at[stage] = line, now
                console.print(
                    f"[{_elapsed(now - started)}] {DAG_OF[stage]:<16} {line}", markup=False
                )
        runs = api.runs(batch.key)
        if _active(runs):
            last_active = now
        elif batch.manifest("publish") is not None:
            return True
        elif now - last_active > (SETTLE_SECONDS if _has_ended(batch, runs) else IDLE_LIMIT):
            return _explain(batch, api, runs, console)
        time.sleep(POLL_SECONDS)


def _has_ended(batch: Batch, runs: list[Run]) -> bool:
    """Whether a run failed, or the first one had nothing to do."""
    return any(run.state == "failed" for run in runs) or _is_empty(batch, runs)


def _is_empty(batch: Batch, runs: list[Run]) -> bool:
    """Whether the first run ended without a prompt."""
    ingested = [run.state for run in runs if run.dag == dag_id(batch.campaign.name, "ingest")]
    return "success" in ingested and batch.manifest("ingest") is None


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def prepare(home: stack.Home, console: Console) -> None:
    """Clear the way for a start: nothing left over, ports free, database ready."""
    left = stack.stop_leftovers(home)
    if left:
        console.print(f"Stopped {left} processes that an earlier run left behind.")
    stack.check_ports(home)
    console.print("Starting Airflow (about a minute) and the labelling-vendor simulator ...")
    stack.migrate(home, stack.environment(home))


def show_login(home: stack.Home, console: Console, before: str = "") -> None:
    """Print where the UI is and how to get in."""
    password = stack.secrets_of(home)["password"]
    console.print(f"{before}Airflow UI {home.ui}  login admin  password {password}", markup=False)


def _await(is_ready: Callable[[], bool], failure: str, limit: float = 120.0) -> None:
    deadline = time.monotonic() + limit
    while not is_ready():
        if time.monotonic() > deadline:
            raise stack.StackError(f"{failure} within {limit:.0f} s")
        time.sleep(1)


def _active(runs: list[Run]) -> bool:
    return any(run.state in ACTIVE for run in runs)


def _explain(batch: Batch, api: AirflowApi, runs: list[Run], console: Console) -> bool:
    """Say why the batch goes no further and where to read on; False if that is a fault."""
    for run in (run for run in runs if run.state == "failed"):
        for task, reason in api.failures(run).items():
            console.print(
                f"winnow: {run.dag}.{task} failed: {plain_line(reason)}", style="red", markup=False
            )
        return False
    if _is_empty(batch, runs):
        console.print("winnow: no new prompt file is there for this night")
        return True
    waiting = next(stage for stage in STAGES if batch.manifest(stage) is None)
    dag = dag_id(batch.campaign.name, waiting)
    console.print(f"winnow: {dag} never started for batch {batch.key}", style="red")
    return False


def _elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60:2d}:{int(seconds) % 60:02d}"
