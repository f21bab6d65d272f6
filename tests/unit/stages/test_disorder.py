"""A vendor's disorder loses no paid answer: kinds of malformed records, through the whole stage.

Counted in rows and cents: each record that was sent is an annotation, a row in quarantine with its
bytes and a reason, or the same as another; what was charged is what the vendor charges; and where a
batch is stopped, the message names a way out, and the way leads to a published version.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from winnow.campaign import Validate
from winnow.errors import Blocked, Retryable
from winnow.publish.versions import read_version
from winnow.stages import label, publish
from winnow.text import plain_text

from ...malformed import Kind, kinds_of, line
from .conftest import SALT, Night
from .senders import (
    Asked,
    FileDropSender,
    GroundTruthSender,
    LabelStudioSender,
    ScaleSender,
    Sender,
    SimulatorSender,
)

VENDORS = ("file_drop", "ground_truth", "label_studio", "scale", "simulator")
N_PROMPTS = 40
LABEL = {"second_vote_share": 0.25, "price_usd": 0.1, "budget_usd": 50, "deadline_minutes": 60}
UNLIMITED = {name: None for name in Validate.model_fields if name.endswith("_block")}

MOST_KINDS = 80

every_vendor = pytest.mark.parametrize("vendor", VENDORS)


@pytest.fixture
def quick_gate() -> None:
    """The gate of this file is the real one."""


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts, and the lake of a night whose comparisons are chosen, by vendor."""
    folder = tmp_path_factory.mktemp("chosen")
    (folder / "inbox").mkdir()
    rows = [{"prompt": f"why does number {n} follow {n - 1}?"} for n in range(N_PROMPTS)]
    (folder / "inbox" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for vendor in VENDORS:
        night = Night(folder / vendor, folder / "inbox", None, {"vendor": vendor, **LABEL})
        night.choose(night.batch())
    return folder


@pytest.fixture
def sender_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Sender]:
    """Makes a vendor's people."""
    places = iter(range(10**6))

    def make(vendor: str) -> Sender:
        if vendor == "scale":
            named = (request.getfixturevalue(name) for name in ("_front", "loopback"))
            return ScaleSender(*named)
        if vendor in ("label_studio", "simulator"):
            return LabelStudioSender() if vendor == "label_studio" else SimulatorSender()
        folder = tmp_path / f"drop-{next(places)}"
        return FileDropSender(folder) if vendor == "file_drop" else GroundTruthSender(folder)

    return make


@dataclass
class Told:
    """What became of one night."""

    sent: list[bytes]
    n_annotations: int = 0
    n_refused: int = 0
    charged: int = 0
    ways_out: Counter[str] = field(default_factory=Counter)


class Nights:
    """Makes nights whose tasks are with a vendor's people, and takes them to a version."""

    def __init__(self, chosen: Path, sender_of: Callable[[str], Sender], folder: Path) -> None:
        self.chosen, self.sender_of, self.folder = chosen, sender_of, folder

    def asked(self, vendor: str) -> Night:
        """A night that has just been submitted."""
        folder = self.folder / f"lake-{len(list(self.folder.iterdir()))}"
        shutil.copytree(self.chosen / vendor, folder)
        settings = {"vendor": vendor, **LABEL}
        night = Night(folder, self.chosen / "inbox", self.sender_of(vendor), settings)
        label.submit(night.batch(), night.simulator.connect())
        return night

    def kinds(self, vendor: str) -> list[Kind]:
        """Every kind of malformed record of the vendor."""
        sender = self.asked(vendor).simulator
        return kinds_of(sender.record(sender.asked()[0], 1, "a"))

    def home(self, vendor: str, kinds: Sequence[Kind]) -> tuple[Night, Told]:
        """A night whose labels are collected, some spoilt: each row and cent is looked for."""
        night = self.asked(vendor)
        told = Told(_answer(night.simulator, kinds))
        _step(night, told, label.follow_up)
        told.sent += _answer(night.simulator, [], told.sent)
        _step(night, told, label.collect)
        _check_rows(night, told)
        return night, told

    def published(self, vendor: str, kinds: Sequence[Kind]) -> Told:
        """The same, judged by the gate and published."""
        night, told = self.home(vendor, kinds)
        _publish(night, told)
        return told


