"""Finds keys and tokens in free text: by the signs that services give theirs, or by being assigned.

Keys without a sign of their own (a row of hex digits, a short password) count only where the text
says what they are: behind a name such as `api_key =`, in a link's query, between the user and the
host of a link.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator

from winnow.label.pii.finders import Span, spans

# As long as any key but a link's password, so that most texts need no more than this search.
_LONG_WORDS = re.compile("[!-~]{16,}")

_BREAK, _BASE64 = r"(?:\s|\\[nr])", "[A-Za-z0-9+/=]"
_OF_A_KEY = "[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_PRIVATE_KEYS = re.compile(
    # The header alone is no key: lines of base64 must follow, their breaks real or written as \n.
    rf"-{{4,5}} ?BEGIN {_OF_A_KEY}{_BREAK}{{0,9}}(?:[A-Za-z-]{{1,20}}: [^\n]{{0,200}}\n\s{{0,9}})"
    rf"{{0,5}}{_BASE64}{{16,9999}}(?:{_BREAK}{{1,9}}{_BASE64}{{16,9999}}){{0,999}}"
    rf"(?:(?:{_BREAK}{{1,9}}{_BASE64}{{1,15}})?{_BREAK}{{0,9}}-{{4,5}} ?END {_OF_A_KEY})?"
    r"|PuTTY-User-Key-File-[0-9]:(?:[^\n]{0,99}\n){1,60}?Private-Lines: [0-9]{1,3}"
    rf"(?:\n{_BASE64}{{1,80}}(?![\w+/=:-])){{1,99}}(?:\nPrivate-(?:MAC|Hash): [0-9a-f]{{8,128}})?"
)

# Services whose tokens are a sign of theirs and then letters and digits.
_SIGNS = (
    "AKCp|ATATT3|EAA[A-Z]|GOCSPX-|HRKU-|NRAK-|PMAK-|api_org_|dckr_pat_|do[opr]_v1_|dp[.]pt[.]"
    "|figd_|gh[opusr]_|github_pat_|gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rt|soat)-|gl(?:c|sa)_"
    "|gsk_|hf_|hv[bs][.]|lin_api_|lsv2_(?:pt|sk)_|npm_|ntn_|ops_eyJ|pcsk_|pscale_[a-z]{2,8}_"
    "|pypi-AgE|r8_|rubygems_|sbp_|sh(?:pat|pca|ppa|pss)_|sntry[su]_|sq0[a-z]{3}-|tfp_|whsec_"
    "|xkeysib-|ya29[.]"
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{8,2000}|eyJ[\w-]{16,4000}(?:\.[\w-]{0,8000}){4}"
    rf"|(?:{_SIGNS})(?:(?=[a-z_-]{{0,60}}[A-Z0-9])[\w-]{{20,300}}|[a-z]{{30,300}})"
    r"|(?:xox[abeoprs][.-](?:xox[bp]-)?|xapp-)(?=[A-Za-z_-]{0,60}[0-9])[\w-]{15,300}"
    r"|(?:ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16}|ABSK[A-Za-z0-9+/]{60,200}={0,2}"
    r"|AIza[\w-]{33,40}"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,255}"
    r"|(?:pplx|sk|xai)-(?:[a-z]{2,10}[0-9]{0,2}-){0,3}(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_]{16}"
    r"[\w-]{0,240}"
    r"|sk-(?:admin|ant-[a-z]{3,8}[0-9]{2}|proj|svcacct)-(?=[A-Za-z_-]{0,60}[0-9])[\w-]{20,300}"
    r"|SG\.[\w-]{16,32}\.[\w-]{16,64}"
    r"|(?:AC|SK|dapi|key-)[0-9a-f]{32}(?:-[0-9])?|[0-9a-f]{32}-us[0-9]{1,2}"
    r"|(?:bot)?[0-9]{6,10}:(?=[a-z0-9_-]{0,34}[A-Z])[\w-]{35}"
    r"|[MNO][\w-]{23,27}\.[\w-]{6,7}\.[\w-]{27,40}"
    r"|[\w~.]{3}[0-9]Q~[\w~.-]{31,34}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{50,64}"
    r"|(?:https?://)?(?:"
    r"hooks\.slack(?:-gov)?\.com/(?:services|triggers|workflows)/[\w/+-]{16,200}"
    r"|(?:[a-z]{3,9}\.)?discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/"
    r"[0-9]{15,22}/[\w-]{30,99}"
    r"|[\w-]{1,60}\.(?:webhook\.)?office\.com/webhook(?:b2)?/[\w@/-]{36,300})"
    r")(?![A-Za-z0-9_])",
    re.ASCII,
)
_ASSIGNED = re.compile(
    r"(?i:(key|secret|token)|passw(?:or)?d)[\"'”]?[ \t]{0,4}[:=][ \t]{0,4}[\"'“”„]?"
    r"((?=[\w./+-]{0,200}[0-9])(?=[\w./+-]{0,200}[A-Za-z])[\w./+-]{16,200}={0,2})(?![\w(\[])",
    re.ASCII,
)
# What makes a key, a token or a secret one that opens a door.
_OPENS = re.compile(
    r"(?i:access|account|admin|api|app|auth|bot|client|deploy|encryption|hook|master|openai|private"
    r"|refresh|secret|service|session|shared|signing|storage|subscription)[_ -]?\Z"
)
_SIGNATURE = re.compile(r"(?<=[?&;])sig=([\w%+/-]{40,200}={0,2})", re.ASCII)
_BEARER = re.compile(
    r"(?i:\bbearer )((?=[\w.~+/-]{0,200}[0-9])[\w.~+/-]{20,4000}=*)(?![\w.~+/-])", re.ASCII
)
_BASIC = re.compile(r"(?i:\bbasic )([A-Za-z0-9+/]{8,400}={0,2})(?![A-Za-z0-9+/=])")
# Neither a host's port nor a place to fill in: `<password>`, `${PASSWORD}`, `%s`, `***`.
_LINK_PASSWORD = re.compile(
    r"(?<=[A-Za-z0-9])://[^\s/:@?#\"'`<>\[\]]{0,100}:"
    r"(?![<{*]|%(?![0-9A-Fa-f]{2})|\$[({A-Z_])([^\s/?#\"'`<>\[\]]{1,200})@(?=[A-Za-z0-9\[])"
)


def keys(text: str) -> Iterator[Span]:
    """Keys and tokens of known services, web tokens, private keys, secrets being assigned."""
    if "://" in text and "@" in text:
        yield from spans(_LINK_PASSWORD, text)
    if "PRIVATE KEY" in text or "PuTTY" in text:
        yield from spans(_PRIVATE_KEYS, text)
    lowered = text.lower()
    if "basic " in lowered:
        yield from (found for found in spans(_BASIC, text) if _is_user_and_password(found[2]))
    long_words = [*_LONG_WORDS.finditer(text)]
    for word in long_words:
        yield from spans(_TOKENS, text, *word.span())
    if long_words:
        yield from spans(_SIGNATURE, text) if "sig=" in text else ()
        yield from spans(_BEARER, text) if "bearer " in lowered else ()
        for match in _ASSIGNED.finditer(text):
            if not match[1] or _OPENS.search(text, max(0, match.start() - 16), match.start()):
                yield match.start(2), match.end(2), match[2]


def _is_user_and_password(raw: str) -> bool:
    try:
        return ":" in b64decode(raw, validate=True).decode()
    except ValueError:
        return False
