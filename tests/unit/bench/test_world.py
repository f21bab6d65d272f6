"""Judged pools are read as they are: who games is blocked, who is the reference is left out."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.errors import Corrupt
from winnow_bench.world import EMBEDDING_FILE, POOL_FILE, read_worlds

from .conftest import N_MODELS, judged_rows


def test_the_reference_is_no_candidate_and_who_games_is_blocked(judged_folder: Path) -> None:
    world = read_worlds(judged_folder)[0]
    assert world.name == "all"
    assert len(world.pools) == 40
    for pool in world.pools:
        assert len(pool.response_ids) == N_MODELS + 1
        assert pool.p_win_n[pool.blocked_n].tolist() == [0.9]
        assert np.abs(pool.features_nd.mean(axis=0)).max() < 1e-9


def test_the_homogeneous_pool_leaves_out_the_strong_models(judged_folder: Path) -> None:
    rows = judged_rows(40)
    means = {m: np.mean([r["p_win"] for r in rows if r["model"] == m]) for m in ("m0", "m8")}
    assert means["m0"] < 0.25 < means["m8"]
    every, weak = read_worlds(judged_folder)
    assert weak.name == "homogeneous"
    assert 1 < weak.largest_pool < every.largest_pool
    assert not any(pool.blocked_n.any() for pool in weak.pools)


def test_gaming_texts_are_blocked_without_a_column_that_says_so(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "adversarial"} for row in judged_rows(20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / POOL_FILE)
    world = read_worlds(tmp_path)[0]
    assert all(pool.p_win_n[pool.blocked_n].tolist() == [0.9] for pool in world.pools)
    assert world.features == "text alone: LSA, style and pool"


def test_rows_in_another_order_give_the_same_pools(judged_folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(judged_folder / POOL_FILE)
    order = np.random.default_rng(1).permutation(table.num_rows)
    pq.write_table(table.take(order), tmp_path / POOL_FILE)
    vectors = np.load(judged_folder / EMBEDDING_FILE)[order]
    np.save(tmp_path / EMBEDDING_FILE, vectors)
    one, other = read_worlds(judged_folder)[0], read_worlds(tmp_path)[0]
    assert [p.prompt_id for p in one.pools] == [p.prompt_id for p in other.pools]
    for a, b in zip(one.pools, other.pools, strict=True):
        by_id = np.argsort(a.response_ids), np.argsort(b.response_ids)
        np.testing.assert_allclose(a.features_nd[by_id[0]], b.features_nd[by_id[1]], atol=1e-5)


def test_embeddings_of_another_number_are_refused(judged_folder: Path, tmp_path: Path) -> None:
    folder = copytree(judged_folder, tmp_path / "copy")
    np.save(folder / EMBEDDING_FILE, np.zeros((3, 12), dtype=np.float16))
    with pytest.raises(Corrupt, match=r"the shape \(3, 12\)"):
        read_worlds(folder)


def test_a_score_outside_its_range_is_named_with_its_row(tmp_path: Path) -> None:
    rows = judged_rows(3)
    rows[4]["p_win"] = 1.5
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / POOL_FILE)
    with pytest.raises(Corrupt, match=r"row 5: p_win is 1\.5"):
        read_worlds(tmp_path)


def test_a_folder_without_pools_is_named(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=POOL_FILE):
        read_worlds(tmp_path)
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / POOL_FILE)
    with pytest.raises(Corrupt, match="lacks prompt_id, model, response, p_win"):
        read_worlds(tmp_path)


BASE = judged_rows(4)
WITHOUT_PAIRS = {
    "one model": [row for row in BASE if row["model"] == "m0"],
    "references alone": [{**row, "p_win": 0.5} for row in BASE],
    "all adversarial": [{**row, "adversarial": True} for row in BASE],
    "no text": [{**row, "response": None} for row in BASE],
    "no score": [{**row, "p_win": None} for row in BASE],
    "scores in words": [{**row, "p_win": "high"} for row in BASE],
}


@pytest.mark.parametrize("name", sorted(WITHOUT_PAIRS))
def test_a_folder_without_a_pair_to_compare_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(WITHOUT_PAIRS[name]), tmp_path / POOL_FILE)
    with pytest.raises(Corrupt, match=POOL_FILE):
        read_worlds(tmp_path)


def test_a_prompt_with_one_response_that_counts_is_left_out(tmp_path: Path) -> None:
    rows = [{**row, "adversarial": row["prompt_id"] == 2} for row in judged_rows(4)]
    rows = [row for row in rows if row["prompt_id"] != 3 or row["model"] == "m1"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / POOL_FILE)
    assert [pool.prompt_id for pool in read_worlds(tmp_path)[0].pools] == ["0", "1"]


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((3, 2, 2)), np.array(["x"])])
def test_embeddings_of_another_shape_are_refused(
    judged_folder: Path, tmp_path: Path, array: np.ndarray
) -> None:
    folder = copytree(judged_folder, tmp_path / "copy")
    np.save(folder / EMBEDDING_FILE, array)
    with pytest.raises(Corrupt, match=EMBEDDING_FILE):
        read_worlds(folder)


def test_a_file_of_scored_pools_is_a_world(tmp_path: Path) -> None:
    rated = [{"response": f"rain {k} " * (k + 1), "overall_score": k} for k in (1, 2, 2, 4)]
    rows = [
        {"instruction": f"Why {n}?", "completions": [{**each, "annotations": {}} for each in rated]}
        for n in range(3)
    ]
    rows.append({"instruction": "Why?", "completions": ["unscored", "also"]})
    file = tmp_path / "pools.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pools = read_worlds(file)[0].pools
    assert [pool.p_win_n.tolist() for pool in pools] == [[1 / 8, 4 / 8, 4 / 8, 7 / 8]] * 3
    file.write_text(json.dumps(rows[-1]))
    with pytest.raises(Corrupt, match="nothing says how good"):
        read_worlds(file)
