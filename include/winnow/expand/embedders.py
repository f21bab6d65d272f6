"""What reads `features`: a small sentence model, the policy itself, words alone, reward models.

Shapes: n texts, h columns of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.chat import chat_ids, open_tokenizer
from winnow.expand.features import BROUGHT_SCORE, EMBEDDING, Embed, Row
from winnow.expand.models import prepare_model, settle_arithmetic
from winnow.expand.networks import Window, in_windows, read_sentences, whole_states
from winnow.expand.reward_models import open_reward_model
from winnow.expand.score_servers import reads_chats

Embedder = Callable[[Sequence[Row], Sequence[str]], NDArray[np.float32]]
"""Unit rows (n, h) of n responses, each with the prompt it answers."""


def open_embedder(
    settings: Expand,
    models: Path,
    score_key: str = "",
    brought: Mapping[str, Embedder] | None = None,
) -> Embed:
    """What the campaign's features are read with.

    Args:
        settings: Name what reads.
        models: The folder of prepared models.
        score_key: Of the scoring servers; empty where none is needed.
        brought: Looks up the features that came with responses, by name.

    Raises:
        Fatal: A model cannot be loaded, or gives no score, or a server's address is wrong.
    """
    embedders: dict[str, Embedder] = {}
    own = brought or {}
    for each in settings.embeddings:
        name = f"{EMBEDDING}:{each}" if embedders else EMBEDDING
        embedders[name] = own.get(each) or _open_embedding(each, settings, models)
    if "score" in settings.features:
        embedders[BROUGHT_SCORE] = own["score"]
    scores = [open_reward_model(each, score_key) for each in settings.scores]

    def read(prompts: Sequence[Row], texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        blocks = {name: embed(prompts, texts) for name, embed in embedders.items()}
        for score in scores:
            blocks.update(score(prompts, texts))
        return blocks

    return read


def loaded_models(settings: Expand) -> list[str]:
    """Names of the models that read responses in the process that generates.

    Of a model on a server that is sent whole texts, the tokenizer is loaded.
    """
    names = {"embedding": settings.embedding_model, "policy": settings.model}
    embedders = [names[each] for each in settings.embeddings if each in names]
    return embedders + [
        each.reward_model
        for each in settings.scores
        if each.server is None or not reads_chats(each.server)
    ]


def _open_embedding(kind: str, settings: Expand, models: Path) -> Embedder:
    if kind == "policy":
        return PolicyEmbedder(prepare_model(settings.model, models), settings)
    if kind == "text":
        # Here and not above: it takes a second, which other features need not spend.
        from winnow.expand.text_features import embedded_words

        return embedded_words
    return SentenceEmbedder(prepare_model(settings.embedding_model, models))


class SentenceEmbedder:
    """A MiniLM sentence model: mean over tokens, length one.

    A text of more tokens than the model reads at once is read in windows; its embedding is the mean
    of theirs, weighted by their tokens, brought to length one.
    """

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        self.network = _load(model, "float32")
        self.tokenizer = AutoTokenizer.from_pretrained(model)

    def __call__(self, prompts: Sequence[Row], texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, h) of `texts`, unit rows; the prompts are not read."""
        return read_sentences(self.network, self.tokenizer, texts)


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
        return whole_states(self._network, windows, text_of)

    def _windows(self, prompt: Row, text: str) -> list[Window]:
        question = chat_ids(self._tokenizer, prompt["messages"], prompt.get("tools"))
        answer = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        question, parts = in_windows(question, answer, self._max_tokens)
        return [(question + part, len(question)) for part in parts]


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
