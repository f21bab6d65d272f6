"""The vendor's side of the contract as tests see it, and what tests of the contract share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, get_args

import pytest

from winnow.errors import Ambiguous, Fatal, Retryable
from winnow.label.submit import Submission, submit_tasks
from winnow.label.vendor import (
    AnnotationPage,
    BatchStatus,
    BatchTerms,
    Choice,
    DeliveredAnnotation,
    LabelVendor,
    TaskRequest,
)

from .vendor_faults import Fault, Killed, Strike

BUDGET = 10**9
MAX_PAGES = 1000


@dataclass(frozen=True)
class Can:
    """What the vendor's world can do; a test of what it cannot do is skipped.

    Attributes:
        edit: People change an answer after the fact.
        retract: An answer is taken back.
        expire: Tasks that nobody answered end by themselves, in time.
        misdeliver: Pages come with records twice and out of order.
        odd_choices: People send choices that nobody offered.
        account_keys: A task that another batch of the account holds is not taken again.
        refuse_tokens: A wrong token is refused.
        name_people: The vendor says who answered.
        choices: What an answer may be.
    """

    edit: bool = True
    retract: bool = True
    expire: bool = True
    misdeliver: bool = True
    odd_choices: bool = True
    account_keys: bool = True
    refuse_tokens: bool = True
    name_people: bool = True
    choices: tuple[str, ...] = get_args(Choice)


class World(Protocol):
    """The vendor's side of the contract, as a test moves and inspects it.

    Attributes:
        can: What this vendor can do.
        n_tasks: Tasks that make at least two calls of `add_tasks` where that is cheap.
        n_paged: Answers that fill more than one page of `fetch`.
    """

    can: Can
    n_tasks: int
    n_paged: int

    def connect(self, strike: Strike | None = None, token: str | None = None) -> LabelVendor:
        """A new client that never really sleeps; `strike` breaks one call of its transport.

        `token` None is the right one.
        """

    def now(self) -> datetime:
        """The vendor's time, UTC."""

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        """`annotator` answers a task of a launched batch."""

    def edit(self, ref: str, task_id: str, choice: str) -> None:
        """Who answered the task changes the choice."""

    def retract(self, ref: str, task_id: str) -> None:
        """The task's answer is taken back."""

    def expire(self, ref: str) -> None:
        """Time passes until no task of the batch is pending; nobody answers meanwhile."""

    def misdeliver(self) -> None:
        """From now on records of a page come twice and in another order."""

    def times_held(self, task_id: str) -> int:
        """How often people are asked, or will be, to do the task, over the whole account."""

    def charged(self, ref: str) -> int:
        """Micro-dollars that the vendor's own books took for the batch."""


def submit(
    world: World, key: str, tasks: list[TaskRequest], strike: Strike | None = None
) -> Submission:
    """Buy `tasks` as the label stage does."""
    return submit_tasks(world.connect(strike), key, terms_of(world), tasks, BUDGET)


def answered_batch(world: World, tasks: list[TaskRequest]) -> tuple[str, list[TaskRequest]]:
    """A launched batch that holds `tasks`, each answered with a."""
    ref = submit(world, "night/1", tasks).ref
    for task in tasks:
        world.answer(ref, task.task_id, "ann", "a")
    return ref, tasks


def attempt(fault: Fault, act: Callable[[], Any]) -> Any:
    """What `act` gives; None where it failed as it may: only a plain 409 may ask for a person."""
    try:
        return act()
    except (Killed, Retryable, Ambiguous):
        return None
    except Fatal:
        if fault is not Fault.CONFLICT:
            raise
        return None


def read_all(
    vendor: LabelVendor, ref: str, cursor: str | None = None
) -> tuple[list[bytes], AnnotationPage]:
    """All records from `cursor` on, and the last page."""
    records: list[bytes] = []
    for _ in range(MAX_PAGES):
        page = vendor.fetch(ref, cursor)
        records += page.records
        if page.next_cursor is None:
            return records, page
        assert not page.complete
        assert page.next_cursor != cursor
        cursor = page.next_cursor
    raise AssertionError(f"more than {MAX_PAGES} pages")


def latest(records: list[bytes]) -> list[DeliveredAnnotation]:
    """The last revision of each annotation, by its id."""
    found: dict[str, DeliveredAnnotation] = {}
    for record in map(DeliveredAnnotation.model_validate_json, records):
        held = found.get(record.annotation_id)
        if held is None or record.revision >= held.revision:
            found[record.annotation_id] = record
    return [found[key] for key in sorted(found)]


def assert_equal_where_same(records: list[bytes]) -> None:
    """One revision of one annotation says one thing, however often it comes."""
    said: dict[tuple[str, int], DeliveredAnnotation] = {}
    for record in map(DeliveredAnnotation.model_validate_json, records):
        assert said.setdefault((record.annotation_id, record.revision), record) == record


def assert_held_once(world: World, tasks: list[TaskRequest]) -> None:
    """People are asked to do each task once."""
    assert {t.task_id: world.times_held(t.task_id) for t in tasks} == {t.task_id: 1 for t in tasks}


def checked_status(world: World, ref: str) -> BatchStatus:
    """The batch's status, after its figures were checked against each other and the books."""
    status = world.connect().status(ref)
    assert status.n_tasks == status.n_answered + status.n_expired + status.n_pending
    assert min(status.n_answered, status.n_expired, status.n_pending) >= 0
    assert world.charged(ref) == status.charged <= status.committed
    return status


def need(able: bool) -> None:
    """Skip where this vendor's world cannot do what the test is about."""
    if not able:
        pytest.skip("this vendor cannot do that")


def terms_of(world: World) -> BatchTerms:
    """Terms that ask for a week's work."""
    return BatchTerms(
        instructions="Which response helps more?",
        rubric_version="helpfulness-1",
        dimensions=("helpfulness",),
        deadline=world.now() + timedelta(days=7),
        session_minutes=30,
    )
