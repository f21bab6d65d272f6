"""The contract between Winnow and whoever labels: one protocol that every vendor adapter keeps.

What always holds: every call may be repeated. A container is found by its batch key before one is
made, a task carries an id that the vendor takes once, launching a launched batch changes nothing.
So a submission that broke off is *reconciled* (see `winnow.label.submit`), never blindly retried.

Errors: `Retryable` when the same call may work later (no answer, a busy service, an answer that
cannot be read), `Fatal` when a person must act (credential, unknown batch, cancelled batch). Money
is in integer micro-dollars.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from winnow.campaign import Judge
from winnow.errors import Fatal
from winnow.ids import content_id
from winnow.ingest.values import Unreadable, columns_of, read_time

BatchState = Literal["draft", "open", "complete", "cancelled", "expired"]
Choice = Literal["a", "b", "tie", "both_bad", "skip"]

CHOICE_LABELS: Mapping[Choice, str] = {
    "a": "A is better",
    "b": "B is better",
    "tie": "Equally good",
    "both_bad": "Both are bad",
    "skip": "I cannot judge this",
}
"""What an annotator reads on the buttons."""

RANKED = "ranked"
"""The choice of an answer that is an order."""

MAX_PRICE = 10**12
"""Micro-dollars of one annotation stay below: the sum of a batch's must fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the prompt, plain text as shown."""

    role: str
    content: str


Webhook = Literal["standard", "hmac", "header"]
"""How a vendor proves that a webhook is its own: see `winnow.label.webhooks`."""


@dataclass(frozen=True, slots=True)
class VendorKind:
    """What Winnow knows of a vendor before it talks to it.

    It is `KIND` in the vendor's package, whose module `client` has
    `connect(account) -> LabelVendor` and, where `webhook` is set,
    `batch_of_event(body) -> str | None`, the ref of the batch that a webhook is about.

    Attributes:
        webhook: How its webhooks prove themselves; None: it sends none.
        webhook_header: Which header carries the proof, unless the connection names another.
        extra: What it reads of the connection's `extra`, each of them a text.
        note: What a reader of the data must know of it, for the dataset card.
    """

    webhook: Webhook | None = None
    webhook_header: str | None = None
    extra: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class VendorAccount:
    """What an Airflow connection says of an account with a vendor.

    `url` is the address, a folder or an `s3://bucket/prefix` for vendors that take files; `token`
    the secret; `extra` what only some vendors need, each adapter says what.
    """

    url: str
    token: str
    login: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """What holds for all tasks of a batch, given when its container is made.

    `dimensions` are rated 1 to 5 for each side, those in `choices` are choices of a side or none;
    without any the choice alone is asked. No answer is wanted after `deadline`. `session_minutes`
    is how long one person should work at a stretch; a vendor that cannot limit it ignores it.
    `mark` stays with a container that is made under these terms, and tells it from any other.
    `judge` says how a model is asked, where one is, and `budget` what the batch may be charged at
    most, micro-dollars; None: what its tasks cost.
    """

    instructions: str
    rubric_version: str
    dimensions: tuple[str, ...]
    deadline: datetime
    session_minutes: int | None = None
    mark: str = ""
    judge: Judge | None = None
    budget: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What a vendor is asked to show to one annotator: plain text, sides fixed.

    `repeats` is the task of the same pair that this annotator has judged before, where a repeat is
    wanted; a vendor that cannot choose annotators ignores it. Nothing tells an annotator whether a
    task's answer is known.
    """

    task_id: str
    pair_id: str
    messages: tuple[Message, ...]
    response_a: str
    response_b: str
    dimension: str
    instructions: str
    rubric_version: str
    price: int
    repeats: str | None = None

    @property
    def asked(self) -> str:
        """The instructions with the dimension that the choice is about."""
        return f"{self.instructions}\nJudge by: {self.dimension}"


@dataclass(frozen=True, slots=True)
class RankedResponse:
    """A response as it is shown among others; its id tells nothing of it."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class RankingRequest(TaskRequest):
    """A task that asks for an order of `responses`, which are shown in theirs, plain text.

    `pair_id` is the id of the set of responses; `response_a` and `response_b` are empty.
    """

    responses: tuple[RankedResponse, ...] = field(kw_only=True)


