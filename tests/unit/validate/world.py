"""A simulated batch that has nothing wrong with it, for planting faults into.

Annotators are careful: they read at 15 to 45 characters a second, name the better response of a
pair more often the further the two lie apart, and have no favourite side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.campaign import Validate
from winnow.ids import content_id, pair_id, prompt_id, response_id, task_id
from winnow.label.annotation import preferred_response
from winnow.publish.labelled import labelled
from winnow.publish.report.shares import largest_shifts, traits
from winnow.sql import Source
from winnow.validate.gate import judge
from winnow.validate.leakage import EvaluationSet
from winnow.validate.measure import Measured, measure
from winnow.validate.tables import SCHEMAS, BatchTables
from winnow.validate.verdict import Verdict

from ...label_rows import aggregate, label_figures

Row = dict[str, Any]

N_PROMPTS, N_ANNOTATORS, N_GOLD = 60, 10, 60
PRICE = 100_000
_WORDS = ("tide", "moon", "river", "stone", "cloud", "seed", "lamp", "road", "winter", "letter")
_LANGUAGES = ("en", "de", "hi", "ja")
_START = datetime(2026, 11, 22, 8, tzinfo=UTC)


@dataclass
class World:
    """A batch's rows by table, and what else the gate is told of it."""

    rows: dict[str, list[Row]]
    charged: int
    n_rows: dict[str, int] = field(default_factory=dict)
    without: tuple[tuple[str, str], ...] = ()
    limits: Validate = field(default_factory=Validate)
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluation: EvaluationSet | None = None
    floors: dict[str, int] = field(default_factory=dict)
    unmet_floors: tuple[str, ...] = ()

    def __getitem__(self, table: str) -> list[Row]:
        return self.rows[table]

    def votes(self) -> list[Row]:
        """Annotations that count for preferences."""
        return [row for row in self["annotations"] if row["kind"] == "comparison"]

    def say(self, annotation: Row, choice: str) -> None:
        """Let the annotator choose `choice`, as shown."""
        annotation["choice"] = choice
        annotation["preferred"] = preferred_response(choice, annotation["swapped"])

    def aggregate(self) -> None:
        """Make the preferences anew, as the label stage would."""
        expected = {t["task_id"]: t["expected"] for t in self["tasks"] if t["expected"]}
        found = aggregate(self["annotations"], self["comparisons"], "bradley_terry", expected)
        self.rows["preferences"] = [
            {name: getattr(p, name) for name in SCHEMAS["preferences"].names} for p in found
        ]

    def tables(self) -> dict[str, pa.Table]:
        made = {
            name: pa.Table.from_pylist(self.rows[name], schema) for name, schema in SCHEMAS.items()
        }
        for table, column in self.without:
            made[table] = made[table].drop_columns([column])
        return made

    def measure(
        self, left: Mapping[str, Source] | None = None, gone: Mapping[str, int] | None = None
    ) -> Measured:
        """What the gate judges: of all the rows, or of those `left` where some are `gone`."""
        n_rows = {name: n - (gone or {}).get(name, 0) for name, n in self.n_rows.items()}
        batch = BatchTables(
            left or self.tables(), n_rows, self.charged, self.floors, self.unmet_floors
        )
        known = ("first", "second", "tie", "both_bad", None)
        sound = [row for row in self["annotations"] if row["preferred"] in known]
        figures = label_figures(sound, self["tasks"])
        return measure(
            batch,
            figures,
            self.limits,
            history=self.history,
            evaluation=self.evaluation,
            shifts=self.shifts() if not self.without else None,
        )

    def shifts(self) -> dict[str, float | None]:
        """How far the mix of responses moved, by step."""
        with labelled("d", self.tables()) as tables:
            return largest_shifts(traits(tables))

    def judge(self) -> Verdict:
        return judge(self.measure(), self.limits).verdict


def make_world(seed: int = 0) -> World:
    """A clean batch: 180 pairs, a quarter of them judged twice, with gold and repeats."""
    rng = np.random.default_rng(seed)
    prompts = [_prompt(seed, i, rng) for i in range(N_PROMPTS)]
    responses = [_response(p, j, rng) for p in prompts for j in range(4)]
    merit = {row["response_id"]: rng.normal() for row in responses}
    comparisons = [
        _comparison(prompt, responses[4 * i + j], responses[4 * i + j + 1], rng)
        for i, prompt in enumerate(prompts)
        for j in range(3)
    ]
    tasks = [task for pair in comparisons for task in _tasks(pair, rng)]
    tasks += [_gold(seed, i, rng) for i in range(N_GOLD)]
    length = {row["response_id"]: len(row["message"]) for row in responses}
    world = World(
        {
            "prompts": prompts,
            "responses": responses,
            "comparisons": comparisons,
            "tasks": tasks,
            "annotations": _annotations(tasks, merit, length, rng),
        },
        charged=PRICE * len(tasks),
    )
    world.aggregate()
    world.n_rows = {name: len(rows) for name, rows in world.rows.items()}
    return world


