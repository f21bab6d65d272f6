"""Builds a batch's first tasks: votes, repeats and gold, sides fixed and texts ready to be shown.

What always holds: everything follows from hashes of content, so any re-run builds the same tasks
with the same ids in the same order (see `winnow.label.task_order`); comparisons in = pairs asked +
quarantined. The first vote shows a random side first, so that a preference for a side cancels over
pairs; a second vote and a repeat swap the sides, so that it cancels within the pair. Gold is drawn
and sided by a hash of the batch's pairs: each batch another draw, each re-run the same one. Of a
pair that holds votes already, bought by another campaign, only what is missing is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from winnow.batch import Artifact
from winnow.campaign import Label
from winnow.ids import content_id, seed_from, task_id
from winnow.ingest.pairs import as_seen
from winnow.label.shown import PiiGuard, ShownPair, of_comparison
from winnow.label.task_order import places_of_gold, places_of_pairs
from winnow.label.vendor import Message, TaskRequest
from winnow.records import Quarantined
from winnow.text import plain_text

Row = Mapping[str, Any]
Kind = Literal["comparison", "gold", "repeat"]


@dataclass(frozen=True, slots=True)
class Task:
    """A row of `records.TASKS`; `vendor_ref` and `submitted_at` are known once a vendor has it.

    `repetition` counts the tasks of a pair from 0; `expected` is the better side of a gold pair;
    `swapped` says that side A shows the pair's second response; `taken_from` is the campaign that
    bought the task, where this one did not.
    """

    task_id: str
    pair_id: str
    kind: Kind
    round: int
    expected: str | None
    shown_a: str
    shown_b: str
    swapped: bool
    rubric_version: str
    repetition: int
    vendor: str
    price: int
    vendor_ref: str | None = None
    submitted_at: datetime | None = None
    taken_from: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The votes that a pair has before anything is asked of it.

    `n` is their number, `last_swapped` how the last of them was shown, `contested` whether they
    call for a third one.
    """

    n: int
    last_swapped: bool
    contested: bool


@dataclass(frozen=True, slots=True)
class BuiltTasks:
    """`tasks[i]` is the row of `requests[i]`; `quarantined` holds the pairs not worth asking.

    `pii` counts, by kind, what was found in the batch's texts, each text once. `taken` names the
    stored tables `tasks` and `annotations` of votes that are not asked, where there are any.
    """

    tasks: list[Task]
    requests: list[TaskRequest]
    quarantined: list[Quarantined]
    pii: dict[str, int]
    taken: Mapping[str, Artifact] = field(default_factory=dict)


_NOTHING = Held(0, False, False)
_Placed = tuple[float, Task, TaskRequest]


def build_tasks(
    comparisons: Sequence[Row],
    responses: Sequence[Row],
    prompts: Sequence[Row],
    gold: Sequence[ShownPair],
    label: Label,
    seed: int,
    held: Mapping[str, Held] | None = None,
) -> BuiltTasks:
    """Tasks of `comparisons` and of as much of `gold` as the campaign wants, in sending order.

    `held` are the votes that pairs have already, by pair id. A pair that has enough gets no task,
    and counts for no gold.

    Raises:
        Corrupt: A comparison names a response or prompt that is not there.
    """
    texts = {row["response_id"]: plain_text(row["message"] or "") for row in responses}
    messages = {
        row["prompt_id"]: tuple(
            Message(plain_text(turn["role"]), plain_text(turn["content"] or ""))
            for turn in row["messages"]
        )
        for row in prompts
    }
    offered = [of_comparison(comparison, texts, messages) for comparison in comparisons]
    guard = PiiGuard(label.pii)
    ready = [guard.ready(pair) for pair in offered]
    pairs = [pair for pair in ready if isinstance(pair, ShownPair)]
    quarantined = [pair for pair in ready if isinstance(pair, Quarantined)]
    held = held or {}
    wanting = [pair for pair in pairs if _missing_votes(pair, held, label, seed)]
    draw = seed_from("gold", seed, sorted(pair.pair_id for pair in offered))
    # A product such as 0.07 * 100 lies a hair above the whole number that it means.
    n_gold = math.ceil(round(label.gold_share * len(wanting), 9))
    usable, unusable = _drawn_gold(gold, offered, n_gold, draw, guard)
    placed = [
        _placed(place, pair, "gold", 0, _starts_swapped(pair, draw), label, draw)
        for place, pair in zip(places_of_gold(usable, draw), usable, strict=True)
    ]
    placed += _votes(wanting, held, label, seed)
    placed.sort(key=lambda p: (p[0], p[1].task_id))
    return BuiltTasks(
        tasks=[task for _, task, _ in placed],
        requests=[request for _, _, request in placed],
        quarantined=[*quarantined, *unusable],
        pii=dict(sorted(guard.counts.items())),
    )


