"""A batch that a model judges, from its plan to its gate: bought, marked, and no person in it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from winnow.addresses import ServerAddress
from winnow.batch import Batch, open_batch, read_table, table_files
from winnow.campaign import load_campaign, parse_campaign
from winnow.errors import Fatal
from winnow.label.tasks import rubric_version
from winnow.label.vendors.judge.client import JudgeVendor
from winnow.lake import FolderLake
from winnow.publish.labelled import labelled
from winnow.publish.views import prepare, read_view
from winnow.stages import gate_input, label
from winnow.stages.select.training import voted

from ...fabricated import fabricate
from ...quick_clock import QuickClock
from ..expand.faulty_server import FaultyServer
from ..expand.faulty_server import faulty_server as running_server
from ..label.judge_fake import MODEL, Question, answering, chances, completion, is_task

JUDGE = {"model": MODEL, "usd_per_million_input": 2.0, "usd_per_million_output": 10.0}


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "name": "judged",
        "schedule": {"cron": None, "key": "text"},
        "ingest": {"sources": ["nowhere"]},
        "expand": {"model": "tiny"},
        "label": {"vendor": "judge", "budget_usd": 1.0, "judge": JUDGE, **changes},
        "publish": {"dataset": "judged"},
    }


def knows_the_moon(question: Question, body: Any) -> dict[str, Any]:
    """It says nothing on the first side in six: then it refuses."""
    first, second = ("Nobody" in side for side in question.sides)
    if "tide number 1 " in question.text:
        return completion("", None)
    logs = (
        chances(0.3, 0.3, 0.35) if first == second else chances(*((0.2, 0.7), (0.8, 0.1))[second])
    )
    return completion("A", logs)


@pytest.fixture
def server():
    with running_server() as running:
        running.answer = answering(knows_the_moon)
        yield running


def labelled_batch(folder: Path, server: FaultyServer, **changes: Any) -> Batch:
    lake = FolderLake(folder / "lake")
    campaign = parse_campaign(settings(**changes), "test")
    batch = open_batch(campaign, "day", lake, lambda: datetime.now(UTC))
    fabricate(batch, 12)
    vendor = JudgeVendor(
        FolderLake(folder / "books"),
        ServerAddress(server.url),
        patience=QuickClock().patience(),
    )
    planned = label.plan(batch)
    assert planned["estimate_usd"] <= planned["most_usd"] <= 1.0
    label.submit(batch, vendor)
    assert label.follow_up(batch, vendor, b"") == {"sent": 0, "tasks": 0}
    label.collect(batch, vendor, b"")
    return batch


@pytest.fixture
def batch(tmp_path: Path, server: FaultyServer) -> Batch:
    return labelled_batch(tmp_path, server)


def rows(batch: Batch, table: str) -> list[dict[str, Any]]:
    return read_table(batch.lake, batch.require("label").outputs[table]).to_pylist()


def test_each_pair_is_asked_once_and_paid_by_its_tokens(batch, server) -> None:
    tasks, annotations = rows(batch, "tasks"), rows(batch, "annotations")
    assert {task["repetition"] for task in tasks} == {0} and len(tasks) == 12
    assert sum(map(is_task, server.asked)) == 24
    assert {row["price"] for row in annotations} == {2 * (300 * 2 + 10)}
    # Bought at what it may cost at most, by its length.
    assert all(400 < task["price"] < 2_000 for task in tasks)
    manifest = batch.require("label")
    assert manifest.cost == sum(row["price"] for row in annotations) + 20 * 2 + 10


def test_the_votes_are_a_models_and_told_of_the_pairs_own_first(batch) -> None:
    sides = {row["pair_id"]: row for row in compared(batch)}
    for row in rows(batch, "annotations"):
        assert row["model"] == MODEL
        if row["preferred"] is None:
            assert (row["choice"], row["log_odds"]) == ("skip", None)
            assert row["rationale"].startswith("unparsed")
            continue
        first, second = ("Nobody" in sides[row["pair_id"]][side] for side in ("first", "second"))
        expected = {(False, True): "first", (True, False): "second"}.get((first, second), "tie")
        assert row["preferred"] == expected
        odds = (math.log(0.8 / 0.1) + math.log(0.7 / 0.2)) / 2
        by_side = {"first": odds, "second": -odds, "tie": 0.0}
        assert row["log_odds"] == pytest.approx(by_side[expected])
        assert (row["mode"], row["label_mass"] > 0.89) == ("logits", True)


def compared(batch: Batch) -> list[dict[str, Any]]:
    outputs = batch.require("select").outputs
    texts = {
        r["response_id"]: r["message"]
        for r in read_table(batch.lake, outputs["compared"]).to_pylist()
    }
    pairs = read_table(batch.lake, outputs["comparisons"]).to_pylist()
    return [{**p, "first": texts[p["first_id"]], "second": texts[p["second_id"]]} for p in pairs]


def test_a_preference_is_the_models_and_counts_no_person(batch) -> None:
    said = {row["pair_id"]: row for row in rows(batch, "annotations")}
    preferences = rows(batch, "preferences")
    assert len(preferences) == 11
    for row in preferences:
        verdict = said[row["pair_id"]]
        assert (row["votes"], row["agreement"]) == (0, None)
        assert row["preferred"] == verdict["preferred"]
        assert row["p_preferred"] == pytest.approx(1 / (1 + math.exp(-verdict["log_odds"])))
        assert row["cost"] == verdict["price"]


def test_no_figure_about_people_counts_it(batch) -> None:
    figures = batch.require("label").figures
    people = ("n_annotators", "n_agreement", "n_gold", "n_repeats")
    assert [figures[name] for name in people] == [0] * 4
    assert figures["alpha"] is figures["tie_rate"] is figures["side_bias"] is None
    assert (figures["completion"], figures["n_annotations"]) == (1.0, 12)
    [judge] = figures["judges"]
    assert (judge["model"], judge["verdicts"], judge["skips"]) == (MODEL, 11, 1)
    assert judge["tie_rate"] == pytest.approx(5 / 11) and judge["modes"] == ["logits"]
    with gate_input.measured(batch) as found:
        assert [name for name, faulty in found.faults.items() if faulty.n] == []
        assert found.suspects == []
        assert found.figures["rows_lost"] == 0


def test_the_views_say_who_judged(batch) -> None:
    outputs = batch.require("label").outputs
    stored = {
        "prompts": batch.require("ingest").outputs["prompts"],
        "comparisons": batch.require("select").outputs["comparisons"],
        "responses": batch.require("expand").outputs["responses"],
        **{name: outputs[name] for name in ("annotations", "preferences")},
    }
    with table_files(batch.lake, stored) as files, labelled("day", files) as found:
        prepare(found, 0.75)
        [told] = read_view(found, "annotations", (0.0, 1.0), 1000)
        assert set(told["model"].to_pylist()) == {MODEL}
        [reward] = read_view(found, "reward", (0.0, 1.0), 1000)
        assert set(reward["votes"].to_pylist()) == {0}


def test_a_table_of_a_time_before_judges_is_one_of_people(batch, tmp_path) -> None:
    outputs = batch.require("label").outputs
    names = ("model", "mode", "log_odds", "order_effect", "label_mass")
    old = read_table(batch.lake, outputs["annotations"]).drop_columns(list(names))
    file = tmp_path / "old.parquet"
    pq.write_table(old, file)
    select = batch.require("select").outputs
    tables = {
        "prompts": read_table(batch.lake, batch.require("ingest").outputs["prompts"]),
        "comparisons": read_table(batch.lake, select["comparisons"]),
        "responses": read_table(batch.lake, batch.require("expand").outputs["responses"]),
        "preferences": read_table(batch.lake, outputs["preferences"]),
        "annotations": file,
    }
    with labelled("day", tables) as found:
        prepare(found, 0.75)
        [told] = read_view(found, "annotations", (0.0, 1.0), 1000)
        assert told.num_rows == 12 and set(told["model"].to_pylist()) == {None}
        assert found.rows("SELECT count(*) AS n FROM votes") == [{"n": 11}]
        assert found.rows("SELECT count(*) AS n FROM verdicts") == [{"n": 0}]
    votes = voted(
        file,
        tables["comparisons"],
        read_table(batch.lake, select["compared"]).drop_columns(["vector"]),
        frozenset(),
    )
    assert votes.num_rows == 11


def test_models_teach_only_where_no_person_voted(batch) -> None:
    outputs, select = batch.require("label").outputs, batch.require("select").outputs
    said = read_table(batch.lake, outputs["annotations"])
    others = (
        read_table(batch.lake, select["comparisons"]),
        read_table(batch.lake, select["compared"]).drop_columns(["vector"]),
        frozenset[str](),
    )
    assert voted(said, *others).num_rows == 11
    one = next(n for n, row in enumerate(said.to_pylist()) if row["preferred"])
    persons = said.slice(one, 1).to_pylist()[0] | {"annotation_id": "x", "annotator": "ann"}
    both = said.from_pylist([*said.to_pylist(), persons | {"model": None}], schema=said.schema)
    assert voted(both, *others)["annotator"].to_pylist() == ["ann"]


def test_gold_tells_how_good_the_model_is(tmp_path, server) -> None:
    gold = tmp_path / "gold.jsonl"
    right = {"prompt": "Why?", "chosen": "It is the moon.", "rejected": "Nobody knows."}
    gold.write_text("\n".join(json.dumps({**right, "prompt": f"Why {n}?"}) for n in range(5)))
    batch = labelled_batch(tmp_path, server, gold=str(gold), gold_share=0.25)
    [judge] = batch.require("label").figures["judges"]
    assert (judge["n_gold"], judge["gold_accuracy"]) == (3, 1.0)
    assert batch.require("label").figures["n_gold"] == 0


def test_the_model_and_its_principles_are_part_of_the_rubric(tmp_path: Path) -> None:
    def version(**changes: Any) -> str:
        return rubric_version(parse_campaign(settings(judge={**JUDGE, **changes}), "test").label)

    versions = [version(), version(model="other"), version(principles=["Be true."])]
    assert len(set(versions)) == 3
    assert version(concurrency=2, usd_per_million_input=9.0) == version()


def test_a_constitution_is_read_with_the_campaign_and_frozen(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("- Be true.\n- Be short.\n")
    file = tmp_path / "judged.yaml"
    file.write_text(json.dumps(settings(judge={**JUDGE, "constitution": "good.yaml"})))
    campaign = load_campaign(file)
    assert campaign.label.judge.principles == ["Be true.", "Be short."]
    again = parse_campaign(campaign.model_dump(mode="json"), "test")
    assert rubric_version(again.label) == rubric_version(campaign.label)
    for wrong in ("a: b\n", "- 5\n", "- [a]\n"):
        (tmp_path / "good.yaml").write_text(wrong)
        with pytest.raises(Fatal, match=r"Constitution .*good\.yaml is no list"):
            load_campaign(file)
    (tmp_path / "good.yaml").unlink()
    with pytest.raises(Fatal, match="cannot be read"):
        load_campaign(file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": None}, "needs the section judge"),
        ({"second_vote_share": 0.1}, "both orders at once"),
        ({"third_votes": True}, "both orders at once"),
        ({"repeat_share": 0.1}, "both orders at once"),
    ],
)
def test_a_judge_is_asked_once(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Fatal, match=words):
        parse_campaign(settings(**changes), "test")
