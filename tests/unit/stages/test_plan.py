"""The plan is measured on the last batch's pools; without one it says what things cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from winnow.cli import main
from winnow.expand.manifests import speed_path

from .conftest import Night

PRICES = ["--gpu-usd-per-hour", "2", "--tokens-per-second", "1000", "--pool-sizes", "2,4,50"]


def asked(night: Night, tmp_path: Path, *more: str) -> list[str]:
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text(yaml.safe_dump(night.campaign.model_dump(mode="json")))
    return ["plan", "--campaign", str(campaign), "--lake", night.lake.uri, *PRICES, *more]


def test_a_plan_measures_gains_on_the_last_batch(
    night: Callable[..., Night], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = night()
    planned.choose(planned.batch())
    assert main(asked(planned, tmp_path, "--budget", "3", "--max-labels", "3")) == 0
    told = capsys.readouterr().out
    assert "Buy pools of" in told
    assert "50" in told


def test_without_a_batch_the_plan_asks_how_many_prompts_and_invents_no_gain(
    night: Callable[..., Night], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = night()
    assert main(asked(empty, tmp_path)) == 1
    assert "give --prompts" in capsys.readouterr().err
    assert main(asked(empty, tmp_path, "--prompts", "100")) == 0
    told = capsys.readouterr().out
    assert "Buy pools of" not in told
    assert "unknown" in told or "not measured" in told


def test_the_speed_of_the_last_batch_serves_where_none_is_given(
    night: Callable[..., Night], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = night()
    planned.choose(planned.batch())
    asked_for = [a for a in asked(planned, tmp_path, "--sizing") if a not in PRICES[2:4]]
    assert main(asked_for) == 1
    assert "give --tokens-per-second" in capsys.readouterr().err
    folder = planned.lake.root / f"{planned.batch().folder}/expand"
    (shard,) = (path.stem for path in (folder / "shards").iterdir())
    planned.lake.create(
        speed_path(f"{planned.batch().folder}/expand", shard), b'{"tokens": 7200, "seconds": 2}'
    )
    assert main(asked_for) == 0
    told = capsys.readouterr().out
    assert "3,600 tokens a second" in told
    assert "| 10,000 |" in told


def test_pools_that_are_brought_have_no_gpu_hours(
    night: Callable[..., Night], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = asked(night(), tmp_path, "--sizing")
    file = tmp_path / "campaign.yaml"
    said = yaml.safe_load(file.read_text())
    said["expand"] |= {"engine": "brought", "first_round": None}
    file.write_text(yaml.safe_dump(said))
    assert main(arguments) == 1
    assert "they take no GPU hours" in capsys.readouterr().err