@pytest.fixture
def nights(chosen: Path, sender_of: Callable[[str], Sender], tmp_path: Path) -> Nights:
    return Nights(chosen, sender_of, tmp_path)


def _answer(sender: Sender, kinds: Sequence[Kind], before: Sequence[bytes] = ()) -> list[bytes]:
    """Every task of the last round answered, each by one of the kinds as long as there are any."""
    asked = sender.asked()[len(before) :]
    assert len(kinds) <= len(asked), "more kinds than tasks"
    sent = []
    for number, task in enumerate(asked):
        record = sender.record(task, number % 7, "ab"[number % 2])
        raw = kinds[number].write(record) if number < len(kinds) else line(record)
        sender.send(task, raw)
        sent.append(raw)
    sender.finish()
    return sent


def _step(night: Night, told: Told, act: Callable[..., Any]) -> None:
    """Follow up or collect; where it waits time passes, where it is stopped the way out is taken."""
    for _ in range(3):
        try:
            act(night.batch(), night.simulator.connect(), SALT)
            return
        except Retryable:
            night.time += timedelta(days=400)
            told.ways_out["time passed"] += 1
        except Blocked as stop:
            assert "lower label.min_completion" in str(stop), str(stop)
            less = night.campaign.label.model_copy(update={"min_completion": 0.0})
            night.campaign = night.campaign.model_copy(update={"label": less})
            told.ways_out["min_completion"] += 1
    act(night.batch(), night.simulator.connect(), SALT)


def _check_rows(night: Night, told: Told) -> None:
    manifest = night.batch().require("label")
    annotations = night.rows("label", "annotations")
    refused = [row for row in night.rows("label", "quarantine") if row["raw"]]
    told.n_annotations, told.n_refused = len(annotations), len(refused)
    told.charged = manifest.cost
    assert len(annotations) + len(refused) == len(set(told.sent)), "a record is nowhere"
    for row in refused:
        assert row["reason"] and row["detail"] and row["line"], row
        assert plain_text(row["detail"]) == row["detail"], row
    rounds = label.submissions(night.batch()).values()
    vendor = night.simulator.connect()
    assert manifest.cost == sum(vendor.status(record.ref).charged for record in rounds)
    assert manifest.cost >= sum(row["price"] for row in annotations if row["price"] == 100_000)


def _publish(night: Night, told: Told) -> None:
    batch = night.batch()
    try:
        number = publish.version(batch, publish.check(batch))
    except Blocked as stop:
        assert "change the limits under `validation`" in str(stop), str(stop)
        limits = night.campaign.validation.model_copy(update=UNLIMITED)
        night.campaign = night.campaign.model_copy(update={"validation": limits})
        told.ways_out["limits"] += 1
        batch = night.batch()
        number = publish.version(batch, publish.check(batch))
    publish.refit(batch, number)
    assert batch.key in read_version(night.lake, "small", number).batches


def smallest(run: Callable[[Sequence[Kind]], Any], kinds: Sequence[Kind]) -> list[str]:
    """Kinds that fail by themselves, with how, found by halving; empty where all are well."""
    try:
        run(kinds)
        return []
    except Exception as fault:
        if len(kinds) == 1:
            return [f"{kinds[0].name}: {type(fault).__name__}: {str(fault)[:300]}"]
        middle = len(kinds) // 2
        found = smallest(run, kinds[:middle]) + smallest(run, kinds[middle:])
        return found or [f"{len(kinds)} kinds only together: {type(fault).__name__}: {fault}"]


@pytest.mark.kill
@every_vendor
def test_every_kind_of_malformed_record_is_kept_or_said(vendor: str, nights: Nights) -> None:
    kinds = nights.kinds(vendor)
    assert len({kind.name for kind in kinds}) == len(kinds) >= 500
    n_nights = -(-len(kinds) // MOST_KINDS)
    total, faults = Counter[str](), []
    for start in range(n_nights):
        some = kinds[start::n_nights]
        told = None
        try:
            told = nights.published(vendor, some)
        except Exception as fault:
            faults += smallest(lambda few: nights.home(vendor, few), some) or [f"at the gate: {fault}"]
    print(vendor, len(kinds), "kinds", n_nights, "nights", len(faults))
    print("\n".join(faults))
    assert not faults
