"""The rounds of a batch's labels, as they lie in the lake.

    label/round-0/plan.json         what is asked, frozen before anything is bought
    label/round-0/opening.json      until when to wait, fixed before the vendor hears of it
    label/round-0/submission.json   the vendor has it
    label/round-0/inbox/000000.json one page of what the vendor sent, in the order of arrival
    label/begun-0.json              the vendor may hear of it from now on: a witness of the folder

Round 0 asks the votes that the campaign wants of every pair, but for those that another campaign
bought (`annotations_from`); round 1 those that the first answers call for. Each round
is a container of its own at the vendor; one without tasks is not opened. Every file is written
once, by whoever comes first; a twin, or a task that was killed and runs again, goes on from what is
there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from winnow.batch import Artifact, Batch
from winnow.errors import Corrupt, Fatal, Retryable
from winnow.label.annotation import AnnotatorKey, pseudonymous
from winnow.label.collect import Delivery
from winnow.label.tasks import BuiltTasks, Task, rubric_version
from winnow.label.vendor import (
    MAX_PRICE,
    AnnotationPage,
    BatchTerms,
    LabelVendor,
    Message,
    TaskRequest,
)
from winnow.lake import Lake, lake_id
from winnow.records import Quarantined
from winnow.stored import RESTORE, parsed, read_sealed, refuse_lost, sealed_json, stored_time

ROUNDS = (0, 1)
MOST_PAGES, MOST_PAGES_A_TASK = 1_000, 10
"""One look reads so many pages, or so many for each task that was asked, whichever is more."""
CONTAINER = "container.json"
_ORDER = ("plan.json", "opening.json", CONTAINER, "submission.json", "inbox/000000.json")
"""What a round leaves, in the order in which it is written."""


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """Where a round lies at the vendor, since when, and until when to wait (UTC, ISO 8601)."""

    ref: str
    submitted_at: str
    deadline: str


def freeze_plan(batch: Batch, number: int, make: Callable[[], BuiltTasks]) -> BuiltTasks:
    """The round's plan, made now unless it is there."""
    found = read_plan(batch, number)
    if found is not None:
        return found
    built = make()
    batch.lake.create(round_path(batch, number, "plan.json"), _plan_bytes(built))
    return read_plan(batch, number) or built


def has_plan(batch: Batch, number: int) -> bool:
    """Whether the round's plan was made."""
    if batch.lake.exists(round_path(batch, number, "plan.json")):
        return True
    _refuse_lost(batch, number, "plan.json")
    return False


def read_plan(batch: Batch, number: int) -> BuiltTasks | None:
    """The round's plan, or None if it was not made."""
    found: BuiltTasks | None = read_round(batch, number, "plan.json", _plan)
    return found


def _plan(data: bytes) -> BuiltTasks:
    content = read_sealed(data)
    prices = [task["price"] for task in (*content["tasks"], *content["requests"])]
    if not all(type(price) is int and 0 <= price < MAX_PRICE for price in prices):
        raise ValueError("price")
    return BuiltTasks(
        tasks=[Task(**task) for task in content["tasks"]],
        requests=[_request(request) for request in content["requests"]],
        quarantined=[_quarantined(row) for row in content["quarantined"]],
        pii=content["pii"],
        taken={name: Artifact(**table) for name, table in content.get("taken", {}).items()},
    )


def batch_key(batch: Batch, number: int) -> str:
    """The name of the round's container at the vendor."""
    name = f"{batch.campaign.name}/{batch.key}"
    return f"{name}#{number}" if number else name


def terms_of(batch: Batch, number: int) -> BatchTerms:
    """What holds for the round's tasks, fixed at the first call; the mark is the lake's id."""
    label = batch.campaign.label
    opened = read_round(batch, number, "opening.json", _opening)
    if opened is None:
        # By the store's time, as where it is held against: a worker's own clock may be days off.
        deadline = batch.lake.now() + timedelta(minutes=label.deadline_minutes)
        told = {"deadline": deadline.isoformat(), "lake": lake_id(batch.lake)}
        opened = write_round(batch, number, "opening.json", told)
    return BatchTerms(
        instructions=label.instructions,
        rubric_version=rubric_version(label),
        dimensions=tuple(label.rated_dimensions),
        deadline=datetime.fromisoformat(opened["deadline"]),
        session_minutes=label.session_minutes,
        # Versions before 0.3 left no mark.
        mark=opened.get("lake", ""),
    )


def has_opened(batch: Batch) -> bool:
    """Whether a vendor may have heard of the batch: nothing was bought before this is so."""
    return 0 in opened_rounds(batch.lake, batch.folder)


def opened_rounds(lake: Lake, folder: str) -> list[int]:
    """The rounds, of the batch in a folder, of which a vendor may have heard.

    Raises:
        Corrupt: What says so is lost, though the vendor has the round.
    """
    paths = {number: f"{folder}/label/round-{number}/opening.json" for number in ROUNDS}
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
    batch.lake.create(round_path(batch, number, "submission.json"), sealed_json(asdict(record)))


def read_submission(batch: Batch, number: int = 0) -> SubmissionRecord | None:
    """Where the round lies at the vendor, or None if nothing of it was bought."""
    found: SubmissionRecord | None = read_round(batch, number, "submission.json", _record)
    return found


def _record(data: bytes) -> SubmissionRecord:
    record = SubmissionRecord(**read_sealed(data))
    if not isinstance(record.ref, str):
        raise TypeError("ref")
    for time in (record.submitted_at, record.deadline):
        stored_time(time)
    return record


