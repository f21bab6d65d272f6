"""A check of `winnow doctor`, and how many of them run at once without ever hanging."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from winnow.errors import WinnowError
from winnow.operate.alarms import cause_of
from winnow.text import plain_line

Outcome = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: what was measured, and what to do where it is not ok."""

    outcome: Outcome
    measured: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding under its check's name; texts are one plain line."""

    name: str
    outcome: Outcome
    measured: str
    mend: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


Examine = Callable[[], Finding]


def ok(measured: str) -> Finding:
    """All is well."""
    return Finding("ok", measured)


def warning(measured: str, mend: str) -> Finding:
    """It works, and something should be done."""
    return Finding("warning", measured, mend)


def failed(measured: str, mend: str) -> Finding:
    """Batches will stop at this."""
    return Finding("failed", measured, mend)


def run_all(checks: Mapping[str, Examine], seconds: float) -> list[Check]:
    """Every check at once, in the order given; one that takes longer than `seconds` has failed.

    The threads are daemons: one that hangs does not keep the process.
    """
    done: queue.Queue[tuple[str, Finding]] = queue.Queue()
    for name, examine in checks.items():
        threading.Thread(
            target=lambda name=name, examine=examine: done.put((name, _safely(examine))),
            name=f"doctor-{name}",
            daemon=True,
        ).start()
    found: dict[str, Finding] = {}
    ends = time.monotonic() + seconds
    while len(found) < len(checks) and (left := ends - time.monotonic()) > 0.0:
        try:
            name, finding = done.get(timeout=left)
        except queue.Empty:
            break
        found[name] = finding
    late = failed(f"no answer within {seconds:.0f} s", "see whether it is reachable from here")
    return [_check(name, found.get(name, late)) for name in checks]


def _safely(examine: Examine) -> Finding:
    """The finding, or the error as one; what it says is Winnow's own, never a foreign text."""
    try:
        return examine()
    except WinnowError as error:
        return failed(cause_of(error), "do what the message says")
    except TimeoutError:
        return failed("no answer in time", "see whether it is reachable from here")
    except Exception as error:
        return failed(cause_of(error).partition(";")[0], "report this; the other checks stand")


def _check(name: str, finding: Finding) -> Check:
    return Check(name, finding.outcome, plain_line(finding.measured), plain_line(finding.mend))
