"""A score guides the first night, loses its weight where people disagree, and never mixes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.batch import read_table
from winnow.campaign import Expand
from winnow.expand import manifests
from winnow.expand.features import feature_version
from winnow.expand.pool_features import in_pool_version
from winnow.label.vendor import Message
from winnow.publish.versions import newest
from winnow.reward import Posterior
from winnow.reward.blocks import SCORE_SLOPE, has_score, spans
from winnow.stages.select import reward_model
from winnow.stages.select.candidates import NightCandidates
from winnow.style import style_names
from winnow_simulator.taste import taste

from ..expand.conftest import TINY_COLUMNS, tiny_embed
from .conftest import DAY, Night

MakeNight = Callable[..., Night]
JUDGE = {"reward_model": "judge"}
FEATURES = ["embedding", JUDGE]
BLOCKS = [["embedding", TINY_COLUMNS], ["style", len(style_names())], ["score:judge", 1],
          ["state:judge", 3]]  # fmt: skip


def judge(sign: float) -> Callable[[Sequence[Any], Sequence[str]], Any]:
    """A reward model that likes what the simulated people like, or by `sign` what they do not."""

    def read(prompts: Sequence[Any], texts: Sequence[str]) -> Any:
        asked = [[Message(**turn) for turn in prompt["messages"]] for prompt in prompts]
        liked = [[sign * taste(turns, text)] for turns, text in zip(asked, texts, strict=True)]
        return {
            "embedding": tiny_embed(prompts, texts),
            "score:judge": np.array(liked, np.float32),
            "state:judge": np.array([[len(t), t.count("a"), 1.0] for t in texts], np.float32),
        }

    return read


def scored(night: Night, sign: float = 1.0, features: Sequence[Any] = FEATURES) -> Night:
    settings = night.campaign.model_dump(mode="json")
    settings["expand"]["features"] = features
    night.campaign = type(night.campaign).model_validate(settings)
    night.embed = judge(sign)
    return night


def asked(inbox: Path, name: str, n: int) -> None:
    rows = [
        {"prompt": f"why does {name} number {k} follow the tide and the moon?"} for k in range(n)
    ]
    (inbox / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def test_the_first_night_is_guided_by_the_score(night: MakeNight) -> None:
    first = scored(night())
    batch = first.batch()
    first.choose(batch)
    expanded, figures = (batch.require(stage).figures for stage in ("expand", "select"))
    assert (expanded["blocks"], expanded["n_embedding"]) == (BLOCKS, TINY_COLUMNS)
    assert expanded["feature_version"].endswith("+style-1+reward:judge")
    plain = night("plain")
    plain.choose(plain.batch())
    unscored = plain.batch().require("expand").figures
    assert expanded["audit"] == unscored["audit"], "near duplicates are told by the embedding alone"
    assert figures["strategy"] == "decision_gain"
    assert "0 labels" in figures["fallback"] and "the score" in figures["fallback"]
    candidates = NightCandidates(batch).part(0)
    assert has_score(candidates.columns.blocks)
    place = {response: row for row, response in enumerate(candidates.response_ids)}
    column = spans(candidates.columns.blocks)[2].start
    for row in first.rows("select", "comparisons"):
        scores = [candidates.raw_rc[place[row[side]], column] for side in ("first_id", "second_id")]
        if scores[0] != scores[1]:
            assert (scores[0] > scores[1]) == (row["p_first"] > 0.5)
    reasons = [row["reason"] for row in first.rows("select", "comparisons")]
    assert "exploration" in reasons and set(reasons) != {"exploration"}


def weight_of_score(night: Night) -> float:
    """What labels made of the score's weight, logits a standard deviation."""
    current = reward_model.newest(night.lake, "small")
    assert current is not None
    head, blocks = current.model.posterior, current.model.projection.blocks
    assert isinstance(head, Posterior)
    (place,) = [span for b, span in zip(blocks, spans(blocks), strict=True) if b.kind == "score"]
    return float(head.mean_d[place][0])


def test_a_score_that_people_contradict_loses_its_weight(night: MakeNight, inbox: Path) -> None:
    asked(inbox, "more", 24)
    weights = []
    for name, sign in (("right", 1.0), ("inverted", -1.0)):
        taught = scored(night(name), sign)
        taught.run()
        weights.append(weight_of_score(taught))
    right, inverted = weights
    assert right > 0.6 * SCORE_SLOPE
    assert inverted < 0.3 * SCORE_SLOPE


def test_a_change_of_features_leaves_votes_on_other_vectors_out(
    night: MakeNight, inbox: Path
) -> None:
    one = night()
    one.run()
    asked(inbox, "later", 6)
    scored(one).day = "2026-11-23"
    one.run()
    version = newest(one.lake, "small")
    assert version is not None and len(version.batches) == 2
    current = reward_model.newest(one.lake, "small")
    assert current is not None
    votes = [row for row in one.rows("label", "annotations") if row["preferred"] != "skip"]
    assert current.model.posterior.n_labels == len(votes)
    wanted = feature_version(Expand(model="m", features=FEATURES))
    assert current.model.feature_version == in_pool_version(wanted, ["m"])
    one.day = DAY
    assert one.batch().require("expand").figures["feature_version"] != wanted


@pytest.mark.parametrize("features", [["embedding"], ["policy"]])
def test_calls_of_before_blocks_were_recorded_still_gather(
    night: MakeNight, features: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night that an earlier release generated, and this one gathers and chooses from."""
    new, old = scored(night("new"), features=features), scored(night("old"), features=features)
    for each in (new, old):
        each.embed = tiny_embed
    new.choose(new.batch())
    with monkeypatch.context() as before:
        sealed = manifests.sealed_json

        def without_blocks(content: dict[str, Any]) -> bytes:
            for each in (content, *content.get("calls", ())):
                each.pop("blocks", None)
            return sealed(content)

        before.setattr(manifests, "sealed_json", without_blocks)
        old.choose(old.batch())
    shards = f"{old.batch().folder}/expand/shards"
    (shard,) = old.lake.names(shards)
    assert b"blocks" not in old.lake.read(f"{shards}/{shard}")
    for stage, table in (("expand", "features"), ("select", "comparisons")):
        tables = [
            read_table(each.lake, each.batch().require(stage).outputs[table]) for each in (new, old)
        ]
        assert tables[0] == tables[1]
    assert new.batch().require("expand").figures == old.batch().require("expand").figures
