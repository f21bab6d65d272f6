"""The campaigns of this deployment, and how each comes to its DAGs.

    WINNOW_CAMPAIGNS   a folder of YAML files, one a campaign, or an s3:// prefix of them (default:
                       the shipped folder); WINNOW_CAMPAIGN, a single file, is what it was called
                       when a deployment had one

The files in `dags/` are wiring: each makes one DAG for every campaign of `campaigns_here()`. Under
`bundle.CampaignBundle` each campaign has a file of its own, in which that is one campaign, so that
what is wrong with one touches no other. A plain Airflow that reads `dags/` gets all of them.

A campaign whose file is broken goes on with the last settings that were good.
"""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from airflow.sdk import get_parsing_context

from winnow.campaign import Campaign, bare_campaign, parse_campaign
from winnow.campaign.folder import files_in, keep, kept, read, read_all
from winnow.campaigns import campaigns_place, place_setting
from winnow.errors import Fatal, WinnowError
from winnow.stages.tasks import campaign_of

WIRING = Path(__file__).parents[2] / "dags"
FAULTS_FILE = "campaigns.py"
"""The file of `dags/` that only says which campaigns are broken."""

_made: dict[str, Campaign] = {}
"""The campaigns whose DAGs were made in this process, as their DAGs have them."""

_alone: ContextVar[Campaign | None] = ContextVar("_alone", default=None)


def place() -> Path:
    """The folder of campaigns, or the one file; what lies in a bucket is brought here.

    Raises:
        Fatal: The bucket cannot be read, and nothing of it is here from before.
    """
    return campaigns_place(place_setting(), _state() / "brought")


def campaign_named(name: str) -> Campaign:
    """A campaign as its file is now; where that is broken, as its DAGs were made with.

    Raises:
        Fatal: There is none, or its file is broken and was never good here.
    """
    try:
        return read(place(), name)
    except Fatal:
        if name in _made:
            return _made[name]
        raise


def campaigns_here() -> list[Campaign]:
    """The campaigns that the DAG file that is being read makes DAGs of.

    A broken one has its last good settings here, if it ever had any; `raise_faults` says what is
    wrong with it.
    """
    alone = _alone.get()
    if alone is not None:
        return [alone]
    names = files_in(place())
    of_task = campaign_of(get_parsing_context().dag_id or "")
    # What starts a task of one campaign needs none of the others; a single file may be called
    # otherwise than its campaign.
    wanted = [of_task] if of_task in names else names
    campaigns = [found for name in wanted if (found := settled(name))]
    _made.update({campaign.name: campaign for campaign in campaigns})
    return campaigns


def all_campaigns() -> list[Campaign]:
    """Every campaign as its file is now, or with the last good settings that this host has seen."""
    return [found for name in files_in(place()) if (found := settled(name))]


def settled(name: str) -> Campaign | None:
    """A campaign as its file is now, or was when it was good last; None where it never was here."""
    try:
        campaign = read(place(), name)
    except WinnowError:
        return kept(_state(), name)
    keep(_state(), campaign)
    return campaign


def make_dags(settings: str) -> None:
    """Make the DAGs of one campaign, from its settings as JSON, in the file that calls this.

    Raises:
        Fatal: The settings are wrong.
    """
    campaign = parse_campaign(json.loads(settings), where="(made from the campaign's file)")
    _made[campaign.name] = campaign
    with _only(campaign):
        _read_wiring()


def make_bare_dags(name: str) -> None:
    """The DAGs of a campaign whose settings nobody here has seen whole, for its open batches.

    They have the names that tasks are found by, and no schedule; a batch has its own settings.
    """
    with _only(bare_campaign(name)):
        _read_wiring()


def _read_wiring() -> None:
    for file in sorted(WIRING.glob("*.py")):
        if file.name != FAULTS_FILE:
            runpy.run_path(str(file))


def raise_faults() -> None:
    """Say which campaigns are broken, as the import error of a file that makes no DAG.

    Raises:
        Fatal: Some are; each with the setting and what is wrong.
    """
    _, faults = read_all(place())
    if faults:
        raise Fatal("\n".join(fault.reason for fault in faults))


def _state() -> Path:
    """Where this host keeps what it knows of campaigns beside their files."""
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "winnow-campaigns"


@contextmanager
def _only(campaign: Campaign) -> Iterator[None]:
    token = _alone.set(campaign)
    try:
        yield
    finally:
        _alone.reset(token)
