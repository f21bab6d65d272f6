"""What goes wrong at the simulator when it is told to: each fault has a name and a rate.

What always holds: nothing goes wrong unless a rate says so. Faults of calls, pages and webhooks are
drawn from one seeded generator, call by call; whether a fault befalls a *task* follows from seed
and task alone, so that a rerun gets the same answers. No fault loses an answer for good or charges
twice: what a vendor may get wrong on the way, its books have right.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from winnow.ids import seed_from

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fault:
    """`rate` is its chance under `--faults all`; `what` says what happens, and to what."""

    rate: float
    what: str


FAULTS: Mapping[str, Fault] = {
    "busy": Fault(0.05, "a call is answered 429 with Retry-After, and not served"),
    "error": Fault(0.03, "a call is answered 500, and not served"),
    "error_after": Fault(0.03, "a call is served, then answered 500"),
    "dropped": Fault(0.03, "a call is served, then its connection is dropped"),
    "withheld": Fault(0.002, "a call is served, and its answer held back for a minute"),
    "truncated": Fault(0.02, "a call is served, and its JSON answer cut off"),
    "record_twice": Fault(0.10, "a page of annotations carries one of its records twice"),
    "page_shuffled": Fault(0.10, "a page of annotations comes in another order"),
    "page_twice": Fault(0.10, "a page of annotations is followed by the same page"),
    "edited": Fault(0.05, "an answer is changed later: a higher revision"),
    "retracted": Fault(0.03, "an answer is taken back later; it stays charged"),
    "answered_twice": Fault(0.03, "the annotator answers the task again, under another id, free"),
    "broken_record": Fault(0.03, "a record that does not parse comes beside the answer, free"),
    "unanswered": Fault(0.05, "nobody answers the task: it ends and costs nothing"),
    "overdue": Fault(0.02, "the task lies about until the batch's deadline, and expires"),
    "webhook_lost": Fault(0.20, "a webhook is not sent"),
    "webhook_twice": Fault(0.20, "a webhook is sent twice, with one id"),
}


class Faults:
    """The faults that are switched on, each with a rate from 0 to 1; any thread may ask."""

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        self.rates, self._seed = dict(rates or {}), seed
        self._random = random.Random(seed_from("faults", seed))
        self._turn = threading.Lock()

    def strikes(self, fault: str) -> bool:
        """True when the fault hits what happens now: the next draw."""
        rate = self.rates.get(fault, 0.0)
        if rate <= 0.0:
            return False
        with self._turn:
            return self._random.random() < rate

    def befalls(self, fault: str, task_id: str) -> bool:
        """True when the fault hits this task, whenever it is asked."""
        return seed_from("fault", fault, self._seed, task_id) / 2**31 < self.rates.get(fault, 0.0)

    def shuffled(self, items: list[_T]) -> list[_T]:
        """The items in another order."""
        with self._turn:
            return self._random.sample(items, len(items))

    def one_of(self, items: list[_T]) -> _T:
        """One of the items."""
        with self._turn:
            return self._random.choice(items)


def read_rates(text: str) -> dict[str, float]:
    """Rates as written for `--faults`: `all`, `name=rate`, or several with commas between.

    >>> read_rates("busy=0.5,dropped=1")
    {'busy': 0.5, 'dropped': 1.0}

    Raises:
        ValueError: A name is unknown or a rate is not from 0 to 1; the message says which.
    """
    rates: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rate = part.partition("=")
        if part == "all":
            rates.update({known: fault.rate for known, fault in FAULTS.items()})
            continue
        if name not in FAULTS:
            raise ValueError(f"no fault {name!r}; known are all, {', '.join(FAULTS)}")
        try:
            rates[name] = float(rate) if rate else FAULTS[name].rate
            if not 0.0 <= rates[name] <= 1.0:
                raise ValueError(rate)
        except ValueError:
            raise ValueError(
                f"the rate of fault {name!r} is not a number from 0 to 1: {rate!r}"
            ) from None
    return rates
