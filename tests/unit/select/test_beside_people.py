"""Who is asked beside people: shares that hold, who is heard, and experts for conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.ids import PEOPLE
from winnow.reward import OVERALL, Posterior
from winnow.reward.judges import Judge, Teachers
from winnow.select.beside_people import BesidePeople, Prices
from winnow.select.greedy import choose_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Choice, Rules

from .test_asking import D, world

N = 8
RULES = Rules(4, "decision_gain", 0.3, seed=3)
PEOPLE_PRICE, JUDGE_PRICE = 100_000, 5_000


def teachers(seed: int, n_unheard: int | None = None, kappa: float = 1.0) -> Teachers:
    """What is believed of a judge `j` that is heard; `silent` said so much and is not heard."""
    _, people, joint = world(seed, kappa)
    silent = Judge("silent", n_unheard or 0, 0.1, 1.0, 0.0, np.ones(D), 0.7, 0.5, 0.3)
    return Teachers(people, joint, () if n_unheard is None else (silent,))


def pools(seed: int, n: int = 12) -> Iterator[Pool]:
    rng = np.random.default_rng(seed)
    for k in range(n):
        ids = [f"{k:02d}-{i}" for i in rng.permutation(N)]
        blocked = np.arange(N) == 0
        yield Pool(f"{k:02d}", ids, rng.normal(size=(N, D)), blocked=blocked, n_tokens=range(N))


def asks(told: Teachers | None, sources: dict[str, str], **changes: object) -> BesidePeople:
    people = told.joint.people if told else Posterior(np.zeros(D), np.eye(D), np.ones(D))
    prices = Prices(PEOPLE_PRICE, dict.fromkeys(sources, JUDGE_PRICE), 0.25, 0.2)
    known = {OVERALL: told} if told else {}
    return replace(BesidePeople({OVERALL: people}, known, RULES, prices, sources), **changes)


def night(beside: BesidePeople, seed: int = 5) -> list[tuple[Pool, list[Choice]]]:
    return [
        (pool, beside.of(pool, choose_pairs(pool, beside.heads, RULES))) for pool in pools(seed)
    ]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 50), share=st.floats(0.0, 3.0), price=st.integers(1, 90_000))
def test_judges_stay_within_their_share_and_no_source_is_asked_twice(
    seed: int, share: float, price: int
) -> None:
    prices = Prices(PEOPLE_PRICE, {"j": price, "silent": price}, share, 0.0)
    beside = asks(teachers(seed, 3), {"j": "one", "silent": "two"}, prices=prices)
    n_people = n_judged = 0
    for pool, choices in night(beside, seed):
        pairs = [(choice.i, choice.j) for choice in choices]
        assert len(set(pairs)) == len(pairs)
        assert all(len(set(c.sources)) == len(c.sources) and c.sources for c in choices)
        assert not any(0 in pair for pair in pairs)
        assert all(pool.response_ids[i] < pool.response_ids[j] for i, j in pairs)
        assert [choice.rank for choice in choices] == list(range(len(choices)))
        n_people += sum(PEOPLE in choice.sources for choice in choices)
        n_judged += sum(name != PEOPLE for choice in choices for name in choice.sources)
        assert n_judged * price <= share * PEOPLE_PRICE * n_people


def test_what_people_are_asked_does_not_depend_on_judges() -> None:
    beside = asks(teachers(1), {"j": "judge"})
    for pool, choices in night(beside):
        alone = choose_pairs(pool, beside.heads, RULES)
        people = [replace(c, sources=()) for c in choices if PEOPLE in c.sources]
        assert people == alone


def test_a_judge_that_is_heard_sees_what_explores_and_pairs_of_its_own() -> None:
    alone: list[Choice] = []
    for _, choices in night(asks(teachers(1), {"j": "judge"})):
        explored = [c for c in choices if c.arm == "explore"]
        assert all("judge" in c.sources for c in explored)
        alone += [c for c in choices if c.sources == ("judge",)]
    assert len(alone) > 12
    assert {c.reason for c in alone} == {"judge"}
    assert all(c.decision_gain and c.propensity is None and 0 < c.p_first < 1 for c in alone)


@pytest.mark.parametrize("told", [None, teachers(1, 0), teachers(1, 900)])
def test_one_that_is_not_heard_keeps_to_what_explores(told: Teachers | None) -> None:
    for _, choices in night(asks(told, {"silent": "judge"})):
        assert all(("judge" in c.sources) == (c.arm == "explore") for c in choices)
        assert all(PEOPLE in c.sources for c in choices)


def test_experts_get_conflicts_instead_of_people_within_their_share() -> None:
    beside = asks(None, {}, experts="doctors")
    asked: Counter[str] = Counter()
    for pool in pools(2, 40):
        choices = choose_pairs(pool, beside.heads, RULES)
        marked = [replace(c, p_conflict=(None, 0.45, 0.6)[(c.i + c.j) % 3]) for c in choices]
        for choice in beside.of(pool, marked):
            [name] = choice.sources
            assert name == PEOPLE or (choice.p_conflict == 0.6 and choice.arm == "exploit")
            asked[name] += 1
            assert asked["doctors"] <= 0.2 * asked.total()
    assert asked["doctors"] > 0.15 * asked.total()
