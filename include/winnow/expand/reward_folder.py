"""The process that writes a reward model as a folder which Transformers, and so TRL, loads.

    config.json, model.safetensors    the sentence model, its tokenizer, the weights of the head
    tokenizer.json and its settings   bytes as they are, and a chat template of its own
    modeling_winnow.py and others     the very code by which Winnow reads a response
    README.md                         the card

Run as `python -m winnow.expand.reward_folder` in the generation environment, with `RewardFolder` as
JSON on stdin. The folder is complete or absent: it is built beside its place, loaded again and
compared with Winnow's own reckoning, and renamed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from winnow import expand, refusal, style
from winnow.arrays import FloatArray
from winnow.ending import run_and_leave
from winnow.errors import Fatal, WinnowError
from winnow.expand.embedders import SentenceEmbedder
from winnow.expand.models import is_local, prepare_model

TOLERANCE = 1e-4
"""Logits by which the folder may differ from Winnow's own reckoning."""

_HERE = Path(expand.__file__).parent
_CODE = [_HERE / "modeling_winnow.py", _HERE / "networks.py", Path(style.__file__)]
_CODE += [Path(refusal.__file__)]
_OWN_IMPORT = re.compile(r"^from winnow\.(?:\w+\.)*(\w+) import", re.MULTILINE)

_CHECKED = [
    "",
    "Yes.",
    "- a\n- b\n\n```py\nx = 1\n```",
    "漢字 \U0001f600 Ünï",
    "I'm sorry, but no.\n" * 90,
]


class RewardFolder(BaseModel):
    """What the process is asked to write.

    Attributes:
        weight: Of each column of an embedding, then of each figure of style.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sentence_model: str
    models: str = Field(description="Local folder for prepared models")
    weight: list[float]
    bias: float
    card: str
    folder: str


def write_folder(asked: RewardFolder) -> None:
    """Write the folder.

    Raises:
        Fatal: There is something in its place, the sentence model cannot be loaded or has other
            columns than the weights, or what was written does not give the same rewards.
    """
    target = Path(asked.folder)
    if target.exists():
        raise Fatal(f"{target} is there already: name a folder that is not.")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        unfinished.mkdir()
        embed = SentenceEmbedder(prepare_model(asked.sentence_model, Path(asked.models)))
        _save(unfinished, embed, asked)
        _compare(unfinished, embed, asked)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_code(folder: Path) -> None:
    """Copy the files that read a response, importing each other from beside themselves.

    Transformers takes along what is imported so.
    """
    for file in _CODE:
        text = _OWN_IMPORT.sub(r"from .\1 import", file.read_text(encoding="utf-8"))
        (folder / file.name).write_text(text, encoding="utf-8")


def own_rewards(
    embed: SentenceEmbedder, asked: RewardFolder, prompts: list[str], responses: list[str]
) -> FloatArray:
    """Rewards (n,) of responses, each to the text of its prompt, as Winnow reckons them."""
    figures = [style.style_figures(*each) for each in zip(prompts, responses, strict=True)]
    columns_nc = np.hstack([embed([], responses), np.stack(figures)]).astype(np.float64)
    return np.asarray(columns_nc @ np.array(asked.weight) + asked.bias)


def _save(folder: Path, embed: SentenceEmbedder, asked: RewardFolder) -> None:
    import torch

    from winnow.expand.modeling_winnow import WinnowReward, WinnowRewardConfig

    network, words = embed.network, embed.tokenizer.backend_tokenizer.to_str().encode()
    name = "modeling_winnow"
    config = WinnowRewardConfig(
        sentence_model=network.config.to_diff_dict() | {"model_type": network.config.model_type},
        tokenizer_bytes=len(words),
        num_labels=1,
        auto_map={
            "AutoConfig": f"{name}.WinnowRewardConfig",
            "AutoModelForSequenceClassification": f"{name}.WinnowReward",
        },
    )
    reward = WinnowReward(config).float()
    if reward.head.in_features != len(asked.weight):
        raise Fatal(
            f"{asked.sentence_model} and style have {reward.head.in_features} columns, but votes "
            f"taught weights of {len(asked.weight)}: it is not the model that read the responses."
        )
    reward.sentence_model.load_state_dict(network.state_dict())
    with torch.no_grad():
        reward.head.weight[0] = torch.tensor(asked.weight)
        reward.head.bias[0] = asked.bias
        reward.words[:] = torch.frombuffer(bytearray(words), dtype=torch.uint8)
    reward.save_pretrained(folder)
    _byte_tokenizer().save_pretrained(folder)
    write_code(folder)
    (folder / "README.md").write_text(asked.card, encoding="utf-8")
    for written in folder.iterdir():
        written.chmod(0o644)  # weights are saved for their writer only


def _byte_tokenizer() -> Any:
    """A token a byte, its id the byte, and one for padding that no text can name."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    from winnow.expand.modeling_winnow import CHAT_TEMPLATE

    letters = {f"<0x{byte:02X}>": byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    pad = AddedToken("<|pad|>", special=True, normalized=False)
    tokenizer.add_special_tokens([pad])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        split_special_tokens=True,
        chat_template=CHAT_TEMPLATE,
    )


def _compare(folder: Path, embed: SentenceEmbedder, asked: RewardFolder) -> None:
    """Load what was written as a trainer does, and hold its rewards against Winnow's."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    own_code: dict[str, Any] = {"trust_remote_code": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **own_code)
    network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, **own_code)
    asking = [{"role": "user", "content": "Why, in Ünïcode?"}]
    talks = [[*asking, {"role": "assistant", "content": each}] for each in _CHECKED]
    texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    with torch.inference_mode():
        read = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        given_n = network(**read).logits[:, 0].numpy()
    own_n = own_rewards(embed, asked, [asking[0]["content"]] * len(talks), _CHECKED)
    worst = float(np.abs(given_n - own_n).max())
    if not worst <= TOLERANCE:
        raise Fatal(
            f"The folder's rewards differ by {worst:.2g} logits from Winnow's: nothing is exported."
        )


def main() -> int:
    """Write what stdin asks for; exit code 1 with a line on stderr if that cannot be."""
    try:
        asked = RewardFolder.model_validate_json(sys.stdin.read())
        if find_spec("torch") is None:
            raise Fatal(
                f"{sys.executable} has no PyTorch: name the generation environment's interpreter, "
                "--engine-python or WINNOW_ENGINE_PYTHON."
            )
        if is_local(asked.sentence_model):
            os.environ["HF_HUB_OFFLINE"] = "1"
        with tempfile.TemporaryDirectory(prefix="winnow-modules-") as modules:
            os.environ["HF_MODULES_CACHE"] = modules
            write_folder(asked)
    except WinnowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_and_leave(main)
