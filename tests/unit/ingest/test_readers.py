"""Files are read row by row; a row that cannot be read is still a row."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from winnow.ingest.readers import read_rows


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), max_size=10))
def test_good_lines_come_back_in_order(values: list[dict[str, str]]) -> None:
    data = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    rows = list(read_rows("f.jsonl", data))
    assert [row.value for row in rows] == values
    assert [row.line for row in rows] == list(range(1, len(values) + 1))


@given(st.lists(st.binary(max_size=20).filter(lambda b: b.strip() and b"\n" not in b), max_size=8))
def test_every_line_that_is_not_blank_is_one_row(lines: list[bytes]) -> None:
    # A file that begins with a bracket is an array.
    rows = list(read_rows("f.jsonl", b"\n".join([b"{}", *lines])))[1:]
    assert len(rows) == len(lines)
    assert all((row.fault is None) or (row.value is None) for row in rows)


def test_bad_lines_keep_place_bytes_and_reason() -> None:
    data = b'\xef\xbb\xbf{"prompt": "a"}\r\n\n{"prompt": "b"\n{"prompt": "\xff"}\n{"prompt": "c"}'
    rows = list(read_rows("f.jsonl", data))
    assert [(row.line, (row.fault or "ok").split(":")[0]) for row in rows] == [
        (1, "ok"),
        (3, "invalid_json"),
        (4, "invalid_utf8"),
        (5, "ok"),
    ]
    assert rows[1].raw == b'{"prompt": "b"'


def test_deep_nesting_is_a_bad_line_and_no_crash() -> None:
    [_, row, after] = read_rows("f.jsonl", b"{}\n" + b"[" * 200_000 + b"\n{}")
    assert row.fault is not None
    assert after.value == {}
    assert all(row.fault for row in read_rows("f.json", b"[" * 200_000))


def test_parquet_rows_are_read_like_json_rows() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a", None], "language": ["en", "fr"]}), sink)
    rows = list(read_rows("f.parquet", sink.getvalue()))
    assert [row.value for row in rows] == [
        {"prompt": "a", "language": "en"},
        {"prompt": None, "language": "fr"},
    ]


def test_a_broken_parquet_file_is_one_bad_row() -> None:
    [row] = read_rows("f.parquet", b"PAR1 but not really")
    assert row.fault is not None
    assert row.fault.startswith("invalid_parquet")
