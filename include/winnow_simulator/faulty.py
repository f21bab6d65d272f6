"""Calls that go wrong: a layer around the service that spoils what passes, before or after it.

Only the routes of the contract (`/batches`) are spoilt, so `/books` always tells the truth.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from winnow_simulator.faults import Faults

RETRY_AFTER_SECONDS = 1
HOLD_SECONDS = 60.0
"""How long a withheld answer is held back: longer than any client of ours waits."""


class FaultyCalls:
    """ASGI middleware: calls of `app` under the call faults that are switched on."""

    def __init__(self, app: ASGIApp, faults: Faults, hold_seconds: float = HOLD_SECONDS) -> None:
        self._app, self._faults, self._hold_seconds = app, faults, hold_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http" or not scope["path"].startswith("/batches"):
            await self._app(scope, receive, send)
        elif self._faults.strikes("busy"):
            wait = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            refusal = JSONResponse({"detail": "simulated fault: busy"}, 429, wait)
            await refusal(scope, receive, send)
        elif self._faults.strikes("error"):
            await _failed("error")(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        if self._faults.strikes("error_after"):
            await _failed("error after serving")(scope, receive, send)
        elif self._faults.strikes("dropped"):
            # Headers that promise a body and no body: the server then closes the connection.
            await send(answer[0])
        elif self._faults.strikes("withheld"):
            await _until_gone(receive, self._hold_seconds)
            await send(answer[0])
        elif self._faults.strikes("truncated"):
            await _cut_off(answer, send)
        else:
            for message in answer:
                await send(message)


def _failed(fault: str) -> JSONResponse:
    return JSONResponse({"detail": f"simulated fault: {fault}"}, 500)


async def _until_gone(receive: Receive, seconds: float) -> None:
    """Wait for the caller to hang up, at most `seconds`."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), seconds)
    except TimeoutError:
        return


async def _cut_off(answer: list[Message], send: Send) -> None:
    body = b"".join(message.get("body", b"") for message in answer)
    half = body[: len(body) // 2]
    headers = [(k, v) for k, v in answer[0]["headers"] if k.lower() != b"content-length"]
    length = (b"content-length", str(len(half)).encode())
    await send({**answer[0], "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": half})
