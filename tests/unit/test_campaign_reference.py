"""The reference of a campaign's settings is that of the settings as they are."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from winnow.campaign import Campaign
from winnow.campaign_reference import campaign_reference

PAGE = Path(__file__).parents[2] / "docs" / "campaign.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == campaign_reference(), (
        "python -m winnow.campaign_reference > docs/campaign.md"
    )


def test_every_setting_has_words_and_its_example_is_a_campaign() -> None:
    page = campaign_reference()
    rows = re.findall(r"^\| `\w+` \|.*$", page, re.M)
    assert len(rows) > 100
    assert not [row for row in rows if row.rstrip("| ").endswith(("`", "**", "null"))]
    Campaign.model_validate(yaml.safe_load(page.split("```")[1].removeprefix("yaml\n")))
