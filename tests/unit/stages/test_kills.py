"""A night killed before any of its writes or vendor calls, and run again, ends the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from winnow.batch import STAGES
from winnow.progress import progress, summary

from .conftest import Night, killed_at_steps


@pytest.mark.sampled
@pytest.mark.parametrize("in_vendor", [False, True], ids=["lake", "vendor"])
def test_a_kill_before_any_step_changes_nothing(
    night: Callable[..., Night], in_vendor: bool
) -> None:
    n_steps, outcome = killed_at_steps(night, 12 if in_vendor else 40, in_vendor=in_vendor)
    assert n_steps >= (5 if in_vendor else 25)
    assert set(outcome[-1].values()) == {1}


def test_a_second_run_of_every_stage_writes_and_buys_nothing(published: Night) -> None:
    done = published
    before = done.lake.tags("")
    bought = done.simulator.bought()
    done.run()
    after = done.lake.tags("")
    assert after == before
    assert done.simulator.bought() == bought


def test_what_is_shown_of_a_batch_comes_from_its_manifests(published: Night) -> None:
    batch = published.batch()
    assert list(progress(batch)) == list(STAGES)
    assert all(line.startswith("done: ") for line in progress(batch).values())
    assert "6, and 1 rows in quarantine" in summary(batch)
    assert f"${batch.require('label').cost / 1_000_000:.2f}" in summary(batch)
