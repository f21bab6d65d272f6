"""Commands about the versions of a dataset."""

from __future__ import annotations

import getpass
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from winnow.addresses import ServerAddress
from winnow.campaign import NAME, Campaign
from winnow.commands import options
from winnow.commands.chosen import the_campaign
from winnow.commands.connections import find_connection
from winnow.commands.say import answer, progress_bar, say
from winnow.errors import Fatal
from winnow.ingest.ledger import unneeded_runs
from winnow.lake import Lake, open_lake
from winnow.money import MICROS
from winnow.publish import hub
from winnow.publish.diff import diff_text, diff_versions
from winnow.publish.garbage import find_garbage, remove_garbage
from winnow.publish.lineage import lineage_text, trace
from winnow.publish.pull import Source
from winnow.publish.pull import pull as pull_version
from winnow.publish.rollback import roll_back
from winnow.publish.versions import Version, newest, read_version
from winnow.publish.views import VIEWS
from winnow.stages.select import reward_model
from winnow.text import plain_line

_NAMED = re.compile(rf"(?:({NAME.pattern})?@)?({NAME.pattern})")
_NUMBER = re.compile(r"v?0*([1-9][0-9]*)")
_CONNECTION_SECONDS = 30.0


NamedVersion = Annotated[
    str, typer.Argument(help="v12, NAME@v12 or NAME@latest; the campaign's dataset if no NAME")
]


DatasetOf = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="whose dataset it is, if a version names none")
]


def versions(
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
    as_json: options.JsonOption = False,
) -> None:
    """A line a version of the campaign's dataset, oldest first."""
    dataset = campaign.publish.dataset
    last = newest(lake, dataset)
    numbers = range(1, last.number + 1 if last else 1)
    published = [read_version(lake, dataset, number) for number in numbers]
    lines = map(_line, published) if last else [f"Dataset {dataset} has no version yet."]
    answer([asdict(version) for version in published], lines, as_json)


def diff(
    before: NamedVersion,
    after: NamedVersion,
    lake: options.LakeOption,
    campaign: DatasetOf = "",
    rows: Annotated[int, options.whole_number(0, help="most ids listed of each change")] = 10,
    as_json: options.JsonOption = False,
) -> None:
    """What differs between two versions: rows, figures, batches."""
    old, new = (find_version(lake, campaign, name) for name in (before, after))
    if old.dataset != new.dataset:
        raise Fatal(f"{old.dataset} and {new.dataset} are two datasets; compare one's own.")
    difference = diff_versions(lake, old, new, rows)
    answer(difference.as_dict(), diff_text(difference).split("\n"), as_json)


def pull(
    version: Annotated[
        str,
        typer.Argument(
            help="as for `versions`, or on a hub: hf://ORG/NAME@v12, hf://ORG/NAME@latest"
        ),
    ],
    out: Annotated[Path, typer.Option(help="the folder it becomes")],
    lake: Annotated[
        str | None, typer.Option(envvar="WINNOW_LAKE", help="folder or s3://…; none for a hub")
    ] = None,
    campaign: DatasetOf = "",
    digest: Annotated[str, typer.Option(help="what its digest must begin with")] = "",
    connection: Annotated[
        str, typer.Option(help="of the hub; if there is none, what `hf auth login` stored")
    ] = "winnow_hub",
) -> None:
    """A version as a local folder: every file checked, whole or not at all."""
    source: Source
    if version.startswith("hf:"):
        found = hub.find(_hub(connection, needed=False), version)
        source, wanted = found, found.version
    elif lake is None:
        raise Fatal("Say in which lake it is: --lake, or WINNOW_LAKE; or name one on a hub.")
    else:
        source = opened = open_lake(lake)
        wanted = find_version(opened, campaign, version)
    if not wanted.digest.startswith(digest.lower()):
        raise Fatal(f"{wanted.dataset} {wanted.name} in {source.uri} has digest {wanted.digest}.")
    with progress_bar("Files", len(wanted.files)) as advance:
        pulled = pull_version(source, wanted, out, advance)
    fetched = f"{pulled.n_fetched} fetched now" if pulled.n_fetched else "all there before"
    say(
        f"{wanted.dataset}@{wanted.name} {wanted.digest[:12]} in {pulled.folder}: "
        f"{pulled.n_files} files, {pulled.n_bytes / 1e6:.1f} MB, {fetched}"
    )


def push(
    version: NamedVersion,
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
) -> None:
    """A version onto the hub of `publish.hub`, unless it is there: one commit, its tag last.

    One older than what the hub has gets its tag, and `main` stays where it is.
    """
    wanted, settings = find_version(lake, campaign, version), campaign.publish
    if settings.hub is None:
        raise Fatal(f"Campaign {campaign.name} has no publish.hub to push to.")
    if wanted.dataset != settings.dataset:
        raise Fatal(
            f"publish.hub of {campaign.name} is for {settings.dataset}, not for {wanted.dataset}."
        )
    address = _hub(settings.hub.connection, needed=True)
    hub.push(lake, wanted, settings.hub, address, datetime.now(UTC), older=True, tell=say)


def _hub(conn_id: str, *, needed: bool) -> ServerAddress:
    """The hub of a connection; without one huggingface.co with the library's own login."""
    try:
        found = find_connection(conn_id, _CONNECTION_SECONDS)
    except (ValueError, TimeoutError):
        raise Fatal(
            f"The connection {conn_id} cannot be read; set AIRFLOW_CONN_{conn_id.upper()}."
        ) from None
    except LookupError:
        found = None
    if found is not None:
        return hub.address_of(found.host, found.url, found.password)
    if needed:
        raise Fatal(f"There is no connection {conn_id}; set AIRFLOW_CONN_{conn_id.upper()}.")
    return ServerAddress(hub.ENDPOINT)


