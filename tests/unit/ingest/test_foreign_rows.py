"""Thousands of odd rows and damaged files, through ingest and through `winnow select`.

Every row in is a row out or a row in quarantine, nothing is raised, and a row has one id whatever
file it stands in.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.errors import Fatal
from winnow.ingest.readers import read_rows
from winnow.ingest.shapes.registry import How
from winnow.records import PROMPTS, to_table
from winnow.select import Rules
from winnow.stages.expand.pool_files import select_file
from winnow.stages.ingest import sort_rows

from ... import foreign
from ...sampling import examples

N_ROWS = examples(10_000)
N_FILES = examples(2_000)
N_SELECTED = examples(10_000)


def outcomes(name: str, data: bytes) -> list[str]:
    """Of each row its prompt's id or the reason why it is none, in order."""
    rows = list(read_rows(name, data))
    told = []
    for row in rows:
        prompts, quarantined = sort_rows([row], {}, 4_000)
        assert len(prompts) + len(quarantined) == 1
        told.append(prompts[0].prompt_id if prompts else quarantined[0].reason)
    return told


def check_accounts(name: str, data: bytes) -> tuple[int, int]:
    """Read a file; how many rows came in, and how many of them are prompts."""
    rows = list(read_rows(name, data))
    prompts, quarantined = sort_rows(iter(rows), {}, 4_000)
    assert len(prompts) + len(quarantined) == len(rows)
    table = to_table(prompts, PROMPTS)
    table.validate(full=True)
    assert len(table.to_pylist()) == len(prompts)
    assert all(row.reason != "unreadable" for row in quarantined), "a fault that nobody foresaw"
    return len(rows), len(prompts)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_few_rows_are_held_at_once_where_they_are_long(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Why {n}?", "responses": ["rain " * 50, "sun " * 50]} for n in range(40)]
    out = io.BytesIO()
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), out)
    else:
        out.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    asked: list[int] = []

    def accepted(prompts: Collection[str]) -> dict[str, str]:
        asked.append(len(prompts))
        return {}

    monkeypatch.setattr("winnow.stages.ingest._PIECE_BYTES", 4_000)
    how = How(as_pools=True)
    found = read_rows(f"a.{ending}", out.getvalue(), how.read)
    assert len(sort_rows(found, accepted, 4_000, how=how)[0]) == 40
    assert len(asked) > 4


@pytest.mark.sampled
def test_a_row_has_one_id_in_jsonl_csv_and_parquet() -> None:
    draw = random.Random(1)
    n = examples(3_000)
    rows = [foreign.good_row(draw) for _ in range(n)]
    names = list(rows[0])
    in_json = outcomes("f.jsonl", foreign.json_file(rows))
    assert outcomes("f.jsonl", foreign.json_file(rows, drop_null=True)) == in_json
    assert outcomes("f.json", json.dumps(rows).encode()) == in_json
    assert outcomes("f.json", json.dumps(rows, indent=1).encode()) == in_json
    assert outcomes("f.ndjson.gz", gzip.compress(foreign.json_file(rows))) == in_json
    assert outcomes("f.parquet", foreign.parquet_file(rows)) == in_json
    in_csv = outcomes("f.csv", foreign.csv_file(names, list(map(foreign.csv_cells, rows))))
    # An empty cell is absent: an empty text in CSV is no text at all.
    absent = [{k: None if v == "" else v for k, v in row.items()} for row in rows]
    assert in_csv == outcomes("f.jsonl", foreign.json_file(absent))
    assert n / 5 < sum(len(told) == 32 for told in in_json) < n


@pytest.mark.sampled
def test_odd_lines_of_json() -> None:
    draw = random.Random(2)
    lines = [foreign.odd_line(foreign.good_row(draw), draw) for _ in range(N_ROWS)]
    n_rows, n_prompts = check_accounts("f.jsonl", b"{}\n" + b"\n".join(lines))
    assert n_rows == N_ROWS + 1
    assert N_ROWS / 20 < n_prompts < N_ROWS


@pytest.mark.sampled
def test_odd_cells_of_csv() -> None:
    draw = random.Random(3)
    rows = [foreign.good_row(draw) for _ in range(N_ROWS)]
    cells = [foreign.odd_cells(row, draw) for row in rows]
    n_rows, n_prompts = check_accounts("f.csv", foreign.csv_file(list(rows[0]), cells))
    assert n_rows == N_ROWS
    assert N_ROWS / 20 < n_prompts < N_ROWS


