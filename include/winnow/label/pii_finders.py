"""Finds what points at a person or opens a door in free text, one finder a kind.

What always holds: a finder yields `(start, end, value)`, `value` being the same for two writings of
one thing. Every pattern is bounded, so that no text takes more than linear time. Check digits,
known issuers and the phone plans of the countries decide, not shapes alone: a text on versions,
books or sums must stay as it is.

Boundaries are ASCII on purpose: Chinese or Japanese text touches numbers without a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

Span = tuple[int, int, str]
Finder = Callable[[str], Iterator[Span]]

_ASCII = "A-Za-z0-9"

# What a text must hold to be worth a search of its whole length, which costs ten times as much.
_KEY_SIGNS = (
    "-----BEGIN", "eyJ", "AKIA", "ASIA", "AIza", "sk-", "k_live", "k_test", "ghp_", "gho_", "ghu_",
    "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "hf_", "npm_", "earer ", "EARER ",
)  # fmt: skip
_SECRET_NAMES = ("key", "token", "secret", "passw")
_IBAN_BEGINS = re.compile("[A-Z][A-Z][0-9][0-9]")
_IPV4_BEGINS = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]")
_IPV6_BEGINS = re.compile("[0-9A-Fa-f]:[0-9A-Fa-f:]{1,4}:?")
_LONG_NUMBER = re.compile("[0-9](?:[^A-Za-z0-9\n]{0,3}[0-9]){6}")

_BREAK, _BASE64 = r"(?:\s|\\[nr])", "[A-Za-z0-9+/=]"
_OF_A_KEY = "[A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_KEYS = re.compile(
    # The header alone is no key: lines of base64 must follow, their breaks real or written as \n.
    rf"-----BEGIN {_OF_A_KEY}{_BREAK}*(?:[A-Za-z-]{{1,20}}: [^\n]{{0,200}}\n\s*){{0,5}}"
    rf"{_BASE64}{{16,}}(?:{_BREAK}+{_BASE64}{{16,}})*"
    rf"(?:(?:{_BREAK}+{_BASE64}{{1,15}})?{_BREAK}*-----END {_OF_A_KEY})?"
    rf"|(?<![{_ASCII}_-])(?:"
    r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{8,2000}"
    r"|(?:AKIA|ASIA)[A-Z2-7]{16}"
    r"|AIza[\w-]{35}"
    r"|(?:gh[pousr]_|github_pat_|glpat-|hf_|npm_)(?=[A-Za-z_]*[0-9])[\w-]{20,255}"
    r"|xox[abeoprs]-(?=[\w-]*[0-9])[\w-]{15,255}"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,255}"
    r"|sk-(?:[a-z]{2,10}[0-9]{0,2}-){0,3}(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_]{16}[\w-]{0,240}"
    rf")(?![{_ASCII}_])",
    re.ASCII,
)
_BEARER = re.compile(r"(?i:\bbearer )((?=[\w.~+/-]*[0-9])[\w.~+/-]{20,4000}=*)", re.ASCII)
_ASSIGNED = re.compile(
    r"(?i:(?:api|access|secret|private|auth)[_-]?(?:access[_-]?)?(?:key|token|secret)"
    r"|client[_-]?secret|passw(?:or)?d)"
    r"[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?"
    r"((?=[\w./+-]*[0-9])(?=[\w./+-]*[A-Za-z])[\w./+-]{16,200}={0,2})(?![\w(\[])",
    re.ASCII,
)

# Latin with accents, Greek and Cyrillic are letters of addresses as well.
_LETTER = "A-Za-zÀ-ÖØ-öø-ɏͰ-ϿЀ-ӿ"
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9._%+-])[{_LETTER}0-9_%+-][{_LETTER}0-9._%+-]{{0,63}}@"
    rf"(?:[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?\.){{1,8}}"
    rf"([{_LETTER}]{{2,24}})(?![{_LETTER}0-9])"
)
_FILE_ENDINGS = frozenset(["css", "gif", "jpeg", "jpg", "js", "json", "png", "py", "svg", "webp"])

_IBAN = re.compile(
    rf"(?<![{_ASCII}])[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?"
    rf"(?![{_ASCII}])"
)
_SHORTEST_IBAN, _LONGEST_IBAN = 15, 34

_CARD = re.compile(
    r"(?<![A-Za-z0-9_.,])(?:"
    r"[0-9]{13,19}"
    r"|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?"
    r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}"
    r")(?![A-Za-z0-9_]|[.,][0-9])"
)
# First digits that issuers use (ISO/IEC 7812), with the lengths of their numbers.
_ISSUERS = re.compile(
    "4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"
    "|(?:5[1-5]|2[2-7])[0-9]{14}"
    "|3[47][0-9]{13}"
    "|3(?:0[0-5]|[689][0-9])[0-9]{11,16}"
    "|35[0-9]{14,17}"
    "|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}"
    "|62[0-9]{14,17}"
    "|(?:50|5[6-8]|6[0-9])[0-9]{10,17}"
)

_SSN = re.compile(
    r"(?<![A-Za-z0-9_.-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![A-Za-z0-9_]|-[0-9])"
)
_NAMED_SSN = re.compile(
    r"(?i:\bssn\b|social security (?:number|no\.?|#))[^0-9\n]{0,20}"
    r"((?!000|666|9)[0-9]{3} ?(?!00)[0-9]{2} ?(?!0000)[0-9]{4})(?![A-Za-z0-9_])"
)

_IPV4 = re.compile(r"(?<![A-Za-z0-9_.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9])")
_VERSION_BEFORE = re.compile(
    r"(?i:\b(?:v|version|ver|release|build|firmware|section|chapter|clause|article|oid)"
    r"|[A-Za-z]/|[=~<>^§])[\s.:]*$"
)
_IPV6 = re.compile(
    r"(?<![A-Za-z0-9:.])(?i:[23][0-9a-f]{3}|f[cd][0-9a-f]{2}|fe[89ab][0-9a-f])"
    r":[0-9A-Fa-f:]{2,34}(?![A-Za-z0-9:])"
)


def has_long_number(text: str) -> bool:
    """True when seven digits or more stand together, as in all numbers of people."""
    return _LONG_NUMBER.search(text) is not None


def keys(text: str) -> Iterator[Span]:
    """Keys and tokens of known services, JSON web tokens, private keys, secrets being assigned."""
    if any(sign in text for sign in _KEY_SIGNS):
        for pattern in (_KEYS, _BEARER):
            yield from _spans(pattern, text)
    lowered = text.lower()
    if any(name in lowered for name in _SECRET_NAMES):
        yield from _spans(_ASSIGNED, text)


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses; neither `git@` of a repository's address nor a picture's `logo@2x.png`."""
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        value = match[0].lower()
        if match[1].lower() not in _FILE_ENDINGS and not value.startswith("git@"):
            yield match.start(), match.end(), value


