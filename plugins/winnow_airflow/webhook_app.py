"""The route on which vendors' webhooks arrive, below Airflow's API server.

    POST /winnow/webhooks/{vendor}

It needs no login: the signature is the login, checked against `webhook_secret` in the extra of the
vendor's Airflow connection. Nothing else is open. Answers say what became of the event and no more:
202 taken, 400 stale or malformed, 401 forged, 404 no such vendor here, 408 sent too slowly, 409
taken before, 413 oversized, 503 try again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import FastAPI, Request, Response

from winnow.errors import Fatal, Retryable
from winnow.label.vendors import batch_of_event
from winnow.label.webhooks import MAX_BYTES, Refused, take, verify
from winnow_airflow.campaigns import all_campaigns
from winnow_airflow.context import WebhookAccount, the_lake, webhook_account
from winnow_airflow.plain_log import plain_logger

BODY_SECONDS = 10.0
STATUS: Mapping[str, int] = {
    "forged": 401,
    "stale": 400,
    "malformed": 400,
    "oversized": 413,
    "replayed": 409,
}

log = plain_logger(__name__)


def create_app() -> FastAPI:
    """The app with its one route; no docs, no schema."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.post("/webhooks/{vendor}")
    async def webhook(vendor: str, request: Request) -> Response:
        return Response(status_code=await _receive(vendor, request))

    return app


async def read_limited(
    chunks: AsyncIterator[bytes], declared: str | None, limit: int = MAX_BYTES
) -> bytes:
    """A body of at most `limit` bytes; `declared` is what Content-Length says, which may lie.

    Raises:
        Refused: It is longer, or says so.
    """
    if declared and declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise Refused("oversized")
    body = bytearray()
    async for chunk in chunks:
        if len(body) + len(chunk) > limit:
            raise Refused("oversized")
        body += chunk
    return bytes(body)


async def _receive(vendor: str, request: Request) -> int:
    """The status of the answer."""
    try:
        accounts = await asyncio.to_thread(_accounts, vendor)
        if not accounts:
            return 404
        body = await asyncio.wait_for(
            read_limited(request.stream(), request.headers.get("content-length")), BODY_SECONDS
        )
        await asyncio.to_thread(_take, vendor, accounts, dict(request.headers), body)
    except Refused as refusal:
        log.warning("A webhook to %s was refused: %s", vendor, refusal.reason)
        return STATUS[refusal.reason]
    except TimeoutError:
        return 408
    except Retryable as error:
        log.warning("A webhook to %s cannot be taken now: %s", vendor, error)
        return 503
    except Fatal as error:
        log.error("A webhook to %s cannot be taken: %s", vendor, error)
        return 503
    return 202


def _accounts(vendor: str) -> list[WebhookAccount]:
    """The accounts that campaigns have at a vendor; none where no campaign has one."""
    labels = [own for each in all_campaigns() for own in each.label.asked.values()]
    names = dict.fromkeys(label.connection for label in labels if label.vendor == vendor)
    accounts = []
    for name in names:
        try:
            accounts.append(webhook_account(vendor, BaseHook.get_connection(name)))
        except AirflowNotFoundException:
            continue
    return [account for account in accounts if account is not None]


def _take(
    vendor: str, accounts: Sequence[WebhookAccount], headers: Mapping[str, str], body: bytes
) -> None:
    """Take an event that one of the accounts proves.

    Raises:
        Refused: None does; the reason is the last one's that did not call it forged, if any.
    """
    now = datetime.now(UTC)
    refusal = Refused("forged")
    for account in accounts:
        try:
            event = verify(account.kind, headers, body, account.secret, now, account.header)
        except Refused as error:
            refusal = error if error.reason != "forged" else refusal
        else:
            take(the_lake(), vendor, event, batch_of_event(vendor, body), now)
            return
    raise refusal
