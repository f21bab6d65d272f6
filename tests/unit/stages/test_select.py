"""Selecting: each pair says why it was chosen, floors are kept or named, trust is earned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.batch import read_table
from winnow.campaign import Select, Strategy, parse_campaign
from winnow.expand import features
from winnow.expand.features import feature_version
from winnow.expand.pool_features import in_pool_version
from winnow.expand.vectors import columns_of
from winnow.progress import progress
from winnow.reward import OVERALL, Block, Posterior, Projection, RewardModel
from winnow.select import STRATEGIES
from winnow.stages import select
from winnow.stages.select import reward_model, training
from winnow.stages.select.candidates import NightCandidates

from .conftest import Night

MakeNight = Callable[..., Night]


def comparisons(night: Night) -> list[dict[str, Any]]:
    batch = night.batch()
    return list(read_table(batch.lake, batch.require("select").outputs["comparisons"]).to_pylist())


def with_select(night: Night, **settings: Any) -> Night:
    asked = night.campaign.model_dump(mode="json")
    night.campaign = parse_campaign({**asked, "select": {**asked["select"], **settings}}, "test")
    return night


def model_of(n_labels: int, d: int = 3) -> RewardModel:
    projection = Projection(np.zeros(d), np.ones(d), (Block("style", d),), ())
    head = Posterior(np.zeros(d), np.eye(d), 1.0, n_labels)
    return RewardModel(projection, {OVERALL: head}, "v")


def test_every_strategy_can_be_named_in_a_campaign() -> None:
    assert set(Strategy.__args__) == set(STRATEGIES)


def test_the_first_night_explores_and_says_why(night: MakeNight) -> None:
    first = night()
    first.choose(first.batch())
    figures = first.batch().require("select").figures
    assert figures["strategy"] == "diversity"
    assert "0 labels" in figures["fallback"]
    rows = comparisons(first)
    assert {row["reason"] for row in rows} <= {"exploration", "minimum", "best"}
    for row in rows:
        explored = row["reason"] == "exploration"
        assert explored == (row["kind"] == "exploration") == (row["propensity"] is not None)
        assert 0.0 < row["info_gain"] < np.log(2.0)


@pytest.mark.parametrize("strategy", ["traditional", "random", "diversity"])
@pytest.mark.parametrize("exploration", [0.0, 0.25])
def test_a_baseline_does_what_it_says_from_the_first_night(
    night: MakeNight, strategy: str, exploration: float
) -> None:
    first = with_select(night(), strategy=strategy, exploration=exploration)
    first.choose(first.batch())
    figures = first.batch().require("select").figures
    assert (figures["strategy"], figures["fallback"]) == (strategy, "")
    rows = comparisons(first)
    assert {row["strategy"] for row in rows} == {strategy}
    explored = sum(row["kind"] == "exploration" for row in rows)
    assert (explored > 0) == (exploration > 0.0)
    assert explored <= np.ceil(exploration * len(rows))


def test_no_exploration_asked_for_draws_none_from_the_first_night(night: MakeNight) -> None:
    first = with_select(night(), exploration=0.0)
    first.choose(first.batch())
    selected = first.batch().require("select")
    assert selected.figures["strategy"] == "diversity"
    assert "diversity with 0% drawn uniformly" in selected.figures["fallback"]
    assert selected.counts["exploration"] == 0
    assert {row["kind"] for row in comparisons(first)} == {"selected"}


def test_a_model_with_labels_and_an_open_gate_follows_the_campaign() -> None:
    rules, reason = select.night_rules(Select(), model_of(500), "open")
    assert (rules.pool_rules.strategy, reason) == ("decision_gain", "")
    assert rules.pool_rules.residual_sd == Select().residual_sd


def test_a_closed_gate_falls_back_and_says_so() -> None:
    rules, reason = select.night_rules(Select(), model_of(500), "closed")
    assert rules.pool_rules.strategy == "diversity"
    assert rules.pool_rules.exploration == 0.5
    assert "gate is closed" in reason


def test_an_undecided_gate_lets_the_model_choose_and_steer_and_explores_more() -> None:
    rules, reason = select.night_rules(Select(), model_of(200), "undecided")
    assert (rules.pool_rules.strategy, rules.pool_rules.exploration) == ("decision_gain", 0.25)
    assert "25% drawn uniformly: the gate is undecided" in reason
    assert select.why_untrusted(model_of(200), "undecided") == ""
    assert "gate is closed" in select.why_untrusted(model_of(200), "closed")
    assert "99 labels" in select.why_untrusted(model_of(99), "open")


def test_ratings_do_not_make_a_model_trusted() -> None:
    one = model_of(99)
    rated = {name: model_of(500).posterior for name in ("a", "b")}
    both = replace(one, heads={**one.heads, **rated})
    assert select.why_untrusted(both, "open") == ""
    assert "99 labels" in select.why_untrusted(both, "open", rated)
    assert "has 99 labels" in select.night_rules(Select(), both, "open", rated)[1]
    assert select.why_untrusted(both, "open", both.heads) == "", "all of them are all there is"


def test_a_floor_is_kept_and_one_that_cannot_be_is_named(night: MakeNight) -> None:
    floors = {"dimension:helpfulness": 5, "language:de": 3}
    asked = with_select(night(), floors=floors)
    asked.choose(asked.batch())
    figures = asked.batch().require("select").figures
    assert figures["unmet_floors"] == ["language:de"]
    assert "floors not met: language:de" in progress(asked.batch())["select"]
    assert {f["stratum"]: f["got"] for f in figures["floors"]} == {
        "dimension:helpfulness": 12,
        "language:de": 0,
    }


def test_pairs_go_where_they_gain_most_within_the_limits(night: MakeNight) -> None:
    limits = {"min_pairs_per_prompt": 1, "max_pairs_per_prompt": 4, "exploration": 0.0}
    spread = with_select(night(), **limits)
    spread.choose(spread.batch())
    counts = np.unique([row["prompt_id"] for row in comparisons(spread)], return_counts=True)[1]
    assert counts.sum() == 2 * 6
    assert counts.min() >= 1
    assert counts.max() <= 4


def test_limits_in_falling_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must not fall"):
        Select(pairs_per_prompt=2, min_pairs_per_prompt=3)


def test_prompts_are_clustered_into_topics_and_responses_screened(night: MakeNight) -> None:
    sorted_night = with_select(night(), topics=3)
    batch = sorted_night.batch()
    sorted_night.choose(batch)
    candidates = NightCandidates(batch).part(0)
    strata = [pool.strata for pool in candidates.bare_pools]
    assert {s for each in strata for s in each if s.startswith("topic:")} <= {
        "topic:0",
        "topic:1",
        "topic:2",
    }
    assert all("dimension:helpfulness" in each for each in strata)
    assert sum(len(pool.response_ids) for pool in candidates.bare_pools) == len(
        candidates.response_ids
    )


def test_the_plan_sees_each_text_as_often_as_it_was_sampled(night: MakeNight) -> None:
    planned = night()
    batch = planned.batch()
    planned.choose(batch)
    candidates = NightCandidates(batch)
    model, gate = select.reward_model_for(batch, candidates)
    assert gate == "undecided"
    sampled = sum(len(pool.response_ids) for pool in candidates.pools_as_sampled(model))
    assert sampled == batch.require("expand").counts["rows_out"]


@pytest.mark.parametrize("settings", [{}, {"head": "ensemble"}, {"head_per_dimension": True}])
def test_the_next_night_learns_from_this_one(
    night: MakeNight, inbox: Path, settings: dict[str, Any]
) -> None:
    dimensions = ["correctness", "helpfulness"] * 3
    rows = [{"prompt": f"which is {n}?", "dimension": d} for n, d in enumerate(dimensions)]
    (inbox / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    taught = with_select(night(), **settings)
    taught.run()
    batch = taught.batch()
    figures = batch.require("publish").figures
    current = reward_model.newest(taught.lake, "small")
    assert current is not None
    assert current.gate == figures["gate"]["state"] == "undecided"
    assert figures["temperature"] == 1.0
    n_labels = [head.n_labels for head in current.model.heads.values()]
    assert sum(n_labels) == figures["posterior_labels"] > 0
    if settings.get("head") != "ensemble":
        assert set(figures["listens_to"]) >= {"embedding", "style", "pool"}
        assert all(logits >= 0.0 for logits in figures["listens_to"].values())
    wanted = dimensions[:2] if settings.get("head_per_dimension") else [OVERALL]
    assert list(current.model.heads) == wanted
    candidates = NightCandidates(batch)
    model, _ = select.reward_model_for(batch, candidates)
    assert model.version == current.model.version
    if settings.get("head_per_dimension"):
        contested = {row["dimension"]: row["contested"] for row in comparisons(taught)}
        assert contested == {d: d for d in dimensions}


def test_labels_of_before_an_upgrade_teach_the_first_night_after_it(
    night: MakeNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(features, "_WINDOWS", "")
        old = night()
        old.run()
    batch = old.batch()
    version = in_pool_version(feature_version(batch.campaign.expand), ["m"])
    columns = replace(columns_of(batch.require("expand"), batch.campaign.expand), version=version)
    current = reward_model.newest(old.lake, "small")
    assert current is not None
    assert current.model.feature_version == features.earlier_version(version) != version
    upgraded = reward_model.newest_for(old.lake, batch.campaign, columns)
    assert upgraded is not None
    assert upgraded.model.feature_version == version
    assert upgraded.model.posterior.n_labels == current.model.posterior.n_labels > 0
    other = replace(columns, version="other-256+style-1")
    assert reward_model.newest_for(old.lake, batch.campaign, other) is None
    monkeypatch.setattr(training, "fits_one_window", lambda _: False)
    assert reward_model.newest_for(old.lake, batch.campaign, columns) is None


def test_a_pointer_of_an_older_version_does_not_replace_a_newer_one(night: MakeNight) -> None:
    lake = night().lake
    verdict = select.reward_model.measure([])
    old, new = (
        reward_model.Refitted(model_of(n), replace(verdict, temperature=1.0), {}, {})
        for n in (1, 2)
    )
    reward_model.store(lake, "small", new, 2)
    reward_model.store(lake, "small", old, 1)
    current = reward_model.newest(lake, "small")
    assert current is not None
    assert current.model.version == new.model.version


def test_nothing_is_chosen_from_a_batch_without_responses(night: MakeNight, inbox: Path) -> None:
    """Neither as the first of a campaign, nor where a model of other samplers has learnt."""
    learnt = night()
    learnt.run()
    settings = learnt.campaign.model_dump(mode="json")
    settings["expand"]["samplers"] = [{"model": "tiny"}, {"model": "other"}]
    learnt.campaign = parse_campaign(settings, "test")
    for file in inbox.iterdir():
        file.unlink()
    rows = [{"prompt": f"be {word} on the tide"} for word in ("silent", "refuse")]
    (inbox / "mute.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for one in (learnt, night("first")):
        one.day = "2026-11-23"
        one.choose(one.batch())
        assert comparisons(one) == []


def test_a_night_of_which_all_was_skipped_closes_and_teaches_nothing(
    night: MakeNight, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = night()
    with monkeypatch.context() as skipped:
        voted = training.voted
        skipped.setattr(training, "voted", lambda *tables: voted(*tables).slice(0, 0))
        one.run()
    assert one.batch().require("publish").figures["posterior_labels"] == 0
    (inbox / "later.jsonl").write_text(json.dumps({"prompt": "why do tides follow the moon?"}))
    one.day = "2026-11-23"
    one.choose(one.batch())
    assert "0 labels" in one.batch().require("select").figures["fallback"]
    model, _ = select.reward_model_for(one.batch(), NightCandidates(one.batch()))
    assert model.projection.inverse_scale_c.any(), "a prior over its own responses"
