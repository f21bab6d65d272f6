"""What the gate says of a batch: each check with its figure and limit, and who and what broke it.

A check passes, fails, or errs; one that erred is not a pass. `not_measured` is said of a figure
that nothing could be counted for, so that its absence is never read as a pass either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from winnow.records import Quarantined
from winnow.validate.sessions import UNSEEN, Sessions

Severity = Literal["warn", "block"]
Outcome = Literal["pass", "fail", "error", "not_measured"]
Worst = Literal["pass", "warn", "block"]

STAGE = "publish"
DATA_DOCS = "data_docs"
"""The output of that stage that is a page on what every expectation found."""
NO_TABLE = "suite"
"""Stands for the table of a bad row that is none: it tells why a check of a team's suite failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and how it went; `limit` is what `value` was held against.

    `suite` names that of the team's own that it is of, empty where it is the gate's.
    """

    name: str
    severity: Severity
    outcome: Outcome
    value: float | int | None
    limit: str
    suite: str = ""

    @property
    def reason(self) -> str:
        """A line on a check that did not pass."""
        return f"{self.severity}: {self.name} = {_told(self)} (limit {self.limit})"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that breaks the check: which table, its id, and what is wrong with it."""

    check: str
    table: str
    row_id: str
    detail: str

    def quarantined(self) -> Quarantined:
        """As a row of the stage's quarantine."""
        return Quarantined(STAGE, self.check, f"{self.table}: {self.detail}", record_id=self.row_id)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An annotator that fails a limit of their own, and the batch without them.

    `value` is the end of the interval of `measured` that was held against `limit`. `agreement` and
    `gold_accuracy` are the batch's without this annotator, None where that leaves nothing to count.
    """

    annotator: str
    check: str
    measured: float
    value: float
    limit: str
    votes: int
    agreement: float | None
    gold_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a batch: the worst of its checks.

    `figures` are all that was measured, by name; `profile` what later batches are held against;
    `bad_rows` and `suspects` name the rows and annotators behind checks that failed, of each check
    the first rows only; `quarantine` is the artifact that has them all; `set_aside` is what the
    batch is published without, see `winnow.validate.aside`; `data_docs` is the artifact that tells
    of each expectation; `sessions` tells how people's answers change over a session.
    """

    verdict: Worst
    checks: Sequence[Check]
    figures: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    bad_rows: Sequence[BadRow] = ()
    suspects: Sequence[Suspect] = ()
    quarantine: Mapping[str, Any] | None = None
    set_aside: Mapping[str, Any] | None = None
    data_docs: Mapping[str, Any] | None = None
    sessions: Sessions = UNSEEN

    def to_bytes(self) -> bytes:
        """The verdict as JSON.

        It is published: what a batch has none of is left out, so that one which a release of before
        began has the bytes that this would have written.
        """
        told = asdict(self)
        if self.data_docs is None:
            del told["data_docs"]
        for check in told["checks"]:
            if not check["suite"]:
                del check["suite"]
        return json.dumps(told, indent=1, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Verdict:
        """Read back what `to_bytes` wrote, this release or one before it."""
        return _READ.validate_json(data)

    def failed(self) -> list[Check]:
        """The checks that did not pass, the blocking ones first."""
        bad = [c for c in self.checks if c.outcome in ("fail", "error")]
        return sorted(bad, key=lambda check: check.severity)

    def reasons(self) -> list[str]:
        """A line for each check that did not pass, the blocking ones first."""
        return [check.reason for check in self.failed()]


_READ = TypeAdapter(Verdict)


def worst_of(checks: Sequence[Check]) -> Worst:
    """Block where a check erred or a blocking one failed, warn where any other failed."""
    if any(c.outcome == "error" or (c.outcome == "fail" and c.severity == "block") for c in checks):
        return "block"
    return "warn" if any(c.outcome == "fail" for c in checks) else "pass"


def _told(check: Check) -> str:
    if check.outcome == "error":
        return "an error"
    return "nothing" if check.value is None else f"{check.value:.3g}"
