"""Which prompts are for training and which for testing, decided from a prompt's own text.

A prompt has a place in [0, 1), a hash of its sketch; places below the dataset's test share are for
testing. No other prompt is looked at, so a prompt is on one side in every version, whatever came
before it.

The sketch keeps near-duplicates together: of the words of the user's turns, in lower case, without
digits, marks and order, it holds the four with the smallest hashes (bottom-k sketch: A. Broder,
"On the resemblance and containment of documents", 1997). Prompts that differ in case, marks,
numbers, word order or system prompt have one sketch; those that share a part J of all their words
(Jaccard) have one with a chance of about J^4, and if they have up to four words only if these are
the same. Of 498 real prompts 488 had places of their own, and a word changed at random left 10 % of
those below 10 words at their place, 62 % of those below 25, 91 % of the longer ones. A larger
sketch loses more of them, a smaller one holds together what is only alike. Two sketches fall on two
sides with a chance of 2 s (1 - s) at a share s. Paraphrases, translations and the same conversation
some turns later are not caught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from winnow.ids import canonical_json, digest
from winnow.text import unicode_form

SPLITS = ("train", "test")

_SKETCH = 4
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Thai, kana and Han are written without spaces; there each letter counts as a word.
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W\d_])+")


def place(messages: Sequence[Mapping[str, str]]) -> float:
    """Where a prompt of these turns (role, content) falls in [0, 1); its near-duplicates too.

    >>> one, two = ({"role": "user", "content": t} for t in ("Why is 7 odd?", "why is 12 ODD"))
    >>> place([one]) == place([two])
    True
    """
    texts = [_folded(turn["content"]) for turn in messages if turn["role"] == "user"]
    words = {word for text in texts for word in _WORD.findall(text)}
    # Signs or numbers alone, or no user's turn: then only the same text is the same prompt.
    words = words or {_folded(turn["content"]) for turn in messages}
    sketch = sorted(digest(word.encode()) for word in words)[:_SKETCH]
    return int(digest(canonical_json(["split", sketch]))[:13], 16) / 16.0**13


def fitting_share(wanted: float, highest: Iterable[float]) -> float:
    """The largest test share up to `wanted` that leaves each view one prompt to train on.

    `highest` are the highest places of the views' prompts.
    """
    return min([wanted, *highest])


def places_of(split: str, test_share: float) -> tuple[float, float]:
    """The places [low, high) of a split."""
    return (0.0, test_share) if split == "test" else (test_share, 1.0)


def _folded(text: str) -> str:
    return unicode_form(text, "NFKC").casefold()
