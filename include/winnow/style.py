"""A dozen figures of style of one response: its form, how it ends, whether it refuses.

They need no other response, no model and nothing but the standard library and NumPy: an exported
reward model carries this file as it is (`winnow.expand.reward_folder`).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from winnow.refusal import refuses

_WORD = re.compile(r"\w+")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_BULLET = re.compile(r"\s*([-*+•·]|\d{1,3}[.)])\s+\S")
_ENDINGS = tuple(".!?…。！？؟।")
_CLOSERS = "\"'”’»)]}*_` \n"


def style_names() -> list[str]:
    """Names of the figures of style, the columns behind the embeddings."""
    return list(_style("", ""))


def style_figures(prompt: str, response: str) -> NDArray[np.float32]:
    """Figures of style of one response: (m,) float32, in the order of `style_names`."""
    return np.array(list(_style(prompt, response).values()), np.float32)


def _style(prompt: str, response: str) -> dict[str, float]:
    words, lines = _words(response), [line for line in response.splitlines() if line.strip()]
    distinct, trigrams = set(words), list(zip(words, words[1:], words[2:], strict=False))
    ending, beyond_ascii = response.rstrip(_CLOSERS), _BEYOND_ASCII.findall(response)
    n_digits = sum(map(response.count, "0123456789")) + sum(c.isdigit() for c in beyond_ascii)
    return {
        "log_words": math.log1p(len(words)),
        "log_chars": math.log1p(len(response)),
        "log_lines": math.log1p(len(lines)),
        "bullet_share": share(sum(1 for line in lines if _BULLET.match(line)), len(lines)),
        # Fenced ones, an open one included.
        "log_code_blocks": math.log1p((response.count("```") + 1) // 2),
        "digit_share": share(n_digits, len(response)),
        "non_ascii_share": share(len(beyond_ascii), len(response)),
        "distinct_word_share": share(len(distinct), len(words)),
        # Looping text comes near 1.
        "repeated_trigram_share": share(len(trigrams) - len(set(trigrams)), len(trigrams)),
        # As a text cut off at the limit of tokens seldom does.
        "ends_complete": float(response.rstrip().endswith("```") or ending.endswith(_ENDINGS)),
        "refuses": float(refuses(response)),
        "prompt_echo": share(len(distinct & set(_words(prompt))), len(distinct)),
        "asks_back": float(ending.endswith(("?", "？", "؟"))),
    }


# All responses of a pool are held against the words of one prompt.
@lru_cache(maxsize=4)
def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def share(part: float, whole: float) -> float:
    """A part of a whole; 0 of nothing."""
    return part / whole if whole else 0.0
