"""Who answers a task by hand, and what their form sends back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from winnow.label.vendor import Choice
from winnow.text import plain_text
from winnow_simulator.hand import HandAnswer

DEFAULT_NAME = "hand"
LONGEST_NAME = 100
LONGEST_RATIONALE = 2000


class BadForm(Exception):
    """The form cannot be taken; the message says what to do, for the person who sent it."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """Who sits before a task page: the token of their form, their name, and the time.

    `n_pending` counts the tasks of the batch that still wait, `n_by_hand` all answers by hand;
    `problem` says what was wrong with the form that they sent.
    """

    form_token: str
    name: str
    now: float
    n_pending: int
    n_by_hand: int
    problem: str = ""


def read_answer(form: Mapping[str, str], dimensions: list[str], now: float) -> HandAnswer:
    """What a person sent, checked.

    Raises:
        BadForm: Something is missing or cannot be.
    """
    choice = form.get("choice", "")
    if choice not in get_args(Choice):
        raise BadForm("Please press one of the buttons.")
    name = plain_text(form.get("annotator", "")).strip() or DEFAULT_NAME
    if len(name) > LONGEST_NAME:
        raise BadForm(f"Please give a name of at most {LONGEST_NAME} characters.")
    if name.casefold().startswith("simulated-"):
        raise BadForm("Names that begin with “simulated-” belong to the simulated staff.")
    rationale = plain_text(form.get("rationale", "")).strip()
    if len(rationale) > LONGEST_RATIONALE:
        raise BadForm(f"Please keep the reason to {LONGEST_RATIONALE} characters.")
    return HandAnswer(
        annotator=name,
        choice=choice,  # type: ignore[arg-type]  # one of get_args(Choice)
        ratings={} if choice == "skip" else _ratings(form, dimensions),
        rationale=rationale or None,
        shown_at=_number(form.get("shown_at", ""), now),
    )


def _ratings(form: Mapping[str, str], dimensions: list[str]) -> dict[str, dict[str, int]]:
    found = {
        name: {side: form.get(f"rating-{i}-{side}", "") for side in ("a", "b")}
        for i, name in enumerate(dimensions)
    }
    for name, stars in found.items():
        if not all(star in ("1", "2", "3", "4", "5") for star in stars.values()):
            raise BadForm(f"Please rate both responses from 1 to 5 for {name}.")
    return {name: {side: int(star) for side, star in of.items()} for name, of in found.items()}


def _number(text_of: str, otherwise: float) -> float:
    return float(text_of) if text_of.isdecimal() and len(text_of) < 12 else otherwise
