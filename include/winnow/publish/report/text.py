"""Words of the quality report and the card on how sure a vote is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.pages.words import percent

UNKNOWN_PEOPLE = "unknown annotators, whom the vendor does not tell apart"


def certainty_told(found: Mapping[str, Any]) -> str:
    """How sure one vote is by the label stage's figures; empty where they do not tell.

    >>> certainty_told({"vote_certainty": 0.73, "n_agreement": 10})
    'One vote counts as 73.0 % sure, by the agreement of 10 pairs of votes.'
    """
    sure, n = found.get("vote_certainty"), found.get("n_agreement")
    if sure is None:
        return ""
    if not n:
        return (
            "Agreement was not measured, no pair having been judged by two people: that one vote "
            f"counts as {percent(sure)} sure is an assumption."
        )
    pairs = f"{n:,} pairs of votes"
    if found.get("n_annotators", 0) is None:
        pairs += f" of {UNKNOWN_PEOPLE}"
    return f"One vote counts as {percent(sure)} sure, by the agreement of {pairs}."
