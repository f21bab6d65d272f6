"""Small batches of comparisons, and gold, from which tests build tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from winnow.campaign import Label
from winnow.ids import pair_id, response_id
from winnow.label.gold import read_gold
from winnow.label.shown import ShownPair
from winnow.label.tasks import BuiltTasks, build_tasks

Row = dict[str, Any]
LABEL = Label(budget_usd=100.0, price_usd=0.25, second_vote_share=0.25)
PROMPTS = [{"prompt_id": "p", "messages": [{"role": "user", "content": "Why\u202e?"}]}]


def responses(*texts: str) -> list[Row]:
    return [{"response_id": response_id("p", t), "prompt_id": "p", "message": t} for t in texts]


def comparison(first: str, second: str, p_first: float = 0.5) -> Row:
    ids = [response_id("p", first), response_id("p", second)]
    return {
        "pair_id": pair_id(*ids),
        "prompt_id": "p",
        "first_id": ids[0],
        "second_id": ids[1],
        "dimension": "helpfulness",
        "p_first": p_first,
    }


def gold_items(n: int, prompt: str = "2 + 2?") -> list[ShownPair]:
    rows = [{"prompt": prompt, "chosen": f"right {i}", "rejected": f"wrong {i}"} for i in range(n)]
    items, quarantined = read_gold("gold.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert not quarantined
    return items


def of_kind(built: BuiltTasks, kind: str) -> list[tuple[Any, Any]]:
    pairs = zip(built.tasks, built.requests, strict=True)
    return [(task, request) for task, request in pairs if task.kind == kind]


def build_many(
    n: int, label: Label = LABEL, seed: int = 0, gold: Sequence[ShownPair] = ()
) -> BuiltTasks:
    texts = [f"answer {i:04}" for i in range(n + 1)]
    comparisons = [comparison(*texts[i : i + 2], p_first=i / n) for i in range(n)]
    return build_tasks(comparisons, responses(*texts), PROMPTS, gold, label, seed)
