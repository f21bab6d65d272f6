"""Turn a row's value into a prompt, or say why it is none.

A text is stored as it is seen: what `plain_text` hides is gone, it is in Unicode's form NFC, line
ends are newlines, all spaces of one width are one character, and no space stands at the ends of
lines or of the text. Indentation and whatever else is seen stay. It is done on what is stored, so
that what is generated, labelled and published is what was de-duplicated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from winnow.ids import prompt_id
from winnow.ingest.turns import Turn, read_turns
from winnow.ingest.values import Unreadable, kind, read_json, tidy
from winnow.text import bare_text, plain_text, unicode_form

TURN_COLUMNS = ("messages", "prompt", "conversations", "conversation")
"""Columns that may hold a prompt, the first of them that a row has."""

PROMPT_COLUMNS = (
    *TURN_COLUMNS,
    *("tools", "source", "dimension", "language", "tags", "received_at"),
)
"""Columns of a prompt file that are read."""

_MAX_FACT_CHARS = 1_000
"""Characters of a source, a dimension, a language or a tag, at most."""

_ONE_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800]")
_INDENTED = re.compile(r"^[ \t]+\S", re.MULTILINE)
_AS_WRITTEN = re.compile(
    r"^[ \t]+\S|[`{}\[\]()<>=|\\#$%&*_^~\t;@/+]|(?<!\w)([\"'])[^\n]{0,200}?  [^\n]{0,200}?\1",
    re.MULTILINE,
)
"""What tells of code, tables or formulas, in which every space counts."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: `messages` is a list of {role, content}; `tools` is JSON or None.

    Calls of tools in a turn are part of its content, a line of JSON each. `format` is that of
    its row, `mended` names what was changed there, `as_it_stood` is the id that it had when nothing
    was, where that differs.
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
    format: str = ""
    mended: tuple[str, ...] = ()
    as_it_stood: str | None = None
    example: Any = None


def check_prompt(turns: Sequence[Turn], max_chars: int) -> list[dict[str, str]]:
    """Turns as the messages of a prompt, normalised; raises Unreadable."""
    n_chars = sum(len(turn.text) for turn in turns)
    if n_chars > max_chars:
        raise Unreadable("too_long", f"{n_chars} characters; {max_chars} are allowed")
    messages = [{"role": turn.role, "content": normalise(turn.text)} for turn in turns]
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise Unreadable("no_question", "the last turn must be the user's")
    if not bare_text(messages[-1]["content"]).strip():
        raise Unreadable("empty_prompt", "the last turn holds nothing that can be seen")
    return messages


def turns_of(row: dict[str, Any]) -> list[Turn]:
    """The turns that a tidied row holds, under the first of the names that it has."""
    for name in TURN_COLUMNS:
        if name in row:
            return read_turns(row[name], name)
    raise Unreadable("no_prompt", "the row has neither `prompt` nor `messages`")


def normalise(text: str) -> str:
    r"""`text` in the form that is stored.

    >>> normalise("  caf\u0065\u0301\u00a0au\u200b lait \r\n")
    'café au lait'
    >>> normalise("\nif x:\n    y()  \n")
    'if x:\n    y()'
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    formed = unicode_form(_ONE_SPACE.sub(" ", text))
    seen = plain_text(formed)
    if seen != formed:
        # What nobody sees may have kept a letter from its accent.
        seen = unicode_form(seen)
    trimmed = "\n".join([line.rstrip() for line in seen.split("\n")]).strip("\n")
    # The first line's own indentation means something only beside that of others.
    first, newline, rest = trimmed.partition("\n")
    return trimmed if _INDENTED.search(rest) else f"{first.lstrip()}{newline}{rest}"


def prompt_identity(messages: Sequence[dict[str, str]], tools: str | None) -> str:
    """Id of a prompt from its normalised messages; in plain prose one space is as good as two."""
    return prompt_id([{**m, "content": told_apart(m["content"])} for m in messages], tools)


def told_apart(text: str) -> str:
    """What two normalised texts share that are one to a reader."""
    bare = text if text.isascii() else bare_text(text)
    if bare != text:
        bare = normalise(bare)
    if "  " not in bare or _AS_WRITTEN.search(bare):
        return bare
    return re.sub(" {2,}", " ", bare)


def read_tools(raw: Any) -> str | None:
    """The tools of a prompt as JSON, from a list or its JSON; None if there is none."""
    if isinstance(raw, str):
        try:
            raw = tidy(read_json(raw), "tools") if raw.strip() else None
        except Unreadable as fault:
            reason = "wrong_type" if fault.reason == "invalid_json" else fault.reason
            raise Unreadable(reason, f"`tools` is not JSON: {fault.detail}") from None
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise Unreadable("wrong_type", f"`tools` must be a list, not {kind(raw)}")
    return json.dumps(raw, sort_keys=True, ensure_ascii=False) if raw else None


def read_fact(row: dict[str, Any], key: str) -> str | None:
    """A short text that a tidied row tells of itself, such as its language."""
    raw = row.get(key)
    if raw is not None and not isinstance(raw, str):
        raise Unreadable("wrong_type", f"`{key}` must be text, not {kind(raw)}")
    # One line of plain text: it is shown on pages and in a terminal.
    return " ".join(plain_text(_short(raw, key)).split()) or None


def read_tags(raw: Any) -> list[str]:
    """The tags of a prompt; nulls among them are none."""
    tags = [tag for tag in raw if tag is not None] if isinstance(raw, list) else raw
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Unreadable("wrong_type", "`tags` must be a list of texts")
    return [_short(tag, "tags") for tag in tags]


def _short(text: str | None, key: str) -> str:
    text = text or ""
    if len(text) > _MAX_FACT_CHARS:
        raise Unreadable("too_long", f"`{key}` has {len(text)} characters; {_MAX_FACT_CHARS} fit")
    return text
