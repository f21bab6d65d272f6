"""One call of the engine becomes rows: responses, features and quarantine.

Nothing that was sampled or brought is dropped: equal texts to one prompt become one row that counts
them, and a response without text, or a prompt that cannot be generated, goes to quarantine. So
sampled = sum of `duplicates` + empty responses, and every draw has rows or a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Expand
from winnow.expand.content import ContentReader
from winnow.expand.engine import Draw, Drawn, GeneratedResponse, Refusal
from winnow.expand.features import Embed, feature_vectors, feature_version, vectors_table
from winnow.expand.flags import flags_of
from winnow.expand.samplers import PoolSampler, samplers_of, shares
from winnow.expand.shard import Call
from winnow.ids import canonical_json, content_id, response_id
from winnow.records import RESPONSES, Quarantined, to_table
from winnow.reward.blocks import Blocks
from winnow.text import plain_text

Row = Mapping[str, Any]
"""A row of the `prompts` table."""

_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")

EMPTY = "empty_response"
UNREAD = "unread_response"
OF_RESPONSES = frozenset({EMPTY, UNREAD})
"""Reasons of a response without text, or without features: it was sampled, its prompt goes on."""


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
    logprob: float | None
    duplicates: int
    near_duplicates: int
    flags: list[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A draw, with the prompt and the sampler it is for."""

    prompt: Row
    sampler: PoolSampler
    draw: Draw


@dataclass(frozen=True, slots=True)
class CallTables:
    """The tables of a call, how many responses it has, and the tokens that were sampled for it.

    `blocks` are the columns of its features, () where there is none.
    """

    responses: pa.Table
    features: pa.Table
    quarantine: pa.Table
    sampled: int
    tokens: int
    blocks: Blocks


def call_id(call: Call, model: str, campaign: str, settings: Expand, engine: str) -> str:
    """Id of a call's work: everything that its responses depend on, in the engine's kind."""
    return content_id(
        "call",
        asdict(call),
        model,
        campaign,
        settings.seed,
        [sampler.as_json for sampler in samplers_of(settings)],
        [(sampler.model, sampler.weight) for sampler in samplers_of(settings)],
        settings.max_model_len,
        [settings.engine_args, settings.lora, settings.chat_template],
        engine,
        feature_version(settings),
    )


def draws_of(
    call: Call, rows: Mapping[str, Row], model: str, campaign: str, settings: Expand
) -> list[Asked]:
    """What the call asks of the model's samplers, prompt by prompt."""
    samplers = samplers_of(settings)
    starts, ends = shares(samplers, call.first), shares(samplers, call.last)
    spans = list(zip(samplers, starts, ends, strict=True))
    return [
        Asked(
            prompt=rows[prompt],
            sampler=sampler,
            draw=Draw(
                messages=sampler.messages(rows[prompt]["messages"]),
                tools=rows[prompt].get("tools"),
                seed=sampler.seed(campaign, settings, prompt) + start,
                n=end - start,
                sampling=sampler.sampling,
                prompt_id=prompt,
            ),
        )
        for prompt in call.prompts
        for sampler, start, end in spans
        if sampler.model == model and end > start
    ]


def call_tables(
    asked: Sequence[Asked], drawn: Sequence[Drawn], settings: Expand, embed: Embed
) -> CallTables:
    """The rows of what was drawn, with the features of each response."""
    rows: dict[str, ResponseRow] = {}
    prompts: list[Row] = []
    quarantined: list[Quarantined] = []
    sampled = tokens = 0
    reader = ContentReader(settings.content)
    for each, pool in zip(asked, drawn, strict=True):
        prompt = each.prompt
        if isinstance(pool, Refusal):
            # The prompt as it came, so that a person can mend it.
            place = (prompt.get("file"), prompt.get("line"), prompt["prompt_id"])
            quarantined.append(Quarantined("expand", pool.reason, pool.detail, *place))
            continue
        sampled += len(pool)
        tokens += sum(response.n_tokens for response in pool if response.origin is None)
        for response in pool:
            text = trimmed(response.text)
            if not text:
                quarantined.append(_without_text(response, prompt["prompt_id"]))
                continue
            row = _response_row(each, response, text, reader)
            if before := rows.get(row.response_id):
                row = replace(before, duplicates=before.duplicates + 1)
            else:
                prompts.append(prompt)
            rows[row.response_id] = row
    read = list(rows.values())
    features = feature_vectors(prompts, [row.message for row in read], embed)
    for number, fault in sorted(features.faults.items()):
        row = read[number]
        detail = f"{fault}: seed {row.seed}, {row.message[:200]!r}"
        unread = Quarantined("expand", UNREAD, detail, record_id=row.prompt_id)
        quarantined += [unread] * row.duplicates
    fit = [number for number in range(len(read)) if number not in features.faults]
    kept = [read[number] for number in fit]
    return CallTables(
        responses=to_table(kept, RESPONSES),
        features=vectors_table(
            [row.response_id for row in kept], features.vectors_nc[fit], feature_version(settings)
        ),
        quarantine=quarantine_table(quarantined),
        sampled=sampled,
        tokens=tokens,
        blocks=features.blocks,
    )


def _without_text(response: GeneratedResponse, prompt: str) -> Quarantined:
    origin = response.origin
    if origin is not None and origin.reason is not None:
        return Quarantined(
            "expand", origin.reason, origin.detail, origin.file, origin.line, record_id=prompt
        )
    detail = f"seed {response.seed}, finish reason {response.finish_reason}"
    return Quarantined("expand", EMPTY, detail, record_id=prompt)


def _response_row(
    asked: Asked, response: GeneratedResponse, text: str, reader: ContentReader
) -> ResponseRow:
    faults = flags_of(prompt_text(asked.prompt), text, response.finish_reason)
    prompt = asked.prompt["prompt_id"]
    model, sampling, origin = asked.sampler.model, asked.sampler.as_json, response.origin
    if origin is not None:
        model = origin.model or model
        sampling = canonical_json({"file": origin.file, "line": origin.line}).decode()
    return ResponseRow(
        response_id=response_id(prompt, text),
        prompt_id=prompt,
        message=text,
        model=model,
        sampling=sampling,
        seed=response.seed,
        finish_reason=response.finish_reason,
        n_tokens=response.n_tokens,
        logprob=response.logprob,
        duplicates=1,
        near_duplicates=0,
        flags=[*faults, *reader.traits(text)],
    )


def trimmed(text: str) -> str:
    """A response without blank lines around it; "" if nothing of it is seen.

    Indentation stays, but for the one space that tokenizers put before a first word.
    """
    if not plain_text(text).strip():
        return ""
    lines = _BLANK_LINES.sub("", text.rstrip())
    first, newline, _ = lines.partition("\n")
    is_indented = newline and first.startswith(("  ", "\t"))
    return lines if is_indented else lines.lstrip()


def prompt_text(row: Row) -> str:
    """What the messages of a prompt say."""
    return "\n".join(message["content"] or "" for message in row["messages"])
