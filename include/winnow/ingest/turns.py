"""Conversations as people write them, brought to turns of a role and a text.

Roles have many names: ShareGPT's human and gpt, OpenAI's developer. A content is a text or a list
of parts; only parts of text can be read. Calls of tools become part of their turn's text, a line of
JSON each, without their random ids: the way responses hold theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.ingest.values import Unreadable, kind, read_json, shown, tidy

ROLES = ("system", "user", "assistant", "tool")
_ALSO = {
    "user": ("human", "prompter"),
    "assistant": ("gpt", "bot", "chatgpt", "model", "function_call"),
    "system": ("developer",),
    "tool": ("function", "observation", "tool_response", "function_response"),
}
_ROLE_OF = {name: role for role in ROLES for name in (role, *_ALSO.get(role, ()))}
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `role` is one of `ROLES`, `text` as it was written."""

    role: str
    text: str


def read_turns(raw: Any, name: str) -> list[Turn]:
    """The turns in a tidied value: a text is one turn of the user, a list holds a turn each.

    Raises:
        Unreadable: A turn has no role or content that is known.
    """
    if isinstance(raw, str):
        return [Turn("user", raw)]
    if isinstance(raw, dict):
        raw = _of_columns(raw, name)
    if not isinstance(raw, list):
        raise Unreadable("wrong_type", f"`{name}` must be a list of turns, not {kind(raw)}")
    return [_turn(each, f"`{name}`, turn {place}") for place, each in enumerate(raw, start=1)]


def read_response(raw: Any, name: str) -> tuple[list[Turn], str]:
    """What was said before a response, and the response: a text, or a talk that ends with it.

    Raises:
        Unreadable: It is neither, or the last turn is not the assistant's.
    """
    if raw is None:
        raise Unreadable("no_text", f"`{name}` must be a text or turns")
    if isinstance(raw, str):
        return [], raw
    if isinstance(raw, dict) and {"role", "from"} & raw.keys():
        raw = [raw]
    turns = read_turns(raw, name)
    if not turns or turns[-1].role != "assistant":
        raise Unreadable("last_turn_not_assistant", f"the last turn of `{name}` is no assistant's")
    return turns[:-1], turns[-1].text


def text_of(content: Any, where: str) -> str:
    """The text of a content: itself, or its parts one after another.

    Raises:
        Unreadable: It is no text, or a part is an image, a sound or a file.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unreadable("wrong_type", f"{where}: `content` must be text, not {kind(content)}")
    return "\n".join(_part(part, where) for part in content)


def call_text(name: str, arguments: Any) -> str:
    """A call of a tool as a line of JSON; equal calls give equal lines."""
    named = json.dumps(name, ensure_ascii=False)
    given = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return f'{{"name": {named}, "arguments": {given}}}'


def said_by_user(turns: Iterable[Turn]) -> list[str]:
    """The texts of the user's turns."""
    return [turn.text for turn in turns if turn.role == "user"]


def _of_columns(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Turns that stand as columns, as an old `datasets` writes lists of objects."""
    lists = {k: v for k, v in raw.items() if isinstance(v, list)}
    lengths = {len(column) for column in lists.values()}
    if len(lists) != len(raw) or len(lengths) != 1:
        raise Unreadable("wrong_type", f"`{name}` must be a list of turns, not an object")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _turn(raw: Any, where: str) -> Turn:
    if not isinstance(raw, dict):
        raise Unreadable("wrong_type", f"{where} must be an object, not {kind(raw)}")
    name = raw.get("role", raw.get("from"))
    role = _ROLE_OF.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        names = ", ".join(ROLES)
        raise Unreadable("wrong_role", f"{where} has role {shown(name)}; known: {names}")
    content = raw.get("content", raw.get("value"))
    calls = _calls(raw.get("tool_calls"), where)
    if content is None and calls:
        content = ""
    text = text_of(content, where)
    return Turn(role, "\n".join(part for part in (text, *calls) if part) if calls else text)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS:
        text = part.get("text", part.get("value"))
        if isinstance(text, str):
            return text
    what = part.get("type") if isinstance(part, dict) else kind(part)
    raise Unreadable("not_text", f"{where} holds a part that is no text: {shown(what)}")


def _calls(raw: Any, where: str) -> Sequence[str]:
    if raw is not None and not isinstance(raw, list):
        raise Unreadable("wrong_type", f"{where}: `tool_calls` must be a list")
    return [_call(call, where) for call in raw or ()]


def _call(raw: Any, where: str) -> str:
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unreadable("wrong_type", f"{where}: a tool call has no function's name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = tidy(read_json(arguments), "arguments")
        except Unreadable as fault:
            raise Unreadable(
                "wrong_type" if fault.reason == "invalid_json" else fault.reason,
                f"{where}: arguments are not JSON: {fault.detail}",
            ) from None
    return call_text(function["name"], arguments)
