"""The page behind links, below Airflow's API server at /winnow-links: the link is the login."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import FastAPI

from winnow.errors import WinnowError
from winnow.label.vendors.links.app import create_app as create_links_app
from winnow.label.vendors.links.client import LinksVendor
from winnow_airflow.campaigns import all_campaigns
from winnow_airflow.context import vendor_from
from winnow_airflow.plain_log import plain_logger

KNOWN_SECONDS = 30.0
"""For so long no campaign and no connection is read again."""

log = plain_logger(__name__)


def create_app() -> FastAPI:
    """The page for the links of every campaign's `links` vendor."""
    return create_links_app(Vendors())


class Vendors:
    """The `links` vendors of all campaigns, as they were some seconds ago at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: tuple[float, Sequence[LinksVendor]] | None = None

    def __call__(self) -> Sequence[LinksVendor]:
        now = self._clock()
        if self._known is None or now - self._known[0] > KNOWN_SECONDS:
            self._known = now, _vendors()
        return self._known[1]


def _vendors() -> list[LinksVendor]:
    labels = [own for each in all_campaigns() for own in each.label.asked.values()]
    names = dict.fromkeys(label.connection for label in labels if label.vendor == "links")
    found = []
    for name in names:
        try:
            vendor = vendor_from("links", BaseHook.get_connection(name))
        except AirflowNotFoundException:
            continue
        except WinnowError as error:
            log.error("The links of connection %s cannot be opened: %s", name, error)
            continue
        if isinstance(vendor, LinksVendor):
            found.append(vendor)
    return found
