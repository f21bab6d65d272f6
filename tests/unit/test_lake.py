"""One contract for every lake: what is created never changes, pointers move by compare-and-swap."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from winnow.errors import Fatal
from winnow.lake import FolderLake, Lake, open_lake


def test_an_object_is_read_as_it_was_created(lake: Lake) -> None:
    assert lake.create("a/b.bin", b"\x00\xff")
    assert lake.read("a/b.bin") == b"\x00\xff"
    assert lake.exists("a/b.bin")


def test_a_missing_object_is_file_not_found(lake: Lake) -> None:
    assert not lake.exists("nothing")
    with pytest.raises(FileNotFoundError):
        lake.read("nothing")


def test_creating_twice_keeps_the_first(lake: Lake) -> None:
    assert lake.create("x", b"first")
    assert not lake.create("x", b"second")
    assert lake.read("x") == b"first"


def test_of_many_creators_one_wins(lake: Lake) -> None:
    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(lambda i: lake.create("race", f"{i}".encode()), range(16)))
    assert sum(wins) == 1
    assert lake.read("race") == f"{wins.index(True)}".encode()


def test_swap_needs_the_tag_that_was_read(lake: Lake) -> None:
    assert lake.read_tagged("p") == (None, None)
    assert lake.swap("p", b"1", None)
    assert not lake.swap("p", b"lost", None)
    data, tag = lake.read_tagged("p")
    assert data == b"1"
    assert lake.swap("p", b"2", tag)
    assert not lake.swap("p", b"lost", tag)
    assert lake.read("p") == b"2"


def test_concurrent_counters_lose_no_step(lake: Lake) -> None:
    def step(_: int) -> None:
        while True:
            data, tag = lake.read_tagged("count")
            if lake.swap("count", str(int(data or b"0") + 1).encode(), tag):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(step, range(20)))
    assert lake.read("count") == b"20"


def test_a_folder_is_laid_out_from_objects(lake: Lake) -> None:
    lake.create("objects/1", b"one")
    lake.create("objects/2", b"two")
    for _ in range(2):
        lake.create_folder("v1", {"data/a": "objects/1", "b": "objects/2"})
    assert lake.read("v1/data/a") == b"one"
    assert lake.read("v1/b") == b"two"


def test_tags_change_with_the_content_and_name_every_object(lake: Lake) -> None:
    lake.create("in/a.jsonl", b"1")
    lake.create("in/deep/b.jsonl", b"1")
    tags = lake.tags("in")
    assert sorted(tags) == ["in/a.jsonl", "in/deep/b.jsonl"]
    assert tags["in/a.jsonl"] == tags["in/deep/b.jsonl"]
    lake.create("in/c.jsonl", b"2")
    assert lake.tags("in")["in/c.jsonl"] != tags["in/a.jsonl"]


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(Fatal, match="gs"):
        open_lake("gs://bucket")


def test_a_killed_writer_leaves_whole_objects_or_none(tmp_path: Path) -> None:
    writer = (
        "import sys; from pathlib import Path; from winnow.lake import FolderLake\n"
        f"lake = FolderLake(Path({str(tmp_path)!r}))\n"
        "for i in range(10**6): lake.create(f'o/{i}', bytes([i % 251]) * 200_000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", writer], env=environment)
    lake = FolderLake(tmp_path)
    deadline = time.monotonic() + 30
    while not lake.exists("o/5") and time.monotonic() < deadline:
        pass
    process.kill()
    process.wait()
    written = lake.tags("o")
    assert len(written) >= 5
    assert {len(lake.read(path)) for path in written} == {200_000}
