"""Who may read one campaign gets of another what they get of one that does not exist."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from winnow.console.nav import NAV
from winnow.dataset_owner import claim_dataset
from winnow.publish.rollback import roll_back
from winnow.publish.versions import read_version
from winnow.stages.tasks import dag_ids
from winnow_airflow import console_access, console_app, console_campaigns, console_runs

from ..console_world import World, campaign, day, settle
from .test_console_app import OPEN, Door, door, every_path  # noqa: F401

SEED = 7
NOW = datetime(2026, 11, 26, tzinfo=UTC)
OTHER = {
    "campaign": "veiled",
    "team": "quiet",
    "dataset": "unseen",
    "key": day(40),
    "dag": "veiled.label_pairs",
}
"""What is another campaign's, by the parameter of a query that names it."""
ABSENT = {
    "campaign": "absent",
    "team": "absent",
    "dataset": "absent",
    "key": day(41),
    "dag": "absent.label_pairs",
}
"""Of the same kind, and nobody's."""
OWN = {
    "campaign": "nightly",
    "team": "loud",
    "dataset": "nightly",
    "key": day(3),
    "dag": "nightly.label_pairs",
    "version": "v000001",
    "before": "v000001",
    "after": "v000001",
    "name": "README.md",
    "run": "r1",
    "month": "2026-11",
    "from": "2026-10-01",
    "to": "2026-12-01",
    "state": "open",
    "page": "1",
}
NEVER = ("veiled", "unseen", "quiet", "4.56", "SECRETS", "olga")


class Other(World):
    """A campaign with another dataset, team and price."""

    cost = 4_560_000


