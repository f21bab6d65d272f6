"""The client waits as it is asked to, gives up in good time, and says what to do next."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from winnow.errors import Fatal, Retryable
from winnow.label.vendor import BatchTerms, VendorAccount
from winnow.label.vendors import batch_of_event, connect
from winnow.label.vendors.calls import LONGEST_WAIT_SECONDS
from winnow.label.vendors.simulator.client import SimulatorVendor

TERMS = BatchTerms("Which is better?", "r-1", (), datetime(2027, 1, 1, tzinfo=UTC))


def test_a_refused_token_is_fatal_and_not_repeated(simulator) -> None:
    vendor = SimulatorVendor(simulator.url, "wrong", simulator.transport, simulator.sleeps.append)
    with pytest.raises(Fatal, match="401") as raised:
        vendor.open_batch("day-1", TERMS)
    assert "wrong" not in str(raised.value)
    assert simulator.sleeps == []


def test_an_unknown_batch_is_fatal(simulator) -> None:
    with pytest.raises(Fatal, match="no batch"):
        simulator.connect().status("books?")


@pytest.mark.parametrize(
    ("url", "token"),
    [("localhost:8790", "t"), ("", "t"), ("http://x", ""), ("http://x", "t\n"), ("http://x", "é")],
)
def test_a_connection_that_cannot_work_is_fatal_at_once(url: str, token: str) -> None:
    with pytest.raises(Fatal):
        connect("simulator", VendorAccount(url, token))


def test_an_unknown_vendor_is_fatal() -> None:
    with pytest.raises(Fatal, match="simulator"):
        connect("nobody", VendorAccount("http://x", "t"))


def _busy_then_fine(n_busy: int, busy: httpx.Response) -> httpx.MockTransport:
    replies = iter([busy] * n_busy + [httpx.Response(200, json={"ref": "r"})] * 9)
    return httpx.MockTransport(lambda _: next(replies))


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 0.2),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "soon"}, 0.2),
        (
            {
                "Retry-After": "Sun, 22 Nov 2026 10:00:04 GMT",
                "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
            },
            4.0,
        ),
    ],
)
@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_service_is_asked_again_when_it_says(code, headers, wait) -> None:
    sleeps: list[float] = []
    transport = _busy_then_fine(1, httpx.Response(code, headers=headers))
    vendor = SimulatorVendor("http://x", "t", transport, sleeps.append)
    assert vendor.open_batch("day-1", TERMS) == "r"
    assert sleeps == [wait]


@pytest.mark.parametrize(("after", "n_sleeps"), [("1", 3), (str(LONGEST_WAIT_SECONDS + 1), 0)])
def test_a_service_that_stays_busy_is_left_to_the_caller(after: str, n_sleeps: int) -> None:
    sleeps: list[float] = []
    transport = _busy_then_fine(9, httpx.Response(429, headers={"Retry-After": after}))
    vendor = SimulatorVendor("http://x", "t", transport, sleeps.append)
    with pytest.raises(Retryable, match="429"):
        vendor.open_batch("day-1", TERMS)
    assert len(sleeps) == n_sleeps


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"ref": 3}', b"\xff"])
def test_an_answer_that_cannot_be_read_is_retryable(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    with pytest.raises(Retryable, match="cannot be read"):
        SimulatorVendor("http://x", "t", transport).open_batch("day-1", TERMS)


def test_an_answer_that_was_cut_off_is_asked_for_again() -> None:
    replies = iter([httpx.Response(200, content=b'{"re'), httpx.Response(200, json={"ref": "r"})])
    vendor = SimulatorVendor("http://x", "t", httpx.MockTransport(lambda _: next(replies)))
    assert vendor.open_batch("day-1", TERMS) == "r"


@pytest.mark.parametrize(
    ("body", "ref"),
    [
        (b'{"type": "batch.updated", "data": {"ref": "sim-1"}}', "sim-1"),
        (b'{"type": "batch.updated", "data": {"ref": "sim-1", "n": 3}, "at": 1}', "sim-1"),
        (b'{"type": "ping", "data": {"ref": "sim-1"}}', None),
        (b'{"type": "batch.updated", "data": {"ref": 7}}', None),
        (b'{"type": "batch.updated"}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_webhook_names_its_batch_or_nothing(body: bytes, ref: str | None) -> None:
    assert batch_of_event("simulator", body) == ref
