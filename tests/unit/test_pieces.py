"""A table is read in pieces, and no more of it is held than a piece and a row group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.pieces import read_pieces

ROWS = pa.table({"n": list(range(10)), "name": [f"row {n}" for n in range(10)]})


def test_pieces_are_all_rows_in_order_of_a_table_and_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(ROWS, file, row_group_size=4)
    for source in (ROWS, file):
        assert pa.Table.from_batches(read_pieces(source, 3)).to_pylist() == ROWS.to_pylist()
        named = list(read_pieces(source, 3, ["name"]))
        assert max(piece.num_rows for piece in named) <= 3
        assert pa.Table.from_batches(named).to_pydict() == {"name": ROWS["name"].to_pylist()}


def test_a_file_that_was_read_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "noise.parquet"
    noise = np.random.default_rng(0).random(1_000_000)
    pq.write_table(pa.table({"x": noise}), file, row_group_size=50_000, compression="none")
    before, held = pa.total_allocated_bytes(), 0
    for _ in read_pieces(file, 10_000):
        held = max(held, pa.total_allocated_bytes() - before)
    assert held < noise.nbytes / 2
