"""From Airflow's world to Winnow's: environment, partition key and connection become arguments.

Nothing below this module reads the environment. DAG files import it when they are parsed, so the
product itself is imported inside the functions.

    WINNOW_CAMPAIGN       the campaign's YAML file (default: the shipped one)
    WINNOW_LAKE           a folder or s3://bucket/prefix
    WINNOW_ENGINE_PYTHON  the interpreter of the generation environment
    WINNOW_MODELS         the folder of prepared models
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import winnow
from winnow.errors import Fatal

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from winnow.batch import Batch, Manifest
    from winnow.expand.server import ServerAddress
    from winnow.label.vendor import LabelVendor

SHIPPED_CAMPAIGN = Path(winnow.__file__).parents[1] / "campaigns" / "nightly.yaml"


@dataclass(frozen=True, slots=True)
class Engine:
    """Where generation runs: its interpreter and its models."""

    python: Path
    models: Path


def batch_of(dag_run: Any) -> Batch:
    """The batch that a DAG run works on, by its partition key.

    Raises:
        Fatal: The run has no key, or WINNOW_LAKE is not set.
    """
    from winnow.batch import open_batch
    from winnow.campaign import load_campaign
    from winnow.lake import open_lake

    campaign = load_campaign(Path(os.environ.get("WINNOW_CAMPAIGN", SHIPPED_CAMPAIGN)))
    lake = open_lake(_required("WINNOW_LAKE"))
    return open_batch(campaign, batch_key(dag_run), lake, lambda: datetime.now(UTC))


def batch_key(dag_run: Any) -> str:
    """The run's partition key; `dags test` has none and gives `{"partition": key}` as conf."""
    key = dag_run.partition_key or (dag_run.conf or {}).get("partition")
    if not key:
        raise Fatal(
            f"Run {dag_run.run_id} has no partition key; trigger it with a day such as "
            "2026-11-22, or backfill ingest_prompts."
        )
    return str(key)


def engine() -> Engine:
    """The generation environment of this host."""
    return Engine(Path(_required("WINNOW_ENGINE_PYTHON")), Path(_required("WINNOW_MODELS")))


def server_of(batch: Batch) -> ServerAddress | None:
    """The server that generates, through its Airflow connection; None where none does."""
    from airflow.sdk.bases.hook import BaseHook

    from winnow.expand.server import ServerAddress

    settings = batch.campaign.expand
    if settings.engine != "server":
        return None
    connection = BaseHook.get_connection(settings.server.connection)
    return ServerAddress(url_of(connection), connection.password or "")


def vendor_of(batch: Batch) -> LabelVendor:
    """The batch's labelling vendor, through its Airflow connection."""
    from airflow.sdk.bases.hook import BaseHook

    return vendor_from(
        batch.campaign.label.vendor, BaseHook.get_connection(batch.campaign.label.connection)
    )


def vendor_from(name: str, connection: Any) -> LabelVendor:
    """A vendor's client from an Airflow connection; the token is its password."""
    from winnow.label.vendors import connect

    return connect(name, url_of(connection), connection.password or "")


def url_of(connection: Any) -> str:
    """The address of an Airflow connection: scheme (http unless it says another), host, port."""
    host = connection.host or "127.0.0.1"
    base = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    return f"{base}:{connection.port}" if connection.port else base


def annotator_salt(batch: Batch) -> bytes:
    """The secret that annotator ids are hashed with: the vendor connection's token."""
    from airflow.sdk.bases.hook import BaseHook

    return (BaseHook.get_connection(batch.campaign.label.connection).password or "").encode()


def announce(asset: Asset, manifest: Manifest | None, outlet_events: Any) -> Mapping[str, Any]:
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
    outlet_events[asset].extra = summary
    return summary


def _required(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise Fatal(f"{name} is not set in Airflow's environment; see the README.") from None
