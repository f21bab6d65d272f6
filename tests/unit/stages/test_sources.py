"""A night that asks a judge and experts beside people: each answer bought once, and told apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.addresses import ServerAddress
from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.campaign.teams import Limits
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ids import PEOPLE
from winnow.ingest.ledger import Dropped
from winnow.label.purchases import month_of, spent
from winnow.label.vendors.judge.client import JudgeVendor
from winnow.lake import FolderLake
from winnow.publish.lineage import lineage_text, trace
from winnow.stages import label
from winnow.stages.gate_input import measured
from winnow.stages.label.drop import drop
from winnow.stages.label.late import bill_of, collected_bill
from winnow.validate.gate import judge

from ...fabricated import fabricate
from ...quick_clock import QuickClock
from ..expand.faulty_server import FaultyServer
from ..expand.faulty_server import faulty_server as running_server
from ..label.judge_fake import MODEL, Question, answering, chances, completion, is_task
from .conftest import SALT, Killed, Night, killed_at_steps
from .senders import FileDropSender, LabelStudioSender, Sender, SimulatorSender

JUDGE = {"model": MODEL, "usd_per_million_input": 2.0, "usd_per_million_output": 10.0}
SOURCES = [{"name": "small", "judge": JUDGE}]


def longer(question: Question, body: Any) -> dict[str, Any]:
    """It prefers what is longer."""
    first, second = map(len, question.sides)
    return completion("A", chances(0.2 + 0.6 * (first > second), 0.2 + 0.6 * (second > first)))


@pytest.fixture(scope="module")
def _server() -> Iterator[FaultyServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def server(_server: FaultyServer) -> FaultyServer:
    _server.answer = answering(longer)
    _server.asked.clear()
    return _server


class JudgedNight(Night):
    """A night whose judge answers at once."""

    server: FaultyServer

    def judge(self) -> JudgeVendor:
        books = FolderLake(self.lake.root.with_name(f"{self.lake.root.name}-books"))
        return JudgeVendor(
            books,
            ServerAddress(self.server.url),
            lambda: self.time,
            patience=QuickClock().patience(),
        )

    @property
    def small(self) -> tuple[Batch, str]:
        return self.batch(), "small"

    def buy(self, batch: Batch, vendor: Any = None) -> None:
        vendor = vendor or self.simulator.connect()
        label.plan(batch)
        label.submit(batch, vendor)
        label.ask_source(batch, "small", self.judge())
        self.simulator.finish()
        label.follow_up(batch, vendor, SALT)
        self.simulator.finish()
        label.bring_source(batch, "small", self.judge(), b"")
        label.collect(batch, vendor, SALT)


@pytest.fixture
def judged(
    tmp_path: Path, inbox: Path, start_simulator: Callable[[Path], Any], server: FaultyServer
) -> Callable[..., JudgedNight]:
    def make(name: str = "night", **settings: Any) -> JudgedNight:
        simulator = start_simulator(tmp_path / f"{name}.sqlite")
        own = {"sources": SOURCES, **settings}
        made = JudgedNight(tmp_path / name, inbox, simulator, own)
        made.server = server
        return made

    return make


def test_people_and_a_judge_are_asked_and_told_apart(
    judged: Callable[..., JudgedNight], server: FaultyServer
) -> None:
    night = judged()
    night.run()
    manifest = night.batch().require("label")
    comparisons = night.rows("select", "comparisons")
    # Nobody knows it yet: it is asked what explores, half of what people are asked.
    both = [row for row in comparisons if row["sources"] == [PEOPLE, "small"]]
    assert all(row["sources"] == [PEOPLE] for row in comparisons if row not in both)
    assert {row["kind"] for row in both} == {"exploration"}
    said = [row for row in night.rows("label", "annotations") if row["model"] == MODEL]
    assert {row["pair_id"] for row in said} == {row["pair_id"] for row in both}
    assert sum(map(is_task, server.asked)) == 2 * len(both)
    told = manifest.figures["sources"]
    people, judge = told[PEOPLE], told["small"]
    assert judge["tasks"] == judge["answered"] == len(both) > 2
    assert manifest.cost == people["charged"] + judge["charged"]
    asked = Counter(row["vendor"] for row in night.rows("label", "tasks"))
    assert asked == {"simulator": people["tasks"], "judge": judge["tasks"]}
    assert manifest.figures["n_annotations"] == people["answered"] + judge["answered"]
    assert manifest.counts["follow_ups"] == people["tasks"] - sum(
        row["round"] == 0 for row in night.rows("label", "tasks")
    )
    # The costs of a row are of all who were asked; its votes are people's.
    assert all(row["votes"] >= 1 for row in night.rows("label", "preferences"))
    assert sum(row["cost"] for row in night.rows("label", "preferences")) <= manifest.cost
    bill = bill_of(night.batch(), night.simulator.connect())
    assert bill == collected_bill(night.batch())
    text = lineage_text(trace(night.lake, "small", "small", both[0]["pair_id"]))
    assert text.count(f"by model {MODEL}") == 1


def test_the_gate_finds_no_fault_in_rows_of_several_sources(
    judged: Callable[..., JudgedNight],
) -> None:
    night = judged(repeat_share=0.5)
    night.run()
    with measured(night.batch()) as found:
        broken = {name for name, fault in found.faults.items() if fault.n}
    assert broken == set()
    assert found.figures["rows_lost"] == 0
    # What the judge was asked to find out how it answers is on no annotation.
    assert 0.0 <= found.figures["cost_gap"] < 0.01
    assert judge(found, night.campaign.validation).verdict.verdict != "block"


@pytest.mark.sampled
def test_a_kill_before_any_step_buys_the_same(judged: Callable[..., JudgedNight]) -> None:
    n_steps, outcome = killed_at_steps(judged, 50)
    assert n_steps > 35
    assert set(outcome[-1].values()) == {1}


def bought_of_people(
    night: JudgedNight, meanwhile: Callable[[], object] = lambda: None
) -> tuple[Batch, Any]:
    """A batch whose people have answered both rounds, and their vendor."""
    batch, vendor = night.batch(), night.simulator.connect()
    night.choose(batch)
    label.plan(batch)
    label.submit(batch, vendor)
    meanwhile()
    night.simulator.finish()
    label.follow_up(batch, vendor, SALT)
    night.simulator.finish()
    return batch, vendor


def test_collecting_waits_for_what_a_source_was_asked(
    judged: Callable[..., JudgedNight],
) -> None:
    night = judged()
    batch, vendor = bought_of_people(night, lambda: label.ask_source(*night.small, night.judge()))
    with pytest.raises(Fatal, match=r"What small sent of .* run ask_source.* put it back"):
        label.collect(batch, vendor, SALT)
    label.bring_source(batch, "small", night.judge(), b"")
    label.collect(batch, vendor, SALT)


def test_one_that_was_never_reached_is_gone_on_without(
    judged: Callable[..., JudgedNight],
) -> None:
    night = judged()
    batch, vendor = bought_of_people(night)
    assert label.plan(batch)["sources"]["small"]["usd"] > 0.0
    assert label.bring_source(batch, "small", night.judge(), b"") == {"tasks": 0, "answered": 0}
    manifest = label.collect(batch, vendor, SALT)
    assert list(manifest.figures["sources"]) == [PEOPLE]
    assert not manifest.figures.get("judges")


def test_one_whose_purchase_was_cut_off_ends_with_what_came(
    judged: Callable[..., JudgedNight],
) -> None:
    night = judged()
    judge = night.judge()
    real = judge.launch

    def cut_off(ref: str) -> None:
        real(ref)
        raise Killed

    def dies() -> None:
        with pytest.raises(Killed):
            label.ask_source(*night.small, judge)

    judge.launch = cut_off  # type: ignore[method-assign]
    batch, vendor = bought_of_people(night, dies)
    brought = label.bring_source(batch, "small", night.judge(), b"")
    assert brought["answered"] == brought["tasks"] > 0
    manifest = label.collect(batch, vendor, SALT)
    assert manifest.figures["sources"]["small"]["charged"] == brought["charged"]


def test_what_all_cost_together_stays_within_the_budget(
    judged: Callable[..., JudgedNight],
) -> None:
    night = judged()
    night.choose(night.batch())
    usd = label.plan(night.batch())["estimate_usd"]
    poor = judged("poor", budget_usd=usd - 0.001)
    batch = poor.batch()
    poor.choose(batch)
    label.plan(batch)
    with pytest.raises(Blocked, match="over the budget"):
        label.submit(batch, poor.simulator.connect())
    assert not poor.simulator.bought()


def test_what_a_source_may_cost_is_kept_from_third_votes(
    judged: Callable[..., JudgedNight],
) -> None:
    """The first rounds of all take the whole budget: no follow-up is bought of what is left."""
    night = judged()
    night.choose(night.batch())
    planned = label.plan(night.batch())
    assert planned["most_usd"] > planned["estimate_usd"]
    exact = judged("exact", budget_usd=planned["estimate_usd"])
    exact.run()
    manifest = exact.batch().require("label")
    assert manifest.cost <= round(planned["estimate_usd"] * 1e6)


def asked(folder: Path, **changes: Any) -> tuple[Batch, SimulatorSender, SimulatorSender]:
    """A batch of 12 pairs, every third of which experts are asked, with both vendors."""
    settings = {
        "name": "small",
        "schedule": {"cron": None, "key": "text"},
        "ingest": {"sources": ["nowhere"]},
        "expand": {"model": "tiny"},
        "label": {
            "budget_usd": 50.0,
            "second_vote_share": 0.0,
            "third_votes": False,
            "sources": [{"name": "doctors", "vendor": "simulator", "price_usd": 2.0}],
            "experts": "doctors",
            **changes,
        },
        "publish": {"dataset": "small"},
    }
    lake = FolderLake(folder / "lake")
    batch = open_batch(parse_campaign(settings, "test"), "day", lake, lambda: datetime.now(UTC))
    fabricate(batch, 12, [["doctors"] if n % 3 == 0 else [PEOPLE] for n in range(12)])
    return batch, SimulatorSender(), SimulatorSender()


def answer_all(sender: Sender, who: int = 0, **more: Any) -> None:
    for task in sender.asked():
        sender.send(task, json.dumps({**sender.record(task, who, "a"), **more}).encode())
    sender.finish()


def test_experts_are_asked_instead_of_people_at_their_own_price(tmp_path: Path) -> None:
    batch, people, doctors = asked(tmp_path)
    planned = label.plan(batch)
    assert planned["estimate_usd"] == pytest.approx(8 * 0.1 + 4 * 2.0)
    label.submit(batch, people.connect())
    label.ask_source(batch, "doctors", doctors.connect())
    answer_all(people)
    answer_all(doctors, 1)
    label.bring_source(batch, "doctors", doctors.connect(), SALT)
    label.follow_up(batch, people.connect(), SALT)
    manifest = label.collect(batch, people.connect(), SALT)
    tasks = read_table(batch.lake, manifest.outputs["tasks"]).to_pylist()
    assert Counter(row["price"] for row in tasks) == {100_000: 8, 2_000_000: 4}
    assert len({row["pair_id"] for row in tasks}) == 12
    assert manifest.counts["rows_out"] == 12
    # Experts are people: their votes count as such.
    votes = read_table(batch.lake, manifest.outputs["annotations"]).to_pylist()
    assert not any(row["model"] for row in votes)
    assert len({row["annotator"] for row in votes}) == 2


def test_pairs_of_experts_who_were_gone_on_without_are_in_quarantine(tmp_path: Path) -> None:
    batch, people, doctors = asked(tmp_path)
    label.plan(batch)
    label.submit(batch, people.connect())
    answer_all(people)
    label.follow_up(batch, people.connect(), SALT)
    label.bring_source(batch, "doctors", doctors.connect(), SALT)
    manifest = label.collect(batch, people.connect(), SALT)
    counts = [manifest.counts[name] for name in ("rows_in", "rows_out", "quarantined")]
    assert counts == [12, 8, 4]
    rows = read_table(batch.lake, manifest.outputs["quarantine"]).to_pylist()
    assert [row["reason"] for row in rows] == ["not_asked"] * 4


def test_a_source_that_is_first_leaves_people_the_months_money(tmp_path: Path) -> None:
    batch, people, doctors = asked(tmp_path)
    label.plan(batch)
    month = Limits(campaign_month=8_500_000)
    first = label.ask_source(batch, "doctors", doctors.connect(), month)
    assert first == {"sent": 0, "tasks": 0, "left_out": 4}
    assert label.submit(batch, people.connect(), month)["sent"] == 8
    assert not doctors.asked()


@pytest.mark.parametrize("edited", ["people", "doctors"])
def test_two_label_studios_that_count_alike_are_told_apart(tmp_path: Path, edited: str) -> None:
    """Projects and annotations of both have the same numbers."""
    beside = {"name": "doctors", "vendor": "label_studio", "price_usd": 2.0}
    batch, _, _ = asked(tmp_path, vendor="label_studio", sources=[beside])
    people, doctors = LabelStudioSender(), LabelStudioSender()
    label.plan(batch)
    label.submit(batch, people.connect())
    label.ask_source(batch, "doctors", doctors.connect())
    for name, sender in {"people": people, "doctors": doctors}.items():
        # A later revision of one's number is no revision of the other's.
        more = {"updated_at": "2026-11-22T11:00:00.000Z"} if name == edited else {}
        answer_all(sender, int(name == "doctors"), **more)
    label.follow_up(batch, people.connect(), SALT)
    for _ in range(3):
        with pytest.raises(Killed):
            label.bring_source(_dying_behind_its_look(batch), "doctors", doctors.connect(), SALT)
    label.bring_source(batch, "doctors", doctors.connect(), SALT)
    manifest = label.collect(batch, people.connect(), SALT)
    assert (manifest.counts["rows_out"], manifest.counts["annotations"]) == (12, 12)
    votes = read_table(batch.lake, manifest.outputs["annotations"]).to_pylist()
    assert {row["status"] for row in votes} == {"submitted"}


@pytest.mark.parametrize("of_files", ["people", "doctors"])
def test_one_id_on_all_answers_is_a_teams_where_its_vendor_names_nobody(
    tmp_path: Path, of_files: str
) -> None:
    senders: dict[str, Sender] = {PEOPLE: SimulatorSender(), "doctors": SimulatorSender()}
    senders[of_files] = FileDropSender(tmp_path / "files")
    vendors = {name: each.connect() for name, each in senders.items()}
    beside = {"name": "doctors", "vendor": vendors["doctors"].name, "price_usd": 2.0}
    batch, _, _ = asked(tmp_path, vendor=vendors[PEOPLE].name, sources=[beside])
    label.plan(batch)
    label.submit(batch, vendors[PEOPLE])
    label.ask_source(batch, "doctors", vendors["doctors"])
    for who, sender in enumerate(senders.values()):
        answer_all(sender, who)
    label.bring_source(batch, "doctors", vendors["doctors"], SALT)
    label.follow_up(batch, vendors[PEOPLE], SALT)
    manifest = label.collect(batch, vendors[PEOPLE], SALT)
    price = {r["task_id"]: r["price"] for r in _table(batch, "tasks")}
    named: dict[str, set[str]] = {PEOPLE: set(), "doctors": set()}
    for row in _table(batch, "annotations"):
        named["doctors" if price[row["task_id"]] > 100_000 else PEOPLE].add(row["annotator"])
    n_ids = {PEOPLE: 1, "doctors": 1, of_files: {PEOPLE: 8, "doctors": 4}[of_files]}
    assert {name: len(ids) for name, ids in named.items()} == n_ids
    assert manifest.figures["n_annotators"] == 1


def _table(batch: Batch, name: str) -> list[dict[str, Any]]:
    return list(read_table(batch.lake, batch.require("label").outputs[name]).to_pylist())


def _dying_behind_its_look(batch: Batch) -> Batch:
    """The batch in a process that ends when a source's round is about to be closed."""

    class Lake(FolderLake):
        def create(self, path: str, data: bytes) -> bool:
            if path.endswith("brought.json"):
                raise Killed
            return super().create(path, data)

    return replace(batch, lake=Lake(batch.lake.root))  # type: ignore[attr-defined]


