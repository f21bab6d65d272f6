"""Pools that came with their prompts: an engine that generates nothing.

What it is asked for lies in one part of the batch's table `brought`, pool by pool. A response that
could not be used is one without text, whose reason goes to quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.campaign.sections import BROUGHT
from winnow.expand.calls import Row, trimmed
from winnow.expand.embedders import Embedder
from winnow.expand.engine import Call, Draw, Drawn, GeneratedResponse, Origin, in_turn
from winnow.ids import response_id
from winnow.text import WORD


class BroughtEngine:
    """Answers calls by a part of `winnow.records.BROUGHT_RESPONSES`, as it was brought.

    `lookups` are what reads the features that came with them, by name: `vector` gives rows (n, h),
    `score` (n, 1). Of a text that was brought several times the first counts.
    """

    name, version = BROUGHT, ""

    def __init__(self, brought: pa.Table) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._first: dict[str, dict[str, Any]] = {}
        vectors = brought["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        lengths_r = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy()
        vector_of = np.split(flat, np.cumsum(lengths_r)[:-1]) if len(lengths_r) else []
        rows = brought.drop_columns(["vector"]).to_pylist()
        for row, vector in zip(rows, vector_of, strict=True):
            row["vector"] = vector
            self._rows.setdefault(row["prompt_id"], []).append(row)
            if row["message"]:
                text_id = response_id(row["prompt_id"], trimmed(row["message"]))
                self._first.setdefault(text_id, row)

    @property
    def lookups(self) -> dict[str, Embedder]:
        """See the class."""
        return {"vector": self._vectors, "score": self._scores}

    def generate(self, draws: Sequence[Draw]) -> list[Drawn]:
        """All responses to the prompt of each draw, however many it asks for, as they came."""
        return [self._responses(draw.prompt_id) for draw in draws]

    def generate_each(
        self, calls: Iterable[tuple[Call, Sequence[Draw]]]
    ) -> Iterator[tuple[Call, list[Drawn]]]:
        """The same call by call."""
        return in_turn(self.generate, calls)

    def _responses(self, prompt: str) -> list[GeneratedResponse]:
        return [
            GeneratedResponse(
                text=row["message"] or "",
                finish_reason=row["finish_reason"] or "",
                n_tokens=_length(row),
                logprob=row["logprob"],
                seed=place,
                origin=Origin(
                    row["file"], row["line"], row["model"], row["reason"], row["detail"] or ""
                ),
            )
            for place, row in enumerate(self._rows[prompt])
        ]

    def _vectors(self, prompts: Sequence[Row], texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._of_texts("vector", prompts, texts)
        return np.array(vectors, np.float32).reshape(len(texts), -1)

    def _scores(self, prompts: Sequence[Row], texts: Sequence[str]) -> NDArray[np.float32]:
        """Beyond the mean of the pool, which tells nothing of a response; 0 of one without.

        So half precision, in which features are stored, holds scores of any offset.
        """
        scores = self._of_texts("score", prompts, texts)
        scored: dict[str, list[float]] = {}
        for prompt, score in zip(prompts, scores, strict=True):
            scored.setdefault(prompt["prompt_id"], []).extend([] if score is None else [score])
        means = {prompt: np.mean(pool) for prompt, pool in scored.items() if pool}
        beyond = [
            0.0 if score is None else score - means[prompt["prompt_id"]]
            for prompt, score in zip(prompts, scores, strict=True)
        ]
        return np.array(beyond, np.float32)[:, None]

    def _of_texts(self, name: str, prompts: Sequence[Row], texts: Sequence[str]) -> list[Any]:
        ids = map(response_id, (prompt["prompt_id"] for prompt in prompts), texts)
        return [self._first[text_id][name] for text_id in ids]


def _length(row: dict[str, Any]) -> int:
    told: int | None = row["n_tokens"]
    return len(WORD.findall(row["message"] or "")) if told is None else told
