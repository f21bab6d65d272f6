"""What simulated annotators say beyond a choice: ratings by dimension, now and then a reason.

No opinion here is anybody's: ratings are the stand-in `taste` with noise, a reason names the part
of that formula on which the sides differ most, and says that it is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from winnow.ids import seed_from
from winnow.label.vendor import TaskRequest
from winnow_simulator.staff import Person
from winnow_simulator.taste import WEIGHTS, taste, taste_parts

# How far two dimensions may lie apart for one text, in units of taste.
_DIMENSION_SPREAD = 0.12

_BETTER: Mapping[str, str] = {
    "on_topic": "keeps closer to the question",
    "length": "is of a better length",
    "freshness": "repeats itself less",
    "finished": "comes to an end",
    "right_script": "is in the language of the question",
}


def rate(
    task: TaskRequest, person: Person, dimensions: Sequence[str], rng: random.Random
) -> dict[str, tuple[int, int]]:
    """The person's ratings of sides A and B, 1 to 5, for each of `dimensions`."""
    if not dimensions:
        return {}
    if person.habit == "always_a":
        return dict.fromkeys(dimensions, (5, 3))
    if person.habit == "random":
        return {name: (rng.randint(1, 5), rng.randint(1, 5)) for name in dimensions}
    shown = [task.response_a, task.response_b]
    liked = [taste(task.messages, text) for text in shown]
    return {
        name: (
            _stars(liked[0] + _own(name, shown[0]) + rng.gauss(0.0, person.noise)),
            _stars(liked[1] + _own(name, shown[1]) + rng.gauss(0.0, person.noise)),
        )
        for name in dimensions
    }


def say_why(task: TaskRequest, choice: str, person: Person) -> str | None:
    """A short reason for the choice, marked as simulated; None from one who does not read."""
    if person.habit != "judges":
        return None
    if choice == "both_bad":
        return "Simulated reason: neither response helps."
    if choice == "tie":
        return "Simulated reason: I see no difference that matters."
    sides = [task.response_a, task.response_b]
    chosen, other = sides if choice == "a" else sides[::-1]
    best, rest = taste_parts(task.messages, chosen), taste_parts(task.messages, other)
    lead = {name: WEIGHTS[name] * (best[name] - rest[name]) for name in WEIGHTS}
    name = max(lead, key=lambda part: lead[part])
    if lead[name] <= 0.0:
        return f"Simulated reason: {choice.upper()} just reads better."
    return f"Simulated reason: {choice.upper()} {_BETTER[name]}."


def _own(dimension: str, text: str) -> float:
    """What a dimension sees in a text that the others do not."""
    return _DIMENSION_SPREAD * (2.0 * seed_from("dimension", dimension, text) / 2**31 - 1.0)


def _stars(liked: float) -> int:
    return max(1, min(5, 1 + round(4.0 * liked)))
