"""The plan holds every prompt once, in shards of like size, whatever order the prompts came in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from winnow.campaign import Expand
from winnow.expand.shard import plan_shards


def row(number: int, n_chars: int) -> dict:
    return {"prompt_id": f"{number:04x}", "messages": [{"role": "user", "content": "x" * n_chars}]}


prompts_of = st.lists(st.integers(0, 300), max_size=60).map(
    lambda lengths: [row(i, n) for i, n in enumerate(lengths)]
)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(
    lambda s: Expand(model="m", prompts_per_shard=s[0], prompts_per_group=s[1])
)


def lengths_of(prompts):
    return {p["prompt_id"]: len(p["messages"][0]["content"]) for p in prompts}


@given(prompts_of, sizes)
def test_every_prompt_is_planned_exactly_once(prompts, settings):
    planned = [p for s in plan_shards(prompts, settings) for group in s.groups for p in group]
    assert sorted(planned) == sorted(p["prompt_id"] for p in prompts)


@given(prompts_of, sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_prompts_does_not_matter(prompts, settings, chance):
    shuffled = chance.sample(prompts, len(prompts))
    assert plan_shards(shuffled, settings) == plan_shards(prompts, settings)


@given(prompts_of, sizes)
def test_no_shard_and_no_group_is_larger_than_the_campaign_allows(prompts, settings):
    for shard in plan_shards(prompts, settings):
        assert 0 < sum(len(group) for group in shard.groups) <= settings.prompts_per_shard
        assert all(0 < len(group) <= settings.prompts_per_group for group in shard.groups)


@given(prompts_of, sizes)
def test_shards_differ_by_one_group_at_most(prompts, settings):
    counts = [len(shard.groups) for shard in plan_shards(prompts, settings)]
    assert not counts or max(counts) - min(counts) <= 1


@given(prompts_of, sizes)
def test_groups_do_not_overlap_in_length(prompts, settings):
    lengths = lengths_of(prompts)
    groups = [[lengths[p] for p in g] for s in plan_shards(prompts, settings) for g in s.groups]
    spans = sorted((min(group), max(group)) for group in groups)
    assert all(high <= low for (_, high), (low, _) in pairwise(spans))


def test_long_prompts_are_spread_over_the_shards():
    settings = Expand(model="m", prompts_per_shard=4, prompts_per_group=1)
    prompts = [row(i, 10 * i) for i in range(16)]
    lengths = lengths_of(prompts)
    sums = [sum(lengths[p] for (p,) in shard.groups) for shard in plan_shards(prompts, settings)]
    assert len(sums) == 4
    assert max(sums) == min(sums)


def test_no_prompts_no_shards():
    assert plan_shards([], Expand(model="m")) == []


def test_the_shard_id_follows_its_content():
    settings = Expand(model="m", prompts_per_shard=2, prompts_per_group=2)
    before = plan_shards([row(1, 5), row(2, 6), row(3, 70), row(4, 80)], settings)
    after = plan_shards([row(1, 5), row(2, 6), row(3, 70), row(5, 80)], settings)
    assert before[0] == after[0]
    assert before[1].shard_id != after[1].shard_id
