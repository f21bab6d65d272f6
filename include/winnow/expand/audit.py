"""The pool audit: how diverse and how sound the responses of a batch are, prompt by prompt.

`PoolAuditor.add` takes one pool at a time and gives its row; what it keeps for the batch does not
grow with the number of prompts. Limits turn the batch's figures into warnings: an audit advises, it
blocks nothing.

A text drawn three times counts three times in every share, length and diversity: the figures
describe the draws that were paid for. `near_duplicates` alone counts distinct texts.

Always holds: the order of pools, and of responses in a pool, changes no bit of the result. A figure
that cannot be measured is None.

Shapes: n distinct texts of one prompt, c columns of an embedding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.campaign import AuditLimits
from winnow.errors import Fatal
from winnow.expand.alike import keys_of_form
from winnow.expand.diversity import distinct_n, numbered, self_bleu, vendi_score, words
from winnow.expand.flags import FLAGS
from winnow.expand.language import detected_language, language_code
from winnow.ids import seed_from

_AUDITED_PROMPTS = 2000
"""About this many prompts of a batch are audited."""

_BLEU_PROMPTS = 100
_BLEU_DRAWS = 10
"""Self-BLEU is measured on about this many of these, and this many draws of each."""

_SCALE = 1 << 40
"""Figures are summed as integers of this fraction: exact, so their order plays no part."""

_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class Pool:
    """The responses to one prompt, one entry a distinct text, which was drawn `duplicates` times.

    `language` is the tag of the prompt, such as "en" or "pt-BR", None where it is unknown; `flags`
    are faults, see `winnow.expand.flags`.

    Raises:
        Fatal: The pool is empty, its columns differ in length, or a text was never drawn.
    """

    prompt_id: str
    language: str | None
    texts: Sequence[str]
    duplicates: Sequence[int]
    n_tokens: Sequence[int]
    flags: Sequence[Sequence[str]]
    embedding_nc: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        columns = (self.texts, self.duplicates, self.n_tokens, self.flags, self.embedding_nc)
        lengths = {len(column) for column in columns}
        if len(lengths) > 1 or not self.texts:
            raise Fatal(
                f"Pool of prompt {self.prompt_id} cannot be audited: its columns have "
                f"{sorted(lengths)} responses."
            )
        if min(self.duplicates) < 1:
            raise Fatal(f"Pool of prompt {self.prompt_id} holds a response that was never drawn.")

    def in_order(self) -> Pool:
        """The same pool, its responses sorted by their text."""
        order = sorted(range(len(self.texts)), key=lambda i: self.texts[i])
        columns: dict[str, Any] = {
            name: [getattr(self, name)[i] for i in order]
            for name in ("texts", "duplicates", "n_tokens", "flags")
        }
        return replace(self, **columns, embedding_nc=self.embedding_nc[order])


@dataclass(frozen=True, slots=True)
class PromptAudit:
    """Figures of one pool; shares lie in [0, 1].

    `near_duplicates` counts the distinct texts that differ from another one in nothing a reader
    would notice. `tokens_p10` is the shortest length that at least 10 % of the draws do not exceed.
    `language_match` is the share, of the draws whose language can be told, in the prompt's.
    """

    prompt_id: str
    sampled: int
    distinct: int
    duplicate_share: float
    near_duplicates: int
    distinct_1: float | None
    distinct_2: float | None
    distinct_3: float | None
    self_bleu: float | None
    vendi: float
    tokens_p10: int
    tokens_p50: int
    tokens_p90: int
    truncated: float
    looping: float
    refusal: float
    echo: float
    injection: float
    language_match: float | None

    @property
    def near_duplicate_share(self) -> float:
        """Near-duplicates over distinct texts."""
        return self.near_duplicates / self.distinct

    @property
    def vendi_share(self) -> float:
        """Vendi score over distinct texts."""
        return self.vendi / self.distinct


_COLUMNS = {"str": pa.string(), "int": pa.int32(), "float": pa.float64()}
POOL_AUDITS = pa.schema(
    [(each.name, _COLUMNS[str(each.type).removesuffix(" | None")]) for each in fields(PromptAudit)]
)
"""The table of audits, a row of `PromptAudit` each."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a batch, over the `n_prompts` on which it was measured.

    Attributes:
        mean: Mean over prompts, each prompt counting the same.
        low: Lower end of its 95 % interval, mean ± 1.96 standard errors, so for prompts drawn
            alike; None where the prompts are fewer than two, or do not differ.
        high: Upper end.
        pooled: Mean over all draws, a prompt counting as often as it was sampled.
        n_beyond: Prompts whose own value is beyond the limit.
    """

    name: str
    mean: float | None
    low: float | None
    high: float | None
    pooled: float | None
    n_prompts: int
    n_beyond: int
    limit: float | None

    @property
    def verdict(self) -> str:
        """`pass`, `warn`, `not measured`, or nothing where there is no limit."""
        if self.mean is None:
            return "not measured"
        if self.limit is None:
            return ""
        return "warn" if _beyond(self.name, self.mean, self.limit) else "pass"


@dataclass(frozen=True, slots=True)
class AuditWarning:
    """A figure beyond its limit, and what to do about it."""

    figure: str
    value: float
    limit: float
    advice: str

    def __str__(self) -> str:
        side = "below" if self.figure in _AT_LEAST else "above"
        return (
            f"{_LABELS[self.figure]} {self.value:.2f}, {side} the limit of {self.limit:.2f}: "
            f"{self.advice}"
        )


@dataclass(frozen=True, slots=True)
class BatchAudit:
    """Figures of a batch by name. Lengths are those of all draws, None where there is none."""

    prompts: int
    sampled: int
    distinct: int
    tokens_p10: int | None
    tokens_p50: int | None
    tokens_p90: int | None
    figures: Mapping[str, Figure]
    warnings: Sequence[AuditWarning]

    def as_dict(self) -> dict[str, Any]:
        """The audit as JSON-like values."""
        return asdict(self)


_LABELS = {
    "duplicate_share": "exact duplicates",
    "near_duplicate_share": "near-duplicates",
    "distinct_1": "distinct words",
    "distinct_2": "distinct pairs of words",
    "distinct_3": "distinct triples of words",
    "self_bleu": "self-BLEU",
    "vendi": "Vendi score",
    "vendi_share": "Vendi score / distinct",
    "truncated": "truncated",
    "looping": "looping",
    "refusal": "refusals",
    "echo": "echoes of the prompt",
    "injection": "texts that speak to a judge",
    "language_match": "in the prompt's language",
}
"""Figures of a batch in the order of the table; all but `vendi` lie in [0, 1]."""

_AT_LEAST = frozenset({"vendi", "vendi_share", "language_match"})

_ADVICE = {
    "duplicate_share": "raise temperature or top_p, or draw fewer responses per prompt",
    "near_duplicate_share": "raise temperature or top_p, or mix several samplers",
    "self_bleu": "raise temperature or top_p, or mix several samplers",
    "vendi": "mix several samplers or models, or draw fewer responses per prompt",
    "vendi_share": "mix several samplers or models, or draw fewer responses per prompt",
    "truncated": "raise max_tokens",
    "looping": "raise the temperature, check the chat template and the stop strings",
    "refusal": "read some; another system prompt or another model may answer",
    "echo": "check the chat template: the model goes on with the prompt, as if it were not asked",
    "injection": "read some (none is paired), and find which model or prompt brings them",
    "language_match": "ask for the language in the system prompt, or take a model that has it",
}


class PoolAuditor:
    """Audits the pools of a batch one by one.

    Args:
        n_prompts: Prompts of the batch; where they are more than 2,000, about so many are audited,
            and on some of these self-BLEU is measured, drawn by the hash of their ids.
        limits: When to warn.
    """

    def __init__(self, n_prompts: int, limits: AuditLimits | None = None) -> None:
        self._share = _AUDITED_PROMPTS / max(n_prompts, 1)
        self._bleu_share = _BLEU_PROMPTS / min(max(n_prompts, 1), _AUDITED_PROMPTS)
        self._limits = limits or AuditLimits()
        self._sums = {name: _Sums() for name in _LABELS}
        self._tokens: Counter[int] = Counter()
        self._prompts = self._distinct = 0

    def add(self, pool: Pool) -> PromptAudit | None:
        """Figures of `pool`, which from now on count for the batch.

        None where its prompt is not drawn: then the pool counts for the batch's size alone.
        """
        self._prompts += 1
        self._distinct += len(set(pool.texts))
        self._tokens.update(_lengths(pool))
        if not _is_drawn("audit", pool, self._share):
            return None
        row = audit_prompt(pool, with_bleu=_is_drawn("self_bleu", pool, self._bleu_share))
        for name, sums in self._sums.items():
            value, limit = getattr(row, name), getattr(self._limits, name, None)
            is_beyond = value is not None and limit is not None and _beyond(name, value, limit)
            sums.add(value, row.sampled, is_beyond)
        return row

    def sums(self) -> dict[str, Any]:
        """What was added so far, as JSON holds it, for `add_sums`."""
        return {
            "prompts": self._prompts,
            "distinct": self._distinct,
            "tokens": {str(length): n for length, n in sorted(self._tokens.items())},
            "figures": {name: sums.as_list() for name, sums in self._sums.items()},
        }

    def add_sums(self, sums: Mapping[str, Any]) -> None:
        """Add the pools that another auditor of the same limits has seen."""
        self._prompts += sums["prompts"]
        self._distinct += sums["distinct"]
        self._tokens.update({int(length): n for length, n in sums["tokens"].items()})
        for name, others in sums["figures"].items():
            self._sums[name].add_all(others)

    def batch(self) -> BatchAudit:
        """Figures and warnings of the pools so far."""
        figures = {name: self._figure(name) for name in _LABELS}
        p10, p50, p90 = _percentiles(self._tokens) if self._tokens else (None, None, None)
        return BatchAudit(
            prompts=self._prompts,
            sampled=self._tokens.total(),
            distinct=self._distinct,
            tokens_p10=p10,
            tokens_p50=p50,
            tokens_p90=p90,
            figures=figures,
            warnings=[
                AuditWarning(f.name, f.mean, f.limit, _ADVICE[f.name])
                for f in figures.values()
                if f.verdict == "warn" and f.mean is not None and f.limit is not None
            ],
        )

    def _figure(self, name: str) -> Figure:
        sums = self._sums[name]
        low, high = sums.interval(1.0 if name != "vendi" else math.inf)
        limit = getattr(self._limits, name, None)
        return Figure(name, sums.mean, low, high, sums.pooled, sums.n, sums.n_beyond, limit)


def audit_prompt(pool: Pool, *, with_bleu: bool = True) -> PromptAudit:
    """Figures of one pool; without BLEU, which takes most of the time, `self_bleu` is None."""
    pool = pool.in_order()
    sampled, distinct = sum(pool.duplicates), len(set(pool.texts))
    words_n = [words(text) for text in pool.texts]
    numbers_n = numbered(words_n)
    seed = seed_from("self_bleu", pool.prompt_id)
    p10, p50, p90 = _percentiles(_lengths(pool))
    return PromptAudit(
        prompt_id=pool.prompt_id,
        sampled=sampled,
        distinct=distinct,
        duplicate_share=1 - distinct / sampled,
        near_duplicates=distinct - len(set(keys_of_form(pool.texts))),
        distinct_1=distinct_n(numbers_n, pool.duplicates, 1),
        distinct_2=distinct_n(numbers_n, pool.duplicates, 2),
        distinct_3=distinct_n(numbers_n, pool.duplicates, 3),
        self_bleu=self_bleu(words_n, pool.duplicates, seed, _BLEU_DRAWS) if with_bleu else None,
        vendi=vendi_score(pool.embedding_nc, pool.duplicates),
        tokens_p10=p10,
        tokens_p50=p50,
        tokens_p90=p90,
        **{flag: _flagged(pool, flag) for flag in FLAGS},
        language_match=_language_match(pool),
    )


def table(audit: BatchAudit) -> list[tuple[str, str, str, str]]:
    """Rows for a page: figure, value with its 95 % interval, limit, verdict."""
    lengths = (audit.tokens_p10, audit.tokens_p50, audit.tokens_p90)
    spread = " / ".join("-" if length is None else str(length) for length in lengths)
    n_audited = audit.figures["duplicate_share"].n_prompts
    part = f", of which {n_audited} are audited" if n_audited < audit.prompts else ""
    return [
        ("prompts", f"{audit.prompts}{part}", "", ""),
        ("responses", f"{audit.distinct} distinct of {audit.sampled}", "", ""),
        ("tokens at 10 / 50 / 90 %", spread, "", ""),
        *(_table_row(figure) for figure in audit.figures.values()),
    ]


def sentence(audit: BatchAudit) -> str:
    """The audit in one line for a terminal."""
    vendi = audit.figures["vendi"].mean
    alike = "" if vendi is None else f", as diverse as {vendi:.1f} wholly different ones a prompt"
    warned = "; ".join(map(str, audit.warnings)) or "no warning"
    return f"{audit.distinct} distinct responses of {audit.sampled}{alike}; {warned}"


class _Sums:
    """Running sums of one figure over prompts, exact."""

    def __init__(self) -> None:
        self.n = self.n_beyond = 0
        self._sum = self._squares = self._weight = self._weighted = 0

    def add(self, value: float | None, weight: int, is_beyond: bool) -> None:
        if value is None:
            return
        scaled = round(value * _SCALE)
        self.n += 1
        self.n_beyond += is_beyond
        self._sum += scaled
        self._squares += scaled * scaled
        self._weight += weight
        self._weighted += weight * scaled

    def as_list(self) -> list[int]:
        sums = self._sum, self._squares, self._weight, self._weighted
        return [self.n, self.n_beyond, *sums]

    def add_all(self, others: Sequence[int]) -> None:
        n, n_beyond, total, squares, weight, weighted = others
        self.n += n
        self.n_beyond += n_beyond
        self._sum += total
        self._squares += squares
        self._weight += weight
        self._weighted += weighted

    @property
    def mean(self) -> float | None:
        return self._sum / (self.n * _SCALE) if self.n else None

    @property
    def pooled(self) -> float | None:
        return self._weighted / (self._weight * _SCALE) if self.n else None

    def interval(self, highest: float) -> tuple[float | None, float | None]:
        """95 % interval of the mean, within [0, highest]."""
        scatter = self.n * self._squares - self._sum * self._sum
        if self.mean is None or not scatter:
            return None, None
        half = 1.96 * math.sqrt(scatter / (self.n - 1)) / (self.n * _SCALE)
        return max(0.0, self.mean - half), min(highest, self.mean + half)


def _is_drawn(purpose: str, pool: Pool, share: float) -> bool:
    return seed_from(purpose, pool.prompt_id) / _SEEDS < share


def _lengths(pool: Pool) -> Counter[int]:
    """How many draws have each number of tokens."""
    lengths: Counter[int] = Counter()
    for n_tokens, times in zip(pool.n_tokens, pool.duplicates, strict=True):
        lengths[int(n_tokens)] += times
    return lengths


def _percentiles(lengths: Counter[int]) -> tuple[int, int, int]:
    """The shortest lengths that at least 10, 50 and 90 % of the draws do not exceed."""
    ascending = sorted(lengths)
    below = np.cumsum([lengths[length] for length in ascending])
    # In whole numbers: 0.1 of ten draws is one draw, and not a hair more.
    p10, p50, p90 = (int(np.searchsorted(below * 10, below[-1] * tenth)) for tenth in (1, 5, 9))
    return ascending[p10], ascending[p50], ascending[p90]


def _flagged(pool: Pool, flag: str) -> float:
    """Share of the draws that carry `flag`."""
    drawn = zip(pool.flags, pool.duplicates, strict=True)
    return sum(times for flags, times in drawn if flag in flags) / sum(pool.duplicates)


def _language_match(pool: Pool) -> float | None:
    wanted = language_code(pool.language)
    if wanted is None:
        return None
    is_same: Counter[bool] = Counter()
    for text, times in zip(pool.texts, pool.duplicates, strict=True):
        language = detected_language(text)
        if language is not None:
            is_same[language == wanted] += times
    return is_same[True] / is_same.total() if is_same else None


def _beyond(name: str, value: float, limit: float) -> bool:
    return value < limit if name in _AT_LEAST else value > limit


def _table_row(figure: Figure) -> tuple[str, str, str, str]:
    value = "" if figure.mean is None else f"{figure.mean:.2f}"
    if figure.low is not None:
        value += f" ({figure.low:.2f}-{figure.high:.2f})"
    limit = "" if figure.limit is None else f"{figure.limit:.2f}"
    if limit:
        limit = f"at {'least' if figure.name in _AT_LEAST else 'most'} {limit}"
    verdict = figure.verdict
    if figure.n_beyond:
        verdict += f", {figure.n_beyond} of {figure.n_prompts} prompts beyond"
    return _LABELS[figure.name], value, limit, verdict