class Priced(Protocol):
    """A task as far as its cost is concerned: a request, or no more than its id and price."""

    @property
    def task_id(self) -> str: ...

    @property
    def price(self) -> int: ...


MOST_TOLD = 10**15
"""A billion dollars in micro-dollars: no vendor's books hold more of anything."""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Where a batch stands, by the vendor's own books.

    `n_tasks = n_answered + n_expired + n_pending`; an expired task ended without an answer and
    costs nothing. `charged` is what the vendor took so far, `committed` what the batch costs if
    every pending task is still answered. `n_unreadable` counts answers that are there and cannot
    be read, so that their tasks wait; `unreadable` says of the first one where it is, and why.

    Raises:
        Fatal: An amount is negative, or beyond reason.
    """

    state: BatchState
    n_tasks: int
    n_answered: int
    n_expired: int
    n_pending: int
    charged: int
    committed: int
    expected_done_at: datetime | None
    n_unreadable: int = 0
    unreadable: str = ""

    def __post_init__(self) -> None:
        for name in ("charged", "committed"):
            if not 0 <= getattr(self, name) <= MOST_TOLD:
                raise Fatal(
                    f"The vendor's books say {name} {getattr(self, name)} of a batch, which cannot "
                    "be. Nothing was booked or bought: ask the vendor, then clear the task."
                )

    @classmethod
    def counted(
        cls,
        state: BatchState,
        n_answered: int,
        charged: int,
        due: Collection[int],
        n_expired: int,
        faults: Sequence[str],
    ) -> Self:
        """The status by what an adapter counted.

        `due` is what each pending task costs if it is answered, micro-dollars; `faults` say of each
        answer that cannot be read where it is and why.
        """
        return cls(
            state=state,
            n_tasks=n_answered + len(due) + n_expired,
            n_answered=n_answered,
            n_expired=n_expired,
            n_pending=len(due),
            charged=charged,
            committed=charged + sum(due),
            expected_done_at=None,
            n_unreadable=len(faults),
            unreadable=faults[0] if faults else "",
        )

    @property
    def is_final(self) -> bool:
        """True when no further answer will come."""
        return self.state in ("complete", "cancelled", "expired")


@dataclass(frozen=True, slots=True)
class AnnotationPage:
    """Raw records in the vendor's order, each meant to hold one `DeliveredAnnotation` as JSON.

    `next_cursor` is None on the last page for now; `complete` says that there never will be more.
    `resume_cursor` is where a later look goes on, early enough to see again what may still have
    been on its way; None: from the beginning.
    """

    records: tuple[bytes, ...]
    next_cursor: str | None
    complete: bool
    resume_cursor: str | None = None


def container_name(batch_key: str, longest: int = 63) -> str:
    """A name for `batch_key` alone where a vendor has no key of its own, of `longest` characters.

    Lower-case letters, digits and single hyphens, beginning and ending with a letter or digit: it
    may be a path, a folder or the name of a labeling job, and is one whatever the case.

    >>> container_name("nightly/2026-11-22#1")
    'nightly-2026-11-22-1-4b3a446652c01bb5'
    """
    unique = content_id("container", batch_key)[:16]
    readable = re.sub(r"[^a-z0-9]+", "-", batch_key.lower())[: longest - len(unique) - 1]
    return f"{readable}-{unique}".replace("--", "-").strip("-")


_Place = TypeVar("_Place", bound=BaseModel)


def read_cursor(shape: type[_Place], cursor: str) -> _Place:
    """The place of a reader, of an adapter's `shape`, that a cursor names.

    Raises:
        Fatal: The cursor is none that the adapter gave.
    """
    try:
        return shape.model_validate_json(cursor)
    except ValidationError as error:
        raise Fatal("The cursor is not one that this vendor's adapter gave.") from error


def as_cursor(place: BaseModel) -> str:
    """A reader's place as a cursor."""
    return json.dumps(place.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def id_text(value: Any) -> Any:
    """An id is an id: the number 17, or 17.0, is "17"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


def no_flag(value: Any) -> Any:
    """The value, for a validator of numbers: true is no 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _time(value: Any) -> datetime | None:
    try:
        return read_time(value, "the time")
    except Unreadable as fault:
        if fault.reason == "wrong_time":
            raise PydanticCustomError("wrong_time", "lies outside the years 1 to 9999") from fault
        raise ValueError("must be an ISO time") from fault


def _choice(value: Any) -> Any:
    meant = re.sub("[ -]+", "_", value.strip().lower()) if isinstance(value, str) else value
    return meant if meant in get_args(Choice) else value


Id = Annotated[str, BeforeValidator(id_text)]
Whole = Annotated[int, BeforeValidator(no_flag)]
Grade = Annotated[Whole, Field(ge=1, le=5)]
Price = Annotated[Whole, Field(ge=0, lt=MAX_PRICE)]
"""Micro-dollars of one annotation."""
Time = Annotated[datetime, BeforeValidator(_time)]
MOST_ODDS = 8.0
"""Log-odds of a model are cut to this: no model is surer than 1 in 3,000."""
Odds = Annotated[float, BeforeValidator(no_flag), Field(ge=-MOST_ODDS, le=MOST_ODDS)]


class Rating(BaseModel):
    """How both sides, as shown, do on one dimension, 1 to 5."""

    model_config = ConfigDict(frozen=True)

    a: Grade
    b: Grade


Side = Literal["a", "b", "tie"]
SIDES: Sequence[Side] = get_args(Side)
"""What a dimension is answered with where it is asked as a choice."""
_CHOSEN: Mapping[Side, Rating] = {
    "a": Rating(a=5, b=1),
    "b": Rating(a=1, b=5),
    "tie": Rating(a=3, b=3),
}
"""A choice on a dimension, as the rating that it is kept as: as far apart as two sides can be."""


class DeliveredAnnotation(BaseModel):
    """The shape to which an adapter brings a vendor's record; fields beyond it are ignored.

    `choice` speaks of the sides as shown, and so do `ratings` and `dimension_choices`, by
    dimension. An edit comes as a higher `revision` of the same `annotation_id`, a retraction as a
    revision with that status. What means the same is the same: an id may be a number, a number
    text, a choice "A"; a time without a zone is in UTC. Without an `annotator` it is an answer of
    somebody unknown.

    With a `model` it is the vote of a model and not of a person. `log_odds` are then those that
    side a, as shown, is better; `order_effect` how much of the log-odds of one order was for the
    side that came first; `label_mass` the least chance, in either order, that it answered at all;
    `mode` says how they were found (`winnow.label.vendors.judge`).
    """

    model_config = ConfigDict(frozen=True)

    annotation_id: Id = Field(min_length=1, max_length=200)
    revision: Whole = Field(0, ge=0, lt=2**62)
    task_id: Id = Field(min_length=1, max_length=200)
    annotator: Id | None = Field(None, min_length=1, max_length=500)
    choice: Annotated[str, BeforeValidator(_choice)]
    strength: Whole | None = Field(None, ge=0, le=3)
    ratings: dict[str, Rating] = Field(default_factory=dict, max_length=20)
    dimension_choices: dict[str, Annotated[Side, BeforeValidator(_choice)]] = Field(
        default_factory=dict, max_length=20
    )
    rationale: str | None = Field(None, max_length=20_000)
    started_at: Time | None = None
    finished_at: Time | None = None
    active_seconds: Annotated[float, BeforeValidator(no_flag), Field(ge=0, lt=1e9)] | None = None
    status: Literal["submitted", "approved", "rejected", "retracted"] = "submitted"
    price: Price = Field(description="Charged for this, micro-dollars")
    model: str | None = Field(None, min_length=1, max_length=200)
    mode: Literal["logits", "verdict", "samples"] | None = None
    log_odds: Odds | None = None
    order_effect: Odds | None = None
    label_mass: Annotated[float, BeforeValidator(no_flag), Field(ge=0.0, le=1.0)] | None = None

    @classmethod
    def of(cls, record: Any) -> Self:
        """The annotation in a record that was read as JSON; null is absent.

        Raises:
            Unreadable: It is none, or its choice is unknown; the detail quotes no text of it.
        """
        annotation = cls._read(record)
        if annotation.choice not in get_args(Choice):
            raise Unreadable("unknown_choice", f"known are {', '.join(get_args(Choice))}")
        return annotation

    @property
    def by_dimension(self) -> dict[str, Rating]:
        """What it says of each dimension, a choice as the rating that stands for it."""
        chosen = self.dimension_choices.items()
        return {**self.ratings, **{name: _CHOSEN[side] for name, side in chosen}}

    @classmethod
    def _read(cls, record: Any) -> Self:
        try:
            annotation = cls.model_validate(columns_of(record, cls.model_fields))
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']}" for e in error.errors()
            ]
            is_time = any(e["type"] == "wrong_time" for e in error.errors())
            reason = "wrong_time" if is_time else "does_not_parse"
            raise Unreadable(reason, "; ".join(faults)) from error
        return annotation


