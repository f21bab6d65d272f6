"""The words of many texts as numbers, found in one compiled pass over their characters.

A word is what `winnow.text.WORD` matches in a text in lower case.

Shapes: c characters of k texts, t tokens: the words of each text between a first and a last token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, IntArray
from winnow.characters import Codes, codes_of
from winnow.compiled import compiled
from winnow.text import UNSPACED

Hashes = NDArray[np.uint64]

BASE = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xBF58476D1CE4E5B9)
_FIRST, _LAST = np.uint64(0x94D049BB133111EB), np.uint64(0xD6E8FEB86659FD93)
"""Tokens before and behind each text."""

_HALF = np.uint64(29)
_ONE = np.uint64(1)

_LAST_LETTER = 0x323AF
_LETTER, _DIGIT, _ALONE = 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The words of some texts, one text after another, between a first and a last token each.

    Attributes:
        code_c: The characters of all texts in lower case.
        begin_k: Token at which each text begins (k + 1,); the last is behind them all.
        start_t: Character at which each word begins (t,).
        size_t: Its characters, 0 of a token that is no word.
        letters_t: Its letters, which digits are not.
        alone_t: Whether it is a character of a script without spaces.
        hash_t: Its hash. Two words may share one: of a million by a chance of 1 in 30 million.
    """

    code_c: Codes
    begin_k: IntArray
    start_t: IntArray
    size_t: IntArray
    letters_t: IntArray
    alone_t: BoolArray
    hash_t: Hashes

    @property
    def in_runs(self) -> tuple[IntArray, BoolArray, Hashes]:
        """What runs of words are made of: `begin_k`, `alone_t` and `hash_t`."""
        return self.begin_k, self.alone_t, self.hash_t

    def vocabulary(self) -> Hashes:
        """Hashes of the distinct words of all texts, ascending."""
        return np.unique(self.hash_t[self.size_t > 0])


def tokens_of(texts: Sequence[str]) -> Tokens:
    """The words of `texts`."""
    code_c, end_k = codes_of([text.lower() for text in texts])
    return Tokens(code_c, *_tokens(code_c, end_k, _kinds()))


def vocabularies(texts: Sequence[str]) -> tuple[IntArray, IntArray]:
    """The distinct words of each text as numbers, equal words, and they alone, with equal numbers.

    Returns:
        Numbers from 0 of all texts' words, one text after another, each in order of appearance;
        how many there are of each text (k,).
    """
    tokens = tokens_of(texts)
    return _vocabularies(
        tokens.code_c, tokens.begin_k, tokens.start_t, tokens.size_t, tokens.hash_t
    )


@compiled
def _tokens(
    code_c: Codes, end_k: IntArray, kind_of: NDArray[np.uint8]
) -> tuple[IntArray, IntArray, IntArray, IntArray, BoolArray, Hashes]:
    """`Tokens` of texts that end at these characters, but for the characters."""
    most = len(code_c) + 2 * len(end_k)
    begin_k = np.empty(len(end_k) + 1, np.int64)
    start_t, size_t = np.empty(most, np.int64), np.empty(most, np.int64)
    letters_t, alone_t = np.empty(most, np.int64), np.empty(most, np.bool_)
    hash_t = np.empty(most, np.uint64)
    t = c = 0
    for k in range(len(end_k)):
        begin_k[k] = t
        start_t[t], size_t[t], letters_t[t], alone_t[t], hash_t[t] = c, 0, 0, False, _FIRST
        t += 1
        while c < end_k[k]:
            kind = kind_of[min(code_c[c], _LAST_LETTER)]
            if kind == 0:
                c += 1
                continue
            start, letters = c, 0
            power, total = _ONE, np.uint64(0)
            is_alone = kind == _ALONE
            while True:
                total += (np.uint64(code_c[c]) + _ONE) * power
                power *= BASE
                letters += kind != _DIGIT
                c += 1
                if is_alone or c == end_k[k]:
                    break
                kind = kind_of[min(code_c[c], _LAST_LETTER)]
                if kind == 0 or kind == _ALONE:
                    break
            start_t[t], size_t[t], letters_t[t], alone_t[t] = start, c - start, letters, is_alone
            hash_t[t] = (total ^ (total >> _HALF)) * MIX
            t += 1
        start_t[t], size_t[t], letters_t[t], alone_t[t], hash_t[t] = c, 0, 0, False, _LAST
        t += 1
    begin_k[len(end_k)] = t
    return begin_k, start_t[:t], size_t[:t], letters_t[:t], alone_t[:t], hash_t[:t]


@compiled
def _vocabularies(
    code_c: Codes, begin_k: IntArray, start_t: IntArray, size_t: IntArray, hash_t: Hashes
) -> tuple[IntArray, IntArray]:
    size = 16
    while size < 2 * len(hash_t):
        size *= 2
    # A slot (s) holds the token where its word was first seen, plus 1; a word (w) its last text.
    first_s, number_s = np.zeros(size, np.int64), np.empty(size, np.int64)
    last_w = np.empty(len(hash_t), np.int64)
    number_p, n_words_k = np.empty(len(hash_t), np.int64), np.zeros(len(begin_k) - 1, np.int64)
    n_words = n_pairs = 0
    for k in range(len(begin_k) - 1):
        for t in range(begin_k[k] + 1, begin_k[k + 1] - 1):
            slot = np.int64(hash_t[t] & np.uint64(size - 1))
            while first_s[slot]:
                other = first_s[slot] - 1
                if hash_t[other] == hash_t[t] and size_t[other] == size_t[t]:
                    place = 0
                    while (
                        place < size_t[t]
                        and code_c[start_t[other] + place] == code_c[start_t[t] + place]
                    ):
                        place += 1
                    if place == size_t[t]:
                        break
                slot = (slot + 1) & (size - 1)
            if not first_s[slot]:
                first_s[slot], number_s[slot] = t + 1, n_words
                last_w[n_words] = -1
                n_words += 1
            number = number_s[slot]
            if last_w[number] != k:
                last_w[number] = k
                number_p[n_pairs] = number
                n_pairs += 1
                n_words_k[k] += 1
    return number_p[:n_pairs], n_words_k


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each character: 0 outside words, or what it is in one."""
    every = "".join(chr(c) if not 0xD800 <= c < 0xE000 else " " for c in range(_LAST_LETTER + 1))
    kinds = np.zeros(len(every), np.uint8)
    for kind, pattern in ((_LETTER, r"\w+"), (_DIGIT, r"\d+"), (_ALONE, f"[{UNSPACED}]+")):
        for match in re.finditer(pattern, every):
            kinds[match.start() : match.end()] = kind
    return kinds