def _prompt(seed: int, i: int, rng: np.random.Generator) -> Row:
    words = " ".join(rng.choice(_WORDS, 9))
    messages = [{"role": "user", "content": f"Tell number {i} of night {seed}: {words}?"}]
    return {
        "prompt_id": prompt_id(messages, None),
        "messages": messages,
        "dimension": "helpfulness",
        "language": str(rng.choice(_LANGUAGES, p=[0.5, 0.2, 0.2, 0.1])),
        "tags": ["code"] if i % 5 == 0 else [],
    }


def _response(prompt: Row, j: int, rng: np.random.Generator) -> Row:
    text = f"{j} " + " ".join(rng.choice(_WORDS, rng.integers(20, 90)))
    return {
        "response_id": response_id(prompt["prompt_id"], text),
        "prompt_id": prompt["prompt_id"],
        "message": text,
        "flags": [],
    }


def _comparison(prompt: Row, one: Row, other: Row, rng: np.random.Generator) -> Row:
    first, second = sorted([one["response_id"], other["response_id"]])
    return {
        "pair_id": pair_id(first, second),
        "prompt_id": prompt["prompt_id"],
        "first_id": first,
        "second_id": second,
        "kind": "selected",
        "strategy": "decision_gain",
        "p_first": 0.5,
        "propensity": float(rng.uniform(0.1, 1.0)),
        "dimension": "helpfulness",
    }


def _task(pair: Row, kind: str, repetition: int, swapped: bool, expected: str | None = None) -> Row:
    sides = (pair["first_id"], pair["second_id"])
    a, b = sides[::-1] if swapped else sides
    return {
        "task_id": task_id(pair["pair_id"], a, b, "r", repetition),
        "pair_id": pair["pair_id"],
        "kind": kind,
        "round": 0,
        "expected": expected,
        "shown_a": a,
        "shown_b": b,
        "swapped": swapped,
        "repetition": repetition,
        "price": PRICE,
    }


def _tasks(pair: Row, rng: np.random.Generator) -> list[Row]:
    swapped = bool(rng.random() < 0.5)
    found = [_task(pair, "comparison", 0, swapped)]
    if rng.random() < 0.25:
        found.append(_task(pair, "comparison", 1, not swapped))
    if rng.random() < 0.15:
        found.append(_task(pair, "repeat", len(found), not swapped))
    return found


def _gold(seed: int, i: int, rng: np.random.Generator) -> Row:
    first, second = sorted([content_id("gold", seed, i, 0), content_id("gold", seed, i, 1)])
    pair = {"pair_id": pair_id(first, second), "first_id": first, "second_id": second}
    expected = "first" if rng.random() < 0.5 else "second"
    return _task(pair, "gold", 0, bool(rng.random() < 0.5), expected)


def _annotations(
    tasks: list[Row], merit: dict[str, float], length: dict[str, int], rng: np.random.Generator
) -> list[Row]:
    found: list[Row] = []
    first_of: dict[str, int] = {}
    for place, task in enumerate(tasks):
        annotator = int(rng.integers(N_ANNOTATORS))
        if task["kind"] == "repeat":
            annotator = first_of[task["pair_id"]]
        elif annotator == first_of.setdefault(task["pair_id"], annotator) and task["repetition"]:
            annotator = (annotator + 1) % N_ANNOTATORS
        choice = _choice(task, merit, rng)
        n_chars = 80 + length.get(task["shown_a"], 150) + length.get(task["shown_b"], 150)
        seconds = 3.0 + n_chars / float(rng.uniform(15.0, 45.0))
        started = _START + timedelta(seconds=60.0 * place)
        found.append(
            {
                "annotation_id": f"n{place:04d}",
                "revision": 0,
                "task_id": task["task_id"],
                "pair_id": task["pair_id"],
                "kind": task["kind"],
                "annotator": f"hash-{annotator:02d}",
                "choice": choice,
                "swapped": task["swapped"],
                "preferred": preferred_response(choice, task["swapped"]),
                "strength": 1,
                "ratings": [{"dimension": "helpfulness", "first": 3, "second": 4}],
                "started_at": started,
                "finished_at": started + timedelta(seconds=seconds),
                "active_seconds": seconds,
                "status": "submitted",
                "price": PRICE,
            }
        )
    return found


def _choice(task: Row, merit: dict[str, float], rng: np.random.Generator) -> str:
    if task["kind"] == "gold":
        right = preferred_response("a", task["swapped"]) == task["expected"]
        return "a" if right == (rng.random() < 0.9) else "b"
    gap = merit[task["shown_a"]] - merit[task["shown_b"]] + rng.normal(scale=0.7)
    if abs(gap) < 0.15:
        return "tie"
    return "a" if gap > 0.0 else "b"
