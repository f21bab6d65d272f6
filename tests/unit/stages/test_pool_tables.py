"""Calls are joined into pools without losing a draw: every text once, copies as counts."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.campaign import Expand, Sampler
from winnow.expand.engine import GeneratedResponse, in_turn
from winnow.expand.runner import run_shard
from winnow.expand.shard import plan_shards
from winnow.lake import FolderLake
from winnow.stages.expand.pool_tables import merge_calls

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
    part = merge_calls(lake, [call for manifest in done for call in manifest.calls])
    return part, part.pools, {"responses": part.rows, "quarantine": part.quarantine.to_pylist()}


def test_copies_and_near_copies_become_counts(tmp_path):
    script = ["Rain.", "rain!", " RAIN ", "Snow.", "Rain.", ""]
    tables, (pool,), read = joined(tmp_path, [prompt_row("q")], settings_of(), Reciting(script))
    said = {r["message"]: (r["duplicates"], r["near_duplicates"]) for r in read["responses"]}
    assert said == {"Rain.": (2, 2), "Snow.": (1, 0)}
    assert [row["message"] for row in pool.drawn] == ["Rain.", "rain!", "RAIN", "Snow."]
    assert [row["reason"] for row in read["quarantine"]] == ["empty_response"]
    assert (tables.sampled, tables.in_pools, tables.near_duplicates) == (6, 5, 2)
    assert tables.quarantine.num_rows == 1


def test_programs_that_differ_in_indentation_are_two_responses(tmp_path):
    script = ["\n  if x:\n    a()\n    b()", "  if x:\n    a()\n  b()", " Rain.", "Ra\u00adin",
              "It is 5!", "\u200b"]  # fmt: skip
    _, _, read = joined(tmp_path, [prompt_row("q")], settings_of(), Reciting(script))
    assert {r["message"]: r["near_duplicates"] for r in read["responses"]} == {
        "  if x:\n    a()\n    b()": 0, "  if x:\n    a()\n  b()": 0, "Rain.": 1, "It is 5!": 0,
    }  # fmt: skip
    assert [row["reason"] for row in read["quarantine"]] == ["empty_response"]


def test_features_follow_their_responses(tmp_path, prompts):
    _, pools, read = joined(tmp_path, prompts, settings_of(responses_per_call=12), TinyEngine())
    assert [row["response_id"] for pool in pools for row in pool.rows] == [
        row["response_id"] for row in read["responses"]
    ]
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
    assert tables.sampled + tables.refused == tables.in_pools + tables.quarantine.num_rows
    assert tables.quarantine.num_rows == len(read["quarantine"]) == 7
    assert len(pools) == 3


def test_the_same_calls_give_the_same_rows_in_order_of_prompts_and_ids(tmp_path, prompts):
    made = []
    for name in ("one", "two"):
        settings = settings_of(responses_per_call=12)
        part, pools, _ = joined(tmp_path / name, prompts, settings, TinyEngine())
        made.append((part.responses, [pool.vectors_nc.tobytes() for pool in pools]))
        assert [pool.prompt_id for pool in pools] == sorted(row["prompt_id"] for row in prompts)
        for pool in pools:
            ids = [row["response_id"] for row in pool.rows]
            assert ids == sorted(ids)
    assert made[0] == made[1]
