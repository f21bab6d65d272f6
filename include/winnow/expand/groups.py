"""One group of prompts becomes its candidate pools: responses, features and quarantine.

Nothing that was sampled is dropped: equal texts to one prompt become one row that counts them,
and a response without text, or a prompt that cannot be generated, goes to quarantine. So
sampled = sum of `duplicates` + responses in quarantine, and every prompt has rows or a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Expand
from winnow.expand.engine import Engine, GeneratedResponse, Sampling, SeededPrompt
from winnow.expand.features import Embed, feature_vectors, feature_version
from winnow.ids import canonical_json, content_id, response_id, seed_from
from winnow.records import FEATURES, RESPONSES, Quarantined, to_table

Row = Mapping[str, Any]
"""A row of the `prompts` table."""


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One row of the `responses` table."""

    response_id: str
    prompt_id: str
    message: str
    model: str
    sampling: str
    seed: int
    finish_reason: str
    n_tokens: int
    logprob: float
    duplicates: int


@dataclass(frozen=True, slots=True)
class Pools:
    """The tables of a group, and how many responses and tokens were sampled for it."""

    responses: pa.Table
    features: pa.Table
    quarantine: pa.Table
    sampled: int
    tokens: int


def sampling_of(settings: Expand) -> Sampling:
    """The campaign's sampling."""
    return Sampling(
        n=settings.pool_size,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
    )


def group_id(group: Sequence[str], campaign: str, settings: Expand, engine: str) -> str:
    """Id of a group's work: everything that its responses depend on, in the engine's kind."""
    return content_id(
        "group",
        list(group),
        campaign,
        settings.seed,
        settings.model,
        asdict(sampling_of(settings)),
        settings.max_model_len,
        engine,
        feature_version(settings.embedding_model),
    )


def generate_group(
    prompts: Sequence[Row], campaign: str, settings: Expand, engine: Engine, embed: Embed
) -> Pools:
    """Generate the candidate pools of `prompts` in one engine call."""
    admitted, quarantined = _admit(prompts, campaign, settings, engine)
    pools = engine.generate([p for _, p in admitted], sampling_of(settings)) if admitted else []
    rows: list[ResponseRow] = []
    texts: list[str] = []
    for (row, _), pool in zip(admitted, pools, strict=True):
        kept, empty = _merge(row["prompt_id"], pool, settings)
        rows += kept
        quarantined += empty
        texts += [_prompt_text(row)] * len(kept)
    vectors_nd = feature_vectors(texts, [row.message for row in rows], embed)
    return Pools(
        responses=to_table(rows, RESPONSES),
        features=_feature_table(rows, vectors_nd, feature_version(settings.embedding_model)),
        quarantine=quarantine_table(quarantined),
        sampled=sum(len(pool) for pool in pools),
        tokens=sum(response.n_tokens for pool in pools for response in pool),
    )


def _admit(
    prompts: Sequence[Row], campaign: str, settings: Expand, engine: Engine
) -> tuple[list[tuple[Row, SeededPrompt]], list[Quarantined]]:
    """Prompts that the model can answer, and those it cannot with the reason."""
    admitted: list[tuple[Row, SeededPrompt]] = []
    quarantined: list[Quarantined] = []
    room = settings.max_model_len - settings.max_tokens
    for row in prompts:
        seed = seed_from("expand", campaign, settings.seed, row["prompt_id"])
        prompt = SeededPrompt(row["messages"], row.get("tools"), seed)
        try:
            n_tokens = engine.n_prompt_tokens(prompt)
        except ValueError as error:
            quarantined.append(_quarantined(row, "chat_template_refused", str(error)))
            continue
        if n_tokens > room:
            detail = (
                f"{n_tokens} tokens; {room} fit beside {settings.max_tokens} of the response "
                f"in a context of {settings.max_model_len}"
            )
            quarantined.append(_quarantined(row, "prompt_too_long", detail))
        else:
            admitted.append((row, prompt))
    return admitted, quarantined


def _quarantined(row: Row, reason: str, detail: str) -> Quarantined:
    return Quarantined(
        stage="expand",
        reason=reason,
        detail=detail,
        file=row.get("file"),
        line=row.get("line"),
        record_id=row["prompt_id"],
    )


def _merge(
    prompt_id: str, pool: Sequence[GeneratedResponse], settings: Expand
) -> tuple[list[ResponseRow], list[Quarantined]]:
    """A pool's distinct texts with their counts, first seen first, and its empty responses."""
    kept: dict[str, ResponseRow] = {}
    empty: list[Quarantined] = []
    sampling = canonical_json(asdict(sampling_of(settings))).decode()
    for response in pool:
        text = response.text.strip()
        if not text:
            detail = f"seed {response.seed}, finish reason {response.finish_reason}"
            empty.append(Quarantined("expand", "empty_response", detail, record_id=prompt_id))
        elif text in kept:
            kept[text] = replace(kept[text], duplicates=kept[text].duplicates + 1)
        else:
            kept[text] = ResponseRow(
                response_id=response_id(prompt_id, text),
                prompt_id=prompt_id,
                message=text,
                model=settings.model,
                sampling=sampling,
                seed=response.seed,
                finish_reason=response.finish_reason,
                n_tokens=response.n_tokens,
                logprob=response.logprob,
                duplicates=1,
            )
    return list(kept.values()), empty


def _prompt_text(row: Row) -> str:
    return "\n".join(message["content"] for message in row["messages"])


def _feature_table(rows: Sequence[ResponseRow], vectors_nd: Any, version: str) -> pa.Table:
    n, d = vectors_nd.shape
    offsets = pa.array(np.arange(0, (n + 1) * d, d, dtype=np.int32))
    vectors = pa.ListArray.from_arrays(offsets, pa.array(vectors_nd.reshape(-1), pa.float16()))
    ids = pa.array([row.response_id for row in rows], pa.string())
    return pa.Table.from_arrays(
        [ids, vectors, pa.array([version] * n, pa.string())], schema=FEATURES
    )
