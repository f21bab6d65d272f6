"""What is said of a version wherever one is shown: when, how good, what is in it and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from winnow.console import parts
from winnow.console.datasets.figures import Summary
from winnow.console.shell import Site, to
from winnow.pages.pieces import said
from winnow.text import plain_text

_VERDICTS: dict[str, tuple[str, parts.Kind]] = {
    "pass": ("passed", "good"),
    "warn": ("passed with warnings", "warn"),
    "block": ("blocked", "bad"),
}
_MOST_BATCHES = 60


def published(told: Summary, site: Site) -> str:
    """When it was published."""
    return parts.moment(told.published_at, site.now) if told.published_at else "time not known"


def verdict(told: Summary) -> str:
    """What the gate said, as a chip; or that it is a rollback, or not what was published."""
    if not told.whole:
        return parts.chip("does not match its digest", "bad")
    if told.rollback is not None:
        return parts.chip("rollback", "soft")
    if told.verdict is None:
        return parts.chip("not judged", "soft")
    words, kind = _VERDICTS.get(told.verdict, (plain_text(told.verdict), "bad"))
    return parts.chip(words, kind)


def note(told: Summary) -> str:
    """The batch that came in, or the rollback with who and why; what is withdrawn."""
    if told.rollback is not None:
        back = told.rollback
        note = f"The files of {said(back.to)} again, by {said(back.by)}: {said(back.reason, 160)}"
    else:
        note = f"adds {parts.link(told.newest_batch, to('batch', key=told.newest_batch))}"
    if told.n_withdrawn:
        note += f"; {told.n_withdrawn:,} withdrawn"
    return note


def batches_line(word: str, keys: Sequence[str]) -> str:
    """Links to batches after a word; of many the last ones."""
    shown = ", ".join(parts.link(key, to("batch", key=key)) for key in keys[-_MOST_BATCHES:])
    left = len(keys) - _MOST_BATCHES
    more = f", and {left:,} before them" if left > 0 else ""
    return f"<p>{escape(f'{word}, {len(keys):,}')}: {shown}{more}.</p>"
