"""The page on which a person answers one task by hand, and what the form sends back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import get_args
from urllib.parse import quote

from winnow.label.vendor import Choice
from winnow.label.vendors.simulator.hand import HandAnswer, why_not_waiting
from winnow.label.vendors.simulator.look import frame, sides, text, turns
from winnow.text import plain_text

DEFAULT_NAME = "hand"
LONGEST_NAME = 100
LONGEST_RATIONALE = 2000

_BUTTONS = (("a", "A is better"), ("b", "B is better"), ("tie", "A tie"), ("both_bad", "Both bad"))


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


def task_page(task: sqlite3.Row, sitting: Sitting) -> str:
    """One task, with the form to answer it, or a word why it cannot be answered."""
    request = json.loads(task["request"])
    refused = why_not_waiting(task)
    batch = f'<a href="/?batch={quote(task["ref"])}">Batch {escape(task["batch_key"])}</a>'
    words = sitting.problem or refused or ""
    return frame(
        f'<p>{batch} <span class="soft">· {sitting.n_pending} waiting</span></p>'
        + (f'<p class="note" role="alert">{escape(words)}</p>' if words else "")
        + f'<div class="card"><p><strong>{escape(request["instructions"])}</strong></p>'
        f"{turns(request['messages'])}</div>{sides(request)}"
        + (_answer_of(task) if refused else _form(task, sitting)),
        sitting.n_by_hand,
        keys=not refused,
    )


def sorry_page(words: str, n_by_hand: int) -> str:
    """A page that says why something was not done."""
    return frame(
        f'<p class="note" role="alert">{escape(words)}</p><p><a href="/">All batches</a></p>',
        n_by_hand,
    )


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


def _form(task: sqlite3.Row, sitting: Sitting) -> str:
    hidden = {"form_token": sitting.form_token, "shown_at": str(int(sitting.now))}
    fields = "".join(
        f'<input type="hidden" name="{key}" value="{escape(value)}">'
        for key, value in hidden.items()
    )
    ratings = "".join(_stars(i, of) for i, of in enumerate(json.loads(task["dimensions"])))
    buttons = "".join(
        f'<button name="choice" value="{value}" data-key="{key}"><kbd>{key}</kbd>{label}</button>'
        for key, (value, label) in enumerate(_BUTTONS, 1)
    )
    skip = (
        '<button name="choice" value="skip" data-key="5" formnovalidate><kbd>5</kbd>Skip</button>'
    )
    return (
        f'<form method="post" action="/task/{quote(task["task_id"], safe="")}/answer" '
        f'autocomplete="off">{fields}'
        + (f'<div class="card">{ratings}</div>' if ratings else "")
        + '<div class="card"><label for="rationale">Why? (optional)</label>'
        f'<textarea id="rationale" name="rationale" rows="2" maxlength="{LONGEST_RATIONALE}">'
        '</textarea><p class="by"><label for="annotator">Your name, as the answer will carry it'
        f'</label><input type="text" id="annotator" name="annotator" maxlength="{LONGEST_NAME}" '
        f'value="{escape(sitting.name)}"></p></div>'
        f'<div class="choices">{buttons}{skip}</div></form>'
    )


def _stars(i: int, dimension: str) -> str:
    def row(side: str) -> str:
        boxes = "".join(
            f'<label><input type="radio" name="rating-{i}-{side}" value="{n}" required> {n}</label>'
            for n in range(1, 6)
        )
        return f'<span class="stars"><span class="soft">{side.upper()}</span>{boxes}</span>'

    return f"<fieldset><legend>{escape(dimension)}</legend>{row('a')}{row('b')}</fieldset>"


def _answer_of(task: sqlite3.Row) -> str:
    if not task["record"]:
        return ""
    record = json.loads(task["record"])
    said = f"{record['choice']}, by {record['annotator']}"
    why = record["rationale"]
    return f'<div class="card">{text("Answer", said)}{text("Why", why) if why else ""}</div>'
