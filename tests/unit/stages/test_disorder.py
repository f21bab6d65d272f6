"""A vendor's disorder loses no paid answer: kinds of malformed records, through the whole stage.

Counted in rows and cents: each record that was sent is an annotation, a row in quarantine with its
bytes and a reason, or the same as another; what was charged is what the vendor charges; and where a
batch is stopped, the message names a way out, and the way leads to a published version.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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
    PRICE,
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

N_KINDS, MOST_KINDS, SEED = 640, 80, 5
"""Kinds that each vendor sends, and those of one night."""

LISTS = ("label_studio", "scale", "simulator")
"""Vendors whose records come as parts of a longer text."""
Answers = Callable[[Sender, Sequence[Asked]], Iterable[tuple[Asked, bytes]]]

every_vendor = pytest.mark.parametrize("vendor", VENDORS)


@pytest.fixture
def quick_gate() -> None:
    """The gate of this file is the real one."""


class Chosen:
    """Lakes of a night whose comparisons are chosen, by vendor, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inbox = folder, folder / "inbox"
        self.inbox.mkdir()
        rows = [{"prompt": f"why does number {n} follow {n - 1}?"} for n in range(N_PROMPTS)]
        (self.inbox / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        self.gold = folder / "gold.jsonl"
        known = [{"prompt": f"{n} + 2?", "chosen": f"{n + 2}", "rejected": "x"} for n in range(5)]
        self.gold.write_text("\n".join(map(json.dumps, known)))

    def night(self, vendor: str, folder: Path, sender: Any) -> Night:
        """A night of its own in `folder`, up to its comparisons."""
        settings = {"vendor": vendor, "gold": str(self.gold), **LABEL}
        if not (self.folder / vendor).exists():
            first = Night(self.folder / vendor, self.inbox, None, settings)
            first.choose(first.batch())
        shutil.copytree(self.folder / vendor, folder)
        return Night(folder, self.inbox, sender, settings)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    return Chosen(tmp_path_factory.mktemp("chosen"))


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

    sent: list[tuple[Asked, bytes]]
    n_annotations: int = 0
    n_refused: int = 0
    charged: int = 0
    ways_out: Counter[str] = field(default_factory=Counter)


def well(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """Every task answered once, as a careful vendor does."""
    for number, task in enumerate(asked):
        yield task, line(sender.record(task, number % 7, "ab"[number % 2]))


class LostRecords(AssertionError):
    """Records that are neither an annotation nor in quarantine; `numbers` are their places."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"records {numbers} are nowhere")
        self.numbers = numbers


class Nights:
    """Makes nights whose tasks are with a vendor's people, and takes them to a version."""

    def __init__(self, chosen: Chosen, sender_of: Callable[[str], Sender], folder: Path) -> None:
        self.chosen, self.sender_of, self.folder = chosen, sender_of, folder

    def asked(self, vendor: str) -> Night:
        """A night that has just been submitted."""
        folder = self.folder / f"lake-{len(list(self.folder.iterdir()))}"
        night = self.chosen.night(vendor, folder, self.sender_of(vendor))
        label.submit(night.batch(), night.simulator.connect())
        return night

    def kinds(self, vendor: str) -> list[Kind]:
        """Every kind of malformed record of the vendor; in a list none that tears the list."""
        sender = self.asked(vendor).simulator
        kinds = kinds_of(sender.record(sender.asked()[0], 1, "a"))
        return [kind for kind in kinds if vendor not in LISTS or not kind.tears]

    def home(self, vendor: str, answers: Answers, later: Answers = well) -> tuple[Night, Told]:
        """A night whose labels are collected; each row and cent is looked for.

        `later` are the answers to what was asked because of the first ones.
        """
        night = self.asked(vendor)
        told = Told(_answered(night.simulator, answers))
        before = night.simulator.asked()
        _step(night, told, label.follow_up)
        told.sent += _answered(night.simulator, later, before)
        _step(night, told, label.collect)
        _check_rows(night, told)
        return night, told

    def published(self, vendor: str, answers: Answers, later: Answers = well) -> tuple[Night, Told]:
        """The same, judged by the gate and published."""
        night, told = self.home(vendor, answers, later)
        _publish(night, told)
        return night, told


@pytest.fixture
def nights(chosen: Chosen, sender_of: Callable[[str], Sender], tmp_path: Path) -> Nights:
    return Nights(chosen, sender_of, tmp_path)


def spoilt_by(kinds: Sequence[Kind]) -> Answers:
    """As `well`, but the first answers suffer one of `kinds` each."""

    def answers(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
        assert len(kinds) <= len(asked), "more kinds than tasks"
        for number, (task, kind) in enumerate(zip(asked, kinds, strict=False)):
            yield task, kind.write(sender.record(task, number % 7, "ab"[number % 2]))
        yield from well(sender, asked[len(kinds) :])

    return answers


def _answered(
    sender: Sender, answers: Answers, before: Collection[Asked] = ()
) -> list[tuple[Asked, bytes]]:
    """Send the answers to all tasks that were not asked before, and no more; what was sent."""
    sent = list(answers(sender, [task for task in sender.asked() if task not in before]))
    for task, raw in sent:
        sender.send(task, raw)
    sender.finish()
    return sent


def _step(night: Night, told: Told, act: Callable[..., Any]) -> None:
    """Follow up or collect; where it waits time passes, where it stops the way out is taken."""
    for _ in range(3):
        try:
            act(night.batch(), night.simulator.connect(), SALT)
            return
        except Retryable:
            night.time += timedelta(days=400)
            told.ways_out["time passed"] += 1
        except Blocked as stop:
            _check_names(stop, "lower label.min_completion")
            less = night.campaign.label.model_copy(update={"min_completion": 0.0})
            night.campaign = night.campaign.model_copy(update={"label": less})
            told.ways_out["min_completion"] += 1
    act(night.batch(), night.simulator.connect(), SALT)


def _check_names(stop: Blocked, way_out: str) -> None:
    assert way_out in str(stop), f"no way out: {stop}"


def _check_rows(night: Night, told: Told) -> None:
    manifest = night.batch().require("label")
    annotations = night.rows("label", "annotations")
    refused = [row for row in night.rows("label", "quarantine") if row["raw"]]
    told.n_annotations, told.n_refused = len(annotations), len(refused)
    told.charged = manifest.cost
    annotated = {row["task_id"] for row in annotations}
    if len(annotations) + len(refused) != len({raw for _, raw in told.sent}):
        kept = b"\n".join(row["raw"] for row in refused)
        stamps = [task.task_id for task, _ in told.sent]
        raise LostRecords(
            [n for n, s in enumerate(stamps) if s not in annotated and s.encode() not in kept]
        )
    for row in refused:
        assert row["reason"] and row["detail"] and row["line"], row
        assert plain_text(row["detail"]) == row["detail"], row
    rounds = label.submissions(night.batch()).values()
    vendor = night.simulator.connect()
    assert manifest.cost == sum(vendor.status(record.ref).charged for record in rounds)
    answers = {row["annotation_id"] for row in annotations if row["price"] == PRICE}
    assert manifest.cost >= PRICE * len(answers)


def _publish(night: Night, told: Told) -> None:
    batch = night.batch()
    try:
        number = publish.version(batch, publish.check(batch))
    except Blocked as stop:
        _check_names(stop, "change the limits under `validation`")
        limits = night.campaign.validation.model_copy(update=UNLIMITED)
        night.campaign = night.campaign.model_copy(update={"validation": limits})
        told.ways_out["limits"] += 1
        batch = night.batch()
        number = publish.version(batch, publish.check(batch))
    publish.refit(batch, number)
    assert batch.key in read_version(night.lake, "small", number).batches


def lonely(run: Callable[[Answers], Any], kinds: Sequence[Kind]) -> list[str]:
    """Kinds that fail by themselves, with how, found by halving; empty where all are well."""
    try:
        run(spoilt_by(kinds))
        return []
    except LostRecords as lost:
        if len(kinds) == 1:
            return [f"{kinds[0].name}: is nowhere"]
        # Of a kind that leaves nothing to know its record by it is only said by itself.
        named = [kinds[n] for n in lost.numbers if n < len(kinds)]
        found = [fault for kind in named for fault in lonely(run, [kind])]
        rest = [kind for kind in kinds if kind not in named]
        return found + (lonely(run, rest) if named and rest else [])
    except Exception as fault:
        told = " ".join(f"{type(fault).__name__}: {fault}".split())[:240]
        if len(kinds) == 1:
            return [f"{kinds[0].name}: {told}"]
        middle = len(kinds) // 2
        found = lonely(run, kinds[:middle]) + lonely(run, kinds[middle:])
        return found or [f"{len(kinds)} kinds, only together: {told}"]


def _tried(nights: Nights, vendor: str, kinds: Sequence[Kind]) -> None:
    """Send each kind once, `MOST_KINDS` a night, up to a version; name the kinds that fail."""
    n_nights = -(-len(kinds) // MOST_KINDS)
    total, faults = Counter[str](), []
    for start in range(n_nights):
        some = kinds[start::n_nights]
        try:
            _, told = nights.published(vendor, spoilt_by(some))
        except Exception as fault:
            faults += lonely(lambda few: nights.home(vendor, few), some) or [f"gate: {fault}"]
        else:
            rows = {"annotations": told.n_annotations, "refused": told.n_refused}
            total.update({"sent": len(told.sent), **rows, **told.ways_out})
    print(f"\n{vendor}: {len(kinds)} kinds in {n_nights} nights, seed {SEED}, {dict(total)}")
    assert not faults, "\n".join([f"{len(faults)} of {len(kinds)} kinds", *faults])


@pytest.mark.kill
@every_vendor
def test_every_kind_of_malformed_record_is_kept_or_said(vendor: str, nights: Nights) -> None:
    kinds = nights.kinds(vendor)
    assert len({kind.name for kind in kinds}) == len(kinds) > N_KINDS
    _tried(nights, vendor, random.Random(SEED).sample(kinds, N_KINDS))


def test_some_kinds_of_malformed_records_are_kept_or_said(nights: Nights) -> None:
    some = random.Random(SEED).sample(nights.kinds("file_drop"), MOST_KINDS)
    _, told = nights.home("file_drop", spoilt_by(some))
    assert told.n_refused > MOST_KINDS // 4


@pytest.mark.parametrize("vendor", LISTS)
def test_a_list_that_is_torn_is_waited_for_and_comes_home_when_it_is_whole(
    vendor: str, nights: Nights
) -> None:
    night = nights.asked(vendor)
    sender = night.simulator
    sent = list(well(sender, sender.asked()))
    for number, (task, raw) in enumerate(sent):
        sender.send(task, raw[: len(raw) // 2] if number == 3 else raw)
    sender.finish()
    for _ in range(2):
        with pytest.raises(Retryable, match="that cannot be read"):
            label.follow_up(night.batch(), sender.connect(), SALT)
    sender.mend(*sent[3])
    told = Told(sent)
    _step(night, told, label.follow_up)
    told.sent += _answered(sender, well, [task for task, _ in sent])
    _step(night, told, label.collect)
    _check_rows(night, told)
    assert told.n_refused == 0


TEAM = "team"


def two_people_on_a_task(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    yield from well(sender, asked)
    yield from ((task, line(sender.record(task, 8, "tie"))) for task in asked[: len(asked) // 4])


def one_id_for_all(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    for number, task in enumerate(asked):
        yield task, line({**sender.record(task, 1, "ab"[number % 2]), "annotator": TEAM})


def one_annotation_id(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    for number, task in enumerate(asked):
        yield task, line({**sender.record(task, number % 7, "a"), "annotation_id": "1"})


def numbers_and_words(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """What means the same in other words: all of it is understood."""
    for number, task in enumerate(asked):
        record = sender.record(task, number % 7, "AB"[number % 2])
        ids = {
            "annotation_id": int(task.task_id[:12], 16),
            "annotator": 17.0 + number % 7,
            "price": "100000",
        }
        times = {"started_at": "2026-11-22T10:00:00", "finished_at": "2026-11-22T10:01:00"}
        yield task, line({**record, **ids, **times, "strength": "2", "active_seconds": "60"})


def answers_by_one_person(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """A person answers tasks twice, under ids of their own."""
    yield from well(sender, asked)
    for number, task in enumerate(asked[: len(asked) // 4]):
        yield task, line({**sender.record(task, number % 7, "tie"), "annotation_id": f"x{number}"})


def revisions(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """Repeated with another choice, out of order, at the end of what is counted."""
    for number, task in enumerate(asked):
        record = sender.record(task, number % 7, "a")
        yield task, line({**record, "revision": 5})
        if number % 3 == 0:
            yield task, line({**record, "revision": 5, "choice": "b"})
        if number % 3 == 1:
            yield task, line({**record, "revision": 2**62 - 1, "choice": "b"})
            yield task, line({**record, "revision": 2, "choice": "tie"})


def retractions(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """Of what was there, and of what never was."""
    for number, task in enumerate(asked):
        record = sender.record(task, number % 7, "ab"[number % 2])
        if number % 4:
            yield task, line(record)
        if number % 4 < 2:
            yield task, line({**record, "revision": 3, "status": "retracted", "price": 0})


def unknown_tasks(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    yield from well(sender, asked)
    for number, task in enumerate(asked[: len(asked) // 4]):
        yield task, line({**sender.record(task, number, "a"), "task_id": f"{number:032x}"})


def annotations_that_move(sender: Sender, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """Each of one person's annotations is of one task first, and later of another one."""
    for number, task in enumerate(asked):
        record = {**sender.record(task, 1, "ab"[number % 2]), "finished_at": END_OF[number % 3]}
        yield task, line(record)
        if number % 2:
            yield task, line({**record, "revision": 1, "task_id": asked[number // 2].task_id})


END_OF = ("2026-11-22T10:01:00Z", "2026-11-22T10:02:00Z", "2026-11-22T10:03:00Z")
DISORDERS = {
    each.__name__: each
    for each in (
        *(two_people_on_a_task, one_id_for_all, one_annotation_id, numbers_and_words, revisions),
        *(answers_by_one_person, retractions, unknown_tasks, annotations_that_move),
    )
}


@pytest.mark.kill
@pytest.mark.parametrize("vendor", ["file_drop", "simulator"])
@pytest.mark.parametrize("disorder", list(DISORDERS))
def test_disorder_among_records_loses_nothing(vendor: str, disorder: str, nights: Nights) -> None:
    night, told = nights.published(vendor, DISORDERS[disorder], DISORDERS[disorder])
    figures = night.batch().require("label").figures
    votes = [row["votes"] for row in night.rows("label", "preferences")]
    if disorder == "two_people_on_a_task":
        assert told.n_refused == 0 and max(votes) >= 2
    if disorder == "numbers_and_words":
        assert told.n_refused == 0
    if disorder == "one_id_for_all" and vendor == "file_drop":
        assert max(votes) >= 2 and figures["n_agreement"] > 0
        assert figures["n_annotators"] is None
    print(
        f"\n{vendor}, {disorder}: {len(told.sent)} sent, {told.n_annotations} annotations, "
        f"{told.n_refused} refused, {sum(votes)} votes, {dict(told.ways_out)}"
    )
