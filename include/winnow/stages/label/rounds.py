"""The rounds of a batch's labels, as they lie in the lake.

    label/round-0/plan.json         what is asked, frozen before anything is bought (`plans`)
    label/round-0/opening.json      until when to wait, fixed before the vendor hears of it
    label/round-0/submission.json   the vendor has it
    label/round-0/inbox/000000.json one page of what the vendor sent, in the order of arrival
    label/begun-0.json              the vendor may hear of it from now on: a witness of the folder

Round 0 asks the votes that the campaign wants of every pair, but for those that another campaign
bought (`annotations_from`); round 1 those that the first answers call for. Each source beside
people (`label.sources`) has a round of its own, from 2 on. Each round
is a container of its own at its vendor; one without tasks is not opened. Every file is written
once, by whoever comes first; a twin, or a task that was killed and runs again, goes on from what is
there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BeforeValidator, PlainSerializer

from winnow.batch import Batch, batch_folder
from winnow.campaign import MAX_SOURCES, Label
from winnow.errors import Corrupt, Fatal, Retryable
from winnow.ids import PEOPLE
from winnow.label.annotation import AnnotatorKey, pseudonymous
from winnow.label.collect import Collection, Delivery, read_deliveries
from winnow.label.tasks import rubric_version
from winnow.label.vendor import (
    BatchTerms,
    LabelVendor,
)
from winnow.lake import Lake, lake_id
from winnow.sql import Source
from winnow.stored import (
    RESTORE,
    StoredTime,
    as_json,
    parsed,
    read_sealed,
    reader,
    refuse_lost,
    sealed_json,
)

T = TypeVar("T")
_Raw = Annotated[
    bytes,
    BeforeValidator(lambda text: base64.b64decode(text, validate=True)),
    PlainSerializer(lambda raw: base64.b64encode(raw).decode("ascii")),
]

ROUNDS = (0, 1)
"""Of people, at the campaign's own vendor."""
ALL_ROUNDS = tuple(range(len(ROUNDS) + MAX_SOURCES))
"""Those that any batch may have."""
MOST_PAGES, MOST_PAGES_A_TASK = 1_000, 10
"""One look reads so many pages, or so many for each task that was asked, whichever is more."""
CONTAINER = "container.json"
_ORDER = ("plan.json", "opening.json", CONTAINER, "submission.json", "inbox/000000.json")
"""What a round leaves, in the order in which it is written."""


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """Where a round lies at the vendor, since when, and until when to wait (UTC, ISO 8601)."""

    ref: str
    submitted_at: StoredTime
    deadline: StoredTime


class Answering(NamedTuple):
    """How a round's vendor tells of answers: all that stand at each look; who gave each."""

    lists_all: bool
    names_people: bool


@dataclass(frozen=True, slots=True)
class _Opening:
    """Until when to wait, and the mark of the lake; versions before 0.3 left no mark."""

    deadline: StoredTime
    lake: str = ""


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of what the vendor sent; the last of a look makes it whole."""

    look: int
    records: list[_Raw]
    whole: bool
    next_cursor: str | None = None
    resume_cursor: str | None = None


def has_plan(batch: Batch, number: int) -> bool:
    """Whether the round's plan was made."""
    if batch.lake.exists(round_path(batch, number, "plan.json")):
        return True
    _refuse_lost(batch, number, "plan.json")
    return False


def rounds_of(batch: Batch) -> tuple[int, ...]:
    """The rounds that the batch may have."""
    return ALL_ROUNDS[: len(ROUNDS) + len(batch.campaign.label.sources)]


def round_of(batch: Batch, source: str) -> int:
    """The round in which a source is asked."""
    if source == PEOPLE:
        return 0
    names = [each.name for each in batch.campaign.label.sources]
    return len(ROUNDS) + names.index(source)


def source_of(batch: Batch, number: int) -> str:
    """Who is asked in a round."""
    if number in ROUNDS:
        return PEOPLE
    return batch.campaign.label.sources[number - len(ROUNDS)].name


