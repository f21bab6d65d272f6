"""What can go wrong on the way to a vendor, one fault at one call of the transport."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

import httpx

from .sampling import ALL


class Killed(BaseException):
    """The process died here."""


class Fault(StrEnum):
    """What happens to one call; the vendor saw it where the name says `after`, or nothing else."""

    TIMED_OUT_BEFORE = "timed out, the vendor never saw it"
    TIMED_OUT_AFTER = "timed out, the vendor had done it"
    KILLED_BEFORE = "we died before the call"
    KILLED_AFTER = "we died before we read the answer"
    CONFLICT = "409, nothing was done"
    SENT_TWICE_AFTER = "a proxy sent it twice, the second answer came back"
    BUSY = "429 with Retry-After, nothing was done"
    BROKEN_BEFORE = "500, nothing was done"
    BROKEN_AFTER = "500, the vendor had done it"
    CUT_AFTER = "the answer was cut in half"


def calls_to_strike(fault: Fault) -> Iterator[int]:
    """Each call in turn, counted from 1; by `make test` every other, half the faults on each.

    A test that asks is marked `sampled`.
    """
    return count(1) if ALL else count(1 + list(Fault).index(fault) // 2 % 2, 2)


@dataclass
class Strike:
    """`fault` at call number `at`, counted from 1; 0: at none. `n_calls` were made so far."""

    fault: Fault
    at: int
    n_calls: int = 0

    def hits(self) -> bool:
        """Count a call, and say whether it is the one."""
        self.n_calls += 1
        return self.n_calls == self.at

    @property
    def is_over(self) -> bool:
        """True when `at` lies beyond the last call."""
        return self.n_calls < self.at


@dataclass
class FaultyTransport(httpx.BaseTransport):
    """Passes calls on, except the one that is struck."""

    inner: httpx.BaseTransport
    strike: Strike

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.strike.fault if self.strike.hits() else None
        if fault is None:
            return self.inner.handle_request(request)
        if not fault.name.endswith("_AFTER"):
            return _without_the_vendor(fault)
        response = self.inner.handle_request(request)
        response.read()
        if fault is Fault.SENT_TWICE_AFTER:
            return self.inner.handle_request(request)
        return _in_place_of(response, fault)


def _without_the_vendor(fault: Fault) -> httpx.Response:
    if fault is Fault.TIMED_OUT_BEFORE:
        raise httpx.ConnectTimeout("late")
    if fault is Fault.KILLED_BEFORE:
        raise Killed
    if fault is Fault.BUSY:
        return httpx.Response(429, headers={"Retry-After": "1"})
    return httpx.Response(409 if fault is Fault.CONFLICT else 500, json={"detail": "not now"})


def _in_place_of(response: httpx.Response, fault: Fault) -> httpx.Response:
    if fault is Fault.TIMED_OUT_AFTER:
        raise httpx.ReadTimeout("late")
    if fault is Fault.KILLED_AFTER:
        raise Killed
    if fault is Fault.BROKEN_AFTER:
        return httpx.Response(500, json={"detail": "broken"})
    half = response.content[: len(response.content) // 2]
    return httpx.Response(response.status_code, content=half)
