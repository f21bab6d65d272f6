"""Which of many texts read the same, without bringing each into the form that tells.

Two texts of one form (`winnow.expand.flags.normalised`) have the same letters and digits in the
same order, but for case and how they are composed: only where others have them too is the form
taken. It is taken of texts with marks that compose, too, for these are told by it alone.

Shapes: c characters of k texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, IntArray
from winnow.characters import ASTRAL, Codes, codes_of, is_ideograph, may_compose
from winnow.compiled import compiled
from winnow.expand.flags import normalised
from winnow.text import unicode_form
from winnow.words import BASE, Hashes

_COMPOSES = np.uint64(1 << 63)
_BITS = 21
_CHARACTER = np.uint64((1 << _BITS) - 1)
_SHIFT = np.uint64(_BITS)
_FIRST_PICTURE, _LAST_PICTURE = 0x1F300, 0x1FAFF
"""Of the characters beyond 16 bits, those that are neither letters nor compose."""


def keys_of_form(texts: Sequence[str]) -> list[str]:
    """A key of each text: two are equal where `normalised` gives both texts one form.

    It is the form where another text may have the same, and else the text or the form.
    """
    hash_k, composes_k = _letters(texts)
    keys = list(texts)
    composed = np.flatnonzero(composes_k).tolist()
    for k in composed:
        keys[k] = normalised(texts[k])
    hash_k[composed] = _letters([keys[k] for k in composed])[0]
    hashes = hash_k.tolist()
    times = Counter(hashes)
    for k in np.flatnonzero(~composes_k).tolist():
        if times[hashes[k]] > 1:
            keys[k] = normalised(texts[k])
    return keys


def _letters(texts: Sequence[str]) -> tuple[Hashes, BoolArray]:
    """Hash of each text's letters and digits in one case; whether marks in it may compose."""
    return _hashed(*codes_of(texts), _folded())


@compiled
def _hashed(code_c: Codes, end_k: IntArray, folded: NDArray[np.uint64]) -> tuple[Hashes, BoolArray]:
    hash_k, composes_k = np.zeros(len(end_k), np.uint64), np.zeros(len(end_k), np.bool_)
    c = 0
    for k in range(len(end_k)):
        total = np.uint64(0)
        while c < end_k[k]:
            code = code_c[c]
            if code < ASTRAL:
                letters = folded[code]
                if letters == _COMPOSES:
                    composes_k[k] = True
                    letters = np.uint64(0)
                while letters:
                    total = total * BASE + (letters & _CHARACTER)
                    letters >>= _SHIFT
            elif code < _FIRST_PICTURE or code > _LAST_PICTURE:
                composes_k[k] = True
            c += 1
        hash_k[k] = total
    return hash_k, composes_k


@cache
def _folded() -> NDArray[np.uint64]:
    """Of each character of 16 bits, its letters and digits in one case, or `_COMPOSES`."""
    return np.array([_fold(chr(code)) for code in range(ASTRAL)], np.uint64)


def _fold(char: str) -> int:
    if is_ideograph(char):
        return ord(char)
    if "\ufe00" <= char <= "\ufe0f" or "\ud800" <= char <= "\udfff":
        return 0
    folded = unicode_form(unicode_form(char, "NFKC").casefold(), "NFKC")
    letters = [ord(c) for c in folded if c.isalnum()]
    if len(letters) > 2 or any(may_compose(c) or ord(c) >= ASTRAL for c in (char, *folded)):
        return int(_COMPOSES)
    return sum(code << _BITS * place for place, code in enumerate(letters))
