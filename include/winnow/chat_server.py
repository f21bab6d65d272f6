"""Requests to an OpenAI-compatible server, each made again until it is answered as it should be.

Faults cost tries and never an answer: one counts whole or not at all. A busy server holds back
every request, not only the one that it refused. Requests are asynchronous inside, because only so
can one that hangs be given up at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from winnow.addresses import ServerAddress, holds_secret
from winnow.calls import (
    ENCODING,
    Bounds,
    Calls,
    Intake,
    Oversized,
    Unreadable,
    is_callable,
    is_sendable,
    retry_after,
    why,
)
from winnow.errors import Fatal, Retryable
from winnow.flight import LONGEST_HOLD_SECONDS, Patience
from winnow.ingest.values import Unreadable as NotJson
from winnow.ingest.values import read_json
from winnow.text import plain_text

CONNECT_SECONDS = 10.0
OPENING = Bounds(seconds=30.0)
SHOWN_CHARS = 300
"""Characters of a server's own words that an error or a refusal repeats."""

REFUSED = (400, 413, 422)
"""Statuses by which a server says that it will not take what it was sent."""
_BUSY = (429, 503)

_T = TypeVar("_T")


class Fault(Exception):
    """One try that gave nothing to keep. The message is a clause: "it answered HTTP 500"."""


class Busy(Fault):
    """The server wants less from everyone, for `seconds` if it says how long."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Misshapen(Fault):
    """The server answered with something that is no completion."""


class Unanswered(Fault):
    """The server may have done what it was asked, and nobody will know."""


class GaveUp(Exception):
    """No try of a request was answered as it should be."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"failed {len(faults)} times; at last {faults[-1]}")
        self.faults = faults

    @property
    def is_misshapen(self) -> bool:
        """Whether it was answered mostly, and wrongly: the fault may be this request's own."""
        return 2 * sum(isinstance(fault, Misshapen) for fault in self.faults) > len(self.faults)


@dataclass
class ChatServer:
    """Asks one server; `setting` is what names its model, for people. `n_answered` counts."""

    http: httpx.AsyncClient
    address: ServerAddress
    setting: str
    timeout_seconds: float
    attempts: int
    patience: Patience
    n_answered: int = 0

    async def answer(
        self,
        body: Mapping[str, Any],
        most_bytes: int,
        read: Callable[[httpx.Response], _T],
        count: Callable[[int], None] = lambda _: None,
    ) -> _T:
        """What `read` makes of the server's answer, with status 200 or one of `REFUSED`.

        `count` is told 1 before a request is sent and -1 once it is answered: what is left are
        requests that the server may have done though nobody knows.

        Raises:
            GaveUp: No try was answered so that `read` raised no `Fault`.
            Retryable: The server asks for a longer wait than is done here.
            Fatal: A person must act.
        """
        faults: list[Fault] = []
        while len(faults) < self.attempts:
            if faults:
                await self._wait(faults)
            await self.patience.turn()
            count(1)
            try:
                response = await self._post(body, most_bytes)
                count(-1)
                answer = read(self._passed(response))
            except Fault as fault:
                faults.append(fault)
            else:
                self.n_answered += 1
                return answer
        raise GaveUp(faults)

    async def _wait(self, faults: Sequence[Fault]) -> None:
        """Back off, and keep every request back where the server is busy, not only this one."""
        back_off = self.patience.back_off(len(faults))
        if isinstance(busy := faults[-1], Busy):
            self.patience.hold(back_off if busy.seconds is None else busy.seconds)
            await self.patience.turn()
        await self.patience.sleep(back_off)

    def _passed(self, response: httpx.Response) -> httpx.Response:
        """The answer, where it is one to what was asked."""
        status = response.status_code
        if status == 200 or status in REFUSED:
            return response
        if not may_pass(status):
            raise wrong(response, self.address, self.setting)
        failure = f"it answered HTTP {status}: {server_words(response, self.address)}"
        if status in _BUSY:
            raise Busy(failure, self._bearable(retry_after(response)))
        raise Fault(failure)

    async def _post(self, body: Mapping[str, Any], most_bytes: int) -> httpx.Response:
        # Escaped, so that half a surrogate pair in a prompt is the server's to refuse.
        sent = self.http.stream("POST", "/v1/chat/completions", content=json.dumps(body))
        try:
            async with asyncio.timeout(self.timeout_seconds), sent as answer:
                intake = Intake(answer, "The server", most_bytes)
                async for chunk in cast(httpx.AsyncByteStream, answer.stream):
                    intake.feed(chunk)
                return intake.response()
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered(f"it did not answer within {self.timeout_seconds:g} seconds") from None
        except Unreadable as error:
            raise Misshapen(f"it sends {error}") from None
        except Oversized:
            raise Misshapen(f"its answer is longer than {most_bytes:,} bytes") from None
        except httpx.RequestError as error:
            raise Unanswered(f"the connection failed ({type(error).__name__})") from None

    def _bearable(self, seconds: float | None) -> float | None:
        if seconds is not None and seconds > LONGEST_HOLD_SECONDS:
            raise Retryable(
                f"The server at {self.address.url} asks to wait {seconds:.0f} seconds; "
                "try again then."
            )
        return seconds


