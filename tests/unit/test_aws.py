"""Clients of AWS against a store that holds them: it answers when the test lets it, or never."""

from __future__ import annotations

import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from winnow.errors import Fatal, Retryable
from winnow.label.vendor import AnnotationPage
from winnow.label.vendors.file_drop import client as file_drop
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import FolderLake, S3Lake
from winnow.lake.aws import CALL_SECONDS, SLOWEST, Body, aws_client, end_calls
from winnow.stages.label import rounds as label_rounds
from winnow.stages.label.rounds import look
from winnow.within import within

NEVER = threading.Event()


@dataclass
class Store:
    """What a client of S3 is to a lake: every method goes through `_make_api_call`."""

    answer: Callable[[], dict[str, Any]]
    asked: list[str] = field(default_factory=list)
    meta: Any = field(default_factory=lambda: SimpleNamespace(endpoint_url="http://s3"))
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(NoSuchKey=KeyError, ClientError=LookupError)
    )

    def _make_api_call(self, operation: str, asked: Any) -> dict[str, Any]:
        self.asked.append(operation)
        return self.answer()

    def __getattr__(self, name: str) -> Any:
        return lambda **asked: self._make_api_call(name, asked)


class Stuck(io.RawIOBase):
    """A body that sends nothing more."""

    def read(self, size: int = -1) -> bytes:
        NEVER.wait()
        return b""


def held() -> dict[str, Any]:
    NEVER.wait()
    return {}


@pytest.fixture(autouse=True)
def at_the_end() -> Iterator[None]:
    """Whoever was left behind goes home."""
    NEVER.clear()
    yield
    NEVER.set()


READS: list[Callable[[S3Lake], Any]] = [
    lambda lake: lake.read("a"),
    lambda lake: lake.read_tagged("a"),
    lambda lake: list(lake.chunks("a")),
    lambda lake: lake.part("a", 0, 1),
]
CALLS = [
    *READS,
    lambda lake: lake.exists("a"),
    lambda lake: lake.create("a", b""),
    lambda lake: lake.swap("a", b"", None),
    lambda lake: lake.remove("a"),
    lambda lake: lake.tag("a"),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_store_holds_a_call(call: Callable[[S3Lake], Any]) -> None:
    lake = S3Lake("b", "p", end_calls(Store(held), seconds=0.0))
    with pytest.raises(Retryable, match="s3://b/p/a: the store cannot be reached"):
        call(lake)


@pytest.mark.parametrize("call", READS)
def test_no_store_holds_a_body(call: Callable[[S3Lake], Any], monkeypatch) -> None:
    monkeypatch.setattr("winnow.lake.aws.SLOWEST", 1e12)
    store = Store(dict)
    store.answer = lambda: {"Body": Body(store, Stuck(), 10, 0.0), "ETag": "t"}
    with pytest.raises(Retryable, match=r"cannot be reached: no end after 0 s .at http://s3."):
        call(S3Lake("b", "p", store))


def test_a_body_without_a_length_is_read_so_far_and_no_further(monkeypatch) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    monkeypatch.setattr("winnow.lake.aws.UNTOLD_BYTES", 100)
    monkeypatch.setattr("winnow.lake.aws._UNTOLD_PIECE", 10)
    client = end_calls(Store(lambda: {"Body": Endless(), "ETag": "t"}))
    with pytest.raises(Retryable, match="no end after 100 bytes"):
        S3Lake("b", "p", client).read("a")


@pytest.mark.parametrize("n_bytes", [0, 1, 5, 2_000_000])
@pytest.mark.parametrize("told", [True, False])
def test_a_body_is_read_whole(n_bytes: int, told: bool) -> None:
    data = bytes(range(256)) * (n_bytes // 256) + bytes(n_bytes % 256)
    told_length = {"ContentLength": n_bytes} if told else {}
    client = end_calls(Store(lambda: {"Body": io.BytesIO(data), "ETag": "t", **told_length}))
    lake = S3Lake("b", "p", client)
    assert lake.read("a") == b"".join(lake.chunks("a")) == data


def test_a_store_that_lists_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ({"Contents": [{"Key": f"p/{n}", "ETag": "t"}]} for n in itertools.count())
    paginator = SimpleNamespace(paginate=lambda **asked: pages)
    store = Store(dict)
    store.get_paginator = lambda operation: paginator  # type: ignore[attr-defined]
    monkeypatch.setattr("winnow.lake.s3._MOST_PAGES", 10)
    with pytest.raises(Retryable, match="list does not end after 11 pages"):
        S3Lake("b", "p", store).tags("")


def test_what_is_sent_has_time_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[float] = []
    monkeypatch.setattr("winnow.lake.aws.within", lambda s, work, name: allowed.append(s) or work())
    lake = S3Lake("b", "p", end_calls(Store(dict)))
    lake.create("a", bytes(SLOWEST * 7))
    lake.create("b", bytes(SLOWEST))
    assert allowed == [CALL_SECONDS + 7.0, CALL_SECONDS + 1.0]


def test_a_client_waits_for_no_read_and_no_connection_for_long() -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    config = aws_client("s3", **keys).meta.config
    assert (config.connect_timeout, config.read_timeout) == (5.0, 30.0)
    assert config.retries["total_max_attempts"] == 4


def test_what_takes_too_long_is_left_and_errors_come_through() -> None:
    assert within(30.0, lambda: 7, "t") == 7
    assert within(30.0, lambda: None, "t") is None
    with pytest.raises(ZeroDivisionError):
        within(30.0, lambda: 1 / 0, "t")
    with pytest.raises(TimeoutError):
        within(0.0, NEVER.wait, "t")
    with pytest.raises(ReadTimeoutError):
        end_calls(Store(held), seconds=0.0).head_object(Key="a")


def test_a_file_of_a_vendor_has_a_largest_size_and_number_of_lines(tmp_path, monkeypatch) -> None:
    store = FolderLake(tmp_path)
    store.create("b/output/a.jsonl", b"{}\n" * 10)
    vendor = FileDropVendor(store)
    vendor.file_bytes = 30
    assert len(vendor._lines("b/output/a.jsonl").lines) == 10
    vendor.file_bytes = 29
    with pytest.raises(Fatal, match=r"b/output/a.jsonl has more than .* let the vendor split it"):
        vendor._lines("b/output/a.jsonl")
    vendor.file_bytes = 30
    monkeypatch.setattr(file_drop, "FILE_LINES", 9)
    with pytest.raises(Fatal, match="more than 9 lines"):
        vendor._lines("b/output/a.jsonl")


@dataclass
class Endless:
    """A vendor with a new page behind every page."""

    name: str = "endless"
    n: int = 0

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        self.n += 1
        return AnnotationPage((), f"page {self.n}", complete=False)


def test_a_look_at_pages_without_an_end_ends_and_the_next_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(label_rounds, "MOST_PAGES", 5)
    batch: Any = SimpleNamespace(lake=FolderLake(tmp_path), folder="batches/n/2026-11-22")
    plan = {"tasks": [], "requests": [], "quarantined": [], "pii": {}}
    batch.lake.create(f"{batch.folder}/label/round-0/plan.json", json.dumps(plan).encode())
    vendor: Any = Endless()
    for n in (5, 10):
        with pytest.raises(Retryable, match="endless lists r on more than 5 pages"):
            look(batch, 0, vendor, "r", b"salt")
        assert vendor.n == n
    assert len(batch.lake.listing(f"{batch.folder}/label/round-0/inbox")) == 10
