"""The commands about versions, over two small nights in a real lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from winnow.batch import manifest_path
from winnow.cli import main
from winnow.errors import Corrupt
from winnow.expand.features import feature_version
from winnow.expand.pool_features import in_pool_version
from winnow.publish.lineage import trace
from winnow.publish.versions import newest, read_version
from winnow.stages import publish
from winnow.stages.select import reward_model
from winnow.stages.tasks import Done

from ..conftest import starting
from .conftest import DAY, Night, filled, pass_all

NEXT_DAY = "2026-11-23"


def run(night: Night, inbox: Path, day: str, start: int) -> Night:
    """A night of a day more; `start` makes its prompts."""
    if day != DAY:
        rows = [{"prompt": f"why does number {n} come before it?"} for n in range(start, start + 6)]
        (inbox / f"{day}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    night.day = day
    night.run()
    return night


@pytest.fixture
def nights(night: Callable[..., Night], inbox: Path) -> Callable[[str, int], Night]:
    """Runs a night a day over one lake."""
    return partial(run, night(third_votes=False), inbox)


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, _front: Any, loopback: httpx.HTTPTransport
) -> Iterator[Night]:
    """The lake after two nights; who takes it only reads."""
    folder = tmp_path_factory.mktemp("two")
    inbox = filled(folder / "inbox")
    with pytest.MonkeyPatch.context() as patch, starting(_front, loopback) as start:
        pass_all(patch)
        simulator = start(folder / "books.sqlite")
        one = Night(folder / "night", inbox, simulator, {"third_votes": False})
        run(one, inbox, DAY, 0)
        yield run(one, inbox, NEXT_DAY, 50)


def test_a_refit_reads_features_of_one_version_alone(nights: Callable[[str, int], Night]) -> None:
    one = nights(DAY, 0)
    other = one.campaign.expand.model_copy(update={"embedding_model": "another"})
    one.campaign = one.campaign.model_copy(update={"expand": other})
    nights(NEXT_DAY, 50)
    version = newest(one.lake, "small")
    assert version is not None
    assert set(version.batches) == {DAY, NEXT_DAY}
    fitted = reward_model.refit(one.lake, one.campaign, version)
    votes = [row for row in one.rows("label", "annotations") if row["preferred"] != "skip"]
    assert fitted.model.feature_version == in_pool_version(feature_version(other), ["m"])
    assert fitted.model.posterior.n_labels == len(votes)


def test_a_batch_is_not_closed_on_a_version_that_lacks_a_row_of_it(
    published: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = published
    version, batch = read_version(one.lake, "small", 1), one.batch()
    files = {
        name: replace(file, n_rows=file.n_rows - 1) if "data/reward/train" in name else file
        for name, file in version.files.items()
    }
    short = replace(version, files=files)
    monkeypatch.setattr(publish, "read_version", lambda *_: short)
    one.lake.remove(manifest_path("small", DAY, "publish"))
    with pytest.raises(Corrupt, match=r"stage publish: .* rows came in but"):
        publish.refit(batch, 1)
    monkeypatch.undo()
    assert publish.refit(batch, 1).counts["rows_in"] == len(one.rows("label", "preferences"))


@pytest.fixture
def winnow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command on a night's lake; what it printed."""

    def run(night: Night, *arguments: str, code: int = 0) -> str:
        campaign = tmp_path / "campaign.yaml"
        campaign.write_text(yaml.safe_dump(night.campaign.model_dump(mode="json")))
        places = ["--lake", night.lake.uri, "--campaign", str(campaign)]
        assert main([*arguments, *places]) == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return run


def test_versions_are_listed_with_rows_cost_and_verdict(
    two: Night, winnow: Callable[..., str]
) -> None:
    first, second = winnow(two, "versions").splitlines()
    version = read_version(two.lake, "small", 1)
    assert first.startswith(f"small@v000001 {version.digest[:12]} {version.published_at}")
    assert f" {version.n_rows('annotations')} annotations, " in first
    assert f"${version.figures['cost'] / 1e6:.2f}, gate: pass, batches to {DAY}" in first
    assert second.startswith("small@v000002") and second.endswith(f"batches to {NEXT_DAY}")


