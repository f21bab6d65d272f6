"""Rows of every format that people bring: one prompt, its responses, what was said of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.campaign.sections import Column, RowFormat
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.shapes.registry import AUTO, COLUMNS, FORMATS, How, read_example
from winnow.ingest.values import Unreadable
from winnow.stages.ingest import sort_rows

Row = dict[str, Any]

HH = "\n\nHuman: Why?\n\nAssistant: "
EXTRA = "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\n"
TALK = [{"role": "user", "content": "Why?"}]
SIDES = [[*TALK, {"role": "assistant", "content": text}] for text in ("Good.", "Bad.")]
RATING = {"helpfulness": {"Rating": "5"}, "honesty": {"Rating": "N/A"}}

SHAPES: dict[str, tuple[str, Row]] = {
    "chat": ("openai", {"messages": SIDES[0]}),
    "kto": ("openai", {"messages": SIDES[0], "label": True}),
    "prompt list": ("openai", {"prompt": TALK}),
    "sharegpt": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Good."}]},
    ),
    "sharegpt rounds": ("sharegpt", {"conversation": [{"human": "Why?", "assistant": "Good."}]}),
    "nemo sft": (
        "sharegpt",
        {"mask": "User", "system": "", "conversations": [{"from": "User", "value": "Why?"}]},
    ),
    "wildchat": (
        "prompts",
        {"conversation_hash": "h", "model": "m", "turn": 1, "conversation": SIDES[0]},
    ),
    "mt bench": ("prompts", {"question_id": 81, "turns": ["Why?", "And now?"]}),
    "question": ("prompts", {"question": "Why?"}),
    "text": ("prompts", {"prompt": "Why?"}),
    "alpaca": ("alpaca", {"instruction": "Why?", "input": "<noinput>", "output": "Good."}),
    "alpaca pool": ("alpaca", {"instruction": "Why?", "input": "", "output": ["Good.", "Bad."]}),
    "alpaca pairs": (
        "alpaca",
        {"instruction": "Why?", "output_1": "Bad.", "output_2": "Good.", "preference": 2},
    ),
    "alpaca tasks": (
        "alpaca",
        {"instruction": "Why?", "instances": [{"input": "", "output": "Good."}]},
    ),
    "hh": ("hh_rlhf", {"chosen": f"{HH}Good.", "rejected": f"{HH}Bad."}),
    "ultrafeedback": (
        "ultrafeedback",
        {
            "source": "sharegpt",
            "instruction": "Why?",
            "models": ["a", "b"],
            "completions": [
                {"model": "a", "response": "Good.", "annotations": RATING, "overall_score": "8"},
                {"model": "b", "response": "Bad.", "annotations": {}, "overall_score": 2.0},
            ],
        },
    ),
    "ultrafeedback texts": (
        "ultrafeedback",
        {"raw_text": "Why?", "text": "Judge!", "models": ["a"], "completions": ["Good."]},
    ),
    "h4": (
        "ultrafeedback_binarized",
        {
            "prompt": "Why?",
            "messages": SIDES[0],
            "chosen": SIDES[0],
            "rejected": SIDES[1],
            "score_chosen": 8.5,
            "score_rejected": 2.0,
        },
    ),
    "argilla": (
        "ultrafeedback_binarized",
        {
            "instruction": "Why?",
            "chosen_response": "Good.",
            "rejected_response": "Bad.",
            "chosen_avg_rating": 5.0,
            "rejected_avg_rating": 1.0,
        },
    ),
    "cleaned": (
        "ultrafeedback_binarized",
        {
            "prompt": "Why?",
            "chosen": SIDES[0],
            "rejected": SIDES[1],
            "chosen-rating": 5,
            "rejected-rating": 1,
            "chosen-model": "a",
        },
    ),
    "helpsteer 2": (
        "helpsteer",
        {
            "prompt": "Why?",
            "response": "Good.",
            "helpfulness": 3,
            "correctness": 4,
            "coherence": 4,
            "complexity": -100,
            "verbosity": 1,
        },
    ),
    "helpsteer 2 pairs": (
        "helpsteer",
        {"prompt": "Why?", "response_1": "Good.", "response_2": "Bad.", "preference_strength": -2},
    ),
    "helpsteer 3": (
        "helpsteer",
        {
            "domain": "code",
            "language": "python",
            "context": TALK,
            "response1": "Bad.",
            "response2": "Good.",
            "overall_preference": 3,
        },
    ),
    "nemo regression": (
        "helpsteer",
        {
            "text": f"{EXTRA.replace('Be brief.', '')}Good.\n<extra_id_2>",
            "label": [-100.0] * 4 + [4, 4, 4, 3, -100],
        },
    ),
    "arena": (
        "arena",
        {
            "model_a": "a",
            "model_b": "b",
            "winner": "model_a",
            "language": "English",
            "conversation_a": SIDES[0],
            "conversation_b": SIDES[1],
        },
    ),
    "arena csv": (
        "arena",
        {
            "model_a": "a",
            "model_b": "b",
            "prompt": '["Why?"]',
            "response_a": '["Bad."]',
            "response_b": '["Good."]',
            "winner_model_a": "0",
            "winner_model_b": "1",
            "winner_tie": "0",
        },
    ),
    "trees": (
        "openassistant",
        {
            "message_tree_id": "t",
            "prompt": {
                "text": "Why?",
                "role": "prompter",
                "lang": "en",
                "replies": [
                    {"text": "Bad.", "role": "assistant", "rank": 1, "replies": []},
                    {"text": "Good.", "role": "assistant", "rank": 0, "replies": []},
                    {"text": "Who knows.", "role": "assistant", "rank": None, "replies": []},
                ],
            },
        },
    ),
    "nectar": (
        "nectar",
        {
            "prompt": "\n\nHuman: Why?\n\nAssistant: ",
            "source": ["sharegpt"],
            "answers": [
                {"answer": "Good.", "model": "a", "rank": 1.0},
                {"answer": "Bad.", "model": "b", "rank": 2.0},
            ],
        },
    ),
    "whole talks": ("pairs", {"chosen": SIDES[0], "rejected": SIDES[1], "source": "x"}),
    "talks in csv": (
        "pairs",
        {"chosen": json.dumps(SIDES[0]), "rejected": json.dumps(SIDES[1]), "prompt": "Why?"},
    ),
    "json of each turn": ("openai", {"messages": [json.dumps(turn) for turn in SIDES[0]]}),
    "tulu": ("pairs", {"prompt": "Why?", "chosen": SIDES[0], "rejected": SIDES[1]}),
    "texts": ("pairs", {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}),
    "sharegpt pairs": (
        "pairs",
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "Good."},
            "rejected": {"from": "gpt", "value": "Bad."},
        },
    ),
    "parts": (
        "pairs",
        {
            f"{side}_messages": [
                {"role": turn["role"], "content": [{"type": "text", "value": turn["content"]}]}
                for turn in talk
            ]
            for side, talk in zip(("chosen", "rejected"), SIDES, strict=True)
        },
    ),
    "nemo pairs": (
        "pairs",
        {
            "prompt": EXTRA.replace("Be brief.", ""),
            "chosen_response": "Good.\n<extra_id_1>",
            "rejected_response": "Bad.\n<extra_id_1>",
        },
    ),
    "openai pairs": (
        "pairs",
        {
            "input": {"messages": TALK, "tools": []},
            "preferred_output": SIDES[0][1:],
            "non_preferred_output": SIDES[1][1:],
        },
    ),
    "stack exchange": ("pairs", {"question": "Why?", "response_j": "Good.", "response_k": "Bad."}),
    "shp": (
        "pairs",
        {
            "history": "Why?",
            "human_ref_A": "Bad.",
            "human_ref_B": "Good.",
            "labels": 0,
            "score_A": 3,
            "score_B": 7,
        },
    ),
    "nemo rl": (
        "pool",
        {
            "context": TALK,
            "completions": [
                {"rank": 1, "completion": SIDES[1][1:]},
                {"rank": 0, "completion": SIDES[0][1:]},
            ],
        },
    ),
    "simpo": (
        "pool",
        {
            "prompt": "Why?",
            "all_generated_responses": ["Good.", "Bad."],
            "all_rm_scores": [0.5, -1.0],
        },
    ),
    "nca": (
        "pool",
        {
            "prompt": "Why?",
            "A0": SIDES[0],
            "A1": SIDES[1],
            "score_A0": 9.0,
            "score_A1": 1.0,
        },
    ),
    "trl kto": ("pool", {"prompt": TALK, "completion": SIDES[0][1:], "label": True}),
    "responses": ("pool", {"prompt": "Why?", "response": "Good.", "model": "a", "score": 2}),
}


def read(row: Row, **how: Any) -> Any:
    return parse_prompt(row, "f", 1, 2_000, How(**how))


def in_file(row: Row) -> Row:
    """A row as `datasets` writes it: with nulls for the columns that others have."""
    return {**dict.fromkeys(COLUMNS), **row}


@pytest.mark.parametrize("name", SHAPES)
def test_a_row_of_any_format_is_the_prompt_that_it_asks(name: str) -> None:
    wanted, row = SHAPES[name]
    for given_row in (row, in_file(row)):
        found, example = read_example(given_row)
        assert found.name == wanted
        assert read(given_row).messages == TALK
        assert example.unfit is None
        seen = [candidate.text for candidate in example.candidates]
        assert set(seen) <= {"Good.", "Bad.", "Who knows."}
        for vote in example.preferences():
            better = {"first": vote.first, "second": vote.second}[vote.winner]
            assert seen[better] == "Good."
    assert read(row).prompt_id == read({"prompt": "Why?"}).prompt_id
    assert read(row, format=wanted).messages == TALK, "the same where it is named"


def test_every_format_can_be_named_and_every_column_mapped() -> None:
    assert set(get_args(RowFormat)) == {AUTO, *FORMATS}
    assert {name for _, (name, _) in SHAPES.items()} == set(FORMATS)
    assert set(get_args(Column)) <= set(How(as_pools=True).read)


@pytest.mark.parametrize("named", sorted(FORMATS))
def test_a_named_format_refuses_others_and_says_what_to_do(named: str) -> None:
    n_refused = 0
    for wanted, row in SHAPES.values():
        prompts, quarantined = sort_rows([RawRow("f", 7, value=row)], {}, 2_000, how=How(named))
        if prompts:
            continue
        [refused] = quarantined
        n_refused += 1
        assert named != wanted
        assert (refused.reason, refused.file, refused.line) == ("other_format", "f", 7)
        assert f"`{wanted}`" in refused.detail
        assert "ingest.format" in refused.detail
    assert n_refused > len(SHAPES) / 2


def test_scores_and_ratings_are_read() -> None:
    example = read_example(SHAPES["ultrafeedback"][1])[1]
    good, bad = example.candidates
    assert (good.model, good.score, good.ratings) == ("a", 8, {"helpfulness": 5})
    assert (bad.model, bad.score, bad.ratings) == ("b", 2, {})
    [rated] = read_example(SHAPES["helpsteer 2"][1])[1].candidates
    assert rated.ratings == {"helpfulness": 3, "correctness": 4, "coherence": 4, "verbosity": 1}
    [line] = read_example(SHAPES["nemo regression"][1])[1].candidates
    assert line.ratings == {"helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 3}
    for name in ("kto", "trl kto"):
        [thumb] = read_example(SHAPES[name][1])[1].candidates
        assert thumb.liked is True
    strong = read_example(SHAPES["helpsteer 3"][1])[1]
    assert [(vote.winner, vote.strength) for vote in strong.votes] == [("second", 3)]
    assert read(SHAPES["helpsteer 3"][1]).language is None, "python is no language of people"
    assert read(SHAPES["nectar"][1]).source == "sharegpt"
    assert read(SHAPES["trees"][1]).language == "en"


def changed(name: str, **change: Any) -> Row:
    return {**SHAPES[name][1], **change}


def talk(*said: str, roles: str = "ua") -> list[Row]:
    names = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": names[role], "content": text} for role, text in zip(roles, said, strict=True)]


def scored(score: Any, mean: Any) -> Row:
    completion = {"model": "a", "response": "x", "annotations": {}, "overall_score": score}
    return changed("ultrafeedback", completions=[{**completion, "fine-grained_score": mean}])


@pytest.mark.parametrize(
    ("row", "rule", "messages"),
    [
        ({"messages": talk("a", "b", roles="uu")}, "joined_turns", talk("a\n\nb", roles="u")),
        ({"messages": talk("a", "a", roles="uu")}, "joined_turns", talk("a", roles="u")),
        (
            {"messages": talk("a", "<think>hm</think>\nb", "c", roles="uau")},
            "thoughts_apart",
            talk("a", "b", "c", roles="uau"),
        ),
        (
            {"messages": talk("a", "hm</think>b", "c", roles="uau")},
            "thoughts_apart",
            talk("a", "b", "c", roles="uau"),
        ),
        (
            {"messages": talk("a", "b▌", "c", roles="uau")},
            "cursor",
            talk("a", "b", "c", roles="uau"),
        ),
        (
            {"conversations": talk("hello", "a", "b", roles="aua")},
            "opening_answer",
            talk("a", roles="u"),
        ),
        (
            {"conversations": talk("a", roles="u"), "system": "Be brief."},
            "system_column",
            talk("Be brief.", "a", roles="su"),
        ),
        (
            {"conversations": talk("Be brief.", "a", roles="su"), "system": "Be brief."},
            "joined_turns",
            talk("Be brief.", "a", roles="su"),
        ),
        ({"prompt": f"{HH}"}, "markup", TALK),
        ({"prompt": EXTRA}, "markup", talk("Be brief.", "Why?", roles="su")),
        (
            {"prompt": "Why?\n<extra_id_1>Assistant\nSo.\n<extra_id_1>User\nReally?"},
            "markup",
            talk("Why?", "So.", "Really?", roles="uau"),
        ),
        ({"turns": ["a", "b"]}, "later_questions", talk("a", roles="u")),
        (
            changed("alpaca tasks", instances=[{"input": "x"}, {"input": "y"}]),
            "later_instances",
            talk("Why?\nx", roles="u"),
        ),
        (
            changed("arena", conversation_a=[*SIDES[0], *TALK], conversation_b=SIDES[1]),
            "first_turn_only",
            TALK,
        ),
        (scored(10, 1.5), "score_of_ten", TALK),
        (scored("10.0", 4), "score_of_ten", TALK),
        (
            {"messages": TALK, "functions": [{"name": "f"}]},
            "functions",
            TALK,
        ),
    ],
)  # fmt: skip
def test_a_fault_is_mended_by_a_rule_that_is_told(row: Row, rule: str, messages: list[Row]) -> None:
    prompt = read(row)
    assert rule in prompt.mended
    assert prompt.messages == messages


def test_a_score_of_ten_that_was_a_one_is_none() -> None:
    for score, mean, wanted in ((10, 2, None), (10, 4.75, 10), (10, None, 10), (9, 2, 9)):
        [candidate] = read_example(scored(score, mean))[1].candidates
        assert candidate.score == wanted


def test_results_stand_in_the_order_of_their_calls() -> None:
    calls = [{"id": f"c{k}", "function": {"name": "f", "arguments": {"x": k}}} for k in (1, 2)]
    results = [{"role": "tool", "tool_call_id": f"c{k}", "content": f"is {k}"} for k in (1, 2)]
    row = {"messages": [*TALK, {"role": "assistant", "tool_calls": calls}, *results]}
    turned = {"messages": [*row["messages"][:2], *results[::-1]]}
    assert read(row).messages == read(turned).messages
    assert (read(row).mended, read(turned).mended) == ((), ("results_ordered",))


def test_parts_of_reasoning_and_calls_in_parts() -> None:
    parts = [
        {"type": "reasoning", "value": "hm"},
        {"type": "text", "value": "Let me look."},
        {"type": "tool_call", "value": '{"name": "f", "arguments": {"b": 1, "a": 2}}'},
    ]
    row = {"messages": [*TALK, {"role": "assistant", "content": parts}]}
    [candidate] = read_example(row)[1].candidates
    assert candidate.thought == "hm"
    assert candidate.text == 'Let me look.\n{"name": "f", "arguments": {"a": 2, "b": 1}}'
    more = {"role": "assistant", "reasoning_content": "hm", "content": "So."}
    [candidate] = read_example({"messages": [*TALK, more]})[1].candidates
    assert (candidate.text, candidate.thought) == ("So.", "hm")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": talk("a", "", "b", roles="uau")}, "empty_turn"),
        ({"messages": talk("hello {{user}}", roles="u")}, "placeholder"),
        ({"messages": talk("a", "I am {{ name }}.", "b", roles="uau")}, "placeholder"),
        ({"messages": talk("<|im_start|>user\nx", roles="u")}, "marker_in_turn"),
        (
            {"messages": talk("a", "NETWORK ERROR DUE TO HIGH TRAFFIC. x", "b", roles="uau")},
            "error_banner",
        ),
        ({"messages": talk("x", roles="a")}, "no_question"),
        (changed("hh", chosen=f"\n\nHuman: Wh\n\nAssistant: Human: x{HH}y"), "context_differs"),
        (
            changed("hh", chosen=f"{HH}Human: b{HH}c", rejected=f"{HH}Human: b{HH}d"),
            "marker_in_turn",
        ),
        (changed("hh", **dict.fromkeys(("chosen", "rejected"), f"{HH}{HH}x")), "empty_turn"),
        (
            changed("hh", chosen=f"\n\nHuman: a{HH}x", rejected=f"\n\nHuman: a{HH}y"),
            "same_role_twice",
        ),
        (changed("hh", rejected="Good."), "no_marker"),
        (changed("hh", rejected="\n\nHuman: Who?\n\nAssistant: x"), "context_differs"),
        ({"chosen": SIDES[0], "rejected": [*talk("x", roles="u"), SIDES[1][1]]}, "context_differs"),
        (changed("tulu", prompt="Who?"), "context_differs"),
        (changed("arena", conversation_b=talk("Who?", "x")), "context_differs"),
        (changed("trees", prompt={"text": "x", "role": "assistant"}), "no_question"),
        (
            changed("trees", prompt={"text": "x", "role": "prompter", "deleted": True}),
            "deleted",
        ),
        ({"message_id": "m", "parent_id": "p", "role": "assistant", "text": "x"}, "no_question"),
        (changed("alpaca", history=[["a"]]), "wrong_type"),
        ({"messages": ['{"role": "user"']}, "wrong_type"),
        ({"prompt": "<extra_id_1>User\na <extra_id_7> b"}, "marker_in_turn"),
        (changed("alpaca", system=3), "wrong_type"),
        ({"title": "x", "body": "y"}, "no_prompt"),
    ],
)  # fmt: skip
def test_what_no_rule_mends_says_why(row: Row, reason: str) -> None:
    with pytest.raises(Unreadable) as told:
        read(row)
    assert told.value.reason == reason


def test_what_is_about_places_to_fill_in_is_no_place_to_fill_in() -> None:
    for text in ("What does {{name}} do in Jinja?", "Mend `{{ x }}`", r"\frac{{a}}{{b}}"):
        assert read({"prompt": text}).messages[0]["content"] == text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (changed("hh", chosen=f"{HH}Bad."), "same_text"),
        (changed("hh", chosen=f"{HH}\u200b"), "empty_response"),
        (changed("hh", chosen=f"{HH}x Human: y"), "marker_in_turn"),
        (changed("texts", chosen="<think>never ends"), "empty_response"),
        (changed("texts", chosen="I am {{name}}."), "placeholder"),
        (changed("h4", score_chosen=1.0), "scores_contradict"),
        (changed("arena", winner="somebody"), "wrong_winner"),
        (changed("shp", labels=7), "wrong_score"),
        (changed("alpaca pairs", preference=5), "wrong_score"),
        (changed("helpsteer 2", helpfulness="much"), "wrong_score"),
        ({"messages": talk("a", "b", "c", roles="uaa")}, "same_role_twice"),
    ],
)
def test_a_row_whose_responses_cannot_be_judged_is_still_a_prompt(row: Row, reason: str) -> None:
    assert read(row).messages[-1]["role"] == "user"
    unfit = read_example(row)[1].unfit
    assert unfit is not None
    assert unfit.reason == reason


def test_what_is_no_preference_is_none() -> None:
    for row in (
        changed("h4", score_rejected=8.5),
        changed("helpsteer 3", overall_preference=0),
        changed("arena", winner="tie"),
        changed("alpaca pairs", preference=0),
    ):
        assert [vote.winner for vote in read_example(row)[1].votes] == ["tie"]
    both_bad = read_example(changed("arena", winner="tie (bothbad)"))[1]
    assert [vote.winner for vote in both_bad.votes] == ["both_bad"]
    longer = changed("arena", conversation_a=[*SIDES[0], *TALK])
    assert not read_example(longer)[1].votes, "a vote on two different talks"


def test_a_column_whose_inside_is_all_null_is_absent() -> None:
    nulls = {"role": None, "content": None}
    assert read(changed("tulu", chosen=nulls, rejected=nulls)).messages == TALK
    found, example = read_example(changed("tulu", chosen=nulls))
    assert (found.name, example.candidates) == ("prompts", [])


def test_columns_by_another_name() -> None:
    row = {"my_question": "Why?", "my_system": "Be brief.", "prompt": "not me"}
    how = {"columns": {"prompt": "my_question", "system": "my_system"}}
    assert read(row, **how).messages == talk("Be brief.", "Why?", roles="su")
    assert {"my_question", "my_system"} <= set(How(**how).read)
    with pytest.raises(Unreadable, match=r"my_question.*ingest\.columns"):
        read({"my_question": "Why?"})


def test_what_an_earlier_version_bought_is_not_bought_again() -> None:
    rows = [
        {"prompt": HH.strip("\n")},
        {"conversations": talk("a", roles="u"), "system": "Be brief."},
        {"messages": talk("a", "b", roles="uu")},
        changed("nectar"),
    ]
    for row in rows:
        prompt = read(row)
        assert prompt.as_it_stood not in (None, prompt.prompt_id)
        before = {prompt.as_it_stood: "batch 1"}
        for accepted in (before, lambda ids, b=before: {i: b[i] for i in ids if i in b}):
            assert sort_rows([RawRow("f", 1, value=row)], accepted, 2_000)[0] == []
    plain = read({"messages": talk("a", "b", "c", roles="uau")})
    assert plain.as_it_stood is None


WORDS = st.sampled_from(["tide", "moon", "Öl", "日本", "2 + 2?", "if x:\n    y()", "🙂"])
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TALKS = st.tuples(
    st.none() | TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=2), TEXTS, TEXTS, TEXTS
)


def _turns(system: str | None, rounds: list[tuple[str, str]], asked: str) -> list[tuple[str, str]]:
    said = [("system", system)] if system else []
    for question, answer in rounds:
        said += [("user", question), ("assistant", answer)]
    return [*said, ("user", asked)]


def _chat(turns: list[tuple[str, str]]) -> list[Row]:
    return [{"role": role, "content": text} for role, text in turns]


def _sharegpt(turns: list[tuple[str, str]]) -> list[Row]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return [{"from": names[role], "value": text} for role, text in turns]


def _hh(turns: list[tuple[str, str]]) -> str:
    names = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{names[role]}: {text}" for role, text in turns)


WRITERS: list[Callable[[list[tuple[str, str]], str, str], Row]] = [
    lambda t, a, b: {"messages": _chat([*t, ("assistant", a)])},
    lambda t, a, b: {"messages": _chat(t)},
    lambda t, a, b: {"conversations": _sharegpt([*t, ("assistant", a)])},
    lambda t, a, b: {"conversations": json.dumps(_sharegpt([*t, ("assistant", a)]))},
    lambda t, a, b: {"conversations": _sharegpt(t), "chosen": _sharegpt([("assistant", a)])[0],
                     "rejected": _sharegpt([("assistant", b)])[0]},
    lambda t, a, b: {"chosen": _chat([*t, ("assistant", a)]),
                     "rejected": _chat([*t, ("assistant", b)])},
    lambda t, a, b: {"context": _chat(t), "response1": a, "response2": b, "overall_preference": -1},
    lambda t, a, b: {"prompt": _chat(t), "chosen": a, "rejected": b},
    lambda t, a, b: {"prompt": _chat(t), "all_generated_responses": [a, b]},
]  # fmt: skip


@given(TALKS)
def test_a_talk_is_one_prompt_in_every_format(parts: tuple[Any, ...]) -> None:
    system, rounds, asked, good, bad = parts
    turns = _turns(system, rounds, asked)
    wanted = read({"messages": _chat(turns)})
    rows = [write(turns, good, bad) for write in WRITERS]
    if not system:
        rows.append({"prompt": _hh(turns) + "\n\nAssistant:", "answers": [{"answer": good}]})
        sides = [_hh([*turns, ("assistant", text)]) for text in (good, bad)]
        rows.append(dict(zip(("chosen", "rejected"), sides, strict=True)))
        history = [list(each) for each in rounds]
        rows.append({"instruction": asked, "history": history, "output": good})
    for row in rows:
        assert (read(row).prompt_id, read(row).messages) == (wanted.prompt_id, wanted.messages)
        assert {c.text for c in read_example(row)[1].candidates} <= {good, bad}


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 10) | TEXTS | st.just("{{name}}") | st.just(HH),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "from", "value", "text", "replies", "answer", "model"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def _texts_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {text for each in value.values() for text in _texts_in(each)}
    if isinstance(value, list):
        return {text for each in value for text in _texts_in(each)}
    return {value} if isinstance(value, str) else set()


@given(st.lists(st.tuples(st.sampled_from(sorted(SHAPES)), st.dictionaries(
    st.sampled_from(COLUMNS), ODD, max_size=2)), min_size=1, max_size=4))  # fmt: skip
def test_odd_rows_are_prompts_or_quarantined_and_nothing_is_invented(
    made: list[tuple[str, Row]],
) -> None:
    rows = [{**SHAPES[name][1], **odd} for name, odd in made]
    formats: Counter[str] = Counter()
    raws = [RawRow("f", k, value=row) for k, row in enumerate(rows, start=1)]
    prompts, quarantined = sort_rows(raws, {}, 2_000, formats=formats)
    assert len(prompts) + len(quarantined) == len(rows) == sum(formats.values())
    assert all(row.reason != "unreadable" for row in quarantined), "a fault that nobody foresaw"
    for prompt in prompts:
        held = " ".join(_texts_in(rows[prompt.line - 1]))
        for message in prompt.messages:
            assert all(word in held for word in message["content"].split())
