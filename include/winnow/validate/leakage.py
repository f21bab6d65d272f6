"""Prompts of a batch that an evaluation set holds too: the same, or nearly.

Texts are compared after normalising: NFKC, no case, and whatever is no letter, mark or digit is one
space. Two are nearly one where they share `share` of their 8-letter pieces (Jaccard), or where a
long evaluation prompt stands in a batch's prompt that adds to it.

Only prompts that share a rare piece are compared: of the n pieces of an evaluation prompt at least
`share` n must be in a near duplicate, so one of any (1 - `share`) n + 1 is (Bayardo et al., WWW
2007, "Scaling up all pairs similarity search"). The rarest are looked up.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from winnow.errors import Fatal
from winnow.ingest.formats.raw import Data, RawRow
from winnow.ingest.normalise import TURN_COLUMNS
from winnow.ingest.readers import parsed, read_rows
from winnow.ingest.turns import read_turns, said_by_user, text_of
from winnow.ingest.values import Unreadable, columns_of
from winnow.records import Quarantined
from winnow.text import bare_text, unicode_form
from winnow.validate.verdict import BadRow

Row = Mapping[str, Any]

CHECK = "evaluation_prompts"
_PIECE = 8
_LONG = 60
"""Letters from which an evaluation prompt is looked for inside longer prompts."""
_BEGINNINGS = 10
"""Turns of a long evaluation conversation after which it is looked for."""
_MEANT = 24
"""Letters from which the beginning of an evaluation conversation is no mere greeting."""

EVALUATION_COLUMNS = (
    *TURN_COLUMNS,
    *("turns", "instruction", "question", "input", "prompt_id"),
)
"""Columns of a file of evaluation prompts that are read."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What no batch may contain: prompt ids, and normalised texts with where each was read."""

    ids: frozenset[str]
    texts: Mapping[str, str]


def read_evaluation(file: str, data: Data) -> EvaluationSet:
    """Read the evaluation prompts of a file, in any shape in which one is written.

    A conversation is protected whole, and each beginning of it that is long enough to mean it.

    Raises:
        Fatal: A row gives no text, whatever ids it has; a set that is read in part would let the
            rest leak.
    """
    ids: set[str] = set()
    texts: dict[str, str] = {}
    for row in parsed(read_rows(file, data, EVALUATION_COLUMNS), _prompt_of, "publish"):
        if isinstance(row, Quarantined):
            raise Fatal(
                f"{row.file}:{row.line} is no evaluation prompt ({row.reason}: {row.detail}); "
                "correct the file: what is read in part protects nothing."
            )
        where, prompt, said = row
        ids.update([prompt] if prompt else [])
        for text in said:
            texts.setdefault(text, where)
    return EvaluationSet(frozenset(ids), texts)


def _prompt_of(raw: RawRow) -> tuple[str, str | None, list[str]]:
    """Where a row stands, its id, and the normalised texts to look for."""
    row = columns_of(raw.value, EVALUATION_COLUMNS)
    said = [text for talk in _talks(row) for text in _beginnings(talk)]
    if not any(said):
        raise Unreadable("no_text", "it has no prompt, messages, conversations, turns or question")
    prompt = row.get("prompt_id")
    return f"{raw.file}:{raw.line}", prompt if isinstance(prompt, str) else None, said


def _talks(row: Mapping[str, Any]) -> Iterator[list[str]]:
    """What a person says in each of the columns that hold a prompt."""
    for name in TURN_COLUMNS:
        if name in row:
            said = said_by_user(read_turns(row[name], name))
            if not any(map(normalised, said)):
                raise Unreadable("no_text", f"`{name}` holds nothing that a person says")
            yield said
    if "turns" in row:
        turns = row["turns"]
        if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
            raise Unreadable("wrong_type", "`turns` must be a list of texts")
        yield turns
    asked = [row[name] for name in ("instruction", "question", "input") if name in row]
    if asked:
        yield ["\n".join(text_of(text, "the question") for text in asked)]


def _beginnings(said: Sequence[str]) -> Iterator[str]:
    turns = [text for text in map(normalised, said) if text]
    for n in range(1, min(len(turns), _BEGINNINGS)):
        text = " ".join(turns[:n])
        if len(text) >= _MEANT:
            yield text
    if turns:
        yield " ".join(turns)


