"""What the reward sees of a response: an embedding and a dozen figures of style.

A sentence embedding is that of the response alone: the reward centres features within a prompt, so
what the prompt would add to each of its responses is nearly constant and cancels, while it would
take up part of the model's 256 tokens. A longer response is read in windows of so many. What
matters of the prompt, how much the response repeats it, is a figure of its own. The policy's hidden
states are read with the prompt before the response, as the policy sees it. The figures of
style are not standardised here: their scale is part of their meaning, and the reward fits its own
scaling.

Shapes: n responses, h columns of an embedding, c columns of a vector: embedding, then style.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.campaign import Expand
from winnow.refusal import refuses as is_refusal

Row = Mapping[str, Any]
"""A row of the `prompts` table."""

Embed = Callable[[Sequence[Row], Sequence[str]], NDArray[np.float32]]
"""Unit rows (n, h) of n responses, each with the prompt it answers."""

EMBEDDED_TOKENS = 256
"""What the sentence model was trained to read at once: a longer response is read in windows."""

_SURE_TOKENS = 208
_PIECE = re.compile(r"[a-zA-Z]+|[^\Wa-zA-Z]|[^\w\s]")

_WORD = re.compile(r"\w+")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_BULLET = re.compile(r"\s*([-*+•·]|\d{1,3}[.)])\s+\S")
_ENDINGS = tuple(".!?…。！？؟।")
_CLOSERS = "\"'”’»)]}*_` \n"


def feature_version(settings: Expand) -> str:
    """Identity of the vectors: vectors of two versions must never meet in one reward model.

    Those of `earlier_version` may, where they are of a response that `fits_one_window`.
    """
    read_by = f"{settings.embedding_model}{_WINDOWS}-{EMBEDDED_TOKENS}"
    if settings.features == "policy":
        adapter = f"+{settings.lora}" if settings.lora else ""
        read_by = f"hidden:{settings.model}{adapter}-{settings.max_model_len}"
    return f"{read_by}+style-1"


_WINDOWS = "-windows"


def earlier_version(version: str) -> str:
    """The version before responses were read in windows: of one window, both are the same vector.

    >>> earlier_version("all-MiniLM-L6-v2-windows-256+style-1")
    'all-MiniLM-L6-v2-256+style-1'
    """
    return version.replace(f"{_WINDOWS}-{EMBEDDED_TOKENS}+", f"-{EMBEDDED_TOKENS}+")


def are_related(version: str, other: str) -> bool:
    """Whether vectors of two versions are the same for a response of one window."""
    return earlier_version(version) == earlier_version(other)


def fits_one_window(response: str) -> bool:
    """Whether a response is surely read as a whole at once, judged without the tokenizer.

    Of 11,500 real responses and prompts none of more than 256 tokens passes, and most of
    those of fewer do.
    """
    pieces = _PIECE.findall(response)
    return sum(1 + max(len(piece) - 5, 0) // 3 for piece in pieces) <= _SURE_TOKENS


def style_names() -> list[str]:
    """Names of the figures of style, the last columns of a vector."""
    return [figure.__name__ for figure in _STYLE]


def feature_vectors(prompts: Sequence[Row], responses: Sequence[str], embed: Embed) -> Any:
    """Vectors of responses, each with the prompt it answers: (n, c) float16; (0, 0) of none."""
    if not responses:
        return np.zeros((0, 0), np.float16)
    style = [
        style_figures("\n".join(m["content"] for m in prompt["messages"]), response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return np.hstack([embed(prompts, responses), np.stack(style)]).astype(np.float16)


def style_figures(prompt: str, response: str) -> NDArray[np.float32]:
    """Figures of style of one response: (m,) float32, in the order of `style_names`."""
    return np.array([figure(prompt, response) for figure in _STYLE], np.float32)


# Most figures of one response read the same words and lines, and those of its prompt.
@lru_cache(maxsize=4)
def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@lru_cache(maxsize=4)
def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def log_words(prompt: str, response: str) -> float:
    """ln(1 + words)."""
    return math.log1p(len(_words(response)))


def log_chars(prompt: str, response: str) -> float:
    """ln(1 + characters)."""
    return math.log1p(len(response))


def log_lines(prompt: str, response: str) -> float:
    """ln(1 + lines that are not blank)."""
    return math.log1p(len(_lines(response)))


def bullet_share(prompt: str, response: str) -> float:
    """Share of lines that are list points."""
    lines = _lines(response)
    return _share(sum(1 for line in lines if _BULLET.match(line)), len(lines))


def log_code_blocks(prompt: str, response: str) -> float:
    """ln(1 + fenced code blocks), an open one included."""
    return math.log1p((response.count("```") + 1) // 2)


def digit_share(prompt: str, response: str) -> float:
    """Share of characters that are digits."""
    plain = sum(map(response.count, "0123456789"))
    if not response.isascii():
        plain += sum(c.isdigit() for c in _BEYOND_ASCII.findall(response))
    return _share(plain, len(response))


def non_ascii_share(prompt: str, response: str) -> float:
    """Share of characters outside ASCII."""
    return _share(len(_BEYOND_ASCII.findall(response)), len(response))


def distinct_word_share(prompt: str, response: str) -> float:
    """Type-token ratio: distinct words over words."""
    words = _words(response)
    return _share(len(set(words)), len(words))


def repeated_trigram_share(prompt: str, response: str) -> float:
    """Share of word trigrams that occurred before: looping text comes near 1."""
    words = _words(response)
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return _share(len(trigrams) - len(set(trigrams)), len(trigrams))


def ends_complete(prompt: str, response: str) -> float:
    """1 if the text ends a sentence or a code block, as a text cut off at the limit seldom does."""
    if response.rstrip().endswith("```"):
        return 1.0
    return float(response.rstrip(_CLOSERS).endswith(_ENDINGS))


def refuses(prompt: str, response: str) -> float:
    """1 if the first 200 characters hold a phrase of refusal."""
    return float(is_refusal(response))


def prompt_echo(prompt: str, response: str) -> float:
    """Share of the response's distinct words that the prompt has too."""
    words = set(_words(response))
    return _share(len(words & set(_words(prompt))), len(words))


def asks_back(prompt: str, response: str) -> float:
    """1 if the text ends with a question."""
    return float(response.rstrip(_CLOSERS).endswith(("?", "？", "؟")))


_STYLE: tuple[Callable[[str, str], float], ...] = (
    log_words,
    log_chars,
    log_lines,
    bullet_share,
    log_code_blocks,
    digit_share,
    non_ascii_share,
    distinct_word_share,
    repeated_trigram_share,
    ends_complete,
    refuses,
    prompt_echo,
    asks_back,
)
