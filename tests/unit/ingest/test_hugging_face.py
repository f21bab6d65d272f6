"""Folders that Hugging Face's libraries wrote: their shards, their labels, and nothing else."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.ingest.readers import read_rows
from winnow.ingest.sources import Found, look_for, told
from winnow.lake import Lake, S3Lake

from ... import foreign
from ...sampling import examples

LABEL = {"names": ["model_a", "model_b"], "_type": "ClassLabel"}
TEXT = {"dtype": "string", "_type": "Value"}
TURN = pa.struct([("role", pa.int64()), ("content", pa.string())])


def schema(**features: Any) -> pa.Schema:
    types = {"winner": pa.int64(), "turns": pa.list_(TURN), "messages": pa.list_(TURN)}
    fields = [(name, types.get(name, pa.string())) for name in features]
    about = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": about})


def table(n: int = 2, **features: Any) -> pa.Table:
    rows = [{"prompt": f"question {k}", "winner": k - 1} for k in range(n)]
    return pa.Table.from_pylist(rows, schema(prompt=TEXT, winner=LABEL, **features))


def stream(rows: pa.Table, options: Any = None, is_file: bool = False) -> bytes:
    sink = io.BytesIO()
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(sink, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=max(2, rows.num_rows // 8))
    return sink.getvalue()


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    return sink.getvalue()


def found(lake: Lake) -> Found:
    return look_for([f"{lake.uri}/d"], "", lake.client if isinstance(lake, S3Lake) else None)


def read(lake: Lake) -> list[Any]:
    return [row.fault or row.value["prompt"] for file in found(lake).files for row in file.rows()]


def save(lake: Lake, folder: str, shards: int = 2, **state: Any) -> None:
    """A folder as `save_to_disk` leaves it."""
    names = [f"data-{k:05}-of-{shards:05}.arrow" for k in range(shards)]
    for name in names:
        lake.create(f"{folder}/{name}", stream(table()))
    about = {"_data_files": [{"filename": name} for name in names], "_split": "train", **state}
    lake.create(f"{folder}/state.json", json.dumps(about).encode())
    lake.create(f"{folder}/dataset_info.json", json.dumps({"features": {}}).encode())


def test_a_saved_dataset_is_its_shards(lake: Lake) -> None:
    save(lake, "d/train")
    lake.create("d/dataset_dict.json", b'{"splits": ["train"]}')
    lake.create("d/train/data-00000-of-00001.arrow", stream(table(1)))
    lake.create("d/train/cache-1f.arrow", stream(table(1)))
    assert read(lake) == ["question 0", "question 1"] * 2
    why = {Path(each.name).name: each.why for each in found(lake).passed_over}
    assert why.pop("data-00000-of-00001.arrow") == "state.json does not name it"
    assert why.pop("cache-1f.arrow") == "state.json does not name it"
    assert set(why.values()) == {"tells of a dataset"}


def test_rows_that_are_picked_by_indices_are_not_read(lake: Lake) -> None:
    save(lake, "d", _indices_data_files=[{"filename": "indices.arrow"}])
    assert not found(lake).files
    assert "picked by indices" in told(found(lake).passed_over)


def test_a_state_of_something_else_is_a_file_of_rows(lake: Lake) -> None:
    lake.create("d/state.json", b'{"prompt": "x"}')
    assert read(lake) == ["x"]


README = """---
license: mit
configs:
- config_name: prefs
  {default}
  data_files:
  - split: train
    path: data/prefs-*.parquet
- config_name: sft
  data_files: "data/sft/**/*.parquet"
---
# Data
"""


@pytest.mark.parametrize(
    ("default", "names"),
    [("default: true", ["prefs"]), ("", ["prefs", "sft"])],
)
def test_a_repository_is_its_default_configuration(
    lake: Lake, default: str, names: list[str]
) -> None:
    for name in ("data/prefs-00000-of-00001", "data/sft/x/0000", "other/0000"):
        rows = pa.table({"prompt": [name.split("/")[1].split("-")[0]]})
        lake.create(f"d/{name}.parquet", parquet(rows))
    lake.create("d/README.md", README.replace("{default}", default).encode())
    assert read(lake) == names
    assert "README.md" in told(found(lake).passed_over)


@pytest.mark.parametrize("card", [b"", b"---\nconfigs: [1, {data_files: x}]\n---\n", b"---\n{{\n"])
def test_a_card_that_names_no_files_changes_nothing(lake: Lake, card: bytes) -> None:
    lake.create("d/data/train-00000-of-00001.parquet", parquet(pa.table({"prompt": ["x"]})))
    lake.create("d/README.md", card)
    assert read(lake) == ["x"]


@pytest.mark.parametrize("write", [stream, parquet, lambda rows: stream(rows, is_file=True)])
def test_labels_have_their_names(write: Any) -> None:
    role = {"names": ["user", "assistant"], "_type": "ClassLabel"}
    turns = [{"role": 0, "content": "x"}, {"role": 1, "content": "y"}]
    for feature in (
        [{"role": role, "content": TEXT}],
        {"feature": {"role": role, "content": TEXT}, "_type": "List"},
    ):
        rows = pa.Table.from_pylist(
            [{"winner": k, "messages": turns} for k in (0, 1, -1, None)],
            schema(winner=LABEL, messages=feature),
        )
        name = "f.parquet" if write is parquet else "f.arrow"
        values = [row.value for row in read_rows(name, write(rows), ["winner", "messages"])]
        assert [value["winner"] for value in values] == ["model_a", "model_b", None, None]
        assert {turn["role"] for value in values for turn in value["messages"]} == set(
            role["names"]
        )


def test_packed_buffers_and_columns_that_are_not_known_are_refused() -> None:
    packed = stream(table(), pa.ipc.IpcWriteOptions(compression="zstd"))
    [row] = read_rows("f.arrow", packed)
    assert "without compression" in str(row.fault)
    [row] = read_rows("f.arrow", stream(pa.table({"x": ["y"]})))
    assert str(row.fault).startswith("no_prompt")
    [row] = read_rows("f.arrow", stream(pa.table({"prompt": pa.nulls(50_000_000)})))
    assert "rows in" in str(row.fault)
    words = pa.table({"prompt": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert [row.value["prompt"] for row in read_rows("f.arrow", stream(words))] == ["a", "b", "a"]
    [row] = read_rows("f.arrow", stream(words, pa.ipc.IpcWriteOptions(compression="lz4")))
    assert "without compression" in str(row.fault)


@pytest.mark.sampled
def test_damaged_streams_keep_the_rows_before_the_damage(tmp_path: Path) -> None:
    draw = random.Random(8)
    whole = stream(table(9))
    path = tmp_path / "f.arrow"
    for _ in range(examples(2_000)):
        data = foreign.flipped(whole, draw, draw.choice([1, 1, 8]))
        data = data[: draw.choice([len(data), draw.randrange(len(data))])]
        path.write_bytes(data)
        rows = list(read_rows("f.arrow", path))
        assert rows or not data
        assert all(row.fault is None or row.value is None for row in rows)
