"""What a small night spends most of its time on, and tests of what it does can do without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest


class _OneEngine:
    """Stands for DuckDB in `winnow.sql`: its databases are connections to one.

    Views and temporary tables are a connection's own. To start a database takes longer than most
    of what a small night asks of it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._started = folder, dict[str, duckdb.DuckDBPyConnection]()

    def connect(self, config: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        own = {**config, "temp_directory": str(self._folder)}
        key = str(own)
        if key not in self._started:
            self._started[key] = duckdb.connect(config=own)
        return self._started[key].cursor()


def lighten(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """One DuckDB for all, with `folder` for what does not fit into memory; no wait for disks.

    A lake of a test need not outlast the machine's loss of power.
    """
    patch.setattr("winnow.sql.duckdb", _OneEngine(folder))
    patch.setattr("winnow.lake.folder.sync", lambda _: None)
