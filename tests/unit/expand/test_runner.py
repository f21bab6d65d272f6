"""A shard can be killed at any write and run again: the lake ends up the same, to the byte."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from winnow.batch import read_artifact
from winnow.errors import Corrupt, Retryable
from winnow.expand.manifests import CallManifest, ShardManifest, shard_path
from winnow.expand.runner import run_shard
from winnow.expand.shard import Shard, plan_shards
from winnow.lake import FolderLake

from .conftest import TinyEngine, prompt_row, tiny_embed

FOLDER = "batches/nightly/day/expand"


class Killed(Exception):
    """Stands for SIGKILL."""


class DyingLake(FolderLake):
    """Dies before its write number `last`, and at every later one."""

    def __init__(self, root, last: int) -> None:
        super().__init__(root)
        self.left = last

    def create(self, path: str, data: bytes) -> bool:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().create(path, data)


def run(prompts, settings, lake, engine=None, events=None, **changes):
    (shard,) = plan_shards(prompts, settings)
    return run_shard(
        shard,
        prompts,
        settings,
        engine or TinyEngine(),
        tiny_embed,
        lake,
        (events if events is not None else []).append,
        campaign="nightly",
        folder=FOLDER,
        clock=lambda: 0.0,
        **changes,
    )


def contents(lake):
    return {p.relative_to(lake.root): p.read_bytes() for p in lake.root.rglob("*") if p.is_file()}


def tables_of(lake, call):
    return {
        name: pq.read_table(io.BytesIO(read_artifact(lake, artifact)))
        for name, artifact in call.outputs.items()
    }


def of_kind(events, kind):
    return [event for event in events if event["event"] == kind]


def longer_names_grow(pools, size):
    """Pools of an even number of responses grow: arbitrary, but a function of the pools."""
    return [len(pool.response_ids) % 2 == 0 for pool in pools]


ADAPTIVE = {"first_round": 2, "pool_size": 8}


def test_a_second_run_generates_nothing_and_changes_nothing(prompts, settings, tmp_path):
    lake, engine, events = FolderLake(tmp_path), TinyEngine(), []
    first = run(prompts, settings, lake)
    before = contents(lake)
    assert run(prompts, settings, lake, engine, events) == first
    assert engine.calls == []
    assert contents(lake) == before
    assert [e["skipped"] for e in of_kind(events, "call")] == [True] * 4


@pytest.mark.parametrize("adaptive", [{}, ADAPTIVE], ids=["fixed", "adaptive"])
def test_killed_before_any_write_and_run_again_gives_the_same_files(
    prompts, settings, tmp_path, adaptive
):
    settings = settings.model_copy(update=adaptive)
    whole, engine = FolderLake(tmp_path / "whole"), TinyEngine()
    run(prompts, settings, whole, engine, grows=longer_names_grow)
    expected = contents(whole)
    writes = 4 * len(engine.calls) + 1  # Three tables and a manifest a call, and the shard's.
    assert len(engine.calls) > (6 if adaptive else 3)
    for last in range(writes):
        root = tmp_path / f"killed-{last}"
        with pytest.raises(Killed):
            run(prompts, settings, DyingLake(root, last), grows=longer_names_grow)
        successor = TinyEngine()
        run(prompts, settings, FolderLake(root), successor, grows=longer_names_grow)
        assert contents(FolderLake(root)) == expected, f"killed before write {last}"
        assert len(successor.calls) == len(engine.calls) - last // 4


def test_a_pool_that_grows_no_more_is_not_asked_again(prompts, settings, tmp_path):
    settings = settings.model_copy(update={**ADAPTIVE, "responses_per_call": 100})
    stopped = prompts[3]["prompt_id"]

    def all_but_one(pools, size):
        return [pool.prompt_id != stopped for pool in pools]

    events = []
    shard = run(prompts, settings, FolderLake(tmp_path), events=events, grows=all_but_one)
    rounds = {}
    for each in shard.calls:
        rounds.setdefault((each.call.first, each.call.last), set()).update(each.call.prompts)
    assert list(rounds) == [(0, 2), (2, 4), (4, 8)]
    assert stopped in rounds[0, 2]
    assert stopped not in rounds[2, 4] | rounds[4, 8]
    assert len(rounds[4, 8]) == 9
    assert [e["pools"] for e in of_kind(events, "round")] == [10, 9, 9]
    assert sum(each.sampled for each in shard.calls) == 9 * 8 + 2


def test_a_refused_prompt_is_refused_once_and_its_pool_never_grows(settings, tmp_path):
    settings = settings.model_copy(update=ADAPTIVE)
    lake = FolderLake(tmp_path)
    shard = run([prompt_row("refuse this"), prompt_row("why")], settings, lake)
    refused = [row for c in shard.calls for row in tables_of(lake, c)["quarantine"].to_pylist()]
    assert [row["reason"] for row in refused] == ["chat_template_refused"]
    assert sum(each.sampled for each in shard.calls) == 8


def test_pools_are_judged_by_all_rounds_so_far(settings, tmp_path):
    settings = settings.model_copy(update=ADAPTIVE)
    seen = []

    def watch(pools, size):
        seen.append((size, [pool.n_sampled for pool in pools], pools[0].vectors_nc.shape[0]))
        return [True] * len(pools)

    run([prompt_row("why is that")], settings, FolderLake(tmp_path), grows=watch)
    assert [(size, sampled) for size, sampled, _ in seen] == [(4, [2]), (8, [4])]
    assert seen[1][2] >= seen[0][2]


def test_an_engine_that_does_not_repeat_itself_still_leaves_matching_tables(
    prompts, settings, tmp_path
):
    with pytest.raises(Killed):
        run(prompts, settings, DyingLake(tmp_path, 2))
    lake = FolderLake(tmp_path)
    manifest = run(prompts, settings, lake, TinyEngine(words="other words each time"))
    for call in manifest.calls:
        tables = tables_of(lake, call)
        assert tables["responses"]["response_id"] == tables["features"]["response_id"]
        assert call.outputs["responses"].n_rows == tables["responses"].num_rows


def test_the_manifests_name_all_tables_and_account_for_every_response(prompts, settings, tmp_path):
    lake = FolderLake(tmp_path)
    manifest = run([*prompts, prompt_row("silent")], settings, lake)
    stored = ShardManifest.from_bytes(lake.read(shard_path(FOLDER, manifest.shard_id)))
    assert stored == manifest
    assert manifest.n_prompts == 11
    for call in manifest.calls:
        assert CallManifest.from_bytes(call.to_bytes()) == call
        kept = sum(tables_of(lake, call)["responses"]["duplicates"].to_pylist())
        assert call.sampled == kept + call.outputs["quarantine"].n_rows


def test_progress_is_reported_after_each_call_and_round(prompts, settings, tmp_path):
    events = []
    manifest = run(prompts, settings, FolderLake(tmp_path), events=events)
    assert sorted(e["tokens"] for e in of_kind(events, "call")) == sorted(
        call.tokens for call in manifest.calls
    )
    (round_,) = of_kind(events, "round")
    assert round_["pools"] == 10
    assert round_["tokens"] == sum(call.tokens for call in manifest.calls)


class Breaking(TinyEngine):
    """Breaks off at its third call."""

    def generate(self, draws):
        if len(self.calls) == 2:
            raise Retryable("the server cannot be reached")
        return super().generate(draws)


def test_what_an_engine_finished_before_it_broke_is_kept(prompts, settings, tmp_path):
    lake = FolderLake(tmp_path)
    with pytest.raises(Retryable):
        run(prompts, settings, lake, Breaking())
    successor = TinyEngine()
    run(prompts, settings, lake, successor)
    assert len(successor.calls) == 2


def test_no_more_than_a_few_calls_wait_to_be_stored(settings, tmp_path):
    """The engine is not asked for the next call while three are not stored yet."""
    settings = settings.model_copy(update={"responses_per_call": 1})
    stored, ahead = [], []

    class Watched(TinyEngine):
        def generate(self, draws):
            ahead.append(len(self.calls) - len(stored))
            return super().generate(draws)

    class Counting(FolderLake):
        def create(self, path, data):
            if path.endswith("manifest.json"):
                stored.append(path)
            return super().create(path, data)

    run([prompt_row(f"why {n}") for n in range(30)], settings, Counting(tmp_path), Watched())
    assert len(stored) == 30
    assert max(ahead) <= 3


def test_a_plan_of_another_batch_is_corrupt(prompts, settings, tmp_path):
    with pytest.raises(Corrupt, match="no-such-prompt"):
        run_shard(
            Shard("s", 0, "tiny-model", (("no-such-prompt",),)),
            prompts,
            settings,
            TinyEngine(),
            tiny_embed,
            FolderLake(tmp_path),
            lambda event: None,
            campaign="nightly",
            folder="f",
        )
