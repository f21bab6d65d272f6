"""What the simulated annotators judge by: a stand-in for human taste.

No person has rated anything here, and the figures say nothing about how good a response is to a
reader. `taste` is a fixed formula over the real texts, so that simulated answers depend on them,
are the same on every machine, and can be learnt by a reward model.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from winnow.label.vendor import Message

WEIGHTS = {
    "on_topic": 0.40,
    "length": 0.20,
    "freshness": 0.20,
    "finished": 0.10,
    "right_script": 0.10,
}
REFUSAL_PENALTY = 0.35

# Characters of a response that is neither too thin nor too long for a page; twice too short or
# too long costs half of the length part.
SHORTEST_COMFORTABLE, LONGEST_COMFORTABLE = 120, 1600

_WORD = re.compile(r"\w+")
_REFUSAL = re.compile(
    r"\b(i('m| am) sorry,? (but )?i|i (can('t|not| not)|am unable to|'m unable to)|as an ai\b"
    r"|lo siento|je suis désolée?|es tut mir leid)",
    re.IGNORECASE,
)
_ENDINGS = tuple(".!?…。！？।؟»”\"')]}*`")
# Scripts written without spaces: their words are taken as pairs of neighbouring characters.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def taste(messages: Sequence[Message], response: str) -> float:
    """The simulator's stand-in for how much a person likes `response`, 0 (worst) to 1.

    It is not a measure of quality: it adds up how many of the question's content words come back,
    whether the length is comfortable, whether the text repeats itself, ends in a finished sentence
    and is in the question's script, and takes off a fixed amount for a refusal.
    """
    if not response.strip():
        return 0.0
    parts = taste_parts(messages, response)
    liked = sum(WEIGHTS[name] * part for name, part in parts.items())
    return max(0.0, liked - (REFUSAL_PENALTY if _REFUSAL.search(response[:200]) else 0.0))


def taste_parts(messages: Sequence[Message], response: str) -> Mapping[str, float]:
    """The parts of `taste` by name, each 0 to 1, before they are weighed by `WEIGHTS`."""
    return _parts(messages[-1].content if messages else "", response)


@lru_cache(maxsize=2048)
def _parts(question: str, response: str) -> Mapping[str, float]:
    """Kept, because a pair comes back with its sides swapped."""
    return {
        "on_topic": on_topic(question, response),
        "length": comfortable_length(response),
        "freshness": freshness(response),
        "finished": float(response.rstrip().endswith(_ENDINGS)),
        "right_script": same_script(question, response),
    }


def on_topic(question: str, response: str) -> float:
    """Root of the share of the question's content words that come back; 0.5 if it has none."""
    content = {word for word in words(question) if len(word) >= 4 or not word.isascii()}
    return math.sqrt(len(content & set(words(response))) / len(content)) if content else 0.5


def comfortable_length(response: str) -> float:
    """1 inside the comfortable band, less by half for every doubling outside it."""
    n_chars = len(response)
    too_short = math.log2(SHORTEST_COMFORTABLE / max(1, n_chars))
    too_long = math.log2(max(1, n_chars) / LONGEST_COMFORTABLE)
    return float(2.0 ** -max(0.0, too_short, too_long))


def freshness(response: str) -> float:
    """Share of two-word runs that repeat no earlier one; a broken character counts as a repeat."""
    tokens = words(response)
    runs = list(pairwise(tokens))
    n_repeated = len(runs) - len(set(runs)) + response.count("\ufffd")
    return max(0.0, 1.0 - n_repeated / len(runs)) if runs else 1.0


def same_script(question: str, response: str) -> float:
    """Share of the response's letters that are in a script which the question uses."""
    used = {script(c) for c in question if c.isalpha()}
    letters = Counter(c for c in response if c.isalpha())
    n_right = sum(count for c, count in letters.items() if script(c) in used)
    return n_right / letters.total() if used and letters else 1.0


def words(text: str) -> list[str]:
    """Words in lower case; in scripts without spaces, pairs of neighbouring characters."""
    tokens: list[str] = []
    for word in _WORD.findall(text.casefold()):
        unspaced = len(word) > 2 and script(word[0]) in _UNSPACED
        tokens += [word[i : i + 2] for i in range(len(word) - 1)] if unspaced else [word]
    return tokens


@lru_cache(maxsize=4096)
def script(character: str) -> str:
    """First word of a character's Unicode name: LATIN, CYRILLIC, CJK, ARABIC, ..."""
    return unicodedata.name(character, "UNKNOWN").split(" ", 1)[0]
