"""Preferences that a team brings start the reward model, and give way to its own votes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.batch import Batch, read_artifact, read_table
from winnow.campaign import Campaign
from winnow.errors import Corrupt, Fatal
from winnow.expand.brought_labels import read_features
from winnow.progress import progress, summary
from winnow.publish.versions import newest
from winnow.reward import RewardModel
from winnow.stages import expand, generate, ingest, select
from winnow.stages.expand import brought_labels
from winnow.stages.select.candidates import NightCandidates

from .conftest import DAY, Night, killed_at_steps

WORDS = Night.words.split()
ROW = {"prompt": "Why is the sea salt?", "chosen": "Rivers bring it.", "rejected": "It is wet."}


def worded(prompts: Sequence[Any], texts: Sequence[str]) -> Any:
    """How often a text says each of the words, length one."""
    counts = np.array([[1e-3 + text.split().count(word) for word in WORDS] for text in texts])
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def liked(text: str) -> float:
    """What people want in these tests: the moon, and no wind."""
    words = text.split()
    return (words.count("moon") - words.count("wind")) / max(len(words), 1)


def preferences(n: int, seed: int = 0, sign: float = 1.0) -> Iterator[dict[str, Any]]:
    """Pairs of which the better one is chosen, or by `sign` the worse one."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        sides = [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 9)))) for _ in range(2)]
        sides.sort(key=lambda text: sign * liked(text))
        if liked(sides[0]) != liked(sides[1]):
            prompt = f"What of {seed} and {number}?"
            yield {"prompt": prompt, "chosen": sides[1], "rejected": sides[0]}


class Bringing(Night):
    """A night of a campaign that brings labels; its people like what `liked` says."""

    embed = staticmethod(worded)

    def bringing(self, folder: Path, **settings: Any) -> Bringing:
        told = self.campaign.model_dump(mode="json")
        told["brought_labels"] = {"sources": [str(folder)], "license": "CC-BY-4.0", **settings}
        self.campaign = Campaign.model_validate(told)
        return self

    def expand(self, batch: Batch) -> None:
        for pieces in brought_labels.shards_of(batch).values():
            for piece in pieces:
                read_features(batch.lake, "small", piece, batch.campaign.expand, self.embed)
        super().expand(batch)

    def expanded(self) -> Any:
        """Ingest and expand, and the manifest of the latter."""
        batch = self.batch()
        ingest.run(batch)
        self.expand(batch)
        return batch.require("expand")


MakeNight = Callable[..., Bringing]


@pytest.fixture
def bringing(
    tmp_path: Path, inbox: Path, start_simulator: Callable[[Path], Any]
) -> Callable[..., Bringing]:
    def make(name: str = "night") -> Bringing:
        simulator = start_simulator(tmp_path / f"{name}.sqlite")
        return Bringing(tmp_path / name, inbox, simulator, {})

    return make


