"""A call loses nothing that was sampled and says why a prompt has no responses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from winnow.campaign import Sampler
from winnow.errors import Fatal
from winnow.expand.calls import call_id, call_tables, draws_of
from winnow.expand.features import feature_vectors
from winnow.expand.samplers import samplers_of
from winnow.expand.shard import Call
from winnow.ids import response_id
from winnow.records import FEATURES, QUARANTINE, RESPONSES

from .conftest import TinyEngine, prompt_row, tiny_embed


def whole(prompts, settings) -> Call:
    return Call(tuple(p["prompt_id"] for p in prompts), 0, settings.pool_size)


def asked_of(prompts, settings, call=None, model=None):
    rows = {p["prompt_id"]: p for p in prompts}
    call = call or whole(prompts, settings)
    return draws_of(call, rows, model or settings.model, "nightly", settings)


def tables_of(prompts, settings, engine=None):
    asked = asked_of(prompts, settings)
    drawn = (engine or TinyEngine()).generate([each.draw for each in asked])
    return call_tables(asked, drawn, settings, tiny_embed)


def test_tables_have_the_schemas_of_the_lake(prompts, settings):
    tables = tables_of(prompts, settings)
    assert tables.responses.schema == RESPONSES
    assert tables.features.schema == FEATURES
    assert tables.quarantine.schema == QUARANTINE


def test_sampled_is_the_sum_of_duplicates_and_quarantined(prompts, settings):
    tables = tables_of([*prompts, prompt_row("silent one")], settings)
    assert tables.sampled == 11 * settings.pool_size
    assert sum(tables.responses["duplicates"].to_pylist()) == 10 * settings.pool_size
    assert tables.quarantine["reason"].to_pylist() == ["empty_response"] * settings.pool_size


def test_a_response_without_a_score_goes_to_quarantine_and_its_call_goes_on(prompts, settings):
    asked = asked_of(prompts, settings)
    drawn = TinyEngine().generate([each.draw for each in asked])
    whole_rows = tables_of(prompts, settings).responses.to_pylist()
    unread = max(whole_rows, key=lambda row: row["duplicates"])

    def embed(rows, texts):
        wrong = [np.nan if t == unread["message"] else 1.0 for t in texts]
        scores = np.array(wrong, np.float32)[:, None]
        return {"embedding": tiny_embed(rows, texts), "score:r": scores}

    tables = call_tables(asked, drawn, settings, embed)
    rows, refused = tables.responses.to_pylist(), tables.quarantine.to_pylist()
    assert unread["message"] not in {row["message"] for row in rows}
    assert len(tables.features) == len(rows)
    assert {row["reason"] for row in refused} == {"unread_response"}
    assert "score:r gives values that are no numbers" in refused[0]["detail"]
    assert sum(row["duplicates"] for row in rows) + len(refused) == tables.sampled


def test_equal_texts_are_one_row_that_counts_them(prompts, settings):
    asked = asked_of(prompts, settings)
    sampled: Counter[tuple[str, str]] = Counter()
    drawn = TinyEngine().generate([each.draw for each in asked])
    for each, pool in zip(asked, drawn, strict=True):
        sampled.update((each.prompt["prompt_id"], response.text.strip()) for response in pool)
    rows = tables_of(prompts, settings).responses.to_pylist()
    assert {(r["prompt_id"], r["message"]): r["duplicates"] for r in rows} == sampled
    assert max(sampled.values()) > 1


def test_a_merged_row_keeps_the_first_response(settings):
    prompt = prompt_row("say it")
    tables = tables_of([prompt], settings, TinyEngine(words="same"))
    first = samplers_of(settings)[0].seed("nightly", settings, prompt["prompt_id"])
    seeds = tables.responses["seed"].to_pylist()
    assert seeds[0] == first
    assert all(first <= seed < first + settings.pool_size for seed in seeds)


def test_response_ids_follow_prompt_and_text(prompts, settings):
    for row in tables_of(prompts, settings).responses.to_pylist():
        assert row["response_id"] == response_id(row["prompt_id"], row["message"])


def test_each_response_has_its_own_features(settings):
    asked = {p["prompt_id"]: p for p in (prompt_row("say rain"), prompt_row("say sun sun"))}
    tables = tables_of(asked.values(), settings, TinyEngine(words="rain sun"))
    assert tables.features["response_id"] == tables.responses["response_id"]
    rows = tables.responses.to_pylist()
    prompts = [asked[row["prompt_id"]] for row in rows]
    expected = feature_vectors(prompts, [row["message"] for row in rows], tiny_embed).vectors_nc
    vectors = np.array(tables.features["vector"].to_pylist(), np.float16)
    assert np.array_equal(vectors, expected)


def test_a_refused_prompt_is_quarantined_where_it_came_from(settings):
    fits, too_long = prompt_row("w " * 30), prompt_row("w " * 31, line=7)
    tables = tables_of([fits, too_long, prompt_row("please refuse")], settings)
    assert set(tables.responses["prompt_id"].to_pylist()) == {fits["prompt_id"]}
    refused = {row["reason"]: row for row in tables.quarantine.to_pylist()}
    assert set(refused) == {"prompt_too_long", "chat_template_refused"}
    bad = refused["prompt_too_long"]
    assert bad["record_id"] == too_long["prompt_id"]
    assert (bad["file"], bad["line"]) == ("prompts.jsonl", 7)
    assert "31 tokens" in bad["detail"]


def test_nothing_drawn_is_empty_tables(settings):
    tables = tables_of([prompt_row("please refuse")], settings)
    assert tables.responses.num_rows == tables.features.num_rows == tables.sampled == 0


def test_a_temperature_of_zero_is_fatal(prompts, settings):
    with pytest.raises(Fatal, match="temperature"):
        tables_of(prompts, settings.model_copy(update={"temperature": 0.0}))


MIXED = [
    Sampler(weight=2.0),
    Sampler(temperature=0.5, system_prompt="Be brief."),
    Sampler(model="other"),
]


def test_later_draws_go_on_where_earlier_ones_ended(prompts, settings):
    mixed = settings.model_copy(update={"samplers": MIXED, "pool_size": 12})
    ids = tuple(p["prompt_id"] for p in prompts)

    def seeds(call):
        return [
            (each.prompt["prompt_id"], each.sampler.place, each.draw.seed + k)
            for model in ("tiny-model", "other")
            for each in asked_of(prompts, mixed, call, model)
            for k in range(each.draw.n)
        ]

    at_once = seeds(Call(ids, 0, 12))
    in_rounds = seeds(Call(ids, 0, 3)) + seeds(Call(ids, 3, 7)) + seeds(Call(ids, 7, 12))
    assert sorted(in_rounds) == sorted(at_once)
    assert len(set(at_once)) == 12 * len(prompts)
    assert Counter(place for _, place, _ in at_once) == {0: 60, 1: 30, 2: 30}


def test_a_sampler_has_its_temperature_and_system_prompt(settings):
    chat = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "why"}]
    row = {**prompt_row("why"), "messages": chat}
    mixed = settings.model_copy(update={"samplers": MIXED})
    plain, brief = asked_of([row], mixed)
    assert plain.draw.messages == chat
    assert [m["content"] for m in brief.draw.messages] == ["Be brief.", "why"]
    assert (plain.draw.sampling.temperature, brief.draw.sampling.temperature) == (1.0, 0.5)
    assert "Be brief." in brief.sampler.as_json
    (other,) = asked_of([row], mixed, model="other")
    assert other.sampler.model == "other"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model": "other"},
        {"max_tokens": 3},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"stop": ["\n"]},
        {"samplers": MIXED},
        {"max_model_len": 33},
        {"embedding_model": "other"},
        {"features": ["policy"]},
        {"engine_args": {"dtype": "float32"}},
        {"lora": "adapter"},
    ],
)
def test_the_id_changes_with_whatever_changes_the_responses(settings, change):
    call = Call(("p", "q"), 0, 4)
    changed = settings.model_copy(update=change)
    before = call_id(call, settings.model, "nightly", settings, "vllm")
    assert call_id(call, changed.model, "nightly", changed, "vllm") != before
    assert call_id(call, settings.model, "nightly", settings, "vllm") == before


def test_the_id_depends_on_call_campaign_and_engine(settings):
    ids = {
        call_id(Call(("p", "q"), 0, 4), "m", "nightly", settings, "vllm"),
        call_id(Call(("p",), 0, 4), "m", "nightly", settings, "vllm"),
        call_id(Call(("p", "q"), 0, 5), "m", "nightly", settings, "vllm"),
        call_id(Call(("p", "q"), 4, 5), "m", "nightly", settings, "vllm"),
        call_id(Call(("p", "q"), 0, 4), "m", "other", settings, "vllm"),
        call_id(Call(("p", "q"), 0, 4), "n", "nightly", settings, "vllm"),
        call_id(Call(("p", "q"), 0, 4), "m", "nightly", settings, "server"),
    }
    assert len(ids) == 7
