"""What the reward sees of a response: an embedding, a dozen figures of style, and scores.

A sentence embedding is that of the response alone: the reward centres features within a prompt, so
that what the prompt would add nearly cancels. A response longer than the model reads at once is
read in windows. The policy's hidden states are read with the prompt before the response, as the
policy sees it. Figures of style are not standardised here: the reward fits its own scaling.

Shapes: n responses, h columns of an embedding, c columns of a vector: embeddings, then style, then
what reward models say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.networks import EMBEDDED_TOKENS
from winnow.records import FEATURES
from winnow.reward.blocks import Block, Blocks, width
from winnow.style import style_figures, style_names

Row = Mapping[str, Any]
"""A row of the `prompts` table."""

Embedded = NDArray[np.float32] | Mapping[str, NDArray[np.float32]]
"""Unit rows (n, h); or columns (n, size) by the name of their block, embeddings among them."""

Embed = Callable[[Sequence[Row], Sequence[str]], Embedded]
"""Reads n responses, each with the prompt it answers."""

EMBEDDING, STYLE = "embedding", "style"

BROUGHT_SCORE = "score:brought"
"""The block of scores that came with the responses."""

_SURE_TOKENS = 208

_LARGEST = float(np.finfo(np.float16).max)
_PIECE = re.compile(r"[a-zA-Z]+|[^\Wa-zA-Z]|[^\w\s]")


def feature_version(settings: Expand) -> str:
    """Identity of the vectors: vectors of two versions must never meet in one reward model.

    Those of `earlier_version` may, where they are of a response that `fits_one_window`.
    """
    adapter = f"+{settings.lora}" if settings.lora else ""
    embedding = {
        "embedding": f"{settings.embedding_model}{_WINDOWS}-{EMBEDDED_TOKENS}",
        "policy": f"hidden:{settings.model}{adapter}-{settings.max_model_len}",
        "text": "words-1",
        "vector": f"vector:{settings.embedding_model}",
    }
    embedded = [embedding[each] for each in settings.embeddings]
    brought = [BROUGHT_SCORE] if "score" in settings.features else []
    scores = [*(score.name for score in settings.scores), *brought]
    return "+".join(["&".join(embedded), "style-1", *scores])


def version_of(settings: Expand, blocks: Sequence[Block]) -> str:
    """`feature_version` of vectors with these columns: what was brought may be of any length."""
    version = feature_version(settings)
    if "vector" in settings.embeddings:
        version += f"+vector-{blocks[settings.embeddings.index('vector')].size}"
    return version


_WINDOWS = "-windows"


def earlier_version(version: str) -> str:
    """The version before responses were read in windows: of one window, both are the same vector.

    >>> earlier_version("all-MiniLM-L6-v2-windows-256+style-1")
    'all-MiniLM-L6-v2-256+style-1'
    """
    return version.replace(f"{_WINDOWS}-{EMBEDDED_TOKENS}+", f"-{EMBEDDED_TOKENS}+")


def are_related(version: str, other: str) -> bool:
    """Whether vectors of two versions are the same for a response of one window."""
    return earlier_version(version) == earlier_version(other)


def fits_one_window(response: str) -> bool:
    """Whether a response is surely read as a whole at once, judged without the tokenizer.

    Of 11,500 real responses and prompts none of more than 256 tokens passes, and most of
    those of fewer do.
    """
    pieces = _PIECE.findall(response)
    return sum(1 + max(len(piece) - 5, 0) // 3 for piece in pieces) <= _SURE_TOKENS


def stored_blocks(recorded: Sequence[tuple[str, int]], n_columns: int) -> Blocks:
    """What the stored columns are, as recorded; until 0.3 an embedding and style were all."""
    n_style = len(style_names())
    before = [(EMBEDDING, max(n_columns - n_style, 0)), (STYLE, n_style)]
    return tuple(Block(name, size) for name, size in recorded or before)


def vectors_table(ids: Sequence[str], vectors_nc: NDArray[np.float16], version: str) -> pa.Table:
    """Vectors (n, c) as the table `winnow.records.FEATURES`."""
    if not len(ids):
        return FEATURES.empty_table()
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * vectors_nc.shape[1])
    flat = pa.array(np.ascontiguousarray(vectors_nc, np.float16).reshape(-1), pa.float16())
    columns = [
        pa.array(ids, pa.string()),
        pa.ListArray.from_arrays(offsets, flat),
        pa.array([version] * len(ids), pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=FEATURES)


def n_embedding(blocks: Sequence[Block]) -> int:
    """Leading columns that are embeddings, by which near duplicates are told."""
    names = [block.name for block in blocks]
    return width(blocks[: names.index(STYLE)])


class Features(NamedTuple):
    """Vectors (n, c) float16 of n responses, and what their columns are; (0, 0) of none.

    `faults` says, by their number, what is wrong with those whose vectors cannot be used.
    """

    vectors_nc: NDArray[np.float16]
    blocks: Blocks
    faults: Mapping[int, str]


def feature_vectors(prompts: Sequence[Row], responses: Sequence[str], embed: Embed) -> Features:
    """Vectors of responses, each with the prompt it answers.

    Raises:
        Fatal: None of several responses has numbers that half precision holds, so that what reads
            them is broken.
    """
    if not responses:
        return Features(np.zeros((0, 0), np.float16), (), {})
    embedded = embed(prompts, responses)
    parts = dict(embedded) if isinstance(embedded, Mapping) else {EMBEDDING: embedded}
    style = [
        style_figures("\n".join(m["content"] for m in prompt["messages"]), response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    ahead = {name: part for name, part in parts.items() if Block(name, 0).kind == EMBEDDING}
    parts = {**ahead, STYLE: np.stack(style), **parts}
    faults: dict[int, str] = {}
    for name, part in parts.items():
        fit_n = (np.abs(part) <= _LARGEST).all(axis=1)
        fault = f"{name} gives values that are no numbers, or beyond {_LARGEST:,.0f}"
        if len(responses) > 1 and not fit_n.any():
            raise Fatal(f"{fault}, of every response: try it by itself, or leave it out.")
        faults |= dict.fromkeys(np.flatnonzero(~fit_n).tolist(), fault)
    blocks = tuple(Block(name, part.shape[1]) for name, part in parts.items())
    vectors_nc = np.hstack(list(parts.values()))
    vectors_nc[list(faults)] = 0.0
    return Features(vectors_nc.astype(np.float16), blocks, faults)
