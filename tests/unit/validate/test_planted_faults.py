"""Each planted fault is named by its check, in the verdict and in what a person is told."""

from __future__ import annotations

import pytest

from winnow.validate.verdict import Verdict

from ...sampling import some
from .faults import FAULTS, Fault
from .world import make_world


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("fault", some(FAULTS, 5), ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_by_its_check(fault: Fault) -> None:
    world = make_world(7)
    fault.plant(world)
    verdict = world.judge()
    failed = {(c.name, c.severity) for c in verdict.checks if c.outcome == "fail"}
    assert (fault.check, fault.severity) in failed, verdict.reasons()
    assert verdict.verdict in (fault.severity, "block")
    assert any(line.startswith(f"{fault.severity}: {fault.check} ") for line in verdict.reasons())
    assert Verdict.from_bytes(verdict.to_bytes()) == verdict


def test_many_faults_of_many_kinds_are_planted() -> None:
    assert len({fault.name for fault in FAULTS}) >= 60
    assert len({fault.check for fault in FAULTS}) >= 50
