"""A folded text: what it is made of, and that every place of it has its place in the original."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.label.pii.folded import fold, places, writings

ANY = st.text(st.characters() | st.sampled_from("٠०４𝟗①²ﬁ　\u200b\ufe0f＠ａA1"), max_size=40)


@given(ANY)
def test_every_character_has_its_place(text: str) -> None:
    at = places(text)
    assert len(at) == len(fold(text))
    assert at == sorted(at)
    assert all(fold(text)[i] == c for i, c in enumerate(fold(text)) if text[at[i]] == c)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_is_folded_already(text: str) -> None:
    assert fold(text) is text
    assert writings(text) == [text]


@given(st.characters(categories=["Nd"]))
def test_digits_of_every_script_are_folded(digit: str) -> None:
    assert fold(digit) == str(unicodedata.digit(digit))


@pytest.mark.parametrize(
    "text", ["10² m", "①a", "½", "a—b", "٪", "5，6", "中文", "été", "ni\u0303"]
)
def test_what_means_something_of_its_own_is_not_folded(text: str) -> None:
    assert fold(text) == text


def test_a_word_in_two_widths_is_searched_in_both_writings() -> None:
    assert writings("ＴＥＬ03") == ["TEL03", "ＴＥＬ03"]
    assert writings("ＴＥＬ 03") == ["TEL 03"]