def _groups(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("must be a list of ids")
    return [each if isinstance(each, list) else [each] for each in value]


class DeliveredRanking(DeliveredAnnotation):
    """The answer to a task that asks for an order.

    `order` names every response that was shown, the best first; a list in it holds those that are
    tied. A skip has none.
    """

    choice: Annotated[str, BeforeValidator(_choice)] = RANKED
    order: Annotated[
        list[Annotated[list[Id], Field(min_length=1, max_length=20)]], BeforeValidator(_groups)
    ] = Field(default_factory=list, max_length=20)

    @classmethod
    def of(cls, record: Any) -> Self:
        """The ranking in a record that was read as JSON; null is absent.

        Raises:
            Unreadable: It is none; the detail quotes no text of it.
        """
        ranking = cls._read(record)
        if ranking.choice != (RANKED if ranking.order else "skip"):
            raise Unreadable("unknown_choice", "an order is wanted, or the choice skip without one")
        return ranking


class LabelVendor(Protocol):
    """A place that sells annotations; an adapter derives from it.

    Attributes:
        name: Word by which campaigns name the vendor.
        place: Where the account is, for people: an address, without its secrets.
        max_request: Tasks that one `add_tasks` call may carry.
        names_people: True when the id on an answer is that of one person; False when it may be a
            team's.
        takes_a_task_once: True when a task that is added twice, at whatever moment, is shown once
            all the same.
        snapshot: True when a fetch from the beginning gives what stands *now*: what is gone was
            retracted. False when it gives everything that ever happened, edits and retractions as
            revisions.
    """

    name: str
    place: str
    max_request: int
    names_people: bool
    takes_a_task_once: bool
    snapshot: bool

    def estimate(self, tasks: Iterable[Priced]) -> int:
        """Micro-dollars that `tasks` cost if all are answered: the sum of their prices."""
        return sum(task.price for task in tasks)

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or create the container of `batch_key`, unlaunched if new, and return its ref."""

    def mark_of(self, ref: str) -> str:
        """The mark of the terms under which the container was made; empty where it has none."""

    def list_task_ids(self, ref: str) -> Set[str]:
        """Ids of all tasks in the batch, also of those that ended without an answer."""

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put tasks into the batch; one that the account already holds is not bought again.

        Where the vendor has no key of its own for a task, a call that timed out may have put it
        there twice: `launch` removes the surplus before anybody sees it.
        """

    def launch(self, ref: str) -> None:
        """Let annotators see every task in the batch; a cancelled batch stays cancelled."""

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands and what it cost."""

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """Annotations after `cursor`; None starts at the beginning."""

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop asking; answers already given are kept and paid."""
