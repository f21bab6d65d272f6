"""The votes bench writes what it promises, on small sets of votes; crowd-kit if it is there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.bench.vote_data import AS_BOUGHT, PLANTED, folds, planted
from winnow.bench.votes import run
from winnow.cli import main
from winnow.errors import Fatal
from winnow.label.aggregate import METHODS

PEER = Path(__file__).parents[2] / ".venv-trainer" / "bin" / "python"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files with the columns of the real ones; of odd annotators nobody is right."""
    folder, rng = tmp_path_factory.mktemp("votes"), np.random.default_rng(0)
    classes = [
        {
            "source": source,
            "item": f"item-{item}",
            "annotator": f"ann-{who}",
            "label": "GX"[item % 2] if who % 2 == 0 or rng.random() < 0.4 else "R",
            "gold": "GX"[item % 2] if source == "xstest" or item < 20 else None,
        }
        for source in ("AdultContent2", "xstest")
        for item in range(40)
        for who in range(5)
    ]
    pairs = [
        {
            "source": source,
            "pair_id": f"{source}-{pair}",
            "annotator": f"ann-{who}",
            "choice": str(rng.choice(["a", "b", "tie"], p=[0.6, 0.3, 0.1])),
            "shown_left": "a" if source == "llmfao" else None,
        }
        for source in ("llmfao", "pandalm")
        for pair in range(30)
        for who in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(classes), folder / "crowd_labels.parquet")
    pq.write_table(pa.Table.from_pylist(pairs), folder / "human_votes.parquet")
    return folder


def test_each_set_has_a_row_a_method_and_alpha(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    report = run(data, tmp_path, 2, None, said.append)
    assert json.loads((tmp_path / "votes.json").read_text()) == report
    assert "What votes come to" in (tmp_path / "votes.html").read_text()
    found = {(row["data"], row["method"]) for row in report["results"]}
    pair_sets = {(name, m) for name in ("llmfao", AS_BOUGHT, "pandalm", PLANTED) for m in METHODS}
    class_sets = {(n, m) for n in ("AdultContent2", "xstest") for m in ("majority", "dawid_skene")}
    assert found == pair_sets | class_sets
    assert all(0.0 <= row["accuracy"] <= 1.0 < 1 + row["seconds"] for row in report["results"])
    assert [row["n"] for row in report["results"] if row["data"] == "AdultContent2"] == [20, 20]
    assert [row["data"] for row in report["alpha"]] == [
        "AdultContent2",
        "xstest",
        "llmfao",
        "pandalm",
    ]
    assert "simulated" in said[0] and "held-out" in said[0]


def test_a_held_out_vote_is_no_vote_and_each_pair_loses_one(data: Path) -> None:
    found = [fold for fold in folds(data, 1) if fold.data in ("llmfao", AS_BOUGHT)]
    assert [len(fold.truth) for fold in found] == [30, 30]
    assert found[0].votes.num_rows == 30 * 3
    bought = found[1].votes["item"].to_pylist()
    assert set(bought) == set(found[1].truth)
    assert 30 < len(bought) < 60


def test_the_planted_batch_is_drawn_from_its_seed_alone() -> None:
    one, same, other = (planted(np.random.default_rng(seed), 50) for seed in (1, 1, 2))
    assert one.votes == same.votes and one.truth == same.truth
    assert one.votes != other.votes
    assert set(one.votes["item"].to_pylist()) == set(one.truth) == set(one.p_first)


def test_the_command_writes_its_files(data: Path, tmp_path: Path, capsys) -> None:
    command = ["bench", "votes", "--data", str(data), "--seeds", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    assert (tmp_path / "votes.json").exists()
    assert main([*command[:3], str(tmp_path / "nowhere"), *command[4:]]) == 1
    assert "crowd_labels.parquet is missing" in capsys.readouterr().err


def test_a_peer_without_crowd_kit_is_told_in_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="--peer"):
        run(data, tmp_path, 1, Path("/bin/false"), print)
    with pytest.raises(Fatal, match="--peer"):
        run(data, tmp_path, 1, tmp_path / "absent", print)


@pytest.mark.slow
def test_crowd_kit_gets_the_same_votes_and_comes_to_the_same_alpha(
    data: Path, tmp_path: Path
) -> None:
    asked = [str(PEER), "-c", "import crowdkit"]
    if not PEER.exists() or subprocess.run(asked, capture_output=True).returncode:
        pytest.skip(f"{PEER} has no crowd-kit")
    report = run(data, tmp_path, 1, PEER, print)
    assert report["crowd_kit"]
    for row in report["alpha"]:
        assert row["alpha"] == pytest.approx(row["crowd_kit_alpha"], abs=1e-9)
    theirs = [row for row in report["results"] if row["by"] == "crowd-kit"]
    assert {row["method"] for row in theirs} >= {"majority", "dawid_skene"}
    ours = [row for row in report["results"] if row["method"] == "dawid_skene"]
    assert all(row["accuracy"] > 0.9 for row in ours if row["data"] == "xstest")
