"""OpenAssistant: a tree of messages a row, or one message of a tree a row.

A tree is its first question with the answers to it; what follows these is left (`later_turns`), but
where pools are read: there each later question with several answers is a row too (`later_rows`). A
row of a single message is a prompt where it begins a tree: others need rows beside theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from winnow.ingest.shapes.example import Example, number, text_or_none
from winnow.ingest.turns import Turn, read_turns
from winnow.ingest.values import Unreadable, kind

COLUMNS = (
    *("message_tree_id", "message_id", "parent_id", "text", "role", "lang", "deleted"),
    "context",
)


def is_openassistant(row: Mapping[str, Any]) -> bool:
    """A `prompt` with `replies`, or a message of a tree."""
    prompt = row.get("prompt")
    is_tree = isinstance(prompt, dict) and "text" in prompt and "role" in prompt
    return is_tree or (prompt is None and {"message_id", "text", "role"} <= row.keys())


def later_rows(row: Any) -> Iterator[dict[str, Any]]:
    """The questions below the first one of a tree that have several answers, a row each.

    `context` has the turns before it. Of the answers that have questions below them each goes on.
    """
    if not isinstance(row, Mapping) or not is_openassistant(row) or "prompt" not in row:
        return
    waiting = [(row["prompt"], list[dict[str, Any]]())]
    while waiting:
        node, before = waiting.pop()
        asked = [*before, {"role": "user", "content": node.get("text")}]
        for reply in reversed(_replies(node)):
            said = [*asked, {"role": "assistant", "content": reply.get("text")}]
            waiting += [(each, said) for each in reversed(_replies(reply))]
        if before and len(_replies(node)) > 1:
            yield {"prompt": node, "context": before}


def read_openassistant(row: Mapping[str, Any]) -> Example:
    """A row; of `rank` 0 is best among the answers to one question.

    Raises:
        Unreadable: The question was deleted or did not pass review, or begins no tree.
    """
    node = row.get("prompt", row)
    text = node.get("text")
    if not isinstance(text, str):
        raise Unreadable("wrong_type", f"the prompt's `text` must be text, not {kind(text)}")
    if node.get("role") != "prompter" or (node.get("parent_id") and "context" not in row):
        detail = "a message that answers another one; bring the file of trees"
        raise Unreadable("no_question", detail)
    if node.get("deleted") is True or node.get("review_result") is False:
        raise Unreadable("deleted", "the question was deleted or did not pass review")
    example = Example([*read_turns(row.get("context", []), "context"), Turn("user", text)])
    example.facts["language"] = text_or_none(node.get("lang"))

    def read_one(reply: dict[str, Any]) -> None:
        model = reply.get("model_name") if reply.get("synthetic") is True else None
        example.add(
            reply.get("text"),
            "reply",
            rank=number(reply.get("rank"), "rank"),
            model=text_or_none(model),
        )
        if reply.get("replies") and "later_turns" not in example.mended:
            example.mended.append("later_turns")

    example.add_each(_replies(node), read_one)
    return example


def _replies(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What answers a message and was not deleted."""
    replies = node.get("replies")
    return [
        reply
        for reply in (replies if isinstance(replies, list) else ())
        if isinstance(reply, dict) and reply.get("deleted") is not True
    ]
