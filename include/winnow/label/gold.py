"""Gold: pairs of which a team knows the better response, asked among the others unannounced.

A row holds `prompt` (a text, or turns) or `messages`, `chosen` and `rejected` (a text, or turns
that end with the assistant's), and optionally `dimension`. Further columns are ignored, so rows of
a published dataset are gold as they are.

What always holds: rows = items + quarantined. Ids are by content, so the same row is the same item
in any file.
"""

from __future__ import annotations

from dataclasses import dataclass

from winnow.ids import pair_id, response_id
from winnow.ingest.formats.raw import Data, RawRow
from winnow.ingest.normalise import prompt_identity, read_fact
from winnow.ingest.pairs import PAIR_COLUMNS, as_seen, read_pair
from winnow.ingest.readers import parsed, read_rows
from winnow.ingest.values import Unreadable, columns_of
from winnow.label.vendor import Message
from winnow.records import Quarantined

MAX_CHARS = 1_000_000
"""Characters of a gold prompt, at most."""


@dataclass(frozen=True, slots=True)
class GoldItem:
    """A pair with a known answer, its texts as in the file."""

    pair_id: str
    prompt_id: str
    messages: tuple[Message, ...]
    chosen_id: str
    chosen: str
    rejected_id: str
    rejected: str
    dimension: str | None
    file: str
    line: int


def read_gold(file: str, data: Data) -> tuple[list[GoldItem], list[Quarantined]]:
    """The items of a file in its order, and the rows that are none; `line` counts from 1."""
    items: dict[tuple[str, frozenset[str]], GoldItem] = {}

    def new_item(row: RawRow) -> GoldItem:
        item = _item(row)
        sides = frozenset((as_seen(item.chosen), as_seen(item.rejected)))
        held = items.setdefault((item.prompt_id, sides), item)
        if held is not item:
            raise _again(item, held)
        return item

    found = list(parsed(read_rows(file, data, PAIR_COLUMNS), new_item, "label"))
    return list(items.values()), [row for row in found if isinstance(row, Quarantined)]


def _again(item: GoldItem, held: GoldItem) -> Unreadable:
    if as_seen(held.chosen) == as_seen(item.chosen):
        return Unreadable("gold_repeated", f"the same pair as line {held.line}")
    return Unreadable("gold_contradicts", f"line {held.line} calls the other response better")


def _item(raw: RawRow) -> GoldItem:
    row = columns_of(raw.value, PAIR_COLUMNS)
    dimension = read_fact(row, "dimension")
    pair = read_pair(row, MAX_CHARS)
    prompt = prompt_identity(pair.messages, None)
    chosen_id, rejected_id = response_id(prompt, pair.chosen), response_id(prompt, pair.rejected)
    return GoldItem(
        pair_id=pair_id(chosen_id, rejected_id),
        prompt_id=prompt,
        messages=tuple(Message(m["role"], m["content"]) for m in pair.messages),
        chosen_id=chosen_id,
        chosen=pair.chosen,
        rejected_id=rejected_id,
        rejected=pair.rejected,
        dimension=dimension,
        file=raw.file,
        line=raw.line,
    )
