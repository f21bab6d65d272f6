"""The memory: immutable objects are read once, what rests is looked at ever less, room is bound."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from winnow.console.memory import LONGEST_SECONDS, SECONDS, Memory, at_once
from winnow.console.stages import keys_of, published_of, stages_of
from winnow.lake import FolderLake

from ...console_world import World, day, many


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Counted(FolderLake):
    """A lake that counts its calls."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[str] = []

    def read(self, path: str) -> bytes:
        self.calls.append(path)
        return super().read(path)

    def listing(self, folder: str):
        self.calls.append(folder)
        return super().listing(folder)

    def take_calls(self) -> list[str]:
        found, self.calls = self.calls, []
        return found


def length(data: bytes) -> int:
    return len(data)


@pytest.fixture
def lake(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def test_what_is_made_may_say_how_long_it_is_kept(lake: Counted) -> None:
    clock = Clock()
    memory = Memory(clock=clock)
    made = iter([0, 1, 2])
    seconds = {0: 10.0, 1: 100.0, 2: 1.0}
    found = []
    for clock.seconds in (0.0, 9.0, 11.0, 100.0, 112.0):
        found.append(memory.lately(lake, "x", lambda: next(made), lambda n: seconds[n]))
    assert found == [0, 0, 1, 1, 2]


def test_an_object_is_read_once_and_an_absent_one_is_looked_for_again(lake: Counted) -> None:
    memory = Memory()
    assert memory.once(lake, "a", length) is None
    lake.create("a", b"abc")
    assert [memory.once(lake, "a", length) for _ in range(3)] == [3, 3, 3]
    assert lake.take_calls() == ["a", "a"]
    assert memory.each(lake, ["a", "b", "a"], length) == {"a": 3}


def test_what_may_change_is_kept_for_some_seconds(lake: Counted) -> None:
    clock = Clock()
    memory = Memory(clock=clock)
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [memory.lately(lake, "x", make) for _ in range(3)] == [1, 1, 1]
    clock.seconds += SECONDS
    assert memory.lately(lake, "x", make) == 2


def test_what_rests_is_looked_at_ever_less_until_it_changes(lake: Counted) -> None:
    clock, looks = Clock(), []
    memory = Memory(clock=clock)
    state = ["still"]

    def look() -> str:
        looks.append(clock.seconds)
        return state[0]

    while clock.seconds < 400:
        memory.watched(lake, "x", look)
        clock.seconds += 1
    waits = [b - a for a, b in pairwise(looks)]
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == LONGEST_SECONDS
    state[0] = "moved"
    clock.seconds += LONGEST_SECONDS
    memory.watched(lake, "x", look)
    clock.seconds += SECONDS
    memory.watched(lake, "x", look)
    assert looks[-1] - looks[-2] == SECONDS


def test_the_oldest_goes_where_room_is_needed(lake: Counted) -> None:
    memory = Memory(max_bytes=4_000)
    for name in "abcdefgh":
        lake.create(name, name.encode() * 500)
        memory.once(lake, name, bytes)
        memory.once(lake, "a", bytes)
    assert memory.facts()["bytes"] <= 4_000
    lake.take_calls()
    memory.once(lake, "a", bytes)
    memory.once(lake, "b", bytes)
    assert lake.take_calls() == ["b"]
    lake.create("huge", b"x" * 10_000)
    assert memory.once(lake, "huge", bytes) == b"x" * 10_000
    assert memory.facts()["entries"] == 1


def test_many_threads_share_one_memory(lake: Counted) -> None:
    for i in range(50):
        lake.create(f"o{i}", b"x" * i)
    memory = Memory(max_bytes=3_000)
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i in range(200) if memory.once(lake, f"o{i % 50}", length) != i % 50)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 0 < memory.facts()["bytes"] <= 3_000


def test_an_error_of_one_read_is_not_lost() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once(lambda name: 1 // len(name), ["a", "", "b"])


def test_batches_that_are_done_cost_no_call_after_their_first_look(lake: Counted) -> None:
    clock = Clock()
    memory, world = Memory(clock=clock), many(lake, 8)
    keys = keys_of(lake, "nightly", memory)
    assert keys == [day(n) for n in range(8)]
    stages = stages_of(lake, "nightly", keys, memory)
    assert [each.next for each in stages.values()] == ["expand", "label", "publish", *[None] * 5]
    lake.take_calls()
    for _ in range(3):
        clock.seconds += 3600
        stages_of(lake, "nightly", keys[3:], memory)
        published_of(lake, "nightly", keys[3:], memory)
    assert lake.take_calls() == []
    stages_of(lake, "nightly", keys[:1], memory)
    world.expand(world.batch(day(0)), "x")
    assert stages_of(lake, "nightly", keys[:1], memory)[day(0)].next == "expand", "seconds old"
    clock.seconds += LONGEST_SECONDS
    assert stages_of(lake, "nightly", keys[:1], memory)[day(0)].next == "select"


def test_who_is_published_takes_one_read_a_batch(lake: Counted) -> None:
    many(lake, 8)
    memory = Memory()
    keys = keys_of(lake, "nightly", memory)
    lake.take_calls()
    found = published_of(lake, "nightly", keys, memory)
    assert list(found) == [day(n) for n in range(3, 8)]
    assert len(lake.take_calls()) == 8


def test_what_is_kept_of_a_manifest_is_small(lake: Counted) -> None:
    world, memory = World(lake), Memory()
    world.make(day(0))
    done = stages_of(lake, "nightly", [day(0)], memory)[day(0)].done
    assert "audit" not in done["expand"].figures
    assert done["expand"].warnings == 1
    assert "files" not in done["ingest"].figures
    assert done["label"].figures["agreement"] == 0.8
    assert done["label"].committed_at.utcoffset() is not None
