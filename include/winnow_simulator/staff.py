"""Who works for the simulator: twelve seeded people, careful or tired, or three of them odd.

What always holds: the staff follows from the seed and its kind alone. Of the mixed staff nine
people are those of the careful staff; a speeder and two spammers take the places of the others.
The tired staff is the careful one, of whom nobody judges after an hour as at the start.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from winnow.ids import seed_from

StaffKind = Literal["careful", "mixed", "tired", "none"]
Habit = Literal["judges", "random", "always_a"]

N_STAFF = 12

# Chosen on answers of a 135-million-parameter model and of 55 larger ones, so that two people
# agree on about 70 % of decisive pairs, as crowds do on model responses.
NOISE = 0.11
TIRED = 20.0
"""`Person.tiring` of the tired staff: after an hour they all but guess."""


@dataclass(frozen=True, slots=True)
class Person:
    """One simulated annotator.

    `noise` is the spread of their judgement in units of taste and `tiring` what share of it an hour
    of work adds, `side_bias` what they add for side A, `length_liking` what they add for each
    doubling of length. `pace` is how many seconds they take to read 100 characters, `haste` the
    share of that time they really take; `silence`, `lateness` and `second_thoughts` are the chances
    that they never answer a task, answer it hours later, or change the answer afterwards.
    """

    name: str
    noise: float
    side_bias: float
    length_liking: float
    pace: float
    silence: float
    tiring: float = 0.0
    haste: float = 1.0
    lateness: float = 0.0
    second_thoughts: float = 0.0
    habit: Habit = "judges"


@lru_cache(maxsize=8)
def hire_staff(seed: int, kind: StaffKind = "careful") -> tuple[Person, ...]:
    """The simulator's staff for a seed; the kind `none` hires nobody."""
    if kind == "none":
        return ()
    careful = [_person(i, random.Random(seed_from("person", seed, i))) for i in range(N_STAFF)]
    if kind == "tired":
        return tuple(replace(person, tiring=TIRED) for person in careful)
    return tuple(_mix(careful, seed) if kind == "mixed" else careful)


def _person(i: int, rng: random.Random) -> Person:
    return Person(
        name=f"simulated-annotator-{i + 1:02d}",
        noise=NOISE * rng.uniform(0.6, 1.6),
        side_bias=rng.gauss(0.005, 0.012),
        length_liking=rng.gauss(0.01, 0.01),
        pace=rng.uniform(2.0, 6.0),
        silence=rng.uniform(0.05, 0.40),
        tiring=rng.uniform(0.0, 0.3),
    )


def _mix(careful: list[Person], seed: int) -> list[Person]:
    human = [replace(p, lateness=0.02, second_thoughts=0.03) for p in careful]
    speeder, one, other = random.Random(seed_from("odd", seed)).sample(range(N_STAFF), 3)
    odd = {
        speeder: replace(human[speeder], haste=0.05, noise=5.0 * NOISE),
        one: replace(human[one], haste=0.1, habit="always_a"),
        other: replace(human[other], haste=0.3, habit="random"),
    }
    return [odd.get(i, person) for i, person in enumerate(human)]
