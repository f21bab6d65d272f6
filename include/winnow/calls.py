"""HTTP calls that end, and answers that fit into memory: whatever Winnow asks over HTTP goes here.

A time-out of a read holds no server to anything that sends a byte every two seconds, and a megabyte
of gzip holds a gigabyte of blanks. What always holds: a call has `Bounds.seconds` from its start to
the last byte of its answer, headers, redirects and handshake included; the answer is read as a
stream, unpacked piece by piece, and given up as soon as it is longer than `Bounds.most_bytes`.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, cast

import httpcore
import httpx

from winnow.errors import Retryable

CONNECT_SECONDS = 5.0
LARGEST_SETTING = "WINNOW_LARGEST_ANSWER_MIB"
"""The environment's word on `Bounds.most_bytes`, in MiB, for a service that rightly sends more."""
LARGEST_MIB = 64
ENCODING = "gzip"
"""What is asked for; the decoders of others cannot be told to stop."""

_PIECE_BYTES = 1 << 18
_WRITE_BYTES = 1 << 14


def largest_answer() -> int:
    """Bytes that an answer may have, unpacked: 64 MiB unless the environment says more or less."""
    setting = os.environ.get(LARGEST_SETTING, "")
    return (
        int(setting)
        if setting.isascii() and setting.isdigit() and len(setting) < 7
        else LARGEST_MIB
    ) << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds of a call in total, and without a byte; None as the largest answer: the setting's."""

    seconds: float = 60.0
    silence: float = 30.0
    most_bytes: int | None = None


def is_callable(url: str) -> bool:
    """Whether calls can be made to an address: http or https, and a host.

    >>> is_callable("http://127.0.0.1:8790"), is_callable("http://h:port"), is_callable("s3://b")
    (True, False, False)
    """
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        return False
    return address.scheme in ("http", "https") and bool(address.host)


def is_sendable(secret: str) -> bool:
    """Whether a header carries a secret as it stands: characters of ASCII that are seen."""
    return bool(secret) and secret.isascii() and secret.isprintable()


class TookTooLong(httpx.ReadTimeout):
    """The call's time is up; the message is a clause: "no whole answer within 60 s"."""


class Unreadable(httpx.RemoteProtocolError):
    """The answer is packed in a way that was not asked for, or badly; the message is a clause."""


class Oversized(Retryable):
    """The answer is longer than it may be."""

    def __init__(self, who: str, most_bytes: int) -> None:
        size = f"{most_bytes / (1 << 20):,.4g} MiB"
        super().__init__(
            f"{who} sent more than {size}, which is the largest answer that is read; see what it "
            f"sends, and set {LARGEST_SETTING} higher if that is right."
        )


def why(error: httpx.HTTPError) -> str:
    """What went wrong with a call, in a few words that hold nothing of the other side."""
    own = isinstance(error, TookTooLong | Unreadable)
    return str(error) if own else type(error).__name__


