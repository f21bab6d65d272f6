"""OpenAssistant: a tree of messages a row, or one message of a tree a row.

A tree is its first question with the answers to it; what follows these is left (`later_turns`). A
row of a single message is a prompt where it begins a tree: others need rows beside theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.ingest.shapes.example import Example, number, spared
from winnow.ingest.turns import Turn
from winnow.ingest.values import Unreadable, kind

COLUMNS = ("message_tree_id", "message_id", "parent_id", "text", "role", "lang", "deleted")


def is_openassistant(row: Mapping[str, Any]) -> bool:
    """A `prompt` with `replies`, or a message of a tree."""
    prompt = row.get("prompt")
    is_tree = isinstance(prompt, dict) and "text" in prompt and "role" in prompt
    return is_tree or {"message_id", "text", "role"} <= row.keys()


def read_openassistant(row: Mapping[str, Any]) -> Example:
    """A row; of `rank` 0 is best among the answers to one question.

    Raises:
        Unreadable: The question was deleted or did not pass review, or begins no tree.
    """
    node = row.get("prompt", row)
    text = node.get("text")
    if not isinstance(text, str):
        raise Unreadable("wrong_type", f"the prompt's `text` must be text, not {kind(text)}")
    if node.get("role") != "prompter" or node.get("parent_id"):
        detail = "a message that answers another one; bring the file of trees"
        raise Unreadable("no_question", detail)
    if node.get("deleted") is True or node.get("review_result") is False:
        raise Unreadable("deleted", "the question was deleted or did not pass review")
    example = Example([Turn("user", text)])
    lang = node.get("lang")
    example.facts["language"] = lang if isinstance(lang, str) else None
    replies = node.get("replies")

    def read() -> None:
        for reply in replies if isinstance(replies, list) else ():
            if isinstance(reply, dict) and reply.get("deleted") is not True:
                rank = number(reply.get("rank"), "rank")
                model = reply.get("model_name") if reply.get("synthetic") is True else None
                model = model if isinstance(model, str) else None
                example.add(reply.get("text"), "reply", rank=rank, model=model)
                is_cut = bool(reply.get("replies"))
                if is_cut and "later_turns" not in example.mended:
                    example.mended.append("later_turns")

    spared(example, read)
    return example
