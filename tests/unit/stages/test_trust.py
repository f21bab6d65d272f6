"""What exploration votes say of the models that chose them, night by night."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.lake import FolderLake
from winnow.records import TRAINING, to_table
from winnow.reward import OVERALL, Block, Posterior, Projection, RewardModel
from winnow.stages.select import reward_model
from winnow.stages.select.trust import BATCHES, Before, Explored, measure
from winnow.stored import read_sealed, sealed_json


def model() -> RewardModel:
    projection = Projection(np.zeros(1), np.ones(1), (Block("style", 1),), ())
    return RewardModel(projection, {OVERALL: Posterior(np.ones(1), np.eye(1), 1.0, 500)}, "v")


def rows(n: int, knows: bool = True) -> list[list[dict[str, Any]]]:
    """Nights of 30 exploration votes and 30 others, which a model foresaw as well as it may."""
    rng, made = np.random.default_rng(7), []
    for night in range(n):
        p = rng.uniform(0.1, 0.9, 60)
        y = (rng.random(60) < (p if knows else 1.0 - p)).astype(float)
        made.append(
            [
                {
                    "kind": "exploration" if k < 30 else "selected",
                    "mu": -1.0,
                    "sd": 1.0,
                    "p_first": float(p[k]),
                    "length": float(rng.normal()),
                    "preference": float(y[k]) if k < 30 else float(p[k] < 0.5),
                    "prompt_id": f"{night}-{k}",
                }
                for k in range(60)
            ]
        )
    return made


def explored(votes: list[dict[str, Any]], labels: int = 500) -> Explored:
    return Explored.of(to_table(votes, TRAINING), labels > 0)


def nights(n: int, labels: int = 500, knows: bool = True) -> list[Explored]:
    return [explored(votes, labels) for votes in rows(n, knows)]


def test_the_gate_weighs_every_night_and_the_rest_is_of_the_last() -> None:
    every = nights(BATCHES + 20)
    all_nights, last = measure(every), measure(every[-BATCHES:])
    assert all_nights.gate.state == "open"
    assert all_nights.gate.log_help > last.gate.log_help + 5.0
    assert all_nights.gate.n == last.gate.n == 30 * BATCHES
    assert all_nights.gate.log_loss == last.gate.log_loss
    assert all_nights.calibration == last.calibration
    assert all_nights.temperature == last.temperature
    assert measure(every) == all_nights, "the same lake says the same"
    json.dumps(all_nights.figures(), allow_nan=False)


@pytest.mark.parametrize("left", [0, 1, 7, BATCHES, BATCHES + 5, BATCHES + 20])
def test_nights_that_left_the_window_say_what_they_said_in_it(left: int) -> None:
    blind, judged = nights(2, labels=0), nights(BATCHES + 18)
    every = [*blind, *judged]
    before = Before().plus(every[: left // 2]).plus(every[left // 2 : left])
    stored = Before(**json.loads(json.dumps(asdict(before))))
    assert measure(every[left:], stored) == measure(every)


def test_only_votes_on_pairs_that_the_model_did_not_choose_count() -> None:
    every = rows(12)
    drawn = [[vote for vote in votes if vote["kind"] == "exploration"] for votes in every]
    assert measure([explored(v) for v in every]) == measure([explored(v) for v in drawn])


def test_an_inverted_model_is_found_in_few_nights() -> None:
    assert measure(nights(4, knows=False)).gate.state == "closed"


def test_votes_before_the_first_model_teach_what_length_says_and_judge_nothing() -> None:
    blind, judged = nights(3, labels=0, knows=False), nights(3)
    alone, with_blind = measure(judged).gate, measure([*blind, *judged]).gate
    assert measure(blind).gate.n == 0
    assert (with_blind.n, with_blind.log_loss) == (alone.n, alone.log_loss)
    assert with_blind.length_log_loss != alone.length_log_loss


def test_the_pointer_carries_the_sentence_and_one_without_is_read(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    trust = measure(nights(4, knows=False))
    path = reward_model.store(lake, "small", reward_model.Refitted(model(), trust, {}, {}), 1)
    current = reward_model.newest(lake, "small")
    assert current is not None
    assert (current.gate, current.gate_reason) == ("closed", trust.gate.reason)
    pointer = "campaigns/small/reward/latest.json"
    data, tag = lake.read_tagged(pointer)
    assert data is not None
    older = {k: v for k, v in read_sealed(data).items() if k != "gate_reason"}
    assert lake.swap(pointer, sealed_json(older), tag)
    again = reward_model.newest(lake, "small")
    assert again is not None
    assert (again.gate, again.gate_reason, again.path) == ("closed", "", path)