@pytest.fixture
def two(door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Door:  # noqa: F811
    """A lake of two campaigns, of which the viewer may read `nightly` alone."""
    own = campaign(team="loud")
    veiled = campaign(
        name="veiled", team="quiet", owner="olga", tags=["SECRETS"], publish={"dataset": "unseen"}
    )
    settle(tmp_path / "campaigns", own, veiled)
    door.world.campaign = own
    other = Other(door.world.lake, veiled)
    for world in (door.world, other):
        claim_dataset(world.lake, world.campaign.publish.dataset, world.campaign.name)
    for number in (40, 3, 2):
        other.make(day(number), text="SECRETS of the tide")
    other.make(day(1), "select", text="SECRETS of the tide")
    asked = door.asked_of = set()  # type: ignore[attr-defined]
    monkeypatch.setattr(console_app, "runs_of", lambda keys, **_: asked.update(keys) or {})
    monkeypatch.setattr(console_app, "begun", lambda names: asked.update(names) or {})
    monkeypatch.setattr(console_app, "paused", lambda names: asked.update(names) or {})

    class Session:
        def scalar(self, query: Any) -> str:
            return day(3)

    @contextmanager
    def session() -> Iterator[Session]:
        yield Session()

    monkeypatch.setattr(console_runs, "create_session", session)
    monkeypatch.setattr(console_app, "key_of", console_runs.key_of)
    return door


def may_read_all(door: Door) -> None:  # noqa: F811
    door.manager.listed |= set(dag_ids("veiled").values())


def asked_for(rng: random.Random, n: int) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Queries that name something of the other campaign, each beside one that names nobody's."""
    names = [some for k in (1, 2) for some in combinations(OTHER, k)]
    pairs = []
    for _ in range(n):
        theirs = rng.choice(names)
        rest = {name: OWN[name] for name in sorted(OWN.keys() - {*theirs}) if rng.random() < 0.35}
        pairs.append(
            tuple({**rest, **{name: each[name] for name in theirs}} for each in (OTHER, ABSENT))
        )
    return [
        *(({name: OTHER[name]}, {name: ABSENT[name]}) for name in OTHER),
        *pairs,
    ]


def answer(door: Door, path: str, query: Mapping[str, str]) -> tuple[int, dict[str, str], str]:  # noqa: F811
    """Status, headers and body, without the time; the key is taken out, which errors repeat."""
    found: httpx.Response = door.ask(f"{path}?{urlencode(query)}")
    text = re.sub(r"<time .*?</time>", "", found.text)
    key = query.get("key", "") if query.get("key") in (OTHER["key"], ABSENT["key"]) else ""
    headers = {k: v for k, v in found.headers.items() if k != "content-length"}
    return found.status_code, headers, text.replace(key, "KEY") if key else text


def test_the_other_campaign_is_as_one_that_does_not_exist(two: Door) -> None:
    paths = sorted(path.lstrip("/") for path in set(every_path(two.app)) - OPEN)
    rng, statuses = random.Random(SEED), set()
    for path in paths:
        for theirs, nobodys in asked_for(rng, 40):
            found = answer(two, path, theirs)
            assert found == answer(two, path, nobodys), (path, theirs)
            assert not [word for word in NEVER if word in str(found)], (path, theirs)
            statuses.add((path, found[0]))
    assert two.asked_of == {"nightly"}  # type: ignore[attr-defined]
    refused = {path for path, status in statuses if status == 404}
    assert refused == {*console_app.PAGES, *console_app.FILES, "run"}


def test_nothing_of_the_other_campaign_stands_on_any_page(two: Door) -> None:
    pages = [*console_app.PAGES, f"batch?key={day(3)}", "datasets?dataset=nightly&version=v1"]
    for page in [*pages, "spend?month=2026-10", "spend?month=2026-11"]:
        found = two.ask(page)
        assert not [word for word in NEVER if word in found.text], page
    assert "$0.80" in two.ask("spend").text
    assert day(40) not in two.ask("batches").text


def test_who_may_read_both_finds_all_that_is_hidden_above(two: Door) -> None:
    may_read_all(two)
    seen = "".join(two.ask(page).text for page in ("batches", "datasets", "spend", "selector"))
    assert not [word for word in ("veiled", "unseen", "quiet", "4.56") if word not in seen]
    assert day(40) in seen
    assert "SECRETS" in two.ask(f"batch?campaign=veiled&key={day(3)}").text
    assert two.ask("file?dataset=unseen&version=v1&name=README.md").status_code == 200
    location = two.ask("run?dag=veiled.label_pairs&run=x").headers["location"]
    assert location == f"batch?campaign=veiled&key={day(3)}"


def test_a_key_of_several_campaigns_asks_which_and_of_one_shows_it(two: Door) -> None:
    may_read_all(two)
    both = two.ask(f"batch?key={day(3)}").text
    for name in ("veiled", "nightly"):
        assert f'href="batch?campaign={name}&amp;key={day(3)}"' in both
    assert "Campaign veiled. Read at" in two.ask(f"batch?key={day(40)}").text
    assert two.ask(f"batch?key={day(41)}").status_code == 404


def test_every_link_of_a_page_says_whose_page_it_leads_to(two: Door) -> None:
    may_read_all(two)
    pages = (*NAV, f"batch?key={day(3)}", "datasets?version=v1")
    for page in pages:
        alone = two.ask(f"{page}{'&' if '?' in page else '?'}campaign=nightly").text
        names = "|".join(
            filter(None, (path.strip("/") for path in set(every_path(two.app)) - OPEN))
        )
        ours = rf'href="((?:{names})\b[^"]*)"'
        links = re.findall(ours, alone)
        assert links, page
        assert all("campaign=nightly" in link for link in links), (page, links)


@pytest.mark.parametrize("page", ["batches", "datasets", "spend", "selector"])
def test_pages_of_a_team_are_of_its_campaigns_alone(two: Door, page: str, tmp_path) -> None:
    may_read_all(two)
    third = campaign(name="third", team="loud", publish={"dataset": "third"})
    settle(tmp_path / "campaigns", third)
    two.manager.listed |= set(dag_ids("third").values())
    table = re.search(r"<table>.*</table>", two.ask(f"{page}?team=loud").text, re.S)
    assert table
    assert "veiled" not in table[0]
    assert "nightly" in table[0]
    assert 'name="team"' in two.ask(page).text


def test_a_teams_budget_is_for_who_may_read_all_of_its_campaigns(two: Door, tmp_path) -> None:
    third = campaign(name="third", team="loud", publish={"dataset": "third"})
    settle(tmp_path / "campaigns", third, campaign(name="veiled", team="loud"))
    two.manager.listed |= set(dag_ids("third").values())
    (tmp_path / "campaigns" / "teams.yaml").write_text("loud: {budget_month_usd: 7777}")
    assert "$7,777" not in two.ask("spend").text
    may_read_all(two)
    assert "of $7,777" in two.ask("spend").text
    (tmp_path / "campaigns" / "teams.yaml").write_text("loud: {budget_month_usd: 8888}")
    assert "of $8,888" in two.ask("spend").text


def test_a_teams_budget_counts_campaigns_whose_file_is_gone(two: Door, tmp_path) -> None:
    third = campaign(name="third", team="loud", publish={"dataset": "third"})
    Other(two.world.lake, third).make(day(5))
    (tmp_path / "campaigns" / "teams.yaml").write_text("loud: {budget_month_usd: 7777}\nquiet: {}")
    assert "$7,777" not in two.ask("spend").text
    two.manager.listed |= set(dag_ids("third").values())
    assert "of $7,777" in two.ask("spend").text


@pytest.mark.parametrize("lacking", sorted(dag_ids("veiled").values()))
def test_a_campaign_is_read_by_who_may_read_all_five_dags(two: Door, lacking: str) -> None:
    may_read_all(two)
    two.manager.listed.remove(lacking)
    assert two.ask("batches?campaign=veiled").status_code == 404
    may_read_all(two)
    two.manager.denied = {(lacking, console_access.DagAccessEntity.TASK_INSTANCE)}
    assert two.ask("batches?campaign=veiled").status_code == 404
    assert two.ask("batches?campaign=nightly").status_code == 200


def test_dags_that_airflow_does_not_know_are_asked_for_by_name_but_not_under_teams(
    two: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_access, "dags_known", lambda dags: dags & two.manager.listed)
    assert two.ask("batches?campaign=veiled").status_code == 200
    two.manager.denied = {("veiled.label_pairs", None)}
    assert two.ask("batches?campaign=veiled").status_code == 404
    two.manager.denied = set()
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    assert two.ask("batches?campaign=veiled").status_code == 404


def test_a_campaign_whose_file_is_gone_or_broken_stays_readable(two: Door, tmp_path) -> None:
    may_read_all(two)
    file = tmp_path / "campaigns" / "veiled.yaml"
    file.write_text("name: veiled\n")
    assert "its file is gone" not in two.ask("batches").text
    assert two.ask("datasets?campaign=veiled").status_code == 200
    file.unlink()
    assert "its file is gone" in two.ask("batches").text
    assert "unseen" in two.ask("datasets?campaign=veiled").text
    two.manager.listed -= set(dag_ids("veiled").values())
    assert two.ask("batches?campaign=veiled").status_code == 404


def test_a_dataset_that_a_campaign_names_and_another_owns_is_the_owners(
    two: Door, tmp_path
) -> None:
    settle(tmp_path / "campaigns", campaign(team="loud", publish={"dataset": "unseen"}))
    lake = two.world.lake
    roll_back(lake, read_version(lake, "unseen", 1), "SECRETS were in it", "olga", NOW)
    for path in ("datasets", "datasets?dataset=unseen", "file?version=v1&name=README.md"):
        found = two.ask(path)
        assert found.status_code == 404, path
        assert "SECRETS" not in found.text
    selector = two.ask("selector")
    assert selector.status_code == 200
    assert "is a rollback" not in selector.text


def test_a_changed_file_is_seen_and_the_others_are_not_read_again(
    two: Door, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read_all(two)
    two.ask("spend")
    read: list[str] = []
    real = console_campaigns.settled
    monkeypatch.setattr(console_campaigns, "settled", lambda name: read.append(name) or real(name))
    two.ask("spend")
    assert read == []
    settle(tmp_path / "campaigns", campaign(name="veiled", publish={"dataset": "newset"}))
    assert "newset" in two.ask("datasets").text
    assert read == ["veiled"]
