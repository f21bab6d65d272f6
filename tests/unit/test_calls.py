"""Calls against servers that hold them, on a network and a clock that the test drives."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.calls import (
    LARGEST_SETTING,
    Bounds,
    Calls,
    Intake,
    Oversized,
    TookTooLong,
    Unreadable,
    wire,
)
from winnow.errors import Retryable
from winnow.label.vendors import calls as vendor_calls
from winnow.label.vendors.calls import VendorCalls
from winnow.label.vendors.label_studio.client import LabelStudioVendor

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n"
SECONDS = 60.0


@dataclass
class Network(httpcore.NetworkBackend):
    """Every connection gives `pieces` anew, one each `seconds`; `now` is what its clock says."""

    pieces: Callable[[], Iterable[bytes]]
    seconds: float = 0.0
    now: float = 0.0
    n_read: int = 0

    def clock(self) -> float:
        return self.now

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self, iter(self.pieces()))

    def wait(self, timeout: float | None) -> None:
        if timeout is not None and timeout < self.seconds:
            self.now += timeout
            raise httpcore.ReadTimeout
        self.now += self.seconds


@dataclass
class _Stream(httpcore.NetworkStream):
    network: Network
    left: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.network.wait(timeout)
        piece = next(self.left, b"")
        self.network.n_read += len(piece)
        return piece

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


def calls_over(network: Network, most_bytes: int = MIB, seconds: float = SECONDS) -> Calls:
    bounds = Bounds(seconds, silence=30.0, most_bytes=most_bytes)
    return Calls("It", "http://127.0.0.1", {}, bounds, wire(network), network.clock)


def answer(body: bytes, *headers: str) -> list[bytes]:
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
    return [
        HEAD + lines.encode() + b"\r\n",
        *(body[i : i + 4096] for i in range(0, len(body), 4096)),
    ]


def for_ever(begin: bytes, again: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([begin] if begin else [], itertools.repeat(again))


HOLDS = {
    "nothing": for_ever(b"", b"H"),
    "a header that goes on": for_ever(HEAD + b"X: ", b"x"),
    "many headers": for_ever(HEAD, b"X: x\r\n"),
    "early hints": for_ever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a body with its length": for_ever(HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "a body until it closes": for_ever(HEAD + b"\r\n", b" "),
    "chunks": for_ever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's extension": for_ever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "trailers": for_ever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
    "packed": for_ever(HEAD + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b" ")[:3]),
}


@pytest.mark.parametrize("pieces", HOLDS.values(), ids=HOLDS.keys())
@pytest.mark.parametrize("seconds", [2.0, 29.0])
def test_no_server_holds_a_call_beyond_its_end(pieces, seconds: float) -> None:
    network = Network(pieces, seconds)
    with pytest.raises((httpx.TransportError, Retryable)):
        calls_over(network).send("GET", "/x")
    assert network.now <= SECONDS


@pytest.mark.parametrize("pieces", HOLDS.values(), ids=HOLDS.keys())
def test_no_server_fills_the_memory_with_one_answer(pieces) -> None:
    network = Network(pieces, seconds=0.001)
    with pytest.raises((httpx.TransportError, Retryable)):
        calls_over(network, most_bytes=10_000, seconds=5.0).send("GET", "/x")


@given(
    step=st.floats(0.01, 100.0),
    seconds=st.floats(0.1, 200.0),
    pieces=st.sampled_from(list(HOLDS.values())),
)
def test_whatever_the_pace_a_call_ends_in_time(step: float, seconds: float, pieces) -> None:
    network = Network(pieces, step)
    with pytest.raises((httpx.TransportError, Retryable)):
        calls_over(network, most_bytes=2_000, seconds=seconds).send("GET", "/x")
    assert network.now <= seconds


def test_the_end_of_a_call_is_said_in_words() -> None:
    with pytest.raises(TookTooLong, match="no whole answer within 60 s"):
        calls_over(Network(HOLDS["chunks"], 2.0)).send("GET", "/x")


def zlib_of(data: bytes) -> bytes:
    return zlib.compress(data, 9)


BOMBS = {
    "gzip": ("gzip", gzip.compress(bytes(64 * MIB)), Oversized),
    "x-gzip": ("x-gzip", gzip.compress(bytes(64 * MIB)), Oversized),
    "deflate": ("deflate", zlib_of(bytes(64 * MIB)), Oversized),
    "GZIP": ("GZIP", gzip.compress(bytes(64 * MIB)), Oversized),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(bytes(64 * MIB))), Unreadable),
    "br": ("br", bytes(100), Unreadable),
    "zstd": ("zstd", bytes(100), Unreadable),
    "none": ("identity", bytes(2 * MIB), Oversized),
    "a lie": ("gzip", b"{}" * 100, Unreadable),
    "cut": ("gzip", gzip.compress(bytes(MIB - 1))[:20] + b"\xff" * 30, Unreadable),
    "behind its end": ("gzip", gzip.compress(b"{}") + bytes(2 * MIB), Oversized),
}


@pytest.mark.parametrize(("encoding", "body", "error"), BOMBS.values(), ids=BOMBS.keys())
def test_what_unpacks_to_more_than_is_read_is_refused(encoding: str, body: bytes, error) -> None:
    network = Network(lambda: answer(body, f"Content-Encoding: {encoding}"))
    with pytest.raises(error):
        calls_over(network).send("GET", "/x")


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    request = httpx.Request("GET", "http://it/x")
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, request=request)
    bomb, intake = gzip.compress(bytes(64 * MIB)), Intake(packed, "It", MIB)
    tracemalloc.start()
    try:
        with pytest.raises(Oversized):
            intake.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=3000), st.integers(1, 500), st.sampled_from(["gzip", "deflate", ""]))
def test_an_honest_answer_comes_as_it_was_packed(data: bytes, size: int, encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib_of, "": bytes}[encoding](data)
    head = HEAD + f"Content-Encoding: {encoding or 'identity'}\r\n".encode()
    head += f"Content-Length: {len(packed)}\r\n\r\n".encode()
    pieces = [head, *(packed[i : i + size] for i in range(0, len(packed), size))]
    got = calls_over(Network(lambda: pieces)).send("GET", "/x")
    assert (got.status_code, got.content) == (200, data)


def test_an_answer_that_is_shorter_than_it_says_is_no_answer() -> None:
    network = Network(lambda: [HEAD + b"Content-Length: 100\r\n\r\n{}"])
    with pytest.raises(httpx.TransportError):
        calls_over(network).send("GET", "/x")


def test_no_redirect_is_followed() -> None:
    network = Network(lambda: [b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"])
    assert calls_over(network).send("GET", "/x").status_code == 302


def test_the_largest_answer_is_named_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(3 * MIB)
    calls = Calls(
        "It", "http://t", transport=httpx.MockTransport(lambda r: httpx.Response(200, content=body))
    )
    monkeypatch.setenv(LARGEST_SETTING, "2")
    with pytest.raises(Oversized, match=f"It .GET /x. sent more than 2 MiB.*{LARGEST_SETTING}"):
        calls.send("GET", "/x")
    monkeypatch.setenv(LARGEST_SETTING, "3")
    assert calls.send("GET", "/x").content == body


def test_the_tries_of_a_vendors_call_end_together() -> None:
    network = Network(for_ever(b"", b"H"), 2.0)
    calls = VendorCalls("V", "http://127.0.0.1", {"A": "t"}, wire(network), clock=network.clock)
    calls._sleep = lambda seconds: None
    with pytest.raises(Retryable, match=r"V .GET /x. did not answer .no whole answer within 60 s"):
        calls.send("GET", "/x")
    assert network.now <= vendor_calls.BOUNDS.seconds


def test_what_one_try_took_the_next_has_no_more() -> None:
    now = [0.0]

    def trickle() -> Iterator[bytes]:
        while True:
            now[0] += 2.0
            yield b" "

    def handle(request: httpx.Request) -> httpx.Response:
        if not now[0]:
            now[0] = 50.0
            return httpx.Response(503)
        return httpx.Response(200, content=trickle())

    server = httpx.MockTransport(handle)
    calls = VendorCalls("V", "http://v", {"A": "t"}, server, lambda s: None, lambda: now[0])
    with pytest.raises(Retryable, match="no whole answer within"):
        calls.send("GET", "/x")
    assert now[0] <= vendor_calls.BOUNDS.seconds + 2.0


def label_studio(
    listed: Callable[[int, httpx.Request], Any], token: str = "legacy"
) -> LabelStudioVendor:
    asked = itertools.count()

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=listed(next(asked), request))

    return LabelStudioVendor("http://ls", token, httpx.MockTransport(handle), lambda seconds: None)


ENDLESS_PROJECTS = {
    "the same page": (lambda n, r: {"results": [{"id": 1}], "next": "more"}, "the same page"),
    "empty pages": (lambda n, r: {"results": [], "next": "more"}, "the same page"),
    "a circle": (lambda n, r: {"results": [{"id": n % 3}], "next": "more"}, "the same page"),
    "new ones": (lambda n, r: {"results": [{"id": n}], "next": "more"}, "does not end"),
}


@pytest.mark.parametrize(("listed", "why"), ENDLESS_PROJECTS.values(), ids=ENDLESS_PROJECTS.keys())
def test_a_list_of_projects_without_an_end_is_given_up(listed, why, monkeypatch) -> None:
    monkeypatch.setattr(vendor_calls, "MOST_PAGES", 20)
    with pytest.raises(Retryable, match=f"Label Studio's list of projects .*{why}"):
        label_studio(listed)._projects("night/1")


def tasks_from(first: Callable[[int], int]) -> Callable[[int, httpx.Request], Any]:
    return lambda n, r: {"tasks": [{"id": first(n) + i, "annotations": []} for i in range(5)]}


ENDLESS_TASKS = {"the same page": tasks_from(lambda n: 1), "for ever": tasks_from(lambda n: 5 * n)}


@pytest.mark.parametrize("listed", ENDLESS_TASKS.values(), ids=ENDLESS_TASKS.keys())
def test_a_list_of_tasks_without_an_end_is_given_up(listed, monkeypatch) -> None:
    monkeypatch.setattr(vendor_calls, "MOST_PAGES", 20)
    vendor = label_studio(listed)
    vendor.page_size = 5
    with pytest.raises(Retryable, match=r"Label Studio.* tasks of project 7"):
        vendor.list_task_ids("7")


def test_a_list_ends_by_its_bytes_and_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    page, now = httpx.Response(200, content=b"x" * 1000), [0.0]
    calls = VendorCalls("V", "http://v", {"A": "t"}, clock=lambda: now[0])
    monkeypatch.setattr(vendor_calls, "MOST_LISTED_BYTES", 2500)
    with pytest.raises(Retryable, match="does not end after 3 pages and 3,000 bytes"):
        list(calls.listed("things", lambda place: ([], (place or 0) + 1, page)))

    def slow(place: int | None) -> tuple[list[int], int, httpx.Response]:
        now[0] += 0.6 * vendor_calls.LIST_SECONDS
        return [], (place or 0) + 1, page

    with pytest.raises(Retryable, match="not whole after"):
        list(calls.listed("things", slow))


@pytest.mark.parametrize("raw", [b"[" + b"0," * 200_000 + b"0]", b"[" + b"," * 200_000 + b"]"])
def test_a_page_of_many_small_elements_is_not_taken_apart(raw: bytes) -> None:
    calls = VendorCalls("V", "http://v", {"A": "t"})
    page = httpx.Response(
        200, content=b'{"listed": ' + raw + b"}", request=httpx.Request("GET", "http://v/x")
    )
    with pytest.raises(Retryable, match="cannot be read"):
        calls.read_list(page, "listed", dict)


def test_a_list_of_wrong_values_is_not_told_value_by_value() -> None:
    calls = VendorCalls("V", "http://v", {"A": "t"})
    values = json.dumps([0] * (vendor_calls.MOST_VALUES + 2)).encode()
    page = httpx.Response(200, content=values, request=httpx.Request("GET", "http://v/x"))
    with pytest.raises(Retryable, match="cannot be read"):
        calls.read(page, list[str])


def test_the_trade_of_a_token_is_read_within_the_same_bounds() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200,
            headers={"Content-Encoding": "gzip"},
            stream=httpx.ByteStream(gzip.compress(bytes(70 * MIB))),
        )

    vendor = LabelStudioVendor(
        "http://ls", "a.b.c", httpx.MockTransport(handle), lambda seconds: None
    )
    with pytest.raises(Oversized, match=r"Label Studio .a new token."):
        vendor.mark_of("1")


def test_what_a_refusal_says_is_not_decoded_as_it_asks() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/plain; charset=zlib_codec"}
        return httpx.Response(400, headers=headers, content=zlib_of(bytes(MIB)))

    calls = VendorCalls("V", "http://v", {"A": "t"}, httpx.MockTransport(handle))
    with pytest.raises(Exception, match=r"V .GET /x. answered HTTP 400") as refused:
        calls.send("GET", "/x")
    assert len(str(refused.value)) < 500
