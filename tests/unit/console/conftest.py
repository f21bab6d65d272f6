"""What every page needs to be asked for: a time that stands still and an empty memory."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from winnow.console.memory import Memory
from winnow.console.shell import Site

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.fixture
def site() -> Site:
    """A site without Airflow that has read nothing yet."""
    return Site(NOW, Memory())
