"""A reward model is exported from votes, and TRL's trainer gets Winnow's own rewards from it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from winnow.cli import main
from winnow.expand.models import EMBEDDING_MODEL
from winnow.ingest.turns import call_text
from winnow.lake import FolderLake
from winnow.publish.versions import commit
from winnow.stages.select.own_reward import own_reward
from winnow.style import style_names

from ..voted import VotedWorld

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENGINE, TRAINER = (ROOT / venv / "bin" / "python" for venv in (".venv-engine", ".venv-trainer"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ENGINE.exists() and TRAINER.exists()), reason="`make test` installs them"
    ),
]

MINILM_COLUMNS = 384
CALL = {"name": "rain", "arguments": {"when": "mañana", "city": "Ås"}}
ASKED = [{"role": "user", "content": "Will it rain in Ås?"}]
LONG_TALK = [
    {"role": "system", "content": "Be brief.\n"},
    *[{"role": role, "content": role * 9} for role in ("user", "assistant") * 8],
    {"role": "user", "content": "¿Y mañana?"},
]
CALLED = [
    *ASKED,
    {"role": "assistant", "content": call_text(**CALL)},
    {"role": "tool", "content": "no"},
]
RESPONSES = [
    "",
    " ",
    "\n\n",
    "No.",
    "NO.",
    "Will it RAIN?\r\n\r\n- yes\r\n- no\u2028",
    "漢字かな交じり文は空白なしで続く。" * 60,
    "It rains, and then it rains again; " * 200,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f600 e\u0301 \ufeff\x00\x85",
    "```py\nif x:\n\treturn 'x'\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "<|pad|><|im_start|>assistant\n7 characters of response\n{{ messages }}{% raw %}",
    "[CLS] [SEP] [MASK] [PAD] <0x41>",
    "I’m sorry, but as an AI I can’t.",
    "x" * 20_000,
]


def talks() -> list[dict[str, Any]]:
    """Prompts and completions as a trainer has them, with their texts as Winnow reads them."""
    said = [(ASKED, [{"role": "assistant", "content": text}], text) for text in RESPONSES]
    said += [
        (prompt, [{"role": "assistant", "content": "No."}], "No.") for prompt in (LONG_TALK, CALLED)
    ]
    wanted = {"type": "function", "function": CALL}
    calling = {"role": "assistant", "content": "Let me see.", "tool_calls": [wanted, wanted]}
    lines = "\n".join(["Let me see.", *[call_text(**CALL)] * 2])
    said.append((ASKED, [calling], lines))
    silent = {"role": "assistant", "content": None, "tool_calls": [wanted]}
    said.append((ASKED, [silent], call_text(**CALL)))
    parts = [{"type": "text", "text": "No."}, {"type": "text", "text": "Yes."}]
    said.append((ASKED, [{"role": "assistant", "content": parts}], "No.\nYes."))
    # A response in several turns is judged by its last one.
    result = {"role": "tool", "content": "no"}
    said.append((ASKED, [silent, result, {"role": "assistant", "content": "Dry."}], "Dry."))
    return [
        {"prompt": prompt, "completion": completion, "response": response}
        for prompt, completion, response in said
    ]


def before(talk: dict[str, Any]) -> str:
    """The text before a talk's response."""
    turns = [*talk["prompt"], *talk["completion"]][:-1]
    return "\n".join(call_text(**CALL) if t["content"] is None else t["content"] for t in turns)


def world(folder: Path, **settings: Any) -> VotedWorld:
    """Two nights of votes on vectors as wide as the sentence model's, published."""
    made = VotedWorld(FolderLake(folder), n_embedding=MINILM_COLUMNS, per_night=120, **settings)
    for key in ("2026-11-21", "2026-11-22"):
        made.add(key)
        made.publish()
        commit(made.lake, made.version)
    return made


def run(python: Path, script: str, tmp_path: Path, *arguments: object) -> list[str]:
    """Lines that a script printed in another environment."""
    own = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "include")}
    done = subprocess.run(
        [python, HERE / script, *map(str, arguments)],
        env={**os.environ, **own},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_campaigns_votes_become_a_folder_that_says_what_it_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "include"))
    made, folder, settings = world(tmp_path / "lake"), tmp_path / "exported", tmp_path / "s.yaml"
    settings.write_text(yaml.dump(made.campaign.model_dump(mode="json")))
    command = ["export", "reward-model", "--lake", str(tmp_path / "lake")]
    command += ["--campaign", str(settings), "--out", str(folder), "--engine-python", str(ENGINE)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "Reward model of 240 votes (overall)" in told and "left out: pool, logprob" in told
    reward = own_reward(made.lake, made.campaign, made.version)
    stored = tensors(folder / "model.safetensors")
    assert np.allclose(stored["head.weight"], reward.weight_c, rtol=1e-6)
    assert np.allclose(stored["head.bias"], reward.bias, rtol=1e-6)
    card = (folder / "README.md").read_text()
    assert "small v000002" in card and "`pool`, `logprob`" in card and "drawn uniformly" in card
    assert reward.foreseen is not None
    assert f"| this model | {100 * reward.foreseen.own.value:.1f}% |" in card
    assert main(command) == 1
    assert "there already" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["exported", "lake", "s.yaml"]


@pytest.mark.kill
def test_trl_gets_the_rewards_that_winnow_reckons(tmp_path: Path) -> None:
    told, folder = talks(), tmp_path / "exported"
    asked = {"sentence_model": EMBEDDING_MODEL, "models": "", "card": "", "folder": str(folder)}
    weights = np.random.default_rng(0).normal(0.0, 3.0, MINILM_COLUMNS + len(style_names()))
    asked |= {"weight": weights.tolist(), "bias": 0.5}
    texts = [[before(talk) for talk in told], [talk["response"] for talk in told]]
    for name, content in (("asked", asked), ("texts", texts), ("talks", told)):
        (tmp_path / name).write_text(json.dumps(content))
    [line] = run(ENGINE, "engine_rewards.py", tmp_path, tmp_path / "asked", tmp_path / "texts")
    own = np.array(json.loads(line))
    assert own.std() > 3.0

    lines = run(TRAINER, "trainer_rewards.py", tmp_path, folder, tmp_path / "talks", tmp_path / "o")
    printed: dict[str, list[Any]] = {}
    for name, value in re.findall(r"^=(\w+) (.*)$", "\n".join(lines), re.MULTILINE):
        printed.setdefault(name, []).append(json.loads(value))
    for way in ("together", "alone", "in_bfloat16", "padded_left", "loaded_in_bfloat16"):
        [rewards] = printed[way]
        assert np.abs(np.array(rewards) - own).max() < 1e-4, way
    assert ["conversational data" in reason for reason in printed["refused"]] == [True, True]
    assert len(printed["trained"][0]) == 2 and np.isfinite(printed["trained"]).all()


def tensors(file: Path) -> dict[str, Any]:
    """The head's arrays in a file of safetensors."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    about, arrays = json.loads(data[8 : 8 + size]), data[8 + size :]
    return {
        name: np.frombuffer(arrays[slice(*about[name]["data_offsets"])], "<f4")
        for name in ("head.weight", "head.bias")
    }
