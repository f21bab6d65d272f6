"""Conversations as people write them, brought to turns of a role and a text.

Roles have many names: ShareGPT's human and gpt, OpenAI's developer. A content is a text or a list
of parts; only parts of text can be read. Calls of tools become part of their turn's text, a line of
JSON each, without their random ids: the way responses hold theirs. What a model thought before it
spoke is kept apart from what it said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from winnow.ingest.values import Unreadable, kind, read_json, shown, tidy

ROLES = ("system", "user", "assistant", "tool")
_CALLING = ("function_call", "tool_call", "tool_calls")
_ALSO = {
    "user": ("human", "prompter"),
    "assistant": ("gpt", "bot", "chatgpt", "bing", "bard", "model", *_CALLING),
    "system": ("developer",),
    "tool": (
        *("function", "observation", "observations", "ipython"),
        *("tool_response", "tool_responses", "function_response", "tool_result"),
    ),
}
_ROLE_OF = {name: role for role in ROLES for name in (role, *_ALSO.get(role, ()))}
_TEXT_PARTS = ("text", "input_text", "output_text")
_THOUGHT_PARTS = ("reasoning", "thinking")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_ROUND = (("human", "user", "q"), ("assistant", "gpt", "bot", "a"))
"""Names of what both say in a round, where an object holds a whole one."""

_THOUGHT = re.compile(r"\s*<(think|thinking)>(.*?)(?:</\1>|\Z)\s*", re.DOTALL)
_THOUGHT_END = re.compile(r"</(?:think|thinking)>\s*")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `role` is one of `ROLES`, `text` as it was written.

    `thought` is what stood in parts of reasoning or under `reasoning_content`; `calls` are the ids
    of the tools' calls that it makes ("" of one without), `answers` that of the call it answers.
    """

    role: str
    text: str
    thought: str = ""
    calls: tuple[str, ...] = ()
    answers: str = ""


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
    return [
        turn
        for place, each in enumerate(raw, start=1)
        for turn in _turns(each, f"`{name}`, turn {place}")
    ]


def said_aloud(turn: Turn) -> Turn:
    """The turn with the thought that its text begins with, `<think>...</think>`, kept apart.

    A thought that never ends leaves no text; where only its end stands, all before it is thought.
    """
    if turn.role != "assistant" or "think" not in turn.text:
        return turn
    begins = _THOUGHT.match(turn.text)
    if begins:
        thought, text = begins[2], turn.text[begins.end() :]
    else:
        end = _THOUGHT_END.search(turn.text)
        if end is None or "<think" in turn.text[: end.start()]:
            return turn
        thought, text = turn.text[: end.start()], turn.text[end.end() :]
    told = "\n".join(part for part in (turn.thought, thought.strip()) if part)
    return replace(turn, text=text, thought=told)


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


def _turns(raw: Any, where: str) -> list[Turn]:
    """The turn that an object holds, or both of a round."""
    if isinstance(raw, dict) and not {"role", "from"} & raw.keys():
        asked, said = ([raw[name] for name in names if name in raw] for names in _ROUND)
        if asked and said:
            return [
                Turn("user", text_of(asked[0], where)),
                Turn("assistant", text_of(said[0], where)),
            ]
    return [_turn(raw, where)]


def _turn(raw: Any, where: str) -> Turn:
    if not isinstance(raw, dict):
        raise Unreadable("wrong_type", f"{where} must be an object, not {kind(raw)}")
    name = raw.get("role", raw.get("from"))
    role = _ROLE_OF.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        names = ", ".join(ROLES)
        raise Unreadable("wrong_role", f"{where} has role {shown(name)}; known: {names}")
    content = raw.get("content", raw.get("value", raw.get("refusal")))
    given = raw.get("tool_calls")
    if given is None and isinstance(raw.get("function_call"), dict):
        given = [raw["function_call"]]
    calls = _calls(given, where)
    if content is None and calls:
        content = ""
    thoughts = [raw[key] for key in _THOUGHTS if isinstance(raw.get(key), str)][:1]
    if isinstance(content, list):
        spoken = [part for part in content if not _is_thought(part)]
        thoughts += [_part(part, where) for part in content if _is_thought(part)]
        text = text_of(spoken, where)
        is_calling = any(_is_call(part) for part in content)
    else:
        text = text_of(content, where)
        is_calling = str(name).lower() in _CALLING
    ids = tuple(str(call.get("id", "")) for call in given or ()) or ("",) * is_calling
    return Turn(
        role,
        "\n".join(part for part in (text, *calls) if part) if calls else text,
        "\n".join(thoughts),
        ids,
        str(raw.get("tool_call_id", "")),
    )


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _THOUGHT_PARTS


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "tool_call"


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        name = part.get("type", "text")
        if _is_call(part):
            return _call(_call_of_part(part, where), where)
        if name in (*_TEXT_PARTS, *_THOUGHT_PARTS):
            text = part.get("text", part.get("value", part.get(name)))
            if isinstance(text, str):
                return text
    what = part.get("type") if isinstance(part, dict) else kind(part)
    raise Unreadable("not_text", f"{where} holds a part that is no text: {shown(what)}")


def _call_of_part(part: dict[str, Any], where: str) -> Any:
    """A call that stands as a part, as an object or as its JSON."""
    call = part.get("value", part.get("tool_call", part))
    if not isinstance(call, str):
        return call
    try:
        return tidy(read_json(call), "tool_call")
    except Unreadable as fault:
        raise Unreadable("wrong_type", f"{where}: a call is not JSON: {fault.detail}") from None


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
