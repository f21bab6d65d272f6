"""Whether two texts that look alike say the same.

What turns a statement around is often one sign: "5!" is not "5", "safe" not "unsafe". So two texts
agree only if their *substance* is equal, in order: numbers with their signs, symbols, code, names,
question marks, and the words that deny or turn. Equality has no chains: if two texts agree with a
third in substance, they do with each other. The other words may differ a little.

Shapes: n texts, u units of text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from winnow.arrays import BoolArray
from winnow.text import UNSPACED, WORD, plain_text, unicode_form

_SHARED = 0.8
"""Of the words of two texts, those that both have: twice these, over the words of both."""

_SURELY = 0.6
"""Texts that share fewer of their distinct words share fewer than `_SHARED` of their units."""

_DENY = """
no not nor never none nothing nobody nowhere neither cannot without unless except hardly barely lack
lacks fail fails failed false true yes wrong right correct incorrect nein nicht nie niemals kein
keine keinen keinem keiner keines ohne nichts niemand weder non ne pas jamais rien aucun aucune sans
ni personne sin nunca jamás nada nadie ningún ninguna ninguno não nem sem nenhum nenhuma ninguém
senza mai niente nessuno nessuna nulla niet geen nooit niets zonder inte ej aldrig ingen inget utan
ikke nei ikkje aldri uten ei eivät älä soha nincs nigdy żaden bez ani není nikdy žádný nu niciodată
fără не нет ни никогда ничего никто без нельзя ні немає δεν μην όχι ποτέ χωρίς değil yok hayır asla
لا ليس ليست لم لن ما غير بدون לא אין אל בלי نه نیست नहीं न मत बिना না নেই không chẳng chưa tidak
bukan belum tanpa tak hindi hapana
"""

_TURN = """
more less most least fewer greater smaller higher lower above below over under up down before after
increase increases increased decrease decreases decreased rise rises fall falls always sometimes all
some any both only must may should could left right first last maximum minimum with against inside
outside north south east west hot cold buy sell true positive negative
"""
"""Words that turn a comparison, an order or a place."""

_COUNT = """
zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty
hundred thousand million billion half double twice triple second third percent zwei drei vier fünf
sechs sieben acht neun zehn deux trois quatre cinq dos tres cuatro cinco
"""

_FIXED_WORDS = frozenset(f"{_DENY} {_TURN} {_COUNT}".split())

_DENYING_PART = re.compile(
    r"(un|in|im|il|ir|non|dis|mis)\w{4,}|\w{3,}(less|los)|\w+n['’]t|안|\w*[않못없]\w*|아니\w*",
    re.IGNORECASE,
)
_DENYING = "[不没沒无無非未别別勿莫否]|ない|ません|なかっ|ไม่"

_FENCED = r"```.*?(?:```|\Z)|`[^`\n]+`"
_LAID_OUT = r"^(?:\t| {2,})\S[^\n]*$"
_CODE_LINE = r"^[^\n]*(?:[={}\\|]|;[ \t]*$|->|::|</?\w|\w[(\[]|[^\W\d]{2}\.[^\W\d]{2})[^\n]*$"
_NUMBER = r"[-+\u2212\u00b1]?\d(?:[\d.,:/]*\d)?!*"
_WORD = rf"\w+n[’']t\b|[{UNSPACED}]|[^\W{UNSPACED}]+"
_SIGN = r"[^\w\s.,;:\"'“”‘’«»…—–()!-]+|(?<![^\W\d_][^\W\d_])!+|(?<!\w)-+(?=\w)"
_UNIT = re.compile(
    f"({_FENCED}|{_LAID_OUT}|{_CODE_LINE}|{_NUMBER}|{_SIGN}|{_DENYING})|({_WORD})",
    re.MULTILINE | re.DOTALL,
)
_BEFORE = 8
_STARTS = re.compile(r"(?:^|[.!?:;\n\"“«(*>-])\s*$")


def substance(text: str) -> tuple[str, ...]:
    """What no two texts that say the same may differ in, in order.

    >>> substance("The answer is not -5.") == substance("The answer is -5.")
    False
    >>> substance("Well, it is old.") == substance("It is really old.")
    True
    """
    return tuple(unit for unit, is_fixed in _units(text) if is_fixed)


def may_agree(text_n: Sequence[str]) -> BoolArray:
    """Mask (n, n) of the texts that share most of their words: only these may be `agreeing`.

    Told at a tenth of the cost.
    """
    words_n = [set(WORD.findall(text.lower())) for text in text_n]
    return _share_most(words_n, _SURELY)


def agreeing(text_n: Sequence[str]) -> BoolArray:
    """Mask (n, n) of the texts that agree in substance, and in most of their words."""
    number_of: dict[tuple[str, ...], int] = {}
    kinds, counted = list[int](), list[list[tuple[str, int]]]()
    for text in text_n:
        units = list(_units(text))
        fixed = tuple(unit for unit, is_fixed in units if is_fixed)
        kinds.append(number_of.setdefault(fixed, len(number_of)))
        times: Counter[str] = Counter()
        counted.append([])
        for unit, _ in units:
            times[unit] += 1
            counted[-1].append((unit, times[unit]))
    kind_n = np.array(kinds)
    return np.asarray((kind_n[:, None] == kind_n) & _share_most(counted, _SHARED))


def _share_most(units_n: Sequence[Collection[Hashable]], share: float) -> BoolArray:
    """Mask (n, n) of the texts that have this share of their units in common, of those of both."""
    column_of: dict[Hashable, int] = {}
    columns = [column_of.setdefault(each, len(column_of)) for own in units_n for each in own]
    size_n = np.array([len(own) for own in units_n])
    starts = np.concatenate([[0], np.cumsum(size_n)])
    ones = np.ones(len(columns), np.int32)
    units_nu = csr_array((ones, columns, starts), shape=(len(units_n), len(column_of)))
    shared_nn = (units_nu @ units_nu.T).toarray()
    return np.asarray(2 * shared_nn >= share * (size_n[:, None] + size_n))


def _units(text: str) -> Iterator[tuple[str, bool]]:
    """Words, numbers, signs and code of a text, each with whether it is of the substance."""
    seen = unicode_form(plain_text(text))
    for match in _UNIT.finditer(seen):
        fixed, word = match.groups()
        if fixed is not None:
            yield fixed.rstrip(), True
        elif word.islower():
            yield word, _turns(word)
        elif _is_name(word, seen[max(match.start() - _BEFORE, 0) : match.start()]):
            yield word, True
        else:
            yield word.lower(), _turns(word.lower())


@lru_cache(maxsize=1 << 14)
def _turns(word: str) -> bool:
    """Whether a word in lower case denies, turns or counts."""
    return word in _FIXED_WORDS or _DENYING_PART.fullmatch(word) is not None


def _is_name(word: str, before: str) -> bool:
    """Whether a word has a digit or a capital that the start of a sentence does not explain."""
    if len(word) == 1:
        return False
    if any(map(str.isdigit, word)) or word[1:] != word[1:].lower():
        return True
    return word[0].isupper() and _STARTS.search(before) is None
