"""A prompt stays on its side for ever, its near-duplicates with it; sides have their shares."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.publish.splits import SPLITS, fitting_share, place, places_of

WORDS = [a + b for a in "bdfgklmnprst" for b in ("ale", "ire", "oon", "ump", "eck", "ist", "and")]


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why is the sky blue?", "why is the SKY blue"),
        ("Why is the sky blue?", "Is the sky blue? Why, why is the sky blue?"),
        ("What is 2 + 2?", "What is 17 + 4?"),
        ("Where is the café?", "Where is the cafe\u0301?"),
        ("空はなぜ青い？", "空は、なぜ青い"),
    ],
)
def test_near_duplicates_are_at_one_place(one: str, other: str) -> None:
    assert place(asked(one)) == place(asked(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why is the sky blue?", "Why is the sea blue?"),
        ("1 + 1 =", "1 + 2 ="),
        ("空", "青"),
        ("", "?"),
    ],
)
def test_other_prompts_are_elsewhere(one: str, other: str) -> None:
    assert place(asked(one)) != place(asked(other))


def test_neither_the_system_prompt_nor_the_answers_move_a_prompt() -> None:
    system = {"role": "system", "content": "Be brief."}
    answer = {"role": "assistant", "content": "It is."}
    one = [*asked("Is it?"), answer, *asked("Sure?")]
    assert place(one) == place([system, *asked("Is it?"), {**answer, "content": "No."}, *one[2:]])


def test_the_place_of_a_prompt_is_the_same_in_every_release() -> None:
    assert place(asked("Why is the sky blue?")) == pytest.approx(0.3918929375919653)


def test_most_long_prompts_stay_when_one_word_changes() -> None:
    """Of 60 words one changes: J = 59 / 61, so about J^4 = 87 % have the same sketch."""
    draw = random.Random(0)
    same = 0
    for _ in range(300):
        words = draw.sample(WORDS, 60)
        changed = [*words[1:], "elsewhere"]
        same += place(asked(" ".join(words))) == place(asked(" ".join(changed)))
    assert 235 < same < 290


def test_the_test_share_is_what_was_asked() -> None:
    draw = random.Random(1)
    places = [place(asked(" ".join(draw.sample(WORDS, 5)))) for _ in range(4000)]
    assert sum(p < 0.05 for p in places) == pytest.approx(200, abs=45)
    assert all(0.0 <= p < 1.0 for p in places)


GROUPS = st.lists(st.lists(st.floats(0.0, 1.0, exclude_max=True), max_size=4), max_size=4)


@given(st.floats(0.0, 0.5), GROUPS)
def test_something_is_left_to_train_on(wanted: float, groups: list[list[float]]) -> None:
    share = fitting_share(wanted, [max(group) for group in groups if group])
    assert share <= wanted
    assert all(any(p >= share for p in group) for group in groups if group)
    if all(any(p >= wanted for p in group) for group in groups if group):
        assert share == wanted


@given(st.floats(0.0, 0.999), st.floats(0.0, 0.5))
def test_each_place_is_in_one_split(of_prompt: float, share: float) -> None:
    sides = {split for split in SPLITS if (p := places_of(split, share))[0] <= of_prompt < p[1]}
    assert sides == {"test" if of_prompt < share else "train"}
