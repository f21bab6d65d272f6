"""What choosing bought: both arms of a night that a model chose, counted and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch
from winnow.campaign import parse_campaign
from winnow.progress import progress, summary
from winnow.select import fallback
from winnow.stages.select import arms

from .conftest import DAY, Night

DAYS = (DAY, "2026-11-23")


@pytest.fixture
def two(
    night: Callable[..., Night], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Night, list[Batch]]:
    """Two nights, the second chosen by a model, and the batch of each."""
    monkeypatch.setattr(fallback, "MIN_LABELS", 10)
    monkeypatch.setattr(fallback, "LABELS_PER_DIRECTION", 0)
    one = night()
    asked = one.campaign.model_dump(mode="json")
    select = {**asked["select"], "pairs_per_prompt": 3, "exploration": 0.4}
    one.campaign = parse_campaign({**asked, "select": select}, "test")
    (inbox / "a.jsonl").unlink()
    batches = []
    for day in DAYS:
        rows = [{"prompt": f"{day}: why is {k} a number?"} for k in range(10)]
        (inbox / f"{day}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        one.day = day
        one.run()
        batches.append(one.batch())
    return one, batches


def test_a_night_that_a_model_chose_tells_both_arms(two: tuple[Night, list[Batch]]) -> None:
    night, (first, second) = two
    assert first.require("publish").figures["arms"] == {}
    assert "choosing" not in summary(first) + progress(first)["publish"]
    told = second.require("publish").figures["arms"]
    pairs = {row["pair_id"]: row for row in night.rows("select", "comparisons")}
    votes = [
        (pairs[row["pair_id"]], row["preferred"])
        for row in night.rows("label", "annotations")
        if row["kind"] == "comparison" and row["preferred"]
    ]
    for kind, arm in told.items():
        gains = [pair["info_gain"] for pair in pairs.values() if pair["kind"] == kind]
        assert arm["pairs"] == len(gains) > 5
        assert arm["info_gain"] == pytest.approx(sum(gains) / len(gains))
        assert arm["decision_gain"] is None or arm["decision_gain"] > 0.0
        own = [(pair["p_first"], vote) for pair, vote in votes if pair["kind"] == kind]
        assert arm["votes"] == len(own) >= arm["voted"] > 0
        sides = [(p, vote) for p, vote in own if vote in ("first", "second")]
        assert arm["decided"] == len(sides)
        assert arm["foreseen"] == sum((p > 0.5) == (vote == "first") for p, vote in sides)
    assert set(told) == {"selected", "exploration"}
    assert all(line in summary(second) for line in arms.lines(told))
    assert "nats a vote, uniform" in progress(second)["publish"]


def test_pairs_set_aside_count_in_no_arm(two: tuple[Night, list[Batch]]) -> None:
    night, (_, batch) = two
    drawn = [
        r["pair_id"] for r in night.rows("select", "comparisons") if r["kind"] == "exploration"
    ]
    whole, less = arms.figures(batch), arms.figures(batch, frozenset(drawn[:1]))
    assert less["exploration"]["pairs"] == whole["exploration"]["pairs"] - 1
    assert less["exploration"]["votes"] < whole["exploration"]["votes"]
    assert less["selected"] == whole["selected"]
    assert arms.figures(batch, frozenset(drawn)) == {}


def arm(votes: int, decided: int, foreseen: int, *, voted: int = 0, gain: float = 0.1) -> Any:
    n = {"pairs": voted or votes, "votes": votes, "voted": voted or votes}
    gains = {"info_gain": gain, "decision_gain": gain**2 or None}
    return {**n, **gains, "decided": decided, "foreseen": foreseen}


def told_of(selected: Any, exploration: Any) -> list[str]:
    return arms.lines({"selected": selected, "exploration": exploration})


def test_so_few_votes_that_nothing_can_be_told_say_so() -> None:
    lines = told_of(arm(40, 32, 20, gain=0.2), arm(12, 9, 7))
    assert lines[0].startswith("40 pairs chosen: 0.200 nats expected of a vote; 40 votes")
    assert lines[0].endswith("80% for a side, 62% of these foreseen")
    assert "2.0 times as much, and 4.0 times as much of which responses are best" in lines[2]
    assert lines[2].endswith("40 and 12 votes are too few to tell how the arms' votes differ.")


def test_what_sets_the_arms_apart_is_named_with_its_direction() -> None:
    told = told_of(arm(400, 200, 110), arm(400, 320, 250))[2]
    assert told.endswith("on chosen pairs are less often for a side and less often foreseen.")
    told = told_of(arm(400, 320, 250), arm(400, 320, 180))[2]
    assert told.endswith("those on chosen pairs are more often foreseen.")


def test_second_votes_on_a_pair_prove_nothing_more() -> None:
    once = told_of(arm(60, 42, 24), arm(60, 50, 30))
    thrice = told_of(arm(180, 126, 72, voted=60), arm(180, 150, 90, voted=60))
    assert "too few" in once[2] and "too few" in thrice[2]
    assert "less often for a side" in told_of(arm(180, 126, 72), arm(180, 150, 90))[2]


def test_an_arm_without_a_vote_is_told_without_shares() -> None:
    lines = told_of(arm(3, 0, 0, gain=0.0), arm(0, 0, 0, voted=2, gain=0.0))
    assert lines[0].endswith("3 votes, 0% for a side")
    assert lines[1].endswith("0 votes")
    assert "which responses" not in lines[2]
    assert arms.lines({}) == []
