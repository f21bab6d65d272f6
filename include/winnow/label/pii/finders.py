"""Finds what points at a person or opens a door in free text, one finder a kind.

What always holds: a finder yields `(start, end, value)`, `value` being the same for two writings of
one thing. Every pattern is bounded, so that no text takes more than linear time. Check digits,
known issuers and the phone plans of the countries decide, not shapes alone: a text on versions,
books or sums must stay as it is. What they search is folded: its digits and blanks are ASCII's.

Boundaries are ASCII on purpose: Chinese or Japanese text touches numbers without a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

Span = tuple[int, int, str]
Finder = Callable[[str], Iterator[Span]]

DASHES = r"\-\u00b7\u2012-\u2015\u2212\u30fc"
"""Signs between groups of digits, for a class of a pattern; a fold leaves the long ones, which
part sentences as well."""

_ASCII = "A-Za-z0-9"

_IPV4_BEGINS = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]")
_IPV6_BEGINS = re.compile(":[0-9A-Fa-f]{0,4}:")
_LONG_NUMBER = re.compile("[0-9](?:[^A-Za-z0-9\n]{0,3}[0-9]){6}")

# Only looks ahead, so that a word which reads like the begin of a number hides none after it.
_IBAN = re.compile(
    rf"[0-9](?<=(?<![{_ASCII}])[A-Za-z]{{2}}[0-9])(?=([0-9](?:[ {DASHES}]?[{_ASCII}]){{11,30}}))"
)
_WORD_END = re.compile(f"[{_ASCII}](?![{_ASCII}])")

_CARD = re.compile(
    r"(?<![A-Za-z0-9_.,])(?:"
    r"[0-9]{13,19}"
    rf"|[0-9]{{4}}([ .{DASHES}])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,4}}(?:\1[0-9]{{1,3}})?"
    rf"|[0-9]{{4}}([ .{DASHES}])[0-9]{{6}}\2[0-9]{{4,5}}"
    r")(?![A-Za-z0-9_]|[.,][0-9])"
)
# First digits that issuers use (ISO/IEC 7812), with the lengths of their numbers.
_ISSUERS = re.compile(
    "4(?:[0-9]{15}|[0-9]{18})"
    "|(?:5[1-5]|2[2-7])[0-9]{14}"
    "|3[47][0-9]{13}"
    "|3(?:0[0-5]|[689][0-9])[0-9]{11,16}"
    "|35[0-9]{14,17}"
    "|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}"
    "|62[0-9]{14,17}"
    "|(?:50|5[6-8]|6[0-9])[0-9]{10,17}"
)

_SSN = re.compile(
    rf"(?<![A-Za-z0-9_.-])(?!000|666|9)[0-9]{{3}}([{DASHES}])(?!00)[0-9]{{2}}\1(?!0000)[0-9]{{4}}"
    r"(?![A-Za-z0-9_]|-[0-9])"
)
_NAMED_SSN = re.compile(
    r"(?i:\bssn\b|social security (?:number|no\.?|#))[^0-9\n]{0,20}"
    r"((?!000|666|9)[0-9]{3} ?(?!00)[0-9]{2} ?(?!0000)[0-9]{4})(?![A-Za-z0-9_])"
)

_IPV4 = re.compile(r"(?<![A-Za-z0-9_.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9])")
_NUMBERED_BEFORE = re.compile(
    r"(?i:\b(?:v|ver|\w{0,20}version|release|build|firmware|driver|kernel|revision|rev|patch|sdk"
    r"|oid|section|sec|chapter|clause|article|figure|fig|table|item|rule|step|exercise|lesson"
    r"|theorem|score|result|rating|grade)s?\b(?: (?:is|no|number|of|was))?|[A-Za-z]/"
    r"|[=~<>!]=|[~^§])"
    r"[\s.:=\"'(#]{0,4}\Z"
)
_HOST_BEFORE = re.compile(
    r"(?i:\b(?:ip(?:v4)?|ips|\w{0,20}host|hosts|(?<!sql )(?<!windows )(?<!exchange )server|addr"
    r"|address|addresses|dns|nameserver|gateway|router|subnet|vpn|proxy|firewall|ssh|scp|rsync"
    r"|telnet|ping|traceroute|nslookup|curl|wget|https?|ftp|tcp|udp|inet|port|listen|bind)"
    r"(?![A-Za-z])|服务器|地址|主机|网关|サーバ|アドレス|адрес|сервер|serveur|servidor)[^\n]{0,30}\Z|@\Z"
)
_HOST_AFTER = re.compile(r"[\"')\]]?(?::[0-9]{1,5}\b|/[0-9]{1,2}\b|,? (?:on )?port\b)")
_IPV6 = re.compile(
    r"(?:(?<![A-Za-z0-9:.])|(?<=[^0-9A-Fa-f:.]:))"
    r"(?i:[23][0-9a-f]{3}|f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):[0-9A-Fa-f:]{2,34}(?![A-Za-z0-9:])"
)


def has_long_number(text: str) -> bool:
    """True when seven digits or more stand together, as in all numbers of people."""
    return _LONG_NUMBER.search(text) is not None


def ibans(text: str) -> Iterator[Span]:
    """International bank account numbers: their country's length and the check digits hold."""
    # Not at the top: what reads a DAG file must not pay for it.
    from stdnum import iban

    for match in _IBAN.finditer(text):
        start, limit = match.start() - 2, match.end(1) + 1
        for word_end in reversed([*_WORD_END.finditer(text, match.end(), limit)]):
            number = _letters_and_digits(text[start : word_end.end()])
            if iban.is_valid(number, check_country=False):
                yield start, word_end.end(), number.upper()
                break


