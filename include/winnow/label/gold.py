"""Gold: pairs of which a team knows the better response, asked among the others unannounced.

A row holds `prompt` (a text, or turns) or `messages`, `chosen` and `rejected` (a text, or turns
that end with the assistant's), and optionally `dimension`; or it is of another format that says
which of two responses is the better one. Further columns are ignored, so rows of a published
dataset are gold as they are.

What always holds: rows = items + quarantined. Ids are by content, so the same row is the same item
in any file.
"""

from __future__ import annotations

from winnow.ids import pair_id, response_id
from winnow.ingest.formats.raw import Data, RawRow
from winnow.ingest.normalise import prompt_identity, read_fact
from winnow.ingest.pairs import judged, pairs_of
from winnow.ingest.readers import parsed, read_rows
from winnow.ingest.shapes.example import as_seen
from winnow.ingest.shapes.registry import COLUMNS
from winnow.ingest.values import Unreadable
from winnow.label.shown import ShownPair
from winnow.label.vendor import Message
from winnow.records import Quarantined
from winnow.text import plain_text

MAX_CHARS = 1_000_000
"""Characters of a gold prompt, at most."""


def read_gold(file: str, data: Data) -> tuple[list[ShownPair], list[Quarantined]]:
    """The items of a file in its order, and the rows that are none; `line` counts from 1.

    Which response of an item is the first says nothing of which is better.
    """
    items: dict[tuple[str, frozenset[str]], tuple[str, ShownPair]] = {}

    def new_item(raw: RawRow) -> ShownPair:
        example = judged(raw.value)
        dimension = read_fact(example.facts, "dimension")
        pair, *more = pairs_of(example, MAX_CHARS)
        if more:
            raise Unreadable(
                "several_pairs", f"the row says it of {len(more) + 1} pairs; write one"
            )
        prompt = prompt_identity(pair.messages, None)
        (first_id, first), (second_id, second) = sorted(
            (response_id(prompt, text), text) for text in (pair.chosen, pair.rejected)
        )
        item = ShownPair(
            pair_id=pair_id(first_id, second_id),
            first_id=first_id,
            second_id=second_id,
            messages=tuple(
                Message(plain_text(m["role"]), plain_text(m["content"])) for m in pair.messages
            ),
            first=plain_text(first),
            second=plain_text(second),
            dimension=dimension or "helpfulness",
            expected="first" if first == pair.chosen else "second",
            file=raw.file,
            line=raw.line,
        )
        chosen = as_seen(pair.chosen)
        sides = frozenset((chosen, as_seen(pair.rejected)))
        better, held = items.setdefault((prompt, sides), (chosen, item))
        if held is not item and better == chosen:
            raise Unreadable("gold_repeated", f"the same pair as line {held.line}")
        if held is not item:
            detail = f"line {held.line} calls the other response better"
            raise Unreadable("gold_contradicts", detail)
        return item

    rows = list(parsed(read_rows(file, data, COLUMNS), new_item, "label"))
    items_read = [item for _, item in items.values()]
    return items_read, [row for row in rows if isinstance(row, Quarantined)]
