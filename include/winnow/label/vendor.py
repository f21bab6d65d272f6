"""The contract between Winnow and whoever labels: one protocol that every vendor adapter keeps.

What always holds: every call may be repeated. A container is found by its batch key before one is
made, a task carries an id that the vendor takes once, launching a launched batch changes nothing.
So a submission that broke off is *reconciled* (see `winnow.label.submit`), never blindly retried.

Errors: `Retryable` when the same call may work later, `Fatal` when a person must act (credential,
unknown batch, cancelled batch). Money is in integer micro-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

BatchState = Literal["draft", "open", "complete", "cancelled", "expired"]
Choice = Literal["a", "b", "tie", "both_bad", "skip"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the prompt, plain text as shown."""

    role: str
    content: str


Webhook = Literal["standard", "hmac", "header"]
"""How a vendor proves that a webhook is its own: see `winnow.label.webhooks`."""


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

    `dimensions` are rated 1 to 5 for each side, none asks for the choice alone. No answer is wanted
    after `deadline`. `session_minutes` is how long one person should work at a stretch; a vendor
    that cannot limit it ignores it.
    """

    instructions: str
    rubric_version: str
    dimensions: tuple[str, ...]
    deadline: datetime
    session_minutes: int | None = None


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


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Where a batch stands, by the vendor's own books.

    `n_tasks = n_answered + n_expired + n_pending`; an expired task ended without an answer and
    costs nothing. `charged` is what the vendor took so far, `committed` what the batch costs if
    every pending task is still answered.
    """

    state: BatchState
    n_tasks: int
    n_answered: int
    n_expired: int
    n_pending: int
    charged: int
    committed: int
    expected_done_at: datetime | None

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


class Rating(BaseModel):
    """How both sides, as shown, do on one dimension, 1 to 5."""

    model_config = ConfigDict(frozen=True, strict=True)

    a: int = Field(ge=1, le=5)
    b: int = Field(ge=1, le=5)


class DeliveredAnnotation(BaseModel):
    """The shape to which an adapter brings a vendor's record; fields beyond it are ignored.

    `choice` speaks of the sides as shown. An edit comes as a higher `revision` of the same
    `annotation_id`, a retraction as a revision with that status.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    annotation_id: str = Field(min_length=1, max_length=200)
    revision: int = Field(0, ge=0, lt=2**63)
    task_id: str = Field(min_length=1, max_length=200)
    annotator: str = Field(min_length=1, max_length=500)
    choice: str
    strength: int | None = Field(None, ge=0, le=3)
    ratings: dict[str, Rating] = Field(default_factory=dict, max_length=20)
    rationale: str | None = Field(None, max_length=20_000)
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    active_seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    status: Literal["submitted", "approved", "rejected", "retracted"] = "submitted"
    price: int = Field(ge=0, lt=2**63, description="Charged for this annotation, micro-dollars")


class LabelVendor(Protocol):
    """A place that sells annotations."""

    @property
    def name(self) -> str:
        """Word by which campaigns name the vendor."""

    @property
    def max_request(self) -> int:
        """Tasks that one `add_tasks` call may carry."""

    @property
    def snapshot(self) -> bool:
        """True when a fetch from the beginning gives what stands *now*: what is gone was retracted.

        False when it gives everything that ever happened, edits and retractions as revisions.
        """

    def estimate(self, tasks: Sequence[TaskRequest]) -> int:
        """Micro-dollars that `tasks` cost if all are answered."""

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or create the container of `batch_key`, unlaunched if new, and return its ref."""

    def list_task_ids(self, ref: str) -> set[str]:
        """Ids of all tasks in the batch."""

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
