"""Faults of one response that its text alone betrays, found where it was generated.

Text is compared by runs of characters, not by words, so that languages written without spaces are
judged like all others. Case and the amount of white space play no part.

Always holds: a response has the same flags on every machine; a flag says what the text does, not
that it is bad, so that a response asked to repeat something is flagged like one that cannot stop.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from winnow.expand.injection import addresses_judge
from winnow.refusal import refuses
from winnow.text import plain_text, unicode_form

FLAGS = ("truncated", "looping", "refusal", "echo", "injection")
"""Every flag there is, in the order in which a response carries them."""

_LOOP_CHARS = 60
_LOOP_TIMES = 4
"""A text ends in a loop if a unit fills this many characters and is said this many times there.

Nested brackets and closing tags stay below the first limit, a refrain at the end below the
second."""

_REPEATED_RUN = 30
_REPEATED_SHARE = 0.6
"""A text loops too if runs this long that it has had before cover this share of it.

Shorter runs recur in any list, table or program; a song may repeat its chorus over half of its
length."""

_ECHO_RUN = 24
_ECHO_SHARE = 0.8
"""A response is an echo if runs this long out of the prompt cover this share of it.

Half the length will do where a character is a syllable or a word."""

_SPACES = re.compile(r"\s+")
_ONE_SHAPE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})

_MARKS = "\"'`*"
_STOPS = ".,;:!…。、"
_WORD = re.compile(r"[^\W\d_]{2}|[\u3040-\u30ff\u3400-\u9fff]")

_SYMBOL = re.compile(r"[`={}<>|\\\[\]+*/#@$%^&~_]")
_LAYOUT = re.compile(
    r"[(.;\n](?:(?<=\w\()|(?<=;)(?=\n)|(?<=[^\W\d]\.)(?=[^\W\d])"
    r"|(?<=\n)(?:\t|[ ]{2}|[ ]?[-•\d]|[ ]?[\w-]+:))"
)
"""Signs that a text is code or laid out: white space and case may be part of what it says."""

_VARIABLES = "B-HJ-Z"
_OWN_MEANING = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>", "<font>")


def flags_of(prompt: str, response: str, finish_reason: str) -> list[str]:
    """The faults of one response, in the order of `FLAGS`.

    - `truncated`: it was cut off at the limit of tokens (`finish_reason` is "length").
    - `looping`: it ends in a loop, or most of it was said before.
    - `refusal`: its first 200 characters hold a phrase of refusal.
    - `echo`: most of it stands in the prompt word by word, the prompt's beginning included.
    - `injection`: it speaks to a judge, see `winnow.expand.injection`.
    """
    text = _folded(response)
    holds = (
        finish_reason == "length",
        _ends_in_a_loop(text) or _mostly_repeated(text),
        refuses(response),
        _repeats_the_prompt(_folded(prompt), text),
        addresses_judge(prompt, response),
    )
    return [flag for flag, is_so in zip(FLAGS, holds, strict=True) if is_so]


def _folded(text: str) -> str:
    return _SPACES.sub(" ", plain_text(text)).strip().casefold()


def _ends_in_a_loop(text: str) -> bool:
    """Whether the end of the text is one unit said over and over."""
    n_chars, period = _longest_loop(text[::-1])
    if n_chars < _LOOP_CHARS:
        return False
    # A ruled line or dots to fill in are no loop, unless there is little else.
    return n_chars >= len(text) / 2 or any(c.isalnum() for c in text[-period:])


def _longest_loop(text: str) -> tuple[int, int]:
    """Length of the longest beginning that repeats a unit `_LOOP_TIMES` times, and of that unit.

    A beginning of n characters whose longest border (Knuth, Morris and Pratt, SIAM J. Comput. 6,
    1977) has b repeats a unit of n - b.
    """
    longest, unit = 0, 0
    border_of = [0] * len(text)
    border = 0
    for place in range(1, len(text)):
        char = text[place]
        while border and text[border] != char:
            border = border_of[border - 1]
        border += text[border] == char
        border_of[place] = border
        period = place + 1 - border
        if period * _LOOP_TIMES <= place + 1:
            longest, unit = place + 1, period
    return longest, unit


def _mostly_repeated(text: str) -> bool:
    seen: set[str] = set()
    again = []
    for start in range(len(text) - _REPEATED_RUN + 1):
        run = text[start : start + _REPEATED_RUN]
        if run in seen:
            again.append(start)
        else:
            seen.add(run)
    return _covered(again, _REPEATED_RUN) >= _REPEATED_SHARE * max(len(text), 1)


def _repeats_the_prompt(prompt: str, response: str) -> bool:
    # Chinese, Japanese and Korean say more with a character than others with a letter.
    n_wide = sum(unicodedata.east_asian_width(c) in "WF" for c in prompt)
    length = _ECHO_RUN // 2 if n_wide > len(prompt) / 2 else _ECHO_RUN
    # An edited or shortened text shares most of itself with the prompt, but not the instruction.
    if prompt[:length] not in response:
        return False
    runs = {prompt[start : start + length] for start in range(len(prompt) - length + 1)}
    shared = [
        start
        for start in range(len(response) - length + 1)
        if response[start : start + length] in runs
    ]
    return _covered(shared, length) >= _ECHO_SHARE * max(len(response), 1)


def _covered(starts: list[int], length: int) -> int:
    """Characters that lie in any of the runs of `length` that begin at `starts`, ascending."""
    n_chars, end = 0, 0
    for start in starts:
        n_chars += start + length - max(start, end)
        end = start + length
    return n_chars


def normalised(text: str) -> str:
    """The key that two texts share if a reader would not notice their difference.

    Invisible characters, compatibility forms (NFKC), case, white space, the shape of quotes and
    dashes, and quotes, emphasis or a full stop around the whole are dropped. A question mark, a
    sign and a raised digit are kept: "10²" is not "102", "5!" not "5". Of a text that looks like
    code or is laid out in lines, white space at the ends of lines is dropped, and nothing else.
    """
    lines = unicode_form(plain_text(text)).split("\n")
    seen = "\n".join(line.rstrip() for line in lines).strip("\n")
    inner = _trimmed(seen.translate(_ONE_SHAPE))
    if seen.endswith(";") or _SYMBOL.search(inner) or _LAYOUT.search(inner):
        return seen
    kept = _kept(_VARIABLES if not inner.isupper() else "")
    plain = "".join(p if k % 2 else _compatible(p) for k, p in enumerate(kept.split(inner)))
    return _trimmed(_SPACES.sub(" ", plain.translate(_ONE_SHAPE)))


def _trimmed(text: str) -> str:
    """A text without what stands around it: marks of both sides alike, stops at its end.

    Marks stay around what holds no word, for '5' may be a string and 5 a number; stops stay behind
    what ends in a number or a letter, but for a full stop.
    """
    without_marks = _between(text, _MARKS)
    return without_marks if _WORD.search(without_marks) else _between(text, "")


def _between(text: str, marks: str) -> str:
    first, end, before = 0, len(text), -1
    while before != end - first:
        before = end - first
        while first < end and text[end - 1].isspace():
            end -= 1
        while first < end and text[first].isspace():
            first += 1
        stop = end
        while first < stop and text[stop - 1] in _STOPS:
            stop -= 1
        is_full_stop = end - stop == 1 and text[stop] in ".。"
        if first < stop and (is_full_stop or _WORD.match(text[max(stop - 2, first) : stop])):
            end = stop
        if end - first > 1 and text[first] == text[end - 1] and text[first] in marks:
            first, end = first + 1, end - 1
    return text[first:end]


@cache
def _kept(variables: str) -> re.Pattern[str]:
    """Characters whose form says something by itself, in a group that splits a text at them.

    Capitals in `variables` are, where they stand alone behind white space: "N is" is not "n is".
    """
    every = map(chr, range(0x80, 0x10000))
    own = "".join(c for c in every if unicodedata.decomposition(c).startswith(_OWN_MEANING))
    # Letters of formulas and enclosed ones, as ranges: single ones up there are searched in turn.
    own += "\U0001d400-\U0001d7ff\U0001f100-\U0001f2ff"
    alone = rf"(?:(?<![{variables}])|(?<=\s.)(?!\w))" if variables else ""
    return re.compile(f"([{variables}{own}]){alone}")


def _compatible(text: str) -> str:
    """NFKC in one case; folding the case may undo the form, so it is taken again."""
    return unicode_form(unicode_form(text, "NFKC").casefold(), "NFKC")
