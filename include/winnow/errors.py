"""Every error Winnow raises on purpose, grouped by what the caller should do next.

    WinnowError
    ├── Retryable   the same call may work in a moment (rate limit, time-out, store busy)
    ├── Fatal       a retry cannot help: a person has to change something (campaign, credential)
    ├── Blocked     a gate, a budget or an approval said no; the message carries the figure
    ├── Ambiguous   money may or may not have moved: never resubmit blindly, reconcile first
    └── Corrupt     stored data is not what its digest or row count says

A bad *row* is never an exception: it goes to quarantine with its reason.

A message may hold the words of a server or the name of a file: wherever an error is shown, it is
one plain line.
"""

from winnow.addresses import without_secrets
from winnow.text import plain_row


class WinnowError(Exception):
    """Root of the tree. The message says what happened, where, and what to do; never a secret."""

    def __init__(self, *told: object) -> None:
        super().__init__(*(without_secrets(t) if isinstance(t, str) else t for t in told))

    def __str__(self) -> str:
        return plain_row(super().__str__())


class Retryable(WinnowError):
    """The same call may succeed later."""


class Fatal(WinnowError):
    """A retry cannot help; a person must change something first."""


class Blocked(WinnowError):
    """A gate or a budget refused; nothing was spent or published."""


class Ambiguous(WinnowError):
    """It is unknown whether the vendor accepted a purchase; reconcile before sending again."""


class Corrupt(WinnowError):
    """Stored bytes do not match their digest, or rows are missing."""
