"""What exploration votes say of the models that chose them, night by night."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from winnow.batch import Artifact, Manifest
from winnow.ids import digest
from winnow.lake import FolderLake, Lake
from winnow.reward import OVERALL, Block, Posterior, Projection, RewardModel
from winnow.stages.select import reward_model
from winnow.stages.select.trust import BATCHES, measure
from winnow.stored import read_sealed, sealed_json

Night = tuple[Manifest, list[dict[str, Any]]]


def model() -> RewardModel:
    projection = Projection(np.zeros(1), np.ones(1), (Block("style", 1),), ())
    return RewardModel(projection, {OVERALL: Posterior(np.ones(1), np.eye(1), 1.0, 500)}, "v")


def stored(lake: Lake) -> Artifact:
    data = model().to_bytes()
    lake.create("model.npz", data)
    return Artifact("model.npz", digest(data), 0, len(data))


def nights(lake: Lake, n: int, labels: int = 500, knows: bool = True) -> list[Night]:
    """Batches of 30 exploration votes and 30 others, which a model foresaw as well as it may."""
    rng, made = np.random.default_rng(7), []
    for night in range(n):
        select = Manifest(
            *("small", f"2026-11-{night + 1:02}", "select", {}),
            *({"reward_model": stored(lake)}, "", "", {}),
            figures={"posterior_labels": labels},
        )
        p = rng.uniform(0.1, 0.9, 60)
        y = (rng.random(60) < (p if knows else 1.0 - p)).astype(float)
        votes = [
            {
                "kind": "exploration" if k < 30 else "selected",
                "contested": OVERALL,
                "seen": (np.zeros(1), np.ones(1)),
                "p_first": float(p[k]),
                "length": float(rng.normal()),
                "preference": float(y[k]) if k < 30 else float(p[k] < 0.5),
                "prompt_id": f"{night}-{k}",
            }
            for k in range(60)
        ]
        made.append((select, votes))
    return made


def test_the_gate_weighs_every_night_and_the_rest_is_of_the_last(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    every = nights(lake, BATCHES + 20)
    all_nights, last = measure(lake, every), measure(lake, every[-BATCHES:])
    assert all_nights.gate.state == "open"
    assert all_nights.gate.log_help > last.gate.log_help + 5.0
    assert all_nights.gate.n == last.gate.n == 30 * BATCHES
    assert all_nights.gate.log_loss == last.gate.log_loss
    assert all_nights.calibration == last.calibration
    assert all_nights.temperature == last.temperature
    assert measure(lake, every) == all_nights, "the same lake says the same"
    json.dumps(all_nights.figures(), allow_nan=False)


def test_only_votes_on_pairs_that_the_model_did_not_choose_count(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    every = nights(lake, 12)
    explored = [(s, [v for v in votes if v["kind"] == "exploration"]) for s, votes in every]
    assert measure(lake, every) == measure(lake, explored)


def test_an_inverted_model_is_found_in_few_nights(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    assert measure(lake, nights(lake, 4, knows=False)).gate.state == "closed"


def test_votes_before_the_first_model_teach_what_length_says_and_judge_nothing(
    tmp_path: Path,
) -> None:
    lake = FolderLake(tmp_path)
    blind, judged = nights(lake, 3, labels=0, knows=False), nights(lake, 3)
    alone, with_blind = measure(lake, judged).gate, measure(lake, [*blind, *judged]).gate
    assert measure(lake, blind).gate.n == 0
    assert (with_blind.n, with_blind.log_loss) == (alone.n, alone.log_loss)
    assert with_blind.length_log_loss != alone.length_log_loss


def test_the_pointer_carries_the_sentence_and_one_without_is_read(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    trust = measure(lake, nights(lake, 4, knows=False))
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
