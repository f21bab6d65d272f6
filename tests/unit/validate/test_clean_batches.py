"""A batch with nothing wrong raises no alarm, whatever chance made of it."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.campaign import Validate
from winnow.validate.limits import bounds
from winnow.validate.measure import Measured

from .world import make_world

N_SEEDS = 200


def alarms(measured: Measured, limits: Validate) -> list[str]:
    beyond = [
        bound.figure
        for bound in bounds(limits, measured.figures)
        if (value := measured.figures[bound.figure]) is not None
        and not (-1e9 if bound.low is None else bound.low)
        <= value
        <= (1e9 if bound.high is None else bound.high)
    ]
    faulty = [name for name, found in measured.faults.items() if found.n]
    return [*beyond, *faulty, *(suspect.check for suspect in measured.suspects)]


def test_every_limit_is_of_a_figure_that_is_measured() -> None:
    limits = {name: 0.5 for name in Validate.model_fields if name.endswith(("_warn", "_block"))}
    figures = make_world(0).measure().figures
    held = bounds(Validate(**limits), figures)
    assert len(held) == len(limits) + 2
    assert {bound.figure for bound in held} <= set(figures)


@pytest.mark.kill
@pytest.mark.slow
def test_two_hundred_clean_batches_raise_no_alarm() -> None:
    history: list[dict[str, Any]] = []
    found = {}
    for seed in range(N_SEEDS):
        world = make_world(seed)
        world.history = history[-5:]
        measured = world.measure()
        history.append(dict(measured.profile))
        if told := alarms(measured, world.limits):
            found[seed] = told
    assert found == {}


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_batch_passes_the_whole_gate(seed: int) -> None:
    world = make_world(seed)
    world.history = [dict(make_world(seed + 1).measure().profile)]
    verdict = world.judge()
    assert (verdict.verdict, verdict.reasons()) == ("pass", [])
    assert (verdict.bad_rows, verdict.suspects) == ([], [])