def asked_in(batch: Batch, number: int) -> Label:
    """The settings of what is asked in a round: who answers, for how much."""
    return batch.campaign.label.of_source(source_of(batch, number))


def batch_key(batch: Batch, number: int) -> str:
    """The name of the round's container at the vendor."""
    return container_key(batch.campaign.name, batch.key, number)


def container_key(campaign: str, key: str, number: int) -> str:
    """The name of a round's container at the vendor, by the batch's campaign and key."""
    return f"{campaign}/{key}#{number}" if number else f"{campaign}/{key}"


def terms_of(batch: Batch, number: int, budget: int | None = None) -> BatchTerms:
    """What holds for the round's tasks, fixed at the first call; the mark is the lake's id.

    A judge is told its `budget`, micro-dollars: what a request costs is known when it is answered.
    """
    label = asked_in(batch, number)
    judge = label.asked_judge
    opening = read_round(batch, number, "opening.json", reader(_Opening))
    if opening is None:
        # By the store's time, as where it is held against: a worker's own clock may be days off.
        deadline = batch.lake.now() + timedelta(minutes=label.deadline_minutes)
        opening = _Opening(deadline.isoformat(), lake_id(batch.lake))
        opening = write_round(batch, number, "opening.json", opening)
    return BatchTerms(
        instructions=label.instructions,
        rubric_version=rubric_version(label),
        dimensions=label.asked_dimensions,
        choices=tuple(label.choice_dimensions),
        deadline=datetime.fromisoformat(opening.deadline),
        session_minutes=label.session_minutes,
        mark=opening.lake,
        judge=judge,
        budget=None if judge is None else budget,
    )


def has_opened(batch: Batch) -> bool:
    """Whether a vendor may have heard of the batch: nothing was bought before this is so."""
    return 0 in opened_rounds(batch.lake, batch.folder)


def opened_rounds(lake: Lake, folder: str, rounds: Sequence[int] = ROUNDS) -> list[int]:
    """Those `rounds`, of the batch in a folder, of which a vendor may have heard.

    Raises:
        Corrupt: What says so is lost, though the vendor has the round.
    """
    paths = {number: f"{folder}/label/round-{number}/opening.json" for number in rounds}
    for number, path in paths.items():
        refuse_lost(
            lake, path, [path.replace("opening", "submission"), _begun_path(folder, number)]
        )
    return [number for number, path in paths.items() if lake.exists(path)]


def note_begun(batch: Batch, number: int) -> None:
    """Note, outside of the round's folder, that the vendor may hear of the round from now on."""
    batch.lake.create(_begun_path(batch.folder, number), sealed_json({"round": number}))


def record_submission(batch: Batch, number: int, ref: str, deadline: datetime) -> None:
    """Note that the vendor has the round."""
    record = SubmissionRecord(ref, batch.clock().isoformat(), deadline.isoformat())
    write_round(batch, number, "submission.json", record)


def read_submission(batch: Batch, number: int = 0) -> SubmissionRecord | None:
    """Where the round lies at the vendor, or None if nothing of it was bought."""
    return read_round(batch, number, "submission.json", reader(SubmissionRecord))


def submissions(batch: Batch, rounds: Sequence[int] | None = None) -> dict[int, SubmissionRecord]:
    """Every round that its vendor has, by its number; some `rounds` alone, if they are given."""
    rounds = rounds_of(batch) if rounds is None else rounds
    records = {number: read_submission(batch, number) for number in rounds}
    return {number: record for number, record in records.items() if record is not None}


def last_submitted(lake: Lake, campaign: str, key: str) -> datetime | None:
    """When a vendor took the last round of a batch that it has; None before the purchase."""
    folder = batch_folder(campaign, key)
    for number in reversed(ROUNDS):
        try:
            path = f"{folder}/label/round-{number}/submission.json"
            record = parsed(lake, path, reader(SubmissionRecord))
        except FileNotFoundError:
            continue
        return datetime.fromisoformat(record.submitted_at)
    return None


