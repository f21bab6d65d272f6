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
