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
from winnow.label.gold import GoldItem
from winnow.label.shown import NotWorthAsking, PiiGuard, ShownPair, of_comparison, of_gold, ready
from winnow.label.task_order import (
    place_of_repeat,
    place_of_vote,
    places_of_gold,
    places_of_pairs,
)
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
    gold: Sequence[GoldItem],
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
    messages = {row["prompt_id"]: _shown_messages(row["messages"]) for row in prompts}
    offered = [of_comparison(comparison, texts, messages) for comparison in comparisons]
    guard = PiiGuard(label.pii)
    pairs, quarantined = _all_ready(offered, guard)
    held = held or {}
    asked = [pair for pair in pairs if _missing_votes(pair, held, label, seed)]
    known, unusable = _drawn_gold(gold, offered, len(asked), label, seed, guard)
    votes = _votes(asked, held, label, seed)
    placed = [*votes, *_gold_tasks(known, label, _draw_seed(offered, seed))]
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


def n_votes(pair: str, second_vote_share: float, seed: int) -> int:
    """2 for about `second_vote_share` of all pairs, else 1, by the pair's id alone."""
    return 2 if _uniform("second_vote", seed, pair) < second_vote_share else 1


def shows_second_first(pair: str, repetition: int, seed: int) -> bool:
    """True when the pair's second response is side A; each repetition swaps the sides."""
    starts_swapped = _uniform("side", seed, pair) < 0.5
    return starts_swapped != (repetition % 2 == 1)


def _uniform(purpose: str, seed: int, pair: str) -> float:
    return seed_from(purpose, seed, pair) / 2**31


def _shown_messages(messages: Sequence[Row]) -> tuple[Message, ...]:
    return tuple(Message(plain_text(m["role"]), plain_text(m["content"] or "")) for m in messages)


def _all_ready(
    offered: Sequence[ShownPair], guard: PiiGuard
) -> tuple[list[ShownPair], list[Quarantined]]:
    pairs, quarantined = [], []
    for pair in offered:
        try:
            pairs.append(ready(pair, guard))
        except NotWorthAsking as error:
            quarantined.append(error.row)
    return pairs, quarantined


def _missing_votes(
    pair: ShownPair, held: Mapping[str, Held], label: Label, seed: int
) -> list[tuple[int, bool]]:
    """Repetition and sides of each vote that the pair still needs; swapped from vote to vote."""
    before = held.get(pair.pair_id, _NOTHING)
    wanted = n_votes(pair.pair_id, label.second_vote_share, seed)
    if before.contested and label.third_votes:
        wanted = before.n + 1
    first = shows_second_first(pair.pair_id, 0, seed)
    if before.n:
        first = not before.last_swapped
    return [(n, first != ((n - before.n) % 2 == 1)) for n in range(before.n, wanted)]


def _votes(
    pairs: Sequence[ShownPair], held: Mapping[str, Held], label: Label, seed: int
) -> Iterator[_Placed]:
    places = places_of_pairs(pairs, seed)
    for pair in pairs:
        place = places[pair.pair_id]
        # A repeat is the same annotator's again, of a vote that was bought here.
        is_repeated = (
            pair.pair_id not in held and _uniform("repeat", seed, pair.pair_id) < label.repeat_share
        )
        votes = [
            _task(pair, "comparison", repetition, swapped, label)
            for repetition, swapped in _missing_votes(pair, held, label, seed)
        ]
        for n, task in enumerate(votes):
            yield place_of_vote(place, n, is_repeated), task, _request(task, pair, label)
        if is_repeated:
            task = _task(pair, "repeat", len(votes), not votes[0].swapped, label)
            yield place_of_repeat(place), task, _request(task, pair, label, votes[0].task_id)


def _draw_seed(offered: Sequence[ShownPair], seed: int) -> int:
    return seed_from("gold", seed, sorted(pair.pair_id for pair in offered))


def _drawn_gold(
    gold: Sequence[GoldItem],
    offered: Sequence[ShownPair],
    n_pairs: int,
    label: Label,
    seed: int,
    guard: PiiGuard,
) -> tuple[list[ShownPair], list[Quarantined]]:
    """`gold_share` times `n_pairs` gold pairs, rounded up, none of which is a comparison's."""
    # A product such as 0.07 * 100 lies a hair above the whole number that it means.
    wanted = math.ceil(round(label.gold_share * n_pairs, 9))
    draw = _draw_seed(offered, seed)
    asked = {_content(pair) for pair in offered} if gold and wanted else set()
    known: list[ShownPair] = []
    unusable: list[Quarantined] = []
    for item in sorted(gold, key=lambda g: (seed_from("draw", draw, g.pair_id), g.pair_id)):
        if len(known) >= wanted:
            break
        pair = of_gold(item)
        if _content(pair) not in asked:
            ready_pairs, quarantined = _all_ready([pair], guard)
            known += ready_pairs
            unusable += quarantined
    return known, unusable


def _content(pair: ShownPair) -> tuple[tuple[str, ...], frozenset[str]]:
    """What two equal pairs share even where one prompt was not normalised."""
    turns = tuple(as_seen(message.content) for message in pair.messages)
    return turns, frozenset((as_seen(pair.first), as_seen(pair.second)))


def _gold_tasks(pairs: Sequence[ShownPair], label: Label, draw: int) -> Iterator[_Placed]:
    for place, pair in zip(places_of_gold(pairs, draw), pairs, strict=True):
        task = _task(pair, "gold", 0, shows_second_first(pair.pair_id, 0, draw), label, draw)
        yield place, task, _request(task, pair, label)


def _task(
    pair: ShownPair, kind: Kind, repetition: int, swapped: bool, label: Label, draw: int = 0
) -> Task:
    sides = (pair.first_id, pair.second_id)
    shown_a, shown_b = sides[::-1] if swapped else sides
    rubric = rubric_version(label)
    made = task_id(pair.pair_id, shown_a, shown_b, rubric, repetition)
    return Task(
        # Another batch asks the same gold again, and a vendor takes an id only once.
        task_id=content_id("gold task", made, draw) if kind == "gold" else made,
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


def _request(task: Task, pair: ShownPair, label: Label, repeats: str | None = None) -> TaskRequest:
    return TaskRequest(
        task_id=task.task_id,
        pair_id=task.pair_id,
        messages=pair.messages,
        response_a=pair.second if task.swapped else pair.first,
        response_b=pair.first if task.swapped else pair.second,
        dimension=pair.dimension,
        instructions=plain_text(label.instructions),
        rubric_version=task.rubric_version,
        price=task.price,
        repeats=repeats,
    )
