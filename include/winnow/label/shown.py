"""A pair as it is shown: its prompt's turns and both responses, as plain text without PII.

What always holds: every text of a pair passes here before a vendor sees it. One value has one mark
in all texts of a pair, so a reader can follow who is who; the marks do not depend on the sides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from winnow.errors import Corrupt
from winnow.ids import canonical_json
from winnow.ingest.shapes.example import as_seen
from winnow.label.pii import scrub, scrub_all
from winnow.label.vendor import Message
from winnow.records import Quarantined

Row = Mapping[str, Any]
PiiPolicy = Literal["scrub", "block", "send"]
_TEXTS = 4096
"""Texts whose personal data is remembered."""


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair in its own order, texts as a vendor sees them.

    `expected` is the better side where it is known (gold); `p_first` the model's chance that the
    first is preferred; `file` and `line` are where a gold pair was read.
    """

    pair_id: str
    first_id: str
    second_id: str
    messages: tuple[Message, ...]
    first: str
    second: str
    dimension: str
    expected: str | None = None
    p_first: float = 0.5
    file: str | None = None
    line: int | None = None

    @property
    def n_chars(self) -> int:
        """Characters that an annotator reads."""
        return len(self.first) + len(self.second) + sum(len(m.content) for m in self.messages)


@dataclass(frozen=True, slots=True)
class ShownRanking:
    """Responses that are ranked together, in the order of their ids; texts as a vendor sees them.

    `texts[i]` is that of `response_ids[i]`.
    """

    ranking_id: str
    messages: tuple[Message, ...]
    response_ids: tuple[str, ...]
    texts: tuple[str, ...]
    dimension: str


@dataclass(slots=True)
class PiiGuard:
    """Readies pairs by a campaign's policy; `counts` are places found, each text counted once."""

    policy: PiiPolicy
    counts: Counter[str] = field(default_factory=Counter)
    _counted: set[bytes] = field(default_factory=set)
    _of_text: Callable[[str], Counter[str]] = field(
        # Pairs of one prompt come one after another.
        default_factory=lambda: lru_cache(_TEXTS)(lambda text: scrub(text)[1])
    )

    def ready(self, pair: ShownPair) -> ShownPair | Quarantined:
        """`pair` without PII; or why it is not worth asking.

        The policy blocks its PII, or there is nothing to see or to tell apart.
        """
        texts = [*(m.content for m in pair.messages), pair.first, pair.second]
        held = self._held(texts)
        if held and self.policy == "block":
            return _refused(pair, "pii", f"the campaign blocks PII, the pair holds {_kinds(held)}")
        if held and self.policy == "scrub":
            *contents, first, second = scrub_all(texts)[0]
            messages = _said(pair.messages, contents)
            pair = replace(pair, messages=messages, first=first, second=second)
        prompt, first, second = map(as_seen, (pair.messages[-1].content, pair.first, pair.second))
        if not (prompt and first and second):
            detail = "the prompt or a response of this pair has no visible text"
            return _refused(pair, "nothing_to_show", detail)
        if first == second:
            detail = "both responses of this pair look the same on the page"
            return _refused(pair, "look_the_same", detail)
        return pair

    def ready_ranking(self, ranking: ShownRanking) -> ShownRanking | tuple[str, str]:
        """The same of a ranking; or reason and detail."""
        texts = [*(m.content for m in ranking.messages), *ranking.texts]
        held = self._held(texts)
        if held and self.policy == "block":
            return "pii", f"the campaign blocks PII, the ranking holds {_kinds(held)}"
        if held and self.policy == "scrub":
            scrubbed, n = scrub_all(texts)[0], len(ranking.messages)
            messages = _said(ranking.messages, scrubbed[:n])
            ranking = replace(ranking, messages=messages, texts=tuple(scrubbed[n:]))
        seen = [as_seen(text) for text in ranking.texts]
        if not (as_seen(ranking.messages[-1].content) and all(seen)):
            detail = "the prompt or a response of this ranking has no visible text"
            return "nothing_to_show", detail
        if len(set(seen)) < len(seen):
            return "look_the_same", "two responses of this ranking look the same on the page"
        return ranking

    def _held(self, texts: Iterable[str]) -> Counter[str]:
        return sum((self._look(text) for text in texts), Counter[str]())

    def _look(self, text: str) -> Counter[str]:
        held = self._of_text(text)
        if held:
            name = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if name not in self._counted:
                self._counted.add(name)
                self.counts.update(held)
        return held


def _kinds(held: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(held.items()))


def _said(messages: Iterable[Message], contents: Iterable[str]) -> tuple[Message, ...]:
    turns = zip(messages, contents, strict=True)
    return tuple(Message(turn.role, content) for turn, content in turns)


def _refused(pair: ShownPair, reason: str, detail: str) -> Quarantined:
    ids = {"pair_id": pair.pair_id, "first_id": pair.first_id, "second_id": pair.second_id}
    raw = canonical_json(ids)
    return Quarantined("label", reason, detail, pair.file, pair.line, pair.pair_id, raw)


def of_comparison(comparison: Row, texts: Row, prompts: Row) -> ShownPair:
    """The pair of a comparison; `texts` by response id and `prompts` (messages) by prompt id.

    Raises:
        Corrupt: The comparison names a response or prompt that is not there.
    """
    absent = [comparison[k] for k in ("first_id", "second_id") if comparison[k] not in texts]
    absent += [comparison["prompt_id"]] if comparison["prompt_id"] not in prompts else []
    if absent:
        raise Corrupt(
            f"Comparison {comparison['pair_id']} names {', '.join(absent)}, which the batch's "
            "prompts and responses do not hold; run the batch again from expand_pools."
        )
    p_first = comparison.get("p_first")
    return ShownPair(
        pair_id=comparison["pair_id"],
        first_id=comparison["first_id"],
        second_id=comparison["second_id"],
        messages=prompts[comparison["prompt_id"]],
        first=texts[comparison["first_id"]],
        second=texts[comparison["second_id"]],
        dimension=comparison["dimension"] or "helpfulness",
        p_first=0.5 if p_first is None else p_first,
    )
