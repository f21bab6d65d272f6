"""What models say beside people: heard as far as it tells of people, kept with its night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.batch import read_manifest
from winnow.lake import FolderLake
from winnow.reward import OVERALL, Posterior, RewardModel
from winnow.stages.select import reward_model

from ...voted import VotedWorld

NIGHTS = ["2026-11-01", "2026-11-02", "2026-11-03"]


def world(folder: Path, **told: object) -> VotedWorld:
    return replace(VotedWorld(FolderLake(folder)), **{"per_night": 40, **told})  # type: ignore[arg-type]


def head_of(fitted: reward_model.Refitted) -> Posterior:
    head = fitted.model.heads[OVERALL]
    assert isinstance(head, Posterior)
    return head


def right(fitted: reward_model.Refitted, one: VotedWorld) -> float:
    """How many of the pairs of a night that nobody voted on the model orders as people would."""
    other = replace(one, judges={}, per_night=400)
    rng = np.random.default_rng(1)
    votes = list(other._votes("2027-01-01", one.columns(NIGHTS[0]), rng))
    sides = [np.stack([np.array(s["vector"], np.float64) for s in v["sides"]]) for v in votes]
    means = [head_of(fitted).mean(fitted.model.projection.apply(pair)) for pair in sides]
    return float(
        np.mean([(m[0] > m[1]) == (v["logit"] > 0) for m, v in zip(means, votes, strict=True)])
    )


def nights(one: VotedWorld) -> reward_model.Refitted:
    for key in NIGHTS:
        fitted = one.night(key)
    return fitted


@pytest.mark.parametrize(("kappa", "mode"), [(1.5, "logits"), (-1.5, "logits"), (4.0, "verdict")])
def test_a_judge_teaches_the_reward_of_people_and_counts_as_no_vote(
    tmp_path: Path, kappa: float, mode: str
) -> None:
    per_night = 40 if mode == "logits" else 80
    alone = nights(world(tmp_path / "alone", per_night=per_night))
    told_by = {"judges": {"small-model": kappa}, "mode": mode}
    one = world(tmp_path / "judged", per_night=per_night, **told_by)
    fitted = nights(one)
    told = fitted.judges[OVERALL]["small-model"]
    assert told["is_heard"]
    assert np.sign(told["kappa"]) == np.sign(kappa)
    assert told["verdicts"] == 3 * per_night
    assert head_of(fitted).n_labels == head_of(alone).n_labels
    assert right(fitted, one) > right(alone, one) + 0.02
    assert not alone.judges


def test_one_that_tells_nothing_changes_nothing(tmp_path: Path) -> None:
    alone = nights(world(tmp_path / "alone"))
    fitted = nights(world(tmp_path / "judged", judges={"a": 0.0}))
    assert not fitted.judges[OVERALL]["a"]["is_heard"]
    assert head_of(fitted).version == head_of(alone).version


def test_log_odds_that_were_left_out_are_read_as_choices(tmp_path: Path) -> None:
    class Careless(VotedWorld):
        def _verdicts(self, vote: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
            told = super()._verdicts(vote)
            return ({**row, "log_odds": None} for row in told)

    fitted = nights(Careless(FolderLake(tmp_path), per_night=40, judges={"a": 4.0}))
    assert fitted.judges[OVERALL]["a"]["verdicts"] == 120


def test_what_they_say_is_stored_with_its_night_and_read_again(tmp_path: Path) -> None:
    one = world(tmp_path, judges={"a": 1.0})
    fitted = nights(one)
    for key in NIGHTS:
        manifest = read_manifest(one.lake, "small", key, "publish")
        assert manifest is not None
        assert manifest.outputs["verdicts"].n_rows == 40
        assert manifest.outputs["votes"].n_rows == 40
        one.lake.remove(one.batch(key).require("label").outputs["annotations"].path)
    assert one.refit().model.version == fitted.model.version


def test_nights_without_judges_have_no_table_of_theirs(tmp_path: Path) -> None:
    one = world(tmp_path)
    nights(one)
    manifest = read_manifest(one.lake, "small", NIGHTS[0], "publish")
    assert manifest is not None
    assert "verdicts" not in manifest.outputs
    stored = [each.path for each in one.lake.listing(f"batches/small/{NIGHTS[0]}/publish")]
    assert not [path for path in stored if "verdicts" in path]


def test_where_only_models_vote_their_verdicts_are_the_votes(tmp_path: Path) -> None:
    fitted = nights(world(tmp_path, judges={"a": 1.0}, people=False))
    assert head_of(fitted).n_labels == 120
    assert not fitted.judges


def test_a_judge_that_comes_later_is_heard_from_then_on(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.night(NIGHTS[0])
    later = replace(one, judges={"a": 1.0})
    later.night(NIGHTS[1])
    assert later.night(NIGHTS[2]).judges[OVERALL]["a"]["verdicts"] == 80


def test_a_night_tells_how_it_would_have_been_with_people_alone(tmp_path: Path) -> None:
    one = world(tmp_path / "judged", judges={"a": 2.0}, per_night=100)
    first, *later = (one.night(key) for key in NIGHTS)
    assert first.people_alone == {}
    assert first.judges[OVERALL]["a"]["is_heard"]
    for fitted in later:
        told = fitted.people_alone
        assert 80 < told["votes"] <= 100
        assert told["heard"]["log_loss"] < told["alone"]["log_loss"]
        assert 0.5 < told["alone"]["right"] < told["heard"]["right"]
    assert later[-1].judges[OVERALL]["a"]["taught_nats"] > 1.0
    assert nights(world(tmp_path / "alone")).people_alone == {}


def test_what_is_believed_of_judges_is_stored_with_the_model(tmp_path: Path) -> None:
    fitted = nights(world(tmp_path, judges={"a": 1.5, "b": 0.0}, per_night=60))
    read = RewardModel.from_bytes(fitted.model.to_bytes())
    assert read.version == fitted.model.version
    [told], [before] = (list(m.teachers.values()) for m in (read, fitted.model))
    assert [judge.name for judge in told.joint.judges] == ["a"]
    assert [judge.name for judge in told.unheard] == ["b"]
    for judge, other in zip(told.judges, before.judges, strict=True):
        assert judge.n == other.n == 180
        assert (judge.kappa, judge.own_sd) == (other.kappa, other.own_sd)
        assert np.array_equal(judge.taste_d, other.taste_d)
    assert np.array_equal(told.joint.cov, before.joint.cov)
    assert told.alone.version == before.alone.version
    assert told.joint.people.version == before.joint.people.version
