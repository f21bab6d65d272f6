"""A ledger of many batches: what is asked of it is what was taken, and reads little of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from winnow.batch import manifest_path, store, table_bytes
from winnow.errors import Corrupt
from winnow.ids import canonical_json, content_id
from winnow.ingest import ledger as ledgers
from winnow.ingest.ledger import (
    Dropped,
    Entry,
    append,
    check_knows_all,
    ledger_path,
    mark,
    note_taken,
    read_ledger,
    unneeded_runs,
)
from winnow.lake import FolderLake, Lake, folder

from ..stages.conftest import LAKE_STEPS, Dying, Killed


@pytest.fixture(autouse=True)
def no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of nights need not outlast the machine."""
    monkeypatch.setattr(folder, "sync", lambda _: None)


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path)


NOTE = Dropped("ann", "2026-11-24T10:00:00+00:00", "wrong")


def prompts_of(night: int) -> list[str]:
    return [content_id("prompt", night, k) for k in range(5)]


def entry_of(lake: Lake, night: int, prompts: list[str] | None = None) -> Entry:
    brought = prompts_of(night) if prompts is None else prompts
    table = pa.table({"prompt_id": pa.array(brought, pa.string())})
    ids = store(lake, f"ids/{night}", "parquet", table_bytes(table), len(brought))
    continues = "old" if night == 2 else None
    counts = {"rows_in": len(brought), "rows_out": len(brought)}
    files = {f"file-{night}": "a.jsonl"}
    return Entry(f"night-{night:04d}", files, {"prompt_ids": ids}, counts, continues=continues)


def take(lake: Lake, night: int, prompts: list[str] | None = None) -> None:
    """As ingest does, whose task may have been killed before."""
    entry = entry_of(lake, night, prompts)
    while True:
        ledger = read_ledger(lake, "c")
        if ledger.of(entry.batch) is not None:
            note_taken(lake, "c", ledger)
            return
        check_knows_all(lake, "c", ledger)
        if append(lake, "c", ledger, entry):
            return


def taken(lake: Lake, n_nights: int) -> None:
    for night in range(n_nights):
        take(lake, night)


class Counting(FolderLake):
    """Counts the bytes that are read."""

    n_bytes = 0

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self.n_bytes += len(data)
        return data

    def part(self, path: str, start: int, n_bytes: int) -> bytes:
        data = super().part(path, start, n_bytes)
        self.n_bytes += len(data)
        return data


def runs(lake: FolderLake) -> Iterator[Path]:
    yield from sorted(lake.root.glob("campaigns/c/ingested/*.run"))


def check_all(lake: Lake, n_nights: int) -> None:
    ledger = read_ledger(lake, "c")
    keys = [f"night-{night:04d}" for night in range(n_nights)]
    assert ledger.taken_keys == ledger.live_keys == ledger.keys == keys
    assert [entry.batch for entry in ledger.entries] == keys
    assert [entry.batch for entry in ledger.newest_first()] == keys[::-1]
    assert ledger.n_taken == n_nights and not ledger.given_up and ledger.predecessors == ["old"]
    for night in range(n_nights):
        entry = ledger.of(keys[night])
        assert entry == entry_of(lake, night) and ledger.knows(keys[night])
        assert ledger.brought([*prompts_of(night), "new"]) == dict.fromkeys(
            prompts_of(night), keys[night]
        )
    assert [entry.batch for entry in ledger.some(keys)] == keys
    assert [entry.batch for entry in ledger.some([*keys[-3:], "another"])] == keys[-3:]
    files = {f"file-{night}" for night in range(n_nights)}
    assert ledger.taken([*files, "another"]) == files
    assert ledger.of("another") is None and not ledger.knows("another")
    assert ledger.brought(prompts_of(n_nights)) == {} == ledger.brought([])


def test_a_ledger_on_s3_is_the_same(s3_lake: Lake) -> None:
    taken(s3_lake, 17)
    check_all(s3_lake, 17)


@pytest.mark.parametrize("n_nights", [9, 10, 11, 30, 83])
def test_whatever_lies_in_runs_every_question_is_answered(lake: Lake, n_nights: int) -> None:
    taken(lake, n_nights)
    check_all(lake, n_nights)


def test_runs_are_few_and_a_question_reads_little_of_them(tmp_path: Path) -> None:
    lake = Counting(tmp_path)
    read = {}
    for night in range(200):
        take(lake, night)
        if night in (19, 199):
            lake.n_bytes = 0
            ledger = read_ledger(lake, "c")
            assert not ledger.brought(prompts_of(-1)) and not ledger.taken(["none"])
            check_knows_all(lake, "c", ledger)
            read[night] = lake.n_bytes
    older = read_ledger(lake, "c").older.runs
    assert len(older) <= 6
    assert read[199] < 2 * read[19] < sum(run.n_bytes for run in older) / 4


