"""Text as it is shown to a person: nothing in it can hide, reorder or drive a terminal.

Text of models, prompts and annotators is hostile. Control characters, bidirectional marks and
invisible characters let one text look like another; they go. Newlines and tabs stay, and so do
the two joiners where scripts and emoji need them: directly after a character beyond ASCII.
"""

from __future__ import annotations

import re

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")

# Every Cc and Cs, and every Cf of Unicode 14 that shows nothing; the Arabic, Kaithi and Egyptian
# format characters of class Cf are visible signs and stay.
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u180e"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff]"
)

_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+")
_REPEATED_JOINERS = re.compile("([\u200c\u200d])[\u200c\u200d]+")


def plain_text(text: str) -> str:
    r"""`text` with line ends as newlines and without characters that nobody sees.

    >>> plain_text("pay\u202e 001$\u200b now\r\n")
    'pay 001$ now\n'
    """
    visible = _HIDDEN.sub("", _LINE_ENDS.sub("\n", text))
    return _REPEATED_JOINERS.sub(r"\1", _STRAY_JOINERS.sub("", visible))
