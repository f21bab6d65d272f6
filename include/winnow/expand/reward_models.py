"""Reward models beside the engine: what one says of a response, and the state it says it from.

A reward model is a causal network with a linear head of one output, read at the last token of the
prompt and the response in its own chat format. A response that does not fit behind its prompt into
the model's length is read in windows, each as if it were the whole response; its score is the mean
of theirs, weighted by their tokens, and so is its state.

The position is counted here and not left to the network, which looks for padding by its token: a
model without one reads the wrong place, and so does one that pads with its end of turn.

Shapes: n texts, w windows, h hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.campaign import RewardScore
from winnow.errors import Fatal
from winnow.expand.chat import answered_ids, frame_ids, one_turn
from winnow.expand.engine import Messages
from winnow.expand.features import Row
from winnow.expand.models import settle_arithmetic
from winnow.expand.networks import Window, in_windows, mean_states
from winnow.expand.score_servers import open_score_server
from winnow.reward.blocks import SCORE, STATE

Score = Callable[[Sequence[Row], Sequence[str]], Mapping[str, NDArray[np.float32]]]
"""Columns (n, size) by the name of their block, of n responses with the prompts they answer."""

_ENDLESS = 1 << 30
"""What tokenizers call their length where they know none is far above this."""


def open_reward_model(asked: RewardScore, score_key: str) -> Score:
    """What gives the scores of one of the campaign's reward models.

    Raises:
        Fatal: It cannot be loaded, is no model of one score, or its server's address is wrong.
    """
    if asked.server is not None:
        return open_score_server(asked.reward_model, asked.server, score_key)
    return RewardReader(asked.reward_model)


class RewardReader:
    """A sequence classifier of one label, from a folder or the hub, in its file's precision."""

    def __init__(self, model: str) -> None:
        self._name = model
        self._network, self._tokenizer = _load(model)
        lengths = (
            getattr(self._network.config, "max_position_embeddings", None),
            self._tokenizer.model_max_length,
        )
        self._longest = min([n for n in lengths if n and n < _ENDLESS], default=_ENDLESS)

    def __call__(
        self, prompts: Sequence[Row], texts: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The score (n, 1) and the unit state (n, h) of `texts`, each after its prompt."""
        windows: list[Window] = []
        tokens: list[int] = []
        text_of: list[int] = []
        for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            for ids, n_tokens in self._windows(prompt, text):
                windows.append((ids, len(ids) - 1))
                tokens.append(n_tokens)
                text_of.append(number)
        read_wc = np.zeros((len(windows), 1 + self._network.config.hidden_size))
        # First windows by themselves, so that texts of one are read as if there were no others.
        is_first = np.diff(np.array(text_of), prepend=-1) > 0
        for part in (np.flatnonzero(is_first), np.flatnonzero(~is_first)):
            read_wc[part] = self._read([windows[k] for k in part.tolist()])
        weight_w = np.array(tokens, np.float64)
        sums_nc = np.zeros((len(texts), read_wc.shape[1]))
        np.add.at(sums_nc, text_of, read_wc * weight_w[:, None])
        mean_nc = (sums_nc / np.bincount(text_of, weight_w)[:, None]).astype(np.float32)
        state_nh = mean_nc[:, 1:]
        length_n1 = np.linalg.norm(state_nh, axis=1, keepdims=True)
        return {
            f"{SCORE}:{self._name}": mean_nc[:, :1],
            f"{STATE}:{self._name}": state_nh / np.maximum(length_n1, 1e-12),
        }

    def _windows(self, prompt: Row, text: str) -> list[tuple[list[int], int]]:
        """What is read at once, each with how many tokens of the response are in it."""
        asked, whole = self._whole(prompt, text)
        if len(whole) <= self._longest:
            return [(whole, 1)]
        question, behind = frame_ids(self._tokenizer, *asked)
        answer = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        question, parts = in_windows(question, answer, self._longest - len(behind))
        return [(question + part + behind, max(len(part), 1)) for part in parts]

    def _whole(self, prompt: Row, text: str) -> tuple[tuple[Messages, str | None], list[int]]:
        """The prompt as the chat template takes it, and the token ids of all with the response."""
        asked: tuple[Messages, str | None] = prompt["messages"], prompt.get("tools")
        try:
            return asked, answered_ids(self._tokenizer, *asked, text)
        except ValueError:
            asked = one_turn(prompt["messages"]), None
        try:
            return asked, answered_ids(self._tokenizer, *asked, text)
        except ValueError as error:
            raise Fatal(f"Reward model {self._name} takes no prompt: {error}") from error

    def _read(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Score and state (w, 1 + h) at the last token of each window."""
        import torch

        states_wh = mean_states(self._network.base_model, windows, unit=False)
        head = self._network.score
        with torch.inference_mode():
            # In single precision: in half of it close responses would score the same.
            weight_1h = head.weight.float().cpu().numpy()
            bias = 0.0 if head.bias is None else float(head.bias)
        return np.hstack([states_wh @ weight_1h.T + bias, states_wh]).astype(np.float64)


def _load(model: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    settle_arithmetic()
    try:
        network, report = AutoModelForSequenceClassification.from_pretrained(
            model, dtype="auto", output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise Fatal(f"Reward model {model} cannot be loaded: {error}") from error
    head = getattr(network, "score", None)
    wrong = ""
    if any("score" in name or "classifier" in name for name in report["missing_keys"]):
        wrong = "it has no trained head: it writes text, or embeds it"
    elif network.config.num_labels != 1:
        wrong = f"it gives {network.config.num_labels} labels"
    elif not isinstance(head, torch.nn.Linear):
        wrong = f"{type(network).__name__} has no linear head on the last token"
    elif not tokenizer.chat_template:
        wrong = "its tokenizer has no chat template"
    if wrong:
        raise Fatal(
            f"Reward model {model} gives no score that can be read here: {wrong}. Name a causal "
            "sequence classifier of one label (num_labels 1) with a chat template."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device).eval(), tokenizer
