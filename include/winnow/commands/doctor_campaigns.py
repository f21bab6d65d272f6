"""Checks of `winnow doctor` on campaigns: their files, schedules, and what two of them share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from winnow.campaign import Campaign
from winnow.campaign.folder import teams_folder
from winnow.campaign.teams import limits_of
from winnow.campaign.ticks import next_ticks
from winnow.commands.checks import Check, failed, ok, warning
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.campaigns import Known, open_work
from winnow.stages.publish.suites import read_and_rehearse

N_TICKS = 3


def file(known: Known, place: Path) -> Check:
    """Whether the campaign's file can be read and is its own, and its team is known."""
    if known.file != "good":
        return failed(known.fault or f"{known.name} has no file", "correct the file it names")
    assert known.settings is not None
    limits = limits_of(known.settings, teams_folder(place))
    months = (("a month", limits.campaign_month), (f"team {limits.team}", limits.team_month))
    budgets = [f"; {name} ${most / MICROS:,.2f}" for name, most in months if most is not None]
    roles = ", ".join(known.settings.access or ())
    unseen = f"; that Airflow has the roles {roles} cannot be seen from here" if roles else ""
    return ok(f"{known.name}, {place}{''.join(budgets)}{unseen}")


def schedule(campaign: Campaign, now: datetime) -> Check:
    """When its next batches begin, and what they will be called."""
    settings = campaign.schedule
    if settings.assets:
        return ok(f"begins as {', '.join(settings.assets)} announce")
    if settings.cron is None:
        return ok("begins by hand: a run of its first DAG with a key")
    ticks = next_ticks(settings, now, N_TICKS)
    ticked = ", ".join(f"{key} at {tick:%Y-%m-%d %H:%M}" for tick, key in ticks)
    if campaign.start is not None and ticks and ticks[0][0].date() < campaign.start:
        return warning(f"begins no batch before {campaign.start}", "leave it, or move `start`")
    return ok(f"{ticked} ({settings.timezone})")


def shared(campaign: Campaign, others: Iterable[Campaign]) -> Check:
    """Whether another campaign publishes the same dataset, or reads the same prompts."""
    others = [other for other in others if other.name != campaign.name]
    dataset = _names(o for o in others if o.publish.dataset == campaign.publish.dataset)
    if dataset:
        return failed(
            f"{dataset} publishes {campaign.publish.dataset} too, which is one campaign's",
            "give it a `publish.dataset` of its own",
        )
    going_on = [o for o in others if o.name == campaign.continues and o.schedule.cron is not None]
    if going_on and going_on[0].continues != campaign.name:
        return warning(
            f"it continues {going_on[0].name}, which still begins batches: both take new files",
            f"write `schedule: {{cron: null}}` into {going_on[0].name}.yaml, or remove it",
        )
    sources = set(campaign.ingest.sources)
    readers = [o for o in others if sources & set(o.ingest.sources)]
    readers = [o for o in readers if campaign.name != o.continues and campaign.continues != o.name]
    if readers:
        return warning(
            f"{_names(readers)} reads the same prompts: each buys labels for them",
            "leave it if they are to be compared; else give each its own `ingest.sources`",
        )
    return ok("its dataset and its prompts are its own")


def removed(lake: Lake, gone: Sequence[Known]) -> Check:
    """Campaigns without a file, of which something is open."""
    work = {each.name: open_work(lake, each.settings) for each in gone if each.settings}
    running = {name: each for name, each in work.items() if each.keys}
    if not running:
        return ok("nothing is open of a campaign without a file")
    works = "; ".join(f"{name}: {each}" for name, each in running.items())
    mends = ", ".join(f"winnow migrate {name}" for name in running)
    return warning(f"without a file, and not through: {works}", mends)


def suites(campaign: Campaign) -> Check:
    """Whether the team's own suites can be read and run; each is run once on made-up rows."""
    found = [read_and_rehearse(each) for each in campaign.validation.suites]
    told = [
        f"{each.setting.name} on {each.setting.table}, {len(each.expected)} expectations"
        for each in found
    ]
    return ok("; ".join(told))


def _names(campaigns: Iterable[Campaign]) -> str:
    return ", ".join(campaign.name for campaign in campaigns)
