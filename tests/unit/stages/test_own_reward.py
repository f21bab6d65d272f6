"""What a response is worth by itself: refitted on stored votes, measured on prompts left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.batch import Batch
from winnow.campaign import Campaign, parse_campaign
from winnow.errors import Fatal
from winnow.ids import seed_from
from winnow.lake import FolderLake
from winnow.publish.versions import Version, commit
from winnow.stages.export import export_reward_model
from winnow.stages.select.own_reward import OwnReward, own_reward
from winnow.style import style_names

from ...voted import VotedWorld

N_STYLE = len(style_names())


def voted(folder: Path, nights: int = 2, **settings: Any) -> VotedWorld:
    """Nights of votes, the newest not published."""
    world = VotedWorld(FolderLake(folder), **settings)
    for number in range(1, nights + 1):
        world.add(f"2026-11-{number:02}")
        if number < nights:
            world.publish()
    return world


def of(world: VotedWorld, dimension: str = "") -> OwnReward:
    return own_reward(world.lake, world.campaign, world.version, dimension)


def test_it_reads_one_responses_columns_and_says_what_the_others_are_worth(tmp_path: Path) -> None:
    # Of the planted reward nearly all lies in columns of the pool.
    reward = of(voted(tmp_path, n_embedding=1, per_night=1500))
    assert reward.weight_c.shape == (1 + N_STYLE,) and reward.n_votes == 3000
    assert reward.dimension == "overall" and reward.left_out == ("pool", "logprob")
    told = reward.foreseen
    assert told is not None and told.explored and told.n_votes == told.n_prompts
    assert told.lost.low > 0.0 and told.full.low > 0.55
    assert told.lost.value == pytest.approx(told.full.value - told.own.value)
    assert told.own.low < told.own.value < told.own.high
    assert abs(told.length.value - 0.5) < 0.08, "the planted reward knows no length"


def test_what_lies_in_its_own_columns_is_not_lost(tmp_path: Path) -> None:
    told = of(voted(tmp_path, n_embedding=40, per_night=1500)).foreseen
    assert told is not None and told.own.low > 0.55 and abs(told.lost.value) < 0.05


class CoinWorld(VotedWorld):
    """Votes that say nothing."""

    def _votes(self, *given: Any) -> Iterator[dict[str, Any]]:
        for vote in super()._votes(*given):
            side = "first" if seed_from(vote["pair_id"]) % 2 else "second"
            yield {**vote, "annotation": {**vote["annotation"], "preferred": side}}


def test_votes_are_foreseen_by_what_other_prompts_taught_alone(tmp_path: Path) -> None:
    world = CoinWorld(FolderLake(tmp_path), n_embedding=40, per_night=900)
    world.add("2026-11-01")
    told = of(world).foreseen
    assert told is not None and not told.is_shown
    for share in (told.own, told.full):
        assert share.low < 0.5 < share.high, "a fit that had seen them would be right more often"


class LongWorld(VotedWorld):
    """Votes for the longer response, of which features know nothing."""

    def _votes(self, *given: Any) -> Iterator[dict[str, Any]]:
        for vote in super()._votes(*given):
            first, second = (len(side["message"]) for side in vote["sides"])
            side = "first" if first > second else "second"
            yield {**vote, "annotation": {**vote["annotation"], "preferred": side}}


def test_length_itself_is_part_of_the_reward_only_where_that_is_asked_for(tmp_path: Path) -> None:
    world = LongWorld(FolderLake(tmp_path), per_night=300)
    world.add("2026-11-01")
    without = of(world)
    longer = own_reward(world.lake, world.campaign, world.version, with_length=True)
    more_c = longer.weight_c - without.weight_c
    place = world.n_embedding + style_names().index("log_chars")
    assert np.flatnonzero(more_c).tolist() == [place] and more_c[place] > 1.0
    assert without.foreseen is not None and longer.foreseen is not None
    assert not without.foreseen.is_shown and without.foreseen.length.value > 0.98
    assert longer.foreseen.own.low > 0.9 and longer.foreseen.full == without.foreseen.full


def test_few_exploration_votes_are_not_enough_to_measure_by(tmp_path: Path) -> None:
    reward = of(voted(tmp_path, 1, per_night=60))
    assert reward.foreseen is not None and not reward.foreseen.explored
    assert 40 < reward.foreseen.n_votes <= 60, "all votes for a side"


def test_a_mean_of_voted_responses_is_worth_nothing(tmp_path: Path) -> None:
    world = voted(tmp_path, 1)
    reward = of(world)
    sides = world.rows("2026-11-01", "select", "compared")
    vectors_rc = np.array([side["vector"] for side in sides])[:, : len(reward.weight_c)]
    assert (vectors_rc @ reward.weight_c + reward.bias).mean() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("judges", [{}, {"judge-a": 1.0}])
def test_votes_that_left_the_window_are_still_heard(tmp_path: Path, judges: Any) -> None:
    world = voted(tmp_path, 4, per_night=300, select={"history_votes": 500}, judges=judges)
    condensed, whole = of(world), of(world.asking(history_votes=10_000))
    assert condensed.judges == whole.judges == tuple(judges)
    assert condensed.n_votes == whole.n_votes
    assert np.corrcoef(condensed.weight_c, whole.weight_c)[0, 1] > 0.98


def test_a_head_is_named_where_there_are_several(tmp_path: Path) -> None:
    world = voted(tmp_path, dimensions=("brevity", "honesty"), select={"head_per_dimension": True})
    with pytest.raises(Fatal, match="brevity, honesty"):
        of(world)
    reward = of(world, "honesty")
    assert reward.dimension == "honesty" and reward.n_votes == world.per_night


def campaign(features: Any, dataset: str = "d") -> Campaign:
    expand = {"model": "tiny", "features": features}
    rest = {"ingest": {"sources": ["in"]}, "label": {"budget_usd": 1}}
    return parse_campaign(
        {"name": "small", "expand": expand, "publish": {"dataset": dataset}, **rest}, "test"
    )


@pytest.mark.parametrize("features", ["policy", ["embedding", "policy"]])
def test_states_of_the_policy_are_refused(tmp_path: Path, features: Any) -> None:
    version = Version("d", 1, None, ("2026-11-01",), {}, {}, "")
    with pytest.raises(Fatal, match="policy: an exported"):
        own_reward(FolderLake(tmp_path), campaign(features), version)


class ScoredWorld(VotedWorld):
    """Votes on responses of which a reward model's score is stored, behind their style."""

    @property
    def campaign(self) -> Campaign:  # type: ignore[override]
        return campaign(["embedding", {"reward_model": "judge"}], "small")

    def _commit(self, batch: Batch, stage: str, *given: Any, **figures: Any) -> None:
        if stage == "expand":
            stored = [("embedding", self.n_embedding), ("style", N_STYLE), ("score:judge", 1)]
            figures["blocks"] = [list(block) for block in stored]
        super()._commit(batch, stage, *given, **figures)


def test_scores_are_left_out_and_other_settings_than_the_nights_are_refused(tmp_path: Path) -> None:
    world = ScoredWorld(FolderLake(tmp_path))
    world.add("2026-11-01")
    reward = of(world)
    assert reward.weight_c.shape == (world.n_embedding + N_STYLE,)
    assert reward.left_out == ("score:judge", "pool", "logprob")
    with pytest.raises(Fatal, match="export by the settings"):
        own_reward(world.lake, campaign("embedding", "small"), world.version)


def test_without_votes_there_is_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="before its first votes"):
        export_reward_model(
            FolderLake(tmp_path), campaign("embedding"), tmp_path / "out", Path("no"), tmp_path
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("python", "told"),
    [("/bin/false", "status 1"), (sys.executable, "have 397 columns|--engine-python")],
)
def test_an_export_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, told: str
) -> None:
    # Vectors of these votes are narrower than the sentence model's, where there is one.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    world = voted(tmp_path / "lake", 1)
    world.publish()
    commit(world.lake, world.version)
    out = tmp_path / "out"
    with pytest.raises(Fatal, match=f"Nothing is exported: .*({told})"):
        export_reward_model(world.lake, world.campaign, out, Path(python), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["lake"]
