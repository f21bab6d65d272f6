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
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, FloatArray, IntArray
from winnow.characters import plain_texts
from winnow.compiled import compiled
from winnow.refusal import declines, refuses
from winnow.words import BASE, MIX, Hashes, Tokens, tokens_of

Counts = NDArray[np.uint32]
Marks = NDArray[np.uint8]
Singles = NDArray[np.float32]


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

_MOST_DRAWN = (1 << 20) - 1
"""A response drawn more often counts as often as this."""

_SUSPECT, _TELLING = 1, 2
"""Marks of a bucket's runs: suspect, or clearing a text that holds one."""

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
        plain_texts(text_r),
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

    def tokens(self, rows: Iterable[int]) -> Tokens:
        return tokens_of([self.text_r[row] for row in rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Suspects:
    """The runs that a rule suspects, by the bucket they are hashed into (b,).

    Attributes:
        mark_b: `_SUSPECT`, `_TELLING` or 0.
        df_b: To how many prompts a run of the bucket was said.
        bound_r: Share of each response's letters that lie in suspect runs, or more.
    """

    rule: _Rule
    mark_b: Marks
    df_b: Counts
    bound_r: FloatArray

    def covered(self, tokens: Tokens) -> tuple[BoolArray, FloatArray, IntArray]:
        """What lies in suspect runs, which is nothing of a text that holds a telling run.

        Returns:
            Mask (t,) of tokens; their share of each text's letters (k,); the bucket of the run, of
            these, that was said to most prompts (k,), -1 where there is none.
        """
        return _covered(*tokens.in_runs, tokens.letters_t, self.rule.words, self.mark_b, self.df_b)


def _suspects(night: _Night, rules: Sequence[_Rule]) -> list[_Suspects]:
    size, n_prompts = 1 << _table_bits(night), len(night.pools)
    df_nb = np.zeros((len(rules), size), np.uint32)
    said_to_b = np.zeros(size >> 3, np.uint8)
    for pools in night.batches():
        tokens = night.tokens(np.concatenate(pools))
        end_p = np.cumsum([len(pool) for pool in pools])
        for rule, df_b in zip(rules, df_nb, strict=True):
            _count_prompts(*tokens.in_runs, rule.words, end_p, said_to_b, df_b)
    often = [
        np.flatnonzero(df_b >= max(rule.prompts, rule.share * n_prompts))
        for rule, df_b in zip(rules, df_nb, strict=True)
    ]
    suspects = []
    for rule, df_b, often_x in zip(rules, df_nb, often, strict=True):
        mark_b = np.zeros(size, np.uint8)
        mark_b[often_x] = _SUSPECT
        suspects.append(_Suspects(rule, mark_b, df_b, np.zeros(len(night.text_r))))
    if any(map(len, often)):
        _clear(night, suspects, often)
    return suspects


def _clear(night: _Night, suspects: Sequence[_Suspects], often: Sequence[IntArray]) -> None:
    """Of what is said to many prompts, take the marks off that are usual or depend on the prompt.

    Args:
        night: All responses.
        suspects: By each rule; their marks and bounds change.
        often: Buckets that each marks, ascending (x,).
    """
    drawn_p = np.array([night.drawn_r[pool].sum() for pool in night.pools], np.float64)
    n_prompts, n_drawn = len(drawn_p), max(drawn_p.sum(), 1.0)
    sums = [np.zeros((2, len(often_x)), np.float32) for often_x in often]
    n_before = 0
    for pools in night.batches():
        rows = np.concatenate(pools)
        tokens, end_p = night.tokens(rows), np.cumsum([len(pool) for pool in pools])
        drawn_k = np.minimum(night.drawn_r[rows], _MOST_DRAWN)
        drawn_here_p = drawn_p[n_before : n_before + len(pools)]
        for suspect, often_x, (said_x, squares_x) in zip(suspects, often, sums, strict=True):
            _, suspect.bound_r[rows], _ = suspect.covered(tokens)
            _count_draws(
                *tokens.in_runs,
                suspect.rule.words,
                end_p,
                drawn_k,
                drawn_here_p,
                suspect.mark_b,
                often_x,
                said_x,
                squares_x,
            )
        n_before += len(pools)
    for suspect, often_x, (said_x, squares_x) in zip(suspects, often, sums, strict=True):
        share_x = said_x / n_drawn
        is_suspect_x, is_telling_x = share_x <= _USUAL, np.zeros(len(often_x), np.bool_)
        if suspect.rule.even:
            excess_x = squares_x - said_x * share_x
            chance_x = n_prompts * share_x * (1.0 - share_x)
            is_telling_x = is_suspect_x & (excess_x > _BY_FAR * chance_x)
            is_suspect_x &= excess_x <= _UNEVEN * chance_x
        suspect.mark_b[often_x] = np.where(is_telling_x, _TELLING, is_suspect_x * _SUSPECT)


def _kinds_of_answer(
    night: _Night, suspects: Sequence[_Suspects]
) -> list[tuple[_Suspects, list[int]]]:
    """Rows of the responses that suspect runs cover, by the rule and the run said to most."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for n, suspect in enumerate(suspects):
        rule = suspect.rule
        for pool in night.pools if suspect.mark_b.any() else ():
            rows = pool[suspect.bound_r[pool] >= rule.covered]
            _, share_k, most_k = suspect.covered(night.tokens(rows))
            for row, share, most in zip(rows.tolist(), share_k, most_k.tolist(), strict=True):
                text = night.text_r[row]
                is_long = len(text) >= rule.chars
                if share >= rule.covered and is_long and not _may_decline(rule, text):
                    kinds.setdefault((n, most), []).append(row)
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
    others = [night.tokens(r for r in pool_of[row] if not found_r[r]).vocabulary() for row in some]
    own, strange = np.zeros((2, len(some)))
    for m, row in enumerate(some):
        tokens = night.tokens([row])
        covered_t, _, _ = suspect.covered(tokens)
        besides = np.unique(tokens.hash_t[~covered_t & (tokens.size_t > 0)])
        if night.asked_r is not None:
            besides = np.setdiff1d(besides, tokens_of([night.asked_r[row]]).vocabulary())
        else:
            numbers = tokens_of([_figures(night.text_r[row])]).vocabulary()
            besides = np.intersect1d(besides, numbers)
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


@compiled
def _width(is_alone: bool, left: int, is_first: bool, n_words: int) -> int:
    """Tokens of the run that begins at one with so many `left`, 0 where the text is over before.

    A text shorter than a run is one run.
    """
    width = 2 * n_words if is_alone else n_words
    if left >= width:
        return width
    return left if is_first else 0


@compiled
def _buckets(
    begin: int, end: int, alone_t: BoolArray, hash_t: Hashes, n_words: int, size: int
) -> IntArray:
    """Which of `size` buckets, a power of two, the run at each token of a text is in; -1: none."""
    bucket_t = np.full(end - begin, -1, np.int64)
    shift = 64
    while size >> (64 - shift) > 1:
        shift -= 1
    for t in range(begin, end):
        width = _width(alone_t[t], end - t, t == begin, n_words)
        if width:
            run = hash_t[t]
            for step in range(1, width):
                run = run * BASE + hash_t[t + step]
            mixed = (run ^ (run >> np.uint64(31))) * MIX
            bucket_t[t - begin] = np.int64(mixed >> np.uint64(shift))
    return bucket_t


@compiled
def _count_prompts(
    begin_k: IntArray,
    alone_t: BoolArray,
    hash_t: Hashes,
    n_words: int,
    end_p: IntArray,
    said_to_b: Marks,
    df_b: Counts,
) -> None:
    """Count each run once a prompt, whose texts end at `end_p`; `said_to_b` has a bit a bucket."""
    k = 0
    for end_of_pool in end_p:
        said_to_b[:] = 0
        while k < end_of_pool:
            begin, end = begin_k[k], begin_k[k + 1]
            for b in _buckets(begin, end, alone_t, hash_t, n_words, len(df_b)):
                bit = 1 << (b & 7)
                if b >= 0 and not said_to_b[b >> 3] & bit:
                    said_to_b[b >> 3] |= bit
                    df_b[b] += 1
            k += 1


@compiled
def _count_draws(
    begin_k: IntArray,
    alone_t: BoolArray,
    hash_t: Hashes,
    n_words: int,
    end_p: IntArray,
    drawn_k: IntArray,
    drawn_p: FloatArray,
    mark_b: Marks,
    often_x: IntArray,
    said_x: Singles,
    squares_x: Singles,
) -> None:
    """Add how often each marked run was said to each prompt, and that squared over its draws.

    A text that holds a run twice says it once.
    """
    times_x, last_x = np.zeros(len(often_x)), np.full(len(often_x), -1, np.int64)
    k = 0
    for p in range(len(end_p)):
        while k < end_p[p]:
            begin, end = begin_k[k], begin_k[k + 1]
            for b in _buckets(begin, end, alone_t, hash_t, n_words, len(mark_b)):
                if b >= 0 and mark_b[b]:
                    x = np.searchsorted(often_x, b)
                    if last_x[x] != k:
                        last_x[x] = k
                        times_x[x] += drawn_k[k]
            k += 1
        for x in range(len(often_x)):
            if times_x[x] > 0:
                said_x[x] += np.float32(times_x[x])
                squares_x[x] += np.float32(times_x[x] * times_x[x] / drawn_p[p])
                times_x[x] = 0


@compiled
def _covered(
    begin_k: IntArray,
    alone_t: BoolArray,
    hash_t: Hashes,
    letters_t: IntArray,
    n_words: int,
    mark_b: Marks,
    df_b: Counts,
) -> tuple[BoolArray, FloatArray, IntArray]:
    n_texts = len(begin_k) - 1
    covered_t = np.zeros(len(hash_t), np.bool_)
    share_k, most_k = np.zeros(n_texts), np.full(n_texts, -1, np.int64)
    for k in range(n_texts):
        begin, end = begin_k[k], begin_k[k + 1]
        bucket_t = _buckets(begin, end, alone_t, hash_t, n_words, len(mark_b))
        most, until = -1, begin
        for t in range(begin, end):
            b = bucket_t[t - begin]
            mark = mark_b[b] if b >= 0 else 0
            if mark == _TELLING:
                covered_t[begin:end], most = False, -1
                break
            if mark == _SUSPECT:
                until = max(until, t + _width(alone_t[t], end - t, t == begin, n_words))
                if most < 0 or df_b[b] > df_b[most] or (df_b[b] == df_b[most] and b < most):
                    most = b
            covered_t[t] = t < until
        covered = letters = 0
        for t in range(begin, end):
            letters += letters_t[t]
            covered += letters_t[t] * covered_t[t]
        most_k[k], share_k[k] = most, covered / max(letters, 1)
    return covered_t, share_k, most_k


def _table_bits(night: _Night) -> int:
    """Bits of a bucket: few are taken by one pool, so that its runs seldom meet those of others."""
    most = max((sum(len(night.text_r[row]) for row in pool) for pool in night.pools), default=0)
    return min(max((16 * most).bit_length(), _LEAST_BITS), _MOST_BITS)
