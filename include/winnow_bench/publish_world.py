"""A batch of any size whose labels are home, made up for the publish bench.

Prompts, texts, annotators and answers are drawn from a seed, so nothing here says how good labels
are; sizes, ids and columns are those of a real batch. A prompt has eight responses of about 90
words and four pairs; of each pair a first vote and, of half of them, a second one; now and then a
repeat, and no gold. Tables are written piece by piece, and are never held whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    "prompts": PROMPTS,
    "responses": RESPONSES,
    "comparisons": COMPARISONS,
    "tasks": TASKS,
    "annotations": ANNOTATIONS,
}


@dataclass(frozen=True, slots=True)
class _Texts:
    """Words to draw texts from, so many that few prompts are near duplicates."""

    words: NDArray[np.str_]
    rng: np.random.Generator

    def of(self, n_words: int) -> str:
        return " ".join(self.words[self.rng.integers(len(self.words), size=n_words)].tolist())


def make_batch(batch: Batch, n_annotations: int) -> BroughtHome:
    """Commit a batch's first three stages, and store its tasks and annotations."""
    n_prompts = max(1, round(n_annotations / ANSWERS_EACH))
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder:
        files = {name: Path(folder) / f"{name}.parquet" for name in _SCHEMAS}
        counts = _write(files, n_prompts)
        stored = {name: _store(batch, name, files[name], counts[name]) for name in _SCHEMAS}
    taken = Entry(batch.key, {"made-up": "made up"}, {}, {"rows_in": counts["prompts"]})
    append(batch.lake, batch.campaign.name, read_ledger(batch.lake, batch.campaign.name), taken)
    _commit(batch, "ingest", stored, ["prompts"])
    _commit(batch, "expand", stored, ["responses"])
    _commit(batch, "select", stored, ["comparisons"])
    charged = counts["annotations"] * PRICE
    return BroughtHome(stored["tasks"], stored["annotations"], [], [], charged, {})


def _write(files: Mapping[str, Path], n_prompts: int) -> dict[str, int]:
    counts = dict.fromkeys(_SCHEMAS, 0)
    writers = {
        name: pq.ParquetWriter(files[name], schema, compression="zstd")
        for name, schema in _SCHEMAS.items()
    }
    for start in range(0, n_prompts, _PIECE):
        for name, rows in _piece(start, min(start + _PIECE, n_prompts)).items():
            writers[name].write_table(to_table(rows, _SCHEMAS[name]))
            counts[name] += len(rows)
    for writer in writers.values():
        writer.close()
    return counts


def _piece(start: int, end: int) -> dict[str, list[Row]]:
    rng = np.random.default_rng(start)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = np.array(
        ["".join(rng.choice(letters, rng.integers(2, 10)).tolist()) for _ in range(4000)]
    )
    texts, rows = _Texts(words, rng), {name: list[Row]() for name in _SCHEMAS}
    for n in range(start, end):
        _prompt(n, texts, rows)
    return rows


def _prompt(n: int, texts: _Texts, rows: Mapping[str, list[Row]]) -> None:
    rng = texts.rng
    messages = [{"role": "user", "content": texts.of(30)}]
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
    merit: dict[str, float] = {}
    for _ in range(RESPONSES_EACH):
        text = texts.of(int(rng.integers(60, 120)))
        response = response_id(name, text)
        merit[response] = float(rng.normal())
        rows["responses"].append(
            {"response_id": response, "prompt_id": name, "message": text, "flags": []}
        )
    names = list(merit)
    for k in range(PAIRS_EACH):
        first, second = sorted([names[2 * k], names[2 * k + 1]])
        p_first = 1.0 / (1.0 + np.exp(merit[second] - merit[first]))
        rows["comparisons"].append(
            {
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
        )
        _answers(n, k, rows, p_first, rng)


def _answers(
    n: int, k: int, rows: Mapping[str, list[Row]], p_first: float, rng: np.random.Generator
) -> None:
    """A vote, a second one for every other pair, and now and then a repeat by the first person."""
    pair = rows["comparisons"][-1]
    kinds = ["comparison"] + ["comparison"] * (k % 2) + ["repeat"] * (n % 10 == 0 and k == 0)
    people = rng.choice(400, 2, replace=False)
    for repetition, kind in enumerate(kinds):
        swapped = bool(rng.integers(2)) if repetition == 0 else not rows["tasks"][-1]["swapped"]
        shown = (pair["second_id"], pair["first_id"]) if swapped else _sides(pair)
        task = task_id(pair["pair_id"], shown[0], shown[1], "1", repetition)
        rows["tasks"].append(
            {
                "task_id": task,
                "pair_id": pair["pair_id"],
                "kind": kind,
                "round": 0,
                "shown_a": shown[0],
                "shown_b": shown[1],
                "swapped": swapped,
                "rubric_version": "1",
                "repetition": repetition,
                "vendor": "simulator",
                "price": PRICE,
                "vendor_ref": "bench",
                "submitted_at": _START,
            }
        )
        who = people[0] if kind == "repeat" else people[repetition]
        first = rng.random() < p_first
        choice = "tie" if rng.random() < 0.1 else "a" if first != swapped else "b"
        seconds = float(rng.uniform(40.0, 120.0))
        begun = _START + timedelta(seconds=int(rng.integers(86_400)))
        rows["annotations"].append(
            {
                "annotation_id": content_id("annotation", task),
                "revision": 0,
                "task_id": task,
                "pair_id": pair["pair_id"],
                "kind": kind,
                "annotator": content_id("person", int(who)),
                "choice": choice,
                "swapped": swapped,
                "preferred": preferred_response(choice, swapped),
                "strength": int(rng.integers(4)),
                "started_at": begun,
                "finished_at": begun + timedelta(seconds=seconds),
                "active_seconds": seconds,
                "status": "submitted",
                "price": PRICE,
            }
        )


def _sides(pair: Row) -> tuple[str, str]:
    return pair["first_id"], pair["second_id"]


def _store(batch: Batch, name: str, file: Path, n_rows: int) -> Artifact:
    stage = {"prompts": "ingest", "responses": "expand", "comparisons": "select"}
    return batch.write_file(stage.get(name, "label"), name, file, n_rows)


def _commit(batch: Batch, stage: str, stored: Mapping[str, Artifact], names: Iterable[str]) -> None:
    outputs = {name: stored[name] for name in names}
    n_rows = sum(artifact.n_rows for artifact in outputs.values())
    told = {
        "ingest": {},
        "expand": {"responses": n_rows},
        "select": {"pairs_scored": n_rows, "comparisons": n_rows, "exploration": n_rows},
    }
    figures = {"strategy": "decision_gain", "unmet_floors": [], "mean_info_gain": 0.1}
    batch.commit(
        stage,
        inputs=[],
        outputs=outputs,
        counts={"rows_in": n_rows, "rows_out": n_rows, "quarantined": 0, **told[stage]},
        figures=figures if stage == "select" else {},
    )
