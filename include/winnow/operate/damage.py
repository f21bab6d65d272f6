"""What the lake holds of one batch may be damaged; it takes no other batch with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from winnow.errors import Retryable, WinnowError
from winnow.text import plain_line

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Damage:
    """What the lake holds of a batch cannot be read: why, one line, plain text."""

    cause: str


def whole(read: Callable[[], T]) -> T | Damage:
    """What `read` finds of one batch, or why it cannot be read: no batch takes others with it.

    Raises:
        Retryable, OSError: The store is away, which says nothing of the batch.
    """
    try:
        return read()
    except Retryable:
        raise
    except FileNotFoundError as error:
        return Damage(plain_line(f"{error.filename or error} is missing."))
    except OSError as error:
        if error.errno is not None:
            raise
        return Damage(plain_line(str(error)))  # Arrow's own, of a table that cannot be parsed
    except WinnowError as error:
        return Damage(plain_line(str(error)))
    except Exception as error:
        # Whatever a reader trips over is the batch's fault, and its alone.
        return Damage(plain_line(f"{type(error).__name__}: {error}"))