def written(folder: Path, rows: Sequence[Any], name: str = "a.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def foreseen(night: Night) -> float:
    """Share of all pairs of the night's pools whose better side its model held to be likelier."""
    texts = {row["response_id"]: row["message"] for row in night.rows("expand", "responses")}
    stored = night.batch().require("select").outputs["reward_model"]
    model = RewardModel.from_bytes(read_artifact(night.lake, stored))
    right = []
    for part, features_rd in NightCandidates(night.batch()).parts(model):
        reward_r = model.posterior.mean(features_rd)
        for rows in part.rows_of.values():
            for one, other in combinations(range(rows.start, rows.stop), 2):
                ids = (part.response_ids[one], part.response_ids[other])
                apart = liked(texts[ids[0]]) - liked(texts[ids[1]])
                right += [(apart > 0) == (reward_r[one] > reward_r[other])] if apart else []
    return float(np.mean(right))


def test_labels_that_were_brought_guide_the_first_night(
    bringing: MakeNight, tmp_path: Path
) -> None:
    rows = list(preferences(240))
    one = bringing().bringing(written(tmp_path / "labels", rows))
    one.choose(one.batch())
    figures = one.batch().require("select").figures
    assert figures["strategy"] == "decision_gain"
    assert figures["posterior_labels"] == len(rows)
    told = figures["brought_labels"]
    assert (told["votes"], told["license"]) == (len(rows), "CC-BY-4.0")
    assert told["counts_for"] == {"overall": len(rows)}
    assert [Path(name).name for name in told["files"]] == ["a.jsonl"]
    assert foreseen(one) > 0.9
    cold = bringing("cold")
    cold.choose(cold.batch())
    assert cold.batch().require("select").figures["strategy"] == "diversity"
    turned = bringing("turned").bringing(
        written(tmp_path / "turned", list(preferences(240, sign=-1.0)))
    )
    turned.choose(turned.batch())
    assert foreseen(turned) < 0.1


def test_a_row_that_is_no_label_is_quarantined_with_its_place_and_reason(
    bringing: MakeNight, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"prompt": "What do the exam papers ask of the moon today?"}))
    rows: list[Any] = [
        ROW,
        {"prompt": "Scores alone?", "response": "are no vote", "score": 3.0},
        {**ROW, "rejected": "  "},
        {**ROW, "chosen": "It is wet.", "rejected": "Rivers bring it."},
        {"prompt": "what do the EXAM papers ask of the moon today", "chosen": "a", "rejected": "b"},
        {**ROW, "subset": "math-prm", "chosen_model": "x", "rejected_model": "y"},
        42,
        {**ROW, "annotator": "w1"},
    ]
    one = bringing().bringing(written(tmp_path / "labels", rows))
    told = one.campaign.model_dump(mode="json")
    told["validation"]["evaluation_prompts"] = str(asked)
    one.campaign = Campaign.model_validate(told)
    manifest = one.expanded()
    refused = {
        row["line"]: row["reason"]
        for row in one.rows("expand", "quarantine")
        if row["stage"] == "brought_labels"
    }
    assert refused == {
        2: "no_preference",
        3: "empty_response",
        4: "duplicate",
        5: "evaluation_prompts",
        6: "evaluation_set",
        7: "wrong_type",
    }
    counts = manifest.counts
    assert (counts["label_rows_in"], counts["label_rows_out"], counts["brought_labels"]) == (
        8,
        2,
        2,
    )
    assert counts["rows_in"] == counts["rows_out"] + counts["quarantined"]
    assert manifest.figures["brought_labels"]["formats"] == {"pairs": 2}


def test_how_far_a_label_goes(bringing: MakeNight, tmp_path: Path) -> None:
    said = {"response1": "One is first.", "response2": "Two is second."}
    rows = [
        {"context": [{"role": "user", "content": f"Which, {n}?"}], **said, "overall_preference": n}
        for n in (-1, 2, 0)
    ]
    answers = [{"answer": f"It is number {n}.", "rank": float(n)} for n in (1, 2, 3)]
    rows.append({"prompt": "\n\nHuman: Order?\n\nAssistant: ", "answers": answers})
    one = bringing().bringing(written(tmp_path / "labels", rows))
    one.expanded()
    found = brought_labels.listed_in(one.lake, one.batch().require("expand").outputs)
    assert found is not None
    (artifact,) = found.training
    votes = read_table(one.lake, artifact).to_pylist()
    far = [abs(vote["preference"] - 0.5) for vote in votes]
    assert far == pytest.approx([0.35, 0.5, 0.0, 0.5, 0.5, 0.5])
    assert [vote["weight"] for vote in votes] == pytest.approx([1, 1, 1, 2 / 3, 2 / 3, 2 / 3])
    assert {vote["kind"] for vote in votes} == {"brought"}
    assert all(vote["first_id"] < vote["second_id"] for vote in votes)


def test_files_are_read_once_and_what_is_gone_stays(bringing: MakeNight, tmp_path: Path) -> None:
    folder = written(tmp_path / "labels", list(preferences(20)))
    one = bringing().bringing(folder)
    first = one.expanded().counts["brought_labels"]
    (folder / "a.jsonl").unlink()
    written(folder, [*preferences(20), *preferences(9, seed=1)], "b.jsonl")
    one.day = "2026-11-23"
    written(Path(one.campaign.ingest.sources[0]), [{"prompt": "And what now?"}], "later.jsonl")
    counts = one.expanded().counts
    assert counts["brought_labels"] == first + counts["label_rows_out"]
    assert counts["label_rows_in"] == first + counts["label_rows_out"]
    one.day = DAY
    assert one.batch().require("expand").counts["brought_labels"] == first


