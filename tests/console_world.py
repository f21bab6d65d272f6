"""Lakes of many batches for tests of the pages, made by Winnow's own commits: no file by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from winnow.batch import STAGES, Artifact, Batch, Manifest, open_batch, quarantine_table
from winnow.campaign import Campaign, parse_campaign
from winnow.campaign.teams import TEAMS_FILE
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.intervals import wilson
from winnow.lake import Lake
from winnow.publish.versions import newest, publish, store_object
from winnow.records import (
    COMPARISONS,
    PREFERENCES,
    PROMPTS,
    RESPONSES,
    Quarantined,
    to_table,
)
from winnow.stages.label import rounds as label_rounds
from winnow.stages.label.plans import freeze_plan
from winnow.validate.verdict import Check, Verdict, worst_of

from .label_rows import drafted

FIRST_DAY = date(2026, 11, 25)
N_PROMPTS = 6

BLOCKING = Check("agreement_high", "block", "fail", 0.31, ">= 0.45")


def campaign(**changed: Any) -> Campaign:
    """A campaign named nightly; keywords replace whole sections."""
    return parse_campaign(
        {
            "name": "nightly",
            "ingest": {"sources": ["p"]},
            "expand": {"model": "tiny"},
            "label": {"budget_usd": 30.0},
            "publish": {"dataset": "nightly"},
            **changed,
        },
        "test",
    )


def settle(folder: Path, *campaigns: Campaign) -> None:
    """Write campaigns into a folder of them, with their teams."""
    folder.mkdir(exist_ok=True)
    teams = folder / TEAMS_FILE
    known = set(json.loads(teams.read_text())) if teams.exists() else set()
    names = sorted({*known, *(each.team for each in campaigns if each.team)})
    if known != {*names}:
        teams.write_text(json.dumps({name: {} for name in names}))
    for each in campaigns:
        (folder / f"{each.name}.yaml").write_text(each.model_dump_json(exclude_unset=True))


def day(number: int) -> str:
    """The key of the batch that many days before the newest."""
    return (FIRST_DAY - timedelta(days=number)).isoformat()


class World:
    """A lake and the campaign whose batches lie in it; each batch is committed on its own day.

    `taken_over` of the 8 votes of a batch were bought by another campaign; the others cost `cost`
    micro-dollars.
    """

    taken_over = 0
    cost = 800_000

    def __init__(self, lake: Lake, asked: Campaign | None = None) -> None:
        self.lake, self.campaign = lake, asked or campaign()

    def at(self, key: str, hours: float = 25.0) -> datetime:
        """A time that many hours after a batch's day began."""
        return datetime.fromisoformat(key).replace(tzinfo=UTC) + timedelta(hours=hours)

    def batch(self, key: str, hours: float = 25.0) -> Batch:
        """A batch, committing at that time."""
        return open_batch(self.campaign, key, self.lake, lambda: self.at(key, hours))

    def make(self, key: str, upto: str = "publish", text: str = "Why does the tide turn?") -> Batch:
        """Commit the stages of a batch up to one; `text` stands in its prompts and responses."""
        batch = self.batch(key)
        make = {
            "ingest": self.ingest,
            "expand": self.expand,
            "select": self.select,
            "label": self.label,
            "publish": self.publish,
        }
        for stage in STAGES[: STAGES.index(upto) + 1]:
            make[stage](batch, text)
        return batch

    def take(self, batch: Batch) -> None:
        """Note in the ledger that the batch took a file, and no more."""
        ledger = read_ledger(self.lake, self.campaign.name)
        counts = {"rows_in": N_PROMPTS, "rows_out": N_PROMPTS, "quarantined": 0}
        entry = Entry(batch.key, {f"file of {batch.key}": "p/a.jsonl"}, {}, counts)
        assert append(self.lake, self.campaign.name, ledger, entry)

    def ingest(self, batch: Batch, text: str) -> None:
        self.take(batch)
        table = to_table(_prompts(batch.key, text), PROMPTS)
        refused = [
            Quarantined("ingest", "duplicate", f"same prompt as p/a.jsonl:1 {text}", "p/a.jsonl", 7)
        ]
        batch.commit(
            "ingest",
            inputs=[],
            outputs={
                "prompts": batch.write_table("ingest", "prompts", table),
                "quarantine": batch.write_table("ingest", "quarantine", quarantine_table(refused)),
            },
            counts=_counts(N_PROMPTS + 1, N_PROMPTS, 1),
            figures={"files": ["p/a.jsonl"], "formats": {"alpaca": 2, "openai": 6}},
        )

    def end(self, key: str) -> None:
        """A batch whose every prompt was refused: its first stage hands nothing on."""
        batch = self.batch(key)
        self.take(batch)
        batch.commit("ingest", inputs=[], outputs={}, counts=_counts(7, 0, 7))

    def expand(self, batch: Batch, text: str) -> None:
        table = to_table(_responses(batch.key, text), RESPONSES)
        n = table.num_rows
        batch.commit(
            "expand",
            inputs=[batch.require("ingest")],
            outputs={"responses": batch.write_table("expand", "responses", table)},
            counts={**_counts(n, n), "responses": n, "sampled": n, "tokens": 40 * n, "pools": 6},
            figures={"engine": "vllm 0.32.0", "audit": {"warnings": [{"figure": "truncated"}]}},
        )

    def select(self, batch: Batch, text: str) -> None:
        rows = _comparisons(batch.key)
        batch.commit(
            "select",
            inputs=[batch.require("expand")],
            outputs={
                "comparisons": batch.write_table(
                    "select", "comparisons", to_table(rows, COMPARISONS)
                )
            },
            counts={
                **_counts(N_PROMPTS, N_PROMPTS),
                "comparisons": len(rows),
                "pairs_scored": 36,
                "exploration": 2,
            },
            figures={
                "strategy": "decision_gain",
                "fallback": None,
                "gate": "open",
                "mean_info_gain": 0.2,
                "mean_decision_gain": 0.1,
                "posterior_labels": 100,
                "unmet_floors": [],
                "floors": [],
                "conflicts": 0,
                "unspent_pairs": 0,
            },
        )

    def plan(self, batch: Batch, number: int = 0) -> None:
        """Freeze a plan of what to ask."""
        freeze_plan(batch, number, lambda _: drafted())

    def submit(self, batch: Batch, deadline: datetime, number: int = 0) -> None:
        """Note that the vendor has a round of the batch."""
        self.plan(batch, number)
        label_rounds.terms_of(batch, number)
        label_rounds.record_submission(batch, number, f"sim-{number + 1}", deadline)

    def label(self, batch: Batch, text: str) -> None:
        rows = _preferences(batch.key)
        low, high = wilson(4, 5)
        batch.commit(
            "label",
            inputs=[batch.require("select")],
            outputs={
                "preferences": batch.write_table(
                    "label", "preferences", to_table(rows, PREFERENCES)
                )
            },
            counts={
                **_counts(len(rows), len(rows)),
                "tasks": 8,
                "follow_ups": 1,
                "gold": 1,
                "unanswered": 0,
                "taken_over": self.taken_over,
                "annotations": 8,
                "annotations_quarantined": 0,
            },
            cost=self.cost,
            figures={
                "agreement": 0.8,
                "agreement_low": low,
                "agreement_high": high,
                "n_agreed": 4,
                "n_agreement": 5,
                "alpha": 0.6,
                "alpha_low": 0.4,
                "alpha_high": 0.8,
                "tie_rate": 0.1,
                "side_bias": 0.05,
                "gold_accuracy": 1.0,
                "gold_accuracy_high": 1.0,
                "n_gold": 1,
                "repeat_consistency": None,
                "n_repeats": 0,
                "completion": 1.0,
                "n_annotations": 8,
                "n_annotators": 3,
                "largest_annotator_share": 0.5,
                "pii": {},
            },
        )

    def judge(self, batch: Batch, *checks: Check) -> Artifact:
        """Store the gate's verdict: the worst of the checks."""
        verdict = Verdict(worst_of(checks), list(checks))
        return batch.write_bytes("publish", "verdict", "json", verdict.to_bytes())

    def publish(self, batch: Batch, text: str) -> None:
        self.judge(batch)
        dataset = self.campaign.publish.dataset
        stored = store_object(self.lake, dataset, f"rows of {batch.key}".encode(), "parquet", 5)
        name = f"data/reward/train/{batch.key}-{stored.sha256[:8]}.parquet"
        label = batch.require("label")
        version = publish(
            self.lake,
            dataset,
            batch.key,
            {name: stored},
            {**label.figures, "verdict": "pass", "cost": label.cost, "mean_info_gain": 0.2},
            lambda new: f"# {new.name}\n",
            batch.clock(),
            report=lambda new: f"<!doctype html><title>{new.name}</title><p>Report</p>",
        )
        self.commit_publish(batch, label, version.name, version.folder, version.n_rows("reward"))

    def commit_publish(
        self, batch: Batch, label: Manifest, version: str, folder: str, rows: int
    ) -> None:
        """Commit the last stage."""
        n = label.counts["rows_out"]
        batch.commit(
            "publish",
            inputs=[label],
            outputs={},
            counts=_counts(n, n),
            cost=label.cost,
            figures={
                "version": version,
                "digest": "d" * 64,
                "folder": folder,
                "verdict": "pass",
                "reward_rows": rows,
                "dpo_rows": rows,
                "posterior": f"campaigns/{batch.campaign.name}/reward/x.npz",
                "posterior_labels": 8,
                "annotators_guessing": {},
                "temperature": 1.0,
                "ece": 0.05,
                "ece_low": 0.02,
                "ece_high": 0.09,
                "gate": {"state": "open", "n": 8, "reason": "", "margin_ln2": 0.1},
            },
        )


