"""Names of containers, where a vendor has no key of its own for them."""

from __future__ import annotations

import re

from winnow.ids import content_id

_DIGEST_LENGTH = 16


def container_name(batch_key: str, longest: int = 63) -> str:
    """A name that stands for `batch_key` alone, readable, of at most `longest` characters.

    Lower-case letters, digits and single hyphens, beginning and ending with a letter or digit: it
    may be a path, a folder or the name of a labeling job, and is one whatever the case.

    >>> container_name("nightly/2026-11-22#1")
    'nightly-2026-11-22-1-4b3a446652c01bb5'
    """
    readable = re.sub(r"[^a-z0-9]+", "-", batch_key.lower())[: longest - _DIGEST_LENGTH - 1]
    unique = content_id("container", batch_key)[:_DIGEST_LENGTH]
    return f"{readable}-{unique}".replace("--", "-").strip("-")
