"""Generation by an OpenAI-compatible server: `vllm serve`, or a hosted model.

Several calls are in flight at once, and each is given back as soon as it is whole. Faults cost
tries, never a response: an answer is kept whole or not at all, and a response's seed says which one
it is. Requests are asynchronous inside, because only so can one that hangs be given up at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import httpx

from winnow.calls import Calls
from winnow.campaign import Expand, Server
from winnow.chat_server import (
    REFUSED,
    SHOWN_CHARS,
    ChatServer,
    GaveUp,
    open_http,
    opening_calls,
    served_model,
)
from winnow.errors import Fatal, Retryable
from winnow.expand.chat import control_refusal
from winnow.expand.completions import (
    ONE_PER_REQUEST,
    Answer,
    Ask,
    ServedModel,
    TooFewChoices,
    refusal_of,
    request_body,
    responses_of,
)
from winnow.expand.engine import Call, Draw, Drawn, GeneratedResponse, Refusal, ServerAddress
from winnow.flight import Flight, Patience
from winnow.ingest.values import Unreadable as NotJson
from winnow.ingest.values import read_json
from winnow.text import plain_text

ANSWER_BYTES, TOKEN_BYTES = 1 << 20, 1 << 10
"""Largest answer: so much, and so much for each token that was asked for."""


def open_server(
    settings: Expand, model: str, server: ServerAddress, patience: Patience | None = None
) -> ServerEngine:
    """Check that `server` serves `model` with the campaign's context.

    Raises:
        Fatal: The address or the key is wrong, or the model is not served, or with less context.
        Retryable: The server cannot be reached or is not ready.
    """
    http = opening_calls(server)
    try:
        served = served_model(http, server, model, "expand.model")
        version = _version(http)
    finally:
        http.close()
    if served.max_model_len is not None and served.max_model_len < settings.max_model_len:
        raise Fatal(
            f"The server at {server.url} serves {model} with a context of {served.max_model_len} "
            f"tokens; lower expand.max_model_len from {settings.max_model_len}."
        )
    model_there = ServedModel(model, settings.max_model_len, is_vllm=served.is_vllm)
    return ServerEngine(model_there, server, version, settings.server, patience or Patience())


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
    ) -> None:
        self.version, self._model, self._address = version, model, address
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
        most = self._settings.concurrency
        http = open_http(self._address, most)
        requests = _Requests(
            ChatServer(
                http,
                self._address,
                "expand.model",
                self._settings.timeout_seconds,
                self._settings.attempts,
                self._patience,
            ),
            self._model,
        )
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

    server: ChatServer
    model: ServedModel

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
        most = ANSWER_BYTES + TOKEN_BYTES * ask.n * ask.draw.sampling.max_tokens

        def read(response: httpx.Response) -> Answer:
            if response.status_code in REFUSED:
                return refusal_of(response, self.server.address)
            return responses_of(response.content, ask, self.model)

        try:
            return await self.server.answer(request_body(ask, self.model), most, read)
        except GaveUp as gave_up:
            if self.server.n_answered and gave_up.is_misshapen:
                # It answers others: what it makes of this prompt must not stop them, night by
                # night.
                faults = gave_up.faults
                detail = f"{len(faults)} times; at last {faults[-1]}"
                return Refusal("server_misanswered", detail)
            raise self._given_up(ask, gave_up) from None

    def _given_up(self, ask: Ask, gave_up: GaveUp) -> Fatal | Retryable:
        cause = f"The server at {self.server.address.url} {gave_up}"
        if ask.n > 1 and all(isinstance(fault, TooFewChoices) for fault in gave_up.faults):
            return Fatal(f"{cause}; {ONE_PER_REQUEST}.")
        return Retryable(f"{cause}.")


def _version(http: Calls) -> str:
    """What vLLM tells of itself; other servers have no such page."""
    try:
        version = read_json(http.send("GET", "/version").content)["version"]
    except (httpx.RequestError, Retryable, NotJson, LookupError, TypeError):
        return "unknown"
    return plain_text(str(version))[:SHOWN_CHARS]
