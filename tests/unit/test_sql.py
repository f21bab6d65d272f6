"""Tables are what their files hold: a path says nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.batch import Artifact, table_bytes, table_file
from winnow.ids import digest
from winnow.lake import FolderLake
from winnow.sql import database
from winnow.validate.tables import read_columns

ROWS = {"id": ["1", "2"], "language": ["fr", None], "kind": ["gold", "comparison"]}


@pytest.mark.parametrize(
    "folder",
    [
        *("language=de", "kind=preference/language=de", "env=prod", "id=7"),
        *("a*b", "[ab]", "a?b", "a[", "it's", "a b#c%20", "**", "{a,b}", "language=de*"),
    ],
)
def test_no_table_takes_values_or_patterns_from_its_path(tmp_path: Path, folder: str) -> None:
    # Beside it what a pattern would match.
    for name in ("axb", "a", "b", "other"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"id": ["wrong"]}), tmp_path / name / "f.parquet")
    lake = FolderLake(tmp_path / folder)
    data = table_bytes(pa.table(ROWS))
    lake.create("f.parquet", data)
    with table_file(lake, Artifact("f.parquet", digest(data), 2, len(data))) as file:
        with database({"rows": file}) as connection:
            found = connection.sql("SELECT * FROM rows ORDER BY row_n").to_arrow_table()
        assert found.drop_columns("row_n").to_pydict() == ROWS
        assert read_columns(file, list(ROWS)).to_pydict() == ROWS