def lineage(
    row: Annotated[str, typer.Argument(help="a pair_id, response_id or annotation_id")],
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
    batch: Annotated[str | None, typer.Option(help="look in this batch only")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Where a published row comes from: prompt, model, gains, votes, cost."""
    origin = trace(lake, campaign.name, campaign.publish.dataset, row, batch)
    answer(origin.as_dict(), lineage_text(origin).split("\n"), as_json)


def rollback(
    version: NamedVersion,
    lake: options.LakeOption,
    reason: Annotated[str, typer.Option(help="for the new version's manifest")],
    campaign: options.CampaignOption = options.UNNAMED,
) -> None:
    """An older version published again as the newest: the next batch builds on it."""
    target = find_version(lake, campaign, version)
    made = roll_back(lake, target, reason, getpass.getuser(), datetime.now(UTC))
    # The next batch must not choose its pairs by what the withdrawn labels taught.
    fitted = reward_model.refit(lake, campaign, made)
    reward_model.store(lake, campaign.name, fitted, made.number)
    say(_line(made))
    if campaign.publish.hub is not None:
        say(f"The hub has it once you push it: winnow push {made.name}")


def find_version(lake: Lake, campaign: Campaign | str, name: str) -> Version:
    """The version that a person names: `v12`, `nightly@v12`, `latest` or `nightly@latest`.

    Of a campaign that is said by its name or file nothing is read where `name` has a dataset.

    Raises:
        Fatal: There is no such version, or the name is none; then it is not repeated.
    """
    named = _NAMED.fullmatch(name)
    if named is None:
        raise Fatal(
            "What is named is no version: write v12, NAME@v12 or NAME@latest, NAME being that of "
            "a dataset; `winnow versions` lists them."
        )
    dataset, wanted = named[1], named[2]
    if not dataset:
        whose = the_campaign(campaign) if isinstance(campaign, str) else campaign
        dataset = whose.publish.dataset
    last = newest(lake, dataset)
    if last is None:
        raise Fatal(f"Dataset {dataset} in {lake.uri} has no version yet; run a batch first.")
    if wanted == "latest":
        return last
    number = _NUMBER.fullmatch(wanted)
    if number is None or int(number[1]) > last.number:
        raise Fatal(
            f"Dataset {dataset} in {lake.uri} has no version {wanted!r}: there are v1 to "
            f"v{last.number}, and `latest`; `winnow versions` lists them."
        )
    return read_version(lake, dataset, int(number[1]))


def _line(version: Version) -> str:
    rows = ", ".join(f"{version.n_rows(view)} {view}" for view in VIEWS if version.n_rows(view))
    line = (
        f"{version.dataset}@{version.name} {version.digest[:12]} {version.published_at} "
        f"{rows or 'no rows'}"
    )
    if version.rollback is not None:
        return f"{line}, rollback to {version.rollback.to}: {plain_line(version.rollback.reason)}"
    figures = version.figures
    cost = f"${figures['cost'] / MICROS:.2f}" if "cost" in figures else "cost not measured"
    verdict = figures.get("verdict", "not judged")
    return f"{line}, {cost}, gate: {verdict}, batches to {version.batches[-1]}"


def gc(
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
    grace_hours: Annotated[float, options.decimal(0, 1e5, help="younger things stay")] = 48.0,
    delete: Annotated[
        bool, typer.Option("--delete", help="remove them; else only list them")
    ] = False,
    folders: Annotated[
        bool, typer.Option("--folders", help="folders of older versions too; `pull` needs none")
    ] = False,
    keep: Annotated[
        list[int] | None, typer.Option(help="number of a version whose folder stays, repeatable")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """What no version of the dataset names, a line each: removed with --delete only.

    Beside it merged parts of the ledger, and what killed tasks of the campaign did not finish.
    With --folders those of all versions go but of the newest, of those that were rolled back to,
    and of --keep.
    """
    # By the store's clock, as the times that it is held against.
    before = lake.now() - timedelta(hours=grace_hours)
    kept = (keep or []) if folders else None
    garbage = find_garbage(lake, campaign.publish.dataset, before, kept)
    runs = [run for run in unneeded_runs(lake, campaign.name) if run.modified < before]
    # What a killed task had not written to its end lies in its batch's folder.
    own = (f"batches/{campaign.name}", f"campaigns/{campaign.name}")
    left = [path for place in own for path in lake.unfinished(place, before, remove=delete)]
    garbage = replace(
        garbage,
        objects=(*garbage.objects, *runs),
        unfinished=(*garbage.unfinished, *left),
    )
    if delete:
        remove_garbage(lake, garbage)
    rows = [
        {**asdict(stored), "unfinished": False, "removed": delete} for stored in garbage.objects
    ]
    rows += [{"path": p, "unfinished": True, "removed": delete} for p in garbage.unfinished]
    rows += [{"path": p, "unfinished": False, "removed": delete} for p in garbage.folders]
    done = "Removed" if delete else "Found, and not removed without --delete:"
    lines = [
        *(f"{s.path} {s.n_bytes} bytes of {s.modified:%Y-%m-%d %H:%M}" for s in garbage.objects),
        *(f"{path} was never finished" for path in garbage.unfinished),
        *(f"{path} is the folder of an older version" for path in garbage.folders),
        f"{done} {len(garbage.objects)} objects of {garbage.n_bytes / 1e6:.1f} MB that no version "
        f"of {campaign.publish.dataset} names, {len(garbage.unfinished)} unfinished writes, "
        f"{len(garbage.folders)} folders of older versions, all older than {grace_hours:g} hours.",
    ]
    answer(rows, lines, as_json)
