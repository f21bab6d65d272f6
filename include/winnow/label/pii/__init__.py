"""Takes out of a text what points at a person or opens a door, before a vendor sees it.

Seven kinds: e-mail addresses, phone numbers, payment cards, bank accounts (IBAN), IP addresses, US
social security numbers, and keys or tokens, in the digits, widths and signs of any script and with
characters inside that nobody sees. Names and street addresses stay: telling them from
other words needs a language model, which errs too often to rewrite what people judge by it.

What always holds: a text without any of them comes back as it is; scrubbing twice changes nothing
more; one value has one mark, such as `[email 1]`, in all texts scrubbed with the same `Marks`.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence

from winnow.label.pii import finders as pii_finders
from winnow.label.pii.email_finder import emails
from winnow.label.pii.finders import Finder, has_long_number
from winnow.label.pii.folded import places, writings
from winnow.label.pii.key_finder import keys
from winnow.label.pii.phone_finder import phones

Marks = dict[str, dict[str, int]]
"""By kind, the number of each value met so far."""

# In this order: what an earlier kind claims no later one may split.
_FINDERS: dict[str, Finder] = {
    "key": keys,
    "email": emails,
    "iban": pii_finders.ibans,
    "card": pii_finders.cards,
    "ssn": pii_finders.social_security_numbers,
    "ip": pii_finders.ip_addresses,
    "phone": phones,
}
KINDS = tuple(_FINDERS)
"""Words by which the kinds are counted and marked."""
_WITHOUT_LONG_NUMBERS = ("key", "email", "iban", "ip")

_Found = tuple[int, int, str, str]


def scrub(text: str, marks: Marks | None = None) -> tuple[str, Counter[str]]:
    """`text` with marks for what was found, and how many places of each kind that were.

    `marks` grows; give the same one for texts that are read together.

    >>> scrub("Ask ann@site.org or bob@site.org. Ann (ANN@site.org) knows.")
    ('Ask [email 1] or [email 2]. Ann ([email 1]) knows.', Counter({'email': 3}))
    """
    marks = {} if marks is None else marks
    counts: Counter[str] = Counter()
    # Again until nothing is found: a mark may end a run of characters that hid something.
    while found := _find(text):
        counts.update(kind for _, _, kind, _ in found)
        text = _replaced(text, found, marks)
    return text, counts


def scrub_all(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """`scrub` of texts that are read together: equal values have equal marks in all of them."""
    marks: Marks = {}
    scrubbed = [scrub(text, marks) for text in texts]
    return [text for text, _ in scrubbed], sum((c for _, c in scrubbed), Counter())


def _find(text: str) -> list[_Found]:
    """Places in `text` from left to right, none overlapping another: (start, end, kind, value)."""
    taken: list[_Found] = []
    for searched in writings(text):
        found = list(_found(searched))
        at = places(text) if found and searched != text else range(len(text))
        for start, end, kind, value in found:
            _claim(taken, (at[start], at[end - 1] + 1, kind, value))
    return taken


def _found(text: str) -> Iterator[_Found]:
    kinds = KINDS if has_long_number(text) else _WITHOUT_LONG_NUMBERS
    for kind in kinds:
        for start, end, value in _FINDERS[kind](text):
            yield start, end, kind, value


def _claim(taken: list[_Found], found: _Found) -> None:
    """Puts `found` among those `taken` unless it overlaps one."""
    at = bisect(taken, found)
    before_is_free = at == 0 or taken[at - 1][1] <= found[0]
    if before_is_free and (at == len(taken) or found[1] <= taken[at][0]):
        taken.insert(at, found)


def _replaced(text: str, found: Sequence[_Found], marks: Marks) -> str:
    parts, at = [], 0
    for start, end, kind, value in found:
        numbers = marks.setdefault(kind, {})
        number = numbers.setdefault(value, len(numbers) + 1)
        parts += [text[at:start], f"[{kind} {number}]"]
        at = end
    return "".join([*parts, text[at:]])
