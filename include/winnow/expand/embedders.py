"""The networks behind `features`: a small sentence model, or the policy itself.

Texts run in batches of like length. The rounding of a row depends on its batch (differences around
2e-7), so equal calls give equal bytes, while a text alone and the same text among others may differ
in the last bit.

Shapes: n texts, t tokens, h columns of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.chat import chat_ids, open_tokenizer
from winnow.expand.features import EMBEDDED_TOKENS, Embed, Row
from winnow.expand.models import prepare_model, settle_arithmetic

Window = tuple[list[int], int]
"""Token ids that are read at once, and from which of them on states count."""

_BATCH = 32

_ROW_STEP, _TOKEN_STEP = 8, 32
"""Batches are padded to multiples of so many rows and tokens: libraries keep a plan, and memory,
for each shape that they have seen."""


def open_embedder(settings: Expand, models: Path) -> Embed:
    """What the campaign's features are read with; `models` is the folder of prepared models.

    Raises:
        Fatal: The model cannot be loaded.
    """
    if settings.features == "policy":
        return PolicyEmbedder(prepare_model(settings.model, models), settings)
    return SentenceEmbedder(prepare_model(settings.embedding_model, models))


class SentenceEmbedder:
    """A MiniLM sentence model: mean over tokens, length one.

    A text of more tokens than the model reads at once is read in windows; its embedding is the mean
    of theirs, weighted by their tokens, brought to length one.
    """

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        self._network = _load(model, "float32")
        self._tokenizer = AutoTokenizer.from_pretrained(model)

    def __call__(self, prompts: Sequence[Row], texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, h) of `texts`, unit rows; the prompts are not read."""
        if not texts:
            return np.zeros((0, self._network.config.hidden_size), np.float32)
        read = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=EMBEDDED_TOKENS,
            return_overflowing_tokens=True,
        )
        windows = [(ids, 0) for ids in read["input_ids"]]
        return _whole_states(self._network, windows, read["overflow_to_sample_mapping"])


class PolicyEmbedder:
    """The policy's last hidden states over a response's tokens, their mean, length one.

    What does not fit into the context behind the prompt, as of another model's response it may not,
    is read in further windows, each behind the prompt; of a prompt that leaves less than half of
    the context, the end is read.

    It is loaded beside the engine: leave it memory by `engine_args.gpu_memory_utilization`.
    """

    def __init__(self, model: str, settings: Expand) -> None:
        self._network = _load(model, "bfloat16", settings.lora)
        self._tokenizer = open_tokenizer(model, settings.chat_template)
        self._max_tokens = settings.max_model_len

    def __call__(self, prompts: Sequence[Row], texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, h) of `texts`, each after the prompt that it answers; unit rows."""
        windows: list[Window] = []
        text_of: list[int] = []
        for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            own = self._windows(prompt, text)
            windows += own
            text_of += [number] * len(own)
        return _whole_states(self._network, windows, text_of)

    def _windows(self, prompt: Row, text: str) -> list[Window]:
        question = chat_ids(self._tokenizer, prompt["messages"], prompt.get("tools"))
        answer = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(question) + len(answer) > self._max_tokens:
            question = question[-max(self._max_tokens - len(answer), self._max_tokens // 2) :]
        room = self._max_tokens - len(question)
        starts = range(0, max(len(answer), 1), room)
        return [(question + answer[start : start + room], len(question)) for start in starts]


def _load(model: str, dtype: str, adapter: str | None = None) -> Any:
    import torch
    from transformers import AutoModel

    settle_arithmetic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = AutoModel.from_pretrained(model, dtype=getattr(torch, dtype))
        if adapter is not None:
            network.load_adapter(adapter)
    except (OSError, ValueError, ImportError) as error:
        raise Fatal(f"Embedding model {model} cannot be loaded: {error}") from error
    return network.to(device).eval()


def _whole_states(
    network: Any, windows: Sequence[Window], text_of: Sequence[int]
) -> NDArray[np.float32]:
    """Unit rows (n, h) of n texts: of each the mean over its windows, weighted by their tokens.

    Args:
        network: What reads a window.
        windows: Those of all texts, text by text.
        text_of: Number of each window's text, rising from 0.

    First windows run by themselves, so that texts of one are read as if there were no longer ones.
    """
    is_first = np.diff(np.array(text_of), prepend=-1) > 0
    states_nh = _mean_states(network, [windows[k] for k in np.flatnonzero(is_first).tolist()])
    later = np.flatnonzero(~is_first)
    if len(later):
        tokens_w = np.array([len(ids) - first for ids, first in windows], np.float32)
        owner = np.array(text_of)[later]
        sums_nh = states_nh * tokens_w[is_first, None]
        states_wh = _mean_states(network, [windows[k] for k in later.tolist()])
        np.add.at(sums_nh, owner, states_wh * tokens_w[later, None])
        long = np.unique(owner)
        states_nh[long] = sums_nh[long] / np.linalg.norm(sums_nh[long], axis=1, keepdims=True)
    return states_nh


def _mean_states(network: Any, rows: Sequence[Window]) -> NDArray[np.float32]:
    """Unit means (n, h) of the last hidden states from each row's position on."""
    states_nh = np.zeros((len(rows), network.config.hidden_size), np.float32)
    order = sorted(range(len(rows)), key=lambda k: (len(rows[k][0]), rows[k]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        states_nh[batch] = _batch_states(network, [rows[k] for k in batch])
    return states_nh


def _batch_states(network: Any, rows: Sequence[Window]) -> NDArray[np.float32]:
    import torch

    n, t = _up(len(rows), _ROW_STEP), _up(max(len(ids) for ids, _ in rows), _TOKEN_STEP)
    ids_nt = torch.zeros((n, t), dtype=torch.long)
    read_nt, mean_nt = torch.zeros_like(ids_nt), torch.zeros((n, t, 1))
    read_nt[len(rows) :, 0], mean_nt[len(rows) :, 0] = 1, 1.0
    for k, (ids, first) in enumerate(rows):
        ids_nt[k, : len(ids)] = torch.tensor(ids)
        read_nt[k, : len(ids)] = 1
        mean_nt[k, min(first, len(ids) - 1) : len(ids)] = 1.0
    device = network.device
    with torch.inference_mode():
        hidden = network(input_ids=ids_nt.to(device), attention_mask=read_nt.to(device))
        states = hidden.last_hidden_state.float() * mean_nt.to(device)
        mean = states.sum(1) / mean_nt.to(device).sum(1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
    return unit[: len(rows)]


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
