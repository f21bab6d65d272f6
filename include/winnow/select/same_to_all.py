"""Responses that say the same whatever is asked, with whatever inserted.

A response is read as runs of words. A run is suspect if responses to many prompts hold it, and a
response most of whose letters lie in suspect runs answers no prompt. Not suspect is a run that most
responses hold (the prompts ask for that form), or that a short text says more often to some prompts
than chance would have it; where it does so by far, the text that holds it is not judged. Nor is a
response whose other words, those of the prompt left out, stand in other responses to the same
prompt more often than in responses to other prompts. A short text that declines is left alone.

Always holds: the order of responses changes nothing; memory is bounded by one batch of text and
fixed tables, into which runs are hashed; time is linear in the text.

Shapes: r responses, p prompts, t tokens of a batch, b buckets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, FloatArray, IntArray
from winnow.refusal import declines, refuses
from winnow.text import UNSPACED, plain_text

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Rule:
    """When a run is suspect, and when so much of a response is that it is left out.

    Attributes:
        words: Length of a run; twice that in characters of scripts without spaces.
        share: Of all prompts, those whose responses hold the run.
        prompts: Fewest such prompts.
        chars: Shortest text that is judged.
        covered: Share of a text's letters that lie in suspect runs.
        even: Whether the run must be said as often to all prompts, up to chance.
    """

    words: int
    share: float
    prompts: int
    chars: int
    covered: float
    even: bool


_SHORT = _Rule(words=3, share=0.5, prompts=5, chars=20, covered=0.5, even=True)
_LONG = _Rule(words=5, share=0.05, prompts=3, chars=200, covered=0.7, even=False)
_RULES = (_SHORT, _LONG)
"""On 21,000 responses of 56 models to 403 prompts, the highest share covered of an honest one was
0.28 by the first rule and 0.40 by the second; on 8 of the prompts 0.44 and 0.34."""

_USUAL = 0.8
"""A run that more of the responses hold is the form that was asked for."""

_UNEVEN = 2.0
_BY_FAR = 4.0
"""Variance between prompts over that of chance from which a run depends on the prompt."""

_INFORMS = 0.25
"""Agreement of a text's other words with the rest of its pool, beyond that with other pools."""

_MEMBERS = 32
_STRANGERS = 4
"""So many responses of a kind are compared with their pools, and with so many others each."""

_BATCH_CHARS = 1 << 20
_LEAST_BITS, _MOST_BITS = 16, 22
"""Of a bucket's number."""

_DRAWN_BITS = 20
_MOST_DRAWN = 1 << _DRAWN_BITS

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_FIRST, _LAST = np.uint64(0x94D049BB133111EB), np.uint64(0xD6E8FEB86659FD93)
"""Tokens before and behind each text."""

_LAST_LETTER = 0x323AF
_LETTER, _DIGIT, _ALONE = 1, 2, 3
_WORD = re.compile(r"\w+")


def same_to_all(
    prompt_r: Sequence[str],
    text_r: Sequence[str],
    drawn_r: Sequence[int] | None = None,
    asked_r: Sequence[str] | None = None,
) -> BoolArray:
    """Mask (r,) of the responses that say the same whatever is asked.

    Args:
        prompt_r: Id of each response's prompt.
        text_r: What it says.
        drawn_r: How often it was sampled; None: once.
        asked_r: What its prompt says; None: unknown, so that the prompt's words count as others.
    """
    rows_of: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompt_r):
        rows_of.setdefault(prompt, []).append(row)
    night = _Night(
        [np.array(rows_of[prompt]) for prompt in sorted(rows_of)],
        [plain_text(text) for text in text_r],
        np.ones(len(text_r), np.int64) if drawn_r is None else np.asarray(drawn_r, np.int64),
        asked_r,
    )
    suspects = _suspects(night, [rule for rule in _RULES if len(night.pools) >= rule.prompts])
    kinds = _kinds_of_answer(night, suspects)
    alike_r, found_r = np.zeros((2, len(text_r)), dtype=np.bool_)
    alike_r[[row for _, members in kinds for row in members]] = True
    pool_of = {int(row): pool for pool in night.pools for row in pool} if kinds else {}
    for suspect, members in kinds:
        if not _inform(night, suspect, members, alike_r, pool_of):
            found_r[members] = True
    return found_r