class Served(BaseModel):
    """A model that a server says it has."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None

    @property
    def is_vllm(self) -> bool:
        """Whether vLLM serves it."""
        return self.owned_by == "vllm"


class _ServedModels(BaseModel):
    data: list[Served]


def opening_calls(server: ServerAddress) -> Calls:
    """Calls that look at a server before it is asked anything.

    Raises:
        Fatal: httpx would repeat in an error what its address or its key holds.
    """
    if not is_callable(server.url) or holds_secret(server.url):
        raise Fatal(
            "The server's address must be a URL such as http://gpu-1:8000, without a password: "
            "its key belongs into the password of the server's connection."
        )
    if server.key and not is_sendable(server.key):
        raise Fatal("The server's key holds characters that no header carries.")
    return Calls(f"The server at {server.url}", server.url, _headers(server), OPENING)


def open_http(server: ServerAddress, most: int) -> httpx.AsyncClient:
    """Connections to a server, `most` at once; each try is timed as a whole by `ChatServer`."""
    return httpx.AsyncClient(
        base_url=server.url,
        headers=_headers(server),
        trust_env=False,
        # Made once: reading the certificates takes longer than a short request.
        verify=httpx.create_ssl_context(trust_env=False),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
    )


def served_model(http: Calls, server: ServerAddress, model: str, setting: str) -> Served:
    """The server's `model`; `setting` is what names it, for people.

    Raises:
        Fatal: The address or the key is wrong, or the model is not served.
        Retryable: The server cannot be reached or is not ready.
    """
    try:
        response = http.send("GET", "/v1/models")
    except httpx.RequestError as error:
        raise Retryable(
            f"The server at {server.url} cannot be reached ({why(error)}); is it running?"
        ) from None
    if may_pass(response.status_code):
        raise Retryable(
            f"The server at {server.url} is not ready: it answered HTTP {response.status_code}."
        )
    if response.status_code != 200:
        raise wrong(response, server, setting)
    try:
        served = _ServedModels.model_validate_json(response.content).data
    except ValidationError:
        raise Fatal(
            f"{server.url}/v1/models is not a list of models, so no OpenAI-compatible server; "
            "correct the address in the server's connection."
        ) from None
    for each in served:
        if each.id == model:
            return each
    names = _shown(", ".join(each.id for each in served), server)
    raise Fatal(
        f"The server at {server.url} serves {names or 'no model'}, not {model}; see {setting}."
    )


def may_pass(status: int) -> bool:
    """Whether the same request may be answered in a while."""
    return status in (408, 409, 425, 429) or status >= 500


def wrong(response: httpx.Response, server: ServerAddress, setting: str) -> Fatal:
    """An answer that no retry betters."""
    status = response.status_code
    words = server_words(response, server)
    if status in (401, 403):
        act = "set its key as the password of the server's connection"
    elif status == 404:
        act = f"check {setting}, and that the address in the server's connection ends before /v1"
    else:
        act = "check the address in the server's connection"
    return Fatal(f"The server at {server.url} answered HTTP {status} ({words}); {act}.")


def server_words(response: httpx.Response, address: ServerAddress) -> str:
    """The server's own words on a failure, short, as plain text and without the key."""
    words = error_of(response).get("message") or response.content.decode(errors="replace")
    return _shown(str(words), address)


def _shown(words: str, address: ServerAddress) -> str:
    """Words of a server, short, as plain text, and without the key: only then can it be seen."""
    plain = plain_text(words)
    return (plain.replace(address.key, "***") if address.key else plain)[:SHOWN_CHARS]


def error_of(response: httpx.Response) -> Mapping[str, Any]:
    """The error object of an answer, {} where there is none of a known shape."""
    try:
        body = read_json(response.content)
    except NotJson:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _headers(server: ServerAddress) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ENCODING}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    return headers