@pytest.mark.sampled
def test_odd_columns_of_parquet() -> None:
    draw = random.Random(4)
    n_rows = n_prompts = 0
    while n_rows < N_ROWS:
        rows = [foreign.good_row(draw) for _ in range(100)]
        data = foreign.parquet_file(rows)
        sink = io.BytesIO()
        table = foreign.other_types(pq.read_table(io.BytesIO(data)), draw)
        pq.write_table(table, sink, row_group_size=draw.choice([7, 100]))
        assert outcomes("f.parquet", sink.getvalue()) == outcomes("f.parquet", data)
        counted = check_accounts("f.parquet", sink.getvalue())
        n_rows, n_prompts = n_rows + counted[0], n_prompts + counted[1]
    assert N_ROWS / 20 < n_prompts < N_ROWS


def damaged_files(draw: random.Random) -> list[tuple[str, bytes]]:
    """One small file in every format."""
    rows = [foreign.good_row(draw) for _ in range(12)]
    lines = foreign.json_file(rows)
    table = foreign.csv_file(list(rows[0]), list(map(foreign.csv_cells, rows)))
    zstd = pa.compress(lines, codec="zstd", asbytes=True)
    return [
        ("f.jsonl", lines),
        ("f.json", json.dumps(rows).encode()),
        ("f.csv", table),
        ("f.jsonl.gz", gzip.compress(lines)),
        ("f.jsonl.zst", zstd),
        ("f.parquet", foreign.parquet_file(rows, compression="snappy")),
        ("f.parquet", foreign.parquet_file(rows, compression="zstd", row_group_size=5)),
        ("f.parquet", foreign.parquet_file(rows, compression="none", use_dictionary=False)),
    ]


@pytest.mark.sampled
def test_files_with_flipped_bytes() -> None:
    draw = random.Random(5)
    n_files = 0
    while n_files < N_FILES:
        for name, data in damaged_files(draw):
            n_rows, _ = check_accounts(name, foreign.flipped(data, draw, draw.choice([1, 1, 8])))
            n_files += 1
            assert n_rows > 0, "what is not empty does not vanish"


def pool_lines(draw: random.Random, n: int) -> list[bytes]:
    """Responses to few prompts, most of them odd."""
    lines = []
    for k in range(n):
        row = {"prompt": f"q{draw.randint(0, 40)}", "response": f"answer {k}", "model": "m"}
        lines.append(foreign.odd_line(row, draw))
    return lines


@pytest.mark.sampled
def test_select_takes_odd_rows(tmp_path: Path) -> None:
    draw = random.Random(6)
    pool, out = tmp_path / "pool.jsonl", tmp_path / "out.jsonl"
    pool.write_bytes(b"{}\n" + b"\n".join(pool_lines(draw, N_SELECTED)))
    done = select_file(pool, out, Rules(1, "diversity", 0.0), None)
    n_good = done.rows_in - len(done.refused)
    assert done.rows_in == N_SELECTED + 1
    assert N_SELECTED / 20 < n_good < N_SELECTED
    assert all(row.reason != "unreadable" for row in done.refused)
    told = (tmp_path / "out.jsonl.quarantine.jsonl").read_text().splitlines()
    assert len(told) == len(done.refused)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".csv"])
@pytest.mark.sampled
def test_select_takes_damaged_files(tmp_path: Path, ending: str) -> None:
    draw = random.Random(7)
    rows = [
        {"prompt": f"q{k % 2}", "response": f"answer {k}", "vector": [k, 1.0, 0.5]}
        for k in range(8)
    ]
    schema = pa.schema(
        [("prompt", pa.string()), ("response", pa.string()), ("vector", pa.list_(pa.float32()))]
    )
    data = {
        ".jsonl": foreign.json_file(rows),
        ".parquet": foreign.parquet_file(rows, schema),
        ".csv": foreign.csv_file(list(rows[0]), list(map(foreign.csv_cells, rows))),
    }[ending]
    pool, out = tmp_path / f"pool{ending}", tmp_path / "out.jsonl"
    n_chosen = 0
    for _ in range(N_FILES // 3):
        pool.write_bytes(foreign.flipped(data, draw))
        try:
            done = select_file(pool, out, Rules(1, "diversity", 0.0), None)
        except Fatal:
            continue
        n_chosen += 1
        assert all(row.reason != "unreadable" for row in done.refused)
        assert done.rows_in >= len(done.refused) + len(done.comparisons)
    assert n_chosen > N_FILES / 3 / 10
