"""Talks that stand in one text, their turns told apart by markers.

A marker counts where its format puts it and nowhere else; one that stands inside a turn says that
the text was cut or pasted wrongly, and nobody can tell who said what.
"""

from __future__ import annotations

import re

from winnow.ingest.turns import Turn
from winnow.ingest.values import Unreadable, shown

_HH = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|Hum):")
_HH_INSIDE = re.compile(r"\b(?:Human|Assistant):")
_HH_TALK = re.compile(r"\s*(?:Human|Hum):.*\n\nAssistant:\s*\Z", re.DOTALL)
_HH_ROLES = {"Human": "user", "Hum": "user", "Assistant": "assistant"}

_EXTRA = re.compile(r"<extra_id_(?:[01]>[^\S\n]*(\w*)[^\S\n]*(?:\n|\Z)|2>[^\n]*(?:\n|\Z))")
_EXTRA_TALK = re.compile(r"<extra_id_[01]>(?:System|User|Assistant)\n")
_EXTRA_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}


def begins_as_hh(text: str) -> bool:
    """Whether a text begins as a talk of `Human:` and `Assistant:`."""
    return _HH.match(text) is not None


def is_marked(text: str) -> bool:
    """Whether a prompt is a talk in the markup of HH-RLHF or of NeMo."""
    return bool(
        ("<extra_id_" in text and _EXTRA_TALK.search(text))
        or ("Assistant:" in text and _HH_TALK.match(text))
    )


def unmarked(text: str) -> list[Turn] | None:
    """The turns of a prompt in the markup of HH-RLHF or of NeMo; None of a plain text.

    Raises:
        Unreadable: As `hh_turns` and `extra_turns`.
    """
    if not is_marked(text):
        return None
    if "<extra_id_" in text:
        return extra_turns(text)
    turns = hh_turns(text)
    check_whole(turns)
    return turns


def hh_turns(text: str) -> list[Turn]:
    """The turns of a talk of `Human:` and `Assistant:`; the empty last one of a prompt is none.

    Raises:
        Unreadable: It begins with neither.
    """
    begins, *parts = _HH.split(text)
    if begins.strip() or not parts:
        raise Unreadable("no_marker", f"a talk must begin with `Human:`: {shown(text[:40])}")
    roles = [_HH_ROLES[name] for name in parts[::2]]
    # One space belongs to the marker, which may lack it.
    said = [text.removeprefix(" ") for text in parts[1::2]]
    return [Turn(role, text) for role, text in zip(roles, said, strict=True)]


def check_whole(turns: list[Turn]) -> None:
    """Drop the empty turn in which the answer is to stand, and look into the others.

    Raises:
        Unreadable: A marker stands in a turn, or a turn is empty.
    """
    if turns and turns[-1].role == "assistant" and not turns[-1].text.strip():
        turns.pop()
    for place, turn in enumerate(turns, start=1):
        if _HH_INSIDE.search(turn.text):
            detail = f"turn {place} holds `Human:` or `Assistant:`: who says what is not clear"
            raise Unreadable("marker_in_turn", detail)
        if not turn.text.strip():
            raise Unreadable("empty_turn", f"turn {place} holds nothing")


def extra_turns(text: str) -> list[Turn]:
    """The turns of a talk with `<extra_id_1>User` and so on, without empty ones at its ends.

    What stands before the first marker is the user's, as in HelpSteer2.

    Raises:
        Unreadable: A marker names no role.
    """
    begins, *parts = _EXTRA.split(text)
    turns = [Turn("user", begins.strip("\n"))] if begins.strip() else []
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        role = _EXTRA_ROLES.get((name or "").lower())
        if role is not None:
            turns.append(Turn(role, said.strip("\n")))
        elif name or said.strip():
            raise Unreadable("marker_in_turn", f"`<extra_id_1>{name or ''}` names no role")
    if turns and turns[0].role == "system" and not turns[0].text.strip():
        turns.pop(0)
    if turns and turns[-1].role == "assistant" and not turns[-1].text.strip():
        turns.pop()
    if not all(turn.text.strip() for turn in turns):
        raise Unreadable("empty_turn", "a turn holds nothing")
    if any("<extra_id_" in turn.text for turn in turns):
        raise Unreadable("marker_in_turn", "a turn holds `<extra_id_`")
    return turns


def answer_text(raw: object) -> object:
    """A response without the marker that ends it in NeMo's files."""
    return re.sub(r"\s*<extra_id_[0-9]>\s*\Z", "", raw) if isinstance(raw, str) else raw
