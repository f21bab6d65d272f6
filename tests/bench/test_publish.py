"""The publish bench does the whole way on a batch of any size, and plain DuckDB the same scans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow_bench.publish import STEPS, run


@pytest.mark.usefixtures("in_this_process")
def test_a_small_batch_goes_the_whole_way(tmp_path: Path) -> None:
    said: list[str] = []
    report = run(600, tmp_path / "out", said.append)
    assert json.loads((tmp_path / "out" / "publish.json").read_text()) == report
    assert report["annotations"] > 500
    assert set(report["ratio"]) == set(STEPS)
    assert report["winnow"]["peak_mib"] > 0.0
    assert "annotations aggregated, validated and published in" in said[-1]
