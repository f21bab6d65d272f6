"""A check of `winnow doctor`, and how many of them run at once without ever hanging."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from winnow.errors import WinnowError
from winnow.operate.alarms import cause_of
from winnow.text import plain_line

Outcome = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: what was measured, and what to do where it is not ok.

    `campaign` is the one that it is about; empty where it is about all of them.
    """

    name: str
    outcome: Outcome
    measured: str
    mend: str = ""
    campaign: str = ""


Examine = Callable[[], Check]


def ok(measured: str) -> Check:
    """All is well."""
    return Check("", "ok", measured)


def warning(measured: str, mend: str) -> Check:
    """It works, and something should be done."""
    return Check("", "warning", measured, mend)


def failed(measured: str, mend: str) -> Check:
    """Batches will stop at this."""
    return Check("", "failed", measured, mend)


def run_all(checks: Mapping[str, Examine], seconds: float) -> list[Check]:
    """Every check at once, in the order given; one that takes longer than `seconds` has failed.

    They are called by their name, or CAMPAIGN/NAME.

    The threads are daemons: one that hangs does not keep the process.
    """
    done: dict[str, Check] = {}

    def run(name: str, examine: Examine) -> None:
        done[name] = _safely(examine)

    threads = [
        threading.Thread(target=run, args=each, name=f"doctor-{each[0]}", daemon=True)
        for each in checks.items()
    ]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(ends - time.monotonic(), 0.0))
    late = failed(f"no answer within {seconds:.0f} s", "see whether it is reachable from here")
    ended = {name: done.get(name, late) for name in checks}
    return [
        Check(
            name.rpartition("/")[2],
            each.outcome,
            plain_line(each.measured),
            plain_line(each.mend),
            name.rpartition("/")[0],
        )
        for name, each in ended.items()
    ]


def _safely(examine: Examine) -> Check:
    """What the check found, or its error; what it says is Winnow's own, never a foreign text."""
    try:
        return examine()
    except WinnowError as error:
        return failed(cause_of(error), "do what the message says")
    except TimeoutError:
        return failed("no answer in time", "see whether it is reachable from here")
    except Exception as error:
        return failed(cause_of(error).partition(";")[0], "report this; the other checks stand")
