"""Simulated people: repeatable, different from each other, and right more often than not."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from winnow.ids import content_id
from winnow.label.vendor import Message, TaskRequest
from winnow_simulator.annotators import (
    MAX_HANDOVERS,
    Briefing,
    Outcome,
    judge,
    tired,
    work_on,
)
from winnow_simulator.staff import N_STAFF, hire_staff
from winnow_simulator.taste import on_topic, taste

QUESTION = (Message("user", "Why does bread rise when yeast ferments sugar?"),)
GOOD = (
    "Bread rises because yeast ferments the sugar in the dough and makes carbon dioxide, "
    "which the gluten holds as bubbles until the oven sets them."
)
WORSE = {
    "off the question": "I like long walks on the beach, and my sister plays the violin in town "
    "on most Sunday mornings, which everybody there enjoys a lot.",
    "far too short": "Yeast.",
    "repeating itself": "Yeast makes bread rise. " * 12,
    "broken off": GOOD[:-8],
    "a refusal": "I'm sorry, but I cannot answer that. " + GOOD,
    "in another script": "Хлеб поднимается, потому что дрожжи сбраживают сахар и выделяют газ, "
    "который держится в тесте пузырьками, пока печь их не закрепит.",
    "nothing at all": "  \n",
}


def task(a: str, b: str, name: str = "task") -> TaskRequest:
    pair = content_id(*sorted([a, b]), name)
    return TaskRequest(
        task_id=content_id(pair, a, b),
        pair_id=pair,
        messages=QUESTION,
        response_a=a,
        response_b=b,
        dimension="helpfulness",
        instructions="Which helps more?",
        rubric_version="1",
        price=1,
    )


def swap(request: TaskRequest) -> TaskRequest:
    return replace(
        request,
        task_id=content_id(request.pair_id, request.response_b, request.response_a),
        response_a=request.response_b,
        response_b=request.response_a,
    )


def pool(rng: random.Random) -> list[str]:
    """Eight responses of mixed merit, made of the question's words and of others."""
    words = ["bread", "yeast", "sugar", "rises", "gas", "oven", "walk", "violin", "blue", "engine"]
    return [
        " ".join(rng.choices(words, k=rng.randint(8, 60))) + rng.choice(["", "."]) for _ in range(8)
    ]


def outcomes(n_pools: int, seed: int = 0) -> list[tuple[Outcome, Outcome]]:
    """Both votes on every pair of some pools, the second with the sides swapped."""
    rng = random.Random(5)
    requests = [
        task(a, b, f"pool {i}") for i in range(n_pools) for a, b in combinations(pool(rng), 2)
    ]
    return [(work_on(request, seed), work_on(swap(request), seed)) for request in requests]


@pytest.fixture(scope="module")
def both() -> list[tuple[Outcome, Outcome]]:
    return outcomes(30)


@pytest.mark.parametrize("flaw", WORSE)
def test_taste_likes_a_good_response_better_than_a_flawed_one(flaw: str) -> None:
    assert 0.0 <= taste(QUESTION, WORSE[flaw]) < taste(QUESTION, GOOD) <= 1.0


def test_taste_reads_scripts_without_spaces() -> None:
    assert on_topic("请解释什么是复利", "复利就是利息也会产生利息。") > 0.0
    assert on_topic("请解释什么是复利", "今天天气很好。") == 0.0


def test_an_outcome_depends_on_the_task_and_the_seed_alone(both) -> None:
    again = outcomes(3)
    assert again == both[: len(again)]
    assert again != outcomes(3, seed=1)


def test_two_votes_on_a_pair_come_from_two_people(both) -> None:
    assert all(one.annotator != other.annotator for one, other in both)


def test_two_people_agree_on_about_70_percent_of_decisive_pairs(both) -> None:
    decisive = [(x.choice, y.choice) for x, y in both if {x.choice, y.choice} <= {"a", "b"}]
    agreed = sum(one != other for one, other in decisive)
    assert len(decisive) > 500
    assert 0.64 < agreed / len(decisive) < 0.80


