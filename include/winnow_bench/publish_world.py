"""A batch of any size whose labels are home, made up for the publish bench.

Prompts, texts, annotators and answers are drawn from a seed, so nothing here says how good labels
are; sizes, ids and columns are those of a real batch. A prompt has eight responses of about 90
words and four pairs; of each pair a first vote and, of half of them, a second one; now and then a
repeat, and no gold. Tables are written piece by piece, and are never held whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.batch import Artifact, Batch
from winnow.ids import content_id, pair_id, prompt_id, response_id, task_id
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.label.annotation import preferred_response
from winnow.records import (
    ANNOTATIONS,
    COMPARISONS,
    PROMPTS,
    RESPONSES,
    TASKS,
    to_table,
)
from winnow.stages.label.results import BroughtHome

Row = dict[str, Any]

RESPONSES_EACH, PAIRS_EACH = 8, 4
ANSWERS_EACH = PAIRS_EACH * 1.525
"""Annotations a prompt, about."""
PRICE = 100_000
_PIECE = 500
"""Prompts that are made at once."""
_START = datetime(2026, 11, 22, 8, tzinfo=UTC)
_SCHEMAS = {
    "prompts": ("ingest", PROMPTS),
    "responses": ("expand", RESPONSES),
    "comparisons": ("select", COMPARISONS),
    "tasks": ("label", TASKS),
    "annotations": ("label", ANNOTATIONS),
}
_COUNTS = {
    "prompts": (),
    "responses": ("responses",),
    "comparisons": ("pairs_scored", "comparisons", "exploration"),
}
_FIGURES = {"strategy": "decision_gain", "unmet_floors": [], "mean_info_gain": 0.1}


def make_batch(batch: Batch, n_annotations: int) -> BroughtHome:
    """Commit a batch's first three stages, and store its tasks and annotations."""
    n_prompts = max(1, round(n_annotations / ANSWERS_EACH))
    stored: dict[str, Artifact] = {}
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder:
        files = {name: Path(folder) / f"{name}.parquet" for name in _SCHEMAS}
        counts = dict.fromkeys(_SCHEMAS, 0)
        with ExitStack() as open_files:
            writers = {
                name: open_files.enter_context(
                    pq.ParquetWriter(files[name], schema, compression="zstd")
                )
                for name, (_, schema) in _SCHEMAS.items()
            }
            for start in range(0, n_prompts, _PIECE):
                for name, rows in _piece(start, min(start + _PIECE, n_prompts)).items():
                    writers[name].write_table(to_table(rows, _SCHEMAS[name][1]))
                    counts[name] += len(rows)
        for name, (stage, _) in _SCHEMAS.items():
            stored[name] = batch.write_file(stage, name, files[name], counts[name])
    taken = Entry(batch.key, {"made-up": "made up"}, {}, {"rows_in": counts["prompts"]})
    append(batch.lake, batch.campaign.name, read_ledger(batch.lake, batch.campaign.name), taken)
    for name in ("prompts", "responses", "comparisons"):
        n = counts[name]
        batch.commit(
            _SCHEMAS[name][0],
            inputs=[],
            outputs={name: stored[name]},
            counts={
                "rows_in": n,
                "rows_out": n,
                "quarantined": 0,
                **dict.fromkeys(_COUNTS[name], n),
            },
            figures=_FIGURES if name == "comparisons" else {},
        )
    charged = counts["annotations"] * PRICE
    return BroughtHome(stored["tasks"], stored["annotations"], [], [], charged, {})


def _piece(start: int, end: int) -> dict[str, list[Row]]:
    """Rows of some prompts, of so many words that few prompts are near duplicates."""
    rng = np.random.default_rng(start)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10)).tolist()) for _ in range(4000)]
    rows = {name: list[Row]() for name in _SCHEMAS}
    for n in range(start, end):
        _prompt(n, np.array(words), rows, rng)
    return rows


def _prompt(
    n: int, words: NDArray[np.str_], rows: Mapping[str, list[Row]], rng: np.random.Generator
) -> None:
    def text(n_words: int) -> str:
        return " ".join(words[rng.integers(len(words), size=n_words)].tolist())

    messages = [{"role": "user", "content": text(30)}]
    name = prompt_id(messages, None)
    rows["prompts"].append(
        {
            "prompt_id": name,
            "messages": messages,
            "source": "bench",
            "dimension": "helpfulness",
            "language": ("en", "de", "hi", "ja")[n % 4],
            "tags": [("science", "history", "cooking")[n % 3]],
            "received_at": _START,
        }
    )
    texts = [text(int(rng.integers(60, 120))) for _ in range(RESPONSES_EACH)]
    merit = {response_id(name, each): float(rng.normal()) for each in texts}
    rows["responses"] += [
        {"response_id": response_id(name, each), "prompt_id": name, "message": each, "flags": []}
        for each in texts
    ]
    names = list(merit)
    for k in range(PAIRS_EACH):
        first, second = sorted([names[2 * k], names[2 * k + 1]])
        p_first = 1.0 / (1.0 + np.exp(merit[second] - merit[first]))
        pair = {
            "pair_id": pair_id(first, second),
            "prompt_id": name,
            "first_id": first,
            "second_id": second,
            "kind": "exploration" if k == 0 else "selected",
            "strategy": "decision_gain",
            "rank": k,
            "info_gain": float(rng.uniform(0.01, 0.2)),
            "p_first": float(np.clip(p_first, 0.05, 0.95)),
            "propensity": 0.5,
            "dimension": "helpfulness",
        }
        rows["comparisons"].append(pair)
        # A vote, a second one for every other pair, now and then a repeat by the first person.
        kinds = ["comparison"] * (1 + k % 2) + ["repeat"] * (n % 10 == 0 and k == 0)
        for repetition, kind in enumerate(kinds):
            _answer(repetition, kind, pair, rows, rng)


def _answer(
    repetition: int, kind: str, pair: Row, rows: Mapping[str, list[Row]], rng: np.random.Generator
) -> None:
    before = rows["annotations"][-1] if repetition else None
    swapped = bool(rng.integers(2)) if before is None else not before["swapped"]
    shown_a, shown_b = (pair[f"{side}_id"] for side in sorted(("first", "second"), reverse=swapped))
    who = content_id("person", 2 * int(rng.integers(200)) + repetition % 2)
    choice = "tie" if rng.random() < 0.1 else "ab"[(rng.random() < pair["p_first"]) == swapped]
    seconds = float(rng.uniform(40.0, 120.0))
    begun = _START + timedelta(seconds=int(rng.integers(86_400)))
    task = {
        "task_id": task_id(pair["pair_id"], shown_a, shown_b, "1", repetition),
        "pair_id": pair["pair_id"],
        "kind": kind,
        "round": 0,
        "shown_a": shown_a,
        "shown_b": shown_b,
        "swapped": swapped,
        "rubric_version": "1",
        "repetition": repetition,
        "vendor": "simulator",
        "price": PRICE,
        "vendor_ref": "bench",
        "submitted_at": _START,
    }
    rows["tasks"].append(task)
    rows["annotations"].append(
        {
            **task,
            "annotation_id": content_id("annotation", task["task_id"]),
            "revision": 0,
            "annotator": before["annotator"] if before and kind == "repeat" else who,
            "choice": choice,
            "preferred": preferred_response(choice, swapped),
            "strength": int(rng.integers(4)),
            "started_at": begun,
            "finished_at": begun + timedelta(seconds=seconds),
            "active_seconds": seconds,
            "status": "submitted",
        }
    )