def many(lake: Lake, n: int) -> World:
    """A lake of `n` batches, all done but the newest few, which stand in every way they can."""
    world = World(lake)
    for number in reversed(range(n)):
        key = day(number)
        if number == 0:
            world.make(key, "ingest")
        elif number == 1:
            world.submit(world.make(key, "select"), world.at(key, 24 * 8))
        elif number == 2:
            world.judge(world.make(key, "label"), BLOCKING)
        else:
            world.make(key)
    assert newest(lake, "nightly") is not None
    return world


def _counts(rows_in: int, rows_out: int, quarantined: int = 0) -> Mapping[str, int]:
    return {"rows_in": rows_in, "rows_out": rows_out, "quarantined": quarantined}


def _prompts(key: str, text: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": f"q{key}{i}",
            "messages": [{"role": "user", "content": f"{text} {i}"}],
            "language": "en",
        }
        for i in range(N_PROMPTS)
    ]


def _responses(key: str, text: str) -> list[dict[str, Any]]:
    return [
        {
            "response_id": f"r{key}{i}{k}",
            "prompt_id": f"q{key}{i}",
            "message": f"Answer {k}. {text}",
            "model": "tiny",
            "duplicates": 0,
        }
        for i in range(N_PROMPTS)
        for k in range(4)
    ]


def _comparisons(key: str) -> list[dict[str, Any]]:
    return [
        {
            "pair_id": f"p{key}{i}",
            "prompt_id": f"q{key}{i}",
            "first_id": f"r{key}{i}0",
            "second_id": f"r{key}{i}1",
            "kind": "exploration" if i % 3 == 2 else "selected",
            "strategy": "decision_gain",
            "rank": i % 2,
            "info_gain": 0.3 - 0.02 * i,
            "p_first": 0.6,
        }
        for i in range(N_PROMPTS)
    ]


def _preferences(key: str) -> list[dict[str, Any]]:
    ids = ("pair_id", "prompt_id", "first_id", "second_id")
    return [
        {
            **{name: row[name] for name in ids},
            "preferred": "tie" if i == 5 else "first",
            "p_preferred": 0.5 if i == 5 else 0.9,
            "votes": 1,
            "agreement": None,
            "cost": 100_000,
        }
        for i, row in enumerate(_comparisons(key))
    ]
