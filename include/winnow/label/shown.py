"""A pair as it is shown: its prompt's turns and both responses, as plain text without PII.

What always holds: every text of a pair passes here before a vendor sees it. One value has one mark
in all texts of a pair, so a reader can follow who is who; the marks do not depend on the sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from winnow.errors import Corrupt
from winnow.ids import canonical_json
from winnow.ingest.pairs import as_seen
from winnow.label.gold import GoldItem
from winnow.label.pii import scrub, scrub_all
from winnow.label.vendor import Message
from winnow.records import Quarantined
from winnow.text import plain_text

Row = Mapping[str, Any]
PiiPolicy = Literal["scrub", "block", "send"]


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


class NotWorthAsking(Exception):
    """The pair goes to quarantine; `row` says why."""

    def __init__(self, row: Quarantined) -> None:
        super().__init__(row.detail)
        self.row = row


@dataclass(slots=True)
class PiiGuard:
    """Applies a campaign's policy; `counts` are places found, each distinct text counted once."""

    policy: PiiPolicy
    counts: Counter[str] = field(default_factory=Counter)
    _by_text: dict[str, Counter[str]] = field(default_factory=dict)

    def __call__(self, pair: ShownPair) -> ShownPair:
        """`pair` as the policy wants it shown.

        Raises:
            NotWorthAsking: It holds PII and the policy is to block.
        """
        texts = [*(m.content for m in pair.messages), pair.first, pair.second]
        found = sum((self._look(text) for text in texts), Counter[str]())
        if not found or self.policy == "send":
            return pair
        if self.policy == "block":
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(found.items()))
            raise _not_worth_asking(pair, "pii", f"the campaign blocks PII, the pair holds {kinds}")
        *contents, first, second = scrub_all(texts)[0]
        turns = zip(pair.messages, contents, strict=True)
        messages = tuple(Message(turn.role, content) for turn, content in turns)
        return replace(pair, messages=messages, first=first, second=second)

    def _look(self, text: str) -> Counter[str]:
        if text not in self._by_text:
            self._by_text[text] = scrub(text)[1]
            self.counts.update(self._by_text[text])
        return self._by_text[text]


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


def of_gold(item: GoldItem) -> ShownPair:
    """The pair of a gold item; which response is the first says nothing of which is better."""
    chosen_first = item.chosen_id < item.rejected_id
    ids, texts = (item.chosen_id, item.rejected_id), (item.chosen, item.rejected)
    first_id, second_id = ids if chosen_first else ids[::-1]
    first, second = texts if chosen_first else texts[::-1]
    return ShownPair(
        pair_id=item.pair_id,
        first_id=first_id,
        second_id=second_id,
        messages=tuple(Message(plain_text(m.role), plain_text(m.content)) for m in item.messages),
        first=plain_text(first),
        second=plain_text(second),
        dimension=item.dimension or "helpfulness",
        expected="first" if chosen_first else "second",
        file=item.file,
        line=item.line,
    )


def ready(pair: ShownPair, guard: PiiGuard) -> ShownPair:
    """`pair` without PII.

    Raises:
        NotWorthAsking: The policy blocks it, or there is nothing to see or to tell apart.
    """
    pair = guard(pair)
    asked, first, second = (
        as_seen(text) for text in (pair.messages[-1].content, pair.first, pair.second)
    )
    if not (asked and first and second):
        detail = "the prompt or a response of this pair has no visible text"
        raise _not_worth_asking(pair, "nothing_to_show", detail)
    if first == second:
        detail = "both responses of this pair look the same on the page"
        raise _not_worth_asking(pair, "look_the_same", detail)
    return pair


def _not_worth_asking(pair: ShownPair, reason: str, detail: str) -> NotWorthAsking:
    ids = {"pair_id": pair.pair_id, "first_id": pair.first_id, "second_id": pair.second_id}
    return NotWorthAsking(
        Quarantined(
            "label", reason, detail, pair.file, pair.line, pair.pair_id, canonical_json(ids)
        )
    )
