"""Talks and prompts: OpenAI chat, ShareGPT and its spellings, sets of prompts.

The last answer of a talk that ends with one is a response; the prompt is all before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.ingest.normalise import TURN_COLUMNS
from winnow.ingest.shapes.example import Example, mended_prompt, split
from winnow.ingest.shapes.markup import is_marked, unmarked
from winnow.ingest.turns import Turn, read_turns, text_of
from winnow.ingest.values import Unreadable, kind, read_json

Row = Mapping[str, Any]

SYSTEMS = ("system", "system_prompt")
CHAT = ("messages", "functions", *SYSTEMS)
SHAREGPT = ("conversations", "conversation", *SYSTEMS)
PROMPTS = ("turns", "question", "conversation_hash", "conversation_id", *SYSTEMS)


def is_sharegpt(row: Row) -> bool:
    """`conversations`, or turns of `from` and `value` under any name; no set of WildChat's."""
    name = _first(row)
    return name is not None and not is_prompts(row) and (
        name in ("conversations", "conversation") or "from" in _names_of_turn(row[name])
    )  # fmt: skip


def is_openai(row: Row) -> bool:
    """Turns of `role` and `content` under `messages` or `prompt`."""
    name = _first(row)
    if name not in ("messages", "prompt") or is_sharegpt(row):
        return False
    is_tree = isinstance(row[name], dict) and "replies" in row[name]
    return not is_tree and not (name == "prompt" and isinstance(row[name], str))


def is_prompts(row: Row) -> bool:
    """A prompt as a text, MT-bench's `turns`, a `question`, a talk of WildChat or LMSYS."""
    name = _first(row)
    if name == "prompt":
        # Nectar's are marked up, and an arena's may be lists in a text.
        return isinstance(row["prompt"], str) and not {"answers", "response_a"} & row.keys()
    if name == "conversation":
        return "conversation_hash" in row or "conversation_id" in row
    return name is None and ("turns" in row or "question" in row)


def read_openai(row: Row) -> Example:
    """A row of OpenAI chat."""
    return _talk(row)


def read_sharegpt(row: Row) -> Example:
    """A row of ShareGPT: what the assistant says before anybody asked is no part of the talk."""
    return _talk(row, skips_opening=True)


def read_prompts(row: Row) -> Example:
    """A row of a set of prompts; of several questions without answers the first is the prompt."""
    if "turns" not in row or _first(row) is not None:
        return _talk(row)
    turns = row["turns"] if isinstance(row["turns"], list) else [row["turns"]]
    asked = [turn.get("content") if isinstance(turn, dict) else turn for turn in turns]
    example = Example([Turn("user", text_of(asked[0], "`turns`, turn 1"))])
    example.mended += ["later_questions"] * (len(asked) > 1)
    return example


def asked_in(row: Row) -> Example:
    """What a row asks apart from responses, under any of its names, as an example without any.

    - `markup`: a prompt in the markup of HH-RLHF or of NeMo becomes its turns.
    - `system_column`: a system prompt in a column of its own stands before the turns, once.
    - `functions`: OpenAI's older definitions of tools are `tools`.

    Raises:
        Unreadable: There is no prompt, or it cannot be read.
    """
    example = Example(_turns(row), tools=row.get("tools"))
    example.mended += ["markup"] * any(
        isinstance(row.get(name), str) and is_marked(row[name]) for name in TURN_COLUMNS
    )
    functions = row.get("functions")
    if "tools" not in row and isinstance(functions, list):
        example.tools = [{"type": "function", "function": each} for each in functions]
        example.mended.append("functions")
    system = next((row[name] for name in SYSTEMS if name in row), None)
    if system is not None and not isinstance(system, str):
        raise Unreadable("wrong_type", f"`system` must be text, not {kind(system)}")
    if system and system.strip():
        example.prompt.insert(0, Turn("system", system))
        example.mended.append("system_column")
    return example


def _talk(row: Row, skips_opening: bool = False) -> Example:
    example = asked_in(row)
    context, answer, example.unfit = split(example.prompt)
    if not context:
        return example  # An answer to nothing: what checks prompts says so.
    example.prompt = context
    mended_prompt(example, skips_opening=skips_opening)
    if answer is not None:
        example.add(answer, "the last answer")
    return example


def _turns(row: Row) -> list[Turn]:
    name = _first(row)
    if name is not None:
        marked = unmarked(row[name]) if isinstance(row[name], str) else None
        return read_turns(row[name], name) if marked is None else marked
    if isinstance(row.get("context"), list):
        return read_turns(row["context"], "context")
    if isinstance(row.get("instruction"), str):
        return instruction_turns(row)
    for name in ("question", "raw_text"):
        if name in row:
            return [Turn("user", text_of(row[name], f"`{name}`"))]
    raise Unreadable("no_prompt", "the row has neither `prompt` nor `messages`")


def instruction_turns(row: Row) -> list[Turn]:
    """Alpaca's `instruction` and `input`, after the rounds of `history`."""
    before = [
        turn
        for asked, said in map(_round, row.get("history") or ())
        for turn in (Turn("user", asked), Turn("assistant", said))
    ]
    given = row.get("input")
    given = given if isinstance(given, str) and not _says_nothing(given) else ""
    text = "\n".join(part for part in (row["instruction"], given) if part)
    return [*before, Turn("user", text)]


def _round(raw: Any) -> tuple[str, str]:
    if isinstance(raw, list) and len(raw) == 2 and all(isinstance(each, str) for each in raw):
        return raw[0], raw[1]
    raise Unreadable("wrong_type", "`history` must be a list of pairs of texts")


def _says_nothing(given: str) -> bool:
    """Whether an `input` is one of the words that derived files have for none."""
    return given.strip().lower() in ("", "<noinput>", "noinput", "nan", "none", "n/a")


def _first(row: Row) -> str | None:
    return next((name for name in TURN_COLUMNS if name in row), None)


def _names_of_turn(raw: Any) -> Sequence[str]:
    if isinstance(raw, str) and raw.lstrip().startswith("["):
        try:
            raw = read_json(raw)
        except Unreadable:
            return ()
    first = raw[0] if isinstance(raw, list) and raw else raw
    return tuple(first) if isinstance(first, dict) else ()
