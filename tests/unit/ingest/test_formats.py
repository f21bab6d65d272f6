"""Each format from bytes to rows: a bad row costs itself, and no file takes all the memory."""

from __future__ import annotations

import io
import json
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.ingest.formats.parquet_footer import Chunk, read_footer
from winnow.ingest.formats.raw import MAX_ROW_BYTES, RAW_LIMIT, RawRow
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.readers import parsed, read_rows
from winnow.records import Quarantined

from ... import foreign

objects = st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.lists(st.integers()))
BAD_ELEMENTS = ["{,}", '{"a": }', "9" * 5_000, '"\\ud83d"', "[" * 80 + "]" * 80, "{'a': 1}", "nul"]


def values(name: str, data: bytes) -> list[object]:
    return [row.value if row.fault is None else row.fault for row in read_rows(name, data)]


def faults(name: str, data: bytes) -> list[str | None]:
    return [row.fault and row.fault.split(":")[0] for row in read_rows(name, data)]


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@given(st.lists(objects, min_size=1, max_size=6), st.sampled_from([None, 0, 2]))
def test_an_array_is_read_like_lines(rows: list[dict[str, object]], indent: int | None) -> None:
    array = json.dumps(rows, indent=indent).encode()
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    for name in ("f.json", "f.jsonl", "f.ndjson"):
        assert values(name, array) == values(name, lines) == rows


@given(st.lists(st.sampled_from(BAD_ELEMENTS) | objects.map(json.dumps), min_size=1, max_size=6))
def test_a_bad_element_of_an_array_costs_itself(elements: list[str]) -> None:
    data = ("[" + ",\n".join(elements) + "]").encode()
    rows = list(read_rows("f.json", data))
    assert len(rows) == len(elements)
    for number, (row, text) in enumerate(zip(rows, elements, strict=True), start=1):
        assert row.line == number
        assert (row.fault is None) == (text not in BAD_ELEMENTS)


def test_an_object_over_several_lines_is_a_row() -> None:
    assert values("f.json", json.dumps({"prompt": "x"}, indent=1).encode()) == [{"prompt": "x"}]


def test_an_array_that_is_cut_off_says_so_and_keeps_its_rows() -> None:
    for cut in (b'[{"a": 1},\n{"b": 2},\n{"c"', b'[{"a": 1},\n{"b": 2}'):
        rows = values("f.json", cut)
        assert {"a": 1} in rows
        assert "invalid_json: the array is not closed" in rows
    assert {"b": 2} in values("f.json", b'[{"a": 1},\n{"b": 2}')


def test_marks_of_byte_order_stand_anywhere_and_other_encodings_are_named() -> None:
    mark = b"\xef\xbb\xbf"
    assert values("f.jsonl", mark + b'{"a": 1}\n' + mark + b'{"a": 2}') == [{"a": 1}, {"a": 2}]
    assert values("f.csv", mark + b"prompt\nx\n") == [{"prompt": "x"}]
    for name in ("f.jsonl", "f.csv", "f.parquet"):
        assert faults(name, '{"a": 1}'.encode("utf-16")) == ["invalid_utf8"]
    assert faults("f.jsonl", b"version https://git-lfs.github.com/spec/v1\n") == ["lfs_pointer"]