def _opening(data: bytes) -> dict[str, Any]:
    opening = read_sealed(data)
    stored_time(opening["deadline"])
    return opening


def submissions(batch: Batch) -> dict[int, SubmissionRecord]:
    """Every round that the vendor has, by its number."""
    found = {number: read_submission(batch, number) for number in ROUNDS}
    return {number: record for number, record in found.items() if record is not None}


def answers_until(batch: Batch) -> datetime | None:
    """Until when the vendor may answer the last round that it has; None before the purchase."""
    rounds = submissions(batch)
    return datetime.fromisoformat(rounds[max(rounds)].deadline) if rounds else None


def look(batch: Batch, number: int, vendor: LabelVendor, ref: str, salt: bytes) -> None:
    """Fetch what the vendor has of the round and keep it, page by page.

    A look that was cut off goes on from its last page.

    Raises:
        Fatal: The salt is empty.
        Corrupt: The vendor's pages run in a circle.
        Retryable: They do not end; what came is kept, and the next look goes on there.
    """
    if not salt:
        raise Fatal("The salt of annotator hashes is empty: set it in the vendor's connection.")
    key = AnnotatorKey(vendor.name, salt)
    entries = list(_entries(batch, number))
    place, last = len(entries), entries[-1] if entries else None
    seen: set[str | None] = set()
    whole = False
    while not whole:
        if len(seen) >= MOST_PAGES and len(seen) >= MOST_PAGES_A_TASK * _n_tasks(batch, number):
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
        entry = _entry(vendor.fetch(ref, cursor), number_of_look, key)
        last = write_round(batch, number, _inbox_page(place), entry)
        place += 1
        whole = last["whole"]


def _n_tasks(batch: Batch, number: int) -> int:
    plan = read_plan(batch, number)
    return len(plan.tasks) if plan is not None else 0


def deliveries(batch: Batch, vendor: str) -> list[Delivery]:
    """Every record of every round, in the order of arrival."""
    return [
        delivery
        for number, record in submissions(batch).items()
        for delivery in _deliveries(batch, number, f"{vendor}/{record.ref}")
    ]


def last_looks(batch: Batch, vendor: str) -> dict[str, int]:
    """The number of the last whole look at each round's container."""
    found = {}
    for number, record in submissions(batch).items():
        whole = [entry["look"] for entry in _entries(batch, number) if entry["whole"]]
        if whole:
            found[f"{vendor}/{record.ref}"] = max(whole)
    return found


def _deliveries(batch: Batch, number: int, source: str) -> Iterator[Delivery]:
    line = 0
    for entry in _entries(batch, number):
        for record in entry["records"]:
            line += 1
            yield Delivery(base64.b64decode(record), source, line, entry["look"])


def _where(last: Mapping[str, Any] | None) -> tuple[int, str | None]:
    """Number and cursor of the next fetch, after the entry `last`."""
    if last is None:
        return 0, None
    if last["whole"]:
        return last["look"] + 1, last["resume_cursor"]
    return last["look"], last["next_cursor"]


def _entry(page: AnnotationPage, number_of_look: int, key: AnnotatorKey) -> dict[str, Any]:
    return {
        "look": number_of_look,
        "records": [
            base64.b64encode(pseudonymous(raw, key)).decode("ascii") for raw in page.records
        ],
        "next_cursor": page.next_cursor,
        "resume_cursor": page.resume_cursor,
        "whole": page.next_cursor is None,
    }


def _entries(batch: Batch, number: int) -> Iterator[dict[str, Any]]:
    place = 0
    while (entry := read_round(batch, number, _inbox_page(place), _inbox_entry)) is not None:
        yield entry
        place += 1
    inbox = round_path(batch, number, "inbox")
    later = next(batch.lake.names(inbox, after=_inbox_page(place).removeprefix("inbox/")), None)
    if later is not None:
        raise Corrupt(
            f"{batch.lake.uri}/{round_path(batch, number, _inbox_page(place))} is missing, though "
            f"{later} came after it: what a vendor sent, and was paid for, is lost; {RESTORE}."
        )


def _inbox_entry(data: bytes) -> dict[str, Any]:
    entry = read_sealed(data)
    if type(entry["look"]) is not int or type(entry["whole"]) is not bool:
        raise TypeError("look")
    for record in entry["records"]:
        base64.b64decode(record, validate=True)
    return {"next_cursor": None, "resume_cursor": None, **entry}


def _inbox_page(place: int) -> str:
    return f"inbox/{place:06d}.json"


def _plan_bytes(built: BuiltTasks) -> bytes:
    return sealed_json(
        {
            "tasks": [asdict(task) for task in built.tasks],
            "requests": [asdict(request) for request in built.requests],
            "quarantined": [
                {**asdict(row), "raw": base64.b64encode(row.raw or b"").decode("ascii")}
                for row in built.quarantined
            ],
            "pii": built.pii,
            "taken": {name: asdict(table) for name, table in built.taken.items()},
        }
    )


def _request(content: dict[str, Any]) -> TaskRequest:
    messages = tuple(Message(**message) for message in content.pop("messages"))
    return TaskRequest(messages=messages, **content)


def _quarantined(content: dict[str, Any]) -> Quarantined:
    return Quarantined(**{**content, "raw": base64.b64decode(content["raw"])})


def write_round(batch: Batch, number: int, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write a file of the round unless it is there; what it holds then."""
    batch.lake.create(round_path(batch, number, name), sealed_json(content))
    return read_round(batch, number, name) or {}


def read_round(
    batch: Batch, number: int, name: str, parse: Callable[[bytes], Any] = read_sealed
) -> Any:
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