def answers_until(batch: Batch) -> datetime | None:
    """Until when people may answer the last round that they have; None before the purchase."""
    rounds = submissions(batch, ROUNDS)
    return datetime.fromisoformat(rounds[max(rounds)].deadline) if rounds else None


def look(batch: Batch, number: int, vendor: LabelVendor, ref: str, salt: bytes) -> None:
    """Fetch what the vendor has of the round and keep it, page by page.

    A look that was cut off goes on from its last page.

    Raises:
        Fatal: The salt is empty.
        Corrupt: The vendor's pages run in a circle.
        Retryable: They do not end; what came is kept, and the next look goes on there.
    """
    # A model is nobody whose id has to be hidden.
    if not salt and vendor.name != "judge":
        raise Fatal("The salt of annotator hashes is empty: set it in the vendor's connection.")
    key = AnnotatorKey(vendor.name, salt)
    place = _n_pages(batch, number)
    last = read_round(batch, number, _page_name(place - 1), reader(_Page)) if place else None
    seen: set[str | None] = set()
    while last is None or not seen or not last.whole:
        if len(seen) >= MOST_PAGES and len(seen) >= MOST_PAGES_A_TASK * _n_planned(batch, number):
            raise Retryable(
                f"{vendor.name} lists {ref} on more than {len(seen):,} pages, without an end; see "
                "there what it holds. The next look goes on from here."
            )
        number_of_look, cursor = _where(last)
        if cursor in seen:
            raise Corrupt(
                f"{vendor.name} sent cursor {cursor} of {ref} twice: its pages run in a circle."
            )
        seen.add(cursor)
        sent = vendor.fetch(ref, cursor)
        page = _Page(
            look=number_of_look,
            records=[pseudonymous(raw, key) for raw in sent.records],
            whole=sent.next_cursor is None,
            next_cursor=sent.next_cursor,
            resume_cursor=sent.resume_cursor,
        )
        last = write_round(batch, number, _page_name(place), page)
        place += 1


def deliveries(batch: Batch, rounds: Sequence[int]) -> Iterator[Delivery]:
    """Every record of some rounds, in the order of arrival; a page is held at a time."""
    for number, submission in submissions(batch, rounds).items():
        source, line = _source(batch, number, submission), 0
        account = "" if number in ROUNDS else source_of(batch, number)
        for page in _pages(batch, number):
            for raw in page.records:
                line += 1
                yield Delivery(raw, source, line, page.look, account)


def _source(batch: Batch, number: int, submission: SubmissionRecord) -> str:
    place = f"{asked_in(batch, number).vendor}/{submission.ref}"
    # Two accounts of a vendor may each have a project 1.
    return place if number in ROUNDS else f"{source_of(batch, number)}/{place}"


def last_looks(batch: Batch, rounds: Sequence[int]) -> dict[str, int]:
    """The number of the last whole look at each round's container, by the newest page."""
    looks = {}
    for number, submission in submissions(batch, rounds).items():
        place = _n_pages(batch, number)
        last = read_round(batch, number, _page_name(place - 1), reader(_Page)) if place else None
        # Another look begins once the one before it is whole.
        if last is not None and (last.whole or last.look):
            looks[_source(batch, number, submission)] = last.look - (not last.whole)
    return looks


def answers_of(
    batch: Batch,
    vendor: LabelVendor,
    tasks: Source,
    folder: Path,
    taken: Source | None = None,
    beside: Mapping[int, Answering] | None = None,
) -> Collection:
    """What was sent of the tasks, rows of `records.TASKS`: annotations, and what is none.

    Of a vendor that lists all it has at each look, what the last whole one lacks is retracted.
    `taken` are annotations of other campaigns that come beside them; `folder` is for the result.
    `beside` are the rounds of others than people.
    """
    people = Answering(vendor.snapshot, vendor.names_people)
    rounds = {**dict.fromkeys(ROUNDS, people), **(beside or {})}
    last = last_looks(batch, [n for n, each in rounds.items() if each.lists_all])
    unnamed = [n for n, each in rounds.items() if not each.names_people]
    return read_deliveries(deliveries(batch, [*rounds]), tasks, last, folder, unnamed, taken)


