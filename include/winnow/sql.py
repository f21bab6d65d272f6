"""DuckDB over a batch's tables, within a fixed amount of memory.

A table is an Arrow table or a Parquet file that is read where it lies. Each is a view of its name,
with one more column: `row_n`, the place of a row in its table, counted from 0. What does not fit
into memory goes to a temporary folder, which is gone afterwards.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

Source: TypeAlias = pa.Table | Path
"""A table: in memory, or a Parquet file."""

MEMORY = "400MB"
"""What DuckDB may hold at once; a batch of any size is worked on within it."""
_MOST_THREADS = 4
"""More would share that memory out in pieces too small to work with."""


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of a table or view."""
    return int(connection.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0])


@cache
def statements(module: str) -> Mapping[str, str]:
    """The SQL beside a module, in a file of its name: each statement by the word it is headed with.

        -- word: what it is for
        SELECT ...

    Args:
        module: The module's `__file__`.
    """
    text = Path(module).with_suffix(".sql").read_text()
    _, *parts = re.split(r"(?:\A|\n\n)-- (\w+)(?:: .*)?\n", text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def literal_path(path: Path) -> str:
    """A path as DuckDB reads it by its letters: no star or bracket of a name is a pattern.

    Give `hive_partitioning = false` beside it: a folder such as `language=de` is a name too.
    """
    return _PATTERN.sub(r"[\g<0>]", str(path))


_PATTERN = re.compile(r"[*?\[]")


@contextmanager
def database(
    tables: Mapping[str, Source], memory: str = MEMORY
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own with a view of each table."""
    with tempfile.TemporaryDirectory(prefix="winnow-sql-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "temp_directory": folder,
            "threads": min(_MOST_THREADS, os.cpu_count() or 1),
            # Whoever wants an order asks for it.
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            for name, source in tables.items():
                _add(connection, name, source)
            yield connection


def _add(connection: duckdb.DuckDBPyConnection, name: str, source: Source) -> None:
    if isinstance(source, Path):
        file = literal_path(source).replace("'", "''")
        connection.execute(
            f"CREATE TEMP VIEW {name} AS SELECT * EXCLUDE (file_row_number), file_row_number AS "
            f"row_n FROM read_parquet('{file}', file_row_number = true, hive_partitioning = false)"
        )
    else:
        numbered = source.append_column("row_n", pa.array(np.arange(source.num_rows)))
        connection.register(f"given_{name}", numbered)
        connection.execute(f"CREATE TEMP VIEW {name} AS FROM given_{name}")
