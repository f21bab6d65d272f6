"""`winnow bench policy` from the command line, on a small folder of judged pools."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.select import STRATEGIES
from winnow_bench import policy as bench
from winnow_bench.labels import Cell

from ..unit.bench.conftest import judged_rows


@pytest.mark.kill
def test_it_prints_tables_and_verdicts_and_writes_its_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.Table.from_pylist(judged_rows(10)), tmp_path / "alpaca_pool.parquet")
    out = tmp_path / "out"
    asked = ["bench", "policy", "--policy", "linear", "--pool", str(tmp_path), "--seeds", "2"]
    assert main([*asked, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "| decision gain " in printed
    assert "against traditional sampling with 8" in printed
    assert "against traditional sampling for the same money" in printed
    assert "Choosing is not shown to pay" in printed or "Choosing pays" in printed
    assert "Cannot show:" in printed
    report = json.loads((out / "policy.json").read_text())
    rows = report["comparisons"]
    assert {row["strategy"] for row in rows} >= {*STRATEGIES, "all-pairs", "oracle"}
    assert {row["baseline"] for row in rows} >= {"traditional-8", "random-8", "same-money"}
    assert {row["metric"] for row in rows} >= {"dpo_win_rate_kl1", "kto_win_rate_kl1"}
    written = (out / "policy.md").read_text()
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert "\n".join(table) in written
    assert "by training" in written
    page = (out / "policy.html").read_text()
    assert "<svg" in page and "Does a policy get better?" in page
    assert set(pq.read_table(out / "policy.parquet")["seed"].to_pylist()) == {0, 1}


@pytest.mark.parametrize("changed", [{"p_win": 0.9}, {"response": "the same everywhere"}])
def test_pools_that_tell_nothing_have_a_report(
    changed: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, **changed} for row in judged_rows(12)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "alpaca_pool.parquet")
    few = [Cell(s, n, 9) for s in ("dts", "random") for n in (4, 8)]
    few += [Cell("traditional", n, n) for n in (4, 8)]
    monkeypatch.setattr(bench, "cells", lambda world: few)
    bench.run(tmp_path, tmp_path / "out", 1, lambda line: None)
    assert (tmp_path / "out" / "policy.html").exists()


def test_a_folder_that_holds_no_pools_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["bench", "policy", "--pool", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(asked) == 1
    assert "alpaca_pool.parquet cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
