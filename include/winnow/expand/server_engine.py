"""Generation by an OpenAI-compatible server: `vllm serve`, or a hosted model.

Several calls are in flight at once, and each is given back as soon as it is whole. Faults cost
tries, never a response: an answer is kept whole or not at all, and a response's seed says which one
it is. Requests are asynchronous inside, because only so can one that hangs be given up at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, cast

import httpx
from pydantic import BaseModel, ValidationError

from winnow.addresses import holds_secret
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
from winnow.campaign import Expand, Server
from winnow.errors import Fatal, Retryable
from winnow.expand.chat import control_refusal
from winnow.expand.completions import (
    ONE_PER_REQUEST,
    SHOWN_CHARS,
    Answer,
    Ask,
    Busy,
    Fault,
    Misshapen,
    ServedModel,
    TooFewChoices,
    refusal_of,
    request_body,
    responses_of,
    server_words,
)
from winnow.expand.engine import Call, Draw, Drawn, GeneratedResponse, Refusal, ServerAddress
from winnow.expand.flight import LONGEST_HOLD_SECONDS, Flight, Patience
from winnow.ingest.values import Unreadable as NotJson
from winnow.ingest.values import read_json
from winnow.text import plain_text

CONNECT_SECONDS = 10.0
OPENING = Bounds(seconds=30.0)
ANSWER_BYTES, TOKEN_BYTES = 1 << 20, 1 << 10
"""Largest answer: so much, and so much for each token that was asked for."""

_REFUSED = (400, 413, 422)
_BUSY = (429, 503)


def open_server(
    settings: Expand, model: str, server: ServerAddress, patience: Patience | None = None
) -> ServerEngine:
    """Check that `server` serves `model` with the campaign's context.

    Raises:
        Fatal: The address or the key is wrong, or the model is not served, or with less context.
        Retryable: The server cannot be reached or is not ready.
    """
    _check_address(server)
    options = _http_options(server)
    http = Calls(f"The server at {server.url}", server.url, options["headers"], OPENING)
    try:
        served = _served(http, server, model)
        version = _version(http)
    finally:
        http.close()
    if served.max_model_len is not None and served.max_model_len < settings.max_model_len:
        raise Fatal(
            f"The server at {server.url} serves {model} with a context of {served.max_model_len} "
            f"tokens; lower expand.max_model_len from {settings.max_model_len}."
        )
    model_there = ServedModel(model, settings.max_model_len, is_vllm=served.owned_by == "vllm")
    return ServerEngine(
        model_there, server, version, settings.server, patience or Patience(), options
    )


class ServerEngine:
    """A model on a server behind the engine contract. A seed is honoured as the server does."""

    name = "server"

    def __init__(
        self,
        model: ServedModel,
        address: ServerAddress,
        version: str,
        settings: Server,
        patience: Patience,
        http_options: Mapping[str, Any],
    ) -> None:
        self.version = version
        self._model, self._address, self._http_options = model, address, http_options
        self._settings, self._patience = settings, patience

    def generate(self, draws: Sequence[Draw]) -> list[Drawn]:
        """See `Engine.generate`."""
        ((_, drawn),) = self.generate_each([(None, draws)])
        return drawn

    def generate_each(
        self, calls: Iterable[tuple[Call, Sequence[Draw]]]
    ) -> Iterator[tuple[Call, list[Drawn]]]:
        """See `Engine.generate_each`.

        At most twice `concurrency` requests are begun and not yet given back, half of them waiting
        for a slot so that the server has work while the caller is busy. A call is read only when
        there is room for it.
        """
        http = self._open_http()
        requests = _Requests(http, self._model, self._address, self._settings, self._patience)
        most = self._settings.concurrency
        with Flight(requests.answer_piece, most, http.aclose) as flight:
            for call, draws in calls:
                opened, pieces = _open_call(call, draws, self._settings.responses_per_request)
                if not pieces:
                    yield call, opened.drawn()
                for piece in pieces:
                    flight.send(piece)
                    while flight.aloft >= 2 * most:
                        yield from _landed(flight)
            while flight.aloft:
                yield from _landed(flight)

    def _open_http(self) -> httpx.AsyncClient:
        most = self._settings.concurrency
        return httpx.AsyncClient(
            **self._http_options,
            # Each try is timed as a whole (`_post`): a server that trickles holds nobody.
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
        )


@dataclass
class _OpenDraw:
    """A draw and what came of it so far: a refusal, or responses by the seed of their request."""

    draw: Draw
    refusal: Refusal | None
    found: dict[int, list[GeneratedResponse]] = field(default_factory=dict)

    def drawn(self) -> Drawn:
        """What the draw gave; its requests must all be answered."""
        if self.refusal is not None:
            return self.refusal
        return [response for seed in sorted(self.found) for response in self.found[seed]]


@dataclass
class _OpenCall(Generic[Call]):
    """A call of which `left` requests are not yet answered."""

    call: Call
    draws: list[_OpenDraw]
    left: int

    def drawn(self) -> list[Drawn]:
        """What each draw gave; all requests must be answered."""
        return [each.drawn() for each in self.draws]


@dataclass(frozen=True)
class _Piece(Generic[Call]):
    """A request, and the draw and call it is for."""

    ask: Ask
    draw: _OpenDraw
    call: _OpenCall[Call]


def _open_call(
    call: Call, draws: Sequence[Draw], per_request: int
) -> tuple[_OpenCall[Call], list[_Piece[Call]]]:
    """A call with the requests it needs: none for a draw that must not go to a server."""
    opened = _OpenCall(call, [_OpenDraw(draw, control_refusal(draw)) for draw in draws], 0)
    pieces = [
        _Piece(Ask(d, d.seed + start, min(per_request, d.n - start)), each, opened)
        for each in opened.draws
        if each.refusal is None
        for d in (each.draw,)
        for start in range(0, d.n, per_request)
    ]
    opened.left = len(pieces)
    return opened, pieces


def _landed(flight: Flight[_Piece[Call], Answer]) -> Iterator[tuple[Call, list[Drawn]]]:
    """Wait for one answer; gives the call that it completes, if it does."""
    piece, answer = flight.land()
    if not isinstance(answer, Refusal):
        piece.draw.found[piece.ask.seed] = answer
    piece.call.left -= 1
    if not piece.call.left:
        yield piece.call.call, piece.call.drawn()


@dataclass
class _Requests:
    """Makes requests to one server and tries each again until it is answered."""

    http: httpx.AsyncClient
    model: ServedModel
    address: ServerAddress
    settings: Server
    patience: Patience
    n_answered: int = 0

    async def answer_piece(self, piece: _Piece[Any]) -> Answer:
        """Answer a request, unless its draw was refused meanwhile: the prompt is the same.

        Raises:
            Retryable: No try was answered as it should be, nor was any other request.
            Fatal: A person must act.
        """
        if piece.draw.refusal is not None:
            return piece.draw.refusal
        answer = await self._answer(piece.ask)
        if isinstance(answer, Refusal):
            piece.draw.refusal = answer
        return answer

    async def _answer(self, ask: Ask) -> Answer:
        faults: list[Fault] = []
        while len(faults) < self.settings.attempts:
            if faults:
                await self._wait(faults)
            await self.patience.turn()
            try:
                answer = await self._try(ask)
            except Fault as fault:
                faults.append(fault)
            else:
                self.n_answered += 1
                return answer
        n_misshapen = sum(isinstance(fault, Misshapen) for fault in faults)
        if self.n_answered and 2 * n_misshapen > len(faults):
            # It answers others: what it makes of this prompt must not stop them, night by night.
            return Refusal("server_misanswered", f"{len(faults)} times; at last {faults[-1]}")
        raise self._given_up(ask, faults)

    async def _wait(self, faults: Sequence[Fault]) -> None:
        """Back off, and keep every request back where the server is busy, not only this one."""
        back_off = self.patience.back_off(len(faults))
        if isinstance(busy := faults[-1], Busy):
            self.patience.hold(back_off if busy.seconds is None else busy.seconds)
            await self.patience.turn()
        await self.patience.sleep(back_off)

    async def _try(self, ask: Ask) -> Answer:
        most = ANSWER_BYTES + TOKEN_BYTES * ask.n * ask.draw.sampling.max_tokens
        response = await self._post(request_body(ask, self.model), most)
        status = response.status_code
        if status == 200:
            return responses_of(response.content, ask, self.model)
        if status in _REFUSED:
            return refusal_of(response, self.address)
        if not _may_pass(status):
            raise _wrong(response, self.address)
        failure = f"it answered HTTP {status}: {server_words(response, self.address)}"
        if status in _BUSY:
            raise Busy(failure, self._bearable(retry_after(response)))
        raise Fault(failure)

    async def _post(self, body: dict[str, Any], most_bytes: int) -> httpx.Response:
        seconds = self.settings.timeout_seconds
        # Escaped, so that half a surrogate pair in a prompt is the server's to refuse.
        sent = self.http.stream("POST", "/v1/chat/completions", content=json.dumps(body))
        try:
            async with asyncio.timeout(seconds), sent as answer:
                intake = Intake(answer, "The server", most_bytes)
                async for chunk in cast(httpx.AsyncByteStream, answer.stream):
                    intake.feed(chunk)
                return intake.response()
        except (TimeoutError, httpx.TimeoutException):
            raise Fault(f"it did not answer within {seconds:g} seconds") from None
        except Unreadable as error:
            raise Misshapen(f"it sends {error}") from None
        except Oversized:
            raise Misshapen(f"its answer is longer than {most_bytes:,} bytes") from None
        except httpx.RequestError as error:
            raise Fault(f"the connection failed ({type(error).__name__})") from None

    def _bearable(self, seconds: float | None) -> float | None:
        if seconds is not None and seconds > LONGEST_HOLD_SECONDS:
            raise Retryable(
                f"The server at {self.address.url} asks to wait {seconds:.0f} seconds; "
                "try again then."
            )
        return seconds

    def _given_up(self, ask: Ask, faults: Sequence[Fault]) -> Fatal | Retryable:
        cause = f"The server at {self.address.url} failed {len(faults)} times; at last {faults[-1]}"
        if ask.n > 1 and all(isinstance(fault, TooFewChoices) for fault in faults):
            return Fatal(f"{cause}; {ONE_PER_REQUEST}.")
        return Retryable(f"{cause}.")


class _ServedModel(BaseModel):
    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


class _ServedModels(BaseModel):
    data: list[_ServedModel]


def _served(http: Calls, server: ServerAddress, model: str) -> _ServedModel:
    try:
        response = http.send("GET", "/v1/models")
    except httpx.RequestError as error:
        raise Retryable(
            f"The server at {server.url} cannot be reached ({why(error)}); is it running?"
        ) from None
    if _may_pass(response.status_code):
        raise Retryable(
            f"The server at {server.url} is not ready: it answered HTTP {response.status_code}."
        )
    if response.status_code != 200:
        raise _wrong(response, server)
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
    names = plain_text(", ".join(each.id for each in served))[:SHOWN_CHARS]
    raise Fatal(
        f"The server at {server.url} serves {names or 'no model'}, not {model}; see expand.model."
    )


def _version(http: Calls) -> str:
    """What vLLM tells of itself; other servers have no such page."""
    try:
        version = read_json(http.send("GET", "/version").content)["version"]
    except (httpx.RequestError, Retryable, NotJson, LookupError, TypeError):
        return "unknown"
    return plain_text(str(version))[:SHOWN_CHARS]


def _may_pass(status: int) -> bool:
    """Whether the same request may be answered in a while."""
    return status in (408, 409, 425, 429) or status >= 500


def _wrong(response: httpx.Response, server: ServerAddress) -> Fatal:
    """An answer that no retry betters."""
    status = response.status_code
    words = server_words(response, server)
    if status in (401, 403):
        act = "set its key as the password of the server's connection"
    elif status == 404:
        act = "check expand.model, and that the address in the server's connection ends before /v1"
    else:
        act = "check the address in the server's connection"
    return Fatal(f"The server at {server.url} answered HTTP {status} ({words}); {act}.")


def _http_options(server: ServerAddress) -> dict[str, Any]:
    """What every connection to the server has in common."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": ENCODING}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    return {
        "base_url": server.url,
        "headers": headers,
        "trust_env": False,
        # Made once: reading the certificates takes longer than a short request.
        "verify": httpx.create_ssl_context(trust_env=False),
    }


def _check_address(server: ServerAddress) -> None:
    """Refuse what httpx would repeat in an error: a key in the URL or unfit for a header."""
    if not is_callable(server.url) or holds_secret(server.url):
        raise Fatal(
            "The server's address must be a URL such as http://gpu-1:8000, without a password: "
            "its key belongs into the password of the server's connection."
        )
    if server.key and not is_sendable(server.key):
        raise Fatal("The server's key holds characters that no header carries.")
