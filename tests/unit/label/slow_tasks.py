"""The tasks of a batch as they were built before batches were large: every pair in a list.

`winnow.label.tasks` must build the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.campaign import Label
from winnow.ids import content_id, seed_from, task_id
from winnow.ingest.shapes.example import as_seen
from winnow.label.pii import scrub
from winnow.label.shown import PiiGuard, ShownPair, of_comparison
from winnow.label.task_order import places_of_gold
from winnow.label.tasks import BuiltTasks, Held, Kind, Task, rubric_version
from winnow.label.vendor import Message, TaskRequest
from winnow.records import Quarantined
from winnow.text import plain_text

Row = Mapping[str, Any]
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class _Guard(PiiGuard):
    by_text: dict[str, Counter[str]]

    def _look(self, text: str) -> Counter[str]:
        if text not in self.by_text:
            self.by_text[text] = scrub(text)[1]
            self.counts.update(self.by_text[text])
        return self.by_text[text]


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
    guard = _Guard(label.pii)
    guard.by_text = {}
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
    guard: _Guard,
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


def places_of_pairs(pairs: Sequence[ShownPair], seed: int) -> dict[str, float]:
    """Where in [0, 1) each pair's first vote comes, by pair id; each pair at most once."""
    nearest = sorted(pairs, key=lambda p: (abs(p.p_first - 0.5), p.pair_id))
    longest = sorted(pairs, key=lambda p: (-p.n_chars, p.pair_id))
    by_nearness = {pair.pair_id: rank for rank, pair in enumerate(nearest)}
    by_length = {pair.pair_id: rank for rank, pair in enumerate(longest)}

    def hardness(pair: ShownPair) -> tuple[int, int]:
        """Lowest for the hardest pair: as near 1/2, or as long, as few others are."""
        best = min(by_nearness[pair.pair_id], by_length[pair.pair_id])
        return best, seed_from("order", seed, pair.pair_id)

    ranked = sorted(pairs, key=hardness)
    return {pair.pair_id: rank * _GOLDEN % 1.0 for rank, pair in enumerate(ranked)}
