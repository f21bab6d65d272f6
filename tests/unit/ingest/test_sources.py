"""Every file at a source is read or named: on folders and on S3 alike."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from winnow.errors import Fatal, Retryable
from winnow.ids import content_id, digest
from winnow.ingest.readers import ENDINGS
from winnow.ingest.sources import HIDDEN, Found, look_for, named_files, told
from winnow.lake import Lake, S3Lake, open_lake

from ... import foreign

DAY = "2026-11-22"
ROW = {"prompt": "How do tides work?"}
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def of_ending(ending: str) -> bytes:
    """A file of one row, in the format that its ending says."""
    if ending == ".parquet":
        return foreign.parquet_file([ROW])
    if ending == ".arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("prompt", pa.string())])) as stream:
            stream.write_table(pa.Table.from_pylist([ROW]))
        return sink.getvalue().to_pybytes()
    kind, _, pack = ending[1:].partition(".")
    data = b"prompt\nHow do tides work?\n" if kind == "csv" else json.dumps([ROW]).encode()
    return PACK[f".{pack}" if pack else ""](data)


def look(lake: Lake, source: str = "") -> Found:
    """What is found below a lake's root; for S3 by its own client."""
    client = lake.client if isinstance(lake, S3Lake) else None
    return look_for([f"{lake.uri}/{source}"], DAY, client)


def names(found: Found) -> list[str]:
    return [Path(file.name).name for file in found.files]


@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_every_ending_is_read_in_any_case(lake: Lake, change: Any) -> None:
    for ending in ENDINGS:
        lake.create(f"f{change(ending)}", of_ending(ending))
    files = look(lake).files
    assert len(files) == len(ENDINGS)
    for file in files:
        assert [row.value for row in file.rows(["prompt"])] == [ROW], file.name


def test_what_is_not_read_is_named_and_what_is_hidden_is_counted(lake: Lake) -> None:
    for name in ("a.jsonl", "deep/er/b.csv", "_c.jsonl"):
        lake.create(name, b"{}")
    for name in (
        *(".a.jsonl", "._b.jsonl", ".Trash/c.jsonl", "x/.ipynb_checkpoints/d.jsonl"),
        *("_temporary/0/e.parquet", "_delta_log/0.json", "..2026_11_22/a.jsonl"),
    ):
        lake.create(name, b"{}")
    for name in ("notes.txt", "e.parquet.gz", "README", "_SUCCESS"):
        lake.create(name, b"")
    found = look(lake)
    assert names(found) == ["_c.jsonl", "a.jsonl", "b.csv"]
    why = {Path(each.name).name: each.why for each in found.passed_over}
    assert why["notes.txt"] == "the ending .txt is not read"
    assert why["README"] == "has no ending"
    assert sum(each.why == HIDDEN for each in found.passed_over) == 7
    assert told(found.passed_over).endswith("7 hidden")


@pytest.mark.parametrize(
    "name", ["a b", "a#b", "a?b", "a%20b", "a=b", "a&b;c", "é ü", "[a]*{b}", "a+b"]
)
def test_what_means_something_in_an_address_is_a_letter(lake: Lake, name: str) -> None:
    lake.create(f"{name}/{name}.jsonl", json.dumps(ROW).encode())
    [file] = look(lake, name).files
    assert [row.value for row in file.rows()] == [ROW]
    [same] = look(lake, f"{name}/{name}.jsonl").files
    assert [row.value for row in same.rows()] == [ROW]
    assert same.file_id == file.file_id
    if isinstance(lake, S3Lake):
        again = open_lake(f"s3://{lake.bucket}/{lake.prefix}/{name}", lake.client)
        assert list(again.tags("")) == [f"{name}.jsonl"]


def test_a_folder_of_parquet_as_spark_writes_it_is_read(lake: Lake) -> None:
    for name in ("part-0.snappy.parquet", "part-1.snappy.parquet"):
        lake.create(f"prompts.parquet/{name}", foreign.parquet_file([ROW]))
    lake.create("prompts.parquet/_SUCCESS", b"")
    lake.create("prompts.parquet/.part-0.snappy.parquet.crc", b"x")
    assert names(look(lake, "prompts.parquet")) == [
        "part-0.snappy.parquet",
        "part-1.snappy.parquet",
    ]


def test_what_is_missing_is_an_error_unless_it_is_dated(lake: Lake) -> None:
    lake.create("other/a.jsonl", b"{}")
    with pytest.raises(Fatal, match="does not exist"):
        look(lake, "nowhere")
    assert look(lake, "nowhere/{day}") == Found((), ())


