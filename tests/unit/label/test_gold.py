"""Gold: every line of the file is an item or says why it is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.ids import pair_id, prompt_id, response_id
from winnow.label.gold import read_gold

ROW = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}


def lines(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_an_item_has_the_ids_of_its_content_and_its_place() -> None:
    (item,), quarantined = read_gold("gold.jsonl", b"\n" + lines({**ROW, "dimension": "honesty"}))
    prompt = prompt_id([{"role": "user", "content": "2 + 2?"}], None)
    chosen_id, rejected_id = response_id(prompt, "4"), response_id(prompt, "5")
    assert {item.first_id, item.second_id} == {chosen_id, rejected_id}
    assert (item.first_id == chosen_id) == (item.expected == "first")
    assert item.pair_id == pair_id(chosen_id, rejected_id)
    assert (item.dimension, item.file, item.line) == ("honesty", "gold.jsonl", 2)
    assert not quarantined


def test_messages_and_rows_of_a_published_dataset_are_gold_as_they_are() -> None:
    turns = [{"role": "user", "content": "2 + 2?"}]
    said = [[{"role": "assistant", "content": text}] for text in "45"]
    plain, messages, published = (
        read_gold("g", lines(row))[0][0]
        for row in (
            ROW,
            {"messages": turns, "chosen": "4", "rejected": "5"},
            {"prompt": turns, "chosen": said[0], "rejected": said[1], "margin": 2.5},
        )
    )
    assert plain == messages == published


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_utf8"),
        (b"[1]", "wrong_type"),
        (lines({"prompt": "q", "chosen": 4, "rejected": "5"}), "wrong_type"),
        (lines({"prompt": "q", "chosen": "4"}), "no_text"),
        (lines({"chosen": "4", "rejected": "5"}), "no_prompt"),
        (lines({"prompt": " ", "chosen": "4", "rejected": "5"}), "empty_prompt"),
        (lines({"messages": [], "chosen": "4", "rejected": "5"}), "no_prompt"),
        (lines({"prompt": "q", "chosen": "\u200b", "rejected": "5"}), "empty_response"),
        (lines({"prompt": "q", "chosen": [], "rejected": "5"}), "no_text"),
        (lines({"prompt": "q", "chosen": "5\u200b ", "rejected": "5"}), "same_text"),
        (lines(ROW), "gold_repeated"),
        (
            lines({"prompt": "q", "answers": [{"answer": a, "rank": a} for a in "123"]}),
            "several_pairs",
        ),
        (lines({"prompt": "2 + 2?", "chosen": "5", "rejected": "4"}), "gold_contradicts"),
    ],
)
def test_a_bad_line_goes_to_quarantine_with_its_place(bad: bytes, reason: str) -> None:
    after = lines({"prompt": "after", "chosen": "a", "rejected": "b"})
    items, quarantined = read_gold("dir/gold.jsonl", lines(ROW) + b"\n" + bad + b"\n" + after)
    assert [item.line for item in items] == [1, 3]
    (row,) = quarantined
    assert (row.stage, row.reason, row.file, row.line) == ("label", reason, "dir/gold.jsonl", 2)
    assert row.raw == bad


@pytest.mark.parametrize(
    ("one", "same"),
    [("caf\u00e9", "cafe\u0301"), ("a b", "a\u00a0b"), ("a\nb", "a \nb"), ("a", "a\u200b")],
)
def test_what_looks_the_same_is_one_text(one: str, same: str) -> None:
    rows = [
        {"prompt": "p", "chosen": one, "rejected": same},
        {"prompt": "p", "chosen": one, "rejected": "other"},
        {"prompt": "p", "chosen": same, "rejected": "other"},
        {"prompt": "p", "chosen": "other", "rejected": same},
    ]
    items, quarantined = read_gold("g", lines(*rows))
    assert len(items) == 1
    assert [row.reason for row in quarantined] == [
        *("same_text", "gold_repeated", "gold_contradicts")
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault() -> None:
    data = b"\xef\xbb\xbf" + lines(ROW) + b"\r\n\r\n"
    items, quarantined = read_gold("g", data)
    assert (len(items), quarantined) == (1, [])


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b), max_size=6))
def test_lines_in_are_items_and_quarantined(raw: list[bytes]) -> None:
    # Lines, that is: a file that begins with a bracket is an array.
    data = b"\n".join([lines(ROW), *raw])
    items, quarantined = read_gold("g", data)
    n_lines = sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    assert len(items) + len(quarantined) == n_lines