def cards(text: str) -> Iterator[Span]:
    """Payment cards: an issuer's prefix and length, and the Luhn digit holds."""
    from stdnum import luhn

    for match in _CARD.finditer(text):
        number = _letters_and_digits(match[0])
        if _ISSUERS.fullmatch(number) and luhn.is_valid(number):
            yield match.start(), match.end(), number


def social_security_numbers(text: str) -> Iterator[Span]:
    """US social security numbers in their groups, or nine digits where the text says so."""
    for match in _SSN.finditer(text):
        yield match.start(), match.end(), _letters_and_digits(match[0])
    for start, end, value in spans(_NAMED_SSN, text):
        yield start, end, _letters_and_digits(value)


def ip_addresses(text: str) -> Iterator[Span]:
    """Addresses of hosts, private ones too: they say how a company's network looks inside.

    No host has an address that loops back, is a mask or names a network. Four single digits are
    a section number, or a resolver that everybody knows. Other four numbers are a host's by their
    size, by the words around them, or by another address in the text.
    """
    quads = [*_IPV4.finditer(text)] if _IPV4_BEGINS.search(text) else []
    hosts = [m for m in quads if _can_be_host(m[0]) and not _near(_NUMBERED_BEFORE, m, 24)]
    if any(map(_is_host, hosts)):
        yield from ((m.start(), m.end(), m[0]) for m in hosts)
    for match in _IPV6.finditer(text) if _IPV6_BEGINS.search(text) else ():
        try:
            yield match.start(), match.end(), IPv6Address(match[0]).compressed
        except AddressValueError:
            continue


def _can_be_host(raw: str) -> bool:
    parts = raw.split(".")
    if all(len(part) == 1 for part in parts) or parts[3] == "0":
        return False
    try:
        first = IPv4Address(raw).packed[0]
    except AddressValueError:
        return False
    return first not in (0, 127) and first < 224


def _is_host(match: re.Match[str]) -> bool:
    # Of 3,592 four-part versions of packages 0.6 % are of such a size, of public addresses 96 %.
    address = IPv4Address(match[0])
    large = sum(number >= 100 for number in address.packed)
    if address.is_private or large >= 2 or (large and address.packed[0] >= 13):
        return True
    after = _HOST_AFTER.match(match.string, match.end())
    return after is not None or _near(_HOST_BEFORE, match, 60)


def _near(before: re.Pattern[str], match: re.Match[str], reach: int) -> bool:
    start = match.start()
    return before.search(match.string, max(0, start - reach), start) is not None


def spans(
    pattern: re.Pattern[str], text: str, start: int = 0, end: int | None = None
) -> Iterator[Span]:
    """Where `pattern`, or its group where it has one, is found between `start` and `end`."""
    group = pattern.groups
    for match in pattern.finditer(text, start, len(text) if end is None else end):
        yield match.start(group), match.end(group), match[group]


def _letters_and_digits(raw: str) -> str:
    return re.sub("[^A-Za-z0-9]", "", raw)
