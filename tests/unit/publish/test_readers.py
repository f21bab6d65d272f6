"""What trainers' own loading code makes of a pair, by rules that their sources state.

Axolotl 0.19.0     prompt_strategies/dpo/chat_template.py, `argilla_chat`: the prompt is all turns
                   of `chosen` but the last; an answer is rendered after a dummy message and begins
                   where its text is found first. Some templates trim it.
ms-swift 4.6.0     dataset/preprocessor/core.py, `_check_messages`: a row with another role or
                   without a content is deleted.
torchtune 0.6.1    data/_messages.py, `ChosenRejectedToMessages`: whole talks, contents as they are.
LLaMA-Factory 0.9.5  data/converter.py, `SharegptDatasetConverter`: sides alternate, the person's is
                   last, each answer is one turn; data/formatter.py reads a `function_call` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from winnow.ingest.turns import call_text
from winnow.publish.views import left_out, prepare, read_view

from ...batch_rows import BatchRows
from ...published import labelled

Turns = list[dict[str, Any]]
CALL = call_text("rain", {"city": "Ås", "n": 12345678901234567890123})
OTHER = call_text('a "b"', {"x": {"y": [None, 1.0]}})
TOOLS = json.dumps([{"type": "function", "function": {"name": "rain", "parameters": {}}}])
FRAMES = {
    "ChatML": "<|im_start|>user\n[[dummy_message]]<|im_end|>\n"
    "<|im_start|>assistant\n{}<|im_end|>\n",
    "Llama 3": "<|start_header_id|>user<|end_header_id|>\n\n[[dummy_message]]<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "Qwen 3": "<|im_start|>user\n[[dummy_message]]<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n{}<|im_end|>\n",
}
TRIMS: dict[str, Callable[[str], str]] = {
    "ChatML": str,
    "Llama 3": str.strip,
    "Qwen 3": lambda answer: answer.rpartition("</think>")[2].lstrip("\n"),
}
FOUND_IN_FRAMES = [
    "a",
    "user",
    "assistant",
    "\n",
    "[[dummy_message]]",
    "<|im_end|>",
    "<think>so</think>Yes",
]
PADDED = [" x", "x\n", "\u3000x", "x\x1f", "\x85x", "\u2028", "\xa0", ""]

answers = st.one_of(
    st.sampled_from([*FOUND_IN_FRAMES, *PADDED, CALL, OTHER, f"So.\n{CALL}", f"{CALL}\n{OTHER}"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.text(st.characters(categories=["L", "M", "So"]), min_size=3, max_size=40),
)
turns = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool"]), answers.filter(bool)), max_size=4
)
prompts = st.tuples(st.booleans(), turns, answers.filter(bool), st.booleans())
pairs = st.lists(st.tuples(prompts, answers, answers), min_size=1, max_size=8)


def batch(given: list[tuple[Any, str, str]]) -> BatchRows:
    """A batch of certain pairs, the first of each chosen."""
    asked = [prompt(*each) for each, _, _ in given]
    rows = labelled("b", asked)
    said = {
        f"b{i}{side}": text
        for i, (_, *two) in enumerate(given)
        for side, text in zip("ab", two, strict=True)
    }
    responses = {name: {**row, "message": said[name]} for name, row in rows.responses.items()}
    return replace(rows, responses=responses)


def prompt(has_system: bool, middle: list[tuple[str, str]], last: str, has_tools: bool) -> Any:
    """A prompt of any roles in any order; a person has the last word."""
    told = [("system", "Be brief.")] if has_system else []
    named = [*told, *middle, ("user", last)]
    turns = [{"role": role, "content": content} for role, content in named]
    return {"messages": turns, "tools": TOOLS if has_tools else None}


def axolotl(answer: str, template: str) -> str:
    """The answer that it trains on, and the end of the frame."""
    text = FRAMES[template].format("\0").replace("\0", TRIMS[template](answer))
    return text[text.find(answer) :].rstrip()


def end_of(template: str) -> str:
    return FRAMES[template].partition("{}")[2].rstrip()


@settings(max_examples=25, deadline=None)
@given(pairs)
@example([((True, [("user", "Hi"), ("assistant", "Hi")], "q", False), "a", "Good answer.")])
@example([((False, [], "q", False), "same", "same"), ((False, [], "q", True), CALL, f"So\n{CALL}")])
@example([((False, [], "q", False), CALL, "Good answer.")])
@example([((False, [], "q", False), text, "Good answer.") for text in PADDED])
@example([((False, [], "q", False), "Good answer.", text) for text in FOUND_IN_FRAMES])
def test_each_reader_gets_the_pairs_of_dpo_or_its_view_says_why_not(
    given: list[tuple[Any, str, str]],
) -> None:
    with batch(given).opened() as found:
        prepare(found, 0.75)
        told = left_out(found)
        views = {
            name: {
                row["pair_id"]: row
                for table in read_view(found, name, (0.0, 1.0), 1000)
                for row in table.to_pylist()
            }
            for name in ("dpo", "talks", "sharegpt", "calls")
        }
    dpo = views["dpo"]
    assert len(dpo) == len(given)
    for view in ("talks", "sharegpt"):
        lost = sum(n for reason, n in told.items() if reason.startswith(f"{view}: "))
        assert len(views[view]) + lost == len(dpo), told
    for pair, row in views["talks"].items():
        check_talks(row, dpo[pair])
    for pair, row in views["sharegpt"].items():
        check_sharegpt(row, dpo[pair])
    called = {pair for pair, row in dpo.items() if has_calls(row)}
    assert set(views["calls"]) == called
    for pair in called:
        check_calls(views["calls"][pair], dpo[pair])


def check_talks(row: dict[str, Any], pair: dict[str, Any]) -> None:
    """Whole talks, of which Axolotl finds the answers."""
    for side in ("chosen", "rejected"):
        assert row[side] == pair["prompt"] + pair[side]
        assert {turn["role"] for turn in row[side]} <= {"system", "user", "assistant", "tool"}
        answer = row[side][-1]["content"]
        for template in FRAMES:
            assert axolotl(answer, template) == answer + end_of(template)
    assert row["chosen"] != row["rejected"]


def check_sharegpt(row: dict[str, Any], pair: dict[str, Any]) -> None:
    """LLaMA-Factory takes the row, and reads every turn of calls."""
    tags = ("gpt", "function_call") if pair["tools"] else ("gpt",)
    sides = (("human", "observation"), tags)
    told = pair["prompt"]
    said = [turn for turn in told if turn["role"] != "system"]
    assert row["system"] == (told[0]["content"] if told[0]["role"] == "system" else "")
    assert len(said) == len(row["conversations"])
    assert len(said) % 2 == 1
    for place, (turn, ours) in enumerate(zip(row["conversations"], said, strict=True)):
        assert turn["from"] in sides[place % 2]
        same_words(turn, ours["content"])
    for side in ("chosen", "rejected"):
        assert row[side]["from"] in sides[1]
        same_words(row[side], pair[side][0]["content"])


def same_words(turn: dict[str, str], text: str) -> None:
    if turn["from"] != "function_call":
        assert turn["value"] == text
        return
    read = json.loads(turn["value"])
    calls = read if isinstance(read, list) else [read]
    assert "\n".join(call_text(each["name"], each["arguments"]) for each in calls) == text


def has_calls(pair: dict[str, Any]) -> bool:
    """Whether a model's turn ends with a call, among tools."""
    turns = pair["prompt"] + pair["chosen"] + pair["rejected"]
    return pair["tools"] is not None and any(
        turn["role"] == "assistant" and turn["content"].endswith((CALL, OTHER)) for turn in turns
    )


def check_calls(row: dict[str, Any], pair: dict[str, Any]) -> None:
    """Written out as text, each turn is what it was."""
    for name in ("prompt", "chosen", "rejected"):
        assert [written(turn) for turn in row[name]] == pair[name]


def written(turn: dict[str, Any]) -> dict[str, str]:
    calls = [
        call_text(each["function"]["name"], json.loads(each["function"]["arguments"]))
        for each in turn["tool_calls"] or ()
    ]
    said = [turn["content"]] if turn["content"] or not calls else []
    return {"role": turn["role"], "content": "\n".join([*said, *calls])}
