"""Errors of a disk in words: what happened, where, and what a person does about it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from winnow.errors import Fatal, Retryable

_PASSES = {
    errno.ENOSPC: "make room; it goes on from what is there",
    errno.EDQUOT: "make room, or ask for a larger quota; it goes on from what is there",
    errno.EMFILE: "raise the limit of open files of this process (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine (fs.file-max)",
    errno.EIO: "look at the disk, or at the server it is mounted from",
    errno.ESTALE: "mount it again",
    errno.ETIMEDOUT: "look at the server it is mounted from",
    errno.EAGAIN: "run it again",
    errno.EINTR: "run it again",
}
"""What passes by itself, or goes on once a person has done this."""

_STAYS = {
    errno.EACCES: "give the user of this process the right to it",
    errno.EPERM: "give the user of this process the right to it",
    errno.EROFS: "mount it for writing",
    errno.ENOTDIR: "a part of this path is a file and no folder; correct the path",
    errno.EEXIST: "a file lies where a folder belongs; move it away",
    errno.EISDIR: "a folder lies where a file belongs; move it away",
    errno.ENAMETOOLONG: "the name is too long for this file system; use a shorter one",
    errno.ELOOP: "links lead in a circle; correct them",
    errno.ENOENT: "restore it, or correct the path",
    errno.EXDEV: "put the whole lake on one file system",
}


def in_words(error: OSError, where: str = "") -> str:
    """An error of a file system as one line; `where` is for those that name no file.

    >>> in_words(OSError(28, "No space left on device"), "/lake/x")
    '/lake/x: No space left on device; make room; it goes on from what is there.'
    """
    if error.errno is None:
        return str(error)
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else where
    what = error.strerror or os.strerror(error.errno)
    do = _PASSES.get(error.errno) or _STAYS.get(error.errno)
    line = f"{what}; {do}." if do else f"{what}."
    return f"{place}: {line}" if place else line


@contextlib.contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Translate a file system's errors; that a file is absent stays FileNotFoundError.

    Raises:
        Retryable: It may pass: the disk is full, too many files are open.
        Fatal: A person has to change something: a right, a path.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = Retryable if error.errno in _PASSES else Fatal
        raise kind(in_words(error, where)) from error
