"""A group loses nothing that was sampled and says why a prompt has no responses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from winnow.errors import Fatal
from winnow.expand.engine import SeededPrompt
from winnow.expand.features import feature_vectors
from winnow.expand.groups import generate_group, group_id, sampling_of
from winnow.ids import response_id, seed_from
from winnow.records import FEATURES, QUARANTINE, RESPONSES

from .conftest import TinyEngine, prompt_row, tiny_embed


def pools_of(prompts, settings, engine=None):
    return generate_group(prompts, "nightly", settings, engine or TinyEngine(), tiny_embed)


def seed_of(prompt, settings):
    return seed_from("expand", "nightly", settings.seed, prompt)


def test_tables_have_the_schemas_of_the_lake(prompts, settings):
    pools = pools_of(prompts, settings)
    assert pools.responses.schema == RESPONSES
    assert pools.features.schema == FEATURES
    assert pools.quarantine.schema == QUARANTINE


def test_sampled_is_the_sum_of_duplicates_and_quarantined(prompts, settings):
    pools = pools_of([*prompts, prompt_row("silent one")], settings)
    assert pools.sampled == 11 * settings.pool_size
    kept = sum(pools.responses["duplicates"].to_pylist())
    assert kept == 10 * settings.pool_size
    assert pools.quarantine["reason"].to_pylist() == ["empty_response"] * settings.pool_size


def test_equal_texts_are_one_row_that_counts_them(prompts, settings):
    asked = [
        SeededPrompt(row["messages"], None, seed_of(row["prompt_id"], settings)) for row in prompts
    ]
    sampled: Counter[tuple[str, str]] = Counter()
    generated = TinyEngine().generate(asked, sampling_of(settings))
    for row, pool in zip(prompts, generated, strict=True):
        sampled.update((row["prompt_id"], response.text.strip()) for response in pool)
    rows = pools_of(prompts, settings).responses.to_pylist()
    assert {(r["prompt_id"], r["message"]): r["duplicates"] for r in rows} == sampled
    assert max(sampled.values()) > 1


def test_a_merged_row_keeps_the_first_response(settings):
    pools = pools_of([prompt_row("say it")], settings, TinyEngine(words="same"))
    first = seed_of(prompt_row("say it")["prompt_id"], settings)
    seeds = pools.responses["seed"].to_pylist()
    assert seeds[0] == first
    assert all(first <= seed < first + settings.pool_size for seed in seeds)


def test_response_ids_follow_prompt_and_text(prompts, settings):
    for row in pools_of(prompts, settings).responses.to_pylist():
        assert row["response_id"] == response_id(row["prompt_id"], row["message"])


def test_each_response_has_its_own_features(settings):
    asked = {p["prompt_id"]: p for p in (prompt_row("say rain"), prompt_row("say sun sun"))}
    pools = pools_of(asked.values(), settings, TinyEngine(words="rain sun"))
    assert pools.features["response_id"] == pools.responses["response_id"]
    rows = pools.responses.to_pylist()
    texts = [asked[row["prompt_id"]]["messages"][0]["content"] for row in rows]
    expected = feature_vectors(texts, [row["message"] for row in rows], tiny_embed)
    vectors = np.array(pools.features["vector"].to_pylist(), np.float16)
    assert np.array_equal(vectors, expected)


def test_a_prompt_that_does_not_fit_is_quarantined_with_the_figures(settings):
    fits, too_long = prompt_row("w " * 30), prompt_row("w " * 31, line=7)
    pools = pools_of([fits, too_long], settings)
    (bad,) = pools.quarantine.to_pylist()
    assert set(pools.responses["prompt_id"].to_pylist()) == {fits["prompt_id"]}
    assert (bad["reason"], bad["record_id"]) == ("prompt_too_long", too_long["prompt_id"])
    assert (bad["file"], bad["line"]) == ("prompts.jsonl", 7)
    assert "31 tokens" in bad["detail"]
    assert "30 fit" in bad["detail"]


def test_a_prompt_that_the_chat_template_refuses_is_quarantined(settings):
    pools = pools_of([prompt_row("please refuse")], settings)
    (bad,) = pools.quarantine.to_pylist()
    assert bad["reason"] == "chat_template_refused"
    assert "roles must alternate" in bad["detail"]
    assert pools.responses.num_rows == pools.features.num_rows == pools.sampled == 0


def test_a_temperature_of_zero_is_fatal(prompts, settings):
    with pytest.raises(Fatal, match="temperature"):
        pools_of(prompts, settings.model_copy(update={"temperature": 0.0}))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model": "other"},
        {"pool_size": 7},
        {"max_tokens": 3},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"max_model_len": 33},
        {"embedding_model": "other"},
    ],
)
def test_the_group_id_changes_with_whatever_changes_the_responses(settings, change):
    changed = settings.model_copy(update=change)
    before = group_id(["p", "q"], "nightly", settings, "vllm")
    assert group_id(["p", "q"], "nightly", changed, "vllm") != before
    assert group_id(["p", "q"], "nightly", settings, "vllm") == before


def test_the_group_id_depends_on_prompts_campaign_and_engine(settings):
    ids = {
        group_id(["p", "q"], "nightly", settings, "vllm"),
        group_id(["p"], "nightly", settings, "vllm"),
        group_id(["p", "q"], "other", settings, "vllm"),
        group_id(["p", "q"], "nightly", settings, "transformers"),
    }
    assert len(ids) == 4
