"""`winnow bench labels` from the command line, on a small folder of judged pools."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.cli import main

from ..unit.bench.conftest import judged_rows


def test_a_folder_without_embeddings_is_benched_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.Table.from_pylist(judged_rows(10)), tmp_path / "alpaca_pool.parquet")
    out = tmp_path / "out"
    asked = ["bench", "labels", "--pool", str(tmp_path), "--seeds", "2", "--out", str(out)]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "Cannot show:" in told
    rows = json.loads((out / "labels.json").read_text())["comparisons"]
    strategies = {row["strategy"] for row in rows}
    assert strategies >= {"decision_gain", "hybrid", "dts", "delta", "info_gain", "random"}
    assert {row["labels"] for row in rows} >= {1, 2, 4, 8, 16}
    assert "<svg" in (out / "labels.html").read_text()


def test_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "labels", "--pool", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "alpaca_pool.parquet cannot be read" in capsys.readouterr().err
