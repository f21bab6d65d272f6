"""The bake-off in a lake: pools are replayed as selection saw them, and nights add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from winnow.batch import Batch, read_artifact
from winnow.campaign import parse_campaign
from winnow.ids import canonical_json
from winnow.label.aggregation.votes import votes_of
from winnow.publish.versions import newest
from winnow.reward import RewardModel
from winnow.select import info_gain
from winnow.select.bake_off import COMPARED, UNIFORM
from winnow.select.bake_off_tally import Tally, together
from winnow.stages.select import bake_off

from .conftest import DAY, Night

DAYS = (DAY, "2026-11-23", "2026-11-24")
N_PROMPTS = 22


@pytest.fixture
def three(night: Callable[..., Night], inbox: Path) -> tuple[Night, Callable[[str], Batch]]:
    """Three nights over one lake, and each day's batch; 1.5 exploration pairs a prompt."""
    one = night(third_votes=False)
    asked = one.campaign.model_dump(mode="json")
    select = {**asked["select"], "pairs_per_prompt": 3, "exploration": 0.5}
    one.campaign = parse_campaign({**asked, "select": select}, "test")
    (inbox / "a.jsonl").unlink()
    for day in DAYS:
        rows = [{"prompt": f"{day}: why is {k} a number?"} for k in range(N_PROMPTS)]
        (inbox / f"{day}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        one.day = day
        one.run()

    def batch_of(day: str) -> Batch:
        one.day = day
        return one.batch()

    return one, batch_of


def tally_of(batch: Batch) -> Tally:
    outputs = batch.require("publish").outputs
    return Tally.from_bytes(read_artifact(batch.lake, outputs["bake_off"]))


def test_nights_are_replayed_and_add_up(
    three: tuple[Night, Callable[[str], Batch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    night, batch_of = three
    _no_model_chose_the_first(batch_of(DAYS[0]))
    second = batch_of(DAYS[1])
    _pools_are_as_selection_saw_them(night, second)
    _a_part_is_replayed_of_a_large_batch(second, monkeypatch)
    last = batch_of(DAYS[2])
    _figures_are_of_both(second, last)
    _what_was_taken_out_no_longer_counts(last)


def _no_model_chose_the_first(first: Batch) -> None:
    assert set(first.require("publish").outputs) == {"history", "quarantine", "votes"}
    told = first.require("publish").figures["bake_off"]
    assert (told["batches"], told["votes"]) == (0, 0)
    assert all(each["taught"] is None for each in told["strategies"])


def _pools_are_as_selection_saw_them(night: Night, batch: Batch) -> None:
    select = batch.require("select")
    model = RewardModel.from_bytes(read_artifact(batch.lake, select.outputs["reward_model"]))
    votes = votes_of(night.rows("label", "annotations"))
    pair_of = {row["annotation_id"]: row["pair_id"] for row in votes}
    pairs = {row["pair_id"]: row for row in night.rows("select", "comparisons")}
    found = bake_off.replayed(batch, model)
    explored = {pair for pair in pair_of.values() if pairs[pair]["kind"] == "exploration"}
    assert {pair_of[name] for name in found} == explored
    firsts = 0
    for name, vote in found.items():
        row = pairs[pair_of[name]]
        n_votes = sum(pair_of[each] == row["pair_id"] for each in found)
        # |E| = ρ b / p, so the uniform arm's π / p is 1 / (ρ b) whatever the pool.
        assert vote.weight_s[COMPARED.index(UNIFORM)] * n_votes == pytest.approx(1 / 1.5)
        if row["rank"] == 0:
            firsts += 1
            gain = float(info_gain(vote.mu, np.sqrt(vote.var)))
            assert gain == pytest.approx(row["info_gain"], abs=1e-9)
    assert firsts >= N_PROMPTS // 2


def _a_part_is_replayed_of_a_large_batch(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bake_off.replay(batch)
    with monkeypatch.context() as patch:
        patch.setattr(bake_off, "MOST_PROMPTS", 7)
        part = bake_off.replay(batch)
        patch.setattr(bake_off, "MOST_PAIRS", 25)
        smaller = bake_off.replay(batch)
    assert whole is not None and part is not None and smaller is not None
    assert (part.n_prompts, smaller.n_prompts) == (7, 2) and whole.n_prompts > 15


def _figures_are_of_both(second: Batch, last: Batch) -> None:
    told = last.require("publish").figures["bake_off"]
    both = together([tally_of(second), tally_of(last)])
    assert (told["batches"], told["prompts"]) == (2, both.n_prompts)
    assert told["votes"] == both.n_votes > second.require("publish").figures["bake_off"]["votes"]
    # What is drawn of the calibration is of the very same votes.
    assert sum(bin[0] for bin in last.require("publish").figures["reliability"]) == both.n_votes
    by_name: dict[str, Any] = {each["strategy"]: each for each in told["strategies"]}
    mean, low, high = by_name[UNIFORM]["taught"]
    assert low < mean < high and by_name[UNIFORM]["gain"] is None
    assert len(canonical_json(told)) < 4096
    again = bake_off.replay(last)
    assert again is not None and again.to_bytes() == tally_of(last).to_bytes()


def _what_was_taken_out_no_longer_counts(last: Batch) -> None:
    version = newest(last.lake, "small")
    assert version is not None and DAYS[1] in version.batches
    rest = tuple(batch for batch in version.batches if batch != DAYS[1])
    found = bake_off.run(last, "publish", replace(version, batches=rest))
    assert found.figures["bake_off"]["batches"] == 1


def test_sums_of_other_strategies_neither_count_nor_take_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = together([])
    other = replace(nothing, names=("older", *COMPARED[1:]))
    tallies = {f"{n:02d}": other if n > 5 else nothing for n in range(5 + 2 * bake_off.BATCHES)}
    monkeypatch.setattr(bake_off, "replay", lambda *_: None)
    monkeypatch.setattr(
        bake_off,
        "read_manifest",
        lambda lake, campaign, key, stage: SimpleNamespace(outputs={bake_off.NAME: key}),
    )
    monkeypatch.setattr(bake_off, "read_artifact", lambda lake, key: tallies[key].to_bytes())
    batch: Any = SimpleNamespace(key="new", lake=None, campaign=SimpleNamespace(name="c"))
    version: Any = SimpleNamespace(batches=sorted(tallies), files={})
    assert bake_off.run(batch, "publish", version).figures["bake_off"]["batches"] == 6
