"""Addresses that may hold a secret, and texts that may hold such addresses.

Whoever is given an address with a password prints it sooner or later: libraries in their errors,
tools in their logs. So Winnow takes none where a secret has another place, and no text of its own
is shown before `without_secrets` has seen it; every `WinnowError` does that by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HIDDEN = "***"
"""What is shown in the place of a secret."""

# One slash is a misspelt address; after three there is no place for a user.
_BEGINNING = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{0,30}:/{1,2}|(?<![^\s\"'(=])//)(?!/)", re.IGNORECASE
)
_END = re.compile(r"[\s<>]|$")
_LONGEST = 4096
"""Characters of an address that are looked at: a foreign text of many is seen in linear time."""
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):\d{0,5}")
_PARAMETER = re.compile(
    r"([?&;#](?:[^=&#?;\s<>\"]{0,64}"
    r"(?:password|passwd|secret|signature|credential|token|access[-_]?key)"
    r"[^=&#?;\s<>\"]{0,64}|(?:[^=&#?;\s<>\"]{0,64}[-_.])?(?:auth|jwt|pass|pwd|salt|sig)"
    r"|(?:[^=&#?;\s<>\"]*(?:api|account|private|shared|signing))?[-_]?key)=)[^&#\s<>\"]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """`text` with `***` for users and passwords of addresses and for secrets in their queries.

    A password that was not escaped, as the keys of AWS with their slashes, goes whole; where it
    cannot be told from what follows, that goes too.

    >>> without_secrets("s3://KEY:SEC/RET@bucket/x and http://h:80/a?token=t&page=2")
    's3://***@bucket/x and http://h:80/a?token=***&page=2'
    """
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _without_users(text) if "@" in text else text)


def holds_secret(address: str) -> bool:
    """Whether an address, all of the text, names a user, a password or another secret.

    >>> holds_secret("http://user@host"), holds_secret("http://host:8080/people/a@b")
    (True, False)
    """
    scheme = _BEGINNING.match(address)
    return _PARAMETER.search(address) is not None or (
        scheme is not None and _users_length(scheme[0], address[scheme.end() :]) > 0
    )


def _without_users(text: str) -> str:
    shown, at = [], 0
    while scheme := _BEGINNING.search(text, at):
        shown.append(text[at : scheme.end()])
        at = scheme.end()
        if text.find("@", at, at + _LONGEST) < 0:
            continue
        end = _END.search(text, at, at + _LONGEST)
        at += _users_length(scheme[0], text[at : end.start() if end else len(text)])
        if at > scheme.end():
            shown.append(HIDDEN)
    return "".join([*shown, text[at:]])


def _users_length(scheme: str, address: str) -> int:
    """How many characters before an @ are a user and a password; 0 where none are."""
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    # What follows the first slash may still be of a password, but not of a port; buckets have none.
    has_port = _PORT.fullmatch(authority) and not scheme.lower().startswith("s3")
    if "@" in authority or (":" in authority and "@" in address and not has_port):
        return address.rindex("@")
    return 0


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`url` ends before `/v1`, such as http://gpu-1:8000; `key` is empty where none is needed."""

    url: str
    key: str = field(default="", repr=False)
