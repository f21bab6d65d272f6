"""Commands about the batches of a lake."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from winnow.batch import STAGES, Batch, open_batch, read_artifact, read_manifest, read_table
from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, write_whole
from winnow.campaign.teams import Limits, limits_of
from winnow.commands import options
from winnow.commands.chosen import Answer, Note, folder_of, of_each, place_here, with_batch
from winnow.commands.connections import find_connection
from winnow.commands.say import answer, progress_bar, say, say_text
from winnow.errors import Fatal, Retryable
from winnow.expand.engine import ServerAddress
from winnow.ids import PEOPLE
from winnow.ingest.continued import refuse_renamed
from winnow.ingest.ledger import Dropped, Ledger, read_ledger
from winnow.ingest.sources import look_for, told
from winnow.label.vendor import LabelVendor, VendorAccount
from winnow.label.vendors import connect
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole
from winnow.operate.data_docs import data_docs_of
from winnow.operate.memory import read_memory
from winnow.operate.standing import damaged
from winnow.progress import Progress, progress_of, summary
from winnow.stages import expand, ingest, label, publish, select
from winnow.stages.label.drop import again_text, dropped_text
from winnow.stages.label.drop import drop as drop_batch
from winnow.stages.turn import Looks
from winnow.text import plain_line

AT_ONCE = 8
"""Batches that `status` reads at the same time: a store far away answers slowly, not seldom."""


def run(
    lake: options.LakeOption,
    batch: options.BatchOption,
    campaign: options.CampaignOption = options.UNNAMED,
    engine_python: options.EnginePythonOption = Path(sys.executable),
    models: options.ModelsOption = options.MODELS,
    server_url: Annotated[
        str | None,
        typer.Option(
            help="address of the server where expand.engine is server; its key is read from "
            "WINNOW_SERVER_KEY"
        ),
    ] = None,
    vendor_url: options.VendorUrlOption = options.VENDOR_URL,
    approve: Annotated[
        bool, typer.Option("--approve", help="buy labels even above label.approve_above_usd")
    ] = False,
) -> None:
    """Take the batch through its five stages in this process, waiting for the vendor."""
    dropped = read_ledger(lake, campaign.name).dropped(batch)
    if dropped is not None:
        say(dropped_text(batch, dropped), again_text(batch))
        return
    limits = limits_of(campaign, folder_of(campaign))
    place = place_here()
    if place.is_dir() and campaign.name in files_in(place):
        refuse_renamed(lake, campaign, files_in(place))
    opened = open_batch(campaign, batch, lake, _now)
    if ingest.run(opened) is None:
        passed_over = told(look_for(campaign.ingest.sources, opened.day).passed_over)
        say("No new prompt file since the last batch.")
        if passed_over:
            say(f"Passed over: {passed_over}.")
        return
    server = None
    if server_url is not None:
        server = ServerAddress(server_url, os.environ.get("WINNOW_SERVER_KEY", ""))
    for shard in expand.plan(opened):
        expand.generate(opened, shard, engine_python, models, say, server)
    if not expand.gather(opened).counts["rows_out"]:
        say("No response could be generated; `winnow quarantine` says why.")
        return
    select.run(opened)
    salt = vendor_token().encode()
    vendor = vendor_of(campaign, vendor_url)
    if approve:
        label.approve(opened, getpass.getuser())
    label.submit(opened, vendor, limits)
    for name in opened.campaign.label.asked:
        if name != PEOPLE:
            _ask_source(opened, name, limits)
    _wait(opened, lambda: label.follow_up(opened, vendor, salt, limits))
    _wait(opened, lambda: label.collect(opened, vendor, salt))
    publish.refit(opened, publish.version(opened, publish.check(opened)))
    say_text(summary(opened))


def status(
    lake: options.LakeOption,
    campaign: options.CampaignsOption = options.UNNAMED,
    batch: Annotated[str | None, typer.Option(help="this one only")] = None,
    last: Annotated[int, options.whole_number(0, help="so many batches; the newest")] = 20,
    every: Annotated[bool, typer.Option("--all", help="every batch")] = False,
    as_json: options.JsonOption = False,
    vendor_url: Annotated[
        str | None, typer.Option(help="the vendor's address, to ask how far it is")
    ] = None,
) -> int:
    """A block a batch: each stage that has begun, what is wrong and what mends it, newest last.

    All campaigns by default; of one without a file what is open.
    """

    def look(settings: Campaign) -> Answer:
        if batch is not None and not campaign and not read_ledger(lake, settings.name).knows(batch):
            return [], []
        batches, lines = _status(lake, settings, batch, None if every else last, vendor_url)
        return [each.as_dict() for each in batches], lines

    if batch is not None:
        with_batch(lake, campaign, batch, one=False)
    empty = "" if batch else "  No batch yet."
    rows, lines, code = of_each(lake, campaign, look, _note_row, with_gone=True, empty=empty)
    answer(rows, lines, as_json)
    return code


def _note_row(note: Note) -> dict[str, Any]:
    """A note on a campaign, in the shape of a batch."""
    trouble: dict[str, Any] = {"stage": "", "level": note.level, "heading": ""}
    trouble |= {"cause": note.cause, "mend": note.mend, "batch": None, "since": None}
    return {"batch": None, "stages": {}, "trouble": trouble}


def _status(
    lake: Lake, campaign: Campaign, batch: str | None, last: int | None, vendor_url: str | None
) -> tuple[list[Progress], list[str]]:
    """The last batches of a campaign (None: all), or one, and the lines of them."""
    ledger = read_ledger(lake, campaign.name)
    keys = _keys(ledger, lake, campaign, batch)
    wanted = keys if last is None else keys[-last:] if last else []
    vendor = vendor_of(campaign, vendor_url) if vendor_url else None
    memory = whole(lambda: read_memory(lake, campaign.name)[0])
    mends = {} if isinstance(memory, Damage) else memory.mends
    shared = partial(progress_of, ledger=ledger, mends=mends, looks=Looks(lake, campaign.name))
    read = partial(shared, lake, campaign, vendor=vendor)
    with ThreadPoolExecutor(AT_ONCE) as pool, progress_bar("Reading", len(wanted)) as advance:

        def look(key: str) -> Progress:
            progress = read(key, _now())
            advance()
            return progress

        batches = list(pool.map(look, wanted))
    lines = [line for each in batches for line in each.lines()]
    if len(wanted) < len(keys):
        lines.insert(0, f"The last {len(wanted)} of {len(keys)} batches; --all shows every one.")
    return batches, lines


def quarantine(
    lake: options.LakeOption,
    campaign: options.CampaignsOption = options.UNNAMED,
    batch: Annotated[str | None, typer.Option(help="this one only")] = None,
    as_json: options.JsonOption = False,
) -> int:
    """A line a row in quarantine: stage, file and line or id, reason."""

    def look(settings: Campaign) -> Answer:
        keys = read_ledger(lake, settings.name).keys
        wanted = keys if batch is None else [key for key in keys if key == batch]
        rows = _quarantine_rows(lake, settings, wanted)
        return rows, [line for row in rows for line in _quarantine_lines(row)]

    if batch is not None:
        with_batch(lake, campaign, batch, one=False)
    rows, lines, code = of_each(lake, campaign, look, _note_row)
    answer(rows, lines, as_json)
    return code


def docs(
    batch: Annotated[str, typer.Argument(help="the day, 2026-11-22")],
    lake: options.LakeOption,
    out: Annotated[Path, typer.Option(help="the HTML file it becomes")],
    campaign: options.CampaignsOption = options.UNNAMED,
) -> None:
    """The Data Docs of a batch as a file: what each expectation found in its labels."""
    settings = with_batch(lake, campaign, batch)
    stored = data_docs_of(lake, settings.name, batch)
    if stored is None:
        raise Fatal(
            f"Batch {batch} of {settings.name} has no Data Docs: its labels were not checked yet, "
            "or validation.data_docs is false."
        )
    write_whole(out, read_artifact(lake, stored))
    say(f"{out}: {stored.n_bytes / 1e3:.0f} kB")


def _quarantine_rows(lake: Lake, campaign: Campaign, keys: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for key in keys:
        for stage in STAGES:
            held = whole(partial(_quarantined, lake, campaign.name, key, stage))
            if isinstance(held, Damage):
                held = [
                    {"damaged": held.cause, "mend": damaged(campaign.name, key, held.cause).mend}
                ]
            rows += [{"batch": key, "stage": stage, **row} for row in held]
    return rows


def drop(
    batch: Annotated[str, typer.Argument(help="the day, 2026-11-22")],
    lake: options.LakeOption,
    reason: Annotated[str, typer.Option(help="for whoever looks at the batch later")],
    campaign: options.CampaignsOption = options.UNNAMED,
    called_off: Annotated[
        bool,
        typer.Option("--called-off", help="its tasks were called off at the vendor by hand"),
    ] = False,
    vendor_url: options.VendorUrlOption = options.VENDOR_URL,
) -> None:
    """Give a batch up: its files and prompts are free again, what it cost stays on the books."""
    salt = vendor_token(needed=False).encode()
    settings = with_batch(lake, campaign, batch)
    vendor = vendor_of(settings, vendor_url) if salt and not called_off else None
    note = Dropped(getpass.getuser(), _now().isoformat(timespec="seconds"), reason)
    dropped = drop_batch(lake, settings, batch, note, _now, vendor, salt, called_off=called_off)
    say(dropped_text(batch, dropped))
    if dropped.charged:
        say(f"${dropped.charged / MICROS:.2f} was charged for its labels and stays on the books.")
    if dropped.charged is None:
        say("What its labels cost is not known; the books keep what its plan allows.")
    say(again_text(batch))


def keys_of(lake: Lake, campaign: Campaign, key: str | None) -> list[str]:
    """Keys of a campaign's batches, oldest first, or the one `key`.

    Raises:
        Fatal: There is no such batch.
    """
    return _keys(read_ledger(lake, campaign.name), lake, campaign, key)


def _keys(ledger: Ledger, lake: Lake, campaign: Campaign, key: str | None) -> list[str]:
    if key is None:
        return ledger.keys
    if key not in ledger.keys:
        raise Fatal(f"Campaign {campaign.name} has no batch {key} in {lake.uri}.")
    return [key]


def _quarantined(lake: Lake, campaign: str, key: str, stage: str) -> list[dict[str, Any]]:
    manifest = read_manifest(lake, campaign, key, stage)
    if manifest is None or "quarantine" not in manifest.outputs:
        return []
    return list(read_table(lake, manifest.outputs["quarantine"]).to_pylist())


def _quarantine_lines(row: Mapping[str, Any]) -> list[str]:
    batch = f"{row['batch']} {row['stage']}"
    if "damaged" in row:
        return [f"{batch} damaged: {row['damaged']}", f"{batch} Do: {row['mend']}"]
    # A file's name is its owner's words, which must not drive a terminal.
    place = plain_line(f"{row['file']}:{row['line']}" if row["file"] else str(row["record_id"]))
    return [f"{batch} {place} {row['reason']}: {row['detail']}"]


def _wait(batch: Batch, step: Callable[[], object]) -> None:
    """Take a step as soon as the vendor is ready for it."""
    while True:
        try:
            step()
        except Retryable as error:
            say(str(error))
            time.sleep(batch.campaign.label.poll_seconds)
        else:
            return


def _ask_source(batch: Batch, name: str, limits: Limits) -> None:
    """Ask a source, through its Airflow connection, and bring home what it answers."""
    own = batch.campaign.label.of_source(name)
    connection = find_connection(own.connection, _CONNECTION_SECONDS)
    if connection is None:
        raise Fatal(
            f"Source {name} has no connection {own.connection}: set "
            f"AIRFLOW_CONN_{own.connection.upper()}, or make it in Airflow."
        )
    vendor = connect(own.vendor, connection.account())
    salt = str(connection.extra.get("annotator_salt") or connection.password).encode()
    _wait(batch, lambda: label.ask_source(batch, name, vendor, limits))
    _wait(batch, lambda: label.bring_source(batch, name, vendor, salt))


_CONNECTION_SECONDS = 60.0


def vendor_token(*, needed: bool = True) -> str:
    """The vendor's token as the environment has it; its bytes are the annotators' salt.

    Raises:
        Fatal: It is needed, and not set.
    """
    token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
    if needed and not token:
        raise Fatal("Set WINNOW_VENDOR_TOKEN to the vendor's token.")
    return token


def vendor_of(campaign: Campaign, url: str) -> LabelVendor:
    """The campaign's vendor at an address, with the token of the environment."""
    return connect(campaign.label.vendor, VendorAccount(url, vendor_token(needed=False)))


def _now() -> datetime:
    return datetime.now(UTC)
