"""The dashboard asks for what is emitted, all of it, and for nothing else."""

from __future__ import annotations

import itertools
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.stages.tasks import METRICS

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD = json.loads((DOCKER / "grafana" / "winnow.json").read_text())
MAPPINGS = yaml.safe_load((DOCKER / "statsd-mapping.yml").read_text())["mappings"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\b(?:winnow|airflow)_[a-z0-9_]+")


def in_prometheus(statsd: str) -> str:
    """What statsd_exporter calls a metric, by the mapping file."""
    for mapping in MAPPINGS:
        if fnmatchcase(statsd, mapping["match"]):
            rest = statsd.removeprefix(mapping["match"].rstrip("*"))
            return str(mapping["name"]).replace("$1", rest)
    return statsd.replace(".", "_")


OURS = {in_prometheus(f"airflow.winnow.{metric.name}") for metric in METRICS}


@pytest.fixture(scope="module")
def airflows() -> set[str]:
    """What Airflow says that it emits."""
    import airflow

    found = Path(airflow.__file__).parent.glob("_shared/observability/metrics/*.yaml")
    metrics = yaml.safe_load(next(found).read_text())["metrics"]
    names = {in_prometheus(f"airflow.{metric['name']}") for metric in metrics}
    timers = [in_prometheus(f"airflow.{m['name']}") for m in metrics if m["type"] == "timer"]
    return names | {f"{timer}_{part}" for timer in timers for part in ("count", "sum", "bucket")}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_is_emitted(panel: dict[str, Any], airflows: set[str]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        names = set(NAME.findall(re.sub(r'"[^"]*"', "", target["expr"])))
        assert names
        assert names <= OURS | airflows, names - OURS - airflows


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_line_of_a_campaign_is_named_after_it(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert ("$campaign" in target["expr"]) == ("{{campaign}}" in target["legendFormat"])


def test_the_first_failure_of_its_kind_is_seen() -> None:
    """A counter that is new begins with its first count, of which `increase` knows nothing."""
    titles = {"Failed tasks", "Runs that failed", "Deadlines missed"}
    for panel in (panel for panel in PANELS if panel["title"] in titles):
        for target in panel["targets"]:
            metric = target["expr"].removeprefix("(increase(").partition("[")[0]
            seen = f"({metric} unless {metric} offset $__rate_interval)"
            assert target["expr"] == f"(increase({metric}[$__rate_interval]) > 0) or {seen}"


def test_each_metric_of_winnow_has_a_panel() -> None:
    asked = {n for p in PANELS for t in p["targets"] for n in NAME.findall(t["expr"])}
    assert asked >= OURS


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(DASHBOARD)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert set(place) == {"h", "w", "x", "y"} and place["x"] + place["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(PANELS)))
    assert used - {"__range", "__rate_interval"} <= variables
    for panel in PANELS:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        assert panel["type"] in ("timeseries", "stat")


def test_no_two_metrics_share_a_name() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