class Calls:
    """Calls to one service, `who` in errors. `clock` gives monotonic seconds.

    `transport` stands in for the network in tests. No redirect is followed, no proxy is asked.
    """

    def __init__(
        self,
        who: str,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._who, self._bounds, self._clock = who, bounds or Bounds(), clock
        self._http = httpx.Client(
            base_url=base_url,
            headers={**(headers or {}), "Accept-Encoding": ENCODING},
            timeout=httpx.Timeout(
                self._bounds.silence, connect=min(CONNECT_SECONDS, self._bounds.silence)
            ),
            transport=transport or wire(),
            trust_env=False,
        )

    def send(
        self,
        method: str,
        url: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The whole answer, whatever its status; `body` is sent as JSON, bytes as they are.

        `seconds` shortens the call's time.

        Raises:
            httpx.TransportError: There is none, or not in time; `why` says it in words.
            Oversized: It is too long.
        """
        allowed = self._bounds.seconds if seconds is None else min(seconds, self._bounds.seconds)
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        request = self._http.build_request(method, url, params=params, headers=headers, **sent)
        who = f"{self._who} ({method} {request.url.path})"
        with _until(_Watch(self._clock, self._clock() + allowed, allowed)) as watch:
            try:
                return read_whole(self._http.send(request, stream=True), who, self._bounds)
            except httpx.TimeoutException:
                # A read that the end of the call cut short is the end of the call.
                watch.left()
                raise

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def get(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """One call in `seconds` on a connection of its own; raises as `Calls.send`, or `InvalidURL`."""
    calls = Calls("The server", headers=headers, bounds=Bounds(seconds, seconds))
    try:
        return calls.send("GET", url)
    finally:
        calls.close()


class Intake:
    """An answer as it comes in: fed with what the wire gives, held unpacked up to `most_bytes`.

    Raises:
        Unreadable: It is packed in a way that was not asked for, or badly.
        Oversized: It is longer, as it comes or unpacked.
    """

    def __init__(self, answer: httpx.Response, who: str, most_bytes: int) -> None:
        self._answer, self._who, self._most = answer, who, most_bytes
        self._unpack = _unpacker(answer.headers.get("content-encoding", ""))
        self._pieces: list[bytes] = []
        self._n_raw = self._n_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take what came next."""
        self._n_raw += len(chunk)
        if self._n_raw > self._most:
            raise Oversized(self._who, self._most)
        for piece in self._unpack(chunk):
            self._n_bytes += len(piece)
            if self._n_bytes > self._most:
                raise Oversized(self._who, self._most)
            self._pieces.append(piece)

    def response(self) -> httpx.Response:
        """The answer, whole and unpacked."""
        packing = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(k, v) for k, v in self._answer.headers.multi_items() if k not in packing]
        return httpx.Response(
            self._answer.status_code,
            headers=headers,
            content=b"".join(self._pieces),
            request=self._answer.request,
        )


def read_whole(answer: httpx.Response, who: str, bounds: Bounds) -> httpx.Response:
    """An answer to its end, which then is closed; by the time of the call that it belongs to.

    Raises:
        httpx.TransportError: It breaks off, or is packed in a way that cannot be read.
        Oversized: It is too long.
    """
    try:
        intake = Intake(answer, who, bounds.most_bytes or largest_answer())
        _within(None)
        # Not `iter_bytes`: httpx would unpack without a limit.
        for chunk in cast(Iterable[bytes], answer.stream):
            _within(None)
            intake.feed(chunk)
        return intake.response()
    finally:
        answer.close()


def _unpacker(encoding: str) -> Callable[[bytes], Iterator[bytes]]:
    """What unpacks a stream, in pieces of at most `_PIECE_BYTES`."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda chunk: iter((chunk,))
    if name not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable("an answer packed in a way that was not asked for")
    # gzip and zlib are told apart by their first bytes.
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def unpack(chunk: bytes) -> Iterator[bytes]:
        try:
            while piece := inflate.decompress(chunk, _PIECE_BYTES):
                yield piece
                chunk = inflate.unconsumed_tail
        except zlib.error:
            raise Unreadable("an answer that cannot be unpacked") from None

    return unpack


@dataclass(frozen=True, slots=True)
class _Watch:
    clock: Callable[[], float]
    ends: float
    allowed: float

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TookTooLong: None are.
        """
        left = self.ends - self.clock()
        if left <= 0.0:
            raise TookTooLong(f"no whole answer within {self.allowed:.3g} s")
        return left


_watch: ContextVar[_Watch | None] = ContextVar("winnow_call_watch", default=None)
"""The call that this thread makes: connections are shared, their reads are not."""


@contextmanager
def _until(watch: _Watch) -> Iterator[_Watch]:
    before = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(before)


def _within(timeout: float | None) -> float | None:
    """A time-out of the socket, cut to what is left of the call."""
    watch = _watch.get()
    if watch is None:
        return timeout
    left = watch.left()
    return left if timeout is None else min(timeout, left)


def wire(network: httpcore.NetworkBackend | None = None) -> httpx.HTTPTransport:
    """The network, each of whose reads and writes ends with the call that it is made for."""
    return _Wire(network or httpcore.SyncBackend())


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: that takes longer than a short call."""
    return httpx.create_ssl_context(trust_env=False)


class _Wire(httpx.HTTPTransport):
    def __init__(self, network: httpcore.NetworkBackend) -> None:
        context = _certificates()
        super().__init__(verify=context, trust_env=False)
        # httpx has no parameter for the network below its pool.
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Network(network),
        )


class _Network(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the host's addresses in turn, all of them within the call's time."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _addresses(host, port):
            try:
                stream = self._inner.connect_tcp(
                    address, port, _within(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def _addresses(host: str, port: int) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(place[0]) for *_, place in infos))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write in pieces: a time-out of the socket is one of each of its own writes."""
        for start in range(0, len(buffer), _WRITE_BYTES):
            self._inner.write(buffer[start : start + _WRITE_BYTES], _within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a server asks to wait: a number, or a date by the server's own clock."""
    wait = response.headers.get("retry-after", "")
    if wait.replace(".", "", 1).isdecimal():
        return float(wait)
    try:
        until = parsedate_to_datetime(wait) - parsedate_to_datetime(response.headers["date"])
    except (ValueError, OverflowError, KeyError, TypeError):
        return None
    return max(0.0, until.total_seconds())
