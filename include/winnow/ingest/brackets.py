"""The parts of a JSON array or object, found by its brackets: each can then be read by itself.

Read whole, one part that no reader takes (a number of a million digits, a text that is no UTF-8)
would make all the others unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Possessive: a long text must not be remembered letter by letter.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


def parts(data: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """Begin and end of each part from `start` on, just behind the opening bracket.

    Each comes with the sign that ends it: a comma, or the closing bracket, which is the last. Where
    no bracket closes, what follows the last comma is no part.
    """
    depth = 0
    for token in _TOKEN.finditer(data, start):
        sign, place = token[0], token.start()
        depth += (sign in (b"[", b"{")) - (sign in (b"]", b"}"))
        if depth < 0 or (depth == 0 and sign == b","):
            yield start, place, sign
            start = place + 1
        if depth < 0:
            return
