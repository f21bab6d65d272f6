"""The simulator as a real HTTP service on loopback, with a clock that only tests move."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import settings

from winnow.ids import pair_id, response_id, task_id
from winnow.label.vendor import Message, TaskRequest
from winnow.label.vendors.simulator.client import SimulatorVendor
from winnow_simulator.assign import Staffing
from winnow_simulator.books import Books
from winnow_simulator.faults import Faults
from winnow_simulator.service import create_app
from winnow_simulator.staff import StaffKind

from ..light import lighten

TOKEN = "test-token"

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


@pytest.fixture(scope="session", autouse=True)
def light_lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch, tmp_path_factory.mktemp("duckdb"))
        yield


@dataclass
class ManualClock:
    """Seconds since 1970 that stand still until a test moves them."""

    seconds: float = 1_763_800_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Simulator:
    """A running simulator and what a test needs to talk to it."""

    url: str
    transport: httpx.BaseTransport
    books: Books
    clock: ManualClock
    token: str = TOKEN
    sleeps: list[float] = field(default_factory=list)

    def connect(self, transport: httpx.BaseTransport | None = None) -> SimulatorVendor:
        by = transport or self.transport
        return SimulatorVendor(self.url, self.token, by, self.sleeps.append)

    def ask(self, method: str, path: str, body: Any = None, token: str = TOKEN) -> httpx.Response:
        client = httpx.Client(transport=self.transport, base_url=self.url, trust_env=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return client.request(method, path, json=body, headers=headers)

    def bought(self) -> dict[str, int]:
        """How often each task was bought, by the simulator's own books."""
        return {t["task_id"]: t["bought"] for t in self.ask("GET", "/books").json()["tasks"]}

    def finish(self) -> None:
        """Move the clock past every answer."""
        self.clock.seconds += 10_000.0


@dataclass
class _Front:
    """The service that the one server of the session shows at the moment."""

    url: str
    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def _front() -> Iterator[_Front]:
    with _served() as front:
        yield front


@pytest.fixture(scope="session")
def _other_front() -> Iterator[_Front]:
    with _served() as front:
        yield front


@contextmanager
def _served() -> Iterator[_Front]:
    # Named as TCP, or asyncio leaves Nagle's algorithm on and each answer takes 40 ms.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    front = _Front(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(front, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield front
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def loopback() -> httpx.HTTPTransport:
    """One pool of connections for all tests."""
    return httpx.HTTPTransport()


@pytest.fixture
def start_simulator(
    _front: _Front, loopback: httpx.HTTPTransport
) -> Iterator[Callable[..., Simulator]]:
    """Starts the simulator on a database file, in place of the one before.

    `rates` switches faults on; `staff` is whom it hires.
    """
    with starting(_front, loopback) as start:
        yield start


@pytest.fixture
def start_other_account(
    _other_front: _Front, loopback: httpx.HTTPTransport
) -> Iterator[Callable[..., Simulator]]:
    """Starts a second simulator, beside the first."""
    with starting(_other_front, loopback) as start:
        yield start


@contextmanager
def starting(front: _Front, loopback: httpx.HTTPTransport) -> Iterator[Callable[..., Simulator]]:
    """What `start_simulator` gives, for fixtures that live longer than a test."""
    opened: list[Books] = []

    def start(
        database: Path,
        speed: float = 60.0,
        staff: StaffKind = "careful",
        rates: Mapping[str, float] | None = None,
    ) -> Simulator:
        clock = ManualClock()
        staffing = Staffing(0, staff, Faults(rates))
        books = Books(database, seed=0, speed=speed, now=clock, staffing=staffing)
        front.app = create_app(books, TOKEN, hold_seconds=0.05)
        opened.append(books)
        return Simulator(front.url, loopback, books, clock)

    yield start
    for books in opened:
        books.close()


@pytest.fixture
def simulator(start_simulator: Callable[[Path], Simulator], tmp_path: Path) -> Simulator:
    """A simulator with empty books."""
    return start_simulator(tmp_path / "simulator.sqlite")


@pytest.fixture
def make_tasks() -> Callable[..., list[TaskRequest]]:
    """Makes tasks of one subject; equal arguments make equal tasks."""

    def make(n: int, subject: str = "tides", price: int = 100_000) -> list[TaskRequest]:
        return [_task(i, subject, price) for i in range(n)]

    return make


def _task(i: int, subject: str, price: int) -> TaskRequest:
    shown_a = f"The {subject} follow the moon, and there are {i} more reasons than that one."
    shown_b = f"Nobody knows. Nobody knows. {i} times nobody knows about the"
    ids = [response_id(subject, shown_a), response_id(subject, shown_b)]
    pair = pair_id(*ids)
    return TaskRequest(
        task_id=task_id(pair, *ids, "helpfulness-1", 0),
        pair_id=pair,
        messages=(Message("user", f"Why do the {subject} change every day?"),),
        response_a=shown_a,
        response_b=shown_b,
        dimension="helpfulness",
        instructions="Which response helps more?",
        rubric_version="helpfulness-1",
        price=price,
    )
