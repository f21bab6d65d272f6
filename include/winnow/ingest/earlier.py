"""Ids under which versions before 0.2 accepted prompts, so that none is bought a second time.

They folded every space, indentation outside ``` fences included, and kept what nobody sees. A row
that comes again would have another id today; what is in a lake keeps the one that it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from winnow.ids import prompt_id
from winnow.text import unicode_form

_SPACES = re.compile(r"[^\S\n]+")
_CODE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)


def earlier_id(row: Any) -> str | None:
    """The id that a row had which is a prompt today; None if it was none then."""
    try:
        return _id(row)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _id(row: Mapping[str, Any]) -> str | None:
    raw = row.get("messages", row.get("prompt"))
    if isinstance(raw, str):
        raw = [{"role": "user", "content": raw}]
    if not isinstance(raw, list):
        return None
    tools = row.get("tools")
    tools = json.loads(tools) if isinstance(tools, str) else tools
    tools_json = json.dumps(tools, sort_keys=True, ensure_ascii=False) if tools else None
    return prompt_id([_message(turn) for turn in raw], tools_json)


def _message(turn: Mapping[str, Any]) -> dict[str, str]:
    calls = [_call(call) for call in turn.get("tool_calls") or ()]
    content = _normalised(turn.get("content") or "")
    return {"role": turn["role"], "content": "\n".join(part for part in (content, *calls) if part)}


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function", call)
    given = function.get("arguments") or {}
    arguments = json.loads(given) if isinstance(given, str) else given
    return json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)


def _normalised(text: str) -> str:
    text = unicode_form(text).replace("\r\n", "\n").replace("\r", "\n")
    parts = _CODE.split(text)
    return "".join(p if _CODE.fullmatch(p) else _folded(p) for p in parts).strip()


def _folded(text: str) -> str:
    return re.sub(r" ?\n ?", "\n", _SPACES.sub(" ", text))
