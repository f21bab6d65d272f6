"""Finds phone numbers in free text: what is written like one, checked by the countries' plans.

Four ways of writing count: with a plus and the country's code, in North American groups, in the
groups of some other countries, and any digits right after a word such as "phone". Bare digits do
not: in real text they were sums, years and the numbers of web pages. Nor do nine grouped digits or
fewer: a quarter of all such numbers is in some country's plan. Toll-free numbers and the like
belong to firms and help lines, and a reader may want to check them; they stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from winnow.label.pii.finders import DASHES

_GAP = f"[ .{DASHES}]"
_INTERNATIONAL = re.compile(rf"(?<![A-Za-z0-9+])\+[1-9][0-9 ()./{DASHES}]{{6,22}}(?![A-Za-z0-9])")
_NORTH_AMERICAN = re.compile(
    rf"(?<![A-Za-z0-9_.+-])(?:\+?1{_GAP}?)?"
    rf"(?:\([0-9]{{3}}\){_GAP}?[0-9]{{3}}{_GAP}[0-9]{{4}}"
    rf"|[0-9]{{3}}([.{DASHES}])[0-9]{{3}}\1[0-9]{{4}}"
    rf"|[2-9][0-9]{{2}} [2-9][0-9]{{2}}[ {DASHES}][0-9]{{4}})"
    r"(?![A-Za-z0-9_]|[-.][0-9])"
)
# A leading zero and groups, to be tried by the plans of _REGIONS; or a Chinese mobile in 3-4-4.
_NATIONAL = re.compile(
    rf"(?<![A-Za-z0-9_.,/+\-])(?:(?:\(0[0-9]{{1,5}}\){_GAP}?|0[0-9]{{1,5}}(?:{_GAP}|/))"
    rf"(?:[0-9]{{2,8}}{_GAP}){{0,4}}[0-9]{{2,8}}|1[3-9][0-9]([ {DASHES}])[0-9]{{4}}\1[0-9]{{4}})"
    r"(?![A-Za-z0-9_]|[-.,/:][0-9])"
)
_REGIONS = ("AU", "CN", "DE", "FR", "GB", "IT", "JP", "NL")
_SHORTEST_NATIONAL = 10
_NAMED = re.compile(
    r"(?i:\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|telefon|handy|teléfono|telefono|celular"
    r"|cellulare|móvil|téléphone|portable|телефон|тел)(?![A-Za-z])"
    r"|电话|手机|電話|手機|携帯|전화|휴대폰|هاتف|جوال|تلفن|موبایل|फ़ोन|फोन|मोबाइल)"
    r"(?i:[ .:#=(\"']|number|no\b|is|was|号码|號碼|番号|は|번호){0,8}"
    rf"(\+?\(?[0-9](?:[ ()./{DASHES}]{{0,2}}[0-9]){{6,14}})(?![A-Za-z0-9_]|[.,-][0-9])"
)
_NOT_A_PHONE = re.compile(
    rf"(?:19|20)[0-9]{{2}} ?[/.{DASHES}] ?(?:(?:19|20)[0-9]{{2}}"
    rf"|[01]?[0-9] ?[/.{DASHES}] ?[0-3]?[0-9])"
    rf"|[0-3]?[0-9][/.{DASHES}][0-3]?[0-9][/.{DASHES}](?:19|20)[0-9]{{2}}"
)


def phones(text: str) -> Iterator[tuple[int, int, str]]:
    """Spans of phone numbers; `value` is the number with its country's code where that is known."""
    for match in _INTERNATIONAL.finditer(text):
        phone = _in_a_plan(match[0])
        if phone and not _is_public(phone.number):
            yield match.start(), match.start() + phone.end, _written_out(phone.number)
    for match in _NORTH_AMERICAN.finditer(text):
        digits = _digits(match[0])[-10:]
        if not _is_public(_north_american(digits)):
            yield match.start(), match.end(), "+1" + digits
    for match in _NATIONAL.finditer(text):
        short = len(_digits(match[0])) < _SHORTEST_NATIONAL
        number = None if short else _in_a_national_plan(match[0])
        if number and not _is_public(number):
            yield match.start(), match.end(), _written_out(number)
    for match in _NAMED.finditer(text):
        digits = _digits(match[1])
        if _NOT_A_PHONE.fullmatch(match[1]) or _is_public(_north_american(digits[-10:])):
            continue
        number = _in_a_national_plan(match[1])
        yield match.start(1), match.end(1), _written_out(number) if number else digits


def _in_a_plan(raw: str) -> Any:
    """The valid number with which `raw` begins, or None."""
    phone = next(iter(_library().PhoneNumberMatcher(raw, None)), None)
    return phone if phone and phone.start == 0 else None


def _in_a_national_plan(raw: str) -> Any:
    """The number that `raw` as a whole is in one of `_REGIONS`, grouped as there, or None."""
    library = _library()
    for region in _REGIONS:
        for phone in library.PhoneNumberMatcher(raw, region, library.Leniency.STRICT_GROUPING):
            if (phone.start, phone.end) == (0, len(raw)):
                return phone.number
    return None


def _is_public(number: Any) -> bool:
    library = _library()
    kinds = library.PhoneNumberType
    public = (kinds.TOLL_FREE, kinds.PREMIUM_RATE, kinds.SHARED_COST, kinds.UAN)
    return library.number_type(number) in public


def _north_american(digits: str) -> Any:
    return _library().parse("+1" + digits, None)


def _written_out(number: Any) -> str:
    return f"+{number.country_code}{number.national_number}"


def _digits(raw: str) -> str:
    return re.sub("[^0-9]", "", raw)


@cache
def _library() -> Any:
    # Not at the top: what reads a DAG file must not pay for it.
    import phonenumbers

    return phonenumbers
