"""The votes bench writes what it promises, on small sets of votes; crowd-kit if it is there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.errors import Fatal
from winnow.label.aggregation.aggregate import METHODS
from winnow_bench.vote_data import AS_BOUGHT, PLANTED, folds, planted
from winnow_bench.votes import run

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
    pair_sets = {
        (name, m) for name in ("llmfao", f"llmfao{AS_BOUGHT}", "pandalm", PLANTED) for m in METHODS
    }
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


def classes(n: int = 6, who: int = 3, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "source": "s",
            "item": f"i{item}",
            "annotator": f"a{each}",
            "label": "xy"[(item + each) % 2],
            "gold": "x" if item % 2 else None,
            **changes,
        }
        for item in range(n)
        for each in range(who)
    ]


def pairs(n: int = 6, who: int = 3, **changes: Any) -> list[dict[str, Any]]:
    said = {"source": "t", "shown_left": "a"}
    return [
        {"pair_id": f"p{k}", "annotator": f"a{w}", "choice": "ab"[(k * w) % 2], **said, **changes}
        for k in range(n)
        for w in range(who)
    ]


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in names} for row in rows]


OTHERS = {
    "classes alone": (classes(), None),
    "pairs alone": (None, pairs()),
    "one pair": (None, pairs(1)),
    "one vote a pair": (None, pairs(6, 1)),
    "one vote": (None, pairs(1, 1)),
    "one item with gold": (classes(1, 1, gold="x"), None),
    "no gold": (classes(gold=None), pairs()),
    "no column of gold": (without(classes(), "gold"), None),
    "no sides": (None, without(pairs(), "shown_left")),
    "one annotator": (classes(6, 1), pairs(6, 1)),
    "one label": (classes(label="x"), pairs(choice="tie")),
    "gold nobody said": (classes(gold="z"), pairs()),
    "numbers": (classes(annotator=3, item=4, label=1, gold=1), pairs(annotator=3, pair_id=5)),
    "one name for both": (classes(source="t"), pairs()),
    "names like paths": (classes(source="a/b"), pairs(source="../c")),
    "unknown choices": (classes(), pairs(choice="left")),
    "nobody's": (classes(annotator=None), pairs()),
}
NOTHING = {
    "no file": (None, None),
    "no row": ([], []),
    "no label": (classes(label=None), pairs(choice=None)),
    "no source": (classes(source=None), pairs(source=None)),
    "a column missing": (without(classes(), "label"), None),
    "lists": (classes(label=["x"]), None),
}


def folder_of(path: Path, files: tuple[Any, Any]) -> Path:
    path.mkdir()
    for name, rows, example in zip(
        ("crowd_labels", "human_votes"), files, (classes(), pairs()), strict=True
    ):
        if rows is not None:
            table = pa.Table.from_pylist(rows or example).slice(0, len(rows))
            pq.write_table(table, path / f"{name}.parquet")
    return path


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_any_folder_of_the_shape_has_figures(name: str, tmp_path: Path) -> None:
    report = run(folder_of(tmp_path / "in", OTHERS[name]), tmp_path / "out", 1, None, lambda _: 0)
    assert json.loads((tmp_path / "out" / "votes.json").read_text()) == report
    for row in report["results"]:
        assert row["n"] > 0 and 0.0 <= row["accuracy"] <= 1.0
    assert {row["data"] for row in report["alpha"]}
    assert PLANTED in {row["data"] for row in report["results"]}


@pytest.mark.parametrize("name", sorted(NOTHING))
def test_a_folder_without_votes_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", NOTHING[name])
    with pytest.raises(Fatal) as told:
        run(folder, tmp_path / "out", 1, None, print)
    assert str(folder) in str(told.value)


def test_no_seeds_and_a_broken_file_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="0 seeds"):
        run(data, tmp_path, 0, None, print)
    (tmp_path / "human_votes.parquet").write_bytes(b"no parquet")
    with pytest.raises(Fatal, match="human_votes"):
        run(tmp_path, tmp_path / "out", 1, None, print)


def test_a_held_out_vote_is_no_vote_and_each_pair_loses_one(data: Path) -> None:
    found = [fold for fold in folds(data, 1) if fold.data.startswith("llmfao")]
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
    assert "crowd_labels.parquet and human_votes.parquet are missing" in capsys.readouterr().err


def test_a_peer_without_crowd_kit_is_told_in_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="--peer"):
        run(data, tmp_path, 1, Path("/bin/false"), print)
    with pytest.raises(Fatal, match="--peer"):
        run(data, tmp_path, 1, tmp_path / "absent", print)


@pytest.mark.kill
def test_crowd_kit_gets_the_same_votes_and_comes_to_the_same_alpha(
    data: Path, tmp_path: Path
) -> None:
    # By its metadata: to import it brings PyTorch.
    asked = [str(PEER), "-c", "from importlib.metadata import version; version('crowd-kit')"]
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
