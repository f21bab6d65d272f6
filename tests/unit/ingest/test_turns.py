"""Conversations in every shape give the same prompt; a response ends with the assistant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from winnow.ingest.pairs import read_pair
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.values import Unreadable, columns_of

CALL = {"name": "f", "arguments": {"b": 1, "a": "x"}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": CALL}]},
    {"role": "tool", "content": "ok", "tool_call_id": "1"},
]


def identity(**row: Any) -> str:
    return parse_prompt(row, "f", 1, 1_000).prompt_id


def with_parts(turn: dict[str, Any]) -> dict[str, Any]:
    return {**turn, "content": [{"type": "text", "text": turn["content"]}]}


@pytest.mark.parametrize(
    "same",
    [
        {"prompt": TALK, "messages": None},
        {"conversations": TALK},
        {"messages": json.dumps(TALK)},
        {"conversations": json.dumps(TALK), "messages": "null"},
        {"messages": [{**turn, "name": None, "refusal": None} for turn in TALK]},
        {"messages": [with_parts(t) if t["content"] else t for t in TALK]},
        {"messages": [{**TALK[0], "role": "developer"}, *TALK[1:]]},
        {"messages": [{k.replace("role", "from"): v for k, v in turn.items()} for turn in TALK]},
        {"messages": [*TALK[:2], {**TALK[2], "tool_calls": [{**CALL, "x": None}]}, TALK[3]]},
        {
            "messages": [
                *TALK[:2],
                {
                    "role": "gpt",
                    "tool_calls": [{"name": "f", "arguments": '{"a": "x", "b": 1.0}'}],
                },
                {"from": "observation", "value": "ok"},
            ]
        },
        {"messages": {k: [t.get(k) for t in TALK] for k in ("role", "content", "tool_calls")}},
    ],
)  # fmt: skip
def test_one_talk_in_any_shape_is_one_prompt(same: dict[str, Any]) -> None:
    assert identity(**same) == identity(messages=TALK)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "not_text"),
        ([{"type": "text"}], "not_text"),
        ([1], "not_text"),
        ({"text": "x"}, "wrong_type"),
    ],
)
def test_what_is_no_text_is_refused(content: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        identity(messages=[{"role": "user", "content": content}])


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


Q = said("user", "2 + 2?")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": Q, "chosen": said("assistant", "4"), "rejected": said("gpt", "5")},
        {"chosen": Q + said("assistant", "4"), "rejected": Q + said("assistant", "5")},
        {"prompt": "2 + 2?", "chosen": Q + said("assistant", "4"), "rejected": "5"},
    ],
)
def test_a_pair_in_any_shape_is_one_pair(row: dict[str, Any]) -> None:
    pair = read_pair(row, 100)
    assert (pair.messages, pair.chosen, pair.rejected) == (Q, "4", "5")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": said("user", "4")}, "last_turn_not_assistant"),
        ({"chosen": said("assistant", "4") + Q}, "last_turn_not_assistant"),
        ({"chosen": [{"content": "4"}]}, "wrong_role"),
        ({"chosen": said("user", "3 + 3?") + said("assistant", "4")}, "context_differs"),
        ({"chosen": None}, "no_text"),
        ({"chosen": "5\u200b"}, "same_text"),
        ({"chosen": "\u200b"}, "empty_response"),
        ({"chosen": 4}, "wrong_type"),
        ({"prompt": None}, "no_prompt"),
        ({"prompt": said("assistant", "x")}, "no_question"),
    ],
)
def test_a_pair_that_is_none_says_why(change: dict[str, Any], reason: str) -> None:
    row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", **change}
    with pytest.raises(Unreadable, match=reason):
        read_pair(columns_of(row, ["prompt", "chosen", "rejected"]), 100)
