"""The pages over several campaigns: in order, filtered, each row leading to its campaign's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from winnow.campaign import Campaign
from winnow.campaign.teams import Limits
from winnow.console import scope as scopes
from winnow.console.memory import at_once
from winnow.console.scope import NO_DATASET, Scope, owner_among, settings_left
from winnow.console.shell import Airflow, NotFound, Site
from winnow.console.show import Shown, show
from winnow.dataset_owner import claim_dataset
from winnow.errors import Corrupt
from winnow.ingest.ledger import ledger_path
from winnow.label.purchases import Purchase
from winnow.lake import FolderLake
from winnow.operate.standing import Run

from ...console_world import BLOCKING, World, campaign, day

TEAMS = {"a": "red", "b": "red", "c": None}


class Counted(FolderLake):
    """A folder that tells what is read of it."""

    reads: ClassVar[list[str]] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return super().read(path)


@pytest.fixture
def worlds(tmp_path: Path) -> dict[str, World]:
    """Three campaigns with a dataset each, and no batch."""
    lake = Counted(tmp_path / "lake")
    made = {
        name: World(lake, campaign(name=name, team=team, publish={"dataset": f"of_{name}"}))
        for name, team in TEAMS.items()
    }
    for name in made:
        claim_dataset(lake, f"of_{name}", name)
    return made


def scope_of(worlds: Mapping[str, World], airflow: Airflow | None = None) -> Scope:
    return Scope({name: world.campaign for name, world in worlds.items()}, (), airflow)


def shown(worlds: Mapping[str, World], site: Site, name: str, /, **query: str) -> Shown:
    lake = next(iter(worlds.values())).lake
    return show(name, lake, scope_of(worlds), query, site)


def rows(found: Shown) -> list[tuple[str, str]]:
    """Campaign and key of each batch of the table, in order."""
    table = found.page.body[found.page.body.index('aria-label="Batches"') :]
    link = r'<th scope="row"><a href="batch\?campaign=(\w+)&amp;key=([^"]+)"'
    return re.findall(link, table)


def text(found: Shown) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", found.page.body).split())


def test_batches_of_all_campaigns_come_newest_first_in_parts(worlds: Any, site: Site) -> None:
    for n in range(40):
        for name in "ab" if n % 2 else "abc":
            worlds[name].take(worlds[name].batch(day(n)))
    pages = [rows(shown(worlds, site, "batches", page=str(n))) for n in (1, 2)]
    assert [len(each) for each in pages] == [50, 50]
    both = pages[0] + pages[1]
    assert len({*both}) == 100
    assert [key for _, key in both] == sorted((key for _, key in both), reverse=True)
    assert 'href="batches?page=2"' in shown(worlds, site, "batches").page.body


def test_hours_and_days_are_in_one_order(worlds: Any, site: Site) -> None:
    hourly = {"cron": "0 * * * *", "key": "hour"}
    worlds["a"].campaign = campaign(name="a", schedule=hourly, publish={"dataset": "of_a"})
    for name, key in (("a", "2026-11-24T23"), ("a", "2026-11-25T01"), ("b", "2026-11-24")):
        world = worlds[name]
        world.at = lambda key, hours=0.0: site.now
        world.take(world.batch(key))
    worlds["c"].take(worlds["c"].batch("2026-11-25"))
    assert rows(shown(worlds, site, "batches")) == [
        ("a", "2026-11-25T01"),
        ("c", "2026-11-25"),
        ("a", "2026-11-24T23"),
        ("b", "2026-11-24"),
    ]


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ({"from": day(2)}, [0, 1, 2]),
        ({"to": day(3)}, [3, 4, 5]),
        ({"from": day(3), "to": day(2)}, [2, 3]),
        ({"from": "x", "to": "2026-13-40"}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_batches_are_of_the_days_asked_for(
    worlds: Any, site: Site, query: dict[str, str], days: Sequence[int]
) -> None:
    for n in range(6):
        worlds["ab"[n % 2]].take(worlds["ab"[n % 2]].batch(day(n)))
    assert [key for _, key in rows(shown(worlds, site, "batches", **query))] == [
        day(n) for n in days
    ]


def test_a_team_has_its_campaigns_and_one_of_one_campaign_is_that_ones_page(
    worlds: Any, site: Site
) -> None:
    for world in worlds.values():
        world.make(day(0))
    assert {name for name, _ in rows(shown(worlds, site, "batches", team="red"))} == {"a", "b"}
    worlds["c"].campaign = campaign(name="c", team="blue", publish={"dataset": "of_c"})
    alone = shown(worlds, site, "batches", team="blue")
    assert alone.about == "Campaign c"
    assert alone.site.asked == {"campaign": "c"}
    assert [dict(field.options).keys() for field in alone.site.choose] == [{"", "a", "b", "c"}]
    for wrong in ({"team": "green"}, {"campaign": "d"}):
        with pytest.raises(NotFound, match="There is no such"):
            shown(worlds, site, "batches", **wrong)


def test_only_the_batches_of_the_page_and_the_newest_are_read(worlds: Any, site: Site) -> None:
    for n in reversed(range(60)):
        worlds["a"].take(worlds["a"].batch(day(n)))
        worlds["b"].take(worlds["b"].batch(day(n)))
    Counted.reads.clear()
    shown(worlds, site, "batches", page="2")
    keys = {path.split("/")[2] for path in Counted.reads if path.startswith("batches/")}
    assert keys == {day(n) for n in (0, 1, 2, *range(25, 50))}


def test_what_is_stuck_says_whose_it_is_and_leads_there(worlds: Any, site: Site) -> None:
    worlds["a"].judge(worlds["a"].make(day(0), "label"), BLOCKING)
    worlds["b"].make(day(0))
    body = shown(worlds, site, "batches").page.body
    assert f'<h3>a <a href="batch?campaign=a&amp;key={day(0)}">' in body
    assert "airflow dags clear a.publish_dataset" in body


def test_airflow_is_asked_once_for_all_campaigns(worlds: Any, site: Site) -> None:
    asked: list[tuple[str, Any]] = []
    run = Run("b", "ingest", day(0), "r1", "running", failures=(), waiting=())

    def runs(keys: Mapping[str, Sequence[str]]) -> Any:
        asked.append(("runs", {name: sorted(own) for name, own in keys.items()}))
        return {"b": {day(0): [run]}}

    airflow = Airflow(runs, lambda names: {"b": [day(0), "../x"]}, lambda names: {})
    worlds["a"].make(day(1), "select")
    lake = worlds["a"].lake
    found = show("batches", lake, scope_of(worlds, airflow), {}, replace(site, ui="../"))
    assert asked == [("runs", {"a": [day(1)], "b": [day(0)]})]
    assert rows(found) == [("b", day(0)), ("a", day(1))]
    assert "../dags/b.ingest_prompts/runs/r1" in found.page.body
    one = show("batch", lake, scope_of(worlds, airflow), {"key": day(0)}, site)
    assert one.about == "Campaign b"


def test_a_ledger_that_cannot_be_read_takes_no_other_campaign_with_it(
    worlds: Any, site: Site
) -> None:
    for world in worlds.values():
        world.make(day(0))
    (worlds["a"].lake.root / ledger_path("a")).write_text("{")
    for page in ("batches", "spend", "selector", "datasets"):
        body = shown(worlds, site, page).page.body
        assert "campaign=b" in body, page
    assert "Batches of a cannot be read" in text(shown(worlds, site, "batches"))


def test_spend_sums_a_month_by_campaign_and_by_team(worlds: Any, site: Site) -> None:
    for name, n in (("a", 3), ("b", 2), ("c", 1)):
        for number in range(n):
            worlds[name].make(day(number))
    worlds["c"].make("2026-10-31")
    label = {"budget_usd": 30.0, "budget_month_usd": 900.0}
    worlds["c"].campaign = campaign(name="c", label=label, publish={"dataset": "of_c"})
    found = text(shown(worlds, site, "spend"))
    assert "$4.80 spent" in found
    assert "red 2 5 $4.00" in found
    assert "a team red 3 $2.40" in found
    assert "c 1 $0.80 $30.00 $900.00" in found
    older = shown(worlds, site, "spend", month="2026-10")
    assert "$0.80 spent" in text(older)
    assert 'href="spend?campaign=c&amp;month=2026-10"' in older.page.body


def test_a_teams_budget_is_shown_with_what_its_campaigns_reserved(worlds: Any, site: Site) -> None:
    worlds["a"].make(day(0))
    lake = worlds["a"].lake
    limits = Limits(team="red", team_month=9_000_000)
    Purchase(lake, "a", "batches/a/x", "x", 0).reserve(2_500_000, limits)
    month = f"{lake.now():%Y-%m}"
    scope = replace(scope_of(worlds), team_budgets={"red": 9_000_000})
    found = text(show("spend", lake, scope, {"month": month}, site))
    assert "$2.50 of $9.00" in found
    hidden = text(show("spend", lake, scope_of(worlds), {"month": month}, site))
    assert "$2.50 of" not in hidden


def test_datasets_and_selectors_have_a_row_a_campaign(worlds: Any, site: Site) -> None:
    worlds["a"].make(day(1))
    worlds["a"].make(day(0))
    sets = shown(worlds, site, "datasets")
    assert "of_a v000002" in text(sets)
    assert "of_b no version yet" in text(sets)
    assert "datasets?campaign=a&amp;dataset=of_a&amp;version=v000002" in sets.page.body
    selectors = shown(worlds, site, "selector")
    assert "a team red gate open 8" in text(selectors)
    assert "no batch was published lately" in text(selectors)
    assert 'href="selector?campaign=b"' in selectors.page.body


def test_a_dataset_is_its_owners_and_nobody_elses(worlds: Any, site: Site) -> None:
    worlds["a"].make(day(0))
    lake, memory = worlds["a"].lake, site.memory
    campaigns: dict[str, Campaign] = dict(scope_of(worlds).campaigns)
    thief = campaign(name="b", publish={"dataset": "of_a"})
    assert owner_among(lake, campaigns, "of_a", memory) == "a"
    assert owner_among(lake, {"b": campaigns["b"]}, "of_b", memory) == "b"
    for known, name in (({"b": thief}, "of_a"), (campaigns, "of_x"), (campaigns, "../x")):
        with pytest.raises(NotFound, match=NO_DATASET):
            owner_among(lake, known, name, memory)


def test_whose_a_dataset_is_may_be_damaged_for_its_own_campaign_alone(
    worlds: Any, site: Site
) -> None:
    worlds["a"].make(day(0))
    lake = worlds["a"].lake
    (lake.root / "owners" / "of_a.json").write_text("{")
    campaigns = scope_of(worlds).campaigns
    with pytest.raises(Corrupt):
        owner_among(lake, campaigns, "of_a", site.memory)
    with pytest.raises(NotFound, match=NO_DATASET):
        owner_among(lake, {"b": campaigns["b"]}, "of_a", site.memory)


def test_a_campaign_without_a_file_has_the_settings_of_its_newest_batch(
    worlds: Any, site: Site
) -> None:
    worlds["a"].make(day(0))
    lake = worlds["a"].lake
    left = settings_left(lake, "a", site.memory)
    assert (left.team, left.publish.dataset) == ("red", "of_a")
    assert settings_left(lake, "b", site.memory).name == "b"
    assert list(scopes.names_in(lake, site.memory)) == ["a"]


def test_what_is_read_at_once_within_another_is_read_in_line() -> None:
    def read(name: str) -> dict[str, str]:
        return at_once(lambda inner: name + inner, ["x", "y"])

    assert at_once(read, ["a", "b"]) == {
        "a": {"x": "ax", "y": "ay"},
        "b": {"x": "bx", "y": "by"},
    }
