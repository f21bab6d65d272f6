"""Batches made up in the lake, up to their comparisons, for tests of what comes after."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from winnow.batch import Batch
from winnow.ids import pair_id, prompt_id, ranking_id, response_id
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.records import COMPARED, COMPARISONS, PROMPTS, RANKINGS, RESPONSES, to_table

Row = dict[str, Any]

GOOD = "The moon pulls the sea, so to the question '{}' the answer is gravity."
ALSO_GOOD = "Gravity: the sea follows the moon and the sun, which answers '{}'."
BAD = "Nobody knows. Nobody knows. {}"


def fabricate(
    batch: Batch,
    n_pairs: int,
    sources: list[list[str]] | None = None,
    gate: str = "undecided",
) -> None:
    """Commit ingest, expand and select of a batch of `n_pairs` pairs, one pair a prompt.

    Of every other pair both responses are good, so that annotators disagree. `sources` are asked
    of each pair, where not people alone are; `gate` is the model's.
    """
    prompts = [_prompt(batch.key, i) for i in range(n_pairs)]
    responses = [
        _response(prompt, text)
        for i, prompt in enumerate(prompts)
        for text in (GOOD, ALSO_GOOD if i % 2 else BAD)
    ]
    _take(batch, n_pairs)
    comparisons = [_comparison(*responses[2 * i : 2 * i + 2], i / n_pairs) for i in range(n_pairs)]
    if sources is not None:
        comparisons = [{**row, "sources": s} for row, s in zip(comparisons, sources, strict=True)]
    _commit(batch, "ingest", "prompts", to_table(prompts, PROMPTS))
    _commit(batch, "expand", "responses", to_table(responses, RESPONSES))
    compared = to_table(responses, COMPARED)
    pairs = to_table(comparisons, COMPARISONS)
    _commit(batch, "select", "comparisons", pairs, {"gate": gate}, compared=compared)


def fabricate_rankings(batch: Batch, n_prompts: int, size: int) -> None:
    """Commit ingest, expand and select of a batch of a ranking of `size` responses a prompt."""
    prompts = [_prompt(batch.key, i) for i in range(n_prompts)]
    texts = [f"Reason {k}: {(GOOD, BAD)[k % 2]}" for k in range(size)]
    pools = [[_response(prompt, text) for text in texts] for prompt in prompts]
    responses = [row for pool in pools for row in pool]
    comparisons = [_comparison(*pair, 0.5) for pool in pools for pair in combinations(pool, 2)]
    _take(batch, n_prompts)
    rankings = [_ranking(prompt, pool) for prompt, pool in zip(prompts, pools, strict=True)]
    _commit(batch, "ingest", "prompts", to_table(prompts, PROMPTS))
    _commit(batch, "expand", "responses", to_table(responses, RESPONSES))
    tables = {
        "compared": to_table(responses, COMPARED),
        "rankings": to_table(rankings, RANKINGS),
    }
    _commit(batch, "select", "comparisons", to_table(comparisons, COMPARISONS), **tables)


def _take(batch: Batch, n_rows: int) -> None:
    """Note in the ledger that the batch took a file."""
    ledger = read_ledger(batch.lake, batch.campaign.name)
    if ledger.of(batch.key) is None:
        taken = Entry(batch.key, {f"file of {batch.key}": "a.jsonl"}, {}, {"rows_in": n_rows})
        assert append(batch.lake, batch.campaign.name, ledger, taken)


def _ranking(prompt: Row, pool: list[Row]) -> Row:
    ids = sorted(row["response_id"] for row in pool)
    return {
        "ranking_id": ranking_id(ids),
        "prompt_id": prompt["prompt_id"],
        "dimension": "helpfulness",
        "kind": "selected",
        "response_ids": ids,
    }


def _commit(
    batch: Batch,
    stage: str,
    name: str,
    table: Any,
    figures: Row | None = None,
    **others: Any,
) -> None:
    tables = {name: table, **others}
    batch.commit(
        stage,
        inputs=[],
        outputs={each: batch.write_table(stage, each, rows) for each, rows in tables.items()},
        counts={"rows_in": table.num_rows, "rows_out": table.num_rows, "quarantined": 0},
        figures=figures or {},
    )


def _prompt(key: str, i: int) -> Row:
    messages = [{"role": "user", "content": f"Why does tide number {i} of {key} come and go?"}]
    return {
        "prompt_id": prompt_id(messages, None),
        "messages": messages,
        "dimension": "helpfulness",
    }


def _response(prompt: Row, text: str) -> Row:
    text = text.format(prompt["messages"][0]["content"])
    return {
        "response_id": response_id(prompt["prompt_id"], text),
        "prompt_id": prompt["prompt_id"],
        "message": text,
        "duplicates": 0,
    }


def _comparison(first: Row, second: Row, p_first: float) -> Row:
    ids = sorted([first["response_id"], second["response_id"]])
    return {
        "pair_id": pair_id(*ids),
        "prompt_id": first["prompt_id"],
        "first_id": ids[0],
        "second_id": ids[1],
        "kind": "selected",
        "strategy": "random",
        "rank": 0,
        "p_first": p_first,
        "dimension": "helpfulness",
    }
