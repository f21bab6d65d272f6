"""Gold: pairs of which a team knows the better response, asked among the others unannounced.

One JSON object a line: `prompt` (text, or messages of role and content) or `messages`, `chosen` and
`rejected` (text, or one message), and optionally `dimension`. Further keys are ignored, so rows of
a published dataset are gold as they are.

What always holds: lines that are not blank = items + quarantined. Ids are by content, so the same
row is the same item in any file.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winnow.ids import pair_id, prompt_id, response_id
from winnow.label.vendor import Message
from winnow.records import Quarantined
from winnow.text import plain_text

RAW_LIMIT = 64 * 1024
"""Bytes of a bad line kept in quarantine."""


@dataclass(frozen=True, slots=True)
class GoldItem:
    """A pair with a known answer, its texts as in the file."""

    pair_id: str
    messages: tuple[Message, ...]
    chosen_id: str
    chosen: str
    rejected_id: str
    rejected: str
    dimension: str | None
    file: str
    line: int


class _Turn(BaseModel):
    model_config = ConfigDict(strict=True)

    role: str = Field(min_length=1)
    content: str


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    prompt: str | list[_Turn] | None = None
    messages: list[_Turn] | None = None
    chosen: str | list[_Turn]
    rejected: str | list[_Turn]
    dimension: str | None = None


class _NotGold(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def read_gold(file: str, data: bytes) -> tuple[list[GoldItem], list[Quarantined]]:
    """The items of a JSONL file in its order, and the lines that are none; `line` counts from 1."""
    items: dict[str, GoldItem] = {}
    quarantined: list[Quarantined] = []
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            item = _item(raw, file, line)
            _check_new(item, items)
            items[item.pair_id] = item
        except _NotGold as fault:
            quarantined.append(
                Quarantined("label", fault.reason, fault.detail, file, line, raw=raw[:RAW_LIMIT])
            )
    return list(items.values()), quarantined


def _check_new(item: GoldItem, items: dict[str, GoldItem]) -> None:
    held = items.get(item.pair_id)
    if held is None:
        return
    if held.chosen_id == item.chosen_id:
        raise _NotGold("gold_repeated", f"the same pair as line {held.line}")
    raise _NotGold("gold_contradicts", f"line {held.line} calls the other response the better one")


def _item(raw: bytes, file: str, line: int) -> GoldItem:
    row = _parse(raw)
    messages = _messages(row)
    chosen, rejected = _text(row.chosen, "chosen"), _text(row.rejected, "rejected")
    if plain_text(chosen).strip() == plain_text(rejected).strip():
        raise _NotGold("gold_without_difference", "chosen and rejected look the same on the page")
    prompt = prompt_id([{"role": m.role, "content": m.content} for m in messages], None)
    chosen_id, rejected_id = response_id(prompt, chosen), response_id(prompt, rejected)
    return GoldItem(
        pair_id=pair_id(chosen_id, rejected_id),
        messages=messages,
        chosen_id=chosen_id,
        chosen=chosen,
        rejected_id=rejected_id,
        rejected=rejected,
        dimension=row.dimension,
        file=file,
        line=line,
    )


def _parse(raw: bytes) -> _Row:
    try:
        return _Row.model_validate_json(raw)
    except ValidationError as error:
        faults = {f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors()}
        raise _NotGold("gold_does_not_parse", "; ".join(sorted(faults))) from error


def _messages(row: _Row) -> tuple[Message, ...]:
    turns = row.messages if row.messages is not None else row.prompt
    if turns is None:
        raise _NotGold("gold_without_prompt", "the row has neither `prompt` nor `messages`")
    if isinstance(turns, str):
        turns = [_Turn(role="user", content=turns)]
    if not turns or not plain_text(turns[-1].content).strip():
        raise _NotGold("gold_without_prompt", "the last turn holds nothing to answer")
    # NFC, as ingested prompts are: the same prompt must have the same id.
    return tuple(Message(t.role, unicodedata.normalize("NFC", t.content)) for t in turns)


def _text(response: str | Sequence[_Turn], key: str) -> str:
    turns = [response] if isinstance(response, str) else [turn.content for turn in response]
    if len(turns) != 1 or not plain_text(turns[0]).strip():
        raise _NotGold("gold_without_response", f"`{key}` must be one response with visible text")
    return turns[0]