def test_a_source_that_names_a_file_which_is_never_read_is_an_error(lake: Lake) -> None:
    lake.create("a.xlsx", b"x")
    with pytest.raises(Fatal, match=r"a\.xlsx is never read: the ending \.xlsx"):
        look(lake, "a.xlsx")
    with pytest.raises(Fatal, match="s3://bucket/prefix"):
        look_for(["gs://bucket/prefix"], DAY)


def test_ids_are_those_of_the_versions_before(lake: Lake) -> None:
    data = json.dumps(ROW).encode()
    lake.create("in/deep/a.jsonl", data)
    client = lake.client if isinstance(lake, S3Lake) else None
    tag = lake.tags("in")["in/deep/a.jsonl"]
    [file] = look_for([f"{lake.uri}/in"], DAY, client).files
    assert file.file_id == content_id("deep/a.jsonl", tag)
    assert isinstance(lake, S3Lake) or tag == digest(data)


def test_a_setting_whose_source_holds_nothing_says_what_it_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gold.txt").write_text("x")
    with pytest.raises(Fatal, match=r"gold\.txt .*correct label\.gold"):
        named_files(str(tmp_path), DAY, "label.gold")
    assert named_files(f"{tmp_path}/{{day}}", DAY, "label.gold") == ()


def test_nothing_is_opened_but_regular_files_of_known_endings(tmp_path: Path) -> None:
    source, outside = tmp_path / "in", tmp_path / "outside.jsonl"
    source.mkdir()
    outside.write_text(json.dumps(ROW))
    (source / "a.jsonl").write_text(json.dumps(ROW))
    os.mkfifo(source / "pipe.jsonl")
    os.mkfifo(source / "pipe.txt")
    (source / "out.jsonl").symlink_to(outside)
    (source / "nothing.jsonl").symlink_to(source / "gone.jsonl")
    (source / "loop.jsonl").symlink_to(source / "loop.jsonl")
    (source / "folder").symlink_to(tmp_path)
    with open(os.fsencode(source) + b"/caf\xe9.jsonl", "wb") as file:
        file.write(b"{}")
    found = look_for([str(source)], DAY)
    assert names(found) == ["a.jsonl"]
    why = {Path(each.name).name: each.why for each in found.passed_over}
    assert why.pop("loop.jsonl").startswith(("cannot be read", "a link"))
    assert why == {
        "pipe.jsonl": "no regular file",
        "pipe.txt": "no regular file",
        "out.jsonl": "a link that leads out of the source",
        "nothing.jsonl": "a link to nothing",
        "folder": "a link that leads out of the source",
        "caf\\udce9.jsonl": "its name is no UTF-8",
    }


def test_a_configmap_is_read_once(tmp_path: Path) -> None:
    """Kubernetes mounts it as links to ..data, itself a link to a folder of that version."""
    version = tmp_path / "..2026_11_22"
    version.mkdir()
    (version / "a.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "a.jsonl").symlink_to("..data/a.jsonl")
    found = look_for([str(tmp_path)], DAY)
    assert names(found) == ["a.jsonl"]
    assert {each.why for each in found.passed_over} == {HIDDEN}


def test_a_folder_of_a_configmap_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "..v1" / "sub").mkdir(parents=True)
    (tmp_path / "..v1" / "sub" / "a.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "sub").symlink_to("..data/sub")
    (tmp_path / "seen").mkdir()
    (tmp_path / "again").symlink_to("seen")
    found = look_for([str(tmp_path)], DAY)
    assert names(found) == ["a.jsonl"]
    assert {each.why for each in found.passed_over} == {HIDDEN, "a link to a folder"}


@pytest.mark.parametrize("source", ["", "a\0b", "/tmp/\ud83d", "x" * 5_000])
def test_a_source_that_is_no_path_is_an_error(source: str) -> None:
    with pytest.raises(Fatal):
        look_for([source], DAY)


def test_a_file_that_is_gone_since_it_was_found_is_tried_again(lake: Lake) -> None:
    lake.create("a.jsonl", b"{}")
    [file] = look(lake).files
    lake.remove("a.jsonl")
    with pytest.raises(Retryable, match=r"a\.jsonl cannot be read now"):
        list(file.rows())


def test_a_source_may_itself_be_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "in").symlink_to(real)
    assert names(look_for([str(tmp_path / "in")], DAY)) == ["a.jsonl"]
