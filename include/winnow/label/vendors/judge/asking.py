"""Asks a judge a batch's tasks, many at once, and keeps every answer that came.

What always holds: tasks are asked some at a time, and are noted before the first request goes out.
What they may cost together at one try each, what was charged before included, is never more than
the batch may be charged; the rest is not asked. A try that broke off may have been done unseen and
is booked in full, so that a server that drops calls may cost more. Each task is asked with either
side first, `repeats` times each where the server tells no log-probabilities.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ValidationError

from winnow.addresses import ServerAddress
from winnow.calls import Calls
from winnow.campaign import Judge
from winnow.chat_server import ChatServer, GaveUp, open_http, opening_calls, served_model
from winnow.errors import Fatal, Retryable
from winnow.flight import Flight, Patience
from winnow.ids import content_id
from winnow.label.vendor import DeliveredAnnotation
from winnow.label.vendors.judge.books import Entries
from winnow.label.vendors.judge.prompt import LABELS, PROBE, question
from winnow.label.vendors.judge.verdict import Said, read, together
from winnow.pace import Pace

ANSWER_BYTES = 1 << 20
TASKS_AT_ONCE, MOST_FILES = 8, 1000
"""Tasks that are noted together: so few, or as many as make no more than so many files."""
_MOST_STRANGE = 8
"""Requests in a row without a completion from which it is the server that fails."""
_TOP = 20
"""Likeliest tokens that a server is asked for; OpenAI and vLLM tell no more."""
_SETTING = "label.judge.model"

_LOG = logging.getLogger(__name__)

Task = Mapping[str, Any]
Mode = Literal["logits", "verdict", "samples"]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a server is asked: what a request says beside its question."""

    mode: Mode
    says: Mapping[str, Any]


@dataclass(eq=False)
class _Piece:
    """A request; `n_open` counts those of it that the server may have done unseen."""

    body: Mapping[str, Any]
    wants_logs: bool
    group: _Group | None = None
    n_open: int = 0
    said: Said | None = None

    def count(self, change: int) -> None:
        """Take note of a request that goes out, or is answered."""
        self.n_open += change


@dataclass(eq=False)
class _Group:
    """Tasks that are noted together under a number, and their requests by task and order."""

    number: int
    tasks: Sequence[Task]
    pieces: list[tuple[list[_Piece], list[_Piece]]] = field(default_factory=list)
    extra: int = 0

    @property
    def all(self) -> list[_Piece]:
        """Its requests."""
        return [piece for orders in self.pieces for order in orders for piece in order]


