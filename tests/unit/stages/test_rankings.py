"""A night of rankings, from its sets of responses to the view that trainers read."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from winnow.batch import open_batch
from winnow.campaign import parse_campaign
from winnow.errors import Fatal
from winnow.ids import pair_id, ranking_id
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import connect
from winnow.lake import FolderLake
from winnow.publish.pull import pull
from winnow.publish.versions import newest
from winnow.stages import label, publish
from winnow.stages.label.late import bill_of, collected_bill, late_answers
from winnow.stages.select.plan import measured_prices
from winnow_simulator import hand

from ...fabricated import fabricate_rankings
from .conftest import DAY, SALT, Night, killed_at_steps

TRAINER = Path(__file__).parents[3] / ".venv-trainer" / "bin" / "python"
SIZE = 4
N_PAIRS = SIZE * (SIZE - 1) // 2


def settings(inbox: Path, select: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "ingest": {"sources": [str(inbox)]},
        "expand": {"model": "tiny", "pool_size": 7, "max_tokens": 6, "max_model_len": 200},
        "select": {"strategy": "traditional", **select},
        "label": {
            "task": "ranking",
            "size": SIZE,
            "budget_usd": 50,
            "second_vote_share": 0.5,
            **changes,
        },
        "publish": {"dataset": "small"},
    }


Make = Callable[..., Night]


@pytest.fixture
def ranked(night: Callable[..., Night], inbox: Path) -> Make:
    def make(name: str = "ranked", select: dict[str, Any] | None = None, **changes: Any) -> Night:
        made = night(name)
        made.campaign = parse_campaign(settings(inbox, select or {}, **changes), "test")
        return made

    return make


@pytest.fixture
def done(ranked: Make) -> Night:
    made = ranked()
    made.run()
    return made


def test_all_pairs_of_a_ranking_are_its_comparisons(done) -> None:
    rankings = {row["prompt_id"]: row for row in done.rows("select", "rankings")}
    chosen: dict[str, set[str]] = {name: set() for name in rankings}
    for row in done.rows("select", "comparisons"):
        chosen[row["prompt_id"]].add(row["pair_id"])
    for prompt, row in rankings.items():
        ids = row["response_ids"]
        assert len(ids) == SIZE and row["ranking_id"] == ranking_id(ids)
        assert chosen[prompt] == {pair_id(*pair) for pair in combinations(ids, 2)}


def test_a_ranking_is_one_task_with_one_price(done) -> None:
    tasks, n_rankings = done.rows("label", "ranking_tasks"), len(done.rows("select", "rankings"))
    manifest = done.batch().require("label")
    n_second = sum(task["repetition"] == 1 for task in tasks)
    assert 0 < n_second < n_rankings and len(tasks) == n_rankings + n_second
    assert manifest.counts["tasks"] == len(tasks) == len(done.simulator.bought())
    assert manifest.cost == len(tasks) * done.campaign.label.price
    assert manifest.counts["annotations"] == len(done.rows("label", "ranking_answers"))
    by_pair = done.rows("label", "annotations")
    assert sum(row["price"] for row in by_pair) == manifest.cost
    assert sum(row["cost"] for row in done.rows("label", "preferences")) == manifest.cost
    # Two rankings of four that were ranked twice are no twelve agreements.
    assert manifest.figures["n_agreement"] <= (SIZE - 1) * n_second


def test_a_second_vote_sees_the_responses_backwards(done) -> None:
    shown: dict[str, list[list[str]]] = {}
    for task in done.rows("label", "ranking_tasks"):
        shown.setdefault(task["pair_id"], []).append(task["shown"])
    twice = [orders for orders in shown.values() if len(orders) == 2]
    assert twice and all(one == other[::-1] for one, other in twice)
    # The order is drawn: ids do not tell it.
    assert any(orders[0] != sorted(orders[0]) for orders in shown.values())


def test_each_pair_says_what_the_order_said(done) -> None:
    said = {row["annotation_id"]: row for row in done.rows("label", "ranking_answers")}
    shown = {row["task_id"]: row["shown"] for row in done.rows("label", "ranking_tasks")}
    sides = {row["pair_id"]: row for row in done.rows("select", "comparisons")}
    expected = Counter[tuple[str, str, str | None, str]]()
    for row in said.values():
        groups = json.loads(row["choice"]) if row["choice"] != "skip" else []
        rank = {name: n for n, group in enumerate(groups) for name in group}
        for one, other in combinations(shown[row["task_id"]], 2):
            pair = pair_id(one, other)
            first = sides[pair]["first_id"]
            preferred, choice = None, "skip"
            if rank:
                choice = "tie"
                if rank[one] != rank[other]:
                    choice = "a" if rank[one] < rank[other] else "b"
                best = one if choice == "a" else other
                preferred = "tie" if choice == "tie" else ("first" if best == first else "second")
            expected[pair, choice, preferred, row["annotator"]] += 1
    told = done.rows("label", "annotations")
    assert expected == Counter(
        (row["pair_id"], row["choice"], row["preferred"], row["annotator"]) for row in told
    )


def test_the_model_learns_three_votes_of_a_ranking_of_four(done) -> None:
    figures = done.batch().require("publish").figures
    answers = [row for row in done.rows("label", "ranking_answers") if row["preferred"]]
    assert figures["posterior_labels"] == (SIZE - 1) * len(answers)


def test_the_gate_finds_no_fault(ranked, monkeypatch) -> None:
    night = ranked()
    with monkeypatch.context() as patch:
        from winnow.validate.gate import judge

        patch.setattr(publish, "judge", judge)
        batch = night.batch()
        night.choose(batch)
        night.buy(batch)
        verdict = json.loads(night.lake.read(publish.check(batch)))
    blocked = [c for c in verdict["checks"] if c["outcome"] == "fail" and c["severity"] == "block"]
    assert not blocked


def test_edits_retractions_and_broken_records_lose_nothing(
    ranked, start_simulator, tmp_path
) -> None:
    night = ranked(second_vote_share=1.0)
    rates = dict.fromkeys(("edited", "retracted", "answered_twice", "broken_record"), 0.4)
    night.simulator = start_simulator(tmp_path / "bad.sqlite", 60.0, "mixed", rates)
    night.run()
    manifest, answers = night.batch().require("label"), night.rows("label", "ranking_answers")
    assert manifest.cost == bill_of(night.batch(), night.simulator.connect()).charged
    assert {row["status"] for row in answers} == {"submitted", "retracted"}
    assert any(row["revision"] and row["status"] == "submitted" for row in answers)
    reasons = {row["reason"] for row in night.rows("label", "quarantine")}
    assert {"repeated_annotator"} < reasons
    # Of each answer and revision all pairs are told.
    assert len(night.rows("label", "annotations")) == N_PAIRS * len(answers)
    last = {(r["annotation_id"]): r for r in sorted(answers, key=lambda r: r["revision"])}
    voted = {r["pair_id"] for r in last.values() if r["status"] == "submitted" and r["preferred"]}
    assert {row["ranking_id"] for row in night.rows("label", "lists")} == voted


def listwise(night: Night, folder: Path) -> list[dict[str, Any]]:
    version = newest(night.lake, "small")
    assert version is not None
    pull(night.lake, version, folder)
    files = sorted((folder / "data" / "listwise").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_the_view_lists_responses_best_first(done, tmp_path) -> None:
    rows = listwise(done, tmp_path / "pulled")
    lists = {row["ranking_id"]: row for row in done.rows("label", "lists")}
    texts = {row["response_id"]: row["message"] for row in done.rows("select", "compared")}
    assert {row["ranking_id"] for row in rows} == lists.keys() and rows
    for row in rows:
        assert row["response_ids"] == lists[row["ranking_id"]]["response_ids"]
        said = [response[0]["content"] for response in row["responses"]]
        assert said == [texts[name] for name in row["response_ids"]]
        assert row["ranks"][0] == 1 and row["ranks"] == sorted(row["ranks"])
        assert row["rewards"] == sorted(row["rewards"], reverse=True)
        assert sum(row["rewards"]) == pytest.approx(0.0)
        assert row["prompt"][-1]["role"] == "user" and 0.0 <= row["weight"] <= 1.0


READ = """
import json, sys
from datasets import load_dataset
view = load_dataset(sys.argv[1], "listwise")
rows = [row for split in view.values() for row in split]
print(json.dumps([[r["ranking_id"], r["responses"], r["ranks"], r["rewards"]] for r in rows]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not TRAINER.exists(), reason="`make test` installs the trainers")
def test_datasets_loads_the_view(done, tmp_path) -> None:
    rows = listwise(done, tmp_path / "pulled")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [str(TRAINER), "-c", READ, str(tmp_path / "pulled")]
    read = subprocess.run(
        command, env={**os.environ, **offline}, capture_output=True, text=True, check=True
    )
    found = {name: said for name, *said in json.loads(read.stdout.splitlines()[-1])}
    assert found == {r["ranking_id"]: [r["responses"], r["ranks"], r["rewards"]] for r in rows}


def test_a_night_killed_anywhere_ends_the_same(ranked) -> None:
    killed_at_steps(ranked, every=60)


def test_a_purchase_killed_anywhere_ends_the_same(ranked) -> None:
    killed_at_steps(ranked, every=12, in_vendor=True)


def test_nothing_is_late_of_a_batch_that_was_collected(done) -> None:
    batch, vendor = done.batch(), done.simulator.connect()
    assert late_answers(batch, vendor) == []
    assert collected_bill(batch) == bill_of(batch, vendor)


@pytest.mark.parametrize("strategy", ["decision_gain", "diversity", "delta", "dts", "random"])
def test_every_strategy_chooses_sets(ranked, strategy) -> None:
    night = ranked(select={"strategy": strategy, "exploration": 0.5})
    batch = night.batch()
    night.choose(batch)
    rankings = night.rows("select", "rankings")
    assert [len(row["response_ids"]) for row in rankings] == [SIZE] * 6
    assert len(night.rows("select", "comparisons")) == 6 * N_PAIRS


def test_files_are_ranked_and_what_is_no_order_is_put_aside(ranked, tmp_path) -> None:
    night = ranked(vendor="file_drop", second_vote_share=0.0, min_completion=0.0)
    batch = night.batch()
    night.choose(batch)
    vendor = connect("file_drop", VendorAccount(str(tmp_path / "drop"), ""))
    ref = label.submit(batch, vendor)["ref"]
    folder = tmp_path / "drop" / ref
    tasks = [json.loads(line) for line in (folder / "input.manifest").read_text().splitlines()]
    orders = [[each["id"] for each in task["responses"]] for task in tasks]
    bad = {
        "unknown_response": [*orders[0][:-1], "nobody"],
        "stands_twice": [*orders[1], orders[1][0]],
        "missing_response": orders[2][1:],
    }
    good = [{"order": orders[3]}, {"order": [orders[4][:2], orders[4][2:]]}, {"choice": "skip"}]
    answers = [{"order": order} for order in bad.values()] + good
    (folder / "output").mkdir()
    lines = [
        json.dumps({"task_id": task["task_id"], "annotator": "ann", **answer})
        for task, answer in zip(tasks, answers, strict=True)
    ]
    (folder / "output" / "a.jsonl").write_text("\n".join(lines))
    assert vendor.status(ref).n_answered == len(tasks)
    label.follow_up(batch, vendor, SALT)
    label.collect(batch, vendor, SALT)
    reasons = Counter(row["reason"] for row in night.rows("label", "quarantine"))
    assert {name: reasons[name] for name in bad} == dict.fromkeys(bad, 1)
    # Of four rankings nobody said anything that counts.
    assert reasons["no_vote"] == 4 * N_PAIRS
    lists = {row["ranking_id"]: row for row in night.rows("label", "lists")}
    assert lists[tasks[3]["pair_id"]]["ranks"] == [1, 2, 3, 4]
    assert lists[tasks[3]["pair_id"]]["response_ids"] == orders[3]
    assert lists[tasks[4]["pair_id"]]["ranks"] == [1, 1, 3, 3]
    assert len(lists) == 2


@pytest.mark.parametrize(("size", "n_pairs"), [(4, 6), (8, 28), (9, 36)])
def test_what_a_ranking_costs_beside_its_pairs(tmp_path, inbox, size, n_pairs) -> None:
    planned = {}
    for task in ("ranking", "comparison"):
        wanted = settings(inbox, {}, size=size, second_vote_share=0.0)
        wanted["expand"]["pool_size"] = size
        if task == "comparison":
            del wanted["label"]["task"], wanted["label"]["size"]
        campaign = parse_campaign(wanted, "test")
        batch = open_batch(campaign, DAY, FolderLake(tmp_path / task), lambda: datetime.now(UTC))
        fabricate_rankings(batch, 10, size)
        planned[task] = label.plan(batch)
    assert planned["ranking"]["estimate_usd"] == pytest.approx(10 * 0.10)
    assert planned["comparison"]["estimate_usd"] == pytest.approx(10 * n_pairs * 0.10)


def test_a_plan_of_pairs_is_refused(inbox) -> None:
    campaign = parse_campaign(settings(inbox, {}), "test")
    with pytest.raises(Fatal, match="buys rankings"):
        measured_prices(None, campaign, 2_000_000, 1_000.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": {"vendor": "scale"}}, "cannot be asked for rankings"),
        ({"label": {"gold": "gold.jsonl"}}, "cannot have gold"),
        ({"label": {"third_votes": True}}, "cannot have third_votes"),
        ({"label": {"second_votes": "disagreement"}}, "draws its second votes evenly"),
        ({"label": {"repeat_share": 0.1}}, "cannot have repeat_share"),
        ({"label": {"rated_dimensions": ["wit"]}}, "cannot have rated_dimensions"),
        ({"label": {"aggregation": "dawid_skene"}}, "needs majority"),
        ({"label": {"size": None}}, "needs size"),
        ({"label": {"size": 10}}, "less than or equal to 9"),
        ({"label": {"task": "comparison"}}, "size is of rankings"),
        ({"select": {"pairs_per_prompt": 3}}, "pairs_per_prompt is 6"),
        ({"select": {"floors": {"language:en": 1}}}, "floors count pairs"),
        ({"expand": {"pool_size": 3}}, "nothing to rank"),
        ({"expand": {"first_round": 4}}, "first_round"),
    ],
)
def test_what_rankings_cannot_have_is_refused(inbox, changes, words) -> None:
    wanted = settings(inbox, {})
    for section, own in changes.items():
        wanted[section] = {**wanted[section], **own}
    with pytest.raises(Fatal, match=words):
        parse_campaign(wanted, "test")


def test_the_simulators_page_shows_a_ranking_and_takes_none_by_hand(ranked) -> None:
    night = ranked()
    batch = night.batch()
    night.choose(batch)
    ref = label.submit(batch, night.simulator.connect())["ref"]
    [task, *_] = night.simulator.books.task_ids(ref)
    page = httpx.get(f"{night.simulator.url}/task/{task}").raise_for_status().text
    assert all(f"Response {n}" in page for n in range(1, SIZE + 1))
    assert "asks for a ranking" in page and "A is better" not in page
    assert hand.hold_next(night.simulator.books, ref) is None