@dataclass(frozen=True, slots=True)
class _Night:
    """All responses: rows of each prompt's, texts as seen, how often drawn, prompts as asked."""

    pools: Sequence[IntArray]
    text_r: Sequence[str]
    drawn_r: IntArray
    asked_r: Sequence[str] | None

    def batches(self) -> Iterator[list[IntArray]]:
        """Pools, about `_BATCH_CHARS` characters at a time."""
        batch: list[IntArray] = []
        n_chars = 0
        for pool in self.pools:
            batch.append(pool)
            n_chars += sum(len(self.text_r[row]) for row in pool)
            if n_chars >= _BATCH_CHARS:
                yield batch
                batch, n_chars = [], 0
        if batch:
            yield batch

    def words(self, rows: Iterable[int]) -> _Words:
        return _Words([self.text_r[row] for row in rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Suspects:
    """The runs that a rule suspects, by the bucket they are hashed into (b,).

    `df_b` counts the prompts to which a run of the bucket was said; `telling_b` are runs that
    clear a text that holds one.
    """

    rule: _Rule
    mask_b: BoolArray
    telling_b: BoolArray
    df_b: NDArray[np.uint32]

    def covered(self, words: _Words) -> tuple[BoolArray, IntArray, IntArray]:
        """Mask (t,) of tokens in suspect runs; token at which each begins, and its bucket.

        None of a text that holds a telling run.
        """
        start_t, bucket_t = words.runs(self.rule.words, len(self.mask_b))
        suspect_t = self.mask_b[bucket_t]
        telling = words.row_t[start_t[self.telling_b[bucket_t]]]
        suspect_t &= np.bincount(telling, minlength=words.n_texts)[words.row_t[start_t]] == 0
        start_x = start_t[suspect_t]
        return words.covered(start_x, self.rule.words), start_x, bucket_t[suspect_t]


def _suspects(night: _Night, rules: Sequence[_Rule]) -> list[_Suspects]:
    bits = _table_bits(night)
    size = 1 << bits
    df, said, squares = (np.zeros((len(rules), size), dtype) for dtype in ("u4", "f4", "f4"))
    drawn_p = np.array([night.drawn_r[pool].sum() for pool in night.pools], np.float64)
    n_before = 0
    for pools in night.batches():
        rows = np.concatenate(pools)
        words = night.words(rows)
        place_k = np.repeat(np.arange(len(pools)), [len(pool) for pool in pools])
        drawn_k = np.minimum(night.drawn_r[rows], _MOST_DRAWN - 1)
        for n, rule in enumerate(rules):
            start_t, bucket_t = words.runs(rule.words, size)
            # Each run once a response, then each once a prompt with how often it was said there.
            once = _distinct((words.row_t[start_t] << bits) + bucket_t)
            text, bucket = once >> bits, once & (size - 1)
            pair_x = (place_k[text] << bits) + bucket
            said_x = np.sort((pair_x << _DRAWN_BITS) + drawn_k[text])
            pair_x, drawn_x = said_x >> _DRAWN_BITS, said_x & (_MOST_DRAWN - 1)
            first = np.flatnonzero(np.diff(pair_x, prepend=-1))
            if not len(first):
                continue
            place, bucket = pair_x[first] >> bits, pair_x[first] & (size - 1)
            times = np.add.reduceat(drawn_x, first).astype(np.float64)
            np.add.at(df[n], bucket, np.uint32(1))
            np.add.at(said[n], bucket, times.astype(np.float32))
            squared = times**2 / drawn_p[n_before + place]
            np.add.at(squares[n], bucket, squared.astype(np.float32))
        n_before += len(pools)
    n_prompts = len(night.pools)
    suspects = []
    for n, rule in enumerate(rules):
        share_b = said[n] / max(drawn_p.sum(), 1.0)
        mask_b = (df[n] >= max(rule.prompts, rule.share * n_prompts)) & (share_b <= _USUAL)
        telling_b = np.zeros_like(mask_b)
        if rule.even:
            excess_b = squares[n] - said[n] * share_b
            chance_b = n_prompts * share_b * (1.0 - share_b)
            telling_b = mask_b & (excess_b > _BY_FAR * chance_b)
            mask_b &= excess_b <= _UNEVEN * chance_b
        suspects.append(_Suspects(rule, mask_b, telling_b, df[n]))
    return suspects


def _kinds_of_answer(
    night: _Night, suspects: Sequence[_Suspects]
) -> list[tuple[_Suspects, list[int]]]:
    """Rows of the responses that suspect runs cover, by the rule and the run said to most."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for pools in night.batches() if any(each.mask_b.any() for each in suspects) else ():
        rows = np.concatenate(pools)
        words = night.words(rows)
        for n, suspect in enumerate(suspects):
            covered_t, start_x, bucket_x = suspect.covered(words)
            for k in np.flatnonzero(words.share(covered_t) >= suspect.rule.covered):
                text = night.text_r[rows[k]]
                if len(text) < suspect.rule.chars or _may_decline(suspect.rule, text):
                    continue
                own = bucket_x[words.row_t[start_x] == k]
                most = np.lexsort((own, -suspect.df_b[own].astype(np.int64)))[0]
                kinds.setdefault((n, int(own[most])), []).append(int(rows[k]))
    return [(suspects[n], rows) for (n, _), rows in sorted(kinds.items())]


def _may_decline(rule: _Rule, text: str) -> bool:
    """Whether the text is a refusal that may be right for so many prompts."""
    return declines(text) if len(text) < _LONG.chars else rule is _LONG and refuses(text)


def _inform(
    night: _Night,
    suspect: _Suspects,
    members: Sequence[int],
    found_r: BoolArray,
    pool_of: Mapping[int, IntArray],
) -> bool:
    """Whether what these responses say besides agrees with others to the same prompt.

    The excess over chance must be beyond doubt: twice its standard error.
    """

    def chance(row: int) -> tuple[int, str]:
        text = night.text_r[row]
        return crc32(text.encode("utf-8", "replace")), text

    some = sorted(members, key=chance)[:_MEMBERS]
    others = [_vocabulary(night.words(r for r in pool_of[row] if not found_r[r])) for row in some]
    own, strange = np.zeros((2, len(some)))
    for m, row in enumerate(some):
        words = night.words([row])
        covered_t, _, _ = suspect.covered(words)
        besides = np.unique(words.hash_t[~covered_t & words.word_t])
        if night.asked_r is not None:
            besides = np.setdiff1d(besides, _vocabulary(_Words([night.asked_r[row]])))
        else:
            besides = np.intersect1d(besides, _vocabulary(_Words([_figures(night.text_r[row])])))
        places = [(m + step) % len(some) for step in range(1, _STRANGERS + 1)]
        places = [k for k in places if pool_of[some[k]] is not pool_of[row]]
        if len(besides) and places:
            own[m] = np.isin(besides, others[m]).mean()
            strange[m] = np.mean([np.isin(besides, others[k]).mean() for k in places])
    excess = own - strange
    doubt = 2.0 * excess.std() / math.sqrt(len(some))
    return bool(excess.mean() - doubt >= _INFORMS * (1.0 - strange.mean()))


def _figures(text: str) -> str:
    """The numbers and single letters of a text: answers where the prompt's words are unknown."""
    return " ".join(w for w in _WORD.findall(text) if len(w) == 1 or any(map(str.isdigit, w)))


class _Words:
    """The words of some texts, one after another, as hashes between a first and a last token.

    Attributes:
        hash_t: Of each token (t,).
        row_t: Number of its text.
        word_t: Whether it is a word, and neither end of a text.
        chars_t: Its letters, which digits are not.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        lower = [text.lower() for text in texts]
        n_chars = np.array([len(text) for text in lower], np.int64)
        code_c = np.frombuffer("".join(lower).encode("utf-32-le", "replace"), np.uint32)
        kind_c = _kinds()[np.minimum(code_c, _LAST_LETTER)]
        edge_c = np.zeros(len(code_c) + 1, dtype=np.bool_)
        edge_c[np.cumsum(n_chars)] = edge_c[0] = True
        in_word_c = kind_c > 0
        alone_c = kind_c == _ALONE
        joined_c = in_word_c[1:] & in_word_c[:-1] & ~(alone_c[1:] | alone_c[:-1] | edge_c[1:-1])
        starts_c, ends_c = in_word_c.copy(), in_word_c.copy()
        starts_c[1:] &= ~joined_c
        ends_c[:-1] &= ~joined_c
        start_w, end_w = np.flatnonzero(starts_c), np.flatnonzero(ends_c) + 1
        text_w = np.searchsorted(np.cumsum(n_chars), start_w, side="right")
        self.n_texts = len(texts)
        # A token before and one behind each text: word w of text k is token w + 2k + 1.
        place_w = np.arange(len(start_w)) + 2 * text_w + 1
        n_words_k = np.bincount(text_w, minlength=len(texts))
        n_tokens = len(start_w) + 2 * len(texts)
        self.row_t = np.repeat(np.arange(len(texts)), n_words_k + 2)
        self.hash_t = np.empty(n_tokens, np.uint64)
        self.chars_t = np.zeros(n_tokens, np.int64)
        self.word_t, self.dense_t = np.zeros((2, n_tokens), dtype=np.bool_)
        last_k = np.cumsum(n_words_k + 2) - 1
        self.hash_t[last_k] = _LAST
        self.hash_t[last_k - n_words_k - 1] = _FIRST
        self.hash_t[place_w] = _word_hashes(code_c, start_w, end_w)
        letters_c = np.concatenate([[0], np.cumsum(in_word_c & (kind_c != _DIGIT))])
        self.chars_t[place_w] = letters_c[end_w] - letters_c[start_w]
        self.word_t[place_w], self.dense_t[place_w] = True, alone_c[start_w]

    def runs(self, n_words: int, size: int) -> tuple[IntArray, IntArray]:
        """Token at which each run begins, and which of `size` buckets, a power of two, it is in."""
        run_t, width_t = self.hash_t.copy(), self._widths(n_words)
        for step in range(1, 2 * n_words):
            more = np.flatnonzero(width_t[: len(run_t) - step] > step)
            run_t[more] = run_t[more] * _BASE + self.hash_t[more + step]
        start_t = np.flatnonzero(width_t)
        mixed = (run_t[start_t] ^ (run_t[start_t] >> np.uint64(31))) * _MIX
        return start_t, (mixed >> np.uint64(65 - size.bit_length())).astype(np.int64)

    def covered(self, start_x: IntArray, n_words: int) -> BoolArray:
        """Mask (t,) of the tokens that lie in a run which begins at one of these tokens."""
        change_t = np.zeros(len(self.hash_t) + 1, np.int64)
        change_t[start_x] += 1
        np.add.at(change_t, start_x + self._widths(n_words)[start_x], -1)
        return np.cumsum(change_t[:-1]) > 0

    def share(self, covered_t: BoolArray) -> FloatArray:
        """Share of each text's letters (n,) that are covered; 0 of a text without letters."""
        size = self.n_texts
        letters = np.bincount(self.row_t, self.chars_t, size)
        covered = np.bincount(self.row_t, self.chars_t * covered_t, size)
        return covered / np.maximum(letters, 1.0)

    def _widths(self, n_words: int) -> IntArray:
        """Tokens of the run that begins at each token (t,), 0 where the text is over before.

        A text shorter than a run is one run.
        """
        size_k = np.bincount(self.row_t, minlength=self.n_texts)
        first_t = np.repeat(np.cumsum(size_k) - size_k, size_k)
        left_t = first_t + size_k[self.row_t] - np.arange(len(self.row_t))
        width_t = np.where(self.dense_t, 2 * n_words, n_words)
        whole_t = (np.arange(len(self.row_t)) == first_t) & (left_t < width_t)
        return np.where(whole_t, left_t, np.where(left_t >= width_t, width_t, 0))


def _word_hashes(code_c: NDArray[np.uint32], start_w: IntArray, end_w: IntArray) -> Hashes:
    """Hashes (w,) of the characters from each start to its end."""
    power, inverse = _powers(1 << max(len(code_c).bit_length(), 10))
    sums = np.zeros(len(code_c) + 1, np.uint64)
    np.cumsum((code_c + np.uint64(1)) * power[: len(code_c)], out=sums[1:])
    word_w = (sums[end_w] - sums[start_w]) * inverse[start_w]
    return np.asarray((word_w ^ (word_w >> np.uint64(29))) * _MIX)


@cache
def _powers(n: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse modulo 2^64, (n,) each."""
    inverse = np.uint64(pow(int(_BASE), -1, 1 << 64))
    both = []
    for base in (_BASE, inverse):
        power = np.full(n, base, np.uint64)
        power[0] = 1
        both.append(np.cumprod(power))
    return both[0], both[1]


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each character: 0 outside words, or what it is in one."""
    every = "".join(chr(c) if not 0xD800 <= c < 0xE000 else " " for c in range(_LAST_LETTER + 1))
    kinds = np.zeros(len(every), np.uint8)
    for kind, pattern in ((_LETTER, r"\w+"), (_DIGIT, r"\d+"), (_ALONE, f"[{UNSPACED}]+")):
        for match in re.finditer(pattern, every):
            kinds[match.start() : match.end()] = kind
    return kinds


def _vocabulary(words: _Words) -> Hashes:
    return np.unique(words.hash_t[words.word_t])


def _distinct(values: IntArray) -> IntArray:
    """The distinct values in rising order; twice as fast as `np.unique` on millions."""
    values = np.sort(values)
    return values[np.flatnonzero(np.diff(values, prepend=-1))]


def _table_bits(night: _Night) -> int:
    """Bits of a bucket: few are taken by one pool, so that its runs seldom meet those of others."""
    most = max((sum(len(night.text_r[row]) for row in pool) for pool in night.pools), default=0)
    return min(max((16 * most).bit_length(), _LEAST_BITS), _MOST_BITS)
