"""A dataset of several nights is read and trained on by others' programs, without Winnow.

They run in the trainers' own environment, on CPU, without the network; models are tiny and random.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from winnow.lake import FolderLake
from winnow.publish.splits import place

from ..published import labelled, night

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-trainer" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make test` installs the trainers"),
]

TOOLS = json.dumps([{"type": "function", "function": {"name": "rain", "parameters": {}}}])
SUBJECTS = ["tides", "bread", "bicycles", "rain", "maps", "bees", "glass", "chess", "tea", "rust"]
N_NIGHTS = 3
SHARE = 0.3


def asked(number: int) -> list[str | dict[str, Any]]:
    """A night's prompts: single questions, a long talk, one with tools, one not for sharegpt."""
    plain = [f"Tell me about {subject} on day {'x' * number}." for subject in SUBJECTS]
    call = {"role": "assistant", "content": '{"name": "rain", "arguments": {}}'}
    about = {"role": "user", "content": f"Will it rain {'y' * number}?"}
    result = {"role": "tool", "content": "no"}
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Hello {'z' * number}!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "¿Qué tal?"},
    ]
    return [
        *plain,
        {"messages": talk},
        {"messages": [about, call, result], "tools": TOOLS},
        {"messages": [about, call, result, result], "tools": TOOLS},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the third version."""
    lake = FolderLake(tmp_path_factory.mktemp("lake"))
    for number in range(1, N_NIGHTS + 1):
        version = night(lake, labelled(f"2026-11-2{number}", asked(number)), SHARE)
    return lake.root / version.folder


def run(script: str, tmp_path: Path, *arguments: object) -> dict[str, list[str]]:
    """Lines that a script of the trainers' side printed, by their first words."""
    own = {"HF_HOME": str(tmp_path / "hf"), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    env = {**os.environ, **own}
    done = subprocess.run(
        [PYTHON, HERE / script, *map(str, arguments)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(" ")
        lines.setdefault(name, []).append(rest)
    return lines


def n_pairs() -> dict[str, int]:
    """Pairs of each split, counted from the prompts."""
    prompts = [each for number in range(1, N_NIGHTS + 1) for each in asked(number)]
    turns = [
        [{"role": "user", "content": p}] if isinstance(p, str) else p["messages"] for p in prompts
    ]
    n_test = sum(place(each) < SHARE for each in turns)
    return {"train": len(turns) - n_test, "test": n_test}


def test_datasets_and_trl_load_both_splits_of_each_view(folder: Path, tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    all_trains = lake.root / night(lake, labelled("d1", asked(1)[:3]), 0.0).folder
    printed = run("trainer.py", tmp_path, folder, all_trains)
    n = n_pairs()
    assert min(n.values()) > 2
    each = {"reward": 1, "dpo": 1, "kto": 2, "prompts": 1, "annotations": 1, "talks": 1}
    for view, times in each.items():
        assert printed[view] == [
            f"{n['train'] * times} conversational",
            f"train={n['train'] * times} test={n['test'] * times}",
            f"{3 * times} conversational",
            f"train={3 * times}",
        ]


def test_each_method_takes_two_steps_on_its_view_as_it_is(folder: Path, tmp_path: Path) -> None:
    printed = run("trainer_steps.py", tmp_path, folder, tmp_path / "out")
    assert {"reward", "dpo", "ipo", "simpo", "kto", "calls", "grpo"} <= set(printed)


def test_other_trainers_formats_take_the_views_as_they_are(folder: Path, tmp_path: Path) -> None:
    printed = run("trainer_formats.py", tmp_path, folder)
    n = n_pairs()
    assert printed["openrlhf_rm"] == [str(2 * n["train"])]
    assert printed["openrlhf_ppo"] == printed["axolotl"] == [str(n["train"])]
    # The last prompt of each night has two results in a row, which LLaMA-Factory does not read.
    assert sum(map(int, printed["llamafactory"][0].split())) == sum(n.values()) - N_NIGHTS
