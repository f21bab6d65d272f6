"""Tables of a batch as the checks see them: read where they lie, whatever their size."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from winnow.validate.tables import SCHEMAS, opened

from .world import make_world


def test_stored_tables_are_read_from_their_files_and_none_of_them_whole(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.parquet" for name in SCHEMAS}
    for name, table in make_world(7).tables().items():
        pq.write_table(table, files[name])
    with opened(files) as connection:
        views = dict(connection.sql("SELECT view_name, sql FROM duckdb_views()").fetchall())
    assert [name for name in SCHEMAS if "read_parquet" not in views[name]] == []