def test_a_shard_is_read_by_the_process_that_generates(
    bringing: MakeNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bringing().bringing(written(tmp_path / "labels", list(preferences(20))))
    batch, told = one.batch(), list[str]()
    ingest.run(batch)
    (shard,) = [each for each in expand.plan(batch) if each.startswith("labels-")]
    with pytest.raises(Fatal, match=shard):
        super(Bringing, one).expand(batch)

    def work(_: Any, spec: generate.Spec, say: Any, variables: Any) -> None:
        sent = generate.Spec.model_validate_json(spec.model_dump_json())
        generate.work(sent, lambda event: say(str(event["votes"])))

    monkeypatch.setattr(expand, "_run_process", work)
    monkeypatch.setattr(generate, "open_embedder", lambda *_, **__: worded)
    assert expand.progress(batch).endswith("0 of 1 pieces of labels read")
    for _ in range(2):
        expand.generate(batch, shard, Path("python"), tmp_path, told.append)
    assert len(told) == 1
    assert expand.progress(batch).endswith("1 of 1 pieces of labels read")
    expand.gather(batch)
    assert batch.require("expand").counts["brought_labels"] == int(told[0])


def test_labels_are_read_in_pieces_of_any_number(
    bringing: MakeNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many pieces teach what one does."""
    folder, models = written(tmp_path / "labels", list(preferences(150))), []
    for name, size in (("whole", brought_labels.ROWS), ("cut", 7)):
        monkeypatch.setattr(brought_labels, "ROWS", size)
        one = bringing(name).bringing(folder)
        one.choose(one.batch())
        stored = one.batch().require("select").outputs["reward_model"]
        models.append(RewardModel.from_bytes(read_artifact(one.lake, stored)).posterior)
    np.testing.assert_allclose(*(model.mean(np.eye(3, len(model.mean_d))) for model in models))


@pytest.mark.sampled
def test_a_kill_before_any_step_changes_nothing(bringing: MakeNight, tmp_path: Path) -> None:
    folder = written(tmp_path / "labels", [*preferences(60), 42])
    n_steps, outcome = killed_at_steps(lambda name: bringing(name).bringing(folder), 60)
    assert n_steps > 30
    assert set(outcome[-1].values()) == {1}


def test_no_brought_label_is_published_and_all_are_told_with_their_licence(
    bringing: MakeNight, tmp_path: Path
) -> None:
    rows = list(preferences(120))
    one = bringing().bringing(written(tmp_path / "labels", [*rows, 42]))
    one.run()
    batch, told = one.batch(), f"{len(rows)} votes that were brought"
    version = newest(one.lake, "small")
    assert version is not None
    tables = [a for name, a in version.files.items() if name.endswith(".parquet")]
    published = str([read_table(one.lake, artifact).to_pylist() for artifact in tables])
    assert "follow number" in published and "What of" not in published
    card = one.lake.read(f"{version.folder}/README.md").decode()
    assert f"{told} to the campaign started the model" in card and "CC-BY-4.0" in card
    report = one.lake.read(f"{version.folder}/quality/report.html").decode()
    assert f"started by {told} (a.jsonl), under CC-BY-4.0" in report
    figures = batch.require("publish").figures
    assert figures["brought_labels"]["votes"] == len(rows)
    own = [row for row in one.rows("label", "annotations") if row["preferred"] != "skip"]
    counts_for = figures["brought_labels"]["counts_for"]["overall"]
    assert figures["posterior_labels"] == len(own) + counts_for
    line = progress(batch)["expand"]
    assert f"{len(rows)} votes brought, {len(rows) + 1} rows read, 1 of them in quarantine" in line
    assert f"started by {told}" in summary(batch)


def test_evaluation_prompts_that_come_later_take_labels_out(
    bringing: MakeNight, tmp_path: Path
) -> None:
    folder = written(tmp_path / "labels", [*preferences(20), ROW])
    gone = written(folder, list(preferences(5, seed=1)), "gone.jsonl") / "gone.jsonl"
    one = bringing().bringing(folder)
    before = one.expanded().counts["brought_labels"]
    gone.unlink()
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"prompt": ROW["prompt"]}))
    told = one.campaign.model_dump(mode="json")
    told["validation"]["evaluation_prompts"] = str(asked)
    one.campaign = Campaign.model_validate(told)
    one.day = "2026-11-23"
    written(Path(one.campaign.ingest.sources[0]), [{"prompt": "And what now?"}], "later.jsonl")
    manifest = one.expanded()
    left = len(list(preferences(20)))
    assert manifest.counts["brought_labels"] == left < before - 1
    assert [row["reason"] for row in one.rows("expand", "quarantine")] == ["evaluation_prompts"]
    (name,) = manifest.figures["brought_labels"]["left_out"]
    assert name.endswith("gone.jsonl"), "it cannot be held against the new prompts any more"


def test_a_campaign_on_pools_of_another_brings_labels_of_its_own(
    bringing: MakeNight, tmp_path: Path
) -> None:
    first = bringing().bringing(written(tmp_path / "labels", list(preferences(150))))
    first.run()
    second = bringing().bringing(written(tmp_path / "more", list(preferences(120, seed=1))))
    told = second.campaign.model_dump(mode="json")
    told |= {"name": "second", "pools_from": "small", "ingest": {}}
    told["publish"]["dataset"] = "second"
    second.campaign = Campaign.model_validate(told)
    batch = second.batch()
    ingest.run(batch)
    for pieces in brought_labels.shards_of(batch).values():
        for piece in pieces:
            read_features(batch.lake, "second", piece, batch.campaign.expand, worded)
    counts = expand.gather(batch).counts
    assert counts["brought_labels"] == len(list(preferences(120, seed=1)))
    select.run(batch)
    told_of = batch.require("select").figures["brought_labels"]
    assert [Path(name).parent.name for name in told_of["files"]] == ["more"]
    bare = second.campaign.model_dump(mode="json")
    bare |= {"name": "third", "brought_labels": None}
    bare["publish"]["dataset"] = "third"
    second.campaign = Campaign.model_validate(bare)
    third = second.batch()
    ingest.run(third)
    assert "brought_labels" not in expand.gather(third).counts
    assert "brought_labels" not in third.require("expand").outputs


def test_other_features_read_the_labels_anew_and_start_the_model_again(
    bringing: MakeNight, tmp_path: Path
) -> None:
    one = bringing().bringing(written(tmp_path / "labels", list(preferences(150))))
    one.run()
    assert "brought_labels" in one.batch().require("select").figures
    before = one.batch().require("expand").outputs["brought_labels"]
    one.day = "2026-11-23"
    asked = [{"prompt": f"And what of number {n}?"} for n in range(4)]
    written(Path(one.campaign.ingest.sources[0]), asked, "later.jsonl")
    told = one.campaign.model_dump(mode="json")
    told["expand"]["embedding_model"] = "another"
    one.campaign = Campaign.model_validate(told)
    batch = one.batch()
    ingest.run(batch)
    assert [each for each in expand.plan(batch) if each.startswith("labels-")]
    one.choose(batch)
    figures = batch.require("select").figures
    assert figures["strategy"] == "decision_gain"
    assert figures["brought_labels"]["votes"] == figures["posterior_labels"]
    assert batch.require("expand").outputs["brought_labels"] != before
    assert batch.require("expand").counts["label_rows_in"] == 0, "its files were read before"


def test_a_lost_note_of_the_files_is_no_empty_one(bringing: MakeNight, tmp_path: Path) -> None:
    one = bringing().bringing(written(tmp_path / "labels", list(preferences(20))))
    one.expanded()
    one.lake.remove("campaigns/small/brought/files.json")
    one.day = "2026-11-23"
    written(Path(one.campaign.ingest.sources[0]), [{"prompt": "And what now?"}], "later.jsonl")
    with pytest.raises(Corrupt, match=r"files\.json is missing"):
        one.expanded()
