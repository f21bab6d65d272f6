"""A page of the log as the simulator delivers it, with what may go wrong on the way.

What always holds: whoever follows `next_cursor` to its end gets every record at least once, under
every fault. A cursor is the number of the last record that was delivered; `again` behind it marks
the second delivery of a page, so that no page is delivered a third time.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from winnow_simulator.books import Books

REREAD = 300
"""A later look starts this many records before the last one delivered."""

_CURSOR = re.compile(r"(\d{1,18})(again)?")


@dataclass(frozen=True, slots=True)
class Page:
    """Records as JSON values, and where to go on: now, and in a later look."""

    annotations: list[Any]
    next_cursor: str | None
    complete: bool
    resume_cursor: str | None


class NotACursor(Exception):
    """No page has this cursor."""


def read_page(books: Books, ref: str, cursor: str, limit: int) -> Page:
    """Up to `limit` records of the batch after `cursor`, "0" for the beginning.

    Raises:
        NotACursor: `cursor` is none that a page gave.
        UnknownBatch: No batch has this ref.
    """
    read = _CURSOR.fullmatch(cursor)
    if read is None:
        raise NotACursor(cursor)
    start, is_second = int(read[1]), read[2] is not None
    # Before the records are read: none can come between the two that `complete` denies.
    is_final = books.status(ref).is_final
    found = books.answers_after(ref, start, limit + 1)
    rows, more = found[:limit], len(found) > limit
    last = rows[-1]["number"] if rows else start
    resume = books.number_before(ref, last, REREAD)
    page = Page(
        annotations=_spoilt([json.loads(row["record"]) for row in rows], books),
        next_cursor=str(last) if more else None,
        complete=is_final and not more,
        resume_cursor=None if resume is None else str(resume),
    )
    if rows and not is_second and books.faults.strikes("page_twice"):
        return Page(page.annotations, f"{start}again", False, page.resume_cursor)
    return page


def _spoilt(records: list[Any], books: Books) -> list[Any]:
    if records and books.faults.strikes("record_twice"):
        records = [*records, books.faults.one_of(records)]
    if books.faults.strikes("page_shuffled"):
        records = books.faults.shuffled(records)
    return records
