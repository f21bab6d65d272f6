"""The simulated staff: twelve people who read, judge, tie, skip, and sometimes stay silent.

What always holds: what comes of a task follows from the simulator's seed and the task alone, never
from a clock or from other tasks, so a run that was killed and repeated gets the same answers. Two
tasks of one pair that swap its sides go to different people.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from winnow.ids import content_id, seed_from
from winnow.label.vendor import Choice, TaskRequest
from winnow.label.vendors.taste import taste

N_STAFF = 12
MAX_HANDOVERS = 3
"""How often a silent assignment goes to another person before the task expires."""
PICK_UP_SECONDS = 1200.0
"""A task waits up to this long before somebody picks it up, however large the batch."""
LAPSE_SECONDS = 240.0
"""A silent assignment is taken away after this long."""

# Chosen on answers of a 135-million-parameter model and of 55 larger ones, so that two people
# agree on about 70 % of decisive pairs, as crowds do on model responses.
NOISE = 0.11
TIE_WIDTH = 0.03
BAD_TASTE = 0.40
SKIP_CHANCE = 0.01


@dataclass(frozen=True, slots=True)
class Person:
    """One simulated annotator.

    `noise` is the spread of their judgement in units of taste, `side_bias` what they add for
    side A, `length_liking` what they add for each doubling of length, `pace` how many seconds they
    take to read 100 characters, `silence` the chance that they never answer a task.
    """

    name: str
    noise: float
    side_bias: float
    length_liking: float
    pace: float
    silence: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of a task: an answer, or silence (`choice` is None) when `ended` has passed.

    `started` and `ended` are seconds after launch, before the simulator's speed is applied.
    """

    annotator: str
    choice: Choice | None
    strength: int | None
    started: float
    ended: float


def hire_staff(seed: int) -> tuple[Person, ...]:
    """The simulator's staff for a seed."""
    return tuple(_person(i, random.Random(seed_from("person", seed, i))) for i in range(N_STAFF))


def work_on(task: TaskRequest, seed: int) -> Outcome:
    """What comes of `task`: it goes from person to person until one answers or nobody is left."""
    rng = random.Random(seed_from("outcome", seed, task.task_id))
    started = rng.uniform(0.0, PICK_UP_SECONDS)
    for person in _order_of_asking(task, seed)[: MAX_HANDOVERS + 1]:
        if rng.random() < person.silence:
            started += LAPSE_SECONDS
            continue
        choice, strength = judge(task, person, rng)
        ended = started + _reading_seconds(task, person) * rng.uniform(0.7, 1.5)
        return Outcome(person.name, choice, strength, started, ended)
    return Outcome(person.name, None, None, started, started)


def judge(task: TaskRequest, person: Person, rng: random.Random) -> tuple[Choice, int | None]:
    """The person's choice and its strength: 1 to 3 for a side, 0 for none, None for a skip."""
    if rng.random() < SKIP_CHANCE:
        return "skip", None
    taste_a = taste(task.messages, task.response_a)
    taste_b = taste(task.messages, task.response_b)
    lengths = math.log2((len(task.response_a) + 1) / (len(task.response_b) + 1))
    leaning = taste_a - taste_b + person.side_bias + person.length_liking * lengths
    felt = leaning + rng.gauss(0.0, person.noise)
    if max(taste_a, taste_b) + rng.gauss(0.0, person.noise) < BAD_TASTE:
        return "both_bad", 0
    if abs(felt) < TIE_WIDTH:
        return "tie", 0
    return ("a" if felt > 0.0 else "b"), min(3, 1 + int(abs(felt) / (2.0 * NOISE)))


def _person(i: int, rng: random.Random) -> Person:
    return Person(
        name=f"simulated-annotator-{i + 1:02d}",
        noise=NOISE * rng.uniform(0.6, 1.6),
        side_bias=rng.gauss(0.005, 0.012),
        length_liking=rng.gauss(0.01, 0.01),
        pace=rng.uniform(2.0, 6.0),
        silence=rng.uniform(0.05, 0.40),
    )


def _order_of_asking(task: TaskRequest, seed: int) -> list[Person]:
    """The staff in an order that belongs to the pair, reversed when its sides are swapped."""
    staff = list(hire_staff(seed))
    random.Random(seed_from("order", seed, task.pair_id)).shuffle(staff)
    in_order = content_id(task.response_a) < content_id(task.response_b)
    return staff if in_order else staff[::-1]


def _reading_seconds(task: TaskRequest, person: Person) -> float:
    n_chars = sum(len(m.content) for m in task.messages)
    n_chars += len(task.response_a) + len(task.response_b)
    return 5.0 + person.pace * n_chars / 100.0
