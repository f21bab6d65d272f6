"""GPU tasks go to Edge workers wherever Airflow has them, and nowhere that a host cannot name."""

from __future__ import annotations

import pytest

EDGE = "airflow.providers.edge3.executors.EdgeExecutor"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("LocalExecutor", None),
        ("CeleryExecutor,KubernetesExecutor", None),
        (EDGE, EDGE),
        (f"CeleryExecutor,{EDGE}", EDGE),
        (f"LocalExecutor, {EDGE},CeleryExecutor", EDGE),
        (f"CeleryExecutor,gpus:{EDGE}", "gpus"),
    ],
)
def test_the_edge_executor_is_named_as_the_setting_names_it(
    monkeypatch: pytest.MonkeyPatch, setting: str, named: str | None
) -> None:
    from winnow_airflow.policy import gpu_executor

    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", setting)
    assert gpu_executor() == named
