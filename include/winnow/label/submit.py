"""Buys a batch's tasks by reconciliation: look at what the vendor has, send only the difference.

What always holds: the budget is checked before anything is bought, against what the vendor's books
say the batch may still cost plus what is missing. Killed at any instruction and called again, the
function ends in the same place, because each step finds what the last attempt left: the container
by its key, the tasks by their ids. A batch that changed under its key buys only the difference;
tasks that it no longer wants stay bought (no vendor takes them back) and are counted as `n_extra`.
What is shown is read and sent a page at a time: of a batch of any size the ids alone are held, as
columns.

Why not retry: a time-out does not say whether the purchase happened; sending again may buy twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from winnow.errors import Ambiguous, Blocked, Fatal
from winnow.label.ids import Ids
from winnow.label.vendor import BatchTerms, LabelVendor, Priced, TaskRequest
from winnow.money import MICROS
from winnow.pace import Pace, Say

_LOG = logging.getLogger(__name__)


class Requests(Protocol):
    """What is to be bought: all ids and prices at once, what is shown a page at a time."""

    @property
    def priced(self) -> Collection[Priced]:
        """Id and price of each task, in sending order."""

    def pages(self) -> Iterable[Sequence[TaskRequest]]:
        """The tasks in sending order, some thousands at once."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The requests of a list."""

    priced: Sequence[TaskRequest]

    def pages(self) -> Iterable[Sequence[TaskRequest]]:
        return [self.priced]


@dataclass(frozen=True, slots=True)
class Submission:
    """What one call of `submit_tasks` did. `estimate` is for all tasks asked for, micro-dollars."""

    ref: str
    n_tasks: int
    n_sent: int
    n_already: int
    n_extra: int
    estimate: int
    committed: int


def submit_tasks(
    vendor: LabelVendor,
    batch_key: str,
    terms: BatchTerms,
    tasks: Requests | Sequence[TaskRequest],
    budget: int,
    open_container: Callable[[], str] | None = None,
    say: Say = _LOG.info,
) -> Submission:
    """Bring the vendor's batch `batch_key` to hold all of `tasks`, and launch it.

    `open_container` finds or makes the batch's container and gives its ref; None: by its key alone.
    `say` gets a line of progress now and then.

    Raises:
        Blocked: It would cost more than `budget` micro-dollars; nothing was sent.
        Ambiguous: The vendor took the tasks but does not list all of them; nothing was launched.
        Fatal: Two tasks share an id, or the vendor refused in a way no retry can help.
        Retryable: The vendor did not answer; calling again is safe.
    """
    requests = Listed(tasks) if isinstance(tasks, Sequence) else tasks
    priced = requests.priced
    wanted = Ids(task.task_id for task in priced)
    if len(wanted) < len(priced):
        raise Fatal(
            f"{len(priced) - len(wanted)} of {len(priced)} tasks repeat another's id: the batch "
            "holds a comparison twice. Nothing was sent; look at the comparisons of select_pairs."
        )
    estimate = vendor.estimate(priced)
    _check_budget(batch_key, estimate, budget)
    ref = open_container() if open_container else vendor.open_batch(batch_key, terms)
    held = vendor.list_task_ids(ref)
    n_missing = len(wanted.only_here(held))
    missing = (task for task in priced if task.task_id not in held)
    committed = vendor.status(ref).committed + vendor.estimate(missing)
    _check_budget(batch_key, committed, budget)
    if n_missing:
        pace = Pace("tasks sent", n_missing, say)
        _send(vendor, ref, batch_key, requests, held, budget, pace)
    del held
    listed = vendor.list_task_ids(ref)
    absent = wanted.only_here(listed)
    if len(absent):
        raise Ambiguous(
            f"Vendor batch {ref} ({batch_key}) lists {len(wanted) - len(absent)} of {len(wanted)} "
            f"tasks; {len(absent)} are not there, the first being {wanted.at(absent[0])}. They may "
            "be bought in another batch of this account: look there before sending again. Not "
            "launched."
        )
    vendor.launch(ref)
    return Submission(
        ref=ref,
        n_tasks=len(priced),
        n_sent=n_missing,
        n_already=len(priced) - n_missing,
        n_extra=len(listed) - len(wanted),
        estimate=estimate,
        committed=committed,
    )


def _send(
    vendor: LabelVendor,
    ref: str,
    batch_key: str,
    requests: Requests,
    held: Set[str],
    budget: int,
    pace: Pace,
) -> None:
    """Send what is not `held`, a page's worth in memory at a time."""
    n_sent = 0
    pace.at(n_sent)
    for chunk in _chunks(requests, held, vendor.max_request):
        # Again before each purchase: a twin, or a price that moved, shows in the vendor's books.
        if n_sent:
            by_now = vendor.status(ref).committed + vendor.estimate(chunk)
            _check_budget(batch_key, by_now, budget, "No further task was sent")
        vendor.add_tasks(ref, chunk)
        n_sent += len(chunk)
        pace.at(n_sent)


def _chunks(requests: Requests, held: Set[str], size: int) -> Iterator[list[TaskRequest]]:
    """The tasks that are not `held`, so many at once."""
    waiting: list[TaskRequest] = []
    for page in requests.pages():
        waiting += [task for task in page if task.task_id not in held]
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


def _check_budget(
    batch_key: str, cost: int, budget: int, outcome: str = "Nothing was sent"
) -> None:
    if cost > budget:
        raise Blocked(
            f"Labels of batch {batch_key} may cost ${cost / MICROS:.2f}, over the budget of "
            f"${budget / MICROS:.2f}. {outcome}: raise label.budget_usd and run this again. To "
            "choose fewer pairs of the same pools, start another campaign with `pools_from`."
        )