def merged(sets: Iterable[EvaluationSet]) -> EvaluationSet:
    """All ids and texts of several files; of a text that is in two, the first place is told."""
    ids: frozenset[str] = frozenset()
    texts: dict[str, str] = {}
    for each in sets:
        ids |= each.ids
        texts = {**each.texts, **texts}
    return EvaluationSet(ids, texts)


def leaked(prompts: Iterable[Row], evaluation: EvaluationSet, share: float) -> list[BadRow]:
    """The prompts (rows of `records.PROMPTS`) that the evaluation set holds, or nearly holds.

    It may stand in any turn: what a person says, a system prompt, what a tool gave back.
    """
    faults: dict[str, str] = {}
    texts: dict[str, str] = {}
    wholes: dict[str, str] = {}
    for row in prompts:
        turns = row["messages"]
        asked = normalised("\n".join(t["content"] for t in turns if t["role"] == "user"))
        whole = normalised("\n".join(turn["content"] for turn in turns))
        if row["prompt_id"] in evaluation.ids:
            faults[row["prompt_id"]] = "its id is in the evaluation set"
        elif asked in evaluation.texts:
            faults[row["prompt_id"]] = f"is the prompt of {evaluation.texts[asked]}"
        else:
            texts[row["prompt_id"]] = asked
            wholes.update({row["prompt_id"]: whole} if whole != asked else {})
    near = (_near(looked_at, evaluation.texts, share) for looked_at in (texts, wholes))
    for prompt, where in chain.from_iterable(near):
        faults.setdefault(prompt, f"is nearly the prompt of {where}")
    return [BadRow(CHECK, "prompts", prompt, faults[prompt]) for prompt in sorted(faults)]


def normalised(text: str) -> str:
    """Letters, marks and digits in one case, single spaces between; of signs alone the signs.

    A sign that is part of what is asked is a letter that no text has.

    >>> normalised("  What's ２+2,  PLEASE?!"), normalised("+ -")
    ('what s 2 ʘ 2 please', '+ -')
    """
    folded = _OVERLAID.sub("", unicode_form(bare_text(text), "NFKC").casefold())
    undated = _DATE.sub(lambda date: date[0].replace(date[1], " "), folded)
    signed = _SIGNS.sub(lambda sign: f" {_SIGN_NAMES[sign[0].strip()[0]]} ", undated)
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in signed)
    return " ".join("".join(kept).split()) or " ".join(folded.split())


_OVERLAID = re.compile("[\u0300-\u036f]")
"""Marks that are left on Latin, Greek or Cyrillic letters when all that can be is composed."""
_DATE = re.compile(r"\d+([-/.])\d+\1\d+")
_SIGNS = re.compile(
    r"(?<=\d)\s*[-+*/^<>=×÷−]\s*(?=\d)|(?<=\b\w)\s*[-+*/^<>=×÷−]\s*(?=\w\b)|(?<=\b[a-z])(?:\+\+|#)"
)
_SIGN_NAMES = {
    sign: letter
    for letter, signs in zip(
        "ʘɱʞʅʌɺɻɶʬ", ["+", "-−", "*×", "/÷", "^", "<", ">", "=", "#"], strict=True
    )
    for sign in signs
}
"""Signs between numbers or single letters are part of what is asked: 2 + 2 is not 2 - 2."""


def _near(
    texts: Mapping[str, str], evaluation: Mapping[str, str], share: float
) -> Iterable[tuple[str, str]]:
    asked = {text: _pieces(text) for text in evaluation}
    # Only these are counted: the pieces of all prompts at once would not fit into memory.
    n_with = dict.fromkeys((piece for held in asked.values() for piece in held), 0)
    for text in texts.values():
        for piece in _pieces(text) & n_with.keys():
            n_with[piece] += 1
    lookup: defaultdict[str, list[str]] = defaultdict(list)
    for text, held in asked.items():
        n_needed = len(held) - math.ceil(share * len(held)) + 1
        for piece in sorted(held, key=lambda p: (n_with[p], p))[:n_needed]:
            lookup[piece].append(text)
    for prompt, text in texts.items():
        held = _pieces(text)
        for near in sorted({each for piece in held & lookup.keys() for each in lookup[piece]}):
            wanted = asked[near]
            whole = len(wanted) if len(near) >= _LONG else len(held | wanted)
            if len(held & wanted) >= share * whole:
                yield prompt, evaluation[near]


def _pieces(text: str) -> frozenset[str]:
    last = max(1, len(text) - _PIECE + 1)
    return frozenset(text[i : i + _PIECE] for i in range(last))