def rubric_version(label: Label) -> str:
    """The campaign's rubric version, "+", and 8 digits that change with what it says and asks."""
    content = content_id("rubric", label.instructions, label.rated_dimensions)
    return f"{label.rubric_version}+{content[:8]}"


def _uniform(purpose: str, seed: int, pair: ShownPair) -> float:
    return seed_from(purpose, seed, pair.pair_id) / 2**31


def _starts_swapped(pair: ShownPair, seed: int) -> bool:
    """Whether the pair's first task shows its second response as side A."""
    return _uniform("side", seed, pair) < 0.5


def _missing_votes(
    pair: ShownPair, held: Mapping[str, Held], label: Label, seed: int
) -> list[tuple[int, bool]]:
    """Repetition and sides of each vote that the pair still needs; swapped from vote to vote."""
    before = held.get(pair.pair_id, _NOTHING)
    wanted = 2 if _uniform("second_vote", seed, pair) < label.second_vote_share else 1
    if before.contested and label.third_votes:
        wanted = before.n + 1
    first = not before.last_swapped if before.n else _starts_swapped(pair, seed)
    return [(n, first != ((n - before.n) % 2 == 1)) for n in range(before.n, wanted)]


def _votes(
    pairs: Sequence[ShownPair], held: Mapping[str, Held], label: Label, seed: int
) -> Iterator[_Placed]:
    places = places_of_pairs(pairs, seed)
    for pair in pairs:
        place = places[pair.pair_id]
        # A repeat is the same annotator's again, of a vote that was bought here.
        is_repeated = (
            pair.pair_id not in held and _uniform("repeat", seed, pair) < label.repeat_share
        )
        missing = _missing_votes(pair, held, label, seed)
        votes = []
        for n, (repetition, swapped) in enumerate(missing):
            at = place / 2.0 if is_repeated and n == 0 else (place + n / 2.0) % 1.0
            votes.append(_placed(at, pair, "comparison", repetition, swapped, label))
        yield from votes
        if is_repeated:
            _, first, _ = votes[0]
            # Half a batch after its first vote.
            at, swapped = 0.5 + place / 2.0, not first.swapped
            again = _placed(at, pair, "repeat", len(votes), swapped, label, repeats=first.task_id)
            yield again


def _drawn_gold(
    gold: Sequence[ShownPair],
    offered: Sequence[ShownPair],
    wanted: int,
    draw: int,
    guard: PiiGuard,
) -> tuple[list[ShownPair], list[Quarantined]]:
    """As many gold pairs as are `wanted`, none of which is a comparison's."""
    compared = {_content(pair) for pair in offered} if gold and wanted else set()
    usable: list[ShownPair] = []
    unusable: list[Quarantined] = []
    for item in sorted(gold, key=lambda g: (seed_from("draw", draw, g.pair_id), g.pair_id)):
        if len(usable) >= wanted:
            break
        if _content(item) not in compared:
            pair = guard.ready(item)
            if isinstance(pair, ShownPair):
                usable.append(pair)
            else:
                unusable.append(pair)
    return usable, unusable


def _content(pair: ShownPair) -> tuple[tuple[str, ...], frozenset[str]]:
    """What two equal pairs share even where one prompt was not normalised."""
    turns = tuple(as_seen(message.content) for message in pair.messages)
    return turns, frozenset((as_seen(pair.first), as_seen(pair.second)))


def _placed(
    place: float,
    pair: ShownPair,
    kind: Kind,
    repetition: int,
    swapped: bool,
    label: Label,
    draw: int = 0,
    repeats: str | None = None,
) -> _Placed:
    """A task with what it shows, at its place in the order."""
    sides = (pair.first_id, pair.first), (pair.second_id, pair.second)
    (shown_a, response_a), (shown_b, response_b) = sides[::-1] if swapped else sides
    rubric = rubric_version(label)
    own_id = task_id(pair.pair_id, shown_a, shown_b, rubric, repetition)
    task = Task(
        # Another batch asks the same gold again, and a vendor takes an id only once.
        task_id=content_id("gold task", own_id, draw) if kind == "gold" else own_id,
        pair_id=pair.pair_id,
        kind=kind,
        round=0,
        expected=pair.expected,
        shown_a=shown_a,
        shown_b=shown_b,
        swapped=swapped,
        rubric_version=rubric,
        repetition=repetition,
        vendor=label.vendor,
        price=label.price,
    )
    request = TaskRequest(
        task_id=task.task_id,
        pair_id=pair.pair_id,
        messages=pair.messages,
        response_a=response_a,
        response_b=response_b,
        dimension=pair.dimension,
        instructions=plain_text(label.instructions),
        rubric_version=rubric,
        price=label.price,
        repeats=repeats,
    )
    return place, task, request
