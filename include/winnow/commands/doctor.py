"""`winnow doctor`: is everything there that tonight's batch needs?

Run it where Airflow's components run, with their environment: it looks at what they would see.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from winnow.campaign import Campaign, load_campaign
from winnow.commands import doctor_services as services
from winnow.commands import doctor_store as store
from winnow.commands.checks import Check, Examine, failed, ok, run_all
from winnow.commands.options import MODELS, SHIPPED, JsonOption, ModelsOption, decimal
from winnow.commands.say import answer
from winnow.errors import WinnowError
from winnow.lake import open_lake

T = TypeVar("T")

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
    lines = (line for check in checks for line in _lines(check))
    answer([asdict(check) for check in checks], lines, as_json)
    return int(any(check.outcome == "failed" for check in checks))


def examine(
    campaign_file: Path, lake_uri: str | None, day: str | None, models: Path, seconds: float
) -> list[Check]:
    """Every check, in a fixed order, within about `seconds`."""
    day = day or (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    checks: dict[str, Examine] = {}

    def opened(name: str, open_it: Callable[[], T], mend: str) -> T | None:
        try:
            return open_it()
        except WinnowError as error:
            wrong = failed(str(error), mend)
            checks[name] = lambda: wrong
            return None

    campaign = opened(
        "campaign", partial(load_campaign, campaign_file), "correct the file it names"
    )
    if campaign is not None:
        named = ok(f"{campaign.name}, {campaign_file}")
        checks["campaign"] = lambda: named
    checks["lake"] = lambda: failed("WINNOW_LAKE is not set", "set it, or --lake")
    lake = opened("lake", partial(open_lake, lake_uri), "correct WINNOW_LAKE") if lake_uri else None
    places = {"models": models}
    if lake is not None:
        checks["lake"] = partial(store.lake, lake)
        checks["conditional writes"] = partial(store.conditional_writes, lake)
        checks["clock"] = partial(store.clock, lake)
        if "://" not in lake.uri:
            places["lake"] = Path(lake.uri)
    if campaign is None:
        checks["versions"] = store.installed
    else:
        checks["sources"] = partial(store.sources, campaign, lake, day)
        checks["known answers"] = partial(store.known_answers, campaign, day)
        if lake is not None:
            checks["versions"] = partial(store.versions, lake, campaign)
        checks |= _services(campaign, models, seconds)
    checks |= {
        "airflow": partial(services.airflow, seconds / 2.0),
        "workers": partial(services.workers, seconds),
        "disk": partial(store.disk, places),
        "secrets": services.secrets,
        "metrics": services.metrics,
        "alarms": partial(services.alarms, seconds),
    }
    return run_all(checks, seconds)


def _services(campaign: Campaign, models: Path, seconds: float) -> dict[str, Examine]:
    checks: dict[str, Examine] = {"vendor": partial(services.vendor, campaign, seconds)}
    if campaign.expand.engine == "server":
        return checks | {"server": partial(services.server, campaign, seconds)}
    python = os.environ.get("WINNOW_ENGINE_PYTHON")
    return checks | {
        "model": partial(services.model, campaign, models),
        "engine": partial(services.engine, campaign, python, seconds),
        "gpu": services.gpu,
    }


def _lines(check: Check) -> list[str]:
    lines = [f"{MARKS[check.outcome]} {check.name:<18} {check.measured}"]
    if check.outcome != "ok" and check.mend:
        lines.append(f"{'':<26} Do: {check.mend}")
    return lines
