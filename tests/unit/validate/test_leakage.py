"""Evaluation prompts are found whatever case, marks or padding they leak in; others are left be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from winnow.campaign import load_campaign
from winnow.errors import Fatal
from winnow.validate.leakage import leaked, merged, normalised, read_evaluation

LONG = "Explain to a child of nine why the tide comes and goes twice a day, and what the moon does."


def prompt(text: str, name: str = "p") -> dict[str, Any]:
    return {"prompt_id": name, "messages": [{"role": "user", "content": text}]}


def found(text: str, *evaluation: Any, share: float = 0.8) -> bool:
    data = b"\n".join(json.dumps(row).encode() for row in evaluation)
    return bool(leaked([prompt(text)], read_evaluation("e.jsonl", data), share))


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        (LONG, True),
        (LONG.upper() + " !!", True),
        ("  ".join(LONG.split()).replace(",", " ;"), True),
        (f"You are a kind teacher. {LONG} Use no more than three sentences, please.", True),
        (LONG.replace("nine", "ten"), True),
        ("Explain to a child of nine why the sky is blue.", False),
        ("Why does the moon shine?", False),
    ],
)
def test_a_leak_is_found_and_a_likeness_is_none(text: str, leaks: bool) -> None:
    assert found(text, {"prompt": LONG}) is leaks


def test_a_short_prompt_within_a_longer_one_is_another_prompt() -> None:
    assert not found("Write a poem about the tide and the moon", {"prompt": "Write a poem"})
    assert found("write a POEM.", {"prompt": "Write a poem"})


def test_conversations_and_ids_are_looked_for_too() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [prompt("x", "other"), {"prompt_id": "p", "messages": [*turns, turns[0]]}]
    for row in ({"messages": [*turns, turns[0]]}, {"prompt": [*turns, turns[0]]}):
        evaluation = read_evaluation("e", json.dumps(row).encode())
        assert [bad.row_id for bad in leaked(rows, evaluation, 0.8)] == ["p"]
    by_id = read_evaluation("e", b'{"prompt_id": "other", "prompt": "Another one"}')
    assert [bad.row_id for bad in leaked(rows, by_id, 0.8)] == ["other"]


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": LONG},
        {"prompt_id": "81", "messages": None, "prompt": LONG},
        {"prompt_id": "81", "messages": [{"role": "user", "content": parts(LONG)}]},
        {"id": "x", "conversations": [{"from": "human", "value": LONG}]},
        {"messages": [{"role": "human", "content": LONG, "tool_calls": None}]},
        {"question_id": 81, "turns": [LONG]},
        {"question_id": 81, "turns": [LONG, "Now in verse."]},
        {"messages": [{"role": role, "content": LONG} for role in ("user", "assistant", "user")]},
        {"instruction": LONG, "input": None},
        {"prompt": "another one", "messages": [{"role": "user", "content": LONG}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("hidden", ["", "\u00ad", "\u200b", "\u200d", "\u2060"])
def test_an_evaluation_prompt_is_protected_in_any_shape(row: dict[str, Any], hidden: str) -> None:
    assert found(hidden.join(LONG), row)
    assert not found("Why does the moon shine?", row)


@pytest.mark.parametrize(
    "turns",
    [
        [("system", LONG), ("user", "Answer.")],
        [("user", "hi"), ("assistant", "ok"), ("tool", LONG)],
        [("user", "hi"), ("assistant", LONG), ("user", "Yes, answer that.")],
    ],
)
def test_an_evaluation_prompt_is_found_in_any_turn(turns: list[tuple[str, str]]) -> None:
    row = {"prompt_id": "p", "messages": [{"role": r, "content": c} for r, c in turns]}
    assert leaked([row], read_evaluation("e", json.dumps({"prompt": LONG}).encode()), 0.8)


@pytest.mark.parametrize(
    ("held", "other"),
    [
        ("What is 12 + 7?", "What is 12 - 7?"),
        ("What is 12 + 7?", "What is 12 * 7?"),
        ("Is a < b?", "Is a > b?"),
        ("Explain pointers in C", "Explain pointers in C++"),
        ("Explain pointers in C", "Explain pointers in C#"),
    ],
)
def test_a_sign_may_be_what_is_asked(held: str, other: str) -> None:
    assert not found(other, {"prompt": held}, share=1.0)
    assert found(held.upper().replace(" ", "  "), {"prompt": held})


def test_a_long_evaluation_conversation_takes_no_time() -> None:
    turns = [f"word {k} is here" for k in range(3_000)]
    evaluation = read_evaluation("e", json.dumps({"turns": turns}).encode())
    assert len(evaluation.texts) < 20


@pytest.mark.parametrize("text", ["\U0001f642\U0001f642", "+ - * / ?", "2 + 2", "¿?", "日"])
def test_signs_and_emoji_are_text(text: str) -> None:
    assert found(text, {"prompt": text})
    assert not found("Why does the moon shine?", {"prompt": text})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt_id": "81"},
        {"prompt_id": "81", "prompt": None},
        {"prompt_id": "81", "prompt": "\u200b"},
        {"prompt_id": "81", "messages": []},
        {"prompt_id": "81", "messages": [{"role": "system", "content": "x"}]},
        {"prompt_id": "81", "messages": [{"role": "user", "content": [{"type": "image"}]}]},
        {"prompt_id": "81", "turns": [1]},
        {"prompt_id": "81", "prompt": {"text": "x"}},
        {"prompt_id": "81", "prompt": "x", "conversations": [{"from": "boss", "value": "x"}]},
    ],
)
def test_a_row_that_gives_no_text_is_an_error_whatever_ids_it_has(row: dict[str, Any]) -> None:
    with pytest.raises(Fatal, match=r"e\.jsonl:2 is no evaluation prompt"):
        read_evaluation("e.jsonl", b'{"prompt": "fine"}\n' + json.dumps(row).encode())


def test_the_place_of_the_evaluation_prompt_is_told() -> None:
    sets = [read_evaluation(name, b'\n{"prompt": "Same one"}') for name in ("a.jsonl", "b.jsonl")]
    (bad,) = leaked([prompt("same one")], merged(sets), 0.8)
    assert "a.jsonl:2" in bad.detail


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"text": "x"}', b'{"prompt": " "}'])
def test_a_line_that_is_no_prompt_is_never_skipped(line: bytes) -> None:
    with pytest.raises(Fatal, match=r"e\.jsonl:2"):
        read_evaluation("e.jsonl", b'{"prompt": "fine"}\n' + line)


@given(
    st.lists(st.text("abc ", min_size=1, max_size=40), min_size=1, max_size=6),
    st.lists(st.text("abc ", min_size=1, max_size=40), min_size=1, max_size=6),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_looking_up_rare_pieces_misses_nothing(
    texts: list[str], evaluation: list[str], share: float
) -> None:
    def pieces(text: str) -> set[str]:
        return {text[i : i + 8] for i in range(max(1, len(text) - 7))}

    asked = [normalised(text) for text in evaluation if normalised(text)]
    data = b"\n".join(json.dumps({"prompt": text}).encode() for text in asked)
    rows = [prompt(text, str(n)) for n, text in enumerate(texts)]
    near = {
        str(n)
        for n, text in enumerate(texts)
        for other in asked
        if len(pieces(normalised(text)) & pieces(other))
        >= share * len(pieces(normalised(text)) | pieces(other))
    }
    told = {bad.row_id for bad in leaked(rows, read_evaluation("e", data), share)}
    assert told == near


def test_the_file_is_looked_for_beside_the_campaign(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    settings = {
        "name": "c",
        "ingest": {"sources": ["in"]},
        "expand": {"model": "m"},
        "label": {"budget_usd": 1},
        "publish": {"dataset": "d"},
        "validation": {"evaluation_prompts": "held/out.jsonl"},
    }
    file.write_text(yaml.safe_dump(settings))
    found = load_campaign(file).validation.evaluation_prompts
    assert found == str(tmp_path / "held/out.jsonl")


def test_a_rare_piece_that_the_leak_lacks_does_not_hide_it() -> None:
    assert found("xbcdefghijklmnop", {"prompt": "abcdefghijklmnop"})