def test_a_line_that_is_too_long_costs_itself_and_no_memory() -> None:
    data = b'{"a": 1}\n"' + b"x" * (3 * MAX_ROW_BYTES) + b'"\n{"a": 2}'
    tracemalloc.start()
    rows = list(read_rows("f.jsonl", data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.value for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert [row.line for row in rows] == [1, 2, 3]
    assert peak < 3 * MAX_ROW_BYTES


@pytest.mark.parametrize("codec", ["gzip", "bz2", "zstd"])
def test_a_packed_file_that_is_cut_off_keeps_the_rows_before_the_cut(codec: str) -> None:
    ending = {"gzip": "gz", "bz2": "bz2", "zstd": "zst"}[codec]
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(b'{"a": 1}\n' * 40_000)
    whole = sink.getvalue().to_pybytes()
    assert len(values(f"f.jsonl.{ending}", whole)) == 40_000
    assert len(values(f"f.jsonl.{ending}", whole + whole)) == 80_000, "files may be joined"
    cut = values(f"f.jsonl.{ending}", whole[: len(whole) * 2 // 3])
    assert cut[-1] is not None
    assert str(cut[-1]).startswith(f"damaged_{codec}")
    assert faults(f"f.jsonl.{ending}", b"no such file at all") == [f"damaged_{codec}"]


def test_csv_says_where_a_row_begins_and_why_it_is_none() -> None:
    data = b'prompt,tags,other\n"two\nlines","[""x""]",1\nx,[,2\nx\ncaf\xe9,,\n,,\nlast,,\n'
    rows = list(read_rows("f.csv", data, ["prompt", "tags"]))
    assert [row.line for row in rows] == [2, 4, 5, 6, 7, 8]
    assert rows[0].value == {"prompt": "two\nlines", "tags": '["x"]'}
    assert [row.fault and row.fault.split(":")[0] for row in rows[1:]] == [
        *(None, "invalid_csv", "invalid_utf8", None, None)
    ]
    assert rows[3].raw == b"caf\xe9,,\r\n"
    assert faults("f.csv", b"a,b\n1,2\n") == ["no_header"]
    assert faults("f.csv", b"prompt,prompt\n1,2\n") == ["stands_twice"]
    assert faults("f.csv", b'prompt\nx\n"never closed\nx\n') == [None, "invalid_csv"]


def test_a_damaged_row_group_costs_its_rows() -> None:
    table = pa.table({"prompt": [f"row {k:03}" for k in range(30)]})
    data = bytearray(parquet(table, row_group_size=10, compression="none", use_dictionary=False))
    place = data.index(b"row 015")
    data[place - 4] = 0xFF  # The length that stands before the text.
    rows = list(read_rows("f.parquet", bytes(data)))
    good = [row.value["prompt"] for row in rows if row.fault is None]
    assert good[:10] + good[-10:] == [f"row {k:03}" for k in (*range(10), *range(20, 30))]
    [bad] = [row for row in rows if row.fault is not None]
    assert bad.fault is not None
    assert "to 20)" in bad.fault
    assert {row.line for row in rows if row.fault is None} >= {1, 10, 21, 30}


def _constant(text: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([text]))


def _in_lists(texts: pa.Array, n_lists: int) -> pa.ListArray:
    offsets = [len(texts) * k // n_lists for k in range(n_lists + 1)]
    turns = pa.StructArray.from_arrays([_constant("user", len(texts)), texts], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (lambda: {"prompt": _constant("x" * 1_000_000, 20_000)}, None),
        (lambda: {"messages": _in_lists(_constant("x" * 1_000_000, 20_000), 1)}, "too_long"),
        (lambda: {"messages": _in_lists(_constant("x" * 1_000_000, 2_000), 500)}, None),
        (lambda: {"prompt": _constant("x" * (MAX_ROW_BYTES + 1), 3)}, "too_long"),
        (lambda: {"prompt": _constant("x", 20_000_000)}, "too_long"),
        (lambda: {"tags": pa.ListArray.from_arrays([0, 20_000_000], _constant("x", 20_000_000))},
         "too_long"),
    ],
    ids=["text", "one talk", "talks", "row", "rows", "list"],
)  # fmt: skip
def test_a_bomb_is_a_bad_row_and_a_long_file_is_none(table: object, fault: str | None) -> None:
    data = parquet(pa.table(table()))  # type: ignore[operator]
    assert len(data) < 40 << 20
    before = pa.total_allocated_bytes()
    rows = read_rows("f.parquet", data)
    for _, row in zip(range(20), rows, strict=False):
        assert (row.fault or "").split(":")[0] == (fault or "")
        assert pa.total_allocated_bytes() - before < 1 << 30


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_every_encoding_of_text_is_read(encoding: str) -> None:
    table = pa.table({"prompt": ["a", "b", None], "tags": [["x"], [], None]})
    kinds = {"prompt": encoding, "tags.list.element": encoding}
    data = parquet(table, use_dictionary=False, column_encoding=kinds, row_group_size=2)
    assert values("f.parquet", data) == table.to_pylist()


def test_a_long_text_in_an_array_costs_itself() -> None:
    data = b'[{"a": "' + b"x" * (MAX_ROW_BYTES + 1) + b'"}, {"a": "' + b"y" * 1_000_000 + b'"}]'
    tracemalloc.start()
    assert faults("f.json", data) == ["too_long", None]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_very_many_bad_rows_keep_little_of_themselves() -> None:
    table = pa.table({"prompt": _constant("x" * (70 << 10), 4_000)})
    rows = read_rows("f.parquet", parquet(table))
    bad = list(parsed(rows, lambda row: parse_prompt(row.value, row.file, row.line, 20_000), "x"))
    assert len(bad) == 4_000
    assert sum(len(row.raw or b"") for row in bad if isinstance(row, Quarantined)) < 80 << 20
    talk = {"messages": [{"role": "user", "content": "x" * 10_000_000}] * 1_000}
    assert len(RawRow("f", 1, value=talk).raw) == RAW_LIMIT


def test_csv_names_the_lines_that_a_quote_swallowed() -> None:
    lines = b"".join(b"good %d\n" % k for k in range(50))
    for end in (b"", b'"x", y\n'):
        data = b'prompt\nfirst\n"unclosed\n' + lines + end
        fault = next(row.fault for row in read_rows("f.csv", data) if row.fault)
        assert re.search(r"\(lines 3 to 5[34]\)", fault)
    long = b"prompt\n" + b"x" * (2 * MAX_ROW_BYTES) + b"\nlast\n"
    assert faults("f.csv", long) == ["invalid_csv", None]


@given(st.binary(max_size=40))
def test_a_footer_is_read_or_refused(data: bytes) -> None:
    try:
        read_footer(data)
    except (ValueError, IndexError):
        return


def test_a_footer_says_what_pyarrow_says() -> None:
    rows = [{"prompt": f"{k}", "tags": ["a", "b"], "source": None} for k in range(50)]
    data = foreign.parquet_file(rows, row_group_size=20)
    about = pq.read_metadata(io.BytesIO(data))
    size = int.from_bytes(data[-8:-4], "little")
    groups = read_footer(data[-8 - size : -8])
    told = [about.row_group(g).column(c) for g in range(3) for c in range(about.num_columns)]
    assert [chunk for group in groups for chunk in group] == [
        Chunk(
            c.path_in_schema.split(".")[0],
            c.num_values,
            c.total_uncompressed_size,
            c.total_compressed_size,
        )
        for c in told
    ]
