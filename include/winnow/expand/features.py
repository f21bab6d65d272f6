"""What the reward sees of a response: a sentence embedding and a dozen figures of style.

The embedding is that of the response alone: the reward centres features within a prompt, so what
the prompt would add to each of its responses is nearly constant and cancels, while it would take
up part of the model's 256 tokens. What matters of the prompt, how much the response repeats it, is
a figure of its own. The figures are not standardised here: their scale is part of their meaning,
and the reward fits its own scaling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.errors import Fatal
from winnow.expand.arithmetic import settle_arithmetic

EMBEDDING_DIM = 384
_MAX_TOKENS = 256  # what the model was trained to read; the rest of a long response is not seen
_BATCH = 32

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_WORD = re.compile(r"\w+")
_BULLET = re.compile(r"\s*([-*+•·]|\d{1,3}[.)])\s+\S")
_ENDINGS = tuple(".!?…。！？؟।")
_CLOSERS = "\"'”’»)]}*_` \n"
_REFUSAL = re.compile(
    r"\b(i'm sorry,? but|as an ai\b|i( can(no|')t| am unable to|'m unable to| won't) "
    r"(help|assist|provide|answer|do|fulfil|comply|create|write)|lo siento, (pero )?no puedo|"
    r"je suis désolée?,? mais|es tut mir leid,? (aber|ich)|mi dispiace,? ma|sinto muito,? mas)",
    re.IGNORECASE,
)


def feature_version(embedding_model: str) -> str:
    """Identity of the vectors: vectors of two versions must never meet in one reward model."""
    return f"{embedding_model}-{_MAX_TOKENS}+style-1"


def feature_names() -> list[str]:
    """Names of the vector's columns, embedding first."""
    return [f"embedding_{i}" for i in range(EMBEDDING_DIM)] + [name for name, _ in _STYLE]


def feature_vectors(prompts: Sequence[str], responses: Sequence[str], embed: Embed) -> Any:
    """Vectors of responses, each with the prompt it answers: (n, d) float16."""
    if not responses:
        return np.zeros((0, EMBEDDING_DIM + len(_STYLE)), np.float16)
    style = [style_figures(p, r) for p, r in zip(prompts, responses, strict=True)]
    return np.hstack([embed(responses), np.stack(style)]).astype(np.float16)


def style_figures(prompt: str, response: str) -> NDArray[np.float32]:
    """Figures of style of one response: (m,) float32, in the order of `feature_names`."""
    return np.array([figure(prompt, response) for _, figure in _STYLE], np.float32)


class SentenceEmbedder:
    """A MiniLM sentence model: mean over tokens, length one.

    Texts run in batches of like length. The rounding of a row depends on its batch (differences
    around 2e-7), so equal calls give equal bytes, while a text alone and the same text among
    others may differ in the last bit.
    """

    def __init__(self, model: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        settle_arithmetic()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            self._network = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            raise Fatal(f"Embedding model {model} cannot be loaded: {error}") from error

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of `texts`: (n, 384), unit rows."""
        lengths = [len(ids) for ids in self._tokens(texts)["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: (lengths[i], texts[i]))
        rows = np.zeros((len(texts), EMBEDDING_DIM), np.float32)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            rows[batch] = self._mean_pooled([texts[i] for i in batch])
        return rows

    def _tokens(self, texts: Sequence[str], **kwargs: Any) -> Any:
        return self._tokenizer(list(texts), truncation=True, max_length=_MAX_TOKENS, **kwargs)

    def _mean_pooled(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        tokens = self._tokens(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._network(**tokens).last_hidden_state
            real = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * real).sum(1) / real.sum(1)
            unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return unit


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


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
    return _share(sum(c.isdigit() for c in response), len(response))


def non_ascii_share(prompt: str, response: str) -> float:
    """Share of characters outside ASCII."""
    return _share(sum(not c.isascii() for c in response), len(response))


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
    return float(_REFUSAL.search(response[:200].replace("’", "'")) is not None)


def prompt_echo(prompt: str, response: str) -> float:
    """Share of the response's distinct words that the prompt has too."""
    words = set(_words(response))
    return _share(len(words & set(_words(prompt))), len(words))


def asks_back(prompt: str, response: str) -> float:
    """1 if the text ends with a question."""
    return float(response.rstrip(_CLOSERS).endswith(("?", "？", "؟")))


_STYLE: tuple[tuple[str, Callable[[str, str], float]], ...] = tuple(
    (figure.__name__, figure)
    for figure in (
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
)
