"""Calls are joined into pools without losing a draw: every text once, copies as counts."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from winnow.campaign import Expand, Sampler
from winnow.expand.engine import GeneratedResponse, in_turn
from winnow.expand.runner import run_shard
from winnow.expand.shard import plan_shards
from winnow.lake import FolderLake
from winnow.stages.expand.pool_tables import PoolTables

from ..expand.conftest import TinyEngine, prompt_row, tiny_embed


class Reciting(TinyEngine):
    """Says the lines of a script, one a response, whatever is asked."""

    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self.script = script

    def generate(self, draws):
        lines = iter(self.script)
        return [
            [GeneratedResponse(next(lines), "stop", 1, -1.0, d.seed + k) for k in range(d.n)]
            for d in draws
        ]

    def generate_each(self, calls):
        return in_turn(self.generate, calls)


def settings_of(**changes) -> Expand:
    return Expand(**{"model": "m", "max_tokens": 3, "max_model_len": 99, "pool_size": 6, **changes})


def joined(tmp_path, prompts, settings, engine):
    lake = FolderLake(tmp_path)
    shards = plan_shards(prompts, settings)
    done = [
        run_shard(s, prompts, settings, engine, tiny_embed, lake, lambda _: None,
                  campaign="c", folder="expand")
        for s in shards
    ]  # fmt: skip
    by_slice = {}
    for shard, manifest in zip(shards, done, strict=True):
        by_slice.setdefault(shard.slice_, []).extend(manifest.calls)
    tables = PoolTables()
    pools = list(tables.add(lake, by_slice.values()))
    read = {
        name: pq.read_table(io.BytesIO(data)).to_pylist()
        for name, (data, _) in tables.finish().items()
    }
    return tables, pools, read


def test_copies_and_near_copies_become_counts(tmp_path):
    script = ["Rain.", "rain!", " RAIN ", "Snow.", "Rain.", ""]
    tables, (pool,), read = joined(tmp_path, [prompt_row("q")], settings_of(), Reciting(script))
    said = {r["message"]: (r["duplicates"], r["near_duplicates"]) for r in read["responses"]}
    assert said == {"Rain.": (2, 2), "Snow.": (1, 0)}
    assert [row["message"] for row in pool.drawn] == ["Rain.", "rain!", "RAIN", "Snow."]
    assert [row["reason"] for row in read["quarantine"]] == ["empty_response"]
    assert (tables.sampled, tables.in_pools, tables.near_duplicates, tables.quarantined) == (
        6, 5, 2, 1,
    )  # fmt: skip


def test_programs_that_differ_in_indentation_are_two_responses(tmp_path):
    script = ["\n  if x:\n    a()\n    b()", "  if x:\n    a()\n  b()", " Rain.", "Ra\u00adin",
              "It is 5!", "\u200b"]  # fmt: skip
    _, _, read = joined(tmp_path, [prompt_row("q")], settings_of(), Reciting(script))
    assert [r["message"] for r in read["responses"]] == [
        "  if x:\n    a()\n    b()", "  if x:\n    a()\n  b()", "Rain.", "It is 5!",
    ]  # fmt: skip
    assert [r["near_duplicates"] for r in read["responses"]] == [0, 0, 1, 0]
    assert [row["reason"] for row in read["quarantine"]] == ["empty_response"]


def test_features_follow_their_responses(tmp_path, prompts):
    _, pools, read = joined(tmp_path, prompts, settings_of(responses_per_call=12), TinyEngine())
    ids = [row["response_id"] for row in read["responses"]]
    assert [row["response_id"] for row in read["features"]] == ids
    assert len({row["feature_version"] for row in read["features"]}) == 1
    for pool in pools:
        kept = pool.vectors_nc[pool.kept]
        texts = [row["message"] for row in pool.rows]
        expected = tiny_embed(None, texts).astype(np.float16)
        assert np.array_equal(kept[:, : expected.shape[1]], expected)


@pytest.fixture
def prompts():
    return [prompt_row(f"question {n}") for n in range(7)]


def test_rounds_and_models_meet_in_one_pool(tmp_path, prompts):
    mixed = settings_of(
        pool_size=12,
        first_round=3,
        samplers=[Sampler(), Sampler(model="other")],
        tokens_per_shard=150,
    )
    tables, pools, read = joined(tmp_path, prompts, mixed, TinyEngine("rain sun"))
    assert len(pools) == len({pool.prompt_id for pool in pools}) == 7
    ids = [row["response_id"] for row in read["responses"]]
    assert len(ids) == len(set(ids))
    assert tables.sampled == tables.in_pools == 7 * 12
    assert {row["model"] for row in read["responses"]} <= {"m", "other"}


def test_every_draw_is_accounted_for(tmp_path):
    asked = [prompt_row(t) for t in ("why", "silent", "refuse this", "short one", "how so")]
    tables, pools, read = joined(tmp_path, asked, settings_of(), TinyEngine())
    assert tables.sampled == 4 * 6
    assert tables.refused == 1
    assert tables.sampled + tables.refused == tables.in_pools + tables.quarantined
    assert tables.quarantined == len(read["quarantine"]) == 7
    assert len(pools) == 3


def test_the_same_calls_give_the_same_bytes(tmp_path, prompts):
    made = []
    for name in ("one", "two"):
        settings = settings_of(responses_per_call=12)
        lake = FolderLake(tmp_path / name)
        (shard,) = plan_shards(prompts, settings)
        done = run_shard(shard, prompts, settings, TinyEngine(), tiny_embed, lake, lambda _: None,
                         campaign="c", folder="expand")  # fmt: skip
        tables = PoolTables()
        list(tables.add(lake, [done.calls]))
        made.append(tables.finish())
    assert made[0] == made[1]
