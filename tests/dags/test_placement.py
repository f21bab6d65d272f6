"""GPU tasks go to Edge workers wherever Airflow has them, and nowhere that a host cannot name."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("changed", "placed"),
    [
        ({"engine": "brought", "features": ["text"]}, False),
        ({"engine": "brought", "features": ["vector", "score"]}, False),
        ({"engine": "brought", "features": ["embedding"]}, True),
        ({}, True),
    ],
)
def test_only_what_loads_a_model_goes_to_the_gpu(changed: dict[str, Any], placed: bool) -> None:
    from winnow.campaign import parse_campaign
    from winnow_airflow.policy import where_generated

    campaign = parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": ["prompts"]},
            "expand": {"model": "m", **changed},
            "label": {"budget_usd": 1},
            "publish": {"dataset": "small"},
        },
        "test",
    )
    place = where_generated(campaign)
    assert (place.get("queue"), place.get("pool")) == (("gpu",) * 2 if placed else (None,) * 2)