class Asking:
    """One process's work on one batch.

    `ends` says, whenever some tasks are about to be asked, whether no more are wanted.
    """

    def __init__(
        self,
        server: ServerAddress,
        judge: Judge,
        entries: Entries,
        ends: Callable[[], bool],
        now: Callable[[], datetime],
        patience: Patience | None = None,
    ) -> None:
        self._address, self._judge, self._entries = server, judge, entries
        self._ends, self._now, self._patience = ends, now, patience or Patience()
        self._open: list[_Group] = []
        self._n_done = self._n_strange = self._strange_at = 0

    def run(self, tasks: Iterable[Task], n_tasks: int, budget: int) -> None:
        """Ask `n_tasks` tasks for `budget` micro-dollars at most, earlier charges included.

        Raises:
            Retryable: The server fails, or another process asks the same batch now.
            Fatal: The server, its key or the model's name is wrong.
        """
        ways = self._ways()
        self._pace = Pace("pairs judged", n_tasks, _LOG.info)
        self._pace.at(0)
        try:
            self._fly(tasks, n_tasks, budget, ways)
        except BaseException:
            # What came so far is kept; requests on their way may still be charged.
            with suppress(Exception):
                for group in self._open:
                    self._close(group)
            raise

    def _fly(self, tasks: Iterable[Task], n_tasks: int, budget: int, ways: Sequence[_Way]) -> None:
        most = self._judge.concurrency
        http = open_http(self._address, most)
        judge = self._judge
        self._server = ChatServer(
            http, self._address, _SETTING, judge.timeout_seconds, judge.attempts, self._patience
        )
        way: _Way | None = None
        with Flight(self._answer, most, http.aclose) as flight:
            for some in _some(tasks, max(TASKS_AT_ONCE, n_tasks // MOST_FILES)):
                while self._open and not self._affords(some, budget):
                    self._land(flight)
                if self._ends():
                    break
                if not self._affords(some, budget):
                    self._entries.note_spent()
                    break
                ids = [task["task_id"] for task in some]
                group = _Group(self._entries.begin(ids, _most(some)), some)
                self._open.append(group)
                if way is None:
                    way = self._probed(flight, ways, group)
                self._send(flight, group, way)
                while flight.aloft >= 2 * most:
                    self._land(flight)
            while flight.aloft:
                self._land(flight)

    def _affords(self, tasks: Sequence[Task], budget: int) -> bool:
        due = sum(_most(group.tasks) for group in self._open) + _most(tasks)
        return self._entries.charged + due <= budget

    def _send(self, flight: Flight[_Piece, Said], group: _Group, way: _Way) -> None:
        self._mode = way.mode
        n = self._judge.repeats if way.mode == "samples" else 1
        for task in group.tasks:
            orders = tuple(
                [self._piece(question(task, self._judge, swapped), way, group, k) for k in range(n)]
                for swapped in (False, True)
            )
            group.pieces.append((orders[0], orders[1]))
        for piece in group.all:
            flight.send(piece)

    def _piece(self, text: str, way: _Way, group: _Group | None, number: int = 0) -> _Piece:
        body: dict[str, Any] = {
            "model": self._judge.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 1,
            "temperature": 0.0,
            **way.says,
        }
        if way.mode == "samples":
            body |= {"temperature": 1.0, "seed": number}
        return _Piece(body, way.mode == "logits", group)

    async def _answer(self, piece: _Piece) -> Said:
        try:
            return await self._server.answer(
                piece.body,
                ANSWER_BYTES,
                lambda response: read(response, self._judge, piece.wants_logs),
                piece.count,
            )
        except GaveUp as gave_up:
            if gave_up.is_misshapen and self._answers_others():
                # It answers others: what it makes of this task must not stop them.
                return Said(fault="unparsed: the server answers with no completion")
            raise Retryable(f"The server at {self._address.url} {gave_up}.") from None

    def _answers_others(self) -> bool:
        """Whether a request without a completion is its own fault; counts those in a row."""
        n_answered = self._server.n_answered
        self._n_strange = self._n_strange + 1 if n_answered == self._strange_at else 1
        self._strange_at = n_answered
        return n_answered > 0 and self._n_strange <= _MOST_STRANGE

    def _land(self, flight: Flight[_Piece, Said]) -> None:
        piece, said = flight.land()
        piece.said, group = said, piece.group
        if group is None:
            return
        if all(each.said is not None for each in group.all):
            self._close(group)
            self._open.remove(group)
            self._n_done += len(group.tasks)
            self._pace.at(self._n_done)

    def _close(self, group: _Group) -> None:
        """Write down what came of a group, as far as it came."""
        verdicts, charged = [], group.extra
        for task, orders in zip(group.tasks, group.pieces, strict=False):
            # No request is dearer than its share of the task's price, as far as one knows.
            share = -(-task["price"] // self._judge.calls)
            said = tuple([p.said for p in order if p.said is not None] for order in orders)
            known = sum(s.cost if s.cost is not None else share for order in said for s in order)
            unknown = share * sum(max(0, p.n_open) for order in orders for p in order)
            is_whole = all(len(s) == len(order) for s, order in zip(said, orders, strict=True))
            charged += known + unknown
            if is_whole:
                verdicts.append(self._annotation(task, (said[0], said[1]), known + unknown))
        self._entries.close(group.number, charged, verdicts)
        self._entries.charged += charged

    def _annotation(
        self, task: Task, orders: tuple[Sequence[Said], Sequence[Said]], price: int
    ) -> DeliveredAnnotation:
        verdict = together(orders)
        return DeliveredAnnotation(
            annotation_id=content_id("verdict", task["task_id"]),
            task_id=task["task_id"],
            annotator=self._judge.model,
            choice=verdict.choice,
            rationale=verdict.rationale,
            finished_at=self._now(),
            price=price,
            model=self._judge.model,
            mode=self._mode,
            log_odds=verdict.log_odds,
            order_effect=verdict.order_effect,
            label_mass=verdict.label_mass,
        )

    def _probed(self, flight: Flight[_Piece, Said], ways: Sequence[_Way], group: _Group) -> _Way:
        """The first way in which the server answers as it is asked to.

        A server may ignore what it does not know, and not say so.

        Raises:
            Fatal: It answers none.
        """
        for way in ways:
            flight.send(self._piece(PROBE, way, None))
            said = flight.land()[1]
            group.extra += said.cost or 0
            refused = said.fault.startswith("refused")
            if not refused and (said.logs is not None) == (way.mode == "logits"):
                _LOG.info("The judge %s is asked for its %s.", self._judge.model, way.mode)
                return way
        raise Fatal(
            f"The server at {self._address.url} refuses every way to ask {self._judge.model} for "
            f"one token ({said.fault}); see what it takes."
        )

    def _ways(self) -> list[_Way]:
        """How the server may be asked, the one that tells most first."""
        http = opening_calls(self._address)
        try:
            served = served_model(http, self._address, self._judge.model, _SETTING)
            ids = _label_ids(http, self._judge.model) if served.is_vllm else []
        finally:
            http.close()
        alone: Mode = "samples" if self._judge.repeats > 1 else "verdict"
        top = {"logprobs": True, "top_logprobs": _TOP}
        ways = [_Way("logits", top), _Way("logits", {**top, "top_logprobs": 5}), _Way(alone, {})]
        if served.is_vllm:
            # Log-probabilities are told as they were before the choice was forced.
            forced = {
                "chat_template_kwargs": {"enable_thinking": False},
                "structured_outputs": {"choice": list(LABELS)},
            }
            named = [_Way("logits", {**forced, "logprobs": True, "logprob_token_ids": ids})]
            ways = [*(named if ids else ()), _Way("logits", {**forced, **top}), *ways]
            ways.insert(-1, _Way(alone, forced))
        return ways


def _most(tasks: Iterable[Task]) -> int:
    """What tasks may cost, micro-dollars."""
    return sum(int(task["price"]) for task in tasks)


def _some(tasks: Iterable[Task], n: int) -> Iterator[list[Task]]:
    waiting = iter(tasks)
    while some := list(islice(waiting, n)):
        yield some


class _Tokens(BaseModel):
    tokens: list[int]


def _label_ids(http: Calls, model: str) -> list[int]:
    """Tokens of the labels in all ways to write one; none where a label has no token of its own."""
    found: dict[str, int] = {}
    for text in (w for label in LABELS for w in (label, f" {label}", label.lower())):
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        try:
            tokens = _Tokens.model_validate_json(http.send("POST", "/tokenize", body).content)
        except (httpx.RequestError, Retryable, ValidationError):
            return []
        if len(tokens.tokens) == 1:
            found[text] = tokens.tokens[0]
    is_told = all(label in found for label in LABELS) and len(set(found.values())) == len(found)
    return sorted(found.values()) if is_told else []
