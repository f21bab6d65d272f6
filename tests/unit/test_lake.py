"""One contract for every lake: what is created never changes, pointers move by compare-and-swap."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from winnow.errors import Fatal, Retryable
from winnow.lake import FolderLake, Lake, S3Lake, open_lake

FUTURE = datetime(2200, 1, 1, tzinfo=UTC)
PAST = datetime(2000, 1, 1, tzinfo=UTC)
LARGE = bytes(range(256)) * (40 << 10)
"""10 MiB, which goes up in two parts of 5 MiB, the smallest that S3 takes."""


@pytest.fixture
def parts_lake(s3_lake: S3Lake) -> S3Lake:
    """A lake whose large objects are small."""
    return S3Lake(s3_lake.bucket, s3_lake.prefix, s3_lake.client, part_bytes=5 << 20)


@pytest.fixture
def on_event(s3_lake: S3Lake) -> Iterator[Callable[[str, Callable[..., Any]], None]]:
    """Hooks into the requests of the client that all tests share, until the test ends."""
    events, hooks = s3_lake.client.meta.events, []

    def hook(name: str, act: Callable[..., Any]) -> None:
        events.register(name, act)
        hooks.append((name, act))

    yield hook
    for name, act in hooks:
        events.unregister(name, act)


def refusals(
    times: int, status: int = 409, code: str = "ConditionalRequestConflict"
) -> Callable[..., Any]:
    """What answers so many times in place of the store."""
    from botocore.awsrequest import AWSResponse

    body = f"<Error><Code>{code}</Code></Error>".encode()
    left = iter(range(times))

    class Raw:
        def stream(self) -> Iterator[bytes]:
            return iter([body])

    def answer(request: Any, **_: Any) -> Any:
        return None if next(left, None) is None else AWSResponse(request.url, status, {}, Raw())

    return answer


def test_an_object_is_read_as_it_was_created(lake: Lake) -> None:
    assert lake.create("a/b.bin", b"\x00\xff")
    assert lake.read("a/b.bin") == b"\x00\xff"
    assert lake.exists("a/b.bin")


def test_a_missing_object_is_file_not_found(lake: Lake) -> None:
    assert not lake.exists("nothing")
    with pytest.raises(FileNotFoundError):
        lake.read("nothing")


def test_a_part_of_an_object_is_read_and_no_more_than_there_is(lake: Lake) -> None:
    lake.create("a", bytes(range(100)))
    assert lake.part("a", 10, 5) == bytes(range(10, 15))
    assert lake.part("a", 95, 50) == bytes(range(95, 100))
    assert lake.part("a", 100, 5) == b""
    assert lake.part("a", 3, 0) == b""
    with pytest.raises(FileNotFoundError):
        lake.part("nothing", 0, 5)


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


def test_an_object_is_created_from_a_file_once(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    assert lake.create_file("a/b", source)
    source.write_bytes(b"other")
    assert not lake.create_file("a/b", source)
    pieces = list(lake.chunks("a/b"))
    assert len(pieces) == 10
    assert b"".join(pieces) == LARGE


def test_a_missing_source_or_object_is_file_not_found(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lake.create_file("x", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        list(lake.chunks("nothing"))
    with pytest.raises(FileNotFoundError):
        lake.copy("nothing", "x")
    assert not lake.exists("x")


def test_a_copy_stays_when_its_source_goes(lake: Lake) -> None:
    lake.create("a", b"1")
    for _ in range(2):
        lake.copy("a", "deep/b")
    for _ in range(2):
        lake.remove("a")
    assert not lake.exists("a")
    assert lake.read("deep/b") == b"1"


def test_an_object_too_large_for_one_copy_is_copied_in_parts(
    s3_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    s3_lake.create("a", b"1")
    on_event("before-send.s3.CopyObject", refusals(1, 400, "InvalidRequest"))
    s3_lake.copy("a", "b")
    assert s3_lake.read("b") == b"1"


def test_a_listing_has_sizes_and_times_of_finished_objects(lake: Lake) -> None:
    lake.create("in/a", b"123")
    lake.create("in/deep/b", b"")
    lake.create("inside", b"1")
    lake.swap("in/p", b"1", None)
    found = lake.listing("in")
    assert [(s.path, s.n_bytes) for s in found] == [("in/a", 3), ("in/deep/b", 0), ("in/p", 1)]
    assert all(abs((datetime.now(UTC) - s.modified).total_seconds()) < 60 for s in found)
    assert lake.listing("nothing") == []


def test_a_folder_that_was_half_laid_out_is_finished(s3_lake: S3Lake) -> None:
    s3_lake.create("1", b"one")
    s3_lake.create("2", b"two")
    s3_lake.copy("1", "v1/a")
    s3_lake.create_folder("v1", {"a": "1", "b": "2"})
    assert s3_lake.read("v1/b") == b"two"


def test_the_store_holds_the_sha256_of_an_upload(parts_lake: S3Lake) -> None:
    parts_lake.create("small", b"abc")
    parts_lake.create("large", LARGE)

    def checksum(path: str) -> str:
        key = f"winnow/{path}"
        return str(
            parts_lake.client.head_object(
                Bucket=parts_lake.bucket, Key=key, ChecksumMode="ENABLED"
            )["ChecksumSHA256"]
        )

    assert checksum("small") == base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    assert checksum("large")


def test_a_large_object_goes_up_in_parts_once(
    parts_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    sent: list[str] = []
    on_event("before-call.s3", lambda model, **_: sent.append(model.name))
    assert parts_lake.create("large", LARGE)
    assert sent.count("UploadPart") == 2
    assert "PutObject" not in sent
    assert not parts_lake.create("large", LARGE[::-1])
    assert sent.count("UploadPart") == 2
    assert parts_lake.read("large") == LARGE


def test_of_two_large_uploads_at_once_the_first_to_end_wins(
    parts_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    hidden = iter([True])

    def meet(**_: Any) -> None:
        if next(hidden, False):
            assert parts_lake.create("large", LARGE)

    on_event("before-call.s3.CompleteMultipartUpload", meet)
    assert not parts_lake.create("large", LARGE[::-1])
    assert parts_lake.read("large") == LARGE
    assert parts_lake.unfinished("", FUTURE, remove=False) == []


@pytest.mark.parametrize(
    ("data", "step"), [(b"small", "PutObject"), (LARGE, "CompleteMultipartUpload")]
)
def test_a_conflict_is_tried_again(
    parts_lake: S3Lake, on_event: Callable[..., None], data: bytes, step: str
) -> None:
    on_event(f"before-send.s3.{step}", refusals(2))
    assert parts_lake.create("x", data)
    assert parts_lake.read("x") == data
    assert parts_lake.unfinished("", FUTURE, remove=False) == []


def test_a_conflict_with_an_object_that_is_there_is_lost(
    s3_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    s3_lake.create("x", b"first")
    on_event("before-send.s3.PutObject", refusals(1))
    assert not s3_lake.create("x", b"second")


def test_conflicts_without_end_are_retryable(
    s3_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    on_event("before-send.s3.PutObject", refusals(100))
    with pytest.raises(Retryable, match="winnow/x"):
        s3_lake.create("x", b"1")
    assert not s3_lake.swap("p", b"1", None)


def test_a_pointer_that_is_gone_is_not_swapped_by_its_old_tag(s3_lake: S3Lake) -> None:
    s3_lake.swap("p", b"1", None)
    _, tag = s3_lake.read_tagged("p")
    s3_lake.remove("p")
    assert not s3_lake.swap("p", b"2", tag)


def test_uploads_of_killed_writers_are_found_and_removed(parts_lake: S3Lake) -> None:
    for key in ("winnow/d/x", "winnow/other/x"):
        parts_lake.client.create_multipart_upload(Bucket=parts_lake.bucket, Key=key)
    assert parts_lake.unfinished("d", PAST, remove=True) == []
    assert parts_lake.unfinished("d", FUTURE, remove=False) == ["d/x"]
    assert parts_lake.unfinished("d", FUTURE, remove=True) == ["d/x"]
    assert parts_lake.unfinished("", FUTURE, remove=False) == ["other/x"]


def test_a_writer_that_loses_its_upload_is_told_to_try_again(
    parts_lake: S3Lake, on_event: Callable[..., None]
) -> None:
    def collect(**_: Any) -> None:
        parts_lake.unfinished("", FUTURE, remove=True)

    on_event("before-call.s3.UploadPart", collect)
    with pytest.raises(Retryable, match="winnow/large"):
        parts_lake.create("large", LARGE)
    assert not parts_lake.exists("large")


def killed_at(step: str, call: str, root: Path) -> None:
    """A process that dies when `lake.CALL` comes to `os.STEP`."""
    program = (
        "import os; from pathlib import Path; from winnow.lake import FolderLake\n"
        f"lake = FolderLake(Path({str(root)!r}))\n"
        f"os.{step} = lambda *a, **k: os._exit(9)\n"
        f"lake.{call}\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 9


@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("link", "create('d/deep/x', b'1')"),
        ("replace", "swap('d/p', b'1', None)"),
        ("link", "create_folder('d/v1', {'data/a': 'o/a', 'b': 'o/a'})"),
    ],
)
def test_files_of_killed_writers_are_found_and_removed(
    tmp_path: Path, step: str, call: str
) -> None:
    lake = FolderLake(tmp_path)
    lake.create("o/a", b"a")
    killed_at(step, call, tmp_path)
    assert lake.listing("d") == []
    assert lake.tags("d") == {}
    assert lake.unfinished("d", PAST, remove=True) == []
    [found] = lake.unfinished("d", FUTURE, remove=False)
    assert lake.unfinished("d", FUTURE, remove=True) == [found]
    assert not (tmp_path / found).exists()
    assert lake.unfinished("d", FUTURE, remove=False) == []


def test_locks_and_objects_are_not_unfinished(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    lake.create("d/x", b"1")
    lake.swap("d/p", b"1", None)
    before = sorted(tmp_path.rglob("*"))
    assert lake.unfinished("d", FUTURE, remove=True) == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda lake: lake.create("d/2", b"1"),
        lambda lake: lake.create_folder("d/v1", {"0": "o/a", "2": "o/a"}),
        lambda lake: lake.create_folder("d/v1", {"x/1": "o/a", "y/3": "o/a"}),
        lambda lake: lake.create_folder("d/v1", {"1": "o/a"}),
    ],
    ids=["file", "folder", "folders", "whole folder"],
)
def test_a_writer_that_loses_its_temporary_files_is_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[FolderLake], object]
) -> None:
    lake = FolderLake(tmp_path)
    lake.create("o/a", b"a")
    link = os.link

    def collected(source: Path, name: Path) -> None:
        if name.name == "2":
            lake.unfinished("d", FUTURE, remove=True)
        link(source, name)
        if name.name == "1":
            lake.unfinished("d", FUTURE, remove=True)

    monkeypatch.setattr(os, "link", collected)
    with pytest.raises(Retryable, match=str(tmp_path)):
        write(lake)
    assert lake.unfinished("d", FUTURE, remove=False) == []
    assert lake.listing("d") == []


def test_a_folder_that_is_half_removed_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = FolderLake(tmp_path)
    lake.create("o/a", b"a")
    link = os.link

    def collected(source: Path, name: Path) -> None:
        if name.name == "2":
            lake.unfinished("d", FUTURE, remove=True)
        link(source, name)

    def begun(path: Path, **_: Any) -> None:
        (path / "1").unlink(missing_ok=True)

    monkeypatch.setattr(os, "link", collected)
    monkeypatch.setattr(shutil, "rmtree", begun)
    with pytest.raises(Retryable):
        lake.create_folder("d/v1", {"1": "o/a", "2": "o/a"})
    assert not lake.exists("d/v1")


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


def test_names_are_those_directly_below_and_after(lake: Lake) -> None:
    for path in ("f/b.json", "f/a/deep/x", "f/c.json", "g/d"):
        lake.create(path, b"1")
    assert list(lake.names("f")) == ["a", "b.json", "c.json"]
    assert list(lake.names("f", after="a")) == ["b.json", "c.json"]
    assert list(lake.names("f", after="c.json")) == list(lake.names("nothing")) == []


@pytest.mark.parametrize("body", ["", "<html><body>404</body></html>", "{}", "NoSuchKey"])
def test_a_404_of_any_gateway_is_an_absent_object_and_a_missing_bucket_is_none(
    s3_lake: S3Lake, on_event: Callable[[str, Callable[..., Any]], None], body: str
) -> None:
    looks: list[Callable[[], object]] = [
        lambda: s3_lake.read("x"),
        lambda: list(s3_lake.chunks("x")),
        lambda: s3_lake.part("x", 0, 5),
        lambda: s3_lake.copy("x", "y"),
        lambda: s3_lake.local("x").__enter__(),
    ]
    s3_lake.create("x", b"1")
    answers = iter([404] * (len(looks) + 3))
    on_event("before-send.s3", answer_with(answers, body))
    for look in looks:
        with pytest.raises(FileNotFoundError):
            look()
    assert s3_lake.read_tagged("x") == (None, None)
    assert not s3_lake.exists("x")
    assert s3_lake.tag("x") is None
    gone = S3Lake("no-such-bucket-here", "", s3_lake.client)
    for look in (lambda: gone.read_tagged("x"), lambda: list(gone.names("x"))):
        with pytest.raises(Fatal, match="no such bucket"):
            look()


@pytest.mark.parametrize(
    ("status", "code", "date", "told"),
    [
        (403, "RequestTimeTooSkewed", "", "clock is off"),
        (403, "AccessDenied", "Wed, 01 Jan 2020 00:00:00 GMT", "clock is off by"),
        (403, "AccessDenied", "", "may not do this"),
        (400, "ExpiredToken", "", "have ended: renew"),
        (403, "SignatureDoesNotMatch", "", "credentials are wrong"),
        (301, "", "", "sends every request elsewhere"),
        (400, "IllegalLocationConstraint", "", "another region"),
    ],
)
def test_what_a_store_refuses_says_what_to_do(
    s3_lake: S3Lake,
    on_event: Callable[[str, Callable[..., Any]], None],
    status: int,
    code: str,
    date: str,
    told: str,
) -> None:
    body = f"<Error><Code>{code}</Code></Error>"
    on_event("before-send.s3", answer_with(repeat(status), body, date))
    with pytest.raises(Fatal, match=told):
        s3_lake.read("x")


def answer_with(answers: Iterator[int], body: str, date: str = "") -> Callable[..., Any]:
    """What answers in place of the store, while there are answers."""
    from botocore.awsrequest import AWSResponse

    class Raw:
        def stream(self) -> Iterator[bytes]:
            return iter([body.encode()])

    def answer(request: Any, **_: Any) -> Any:
        status = next(answers, None)
        headers = {"date": date} if date else {}
        return None if status is None else AWSResponse(request.url, status, headers, Raw())

    return answer


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (errno.ENOSPC, Retryable, "make room"),
        (errno.EMFILE, Retryable, "open files"),
        (errno.EACCES, Fatal, "the right to it"),
        (errno.EROFS, Fatal, "mount it for writing"),
    ],
)
def test_a_disk_that_fails_names_the_object_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type, told: str
) -> None:
    lake = FolderLake(tmp_path)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    lake.create("a/there", b"1")
    monkeypatch.setattr(Path, "write_bytes", fail)
    monkeypatch.setattr(Path, "read_bytes", fail)
    acts: list[Callable[[], object]] = [
        lambda: lake.create("a/new", b"1"),
        lambda: lake.swap("a/pointer", b"1", None),
        lambda: lake.read("a/there"),
    ]
    for act in acts:
        with pytest.raises(kind, match=rf"a/(new|pointer|there): .*{told}"):
            act()


def test_a_lake_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lake = FolderLake(tmp_path / "file")
    for act in (lambda: lake.read("a/b"), lambda: lake.create("a/b", b"")):
        with pytest.raises(Fatal, match=r"correct the path|move it away"):
            act()


def test_a_folder_lists_regular_files_alone(tmp_path: Path) -> None:
    (tmp_path / "real" / "f").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"of somebody else")
    (tmp_path / "lake").symlink_to(tmp_path / "real")
    lake = FolderLake(tmp_path / "lake")
    lake.create("f/a", b"x")
    lake.copy("f/a", "f/hard")
    os.mkfifo(tmp_path / "real" / "f" / "pipe")
    for name, to in (("nowhere", "gone"), ("loop", "loop"), ("out", tmp_path / "secret")):
        (tmp_path / "real" / "f" / name).symlink_to(to)
    assert list(lake.tags("f")) == [o.path for o in lake.listing("f")] == ["f/a", "f/hard"]
