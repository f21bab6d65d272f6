"""What a source beside people sent, once all of it is in the lake.

label/round-2/brought.json     what it cost, and how many tasks it answered
"""

from __future__ import annotations

from dataclasses import dataclass

from winnow.batch import Batch
from winnow.stages.label.rounds import ROUNDS, read_round, rounds_of, write_round
from winnow.stored import reader

_NAME = "brought.json"


@dataclass(frozen=True, slots=True)
class Brought:
    """The end of a source's round, by its vendor's books; `charged` is in micro-dollars.

    `lists_all`: what its vendor's last look lacks was taken back. `names_people`: the id on an
    answer is one person's.
    """

    n_tasks: int
    n_answered: int
    charged: int
    lists_all: bool = False
    names_people: bool = True


def read_brought(batch: Batch, number: int) -> Brought | None:
    """How a source's round ended; None before that."""
    return None if number in ROUNDS else read_round(batch, number, _NAME, reader(Brought))


def write_brought(batch: Batch, number: int, brought: Brought) -> Brought:
    """Note how a source's round ended; what was noted first."""
    return write_round(batch, number, _NAME, brought)


def all_brought(batch: Batch) -> dict[int, Brought]:
    """The rounds of sources that have ended."""
    found = {number: read_brought(batch, number) for number in rounds_of(batch)}
    return {number: each for number, each in found.items() if each is not None}