def test_every_kind_of_outcome_happens_and_none_crowds_out_the_rest(both) -> None:
    counts = Counter(outcome.choice for pair in both for outcome in pair)
    n = sum(counts.values())
    assert set(counts) == {"a", "b", "tie", "both_bad", "skip", None}
    assert 0.02 < counts["tie"] / n < 0.30
    assert counts["skip"] / n < 0.03
    assert 0 < counts[None] / n < 0.03
    assert 0.4 < counts["a"] / (counts["a"] + counts["b"]) < 0.6


def test_everyone_on_the_staff_works(both) -> None:
    assert len({outcome.annotator for pair in both for outcome in pair}) == N_STAFF


def test_two_bad_responses_are_often_called_bad() -> None:
    choices = [work_on(task("uh", "no idea, um", str(i)), 0).choice for i in range(60)]
    assert choices.count("both_bad") > 30


def test_strength_is_given_for_a_side_only(both) -> None:
    for outcome in (outcome for pair in both for outcome in pair):
        if outcome.choice in ("a", "b"):
            assert outcome.strength in (1, 2, 3)
        else:
            assert outcome.strength == (None if outcome.choice in ("skip", None) else 0)


def test_a_silent_person_hands_the_task_on_and_time_passes(monkeypatch) -> None:
    silent = tuple(replace(person, silence=1.0) for person in hire_staff(0))
    monkeypatch.setattr("winnow_simulator.annotators.hire_staff", lambda *_: silent)
    outcome = work_on(task(GOOD, WORSE["broken off"]), 0)
    monkeypatch.undo()
    answered = work_on(task(GOOD, WORSE["broken off"]), 0)
    assert outcome.choice is None
    assert outcome.ended >= (MAX_HANDOVERS + 1) * 240.0
    assert answered.choice is not None
    assert answered.ended > answered.started


def test_a_biased_person_leans_to_side_a() -> None:
    person = replace(hire_staff(0)[0], side_bias=1.0, noise=1e-6)
    for a, b in [(GOOD, WORSE["a refusal"]), (WORSE["a refusal"], GOOD)]:
        request = task(a, b)
        judged = {judge(request, person, random.Random(i))[0] for i in range(20)}
        assert judged <= {"a", "skip"}


def test_a_person_who_answered_before_is_asked_first_and_answers() -> None:
    for number in range(30):
        request = task(GOOD, WORSE["a refusal"], str(number))
        usual = work_on(request, 0)
        for person in hire_staff(0):
            outcome = work_on(request, 0, Briefing(returning=person.name, not_before=5_000.0))
            assert outcome.annotator == person.name
            assert outcome.choice is not None
            assert outcome.started >= 5_000.0
        stranger = work_on(request, 0, Briefing(returning="nobody here"))
        assert stranger == usual


def test_who_has_judged_the_pair_is_not_asked_again_while_others_are_there() -> None:
    request = task(GOOD, WORSE["a refusal"])
    seen: set[str] = set()
    for _ in range(N_STAFF):
        name = work_on(request, 0, Briefing(avoid=frozenset(seen))).annotator
        assert name not in seen
        seen.add(name)
    assert work_on(request, 0, Briefing(avoid=frozenset(seen))) == work_on(request, 0)


def test_ratings_follow_the_texts_and_stay_between_1_and_5(both) -> None:
    dimensions = ("helpfulness", "honesty")
    leads = []
    for number in range(80):
        request = task(GOOD, WORSE["off the question"], str(number))
        outcome = work_on(request, 0, Briefing(dimensions=dimensions))
        plain = work_on(request, 0)
        assert (outcome.choice, outcome.ended) == (plain.choice, plain.ended)
        if outcome.choice in (None, "skip"):
            assert outcome.ratings == {}
            continue
        assert tuple(outcome.ratings) == dimensions
        stars = [star for pair in outcome.ratings.values() for star in pair]
        assert set(stars) <= {1, 2, 3, 4, 5}
        leads += [a - b for a, b in outcome.ratings.values()]
    assert sum(leads) / len(leads) > 1.0
    assert all(outcome.ratings == {} for pair in both for outcome in pair)


