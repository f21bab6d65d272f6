"""The plan holds every prompt once, in shards of like work, whatever order the prompts came in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from winnow.campaign import Expand, Sampler
from winnow.expand import shard
from winnow.expand.samplers import samplers_of, shares
from winnow.expand.shard import calls_of, part_of_round, plan_shards, round_ends

POOL, TOKENS = 4, 10


def row(number: int, n_chars: int) -> dict:
    return {"prompt_id": f"{number:04x}", "messages": [{"role": "user", "content": "x" * n_chars}]}


def planned_for(**changes) -> Expand:
    return Expand(**{"model": "m", "pool_size": POOL, "max_tokens": TOKENS, **changes})


def tokens_of(prompt: dict) -> int:
    return len(prompt["messages"][0]["content"]) // 4 + POOL * TOKENS


prompts_of = st.lists(st.integers(0, 300), max_size=60).map(
    lambda lengths: [row(i, n) for i, n in enumerate(lengths)]
)
sizes = st.tuples(st.integers(1, 2000), st.integers(1, 60)).map(
    lambda s: planned_for(tokens_per_shard=s[0], responses_per_call=s[1])
)


@given(prompts_of, sizes)
def test_every_prompt_is_planned_exactly_once(prompts, settings):
    planned = [p for s in plan_shards(prompts, settings) for group in s.groups for p in group]
    assert sorted(planned) == sorted(p["prompt_id"] for p in prompts)


@given(prompts_of, sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_prompts_does_not_matter(prompts, settings, chance):
    shuffled = chance.sample(prompts, len(prompts))
    assert plan_shards(shuffled, settings) == plan_shards(prompts, settings)


@given(prompts_of, sizes)
def test_shards_have_about_as_much_to_do_as_they_may(prompts, settings):
    of = {p["prompt_id"]: tokens_of(p) for p in prompts}
    shards = plan_shards(prompts, settings)
    groups = [sum(of[p] for p in group) for shard in shards for group in shard.groups]
    busy = [sum(of[p] for group in shard.groups for p in group) for shard in shards]
    # Least-loaded first: no two shards differ by more than the largest group.
    assert not busy or max(busy) - min(busy) <= max(groups)
    assert all(tokens <= settings.tokens_per_shard + max(groups) for tokens in busy)


@given(prompts_of, sizes)
def test_a_group_is_one_call_of_neighbours_by_length(prompts, settings):
    of = {p["prompt_id"]: tokens_of(p) for p in prompts}
    groups = [group for s in plan_shards(prompts, settings) for group in s.groups]
    for group in groups:
        assert len(list(calls_of(group, 0, POOL, "m", settings))) == 1
        assert len(group) == 1 or sum(of[p] for p in group) <= settings.tokens_per_shard
    spans = sorted((min(of[p] for p in g), max(of[p] for p in g)) for g in groups)
    assert all(high <= low for (_, high), (low, _) in pairwise(spans))


def test_a_server_is_asked_prompt_by_prompt():
    settings = planned_for(engine="server")
    (shard,) = plan_shards([row(i, 9) for i in range(5)], settings)
    assert [len(group) for group in shard.groups] == [1] * 5


def test_each_model_of_a_mixture_has_a_shard_of_the_same_prompts():
    settings = planned_for(samplers=[Sampler(), Sampler(model="other")], tokens_per_shard=90)
    shards = plan_shards([row(i, 9) for i in range(4)], settings)
    assert [(s.slice_, s.model) for s in shards] == [
        (0, "m"), (0, "other"), (1, "m"), (1, "other"),
    ]  # fmt: skip
    assert shards[0].groups == shards[1].groups != shards[2].groups
    assert len({s.shard_id for s in shards}) == 4


@given(st.integers(0, 200), st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_every_beginning_of_a_pool_holds_each_sampler_in_its_share(n, weights):
    samplers = samplers_of(planned_for(samplers=[Sampler(weight=w) for w in weights]))
    drawn = shares(samplers, n)
    assert sum(drawn) == n
    for count, later, weight in zip(drawn, shares(samplers, n + 1), weights, strict=True):
        assert count <= later <= count + 1
        assert count <= n * weight / sum(weights) + 1


def test_rounds_double_up_to_the_pool():
    assert round_ends(planned_for()) == [POOL]
    assert round_ends(planned_for(pool_size=50, first_round=8)) == [8, 16, 32, 50]
    assert round_ends(planned_for(pool_size=8, first_round=8)) == [8]


def test_a_round_of_a_model_without_a_part_in_it_has_no_call():
    settings = planned_for(samplers=[Sampler(weight=9.0), Sampler(model="rare")], pool_size=10)
    assert part_of_round(0, 2, "rare", settings) == 0
    assert list(calls_of(["p"], 0, 2, "rare", settings)) == []
    assert part_of_round(0, 10, "rare", settings) == 1


def test_no_prompts_no_shards():
    assert plan_shards([], planned_for()) == []


def test_the_shard_id_follows_its_content():
    settings = planned_for(tokens_per_shard=100, responses_per_call=2 * POOL)
    before = plan_shards([row(1, 5), row(2, 6), row(3, 70), row(4, 80)], settings)
    after = plan_shards([row(1, 5), row(2, 6), row(3, 70), row(5, 80)], settings)
    changed = {s.shard_id for s in before} ^ {s.shard_id for s in after}
    assert len(before) == len(after) == 2
    assert len(changed) == 2


def test_a_night_of_any_size_is_mapped_over_no_more_than_airflow_maps(monkeypatch) -> None:
    monkeypatch.setattr(shard, "MOST_SHARDS", 10)
    monkeypatch.setattr(shard, "PART_RESPONSES", 40)
    settings = planned_for(pool_size=4, tokens_per_shard=1, responses_per_call=4)
    prompts = [row(n, 5) for n in range(35)]
    shards = plan_shards(prompts, settings)
    assert len({each.part for each in shards}) == 4
    assert len(shards) == 8
    asked = [prompt for each in shards for group in each.groups for prompt in group]
    assert sorted(asked) == sorted(each["prompt_id"] for each in prompts)
