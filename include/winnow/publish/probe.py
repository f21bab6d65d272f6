"""A start-up probe: does the store keep the two promises that versions stand on?

Some stores that speak S3 ignore the conditions of a write (`rclone serve s3` does): every publisher
would win every number, and the last one would replace the versions of the others. Such a store is
refused before the first version of a process is committed to it.
"""

from __future__ import annotations

from winnow.errors import Fatal
from winnow.lake import Lake

PROBE = "datasets/.conditional-writes"
_OTHER = b"A later one must not.\n"
_NO_TAG = '"00000000000000000000000000000000"'
_PROVEN: set[str] = set()


def require_conditional_writes(lake: Lake) -> None:
    """Put one key twice, and swap it by a tag it does not have; once a process and store.

    The key stays, so that a process that is killed here leaves nothing new behind.

    Raises:
        Fatal: The store took a write that it had to refuse, or a folder cannot hold hard links.
    """
    place = f"{lake.store} {lake.uri}"
    if place in _PROVEN:
        return
    try:
        fault = _fault(lake)
    except OSError as error:
        fault = f"it cannot write objects that appear whole: {error}"
    if fault:
        raise Fatal(
            f"Nothing is published to {lake.uri} ({lake.store}): {fault}. Use a store with "
            "conditional writes, such as AWS S3 or SeaweedFS, or a folder on a local disk."
        )
    _PROVEN.add(place)


def _fault(lake: Lake) -> str:
    """What the store did wrong, or nothing."""
    lake.create(PROBE, b"The first to write this stays.\n")
    if lake.create(PROBE, _OTHER):
        return (
            "the store ignores If-None-Match and wrote over an object, so of two publishers at "
            "once one would lose its version"
        )
    if lake.swap(PROBE, _OTHER, _NO_TAG):
        return "the store ignores If-Match, so the pointer to the newest version could go back"
    return ""
