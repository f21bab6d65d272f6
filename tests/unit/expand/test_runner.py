"""A shard can be killed at any write and run again: the lake ends up the same, to the byte."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from winnow.batch import read_artifact
from winnow.errors import Corrupt
from winnow.expand.manifests import GroupManifest, ShardManifest, shard_path
from winnow.expand.runner import run_shard
from winnow.expand.shard import Shard, plan_shards
from winnow.lake import FolderLake

from .conftest import TinyEngine, prompt_row, tiny_embed


class Killed(Exception):
    """Stands for SIGKILL."""


class DyingLake(FolderLake):
    """Dies before its write number `last`."""

    def __init__(self, root, last: int) -> None:
        super().__init__(root)
        self.left = last

    def create(self, path: str, data: bytes) -> bool:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().create(path, data)


def run(prompts, settings, lake, engine=None, events=None):
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
        folder="batches/nightly/day/expand",
        clock=lambda: 0.0,
    )


def contents(lake):
    return {p.relative_to(lake.root): p.read_bytes() for p in lake.root.rglob("*") if p.is_file()}


def test_a_second_run_generates_nothing_and_changes_nothing(prompts, settings, tmp_path):
    lake, engine, events = FolderLake(tmp_path), TinyEngine(), []
    first = run(prompts, settings, lake)
    before = contents(lake)
    assert run(prompts, settings, lake, engine, events) == first
    assert engine.calls == []
    assert contents(lake) == before
    assert [e["skipped"] for e in events] == [True] * 4


# Four groups of three tables and a manifest each, then the shard's manifest: 17 writes.
@pytest.mark.parametrize("writes", range(17))
def test_killed_before_any_write_and_run_again_gives_the_same_files(
    prompts, settings, tmp_path, writes
):
    whole = FolderLake(tmp_path / "whole")
    run(prompts, settings, whole)
    with pytest.raises(Killed):
        run(prompts, settings, DyingLake(tmp_path / "killed", writes))
    killed, engine = FolderLake(tmp_path / "killed"), TinyEngine()
    run(prompts, settings, killed, engine)
    assert contents(killed) == contents(whole)
    assert len(engine.calls) == 4 - writes // 4


def test_an_engine_that_does_not_repeat_itself_still_leaves_matching_tables(
    prompts, settings, tmp_path
):
    with pytest.raises(Killed):
        run(prompts, settings, DyingLake(tmp_path, 2))
    lake = FolderLake(tmp_path)
    manifest = run(prompts, settings, lake, TinyEngine(words="other words each time"))
    for group in manifest.groups:
        tables = {
            name: pq.read_table(io.BytesIO(read_artifact(lake, artifact)))
            for name, artifact in group.outputs.items()
        }
        assert tables["responses"]["response_id"] == tables["features"]["response_id"]
        assert group.outputs["responses"].n_rows == tables["responses"].num_rows


def test_the_manifests_name_all_tables_and_account_for_every_response(prompts, settings, tmp_path):
    lake = FolderLake(tmp_path)
    manifest = run([*prompts, prompt_row("silent")], settings, lake)
    stored = ShardManifest.from_bytes(
        lake.read(shard_path("batches/nightly/day/expand", manifest.shard_id))
    )
    assert stored == manifest
    assert sum(group.prompts for group in manifest.groups) == 11
    for group in manifest.groups:
        assert GroupManifest.from_bytes(group.to_bytes()) == group
        rows = pq.read_table(io.BytesIO(read_artifact(lake, group.outputs["responses"])))
        kept = sum(rows["duplicates"].to_pylist())
        assert group.sampled == kept + group.outputs["quarantine"].n_rows


def test_progress_is_reported_after_each_group(prompts, settings, tmp_path):
    events = []
    manifest = run(prompts, settings, FolderLake(tmp_path), events=events)
    assert [(e["event"], e["done"], e["of"]) for e in events] == [
        ("group", k, 4) for k in (1, 2, 3, 4)
    ]
    assert [e["tokens"] for e in events] == [group.tokens for group in manifest.groups]


def test_a_plan_of_another_batch_is_corrupt(prompts, settings, tmp_path):
    with pytest.raises(Corrupt, match="no-such-prompt"):
        run_shard(
            Shard("s", (("no-such-prompt",),)),
            prompts,
            settings,
            TinyEngine(),
            tiny_embed,
            FolderLake(tmp_path),
            lambda event: None,
            campaign="nightly",
            folder="f",
        )


_SLOW_TO_END = """
import atexit, sys, time
from winnow.expand.runner import main
atexit.register(time.sleep, 0.5)
sys.exit(main())
"""


def test_a_wrong_spec_ends_with_one_fatal_event_and_status_1():
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_TO_END],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        process.stdin.write(b'{"lake": 3}\n')
        process.stdin.flush()
        (event,) = [json.loads(line) for line in process.stdout]
        # Leaving this block closes stdin, which must not touch a process on its way out.
    assert process.returncode == 1
    assert (event["event"], event["kind"]) == ("error", "fatal")
    assert "folder" in event["message"]


_BUSY = """
import subprocess, sys, time
from winnow.expand.runner import die_with_caller
die_with_caller(open(0, "rb", buffering=0))
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(sleep, stdin=subprocess.DEVNULL)
print("ready", flush=True)
time.sleep(60)
"""


def test_the_process_and_its_children_die_when_stdin_closes():
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        # The child holds stdout open too, so its end means that both are gone.
        process.communicate(timeout=20)
    assert process.returncode == -9