def _n_planned(batch: Batch, number: int) -> int:
    """How many tasks the round asks, 0 before its plan is there."""

    def n_tasks(data: bytes) -> int:
        content = read_sealed(data)
        return int(content["totals"]["tasks"]) if "totals" in content else len(content["tasks"])

    return read_round(batch, number, "plan.json", n_tasks) or 0


def _where(last: _Page | None) -> tuple[int, str | None]:
    """Number and cursor of the next fetch, after the page `last`."""
    if last is None:
        return 0, None
    return (last.look + 1, last.resume_cursor) if last.whole else (last.look, last.next_cursor)


def _pages(batch: Batch, number: int) -> Iterator[_Page]:
    place = 0
    while (page := read_round(batch, number, _page_name(place), reader(_Page))) is not None:
        yield page
        place += 1
    _refuse_gap(batch, number, place)


def _n_pages(batch: Batch, number: int) -> int:
    """How many pages the inbox has; a few are asked for, and none is read."""

    def is_there(place: int) -> bool:
        return batch.lake.exists(round_path(batch, number, _page_name(place)))

    # Page `first` is there (or none is) and page `end` is not: first by growing steps.
    first, end = -1, 0
    while is_there(end):
        first, end = end, 2 * end + 1
    while end - first > 1:
        middle = (first + end) // 2
        first, end = (middle, end) if is_there(middle) else (first, middle)
    _refuse_gap(batch, number, end)
    return end


def _refuse_gap(batch: Batch, number: int, place: int) -> None:
    """Raise Corrupt where pages come after one that is not there."""
    inbox = round_path(batch, number, "inbox")
    later = next(batch.lake.names(inbox, after=_page_name(place).removeprefix("inbox/")), None)
    if later is not None and not batch.lake.exists(round_path(batch, number, _page_name(place))):
        raise Corrupt(
            f"{batch.lake.uri}/{round_path(batch, number, _page_name(place))} is missing, though "
            f"{later} came after it: what a vendor sent, and was paid for, is lost; {RESTORE}."
        )


def _page_name(place: int) -> str:
    return f"inbox/{place:06d}.json"


def write_round(batch: Batch, number: int, name: str, content: T) -> T:
    """Write a file of the round unless it is there; what it holds then."""
    batch.lake.create(round_path(batch, number, name), sealed_json(as_json(content)))
    return read_round(batch, number, name, reader(type(content))) or content


def read_round(batch: Batch, number: int, name: str, parse: Callable[[bytes], T]) -> T | None:
    """What `parse` makes of a file of the round; None where it is not there.

    Raises:
        Corrupt: It cannot be read, or is lost: what is written after it is there.
    """
    try:
        return parsed(batch.lake, round_path(batch, number, name), parse)
    except FileNotFoundError:
        _refuse_lost(batch, number, name)
        return None


def _refuse_lost(batch: Batch, number: int, name: str) -> None:
    # Versions before 0.3 noted no container.
    later = _ORDER[_ORDER.index(name) + 1 :] if name in _ORDER and name != CONTAINER else ()
    paths = [round_path(batch, number, each) for each in later]
    if name in ("plan.json", "opening.json"):
        paths.append(_begun_path(batch.folder, number))
    refuse_lost(batch.lake, round_path(batch, number, name), paths)


def round_path(batch: Batch, number: int, name: str) -> str:
    """Where a file of the round lies in the lake."""
    return f"{batch.folder}/label/round-{number}/{name}"


def _begun_path(folder: str, number: int) -> str:
    return f"{folder}/label/begun-{number}.json"
