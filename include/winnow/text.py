"""Text as it is shown to a person: nothing in it can hide, reorder or drive a terminal.

Text of models, prompts and annotators is hostile. Control characters, bidirectional marks and
invisible characters let one text look like another; they go. Newlines and tabs stay, and so do
the two joiners where scripts and emoji need them: directly after a character beyond ASCII. What is
shown alike is the same text, so prompts are told apart in this form too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Literal

from winnow.addresses import without_secrets

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no spaces between words, for a class of a pattern: each is a word."""

WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
"""A word of a text in any script."""

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")

# Every Cc and Cs, every Cf of Unicode 14 that shows nothing, and what else is to be ignored where
# it is drawn, such as Hangul fillers; the Arabic, Kaithi and Egyptian format characters of class Cf
# are visible signs and stay.
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff]"
)

_STRAY_JOINERS = re.compile("(?<![^\\s\x00-\x7f\u200c\u200d])[\u200c\u200d]+")
_REPEATED_JOINERS = re.compile("([\u200c\u200d])[\u200c\u200d]+")


def plain_text(text: str) -> str:
    r"""`text` with line ends as newlines and without characters that nobody sees.

    >>> plain_text("pay\u202e 001$\u200b now\r\n")
    'pay 001$ now\n'
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    visible = _HIDDEN.sub("", _LINE_ENDS.sub("\n", text))
    return _REPEATED_JOINERS.sub(r"\1", _STRAY_JOINERS.sub("", visible))


def plain_line(text: str, limit: int = 300) -> str:
    r"""`text` as one line that drives nothing and tells no secret, cut at `limit` characters.

    >>> plain_line("a\n  b\x1b[31m")
    'a b[31m'
    """
    return cut(" ".join(without_secrets(plain_text(text)).split()), limit)


def plain_row(text: str, limit: int = 4000) -> str:
    r"""`plain_line` with its blanks as they stand: a line of a table, of a log, of a message.

    >>> plain_row("  12  a\n2026-03-01 all is fine\x1b[A")
    '  12  a 2026-03-01 all is fine[A'
    """
    return cut(re.sub("[\n\t]", " ", without_secrets(plain_text(text))), limit)


def plain_rows(rows: Iterable[str]) -> str:
    """Rows under each other; what one holds makes no further one."""
    return "\n".join(map(plain_row, rows))


def cut(text: str, limit: int) -> str:
    """`text` of at most `limit` characters, the last a sign where more were there."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def bare_text(text: str) -> str:
    """`plain_text` without what only says how its neighbours are drawn: joiners and variants.

    For telling texts apart, not for showing them.
    """
    text = plain_text(text)
    return text if text.isascii() else _DRAWN.sub("", text)


# Joiners stay where they are seen: in Arabic, in the scripts of India and its east, among emoji.
_JOINING = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\u2600-\u27bf\U0001f000-\U0001faff"
_DRAWN = re.compile(f"[\ufe00-\ufe0f]|(?<![{_JOINING}])[\u200c\u200d]")

_MARKS_TOGETHER = 30
"""Combining marks in a row that are put in order together, as many as Unicode's stream-safe form
allows (UAX #15)."""

_FIRST_MARK, _LAST_MARK = "\u0300", "\U0001ffff"
"""No character before the first or after the last has a combining class."""


def unicode_form(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    r"""`text` in a normal form of Unicode, in linear time.

    To order combining marks takes quadratic time in how many follow each other, so that a row of
    them could hang a reader: more than 30 in a row are ordered 30 by 30.

    >>> unicode_form("cafe\u0301"), unicode_form("２", "NFKC")
    ('café', '2')
    """
    if text.isascii():
        return text
    if max(text) < _FIRST_MARK:
        return unicodedata.normalize(form, text)
    ends = [match.end() for match in _full_runs().finditer(text)]
    pieces = zip([0, *ends], [*ends, len(text)], strict=True)
    return "".join(unicodedata.normalize(form, text[start:end]) for start, end in pieces)


def has_half_surrogate(text: str) -> bool:
    r"""Whether a text holds half of a surrogate pair: it cannot be written as UTF-8.

    >>> has_half_surrogate("\ud83d"), has_half_surrogate("🙂")
    (True, False)
    """
    return not text.isascii() and _SURROGATE.search(text) is not None


_SURROGATE = re.compile("[\ud800-\udfff]")


@cache
def _full_runs() -> re.Pattern[str]:
    marks = (
        c
        for c in map(chr, range(ord(_FIRST_MARK), ord(_LAST_MARK) + 1))
        if unicodedata.combining(c)
    )
    return re.compile(f"[{''.join(marks)}]{{{_MARKS_TOGETHER}}}")
