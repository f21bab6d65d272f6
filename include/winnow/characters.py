"""The characters of many texts in one compiled pass: which texts `winnow.text` leaves alone.

Most texts hold nothing that is hidden or composes, beyond ASCII too; a table of characters tells
them at a fraction of what the regular expressions cost.

Shapes: c characters of k texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import IntArray
from winnow.compiled import compiled
from winnow.text import bare_text, plain_text, unicode_form

Codes = NDArray[np.uint32]

ASTRAL = 0x10000
"""The first character of more than 16 bits: of these the tables know pictures alone."""

_FIRST_PICTURE, _LAST_PICTURE = 0x1F000, 0x1FAFF
_HIDDEN, _DRAWN, _COMPOSES = 1, 2, 4


def plain_texts(texts: Sequence[str]) -> list[str]:
    """`winnow.text.plain_text` of each."""
    changes = _changes(*codes_of(texts), _changing()).tolist()
    each = zip(texts, changes, strict=True)
    return [plain_text(text) if change & _HIDDEN else text for text, change in each]


def bare_forms(texts: Sequence[str]) -> list[str]:
    """`winnow.text.bare_text` of each, in the normal form NFC."""
    changes = _changes(*codes_of(texts), _changing()).tolist()
    bare = [
        bare_text(text) if change & (_HIDDEN | _DRAWN) else text
        for text, change in zip(texts, changes, strict=True)
    ]
    each = zip(bare, changes, strict=True)
    return [unicode_form(text) if change & _COMPOSES else text for text, change in each]


def codes_of(texts: Sequence[str]) -> tuple[Codes, IntArray]:
    """The characters of all texts (c,), halves of surrogate pairs too; where each ends (k,)."""
    code_c = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return code_c, np.cumsum([len(text) for text in texts], dtype=np.int64)


def may_compose(char: str) -> bool:
    """Whether it is a mark, or a part of a Hangul syllable: a normal form may join it to others."""
    is_jamo = "\u1100" <= char <= "\u11ff" or "\ua960" <= char <= "\ua97f"
    return is_jamo or "\ud7b0" <= char <= "\ud7ff" or unicodedata.category(char).startswith("M")


def is_ideograph(char: str) -> bool:
    """Whether it is one of the 38,000 syllables and ideographs that stand for themselves."""
    return "\u3400" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3"


@compiled
def _changes(code_c: Codes, end_k: IntArray, change_of: NDArray[np.uint8]) -> NDArray[np.uint8]:
    change_k = np.zeros(len(end_k), np.uint8)
    c = 0
    for k in range(len(end_k)):
        change = 0
        while c < end_k[k]:
            code = code_c[c]
            if code < ASTRAL:
                change |= change_of[code]
            elif code < _FIRST_PICTURE or code > _LAST_PICTURE:
                change |= _HIDDEN | _DRAWN | _COMPOSES
            c += 1
        change_k[k] = change
    return change_k


@cache
def _changing() -> NDArray[np.uint8]:
    """How a text that holds a character of 16 bits may change."""
    return np.array([_change(chr(code)) for code in range(ASTRAL)], np.uint8)


def _change(char: str) -> int:
    if is_ideograph(char):
        return 0
    plain, bare = plain_text(char), bare_text(char)
    composes = bool(bare) and (may_compose(char) or unicode_form(bare) != bare)
    return _HIDDEN * (plain != char) | _DRAWN * (bare != plain) | _COMPOSES * composes
