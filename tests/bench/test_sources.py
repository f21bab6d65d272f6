"""`winnow bench sources` from the command line, on a small folder of pools, votes and verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow_bench import sources
from winnow_bench.sources import Cell

from ..unit.bench.conftest import judged_rows


def pools(folder: Path) -> None:
    rows = [{**row, "p_win_v1": float(row["p_win"] > 0.08)} for row in judged_rows(12)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "alpaca_pool.parquet")


def votes(folder: Path) -> None:
    pairs, said, judged = [], [], []
    for k in range(48):
        prompt, pair = f"p{k % 2}", f"pair{k}"
        texts = [f"word{k % 7} word{(k * s) % 11} text {k}{s}" for s in (2, 3)]
        pairs.append(
            {
                "pair_id": pair,
                "prompt_key": prompt,
                "prompt": f"ask {prompt}",
                "response_a": texts[0],
                "response_b": texts[1],
            }
        )
        said += [
            {"pair_id": pair, "choice": "abt"[(k + vote) % 3], "shown_left": "a"}
            for vote in range(3)
        ]
        choice = "tie" if k % 5 == 0 else "ab"[k % 2]
        judged += [
            {"pair_id": pair, "judge": judge, "choice": choice, "shown_left": "b"}
            for judge in ("one", "other")
        ]
    for name, rows in (("human_pairs", pairs), ("human_votes", said), ("judge_votes", judged)):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def test_both_kinds_of_ground_are_benched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools(tmp_path)
    votes(tmp_path)
    few = [Cell(arm, labels) for arm in ("people", "sources") for labels in (2, 8)]
    monkeypatch.setattr(sources, "cells", lambda: [*few, Cell("sources (inverted)", 8)])
    monkeypatch.setattr(sources, "BUDGETS", (2, 8))
    out = tmp_path / "out"
    asked = ["bench", "sources", "--pool", str(tmp_path), "--seeds", "2", "--out", str(out)]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert all(f"{ground}: the pair accuracy" in told for ground in ("pool", "swapped", "votes"))
    written = json.loads((out / "sources.json").read_text())
    of_people = [row for row in written["curves"] if row["metric"] == "dollars_judges"]
    assert {r["strategy"]: r["mean"] > 0 for r in of_people if r["pool"] == "pool"} == {
        "people": False,
        "sources": True,
        "sources (inverted)": True,
    }
    assert {row["baseline"] for row in written["comparisons"]} == {"people"}
    summary = written["summary"]
    bounds = [summary[ground]["worst_low_at_equal_dollars"] for ground in ("pool", "votes")]
    assert summary["worst_low_at_equal_dollars"] <= min(bounds)
    spent = {
        (row["pool"], row["strategy"], row["labels"], row["metric"]): row["mean"]
        for row in written["curves"]
        if row["metric"].startswith("dollars_")
    }
    for ground in ("pool", "swapped", "votes"):
        people, with_judges = (
            sum(spent[ground, arm, 8, f"dollars_{who}"] for who in ("people", "judges"))
            for arm in ("people", "sources")
        )
        # Too much by what the last pool rounds and owes: half an answer, and its share for judges.
        assert with_judges <= people + 0.05 + 0.25 * 8 * 0.1


def test_a_folder_without_judges_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.Table.from_pylist(judged_rows(10)), tmp_path / "alpaca_pool.parquet")
    assert main(["bench", "sources", "--pool", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "needs alpaca_pool.parquet with p_win_v1" in capsys.readouterr().err
