"""Texts have one key where they have one form, in any script."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.expand.alike import keys_of_form
from winnow.expand.flags import normalised

PARTS = (" ", "  ", "river", "River", "N", "n", "is", "I", "12", "3.5", ".", ",", "!", "?", "…",
         "。", '"', "'", "`", "*", "“", "”", "’", "–", "-", "=", "(", "#", ";", "é", "e\u0301", "É",
         "ß", "ss", "ﬁ", "fi", "²", "2", "½", "1/2", "\u2126", "Ω", "\u212a", "k", "ſ", "İ", "i̇",
         "가",
         "\u1100\u1161", "ㅋ", "か\u3099", "が", "ｶﾞ", "ガ", "Ａ", "a", "１", "1", "👍", "👍\ufe0f",
         "\u200b", "\u00ad", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\ud83d", "\u200d", "™", "①",
         "\U0001d400", "\U0002f800", "丽", "\ufacf", "हि", "न्दी", "ไท้ย", "\u0345", "ς", "σ", "Σ",
         "def f(x):", "N=1")  # fmt: skip
texts = st.lists(st.sampled_from(PARTS), max_size=4).map("".join) | st.text(max_size=3)


@settings(max_examples=500, deadline=None)
@given(st.lists(texts, max_size=12))
def test_two_texts_have_one_key_where_they_have_one_form(pool: list[str]) -> None:
    pool = pool + [text.upper() for text in pool[:2]] + [f'"{text}."' for text in pool[2:4]]
    keys, forms = keys_of_form(pool), [normalised(text) for text in pool]
    assert [keys.index(key) for key in keys] == [forms.index(form) for form in forms]


def test_the_form_of_no_character_has_other_letters() -> None:
    """A character beside its form, in a text and in code."""
    for around in ("{}", "say {} b", "x = {};"):
        pool = [around.replace("{}", chr(code)) for code in range(1, 0x20000, 7)]
        forms = [normalised(text) for text in pool]
        key_of = dict(zip(keys_of_form(pool + forms), forms + forms, strict=True))
        assert len(key_of) == len(set(forms))
