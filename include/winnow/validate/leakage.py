"""Prompts of a batch that an evaluation set holds too: the same, or nearly.

Texts are compared after normalising: NFKC, no case, and whatever is no letter, mark or digit is one
space. Two are nearly one where they share `share` of their 8-letter pieces (Jaccard), or where a
long evaluation prompt stands in a batch's prompt that adds to it.

Only prompts that share a rare piece are compared: of the n pieces of an evaluation prompt at least
`share` n must be in a near duplicate, so one of any (1 - `share`) n + 1 is (Bayardo et al., WWW
2007, "Scaling up all pairs similarity search"). The rarest are looked up.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import Fatal
from winnow.validate.verdict import BadRow

Row = Mapping[str, Any]

CHECK = "evaluation_prompts"
_PIECE = 8
_LONG = 60
"""Letters from which an evaluation prompt is looked for inside longer prompts."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What no batch may contain: prompt ids, and normalised texts with where each was read."""

    ids: frozenset[str]
    texts: Mapping[str, str]


def read_evaluation(file: str, data: bytes) -> EvaluationSet:
    """Read JSONL of objects with `prompt` (text or messages), `messages` or `prompt_id`.

    Raises:
        Fatal: A line is none of these; a set that is read in part would let the rest leak.
    """
    ids: set[str] = set()
    texts: dict[str, str] = {}
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        where = f"{file}:{line}"
        row = _parsed(raw, where)
        text = normalised(_asked(row.get("messages", row.get("prompt"))))
        if isinstance(row.get("prompt_id"), str):
            ids.add(row["prompt_id"])
        elif not text:
            raise Fatal(f"{where} has no prompt, messages or prompt_id; correct the file.")
        if text:
            texts.setdefault(text, where)
    return EvaluationSet(frozenset(ids), texts)


def merged(sets: Iterable[EvaluationSet]) -> EvaluationSet:
    """All ids and texts of several files; of a text that is in two, the first place is told."""
    ids: frozenset[str] = frozenset()
    texts: dict[str, str] = {}
    for each in sets:
        ids |= each.ids
        texts = {**each.texts, **texts}
    return EvaluationSet(ids, texts)


def leaked(prompts: Iterable[Row], evaluation: EvaluationSet, share: float) -> list[BadRow]:
    """The prompts (rows of `records.PROMPTS`) that the evaluation set holds, or nearly holds."""
    found: dict[str, str] = {}
    texts: dict[str, str] = {}
    for row in prompts:
        text = texts[row["prompt_id"]] = normalised(_asked(row["messages"]))
        if row["prompt_id"] in evaluation.ids:
            found[row["prompt_id"]] = "its id is in the evaluation set"
        elif text in evaluation.texts:
            found[row["prompt_id"]] = f"is the prompt of {evaluation.texts[text]}"
    rest = {prompt: text for prompt, text in texts.items() if prompt not in found}
    for prompt, where in _near(rest, evaluation.texts, share):
        found.setdefault(prompt, f"is nearly the prompt of {where}")
    return [BadRow(CHECK, "prompts", prompt, found[prompt]) for prompt in sorted(found)]


def normalised(text: str) -> str:
    """Letters, marks and digits in one case, single spaces between.

    >>> normalised("  What's ２+2,  PLEASE?!")
    'what s 2 2 please'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split())


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
            if _is_near(held, asked[near], len(near), share):
                yield prompt, evaluation[near]


def _is_near(held: frozenset[str], wanted: frozenset[str], length: int, share: float) -> bool:
    shared = len(held & wanted)
    whole = len(wanted) if length >= _LONG else len(held | wanted)
    return shared >= share * whole


def _pieces(text: str) -> frozenset[str]:
    last = max(1, len(text) - _PIECE + 1)
    return frozenset(text[i : i + _PIECE] for i in range(last))


def _asked(messages: Any) -> str:
    """What a person said: the text itself, or all turns of the user."""
    if isinstance(messages, str):
        return messages
    turns: Sequence[Any] = messages if isinstance(messages, list) else []
    said = [t.get("content") for t in turns if isinstance(t, Mapping) and t.get("role") == "user"]
    return "\n".join(text for text in said if isinstance(text, str))


def _parsed(raw: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(raw)
    except ValueError as error:
        raise Fatal(f"{where} is not JSON; correct the file of evaluation prompts.") from error
    if not isinstance(row, dict):
        raise Fatal(f"{where} is no object; correct the file of evaluation prompts.")
    return row
