"""From Airflow's world to Winnow's: environment, partition key and connection become arguments.

Nothing below this module reads the environment. DAG files import it when they are parsed, so the
product itself is imported inside the functions.

    WINNOW_CAMPAIGNS      the folder of campaigns (`campaigns`)
    WINNOW_LAKE           a folder or s3://bucket/prefix
    WINNOW_ENGINE_PYTHON  the interpreter of the generation environment
    WINNOW_MODELS         the folder of prepared models
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from winnow.campaign.folder import files_in, teams_folder
from winnow.errors import Fatal, WinnowError
from winnow.ids import PEOPLE
from winnow.stages.tasks import DAGS, stage_of
from winnow_airflow.campaigns import campaign_named, place

if TYPE_CHECKING:
    from winnow.batch import Batch, Manifest
    from winnow.campaign import Campaign
    from winnow.campaign.teams import Limits
    from winnow.expand.engine import ServerAddress
    from winnow.label.vendor import LabelVendor, Webhook
    from winnow.lake import Lake


@dataclass(frozen=True, slots=True)
class WebhookAccount:
    """How webhooks of an account prove themselves; `header` carries the proof (None: the usual)."""

    kind: Webhook
    secret: str
    header: str | None


def batch_of(dag_run: Any) -> Batch:
    """The batch that a DAG run works on, by its partition key.

    Raises:
        Fatal: The run has no key, WINNOW_LAKE is not set, or the campaign looks like a renamed one
            and does not say so.
        AirflowSkipException: A person gave the batch up: nothing is done, and nobody is told.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from winnow.batch import open_batch, read_batch
    from winnow.ingest.continued import refuse_renamed
    from winnow.ingest.ledger import read_ledger
    from winnow.stages.label.drop import dropped_text

    name, key, lake = campaign_name(dag_run.dag_id), batch_key(dag_run), the_lake()
    dropped = read_ledger(lake, name).dropped(key)
    if dropped is not None:
        raise AirflowSkipException(dropped_text(key, dropped))
    try:
        campaign = campaign_named(name)
    except WinnowError:
        # Its file is broken or gone: a batch that has begun goes on as it was begun.
        begun = read_batch(lake, name, key, _now)
        if begun is None:
            raise
        return begun
    if stage_of(dag_run.dag_id) == "ingest" and place().is_dir():
        refuse_renamed(lake, campaign, files_in(place()))
    return open_batch(campaign, key, lake, _now)


def unless_begun_by_hand(batch: Batch, dag_run: Any, task_instance: Any) -> Batch:
    """The batch, if its tick is the first to begin it: Airflow's scheduler knows no run by hand.

    A further try of the tick's own task is none that somebody else began.

    Raises:
        AirflowSkipException: A person has begun it, and it went on from there.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    if (
        dag_run.run_type == "scheduled"
        and task_instance.try_number == 1
        and batch.manifest("ingest") is not None
    ):
        raise AirflowSkipException(f"Batch {batch.key} was begun by hand: it goes on from there.")
    return batch


def _now() -> datetime:
    return datetime.now(UTC)


def assets_of(campaign: str) -> dict[str, Asset]:
    """The asset by which each stage of a campaign is announced, in order.

    Its events are partitioned: the key is the batch, and with it a backfill of the first DAG goes
    through the whole chain. They carry the key and small counts; data goes through the lake.
    """
    return {dag.stage: Asset(f"{campaign}.{dag.asset}") for dag in DAGS if dag.asset}


def campaign_name(dag: str) -> str:
    """The campaign that a DAG is of, one of a team's own beside Winnow's too: `nightly.export`.

    Raises:
        Fatal: It is of none.
    """
    name = dag.rpartition(".")[0]
    if not name:
        raise Fatal(f"{dag} is no DAG of a campaign: those are called CAMPAIGN.STAGE.")
    return name


def the_lake() -> Lake:
    """This deployment's lake.

    Raises:
        Fatal: WINNOW_LAKE is not set.
    """
    return _open_lake(_required("WINNOW_LAKE"))


@lru_cache(maxsize=4)
def _open_lake(uri: str) -> Lake:
    """Kept, because a client of S3 weighs megabytes and a triggerer waits for many batches."""
    from winnow.lake import open_lake

    return open_lake(uri)


def batch_key(dag_run: Any) -> str:
    """The run's partition key; `dags test` has none and gives `{"partition": key}` as conf."""
    key = dag_run.partition_key or (dag_run.conf or {}).get("partition")
    if not key:
        raise Fatal(
            f"Run {dag_run.run_id} has no partition key; trigger it with a day such as "
            "2026-11-22, or backfill its campaign's ingest_prompts."
        )
    return str(key)


def nights_at_once(dag_run: Any) -> int | None:
    """How many nights of a backfill choose side by side: 1, in order, unless it says; None: no one.

    Raises:
        Fatal: `at_once` of the backfill's conf is no whole number above 0.
    """
    conf, run_type = dag_run.conf or {}, dag_run.run_type
    # Without a cron Airflow has no backfill: `winnow backfill` starts runs that say what they are.
    if run_type != "backfill" and not (run_type == "manual" and "at_once" in conf):
        return None
    asked = conf.get("at_once", 1)
    if type(asked) is not int or asked < 1:
        raise Fatal(f"at_once is {asked!r} in this backfill's conf; write a whole number from 1.")
    return asked


