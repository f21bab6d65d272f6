"""Loggers whose records are one plain line each, whoever wrote the words in them."""

from __future__ import annotations

import logging


def plain_logger(name: str) -> logging.Logger:
    """The logger of `name`: a server's words or a file's name forge no line and drive no terminal.

    An error that is logged with its traceback is Python's own text, which stays as it is.
    """
    log = logging.getLogger(name)
    if _make_plain not in log.filters:
        log.addFilter(_make_plain)
    return log


def _make_plain(record: logging.LogRecord) -> bool:
    from winnow.text import plain_row

    record.msg, record.args = plain_row(record.getMessage()), ()
    return True