def test_a_diff_names_the_rows_of_the_new_batch(two: Night, winnow: Callable[..., str]) -> None:
    told = json.loads(winnow(two, "diff", "v1", "small@latest", "--json", "--rows", "1000"))
    assert told["batches_added"] == [NEXT_DAY]
    decided = {
        row["pair_id"] for row in two.rows("label", "preferences") if row["p_preferred"] != 0.5
    }
    added = told["views"]["reward"]["added"]
    assert added and set(added) <= decided
    assert told["views"]["reward"]["n_added"] == len(added)
    assert told["views"]["reward"]["n_removed"] == 0
    assert "batches added: 2026-11-23" in winnow(two, "diff", "v1", "v2")


def test_pull_brings_the_version_that_is_named(
    two: Night, winnow: Callable[..., str], tmp_path: Path
) -> None:
    for name, number in (("small@v1", 1), ("latest", 2)):
        told = winnow(two, "pull", name, "--out", str(tmp_path / name))
        version = read_version(two.lake, "small", number)
        assert f"small@{version.name}" in told and "fetched now" in told
        files = sorted((tmp_path / name / "data" / "reward").rglob("*.parquet"))
        assert sum(pq.read_metadata(f).num_rows for f in files) == version.n_rows("reward")
    assert "all there before" in winnow(two, "pull", "latest", "--out", str(tmp_path / "latest"))


def test_what_cannot_be_done_is_said_in_one_line(two: Night, winnow: Callable[..., str]) -> None:
    refused: Sequence[tuple[Sequence[str], str]] = (
        (("diff", "v1", "v9"), "no version 'v9': there are v1 to v2, and `latest`"),
        (("diff", "v1", "old"), "no version 'old'"),
        (("pull", "s3://AKIA:SECRET77@bucket", "--out", "x"), "What is named is no version"),
        (("diff", "v1", "s3://AKIA:SECRET77@latest"), "What is named is no version"),
        (("rollback", "SECRET77@v1", "--reason", "why"), "What is named is no version"),
        (("pull", "v" + "9" * 5000, "--out", "x"), "What is named is no version"),
        (("pull", "other@latest", "--out", "x"), "Dataset other in"),
        (("lineage", "no-such-id"), "None of 2 published batches of small"),
        (("rollback", "v2", "--reason", "why"), "v000002 is the newest version"),
        (("rollback", "v1", "--reason", " "), "needs a reason"),
    )
    for arguments, told in refused:
        said = winnow(two, *arguments, code=1)
        assert told in said and said.count("\n") == 1
        assert "SECRET77" not in said
    assert not two.lake.exists("datasets/small/versions/v000003.json")


def test_lineage_of_a_pair_goes_back_to_its_prompts_line_and_its_votes(
    two: Night, winnow: Callable[..., str]
) -> None:
    preference = two.rows("label", "preferences")[0]
    pair = preference["pair_id"]
    found = trace(two.lake, "small", "small", pair)
    assert (found.kind, found.batch, found.first_version) == ("pair", NEXT_DAY, "v000002")
    assert found.prompt["file"].endswith(f"{NEXT_DAY}.jsonl") and found.prompt["line"] >= 1
    (story,) = found.pairs
    assert {story.first["response_id"], story.second["response_id"]} == {
        preference["first_id"],
        preference["second_id"],
    }
    assert story.first["model"] == "tiny" and story.first["seed"] is not None
    assert story.comparison["reason"]
    asked = [row for row in two.rows("label", "tasks") if row["pair_id"] == pair]
    votes = [row for row in two.rows("label", "annotations") if row["pair_id"] == pair]
    assert story.tasks == asked and story.annotations == votes
    assert story.preference == preference and story.cost == sum(row["price"] for row in votes)
    text = winnow(two, "lineage", pair)
    for word in (found.prompt["prompt_id"], votes[0]["annotator"], "propensity", "seed"):
        assert word in text
    told: dict[str, Any] = json.loads(winnow(two, "lineage", pair, "--json"))
    assert told["pairs"][0]["comparison"]["pair_id"] == pair