def engine(batch: Batch) -> tuple[Path, Path]:
    """The generation environment of this host: its interpreter, and the folder of its models.

    A batch that loads no model needs none: of it they are this interpreter, and no folder.
    """
    if not batch.campaign.expand.has_model:
        return Path(sys.executable), Path()
    return Path(_required("WINNOW_ENGINE_PYTHON")), Path(_required("WINNOW_MODELS"))


def server_of(batch: Batch) -> ServerAddress | None:
    """The server that generates, through its Airflow connection; None where none does."""
    from airflow.sdk.bases.hook import BaseHook

    from winnow.expand.engine import ServerAddress

    settings = batch.campaign.expand
    if settings.engine != "server":
        return None
    connection = BaseHook.get_connection(settings.server.connection)
    return ServerAddress(url_of(connection), connection.password or "")


def hub_of(campaign: Campaign) -> ServerAddress | None:
    """The hub that the campaign's versions go to, through its Airflow connection."""
    from airflow.sdk.bases.hook import BaseHook

    from winnow.publish.hub import address_of

    if campaign.publish.hub is None:
        return None
    connection = BaseHook.get_connection(campaign.publish.hub.connection)
    return address_of(connection.host or "", url_of(connection), connection.password or "")


def limits_of(batch: Batch) -> Limits:
    """What a batch's campaign and its team may buy for this month, as the folder has it now.

    Raises:
        Fatal: `teams.yaml` is wrong, or does not have the campaign's team.
    """
    from winnow.campaign import teams

    return teams.limits_of(batch.campaign, teams_folder(place()))


def vendor_of(campaign: Campaign, source: str = PEOPLE) -> LabelVendor:
    """A campaign's labelling vendor, or that of a source, through its Airflow connection."""
    from airflow.sdk.bases.hook import BaseHook

    label = campaign.label.of_source(source)
    return vendor_from(label.vendor, BaseHook.get_connection(label.connection))


def vendor_from(name: str, connection: Any) -> LabelVendor:
    """A vendor's client from an Airflow connection.

    The token is the connection's password, the address its host and port (a folder or an
    `s3://bucket/prefix` stands in the host). `extra` is handed on, but for Winnow's own secrets.
    One client serves all calls of a process to an account, so its methods must be safe to call
    from several threads.
    """
    own = ("webhook_secret", "webhook_header", "annotator_salt")
    extra = {key: value for key, value in connection.extra_dejson.items() if key not in own}
    return _client(
        name,
        url_of(connection),
        connection.password or "",
        connection.login or "",
        json.dumps(extra, sort_keys=True),
    )


@lru_cache(maxsize=8)
def _client(name: str, url: str, token: str, login: str, extra: str) -> LabelVendor:
    from winnow.label.vendor import VendorAccount
    from winnow.label.vendors import connect

    return connect(name, VendorAccount(url, token, login, json.loads(extra)))


def webhook_account(name: str, connection: Any) -> WebhookAccount | None:
    """How a vendor's webhooks prove themselves; None where it sends none or has no secret."""
    from winnow.label.vendors import kind_of

    kind, extra = kind_of(name), connection.extra_dejson
    if kind.webhook is None or not extra.get("webhook_secret"):
        return None
    header = extra.get("webhook_header") or kind.webhook_header
    return WebhookAccount(kind.webhook, str(extra["webhook_secret"]), header)


def url_of(connection: Any) -> str:
    """The address of an Airflow connection: scheme (http unless it says another), host, port.

    A host that is a folder stays one.
    """
    host = connection.host or "127.0.0.1"
    if host.startswith("/"):
        return str(host)
    base = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    return f"{base}:{connection.port}" if connection.port else base


def annotator_salt(campaign: Campaign, source: str = PEOPLE) -> bytes:
    """The secret that annotator ids are hashed with: `annotator_salt` in the extra, or the token.

    Set it before a token is rotated, to the old token: with another salt the same annotator gets
    another id.
    """
    from airflow.sdk.bases.hook import BaseHook

    connection = BaseHook.get_connection(campaign.label.of_source(source).connection)
    salt = connection.extra_dejson.get("annotator_salt") or connection.password or ""
    return str(salt).encode()


def announce(manifest: Manifest | None, outlet_events: Any) -> Mapping[str, Any]:
    """Put a stage's counts on its asset event, and into the task's XCom.

    Raises:
        AirflowSkipException: The stage has nothing to hand on, so the chain ends here.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    if manifest is None:
        raise AirflowSkipException("No new prompt file since the last batch.")
    if not manifest.counts["rows_out"]:
        raise AirflowSkipException(f"Stage {manifest.stage}: nothing is left to hand on.")
    summary = {"batch": manifest.batch, **manifest.counts, "cost_usd": manifest.cost / 1_000_000}
    outlet_events[assets_of(manifest.campaign)[manifest.stage]].extra = summary
    return summary


def _required(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise Fatal(f"{name} is not set in Airflow's environment; see the README.") from None
