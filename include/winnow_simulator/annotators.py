"""What the simulated staff does with a task: people read, judge, tie, skip, stay silent.

What always holds: what comes of a task follows from the simulator's seed, the task and its briefing
alone, never from a clock, so a run that was killed and repeated gets the same answers. Two tasks of
one pair that swap its sides go to different people. No opinion here is anybody's: ratings are the
stand-in `taste` with noise, a reason names the part of that formula on which the sides differ most,
and says that it is simulated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from winnow.ids import content_id, seed_from
from winnow.label.vendor import RANKED, Choice, RankingRequest, TaskRequest
from winnow_simulator.staff import NOISE, Person, StaffKind, hire_staff
from winnow_simulator.taste import WEIGHTS, taste, taste_parts

MAX_HANDOVERS = 3
"""How often a silent assignment goes to another person before the task expires."""
PICK_UP_SECONDS = 1200.0
"""A task waits up to this long before somebody picks it up, however large the batch."""
LAPSE_SECONDS = 240.0
"""A silent assignment is taken away after this long."""
SESSION_MINUTES = 60
"""How long people work at a stretch where a batch does not say."""
LATE_SECONDS = (3600.0, 6.0 * 3600.0)
RETURN_SECONDS = 60.0
"""A repeat is shown to its annotator this long after their first answer, at the earliest."""
NEVER = 1e15
"""Seconds after which a task that nobody will ever touch ends: its deadline comes first."""

TIE_WIDTH = 0.03
BAD_TASTE = 0.40
SKIP_CHANCE = 0.01
RATIONALE_CHANCE = 0.2
DIMENSION_SPREAD = 0.12
"""How far two dimensions may lie apart for one text, in units of taste."""

_BETTER: Mapping[str, str] = {
    "on_topic": "keeps closer to the question",
    "length": "is of a better length",
    "freshness": "repeats itself less",
    "finished": "comes to an end",
    "right_script": "is in the language of the question",
}


@dataclass(frozen=True, slots=True)
class Briefing:
    """What holds for a task beyond its text.

    `dimensions` are asked beside the choice, those in `choices` as one more, the rest as ratings.
    `returning` is whom to ask first and who will answer, `avoid` who has judged the pair in an
    earlier batch; nobody starts before `not_before`, seconds after launch.
    """

    staff: StaffKind = "careful"
    dimensions: tuple[str, ...] = ()
    session_minutes: int = SESSION_MINUTES
    returning: str | None = None
    avoid: frozenset[str] = frozenset()
    not_before: float = 0.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of a task: an answer, or silence (`choice` is None) when `ended` has passed.

    `started` and `ended` are seconds after launch, before the simulator's speed is applied;
    `changes_mind` says that the person will edit the answer. `ratings` are 1 to 5 for side A and
    for side B, and `choices` "a", "b" or "tie", by dimension. `order` is that of a ranking, whose
    `choice` is then "ranked".
    """

    annotator: str
    choice: str | None
    strength: int | None
    started: float
    ended: float
    ratings: dict[str, tuple[int, int]] = field(default_factory=dict)
    rationale: str | None = None
    changes_mind: bool = False
    order: list[list[str]] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)


def work_on(task: TaskRequest, seed: int, briefing: Briefing | None = None) -> Outcome:
    """What comes of `task`: it goes from person to person until one answers or nobody is left."""
    briefing = briefing or Briefing()
    rng = random.Random(seed_from("outcome", seed, task.task_id))
    started = max(briefing.not_before, rng.uniform(0.0, PICK_UP_SECONDS))
    people = _order_of_asking(task, seed, briefing)[: MAX_HANDOVERS + 1]
    for person in people:
        if rng.random() < person.silence and person.name != briefing.returning:
            started += LAPSE_SECONDS
            continue
        return _answer(task, person, started, rng, seed, briefing)
    return Outcome(people[-1].name, None, None, started, started) if people else never_touched()


def never_touched() -> Outcome:
    """What comes of a task that lies about until its deadline."""
    return Outcome("nobody", None, None, NEVER, NEVER)


def judge(task: TaskRequest, person: Person, rng: random.Random) -> tuple[Choice, int | None]:
    """The person's choice and its strength: 1 to 3 for a side, 0 for none, None for a skip."""
    if person.habit == "always_a":
        return "a", 1
    if person.habit == "random":
        return rng.choice(("a", "b")), rng.randint(1, 3)
    if rng.random() < SKIP_CHANCE:
        return "skip", None
    taste_a = taste(task.messages, task.response_a)
    taste_b = taste(task.messages, task.response_b)
    lengths = math.log2((len(task.response_a) + 1) / (len(task.response_b) + 1))
    leaning = taste_a - taste_b + person.side_bias + person.length_liking * lengths
    felt = leaning + rng.gauss(0.0, person.noise)
    if max(taste_a, taste_b) + rng.gauss(0.0, person.noise) < BAD_TASTE:
        return "both_bad", 0
    side = _leaning(felt)
    return side, 0 if side == "tie" else min(3, 1 + int(abs(felt) / (2.0 * NOISE)))


