"""Rows become prompts in one normal form, or a reason that a person can act on."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from winnow.ingest.normalise import Prompt, normalise
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.values import Unreadable


def parsed(value: object) -> Prompt:
    return parse_prompt(value, "f.jsonl", 1, max_chars=100)


def reason(value: object) -> str:
    with pytest.raises(Unreadable) as fault:
        parsed(value)
    return fault.value.reason


@given(
    st.text() | st.text("ae \n\u00a0\u2002\u200b\u200d\u200c\u037e\u212a\u0301\u0600\ufe0f\u2800")
)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(alphabet="aé\t\n\u00a0e\u0301 "))
def test_what_is_not_seen_makes_no_difference(text: str) -> None:
    spread = unicodedata.normalize("NFD", text).replace("\n", " \r\n").replace("a", "a\u200b")
    assert normalise(f"\n{spread}  ") == normalise(text)


@pytest.mark.parametrize(
    "text",
    [
        "Why?\n```python\ndef f():\n    return  1\n```\nand   this",
        "for i in range(3):\n    if i:\n        print(i)\nprint('x  y')",
        "all:\n\tcc  -o a a.c",
        "a:\n  b: 1",
        "-  x = 1\n+  x =  2",
        "|a  |b|\n|--|-|",
    ],
)
def test_code_stays_as_it_is(text: str) -> None:
    assert normalise(text) == text
    narrower = parsed({"prompt": text.replace("  ", " ").replace("\t", " ")})
    assert parsed({"prompt": text}).prompt_id != narrower.prompt_id


@pytest.mark.parametrize("space", [" ", "\t", "\u00a0", "\u3000"])
def test_long_runs_of_space_are_normalised_at_once(space: str) -> None:
    """A quadratic pattern would take hours."""
    assert normalise(f"a{space * 1_000_000}b{space * 1_000_000}\nc").count("\n") == 1


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("a\nb", "a \ufe0f\nb"),
        ("a\nb", "a\u00a0\u200d\nb"),
        ("a", "a\n\ufe0f"),
        ("a", "\u00a0\u200d\na"),
    ],
)
def test_what_is_hidden_at_the_ends_of_lines_tells_nothing_apart(one: str, same: str) -> None:
    assert parsed({"prompt": one}).prompt_id == parsed({"prompt": same}).prompt_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What does echo 'a  b' print?", "What does echo 'a b' print?"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\U0001f469\u200d\U0001f469", "\U0001f469\U0001f469"),
    ],
)
def test_what_is_seen_tells_prompts_apart(one: str, other: str) -> None:
    assert parsed({"prompt": one}).prompt_id != parsed({"prompt": other}).prompt_id


@pytest.mark.parametrize(
    "text", ["\u2800", "\U0001d159", "\U00016fe4", "\u3164", "\ufe0f", " \u200d "]
)
def test_nothing_visible_is_no_prompt(text: str) -> None:
    assert reason({"prompt": text}) == "empty_prompt"


def test_a_string_is_one_user_turn() -> None:
    one, two = parsed({"prompt": " hi  there "}), parsed({"prompt": "hi there"})
    assert one.messages == [{"role": "user", "content": "hi  there"}]
    assert one.prompt_id == two.prompt_id


@given(
    st.text(min_size=1, max_size=20),
    st.text("\u00ad\u200b\u200d\u2060\ufeff\u202e\u3164\u034f", max_size=2),
)
def test_invisible_characters_tell_no_prompts_apart(text: str, hidden: str) -> None:
    def identity(prompt: str) -> str:
        try:
            return parsed({"prompt": prompt}).prompt_id
        except Unreadable as fault:
            return fault.reason

    # Arabic, Indian scripts and emoji show their joiners: there they do tell prompts apart.
    shown = re.search(
        "[\u0600-\u0dff\u1000-\u109f\u1780-\u18af\u2600-\u27bf\U0001f000-\U0001faff]", text
    )
    assume(not (shown and "\u200d" in hidden))
    spread = "".join(c + hidden for c in text)
    assert identity(hidden + spread) == identity(text)


def test_prose_may_have_apostrophes_and_quotes() -> None:
    text = "l'heure des mar\u00e9es, it's \"so\" called"
    assert (
        parsed({"prompt": text.replace(" ", "  ")}).prompt_id == parsed({"prompt": text}).prompt_id
    )


def test_turns_keep_their_order_and_roles() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert parsed({"messages": turns}).messages == turns
    assert parsed({"messages": turns}).prompt_id != parsed({"messages": turns[1:]}).prompt_id


def test_calls_of_tools_are_kept_in_the_turn_that_made_them() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":  "é"}'}}
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": "ok", "tool_calls": [{"name": "g"}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
    ]
    text = '{"name": "f", "arguments": {"a": "é"}}'
    assert [turn["content"] for turn in parsed({"messages": talk}).messages] == [
        "hi",
        text,
        'ok\n{"name": "g", "arguments": {}}',
        "x",
    ]


@pytest.mark.parametrize("calls", [1, [1], [{"function": {}}], [{"name": "f", "arguments": "{"}]])
def test_a_call_that_is_none_makes_no_prompt(calls: object) -> None:
    talk = [{"role": "assistant", "content": "x", "tool_calls": calls}]
    assert reason({"messages": talk}) == "wrong_type"


def test_what_is_told_of_a_prompt_is_kept() -> None:
    row = {
        "prompt": "x",
        "source": "team",
        "dimension": "correctness",
        "language": "sw",
        "tags": ["t"],
        "tools": [{"name": "search"}],
        "received_at": "2026-11-22T10:00:00",
    }
    prompt = parsed(row)
    assert (prompt.source, prompt.dimension, prompt.language) == ("team", "correctness", "sw")
    assert prompt.tags == ["t"]
    assert prompt.tools == '[{"name": "search"}]'
    assert prompt.received_at is not None
    assert prompt.received_at.isoformat() == "2026-11-22T10:00:00+00:00"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "wrong_type"),
        ({}, "no_prompt"),
        ({"prompt": 3}, "wrong_type"),
        ({"messages": 42}, "wrong_type"),
        ({"messages": []}, "no_prompt"),
        ({"messages": ["x"]}, "wrong_type"),
        ({"messages": [{"role": "user"}]}, "wrong_type"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "wrong_role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no_question"),
        ({"prompt": " \t\n"}, "empty_prompt"),
        ({"prompt": "x" * 101}, "too_long"),
        ({"prompt": "x", "tags": "t"}, "wrong_type"),
        ({"prompt": "x", "source": 1}, "wrong_type"),
        ({"prompt": "x", "tools": "{"}, "wrong_type"),
        ({"prompt": "x", "received_at": "noon"}, "wrong_type"),
        ({"prompt": "\ud800"}, "invalid_utf8"),
    ],
)
def test_what_is_no_prompt_says_why(value: object, expected: str) -> None:
    assert reason(value) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
)
rows = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("prompt", "messages", "tags", "tools", "source"), json_values)
)


@given(json_values | rows)
def test_any_value_is_a_prompt_or_has_a_reason(value: object) -> None:
    try:
        prompt = parsed(value)
    except Unreadable:
        return
    assert prompt.messages[-1]["content"]
