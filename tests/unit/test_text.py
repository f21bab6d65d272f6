"""Text shown to annotators holds nothing that hides, reorders or drives a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.text import plain_text

JOINERS = "\u200c\u200d"
HIDING = "\u202e\u2066\u200b\u200f\ufeff\u2060\u00ad\x1b\x00\x7f\x9b\U000e0041\u061c\u180e"


@pytest.mark.parametrize("character", HIDING)
def test_a_hiding_character_goes(character: str) -> None:
    assert plain_text(f"pay{character}ment") == "payment"


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines\tand a tab",
        "👩\u200d👩\u200d👧 and ❤️\u200d🔥",
        "می\u200cخواهم",
        "क्\u200dष",
        "naïve café, 東京, العربية",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert plain_text(text) == text


def test_joiners_that_join_nothing_go() -> None:
    assert plain_text("a\u200db \u200c\u200dc é\u200d\u200c\u200d") == "ab c é\u200d"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_every_line_end_is_a_newline(end: str) -> None:
    assert plain_text(f"one{end}two") == "one\ntwo"


@given(st.text(alphabet=st.characters(), max_size=60))
def test_only_shown_characters_are_left(text: str) -> None:
    shown = plain_text(text)
    kept = set(shown) - set("\n\t" + JOINERS)
    assert not {c for c in kept if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert not {c for c in kept if unicodedata.bidirectional(c) in _BIDI_CONTROLS}
    assert shown.encode().decode() == shown


@given(st.text(alphabet=st.sampled_from("aé東\n\r " + JOINERS + HIDING), max_size=20))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert plain_text(plain_text(text)) == plain_text(text)


def test_no_invisible_format_character_of_this_python_is_forgotten() -> None:
    formats = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) == "Cf"]
    left = {c for c in formats if plain_text(f"a{c}b") != "ab"}
    assert all(_is_visible_sign(c) for c in left), [hex(ord(c)) for c in left]


_BIDI_CONTROLS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _is_visible_sign(character: str) -> bool:
    scripts = ("ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN")
    return unicodedata.name(character).startswith(scripts)