def test_a_batch_with_open_experts_is_not_dropped_behind_their_backs(tmp_path: Path) -> None:
    batch, people, doctors = asked(tmp_path)
    label.plan(batch)
    label.submit(batch, people.connect())
    label.ask_source(batch, "doctors", doctors.connect())
    note = Dropped("ann", "2026-11-23T10:00:00+00:00", "wrong prompts")
    given = (batch.lake, batch.campaign, batch.key, note, batch.clock)
    with pytest.raises(Blocked, match="doctors has tasks that are not brought home"):
        drop(*given, people.connect(), SALT)
    people.finish()
    answer_all(doctors)
    brought = label.bring_source(batch, "doctors", doctors.connect(), SALT)
    assert drop(*given, people.connect(), SALT).charged == brought["charged"]


def test_a_batch_is_dropped_whose_experts_were_away(tmp_path: Path) -> None:
    batch, people, doctors = asked(tmp_path)
    label.plan(batch)
    label.submit(batch, people.connect())
    away = doctors.connect()

    def open_batch(*_: Any) -> str:
        raise Retryable("away")

    away.open_batch = open_batch  # type: ignore[method-assign]
    with pytest.raises(Retryable):
        label.ask_source(batch, "doctors", away)
    month = month_of(batch.lake.now())
    assert spent(batch.lake, month).campaigns["small"] == 8 * 100_000 + 4 * 2_000_000
    people.finish()
    note = Dropped("ann", "2026-11-23T10:00:00+00:00", "wrong prompts")
    given = (batch.lake, batch.campaign, batch.key, note, batch.clock)
    assert drop(*given, people.connect(), SALT).charged == 0
    assert spent(batch.lake, month).campaigns["small"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": [{"name": "people", "judge": JUDGE}]}, "another name"),
        ({"sources": [{"name": "a"}]}, "needs the section judge"),
        ({"sources": SOURCES * 2}, "stands twice"),
        ({"sources": [*SOURCES, {"name": "other", "judge": JUDGE}]}, "stands twice"),
        ({"sources": [{"name": "crowd", "vendor": "scale"}]}, "crowd would be asked nothing"),
        ({"sources": SOURCES, "experts": "small"}, "no judge"),
        ({"sources": SOURCES, "vendor": "judge", "judge": JUDGE}, "stand beside people"),
    ],
)
def test_sources_that_cannot_be_asked_are_refused(changes: dict[str, Any], words: str) -> None:
    settings = {
        "name": "small",
        "ingest": {"sources": ["nowhere"]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 1.0, **changes},
        "publish": {"dataset": "small"},
    }
    with pytest.raises(Fatal, match=words):
        parse_campaign(settings, "test")