def test_a_batch_in_a_run_is_given_up_and_taken_back(lake: Lake) -> None:
    taken(lake, 30)
    assert mark(lake, "c", read_ledger(lake, "c"), "night-0003", NOTE)
    ledger = read_ledger(lake, "c")
    assert ledger.dropped("night-0003") == NOTE == ledger.given_up["night-0003"]
    entry = ledger.of("night-0003")
    assert entry is not None and entry.dropped == NOTE
    assert "night-0003" in ledger.keys and "night-0003" not in ledger.live_keys
    assert ledger.brought(prompts_of(3)) == {} and not ledger.taken(["file-3"])
    take(lake, 30, prompts_of(3))
    for night in range(31, 60):
        take(lake, night)
    ledger = read_ledger(lake, "c")
    assert set(ledger.brought(prompts_of(3)).values()) == {"night-0030"}
    assert ledger.given_up == {"night-0003": NOTE}
    assert mark(lake, "c", ledger, "night-0003", None)
    assert set(read_ledger(lake, "c").brought(prompts_of(3)).values()) == {"night-0003"}


def test_one_given_up_before_it_came_into_a_run_stays_so(lake: Lake) -> None:
    taken(lake, 3)
    assert mark(lake, "c", read_ledger(lake, "c"), "night-0001", NOTE)
    for night in range(3, 40):
        take(lake, night)
    ledger = read_ledger(lake, "c")
    assert ledger.given_up == {"night-0001": NOTE} and not ledger.brought(prompts_of(1))
    assert ledger.has_live


def test_the_ledger_of_the_version_before_goes_on(lake: Lake) -> None:
    rows = [entry_of(lake, night).as_dict() for night in range(57)]
    assert lake.create(ledger_path("c"), canonical_json(rows))
    check_all(lake, 57)
    take(lake, 57)
    assert len(read_ledger(lake, "c").newest) <= ledgers.MOST_NEWEST
    check_all(lake, 58)


def test_a_kill_before_any_write_loses_nothing_and_takes_nothing_twice(tmp_path: Path) -> None:
    expected = FolderLake(tmp_path / "undisturbed")
    taken(expected, 31)
    n_killed, at, n_before = 0, 0, -1
    while n_before < n_killed:
        n_before = n_killed
        lake = FolderLake(tmp_path / f"killed-{at}")
        for night in range(0, 31, 10):
            # The batches up to one that seals, the last of which is killed.
            for earlier in range(max(0, night - 9), night):
                take(lake, earlier)
            dying = Dying(lake, LAKE_STEPS, at)
            try:
                take(dying, night)
            except Killed:
                n_killed += 1
                take(lake, night)
        check_all(lake, 31)
        at += 1
    assert n_killed > 10
    last = {path.name: path.read_bytes() for path in runs(expected)}
    assert last.items() <= {path.name: path.read_bytes() for path in runs(lake)}.items()


def test_batches_at_once_take_every_prompt_once(lake: Lake) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda night: take(lake, night), range(40)))
    ledger = read_ledger(lake, "c")
    assert sorted(ledger.taken_keys) == [f"night-{night:04d}" for night in range(40)]
    for night in range(40):
        assert set(ledger.brought(prompts_of(night)).values()) == {f"night-{night:04d}"}


@pytest.mark.parametrize("n_lost", [1, 4, 12])
def test_a_ledger_of_an_earlier_time_is_refused(lake: Lake, n_lost: int) -> None:
    taken(lake, 40)
    before, _ = lake.read_tagged(ledger_path("c"))
    assert before is not None
    for night in range(40, 40 + n_lost):
        take(lake, night)
    _, tag = lake.read_tagged(ledger_path("c"))
    assert lake.swap(ledger_path("c"), before, tag)
    with pytest.raises(Corrupt, match=r"does not know batch night-0040.*earlier time"):
        take(lake, 99)


def test_a_ledger_of_the_time_before_runs_is_refused(lake: Lake) -> None:
    taken(lake, 3)
    before, _ = lake.read_tagged(ledger_path("c"))
    assert before is not None
    for night in range(3, 30):
        take(lake, night)
    lake.create(manifest_path("c", "night-0003", "ingest"), b"{}")
    _, tag = lake.read_tagged(ledger_path("c"))
    assert lake.swap(ledger_path("c"), before, tag)
    with pytest.raises(Corrupt, match=r"does not know batch night-0003"):
        take(lake, 99)


def test_a_run_that_is_gone_or_was_changed_is_noticed_by_whoever_reads_it(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    taken(lake, 41)
    named = {run.path for run in read_ledger(lake, "c").older.runs}
    path = max((lake.root / path for path in named), key=lambda each: each.stat().st_size)
    data = path.read_bytes()

    def ask() -> None:
        ledger = read_ledger(lake, "c")
        brought = {prompt for night in range(41) for prompt in prompts_of(night)}
        assert set(ledger.brought(brought)) == brought
        assert all(ledger.of(f"night-{night:04d}") for night in range(0, 41, 5))
        assert len(ledger.entries) == len(ledger.keys) == 41

    ask()
    for at in range(0, len(data), 511):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(Corrupt, match=path.name):
            ask()
    for content in (b"", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(Corrupt, match=path.name):
            ask()
    path.unlink()
    with pytest.raises(Corrupt, match=path.name):
        ask()


def test_runs_that_were_merged_are_found_and_none_that_is_named(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    taken(lake, 60)
    for stored in unneeded_runs(lake, "c"):
        lake.remove(stored.path)
    assert {path.name for path in runs(lake)} == {
        run.path.rpartition("/")[2] for run in read_ledger(lake, "c").older.runs
    }
    check_all(lake, 60)
