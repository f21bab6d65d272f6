"""Comparisons that check the labels instead of the responses: gold, repeats and second votes.

A gold item has a known answer. A repeat shows one annotator's own pair again with the sides
swapped. A second vote shows a pair to another annotator. The three together say how far labels can
be trusted, and cost a fixed share of the batch.

Always holds: the counts are the shares of the batch, rounded half up; draws follow a hash of each
pair's id, so that neither the order of pairs nor one pair more reshuffles the others; no pair is
both repeated and second-voted while there are enough pairs to keep them apart.

Sources: shares and spacing from section 3 of ALGORITHM.md, "Guards".
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from winnow.errors import Corrupt, Fatal
from winnow.ids import content_id

GOLD_VOTES = 3
"""Votes, all for one side, that a pair needs before its answer counts as known."""

GOLD_PROBABILITY = 0.9
"""Posterior probability of the preferred side above which a pair can become gold."""


@dataclass(frozen=True, slots=True)
class ControlShares:
    """How many controls to buy, each as a share of the batch's comparisons.

    Raises:
        Fatal: A share is outside [0, 1].
    """

    gold: float = 0.05
    repeats: float = 0.05
    second_votes: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0.0 <= share <= 1.0:
                raise Fatal(f"The share of {field.name} is {share}: set it within [0, 1].")


@dataclass(frozen=True, slots=True)
class Controls:
    """The controls of one batch, as pair ids.

    Attributes:
        gold: Pairs of earlier batches whose answer is known.
        repeats: Pairs of this batch that their annotator sees again, sides swapped.
        second_votes: Pairs of this batch that a second annotator sees.
        gold_wanted: Gold items that the share asks for; `gold` is shorter when fewer are known.
    """

    gold: list[str]
    repeats: list[str]
    second_votes: list[str]
    gold_wanted: int


def plan_controls(
    pair_ids: Sequence[str],
    gold_ids: Iterable[str],
    shares: ControlShares,
    seed: int,
    batch: str,
    gold_uses: Mapping[str, int] | None = None,
) -> Controls:
    """Draws the controls of a batch of comparisons.

    Args:
        pair_ids: The batch's chosen pairs, exploration included.
        gold_ids: Pairs with a known answer; those that the batch asks anyway are left out.
        shares: How many of each.
        seed: Together with the batch's name it decides every draw.
        batch: Name of the batch.
        gold_uses: How often each gold pair was used before; the least used come first.

    Raises:
        Corrupt: A pair is listed twice.
    """
    _refuse_twice(pair_ids)
    uses = gold_uses or {}
    n_repeats, n_second = (
        _count(share, pair_ids) for share in (shares.repeats, shares.second_votes)
    )
    n_gold = _count(shares.gold, pair_ids)
    known = _by_hash(set(gold_ids).difference(pair_ids), "gold", seed, batch)
    repeats = _by_hash(pair_ids, "repeat", seed, batch)[:n_repeats]
    repeated = set(repeats)
    # A stable sort: repeated pairs go last, and are used only when the others do not suffice.
    voted_twice = sorted(
        _by_hash(pair_ids, "second_vote", seed, batch), key=lambda pair: pair in repeated
    )
    return Controls(
        gold=sorted(known, key=lambda pair: uses.get(pair, 0))[:n_gold],
        repeats=repeats,
        second_votes=voted_twice[:n_second],
        gold_wanted=n_gold,
    )


def gold_candidates(preferences: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids, sorted, of the pairs whose answer is known well enough to test annotators with.

    Args:
        preferences: Rows with `pair_id`, `votes`, `agreement` (share of votes for the largest side,
            null for a single vote), `preferred` ("first", "second" or "tie") and `p_preferred` (the
            posterior probability that the first response is preferred).
    """
    return sorted(row["pair_id"] for row in preferences if _is_known(row))


def space_hard(
    order: Sequence[str], difficulty: Mapping[str, float], longest: int = 3
) -> list[str]:
    """One annotator's queue with at most `longest` hard pairs in a row.

    A pair is hard when its difficulty is in the top third of `difficulty`. Pairs keep their order
    except where the next easy one has to come forward, or a hard one to fill a gap that will be
    needed. When the queue holds too many hard pairs for any such order, runs are as short as the
    easy pairs allow.

    Args:
        order: The queue.
        difficulty: h(p̄) in nats of every pair of the batch, the queue's among them.
        longest: Hard pairs that may follow each other.

    Raises:
        Fatal: `longest` is below 1.
        Corrupt: A pair of the queue has no difficulty.
    """
    if longest < 1:
        raise Fatal(f"{longest} hard pairs in a row is no rule: set it to at least 1.")
    hard = _hardest_third(difficulty)
    unknown = [pair for pair in order if pair not in difficulty]
    if unknown:
        raise Corrupt(f"{len(unknown)} pairs have no difficulty, first {unknown[0]}: score them.")
    waiting = {is_hard: deque[tuple[int, str]]() for is_hard in (False, True)}
    for place, pair in enumerate(order):
        waiting[pair in hard].append((place, pair))
    easy, difficult = waiting[False], waiting[True]
    limit = max(longest, math.ceil(len(difficult) / (len(easy) + 1)))
    spaced: list[str] = []
    run = 0
    while easy or difficult:
        takes_hard = _takes_hard(easy, difficult, run, limit)
        spaced.append((difficult if takes_hard else easy).popleft()[1])
        run = run + 1 if takes_hard else 0
    return spaced


def _takes_hard(
    easy: deque[tuple[int, str]], difficult: deque[tuple[int, str]], run: int, limit: int
) -> bool:
    """Whether the next pair is a hard one: by its place, unless that leads nowhere.

    With k easy pairs left, k + 1 gaps of `limit` hold the hard ones; an easy pair taken now closes
    one gap.
    """
    if not easy or not difficult:
        return bool(difficult)
    if run == limit:
        return False
    return len(difficult) > limit * len(easy) or difficult[0] < easy[0]


def _hardest_third(difficulty: Mapping[str, float]) -> frozenset[str]:
    by_difficulty = sorted(difficulty, key=lambda pair: (-difficulty[pair], pair))
    return frozenset(by_difficulty[: len(by_difficulty) // 3])


def _is_known(row: Mapping[str, Any]) -> bool:
    p_of_side = {"first": row["p_preferred"], "second": 1.0 - row["p_preferred"]}
    unanimous = row["votes"] >= GOLD_VOTES and row["agreement"] == 1.0
    return bool(unanimous and p_of_side.get(row["preferred"], 0.0) > GOLD_PROBABILITY)


def _count(share: float, pair_ids: Sequence[str]) -> int:
    return math.floor(share * len(pair_ids) + 0.5)


def _by_hash(pair_ids: Iterable[str], purpose: str, seed: int, batch: str) -> list[str]:
    return sorted(pair_ids, key=lambda pair: content_id(purpose, seed, batch, pair))


def _refuse_twice(pair_ids: Sequence[str]) -> None:
    twice = [pair for pair, count in Counter(pair_ids).items() if count > 1]
    if twice:
        raise Corrupt(
            f"{len(twice)} pairs are listed twice in the batch, first {twice[0]}: list each once."
        )
