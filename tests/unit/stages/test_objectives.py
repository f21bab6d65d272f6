"""Several objectives: each dimension teaches a head of its own, and pairs at odds are known."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from winnow.batch import read_artifact, read_manifest
from winnow.campaign import parse_campaign
from winnow.label.tasks import rubric_version
from winnow.lake import FolderLake
from winnow.publish.pull import pull
from winnow.publish.versions import newest
from winnow.reward import RewardModel
from winnow.select import Pool, Rules, choose_pairs
from winnow.select.beside_people import BesidePeople, Prices
from winnow.stages.select import history, reward_model, training
from winnow.stages.select.fitting import fit_rows

from ...voted import PLANTED, VotedWorld, planted_weights
from .conftest import Night

TRAINER = Path(__file__).parents[3] / ".venv-trainer" / "bin" / "python"
PER_DIMENSION = {"head_per_dimension": True}
KEYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
ALL = (*PLANTED, "helpfulness")
SEEDS = 5
"""Nights of which each claim about planted data must hold."""


def planted(lake: Path, **select: Any) -> VotedWorld:
    """Nights whose people rate two dimensions at odds, and choose by their sum."""
    return VotedWorld(
        FolderLake(lake),
        select={**PER_DIMENSION, **select},
        per_night=300,
        rated=True,
        label={"rated_dimensions": list(PLANTED)},
    )


def likeness(model: RewardModel, head: str, weights_c: Any) -> float:
    """Correlation of what a head says with planted rewards, over fresh responses."""
    raw = np.random.default_rng(1).normal(size=(4000, model.n_columns))
    told = model.heads[head].mean(model.features(raw))
    return float(np.corrcoef(told, raw @ weights_c)[0, 1])


@pytest.mark.parametrize("day", range(1, 1 + SEEDS))
def test_two_dimensions_at_odds_are_both_learnt_and_one_head_of_all_learns_neither(
    tmp_path: Path, day: int
) -> None:
    world = planted(tmp_path / "lake")
    world.add(f"2026-11-{day:02}")
    fitted = world.refit()
    heads = fitted.model.heads
    assert {name: heads[name].n_labels for name in heads} == dict.fromkeys(ALL, world.per_night)
    weights = planted_weights(fitted.model.n_columns)
    assert min(likeness(fitted.model, name, weights[name]) for name in PLANTED) > 0.9
    assert fitted.past is not None
    rows, columns = history.joined(fitted.past.nights), world.columns(world.batches[-1])
    pooled = fit_rows(
        rows,
        None,
        columns.blocks,
        world.campaign.select.model_copy(update={"head_per_dimension": False}),
    )
    one = RewardModel(pooled.projection, dict(pooled.heads), columns.version)
    assert max(likeness(one, "overall", weights[name]) for name in PLANTED) < 0.65


@pytest.mark.parametrize("day", range(1, 1 + SEEDS))
def test_pairs_on_which_dimensions_are_at_odds_are_known(tmp_path: Path, day: int) -> None:
    world = planted(tmp_path / "lake")
    world.add(f"2026-11-{day:02}")
    model, rng = world.refit().model, np.random.default_rng(2)
    weights, said, true = planted_weights(model.n_columns), list[float](), list[bool]()
    flagged = 0
    for number in range(200):
        raw = rng.normal(size=(6, model.n_columns))
        names = [f"r{i}" for i in range(6)]
        asked = {"asked": "helpfulness", "rated": PLANTED}
        pool = Pool(f"{number:03}", names, model.features(raw), **asked)  # type: ignore[arg-type]
        for choice in choose_pairs(pool, model.heads, Rules(4, exploration=1.0, residual_sd=0.0)):
            one, other = ((raw[choice.i] - raw[choice.j]) @ weights[name] > 0 for name in PLANTED)
            assert choice.p_conflict is not None
            assert choice.conflict == (choice.p_conflict > 0.3)
            flagged += choice.conflict
            said.append(choice.p_conflict)
            true.append(bool(one != other))
    p_n, is_n = np.array(said), np.array(true)
    likely_n = p_n > 0.5
    assert is_n[likely_n].mean() > 0.75 > is_n.mean() + 0.05, "precision, against all pairs"
    assert likely_n[is_n].mean() > 0.8, "recall"
    assert (p_n > 0.3)[is_n].mean() > 0.95 and flagged == (p_n > 0.3).sum()
    for low, high in ((0.0, 0.3), (0.4, 0.6), (0.8, 1.0)):
        some = (p_n >= low) & (p_n < high)
        assert abs(p_n[some].mean() - is_n[some].mean()) < 0.2, (low, high)


@pytest.mark.parametrize("day", range(1, 1 + SEEDS))
def test_what_is_at_odds_goes_to_experts(tmp_path: Path, day: int) -> None:
    world = planted(tmp_path / "lake")
    world.add(f"2026-11-{day:02}")
    model, rng = world.refit().model, np.random.default_rng(4)
    weights, rules = planted_weights(model.n_columns), Rules(4, "decision_gain", 0.15)
    prices = Prices(people=1, judges={}, judge_share=0.0, expert_share=0.3)
    beside = BesidePeople(model.heads, {}, rules, prices, {}, experts="doctors")
    of_experts, of_people = list[bool](), list[bool]()
    for number in range(150):
        raw = rng.normal(size=(8, model.n_columns))
        names = [f"r{i}" for i in range(8)]
        pool = Pool(f"{number:03}", names, model.features(raw), asked="helpfulness", rated=PLANTED)
        for choice in beside.of(pool, choose_pairs(pool, model.heads, rules)):
            one, other = ((raw[choice.i] - raw[choice.j]) @ weights[name] > 0 for name in PLANTED)
            [name] = choice.sources
            (of_experts if name == "doctors" else of_people).append(bool(one != other))
    assert np.mean(of_experts) > 0.75
    assert np.mean(of_experts) > np.mean(of_people) + 0.1
    assert 0.25 < len(of_experts) / (len(of_experts) + len(of_people)) <= 0.3


def test_a_dimension_without_labels_is_at_odds_with_none(tmp_path: Path) -> None:
    world = planted(tmp_path / "lake")
    world.add("2026-11-01")
    model = world.refit().model
    blank = replace(model.heads["honesty"], n_labels=0)  # type: ignore[type-var]
    features = model.features(np.random.default_rng(3).normal(size=(4, model.n_columns)))
    pool = Pool("p", list("abcd"), features, asked="helpfulness", rated=("honesty",))
    heads = {"helpfulness": model.heads["helpfulness"], "honesty": blank}
    [choice, *_] = choose_pairs(pool, heads, Rules(2))
    assert (choice.p_conflict, choice.conflict) == (None, False)


def test_a_rating_is_one_vote_whose_strength_has_a_bound(tmp_path: Path) -> None:
    world = planted(tmp_path / "lake")
    world.add("2026-11-01")
    fitted = world.refit()
    assert fitted.past is not None
    rows = history.joined(fitted.past.nights).to_pylist()
    apart = {
        (row["pair_id"], rating["dimension"]): rating["first"] - rating["second"]
        for row in world.rows("2026-11-01", "label", "annotations")
        for rating in row["ratings"]
    }
    expected = {0: 0.5, 1: 0.85, 2: 1.0, 3: 1.0, 4: 1.0}
    n = 0
    for row in rows:
        if row["kind"] == training.RATING:
            grades = apart[row["pair_id"], row["dimension"]]
            ahead = expected[abs(grades)]
            assert row["preference"] == pytest.approx(ahead if grades > 0 else 1.0 - ahead)
            n += 1
    assert n == len(apart) == 2 * world.per_night
    assert len(rows) == 3 * world.per_night


def test_who_chose_by_a_dimension_has_no_second_vote_on_it(tmp_path: Path) -> None:
    world = replace(planted(tmp_path / "lake"), dimensions=("honesty",))
    world.add("2026-11-01")
    counted = {name: head.n_labels for name, head in world.refit().model.heads.items()}
    assert counted == dict.fromkeys(PLANTED, world.per_night)


@pytest.mark.parametrize("lacks", ["head_per_dimension", "rated_dimensions"])
def test_ratings_of_nights_before_they_taught_teach_once_they_do(
    tmp_path: Path, lacks: str
) -> None:
    before = planted(tmp_path / "lake", head_per_dimension=lacks != "head_per_dimension")
    before = replace(before, label={}) if lacks == "rated_dimensions" else before
    for key in KEYS[:2]:
        before.night(key)
    published = read_manifest(before.lake, "small", KEYS[1], "publish")
    assert published is not None and {history.VOTES, history.HISTORY} <= published.outputs.keys()
    assert history.RATED not in published.outputs
    world = replace(planted(tmp_path / "lake"), batches=before.batches)
    heads = world.refit().model.heads
    assert {name: heads[name].n_labels for name in heads} == dict.fromkeys(ALL, 600)
    again = world.night(KEYS[2])
    assert again.model.heads["honesty"].n_labels == 900
    whole = VotedWorld(
        world.lake,
        world.select,
        per_night=300,
        rated=True,
        label=world.label,
        batches=world.batches,
    )
    assert whole.refit().model.version == again.model.version


def test_ratings_that_left_the_window_are_kept_in_their_heads(tmp_path: Path) -> None:
    world = planted(tmp_path / "lake", history_votes=1_000)
    for key in KEYS:
        fitted = world.night(key)
    assert fitted.past is not None and fitted.past.older is not None
    assert {head.n_labels for head in fitted.model.heads.values()} == {900}
    weights = planted_weights(fitted.model.n_columns)
    assert min(likeness(fitted.model, name, weights[name]) for name in PLANTED) > 0.95


ASKED = {
    "rated_dimensions": ["clarity", "truth"],
    "choice_dimensions": ["kindness"],
    "second_vote_share": 0.5,
}


@pytest.fixture
def done(night: Callable[..., Night]) -> Night:
    """A night of the simulator whose people are asked for two ratings and a choice."""
    made = night(**ASKED)
    asked = made.campaign.model_dump(mode="json")
    asked["select"] |= {**PER_DIMENSION, "pairs_per_prompt": 6, "max_pairs_per_response": None}
    asked["publish"]["min_p_chosen"] = 0.5
    made.campaign = parse_campaign(asked, "test")
    made.run()
    return made


def test_a_night_from_pools_to_views(done: Night, tmp_path: Path) -> None:
    votes = [
        row
        for row in done.rows("label", "annotations")
        if row["kind"] == "comparison" and row["preferred"] is not None
    ]
    grades = {
        name: {
            (rating["first"], rating["second"])
            for row in votes
            for rating in row["ratings"]
            if rating["dimension"] == name
        }
        for name in ("clarity", "kindness")
    }
    assert grades["kindness"] <= {(5, 1), (1, 5), (3, 3)} and len(grades["kindness"]) > 1
    assert not grades["clarity"] <= grades["kindness"]
    figures = done.batch().require("publish").figures
    current = reward_model.newest(done.lake, "small")
    assert current is not None
    heads = {name: head.n_labels for name, head in current.model.heads.items()}
    assert heads == {name: len(votes) for name in ("clarity", "helpfulness", "kindness", "truth")}
    assert sum(heads.values()) == figures["posterior_labels"]
    version = newest(done.lake, "small")
    assert version is not None
    pull(done.lake, version, tmp_path / "pulled")
    shown = {
        view: [
            row
            for file in sorted((tmp_path / "pulled" / "data" / view).rglob("*.parquet"))
            for row in pq.read_table(file).to_pylist()
        ]
        for view in ("reward", "dimensions", "consistent")
    }
    assert {row["dimension"] for row in shown["dimensions"]} == {"clarity", "kindness", "truth"}
    assert {row["conflict"] for row in shown["reward"]} == {True, False}
    calm = {row["pair_id"] for row in shown["reward"] if not row["conflict"]}
    assert {row["pair_id"] for row in shown["consistent"]} <= calm
    card = (tmp_path / "pulled" / "README.md").read_text()
    assert "`dimensions`" in card and "`consistent`" in card
    assert all(row["p_conflict"] is None for row in done.rows("select", "comparisons"))


def test_the_next_night_is_chosen_by_all_of_its_dimensions(done: Night, inbox: Path) -> None:
    rows = [{"prompt": f"what is left of {n} after {n + 1}?"} for n in range(3)]
    (inbox / "b.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    done.day = "2026-11-23"
    done.choose(done.batch())
    chosen = done.rows("select", "comparisons")
    dimensions = {"clarity", "helpfulness", "kindness", "truth"}
    assert chosen and {row["contested"] for row in chosen} <= dimensions
    assert all(0.0 < row["p_conflict"] < 1.0 for row in chosen)
    assert all(row["conflict"] == (row["p_conflict"] > 0.3) for row in chosen)
    selected = done.batch().require("select")
    assert selected.figures["conflicts"] == sum(row["conflict"] for row in chosen)
    model = RewardModel.from_bytes(read_artifact(done.lake, selected.outputs["reward_model"]))
    assert set(model.heads) == dimensions


READ = """
import json, sys
from datasets import load_dataset
views = {name: load_dataset(sys.argv[1], name) for name in ("dimensions", "consistent")}
print(json.dumps({name: sum(map(len, view.values())) for name, view in views.items()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not TRAINER.exists(), reason="`make test` installs the trainers")
def test_datasets_loads_the_views(done: Night, tmp_path: Path) -> None:
    version = newest(done.lake, "small")
    assert version is not None
    pull(done.lake, version, tmp_path / "pulled")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [str(TRAINER), "-c", READ, str(tmp_path / "pulled")]
    environment = {**os.environ, **offline}
    read = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(read.stdout.splitlines()[-1])
    assert found == {name: version.n_rows(name) for name in ("dimensions", "consistent")}


def campaign(**label: Any) -> Any:
    return parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": ["inbox"]},
            "expand": {"model": "tiny"},
            "label": {"budget_usd": 50, **label},
            "publish": {"dataset": "small"},
        },
        "test",
    )


@pytest.mark.parametrize("vendor", ["scale", "ground_truth"])
def test_a_vendor_that_cannot_ask_choices_is_refused(vendor: str) -> None:
    with pytest.raises(Exception, match=f"vendor {vendor} cannot be asked for choice_dimensions"):
        campaign(vendor=vendor, choice_dimensions=["truth"])
    campaign(vendor=vendor, rated_dimensions=["truth"])


def test_no_dimension_is_asked_twice() -> None:
    with pytest.raises(Exception, match="name a dimension twice"):
        campaign(rated_dimensions=["truth"], choice_dimensions=["truth"])


def test_the_rubric_changes_with_how_a_dimension_is_asked() -> None:
    asked = [{}, {"rated_dimensions": ["truth"]}, {"choice_dimensions": ["truth"]}]
    assert len({rubric_version(campaign(**label).label) for label in asked}) == 3
