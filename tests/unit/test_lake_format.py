"""A lake names its format once, and a release that does not know it writes nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.batch import open_batch
from winnow.campaign import parse_campaign
from winnow.errors import Corrupt, Fatal
from winnow.lake import FolderLake, Lake
from winnow.lake_format import FORMAT, PATH, claim_format, format_of
from winnow.stored import sealed_json


def test_the_first_batch_names_the_format(lake: Lake) -> None:
    assert format_of(lake) is None
    claim_format(lake, "0.5.0")
    named = lake.read(PATH)
    claim_format(lake, "0.6.0")
    assert (format_of(lake), lake.read(PATH)) == (FORMAT, named)


def test_a_newer_lake_is_left_as_it_is(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    lake.create(PATH, sealed_json({"format": FORMAT + 1, "since": "0.9.0"}))
    campaign = parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": ["prompts"]},
            "expand": {"model": "tiny"},
            "label": {"budget_usd": 1},
            "publish": {"dataset": "small"},
        },
        "test",
    )
    with pytest.raises(Fatal, match=r"format 2, of winnow 0\.9\.0 and later"):
        open_batch(campaign, "2026-11-22", lake, lambda: pytest.fail("no clock is read"))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [PATH]


@pytest.mark.parametrize("content", [b"{", b'{"format": "1"}', b'{"format": true}', b"[]"])
def test_a_name_that_is_none_is_damage(tmp_path: Path, content: bytes) -> None:
    lake = FolderLake(tmp_path)
    lake.create(PATH, content)
    with pytest.raises(Corrupt):
        format_of(lake)
