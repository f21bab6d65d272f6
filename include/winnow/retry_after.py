"""The Retry-After header, as any server may send it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a server asks to wait: a number, or a date by the server's own clock."""
    asked = response.headers.get("retry-after", "")
    if asked.replace(".", "", 1).isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked) - parsedate_to_datetime(response.headers["date"])
    except (ValueError, OverflowError, KeyError, TypeError):
        return None
    return max(0.0, until.total_seconds())
