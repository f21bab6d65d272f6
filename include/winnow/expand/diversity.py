"""How different the responses of one pool are, by their words and by their embeddings.

Every figure weighs a text by how often it was drawn: it describes the draws, not the texts.

Shapes: n distinct texts of one prompt, w words of a text, c columns of an embedding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import IntArray, unit_rows
from winnow.text import UNSPACED

_MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]|[{_MARKS}])+")

_ROUNDING = 1e-12
"""An eigenvalue below this is rounding, and may be negative."""


def words(text: str) -> list[str]:
    """Words of `text` in lower case; in Chinese, Japanese, Thai, ... its characters.

    >>> words("It's 北京, हिन्दी.")
    ['it', 's', '北', '京', 'हिन्दी']
    """
    return _WORD.findall(text.lower())


def numbered(words_n: Sequence[Sequence[str]]) -> list[IntArray]:
    """The words of each text as numbers from 0, equal words with equal numbers."""
    number_of: dict[str, int] = {}
    return [
        np.array([number_of.setdefault(word, len(number_of)) for word in text], np.int64)
        for text in words_n
    ]


def distinct_n(numbers_n: Sequence[IntArray], draws_n: ArrayLike, n_words: int) -> float | None:
    """Distinct runs of `n_words` words over all runs drawn; None where no text is that long.

    Li, Galley, Brockett, Gao and Dolan, "A Diversity-Promoting Objective Function for Neural
    Conversation Models", NAACL 2016.

    Args:
        numbers_n: Words of each text, see `numbered`.
        draws_n: How often each was drawn.
        n_words: Length of a run, 1 to 3.
    """
    base = 1 + max((int(numbers.max()) for numbers in numbers_n if numbers.size), default=0)
    runs = [_runs(numbers, n_words, base) for numbers in numbers_n]
    drawn = sum(len(r) * times for r, times in zip(runs, np.asarray(draws_n).tolist(), strict=True))
    return len(np.unique(np.concatenate(runs))) / drawn if drawn else None


def self_bleu(
    words_n: Sequence[Sequence[str]], draws_n: ArrayLike, seed: int, most_draws: int
) -> float | None:
    """Mean BLEU-4 of a draw against the other draws, in [0, 1]; None with fewer than two draws.

    Zhu, Lu, Zheng, Guo, Zhang, Wang and Yu, "Texygen", SIGIR 2018. Sentence BLEU by sacrebleu, with
    its exponential smoothing, over the orders that a short text has. Of more than `most_draws`,
    whose square is the time, so many are drawn by `seed`; `words_n` are in an order that does not
    depend on chance.
    """
    from sacrebleu.metrics.bleu import BLEU

    drawn = np.repeat(np.arange(len(words_n)), np.asarray(draws_n))
    if len(drawn) < 2:
        return None
    if len(drawn) > most_draws:
        drawn = np.random.default_rng(seed).choice(drawn, most_draws, replace=False)
    texts = [" ".join(words_n[i]) for i in drawn.tolist()]
    bleu = BLEU(tokenize="none", effective_order=True)
    scores = [
        bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)
    ]
    return float(np.mean(scores)) / 100


def vendi_score(embedding_nc: ArrayLike, draws_n: ArrayLike) -> float:
    """Vendi score: how many wholly different texts would be as diverse as these draws; in [1, n].

    exp of the entropy of the eigenvalues of K / n, K the cosines of the draws (Friedman and Dieng,
    "The Vendi Score", TMLR 2023). A text drawn m times counts m times, by their weighted form
    √p K √p, which has the same eigenvalues. A row of zeros is like no other.
    """
    unit_nc = unit_rows(embedding_nc)
    cosine_nn = unit_nc @ unit_nc.T
    np.fill_diagonal(cosine_nn, 1.0)
    draws = np.asarray(draws_n, dtype=np.float64)
    root_n = np.sqrt(draws / draws.sum())
    eigenvalues = np.linalg.eigvalsh(root_n[:, None] * cosine_nn * root_n)
    share = eigenvalues[eigenvalues > _ROUNDING]
    # Rounding may carry the score a hair beyond what it can be.
    return float(np.clip(np.exp(-np.sum(share * np.log(share))), 1.0, len(draws)))


def _runs(numbers: IntArray, n_words: int, base: int) -> IntArray:
    """Each run of `n_words` numbers as one number of that many digits to `base`.

    Exact for three words while a pool has fewer than two million different ones.
    """
    n_runs = max(len(numbers) - n_words + 1, 0)
    runs = np.zeros(n_runs, np.int64)
    for place in range(n_words):
        runs = runs * base + numbers[place : place + n_runs]
    return runs
