"""The replay of adaptive pools: fixed pools are matched, copies are where tokens are saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from winnow.cli import main
from winnow.errors import Fatal
from winnow_bench.growth import FIXED, run

LARGEST = 60


def write_pools(path: Path, copies: int, prompts: int = 6) -> Path:
    """Half of the prompts have only a few texts, said again and again at length."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(prompts):
        alike = prompt % 2 == 0 and copies
        for k in range(LARGEST):
            number = k % copies if alike else k
            vector = np.random.default_rng([prompt, number]).normal(size=16)
            rows.append(
                {
                    "prompt": f"Question {prompt}?",
                    "response": f"Answer {number} to {prompt}.",
                    "n_tokens": 100 if alike else int(rng.integers(5, 15)),
                    "vector": (vector / np.linalg.norm(vector)).tolist(),
                }
            )
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_pools_of_copies_are_ended_early_and_save_their_tokens(tmp_path: Path) -> None:
    file = write_pools(tmp_path / "pools.jsonl", copies=3)
    report = run(file, tmp_path / "out", 2, lambda line: None)
    assert report["prompts"] == 6
    equal = report["at_equal_gain"]
    assert equal["gain"] >= 1.0
    assert equal["tokens"] < 0.5
    assert equal["tokens_low"] <= equal["tokens"] <= equal["tokens_high"]
    assert json.loads((tmp_path / "out" / "growth.json").read_text()) == report


def test_dearer_tokens_make_smaller_pools_and_less_gain(tmp_path: Path) -> None:
    report = run(write_pools(tmp_path / "pools.jsonl", 0), tmp_path / "out", 1, lambda line: None)
    sizes = [row["responses"] for row in report["prices"]]
    gains = [row["gain"] for row in report["prices"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == LARGEST
    assert sizes[-1] < FIXED
    assert gains[0] > 1.0 > gains[-1]


def test_a_file_without_large_pools_is_told(tmp_path: Path) -> None:
    file = tmp_path / "pools.jsonl"
    file.write_text(json.dumps({"prompt": "q", "response": "a", "n_tokens": 1, "vector": [1.0]}))
    with pytest.raises(Fatal, match="no prompt has more than"):
        run(file, tmp_path / "out", 1, lambda line: None)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_pools(tmp_path / "pools.jsonl", copies=3, prompts=2)
    asked = ["bench", "growth", "--pool", str(file), "--out", str(tmp_path), "--repetitions", "1"]
    assert main(asked) == 0
    assert "adaptive pools take" in capsys.readouterr().out


GOOD = {"prompt": "Q?", "response": "A.", "n_tokens": 3, "vector": [0.1, 0.2]}


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[]",
        json.dumps({**GOOD, "prompt": None}),
        json.dumps({**GOOD, "prompt": [1]}),
        json.dumps({**GOOD, "response": 5}),
        json.dumps({**GOOD, "n_tokens": "many"}),
        json.dumps({**GOOD, "vector": None}),
        json.dumps({**GOOD, "finish_reason": 1}),
        json.dumps({k: v for k, v in GOOD.items() if k != "n_tokens"}),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "pools.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{bad}\n")
    with pytest.raises(Fatal, match=r"pools\.jsonl, row 2"):
        run(file, tmp_path / "out", 1, print)


@pytest.mark.parametrize("vector", [["x", "y"], [1.0], [[1.0], [2.0]], "text"])
def test_vectors_that_are_none_are_told(tmp_path: Path, vector: object) -> None:
    file = tmp_path / "pools.jsonl"
    rows = [GOOD] * LARGEST + [{**GOOD, "vector": vector}]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(Fatal, match="vectors"):
        run(file, tmp_path / "out", 1, print)


def test_no_file_and_no_repetition_are_told(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="is no file"):
        run(tmp_path / "absent.jsonl", tmp_path, 1, print)
    with pytest.raises(Fatal, match="0 repetitions"):
        run(tmp_path / "absent.jsonl", tmp_path, 0, print)