def test_a_dimension_asked_as_a_choice_follows_the_texts(both) -> None:
    chosen = []
    for number in range(80):
        request = task(GOOD, WORSE["off the question"], str(number))
        asked = Briefing(dimensions=("helpfulness", "honesty"), choices=("honesty",))
        outcome = work_on(request, 0, asked)
        if outcome.choice not in (None, "skip"):
            assert list(outcome.ratings) == ["helpfulness"]
            assert outcome.ratings == {
                "helpfulness": work_on(request, 0, replace(asked, choices=())).ratings[
                    "helpfulness"
                ]
            }
            chosen.append(outcome.choices["honesty"])
    assert set(chosen) <= {"a", "b", "tie"}
    assert chosen.count("a") > 2 * chosen.count("b")


def test_some_answers_carry_a_reason_that_says_it_is_simulated(both) -> None:
    reasons = [outcome.rationale for pair in both for outcome in pair]
    said = [reason for reason in reasons if reason is not None]
    assert 0.1 < len(said) / len(reasons) < 0.3
    assert all(reason.startswith("Simulated reason: ") for reason in said)
    assert len(set(said)) > 5


def test_people_get_less_sure_as_they_tire(both) -> None:
    person = hire_staff(0)[0]
    assert person.tiring > 0.0
    assert tired(person, 0.0) == person
    assert person.noise < tired(person, 30.0).noise < tired(person, 60.0).noise < 2 * person.noise
    rng = random.Random(5)
    requests = [task(a, b, f"pool {i}") for i in range(30) for a, b in combinations(pool(rng), 2)]
    fresh = [work_on(request, 0, Briefing(session_minutes=1)).choice for request in requests]
    usual = [first.choice for first, _ in both]
    n_same = sum(one == other for one, other in zip(fresh, usual, strict=True))
    assert 0.85 * len(requests) < n_same < len(requests)


def test_the_mixed_staff_has_a_speeder_and_two_spammers() -> None:
    careful, mixed = hire_staff(0), hire_staff(0, "mixed")
    assert [p.name for p in mixed] == [p.name for p in careful]
    habits = Counter(person.habit for person in mixed)
    assert habits == {"judges": N_STAFF - 2, "always_a": 1, "random": 1}
    assert sum(person.haste < 0.1 and person.habit == "judges" for person in mixed) == 1
    assert all(p.haste == 1.0 and p.habit == "judges" and p.lateness == 0.0 for p in careful)
    assert hire_staff(0, "none") == ()


def test_odd_people_show_in_their_answers() -> None:
    kinds = {p.name: p for p in hire_staff(0, "mixed")}
    briefing = Briefing("mixed", dimensions=("helpfulness",))
    found: dict[str, list[Outcome]] = {}
    for number in range(600):
        one, other = GOOD, WORSE["broken off"] + "." * (number % 5)
        for request in (task(one, other, str(number)), swap(task(one, other, str(number)))):
            outcome = work_on(request, 0, briefing)
            if outcome.choice is not None:
                found.setdefault(outcome.annotator, []).append(outcome)
    by_habit = {person.habit: found[name] for name, person in kinds.items()}
    assert {o.choice for o in by_habit["always_a"]} == {"a"}
    assert all(o.ratings == {"helpfulness": (5, 3)} for o in by_habit["always_a"])
    assert {o.choice for o in by_habit["random"]} == {"a", "b"}
    assert not any(o.rationale for o in by_habit["always_a"] + by_habit["random"])
    (speeder,) = (n for n, p in kinds.items() if p.haste < 0.1 and p.habit == "judges")
    assert all(o.ended - o.started < 2.0 for o in found[speeder] if o.ended - o.started < 3600.0)
    everything = [o for of in found.values() for o in of]
    assert any(o.ended - o.started > 3600.0 for o in everything)
    assert 0.005 < sum(o.changes_mind for o in everything) / len(everything) < 0.06


def test_nobody_works_where_nobody_is_hired() -> None:
    outcome = work_on(task(GOOD, WORSE["a refusal"]), 0, Briefing("none"))
    assert (outcome.choice, outcome.annotator) == (None, "nobody")
    assert outcome.ended > 1e12
