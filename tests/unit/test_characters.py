"""Texts in one pass are as they are one by one, whatever stands in them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.characters import bare_forms, plain_texts
from winnow.text import bare_text, plain_text, unicode_form

PARTS = ("a", " ", "é", "e\u0301", "\u200b", "\u200d", "👍", "👍\ufe0f", "👩\u200d👧", "\ud83d",
         "\ude00", "\r\n", "\x00", "\u2028", "\u115f", "\u3164", "ᄀ", "\u1161", "\u11a8", "가",
         "\u212b", "ক", "\u09c7", "\u09be", "か", "\u3099", "\uf900", "丽", "\U0002f800",
         "\U0001d15e", "\U000e0101", "\U0001d159")  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=9)))
def test_texts_together_are_as_one_by_one(texts: list[str]) -> None:
    assert plain_texts(texts) == [plain_text(text) for text in texts]
    assert bare_forms(texts) == [unicode_form(bare_text(text)) for text in texts]


def test_every_character_is_known() -> None:
    texts = [f"a{chr(code)}" for code in range(0x110000)][:: 3 * 7]
    assert plain_texts(texts) == [plain_text(text) for text in texts]
    assert bare_forms(texts) == [unicode_form(bare_text(text)) for text in texts]
