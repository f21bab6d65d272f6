"""The gate bench: simulated campaigns have the models that they name, and figures add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from winnow.cli import main
from winnow.errors import Fatal
from winnow.reward import ExplorationNight
from winnow_bench import gate


def test_every_kind_is_what_it_says() -> None:
    rows = {kind: gate.operating(kind, 5)[0] for kind in gate.KINDS}
    coin = np.log(2.0)
    assert 0.60 < rows["useful"]["log_loss"] < rows["weak"]["log_loss"] < 0.68
    assert rows["useless"]["log_loss"] == pytest.approx(coin, abs=0.01)
    assert rows["length"]["log_loss"] == pytest.approx(rows["length"]["length_log_loss"], abs=0.005)
    assert coin < rows["random"]["log_loss"] < rows["inverted"]["log_loss"]
    assert rows["turns bad"]["log_loss"] > coin > rows["turns good"]["log_loss"]


def test_shares_of_a_night_add_up_and_lie_within_their_intervals() -> None:
    for row in gate.operating("turns bad", 7):
        assert [at["night"] for at in row["nights"]] == list(gate.NIGHTS)
        for at in row["nights"]:
            assert sum(at[name][0] for name in ("open", "undecided", "closed")) == pytest.approx(1)
            assert at["closed"][0] <= at["ever_closed"][0]
            for share, low, high in (at["open"], at["ever_closed"]):
                assert low - 1e-9 <= share <= high + 1e-9


def test_the_gate_errs_less_than_the_one_before_it_and_finds_what_is_bad() -> None:
    rows = {(r["kind"], r["gate"]): r for k in ("weak", "inverted") for r in gate.operating(k, 8)}
    last = {key: row["nights"][-1] for key, row in rows.items()}
    assert last["weak", "by evidence"]["ever_closed"][0] == 0.0
    assert last["weak", "two standard errors"]["ever_closed"][0] > 0.8
    assert last["inverted", "by evidence"]["closed"][0] == 1.0
    median, most = rows["inverted", "by evidence"]["labels_until_closed"]
    assert 0 < median <= most < 500
    assert rows["weak", "by evidence"]["labels_until_closed"] == [None, None]


def test_labels_after_a_turn_are_counted_from_it() -> None:
    turned = gate.operating("turns bad", 10)[0]
    ever = {at["night"]: at["ever_closed"][0] for at in turned["nights"]}
    assert (ever[gate.TURNS], ever[100]) == (0.0, 1.0)
    assert turned["labels_until_closed"][1] < 50 * gate.LABELS_A_NIGHT


def test_the_gate_before_needs_a_hundred_labels_and_two_standard_errors() -> None:
    rng, before = np.random.default_rng(0), gate.TwoErrors()
    p = rng.uniform(0.1, 0.9, 600)
    y = (rng.random(600) < p).astype(float)
    nights = [
        ExplorationNight(p[k : k + 60], rng.normal(size=60), y[k : k + 60])
        for k in range(0, 600, 60)
    ]
    states = [before.add(night) for night in nights]
    assert (states[0], states[-1]) == ("undecided", "open")
    assert gate.TwoErrors().add(ExplorationNight(1.0 - p, np.zeros(600), y)) == "closed"


def test_a_campaign_that_learns_is_the_same_twice_and_pays_for_falling_back() -> None:
    prompts = gate.planted(0)
    never, always, again = (
        gate.learnt(prompts, arm, 0) for arm in ("no gate", "always fallen back", "no gate")
    )
    assert never == again
    assert (never["nights closed"], always["nights closed"]) == (1.0, 9.0)
    assert always["winners"] < never["winners"] - 0.05


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "gate", "--out", str(tmp_path), "--campaigns", "2", "--seeds", "2"]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "2 campaigns a cell" in printed and "Cannot show:" in printed
    report = json.loads((tmp_path / "gate.json").read_text())
    assert {row["kind"] for row in report["rows"]} == set(gate.KINDS)
    assert {row["arm"] for row in report["costs"]} == set(gate.ARMS)
    page = (tmp_path / "gate.html").read_text()
    assert page.count("<svg") >= 4 and "turns bad" in page


def test_too_few_of_either_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="use at least"):
        gate.run(tmp_path, 0, 2, None, print)
