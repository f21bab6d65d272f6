"""The gate is given the batch as committed: clean from stages that work, held against its past."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, open_batch
from winnow.errors import Fatal
from winnow.label.annotation import AnnotatorKey
from winnow.stages import gate_input, publish
from winnow.validate.gate import Judgement
from winnow.validate.limits import bounds
from winnow.validate.measure import Measured
from winnow.validate.verdict import Verdict
from winnow_simulator.staff import hire_staff

from ...fabricated import GOOD, fabricate
from .conftest import SALT, Night


def measured(batch: Batch) -> Measured:
    with gate_input.measured(batch) as found:
        return found


def bought(night: Night, n_pairs: int, day: str = "2026-11-22") -> Batch:
    batch = open_batch(night.campaign, day, night.lake, lambda: night.time)
    fabricate(batch, n_pairs)
    night.buy(batch)
    return batch


def with_limits(batch: Batch, **limits: Any) -> Batch:
    validation = batch.campaign.validation.model_copy(update=limits)
    return Batch(
        batch.campaign.model_copy(update={"validation": validation}),
        batch.key,
        batch.lake,
        batch.clock,
    )


def alarms(found: Measured) -> list[str]:
    faulty = [name for name, found_rows in found.faults.items() if found_rows.n]
    return [*faulty, *(suspect.check for suspect in found.suspects)]


def test_careful_people_raise_no_alarm(night: Callable[..., Night]) -> None:
    found = measured(bought(night(gold=None, repeat_share=0.2), 120))
    assert alarms(found) == []
    assert (found.figures["rows_lost"], found.figures["cost_gap"]) == (0, 0.0)
    over = {
        bound.figure
        for bound in bounds(night("limits").campaign.validation, found.figures)
        if bound.low is None
        and (value := found.figures[bound.figure]) is not None
        and value > bound.high
    }
    assert over == set()


def test_only_those_who_do_not_read_are_suspected(
    night: Callable[..., Night], start_simulator: Callable[..., Any], tmp_path: Path
) -> None:
    one = night()
    one.simulator = start_simulator(tmp_path / "mixed.sqlite", staff="mixed")
    found = measured(bought(one, 300))
    key = AnnotatorKey("simulator", SALT)
    odd = {key.hash(person.name) for person in hire_staff(0, "mixed") if person.haste < 1.0}
    suspected = {suspect.annotator for suspect in found.suspects}
    assert suspected <= odd
    assert len(suspected) >= 2


def test_a_night_from_prompts_to_labels_has_no_fault(night: Callable[..., Night]) -> None:
    one = night()
    one.choose(one.batch())
    one.buy(one.batch())
    assert alarms(measured(one.batch())) == []


def test_a_batch_is_held_against_those_published_before_it(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        publish,
        "judge",
        lambda found, _: Judgement(Verdict("pass", [], profile=dict(found.profile)), found.broken),
    )
    one = night()
    first = one.batch()
    one.choose(first)
    one.buy(first)
    assert measured(first).figures["length_drift"] is None
    publish.version(first, publish.check(first))
    assert measured(first).figures["length_drift"] is None
    later = measured(bought(one, 8, "2026-11-23"))
    past, now = measured(first).profile["mean_chars"], later.profile["mean_chars"]
    assert later.figures["length_drift"] == pytest.approx(abs(now - past) / past)
    assert later.figures["strategy_drift"] == 1.0


def test_evaluation_prompts_of_the_campaign_are_looked_for(
    night: Callable[..., Night], tmp_path: Path
) -> None:
    batch = bought(night(), 4)
    file = tmp_path / "evaluation.jsonl"
    text = "why does TIDE number 2 of 2026-11-22 come, and go"
    file.write_text(json.dumps({"prompt": text}))
    found = measured(with_limits(batch, evaluation_prompts=str(file)))
    assert found.faults["evaluation_prompts"].n == 1
    assert "evaluation_prompts" not in measured(batch).faults


@pytest.mark.parametrize("name", ["missing.jsonl", "empty"])
def test_evaluation_prompts_that_are_not_there_stop_the_gate(
    night: Callable[..., Night], tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    batch = with_limits(bought(night(), 2), evaluation_prompts=str(tmp_path / name))
    with pytest.raises(Fatal):
        measured(batch)


@pytest.mark.parametrize("staff", ["careful", "tired"])
def test_a_staff_that_tires_is_told_from_one_that_does_not(
    night: Callable[..., Night],
    start_simulator: Callable[..., Any],
    tmp_path: Path,
    staff: str,
) -> None:
    gold = [
        {"prompt": (asked := f"Why, {n}, is there a tide?"), "chosen": GOOD.format(asked)}
        | {"rejected": f"No no no no no no no {n}"}
        for n in range(150)
    ]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, gold)))
    settings = {"gold": str(tmp_path / "gold.jsonl"), "gold_share": 0.5}
    one = night(price_usd=0.05, second_vote_share=0.6, repeat_share=0.3, **settings)
    one.simulator = start_simulator(tmp_path / "books.sqlite", staff=staff)
    found = measured(bought(one, 300))
    limit = one.campaign.validation.max_session_decline_warn
    low = found.figures["session_decline_low"]
    assert limit is not None and low is not None
    assert (low > limit) == (staff == "tired"), found.sessions
