"""A batch made up for tests of the card and the quality report; its texts may be hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from winnow.batch import Artifact, Manifest
from winnow.campaign import Campaign, parse_campaign
from winnow.publish.report import figures
from winnow.publish.report.facts import BatchFacts, History, Refused
from winnow.publish.report.shares import traits
from winnow.publish.versions import Version

from ...batch_rows import BatchRows

CHECKS = [
    {"name": "rows", "severity": "block", "outcome": "pass", "value": 40, "limit": ">= 1"},
    {"name": "tie_rate", "severity": "warn", "outcome": "fail", "value": 0.6, "limit": "<= 0.5"},
    {
        "name": "alpha",
        "severity": "warn",
        "outcome": "not_measured",
        "value": None,
        "limit": "",
    },
]


def campaign(text: str = "Which helps more?") -> Campaign:
    """A campaign whose words may be `text`."""
    return parse_campaign(
        {
            "name": "d",
            "description": text,
            "ingest": {"sources": ["p"]},
            "expand": {"model": text.replace("\n", " ")},
            "label": {"budget_usd": 1, "instructions": text},
            "publish": {"dataset": "d", "license": "cc-by-4.0"},
        },
        "test",
    )


def labelled(n_prompts: int = 40, text: str = "words", languages: str = "en de") -> BatchRows:
    """Prompts with four responses and one bought pair each; every other one is exploration."""
    rng, spoken = np.random.default_rng(7), languages.split()
    prompts, responses, comparisons = {}, {}, {}
    preferences, annotations = [], []
    for i in range(n_prompts):
        name, p_first = f"q{i:03d}", float(rng.uniform(0.1, 0.9))
        prompts[name] = {
            "messages": [{"role": "user", "content": f"{text} {i}"}],
            "language": spoken[i % len(spoken)],
        }
        for k in range(4):
            flags = ["truncated"] if k == 3 else []
            responses[f"{name}r{k}"] = response(name, f"{text} {'long ' * k}", flags)
        pair = {
            **dict.fromkeys(("decision_gain", "propensity", "dimension")),
            "pair_id": f"p{name}",
            "prompt_id": name,
            "first_id": f"{name}r0",
            "second_id": f"{name}r1",
            "kind": "exploration" if i % 2 else "selected",
            "strategy": "info_gain",
            "rank": i % 3,
            "info_gain": 0.3 - 0.05 * (i % 3),
            "p_first": p_first,
        }
        comparisons[pair["pair_id"]] = pair
        side = "tie" if i % 10 == 9 else "first" if rng.uniform() < p_first else "second"
        annotations.append(annotation(pair, side))
        preferences.append(preference(pair, side))
    return BatchRows("d1", prompts, responses, comparisons, preferences, annotations)


def response(prompt: str, message: str, flags: list[str]) -> dict[str, Any]:
    """A row of the responses."""
    return {"prompt_id": prompt, "message": message, "flags": flags}


def annotation(pair: Mapping[str, Any], preferred: str) -> dict[str, Any]:
    """One vote on a pair."""
    return {
        "annotation_id": f"n{pair['pair_id']}",
        "revision": 0,
        "pair_id": pair["pair_id"],
        "kind": "comparison",
        "annotator": "abc",
        "preferred": preferred,
        "status": "submitted",
        "active_seconds": 30.0,
    }


def preference(pair: Mapping[str, Any], preferred: str) -> dict[str, Any]:
    """What one vote on a pair says."""
    p = {"first": 0.9, "second": 0.1, "tie": 0.5}[preferred]
    names = ("pair_id", "prompt_id", "first_id", "second_id")
    told = {"preferred": preferred, "p_preferred": p, "votes": 1, "agreement": None}
    return {**{name: pair[name] for name in names}, **told, "cost": 100_000}


def manifest(stage: str, counts: Mapping[str, int], **told: Any) -> Manifest:
    """A stage's manifest."""
    return Manifest("d", "d1", stage, {}, {}, "", "0", counts, told.pop("cost", 0), told)


def facts(batch: BatchRows, text: str = "duplicate", bare: bool = False) -> BatchFacts:
    """What is told of a batch; `bare` is one whose stages measured nothing."""
    stages = {stage: manifest(stage, {}) for stage in ("ingest", "expand", "select", "label")}
    if not bare:
        stages["ingest"] = manifest("ingest", {"rows_out": 40, "quarantined": 2})
        stages["select"] = manifest(
            "select",
            {"pairs_scored": 240, "comparisons": 40, "exploration": 20},
            strategy=text,
            fallback=text,
            floors=[{"stratum": text, "wanted": 5, "got": 3}],
        )
        stages["label"] = manifest("label", {"annotations": 40}, cost=4_000_000, agreement=0.75)
    with batch.opened() as found:
        measured = {
            "ranks": figures.gain_by_rank(found),
            "calibration": figures.calibration(found),
            "traits": traits(found),
            "lengths": figures.lengths(found),
            "longer": figures.longer_wins(found),
            "examples": figures.examples(found),
            "seconds": figures.seconds_spent(found),
        }
    return BatchFacts(
        batch=batch.batch,
        campaign=campaign(text),
        vendor_note="",
        manifests=stages,
        verdict={"verdict": "warn", "checks": CHECKS},
        annotators=[] if bare else [annotator(text)],
        refused=[]
        if bare
        else [Refused("ingest", text, 2, f"same as /home/me/in/a.jsonl:6 {text}")],
        **measured,
    )


def annotator(name: str) -> dict[str, Any]:
    """A row of the annotators' report."""
    absent = ("agreement", "gold_accuracy", "tie_share", "side_share", "median_seconds", "skill")
    return {**dict.fromkeys(absent), "annotator": name, "votes": 40, "n_agreement": 0, "n_gold": 0}


def version(number: int = 1, batches: tuple[str, ...] = ("d1",), rows: int = 30) -> Version:
    """A version with `rows` preferences of each of its batches."""
    files = {f"data/reward/train/{b}-ab.parquet": Artifact(b, b, rows, 1) for b in batches}
    parent = number - 1 if number > 1 else None
    told = {"agreement": 0.5 + number / 10, "cost": 4_000_000}
    return Version("d", number, parent, batches, files, told, "2026-11-23T00:00:00+00:00")


FIRST = History(None, 4_000_000)


def second(text: str = "duplicate") -> tuple[Version, BatchFacts, History]:
    """A second version with its facts and its history."""
    batch = replace(labelled(text=text), batch="d2")
    return version(2, ("d1", "d2")), facts(batch, text), History(version(), 8_000_000)
