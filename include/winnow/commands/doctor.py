"""`winnow doctor`: is everything there that tonight's batch needs?

Run it where Airflow's components run, with their environment: it looks at what they would see.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from winnow.campaign import Campaign, load_campaign
from winnow.commands import doctor_services as services
from winnow.commands import doctor_store as store
from winnow.commands.checks import Check, Examine, Finding, failed, ok, run_all
from winnow.commands.options import MODELS, SHIPPED, JsonOption, ModelsOption, decimal
from winnow.commands.say import say, say_json
from winnow.errors import WinnowError
from winnow.lake import Lake, open_lake

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def doctor(
    lake: Annotated[str | None, typer.Option(envvar="WINNOW_LAKE", help="folder or s3://…")] = None,
    campaign: Annotated[Path, typer.Option(envvar="WINNOW_CAMPAIGN", help="YAML file")] = SHIPPED,
    day: Annotated[
        str | None, typer.Option(help="whose prompt files are looked for; yesterday if absent")
    ] = None,
    models: ModelsOption = MODELS,
    seconds: Annotated[float, decimal(0.1, 86_400, help="longest that a check may take")] = 15.0,
    as_json: JsonOption = False,
) -> int:
    """Check lake, campaign, sources, vendor, engine, Airflow and alarms; 1 if a check failed."""
    checks = examine(campaign, lake, day, models, seconds)
    if as_json:
        say_json([check.as_dict() for check in checks])
    else:
        say(*(line for check in checks for line in _lines(check)))
    return int(any(check.outcome == "failed" for check in checks))


def examine(
    campaign_file: Path, lake_uri: str | None, day: str | None, models: Path, seconds: float
) -> list[Check]:
    """Every check, in a fixed order, within about `seconds`."""
    day = day or (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    campaign: Campaign | None = None
    lake: Lake | None = None
    first: dict[str, Examine] = {}
    try:
        campaign = load_campaign(campaign_file)
        first["campaign"] = partial(_told, ok(f"{campaign.name}, {campaign_file}"))
    except WinnowError as error:
        first["campaign"] = partial(_told, failed(str(error), "correct the file it names"))
    try:
        if not lake_uri:
            first["lake"] = partial(_told, failed("WINNOW_LAKE is not set", "set it, or --lake"))
        else:
            lake = open_lake(lake_uri)
    except WinnowError as error:
        first["lake"] = partial(_told, failed(str(error), "correct WINNOW_LAKE"))
    checks: dict[str, Examine] = dict(first)
    if lake is not None:
        checks |= {
            "lake": partial(store.lake, lake),
            "conditional writes": partial(store.conditional_writes, lake),
            "clock": partial(store.clock, lake),
        }
    if campaign is not None:
        checks["sources"] = partial(store.sources, campaign, lake, day)
        checks["known answers"] = partial(store.known_answers, campaign, day)
        if lake is not None:
            checks["versions"] = partial(store.versions, lake, campaign)
        checks |= _services(campaign, lake, models, seconds)
    else:
        checks["versions"] = store.installed
    checks |= {
        "airflow": partial(services.airflow, seconds / 2.0),
        "workers": partial(services.workers, seconds),
        "disk": partial(store.disk, _places(lake, models)),
        "secrets": services.secrets,
        "metrics": services.metrics,
        "alarms": partial(services.alarms, seconds),
    }
    return run_all(checks, seconds)


def _services(
    campaign: Campaign, lake: Lake | None, models: Path, seconds: float
) -> dict[str, Callable[[], Finding]]:
    python = os.environ.get("WINNOW_ENGINE_PYTHON")
    found: dict[str, Callable[[], Finding]] = {
        "vendor": partial(services.vendor, campaign, seconds)
    }
    if campaign.expand.engine == "server":
        found["server"] = partial(services.server, campaign, seconds)
    else:
        found["model"] = partial(services.model, campaign, models)
        found["engine"] = partial(services.engine, campaign, python, seconds)
        found["gpu"] = services.gpu
    return found


def _places(lake: Lake | None, models: Path) -> dict[str, Path]:
    places = {"models": models}
    if lake is not None and "://" not in lake.uri:
        places["lake"] = Path(lake.uri)
    return places


def _told(finding: Finding) -> Finding:
    return finding


def _lines(check: Check) -> list[str]:
    lines = [f"{MARKS[check.outcome]} {check.name:<18} {check.measured}"]
    if check.outcome != "ok" and check.mend:
        lines.append(f"{'':<26} Do: {check.mend}")
    return lines