def test_openlineage_joins_a_nights_reward_model_with_the_night_that_it_chose(two: Night) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    from winnow_airflow import lineage as openlineage

    def told(task: str, day: str) -> Done:
        return Done(task, day, two.campaign, two.lake, 1)

    [made] = openlineage.outputs_of(told("refit_posterior", DAY))
    read = {each.name: each for each in openlineage.inputs_of(told("choose_pairs", NEXT_DAY))}
    assert read[made.name].facets == made.facets
    first = {each.name for each in openlineage.inputs_of(told("choose_pairs", DAY))}
    assert made.name not in first


def test_the_dataset_rows_of_a_lineage_are_that_pairs(two: Night) -> None:
    files = read_version(two.lake, "small", 2).files
    tables = {
        name: pq.read_table(Path(two.lake.uri, artifact.path)).to_pylist()
        for name, artifact in files.items()
        if name.startswith("data/") and NEXT_DAY in name
    }
    for preference in two.rows("label", "preferences"):
        pair = preference["pair_id"]
        (story,) = trace(two.lake, "small", "small", pair).pairs
        expected = [
            (name, place)
            for name, rows in sorted(tables.items())
            for place, row in enumerate(rows)
            if pair in [row.get("pair_id"), *(row.get("pair_ids") or [])]
        ]
        assert [(place.file, place.row) for place in story.places] == expected


def test_a_response_leads_to_all_its_pairs_and_an_annotation_to_its_own(two: Night) -> None:
    comparisons = two.rows("select", "comparisons")
    response = comparisons[0]["first_id"]
    of_response = {c["pair_id"] for c in comparisons if response in (c["first_id"], c["second_id"])}
    found = trace(two.lake, "small", "small", response)
    assert found.kind == "response"
    assert {story.comparison["pair_id"] for story in found.pairs} == of_response
    annotation = two.rows("label", "annotations")[0]
    found = trace(two.lake, "small", "small", annotation["annotation_id"])
    assert found.kind == "annotation"
    assert [s.comparison["pair_id"] for s in found.pairs] == [annotation["pair_id"]]


def test_after_a_rollback_the_next_night_knows_nothing_of_what_was_taken_out(
    nights: Callable[[str, int], Night], winnow: Callable[..., str]
) -> None:
    first = nights(DAY, 0)
    posterior = reward_model.newest(first.lake, "small")
    two = nights(NEXT_DAY, 50)
    withdrawn = two.rows("label", "preferences")[0]["pair_id"]
    assert posterior is not None
    told = winnow(two, "rollback", "v1", "--reason", "guessed\n\x1b[31m")
    assert told.startswith("small@v000003") and "rollback to v000001: guessed [31m" in told
    restored = reward_model.newest(two.lake, "small")
    assert restored is not None
    assert restored.model.version == posterior.model.version
    assert "rollback to v000001" in winnow(two, "versions").splitlines()[2]
    assert "taken out by a rollback" in winnow(two, "lineage", withdrawn)
    two.run()
    third = nights("2026-11-24", 70)
    last = newest(third.lake, "small")
    assert last is not None
    assert (last.number, last.batches) == (4, (DAY, "2026-11-24"))
    assert last.withdrawn == (NEXT_DAY,)
    pairs = {
        pair
        for name, artifact in last.files.items()
        if name.startswith("data/reward/")
        for pair in pq.read_table(Path(third.lake.uri, artifact.path))["pair_id"].to_pylist()
    }
    assert pairs and withdrawn not in pairs
