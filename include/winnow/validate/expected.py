"""One expectation, the gate's own or a team's, as it is made for Great Expectations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.validate.verdict import Severity

_GX_SEVERITY = {"warn": "warning", "block": "critical"}


def library() -> Any:
    """Great Expectations, which takes seconds to import: only where it is used."""
    # Read when it is imported: what passes through a pipeline is nobody else's business.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


@dataclass(frozen=True, slots=True)
class Expected:
    """An expectation by its class in Great Expectations and what that is given.

    It has a name and its limit in words, and the figure that it is about, if any. One of a team's
    own `suite` names the columns that it looks at, and says whether it takes the `whole` table.
    """

    name: str
    severity: Severity
    limit: str
    kind: str
    given: Mapping[str, Any]
    figure: float | None = None
    suite: str = ""
    columns: Sequence[str] = ()
    whole: bool = False

    def made(self) -> Any:
        """The expectation itself."""
        made = getattr(library().expectations, self.kind)
        return made(**self.given, severity=_GX_SEVERITY[self.severity])
