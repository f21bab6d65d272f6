"""Views hold each decided pair the right way round, and keep ties and skips where they belong."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.campaign import Campaign, parse_campaign
from winnow.lake import FolderLake
from winnow.publish import views as publish_views
from winnow.publish.card import dataset_card
from winnow.publish.versions import publish, store_object
from winnow.publish.views import VIEWS

from ...batch_rows import BatchRows, build_views

PROMPT = {"messages": [{"role": "user", "content": "q"}], "language": "en", "tools": None}

TALK = {
    **PROMPT,
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "is it raining?"},
        {"role": "assistant", "content": '{"name": "weather", "arguments": {}}'},
        {"role": "tool", "content": "rain"},
    ],
    "tools": '[{"function": {"name": "weather"}, "type": "function"}]',
}


def labelled(*preferences: tuple[str, float]) -> BatchRows:
    """One pair a preference: (preferred, P(first preferred))."""
    names = [f"p{i}" for i in range(len(preferences))]
    return BatchRows(
        batch="d1",
        prompts={"q": PROMPT},
        responses={f"{n}{side}": response(f"{n}{side}") for n in names for side in "ab"},
        comparisons={n: comparison(n) for n in names},
        preferences=[
            {
                "pair_id": name,
                "prompt_id": "q",
                "first_id": f"{name}a",
                "second_id": f"{name}b",
                "preferred": preferred,
                "p_preferred": p,
                "votes": 1,
                "agreement": None,
                "cost": 100_000,
            }
            for name, (preferred, p) in zip(names, preferences, strict=True)
        ],
        annotations=[
            annotation(n, preferred) for n, (preferred, _) in zip(names, preferences, strict=True)
        ],
    )


def response(name: str) -> dict[str, Any]:
    return {"prompt_id": "q", "message": f"text {name}"}


def comparison(name: str) -> dict[str, Any]:
    return {
        "pair_id": name,
        "prompt_id": "q",
        "first_id": f"{name}a",
        "second_id": f"{name}b",
        "kind": "selected",
        "strategy": "info_gain",
        "info_gain": 0.1,
        "propensity": None,
        "dimension": "helpfulness",
    }


def annotation(name: str, preferred: str) -> dict[str, Any]:
    return {"annotation_id": f"n{name}", "pair_id": name, "preferred": preferred, "annotator": "h"}


def test_chosen_is_what_was_preferred() -> None:
    rows = build_views(labelled(("first", 0.9), ("second", 0.2)), 0.75)["reward"].to_pylist()
    assert [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows] == [
        ("text p0a", "text p0b"),
        ("text p1b", "text p1a"),
    ]
    assert [r["p_chosen"] for r in rows] == pytest.approx([0.9, 0.8])
    assert [r["margin"] for r in rows] == pytest.approx([math.log(9), math.log(4)])
    assert [r["weight"] for r in rows] == pytest.approx([0.8, 0.6])
    assert [r["cost_usd"] for r in rows] == [0.1, 0.1]


def test_a_tie_is_in_no_training_view_but_kept_as_an_annotation() -> None:
    views = build_views(labelled(("tie", 0.5), ("both_bad", 0.5), ("first", 0.9)), 0.75)
    assert views["reward"].num_rows == 1
    assert views["annotations"]["preferred"].to_pylist() == ["tie", "both_bad", "first"]


def test_an_answer_to_a_known_question_is_no_annotation_of_the_pair_it_asks_about() -> None:
    rows = labelled(("first", 0.9))
    gold = {**annotation("p0", "second"), "annotation_id": "known", "kind": "gold"}
    asked = replace(rows, annotations=[*rows.annotations, gold])
    found = build_views(asked, 0.75)["annotations"].to_pylist()
    assert [row["annotation_id"] for row in found] == ["np0"]


def test_only_certain_pairs_enter_dpo_and_kto() -> None:
    views = build_views(labelled(("first", 0.74), ("second", 0.25), ("second", 0.1)), 0.75)
    assert views["reward"].num_rows == 3
    assert views["dpo"]["pair_id"].to_pylist() == ["p1", "p2"]
    assert views["kto"]["response_id"].to_pylist() == ["p1a", "p1b", "p2a", "p2b"]
    assert views["kto"]["label"].to_pylist() == [False, True, False, True]
    assert views["kto"]["completion"].to_pylist()[1][0]["content"] == "text p1b"


def test_a_vote_against_a_sure_model_has_no_negative_margin() -> None:
    [row] = build_views(labelled(("first", 0.4)), 0.75)["reward"].to_pylist()
    assert row["margin"] == 0.0 == row["weight"]


def test_no_pair_has_one_response_on_both_sides() -> None:
    for row in build_views(labelled(("first", 0.9), ("second", 0.1)), 0.5)["reward"].to_pylist():
        assert row["chosen_id"] != row["rejected_id"]


def test_many_prompts_are_read_block_by_block_and_each_row_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = labelled(*[("first", 0.9), ("second", 0.2), ("tie", 0.5)] * 3)
    # A prompt for each pair, and some between them that have none.
    of = {f"p{i}": f"q{i:02d}" for i in range(9)}
    prompts = {f"q{i:02d}": PROMPT for i in range(12)}
    many = replace(
        rows,
        prompts=prompts,
        responses={k: {**row, "prompt_id": of[k[:-1]]} for k, row in rows.responses.items()},
        comparisons={k: {**row, "prompt_id": of[k]} for k, row in rows.comparisons.items()},
        preferences=[{**row, "prompt_id": of[row["pair_id"]]} for row in rows.preferences],
    )
    whole = build_views(many, 0.75)
    monkeypatch.setattr(publish_views, "BLOCK", 2)
    for view, table in build_views(many, 0.75).items():
        assert table.to_pylist() == whole[view].to_pylist(), view
    assert {view: table.num_rows for view, table in whole.items()} == {
        "reward": 6,
        "dpo": 6,
        "kto": 12,
        "prompts": 12,
        "annotations": 9,
        "sharegpt": 6,
        "talks": 6,
        "calls": 0,
        "dimensions": 0,
        "consistent": 0,
    }


def rated(rows: BatchRows, said: dict[str, list[dict[str, tuple[int, int]]]]) -> BatchRows:
    """The batch with the ratings of several people, by pair: those of its first and second."""
    preferred = {row["pair_id"]: row["preferred"] for row in rows.preferences}
    given = [
        {
            **annotation(name, preferred[name]),
            "annotation_id": f"{name} {person}",
            "annotator": f"h{person}",
            "kind": "comparison",
            "status": "submitted",
            "ratings": [
                {"dimension": d, "first": first, "second": second}
                for d, (first, second) in ratings.items()
            ],
        }
        for name, people in said.items()
        for person, ratings in enumerate(people)
    ]
    return replace(rows, annotations=given)


def test_dimensions_are_counted_apart_and_those_at_odds_are_told() -> None:
    rows = labelled(("first", 0.9), ("second", 0.1), ("tie", 0.5), ("first", 0.9), ("first", 0.6))
    both = rated(
        rows,
        {
            "p0": [{"care": (5, 1), "truth": (2, 4)}, {"care": (3, 3)}, {"care": (4, 3)}],
            "p1": [{"care": (1, 2), "truth": (3, 3)}],
            "p2": [{"care": (2, 3)}],
            "p3": [{}],
            "p4": [{"care": (5, 4)}],
        },
    )
    views = build_views(both, 0.75)
    reward = {row["pair_id"]: row for row in views["reward"].to_pylist()}
    care = {"preferred": "chosen", "chosen_votes": 2, "rejected_votes": 0, "ties": 1}
    truth = {"preferred": "rejected", "chosen_votes": 0, "rejected_votes": 1, "ties": 0}
    assert reward["p0"]["dimensions"] == [
        {"dimension": "care", **care},
        {"dimension": "truth", **truth},
    ]
    assert [one["preferred"] for one in reward["p1"]["dimensions"]] == ["chosen", "tie"]
    assert reward["p3"]["dimensions"] is None
    said = {name: row["conflict"] for name, row in reward.items()}
    assert said == {"p0": True, "p1": False, "p3": None, "p4": False}
    assert views["consistent"]["pair_id"].to_pylist() == ["p1"], "certain, asked, and not at odds"
    found = [
        (r["pair_id"], r["dimension"], r["chosen_id"], r["rejected_id"], r["votes"], r["lead"])
        for r in views["dimensions"].to_pylist()
    ]
    assert found == [
        ("p0", "care", "p0a", "p0b", 3, pytest.approx(5 / 3)),
        ("p0", "truth", "p0b", "p0a", 1, 2.0),
        ("p1", "care", "p1b", "p1a", 1, 1.0),
        ("p2", "care", "p2b", "p2a", 1, 1.0),
        ("p4", "care", "p4a", "p4b", 1, 1.0),
    ]
    assert views["dimensions"]["agreement"].to_pylist() == pytest.approx([2 / 3, 1, 1, 1, 1])
    texts = views["dimensions"].to_pylist()[1]
    assert texts["chosen"][0]["content"] == "text p0b"


def campaign_of(**expand: Any) -> Campaign:
    return parse_campaign(
        {
            "name": "d",
            "ingest": {"sources": ["p"]},
            "expand": {"model": "m", **expand},
            "label": {"budget_usd": 1},
            "publish": {"dataset": "d", "license": "cc-by-4.0"},
        },
        "test",
    )


def test_the_card_says_where_responses_came_from(tmp_path: Path) -> None:
    lake, told = FolderLake(tmp_path), {}
    shard = store_object(lake, "d", b"x", "parquet", n_rows=2)
    for engine in ("auto", "brought"):
        campaign = campaign_of(engine=engine)
        version = publish(
            lake,
            engine,
            "d1",
            {"data/reward/train/d1.parquet": shard},
            {"cost": 0},
            lambda v, campaign=campaign: dataset_card(v, campaign, "No human judged."),
            datetime(2026, 11, 23, tzinfo=UTC),
        )
        told[engine] = lake.read(f"{version.folder}/README.md").decode()
    assert "Responses were generated by `m`, at most 50 per\nprompt; pairs" in told["auto"]
    assert "Responses came with the prompts" in told["brought"]
    assert "generated by" not in told["brought"]


def test_the_card_names_each_file_and_tells_who_judged(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    shard = store_object(lake, "d", b"x", "parquet", n_rows=2)
    campaign = campaign_of()
    version = publish(
        lake,
        "d",
        "d1",
        {"data/reward/train/d1.parquet": shard, "data/dpo/test/d1.parquet": shard},
        {"agreement": None, "cost": 1_230_000, "strategy": "diversity", "exploration": 3},
        lambda v: dataset_card(v, campaign, "No human judged."),
        datetime(2026, 11, 23, tzinfo=UTC),
    )
    card = lake.read(f"{version.folder}/README.md").decode()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0"
    assert head["configs"] == [
        {
            "config_name": "reward",
            "data_files": [{"split": "train", "path": ["data/reward/train/d1.parquet"]}],
            "default": True,
        },
        {
            "config_name": "dpo",
            "data_files": [{"split": "test", "path": ["data/dpo/test/d1.parquet"]}],
        },
    ]
    assert "No human judged." in card
    assert "chosen by `diversity`, and 3 of them" in card
    assert "| agreement | not measured |" in card
    assert "| cost | $1.23 |" in card


def test_every_view_names_where_a_row_comes_from() -> None:
    for schema in VIEWS.values():
        assert {"prompt_id", "batch", "tools"} <= set(schema.names)


def test_a_response_is_in_kto_once_and_never_both_good_and_bad() -> None:
    rows = build_views(chain(("first", 0.99), ("first", 0.8)), 0.75)["kto"].to_pylist()
    labels = {row["completion"][0]["content"]: row["label"] for row in rows}
    assert labels == {"text a": True, "text b": False, "text c": False}
    assert len(rows) == 3
    assert [row["pair_ids"] for row in rows] == [["p0"], ["p0", "p1"], ["p1"]]


def test_a_response_that_wins_as_much_as_it_loses_is_not_in_kto() -> None:
    rows = build_views(chain(("first", 0.9), ("first", 0.9)), 0.75)["kto"].to_pylist()
    assert [row["completion"][0]["content"] for row in rows] == ["text a", "text c"]


def chain(*preferences: tuple[str, float]) -> BatchRows:
    """Responses a, b, c, ...: each pair's second is the next pair's first."""
    pairs = labelled(*preferences)
    ends = {f"p{i}": (chr(97 + i), chr(98 + i)) for i in range(len(preferences))}
    return replace(
        pairs,
        responses={c: response(c) for pair in ends.values() for c in pair},
        comparisons={
            name: {**pair, "first_id": ends[name][0], "second_id": ends[name][1]}
            for name, pair in pairs.comparisons.items()
        },
        preferences=[
            {**p, "first_id": ends[p["pair_id"]][0], "second_id": ends[p["pair_id"]][1]}
            for p in pairs.preferences
        ],
        annotations=[],
    )


def test_tools_and_turns_are_in_every_view_that_trains() -> None:
    views = build_views(replace(labelled(("first", 0.9)), prompts={"q": TALK}), 0.75)
    for view in ("reward", "dpo", "kto", "prompts", "annotations"):
        for row in views[view].to_pylist():
            assert row["prompt"] == TALK["messages"]
            assert row["tools"] == TALK["tools"]


def test_the_prompts_view_has_every_prompt_once_labelled_or_not() -> None:
    some = labelled(("tie", 0.5), ("first", 0.9))
    with_more = replace(some, prompts={**some.prompts, "unasked": PROMPT})
    assert build_views(with_more, 0.75)["prompts"]["prompt_id"].to_pylist() == ["q", "unasked"]


def test_sharegpt_has_turns_that_alternate_the_system_prompt_apart() -> None:
    views = build_views(replace(labelled(("first", 0.9)), prompts={"q": TALK}), 0.75)
    [row] = views["sharegpt"].to_pylist()
    assert row["system"] == "be brief"
    assert [turn["from"] for turn in row["conversations"]] == [
        "human",
        "function_call",
        "observation",
    ]
    assert row["chosen"] == {"from": "gpt", "value": "text p0a"}
    assert row["rejected"] == {"from": "gpt", "value": "text p0b"}
    assert row["tools"] == TALK["tools"]


@pytest.mark.parametrize(
    "roles",
    [
        ["user", "user"],
        ["user", "assistant", "tool", "tool"],
        ["user", "assistant", "system", "assistant", "user"],
    ],
)
def test_a_pair_whose_turns_do_not_alternate_is_not_in_sharegpt(roles: list[str]) -> None:
    prompt = {**PROMPT, "messages": [{"role": role, "content": "x"} for role in roles]}
    views = build_views(replace(labelled(("first", 0.9)), prompts={"q": prompt}), 0.75)
    assert views["dpo"].num_rows == 1
    assert views["sharegpt"].num_rows == 0
