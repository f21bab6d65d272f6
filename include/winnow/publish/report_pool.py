"""The quality report on the responses: the pools' audit, shifts, quarantine, pairs to look at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from winnow.page.markup import figure, paragraphs
from winnow.publish.report_charts import GROUPS, legend, lengths_svg
from winnow.publish.report_facts import BatchFacts
from winnow.publish.report_figures import Example
from winnow.publish.report_shares import Step
from winnow.publish.report_text import NOT_MEASURED, count, number, passage, percent, said, table

_FOLDERS = re.compile(r"(?:\w+:/)?/(?:[^\s/]+/)+")

_NAMES = {
    "duplicate_share": "draws that repeat a text",
    "near_duplicate_share": "texts that nearly repeat another",
    "distinct_1": "distinct words",
    "distinct_2": "distinct pairs of words",
    "distinct_3": "distinct triples of words",
    "self_bleu": "likeness to the others (self-BLEU)",
    "vendi": "wholly different responses (Vendi)",
    "vendi_share": "Vendi over distinct texts",
    "truncated": "cut off at max_tokens",
    "looping": "repeat themselves",
    "refusal": "refuse",
    "echo": "repeat the prompt",
    "language_match": "in the prompt's language",
}


def audit(facts: BatchFacts) -> str:
    """How diverse and how sound the pools are."""
    found = facts.figure("expand", "audit")
    if not found:
        return paragraphs([f"Audit of the pools: {NOT_MEASURED}."], "soft")
    figures: Mapping[str, Mapping[str, Any]] = found["figures"]
    beyond = {warning["figure"] for warning in found["warnings"]}
    rows = [
        (
            escape(words),
            number(figures[name]["mean"]),
            _range(figures[name]),
            "–" if figures[name]["limit"] is None else number(figures[name]["limit"]),
            count(figures[name]["n_beyond"]) if figures[name]["limit"] is not None else "–",
            '<span class="chip warn">warn</span>' if name in beyond else "",
        )
        for name, words in _NAMES.items()
        if name in figures
    ]
    heads = ["Figure", "Mean over prompts", "95 % interval", "Limit", "Prompts beyond", "Verdict"]
    advice = [
        f"Beyond its limit: {_NAMES.get(w['figure'], w['figure'])}; {w['advice']}."
        for w in found["warnings"]
    ]
    source = facts.figure("expand", "pools_from")
    taken = f", by campaign {source}" if source else ""
    told = (
        f"{count(found['distinct'])} distinct responses of {count(found['sampled'])} drawn to "
        f"{count(found['prompts'])} prompts{taken}. The audit advises; it blocks nothing."
    )
    return paragraphs([told, *advice]) + table("Audit of the pools", heads, rows) + _tokens(found)


def shifts(facts: BatchFacts) -> str:
    """Shares of languages and faults from the pool to the chosen side, and lengths."""
    if not facts.traits:
        return paragraphs([f"Shifts of languages and faults: {NOT_MEASURED}."], "soft")
    rows = [
        (said(trait.name), _step(trait.pool), _step(trait.bought), _step(trait.chosen))
        for trait in facts.traits
    ]
    first = facts.traits[0]
    heads = [
        "Share of responses",
        f"Pool, {first.pool.n:,}",
        f"Bought, {first.bought.n:,}",
        f"Chosen, {first.chosen.n:,}",
    ]
    caption = (
        "Distinct responses: all, those in a bought pair, and those that won one. ▲ and ▼ mark a "
        "share that moved more than a random draw from the step before would (Fisher's exact "
        "test, Holm's correction over the table, 5 %). Responses to one prompt are alike, so a "
        "mark is a hint to look."
    )
    beside = f'<div class="plots">{table("Shifts", heads, rows)}{_lengths(facts)}</div>'
    return paragraphs([caption], "soft") + beside


def quarantine(facts: BatchFacts) -> str:
    """What went no further, by stage and reason."""
    if not facts.refused:
        return paragraphs(["Nothing of this batch is in quarantine."])
    rows = [
        (
            said(each.stage),
            said(each.reason),
            count(each.n),
            said(without_folders(each.detail), 160),
        )
        for each in facts.refused
    ]
    heads = ["Stage", "Reason", "Rows", "For instance"]
    return table("Quarantine", heads, rows, ["Reason", "For instance"])


def pairs(facts: BatchFacts) -> str:
    """A few pairs side by side."""
    if not facts.examples:
        return paragraphs(["No pair of this batch has a vote."])
    return "".join(_pair(each) for each in facts.examples)


def _pair(example: Example) -> str:
    names: Sequence[tuple[str, str, str]] = [
        ("first", example.first, _role(example, "first")),
        ("second", example.second, _role(example, "second")),
    ]
    sides = "".join(
        f'<div class="{"chosen" if side == example.preferred else "other"}"><h4>{role}</h4>'
        f"{passage(text)}</div>"
        for side, text, role in names
    )
    before = "" if example.p_first is None else f"{percent(example.p_first)} by the model, "
    told = (
        f"Chance that the first is preferred: {before}{percent(example.p_after)} after "
        f"{example.votes} vote{'' if example.votes == 1 else 's'}."
    )
    return (
        f'<article class="pair"><h3>{escape(example.why)}</h3>'
        f'<div class="asked"><h4>{_asked(example)}</h4>{passage(example.prompt, 400)}</div>'
        f'<div class="sides">{sides}</div>'
        f'<p class="soft">{escape(told)}</p></article>'
    )


def _asked(example: Example) -> str:
    return "Prompt" if example.turns == 1 else f"Prompt, the last of {example.turns:,} turns"


def _role(example: Example, side: str) -> str:
    if example.preferred not in ("first", "second"):
        return f"{side.capitalize()} · no difference"
    return f"{side.capitalize()} · {'chosen' if side == example.preferred else 'rejected'}"


def without_folders(detail: str) -> str:
    """A published page names files and not where they lay."""
    return _FOLDERS.sub("", detail)


def _range(found: Mapping[str, Any]) -> str:
    if found["low"] is None or found["high"] is None:
        return "–"
    return f"{number(found['low'])} to {number(found['high'])}"


def _tokens(found: Mapping[str, Any]) -> str:
    told = (
        f"Length in tokens: a tenth of the draws have at most {count(found['tokens_p10'])}, half "
        f"{count(found['tokens_p50'])}, nine tenths {count(found['tokens_p90'])}."
    )
    return paragraphs([told], "soft")


def _step(step: Step) -> str:
    marks = {"up": ' <span class="up">▲ more</span>', "down": ' <span class="down">▼ fewer</span>'}
    return f"{percent(step.share)} <small>{step.hits:,}</small>{marks.get(step.shift, '')}"


def _lengths(facts: BatchFacts) -> str:
    if facts.lengths is None:
        return paragraphs([f"Lengths: {NOT_MEASURED}."], "soft")
    drawn = legend(list(GROUPS.items())) + lengths_svg(facts.lengths)
    return figure("Length of responses, characters", "", drawn)
