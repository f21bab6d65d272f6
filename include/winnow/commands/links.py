"""Commands about links to the page of the vendor `links`: who gets them, and who is done."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any

import typer

from winnow.campaign import Campaign
from winnow.commands import options, plain_app
from winnow.commands.connections import find_connection
from winnow.commands.say import say
from winnow.errors import Fatal
from winnow.label.vendor import VendorAccount, container_name
from winnow.label.vendors.links.client import BOOKS, LinksVendor, links_vendor
from winnow.label.vendors.links.tokens import Link, worker_id
from winnow.lake import Lake
from winnow.stages.label.rounds import ROUNDS, container_key

_CONNECTION_SECONDS = 30.0
_FORMULA = ("=", "+", "-", "@")
"""A cell that begins so is a formula to a spreadsheet."""

links = plain_app(no_args_is_help=True, help="Links for annotators, and who is done.")

RoundOption = Annotated[
    int | None,
    options.whole_number(0, 100, help="a later round: 1 for the follow-up; the first by default"),
]


@links.command()
def make(
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
    batch: Annotated[
        str, typer.Option(help="the day, 2026-11-22; without it whatever waits, as an inbox")
    ] = "",
    round: RoundOption = None,
    workers: Annotated[int, options.whole_number(0, 100_000, help="so many, named w00001…")] = 0,
    worker: Annotated[
        list[str] | None, typer.Option(help="for this person; again for more")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="one for each task")] = False,
    most: Annotated[int, options.whole_number(0, help="tasks a person; 0: all")] = 0,
    days: Annotated[float, options.decimal(0.01, 365, help="until they expire")] = 7.0,
) -> None:
    """Print links as CSV: for each worker, for each task, or one for everybody."""
    vendor, source_round = _vendor(lake, campaign)
    ref = _ref(vendor, campaign, batch, source_round if round is None else round) if batch else ""
    named = [*(f"w{n:05}" for n in range(1, workers + 1)), *map(_name, worker or ())]
    if each and (named or not batch):
        raise Fatal("--each makes links for whoever opens them, to the tasks of a --batch.")
    if not batch and not named:
        raise Fatal("Say for whom an inbox is, --worker NAME; or which --batch.")
    link = Link(int((vendor.now() + timedelta(days=days)).timestamp()), ref, most=most)
    made: list[tuple[str, Link]]
    if each:
        tasks = sorted(vendor.list_task_ids(ref))
        made = [(task, Link(link.expires, ref, task=task)) for task in tasks]
    else:
        made = [(name, Link(link.expires, ref, name, most=most)) for name in named] or [("", link)]
    head = "task" if each else "worker"
    _say_csv([head, "link"], ((name, vendor.address(own)) for name, own in made))


@links.command()
def codes(
    lake: options.LakeOption,
    batch: Annotated[str, typer.Option(help="the day, 2026-11-22")],
    campaign: options.CampaignOption = options.UNNAMED,
    round: RoundOption = None,
) -> None:
    """Print who began, answers, completion code, and whether a link was shared, as CSV."""
    vendor, source_round = _vendor(lake, campaign)
    ref = _ref(vendor, campaign, batch, source_round if round is None else round)
    rows = (
        (who, n, vendor.signer.code(ref, who) if n else "", "yes" if is_shared else "")
        for who, n, is_shared in vendor.desk.workers(ref)
    )
    _say_csv(["worker", "answers", "code", "shared"], rows)


@links.command()
def serve(
    lake: options.LakeOption,
    campaign: options.CampaignOption = options.UNNAMED,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, options.whole_number(1, 65535, help="port")] = 8791,
) -> None:
    """Serve the page by itself, where Airflow's API server is not to be reached by annotators."""
    import uvicorn

    from winnow.label.vendors.links.app import create_app

    vendor, _ = _vendor(lake, campaign)
    say(f"The page of links: http://{host}:{port}, for {vendor.place}")
    # An access log would hold the links.
    app = create_app(lambda: [vendor])
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)


def _vendor(lake: Lake, campaign: Campaign) -> tuple[LinksVendor, int]:
    """The campaign's vendor `links`, and the round in which it is asked.

    Raises:
        Fatal: It has none, or its connection cannot be read.
    """
    asked = list(campaign.label.asked.values())
    at = next((i for i, own in enumerate(asked) if own.vendor == "links"), None)
    if at is None:
        raise Fatal(f"Campaign {campaign.name} asks nobody by links: set label.vendor to links.")
    conn_id = asked[at].connection
    try:
        found = find_connection(conn_id, _CONNECTION_SECONDS)
    except (ValueError, TimeoutError, LookupError):
        found = None
    if found is None:
        raise Fatal(f"There is no connection {conn_id}; set AIRFLOW_CONN_{conn_id.upper()}.")
    account = found.account()
    account = VendorAccount(
        account.url, account.token, extra={"books": f"{lake.uri}/{BOOKS}", **account.extra}
    )
    return links_vendor(account), at and len(ROUNDS) + at - 1


def _ref(vendor: LinksVendor, campaign: Campaign, key: str, number: int) -> str:
    """The batch's container; raises `Fatal` where there is none."""
    name = container_key(campaign.name, key, number)
    ref = container_name(name, vendor.longest_ref)
    if vendor.status(ref).state == "draft":
        raise Fatal(f"Batch {name} is not launched yet.")
    return ref


def _name(text: str) -> str:
    name = worker_id(text)
    if name is None:
        raise Fatal("A worker's name has 1 to 100 characters.")
    return name


def _say_csv(head: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    for row in (head, *rows):
        line = io.StringIO()
        cells = [f"'{cell}" if str(cell).startswith(_FORMULA) else cell for cell in row]
        csv.writer(line, lineterminator="").writerow(cells)
        say(line.getvalue())