def ibans(text: str) -> Iterator[Span]:
    """International bank account numbers: their country's length and the check digits hold."""
    for match in _IBAN.finditer(text) if _IBAN_BEGINS.search(text) else ():
        end = _iban_end(match[0])
        if end:
            yield match.start(), match.start() + end, match[0][:end].replace(" ", "")


def _iban_end(raw: str) -> int | None:
    """Where the number ends in `raw`, which may go on with words in capitals."""
    iban = _stdnum().iban
    ends = [i + 1 for i in range(len(raw)) if raw[i] != " "]
    for length in range(min(len(ends), _LONGEST_IBAN), _SHORTEST_IBAN - 1, -1):
        if iban.is_valid(raw[: ends[length - 1]], check_country=False):
            return ends[length - 1]
    return None


def cards(text: str) -> Iterator[Span]:
    """Payment cards: an issuer's prefix and length, and the Luhn digit holds."""
    for match in _CARD.finditer(text) if has_long_number(text) else ():
        number = match[0].replace(" ", "").replace("-", "")
        if _ISSUERS.fullmatch(number) and _stdnum().luhn.is_valid(number):
            yield match.start(), match.end(), number


def social_security_numbers(text: str) -> Iterator[Span]:
    """US social security numbers in their groups, or nine digits where the text says so."""
    for pattern in (_SSN, _NAMED_SSN) if has_long_number(text) else ():
        for start, end, value in _spans(pattern, text):
            yield start, end, re.sub("[ -]", "", value)


def ip_addresses(text: str) -> Iterator[Span]:
    """Addresses of hosts, private ones too: they say how a company's network looks inside.

    No host has an address that loops back, is a mask or names a network. Four single digits are
    a section number, or a resolver that everybody knows.
    """
    for match in _IPV4.finditer(text) if _IPV4_BEGINS.search(text) else ():
        if _is_host(match[0]) and not _VERSION_BEFORE.search(
            text, max(0, match.start() - 16), match.start()
        ):
            yield match.start(), match.end(), match[0]
    for match in _IPV6.finditer(text) if _IPV6_BEGINS.search(text) else ():
        try:
            yield match.start(), match.end(), IPv6Address(match[0]).compressed
        except AddressValueError:
            continue


def _is_host(raw: str) -> bool:
    parts = raw.split(".")
    if all(len(part) == 1 for part in parts) or parts[3] == "0":
        return False
    try:
        first = IPv4Address(raw).packed[0]
    except AddressValueError:
        return False
    return first not in (0, 127) and first < 224


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    group = pattern.groups
    for match in pattern.finditer(text):
        yield match.start(group), match.end(group), match[group]


@cache
def _stdnum() -> Any:
    # Not at the top: what reads a DAG file must not pay for it.
    import stdnum.iban
    import stdnum.luhn

    return stdnum
