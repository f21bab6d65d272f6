"""Teams of a campaigns folder, and what their campaigns may buy for."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.campaign import Campaign, parse_campaign
from winnow.campaign.teams import Limits, Team, limits_of, read_teams
from winnow.errors import Fatal


def campaign(team: str | None = None, month: float | None = None) -> Campaign:
    return parse_campaign(
        {
            "name": "chat",
            "team": team,
            "ingest": {"sources": ["nowhere"]},
            "expand": {"model": "tiny"},
            "label": {"budget_usd": 5.0, "budget_month_usd": month},
            "publish": {"dataset": "chat"},
        },
        "test",
    )


def test_a_folder_has_teams_or_none(tmp_path: Path) -> None:
    assert read_teams(tmp_path) == {}
    (tmp_path / "teams.yaml").write_text("# none yet\n")
    assert read_teams(tmp_path) == {}
    (tmp_path / "teams.yaml").write_text("safety: {budget_month_usd: 3e3}\nchat: {}\n")
    assert read_teams(tmp_path) == {"safety": Team(budget_month_usd=3000.0), "chat": Team()}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("safety: {budget_month_usd: -1}", "safety.budget_month_usd: .* greater than or equal"),
        ("safety: {budget_month_usd: lots}", "safety.budget_month_usd: .* valid number"),
        ("safety: {budget: 3}", "safety.budget: Extra inputs"),
        ("safety: 3000", "safety: "),
        ("Safe Ty: {}", "Safe Ty"),
        ("- safety", "teams: "),
        ("safety: {}\nsafety: {}", "safety stands twice, line 2"),
        ("safety: {", "not valid YAML"),
        ("safety: {budget_month_usd: 1e99}", "safety.budget_month_usd"),
    ],
)
def test_each_fault_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "teams.yaml").write_text(text)
    with pytest.raises(Fatal, match=named) as raised:
        read_teams(tmp_path)
    assert str(tmp_path / "teams.yaml") in str(raised.value)


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "teams.yaml").mkdir()
    with pytest.raises(Fatal, match=r"teams\.yaml cannot be read"):
        read_teams(tmp_path)


def test_a_campaign_has_its_own_limit_and_its_teams(tmp_path: Path) -> None:
    (tmp_path / "teams.yaml").write_text("safety: {budget_month_usd: 30.5}\nchat: {}\n")
    place = str(tmp_path / "teams.yaml")
    assert limits_of(campaign(), tmp_path) == Limits()
    assert limits_of(campaign(month=7.1), tmp_path) == Limits(7_100_000)
    assert limits_of(campaign("safety"), tmp_path) == Limits(None, "safety", 30_500_000, place)
    assert limits_of(campaign("chat", 0.0), tmp_path) == Limits(0, "chat", None, place)


def test_a_team_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    for text in ("", "chat: {}"):
        (tmp_path / "teams.yaml").write_text(text)
        with pytest.raises(Fatal, match=r"chat has team: safety, .*teams\.yaml.*add the team"):
            limits_of(campaign("safety"), tmp_path)
    (tmp_path / "teams.yaml").unlink()
    with pytest.raises(Fatal, match="add the team"):
        limits_of(campaign("safety"), tmp_path)
    # A campaign without a team does not need the file to be right.
    (tmp_path / "teams.yaml").write_text("{")
    assert limits_of(campaign(), tmp_path) == Limits()
