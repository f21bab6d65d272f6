"""Rows as people write them, and what goes wrong with them: families for every reader."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

CELLS_OF_JSON = ("messages", "tools", "tags", "vector")
WORDS = ("tide", "moon", "Öl", "日本", "if x:\n    y()", "2 + 2?", "No.", "🙂", "a  b", "", " ")

TURN = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        (
            "tool_calls",
            pa.list_(
                pa.struct(
                    [("function", pa.struct([("name", pa.string()), ("arguments", pa.string())]))]
                )
            ),
        ),
    ]
)
TOOL = pa.struct(
    [
        ("type", pa.string()),
        (
            "function",
            pa.struct(
                [
                    ("name", pa.string()),
                    ("parameters", pa.struct([("x", pa.float64()), ("y", pa.list_(pa.string()))])),
                ]
            ),
        ),
    ]
)
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("messages", pa.list_(TURN)),
        ("tools", pa.list_(TOOL)),
        ("source", pa.string()),
        ("dimension", pa.string()),
        ("language", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("received_at", pa.string()),
    ]
)


def good_row(draw: random.Random) -> Row:
    """A row of known columns whose values may be null, empty or fine."""

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(0, 4)))

    def maybe(value: Any) -> Any:
        return draw.choice([None, value, value])

    def turn() -> Row:
        function = {"name": "f", "arguments": json.dumps({"b": draw.randint(0, 2), "a": text()})}
        calls = draw.choice([None, None, [], [{"function": function}]])
        role = draw.choice(["system", "user", "assistant", "tool", "human", "gpt", "boss"])
        return {"role": role, "content": maybe(text()), "tool_calls": calls}

    parameters = {"x": maybe(draw.choice([1.0, 2.5])), "y": maybe(["a", None, "b"])}
    tool = {"type": "function", "function": {"name": "f", "parameters": maybe(parameters)}}
    talk = [turn() for _ in range(draw.randint(0, 3))] + [{"role": "user", "content": text()}]
    return {
        "prompt": maybe(f"{text()} {draw.randint(0, 40)}"),
        "messages": draw.choice([None, None, [], talk]),
        "tools": draw.choice([None, None, [], [tool]]),
        "source": maybe(text()),
        "dimension": maybe("honesty"),
        "language": maybe(draw.choice(["de", "sw"])),
        "tags": draw.choice([None, [], ["x"], [None, "x"]]),
        "received_at": draw.choice(
            [None, "2026-11-22T10:00:00", "2026-11-22", "0001-01-01T00:00:00+01:00", "noon"]
        ),
    }


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[str, ...] = (
    *("null", "[]", "{}", '""', "true", "1", "1.5", "NaN", "-Infinity", "1e999", '"\\u0000"'),
    *("9" * 5_000, '"\\ud83d"', '["\\ud83d"]', '{"\\ud83d": 1}', '{"a": 1, "a": 2}', "[[[1]]]"),
    *('"9999-12-31T23:59:59-05:00"', '"0001-01-01T00:00:00+01:00"', '"1"', "[null]", "[{}]"),
    *("[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, '"' + "a" * 5_000 + '"', "-", ""),
    '[{"role": "user", "content": [{"type": "image_url"}]}]',
    '[{"role": "user", "content": "x", "tool_calls": [{"name": "f", "arguments": "{"}]}]',
    '"' + "\\u0315\\u0300" * 2_000 + '"',
)
"""JSON texts, and texts that are none, to stand where a value is expected."""


def odd_line(row: Mapping[str, Any], draw: random.Random) -> bytes:
    """A row as a line of JSON in which something is not as it should be."""
    parts = {
        name: json.dumps(value, ensure_ascii=draw.random() < 0.5) for name, value in row.items()
    }
    for _ in range(draw.randint(0, 2)):
        parts[draw.choice([*row, "unknown", "id"])] = draw.choice(ODD)
    members = [f"{json.dumps(name)}: {text}" for name, text in parts.items() if text is not None]
    if draw.random() < 0.1:
        members.append(draw.choice(members))
    line = ("{" + ", ".join(members) + "}").encode("utf-8", "surrogatepass")
    if draw.random() < 0.2 and line:
        place = draw.randrange(len(line))
        line = line[:place] + bytes([draw.randrange(256)]) + line[place + draw.randint(0, 1) :]
    return line.replace(b"\n", b" ").strip() or b"{"


def odd_cells(row: Mapping[str, Any], draw: random.Random) -> list[str]:
    """A row as the cells of CSV, some of them odd."""
    cells = csv_cells(row)
    if draw.random() < 0.5:
        cells[draw.randrange(len(cells))] = draw.choice(ODD)
    if draw.random() < 0.05:
        cells.append("one more")
    return cells


def json_file(rows: Sequence[Mapping[str, Any]], drop_null: bool = False) -> bytes:
    """Rows as lines of JSON."""
    kept = [{k: v for k, v in row.items() if not drop_null or v is not None} for row in rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in kept)


def csv_cells(row: Mapping[str, Any]) -> list[str]:
    """A row's cells: an absent value is empty, lists are JSON."""
    return [
        "" if value is None else json.dumps(value) if name in CELLS_OF_JSON else str(value)
        for name, value in row.items()
    ]


def csv_file(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """Rows of cells below a header."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def parquet_file(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema = SCHEMA, **options: Any
) -> bytes:
    """Rows as Parquet, absent values as nulls."""
    sink = io.BytesIO()
    table = pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in rows], schema)
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def other_types(table: pa.Table, draw: random.Random) -> pa.Table:
    """The same table in other Arrow types that hold the same values, and odd columns beside it."""
    for place, field in enumerate(table.schema):
        if field.type == pa.string():
            kind = draw.choice(
                [
                    pa.large_string(),
                    pa.dictionary(pa.int32(), pa.string()),
                    pa.binary(),
                    pa.string(),
                ]
            )
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    raw = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary())
    bad: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.Array.from_buffers(pa.string(), table.num_rows, raw.buffers()),
        lambda: pa.array([2**62] * table.num_rows, pa.timestamp("us")),
        lambda: pa.array([1] * table.num_rows, pa.timestamp("us", tz="Mars/Phobos")),
        lambda: pa.array([2**30] * table.num_rows, pa.date32()),
    )
    return table.append_column("unknown", draw.choice(bad)())


def flipped(data: bytes, draw: random.Random, n: int = 1) -> bytes:
    """The same bytes but for a few."""
    changed = bytearray(data)
    for _ in range(n):
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
    return bytes(changed)