def rank(task: RankingRequest, person: Person, rng: random.Random) -> list[list[str]]:
    """The person's order of the responses, best first, ties together; none of a skip.

    Each is felt by itself with the person's noise. What is shown first has what side A has of a
    pair, the last nothing.
    """
    shown = task.responses
    if person.habit == "always_a":
        return [[each.id] for each in shown]
    if person.habit == "random":
        return [[each.id] for each in rng.sample(shown, len(shown))]
    if rng.random() < SKIP_CHANCE:
        return []
    felt = []
    for place, each in enumerate(shown):
        liking = taste(task.messages, each.text)
        liking += person.side_bias * (1.0 - place / max(1, len(shown) - 1))
        liking += person.length_liking * math.log2(len(each.text) + 1)
        # Two such noises differ as one choice between the two would.
        felt.append((liking + rng.gauss(0.0, person.noise / math.sqrt(2.0)), each.id))
    felt.sort(reverse=True)
    groups: list[list[str]] = []
    top = math.inf
    for liking, name in felt:
        if top - liking < TIE_WIDTH:
            groups[-1].append(name)
        else:
            groups.append([name])
            top = liking
    return groups


def tired(person: Person, minutes: float) -> Person:
    """The person after `minutes` of work: less sure, in proportion."""
    return replace(person, noise=person.noise * (1.0 + person.tiring * minutes / 60.0))


def _answer(
    task: TaskRequest,
    person: Person,
    started: float,
    rng: random.Random,
    seed: int,
    briefing: Briefing,
) -> Outcome:
    # Apart from `rng`, so that what else a person does leaves choice and time as they are.
    aside = random.Random(seed_from("aside", seed, task.task_id))
    # People begin when the batch is launched: who comes to a task late is at it for longest.
    worked = min(1.0, started / PICK_UP_SECONDS) * briefing.session_minutes
    working = tired(person, worked)
    order: list[list[str]] = []
    choice: str
    if isinstance(task, RankingRequest):
        order = rank(task, working, rng)
        choice, strength = RANKED if order else "skip", None
    else:
        choice, strength = judge(task, working, rng)
    ended = started + _reading_seconds(task, person) * rng.uniform(0.7, 1.5)
    if aside.random() < person.lateness:
        ended += aside.uniform(*LATE_SECONDS)
    skipped, asked = choice == "skip", briefing.choices
    liked = {} if skipped else _like(task, working, briefing.dimensions, aside)
    says = aside.random() < RATIONALE_CHANCE and not skipped and not order
    return Outcome(
        annotator=person.name,
        choice=choice,
        strength=strength,
        started=started,
        ended=ended,
        ratings={n: (_stars(a), _stars(b)) for n, (a, b) in liked.items() if n not in asked},
        rationale=_say_why(task, choice, person) if says else None,
        changes_mind=aside.random() < person.second_thoughts,
        order=order,
        choices={n: _leaning(a - b) for n, (a, b) in liked.items() if n in asked},
    )


def _order_of_asking(task: TaskRequest, seed: int, briefing: Briefing) -> list[Person]:
    """The staff in an order that belongs to the pair, reversed when its sides are swapped."""
    staff = list(hire_staff(seed, briefing.staff))
    random.Random(seed_from("order", seed, task.pair_id)).shuffle(staff)
    sides = task.response_a, task.response_b
    if isinstance(task, RankingRequest):
        sides = task.responses[0].text, task.responses[-1].text
    in_order = content_id(sides[0]) < content_id(sides[1])
    ordered = staff if in_order else staff[::-1]
    fresh = [person for person in ordered if person.name not in briefing.avoid]
    back = [person for person in staff if person.name == briefing.returning]
    return back + [person for person in fresh or ordered if person not in back]


def _reading_seconds(task: TaskRequest, person: Person) -> float:
    n_chars = sum(len(m.content) for m in task.messages)
    n_chars += len(task.response_a) + len(task.response_b)
    if isinstance(task, RankingRequest):
        n_chars += sum(len(each.text) for each in task.responses)
    return person.haste * (5.0 + person.pace * n_chars / 100.0)


def _like(
    task: TaskRequest, person: Person, dimensions: Sequence[str], rng: random.Random
) -> dict[str, tuple[float, float]]:
    """How the person likes sides A and B on each of `dimensions`, 0 to 1 and a little beyond."""
    if not dimensions:
        return {}
    if person.habit == "always_a":
        return dict.fromkeys(dimensions, (1.0, 0.5))
    if person.habit == "random":
        return {name: (rng.randint(0, 4) / 4.0, rng.randint(0, 4) / 4.0) for name in dimensions}
    sides = [(text, taste(task.messages, text)) for text in (task.response_a, task.response_b)]

    def felt(name: str, text: str, liked: float) -> float:
        """What a dimension sees in a text that the others do not is a hash of both."""
        own = DIMENSION_SPREAD * (2.0 * seed_from("dimension", name, text) / 2**31 - 1.0)
        return liked + own + rng.gauss(0.0, person.noise)

    return {name: (felt(name, *sides[0]), felt(name, *sides[1])) for name in dimensions}


def _stars(liked: float) -> int:
    """A liking as a rating."""
    return max(1, min(5, 1 + round(4.0 * liked)))


def _leaning(felt: float) -> Choice:
    """A difference of likings as a choice between side A, side B and neither."""
    if abs(felt) < TIE_WIDTH:
        return "tie"
    return "a" if felt > 0.0 else "b"


def _say_why(task: TaskRequest, choice: str, person: Person) -> str | None:
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
