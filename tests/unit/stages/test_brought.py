"""Pools that come with their prompts, from files to comparisons."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.errors import Fatal
from winnow.expand.brought import BroughtEngine
from winnow.expand.embedders import open_embedder
from winnow.expand.runner import run_shard
from winnow.ids import prompt_id, response_id
from winnow.ingest.brought import LARGEST_POOL
from winnow.ingest.pairs import read_pairs
from winnow.lake import FolderLake
from winnow.stages import expand, ingest, select
from winnow.stages.expand import brought_parts, planned_shards

from ...sampling import some
from .conftest import LAKE_STEPS, Dying, Killed

DAY = "2026-11-22"
Row = dict[str, Any]


def batch_of(folder: Path, inbox: Path, lake: Any = None, **changed: Any) -> Batch:
    """A batch over `inbox`, whose rows hold responses."""
    given = {"engine": "brought", "model": "fleet", "features": ["text"], **changed}
    campaign = parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": [str(inbox)]},
            "expand": given,
            "select": {"pairs_per_prompt": 1},
            "label": {"budget_usd": 50},
            "publish": {"dataset": "small"},
        },
        "test",
    )
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return open_batch(campaign, DAY, lake or FolderLake(folder), lambda: now)


def expanded(batch: Batch) -> Batch:
    """The batch with its pools, each shard read in this process."""
    assert ingest.run(batch) is not None
    prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"]).to_pylist()
    for shard in planned_shards(batch):
        engine = BroughtEngine(read_table(batch.lake, brought_parts(batch)[shard.part]))
        run_shard(
            shard,
            prompts,
            batch.campaign.expand,
            engine,
            open_embedder(batch.campaign.expand, Path(), brought=engine.lookups),
            batch.lake,
            lambda _: None,
            campaign=batch.campaign.name,
            folder=f"{batch.folder}/expand",
        )
    expand.gather(batch)
    return batch


def table_of(batch: Batch, stage: str, name: str) -> list[Row]:
    """Rows of a table of a stage."""
    rows: list[Row] = read_table(batch.lake, batch.require(stage).outputs[name]).to_pylist()
    return rows


def reasons(batch: Batch, stage: str) -> Counter[str]:
    """How many rows a stage put into quarantine, by reason."""
    return Counter(row["reason"] for row in table_of(batch, stage, "quarantine"))


def written(folder: Path, rows: list[Row]) -> Path:
    """An inbox of one file of these rows."""
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def id_of(question: str) -> str:
    """The id of a prompt of one question."""
    return prompt_id([{"role": "user", "content": question}], None)


QUESTIONS = st.sampled_from(["Why?", "How?", "When?", "  Why? "])
ANSWERS = st.sampled_from(["rain", "sun ", "tide", "rain\n", "", "wind and rain", None, 7])
ROWS = st.one_of(
    st.fixed_dictionaries(
        {"prompt": QUESTIONS, "response": ANSWERS}, optional={"score": st.sampled_from([1, "x"])}
    ),
    st.fixed_dictionaries(
        {"prompt": QUESTIONS, "responses": st.lists(ANSWERS.map(lambda t: {"text": t}), max_size=3)}
    ),
    st.just({"answer": "to what?"}),
)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_every_response_is_in_the_pool_of_its_prompt_or_in_quarantine(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    folder = tmp_path_factory.mktemp("brought")
    batch = expanded(batch_of(folder / "lake", written(folder / "inbox", rows)))
    # The slow, obvious way.
    pools: dict[str, Counter[str]] = defaultdict(Counter)
    n_bad_rows = n_bad_responses = n_rows_in_pools = 0
    for row in rows:
        said = row["responses"] if "responses" in row else [row.get("response")]
        texts = [each["text"] if isinstance(each, Mapping) else each for each in said]
        good = [t.strip() for t in texts if isinstance(t, str) and t.strip()]
        if row.get("score") == "x" or "prompt" not in row or not good:
            n_bad_rows += 1
            continue
        n_rows_in_pools += 1
        n_bad_responses += len(texts) - len(good)
        pools[row["prompt"].strip()].update(good)
    ingested, counts = batch.require("ingest").counts, batch.require("expand").counts
    assert ingested["rows_in"] == len(rows)
    assert ingested["quarantined"] == n_bad_rows
    assert ingested["rows_out"] == len(pools)
    assert ingested["joined"] == n_rows_in_pools - len(pools)
    assert counts["quarantined"] == n_bad_responses
    assert counts["rows_in"] == ingested["brought"] == counts["rows_out"] + n_bad_responses
    assert counts["tokens"] == 0, "nothing was generated"
    responses = table_of(batch, "expand", "responses")
    found = {row["response_id"]: row["duplicates"] for row in responses}
    assert found == {
        response_id(id_of(question), text): n
        for question, pool in pools.items()
        for text, n in pool.items()
    }


def test_a_response_keeps_what_its_row_says_of_it(tmp_path: Path) -> None:
    row = {
        "prompt": "Why?",
        "response": "Because of rain.",
        "model": "big",
        "logprob": -3.5,
        "n_tokens": 5,
        "finish_reason": "length",
    }
    rows = [{"prompt": "Why?", "response": "Two words"}, row]
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows)))
    plain, told = sorted(table_of(batch, "expand", "responses"), key=lambda each: each["model"])[
        ::-1
    ]
    assert (told["model"], told["logprob"], told["n_tokens"]) == ("big", -3.5, 5)
    assert (told["finish_reason"], told["flags"]) == ("length", ["truncated"])
    assert (plain["model"], plain["logprob"], plain["n_tokens"]) == ("fleet", None, 2)
    place = json.loads(told["sampling"])
    assert place["line"] == 2
    assert place["file"].endswith("a.jsonl")


SHAPES = [
    {
        "instruction": "Why?",
        "models": ["a", "b"],
        "completions": [
            {"response": "Good.", "overall_score": 8, "annotations": {}},
            {"response": "Bad.", "overall_score": 2, "annotations": {}},
        ],
    },
    {
        "prompt": "\n\nHuman: Why?\n\nAssistant: ",
        "answers": [{"answer": "Good.", "rank": 1.0}, {"answer": "Bad.", "rank": 2.0}],
    },
    {"prompt": "Why?", "responses": ["Good.", {"response": "Bad.", "score": -1}]},
    {"prompt": "Why?", "responses": ["Good.", "Bad."], "scores": [2, 1], "models": ["a", "b"]},
    {"prompt": "Why?", "all_generated_responses": ["Good.", "Bad."], "all_rm_scores": [2, 1]},
    {"instruction": "Why?", "output": ["Good.", "Bad."]},
    {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."},
    {
        "message_tree_id": "t",
        "prompt": {
            "text": "Why?",
            "role": "prompter",
            "replies": [
                {"role": "assistant", "text": "Good.", "rank": 0},
                {"role": "assistant", "text": "Bad.", "rank": 1},
            ],
        },
    },
]


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: next(reversed(row)))
def test_pools_of_the_field_are_pools(tmp_path: Path, row: Row) -> None:
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row])))
    assert {r["message"] for r in table_of(batch, "expand", "responses")} == {"Good.", "Bad."}
    select.run(batch)
    assert batch.require("select").counts["comparisons"] == 1


def test_a_response_that_holds_turns_is_in_no_pool(tmp_path: Path) -> None:
    asked = "\n\nHuman: Why?\n\nAssistant: "
    row = {"chosen": f"{asked}Good. Human: And you?", "rejected": f"{asked}Bad."}
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row])))
    assert [r["message"] for r in table_of(batch, "expand", "responses")] == ["Bad."]
    assert reasons(batch, "expand") == {"marker_in_turn": 1}


def test_lists_beside_responses_are_of_one_length(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Why?", "responses": ["Good.", "Bad."], "scores": [2, 1], "models": ["a", None]},
        {"prompt": "How?", "completions": ["Good.", "Bad."], "rewards": [2]},
    ]
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows)))
    brought = table_of(batch, "ingest", "brought")
    assert [(row["score"], row["model"]) for row in brought] == [(2.0, "a"), (1.0, None)]
    assert reasons(batch, "ingest") == {"wrong_score": 1}


def node(role: str, text: str, *replies: Row, **about: Any) -> Row:
    """A message of an OpenAssistant tree."""
    return {"role": role, "text": text, "parent_id": "p", **about, "replies": list(replies)}


def test_each_question_of_a_tree_with_several_answers_is_a_pool(tmp_path: Path) -> None:
    said, asked = partial(node, "assistant"), partial(node, "prompter")
    tree = asked(
        "Why?",
        said("Good.", asked("And?", said("Rain."), said("Sun.")), asked("So?", said("Alone."))),
        said("Bad.", asked("And?", said("Wind."), said("Tide."), said("Gone.", deleted=True))),
        said("Worse.", asked(None, said("Of"), said("nothing"))),
    )
    del tree["parent_id"]
    row = {"message_tree_id": "t", "prompt": tree}
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row])))
    counts = batch.require("ingest").counts
    assert (counts["rows_in"], counts["unfolded"], counts["rows_out"]) == (1, 3, 3)
    assert reasons(batch, "ingest") == {"wrong_type": 1}
    talk_of = {
        row["prompt_id"]: [turn["content"] for turn in row["messages"]]
        for row in table_of(batch, "ingest", "prompts")
    }
    pools: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in table_of(batch, "expand", "responses"):
        pools[tuple(talk_of[row["prompt_id"]])].add(row["message"])
    assert pools == {
        ("Why?",): {"Good.", "Bad.", "Worse."},
        ("Why?", "Good.", "And?"): {"Rain.", "Sun."},
        ("Why?", "Bad.", "And?"): {"Wind.", "Tide."},
    }


def test_rated_rows_of_one_prompt_are_one_pool(tmp_path: Path) -> None:
    rated = {"helpfulness": 3, "correctness": 3, "coherence": 4, "complexity": 0, "verbosity": 0}
    rows = [{"prompt": "Why?", "response": text, **rated} for text in ("Good.", "Bad.")]
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows)))
    counts = batch.require("ingest").counts
    assert (counts["rows_out"], counts["joined"]) == (1, 1)
    assert [row["score"] for row in table_of(batch, "ingest", "brought")] == [10 / 3] * 2


def test_a_prompt_of_an_earlier_batch_brings_no_more(tmp_path: Path) -> None:
    inbox = written(tmp_path / "inbox", [{"prompt": "Why?", "response": "rain"}])
    expanded(batch_of(tmp_path / "lake", inbox))
    (inbox / "b.jsonl").write_text(json.dumps({"prompt": "Why?", "response": "sun"}))
    first = batch_of(tmp_path / "lake", inbox)
    later = open_batch(first.campaign, "2026-11-23", first.lake, first.clock)
    ingest.run(later)
    assert reasons(later, "ingest") == {"duplicate": 1}


def with_vectors(folder: Path, rows: list[Row]) -> Path:
    """An inbox of one Parquet file."""
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return folder


def test_vectors_and_scores_that_were_brought_are_the_features(tmp_path: Path) -> None:
    texts = ["one", "two", "three", "four", "five", "six"]
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 2.0, 3.0], None, [math.nan, 1.0]]
    scores = [1.0, None, 4.0, 0.0, 0.0, 0.0]
    rows = [
        {"prompt": "Why?", "response": text, "vector": vector, "score": score}
        for text, vector, score in zip(texts, vectors, scores, strict=True)
    ]
    inbox = with_vectors(tmp_path / "inbox", rows)
    batch = expanded(batch_of(tmp_path / "lake", inbox, features=["vector", "score"]))
    assert reasons(batch, "expand") == {"wrong_vector": 2, "no_vector": 1}
    figures = batch.require("expand").figures
    names = dict(figures["blocks"])
    assert names["embedding"] == 2
    assert names["score:brought"] == 1
    stored = {row["response_id"]: row["vector"] for row in table_of(batch, "expand", "features")}
    one, two, three = (stored[response_id(id_of("Why?"), text)] for text in texts[:3])
    at = list(names).index("score:brought")
    column = sum(list(names.values())[:at])
    np.testing.assert_array_equal([one[:2], two[:2]], [[1, 0], [0, 1]])
    # Beyond the mean of those that have one.
    assert [float(each[column]) for each in (one, two, three)] == [-1.5, 0.0, 1.5]


ABOUT: Row = {"vector": [1.0, 2.0], "score": 0, "model": "big", "logprob": -2, "n_tokens": 3}
TOLD = [
    {"prompt": "Why?", "response": "Rain."},
    {"question": "Why?", "response": "Rain."},
    {"instruction": "Why?", "output": "Rain."},
    {"instruction": "Why?", "response": "Rain."},
    {"prompt": "Why?", "responses": ["Rain."]},
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Rain."}]},
    {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Rain."}]},
]
NESTED = [
    {"prompt": "Why?", "responses": [{"text": "Rain.", **ABOUT}, "Sun."]},
    {"instruction": "Why?", "completions": [{"response": "Rain.", **ABOUT}, {"response": "Sun."}]},
    {"prompt": "Why?", "answers": [{"answer": "Rain.", **ABOUT}, {"answer": "Sun."}]},
]


@pytest.mark.parametrize(
    "row", [*({**row, **ABOUT} for row in TOLD), *NESTED], ids=lambda row: "-".join(row)[:30]
)
def test_what_is_told_of_a_response_is_read_in_every_format(tmp_path: Path, row: Row) -> None:
    batch = batch_of(
        tmp_path / "lake", written(tmp_path / "inbox", [row]), features=["vector", "score"]
    )
    ingest.run(batch)
    rain = next(r for r in table_of(batch, "ingest", "brought") if r["message"] == "Rain.")
    assert {**{name: rain[name] for name in ABOUT}, "vector": list(rain["vector"])} == ABOUT


def test_a_pair_among_those_that_were_sampled_is_no_further_response(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "Why?"}
    row = {
        "prompt": "Why?",
        "all_generated_responses": ["Rain.", "Sun.", "Tide."],
        "all_rm_scores": [0.3, 0.1, 0.2],
        "chosen": [asked, {"role": "assistant", "content": "Rain."}],
        "rejected": [asked, {"role": "assistant", "content": "Wind."}],
    }
    batch = batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row]))
    ingest.run(batch)
    brought = {r["message"]: r["score"] for r in table_of(batch, "ingest", "brought")}
    assert brought == {"Rain.": 0.3, "Sun.": 0.1, "Tide.": 0.2, "Wind.": None}
    assert batch.require("ingest").counts["brought"] == 4
    [pair] = read_pairs(row, 100)
    assert (pair.chosen, pair.rejected) == ("Rain.", "Wind.")


def test_what_cannot_be_told_of_the_answer_of_a_talk_is_named(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Rain."}]
    rows = [{"messages": turns, "score": "high"}, {"prompt": "Why?", "answer": "Rain."}]
    batch = batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows))
    ingest.run(batch)
    assert reasons(batch, "ingest") == {"wrong_score": 1, "no_response": 1}
    details = [row["detail"] for row in table_of(batch, "ingest", "quarantine")]
    assert "prompt, answer" in details[1], "where the response may stand is said"


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_vector_may_stand_as_json_in_a_text(tmp_path: Path, ending: str) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    rows = [
        {"prompt": "Why?", "response": "Rain.", "vector": "[1, 2.5]"},
        {"prompt": "Why?", "response": "Sun.", "vector": "[1, 2"},
    ]
    file = inbox / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif ending == "csv":
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = batch_of(tmp_path / "lake", inbox, features=["vector"])
    ingest.run(batch)
    rain, sun = table_of(batch, "ingest", "brought")
    assert (list(rain["vector"]), sun["reason"]) == ([1, 2.5], "wrong_vector")


def test_scores_far_from_zero_are_told_apart_and_none_stops_the_others(tmp_path: Path) -> None:
    scores = [30_001, 30_002, None, 1e30]
    rows = [
        {"prompt": "Why?", "response": f"Rain {k}.", "score": score}
        for k, score in enumerate(scores)
    ]
    inbox = written(tmp_path / "inbox", rows)
    batch = expanded(batch_of(tmp_path / "lake", inbox, features=["text", "score"]))
    [refused] = table_of(batch, "expand", "quarantine")
    assert (refused["reason"], refused["line"]) == ("wrong_score", 4)
    counts = batch.require("ingest").counts
    assert (counts["brought"], counts["scored"]) == (4, 2)
    names = dict(batch.require("expand").figures["blocks"])
    column = sum(list(names.values())[: list(names).index("score:brought")])
    stored = {row["response_id"]: row["vector"] for row in table_of(batch, "expand", "features")}
    ids = [response_id(id_of("Why?"), f"Rain {k}.") for k in range(3)]
    assert [float(stored[each][column]) for each in ids] == [-0.5, 0.5, 0.0]
    # Where no score is read, none is too large.
    other = expanded(batch_of(tmp_path / "other", inbox))
    assert other.require("expand").counts["responses"] == 4


def test_names_that_come_with_a_response_drive_no_terminal(tmp_path: Path) -> None:
    about = {"model": "big\x1b[31m\n", "finish_reason": "stop\x00"}
    row = {"prompt": "Why?", "response": "Rain.", **about}
    batch = batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row]))
    ingest.run(batch)
    [told] = table_of(batch, "ingest", "brought")
    assert (told["model"], told["finish_reason"]) == ("big[31m", "stop")


def test_a_row_with_columns_of_a_message_beside_its_own_is_read(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "response": "Rain.", "message_id": "1", "role": "user", "text": "x"}
    batch = batch_of(tmp_path / "lake", written(tmp_path / "inbox", [row]))
    ingest.run(batch)
    assert batch.require("ingest").counts["rows_out"] == 1


def test_vectors_of_another_length_are_of_another_version(tmp_path: Path) -> None:
    def version(n: int) -> str:
        rows = [
            {"prompt": "Why?", "response": text, "vector": [1.0, k, *[0.0] * (n - 2)]}
            for k, text in enumerate(("one", "two"))
        ]
        inbox = with_vectors(tmp_path / f"inbox-{n}", rows)
        batch = expanded(batch_of(tmp_path / f"lake-{n}", inbox, features=["text", "vector"]))
        told: str = batch.require("expand").figures["feature_version"]
        stored = {row["feature_version"] for row in table_of(batch, "expand", "features")}
        # Behind it stands that of the figures of a pool.
        assert [each.startswith(told) for each in stored] == [True]
        return told

    # Else a reward model of one would be asked about the other.
    assert version(3) != version(4)


def test_a_pool_holds_no_more_than_one_that_is_generated(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "response": f"rain {n}"} for n in range(LARGEST_POOL + 2)]
    batch = expanded(batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows)))
    assert reasons(batch, "expand") == {"pool_is_full": 2}
    assert batch.require("expand").counts["responses"] == LARGEST_POOL


def test_parts_hold_whole_pools_however_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [{"prompt": f"Why {n % 40}?", "response": f"rain {n}"} for n in range(200)]
    rows = [rows[k] for k in rng.permutation(len(rows)).tolist()]
    inbox = written(tmp_path / "inbox", rows)
    whole = expanded(batch_of(tmp_path / "whole", inbox))
    monkeypatch.setattr(ingest, "PART_RESPONSES", 22)
    monkeypatch.setattr("winnow.ingest.brought._HELD", 7)
    monkeypatch.setattr("winnow.ingest.brought._HELD_BYTES", 40)
    parted = expanded(batch_of(tmp_path / "parted", inbox))
    parts = [read_table(parted.lake, each) for each in brought_parts(parted)]
    assert len(parts) == 10
    assert all(part.num_rows == 20 for part in parts)
    monkeypatch.setattr(ingest, "PART_BYTES", 60)
    thin = expanded(batch_of(tmp_path / "thin", inbox))
    assert len(brought_parts(thin)) == 40, "of texts that are long, parts hold fewer"
    for stage, table in (("ingest", "brought"), ("expand", "responses"), ("expand", "features")):
        assert table_of(thin, stage, table) == table_of(whole, stage, table)
        assert table_of(parted, stage, table) == table_of(whole, stage, table)


def test_a_night_that_is_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why {n % 4}?", "response": f"rain {n}"} for n in range(12)]
    inbox = written(tmp_path / "inbox", rows)

    def outcome(folder: Path, die_at: int | None) -> tuple[int, list[str]]:
        lake = Dying(FolderLake(folder), LAKE_STEPS, die_at)
        batch = expanded(batch_of(folder, inbox, lake))
        select.run(batch)
        return lake.n_steps, [batch.require(s).digest for s in ("ingest", "expand", "select")]

    n_steps, expected = outcome(tmp_path / "undisturbed", None)
    for step in some(range(n_steps), 9):
        with pytest.raises(Killed):
            outcome(tmp_path / f"killed-{step}", step)
        assert outcome(tmp_path / f"killed-{step}", None)[1] == expected


def test_shards_without_a_model_need_no_other_interpreter(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "response": text} for text in ("rain", "sun")]
    batch = batch_of(tmp_path / "lake", written(tmp_path / "inbox", rows))
    ingest.run(batch)
    for shard in expand.plan(batch):
        nowhere = tmp_path / "nowhere"
        assert expand.generate(batch, shard, nowhere, nowhere, lambda _: None)["prompts"] == 1
    assert expand.gather(batch).counts["responses"] == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first_round": 2}, "first_round has no meaning"),
        ({"samplers": [{"weight": 2}]}, "samplers has no meaning"),
        ({"engine": "auto", "features": ["embedding", "score"]}, "score needs engine: brought"),
        ({"features": ["score"]}, "needs one of embedding"),
    ],
)
def test_settings_that_mean_nothing_are_named(tmp_path: Path, changed: Row, message: str) -> None:
    with pytest.raises(Fatal, match=message):
        batch_of(tmp_path / "lake", tmp_path, **changed)


def test_labels_cannot_have_features_that_only_pools_bring(tmp_path: Path) -> None:
    settings = batch_of(tmp_path / "lake", tmp_path, features=["vector"]).campaign.model_dump(
        mode="json", exclude_defaults=True
    )
    labels = {"sources": ["labels"], "license": "CC0"}
    with pytest.raises(Fatal, match="brought_labels have no vector"):
        parse_campaign({**settings, "brought_labels": labels}, "test")
