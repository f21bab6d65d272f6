"""Training a model: what is handed to the trainer's interpreter, and what is made of its answer.

The interpreter here is a stand-in that "trains" by making good words likelier and poor ones less.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.errors import Fatal
from winnow.publish.views import VIEWS
from winnow_bench.policy_fit import Field
from winnow_bench.policy_lora import Size, gold_at_kl, pair_accuracy, run
from winnow_bench.world import JudgedPool

from .conftest import GOOD, POOR

STAND_IN = """#!{python}
import json, shutil, sys
if sys.argv[1] == "-c":
    sys.exit({imports})
job = json.loads(open(sys.argv[3]).read())
shutil.copy(job["view"], {kept!r})
shutil.copy(sys.argv[3], {kept!r} + ".job")
good, poor = {good!r}, {poor!r}
def gain(text):
    words = text.split()
    return {sign} * (sum(w in good for w in words) - sum(w in poor for w in words))
rows = [[-100.0, -100.0 + gain(t)] for each in job["held_out"] for t in each["responses"]]
json.dump({{"versions": {{}}, "device": "cpu", "losses": [0.7, 0.6], "seconds": 1.0,
    "held_out": rows, "written": [[-50.0, -48.0]], "tokens": [7]}}, open(job["result"], "w"))
"""


@pytest.fixture
def size(tmp_path: Path) -> Size:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return Size(stand_in(tmp_path), model, prompts=6, tokens=32, arms=("random-8",))


def stand_in(folder: Path, sign: int = 1, imports: int = 0) -> Path:
    script, kept = folder / f"python{sign}{imports}", str(folder / "view.parquet")
    words = {"good": GOOD, "poor": POOR, "sign": sign, "imports": imports}
    script.write_text(STAND_IN.format(python=sys.executable, kept=kept, **words))
    script.chmod(0o755)
    return script


def trained(folder: Path, out: Path, size: Size) -> dict[str, float]:
    run(folder, out, 1, size, lambda line: None)
    [row] = json.loads((out / "policy_lora.json").read_text())["rows"]
    return row


def test_a_model_that_learnt_what_is_good_beats_one_that_learnt_the_reverse(
    judged_folder: Path, tmp_path: Path, size: Size
) -> None:
    better = trained(judged_folder, tmp_path / "out", size)
    reverse = Size(stand_in(tmp_path, sign=-1), size.model, size.prompts, size.tokens, size.arms)
    worse = trained(judged_folder, tmp_path / "out", reverse)
    assert better["accuracy"] > 0.8
    assert worse["accuracy"] < 0.2
    assert better["gold_after"] > better["gold_before"] + 0.02
    assert worse["gold_after"] < worse["gold_before"] - 0.02
    assert better["kl_written"] == 2.0


def test_the_trainer_gets_the_views_columns_and_candidates_that_are_not_its_prompts(
    judged_folder: Path, tmp_path: Path, size: Size
) -> None:
    row = trained(judged_folder, tmp_path / "out", size)
    view = pq.read_table(tmp_path / "view.parquet")
    assert view.schema.equals(VIEWS["dpo"])
    assert view.num_rows == row["pairs"] == 8 * size.prompts
    asked = {turns[0]["content"] for turns in view["prompt"].to_pylist()}
    job = json.loads((tmp_path / "view.parquet.job").read_text())
    held_out = {each["prompt"][0]["content"] for each in job["held_out"]}
    assert len(asked) == len(held_out) == size.prompts
    assert not asked & held_out
    # The label's winner is chosen: mostly the one with more good words.
    texts = [view[side].to_pylist() for side in ("chosen", "rejected")]
    good = [[sum(w in GOOD for w in t[0]["content"].split()) for t in side] for side in texts]
    assert np.mean(good[0]) > np.mean(good[1])


def test_figures_of_candidates_are_those_of_their_order() -> None:
    p_win_n = np.array([0.1, 0.5, 0.9])
    none = np.zeros(3, dtype=np.bool_)
    pool = JudgedPool(
        "p", ("a", "b", "c"), np.zeros((3, 1)), p_win_n, *(np.zeros(3),) * 2, none, none
    )
    field = Field.of([pool])
    assert pair_accuracy(field, np.array([[1.0, 2.0, 3.0]])) == 1.0
    assert pair_accuracy(field, np.array([[2.0, 1.0, 3.0]])) == pytest.approx(2 / 3)
    assert gold_at_kl(field, np.array([[1.0, 2.0, 3.0]])) > 0.8
    assert gold_at_kl(field, np.array([[3.0, 2.0, 1.0]])) < 0.2
    assert gold_at_kl(field, np.zeros((1, 3))) == pytest.approx(0.5)


def test_what_is_missing_is_said(
    judged_folder: Path, tmp_path: Path, size: Size, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**changed: object) -> str:
        given = {
            "trainer": size.trainer,
            "model": size.model,
            "prompts": 6,
            "tokens": 8,
            "arms": ("random-8",),
        }
        with pytest.raises(Fatal) as refusal:
            run(judged_folder, tmp_path, 1, Size(**{**given, **changed}), print)  # type: ignore
        return str(refusal.value)

    assert "install datasets, peft, torch, transformers and trl" in refused(
        trainer=stand_in(tmp_path, imports=1)
    )
    assert "does not start" in refused(trainer=tmp_path / "none")
    assert "holds no model" in refused(model=tmp_path)
    assert "No arm is named 'best-9'" in refused(arms=("best-9",))
    asked = ["bench", "policy", "--policy", "lora", "--pool", str(judged_folder), "--out"]
    asked += [str(tmp_path), "--model", str(tmp_path), "--seeds", "1"]
    assert main(asked) == 1
    assert "holds no model" in capsys.readouterr().err
