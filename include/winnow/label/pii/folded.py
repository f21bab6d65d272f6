"""Folds a text for a search: digits, letters and signs of other scripts and widths become ASCII's.

What always holds: every place in the folded text has its place in the original, so that what is
found is cut out of the original. What means something of its own is not folded: a footnote's raised
digit, an item's circled one, the long dash that parts a sentence, the wide comma after a number.
"""

from __future__ import annotations

import re
import unicodedata

from winnow.text import plain_text

_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
# Three or more together are a number; one or two are a footnote or an item of a list.
_NUMBER_OF_SIGNS = re.compile("[²³¹⁰⁴-⁹₀-₉①-⑨⓪⓿⓵-⓽❶-❾➀-➈➊-➒]{3,}")
_WIDTH_CHANGES = re.compile("[Ａ-Ｚａ-ｚ][A-Za-z0-9]|[A-Za-z0-9][Ａ-Ｚａ-ｚ]")
_MEANS_MORE = ("<super>", "<sub>", "<circle>", "<fraction>", "<square>")
_BY_HAND = (
    dict.fromkeys("\u2010\u2011\u2043", "-")
    | dict.fromkeys("\uff0c", "\uff0c")
    # Variation selectors, the frame of a keycap, fillers: plain text keeps them, nobody sees them.
    | dict.fromkeys(map(chr, range(0xFE00, 0xFE10)), "")
    | dict.fromkeys("\u20e3\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0", "")
)


class _Folds(dict[int, str]):
    """What each character is folded to, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _folded(chr(code))
        return folded


_FOLDS = _Folds()


def fold(text: str) -> str:
    r"""`text` as it is searched; characters that nobody sees are gone.

    >>> fold("ｔｅｓｔ＠site\u200b．org ٠١٢")
    'test@site.org 012'
    """
    if text.isascii() or _stays("".join(_BEYOND_ASCII.findall(text))):
        return text
    return _BEYOND_ASCII.sub(lambda run: run[0].translate(_FOLDS), _with_numbers(text))


def writings(text: str) -> list[str]:
    """What to search: the folded text and, where a word goes on in another width, the text itself.

    A change of width may end a word (`ＴＥＬ03-1234-5678`) or be within one.
    """
    folded = fold(text)
    return [folded] if folded == text or not _WIDTH_CHANGES.search(text) else [folded, text]


def places(text: str) -> list[int]:
    r"""For every character of `fold(text)` the index in `text` that it comes from.

    >>> places("a\u200bﬁ")
    [0, 2, 2]
    """
    signs = enumerate(_with_numbers(text))
    return [i for i, c in signs for _ in (c if c.isascii() else _FOLDS[ord(c)])]


def _stays(beyond: str) -> bool:
    return beyond.translate(_FOLDS) == beyond and not _NUMBER_OF_SIGNS.search(beyond)


def _with_numbers(text: str) -> str:
    """`text`, as long as before, with numbers of raised, lowered or circled digits in ASCII's."""
    return _NUMBER_OF_SIGNS.sub(
        lambda number: "".join(str(unicodedata.digit(sign)) for sign in number[0]), text
    )


def _folded(c: str) -> str:
    if c in _BY_HAND:
        return _BY_HAND[c]
    shown = plain_text(c)
    if shown != c:
        return shown
    if c.isspace():
        return " "
    if c.isdecimal():
        return str(unicodedata.decimal(c))
    if unicodedata.decomposition(c).startswith(_MEANS_MORE):
        return c
    form = unicodedata.normalize("NFKC", c)
    return form if len(form) == 1 or form.isalpha() else c
