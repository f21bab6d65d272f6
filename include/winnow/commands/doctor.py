"""`winnow doctor`: is everything there that tonight's batches need?

Run it where Airflow's components run, with their environment: it looks at what they would see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Annotated, TypeVar

import typer

from winnow.campaign import Campaign, Label
from winnow.campaign.folder import read_all
from winnow.commands import doctor_campaigns as of_campaigns
from winnow.commands import doctor_services as services
from winnow.commands import doctor_store as store
from winnow.commands.checks import Check, Examine, failed, run_all
from winnow.commands.chosen import campaigns, is_file, place_here, the_campaign
from winnow.commands.options import (
    MODELS,
    UNNAMED,
    CampaignsOption,
    JsonOption,
    ModelsOption,
    decimal,
)
from winnow.commands.say import answer
from winnow.errors import WinnowError
from winnow.ids import PEOPLE
from winnow.lake import Lake, open_lake
from winnow.operate.campaigns import Known
from winnow.validate.gate import load

T = TypeVar("T")

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def doctor(
    lake: Annotated[str | None, typer.Option(envvar="WINNOW_LAKE", help="folder or s3://…")] = None,
    campaign: CampaignsOption = UNNAMED,
    day: Annotated[
        str | None, typer.Option(help="whose prompt files are looked for; yesterday if absent")
    ] = None,
    models: ModelsOption = MODELS,
    seconds: Annotated[float, decimal(0.1, 86_400, help="longest that a check may take")] = 15.0,
    as_json: JsonOption = False,
) -> int:
    """Check lake, campaigns, sources, vendors, engine, Airflow and alarms; 1 if a check failed."""
    checks = examine(campaign, lake, day, models, seconds)
    answer([asdict(check) for check in checks], _lines(checks), as_json)
    return int(any(check.outcome == "failed" for check in checks))


def examine(
    named: str, lake_uri: str | None, day: str | None, models: Path, seconds: float
) -> list[Check]:
    """Every check of the campaigns that `--campaign` says, in a fixed order, in about `seconds`."""
    day = day or (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    checks: dict[str, Examine] = {}

    def opened(name: str, open_it: Callable[[], T], mend: str) -> T | None:
        try:
            return open_it()
        except WinnowError as error:
            wrong = failed(str(error), mend)
            checks[name] = lambda: wrong
            return None

    checks["lake"] = lambda: failed("WINNOW_LAKE is not set", "set it, or --lake")
    lake = opened("lake", partial(open_lake, lake_uri), "correct WINNOW_LAKE") if lake_uri else None
    places = {"models": models}
    if lake is not None:
        checks["lake"] = partial(store.lake, lake)
        checks["conditional writes"] = partial(store.conditional_writes, lake)
        checks["clock"] = partial(store.clock, lake)
        if "://" not in lake.uri:
            places["lake"] = Path(lake.uri)
    known = opened("campaign", partial(_known, lake, named), "correct the file it names") or []
    if "campaign" in checks:
        checks = {"campaign": checks.pop("campaign"), **checks}
    here = [each for each in known if each.file != "gone" or named]
    if lake is not None and not named:
        gone = [each for each in known if each.file == "gone"]
        checks["removed"] = partial(of_campaigns.removed, lake, gone)
    kept: dict[Hashable, Examine] = {}
    good = [each.settings for each in here if each.settings and each.file == "good"]
    if any(settings.validation.suites for settings in good):
        # By itself it may take longer than a check may.
        load()
    for each in here:
        place = Path(named) if is_file(named) else place_here()
        of_one: dict[str, Examine] = {"campaign": partial(of_campaigns.file, each, place)}
        if each.settings is not None:
            settings = each.settings
            of_one["schedule"] = partial(of_campaigns.schedule, settings, datetime.now(UTC))
            of_one["shared"] = partial(of_campaigns.shared, settings, good)
            of_one["sources"] = partial(store.sources, settings, lake, day)
            of_one["known answers"] = partial(store.known_answers, settings, day)
            if settings.validation.suites:
                of_one["suites"] = partial(of_campaigns.suites, settings)
            if lake is not None:
                of_one["versions"] = partial(store.versions, lake, settings)
            of_one |= _services(settings, models, seconds, kept)
        checks |= {f"{each.name}/{name}": examine for name, examine in of_one.items()}
    if not good or lake is None:
        checks["versions"] = store.installed
    if not good or any(settings.expand.has_model for settings in good):
        checks["gpu"] = services.gpu
    checks |= {
        "airflow": partial(services.airflow, seconds / 2.0),
        "workers": partial(services.workers, seconds),
        "disk": partial(store.disk, places),
        "secrets": services.secrets,
        "metrics": services.metrics,
        "alarms": partial(services.alarms, seconds),
    }
    return run_all(checks, seconds)


def _known(lake: Lake | None, named: str) -> list[Known]:
    """The campaigns to look at; without a lake those that have a file.

    Raises:
        Fatal: There is none of the name, or the one file is none.
    """
    if lake is not None:
        return campaigns(lake, named)
    if named:
        campaign = the_campaign(named)
        return [Known(campaign.name, campaign)]
    good, faults = read_all(place_here())
    broken = [Known(each.name, None, "broken", each.reason) for each in faults]
    return [*(Known(campaign.name, campaign) for campaign in good), *broken]


def _services(
    campaign: Campaign, models: Path, seconds: float, kept: dict[Hashable, Examine]
) -> dict[str, Examine]:
    """What the campaign needs that runs elsewhere; what others need too is looked at once."""

    def once(examine: Examine, *what: Hashable) -> Examine:
        return kept.setdefault(what, _once(examine))

    expand, label = campaign.expand, campaign.label
    vendors = {
        "vendor" if name == PEOPLE else f"source {name}": once(
            partial(services.vendor, own, seconds), own.vendor, own.connection, _model(own)
        )
        for name, own in label.asked.items()
    }
    hub = campaign.publish.hub
    if hub is not None:
        vendors["hub"] = once(partial(services.hub, hub, seconds), hub.repo, hub.connection)
    if expand.engine == "server":
        server = partial(services.server, campaign, seconds)
        return {**vendors, "server": once(server, expand.server.connection, expand.model)}
    if not expand.has_model:
        return vendors
    python = os.environ.get("WINNOW_ENGINE_PYTHON")
    engine = once(partial(services.engine, campaign, python, seconds), expand.engine)
    return {
        **vendors,
        "model": partial(services.model, campaign, models),
        "engine": engine,
    }


def _model(label: Label) -> str:
    return label.asked_judge.model if label.asked_judge else ""


def _once(examine: Examine) -> Examine:
    """The check, looked at by whoever comes first."""
    lock, found = Lock(), list[Check]()

    def look() -> Check:
        with lock:
            if not found:
                found.append(examine())
            return found[0]

    return look


def _lines(checks: list[Check]) -> list[str]:
    """A line a check; where there are several campaigns, each one's under a heading."""
    of: dict[str, list[Check]] = {}
    for check in checks:
        of.setdefault(check.campaign, []).append(check)
    if len(of.keys() - {""}) <= 1:
        of = {"": checks}
    lines: list[str] = []
    for campaign, own in of.items():
        lines += [f"Campaign {campaign}"] if campaign else []
        lines += [line for check in own for line in _line(check)]
    return lines


def _line(check: Check) -> list[str]:
    lines = [f"{MARKS[check.outcome]} {check.name:<18} {check.measured}"]
    if check.outcome != "ok" and check.mend:
        lines.append(f"{'':<26} Do: {check.mend}")
    return lines
