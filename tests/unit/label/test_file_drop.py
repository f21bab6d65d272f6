"""The file drop keeps the contract, and what is its own: files, lines, a vendor's liberties."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.ingest.values import Unreadable
from winnow.label.unreadable import words
from winnow.label.vendor import Rating, VendorAccount, container_name
from winnow.label.vendors import connect
from winnow.label.vendors.file_drop import folder
from winnow.label.vendors.file_drop.answers import is_answer, read_line
from winnow.label.vendors.file_drop.folder import AskedLine, open_store
from winnow.lake import FolderLake, S3Lake

from ...vendor_contract import VendorContract
from ...vendor_world import answered_batch, latest, read_all, submit, terms_of
from .file_drop_fake import FileDropWorld

ASKED = {"t1": AskedLine("t1", 70_000)}


@pytest.fixture
def world(tmp_path: Path) -> FileDropWorld:
    return FileDropWorld(FolderLake(tmp_path / "drop"))


class TestContract(VendorContract):
    pass


def test_the_same_on_s3(s3_lake: S3Lake, make_tasks) -> None:
    world = FileDropWorld(s3_lake)
    tasks = make_tasks(5)
    ref = submit(world, "night/1", tasks).ref
    world.answer(ref, tasks[0].task_id, "ann", "a")
    world.answer(ref, tasks[1].task_id, "ann", "tie")
    assert [a.choice for a in latest(read_all(world.connect(), ref)[0])].count("tie") == 1
    assert {t.task_id: world.times_held(t.task_id) for t in tasks} == {t.task_id: 1 for t in tasks}
    status = world.connect().cancel(ref, "enough")
    assert (status.state, status.n_answered, status.n_expired) == ("cancelled", 2, 3)


def test_a_manifest_line_says_all_that_a_vendor_needs(world, make_tasks) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    [line] = world.asked(ref)
    assert line == {
        "source": task.task_id,
        "task_id": task.task_id,
        "pair_id": task.pair_id,
        "messages": [{"role": "user", "content": task.messages[0].content}],
        "response_a": task.response_a,
        "response_b": task.response_b,
        "dimension": "helpfulness",
        "dimensions": ["helpfulness"],
        "instructions": task.instructions,
        "rubric_version": "helpfulness-1",
        "price": 100_000,
        "repeats": None,
    }


def test_a_line_says_which_dimensions_are_choices_and_an_answer_brings_them(
    world, make_tasks
) -> None:
    task = make_tasks(1)[0]
    vendor = world.connect()
    asked = replace(terms_of(world), dimensions=("truth", "care"), choices=("care",))
    ref = vendor.open_batch("night/1", asked)
    vendor.add_tasks(ref, [task])
    vendor.launch(ref)
    [line] = world.asked(ref)
    assert (line["dimensions"], line["choice_dimensions"]) == (["truth"], ["care"])
    answer = {"task_id": task.task_id, "annotator": "ann", "choice": "a"}
    given = json.dumps({**answer, "dimension_choices": {"care": "b"}})
    world.put(f"{ref}/output/a.jsonl", given.encode())
    [got] = latest(read_all(world.connect(), ref)[0])
    assert got.by_dimension == {"care": Rating(a=1, b=5)}


def test_nothing_is_asked_before_the_launch(world, make_tasks) -> None:
    vendor = world.connect()
    ref = vendor.open_batch("night/1", terms_of(world))
    vendor.add_tasks(ref, make_tasks(2))
    assert world.asked(ref) == []


def test_adding_again_writes_nothing(world, make_tasks) -> None:
    vendor = world.connect()
    ref = vendor.open_batch("night/1", terms_of(world))
    for _ in range(2):
        vendor.add_tasks(ref, make_tasks(2))
    assert len([p for p in world.store.tags(ref) if "/input/" in p]) == 1


def test_a_cancelled_draft_is_never_asked(world, make_tasks) -> None:
    vendor = world.connect()
    ref = vendor.open_batch("night/1", terms_of(world))
    vendor.add_tasks(ref, make_tasks(2))
    vendor.cancel(ref, "enough")
    vendor.launch(ref)
    assert world.asked(ref) == []


def test_a_ref_does_not_lead_out_of_the_store(tmp_path: Path) -> None:
    outside = FileDropWorld(FolderLake(tmp_path))
    ref = outside.connect().open_batch("night/1", terms_of(outside))
    inside = FileDropWorld(FolderLake(tmp_path / "drop"))
    with pytest.raises(Fatal, match="holds no batch"):
        inside.connect().status(f"../{ref}")


def test_what_two_writers_added_at_once_is_asked_once(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    [part] = [p for p in world.store.tags(ref) if "/input/" in p]
    world.put(f"{ref}/input/0001-twin.jsonl", world.store.read(part) + b"")
    world.connect().launch(ref)
    assert [world.times_held(t.task_id) for t in make_tasks(2)] == [1, 1]
    assert world.connect().status(ref).n_tasks == 2


def test_a_twin_that_comes_before_what_was_read_is_the_first_to_all(world, make_tasks) -> None:
    vendor = world.connect()
    ref = vendor.open_batch("night/1", terms_of(world))
    vendor.add_tasks(ref, make_tasks(2))
    assert vendor.status(ref).committed == vendor.estimate(make_tasks(2))
    task = make_tasks(1)[0]
    line = json.dumps({"task_id": task.task_id, "price": task.price + 1}).encode() + b"\n"
    world.store.create(f"{ref}/input/0000-twin.jsonl", line)
    assert vendor.status(ref).committed == vendor.estimate(make_tasks(2)) + 1
    vendor.launch(ref)
    asked = world.store.read(f"{ref}/input.manifest").splitlines(keepends=True)
    assert len(asked) == 2 and asked[0] == line


def test_a_vendor_that_says_it_is_done_ends_the_batch(world, make_tasks) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    world.answer(ref, tasks[0].task_id, "ann", "a")
    world.put(f"{ref}/output/done.json", b"")
    status = world.connect().status(ref)
    assert (status.state, status.n_answered, status.n_expired) == ("complete", 1, 2)
    assert status.committed == status.charged == tasks[0].price
    assert read_all(world.connect(), ref)[1].complete


def test_lines_that_do_not_parse_come_as_they_are(world, make_tasks) -> None:
    ref, _ = answered_batch(world, make_tasks(1))
    junk = [b'{"task_id": "x"', b"\xff\xfe", b"[]", b'"a"', b'{"choice": "a"}', b"9" * 5000]
    world.put(f"{ref}/output/zzz.jsonl", b"\n\n".join([*junk, b" "]))
    records, _ = read_all(world.connect(), ref)
    assert records[1:] == junk
    assert world.connect().status(ref).n_answered == 1


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_a_file_of_many_answers_comes_on_several_pages(
    world, make_tasks, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(folder, "RECORDS", 2)
    ref = submit(world, "night/1", make_tasks(1)).ref
    lines = [b'{"n": %d}' % i for i in range(n)]
    world.put(f"{ref}/output/a.jsonl", b"\n".join(lines))
    world.put(f"{ref}/output/b.jsonl", b"[]")
    assert read_all(world.connect(), ref)[0] == [*lines, b"[]"]


def test_a_file_that_is_replaced_between_its_pages_comes_whole(
    world, make_tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "RECORDS", 2)
    ref, vendor = submit(world, "night/1", make_tasks(1)).ref, world.connect()
    world.put(f"{ref}/output/a.jsonl", b"1\n2\n3")
    first = vendor.fetch(ref, None)
    world.put(f"{ref}/output/a.jsonl", b"5\n6\n7\n8")
    second = vendor.fetch(ref, first.next_cursor)
    assert second.records == (b"5", b"6")
    assert vendor.fetch(ref, second.next_cursor).records == (b"7", b"8")


def test_a_part_that_somebody_changed_is_noticed_by_who_read_it_before(world, make_tasks) -> None:
    ref, vendor = submit(world, "night/1", make_tasks(1)).ref, world.connect()
    assert vendor.status(ref).n_tasks == 1
    [part] = [p for p in world.store.tags(ref) if "/input/" in p]
    world.put(part, b'{"task_id": "t"}')
    with pytest.raises(Corrupt):
        vendor.status(ref)


def test_other_files_are_left_alone(world, make_tasks) -> None:
    ref, _ = answered_batch(world, make_tasks(1))
    world.put(f"{ref}/output/readme.txt", b"hello")
    world.put(f"{ref}/notes/x.jsonl", b"hello")
    assert len(read_all(world.connect(), ref)[0]) == 1


def test_what_leaves_the_output_was_retracted(world, make_tasks) -> None:
    ref, tasks = answered_batch(world, make_tasks(2))
    world.put(f"{ref}/output/{tasks[0].task_id}.jsonl", b"")
    status = world.connect().status(ref)
    assert (status.state, status.n_answered, status.charged) == ("open", 1, 100_000)


def test_files_that_come_while_pages_are_read_are_left_to_the_next_look(world, make_tasks) -> None:
    tasks = sorted(make_tasks(3), key=lambda t: t.task_id)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks[1:]:
        world.answer(ref, task.task_id, "ann", "a")
    first = world.connect().fetch(ref, None)
    world.answer(ref, tasks[0].task_id, "ann", "a")
    assert not read_all(world.connect(), ref, first.next_cursor)[1].complete
    records, last = read_all(world.connect(), ref)
    assert last.complete and len(latest(records)) == 3


def test_a_part_that_somebody_changed_is_corrupt(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    [part] = [p for p in world.store.tags(ref) if "/input/" in p]
    world.put(part, b"{}\n")
    with pytest.raises(Corrupt, match="0001-"):
        world.connect().status(ref)
    world.put(f"{ref}/batch.json", b"{}")
    with pytest.raises(Corrupt, match=r"batch\.json"):
        world.connect().status(ref)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"task_id": "t1", "annotator": "x", "choice": "a"}, ("a", "x", 70_000)),
        ({"task_id": "t1", "annotator": "x", "choice": "a", "price": 5}, ("a", "x", 5)),
        ({"task_id": "t9", "annotator": "x", "choice": "a"}, ("a", "x", 0)),
        (
            {"task_id": "t1", "preference": "b", "preference-metadata": {"annotator": "y"}},
            ("b", "y", 70_000),
        ),
        (
            {"task_id": "t1", "price": 1, "preference": {"choice": "tie", "annotator": "z"}},
            ("tie", "z", 70_000),
        ),
    ],
)
def test_the_shapes_of_a_line(line, expected) -> None:
    got = read_line(json.dumps(line).encode(), ASKED)
    assert (got.choice, got.annotator, got.price) == expected


def test_one_persons_answers_to_one_task_are_one_annotation() -> None:
    lines = [
        {"task_id": "t1", "annotator": who, "choice": c, "revision": r}
        for who, c, r in [("x", "a", 0), ("x", "b", 1), ("y", "a", 0)]
    ]
    ids = [read_line(json.dumps(line).encode(), ASKED).annotation_id for line in lines]
    assert ids[0] == ids[1] != ids[2]


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_line_breaks_the_reader(line: bytes | str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(Unreadable):
        read_line(raw, ASKED)


LINE = {"task_id": "t1", "annotator": "x", "choice": "a"}
STRANGE = [
    json.dumps({**LINE, "finished_at": "0001-01-01T00:00:00+01:00"}).encode(),
    json.dumps({**LINE, "rationale": "\ud800"}).encode(),
    json.dumps({**LINE, "strength": 9}).encode(),
    json.dumps({**LINE, "price": -1}).encode(),
    json.dumps(LINE).encode()[:-1] + b', "ratings": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    json.dumps(LINE).encode()[:-1] + b', "active_seconds": ' + b"9" * 5000 + b"}",
    json.dumps({"task_id": "t1", "preference": {**LINE, "revision": -1}}).encode(),
]


@pytest.mark.parametrize("line", STRANGE)
def test_an_answer_with_something_strange_beside_it_is_an_answer(line: bytes) -> None:
    with pytest.raises(Unreadable):
        read_line(line, ASKED)
    assert is_answer(line, ASKED) == ("t1", "x")
    assert is_answer(line, {}) is None


def test_lines_that_cannot_be_read_are_told_with_their_place_while_tasks_wait(
    world, make_tasks
) -> None:
    tasks = make_tasks(4)
    ref = submit(world, "night/1", tasks).ref
    lines = [
        {"task_id": tasks[0].task_id, "annotator": "x", "choice": "a"},
        {"task_id": tasks[1].task_id, "annotator": "x", "choice": "?"},
        {"task_id": tasks[2].task_id, "annotator": "x", "choice": "a", "price": -1},
        {"task_id": "nobody asked", "annotator": "x", "choice": "a"},
    ]
    world.put(f"{ref}/output/a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    status = world.connect().status(ref)
    assert (status.n_answered, status.n_pending, status.n_unreadable) == (2, 2, 3)
    assert "answer 2 of" in status.unreadable and "unknown_choice" in status.unreadable
    assert "3 answers cannot be read while 2 tasks wait" in words(status)
    assert status.charged == 2 * tasks[0].price


def test_who_answers_a_task_beside_another_is_paid_too(world, make_tasks) -> None:
    [task] = make_tasks(1)
    ref = submit(world, "night/1", [task]).ref
    line = {"task_id": task.task_id, "choice": "a"}
    lines = [{**line, "annotator": who} for who in ("x", "y", "x")]
    world.put(f"{ref}/output/a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    status = world.connect().status(ref)
    assert (status.n_answered, status.charged, status.committed) == (1, 200_000, 200_000)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    ".bz2": bz2.compress,
    ".zst": lambda data: bytes(pa.compress(data, "zstd")),
}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("end", [".jsonl", ".JSONL", ".ndjson", ".NdJson"])
def test_files_of_answers_are_read_by_any_usual_name(world, make_tasks, end, pack) -> None:
    [task] = make_tasks(1)
    ref = submit(world, "night/1", [task]).ref
    line = json.dumps({"task_id": task.task_id, "annotator": "x", "choice": "a"}).encode()
    world.put(f"{ref}/output/deep/a{end}{pack.upper()}", PACK[pack](line + b"\n"))
    status = world.connect().status(ref)
    assert (status.state, status.n_answered, status.n_unreadable) == ("complete", 1, 0)
    assert [a.choice for a in latest(read_all(world.connect(), ref)[0])] == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "output/a.json",
        "output/a.csv",
        "output/a.jsonl.zip",
        "output/a",
        "a.jsonl",
        "out/a.ndjson.gz",
    ],
)
def test_a_file_that_is_not_read_is_told_with_its_name(world, make_tasks, name: str) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    for quiet in ("output/done.json", "output/.part.jsonl", "output/.tmp/a.json", "notes/x.txt"):
        world.put(f"{ref}/{quiet}", b"")
    assert words(world.connect().status(ref)) == ""
    world.put(f"{ref}/{name}", b"{}")
    status = world.connect().status(ref)
    assert (status.n_unreadable, status.n_answered) == (1, 0)
    assert f"{ref}/{name}: answers are read from" in words(status)
    assert not read_all(world.connect(), ref)[0]


def test_a_file_is_packed_as_it_begins_not_as_it_is_named(world, make_tasks) -> None:
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    lines = [{"task_id": t.task_id, "annotator": "x", "choice": "a"} for t in tasks]
    world.put(f"{ref}/output/a.jsonl.gz", json.dumps(lines[0]).encode())
    world.put(f"{ref}/output/b.jsonl", gzip.compress(json.dumps(lines[1]).encode()))
    assert world.connect().status(ref).n_answered == 2


@pytest.mark.parametrize("spoil", ["cut", "bomb", "rotten"])
def test_what_cannot_be_unpacked_is_told_and_kept(world, make_tasks, monkeypatch, spoil) -> None:
    monkeypatch.setattr("winnow.label.vendors.file_drop.answers.MAX_UNPACKED", 4096)
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    lines = [{"task_id": t.task_id, "annotator": "x", "choice": "a"} for t in tasks]
    first = json.dumps(lines[0]).encode() + b"\n"
    whole = gzip.compress(first) + gzip.compress(json.dumps(lines[1]).encode())
    data = {
        "cut": whole[:-9],
        "bomb": gzip.compress(b" " * 2**22),
        "rotten": whole[:12] + b"x" * 40,
    }[spoil]
    world.put(f"{ref}/output/a.jsonl.gz", data)
    status = world.connect().status(ref)
    told = {"cut": "damaged", "bomb": "more than 4096 bytes", "rotten": "damaged"}[spoil]
    assert told in status.unreadable and "a.jsonl.gz" in status.unreadable
    assert read_all(world.connect(), ref)[0][-1] == data


@pytest.mark.parametrize(
    "price", [-1, 10**12, 1e30, float("nan"), float("inf"), None, "x", [], True]
)
def test_a_price_that_is_none_was_not_written_by_winnow(world, make_tasks, price) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    for path in [p for p in world.store.tags(ref) if "/input" in p]:
        line = {**json.loads(world.store.read(path)), "price": price}
        world.put(path, json.dumps(line).encode())
    with pytest.raises(Corrupt, match="look who writes there"):
        world.connect().status(ref)


@given(st.text(min_size=1), st.text(min_size=1))
def test_container_names_are_safe_and_differ(one: str, other: str) -> None:
    names = [container_name(key) for key in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        assert name.isascii() and name == name.lower() and len(name) <= 63
        assert name.replace("-", "").isalnum() and name[0] != "-" != name[-1] and "--" not in name


def test_a_connection_opens_a_folder_or_s3(tmp_path: Path) -> None:
    assert connect("file_drop", VendorAccount(str(tmp_path), "")).snapshot
    extra = {"region": "us-east-1", "endpoint_url": "http://127.0.0.1:9"}
    store = open_store(VendorAccount("s3://drop/winnow", "secret", "key", extra))
    assert store.uri == "s3://drop/winnow"


@pytest.mark.parametrize("url", ["", "ftp://x"])
def test_a_connection_that_cannot_work_is_fatal_at_once(url: str) -> None:
    with pytest.raises(Fatal):
        connect("file_drop", VendorAccount(url, ""))


@pytest.mark.parametrize("name", ["answers.jsonl.gz", "answers.json", "answers.JSONL", "a.ndjson"])
def test_a_file_that_is_not_read_is_told(world, make_tasks, name: str) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    world.put(f"{ref}/output/{name}", b"{}")
    status = world.connect().status(ref)
    assert status.n_unreadable > 0 and name in status.unreadable


def test_no_pipe_and_no_link_is_read_as_answers(tmp_path: Path, world, make_tasks) -> None:
    ref, _ = answered_batch(world, make_tasks(2))
    output = tmp_path / "drop" / ref / "output"
    before = world.connect().status(ref)
    os.mkfifo(output / "a.jsonl")
    (tmp_path / "secret").write_text("root:x:0")
    (output / "b.jsonl").symlink_to(tmp_path / "secret")
    (output / "c.jsonl").symlink_to("nowhere")
    assert world.connect().status(ref) == before
    assert "root:x:0" not in str(read_all(world.connect(), ref))
