"""Phrases by which a response declines, in the languages of the larger models.

Screening and features both read them: a refusal is an answer that may be right for many prompts.
"""

from __future__ import annotations

import re

_READ_CHARS = 200

_REFUSAL = re.compile(
    r"\b(i'm sorry,? but|as an ai\b|i( can(no|')t| am unable to|'m unable to| won't) "
    r"(help|assist|provide|answer|do|fulfil|comply|create|write)|lo siento, (pero )?no puedo|"
    r"je suis désolée?,? mais|es tut mir leid,? (aber|ich)|mi dispiace,? ma|sinto muito,? mas)",
    re.IGNORECASE,
)

_ABSTENTION = re.compile(
    r"\b(i('m| am) (sorry|unable|not (sure|able|certain|aware))|i (do not|don't|cannot|can't|"
    r"won't)|(sorry|unfortunately|apologi[sz]e)\b|not enough information|"
    r"can(no|')t be (determined|known)|"
    r"no sé\b|lo siento|désolée?\b|je ne (sais|peux)|tut mir leid|weiß (ich )?nicht|kann ich nicht|"
    r"mi dispiace|non (so|posso)\b|desculpe|sinto muito|não (sei|posso)\b|извин|не (знаю|могу)\b)|"
    r"抱歉|对不起|對不起|无法|無法|不知道|申し訳|できません|わかりません|죄송|모르겠",
    re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Whether the first 200 characters hold a phrase of refusal."""
    return _REFUSAL.search(_beginning(text)) is not None


def declines(text: str) -> bool:
    """Whether the first 200 characters refuse, excuse themselves, or say that they do not know."""
    return refuses(text) or _ABSTENTION.search(_beginning(text)) is not None


def _beginning(text: str) -> str:
    return text[:_READ_CHARS].replace("’", "'")
