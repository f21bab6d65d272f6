"""`winnow migrate`: after an upgrade, a campaign that was renamed, one that was removed.

    winnow migrate --check    says what an upgrade to this release will change, and changes nothing
    winnow migrate            takes the DAGs of a version with one campaign a deployment out of
                              Airflow's database, where they are stale and their runs frozen
    winnow migrate OLD        gives a campaign without a file one again, so that its open batches
                              are drained: its DAGs come back, and Airflow goes on where they froze

What is done and bought stands in the lake: neither begins or buys anything again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, write_whole
from winnow.campaign.writing import campaign_text
from winnow.campaigns import place_setting
from winnow.commands import options
from winnow.commands.airflow_rest import AirflowRest, ListedDag, connect_airflow
from winnow.commands.chosen import place_here
from winnow.commands.say import say, say_text
from winnow.commands.upgrade import told
from winnow.errors import Fatal, WinnowError
from winnow.ingest.continued import successor
from winnow.lake import Lake
from winnow.operate.campaigns import campaigns_of, of_file, open_work
from winnow.stages.tasks import DAGS

TAG = "winnow"
"""What the DAGs of every version are tagged with: another team may have a `reconcile`."""


def migrate(
    lake: options.LakeOption,
    name: Annotated[
        str | None, typer.Argument(metavar="CAMPAIGN", help="drain one whose file is gone")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="only say what it would do")] = False,
    print_it: Annotated[
        bool, typer.Option("--print", help="print the file instead of writing it")
    ] = False,
) -> None:
    """Bring over what an upgrade, a renamed or a removed campaign left running.

    Without a campaign: the DAGs of a version before 0.4, after an upgrade.
    """
    if name is None and check:
        say(*told(lake))
        try:
            airflow = connect_airflow()
        except WinnowError as error:
            say(f"Airflow was not asked for DAGs of a version before 0.4: {error}")
            return
        _from_one(lake, airflow, check)
    elif name is None:
        _from_one(lake, connect_airflow(), check)
    else:
        _drain(lake, place_here(), name, check, print_it)


def _from_one(lake: Lake, airflow: AirflowRest, check: bool) -> None:
    """Take the six DAGs of the version with one campaign out of Airflow.

    Raises:
        Fatal: One of them is not stale: a deployment of that version is running.
    """
    listed = [airflow.dag(dag.name) for dag in DAGS]
    there = [dag for dag in listed if dag is not None]
    old = [dag for dag in there if dag.is_tagged(TAG)]
    foreign = [dag.dag_id for dag in there if dag not in old]
    if foreign:
        say(f"Not Winnow's, and left alone: {', '.join(foreign)}.")
    active = [dag.dag_id for dag in old if not dag.is_stale]
    if active:
        raise Fatal(
            f"{', '.join(active)} of {airflow.url} are not stale: Airflow still reads the DAG "
            "files of the version before. Stop it, or wait until it has read the new ones."
        )
    if not old:
        say("Airflow has no DAG of a version before 0.4: nothing is left to do.")
    for dag in old:
        _remove(airflow, dag, check)
    if old or not check:
        _say_open(lake, "Their open batches" if old else "Open batches")
    if check and old:
        say("Nothing was changed; the same without --check does it.")


def _remove(airflow: AirflowRest, dag: ListedDag, check: bool) -> None:
    frozen = airflow.frozen_runs(dag.dag_id)
    keys = ", ".join(run.partition_key or run.dag_run_id for run in frozen)
    plural = "" if len(frozen) == 1 else "s"
    runs = f"{len(frozen)} frozen run{plural} ({keys})" if frozen else "no run was frozen"
    if check:
        say(f"{dag.dag_id}: stale, {runs}.")
        return
    for run in frozen:
        airflow.fail_run(dag.dag_id, run.dag_run_id)
    airflow.delete_dag(dag.dag_id)
    done = ", marked as failed" if frozen else ""
    say(f"{dag.dag_id}: stale, {runs}{done}; its records in Airflow are deleted.")


def _say_open(lake: Lake, whose: str) -> None:
    """Who goes on with what was open."""
    for known in campaigns_of(lake, place_here()):
        work = open_work(lake, known.settings) if known.settings else None
        if work is None or not work.keys:
            continue
        keys = f"{whose} of {known.name}: {', '.join(work.keys)}."
        if known.file == "gone":
            say(f"{keys} It has no file: winnow migrate {known.name}")
        else:
            say(
                f"{keys} {known.name}.reconcile takes them up within half an hour, as the lake has "
                "them; nothing is bought again."
            )


def _drain(lake: Lake, place: Path, name: str, check: bool, print_it: bool) -> None:
    """Write the file of a campaign that has none, if something of it is open.

    Raises:
        Fatal: There is no such campaign, its file is broken, or the folder cannot be written.
    """
    if place.is_file():
        raise Fatal(
            f"{place} is one campaign's file: point WINNOW_CAMPAIGNS at a folder, in which "
            f"{name}.yaml can lie beside it."
        )
    if name in files_in(place):
        known = of_file(lake, place, name)
        if known.file == "broken":
            raise Fatal(f"{known.fault} Mend the file: then its batches go on.")
    else:
        gone = [each for each in campaigns_of(lake, place) if each.name == name]
        if not gone or gone[0].settings is None:
            raise Fatal(f"There is no campaign {name} in {place}, and none in {lake.uri}.")
        known = gone[0]
    assert known.settings is not None
    work = open_work(lake, known.settings)
    if known.file == "good":
        schedule = known.settings.schedule
        if work.keys:
            say(f"{name} has a file, and goes on: {work}.")
        elif schedule.cron is not None or schedule.assets:
            say(f"{name} has a file, and nothing of it is open; it goes on with its schedule.")
        else:
            say(f"Everything of {name} is through: its file in {place} may be deleted.")
        return
    if not work.keys:
        say(f"Everything of {name} is through: it needs no file.")
        return
    text = _drained(known.settings, successor(lake, name))
    if print_it:
        say_text(text.rstrip("\n"))
        return
    path = place / f"{name}.yaml"
    if check:
        say(f"{name}: {work}. {path} would be written; the same without --check does it.")
        return
    if "://" in place_setting():
        raise Fatal(
            f"The campaigns lie in {place_setting()}: print the file with --print, and put it "
            f"there as {name}.yaml."
        )
    write_whole(path, text)
    say(
        f"{name}: {work}.",
        f"{path} is written. Its DAGs come back within a minute and its batches go on; no new one "
        f"begins. Delete it when `winnow status --campaign {name}` says that nothing is open.",
    )


def _drained(campaign: Campaign, renamed: str | None) -> str:
    head = [
        "Made by `winnow migrate`: the campaign had no file any more, and open batches. It begins",
        f"no new one. When everything is through (`winnow migrate {campaign.name}` says so), this",
        "file may be deleted.",
    ]
    zone = {"cron": None, "timezone": campaign.schedule.timezone}
    # A batch that had begun and taken nothing yet takes nothing that the new name took since.
    continues = renamed or campaign.continues
    return campaign_text(campaign, head, schedule=zone, continues=continues)
