"""Turn a raw row into a prompt, or say why it is none.

Normalising: Unicode NFC, line ends to a bare newline, runs of spaces and tabs to one space, no
space at the ends of lines or of the text. It is done on what is stored, so that what is generated,
labelled and published is what was de-duplicated.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from winnow.ids import prompt_id

ROLES = ("system", "user", "assistant", "tool")
_SPACES = re.compile(r"[^\S\n]+")
_CODE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: `messages` is a list of {role, content}; `tools` is JSON or None.

    Calls of tools in a turn are part of its content, a line of JSON each.
    """

    prompt_id: str
    messages: list[dict[str, str]]
    tools: str | None
    source: str | None
    dimension: str
    language: str | None
    tags: list[str]
    received_at: datetime | None
    file: str
    line: int


class NotAPrompt(Exception):
    """The row is not a prompt: `reason` is a word to count by, `detail` is for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def parse_prompt(value: Any, file: str, line: int, max_chars: int) -> Prompt:
    """A prompt from a row's value: `prompt` (a string or messages) or `messages`.

    Raises:
        NotAPrompt: A wrong type, no user turn at the end, nothing but space, or too long.
    """
    if not isinstance(value, dict):
        raise NotAPrompt("wrong_type", f"a row must be an object, not {_kind(value)}")
    messages = [_message(m, i) for i, m in enumerate(_raw_messages(value))]
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise NotAPrompt("no_question", "the last turn must be the user's")
    if not messages[-1]["content"]:
        raise NotAPrompt("empty_prompt", "the last turn holds nothing but space")
    n_chars = sum(len(m["content"]) for m in messages)
    if n_chars > max_chars:
        raise NotAPrompt("too_long", f"{n_chars} characters; the campaign allows {max_chars}")
    tools = _tools(value.get("tools"))
    return Prompt(
        prompt_id=prompt_id(messages, tools),
        messages=messages,
        tools=tools,
        source=_text(value, "source"),
        dimension=_text(value, "dimension") or "helpfulness",
        language=_text(value, "language"),
        tags=_tags(value.get("tags")),
        received_at=_time(value.get("received_at")),
        file=file,
        line=line,
    )


def normalise(text: str) -> str:
    r"""`text` in the form that is stored; code between ``` fences keeps its indentation.

    >>> normalise("  caf\u0065\u0301 \t au  lait\r\n")
    'café au lait'
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    parts = _CODE.split(text)
    folded = [part if _CODE.fullmatch(part) else _fold_spaces(part) for part in parts]
    return "".join(folded).strip()


def _fold_spaces(text: str) -> str:
    return re.sub(r" ?\n ?", "\n", _SPACES.sub(" ", text))


def _raw_messages(value: dict[str, Any]) -> list[Any]:
    raw = value.get("messages", value.get("prompt"))
    if raw is None:
        raise NotAPrompt("no_prompt", "the row has neither `prompt` nor `messages`")
    if isinstance(raw, str):
        return [{"role": "user", "content": raw}]
    if not isinstance(raw, list):
        raise NotAPrompt("wrong_type", f"`messages` must be a list of turns, not {_kind(raw)}")
    return raw


def _message(raw: Any, place: int) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise NotAPrompt("wrong_type", f"turn {place + 1} must be an object, not {_kind(raw)}")
    role, content = raw.get("role"), raw.get("content")
    calls = _calls(raw.get("tool_calls"), place)
    if content is None and calls:
        content = ""
    if role not in ROLES:
        raise NotAPrompt(
            "wrong_role", f"turn {place + 1} has role {role!r}; known: {', '.join(ROLES)}"
        )
    if not isinstance(content, str):
        raise NotAPrompt(
            "wrong_type", f"turn {place + 1}: `content` must be text, not {_kind(content)}"
        )
    text = "\n".join(part for part in (normalise(content), *calls) if part)
    if _has_lone_surrogate(text):
        raise NotAPrompt("invalid_utf8", f"turn {place + 1} holds half of a surrogate pair")
    return {"role": role, "content": text}


def _calls(raw: Any, place: int) -> list[str]:
    if raw is not None and not isinstance(raw, list):
        raise NotAPrompt("wrong_type", f"turn {place + 1}: `tool_calls` must be a list")
    return [_call(call, place) for call in raw or ()]


def _call(raw: Any, place: int) -> str:
    """A call of a tool as text, the way responses hold theirs: a line of JSON without its id."""
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise NotAPrompt("wrong_type", f"turn {place + 1}: a tool call has no function's name")
    arguments = function.get("arguments") or {}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotAPrompt("wrong_type", f"turn {place + 1}: arguments are not JSON") from error
    return json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _tools(raw: Any) -> str | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError as error:
            raise NotAPrompt("wrong_type", f"`tools` is not JSON: {error}") from error
    if not isinstance(raw, list):
        raise NotAPrompt("wrong_type", f"`tools` must be a list, not {_kind(raw)}")
    return json.dumps(raw, sort_keys=True, ensure_ascii=False) if raw else None


def _text(value: dict[str, Any], key: str) -> str | None:
    raw = value.get(key)
    if raw is not None and not isinstance(raw, str):
        raise NotAPrompt("wrong_type", f"`{key}` must be text, not {_kind(raw)}")
    return raw


def _tags(raw: Any) -> list[str]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(tag, str) for tag in raw):
        raise NotAPrompt("wrong_type", "`tags` must be a list of texts")
    return raw


def _time(raw: Any) -> datetime | None:
    if raw is None:
        return None
    try:
        time = raw if isinstance(raw, datetime) else datetime.fromisoformat(raw)
    except (TypeError, ValueError) as error:
        raise NotAPrompt("wrong_type", f"`received_at` must be an ISO time: {raw!r}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    names |= {int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")
