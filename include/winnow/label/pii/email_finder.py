"""Finds e-mail addresses in free text, those in other scripts than Latin too.

Scripts without spaces between words have no sign where an address begins or ends. In them it begins
with its line or sentence, unless Latin letters stand before the `@`; it ends with the domain's last
label, of which Latin ones are recognised by their letters and the others are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from winnow.label.pii.finders import Span

# Letters and their marks of scripts with spaces: Latin to Armenian, Hebrew, Arabic, those of India,
# Georgian, Ethiopic. Without: of Thai to Burmese, Hangul (it adds endings to a word), Khmer, Han.
_SPACED = (
    "A-Za-zÀ-ÖØ-öø-ʯ\u0300-\u0373\u0376\u0377\u037b-\u037d\u0386\u0388-\u052f\u0531-\u0556"
    "\u0561-\u0587\u0591-\u05bd\u05d0-\u05ea\u0610-\u061a\u0620-\u0669\u066e-\u06d3\u06d5-\u06ff"
    "\u0900-\u0963\u0971-\u0df3\u10a0-\u10fa\u10fc-\u10ff\u1200-\u135a\u1e00-\u1fff"
)
_UNSPACED = (
    "\u0e01-\u0e4e\u0e81-\u0ede\u0f40-\u0fbc\u1000-\u1049\u1100-\u11ff\u1780-\u17d3\u3005-\u3007"
    "\u3041-\u30fa\u30fc-\u318e\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_LAST_LABELS = (
    "中[国國]|公司|网[络址站店]|網[絡路]|在[线線]|中文网|集[团團]|商[城店标]|香港|台[湾灣]|新加坡|手机|游戏"
    "|企业|信息|餐[厅廳]|娱乐|健康|慈善|政[府务]|机构|组织机构|广东|佛山|时尚|招聘|食品|购物|移动|我爱你|通販"
    "|世界|[书書]籍|点看|電訊盈科|コム|ストア|セール|ファッション|クラウド|みんな|ポイント|アマゾン|グーグル"
    "|한국|닷[컴넷]|삼성|ไทย|คอม|ລາວ"
)
_COMMON = "com|net|org|edu|gov|info|io|cn|jp|kr|tw|hk"

_AT = re.compile("@|%40")
_LOCAL = re.compile(
    rf"(?:(?<![{_SPACED}0-9._%+-])[{_SPACED}0-9_%+-]"
    rf"(?:[{_SPACED}0-9._%+-]|['’ʼ](?=[{_SPACED}0-9])){{0,63}}"
    rf"|(?<![{_SPACED}{_UNSPACED}0-9._%+-])[{_SPACED}{_UNSPACED}0-9._%+-]{{0,63}}[{_UNSPACED}]"
    r'|"[^"\n@]{1,64}")\Z'
)
_LABEL = (
    rf"(?:[{_SPACED}0-9](?:[{_SPACED}0-9-]{{0,61}}[{_SPACED}0-9])?"
    rf"|[{_UNSPACED}][{_SPACED}{_UNSPACED}0-9-]{{0,62}})"
)
_DOMAIN = re.compile(
    # Numbers only are a version: `tool@v0.0.1-go1.26.darwin`.
    r"(?!v?[0-9]{1,9}\.[0-9]{1,9}\.[0-9])(?:"
    rf"(?:{_LABEL}\.){{1,8}}(?:(xn--[A-Za-z0-9-]{{2,59}}|[{_SPACED}]{{2,24}})(?![{_SPACED}0-9])"
    rf"|(?:{_LAST_LABELS}))"
    rf"|(?:{_LABEL}。){{1,3}}(?:(?i:{_COMMON})(?![{_SPACED}0-9])|{_LAST_LABELS}))"
)
# `logo@2x.png` is a picture, `x@self.weight` a product of matrices.
_NO_LAST_LABEL = re.compile(
    "(?i:bmp|css|gif|html|ico|jpe?g|json?|pdf|png|py|svg|tgz|tsx?|txt|webp|ya?ml"
    "|inverse|numpy|permute|reshape|shape|transpose|values|weight)"
)
_APOSTROPHES = re.compile("[’ʼ]")
_CODE_QUOTE = re.compile("[bBfFrRuU]{1,2}'")


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses; neither `git@` of a repository's address nor a picture's `logo@2x.png`."""
    end = 0
    for at in _AT.finditer(text) if "@" in text or "%40" in text else ():
        local = _LOCAL.search(text, max(end, at.start() - 66), at.start())
        domain = local and _DOMAIN.match(text, at.end())
        if not local or not domain or _NO_LAST_LABEL.fullmatch(domain[1] or ""):
            continue
        start, end = local.start(), domain.end()
        quote = _CODE_QUOTE.match(text, start)
        if quote and text.startswith("'", end):
            start = quote.end()
        name = _APOSTROPHES.sub("'", text[start : at.start()].lower())
        if name != "git":
            yield start, end, f"{name}@{_domain(domain[0])}"


def _domain(raw: str) -> str:
    """A domain in one writing: `xn--fsqu00a.xn--55qx5d` is `例子.公司`."""
    labels = raw.lower().replace("。", ".").split(".")
    for n, label in enumerate(labels):
        if label.startswith("xn--"):
            with suppress(UnicodeError):
                labels[n] = label[4:].encode().decode("punycode")
    return ".".join(labels)
